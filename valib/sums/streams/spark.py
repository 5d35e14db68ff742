"""Spark: the same sums from a cluster's DataFrame, or from files that Spark reads.

The sums are plain Spark SQL: every partition is summed where it lies, by school and cohort, and only the sums travel
(Spark's partial aggregation). No Python runs on the workers.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import RecordsError
from ...records.sources import Source, TextSource, open_source
from ...records.sources.parquet import ParquetSource, parts_of
from .layout import ODD, Column, kept_order
from .sql import SparkSql

_NUMBERS = ("double", "float", "decimal")
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_names = (f"valib_{k}" for k in itertools.count())


class SparkEngine:
    """A source opened with Spark; see :class:`valib.sums.streams.duck.DuckEngine` for what its members are.

    source: a Spark DataFrame; or a Parquet file, a folder of Parquet parts or a text file, for which a session is
    taken or begun.
    """

    sql = SparkSql()

    def __init__(self, source: Any):
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise RecordsError("The engine spark needs PySpark and Java: pip install 'valib[spark]'.") from None
        self.text: TextSource | None = None
        self.short = ""
        self._parquet: Path | None = None
        if hasattr(source, "sparkSession"):
            self._session, frame, self.name = source.sparkSession, source, "the Spark DataFrame"
            self.names = list(frame.columns)
        else:
            opened = open_source(source)
            self._session = SparkSession.getActiveSession() or _begin(SparkSession.builder)
            self.name, self.names = opened.name, list(opened.columns)
            frame = self._read(opened)
        renamed = frame.toDF(*(f"c{i}" for i in range(len(self.names))), *([ODD] if self.is_text else []))
        self.table = next(_names)
        renamed.createOrReplaceTempView(self.table)
        decimal = self.text.dialect.decimal if self.text and self.text.dialect else "."
        self.columns = [
            Column(name, f"c{i}", *_kind(renamed.dtypes[i][1]), self.is_text, decimal, name)
            for i, name in enumerate(self.names)
        ]
        self._put: list[str] = []
        self._held: list[Any] = []

    @property
    def is_text(self) -> bool:
        """Whether the source is a text file, which is slow to read: one pass is better than two."""
        return self.text is not None

    @property
    def has_line_breaks(self) -> bool:
        """Whether line breaks may stand inside quotation marks: nothing tells but the fields."""
        return self.is_text

    def close(self) -> None:
        """Forget the source; the session stays."""
        for name in (self.table, *self._put):
            self._session.catalog.dropTempView(name)
        for other in self._held:
            other.close()
        self._held = []

    def hold(self, other: Any) -> None:
        """Keep another source as long as this one, which reads what the other has put aside."""
        self._held.append(other)

    def query(self, sql: str) -> pa.Table:
        """The rows of a query, which must be few."""
        try:
            found = self._session.sql(sql)
            return found.toDF(*(f"k{i}" for i in range(len(found.columns)))).toArrow()
        except Exception as error:
            raise self._said(error) from error

    def batches(self, sql: str, rows: int = 1 << 18) -> Iterator[pa.RecordBatch]:
        """The rows of a query, a partition at a time."""
        yield from self.query(sql).to_batches(rows)

    def put(self, name: str, table: pa.Table) -> str:
        """Make a small table known to SQL; return what to call it."""
        view = next(_names)
        self._session.createDataFrame(table).createOrReplaceTempView(view)
        self._put.append(view)
        return view

    def keep(self, queries: Sequence[str]) -> str:
        """Put the rows of some queries aside on the cluster's disks; return what to call them."""
        from pyspark import StorageLevel

        view = next(_names)
        try:
            self._session.sql(" UNION ALL ".join(queries)).persist(StorageLevel.DISK_ONLY).createOrReplaceTempView(view)
        except Exception as error:
            raise self._said(error) from error
        self._put.append(view)
        return view

    def forget(self, kept: str) -> None:
        """Remove what was put aside."""
        self._put.remove(kept)
        self._session.table(kept).unpersist()
        self._session.catalog.dropTempView(kept)

    def release(self) -> None:
        """Nothing to let go of: the session stays."""

    def derive(self, rows: Callable[[str], str], columns: Sequence[Column], names: Sequence[str]) -> None:
        """Take other rows, made of the rows of a table."""
        self.columns, self.names, view = list(columns), list(names), next(_names)
        self._session.sql(rows(self.table)).createOrReplaceTempView(view)
        self._put.append(self.table)
        self.table = view

    def order(self, name: str) -> list[Any] | None:
        """The levels of a column that the source keeps as a category, in its order; None for another column."""
        return kept_order(parts_of(self._parquet), name) if self._parquet else None

    def where(self, condition: str, column: str, only_first: bool = False) -> tuple[int, str, str]:
        """How many rows a condition holds for, where they are (a cluster's rows have no order), and one value."""
        total = (
            1 if only_first else self.query(f"SELECT count(*) FROM {self.table} WHERE {condition}").column(0)[0].as_py()
        )
        value = self.query(f"SELECT CAST({column} AS STRING) FROM {self.table} WHERE {condition} LIMIT 1")
        return total, "Spark does not number rows", str(value.column(0)[0].as_py())

    def tell_short(self) -> None:
        """Warn of a text file's rows with fewer fields than the header; raise RecordsError for one with more."""
        assert self.text is not None  # of a text file
        if long := self.text.long_row():
            raise RecordsError(long)
        self.text.tell_short(*self.where(self.short, "c0")[:2])

    def _read(self, opened: Source) -> Any:
        path = opened.path
        if isinstance(opened, ParquetSource) and path is not None:
            return self._read_parquet(path)
        dialect = opened.dialect
        if not isinstance(opened, TextSource) or opened.skip != 1 or path is None or dialect is None:
            raise RecordsError(
                f"{opened.name}: the engine spark reads Parquet files, folders of Parquet parts, and "
                "text files that begin with their header; take --engine duckdb or memory."
            )
        self.text, self.short = opened, f"({ODD} IS NOT NULL)"
        schema = ", ".join(f"{name} STRING" for name in (*(f"c{i}" for i in range(len(self.names))), ODD))
        read = self._session.read.schema(schema).options(
            sep=dialect.delimiter,
            encoding=dialect.encoding.removesuffix("-sig"),
            quote='"',
            escape='"',
            multiLine=True,
            header=True,
            enforceSchema=True,
            mode="PERMISSIVE",
            columnNameOfCorruptRecord=ODD,
            columnPruning=False,
        )
        # c0 adds nothing to what is blank; but Spark refuses a query that takes no other column than the odd row
        blank = " OR ".join(f"{self.sql.trimmed(column)} <> ''" for column in (ODD, "c0"))
        return read.csv(_as_url(path)).filter(f"{ODD} IS NULL OR {blank}")

    def _read_parquet(self, path: Path) -> Any:
        self._parquet = path
        _refuse_capitals(self.name, self.names)
        keyed = (
            any("=" in part for file in path.rglob("*.parquet") for part in file.relative_to(path).parts[:-1])
            if path.is_dir()
            else False
        )
        self._session.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        try:
            frame = self._session.read.option("recursiveFileLookup", str(not keyed).lower()).parquet(_as_url(path))
        finally:
            self._session.conf.unset("spark.sql.sources.partitionColumnTypeInference.enabled")
        return frame.select(*(f"`{name.replace('`', '``')}`" for name in self.names))

    def _said(self, error: Exception) -> RecordsError:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return RecordsError(f"{self.name}: cannot be read by Spark ({first[:200]}).")


def _refuse_capitals(source: str, names: list[str]) -> None:
    """Raise RecordsError for a column whose name differs from an earlier one in capital letters only."""
    lower = [name.lower() for name in names]
    for k, name in enumerate(lower):
        if name in lower[:k]:
            raise RecordsError(
                f"{source}: column '{names[k]}' differs from another in capital letters only, which the engine spark "
                "cannot tell apart: rename it."
            )


def _begin(builder: Any) -> Any:
    """A session on this machine, reachable from it alone."""
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.filterPushdown": "false",  # decides by a file's statistics, which may be false
        "spark.log.level": "ERROR",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.master("local[*]").appName("valib").getOrCreate()
    except Exception as error:  # PySpark's own, of several kinds, where Java is not there
        raise RecordsError(
            f"The engine spark could not begin: it needs Java 17 or later ({str(error).splitlines()[0][:100]})."
        ) from error


def _as_url(path: Path) -> str:
    """A path in which nothing is a pattern."""
    return "".join(f"\\{c}" if c in "*?[]{}\\" else c for c in str(path.resolve()))


def _kind(kind: str) -> tuple[str | None, bool]:
    """What a column of a Spark type holds, and whether its numbers are whole."""
    if kind == "boolean":
        return "truth", True
    if kind in _WHOLE or kind.startswith(_NUMBERS):
        return "number", kind in _WHOLE
    return ("text" if kind in ("string", "char", "varchar") or kind.startswith(("char(", "varchar(")) else None), False
