"""The columns of a streamed source: what each holds, which rows lack something, which hold what they must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from ...records.sources import TextSource
from ...records.sources.content import PADDED
from .sql import DuckSql

MARKED = "holds decimal marks, or marks between thousands"
REASONS = ("cohort", "school", "student", "score", "prior_score")  # a row that lacks several counts under the first
NUMBERS = ("score", "prior_score")
LINKED = "prior_score"  # the column that a join with earlier rows makes
JOINED = "prior"  # what it is called in SQL
ODD = "odd"  # in Spark, a text file's row as it stands if it has fewer or more fields than the header
LEFT_OUT = "left out"  # the name of the test for rows that an expression leaves out


@dataclass(frozen=True, slots=True)
class Column:
    """One column. sql: what an engine calls it. kind: "number", "text", "truth", or None for what is neither.

    whole: an integer type. words: a text file's column, in which a blank or a word such as NA is missing. decimal: the
    decimal mark of numbers written as text; doubtful: what to say of marks in rows where the first ones have none.
    original: its name in the source. stripped: of codes, whether all rows of a text file write "1.0" for 1. zeros:
    whether 01 is a number among others, such as 1.5, and no code.
    """

    name: str
    sql: str
    kind: str | None
    whole: bool = False
    words: bool = False
    decimal: str = "."
    original: str = ""
    doubtful: str = ""
    stripped: bool = False
    zeros: bool = False


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on rows. name: a canonical column or a covariate; fault: what the column must hold, or "" where the
    row only lacks it; unreadable: whether it is for text that is no number."""

    name: str
    sql: str
    fault: str = ""
    unreadable: bool = False


def number_sql(sql: DuckSql, column: Column) -> str:
    """A column as doubles in SQL."""
    if column.kind == "text":
        return f"({sql.read_number(column.sql, column.decimal)})"
    return f"CAST({column.sql} AS DOUBLE)"


class Layout:
    """The first two layers of every query: columns as numbers and codes, and each row's status.

    The status is 0 for a row that is complete; else the sum of 2^i over the tests of :attr:`tests` that hold for it.
    numeric: columns taken as numbers (categories that are numbers too); categories: columns of text.
    links: column -> (intercept, slope) that carry a score back to an older scale. cohort: only this cohort's rows.
    short: the condition of a text file's rows with fewer fields than the header. kept: that of the rows that count; the
    others are checked all the same. source: the rows, in SQL.
    """

    def __init__(
        self,
        sql: DuckSql,
        columns: Mapping[str, Column],
        numeric: tuple[str, ...] = (),
        categories: tuple[str, ...] = (),
        links: Mapping[str, tuple[float, float]] | None = None,
        cohort: int | None = None,
        short: str = "",
        kept: str = "",
    ):
        self.sql, self.columns, self.cohort, self.short, self.kept = sql, columns, cohort, short, kept
        self.source = ""
        self.links = dict(links or {})
        self.numbers = {name: f"v{i}" for i, name in enumerate(dict.fromkeys((*NUMBERS, *numeric)))}
        self.texts = {name: f"r{i}" for i, name in enumerate(dict.fromkeys(categories))}
        self.complete: list[str] = []
        self.tests: list[Test] = []
        for name in REASONS:
            self._canonical(name)
        for name in dict.fromkeys((*numeric, *categories)):
            if name not in REASONS:
                self._covariate(name)
        if kept:
            self._test(LEFT_OUT, kept, f"NOT {kept}")

    def rows(self, extra: str = "", source: str = "") -> str:
        """Layer 1: keys, numbers as doubles, levels as they are; extra: more columns, in SQL; source: other rows."""
        cohort = self.columns["cohort"]
        year = self._number("cohort") if cohort.kind == "text" else cohort.sql
        parts = [f"{self.columns['school'].sql} AS s", f"{year} AS t", *([extra] if extra else [])]
        parts += [f"{self._linked(name)} AS {alias}" for name, alias in self.numbers.items()]
        parts += [f"{self.columns[name].sql} AS {alias}" for name, alias in self.texts.items()]
        parts += [f"{self.short} AS short"] if self.short else []
        where = "" if self.cohort is None else f" WHERE {self._number('cohort')} = {self.sql.number(self.cohort)}"
        return f"SELECT {', '.join(parts)}, {self._status()} AS status FROM {source or self.source}{where}"

    def lacking(self, names: Callable[[Test], bool]) -> int:
        """The bits of a status that stand for some of the tests."""
        return sum(1 << i for i, test in enumerate(self.tests) if names(test))

    def _status(self) -> str:
        bits = [f"CASE WHEN {test.sql} THEN {1 << i} ELSE 0 END" for i, test in enumerate(self.tests)]
        return f"CASE WHEN {' AND '.join(self.complete)} THEN 0 ELSE {' + '.join(bits)} END"

    def _number(self, name: str) -> str:
        return number_sql(self.sql, self.columns[name])

    def _linked(self, name: str) -> str:
        if name not in self.links:
            return self._number(name)
        intercept, slope = self.links[name]
        return f"({self.sql.number(intercept)} + {self.sql.number(slope)} * {self._number(name)})"

    def _canonical(self, name: str) -> None:
        column = self.columns[name]
        held = {"school": "codes (text or numbers)", "student": "codes (text or numbers)", "cohort": "whole numbers"}
        must = f"must hold {held.get(name, 'numbers')}"
        if column.kind is None or column.kind == "truth":
            self._test(name, f"{column.sql} IS NULL", f"{column.sql} IS NULL")
            self.tests.append(Test(name, f"{column.sql} IS NOT NULL", must))
        elif name in ("school", "student"):
            self._code(name, column, must)
        else:
            self._number_test(name, column, must if name == "cohort" else "must hold finite numbers")
            value = self._number(name)
            if name == "cohort" and not column.whole:
                self.complete.append(f"{value} = floor({value}) AND abs({value}) < {self.sql.number(2**53)}")
                self.tests.append(
                    Test(
                        name,
                        f"{self.sql.finite(value)} AND ({value} <> floor({value}) OR abs({value}) "
                        f">= {self.sql.number(2**53)})",
                        must,
                    )
                )
            if column.kind == "text":
                self._unreadable(name, column, must)

    def _code(self, name: str, column: Column, must: str) -> None:
        x = column.sql
        if column.kind == "text":
            # most codes begin with a digit or letter of ASCII: a cheap test before the exact one
            self._test(name, f"({x} >= '0' AND {x} < '{{')", f"coalesce({self.sql.trimmed(x)}, '') = ''")
        else:
            self._number_test(name, column, must)
            if not column.whole:  # a double of 2^53 or more stands for several whole numbers
                value, exact = self._number(name), self.sql.number(2**53)
                self.complete.append(f"abs({value}) < {exact}")
                self.tests.append(Test(name, f"{self.sql.finite(value)} AND abs({value}) >= {exact}", must))

    def _unreadable(self, name: str, column: Column, must: str) -> None:
        value = self._number(name)
        sql = f"NOT ({self._blank(column)}) AND ({value} IS NULL OR isnan({value}))"
        self.tests.append(Test(name, sql, must, unreadable=True))

    def _padded(self, name: str, column: Column) -> None:
        x = self.sql.trimmed(column.sql)
        sql = f"{x} >= '00' AND {x} < '0:' AND {self.sql.matches(x, PADDED)}"
        self.complete.append(f"NOT ({sql})")
        self.tests.append(Test(name, sql, "must hold numbers without leading zeros"))

    def _number_test(self, name: str, column: Column, must: str) -> None:
        value = self._number(name)
        if column.doubtful:
            marked = self.sql.marked(column.sql)
            self.complete.append(f"NOT {marked}")
            self.tests.append(Test(name, f"{marked} AND NOT ({self._blank(column)})", column.doubtful))
        if column.whole:
            self._test(name, f"{column.sql} IS NOT NULL", f"{column.sql} IS NULL")
            return
        lacks = self._blank(column) if column.kind == "text" else f"{value} IS NULL OR isnan({value})"
        self._test(name, self.sql.finite(value), lacks)
        if must:
            self.tests.append(Test(name, f"{value} IS NOT NULL AND {self.sql.infinite(value)}", must))

    def _covariate(self, name: str) -> None:
        column = self.columns[name]
        if name in self.numbers:
            self._number_test(name, column, "")
            if column.kind == "truth" and column.words:  # likewise for true and false; 2 stands for other words
                self.complete.append(f"{column.sql} < 2")
                self.tests.append(Test(name, f"{column.sql} = 2", "must hold true and false"))
            if column.kind == "text":  # of a text file, taken for numbers by its first rows
                self._unreadable(name, column, "must hold numbers")
                if not column.zeros:
                    self._padded(name, column)
        elif column.words:
            self._test(name, f"NOT ({self._blank(column, strip=False)})", self._blank(column, strip=False))
        else:
            self._test(name, f"{column.sql} IS NOT NULL", f"{column.sql} IS NULL")

    def _blank(self, column: Column, strip: bool = True) -> str:
        x = self.sql.trimmed(column.sql) if strip else column.sql
        return f"{column.sql} IS NULL OR {self.sql.listed(x)}"

    def _test(self, name: str, complete: str, lacks: str) -> None:
        self.complete.append(complete)
        self.tests.append(Test(name, lacks))


class Engine(Protocol):
    """What reads a source: DuckDB or Spark.

    text: the source if it is a text file; short: the condition of its rows with fewer fields than the header, "" for
    another source; has_line_breaks: whether line breaks may stand inside its quotation marks. keep: puts the rows of
    some queries aside and says what to call them, also after release, which lets go of the rest; forget: lets go of some of
    them. derive: takes other rows that are made of each row of the source, with its columns among theirs.
    """

    name: str
    names: list[str]
    columns: list[Column]
    table: str
    text: TextSource | None

    @property
    def sql(self) -> DuckSql: ...
    @property
    def is_text(self) -> bool: ...
    @property
    def short(self) -> str: ...
    @property
    def has_line_breaks(self) -> bool: ...
    def query(self, sql: str) -> pa.Table: ...
    def put(self, name: str, table: pa.Table) -> str: ...
    def where(self, condition: str, column: str, only_first: bool = False) -> tuple[int, str, str]: ...
    def tell_short(self) -> None: ...
    def keep(self, queries: Sequence[str]) -> str: ...
    def forget(self, kept: str) -> None: ...
    def release(self) -> None: ...
    def hold(self, other: Any) -> None: ...
    def derive(self, rows: Callable[[str], str], columns: Sequence[Column], names: Sequence[str]) -> None: ...
    def batches(self, sql: str) -> Iterator[pa.RecordBatch]: ...
    def order(self, name: str) -> list[Any] | None: ...
    def close(self) -> None: ...


def kept_order(parts: Sequence[Path], name: str) -> list[Any] | None:
    """The levels of a column that is stored as a category, in the order of the file; None for another column.

    Reads that column alone, batch by batch.
    """
    schema = pq.read_schema(parts[0])
    at = schema.get_field_index(name)
    if at < 0 or not pa.types.is_dictionary(schema.field(at).type):
        return None
    levels: dict[Any, None] = {}
    for batch in dataset.dataset([str(p) for p in parts], schema=pa.schema([schema.field(at)])).to_batches():
        levels |= dict.fromkeys(level for level in batch.column(0).dictionary.to_pylist() if level is not None)
    return list(levels)


def in_order(levels: Iterable[Any], kept: Sequence[Any]) -> list[Any]:
    """Levels in the order that their source keeps, then in their own."""
    place = {level: k for k, level in enumerate(kept)}
    return sorted(levels, key=lambda v: (place.get(v, len(kept)), v))
