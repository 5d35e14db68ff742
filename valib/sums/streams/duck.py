"""DuckDB, embedded: Parquet files, folders of Parquet parts, and text files, larger than memory."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
from pyarrow.parquet import read_schema

from ...errors import RecordsError
from ...records.sources import TextSource, open_source
from ...records.sources.parquet import ParquetSource, parts_of
from ...records.sources.plain import heard, no_pattern, plain_errors
from ...records.sources.spill import SpillFolder
from ...workers import telling
from .layout import Column, kept_order
from .sql import DuckSql

SOURCE = "source"  # the view of the rows as they are
SECONDS = 0.2  # between two words on how far a query is
MEMORY = 1 << 30  # bytes that DuckDB may use, or half of what is free
# What takes a Parquet file's statistics for its values: where they are false, conditions would be decided wrongly.
TRUSTING = "statistics_propagation,compressed_materialization,filter_pushdown,partial_aggregate_pushdown"
_WHOLE = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
Progress = Callable[[int, int], None]


class DuckEngine:
    """A source opened with DuckDB. name: for messages; names, columns: as the source has them; table: in SQL."""

    sql = DuckSql()

    def __init__(self, path: str | Path, progress: Progress | None = None):
        self._path, self._progress, self.table, self._kept = Path(path), progress, SOURCE, 0
        self._files: dict[str, list[str]] = {}
        self._derived: Callable[[str], str] | None = None
        self.name = self._path.name
        self.text: TextSource | None = None
        self._orders: dict[str, list[Any] | None] = {}
        self._held: list[Any] = []
        self._spill = SpillFolder()
        memory = min(MEMORY, psutil.virtual_memory().available // 2)
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{memory >> 20}MB",
                "temp_directory": str(self._spill.path),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "disabled_optimizers": TRUSTING,
            }
        )
        try:
            self._parts = self._find()
            with self._plain_errors():
                self.columns = self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the source; what was put aside on disk is gone."""
        self.release()
        self._spill.remove()
        for other in self._held:
            other.close()
        self._held = []

    def hold(self, other: Any) -> None:
        """Keep another source as long as this one, which reads what the other has put aside."""
        self._held.append(other)

    def release(self) -> None:
        """Let go of the source, but not of what was kept of it."""
        self._connection.close()

    @property
    def is_text(self) -> bool:
        """Whether the source is a text file, which is slow to read: one pass is better than two."""
        return self.text is not None

    @property
    def has_line_breaks(self) -> bool:
        """Whether there are line breaks inside quotation marks of a text file."""
        return self.is_text and self._plain.has_line_breaks

    @property
    def short(self) -> str:
        """The condition of a text file's rows with fewer fields than the header: what they lack is NULL, not empty."""
        return f"c{self._plain.width - 1} IS NULL" if self.is_text else ""

    def query(self, sql: str) -> pa.Table:
        """The rows of a query, which must be few."""
        with self._plain_errors(), self._watched():
            return self._heard(lambda: self._connection.sql(sql).to_arrow_table())

    def _heard(self, call: Callable[[], Any]) -> Any:
        return heard(self._connection, call)

    def batches(self, sql: str, rows: int = 1 << 18) -> Iterator[pa.RecordBatch]:
        """The rows of a query in batches, however many there are."""
        with self._plain_errors():
            reader = self._heard(lambda: self._connection.sql(sql).to_arrow_reader(rows))
            while (batch := self._heard(lambda: next(reader, None))) is not None:
                yield batch

    def put(self, name: str, table: pa.Table) -> str:
        """Make a small table known to SQL; return what to call it."""
        self._connection.register(name, table)
        return name

    def keep(self, queries: Sequence[str]) -> str:
        """Put the rows of some queries aside in Parquet files, in any order; return what to call them."""
        self._kept += 1
        files = [str(self._spill.path / f"kept-{self._kept}-{k}.parquet") for k in range(len(queries))]
        with self._plain_errors(), self._watched():
            self._connection.execute("SET preserve_insertion_order = false")
            for file, query in zip(files, queries, strict=True):
                copy = f"COPY ({query}) TO {self.sql.text(file)} (FORMAT parquet)"
                self._heard(functools.partial(self._connection.execute, copy))
            self._connection.execute("SET preserve_insertion_order = true")
        name = f"read_parquet([{', '.join(self.sql.text(no_pattern(file)) for file in files)}])"
        self._files[name] = files
        return name

    def forget(self, kept: str) -> None:
        """Remove what was put aside."""
        for file in self._files.pop(kept):
            Path(file).unlink()

    def derive(self, rows: Callable[[str], str], columns: Sequence[Column], names: Sequence[str]) -> None:
        """Take other rows, made of the rows of a table."""
        before = self._derived
        self._derived = (lambda table: rows(f"({before(table)})")) if before else rows
        self.columns, self.names, self.table = list(columns), list(names), "derived"
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {self.table} AS {self._derived(SOURCE)}")

    def order(self, name: str) -> list[Any] | None:
        """The levels of a column that the source keeps as a category, in its order; None for another column."""
        if name not in self._orders:
            self._orders[name] = None if self.text is not None else kept_order(self._parts, name)
        return self._orders[name]

    def where(self, condition: str, column: str, only_first: bool = False) -> tuple[int, str, str]:
        """How many rows a condition holds for, where the first few are, and the value of a column in the first.

        only_first: count and name the first alone.
        """

        def fetched(sql: str) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = self._heard(lambda: self._connection.sql(sql).fetchall())
            return rows

        with self._plain_errors():
            if self.text is None:
                reader = self._reader(", filename=true, file_row_number=true")
                source = f"(SELECT {self._renamed()}, filename AS part, file_row_number AS place FROM {reader})"
                order = "part, place"
            else:
                source, order = f"(SELECT *, 0 AS part, row_number() OVER () - 1 AS place FROM {SOURCE})", "place"
            source = f"({self._derived(source)})" if self._derived else source
            total = 1 if only_first else fetched(f"SELECT count(*) FROM {source} WHERE {condition}")[0][0]
            first = fetched(
                f"SELECT part, place, {column} FROM {source} WHERE {condition} ORDER BY {order} LIMIT {min(total, 5)}"
            )
        return total, self._places(first, total), str(first[0][2])

    def tell_short(self) -> None:
        """Warn of a text file's rows with fewer fields than the header; one with more is an error of every query."""
        assert self.text is not None  # of a text file
        self.text.tell_short(*self.where(self.short, "c0")[:2])

    def _places(self, first: list[tuple[Any, ...]], total: int) -> str:
        if not isinstance(self._opened, ParquetSource) or not self._path.is_dir():
            return self._opened.where(_Positions([row[1] for row in first], total))
        return self._opened.in_parts(
            [(self._path / Path(part).relative_to(self._path.resolve()), place) for part, place, _ in first], total
        )

    def _find(self) -> list[Path]:
        """The parts of a folder, or the file. Raises RecordsError for what DuckDB does not read."""
        self._opened = opened = open_source(self._path)
        self.names = list(opened.columns)
        if isinstance(opened, TextSource):
            self.text, self._plain = opened.prepare(self._spill)
        elif not isinstance(opened, ParquetSource):
            raise RecordsError(
                f"{self.name}: the engines duckdb and spark read text and Parquet files and folders of "
                "Parquet parts; take --engine memory for this source."
            )
        return parts_of(self._path)

    def _open(self) -> list[Column]:
        """Create the view of the source and say what its columns hold."""
        if self.text is None:
            self._called = self._find_names()
        self._define()
        types = self._connection.sql(f"DESCRIBE {self.table}").fetchall()
        decimal = self.text.dialect.decimal if self.text and self.text.dialect else "."
        return [
            Column(name, row[0], _kind(row[1]), row[1] in (*_WHOLE, "BOOLEAN"), self.is_text, decimal, name)
            for name, row in zip(self.names, types, strict=True)
        ]

    def _find_names(self) -> dict[str, str]:
        """What DuckDB calls the columns: it renames one that differs from another in capital letters only."""
        found = [row[0] for row in self._connection.sql(f"DESCRIBE SELECT * FROM {self._reader()}").fetchall()]
        if not self._path.is_dir():
            return dict(zip(read_schema(self._path).names, found, strict=True))
        if lost := [name for name in self.names if name not in found]:
            raise RecordsError(
                f"{self.name}: column '{lost[0]}' differs from another in capital letters only, "
                "which the engine duckdb cannot tell apart: rename it."
            )
        return {name: name for name in found}

    def _define(self) -> None:
        """The view of the source, its columns renamed by position."""
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {SOURCE} AS SELECT {self._renamed()} FROM {self._reader()}"
        )

    def _renamed(self) -> str:
        if self.text is not None:
            return "*"
        return ", ".join(f"{_quoted(self._called[name])} AS c{i}" for i, name in enumerate(self.names))

    def _reader(self, options: str = "") -> str:
        if self.text is not None:
            return self._plain.sql()
        paths = ", ".join(self.sql.text(no_pattern(str(p.resolve()))) for p in self._parts)
        return f"read_parquet([{paths}], union_by_name=true, hive_types_autocast=false{options})"

    def _plain_errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(self.name, self.text.ragged_row if self.text else None)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Tell the progress of the query that runs inside, a few times a second."""
        progress = self._progress
        if progress is None:
            yield
            return
        with telling(lambda: progress(max(int(self._connection.query_progress()), 0), 100), SECONDS):
            yield


class _Positions:
    """The first few of many rows."""

    def __init__(self, first: list[int], total: int):
        self._first, self._total = first, total

    def __iter__(self) -> Iterator[int]:
        return iter(self._first)

    def __len__(self) -> int:
        return self._total

    def __contains__(self, position: object) -> bool:
        return position in self._first


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _kind(kind: str) -> str | None:
    """What a column of a DuckDB type holds."""
    if kind in _WHOLE or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return "number"
    if kind == "BOOLEAN":
        return "truth"
    return "text" if kind == "VARCHAR" or kind.startswith("ENUM") else None
