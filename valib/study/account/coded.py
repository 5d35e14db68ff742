"""Records as integers, so that counting does not walk over rows; the study that they are read for; a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...effects.findings import Finding
from ...records.coverage import LEAST
from ...sums.equating import ScaleBreak
from .limits import MOST_COHORTS

__all__ = ["Ask", "Coded", "Finding", "encode", "told_cohorts"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a study asks of the records."""

    baseline: tuple[int, ...]
    focal: tuple[int, ...]
    formula: str
    further_formulas: tuple[str, ...]
    min_students: int
    scale_breaks: tuple[ScaleBreak, ...]
    min_linked_share: float = LEAST

    @property
    def cohorts(self) -> tuple[int, ...]:
        """The study's cohorts, baseline first."""
        return (*self.baseline, *self.focal)

    def role(self, cohort: int) -> str:
        """Return "baseline", "focal" or, for a cohort outside the study, an empty text."""
        return "baseline" if cohort in self.baseline else "focal" if cohort in self.focal else ""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Rows as integers, in the order of ``data``.

    student, school, cohort: (N,) numbers from 0. students: how many different ones. schools: (J,) names, cohorts: (T,)
    ascending, by these numbers.
    order: (N,) rows sorted by cohort, bounds: (T + 1,), so that cohort t has the rows order[bounds[t]:bounds[t + 1]].
    """

    data: pd.DataFrame
    student: np.ndarray
    school: np.ndarray
    cohort: np.ndarray
    students: int
    schools: np.ndarray
    cohorts: np.ndarray
    order: np.ndarray
    bounds: np.ndarray

    def per_cohort(self, chosen: np.ndarray) -> pd.Series:
        """Count entries of ``chosen``, numbers of cohorts, as a Series by cohort."""
        return pd.Series(np.bincount(chosen, minlength=len(self.cohorts)), index=self.index)

    def rows(self, t: int) -> np.ndarray:
        """Return the rows of the cohort of number t."""
        return self.order[self.bounds[t] : self.bounds[t + 1]]

    @property
    def index(self) -> pd.Index:
        """The cohorts as the index of a table."""
        return pd.Index(self.cohorts.tolist(), name="cohort", dtype="int64")


def told_cohorts(present: Sequence[int], ask: Ask) -> list[int]:
    """Return the cohorts that are described one by one: all, or the study's and the first others."""
    if len(present) <= MOST_COHORTS:
        return sorted(present)
    own = [cohort for cohort in sorted(present) if cohort in ask.cohorts][:MOST_COHORTS]
    others = [cohort for cohort in sorted(present) if cohort not in ask.cohorts]
    return sorted([*own, *others[: MOST_COHORTS - len(own)]])


def encode(records: pd.DataFrame, told: Sequence[int]) -> Coded:
    """Number students, schools and cohorts of the records' told cohorts."""
    data = records if len(told) == records["cohort"].nunique() else records[records["cohort"].isin(told)]
    student, students = pd.factorize(data["student"])
    school, schools = pd.factorize(data["school"])
    cohort, cohorts = pd.factorize(data["cohort"], sort=True)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(cohort, minlength=len(cohorts)))])
    return Coded(
        data,
        student.astype(np.int64),
        school.astype(np.int64),
        cohort.astype(np.int64),
        len(students),
        np.asarray(schools, dtype=object),
        np.asarray(cohorts, dtype=np.int64),
        np.argsort(cohort, kind="stable"),
        bounds,
    )
