"""Prior scores from earlier rows of the same records, or from another file, joined by student: never many to many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import LONGEST, readable
from .sources import as_codes, as_numbers, data_name

FORM = (
    "{years_before: 1, column: score, match: [subject]} or {file: last_year.csv, columns: {student: ID, score: SCORE}}"
)


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

    def counts(self, frame: pd.DataFrame, kept: np.ndarray, prior: Prior) -> dict[str, Any]:
        """What is told of the linkage of the kept rows: counts in all, by cohort and by school, and by grades moved."""
        table = pd.DataFrame(
            {"cohort": as_numbers(frame["cohort"])[0], "school": as_codes(frame["school"]), "outcome": self.outcome}
        )[kept]
        told: dict[str, Any] = {
            "from": data_name(prior.file)
            if prior.file
            else f"{prior.column}, {prior.years_before} year{'s' * (prior.years_before > 1)} before"
        }
        told |= {name: int((table["outcome"] == name).sum()) for name in ("linked", "unlinked", "ambiguous")}
        for by in ("cohort", "school"):
            cross = table.groupby([by, "outcome"]).size().unstack(fill_value=0)
            cross = cross.reindex(columns=["linked", "unlinked", "ambiguous"], fill_value=0)
            keys = cross.index.astype("int64") if by == "cohort" else cross.index
            told[f"by_{by}"] = [
                {
                    by: int(k) if by == "cohort" else str(k),
                    **{c: int(v) for c, v in zip(cross.columns, row, strict=True)},
                }
                for k, row in zip(keys, cross.to_numpy(), strict=True)
            ]
        steps = pd.Series(self.steps[kept]).dropna().value_counts().sort_index()
        told["grade_steps"] = [{"step": float(k), "rows": int(v)} for k, v in steps.items()]
        return told


def link_prior(
    frame: pd.DataFrame, prior: Prior, codes: pd.Series, source: str, other: tuple[pd.DataFrame, pd.Series, str] | None
) -> Linked:
    """Find each row's earlier score. frame: all rows, columns by this library's names; codes: of the students.

    other: the rows, the codes and the name of another file, if the scores are there. A row with two earlier rows has none
    and is ambiguous; an earlier row without a score is none. Raises RecordsError for columns that are not there or hold no
    numbers, and if most rows that have an earlier row have several.
    """
    need(frame, prior.match, source)
    earlier, theirs, name = other or (frame, codes, source)
    score = "score" if other else prior.column
    need(earlier, [score], name)
    values, bad = as_numbers(earlier[score])
    if bad.any() or np.isinf(values).any():
        raise RecordsError(f"{name}: column '{readable(score, LONGEST)}', the prior score, must hold finite numbers.")
    right = {"student": theirs.to_numpy(dtype=object)}
    left = {"student": codes.to_numpy(dtype=object)}
    for column in prior.match:
        left[column], right[column] = _alike(frame[column], earlier[column])
    if prior.years_before is not None:
        cohort = as_numbers(frame["cohort"])[0]
        left["cohort"], right["cohort"] = cohort - prior.years_before, cohort
    return _joined(pd.DataFrame(left), pd.DataFrame(right), values, _grades(frame), _grades(earlier), source)


def _joined(
    left: pd.DataFrame, right: pd.DataFrame, values: np.ndarray, grade: np.ndarray, before: np.ndarray, source: str
) -> Linked:
    """Join on all columns; a key with a missing part matches nothing."""
    keys = list(left)
    whole = right.notna().all(axis=1)
    grouped = right[whole].assign(score=values[whole], grade=before[whole]).groupby(keys, sort=False)
    found = grouped.agg(score=("score", "first"), grade=("grade", "first"), rows=("score", "size")).reset_index()
    joined = left.merge(found, on=keys, how="left", sort=False)
    rows = np.where(left.notna().all(axis=1), joined["rows"].fillna(0), 0)
    several = int((rows > 1).sum())
    if several > int((rows == 1).sum()):
        raise RecordsError(
            f"{source}: {several:,} rows have more than one earlier row of their student, most of those that have any: "
            "name in prior's match the columns that tell them apart, such as [subject]."
        )
    scores = np.where(rows == 1, joined["score"].to_numpy(dtype=float), np.nan)
    outcome = np.where(rows > 1, "ambiguous", np.where(np.isnan(scores), "unlinked", "linked"))
    steps = np.where(outcome == "linked", grade - joined["grade"].to_numpy(dtype=float), np.nan)
    return Linked(scores, outcome, steps)


def need(frame: pd.DataFrame, names, source: str) -> None:
    if absent := [name for name in names if name not in frame.columns]:
        there = ", ".join(readable(c, LONGEST) for c in list(frame.columns)[:30])
        raise RecordsError(
            f"{source}: prior needs column '{readable(absent[0], LONGEST)}', which is not among the columns {there}."
        )


def _alike(left: pd.Series, right: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Two columns as values that can be equal: numbers if both hold numbers, else texts."""
    if all(pd.api.types.is_numeric_dtype(c.dtype) and not pd.api.types.is_bool_dtype(c.dtype) for c in (left, right)):
        return as_numbers(left)[0], as_numbers(right)[0]
    texts = [
        c.astype(object).map(lambda v: v if isinstance(v, str) else str(v), na_action="ignore") for c in (left, right)
    ]
    return texts[0].to_numpy(dtype=object), texts[1].to_numpy(dtype=object)


def _grades(frame: pd.DataFrame) -> np.ndarray:
    """The grades of rows, NaN where there are none or they are no numbers."""
    return as_numbers(frame["grade"])[0] if "grade" in frame.columns else np.full(len(frame), np.nan)
