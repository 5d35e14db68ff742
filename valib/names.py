"""Names as the records have them, made fit to be shown: one line, no control characters, not too long.

A school's name is text from elsewhere. What gives it a meaning to HTML, Markdown or LaTeX is escaped where it is shown
(:func:`valib.pages.prose.escape`); here it loses what would disturb any page: line breaks, control characters, marks
that turn the direction of the text around them, characters that take no room, and piles of accents.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .errors import RecordsError, ValibError

BLANK = "(blank)"
LONGEST = 60  # characters of a name in a table
_SHOWN = 8  # cohorts that a sentence names before it only counts
LONGEST_MARK = 12  # characters of a bad value that are shown
CODES = ("student", "school")
MANY = 20  # bad values in a column that are no slip
_TURNS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directional marks
_NOTHING = "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
_EMPTY = "\u115f\u1160\u2800\u3164\uffa0"  # letters that look like blanks
_DROPPED = re.compile(f"[{_TURNS}{_NOTHING}]")
_SPACE = re.compile(rf"[\s{_EMPTY}\x1c-\x1f\x85]+")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_MOST_MARKS = 3  # accents on one letter
_BETWEEN = re.compile(r"""[;\t|"\r\n]""")  # marks between fields: more than one value
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_NUMBER_LIKE = re.compile(r"[-+\u2010-\u2015\u2212]?([\d.,' ]+%?|inf(inity)?)", re.IGNORECASE)


def readable(name: object, longest: int | None = None) -> str:
    """A name on one line, without what would disturb a page; shortened in the middle to ``longest`` characters.

    Control characters become the replacement character; marks of direction and characters without width go; what looks
    empty is said to be blank. Nothing is escaped.
    """
    text = _SPACE.sub(" ", _DROPPED.sub("", str(name))).strip(" \u200c\u200d")
    text = _without_piles(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))
    if longest is not None and len(text) > longest:
        head = (longest - 1) * 2 // 3
        text = text[:head].rstrip() + "…" + text[len(text) - (longest - 1 - head) :].lstrip()
    return text or BLANK


def example(value: object, rows: int, of: int, column: str = "") -> str:
    """What an error shows of the first of so many bad values: "; first: 'absent'".

    column: by valib's name. Of codes, of numbers (scores, unless they are cohorts) and of what is long enough to be a
    name, or looks like the rest of a row, nothing is shown. Where most rows are bad, the column is taken for another and
    may hold names or codes of students.
    """
    text = readable(value, LONGEST)
    if column == "cohort" and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")  # as it is where the comma was already read as a point
    if column not in CODES and _DECIMAL_COMMA.fullmatch(text):
        return "; the first has a decimal comma"
    if rows > MANY and 2 * rows > of and not _NUMBER_LIKE.fullmatch(text):
        return "; is it the right column?"
    shown = column not in CODES and len(text) <= LONGEST_MARK and not _BETWEEN.search(str(value))
    return f"; first: '{text}'" if shown and (column == "cohort" or not _is_number(text)) else ""


def _is_number(text: str) -> bool:
    """Whether a text is a plain finite number."""
    with contextlib.suppress(ValueError):
        return math.isfinite(float(text))
    return False


def _without_piles(text: str) -> str:
    """At most three combining marks on one letter, and none without a letter."""
    if text.isascii():
        return text
    kept, marks = [], _MOST_MARKS
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


@contextlib.contextmanager
def about(records: Any, cohorts: list[int]) -> Iterator[None]:
    """Put the file, and the cohorts unless they are what is wrong, before the sentence of an error."""
    try:
        yield
    except ValibError as error:
        if str(error).startswith(f"{records.attrs['source']}: "):
            raise
        cohort = "" if isinstance(error, RecordsError) else f", cohort{'s' * (len(cohorts) > 1)} {listed(cohorts)}"
        raise type(error)(f"{records.attrs['source']}{cohort}: {error}") from error


def listed(cohorts: Any) -> str:
    """Return cohorts as text."""
    return ", ".join(str(cohort) for cohort in cohorts)


def listed_cohorts(names: Iterable[int]) -> str:
    """Return 'cohort 2015' or 'cohorts 2015, 2016', after eight of them 'and 4 more'."""
    every = [str(name) for name in names]
    return f"cohort{'s' if len(every) != 1 else ''} {_cut(every)}"


def by_cohort(values: Mapping[int, str]) -> str:
    """Return 'cohort 2015: 3; 2016: 4', after eight cohorts 'and 4 more'."""
    return "cohort " + _cut([f"{cohort}: {value}" for cohort, value in values.items()], "; ")


def counts(values: Mapping[int, int]) -> str:
    """Return the counts that are not zero as :func:`by_cohort` does."""
    return by_cohort({cohort: f"{int(count):,}" for cohort, count in values.items() if count})


def percent(share: float | None) -> str:
    """Return a share as per cent with one decimal; never rounded to nothing or to all."""
    if share is None or not math.isfinite(share):
        return "-"
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def _cut(parts: list[str], between: str = ", ") -> str:
    more = len(parts) - _SHOWN
    return between.join(parts[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
