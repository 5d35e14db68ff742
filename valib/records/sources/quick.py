"""Texts as numbers, by Arrow: column by column, or in one pass with the cutting of a file into rows and fields.

The latter is for files that hold nothing but fields and delimiters, as most do. Where anything about a file is not plain (a
line break inside quotation marks, a short or a long row, numbers that are hard to understand), nothing is read in this way
and the file goes through the one reader of text, so that both give the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .content import classify
from .plain import SPACES
from .source import FALSE, MISSING, TRUE, Dialect, characters

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 1 << 15  # bytes that tell which columns are likely to hold broken numbers


def quick_table(
    source: Path | bytes,
    dialect: Dialect,
    width: int,
    quoted: bool,
    codes: Collection[int] = (),
    numbers: Collection[int] = (),
    broken: Collection[int] = (),
) -> pa.Table | None:
    """The rows below the header as text c0, c1, ..., null where missing; no line is blank. None if they do not fit.

    codes: columns of text none of which is null; numbers: columns that become int64 or float64; broken: those that become
    float64, not all of whose numbers are whole. None too if one of them cannot without doubt. The source is plain text in
    UTF-8 with its header in the first line. quoted: whether it has quotation marks, which are in order then.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = [f"c{k}" for k in range(width)]
    types = {name: pa.large_string() for k, name in enumerate(names) if k not in numbers}
    types |= {names[k]: pa.float64() for k in broken}

    def cut(columns: Collection[int], null: bool) -> pa.Table:
        with pa.OSFile(str(source)) if isinstance(source, Path) else pa.BufferReader(source) as file:
            return csv.read_csv(
                file,
                csv.ReadOptions(skip_rows=1, column_names=names),
                csv.ParseOptions(delimiter=dialect.delimiter, quote_char='"' if quoted else False),
                csv.ConvertOptions(
                    column_types=types,
                    include_columns=[names[k] for k in columns],
                    null_values=list(MISSING),
                    strings_can_be_null=null,
                    decimal_point=dialect.decimal,
                    check_utf8=False,  # as it is known
                ),
            )

    try:
        rows = cut(range(width), null=True)
        blank = [k for k in codes if rows.column(k).null_count]  # or a code NA
        for k, texts in zip(blank, cut(blank, null=False).columns if blank else (), strict=True):
            rows = rows.set_column(k, names[k], texts)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    sound = all(_is_number(rows.column(k)) for k in numbers) and all(_is_number(rows.column(k), True) for k in broken)
    return rows if sound else None


def likely_broken(head: bytes, dialect: Dialect, width: int, quoted: bool, others: Collection[int]) -> list[int]:
    """Which of some columns hold broken numbers in the first rows of a file."""
    rows = quick_table(head[: head.rfind(b"\n") + 1], dialect, width, quoted) if others else None
    found = {k: broken_numbers(rows.column(k), dialect.decimal) for k in others} if rows else {}
    return [k for k, x in found.items() if x is not None and (x[~np.isnan(x)] % 1 != 0).any()]


def are_words(rows: pa.ChunkedArray) -> bool:
    """Whether a column, null where missing, can be seen at a glance to hold categories: words without digits."""
    import pyarrow.compute as pc

    first = (pc.first(rows).as_py() or "").strip()
    if first in (*MISSING, *TRUE, *FALSE) or classify(first) != "word" or _is_float(first):
        return False
    return not any(((texts - ord("0")) < 10).any() or texts.max() > 127 for texts, _ in characters(rows))


def _is_float(text: str) -> bool:
    """Whether Python knows a text as a number, as it does inf."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(column: pa.ChunkedArray, broken: bool = False) -> bool:
    """Whether a column was understood as numbers beyond doubt; broken: and some of them are not whole.

    "NAN" is none, though Arrow takes it for one, and numbers that are all whole may be integers with a plus sign.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return pa.types.is_integer(column.type)
    whole = True
    for part in column.chunks:
        values = pc.drop_null(part).to_numpy(zero_copy_only=False)
        if np.isnan(values).any():
            return False
        whole = whole and bool((values == np.floor(values)).all())
    return not whole or (column.null_count > 0 and not broken)


def whole_numbers(rows: pa.ChunkedArray, odd: bool = False) -> np.ndarray | None:
    """Texts as int64; None if some are no whole numbers. odd: with white space around, or a plus sign."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if odd:
        rows = pc.replace_substring_regex(pc.utf8_trim(rows, SPACES), r"^\+", "")
    try:
        found = None if rows.null_count else rows.cast("int64").to_numpy()
    except pa.ArrowInvalid:
        return None
    if found is None or any(((texts | 32) == ord("x")).any() for texts, _ in characters(rows)):  # it takes 0x1F for 31
        return None
    return found


def broken_numbers(rows: pa.ChunkedArray, decimal: str) -> np.ndarray | None:
    """Texts as float64, nan where blank; None if some are no numbers with this decimal mark."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with contextlib.suppress(pa.ArrowInvalid):
        if decimal == ".":  # as most columns of numbers are: none missing but those that are null
            found = rows.cast("float64").to_numpy()
            if np.isnan(found).sum() == rows.null_count:
                return found
    own = pc.utf8_trim(rows, SPACES)
    blank = pc.fill_null(pc.is_in(own, pa.array(MISSING)), True)
    told = pc.if_else(blank, None, own)
    if decimal == ",":
        if pc.any(pc.match_substring(told, ".")).as_py():
            return None
        told = pc.replace_substring(told, ",", ".")
    try:
        found = told.cast("float64").to_numpy()
    except pa.ArrowInvalid:
        return None
    return found if (np.isnan(found) == blank.to_numpy()).all() else None  # nan in another spelling is a word
