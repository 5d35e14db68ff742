"""What the columns of a streamed source hold, judged by their types or, in a text file, by its first rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula

from ...errors import ModelError, RecordsError
from ...records.reading import WHOLE, complaint, fault, is_text
from ...records.sources import MISSING, all_grouped, as_numbers, may_be_grouped
from ...records.sources.content import NUMBER, ODD, PADDED, classify, has_padded, numbers_meant
from ...records.sources.source import EXACT, FALSE, TRUE
from ...records.sources.text import has_thousandths, reading, settles
from ...records.years import MARKS, MUST, SHAPE, say_years
from ..covariates import as_covariates, uses
from .aggregate import Pass
from .layout import JOINED, MARKED, NUMBERS, Column, Engine, Layout, in_order

FIRST = 1000  # rows that most often settle how codes are written
MOST_TEXTS = 3_000_000  # more than there are numbers below 1000 with three decimals
GROUPED = "must hold numbers without points between thousands"


def with_mark(engine: Engine, column: Column, first: pd.Series, needed: bool) -> Column:
    """A column of text with the decimal mark of its numbers, which need not be that of the others.

    first: the first rows of it; where they leave the mark open, the column is doubtful until a row has one. needed:
    refuse marks that may stand between thousands.
    """
    told = first.dropna().unique()
    if settles(told):
        return replace(column, decimal=(reading(told, column.decimal) if column.words else "") or column.decimal)
    column = replace(column, doubtful=MARKED)
    with_marks = any(("." in value or "," in value) and value.strip() not in MISSING for value in told)
    return settle(engine, column, needed) if with_marks else column


def settle(engine: Engine, column: Column, needed: bool) -> Column:
    """A doubtful column with the mark that all its rows give it.

    Its kind is None where a mark may stand between thousands and the column is left as text, with a warning.
    Raises RecordsError for such a column that is needed.
    """
    sql, x = engine.sql, column.sql
    plain, own = replace(column, doubtful=""), sql.trimmed(x)
    has_mark = f"{sql.marked(x)} AND NOT {sql.listed(own)}"
    open_ = sql.matches(own, "[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")
    if settled := _texts(engine, x, f"{has_mark} AND NOT {open_}", 1):
        return replace(plain, decimal=(reading(settled, column.decimal) if column.words else "") or column.decimal)
    others = _texts(engine, x, f"NOT ({has_mark})", MOST_TEXTS)
    texts = _texts(engine, x, has_mark, MOST_TEXTS) + others
    values = as_numbers(pd.Series(texts, dtype="str"))[0]
    if not column.words:
        grouped = may_be_grouped(values) and all_grouped([t for t in texts if "." in t], ".")
        return replace(plain, doubtful=GROUPED if grouped else "")
    text = engine.text
    assert text is not None and text.dialect is not None  # only columns of text files have words
    mark = reading(texts, column.decimal)
    if mark == "":
        _, where, value = engine.where(has_mark, x, only_first=True)
        text.tell_grouped(column.original, value, where, needed)
        return replace(plain, kind=None)
    dialect = text.dialect
    if (
        needed
        and mark is not None
        and (dialect.delimiter, dialect.decimal, mark) == (";", ".", ".")
        and has_thousandths(values)
        and all_grouped(texts, mark)
    ):
        _, where, value = engine.where(has_mark, x, only_first=True)
        text.tell_thousandths(column.original, value, where)
    return replace(plain, decimal=mark or column.decimal)


def odd_text(engine: Engine, column: Column) -> str:
    """:func:`valib.records.sources.content.odd_values` of a column of text, said in a sentence; "" for categories."""
    sql, table = engine.sql, engine.table
    own = sql.trimmed(column.sql)
    there = f"{own} IS NOT NULL AND NOT {sql.listed(own)}"
    number = f"({sql.matches(own, NUMBER)} AND NOT {sql.matches(own, PADDED)})"
    comma, point = (f"{number} AND contains({own}, {sql.text(mark)})" for mark in ",.")
    counted = ", ".join(f"sum(CASE WHEN {x} THEN 1 ELSE 0 END)" for x in (number, comma, point))
    found = engine.query(
        f"SELECT count(DISTINCT CASE WHEN {number} THEN {own} END), {counted} FROM {table} WHERE {there}"
    )
    different, rows, commas, points = (int(found.column(k)[0].as_py() or 0) for k in range(4))
    others = engine.query(
        f"SELECT {own}, count(*) FROM {table} WHERE {there} AND NOT {number} GROUP BY {own} LIMIT {MOST_TEXTS}"
    )
    texts = dict(zip(others.column(0).to_pylist(), others.column(1).to_pylist(), strict=True))
    padded = {text: n for text, n in texts.items() if classify(text) == "padded"}
    rest = {text: n for text, n in texts.items() if text not in padded}
    if not numbers_meant(different, rows, padded, rest, typed=not column.words):
        return ""
    rare = f" OR ({comma if commas <= points else point})" if commas and points else ""
    odd = f"{there} AND (NOT {number}{rare})"
    some = bool(texts or rare)
    count, where, first = engine.where(odd if some else there, column.sql, only_first=not some)
    total = engine.query(f"SELECT count(*) FROM {table}").column(0)[0].as_py()
    return f"{engine.name}: " + complaint(column.original, column.name, count if some else 0, total, where, first)


def with_stripped(engine: Engine, column: Column) -> Column:
    """A column of codes, told whether all its rows write 1 as 1.0; most often the first rows do not."""
    if not column.words:
        return column
    x = engine.sql.trimmed(column.sql)
    other = f"{x} <> '' AND NOT {engine.sql.matches(x, WHOLE)}"
    first = f"(SELECT * FROM {engine.table} LIMIT {FIRST}) AS first"
    return replace(column, stripped=not (_texts(engine, x, other, 1, first) or _texts(engine, x, other, 1)))


def with_years(engine: Engine, column: Column, year: str | None) -> Column:
    """A column of cohorts, its school years as numbers; see :func:`valib.records.years.starts_of`.

    year: which year of a school year is the cohort, if that is said. Raises RecordsError if only some are school years.
    """
    if year is None and column.kind != "text":
        return column
    sql, own = engine.sql, engine.sql.trimmed(f"CAST({column.sql} AS STRING)")
    there, looks = f"({own} IS NOT NULL AND NOT {sql.listed(own)})", sql.matches(own, SHAPE)
    counted = ", ".join(f"sum(CASE WHEN {x} THEN 1 ELSE 0 END)" for x in (there, looks))
    values, school = (c[0].as_py() or 0 for c in engine.query(f"SELECT {counted} FROM {engine.table}").columns)
    if year is None and (not school or 2 * school < values):
        return column
    digits = f"translate({own}, {sql.text(f' {MARKS}')}, '')"
    first, second = f"TRY_CAST(substr({digits}, 1, 4) AS INT)", f"TRY_CAST(substr({digits}, 5) AS INT)"
    follows = f"{second} = CASE WHEN length({digits}) = 8 THEN {first} + 1 ELSE ({first} + 1) % 100 END"
    odd = f"{there} AND NOT coalesce({looks} AND {follows}, false)"
    if engine.query(f"SELECT count(*) FROM {engine.table} WHERE {odd}").column(0)[0].as_py():
        total = engine.query(f"SELECT count(*) FROM {engine.table}").column(0)[0].as_py()
        count, where, value = engine.where(odd, column.sql)
        told = fault(column.original, "cohort", MUST, count, total, where, value)
        raise RecordsError(f"{engine.name}: {told}.")
    cohort = f"(CASE WHEN {there} THEN {first} + {say_years(engine.name, column.original, year)} END)"
    return replace(column, sql=cohort, kind="number", whole=True, words=False)


def check_line_breaks(engine: Engine, codes: Collection[str]) -> None:
    """Refuse or warn of fields that hold whole rows; codes: the columns of codes, as the source calls them."""
    text = engine.text
    if text is None or not engine.has_line_breaks:
        return
    several = [f"contains({column.sql}, chr(10))" for column in engine.columns]
    counts = engine.query(f"SELECT {', '.join(f'count_if({x})' for x in several)} FROM {engine.table}")
    for column, some, count in zip(engine.columns, several, counts.columns, strict=True):
        texts = _texts(engine, column.sql, some, MOST_TEXTS) if count[0].as_py() else ()
        if held := tuple(filter(text.holds_rows, texts)):
            _, where, value = engine.where(engine.sql.listed(column.sql, held), column.sql)
            text.tell_swallowed(column.original, value, where, column.original in codes)


def _texts(engine: Engine, x: str, condition: str, most: int, source: str = "") -> list[str]:
    """Different texts of some rows, as many as there are or ``most``."""
    rows = engine.query(
        f"SELECT DISTINCT {x} AS x FROM {source or engine.table} WHERE {x} IS NOT NULL AND {condition} LIMIT {most}"
    )
    return list(rows.column(0).to_pylist())


SAMPLE = 10_000  # rows that say what a covariate is, and about where its mean lies
MOST_LEVELS = 1_000  # of a categorical covariate
NEEDED = (*NUMBERS, "cohort")  # what must hold numbers


@dataclass
class Judge:
    """columns: by their names in this library. words: covariates of a text file that turned out to be text. marked:
    the columns of text whose decimal marks were looked at."""

    engine: Engine
    columns: dict[str, Column]
    words: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)

    def kinds(self, needed: list[str], parsed: Formula) -> dict[str, str]:
        """What every column of the formula is: number, truth, text, or category (of numbers).

        Judged by its type or, in a text file, by its first rows.
        """
        sample, (numbers, _, plain) = self._sample(needed), uses(parsed)
        texts = {c for c in needed if c not in NEEDED and is_text(sample[c])}
        sample.attrs[ODD] = {c: self._odd(self.columns[c]) if c in numbers | plain else "" for c in texts}
        if len(complete := sample[needed].dropna()):
            as_covariates(complete, parsed)
        return {c: self._kind(self.columns[c], sample[c].dtype) for c in needed}

    def settled(self, name: str) -> str:
        """What a column is by all its rows: number, truth, text, or "" for what is none; its marks are settled."""
        dtype = self._sample([name])[name].dtype
        column = self.columns[name]
        if column.doubtful:
            self._take(settle(self.engine, column, name in NEEDED))
            dtype = self._sample([name])[name].dtype
        column, sql = self.columns[name], self.engine.sql
        if column.kind is None and name not in NEEDED:
            return ""
        kind = self._kind(column, dtype)
        if column.words and name not in NEEDED and kind != "text":
            x = sql.trimmed(column.sql)
            value = sql.read_number(column.sql, column.decimal)
            none = (
                f"({value}) IS NULL OR isnan({value})" if kind == "number" else f"NOT {sql.listed(x, (*TRUE, *FALSE))}"
            )
            padded = f" OR {sql.matches(x, PADDED)}" if kind == "number" and not column.zeros else ""
            if _texts(self.engine, x, f"NOT {sql.listed(x)} AND ({none}{padded})", 1):
                self.turn({name})
                return self.settled(name)
        return "number" if kind == "category" else kind

    def _odd(self, column: Column) -> str:
        """What to say of a column of text that is meant to hold numbers; "" for categories."""
        if column.name not in self.told:
            self.told[column.name] = odd_text(self.engine, column)
        return self.told[column.name]

    def turn(self, names: set[str]) -> None:
        """Take covariates that were numbers by their first rows for what all rows tell: text, codes, or numbers still."""
        for name in names:
            column, sql = self.columns[name], self.engine.sql
            own = sql.trimmed(column.sql)
            told = f"{own} IS NOT NULL AND NOT {sql.listed(own)}"
            others = _texts(self.engine, own, f"{told} AND NOT {sql.matches(own, '[0-9]+')}", MOST_TEXTS)
            if others and not as_numbers(pd.Series(others, dtype="str").str.replace(",", "."))[1].any():
                self.columns[name] = replace(column, zeros=True)
            else:
                self.words.add(name)

    def _kind(self, column: Column, sampled: Any) -> str:
        if column.name in NEEDED:
            return "number"
        if column.kind in ("number", "truth"):
            return column.kind if self.engine.order(column.original) is None else "category"
        if pd.api.types.is_numeric_dtype(sampled):
            return "truth" if pd.api.types.is_bool_dtype(sampled) else "number"
        return "text"

    def _sample(self, needed: list[str]) -> pd.DataFrame:
        """The first rows with the columns as read_records would give them."""
        columns = [self.columns[c] for c in dict.fromkeys((*needed, *NEEDED))]
        chosen = ", ".join(f"{c.sql} AS k{i}" for i, c in enumerate(columns))
        rows = self.engine.query(f"SELECT {chosen} FROM (SELECT * FROM {self.engine.table} LIMIT {SAMPLE}) AS first")
        frame = pd.DataFrame({c.name: rows.column(i).to_pandas() for i, c in enumerate(columns)})
        for c in columns:
            if c.sql == JOINED:  # not there yet; any numbers will do
                frame[c.name] = np.arange(len(frame), dtype=np.float64)
                continue
            if c.name not in self.marked and (c.words or (c.kind == "text" and c.name in NUMBERS)):
                self.marked.add(c.name)
                self._take(with_mark(self.engine, c, frame[c.name], c.name in NEEDED))
            c = self.columns[c.name]
            text = frame[c.name].str.replace(",", ".") if c.words and c.decimal == "," else frame[c.name]
            values, bad = as_numbers(text)
            if c.words and c.name not in NEEDED and has_padded(frame[c.name]) and c.name not in self.words:
                self.turn({c.name})
            judged = c.words and c.name not in self.words
            if c.name in NEEDED or (judged and not bad.any()):
                frame[c.name] = values
            elif c.words:
                told = frame[c.name].mask(frame[c.name].isin(MISSING))
                truths = judged and told.dropna().isin([*TRUE, *FALSE]).all()
                frame[c.name] = told.isin(TRUE).astype("boolean").mask(told.isna()) if truths else told
            elif self.engine.order(c.original) is not None:
                frame[c.name] = frame[c.name].astype("category")
        return frame

    def learned(self, found: Pass) -> bool:
        """Whether a pass tells how columns of text are to be read, otherwise than their first rows did.

        Where the numbers of a column have commas and some are no numbers even so, only those with points are any.
        """
        for name in found.marked:
            self._take(settle(self.engine, self.columns[name], name in NEEDED))
        commas = {test.name for test in found.faults if test.unreadable and self.columns[test.name].decimal == ","}
        for name in commas - found.marked:
            self.columns[name] = replace(self.columns[name], decimal=".")
        return bool(found.marked or commas)

    def _take(self, column: Column) -> None:
        """Keep what is known of a column's marks; a kind of None stands for text."""
        if column.kind is None:
            self.words.add(column.name)
            column = replace(column, kind="text")
        self.columns[column.name] = column

    def truth(self, column: Column) -> Column:
        """A column of a text file with the words true and false, as 1 and 0; 2 for another word."""
        listed, x = self.engine.sql.listed, column.sql
        return replace(
            column,
            sql=f"(CASE WHEN {listed(x, TRUE)} THEN 1 WHEN {listed(x, FALSE)} THEN 0 "
            f"WHEN NOT ({x} IS NULL OR {listed(x)}) THEN 2 END)",
            kind="truth",
            whole=True,
        )

    def levels(self, column: Column, kind: str, layout: Layout) -> list[Any]:
        """Every level of a categorical column in a layout's rows, as plain Python values in order."""
        name, kept = column.name, f" WHERE {layout.kept}" if layout.kept else ""
        source = f"SELECT DISTINCT {column.sql} AS level FROM {layout.source}{kept} LIMIT {MOST_LEVELS + 2}"
        found = self.engine.query(source).column(0).to_pandas()
        if len(found) > MOST_LEVELS + 1:
            raise ModelError(f"Column '{name}' has more than {MOST_LEVELS:,} levels, too many for a category.")
        if column.words and kind == "text":
            found = found.mask(found.isin(MISSING))
        present, order = found.dropna(), self.engine.order(column.original) or []
        if kind == "text":
            return in_order(present.astype("str").tolist(), order)
        if kind == "truth":
            return in_order({bool(v) for v in present}, order)
        values = as_numbers(present.str.replace(",", ".") if column.words and column.decimal == "," else present)[0]
        values = np.unique(values[~np.isnan(values)])
        whole = (
            name == "cohort"
            or (column.whole and kind == "category")
            or (
                len(present) == len(found)
                and (
                    column.whole
                    or (column.words and present.astype("str").str.strip().str.fullmatch(r"[+-]?\d+").all())
                )
            )
        )
        if whole and (np.abs(values) >= EXACT).any():
            raise ModelError(
                f"Column '{name}' has whole numbers of 2^53 or more for categories, which a stream cannot "
                "tell apart: store them as text, or take --engine memory."
            )
        return in_order([int(v) if whole and name not in NUMBERS else float(v) for v in values], order)
