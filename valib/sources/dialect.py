"""How a text file is written, judged by its header and first rows: delimiter, decimal mark, encoding."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

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
    return Dialect(delimiter, _decimal(_rows(text, delimiter)), encoding, compressed), bool(first)


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
            if marked and (mark == decimal or not all(map(_GROUPED[mark].fullmatch, marked))):
                return mark
            if marked:
                return ""
    return None


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


def _delimiter(text: str) -> str:
    """The delimiter that stands in the header and cuts most rows into as many fields, then into the most."""
    best, found = (0.0, 1), ","
    for mark in DELIMITERS:
        rows = _rows(text, mark)
        width = len(rows[0]) if rows else 1
        if width > 1:
            fits = sum(len(fields) == width for fields in rows) / len(rows)
            if (fits, width) > best:
                best, found = (fits, width), mark
    return found


def _decimal(rows: list[list[str]]) -> str:
    """A comma if a column holds numbers that can only be understood with decimal commas, else a point."""
    for column in itertools.zip_longest(*rows[1:], fillvalue=""):
        if reading(column, ".") == ",":
            return ","
    return "."


def is_blank(fields: list[str]) -> bool:
    """Whether a record of a text file is a blank line."""
    return not fields or (len(fields) == 1 and not fields[0].strip())
