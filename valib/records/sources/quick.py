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

from .plain import SPACES
from .source import MISSING, Dialect

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 1 << 16  # bytes that tell which columns are likely to hold broken numbers
FIRST = 5_000  # rows that tell whether few texts differ


def quick_table(
    source: Path | bytes,
    dialect: Dialect,
    width: int,
    quoted: bool,
    numbers: Collection[int] = (),
    broken: Collection[int] = (),
) -> pa.Table | None:
    """The rows below the header as text c0, c1, ...: an empty field is empty, no line is blank; None if they do not fit.

    numbers: columns that become int64 or float64, null where missing; broken: those that become float64, not all of whose
    numbers are whole. None too if one of them cannot without doubt. The source is plain text in UTF-8 with its header in the
    first line. quoted: whether it has quotation marks, which are in order then.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = [f"c{k}" for k in range(width)]
    types = {name: pa.large_string() for k, name in enumerate(names) if k not in numbers}
    try:
        with pa.OSFile(str(source)) if isinstance(source, Path) else pa.BufferReader(source) as file:
            rows = csv.read_csv(
                file,
                csv.ReadOptions(skip_rows=1, column_names=names),
                csv.ParseOptions(delimiter=dialect.delimiter, quote_char='"' if quoted else False),
                csv.ConvertOptions(
                    column_types=types | {names[k]: pa.float64() for k in broken},
                    null_values=list(MISSING),
                    strings_can_be_null=False,
                    decimal_point=dialect.decimal,
                    check_utf8=False,  # as it is known
                ),
            )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    sound = all(_is_number(rows.column(k)) for k in numbers) and all(_is_number(rows.column(k), True) for k in broken)
    return rows if sound else None


def likely_broken(head: bytes, dialect: Dialect, width: int, quoted: bool, others: Collection[int]) -> list[int]:
    """Which of some columns hold broken numbers in the first rows of a file."""
    rows = quick_table(head[: head.rfind(b"\n") + 1], dialect, width, quoted) if others else None
    found = {k: broken_numbers(rows.column(k), dialect.decimal) for k in others} if rows else {}
    return [k for k, x in found.items() if x is not None and (x[~np.isnan(x)] % 1 != 0).any()]


def distinct(rows: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray | None]:
    """The different texts of a column, and which of them each row has; where most rows differ, all of them and None."""
    import pyarrow as pa

    first = rows.slice(0, FIRST)
    if 2 * len(first.unique()) > len(first):
        return rows, None
    encoded = rows.dictionary_encode(null_encoding="encode").combine_chunks()
    return pa.chunked_array([encoded.dictionary]), encoded.indices.to_numpy()


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
    sixteens = any(pc.any(pc.match_substring(rows, x)).as_py() for x in "xX")  # Arrow takes 0x1F for 31
    return None if sixteens else found


def broken_numbers(rows: pa.ChunkedArray, decimal: str) -> np.ndarray | None:
    """Texts as float64, nan where blank; None if some are no numbers with this decimal mark."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with contextlib.suppress(pa.ArrowInvalid):
        if decimal == ".":  # as most columns of numbers are: none missing
            found = rows.cast("float64").to_numpy()
            if not np.isnan(found).any():
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
