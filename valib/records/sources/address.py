"""Addresses of databases: telling them from file names, and what of them may be shown."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ...errors import RecordsError

if TYPE_CHECKING:
    from sqlalchemy import URL

_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/", flags=re.DOTALL)
_QUERY = re.compile(r"(select|with)\b", flags=re.IGNORECASE)


def is_url(source: object) -> bool:
    """Whether a source is a database's URL, such as postgresql+psycopg://host/name."""
    return isinstance(source, str) and _URL.match(source) is not None


def is_query(table: str) -> bool:
    """Whether ``table`` is a SELECT (or WITH ... SELECT) rather than the name of a table."""
    while blank := _COMMENT.match(table):
        table = table[blank.end() :]
    return _QUERY.match(table) is not None


def parse_url(text: str) -> URL:
    """Take a URL apart; psycopg is PostgreSQL's driver unless the URL names another.

    Raises
    ------
    RecordsError
        If it cannot be taken apart without doubt. The sentence shows nothing of it, as it may hold a password.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise RecordsError(
            "The database's URL cannot be taken apart: expected such as postgresql+psycopg://user@host/name, with"
            " %40 for an @ in a password."
        )
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def data_name(source: str) -> str:
    """What may be shown of a source: a file's name, or a database's without its user, host or password."""
    if not is_url(source):
        return Path(source).name
    try:
        database = parse_url(source).database
    except RecordsError:
        database = None
    if database and source.lower().startswith("duckdb") and Path(database).is_dir():
        return "files by SELECT"
    return f"database '{PurePath(database).name}'" if database else "a database"


def database_file(source: str) -> str | None:
    """The file of a database of SQLite or DuckDB; None for a database that is no file."""
    url = parse_url(source)
    return url.database if is_local(source) and not Path(url.database or ".").is_dir() else None


def is_local(source: str) -> bool:
    """Whether a URL is that of a file of SQLite or DuckDB, or of DuckDB on files that a SELECT names."""
    return source.lower().startswith(("sqlite", "duckdb"))


def without_password(text: str) -> str:
    """The URL without a password, in its place or among its options."""
    url = parse_url(text)
    kept = {key: value for key, value in url.query.items() if not _is_secret(key)}
    return url._replace(password=None).set(query=kept).render_as_string(hide_password=False)  # set() keeps a password


def secrets_of(url: URL) -> list[str]:
    """What of a URL no message may show."""
    told = [url.password or "", *(str(value) for key, value in url.query.items() if _is_secret(key))]
    return [secret for secret in told if secret]


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("pass", "pwd", "secret", "token", "key"))


def relative_url(text: str, folder: Path) -> str:
    """The URL with the file of a database of SQLite or DuckDB relative to ``folder`` where it lies below it."""
    if not is_local(text):
        return text
    url = parse_url(text)
    path = Path(url.database or "")
    return str(url.set(database=str(path.relative_to(folder)))) if path.is_relative_to(folder) else text


def anchor_url(text: str, folder: Path) -> str:
    """The URL with the file of a database of SQLite or DuckDB relative to ``folder``; any other URL as it is.

    DuckDB without a file gets the folder, in which the files lie that a SELECT names.
    """
    if not is_local(text):
        return text
    url = parse_url(text)
    if url.get_backend_name() == "duckdb":
        url = url.set(database=url.database or ".")
    if not url.database or url.database == ":memory:":
        return text
    return url.set(database=str((folder / url.database).resolve())).render_as_string(hide_password=False)
