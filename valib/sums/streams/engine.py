"""What an engine is to the rest: DuckDB's or Spark's view of a source."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from ...records.sources import TextSource
from .layout import Column
from .sql import DuckSql


class Engine(Protocol):
    """What reads a source: DuckDB or Spark.

    text: the source if it is a text file; short: the condition of its rows with fewer fields than the header, "" for
    another source; has_line_breaks: whether line breaks may stand inside its quotation marks.
    """

    name: str
    names: list[str]
    columns: list[Column]
    table: str
    sql: DuckSql
    is_text: bool
    text: TextSource | None
    short: str
    has_line_breaks: bool

    def query(self, sql: str) -> pa.Table: ...
    def put(self, name: str, table: pa.Table) -> str: ...
    def where(self, condition: str, column: str, only_first: bool = False) -> tuple[int, str, str]: ...
    def tell_short(self) -> None: ...
    def batches(self, sql: str) -> object: ...
    def order(self, name: str) -> list | None: ...
