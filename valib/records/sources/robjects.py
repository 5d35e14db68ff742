"""What R's save() and saveRDS() write, taken apart: vectors as arrays, with their attributes.

The format is that of "R Internals", section 1.8, and of R's own ``serialize.c``: the versions 2 and 3, as XDR (R's
default), in the byte order of the machine that wrote it, or as text. Functions, environments, formulas and byte code have no
length of their own, so they are walked through; nothing of them is kept and nothing is run.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa

# Kinds of objects, by the numbers that R gives them.
NIL, SYM, LIST, CLO, ENV, PROM, LANG, SPECIAL, BUILTIN, CHAR, LGL, INT, REAL, CPLX, STR, DOT, VEC, EXPR, BCODE = (
    *range(11),
    *range(13, 18),
    *range(19, 22),
)
EXTPTR, WEAKREF, RAW, S4, ALTREP, ATTRLIST, ATTRLANG, BCREPREF, BCREPDEF = 22, 23, 24, 25, 238, 239, 240, 243, 244
PERSIST, PACKAGE, NAMESPACE, REF = 248, 249, 250, 255
_NOTHING = {NIL, 241, 242, 247, 251, 252, 253, 254}  # environments of R itself, and what stands for no value
_PAIRS = {LIST, CLO, PROM, LANG, DOT}
_LATIN1, _UTF8, _ASCII = 1 << 14, 1 << 15, 1 << 18  # the encoding of a text, in its flags
NA_INTEGER = np.iinfo(np.int32).min
NA_REAL = float(np.array(0x7FF00000000007A2, np.int64).view(np.float64))  # R's NA among the values that are no numbers
FEW, WINDOW, WIDEST = 16, 1 << 12, 1 << 24  # texts read one by one; bytes looked through at a time, first and at most


class Damaged(ValueError):
    """Bytes that R would not have written."""


@dataclass(slots=True)
class RObject:
    """An object of R.

    kind: its number. value: int32, float64, an Arrow array of texts, a list of objects (of pairs, for R's linked lists), a
    ``range`` for a sequence of which R keeps only the ends, the name of a symbol; None for what is passed over.
    """

    kind: int
    value: Any = None
    attributes: dict[str, RObject] = field(default_factory=dict)

    def texts(self, attribute: str) -> list[str | None]:
        """An attribute that holds texts, as names and classes do; none if it is not there."""
        there = self.attributes.get(attribute)
        return there.value.to_pylist() if there is not None and there.kind == STR else []


class Reader:
    """Where the parts of objects come from.

    size: bytes that there are. native: the encoding of texts without a mark, "" if the file does not say. guessed: whether
    some were in none that could be known, and are taken as Windows-1252.
    """

    def __init__(self, size: int) -> None:
        self.size, self.at, self.native, self.guessed = size, 0, "", False

    def whole(self) -> int:
        """One integer."""
        raise NotImplementedError

    def wholes(self, n: int) -> np.ndarray:
        """So many integers."""
        raise NotImplementedError

    def reals(self, n: int) -> np.ndarray:
        """So many numbers, every bit as it is."""
        raise NotImplementedError

    def skip(self, n: int) -> None:
        """Pass over the bytes of a raw vector."""
        raise NotImplementedError

    def text(self, n: int) -> bytes:
        """So many bytes of text."""
        raise NotImplementedError

    def texts(self, n: int) -> pa.Array:
        """So many texts, each behind its flags and its length."""
        parts = []
        for _ in range(n):
            flags, length = self.wholes(2).tolist()
            if flags & 255 != CHAR:
                raise Damaged("no text")
            parts.append((flags, None if length == -1 else self.text(length)))
        known = {part: self._decoded(*part) for part in set(parts)}
        return pa.array([known[part] for part in parts], pa.large_string())

    @property
    def own(self) -> str:
        """Python's name of the encoding of texts without a mark."""
        try:
            found = codecs.lookup(self.native).name
        except LookupError:
            return "cp1252" if self.native else "utf-8"
        return "utf-8" if found == "ascii" else found

    def _decoded(self, flags: int, held: bytes | None) -> str | None:
        """A text in the encoding that its flags name, or else in that of who wrote it."""
        if held is None:
            return None
        marked = flags & (_UTF8 | _ASCII)
        try:
            return held.decode("cp1252" if flags & _LATIN1 else "utf-8" if marked else self.own)
        except UnicodeDecodeError:
            if marked:
                raise
        self.guessed = True
        return held.decode("cp1252", "replace")


def parse(data: bytes) -> tuple[RObject, bool]:
    """The object that follows the header of a file ("RDX3" of save() left out), and whether its encoding was guessed.

    Raises
    ------
    Damaged, ValueError, IndexError, RecursionError
        If the bytes are damaged.
    """
    formats: dict[bytes, Callable[[bytes], Reader]] = {
        b"X\n": lambda rest: Binary(rest, ">"),
        b"B\n": lambda rest: Binary(rest, "<"),
        b"A\n": Ascii,
    }
    if data[:2] not in formats:
        raise Damaged("unknown format")
    reader = formats[data[:2]](data[2:])
    version = reader.whole()
    reader.wholes(2)  # of the writer, and the least that reads it
    if version not in (2, 3):
        raise Damaged(f"version {version} of R's format")
    if version == 3:
        reader.native = reader.text(reader.whole()).decode("ascii")
    return Parser(reader).item(), reader.guessed


class Binary(Reader):
    """Parts in binary; a mark says in which order their bytes are."""

    def __init__(self, data: bytes, order: str) -> None:
        Reader.__init__(self, len(data))
        self.data, self.order = data, order

    def _take(self, kind: str, n: int) -> np.ndarray:
        taken = np.frombuffer(self.data, self.order + kind, n, self.at)
        self.at += taken.nbytes
        return taken

    def whole(self) -> int:
        """One integer."""
        return int(self._take("i4", 1)[0])

    def wholes(self, n: int) -> np.ndarray:
        """So many integers."""
        return self._take("i4", n).astype(np.int32)

    def reals(self, n: int) -> np.ndarray:
        """So many numbers, every bit as it is."""
        return self._take("i8", n).astype(np.int64).view(np.float64)

    def skip(self, n: int) -> None:
        """Pass over bytes."""
        self.text(n)

    def text(self, n: int) -> bytes:
        """So many bytes."""
        taken = self.data[self.at : self.at + n]
        if n < 0 or len(taken) < n:
            raise Damaged("cut off")
        self.at += n
        return taken

    def texts(self, n: int) -> pa.Array:
        """So many texts, each behind its flags and its length."""
        start = self.at
        if n > FEW and self.order == ">" and (found := self._headers(n)):
            places, flags, lengths = found
            held = pa.py_buffer(memoryview(self.data)[start : self.at])
            ends = np.append(np.column_stack([places, places + 8]).ravel() - start, self.at - start)
            both = pa.Array.from_buffers(pa.large_binary(), 2 * n, [None, pa.py_buffer(ends), held])  # headers, texts
            texts = both.take(pa.array(np.arange(1, 2 * n, 2), mask=lengths < 0)).view(pa.large_string())
            if self._is_utf8(texts, flags):
                return texts
        self.at = start
        return Reader.texts(self, n)

    def _is_utf8(self, texts: pa.Array, flags: np.ndarray) -> bool:
        """Whether all texts are UTF-8, as their flags or who wrote them say."""
        marked = (flags & (_UTF8 | _ASCII) != 0) | (self.own == "utf-8")
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            return False
        return bool(marked.all() and not (flags & _LATIN1).any())

    def _headers(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Where so many texts begin, their flags and lengths, found for many at once; None if that cannot be done.

        All places that look like the beginning of a text are taken; those are the beginnings if each lies where the one
        before it ends. Where a text holds such a look-alike the search starts anew behind it.
        """
        found, left, window = [], n, WINDOW
        while left:
            size = min(window, len(self.data) - self.at) - 7
            if size <= 0:
                return None
            words = np.ndarray(size + 4, ">i4", self.data, self.at, (1,))  # at every byte
            at = np.flatnonzero(np.frombuffer(self.data, np.uint8, size, self.at + 3) == CHAR)
            flags, lengths = words[at], words[at + 4]
            fit = (
                (flags & ~(_LATIN1 | _UTF8 | _ASCII | CHAR) == 0)
                & (lengths >= -1)
                & (lengths < len(self.data) - self.at)
            )
            at, flags, lengths = at[fit][:left], flags[fit][:left], lengths[fit][:left]
            ends = at + 8 + np.maximum(lengths, 0)
            if not len(at) or at[0]:
                return None
            breaks = np.flatnonzero(ends[:-1] != at[1:])
            good = int(breaks[0]) + 1 if len(breaks) else len(at)
            found.append((self.at + at[:good], flags[:good], lengths[:good]))
            left -= good
            self.at += int(ends[good - 1])
            window = min(2 * window, WIDEST) if good == len(at) else WINDOW
        if self.at > len(self.data):
            raise Damaged("cut off")
        places, flags, lengths = (np.concatenate(parts).astype(np.int64) for parts in zip(*found, strict=True))
        return places, flags, lengths


class Ascii(Reader):
    """Parts as text, one a line: R's ``ascii = TRUE``."""

    _ESCAPES: ClassVar = {b"n": b"\n", b"t": b"\t", b"v": b"\v", b"b": b"\b", b"r": b"\r", b"f": b"\f", b"a": b"\a"}

    def __init__(self, data: bytes) -> None:
        Reader.__init__(self, len(data))
        self.words = data.split()

    def _take(self, n: int) -> list[bytes]:
        taken = self.words[self.at : self.at + n]
        if n < 0 or len(taken) < n:
            raise Damaged("cut off")
        self.at += n
        return taken

    def whole(self) -> int:
        """One integer."""
        return int(self.wholes(1)[0])

    def wholes(self, n: int) -> np.ndarray:
        """So many integers."""
        return np.array([NA_INTEGER if word == b"NA" else int(word) for word in self._take(n)], np.int32)

    def reals(self, n: int) -> np.ndarray:
        """So many numbers."""
        words = [word.decode("ascii") for word in self._take(n)]
        return np.array(
            [float.fromhex(w) if "x" in w else NA_REAL if w == "NA" else float(w) for w in words], np.float64
        )

    def skip(self, n: int) -> None:
        """Pass over bytes, one a word."""
        self._take(n)

    def text(self, n: int) -> bytes:
        """So many bytes, some of them with a backslash before them or as octal numbers."""

        def plain(found: re.Match) -> bytes:
            mark = found[1]
            return bytes([int(mark, 8) & 255]) if mark.isdigit() else self._ESCAPES.get(mark, mark)

        taken = re.sub(rb"\\([0-7]{1,3}|.)", plain, self._take(1)[0]) if n else b""
        if len(taken) != n:
            raise Damaged("a text of another length")
        return taken


class Parser:
    """Objects one after another; ``refs``: those that later ones may refer to."""

    def __init__(self, reader: Reader) -> None:
        self.read, self.refs = reader, list[RObject]()

    def item(self, flags: int | None = None) -> RObject:
        """The next object; flags: if they are read already."""
        flags = self.read.whole() if flags is None else flags
        kind = flags & 255
        if kind in _NOTHING:
            return RObject(NIL)
        if kind in _PAIRS:
            return self._pairs(kind, flags)
        if kind == ALTREP:
            return self._compact()
        if kind == REF:
            number = flags >> 8 or self.read.whole()
            if not 1 <= number <= len(self.refs):
                raise Damaged("refers to nothing")
            return self.refs[number - 1]
        if kind in (SYM, ENV, EXTPTR, PERSIST, PACKAGE, NAMESPACE, WEAKREF):
            made = self._referred(kind)
        elif kind == CHAR:
            length = self.read.whole()
            made = RObject(kind, None if length == -1 else self.read.text(length))
        else:
            made = RObject(kind, self._vector(kind))
        if flags & 512 and kind not in (SYM, ENV, PERSIST, PACKAGE, NAMESPACE):
            made.attributes = _named(self.item())
        return made

    def _referred(self, kind: int) -> RObject:
        """An object that later ones may refer to by its number."""
        if kind == SYM:
            name = self.item().value
            made = RObject(kind, "" if name is None else name.decode("utf-8", "replace"))
            self.refs.append(made)
            return made
        if kind in (PERSIST, PACKAGE, NAMESPACE):
            self.read.whole()
            self.read.texts(self.read.whole())
            self.refs.append(made := RObject(kind))
            return made
        self.refs.append(made := RObject(kind))
        if kind == ENV:
            self.read.whole()
        for _ in range({ENV: 4, EXTPTR: 2, WEAKREF: 0}[kind]):
            self.item()
        return made

    def _pairs(self, kind: int, flags: int) -> RObject:
        """A linked list or what is built as one: pairs of a tag and an object; what ends it stands last, if it is one."""
        pairs: list[tuple[str | None, RObject]] = []
        attributes = {}
        while flags & 255 in _PAIRS:
            if flags & 512:
                attributes |= _named(self.item())
            tag = self.item() if flags & 1024 else None
            pairs.append((tag.value if tag is not None and tag.kind == SYM else None, self.item()))
            flags = self.read.whole()
        rest = self.item(flags)
        return RObject(kind, pairs if rest.kind == NIL else [*pairs, (None, rest)], attributes)

    def _vector(self, kind: int) -> Any:
        """What an object holds, if it is a vector."""
        if kind == S4:
            return None
        if kind == BCODE:
            self.read.whole()
            return self._code()
        n = self.read.whole()
        if n == -1:
            high, low = self.read.wholes(2).view(np.uint32).tolist()
            n = (high << 32) + low
        if n < 0:
            raise Damaged("a negative length")
        if kind in (LGL, INT):
            return self.read.wholes(n)
        if kind in (REAL, CPLX):
            return self.read.reals(n * (2 if kind == CPLX else 1))
        if kind == STR:
            return self.read.texts(n)
        if kind in (VEC, EXPR):
            return [self.item() for _ in range(n)]
        if kind in (SPECIAL, BUILTIN):
            return self.read.text(n)
        if kind == RAW:
            return self.read.skip(n)
        raise Damaged(f"an object of the unknown kind {kind}")

    def _code(self) -> None:
        """Byte code and its constants."""
        self.item()
        for _ in range(self.read.whole()):
            kind = self.read.whole()
            if kind == BCODE:
                self._code()
            elif kind in (LIST, LANG, ATTRLIST, ATTRLANG, BCREPDEF, BCREPREF):
                self._language(kind)
            else:
                self.item()

    def _language(self, kind: int) -> None:
        """Language among the constants of byte code."""
        while True:
            if kind == BCREPREF:
                self.read.whole()
                return
            if kind == BCREPDEF:
                self.read.whole()
                kind = self.read.whole()
            if kind not in (LIST, LANG, ATTRLIST, ATTRLANG):
                self.item()
                return
            if kind in (ATTRLIST, ATTRLANG):
                self.item()
            self.item()
            self._language(self.read.whole())
            kind = self.read.whole()

    def _compact(self) -> RObject:
        """A vector in one of R's shorter forms: a sequence, numbers that are to be texts, or a vector with notes on it."""
        info, state, attributes = self.item(), self.item(), _named(self.item())
        form = info.value[0][1].value
        if form in ("compact_intseq", "compact_realseq"):
            n, first, step = (int(number) for number in state.value)
            if n < 0 or step not in (1, -1):
                raise Damaged("no sequence")
            return RObject(INT if form == "compact_intseq" else REAL, range(first, first + n * step, step), attributes)
        held = [one if isinstance(one, RObject) else one[1] for one in state.value]
        if form == "deferred_string":
            if len(held[0].value) > self.read.size:  # a few bytes, which would fill the memory
                raise Damaged("a sequence longer than the file")
            return RObject(STR, _as_texts(held[0], int(held[1].value[0])), attributes)
        if form.startswith("wrap_"):
            return RObject(held[0].kind, held[0].value, attributes)
        raise Damaged(f"a vector of the unknown form {form}")


def _named(pairs: RObject) -> dict[str, RObject]:
    """The objects of a linked list that have names."""
    return {} if pairs.kind != LIST else {name: value for name, value in pairs.value if name is not None}


def _as_texts(numbers: RObject, scientific: int) -> pa.Array:
    """Numbers as R writes them; scientific: R's penalty on exponents, in characters."""
    values = numbers.value if not isinstance(numbers.value, range) else np.array(numbers.value)
    if values.dtype == np.int32 or numbers.kind == INT:
        return pa.array(np.asarray(values), mask=np.asarray(values) == NA_INTEGER).cast(pa.large_string())
    codes, different = pd.factorize(
        values.view(np.int64) if values.dtype == np.float64 else values.astype(float).view(int)
    )
    texts = [_as_text(value, scientific) for value in np.asarray(different).view(np.float64)]
    return pa.array(texts, pa.large_string()).take(pa.array(codes))


def _as_text(value: float, scientific: int) -> str | None:
    """A number to 15 digits, with an exponent where that is shorter; NA is None."""
    if not np.isfinite(value):
        is_na = np.isnan(value) and int(np.float64(value).view(np.int64)) & 0xFFFFFFFF == 0x7A2
        return None if is_na else {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}[str(float(value))]
    mantissa, _, power = f"{abs(value):.14e}".partition("e")
    digits, exponent = len(mantissa.replace(".", "").rstrip("0")) or 1, int(power)
    decimals = max(0, digits - exponent - 1)
    fixed = max(exponent, 0) + 1 + (decimals + 1 if decimals else 0)
    with_exponent = digits + (digits > 1) + (5 if abs(exponent) >= 100 else 4)
    return f"{value:.{decimals}f}" if fixed <= with_exponent + scientific else f"{value:.{digits - 1}e}"
