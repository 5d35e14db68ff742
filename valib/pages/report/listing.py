"""The schools of a report: the name of each one's file, and the list that the first page shows."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...names import readable
from ..prose import as_text
from . import words
from .page import NONE, SchoolPage, shown_name

LONGEST = 40  # letters of the readable part
DIGITS = 12  # of the digest, where there is one
# The empty name, those that Windows keeps for itself, and what looks like a name with a digest.
UNUSABLE = re.compile(rf"|con|prn|aux|nul|com\d|lpt\d|(.*-)?[0-9a-f]{{{DIGITS}}}")


def slugs(schools: Iterable[str]) -> dict[str, str]:
    """Return a file name without ending for each school: lower-case letters a-z, digits and hyphens only.

    A name that would lose more than case, or be that of two schools, gets a part of the code's SHA-256 behind it; so
    names stay apart also where a file system does not tell upper from lower case.
    """
    schools = list(dict.fromkeys(schools))
    plain = {school: plain_name(school) for school in schools}
    count = Counter(plain.values())
    names = {}
    for school, name in plain.items():
        if name != school.lower() or count[name] > 1 or UNUSABLE.fullmatch(name):
            digest = hashlib.sha256(school.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name}-{digest[:DIGITS]}".lstrip("-")
        names[school] = name
    return names


def plain_name(school: str) -> str:
    """The letters and digits of a code, marks of accents taken off, the rest as single hyphens."""
    letters = unicodedata.normalize("NFKD", school).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:LONGEST].strip("-")


def row(page: SchoolPage, file: str) -> dict[str, Any]:
    """What the list says of one school: its last year with a figure, compared with the average school of that year."""
    told, students = page.estimate(page.last, "relative"), int(page.cells.at[page.last, "n"])
    there = told.side != "missing"
    return {
        "file": file,
        "name": shown_name(page.school, page.study.get("names")),
        "last": page.last,
        "n": students,
        "students": as_text(students),
        "value": round(told.value, page.digits) if there else "",
        "width": round(told.upper - told.lower, page.digits) if there else "",
        "points": words.points(told, page.digits) if there else NONE,
        "interval": words.interval(told, page.digits) if there else NONE,
        "side": page.cells.at[page.last, "relative_side"] or NONE if there else NONE,
        "group": readable(page.study.get("groups", {}).get(page.school, ""), LONGEST),
        "years": ", ".join(str(cohort) for cohort in page.shown.index),
    }


def in_order(rows: Iterable[Mapping[str, Any]], schools: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The rows by the letters of the schools' names; schools: the code by file name."""
    return sorted(rows, key=lambda row: (plain_name(schools[row["file"]]), schools[row["file"]]))
