"""DuckDB: a table of a database file, or what a SELECT returns of it or of files that it names. Nothing is changed.

A SELECT sees only what it is given. Files it names are read by valib, as they would be read without it, so that a code keeps
its leading zeros; DuckDB itself may open nothing but the database, load nothing and change no setting.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...errors import RecordsError
from ...names import readable
from .address import data_name, is_query, parse_url
from .parquet import as_frame
from .plain import first_line, heard
from .source import Source

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_CLOSED = {  # what the database may do from the beginning
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


@dataclass(frozen=True, slots=True)
class ArrowSource(Source):
    """Rows in memory as Arrow holds them."""

    rows: pa.Table | None = None

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`."""
        return as_frame(self.rows, text_columns)


def open_duckdb(address: str, table: str | None, open_file: Callable[[Path], Source]) -> ArrowSource:
    """Open a table or view of a file of DuckDB, or what a SELECT returns.

    ``duckdb:///file.db`` is such a file; ``duckdb://`` is none, and its SELECT names files: ``SELECT * FROM 'a.csv' JOIN
    'b.parquet' USING (ID)``, which lie in the current folder or beside the params file. open_file: opens one of them.

    Raises
    ------
    RecordsError
        If there is no such file or table, the query is not a single SELECT, fails or names a file that cannot be read.
    """
    name, place = data_name(address), Path(parse_url(address).database or ".")
    if place.is_dir():
        with _connected(name, ":memory:") as connection:
            if table is None or not is_query(table):
                raise RecordsError(f"{name}: say by table which SELECT to read, such as SELECT * FROM 'my.csv'.")
            for file in sorted(set(_tables(_tree(name, connection, table)))):
                if (place / file).is_file():
                    connection.register(file, _rows_of(open_file(place / file)))
            return _selected(name, connection, table)
    if not place.is_file():
        raise RecordsError(f"{name}: there is no such file.")
    with _connected(name, str(place)) as connection:
        if table is None or not is_query(table):
            table = f"FROM {_table(name, connection, table)}"
        else:
            _tree(name, connection, table)
        return _selected(name, connection, table)


@contextlib.contextmanager
def _connected(name: str, database: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can change nothing and open nothing else; its errors become one sentence."""
    import duckdb

    try:
        with duckdb.connect(database, read_only=database != ":memory:", config=_CLOSED) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(f"{name}: there is not enough memory to read it") from error
    except duckdb.Error as error:
        raise RecordsError(f"{name}: cannot be read ({readable(first_line(error), 200)}).") from error


def _tree(name: str, connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """A query taken apart, which succeeds for SELECT alone."""
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])
    if tree["error"] or len(tree["statements"]) != 1:
        told = tree.get("error_message", "it is more than one statement").splitlines()[0]
        raise RecordsError(f"{name}: the query must be a single SELECT ({readable(told, 200)}).")
    return tree


def _tables(tree: Any) -> Iterator[str]:
    """The names of all tables in a query."""
    if isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE" and not tree.get("schema_name"):
            yield tree["table_name"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _tables(part)


def _rows_of(source: Source) -> pa.Table:
    """A file as valib reads it."""
    import pyarrow as pa

    return pa.Table.from_pandas(source.read(), preserve_index=False).replace_schema_metadata()


def _table(name: str, connection: duckdb.DuckDBPyConnection, table: str | None) -> str:
    """The table asked for (``schema.table`` too), else the only one, in quotation marks."""
    found = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database() ORDER BY ALL"
    ).fetchall()
    there = {table if schema == "main" else f"{schema}.{table}": (schema, table) for schema, table in found}
    listed = f"its tables are {', '.join(there)}" if there else "it has none"
    if table is None and len(there) != 1:
        raise RecordsError(f"{name}: say by table which table or SELECT to read; {listed}.")
    chosen = table if table is not None else next(iter(there))
    if chosen not in there:
        raise RecordsError(f"{name}: has no table '{chosen}'; {listed}.")
    return ".".join('"' + part.replace('"', '""') + '"' for part in there[chosen])


def _selected(name: str, connection: duckdb.DuckDBPyConnection, query: str) -> ArrowSource:
    """What a query returns, with every setting locked."""
    connection.execute("SET lock_configuration = true").fetchall()
    relation = connection.sql(query)
    columns = tuple(relation.columns)
    rows = heard(connection, relation.to_arrow_table)
    return ArrowSource(name, columns, rows=rows.rename_columns(list(columns)))
