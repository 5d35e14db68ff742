"""How the standing of schools changed between years: what one model of all years says, or else each year by itself.

The model of all years has the smaller errors, since it knows how far schools keep their standing. Where it cannot be
had, effects of different years are taken as independent: the change is the difference of two separate estimates, and
the square of its standard error the sum of theirs. The error of a separate estimate is -(1 - lambda) u + ..., so those
of two years have a covariance of the sign of Cov(u_jt, u_js): if schools tend to keep their standing, the interval is
too wide, never too narrow. A structure with fewer parameters would have narrower ones: compound symmetry is too narrow
between distant years where correlations fall with distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ...errors import ModelError

if TYPE_CHECKING:
    from ...effects.joint import JointFit
    from ...study.params import Params
    from ...sums.moments import Moments

NOT_FITTED, SINGULAR = "not_fitted", "singular"
COLUMNS = {
    "school": "str",
    "first": "int64",
    "second": "int64",
    "change": "float64",
    "se": "float64",
    "lower": "float64",
    "upper": "float64",
    "joint": "bool",
}


@dataclass(frozen=True, slots=True, eq=False)
class Years:
    """The cohorts of a study side by side.

    joint: the model with correlated effects, None where it cannot be used, and ``why`` ("not_fitted" or "singular").
    apart: the same students with effects of different cohorts independent, which is every cohort's own model; None of
    one cohort, in which nothing changes. together: the model with correlated effects of the focal cohorts alone, also where it
    is singular. lasting: of these cohorts, with a part that all of them share (compound symmetry). None where there are
    fewer than two, or it cannot be fitted.
    """

    joint: JointFit | None
    apart: JointFit | None
    why: str | None
    together: JointFit | None = None
    lasting: JointFit | None = None


def fit_years(params: Params, records: pd.DataFrame, cohorts: list[int]) -> Years:
    """Fit the models of all cohorts of a study, and of its focal ones."""
    from ...effects.joint import cohort_errors, cohort_moments, joint_from_moments

    if len(cohorts) == 1:
        return Years(None, None, NOT_FITTED)
    parts, students = cohort_moments(records, cohorts, params.formula, bool(params.reliability))
    off = cohort_errors(records, students, params.formula, None, params.reliability)
    how = {"method": params.method, "level": params.level, "error_variance": off}
    focal = [part for cohort, part in zip(cohorts, parts, strict=True) if cohort in params.focal_cohorts]

    def fitted(covariance: str, parts: list[Moments]) -> JointFit | None:
        try:
            fit = joint_from_moments(parts, params.formula, covariance, **how)
        except ModelError:
            return None
        return fit if fit.converged else None

    apart = joint_from_moments(parts, params.formula, "independent", **how)
    joint = fitted("unstructured", parts)
    together = joint if len(focal) == len(parts) else fitted("unstructured", focal) if len(focal) > 1 else None
    lasting = fitted("compound_symmetry", focal) if len(focal) > 1 else None
    if joint is None or joint.singular:
        return Years(None, apart, SINGULAR if joint is not None else NOT_FITTED, together, lasting)
    return Years(joint, apart, None, together, lasting)


def changes(
    years: Years, shown: pd.DataFrame, held_back: pd.DataFrame, flat: set[int], intervals: str = "integrated"
) -> pd.DataFrame:
    """Changes between every two cohorts of schools shown in both, from the joint model where it may be used.

    shown, held_back: columns school and cohort of the cells that are shown, and held back. flat: cohorts whose schools
    cannot be told apart; a change from or to one is left out. A school held back in any cohort has its changes from
    separate years: the joint model would give away what is held back (:func:`valib.records.disclosure.whole`).
    intervals: as in :func:`valib.effects.change.change_in_va`.
    Returns school, first, second, change, se, lower, upper (score points), joint (whether from the joint model).
    """
    from ...effects.change import change_in_va

    held = set(held_back["school"])
    where = shown.groupby("cohort")["school"].agg(set)
    fitted = years.apart.cohorts if years.apart else ()
    cohorts = [c for c in fitted if c in where.index and c not in flat]
    parts = []
    for i, first in enumerate(cohorts):
        for second in cohorts[i + 1 :]:
            both = where[first] & where[second]
            together = both - held if years.joint is not None else set()
            for fit, schools in ((years.joint, together), (years.apart, both - together)):
                if schools:
                    table = change_in_va(fit, first, second, intervals=intervals)
                    table = table.loc[table.index.isin(schools), ["change", "se", "lower", "upper"]]
                    parts.append(
                        table.rename_axis("school")
                        .reset_index()
                        .assign(first=first, second=second, joint=fit is years.joint)
                    )
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
