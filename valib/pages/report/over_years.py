"""Several years of a school in one number on its page: the mean over the years judged, and the part that lasts.

Two questions, of which no sentence and no table holds both. The mean is of the focal cohorts and comes from one model of
these; the lasting part is what any of these years has, of a model that knows such a part (compound symmetry). They are
what `valib fit --model joint` gives by default, with `--average` and `--covariance compound_symmetry`. Neither has a
stand-in: with cohorts taken as independent, the errors of a mean would be too small where schools keep their standing.
What cannot be estimated is left out and the reason told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ...effects.average import average_va, lasting_va
from ...effects.joint import JointFit
from ...effects.structures_compared import compare_joint
from ...effects.verdict import sides
from .changes import NOT_FITTED, SINGULAR, Years

ONE_YEAR, NO_PART = "one_year", "no_part"
SHARED = {"n": "int64", "cohorts": "int64"}
LIMITS = dict.fromkeys(("se", "lower", "upper"), "float64")


@dataclass(frozen=True, slots=True, eq=False)
class OverYears:
    """averages: school, averaged (the years, as text), n, cohorts (in how many of them it has students), average,
    effect_size, reliability, se, lower, upper, side. lasting: the same of the lasting part.
    why_no_average, why_no_lasting: a key of :data:`valib.pages.report.words.NO_FIGURE`, or None where there are some.
    fits_worse: the p-value of the model of the lasting part against one that leaves every year its own; None where either
    is missing or on a boundary.
    """

    averages: pd.DataFrame
    lasting: pd.DataFrame
    why_no_average: str | None
    why_no_lasting: str | None
    fits_worse: float | None

    def of(self, schools: set[str]) -> OverYears:
        """The rows of these schools alone."""
        averages, lasting = (t[t["school"].isin(schools)] for t in (self.averages, self.lasting))
        return replace(self, averages=averages, lasting=lasting)


def over_years(
    years: Years, focal: Sequence[int], shown: pd.DataFrame, held_back: pd.DataFrame, intervals: str
) -> OverYears:
    """Means over the focal cohorts and lasting parts, of schools shown in one of these and held back in none.

    shown, held_back, intervals: as for :func:`valib.pages.report.changes.changes`. A school held back in one focal cohort
    is in neither table: both are predicted from its students in all.
    """
    if len(focal) < 2:
        return OverYears(_of(None, "average"), _of(None, "lasting"), ONE_YEAR, ONE_YEAR, None)
    own, held = (set(t.loc[t["cohort"].isin(focal), "school"]) for t in (shown, held_back))
    averages, why = _averages(years.together, intervals)
    lasting, why_not = _lasting(years.lasting)
    worse = None
    if years.together is not None and years.lasting is not None and not years.together.singular:
        worse = float(compare_joint([years.together, years.lasting])["p_value"].iloc[1])
    return OverYears(_of(averages, "average", own - held), _of(lasting, "lasting", own - held), why, why_not, worse)


def _averages(fit: JointFit | None, intervals: str) -> tuple[pd.DataFrame | None, str | None]:
    """The means, or why there are none."""
    if fit is None:
        return None, NOT_FITTED
    table = average_va(fit, intervals=intervals)
    if table["lower"].isna().all():
        return None, SINGULAR
    table.insert(0, "averaged", ", ".join(str(c) for c in fit.cohorts))
    return table, None


def _lasting(fit: JointFit | None) -> tuple[pd.DataFrame | None, str | None]:
    """The lasting parts, or why there are none."""
    if fit is None:
        return None, NOT_FITTED
    table = lasting_va(fit)
    if table["lower"].isna().all():
        return None, SINGULAR if fit.singular else NO_PART
    return table, None


def _of(table: pd.DataFrame | None, name: str, schools: Iterable[str] = ()) -> pd.DataFrame:
    """The rows of these schools, with the side of each interval; without rows where there is no table."""
    averaged = {"averaged": "str"} if name == "average" else {}
    types = {"school": "str", **averaged, **SHARED, name: "float64", "effect_size": "float64", "reliability": "float64"}
    types |= LIMITS
    if table is None:
        return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in {**types, "side": "object"}.items()})
    kept = table[table.index.isin(set(schools))].rename_axis("school").reset_index()[list(types)]
    return kept.assign(side=sides(kept["lower"], kept["upper"]))
