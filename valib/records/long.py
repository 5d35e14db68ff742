"""Long records, a row a student, year and subject: which columns say so, and which students come back a grade later."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .sources import as_numbers

# Words for a grade of school, in names of columns.
GRADE = tuple("grade grades klasse klassenstufe jahrgang jahrgangsstufe groep grado niveau yeargroup".split())
GRADES = (*GRADE, "gradelevel", "studentgrade", "testedgrade", "testgrade")  # whole names
SUBJECTS = (
    *("subject", "subjects", "subjectarea", "contentarea", "testsubject", "fach", "vak", "matiere", "materia"),
    *("asignatura", "disciplina", "amne", "fag"),
)
MOST = 20  # grades or subjects; a column of more holds something else


def grade_column(names: Iterable[Any]) -> str | None:
    """The column of grades by its name, whatever its capitals and marks: grade before GRADE_LEVEL; None if none says so."""
    return _named(names, GRADES)


def subject_column(names: Iterable[Any]) -> str | None:
    """The column of subjects by its name; None if none says so."""
    return _named(names, SUBJECTS)


def _named(names: Iterable[Any], wanted: Sequence[str]) -> str | None:
    plain: dict[str, str] = {}
    for name in names:
        if isinstance(name, str):
            plain.setdefault("".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if c.isalnum()), name)
    return next((plain[word] for word in wanted if word in plain), None)


def grades(frame: pd.DataFrame) -> np.ndarray:
    """(n,) the grades of rows, NaN where there are none or they are no numbers."""
    name = grade_column(frame.columns)
    return np.full(len(frame), np.nan) if name is None else as_numbers(frame[name])[0]


def level_text(value: Any) -> str:
    """A value as text; 3.0, as a column of whole numbers with missing ones holds it, is "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def levels(cohort: pd.Series, column: pd.Series) -> dict[int, dict[str, int]]:
    """Rows by cohort and value of a column, missing ones apart; none where it has more than MOST values."""
    counted = column.groupby([cohort, column], observed=True).size()
    if counted.index.get_level_values(1).nunique() > MOST:
        return {}
    found: dict[int, dict[str, int]] = {}
    for (t, value), rows in counted.items():
        found.setdefault(int(t), {})[level_text(value)] = int(rows)
    return found


def moving_up(student: np.ndarray, cohort: np.ndarray, grade: np.ndarray) -> int:
    """Students who stand in several cohorts, and each time in a grade as much higher as years have gone by."""
    rows = pd.DataFrame({"student": student, "cohort": cohort, "since": grade - cohort})
    each = rows.groupby("student", sort=False).agg(
        first=("cohort", "min"),
        last=("cohort", "max"),
        low=("since", "min"),
        high=("since", "max"),
        known=("since", "count"),
        rows=("cohort", "size"),
    )
    alike = (each["low"] == each["high"]) & (each["known"] == each["rows"])
    return int((alike & (each["first"] < each["last"])).sum())
