"""How much of each school the records cover: its students with an outcome score, and how many of them are linked.

A model uses the students who have an outcome score *and* what it needs besides, the prior score above all. Where a
school's linked students are few of those tested, its value added is that of the few. So every effect comes with
``tested`` and ``linked_share``.

Thresholds. :data:`LEAST`, below which a school is held back: England's school performance tables print LOWCOV in place
of a value-added figure of which less than 50 per cent of the school's pupils are part (Department for Education,
abbreviations of the performance tables), and TIMSS and PISA count a school in which fewer than half of the sampled
students sat the test as not taking part (PISA 2018 Technical Report, chapter 4). :data:`FULL`, below which the analyst is
told: between the 85 per cent of students that TIMSS asks of a country and the 95 per cent that the United States' Every
Student Succeeds Act (section 1111(c)(4)(E)) asks of every school's tests. Both are conventions: what matters is who is
missing, which no share shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

FULL = 0.9  # share of a school's tested students that are linked, below which an analyst is told
LEAST = 0.5  # below which a school is held back, unless a study says otherwise
UNLINKED = "unlinked"  # the attribute of records with the students tested and not linked
MIN_LINKED_SHARE = "min_linked_share"  # the attribute with a study's own LEAST
CELL = ["cohort", "school"]
LOW = "low_coverage"  # column of a table of schools, where there are any: which are below a study's LEAST
ROUNDING = 1e-9  # of a share


def of_rows(years: tuple[np.ndarray, pd.Index], school: pd.Series, tested: np.ndarray, linked: np.ndarray) -> str:
    """The attribute: rows by cohort, and by school [linked, unlinked] where there are unlinked ones, as JSON text.

    years: the number of each row's cohort, and the cohorts; tested, linked: (N,) which rows are. It is text since pandas
    copies attributes at every step, each of their entries by itself, and would take longer over them than over the records.
    """
    t, cohorts = years
    same = bool((tested == linked).all())
    s, schools = (0, [""]) if same else pd.factorize(school)  # only schools with unlinked students are named
    shape = len(cohorts), len(schools)
    cell = t if same else t * shape[1] + s
    counted = [
        np.bincount(cell if which.all() else cell[which], minlength=shape[0] * shape[1]).reshape(shape)
        for which in ([linked] if same else [tested, linked])
    ]
    n, k = counted[0], counted[-1]
    found: dict[str, Any] = {}
    for row, year in enumerate(cohorts):
        if n[row].any() or k[row].any():
            short = sorted((str(schools[j]), j) for j in np.flatnonzero(n[row] > k[row]))
            counts = {name: [int(k[row, j]), int(n[row, j] - k[row, j])] for name, j in short}
            found[str(int(year))] = {"rows": int(k[row].sum()), "schools": counts}
    return json.dumps(found)


def unlinked(attrs: Mapping[Any, Any]) -> pd.DataFrame | None:
    """Columns linked and unlinked, index (cohort, school), of the cells with unlinked students; None if not known."""
    if not isinstance(text := attrs.get(UNLINKED), str):
        return None
    rows = [
        (int(cohort), school, *counts)
        for cohort, part in json.loads(text).items()
        for school, counts in part["schools"].items()
    ]
    table = pd.DataFrame(rows, columns=[*CELL, "linked", "unlinked"])
    return table.astype({"cohort": "int64", "school": "str", "linked": "int64", "unlinked": "int64"}).set_index(CELL)


def tested(attrs: Mapping[Any, Any], linked: pd.Series) -> pd.Series | None:
    """Students with an outcome score, index as ``linked``: rows of each (cohort, school) now in the records.

    None where that is not known: the records were not read by valib, or rows were taken out since.
    """
    if not isinstance(text := attrs.get(UNLINKED), str):
        return None
    known, total = json.loads(text), linked.groupby(level="cohort").sum()
    parts = {}
    for cohort, rows in total.items():
        part = known.get(str(cohort))
        own = linked.xs(cohort, level="cohort")
        if part is None or part["rows"] != rows:
            return None
        more = pd.DataFrame.from_dict(part["schools"], orient="index", columns=["linked", "unlinked"], dtype=np.int64)
        there = more.reindex(own.index)
        if (there["linked"].notna() & (there["linked"] != own)).any():
            return None
        parts[cohort] = own + there["unlinked"].fillna(0).astype(np.int64)
    return pd.concat(parts, names=CELL).reindex(linked.index) if parts else None


def renamed(attrs: Mapping[Any, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The attribute with schools under other names; those without a name, none of whose rows is used, are left out."""
    if not isinstance(text := attrs.get(UNLINKED), str):
        return {}
    known = json.loads(text)
    for part in known.values():
        part["schools"] = {names[school]: counts for school, counts in part["schools"].items() if school in names}
    return {UNLINKED: json.dumps(known)}


def least(attrs: Mapping[Any, Any]) -> float:
    """The share below which a school is held back: the study's, if the records say it."""
    return float(attrs.get(MIN_LINKED_SHARE, LEAST))


def with_coverage(table: pd.DataFrame, tested: pd.Series | None, least: float) -> pd.DataFrame:
    """A table of schools (column n) with ``tested`` and ``linked_share`` behind the numbers of students.

    tested: by the index of the table, or None: not known, and both are missing. :data:`LOW` is a column where a school
    is below the least share.
    """
    at = table.columns.get_loc("students" if "students" in table.columns else "n") + 1
    known = np.full(len(table), np.nan) if tested is None else tested.reindex(table.index).to_numpy()
    known = np.where(np.isnan(known), table["n"], known).astype(np.int64) if tested is not None else known
    with np.errstate(invalid="ignore", divide="ignore"):
        share = table["n"].to_numpy() / known
    table.insert(at, "tested", known)
    table.insert(at + 1, "linked_share", share)
    low = (share < least - ROUNDING) & (table["n"].to_numpy() > 0)
    if low.any():
        table.insert(at + 2, LOW, low)
    return table


def sizes_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a table of schools by which it is decided what may be shown."""
    return table[[name for name in ("n", "students", LOW) if name in table.columns]]


def few_unlinked(table: pd.DataFrame, shown: Iterable[bool], min_students: int) -> np.ndarray:
    """(J,) which of the schools shown of a cohort must not tell tested and linked_share.

    Those of whose students 1 to ``min_students`` - 1 are not linked, which could be told from one another, and, since a
    cohort's total is published, so many more (the next smallest) that two schools, those held back counting as one, and
    ``min_students`` students are masked: the rule of :func:`valib.records.disclosure.few_of_total`. The same where the
    schools held back together have so few.
    """
    keep = np.asarray(list(shown), dtype=bool)
    lacking = np.nan_to_num(table["tested"].to_numpy(dtype=np.float64) - table["n"].to_numpy())
    rest = lacking[~keep].sum()
    mask = keep & (lacking > 0) & (lacking < min_students)
    order = [j for j in np.argsort(lacking, kind="stable") if keep[j] and lacking[j] > 0 and not mask[j]]
    concerned = bool(mask.any()) or 0 < rest < min_students
    while concerned and order and ((mask.sum() == 1 and rest == 0) or rest + lacking[mask].sum() < min_students):
        mask[order.pop(0)] = True
    return mask
