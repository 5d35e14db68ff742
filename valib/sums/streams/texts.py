"""What a stream of a text file must know of all its rows: decimal marks, short rows, lost quotation marks, codes 1.0.

The first rows settle nearly all of it; the rest is asked in SQL and judged and said as for a file read into memory.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ...records.reading import WHOLE
from ...records.sources import MISSING, all_grouped, as_numbers, may_be_grouped
from ...records.sources.dialect import has_thousandths, reading, settles
from .engine import Engine
from .layout import MARKED, Column

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
    mark = reading(texts, column.decimal)
    if mark == "":
        _, where, value = engine.where(has_mark, x, only_first=True)
        engine.text.tell_grouped(column.original, value, where, needed)
        return replace(plain, kind=None)
    dialect = engine.text.dialect
    if (needed and (dialect.delimiter, dialect.decimal, mark) == (";", ".", ".") and has_thousandths(values)
            and all_grouped(texts, mark)):
        _, where, value = engine.where(has_mark, x, only_first=True)
        engine.text.tell_thousandths(column.original, value, where)
    return replace(plain, decimal=mark or column.decimal)


def with_stripped(engine: Engine, column: Column) -> Column:
    """A column of codes, told whether all its rows write 1 as 1.0; most often the first rows do not."""
    if not column.words:
        return column
    x = engine.sql.trimmed(column.sql)
    other = f"{x} <> '' AND NOT {engine.sql.matches(x, WHOLE)}"
    first = f"(SELECT * FROM {engine.table} LIMIT {FIRST}) AS first"
    return replace(column, stripped=not (_texts(engine, x, other, 1, first) or _texts(engine, x, other, 1)))


def check_rows(engine: Engine, codes: set[str], short: int) -> None:
    """Refuse or warn of fields that hold whole rows, and warn of rows with fewer fields than the header, ``short`` of
    them; codes: the columns of codes, as the source calls them."""
    if engine.has_line_breaks:
        mark, width = engine.text.dialect.delimiter, len(engine.names)
        held = [_holds_rows(engine, column.sql, mark, width) for column in engine.columns]
        counts = engine.query("SELECT " + ", ".join(f"sum(CASE WHEN {sql} THEN 1 ELSE 0 END)" for sql in held)
                              + f" FROM {engine.table}")
        for i, column in enumerate(engine.columns):
            if counts.column(i)[0].as_py():
                _, where, value = engine.where(held[i], column.sql)
                engine.text.tell_swallowed(column.original, value, where, column.original in codes)
    if short:
        engine.tell_short()


def _holds_rows(engine: Engine, x: str, mark: str, width: int) -> str:
    """Whether a field has as many delimiters between its line breaks as rows have."""
    breaks, marks = (f"(length({x}) - length(replace({x}, {c}, '')))" for c in ("chr(10)", engine.sql.text(mark)))
    return f"({breaks} > 0 AND {marks} > 0 AND {marks} = {breaks} * {width - 1})"


def _texts(engine: Engine, x: str, condition: str, most: int, source: str = "") -> list[str]:
    """Different texts of some rows, as many as there are or ``most``."""
    rows = engine.query(f"SELECT DISTINCT {x} AS x FROM {source or engine.table} WHERE {x} IS NOT NULL AND {condition} "
                        f"LIMIT {most}")
    return rows.column(0).to_pylist()
