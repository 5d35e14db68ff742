"""Change of the system, and of every school on its fixed scale, between two cohorts of the joint model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.joint_posterior import JointNodes
from ..models.options import Intervals
from .change import CONTRAST, Present, change_in_va, on_boundary, over_cohorts, present_schools
from .joint import JointFit, posterior_of
from .relative import check_intervals


def system_change(
    joint: JointFit,
    first: int,
    second: int,
    profile: pd.Series,
    scale_se: float = 0.0,
    intervals: Intervals = "integrated",
) -> dict[str, float]:
    """Change of the system between two cohorts for a student of the given profile: x'(b_t - b_s), no benchmark in it.

    Parameters
    ----------
    joint : JointFit
        A joint model with both cohorts.
    first, second : int
        The earlier and the later cohort.
    profile : Series (p,)
        A row of the design matrix, such as the benchmark's column_means (then fit with ``benchmark.state`` where the
        formula has transforms that learn from the data).
    scale_se : float
        Standard error of the link between the two cohorts' scales.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.change_in_va`.

    Returns
    -------
    dict of str to float
        ``change``, ``se``, ``se_independent``, ``lower``, ``upper`` (score points).

    Raises
    ------
    ModelError
        For a cohort that is not in the fit, and a profile of other columns.

    Notes
    -----
    At given variances Var = k' Var(b) k + scale_se^2, k the loading of x'(b_t - b_s) on all coefficients. Integrated: the
    mixture of that over the posterior of the variances. Plug-in: limits with t, J - 1 df, missing where the fit is on a
    boundary, as Var(b) then takes schools as alike. se_independent: plug-in, and ignores that the joint model's b_t and
    b_s are correlated through schools that last.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> joint = va.fit_joint(records, [2021, 2024])
    >>> round(va.system_change(joint, 2021, 2024, benchmark.column_means)["change"], 1)
    -7.1
    """
    loading = _contrast(joint, first, second, profile)
    V = joint.vcov.to_numpy()
    apart = loading * (joint.vcov.index.get_level_values("cohort") == second)
    se = np.sqrt(loading @ V @ loading + scale_se**2)
    separate = apart @ V @ apart + (loading - apart) @ V @ (loading - apart)
    change = float(loading @ joint.fixed_effects.to_numpy())
    lower, upper = _blup.interval(change, se, joint.level, joint.n_schools - 1)
    nodes = _posterior(joint, first, second, intervals)
    if nodes is not None:
        over = nodes.combination(np.zeros(len(joint.cohorts)), np.array([0]), k=loading).widened(scale_se)
        se, (lower, upper) = over.sd()[0, 0], (x[0, 0] for x in over.interval(joint.level))
    elif on_boundary(joint, first, second):
        se = lower = upper = np.nan
    return {
        "change": change,
        "se": float(se),
        "se_independent": float(np.sqrt(separate + scale_se**2)),
        "lower": float(lower),
        "upper": float(upper),
    }


def change_on_benchmark(
    joint: JointFit,
    first: int,
    second: int,
    profile: pd.Series,
    scale_se: float = 0.0,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """Change of every school's value added on a fixed scale: (u_jt - u_js) + x'(b_t - b_s), schools in both cohorts.

    Parameters
    ----------
    joint : JointFit
        A joint model with both cohorts.
    first, second : int
        The earlier and the later cohort.
    profile : Series (p,)
        As for :func:`valib.system_change`.
    scale_se : float
        Standard error of the link between the two cohorts' scales.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.change_in_va`.

    Returns
    -------
    DataFrame
        One row a school: ``n_first``, ``n_second``, ``change``, ``se``, ``lower``, ``upper`` (score points).

    Raises
    ------
    ModelError
        For a cohort that is not in the fit, and a profile of other columns.

    Notes
    -----
    With c = (-1, 1) over the two cohorts, C_j the school's error covariance with known b, S_j = d u_hat_j / d b and k
    the loading of x'(b_t - b_s) on all coefficients::

        Var = c'C_j c + (S_j'c + k)' Var(b) (S_j'c + k) + scale_se^2

    at given variances; integrated and plug-in as for :func:`valib.system_change`.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> joint = va.fit_joint(records, [2021, 2024])
    >>> va.change_on_benchmark(joint, 2021, 2024, benchmark.column_means)["change"].head(2).round(1).to_dict()
    {'0029': -0.9, '0109': -1.1}
    """
    k = _contrast(joint, first, second, profile)
    relative = change_in_va(joint, first, second, intervals="plugin")
    p = Present.of(joint, (first, second))
    loading = CONTRAST @ p.sensitivity + k
    known = CONTRAST @ p.conditional @ CONTRAST
    se = np.sqrt(known + np.einsum("jp,pq,jq->j", loading, p.vcov, loading) + scale_se**2)
    change = relative["change"] + k @ joint.fixed_effects.to_numpy()
    lower, upper = _blup.interval(change, se, joint.level, joint.n_schools - 1)
    nodes = _posterior(joint, first, second, intervals) if len(p.schools) else None
    if nodes is not None:
        here = np.flatnonzero(present_schools(joint, (first, second)))
        over = nodes.combination(over_cohorts(joint, first, second), here, k=k).widened(scale_se)
        se, (lower, upper) = over.sd()[0], (x[0] for x in over.interval(joint.level))
    elif on_boundary(joint, first, second):
        se = lower = upper = np.full(len(p.schools), np.nan)
    return relative[["n_first", "n_second"]].assign(change=change, se=se, lower=lower, upper=upper)


def _posterior(joint: JointFit, first: int, second: int, intervals: Intervals) -> JointNodes | None:
    check_intervals(intervals)
    return posterior_of(joint) if intervals == "integrated" and first != second else None


def _contrast(joint: JointFit, first: int, second: int, profile: pd.Series) -> np.ndarray:
    """(P,) loading of x'(b_second - b_first) on the joint model's coefficients."""
    years = joint.fixed_effects.index.get_level_values("cohort")
    loading = np.zeros(len(years))
    for cohort, sign in ((first, -1.0), (second, 1.0)):
        if cohort not in joint.cohorts:
            raise ModelError(f"Cohort {cohort} is not in the joint fit; it has {list(joint.cohorts)}.")
        if list(joint.fixed_effects[cohort].index) != list(profile.index):
            raise ModelError(
                f"The profile has the columns {list(profile.index)}, the joint model of cohort {cohort} "
                f"has {list(joint.fixed_effects[cohort].index)}."
            )
        loading[years == cohort] += sign * profile.to_numpy()
    return loading
