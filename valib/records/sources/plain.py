"""A text file made plain for the one reader of text, which is DuckDB's: UTF-8, one line end, marks in order.

Records in memory and streams cut a text file into rows and fields by the same query, so that neither can find other
rows than the other. A file that is plain already is read where it lies; what follows the header of any other is copied.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ...errors import RecordsError

if TYPE_CHECKING:
    import duckdb

STEP, LOOK = (
    1 << 23,
    1 << 18,
)  # bytes at a time: that are copied, and that are looked at, which stay in the processor's cache
SECONDS = 0.2  # between two interruptions of a query that is to end
BOM, QUOTE, LINE = "\ufeff", ord('"'), ord("\n")
SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # what str.strip() strips
csv.field_size_limit(1 << 24)  # of Python's, which looks at first rows and counts lines: a text may be long


class Unreadable(ValueError):
    """Text that cannot be cut into rows; the line and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A text file as DuckDB reads it.

    path: the file, or a copy of its rows. skip: lines above its rows. delimiter; width: columns; compressed: by gzip.
    quoted: whether it has quotation marks; has_line_breaks: whether there are line breaks inside them.
    """

    path: Path
    skip: int
    delimiter: str
    width: int
    compressed: bool
    quoted: bool
    has_line_breaks: bool

    def sql(self) -> str:
        """The rows as text c0, c1, ...: an empty field is empty, one that a short row lacks is NULL, no line is blank.

        A row with more fields than there are columns is an error of the query.
        """
        return f"(SELECT * FROM {self.reader()} WHERE {self.filled})"

    @property
    def filled(self) -> str:
        """The condition of a line that is not blank."""
        return ("c1 IS NOT NULL OR " if self.width > 1 else "") + f"trim(c0, '{SPACES}') <> ''"

    def reader(self) -> str:
        """The rows, with blank lines among them."""
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(self.width))
        mark, path = ("'" + text.replace("'", "''") + "'" for text in (self.delimiter, no_pattern(str(self.path))))
        quote = '"' if self.quoted else ""
        return (
            f"read_csv({path}, auto_detect=false, header=false, skip={self.skip}, columns={{{columns}}}, delim={mark}, "
            f"quote='{quote}', escape='{quote}', null_padding=true, nullstr=chr(1), "
            f"encoding='utf-8', compression='{'gzip' if self.compressed else 'none'}'"
            f"{', parallel=false' if self.has_line_breaks else ''})"
        )


@dataclass(slots=True)
class Scan:
    """What the bytes of a text file hold. Raises UnicodeDecodeError, Unreadable."""

    delimiter: str
    begun: bool = False
    bare: bool = False  # line feeds, in a step without carriage returns
    feeds: int = 0  # line feeds in the other steps
    returns: int = 0
    both: int = 0  # carriage returns before a line feed
    marks: int = 0  # byte order marks
    begins_with_mark: bool = False
    quotes: int = 0
    inside: bool = False  # a quotation mark
    has_line_breaks: bool = False
    in_order: bool = True  # every quotation mark begins a field, ends one or is doubled inside one
    has_sixteens: bool = False  # 0x, as numbers in base sixteen begin

    @property
    def is_plain(self) -> bool:
        """Whether every reader would cut the text alike: one line end, quotation marks in order, no hidden marks."""
        one_line_end = not self.returns or (self.returns == self.both == self.feeds and not self.bare)
        return one_line_end and self.in_order and not self.inside and self.marks == self.begins_with_mark

    def add(self, chunk: bytes) -> None:
        """Look at the next bytes, which end where a line ends and hold no zero. Most files have few kinds of bytes, and to
        see that one is not there is quicker than to count it."""
        if b"\r" in chunk:
            self.returns += chunk.count(b"\r")
            self.both += chunk.count(b"\r\n")
            self.feeds += chunk.count(LINE)
        else:
            self.bare |= LINE in chunk
        if not chunk.isascii():
            self.begins_with_mark |= not self.begun and chunk.startswith(codecs.BOM_UTF8)
            self.marks += chunk.count(codecs.BOM_UTF8)
        self.begun = True
        if QUOTE in chunk:
            self._add_quotes(np.frombuffer(chunk, np.uint8))
        elif self.inside:
            self.has_line_breaks = True
        for letter in b"xX":
            if letter in chunk and not self.has_sixteens:
                bytes_ = np.frombuffer(chunk, np.uint8)
                self.has_sixteens = bool((bytes_[np.flatnonzero(bytes_[1:] == letter)] == ord("0")).any())

    def _add_quotes(self, bytes_: np.ndarray) -> None:
        at = np.flatnonzero(bytes_ == QUOTE)
        lines = np.flatnonzero(bytes_ == LINE)
        before = np.where(at > 0, bytes_[at - 1], LINE)
        after = np.where(at + 1 < len(bytes_), bytes_[np.minimum(at + 1, len(bytes_) - 1)], LINE)
        first = int(self.inside)  # position of the first mark that opens
        beside = np.array([ord(self.delimiter), LINE, ord("\r"), QUOTE])
        self.in_order &= bool(np.isin(before[first::2], beside).all() and np.isin(after[1 - first :: 2], beside).all())
        self.has_line_breaks |= bool(((np.searchsorted(at, lines) + first) % 2).any())
        self.quotes += len(at)
        self.inside = bool((first + len(at)) % 2)


def scan(path: Path, compressed: bool, delimiter: str) -> Scan:
    """Look at all bytes of a file in UTF-8."""
    found, decoder = Scan(delimiter), codecs.getincrementaldecoder("utf-8")()
    for chunk in _steps(path, compressed):
        if not chunk.isascii() or decoder.getstate()[0]:
            decoder.decode(chunk)
        if 0 in chunk:
            raise Unreadable(f"line {_line_of_zero(path, compressed)} holds a zero byte")
        found.add(chunk)
    decoder.decode(b"", final=True)
    return found


def _steps(path: Path, compressed: bool) -> Iterator[bytes]:
    """All bytes, step by step, each of which ends where a line ends."""
    with (gzip.open if compressed else open)(path, "rb") as stream:
        while chunk := stream.read(LOOK):
            yield chunk + stream.readline(STEP)


def _line_of_zero(path: Path, compressed: bool) -> int:
    """The line of the first zero byte."""
    lines = 1
    for chunk in _steps(path, compressed):
        if 0 in chunk:
            return lines + chunk[: chunk.index(0)].count(LINE)
        lines += chunk.count(LINE)
    return lines


def copy_rows(text: TextIO, copy: Path) -> None:
    """Write what is left of a text: in UTF-8, without the byte order marks at the beginning of its lines."""
    with open(copy, "w", encoding="utf-8", newline="\n") as out:
        while lines := text.readlines(STEP):
            out.writelines(line.lstrip(BOM) for line in lines)


def cut_again(rows: Path, copy: Path, delimiter: str) -> None:
    """Write rows with their quotation marks in order: one inside a field is a character of it.

    Raises Unreadable where a mark is not closed.
    """
    end = f"{BOM}{BOM}"  # what no line begins with any more
    with open(rows, encoding="utf-8", newline="") as text, open(copy, "w", encoding="utf-8", newline="") as out:
        writer, fields = csv.writer(out, delimiter=delimiter, lineterminator="\n"), []
        try:
            for fields in csv.reader(itertools.chain(text, [end]), delimiter=delimiter):
                writer.writerow(fields if fields != [end] else ())
        except csv.Error:
            fields = []
    if fields != [end]:
        raise Unreadable("cannot be read as CSV; a quotation mark may not be closed")


def heard(connection: duckdb.DuckDBPyConnection, call: Callable[[], Any]) -> Any:
    """What a call of DuckDB gives; it runs in a thread, so that a signal is heard at once, not at its end."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call)
        try:
            return asked.result()
        finally:
            while not asked.done():
                connection.interrupt()
                wait([asked], SECONDS)


def is_encodable(path: Path) -> bool:
    """Whether DuckDB and pyarrow can open a path: its bytes are UTF-8."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        return False
    return True


def no_pattern(path: str) -> str:
    """A path in which nothing is a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


@contextlib.contextmanager
def plain_errors(name: str, ragged_row: Callable[[], str] | None = None) -> Iterator[None]:
    """DuckDB's errors about a source in a sentence. Raises MemoryError where the machine has too little.

    ragged_row: says what is wrong with a text file that cannot be cut into rows.
    """
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(f"{name}: there is not enough memory to read it") from error
    except duckdb.Error as error:
        if ragged_row and "Maximum line size" in str(error):
            problem = f"{name}: has a line of more than 2,000,000 bytes; a quotation mark may lack its partner."
        elif ragged_row and "CSV Error" in str(error):
            problem = ragged_row()
        else:
            problem = f"{name}: cannot be read to its end ({first_line(error)})."
        raise RecordsError(problem) from error


def first_line(error: Exception) -> str:
    """The first words of an error."""
    return next((line[:200] for line in str(error).splitlines() if line.strip()), type(error).__name__)
