"""How a text file is written, judged by its header and first rows: delimiter, decimal mark, encoding."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .source import Dialect
from .values import MISSING

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
    return any(all(not number.fullmatch(value) or (mark in value and not _GROUPED[mark].fullmatch(value))
                   for mark, number in _NUMBER.items()) for value in told)  # fmt: skip


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
    return rows[header_at([count_filled(fields) for fields in rows]):] if rows else rows


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
