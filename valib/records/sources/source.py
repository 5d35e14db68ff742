"""What every source of records has: a name, columns, rows, and a way of saying where a row stands."""

from __future__ import annotations

import itertools
import numbers
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ...errors import RecordsError

SHOWN = 5  # rows that an error names before it only counts
WIDEST = 10_000  # columns


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text file is written.

    Attributes
    ----------
    delimiter : between fields: comma, semicolon, tab or vertical bar.
    decimal : the decimal mark of its numbers, point or comma.
    encoding : Python's name of its encoding: utf-8, utf-8-sig (with a byte order mark), utf-16 or cp1252
        (Windows-1252, which holds Latin-1's letters). Judged by the first MiB: a byte that is not UTF-8 may come later.
    gzip : whether the file is compressed.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """An opened table: its name, its column names in order, and how to get at its rows.

    Attributes
    ----------
    name : what it is called in messages: the file's name without its folder, "the DataFrame", "database 'name'".
    columns : the names as the source has them (those of a text file stripped of white space).
    frame : the rows, if they are in memory already.
    path : the file or folder; None for a DataFrame or a database.
    dialect : how a text file is written; None for any other source.
    numbers : the number of each row of ``frame`` as the source counts them (a sheet's rows); None: from 1.
    """

    name: str
    columns: tuple
    frame: pd.DataFrame | None = None
    path: Path | None = None
    dialect: Dialect | None = None
    numbers: np.ndarray | None = None

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows with a RangeIndex.

        Parameters
        ----------
        text_columns : columns of codes; they keep every character, digit and leading zero that the source has.
        number_columns : columns that must hold numbers; in a text file they are refused if their commas and points
            can be understood in two ways.

        Raises
        ------
        RecordsError
            If the source cannot be read to its end or its rows do not fit its header.
        """
        return self.frame.reset_index(drop=True)

    def where(self, positions: Collection[int]) -> str:
        """Name the first few rows in words, as the source counts them.

        ``positions`` are row numbers from 0 in the table that ``read`` returned, in ascending order.
        """
        word, numbers = self._counted(list(itertools.islice(positions, SHOWN)))
        shown = [str(number) for number in numbers]
        if len(positions) > SHOWN:
            shown.append(f"{len(positions) - SHOWN} more")
        if len(shown) == 1:
            return f"{word} {shown[0]}"
        return f"{word}s {', '.join(shown[:-1])} and {shown[-1]}"

    def _counted(self, positions: list[int]) -> tuple[str, list[int]]:
        """What a row is called here, and the numbers of the rows at these positions."""
        if self.numbers is None:
            return "row", [int(position) + 1 for position in positions]
        return "row", [int(self.numbers[position]) for position in positions]


def check_width(name: str, columns: int) -> None:
    """Raise RecordsError for more columns than a table of records has."""
    if columns > WIDEST:
        raise RecordsError(f"{name}: has {columns:,} columns, more than a table of records has ({WIDEST:,}).")


@dataclass(frozen=True, slots=True)
class CellSource(Source):
    """A table in memory whose columns still have the types of where they are from."""

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. Columns of codes stay exact, categories keep the order of
        their levels, the others get NumPy's types."""
        frame = self.frame.reset_index(drop=True)
        return pd.DataFrame(
            {name: _as_code(frame[name]) if name in text_columns else _as_plain(frame[name]) for name in frame.columns}
        )


def _as_code(column: pd.Series) -> pd.Series:
    """A database's UUIDs as text; any other column as it is."""
    if column.dtype == object and any(isinstance(value, uuid.UUID) for value in column):
        return column.map(str, na_action="ignore")
    return column


def _as_plain(column: pd.Series) -> pd.Series:
    """Numbers as int64, or float64 if some are missing or broken; text as ``str``; other values as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        if pd.api.types.is_string_dtype(column.cat.categories.dtype):
            return column  # with its levels in the order of the source
        column = column.astype(object)
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind):
        return column.astype(object).where(column.notna(), None) if column.hasnans else column.astype(bool)
    if pd.api.types.is_extension_array_dtype(kind) and pd.api.types.is_numeric_dtype(kind):
        return column.astype("float64" if column.hasnans or kind.kind == "f" else "int64")
    if kind != object:
        return column.astype("str") if pd.api.types.is_string_dtype(kind) else column
    blank = column.isna() | column.map(lambda value: isinstance(value, str) and value.strip() in MISSING)
    told = column[~blank]
    if len(told) and all(isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool) for value in told):
        whole = all(isinstance(value, numbers.Integral) and abs(value) < 2**63 for value in told)
        return column.mask(blank).astype("float64") if blank.any() or not whole else column.astype("int64")
    return column.infer_objects()


EXACT, LONGEST_CODE = 2.0**53, 1e40  # codes that are floating-point numbers, and other numbers, lie below these
# What a blank value looks like in a text file, outside the columns of codes (where only an empty field is missing).
TRUE, FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")
MISSING = ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NV", "NaN", "nan", "NULL", "null", ".")


def _plain(column: pd.Series, exact: bool = False) -> pd.Series:
    """A categorical column as its categories' own type; an object column of one type as that type.

    exact: not where whole numbers would become floating-point ones for the sake of a missing value.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.hasnans else object)
    if column.dtype != object:
        return column
    inferred = column.infer_objects()
    return column if exact and pd.api.types.is_float_dtype(inferred.dtype) and inferred.hasnans else inferred


def as_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """float64 values (NaN where missing or not a number) and a mask of the values that are not numbers."""
    column = _plain(column)
    kind = column.dtype
    if kind in (np.float64, np.int64):
        return column.to_numpy(dtype=np.float64, copy=True), np.zeros(len(column), dtype=bool)
    present = column.notna().to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(kind) and not (
        pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind)
    ):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(column), dtype=bool)
    if kind == object:
        readable = np.array(
            [isinstance(value, (str, numbers.Number)) and not isinstance(value, (bool, complex)) for value in column],
            dtype=bool,
        )
    else:
        readable = np.full(len(column), pd.api.types.is_string_dtype(kind))  # not dates, durations, true and false
    text = column.astype(object).where(readable & present, None).astype("str").str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    blank = text.isin(MISSING).to_numpy(dtype=bool)
    return values, present & ~(readable & (blank | ~np.isnan(values)))


def characters(texts: pa.ChunkedArray | pa.Array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Part by part, the bytes of all texts of a column that stand one behind the other, and the length of each."""
    texts = texts.cast(pa.large_string())
    for part in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        _, offsets, held = part.buffers()
        ends = (
            np.frombuffer(offsets, np.int64)[part.offset : part.offset + len(part) + 1]
            if len(part)
            else np.zeros(1, int)
        )
        yield np.frombuffer(held or b"", np.uint8)[ends[0] : ends[-1]], np.diff(ends)


def are_bare(codes: pd.Series) -> bool:
    """Whether no text of a column is missing or empty and all are of ASCII without white space, as most codes are."""
    return not codes.hasnans and all(
        lengths.all() and texts.min(initial=127) > 32 and texts.max(initial=0) < 127
        for texts, lengths in characters(pa.array(codes.array))
    )


def as_codes(column: pd.Series) -> pd.Series:
    """Text codes (dtype ``str``), stripped; blank is missing. The column must have passed `can_be_codes`."""
    column = _plain(column, exact=True)
    if pd.api.types.is_float_dtype(column.dtype):
        whole = column.isna() | (column == np.floor(column))
        column = column.astype("Int64") if whole.all() else column.astype(object)
    if column.dtype == object:
        column = column.map(_code_text, na_action="ignore")
    codes = column.astype("str")
    if are_bare(codes):
        return codes
    codes = codes.str.strip()
    return codes.mask(codes == "") if (codes == "").any() else codes


def _code_text(value) -> str:
    if not isinstance(value, str) and value == int(value):
        return str(int(value))  # 1.0 is school "1"
    return str(value)


def can_be_codes(column: pd.Series) -> np.ndarray:
    """Mask of the values that are text or numbers that are exact, or missing.

    A floating-point number of 2^53 or more stands for several whole numbers, so it is no code.
    """
    column = _plain(column, exact=True)
    kind = column.dtype
    missing = column.isna().to_numpy(dtype=bool)
    if kind == object:
        return missing | np.fromiter(map(_is_code, column), dtype=bool, count=len(column))
    if pd.api.types.is_float_dtype(kind):
        return missing | (np.abs(column.to_numpy(dtype=np.float64, na_value=np.nan)) < EXACT)
    return missing | (pd.api.types.is_string_dtype(kind) or pd.api.types.is_integer_dtype(kind))


def _is_code(value) -> bool:
    if isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool):
        return abs(value) < (EXACT if isinstance(value, (float, np.floating)) else LONGEST_CODE)
    return isinstance(value, str)
