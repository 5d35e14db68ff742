"""Text files: comma, semicolon, tab or vertical bar between the fields; plain or gzipped."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import re
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from ...errors import RecordsError, ValibWarning
from .content import has_padded
from .source import MISSING, Dialect, Source

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 1 << 20  # bytes that are looked at
ROWS = 1000  # rows that are looked at
_NUMBER = {mark: re.compile(rf"[+-]?(?:\d+(?:[{mark}]\d*)?|[{mark}]\d+)(?:[eE][+-]?\d+)?") for mark in ".,"}
_GROUPED = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:[{mark}]\d{{3}})+") for mark in ".,"}


def detect(path: Path) -> tuple[Dialect, bool]:
    """Return the dialect of a text file, and whether its first line is a spreadsheet's ``sep=;``.

    Raises
    ------
    UnicodeDecodeError
        If it is text in none of the encodings.
    """
    compressed = is_gzip(path)
    with (gzip.open if compressed else open)(path, "rb") as stream:
        head = stream.read(SAMPLE)
    encoding = _encoding(head)
    text = codecs.getincrementaldecoder(encoding)().decode(head)
    if "\0" in text:
        raise UnicodeDecodeError(encoding, head, 0, 1, "text holds no zero bytes")
    if len(head) == SAMPLE:  # the last line may be cut
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    first = re.match(r'"?sep=(.)"?[\r\n]', text, flags=re.IGNORECASE)
    text = text[first.end() :] if first else text
    delimiter = first[1] if first else _delimiter(text)
    return Dialect(delimiter, _decimal(_from_header(_rows(text, delimiter))), encoding, compressed), bool(first)


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip."""
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def reading(values: Iterable[str], decimal: str) -> str | None:
    """How the texts of a column are to be understood as numbers in a file with this decimal mark.

    Returns
    -------
    The decimal mark of the column; "" if its marks may be decimal or between thousands (``1,234``); None if the texts
    are not all numbers with one mark, or hold no mark.
    """
    stripped = (value.strip() for value in values)
    told = [value for value in stripped if value not in MISSING]
    for mark in ",.":
        if told and all(map(_NUMBER[mark].fullmatch, told)):
            marked = [value for value in told if mark in value]
            if not marked:
                continue
            if not all(map(_GROUPED[mark].fullmatch, marked)):
                return mark
            values = np.array([float(value.replace(mark, ".")) for value in told])
            return mark if mark == decimal and not may_be_grouped(values) else ""
    return None


def settles(values: Iterable[str]) -> bool:
    """Whether some text of a column leaves no doubt how `reading` understands all: 12.5, but not 12 nor 1.234."""
    told = {value.strip() for value in values}.difference(MISSING)
    return any(
        all(
            not number.fullmatch(value) or (mark in value and not _GROUPED[mark].fullmatch(value))
            for mark, number in _NUMBER.items()
        )
        for value in told
    )


def are_numbers(values: Iterable[str]) -> bool:
    """Whether texts are numbers without a decimal mark, and words for a missing one."""
    told = [value for value in map(str.strip, values) if value not in MISSING]
    return bool(told) and all(map(_NUMBER["."].fullmatch, told))


def may_be_grouped(values: np.ndarray) -> bool:
    """Whether numbers read with a decimal mark look as if it stood between thousands: 999 and 1.234.

    Whole numbers then lie below 1000, with hundreds among them, and the others have three decimals and are far smaller.
    How often a number occurs does not matter.
    """
    told = np.abs(values[np.isfinite(values)])
    if not len(told) or not 100 <= (largest := told.max()) < 1000 or largest != np.floor(largest):
        return False  # as nearly all columns
    told = np.unique(told)
    whole = told == np.floor(told)
    broken, others = told[~whole], told[whole]
    if not len(broken):
        return False
    thousandths = 1000 * broken
    return bool(2 * broken.max() < np.median(others) and np.allclose(thousandths, np.round(thousandths), 0, 1e-6))


def has_thousandths(values: np.ndarray) -> bool:
    """Whether nearly all of twenty different numbers or more have three decimals, neither more nor fewer."""
    told = 1000 * values[np.isfinite(values)]
    if not np.allclose(told, np.round(told), 0, 1e-6) or len(told := np.unique(told)) < 20:
        return False
    return bool((np.round(told) % 10 != 0).mean() > 0.8)


def all_grouped(values: Iterable[str], mark: str) -> bool:
    """Whether all numbers could have the mark between thousands: 1.234 but not 0.123 nor 12.34."""
    return all(value.strip() in MISSING or _GROUPED[mark].fullmatch(value.strip()) for value in values)


def _encoding(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows that are not blank, the header among them; none if the text cannot be cut by this delimiter."""
    try:
        rows = itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), ROWS)
        return [fields for fields in rows if not is_blank(fields)]
    except csv.Error:
        return []


def header_at(filled: Sequence[int]) -> int:
    """Which of the first rows is the header, with titles above: the first with half as many filled fields as most have.

    Only where most rows have at least four, as a table of records has.
    """
    usual = max(set(filled), key=lambda n: (filled.count(n), n))
    return next((k for k, n in enumerate(filled) if 2 * n >= usual), 0) if usual >= 4 else 0


def count_filled(fields: Iterable[object]) -> int:
    """How many fields of a row are not blank."""
    return sum(bool(str(field).strip()) for field in fields)


def _from_header(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the titles above the header."""
    return rows[header_at([count_filled(fields) for fields in rows]) :] if rows else rows


def _delimiter(text: str) -> str:
    """The delimiter that stands in the header and cuts most rows into as many fields, then into the most.

    Where no delimiter of the first row cuts half of the rows so, titles may stand above the header.
    """
    cut = {mark: _rows(text, mark) for mark in DELIMITERS}
    fits = [(_fit(rows), mark) for mark, rows in cut.items()]
    if max(fit for (fit, _), _ in fits) < 0.5:
        fits += [(_fit(_from_header(rows)), mark) for mark, rows in cut.items()]
    return max(fits, key=lambda found: found[0])[1]  # the first of equals


def _fit(rows: list[list[str]]) -> tuple[float, int]:
    """Share of rows with as many fields as the first, and how many these are."""
    width = len(rows[0]) if rows else 1
    return (sum(len(fields) == width for fields in rows) / len(rows), width) if width > 1 else (0.0, 1)


def _decimal(rows: list[list[str]]) -> str:
    """A comma if a column holds numbers that can only be understood with decimal commas, else a point."""
    for column in itertools.zip_longest(*rows[1:], fillvalue=""):
        if reading(column, ".") == ",":
            return ","
    return "."


def is_blank(fields: list[str]) -> bool:
    """Whether a record of a text file is a blank line."""
    return not fields or (len(fields) == 1 and not fields[0].strip())


NOT_A_TABLE = "is neither text in UTF-8, UTF-16 or Windows-1252 nor Parquet; save the table as one of these."


@dataclass(frozen=True, slots=True)
class TextSource(Source):
    """A text file.

    ``skip`` counts its records up to and including the header, blank ones too.
    """

    skip: int = 0

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. A file that turns out not to be UTF-8 is read as Windows-1252."""
        try:
            frame = self._read(text_columns)
        except UnicodeDecodeError as error:
            if self.dialect.encoding != "utf-8":
                raise RecordsError(f"{self.name}: {NOT_A_TABLE}") from error
            return _as_windows(self).read(text_columns, number_columns)
        except EmptyDataError:
            return pd.DataFrame(columns=list(self.columns))
        except (ParserError, ParserWarning, csv.Error) as error:
            raise RecordsError(self.ragged_row()) from error
        except (OSError, EOFError, zlib.error) as error:
            raise RecordsError(f"{self.name}: cannot be read to its end ({error}).") from error
        self._check_quotes(frame, text_columns)
        self._tell_short_rows(frame)
        for name in self.columns:
            if frame[name].dtype == float:
                frame[name] = self._decimals(frame[name], name in number_columns)
            elif name not in text_columns and pd.api.types.is_string_dtype(frame[name]):  # not truths with blanks
                frame[name] = self._numbers(frame[name], name in number_columns)
        self._keep_zeros(frame, {*text_columns, *number_columns})
        return frame

    def _read(self, text_columns: Collection[str], only: Sequence[str] | None = None) -> pd.DataFrame:
        missing = {name: [""] if name in text_columns else list(MISSING) for name in self.columns}
        encoding = "utf-8" if self.dialect.encoding == "utf-8-sig" else self.dialect.encoding  # the mark is skipped
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            return pd.read_csv(
                self.path,
                header=None,
                names=list(self.columns),
                skiprows=self.skip,
                index_col=False,
                usecols=None if only is None else list(only),
                dtype=dict.fromkeys(text_columns, "str"),
                keep_default_na=False,
                na_values=missing,
                sep=self.dialect.delimiter,
                decimal=self.dialect.decimal,
                encoding=encoding,
                compression="gzip" if self.dialect.gzip else None,
                low_memory=False,
            )

    def _keep_zeros(self, frame: pd.DataFrame, others: Collection[str]) -> None:
        """Put back the text of columns of whole numbers with leading zeros, which are codes."""
        whole = [name for name in self.columns if name not in others and _is_whole(frame[name])]
        texts = self._read(whole, only=whole) if whole else {}
        for name in whole:
            if has_padded(texts[name]):
                frame[name] = texts[name].mask(texts[name].str.strip().isin(MISSING))

    def _decimals(self, column: pd.Series, needed: bool) -> pd.Series:
        """A column that was read as numbers, unless its decimal mark may as well stand between thousands."""
        values, mark = column.to_numpy(), self.dialect.decimal
        doubtful = may_be_grouped(values)
        if not doubtful and not (needed and self.dialect.delimiter == ";" and mark == "." and has_thousandths(values)):
            return column
        text = self._read([column.name], only=[column.name])[column.name]
        if doubtful:
            return self._numbers(text, needed) if reading(text.dropna().unique(), mark) == "" else column
        if all_grouped(text.dropna().unique(), mark):
            first = int(text.notna().argmax())
            self.tell_thousandths(column.name, text.iloc[first], self.where([first]))
        return column

    def _numbers(self, column: pd.Series, needed: bool) -> pd.Series:
        """A column that was read as text: as numbers if its decimal mark is not the file's, or only blanks stood in the
        way."""
        different = column.dropna().unique()
        mark = reading(different, self.dialect.decimal)
        if mark or (mark is None and are_numbers(different)):
            text = column.str.strip()
            return pd.to_numeric(text.mask(text.isin(MISSING)).str.replace(mark or ".", "."))
        if mark is None:
            return column
        first = next(
            k
            for k, value in enumerate(column)
            if isinstance(value, str) and value.strip() not in MISSING and ("," in value or "." in value)
        )
        self.tell_grouped(column.name, column.iloc[first], self.where([first]), needed)
        return column

    def tell_grouped(self, name: str, value: str, where: str, needed: bool) -> None:
        """Raise RecordsError, or warn if the column is not needed, of marks that may stand between thousands."""
        value = value.strip()
        other = value.replace(",", "").replace(".", "")
        told = (
            f"{self.name}: column '{name}' holds '{value}' ({where}), which may be {value.replace(',', '.', 1)} or"
            f" {other}; write numbers without marks between thousands"
        )
        if needed:
            raise RecordsError(f"{told}.")
        warnings.warn(f"{told}. The column is left as text.", ValibWarning, stacklevel=2)

    def tell_thousandths(self, name: str, value: str, where: str) -> None:
        """Warn of points that may all stand between thousands."""
        warnings.warn(
            f"{self.name}: column '{name}' has three digits after the point in every row, first"
            f" '{value.strip()}' ({where}): it is read as a decimal point; if it stands between thousands,"
            " write the numbers without it.",
            ValibWarning,
            stacklevel=2,
        )

    def _counted(self, positions: list[int]) -> tuple[str, list[int]]:
        """The line on which each row starts: blank lines count, and so do line breaks inside quotation marks."""
        wanted, lines = set(positions), []
        for position, (start, _) in enumerate(self._records()):
            if position in wanted:
                lines.append(start)
            if len(lines) == len(wanted):
                break
        return "line", lines

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Rows after the header with the line each starts on; blank lines are passed over."""
        with _open_text(self.path, self.dialect.encoding, self.dialect.gzip) as stream:
            reader = csv.reader(stream, delimiter=self.dialect.delimiter)
            for _ in range(self.skip):
                next(reader)
            start = reader.line_num + 1
            for fields in reader:
                if not is_blank(fields):
                    yield start, fields
                start = reader.line_num + 1

    def _check_quotes(self, frame: pd.DataFrame, text_columns: Collection[str]) -> None:
        """Raise RecordsError if the field of a code has swallowed rows; warn of such a field elsewhere."""
        for name in self.columns:
            if not pd.api.types.is_string_dtype(frame[name]):
                continue
            several = frame[name].str.contains("\n", regex=False).fillna(False).to_numpy(dtype=bool)
            held = [k for k in several.nonzero()[0] if self._holds_rows(frame[name].iloc[k])]
            if held:
                self.tell_swallowed(name, frame[name].iloc[held[0]], self.where(held), name in text_columns)

    def tell_swallowed(self, name: str, value: str, where: str, code: bool) -> None:
        """Raise RecordsError, or warn if the column holds no codes, of fields that hold rows."""
        rows = value.count("\n")
        told = (
            f"{self.name}: a field of column '{name}' runs over {rows} line breaks and holds whole rows ({where});"
            " a quotation mark may lack its partner"
        )
        if code:
            raise RecordsError(f"{told}.")
        warnings.warn(f"{told}, and these rows are not read.", ValibWarning, stacklevel=2)

    def _holds_rows(self, value: str) -> bool:
        """Whether a field has as many delimiters between its line breaks as rows have."""
        return value.count(self.dialect.delimiter) == value.count("\n") * (len(self.columns) - 1) > 0

    def _tell_short_rows(self, frame: pd.DataFrame) -> None:
        """Warn of rows with fewer fields than the header, whose values may stand under the wrong names."""
        width = len(self.columns)
        if not frame[self.columns[-1]].isna().any() or self._count_delimiters() == (len(frame) + 1) * (width - 1):
            return
        self.tell_uneven()

    def tell_uneven(self) -> None:
        """Warn of rows with fewer fields than the header; raise RecordsError for one with more."""
        width, short = len(self.columns), []
        for k, (_, fields) in enumerate(self._records()):
            if len(fields) > width:
                raise RecordsError(self.ragged_row())
            if len(fields) < width:
                short.append(k)
        if short:
            self.tell_short(len(short), self.where(short))

    def tell_short(self, count: int, where: str) -> None:
        """Warn of rows with fewer fields than the header."""
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        warnings.warn(
            f"{self.name}: {rows} fewer fields than the header ({where}); what is lacking at their end is"
            " taken as missing. See that their values stand under the right names.",
            ValibWarning,
            stacklevel=2,
        )

    def _count_delimiters(self) -> int:
        """How many delimiters the file holds; -1 if some may stand inside quotation marks."""
        mark, found = self.dialect.delimiter.encode(), 0
        if self.dialect.encoding == "utf-16":
            return -1
        with (gzip.open if self.dialect.gzip else open)(self.path, "rb") as stream:
            while chunk := stream.read(1 << 24):
                if b'"' in chunk:
                    return -1
                found += chunk.count(mark)
        return found

    def ragged_row(self) -> str:
        """What to say of a file that cannot be cut into rows: the first with more fields than the header, if any."""
        width = len(self.columns)
        try:
            for line, fields in self._records():
                if len(fields) > width:
                    return f"{self.name}: line {line} has {len(fields)} fields where the header has {width}."
        except csv.Error:
            pass  # then the general sentence is all that can be said
        return f"{self.name}: cannot be read as CSV; a quotation mark may not be closed."


def open_text(path: Path) -> TextSource:
    """Open a text file: find its dialect and its header.

    Raises
    ------
    RecordsError
        If it is empty, or not text in one of the encodings.
    """
    try:
        dialect, preamble = detect(path)
        columns, skip = _header(path, dialect, preamble)
    except UnicodeDecodeError as error:
        raise RecordsError(f"{path.name}: {NOT_A_TABLE}") from error
    source = TextSource(path.name, columns, path=path, dialect=dialect, skip=skip)
    return _as_windows(source) if dialect.encoding == "cp1252" else source


def _header(path: Path, dialect, preamble: bool) -> tuple[tuple[str, ...], int]:
    """Column names, and how many records (blank ones and titles included) they take up."""
    with _open_text(path, dialect.encoding, dialect.gzip, errors="strict") as stream:
        rows = list(itertools.islice(_first_rows(stream, dialect.delimiter, skip=int(preamble)), ROWS))
    if not rows:
        raise RecordsError(f"{path.name}: the file is empty.")
    at = header_at([count_filled(fields) for _, _, fields in rows])
    skip, line, fields = rows[at]
    if any(ord(character) < 32 and character not in "\t\r\n" for field in fields for character in field):
        raise RecordsError(f"{path.name}: {NOT_A_TABLE}")
    if at:
        warnings.warn(
            f"{path.name}: line {line} is taken as the header, as what stands above it has far fewer fields.",
            ValibWarning,
            stacklevel=2,
        )
    names = (field.strip() for field in fields)
    return tuple(name or f"Unnamed: {position}" for position, name in enumerate(names)), skip


def _first_rows(stream: TextIO, delimiter: str, skip: int) -> Iterator[tuple[int, int, list[str]]]:
    """Rows that are not blank: how many records they are from the first, the line each starts on, and their fields.

    They end where the text cannot be cut into fields.
    """
    reader = csv.reader(stream, delimiter=delimiter)
    start = 1
    with contextlib.suppress(csv.Error):
        for record, fields in enumerate(reader, start=1):
            if record > skip and not is_blank(fields):
                yield record, start, fields
            start = reader.line_num + 1


def _open_text(path: Path, encoding: str, compressed: bool, errors: str = "replace"):
    """Open a text file for counting its lines; a byte of another encoding moves none of them."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return (gzip.open if compressed else open)(path, "rt", encoding=encoding, errors=errors, newline="")


def _as_windows(source: TextSource) -> TextSource:
    """The source as Windows-1252, with a warning that names the first line that is not UTF-8."""
    with _open_text(source.path, "utf-8", source.dialect.gzip, errors="surrogateescape") as stream:
        line = next(n for n, text in enumerate(stream, 1) if not text.isascii() and _has_foreign_byte(text))
    warnings.warn(
        f"{source.name}: line {line} holds a byte that is not UTF-8, so the file is read as Windows-1252 (Latin-1);"
        " if names look wrong, save it in UTF-8.",
        ValibWarning,
        stacklevel=2,
    )
    return replace(source, dialect=replace(source.dialect, encoding="cp1252"))


def _is_whole(column: pd.Series) -> bool:
    """Whether a column holds whole numbers, as far as they are there."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return False
    return bool((column.isna() | (column == np.floor(column))).all())


def _has_foreign_byte(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
