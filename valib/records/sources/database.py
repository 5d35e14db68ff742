"""Databases: a table or the rows of a SELECT, on any SQLAlchemy URL or in DuckDB. Nothing in the database is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pandas as pd

from ...errors import RecordsError
from .address import data_name, is_query, parse_url, secrets_of
from .duckdb_file import open_duckdb
from .source import CellSource, Source

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

# What keeps a session from changing anything. Elsewhere nothing is committed.
_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}


def open_database(address: str, table: str | None, open_file: Callable[[Path], Source]) -> Source:
    """Open a table, a view, or what a SELECT returns.

    The session is read-only where the backend can have it so (PostgreSQL, SQLite, MySQL, MariaDB, Oracle), only one
    SELECT or WITH is run, and nothing is committed. No message shows the URL or its password. open_file: opens the files
    that a SELECT of DuckDB names.

    Raises
    ------
    RecordsError
        If the driver is missing, the database cannot be reached, there is no such table or the query fails.
    """
    name, url = data_name(address), parse_url(address)
    if url.get_backend_name() == "duckdb":
        return open_duckdb(address, table, open_file)
    if table is not None and is_query(table) and ";" in table.strip().rstrip(";"):
        raise RecordsError(f"{name}: the query must be a single statement without a semicolon inside.")
    with _connected(name, url) as connection:
        query = table.strip().rstrip(";") if table is not None and is_query(table) else _select(name, connection, table)
        result = connection.exec_driver_sql(query)
        columns, rows = tuple(result.keys()), result.fetchall()
    frame = pd.DataFrame([tuple(row) for row in rows], columns=range(len(columns)), dtype=object)
    return CellSource(name, columns, frame=frame.set_axis(list(columns), axis=1))


def _select(name: str, connection: Connection, table: str | None) -> str:
    """A SELECT of all of a table: the one named (``schema.table`` too), else the only one."""
    import sqlalchemy

    inspector = sqlalchemy.inspect(connection)

    def tables(schema: str | None) -> list[str]:
        return [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]

    there = tables(None)
    listed = f"its tables are {', '.join(there)}" if there else "it has none"
    if table is None and len(there) != 1:
        raise RecordsError(f"{name}: say by table which table or SELECT to read; {listed}.")
    schema, chosen = None, table if table is not None else there[0]
    if chosen not in there:
        schema, _, chosen = chosen.rpartition(".")
        if not schema or chosen not in tables(schema):
            raise RecordsError(f"{name}: has no table '{table}'; {listed}.")
    whole = sqlalchemy.select(sqlalchemy.text("*")).select_from(sqlalchemy.table(chosen, schema=schema))
    return str(whole.compile(dialect=connection.dialect))


@contextmanager
def _connected(name: str, url: URL) -> Iterator[Connection]:
    """A connection that cannot change anything; its errors become one sentence without the password."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        engine = _engine(name, url)
        with engine.connect() as connection:
            options = {"postgresql_readonly": True} if url.get_backend_name() == "postgresql" else {}
            connection = connection.execution_options(no_parameters=True, **options)
            if statement := _READ_ONLY.get(url.get_backend_name()):
                connection.exec_driver_sql(statement)
            yield connection
            connection.rollback()
    except (SQLAlchemyError, UnicodeDecodeError) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip() or type(error).__name__
        problem = f"{name}: cannot be read ({_scrubbed(reason.splitlines()[0], url)})."
    else:
        return
    raise RecordsError(problem)  # outside the except block, so that no traceback shows the driver's own words


def _engine(name: str, url: URL) -> Engine:
    import sqlalchemy
    from sqlalchemy.exc import NoSuchModuleError
    from sqlalchemy.pool import NullPool

    try:
        if url.drivername in ("sqlite", "sqlite+pysqlite"):
            return sqlalchemy.create_engine("sqlite://", creator=lambda: _sqlite(name, url), poolclass=NullPool)
        return sqlalchemy.create_engine(url, poolclass=NullPool, hide_parameters=True)
    except NoSuchModuleError:
        raise RecordsError(f"{name}: SQLAlchemy has no dialect {url.drivername} here; install its package.") from None
    except ImportError as error:
        raise RecordsError(
            f"{name}: {url.drivername} needs the Python package {error.name}, which is not installed."
        ) from None


def _sqlite(name: str, url: URL) -> sqlite3.Connection:
    """Open an SQLite file, which is not made if it is not there, for reading only."""
    if not url.database or not Path(url.database).is_file():
        raise RecordsError(f"{name}: there is no such file.")
    return sqlite3.connect(f"file:{quote(str(Path(url.database).resolve()))}?mode=ro", uri=True)


def _scrubbed(message: str, url: URL) -> str:
    """A driver's message without the password, however it may be written there."""
    for secret in secrets_of(url):
        for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            message = message.replace(form, "***")
    return message
