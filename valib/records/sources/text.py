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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
import pandas as pd

from ...errors import RecordsError, ValibWarning
from .content import ODD, has_padded
from .foreign import READABLE, foreign_text
from .plain import BOM, Plain, Scan, Unreadable, copy_rows, cut_again, heard, is_encodable, plain_errors, scan
from .quick import SAMPLE as HEAD
from .quick import are_words, broken_numbers, likely_broken, quick_table, whole_numbers
from .source import FALSE, MISSING, TRUE, Dialect, Source, check_width
from .spill import SpillFolder

if TYPE_CHECKING:
    import pyarrow as pa

UTF8 = ("utf-8", "utf-8-sig")
DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 1 << 20  # bytes that are looked at
ROWS = 1000  # rows that are looked at
_NUMBER = {mark: re.compile(rf"[+-]?(?:[0-9]+(?:[{mark}][0-9]*)?|[{mark}][0-9]+)(?:[eE][+-]?[0-9]+)?") for mark in ".,"}
_GROUPED = {mark: re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:[{mark}][0-9]{{3}})+") for mark in ".,"}


def detect(path: Path) -> tuple[Dialect, bool]:
    """Return the dialect of a text file, and whether its first line is a spreadsheet's ``sep=;``.

    Raises
    ------
    UnicodeDecodeError
        If it is text in none of the encodings.
    RecordsError
        If it is JSON, HTML or XML.
    """
    compressed = is_gzip(path)
    with (gzip.open if compressed else open)(path, "rb") as stream:
        head = stream.read(SAMPLE)
    encoding = _encoding(head)
    text = codecs.getincrementaldecoder(encoding)().decode(head)
    if "\0" in text:
        raise UnicodeDecodeError(encoding, head, 0, 1, "text holds no zero bytes")
    if kind := foreign_text(text):
        raise RecordsError(f"{path.name}: is {kind}; {READABLE}.")
    if len(head) == SAMPLE:  # the last line may be cut
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    first = re.match(r'"?sep=([,;\t|])"?[\r\n]', text, flags=re.IGNORECASE)
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


def may_be_grouped(values: np.ndarray) -> bool:
    """Whether numbers read with a decimal mark look as if it stood between thousands: 999 and 1.234.

    Whole numbers then lie below 1000, with hundreds among them, and the others have three decimals and are far smaller.
    How often a number occurs does not matter.
    """
    largest = max(np.fmax.reduce(values, initial=0), -np.fmin.reduce(values, initial=0))  # as if nan were not there
    if np.isfinite(largest) and (not 100 <= largest < 1000 or largest != np.floor(largest)):
        return False  # as nearly all columns
    told = np.abs(values[np.isfinite(values)])
    if not len(told) or not 100 <= (largest := told.max()) < 1000 or largest != np.floor(largest):
        return False
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
    return sum(map(bool, map(str.strip, map(str, fields))))


def _from_header(rows: list[list[str]]) -> list[list[str]]:
    """Rows without the titles above the header."""
    return rows[header_at([count_filled(fields) for fields in rows]) :] if rows else rows


def _delimiter(text: str) -> str:
    """The delimiter that stands in the header and cuts most rows into as many fields, then into the most.

    Where no delimiter of the first row cuts half of the rows so, titles may stand above the header.
    """
    cut = {mark: _rows(text, mark) if mark in text else [] for mark in DELIMITERS}
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
        if "," in "".join(column) and reading(column, ".") == ",":
            return ","
    return "."


def is_blank(fields: list[str]) -> bool:
    """Whether a record of a text file is a blank line."""
    return not fields or (len(fields) == 1 and not fields[0].strip())


NOT_A_TABLE = f"is neither text in UTF-8, UTF-16 or Windows-1252 nor of another known format; {READABLE}."


@dataclass(frozen=True, slots=True)
class TextSource(Source):
    """A text file.

    ``skip`` counts its lines up to and including the header.
    """

    skip: int = 0

    def prepare(self, folder: SpillFolder) -> tuple[TextSource, Plain]:
        """What DuckDB is to read, a copy in the folder if need be; and the source, as Windows-1252 if it is not UTF-8.

        Raises RecordsError for text that cannot be cut into rows.
        """
        dialect = self.dialect
        try:
            if dialect.encoding in UTF8 and self.skip == 1 and is_encodable(self.path):
                found = scan(self.path, dialect.gzip, dialect.delimiter)
                if found.is_plain:
                    return self, self._plain(self.path, found, dialect.gzip)
            return self, self._copied(folder)
        except UnicodeDecodeError as error:
            if dialect.encoding != "utf-8":
                raise RecordsError(f"{self.name}: {NOT_A_TABLE}") from error
            return _as_windows(self).prepare(folder)
        except Unreadable as error:
            raise RecordsError(f"{self.name}: {error}.") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise RecordsError(f"{self.name}: cannot be read to its end ({error}).") from error

    def _copied(self, folder: SpillFolder) -> Plain:
        """A copy of the rows, in UTF-8 and with one line end; a second one if quotation marks are out of order."""
        copy, again = folder.path / "rows.csv", folder.path / "again.csv"
        with _open_text(self.path, self.dialect.encoding, self.dialect.gzip, "strict", newline=None) as text:
            for _ in range(self.skip):
                text.readline()
            copy_rows(text, copy)
        found = scan(copy, False, self.dialect.delimiter)
        if not found.in_order or found.inside:
            cut_again(copy, again, self.dialect.delimiter)
            copy, found = again, scan(again, False, self.dialect.delimiter)
        return self._plain(copy, found, compressed=False)

    def _plain(self, path: Path, found: Scan, compressed: bool) -> Plain:
        skip = 1 if path == self.path else 0
        quoted, broken = found.quotes > 0, found.has_line_breaks
        return Plain(path, skip, self.dialect.delimiter, len(self.columns), compressed, quoted, broken)

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. A file that turns out not to be UTF-8 is read as Windows-1252."""
        if (quick := self._quick(text_columns, number_columns)) is not None:
            return quick
        folder = SpillFolder()
        try:
            source, plain = self.prepare(folder)
            rows = source._fetched(plain)
        finally:
            folder.remove()
        source._check_rows(rows, text_columns, plain.has_line_breaks)
        return source._framed(rows, text_columns, number_columns, None)

    def _framed(
        self,
        rows: pa.Table,
        text_columns: Collection[str],
        number_columns: Collection[str],
        numbers: dict[str, np.ndarray] | None,
    ) -> pd.DataFrame:
        """Rows of text as a table; numbers: the columns of which none is in doubt, where what is missing is null."""
        import pyarrow.compute as pc

        frame, words = {}, {}
        for k, name in enumerate(self.columns):
            texts = rows.column(k)
            if name in text_columns:
                codes = pd.Series(texts, dtype="str", name=name)
                frame[name] = codes if pc.min(pc.binary_length(texts)).as_py() else codes.mask(codes == "")
            elif numbers and name in numbers:
                frame[name] = pd.Series(numbers[name], name=name, copy=False)
            elif numbers is not None and are_words(texts):
                frame[name], words[name] = pd.Series(texts, dtype="str", name=name), ""
            else:
                frame[name] = self._typed(texts, name, name in number_columns)
        table = pd.DataFrame(frame, columns=list(self.columns), index=range(len(rows)), copy=False)
        table.attrs[ODD] = words
        return table

    def _quick(self, text_columns: Collection[str], number_columns: Collection[str]) -> pd.DataFrame | None:
        """All rows of a file without anything out of the ordinary; None of any other.

        Its bytes are looked at while it is cut into fields, as its first rows suggest; where they mislead, it is cut again.
        """
        dialect, width = self.dialect, len(self.columns)
        if dialect.encoding not in UTF8 or dialect.gzip or self.skip != 1 or width == 1 or not is_encodable(self.path):
            return None
        codes = [k for k, name in enumerate(self.columns) if name in text_columns]
        needed = [k for k, name in enumerate(self.columns) if name in number_columns and k not in codes]
        others = [k for k in range(width) if k not in (*codes, *needed)]
        with open(self.path, "rb") as stream:
            head = stream.read(HEAD)
        quoted = b'"' in head
        broken = likely_broken(head, dialect, width, quoted, others)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self._scanned)
            rows = quick_table(self.path, dialect, width, quoted, codes, needed, broken)
        if (found := asked.result()) is None:
            return None
        numbers = _numbers(rows, [*needed, *broken])
        misled = rows is None or any(may_be_grouped(numbers[k]) for k in broken)
        if (found.quotes and not quoted) or (broken and misled):
            rows = quick_table(self.path, dialect, width, found.quotes > 0, codes, needed)
            numbers = _numbers(rows, needed)
        if rows is None or any(self._is_doubtful(numbers[k]) for k in needed):
            return None
        named = {self.columns[k]: values for k, values in numbers.items()}
        return self._framed(rows, text_columns, number_columns, named)

    def _scanned(self) -> Scan | None:
        """What the bytes of the file hold; None where it is not plain, or has what Arrow understands otherwise."""
        try:
            found = scan(self.path, False, self.dialect.delimiter)
        except (UnicodeDecodeError, Unreadable):
            return None
        return found if found.is_plain and not found.has_line_breaks and not found.has_sixteens else None

    def _is_doubtful(self, values: np.ndarray) -> bool:
        """Whether the decimal mark of a column of numbers that is needed may stand between thousands."""
        points = self.dialect.delimiter == ";" and self.dialect.decimal == "."
        return may_be_grouped(values) or (points and has_thousandths(values))

    def _fetched(self, plain: Plain) -> pa.Table:
        """All rows as text."""
        import duckdb

        with duckdb.connect() as connection, plain_errors(self.name, self.ragged_row):
            rows = heard(connection, lambda: connection.sql(f"FROM {plain.reader()}").to_arrow_table())
            if len(self.columns) > 1 and not rows.column(1).null_count:
                return rows
            connection.register("cut", rows)
            return connection.sql(f"FROM cut WHERE {plain.filled}").to_arrow_table()

    def _typed(self, rows: pa.ChunkedArray, name: str, needed: bool) -> pd.Series:
        """A column as numbers, as true and false, or as text."""
        found = whole_numbers(rows)
        if found is None:
            found = broken_numbers(rows, self.dialect.decimal)
            if found is not None and (found == np.floor(found)).all():  # and none is missing
                whole = whole_numbers(rows, odd=True)
                found = found if whole is None else whole
        text = pd.Series(rows, dtype="str", name=name)
        if (
            found is not None
            and not needed
            and (found.dtype == np.int64 or (np.isnan(found) | (found == np.floor(found))).all())
            and has_padded(text)
        ):
            return text.mask(text.str.strip().isin(MISSING))  # codes
        if found is not None and found.dtype == np.int64:
            return pd.Series(found, name=name, copy=False)
        if found is not None:
            return self._decimals(pd.Series(found, name=name, copy=False), text, needed)
        there = set(rows.unique().to_pylist())
        if there & {None, *MISSING}:
            text = text.mask(text.isin(MISSING))
        if told := there - {None, *MISSING}:
            if told <= {*TRUE, *FALSE}:
                truths = text.isin(TRUE)
                return truths if told == there else truths.astype(object).mask(text.isna())
            return self._in_another_way(text, told, needed)
        return text

    def _decimals(self, column: pd.Series, text: pd.Series, needed: bool) -> pd.Series:
        """A column that was read as numbers, unless its decimal mark may as well stand between thousands."""
        values, mark = column.to_numpy(), self.dialect.decimal
        doubtful = may_be_grouped(values)
        if not doubtful and not (needed and self._is_doubtful(values)):
            return column
        text = text.mask(text.isin(MISSING))
        if doubtful:
            different = text.dropna().unique()
            return self._in_another_way(text, different, needed) if reading(different, mark) == "" else column
        if all_grouped(text.dropna().unique(), mark):
            first = int(text.notna().argmax())
            self.tell_thousandths(column.name, text.iloc[first], self.where([first]))
        return column

    def _in_another_way(self, column: pd.Series, different: Collection[str], needed: bool) -> pd.Series:
        """A column that was read as text: as numbers if its decimal mark is not the file's."""
        mark = reading(different, self.dialect.decimal)
        if mark:
            text = column.str.strip()
            return pd.to_numeric(text.mask(text.isin(MISSING)).str.replace(mark, "."))
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
            for _ in range(self.skip):
                stream.readline()
            reader = csv.reader(stream, delimiter=self.dialect.delimiter)
            start = self.skip + 1
            for fields in reader:
                if not is_blank(fields):
                    yield start, fields
                start = self.skip + reader.line_num + 1

    def _check_rows(self, rows: pa.Table, codes: Collection[str], has_line_breaks: bool) -> None:
        """Refuse or warn of fields that have swallowed rows; warn of rows with fewer fields than the header."""
        import pyarrow.compute as pc

        for name, column in zip(self.columns, rows.columns if has_line_breaks else (), strict=False):
            several = np.flatnonzero(pc.fill_null(pc.match_substring(column, "\n"), False))
            held = [k for k in several if self.holds_rows(column[k].as_py())]
            if held:
                self.tell_swallowed(name, column[held[0]].as_py(), self.where(held), name in codes)
        if rows.column(len(self.columns) - 1).null_count:
            short = np.flatnonzero(pc.is_null(rows.column(len(self.columns) - 1)))
            self.tell_short(len(short), self.where(short))

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

    def holds_rows(self, value: str) -> bool:
        """Whether a field with line breaks holds rows: one as a line of its own, or parts with as many delimiters."""
        mark, width = self.dialect.delimiter, len(self.columns)
        first, *lines, last = value.split("\n")
        marks = [line.count(mark) for line in (first, *lines, last)]
        return width > 1 and (width - 1 in marks[1:-1] or sum(marks) == (len(marks) - 1) * (width - 1))

    def tell_short(self, count: int, where: str) -> None:
        """Warn of rows with fewer fields than the header."""
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        warnings.warn(
            f"{self.name}: {rows} fewer fields than the header ({where}); what is lacking at their end is"
            " taken as missing. See that their values stand under the right names.",
            ValibWarning,
            stacklevel=2,
        )

    def long_row(self) -> str:
        """What to say of the first row with more fields than the header; "" if there is none."""
        width = len(self.columns)
        for line, fields in self._records():
            if len(fields) > width:
                return f"{self.name}: line {line} has {len(fields)} fields where the header has {width}."
        return ""

    def ragged_row(self) -> str:
        """What to say of a file that cannot be cut into rows: the first with more fields than the header, if any."""
        try:
            if told := self.long_row():
                return told
        except csv.Error:
            pass  # then the general sentence is all that can be said
        return f"{self.name}: cannot be read as CSV; a quotation mark may not be closed."


def _numbers(rows: pa.Table | None, columns: Iterable[int]) -> dict[int, np.ndarray]:
    """Some columns of a table that hold numbers."""
    return {k: rows.column(k).to_numpy() for k in columns} if rows else {}


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


def _header(path: Path, dialect: Dialect, preamble: bool) -> tuple[tuple[str, ...], int]:
    """Column names, and how many lines (blank ones and titles included) end with them."""
    with _open_text(path, dialect.encoding, dialect.gzip, errors="strict") as stream:
        rows = list(itertools.islice(_first_rows(stream, dialect.delimiter, skip=int(preamble)), ROWS))
    if not rows:
        raise RecordsError(f"{path.name}: the file is empty.")
    at = header_at([count_filled(fields) for _, _, fields in rows])
    skip, line, fields = rows[at]
    check_width(path.name, len(fields))
    if any(ord(character) < 32 and character not in "\t\r\n" for field in fields for character in field):
        raise RecordsError(f"{path.name}: {NOT_A_TABLE}")
    if at:
        warnings.warn(
            f"{path.name}: line {line} is taken as the header, as what stands above it has far fewer fields.",
            ValibWarning,
            stacklevel=2,
        )
    names = (field.strip().lstrip(BOM).strip() for field in fields)
    return tuple(name or f"Unnamed: {position}" for position, name in enumerate(names)), skip


def _first_rows(stream: TextIO, delimiter: str, skip: int) -> Iterator[tuple[int, int, list[str]]]:
    """Rows that are not blank: the lines each ends on and starts on, and their fields. skip: rows not looked at.

    They end where the text cannot be cut into fields.
    """
    reader = csv.reader(stream, delimiter=delimiter)
    start = 1
    with contextlib.suppress(csv.Error):
        for record, fields in enumerate(reader, start=1):
            if record > skip and not is_blank(fields):
                yield reader.line_num, start, fields
            start = reader.line_num + 1


def _open_text(path: Path, encoding: str, compressed: bool, errors: str = "replace", newline: str | None = ""):
    """Open a text file; unless told otherwise for counting its lines, of which a byte of another encoding moves none."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return (gzip.open if compressed else open)(path, "rt", encoding=encoding, errors=errors, newline=newline)


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


def _has_foreign_byte(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)
