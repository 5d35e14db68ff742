"""School and student codes that are written in two ways, stand for nobody in particular, or have lost digits."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd

from ...records.sources import MISSING
from .coded import Coded, Finding
from .limits import UNKNOWN_SIZE
from .schools import Cells
from .text import LONGEST_NAME, printable

UNKNOWN = {
    *(word.casefold() for word in MISSING if word),
    "none",
    "nil",
    "unknown",
    "not known",
    "missing",
    "other",
    "-",
    "?",
    "n.a.",
    "(null)",
    "\\n",
    "#ref!",
    "#value!",
}
CUT = r"^[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+$"  # a long number as a spreadsheet shows it
_NUMBER = re.compile(r"-?0*(\d+?)(?:[.,]0+)?")
_SHOWN = 3


def code_findings(coded: Coded, cells: Cells, min_students: int) -> list[Finding]:
    """Warn of codes that look as if they did not mean one school, or one student, each."""
    students = np.bincount(cells.school, weights=cells.n, minlength=len(coded.schools)).astype(np.int64)
    return [*_alike(coded.schools, students), *_unknown(coded, cells, students, min_students), *_cut(coded)]


def plain_code(code: str) -> str:
    """A code without what is lost or changed on the way through spreadsheets and programs.

    That is: leading zeros, a decimal .0, capital letters, blanks, marks without width, ways to write an accent, and
    the apostrophe or ="..." with which spreadsheets keep text as text.
    """
    text = unicodedata.normalize("NFKC", code).casefold()
    text = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    text = text.removeprefix("=").strip("\"'") if text[:1] in ("=", "'") else text
    number = _NUMBER.fullmatch(text)
    return number[1] if number and not text.startswith("-") else text


def _alike(schools: np.ndarray, students: np.ndarray) -> list[Finding]:
    """Warn of schools whose codes differ only in how they are written."""
    keys = pd.Series([plain_code(str(name)) for name in schools])
    twice = keys.duplicated(keep=False)
    if not twice.any():
        return []
    groups = keys[twice].groupby(keys[twice], sort=False).indices.values()
    where = np.flatnonzero(twice)
    together = [where[rows] for rows in groups]
    rarer = sum(int(students[rows].sum() - students[rows].max()) for rows in together)
    told = "; ".join(
        " and ".join(f"'{printable(schools[k], LONGEST_NAME)}'" for k in rows[:_SHOWN]) for rows in together[:_SHOWN]
    )
    more = f"; and {len(together) - _SHOWN:,} more" if len(together) > _SHOWN else ""
    return [
        Finding(
            "alike_schools",
            (),
            (
                f"School codes that differ only in leading zeros, a decimal .0, capital letters, blanks or the like: "
                f"{int(twice.sum()):,} ({told}{more}); {rarer:,} students stand under the rarer ways of writing: if these are "
                "the same schools, write their codes in one way."
            ),
        )
    ]


def _unknown(coded: Coded, cells: Cells, students: np.ndarray, min_students: int) -> list[Finding]:
    """Warn of school codes that may stand for an unknown school."""
    usual = float(np.median(cells.n)) if len(cells.n) else 0.0
    largest = np.zeros(len(coded.schools), dtype=np.int64)
    np.maximum.at(largest, cells.school, cells.n)
    found = []
    for k, name in enumerate(coded.schools):
        word = str(name).casefold()
        filler = re.fullmatch(r"9{2,}|0+|-1?", word) and largest[k] > UNKNOWN_SIZE * usual
        if word in UNKNOWN or re.fullmatch(r"-\d+", word) or filler:
            size = f"{students[k]:,}" if students[k] >= min_students else f"fewer than {min_students}"
            found.append(
                Finding(
                    "unknown_school",
                    (),
                    (
                        f"School '{printable(name, LONGEST_NAME)}' has {size} students and may stand for an unknown school: if "
                        "so, leave its code blank, or its students are judged as one school."
                    ),
                )
            )
    return found[:_SHOWN]


def _cut(coded: Coded) -> list[Finding]:
    """Warn of codes that a spreadsheet has cut to a few digits."""
    found = []
    for column in ("school", "student"):
        rows = int(coded.data[column].str.match(CUT).sum())
        if rows:
            found.append(
                Finding(
                    "cut_codes",
                    (),
                    (
                        f"Column {column} has {rows:,} rows with codes such as 1.23457E+11, as a spreadsheet writes long "
                        f"numbers: last digits are lost and different {column}s have become one, so export codes as text."
                    ),
                )
            )
    return found
