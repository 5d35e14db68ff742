"""Groups of schools, and schools beside schools like them: linear combinations of the effects of one cohort.

    value = w'VA      Var = w'V w

V is the covariance of all schools' prediction errors: what is of a school alone falls as groups grow, and what schools
share (coefficients, shift, equating) does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.estimators import Shift, benchmark_va, school_variance
from ..models.options import Intervals
from ..records.disclosure import shown
from ..sums.students import Records, sum_students
from .baseline import Benchmark, contributions
from .cohort_fit import CohortFit
from .relative import check_intervals

WEIGHTS = ("equal", "students")
BLOCK = 256  # schools whose neighbours are looked for at a time
FLAT = 1e-9  # of a column's size: schools whose means differ by less do not differ


def group_va(
    fit: CohortFit,
    groups: pd.Series | Mapping[str, str],
    weights: str = "equal",
    benchmark: Benchmark | None = None,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """Mean value added of groups of schools, such as districts, and what each group has moved since the baseline.

    Parameters
    ----------
    fit : CohortFit
        A relative or benchmark fit of one cohort.
    groups : Series or mapping of str to str
        The group of every school, as :func:`valib.school_groups` takes it from a column of the records; schools without
        one are in no group.
    weights : {"equal", "students"}
        Whether in the mean every school of a group counts alike, or as its students are many.
    benchmark : Benchmark, optional
        That of a benchmark fit: where it knows what its schools add to the coefficients, the error of a group's shift is
        by school, else the cautious one.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of the variances, where the fit is; or taking their estimates as known.

    Returns
    -------
    DataFrame
        One row a group (index, sorted): ``schools``, ``n`` (students), ``effect``, ``effect_size``, ``se``, ``lower``,
        ``upper``; of a fit with an estimated shift also ``shift``, ``shift_se``, ``shift_lower``, ``shift_upper``. Score
        points. ``attrs``: ``intervals``, and ``shift_error`` ("schools" or "cautious", as in :class:`valib.CohortFit`).

    Raises
    ------
    ModelError
        For a choice that does not exist, and where no school of the fit is in a group.

    Notes
    -----
    effect is the mean of the effects of these very schools. With lambda_j, own error variances tau2 (1 - lambda_j) and
    loadings C_j on the errors that schools share (coefficients, shift, equating, links)::

        effect_g = sum_j w_j VA_j        Var = sum_j w_j^2 tau2 (1 - lambda_j) + |sum_j w_j C_j|^2 = w'V w

    integrated over the posterior of the variances (:mod:`valib.models.posterior`). It takes all schools as drawn from one
    distribution, so that the mean is drawn towards that of all schools as each effect is: where groups themselves differ,
    a group of the formula (``+ C(district)``) is another question, and so is the shift. That takes the group for a system
    of its own, a_j = n_j / (1 + n_j theta)::

        shift_g = sum_g a_j rbar_j / sum_g a_j

    with the error of section "The error of a shift" of the book: sum_j d_j^2, d_j = phi_j - xbar_g' psi_j, times
    J_g / (J_g - 1) over the group's schools and J / (J - 1) over others, limits from t with J_g - 1 degrees of freedom; or
    sigma2 / sum_g a_j + xbar_g' Var(b_B) xbar_g (cautious), with J - 1. Equating errors count in full in every group. Of
    all schools the shift is the system's. Source: Searle, Casella and McCulloch (1992, chapter 7) for w'V w.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> groups = va.school_groups(exam, "type", 0)
    >>> va.group_va(va.fit_relative(exam), groups)[["schools", "n", "effect", "se"]].round(3)
          schools     n  effect     se
    group
    Mxd         35  2169  -0.080  0.041
    Sngl        30  1890   0.093  0.041
    """
    check_intervals(intervals)
    if weights not in WEIGHTS:
        raise ModelError(f"The weights of schools in a group must be one of {', '.join(WEIGHTS)}, not {weights!r}.")
    if fit.slopes is not None:  # unequal residual variances have means of groups
        fit.refuse_slopes("The mean of a group of schools is that of")
    table = fit.school_effects
    label = pd.Series(groups, dtype="str").reindex(table.index)
    names = sorted(label.dropna().unique())
    if not names:
        raise ModelError(f"None of the schools of cohort {fit.cohort} is in a group.")
    n = table["n"].to_numpy(dtype=np.float64)
    member = (label.to_numpy()[None] == np.array(names, dtype=object)[:, None]).astype(np.float64)
    w = member * (n if weights == "students" else 1.0)
    found = _combined(fit, w / w.sum(axis=1, keepdims=True), intervals)
    out = pd.DataFrame(
        {
            "schools": member.sum(axis=1).astype(np.int64),
            "n": (member @ n).astype(np.int64),
            "effect": found["value"],
            "effect_size": found["value"] / fit.student_sd,
            **{k: found[k] for k in ("se", "lower", "upper")},
        },
        index=pd.Index(names, name="group", dtype="str"),
    )
    if fit.shift is not None:
        known = benchmark is not None and benchmark.influence is not None
        moved = pd.DataFrame([_group_shift(fit, one > 0, benchmark if known else None) for one in member], out.index)
        out = out.join(moved)
        out.attrs["shift_error"] = "schools" if known else "cautious"
    out.attrs["intervals"] = "integrated" if _posterior(fit, intervals) is not None else "plugin"
    return out


def _posterior(fit: CohortFit, intervals: Intervals) -> Any:
    return fit.posterior if intervals == "integrated" else None


def _combined(fit: CohortFit, weights: np.ndarray, intervals: Intervals) -> dict[str, np.ndarray]:
    """value, se, lower and upper (K,) of sums of effects with weights (K, J)."""
    table, over = fit.school_effects, _posterior(fit, intervals)
    value = weights @ table["effect"].to_numpy()
    if over is not None:
        mixture = over.combinations(weights)
        se, (lower, upper) = mixture.sd()[0], (limit[0] for limit in mixture.interval(fit.level))
    else:
        own = weights**2 @ table["se_conditional"].to_numpy() ** 2
        se = np.sqrt(own + ((weights @ fit.common) ** 2).sum(axis=1))
        if fit.singular:  # nothing is known of how schools differ
            se = np.full(len(se), np.nan)
        lower, upper = _blup.interval(value, se, fit.level)
    return {"value": value, "se": se, "lower": lower, "upper": upper}


def _group_shift(fit: CohortFit, member: np.ndarray, benchmark: Benchmark | None) -> dict[str, float]:
    """The shift of the schools of a group, member (J,) of bool, with its error and limits."""
    moments, scale = fit.own_moments, fit.scale_loadings
    assert scale is not None  # a benchmark fit has them
    _, moved = benchmark_va(
        moments.n[member],
        moments.means[member],
        fit.fixed_effects.to_numpy(),
        fit.vcov.to_numpy(),
        fit.tau2,
        fit.sigma2,
        "estimated",
        0.0,
        scale[member],
    )
    assert moved is not None  # a shift was estimated
    var, df = float(moved.var), len(member) - 1
    if benchmark is not None:
        var, df = _by_school(moved, moments.schools[moments.cell_school], member, benchmark), int(member.sum()) - 1
    se = np.sqrt(var) if df > 0 else np.nan
    lower, upper = _blup.interval(float(moved.delta), se, fit.level, df) if df > 0 else (np.nan, np.nan)
    return {"shift": float(moved.delta), "shift_se": se, "shift_lower": lower, "shift_upper": upper}


def _by_school(moved: Shift, schools: np.ndarray, member: np.ndarray, benchmark: Benchmark) -> float:
    """The variance of a group's shift by what each school adds: the group's schools and those of the baseline alone."""
    assert benchmark.influence is not None  # asked for before
    inside, psi = schools[member], benchmark.influence
    if len(inside) < 2:
        return np.nan
    added = contributions(moved, inside, psi.index.to_numpy(), psi.to_numpy())
    own = added.index.isin(inside)
    rest, J = added[~own].to_numpy(), len(set(schools) | set(psi.index))
    var = float(school_variance(added[own].to_numpy()[:, None], int(own.sum()))[0, 0]) + float(moved.var_scale)
    return var + (J / (J - 1) * float(rest @ rest) if len(rest) else 0.0)


def similar_schools(
    records: Records,
    fit: CohortFit,
    by: Sequence[str],
    k: int = 10,
    min_students: int = 1,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """Every school beside the schools most like it in stated covariates.

    Parameters
    ----------
    records : DataFrame or stream
        Those the fit was made of.
    fit : CohortFit
        A relative or benchmark fit of one cohort.
    by : sequence of str
        The covariates: columns of the records, or other terms of a formula; of a categorical one the shares of its levels
        but one.
    k : int
        How many schools each is set beside.
    min_students : int
        Fewest students of a school that may be shown. Others are beside nobody, and none is beside them.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.group_va`.

    Returns
    -------
    DataFrame
        One row a school (index): ``n``, ``effect``, ``similar`` (the mean effect of its k neighbours), ``difference``
        (effect - similar) with ``se``, ``lower``, ``upper``, ``distance`` (of the farthest neighbour, in standard
        deviations of school means) and ``neighbours`` (their codes, the nearest first). Score points.

    Raises
    ------
    ModelError
        For covariates that are not there or do not vary between schools, and for fewer than k + 1 schools.
    RecordsError
        For an absent cohort.

    Notes
    -----
    The distance of two schools is Euclidean, over school means divided by their standard deviation over the schools
    compared; of schools equally far the first by code is nearer. The difference is w'VA with w_j = 1 and -1/k for each
    neighbour, its error w'V w, V as in :func:`valib.group_va`: what schools share largely cancels. Likeness in the
    stated covariates is all that is claimed.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> beside = va.similar_schools(exam, va.fit_relative(exam), ["prior_score"], k=5)
    >>> beside[["effect", "similar", "difference"]].head(2).round(2)
            effect  similar  difference
    school
    1         0.37     0.09        0.29
    10       -0.34     0.19       -0.53
    """
    check_intervals(intervals)
    fit.refuse_slopes("The difference of similar schools is that of")
    if fit.cohort is None or not by or k < 1:
        raise ModelError(
            "Similar schools need a fit of one cohort of records, one covariate or more, and k of 1 or more."
        )
    table = fit.school_effects
    mask = pd.Series(shown(table, min_students), table.index)
    profile = _profiles(records, fit.cohort, by, mask.index[mask])
    if len(profile) <= k:
        raise ModelError(f"Each school beside {k} others needs more than {k} schools; there are {len(profile)}.")
    nearest, distance = _neighbours(profile.to_numpy(), k)
    at = table.index.get_indexer(profile.index)
    parts = []
    for first in range(0, len(at), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(at)))
        w = np.zeros((len(rows), len(table)))
        w[np.arange(len(rows))[:, None], at[nearest[rows]]] = -1 / k
        w[np.arange(len(rows)), at[rows]] = 1.0
        parts.append(pd.DataFrame(_combined(fit, w, intervals), index=profile.index[rows]))
    found, codes = pd.concat(parts), profile.index.to_numpy(dtype=object)
    out = table.loc[profile.index, ["n", "effect"]]
    out["similar"] = out["effect"] - found["value"]
    out["difference"] = found["value"]
    out = out.join(found[["se", "lower", "upper"]])
    return out.assign(distance=distance, neighbours=["; ".join(codes[row]) for row in nearest])


def _profiles(records: Records, cohort: int, by: Sequence[str], schools: pd.Index) -> pd.DataFrame:
    """Standardised school means of covariates, for those of the schools that have them."""
    moments = sum_students(records, [cohort], f"score ~ {' + '.join(by)}").moments
    columns = [c for c, name in enumerate(moments.names[:-1]) if name != "Intercept"]
    labels = pd.Index(moments.schools[moments.cell_school], name="school", dtype="str")
    means = pd.DataFrame(moments.means[:, columns], labels, [moments.names[c] for c in columns])
    means = means[means.index.isin(schools)].sort_index()
    sd = means.std(ddof=1)
    flat = sd.index[~(sd > FLAT * means.abs().max())]
    if len(flat):
        raise ModelError(f"Column '{flat[0]}' does not vary between schools, so no school is like another by it.")
    return (means - means.mean()) / sd


def _neighbours(profile: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (J, k) of the k nearest other rows, the nearest first, and the distance (J,) of the last of them."""
    nearest, farthest = [], []
    for first in range(0, len(profile), BLOCK):
        part = profile[first : first + BLOCK]
        distance = np.sqrt(((part[:, None] - profile[None]) ** 2).sum(axis=-1))
        distance[np.arange(len(part)), first + np.arange(len(part))] = np.inf
        order = np.argsort(np.round(distance, 9), axis=1, kind="stable")[:, :k]
        nearest.append(order)
        farthest.append(np.take_along_axis(distance, order[:, -1:], axis=1)[:, 0])
    return np.vstack(nearest), np.concatenate(farthest)
