"""Prior scores from earlier rows of the same records, or from another file, joined by student: never many to many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import LONGEST, readable
from .long import grades, level_text
from .sources import as_numbers, data_name

FORM = (
    "{years_before: 1, column: score, match: [subject]} or {file: last_year.csv, columns: {student: ID, score: SCORE}}"
)
OUTCOMES = ("linked", "unlinked", "ambiguous")


@dataclass(frozen=True, slots=True)
class Prior:
    """Where prior scores are. years_before: how many cohorts earlier, in the same records; column: the score there;
    match: columns that both rows share besides the student; file, columns: another file, and its names of them."""

    years_before: int | None = None
    column: str = "score"
    match: tuple[str, ...] = ()
    file: str | None = None
    columns: Mapping[str, str] | None = None


def prior_of(given: Mapping[str, Any]) -> Prior:
    """A prior as it is meant; RecordsError in one sentence for what is none."""
    if not isinstance(given, Mapping):
        raise RecordsError(f"prior is a mapping such as {FORM}.")
    if unknown := [str(key) for key in given if key not in Prior.__dataclass_fields__]:
        raise RecordsError(f"prior has no '{readable(unknown[0], LONGEST)}': it is {FORM}.")
    match = given.get("match") or ()
    match = (match,) if isinstance(match, str) else tuple(match) if isinstance(match, (list, tuple)) else (None,)
    if not all(isinstance(name, str) and name for name in match) or len(set(match)) < len(match):
        raise RecordsError("prior's match is a list of columns, each once, such as [subject].")
    years, column, file, columns = (given.get(k) for k in ("years_before", "column", "file", "columns"))
    if (years is None) == (file is None):
        raise RecordsError(f"prior has either years_before or file: it is {FORM}.")
    if years is not None and (isinstance(years, bool) or not isinstance(years, int) or not 1 <= years <= 20):
        raise RecordsError("prior's years_before is a whole number from 1 to 20.")
    if file is not None and (not isinstance(file, str) or not file):
        raise RecordsError("prior's file is the name of a file.")
    if columns is not None and (file is None or not isinstance(columns, Mapping)):
        raise RecordsError("prior's columns is a mapping such as {student: ID, score: SCORE}, and belongs to a file.")
    if column is not None and (file is not None or not isinstance(column, str)):
        raise RecordsError("prior's column is a column of the same records; of a file, write columns: {score: NAME}.")
    return Prior(years, column or "score", match, file, dict(columns) if columns else None)


@dataclass(frozen=True, slots=True)
class Linked:
    """The prior scores (n,), NaN where none is linked, each row's outcome, and the grades moved up, NaN if unknown."""

    scores: np.ndarray
    outcome: np.ndarray  # "linked", "unlinked" or "ambiguous"
    steps: np.ndarray

    def counts(self, cohort: np.ndarray, school: pd.Series, kept: np.ndarray) -> pd.DataFrame:
        """Rows of the kept rows by cohort, school, outcome and step: what :func:`linkage` tells of."""
        table = pd.DataFrame({"cohort": cohort, "school": school, "outcome": self.outcome, "step": self.steps})[kept]
        return table.groupby(list(table), dropna=False).size().reset_index(name="rows")


def linkage(prior: Prior, counted: pd.DataFrame, source: str) -> dict[str, Any]:
    """What is told of a linkage: counts in all, by cohort, by school, and by grades moved up.

    Where grades are known, grade_step is how many they should have moved up (the years between; from another file, what
    most have), and odd_steps by cohort how many rows have not, of how many. counted: rows by cohort, school, outcome and
    step, each missing where unknown. Raises RecordsError where more rows have several earlier rows than have one with a
    score: the join lacks a column.
    """
    told: dict[str, Any] = {
        "from": data_name(prior.file)
        if prior.file
        else f"{prior.column}, {prior.years_before} year{'s' * (prior.years_before > 1)} before"
    }
    told["years_before"] = prior.years_before
    told |= {name: int(counted.loc[counted["outcome"] == name, "rows"].sum()) for name in OUTCOMES}
    if told["ambiguous"] > told["linked"]:
        raise RecordsError(
            f"{source}: {told['ambiguous']:,} rows have more than one earlier row of their student, and only "
            f"{told['linked']:,} have one: name in prior's match the columns that tell them apart, such as [subject]."
        )
    for by in ("cohort", "school"):
        cross = counted.groupby([by, "outcome"])["rows"].sum().unstack(fill_value=0)
        cross = cross.reindex(columns=list(OUTCOMES), fill_value=0)
        told[f"by_{by}"] = [
            {by: int(key) if by == "cohort" else str(key), **dict(zip(OUTCOMES, map(int, row), strict=True))}
            for key, row in zip(cross.index, cross.to_numpy(), strict=True)
        ]
    known = counted.dropna(subset=["step"])
    steps = known.groupby("step")["rows"].sum()
    told["grade_steps"] = [{"step": float(step), "rows": int(rows)} for step, rows in steps.items()]
    if len(steps):
        told["grade_step"] = float(steps.idxmax() if prior.years_before is None else prior.years_before)
        odd = known["rows"].where(known["step"] != told["grade_step"], 0).groupby(known["cohort"]).sum()
        every = known.groupby("cohort")["rows"].sum()
        told["odd_steps"] = [{"cohort": int(t), "odd": int(odd[t]), "rows": int(every[t])} for t in every.index]
    return told


def link_prior(
    frame: pd.DataFrame, prior: Prior, codes: pd.Series, source: str, other: tuple[pd.DataFrame, pd.Series, str] | None
) -> Linked:
    """Find each row's earlier score. frame: all rows, columns by this library's names; codes: of the students.

    other: the rows, the codes and the name of another file, if the scores are there. A row with two earlier rows has none
    and is ambiguous; an earlier row without a score is none. Raises RecordsError for columns that are not there or hold no
    numbers.
    """
    need(frame.columns, prior.match, source)
    earlier, theirs, name = other or (frame, codes, source)
    score = "score" if other else prior.column
    need(earlier.columns, [score], name)
    values, bad = as_numbers(earlier[score])
    if bad.any() or np.isinf(values).any():
        raise not_finite(score, name)
    right = {"student": theirs.to_numpy(dtype=object)}
    left = {"student": codes.to_numpy(dtype=object)}
    for column in prior.match:
        left[column], right[column] = _alike(frame[column], earlier[column])
    if prior.years_before is not None:
        cohort = as_numbers(frame["cohort"])[0]
        left["cohort"], right["cohort"] = cohort - prior.years_before, cohort
    return _joined(pd.DataFrame(left), pd.DataFrame(right), values, grades(frame), grades(earlier))


def _joined(
    left: pd.DataFrame, right: pd.DataFrame, values: np.ndarray, grade: np.ndarray, before: np.ndarray
) -> Linked:
    """Join on all columns; a key with a missing part matches nothing."""
    keys = list(left)
    whole = right.notna().all(axis=1)
    grouped = right[whole].assign(score=values[whole], grade=before[whole]).groupby(keys, sort=False)
    found = grouped.agg(score=("score", "first"), grade=("grade", "first"), rows=("score", "size")).reset_index()
    joined = left.merge(found, on=keys, how="left", sort=False)
    rows = np.where(left.notna().all(axis=1), joined["rows"].fillna(0), 0)
    scores = np.where(rows == 1, joined["score"].to_numpy(dtype=float), np.nan)
    outcome = np.where(rows > 1, "ambiguous", np.where(np.isnan(scores), "unlinked", "linked"))
    steps = np.where(outcome == "linked", grade - joined["grade"].to_numpy(dtype=float), np.nan)
    return Linked(scores, outcome, steps)


def not_finite(score: str, source: str) -> RecordsError:
    """The error for a column of prior scores that holds something else than finite numbers."""
    return RecordsError(f"{source}: column '{readable(score, LONGEST)}', the prior score, must hold finite numbers.")


def need(columns: Iterable, names: Iterable[str], source: str) -> None:
    """Raise RecordsError for a column that is not there."""
    if absent := [name for name in names if name not in (columns := list(columns))]:
        there = ", ".join(readable(c, LONGEST) for c in columns[:30])
        raise RecordsError(
            f"{source}: prior needs column '{readable(absent[0], LONGEST)}', which is not among the columns {there}."
        )


def _alike(left: pd.Series, right: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Two columns as values that can be equal: numbers if both hold numbers, else texts."""
    if all(pd.api.types.is_numeric_dtype(c.dtype) and not pd.api.types.is_bool_dtype(c.dtype) for c in (left, right)):
        return as_numbers(left)[0], as_numbers(right)[0]
    texts = [c.astype(object).map(level_text, na_action="ignore") for c in (left, right)]
    return texts[0].to_numpy(dtype=object), texts[1].to_numpy(dtype=object)
