"""Tables from files and DataFrames: their rows, the file line of each row, their columns as numbers or codes."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import numbers
import os
import warnings
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from .errors import RecordsError

# What a blank value looks like in a CSV file, outside the columns of codes (where only an empty field is missing).
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null")
_NOT_A_TABLE = "is neither CSV in UTF-8 nor Parquet; save the table as one of these."
_SHOWN = 5  # rows that an error names before it only counts


@dataclass(frozen=True, slots=True)
class Source:
    """An opened table: its name, its column names in order, and how to get at its rows.

    Attributes
    ----------
    name : file name without its folder, or "the DataFrame".
    columns : the names as the source has them (those of a CSV file stripped of white space).
    frame : the rows, if they are in memory already (a DataFrame or a Parquet file); None for a CSV file.
    path : the CSV file; None otherwise.
    skip : records of the CSV file up to and including its header.
    """

    name: str
    columns: tuple
    frame: pd.DataFrame | None = None
    path: Path | None = None
    skip: int = 0

    def read(self, text_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows with a RangeIndex; ``text_columns`` of a CSV file are read as text, character by character.

        Raises
        ------
        RecordsError
            If a CSV file is not UTF-8 or its rows do not fit its header.
        """
        if self.frame is not None:
            return self.frame.reset_index(drop=True)
        try:
            return self._read_csv(text_columns)
        except UnicodeDecodeError as error:
            raise RecordsError(f"{self.name}: {_NOT_A_TABLE}") from error
        except EmptyDataError:
            return pd.DataFrame(columns=list(self.columns))
        except (ParserError, ParserWarning, csv.Error) as error:
            raise RecordsError(self._ragged_row()) from error
        except (OSError, EOFError, zlib.error) as error:
            raise RecordsError(f"{self.name}: cannot be read to its end ({error}).") from error

    def _read_csv(self, text_columns: Collection[str]) -> pd.DataFrame:
        missing = {name: [""] if name in text_columns else list(MISSING) for name in self.columns}
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            return pd.read_csv(
                self.path, header=None, names=list(self.columns), skiprows=self.skip, index_col=False,
                dtype=dict.fromkeys(text_columns, "str"), keep_default_na=False, na_values=missing,
                encoding="utf-8", compression="gzip" if _is_gzip(self.path) else None, low_memory=False,
            )  # fmt: skip

    def where(self, positions: Collection[int]) -> str:
        """Name the first few rows in words: lines of the CSV file, else rows counted from 1.

        ``positions`` are row numbers from 0 in the table that ``read`` returned, in ascending order.
        """
        first = list(itertools.islice(positions, _SHOWN))
        if self.path is None:
            word, numbers = "row", [int(position) + 1 for position in first]
        else:
            word, numbers = "line", self._file_lines(first)
        shown = [str(number) for number in numbers]
        if len(positions) > _SHOWN:
            shown.append(f"{len(positions) - _SHOWN} more")
        if len(shown) == 1:
            return f"{word} {shown[0]}"
        return f"{word}s {', '.join(shown[:-1])} and {shown[-1]}"

    def _file_lines(self, positions: list[int]) -> list[int]:
        """The line on which each row starts: blank lines count, and so do line breaks inside quotation marks."""
        wanted, lines = set(positions), []
        for position, (start, _) in enumerate(self._records()):
            if position in wanted:
                lines.append(start)
            if len(lines) == len(wanted):
                break
        return lines

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Rows of the CSV file after its header with the line each starts on; blank lines are passed over."""
        with _open_text(self.path) as stream:
            reader = csv.reader(stream)
            for _ in range(self.skip):
                next(reader)
            start = reader.line_num + 1
            for fields in reader:
                if not _is_blank(fields):
                    yield start, fields
                start = reader.line_num + 1

    def _ragged_row(self) -> str:
        width = len(self.columns)
        try:
            for line, fields in self._records():
                if len(fields) > width:
                    return f"{self.name}: line {line} has {len(fields)} fields where the header has {width}."
        except (csv.Error, UnicodeDecodeError):
            pass  # then the general sentence is all that can be said
        return f"{self.name}: cannot be read as CSV; a quotation mark may not be closed."


def open_source(source: object) -> Source:
    """Open a DataFrame, or a CSV, gzipped CSV or Parquet file (told apart by their first bytes).

    Raises
    ------
    RecordsError
        If there is no such file, or it is a folder, empty, or not a table of one of these kinds.
    """
    if isinstance(source, pd.DataFrame):
        return Source("the DataFrame", tuple(source.columns), frame=source)
    if not isinstance(source, (str, os.PathLike)):
        raise RecordsError(f"Records are read from a file or a pandas DataFrame, not from a {type(source).__name__}.")
    path = Path(source)
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
        if not start:
            raise RecordsError(f"{path.name}: the file is empty.")
        if start == b"PAR1":
            frame = pd.read_parquet(path)
            return Source(path.name, tuple(frame.columns), frame=frame)
        if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
            raise RecordsError(f"{path.name}: is a workbook or an archive; save the table as CSV or Parquet.")
        columns, skip = _header(path)
    except UnicodeDecodeError as error:
        raise RecordsError(f"{path.name}: {_NOT_A_TABLE}") from error
    except FileNotFoundError as error:
        raise RecordsError(f"{source}: there is no such file.") from error
    except IsADirectoryError as error:
        raise RecordsError(f"{source}: is a folder, not a file.") from error
    except RecordsError:
        raise
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise RecordsError(f"{path.name}: cannot be read ({str(error).splitlines()[0]}).") from error
    return Source(path.name, columns, path=path, skip=skip)


def _header(path: Path) -> tuple[tuple[str, ...], int]:
    """Column names of a CSV file, and how many of its records (blank ones included) they take up."""
    with _open_text(path) as stream:
        for skip, fields in enumerate(csv.reader(stream), start=1):
            if any(ord(character) < 32 and character not in "\t\r\n" for field in fields for character in field):
                raise RecordsError(f"{path.name}: {_NOT_A_TABLE}")
            if not _is_blank(fields):
                names = (field.strip() for field in fields)
                return tuple(name or f"Unnamed: {position}" for position, name in enumerate(names)), skip
    raise RecordsError(f"{path.name}: the file is empty.")


def _is_blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and not fields[0].strip())


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _open_text(path: Path):
    opener = gzip.open if _is_gzip(path) else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _plain(column: pd.Series) -> pd.Series:
    """A categorical column as its categories' own type; an object column of one type as that type."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype if not column.hasnans else object).infer_objects()
    return column.infer_objects() if column.dtype == object else column


def as_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """float64 values (NaN where missing or not a number) and a mask of the values that are not numbers."""
    column = _plain(column)
    present = column.notna().to_numpy(dtype=bool)
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) and not (
        pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind)
    ):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(column), dtype=bool)
    if kind == object:
        readable = np.array([isinstance(value, (str, numbers.Number)) and not isinstance(value, (bool, complex))
                             for value in column], dtype=bool)  # fmt: skip
    else:
        readable = np.full(len(column), pd.api.types.is_string_dtype(kind))  # not dates, durations, true and false
    text = column.astype(object).where(readable & present, None).astype("str").str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    blank = text.isin(MISSING).to_numpy(dtype=bool)
    return values, present & ~(readable & (blank | ~np.isnan(values)))


def as_codes(column: pd.Series) -> pd.Series:
    """Text codes (dtype ``str``), stripped; blank is missing. The column must have passed `can_be_codes`."""
    column = _plain(column)
    if pd.api.types.is_float_dtype(column.dtype):
        whole = column.isna() | ((column == np.floor(column)) & (column.abs() < 2.0**63))
        column = column.astype("Int64") if whole.all() else column.astype(object)
    if column.dtype == object:
        column = column.map(_code_text, na_action="ignore")
    codes = column.astype("str").str.strip()
    return codes.mask(codes == "") if (codes == "").any() else codes


def _code_text(value) -> str:
    if not isinstance(value, str) and value == int(value):
        return str(int(value))  # 1.0 is school "1"
    return str(value)


def can_be_codes(column: pd.Series) -> np.ndarray:
    """Mask of the values that are text or finite numbers, or missing."""
    column = _plain(column)
    kind = column.dtype
    missing = column.isna().to_numpy(dtype=bool)
    if kind == object:
        return missing | np.fromiter(map(_is_code, column), dtype=bool, count=len(column))
    if pd.api.types.is_float_dtype(kind):
        return missing | np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return missing | (pd.api.types.is_string_dtype(kind) or pd.api.types.is_integer_dtype(kind))


def _is_code(value) -> bool:
    if isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool):
        return math.isfinite(value)
    return isinstance(value, str)
