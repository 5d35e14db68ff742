"""Several years of a school in one number: the average over named cohorts, and the part that lasts.

What both share is the joint model; they answer different questions, and no column or sentence holds both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.average import SchoolPrediction, predict_average, predict_lasting
from ..models.mixture import Mixture
from ..models.options import Intervals
from .joint import JointFit, posterior_of
from .relative import check_intervals


def average_va(
    joint: JointFit,
    cohorts: Sequence[int] | None = None,
    weights: Mapping[int, float] | None = None,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """Average of every school's relative effects over several cohorts, for schools with students in one of them.

    Parameters
    ----------
    joint : JointFit
        A joint model with these cohorts, and perhaps others.
    cohorts : sequence of int, optional
        Those averaged, by default all of the fit.
    weights : mapping of int to float, optional
        Weight of each of these cohorts, divided by their sum; by default all alike.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of variances and correlations where
        :func:`valib.effects.change.posterior_of` does so (an unstructured fit of few schools, or a singular one), or
        taking their estimates as known.

    Returns
    -------
    DataFrame
        One row a school (index): ``n`` (students in these cohorts), ``cohorts`` (in how many of them it has students),
        ``average``, ``effect_size``, ``reliability``, ``se``, ``se_independent``, ``lower``, ``upper``, in score points.
        se: the standard deviation of what lower and upper are limits of. se_independent: what the plug-in error would be
        if the errors of the cohorts were independent, for comparison. ``attrs["intervals"]`` says which intervals.

    Raises
    ------
    ModelError
        For fewer than two cohorts, one that is not in the fit, and weights that are not positive or of other cohorts.

    Notes
    -----
    With V_j the covariance of school j's prediction errors over cohorts, estimated coefficients included::

        average_j = w'u_hat_j        Var = w'V_j w        reliability = 1 - w'C_j w / w'Omega w

    (C_j: V_j with known coefficients.) In a cohort without students the effect is predicted from the school's other
    cohorts, and se holds that. The average is of these cohorts, what was of one of them alone included: what a school
    keeps from cohort to cohort is :func:`valib.lasting_va`. effect_size: divided by the root of the weighted mean of the
    cohorts' student variances. On a boundary (a singular fit) plug-in errors are not known: se and limits are missing.
    Source: Henderson (1975).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2024])
    >>> va.average_va(joint)[["n", "cohorts", "average", "se"]].head(2).round(1)
              n  cohorts  average   se
    school
    0029     24        2    -20.4  7.9
    0109    110        2     -0.9  4.2
    """
    check_intervals(intervals)
    chosen, w = _weights(joint, cohorts, weights)
    here, n = _students(joint, chosen)
    given = predict_average(joint.arrays, w)
    apart = np.einsum("t,jtt->j", w**2, joint.arrays.comparative)
    mixture = None
    if intervals == "integrated" and here.any():
        nodes = posterior_of(joint)
        mixture = None if nodes is None else nodes.contrast(w, np.flatnonzero(here))
    sd = float(np.sqrt(w @ joint.student_sd.to_numpy() ** 2))
    table = _table(joint, "average", given, here, n, sd, mixture, np.sqrt(apart))
    if mixture is None and joint.singular:
        table[["se", "se_independent", "lower", "upper"]] = np.nan
    return table


def lasting_va(joint: JointFit) -> pd.DataFrame:
    """The lasting part of every school: what its cohorts have in common, apart from what is of one cohort alone.

    Parameters
    ----------
    joint : JointFit
        Of ``covariance="compound_symmetry"``, the structure that has such a part; with ``residual="common"`` it is the
        nested model (1 | school) + (1 | school:cohort).

    Returns
    -------
    DataFrame
        One row a school (index): ``n`` (students in the fit's cohorts), ``cohorts`` (in how many of them it has
        students), ``lasting``, ``effect_size``, ``reliability``, ``se``, ``lower``, ``upper``, in score points.

    Raises
    ------
    ModelError
        For a fit of another covariance structure.

    Notes
    -----
    u_jt = l_j + d_jt, l_j ~ N(0, a), d_jt ~ N(0, c), so that Omega = a 1 1' + c I. With C_j the covariance of the
    errors of u_hat_j over the T cohorts::

        k = a / (c + T a)       lasting_j = k 1'u_hat_j       Var = a c / (c + T a) + k^2 1'C_j 1

    and the error of the coefficients as in :func:`valib.average_va`. The lasting part shrinks more than the average of
    the same cohorts, for it is asked what the school is in any cohort. The intervals take the variances as known. Where
    a school's cohorts do not covary (a = 0) every lasting part is 0, and its error is not known: se and limits are missing.

    Examples
    --------
    >>> import valib as va
    >>> structure = {"covariance": "compound_symmetry", "residual": "common"}
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2023, 2024], **structure)
    >>> va.lasting_va(joint)[["n", "cohorts", "lasting", "se"]].head(2).round(1)
              n  cohorts  lasting   se
    school
    0029     40        3    -14.9  6.9
    0109    165        3      0.4  4.6
    """
    given = predict_lasting(joint.arrays)
    here, n = _students(joint, np.ones(len(joint.cohorts), dtype=bool))
    sd = float(np.sqrt((joint.student_sd.to_numpy() ** 2).mean()))
    table = _table(joint, "lasting", given, here, n, sd)
    if given.variance <= 0 or joint.singular:
        table[["se", "lower", "upper"]] = np.nan
    return table


def _weights(
    joint: JointFit, cohorts: Sequence[int] | None, weights: Mapping[int, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which cohorts of the fit are averaged, (T,) of bool, and their weights (T,), which sum to 1."""
    wanted = list(joint.cohorts) if cohorts is None else [int(c) for c in cohorts]
    for cohort in wanted:
        if cohort not in joint.cohorts:
            raise ModelError(f"Cohort {cohort} is not in the joint fit; it has {list(joint.cohorts)}.")
    if len(set(wanted)) < 2 or len(set(wanted)) < len(wanted):
        raise ModelError(f"An average is of two or more different cohorts, not of {wanted}.")
    given = dict.fromkeys(wanted, 1.0) if weights is None else {int(c): float(v) for c, v in weights.items()}
    if set(given) != set(wanted):
        raise ModelError(f"The weights are of the cohorts {sorted(given)}, the average of {sorted(wanted)}.")
    if not all(np.isfinite(v) and v > 0 for v in given.values()):
        raise ModelError("The weights of an average must be positive numbers.")
    w = np.array([given.get(c, 0.0) for c in joint.cohorts])
    return w > 0, w / w.sum()


def _students(joint: JointFit, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which schools have students in one of the cohorts chosen (T,), and all schools' students in them (J, cohorts)."""
    n = joint.arrays.data.n[:, chosen].astype(np.int64)
    return np.asarray((n > 0).any(axis=1)), n


def _table(
    joint: JointFit,
    name: str,
    given: SchoolPrediction,
    here: np.ndarray,
    n: np.ndarray,
    sd: float,
    mixture: Mixture | None = None,
    se_independent: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row a school that is ``here``; the interval from the posterior, or normal with the plug-in error."""
    value, se = given.value[here], np.sqrt(np.maximum(given.comparative[here], 0.0))
    lower, upper = _blup.interval(value, se, joint.level)
    if mixture is not None:
        se, (lower, upper) = mixture.sd()[0], (x[0] for x in mixture.interval(joint.level))
    table = pd.DataFrame(
        {
            "n": n[here].sum(axis=1),
            "cohorts": (n[here] > 0).sum(axis=1),
            name: value,
            "effect_size": value / sd,
            "reliability": given.reliability[here],
            "se": se,
            **({} if se_independent is None else {"se_independent": se_independent[here]}),
            "lower": lower,
            "upper": upper,
        },
        index=pd.Index(joint.arrays.data.schools[here], name="school", dtype="str"),
    )
    table.attrs["intervals"] = "plugin" if mixture is None else "integrated"
    return table
