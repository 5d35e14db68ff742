"""Who moved: schools in two cohorts of the joint model, their change in value added and their moves between fifths.

The predictions of one school in two cohorts have correlated errors; every error here takes that into account.
Sources: Henderson (1975) for the prediction of contrasts; Leckie (2018) for the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ModelError
from ..models import blup as _blup
from ..models.joint_measurement import draw_apart, fit_change_apart
from ..models.mixture import Mixture
from ..models.options import Intervals
from .findings import integrated_or_told
from .joint import JointFit, are_apart, posterior_of
from .relative import check_intervals

CONTRAST = np.array([-1.0, 1.0])  # the second cohort less the first


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """The J schools of a joint fit that have students in all of m cohorts.

    schools (J,); n, effects (J, m): students and u_hat; conditional (J, m, m): error covariance with known b;
    sensitivity (J, m, P): d u_hat / d b; vcov (P, P): Var(b_hat).
    """

    schools: np.ndarray
    n: np.ndarray
    effects: np.ndarray
    conditional: np.ndarray
    sensitivity: np.ndarray
    vcov: np.ndarray

    @classmethod
    def of(cls, joint: JointFit, cohorts: Sequence[int]) -> Present:
        """Pick them out of the fit; ModelError for a cohort that is not in it."""
        here, arrays = present_schools(joint, cohorts), joint.arrays
        at = [joint.cohorts.index(c) for c in cohorts]
        return cls(
            arrays.data.schools[here],
            arrays.data.n[here][:, at].astype(np.int64),
            arrays.effects[here][:, at],
            arrays.conditional[here][:, at][:, :, at],
            arrays.sensitivity[here][:, at],
            arrays.vcov,
        )


def draw_joint(
    joint: JointFit,
    cohorts: Sequence[int],
    seed: int | np.random.Generator,
    draws: int,
    intervals: Intervals = "integrated",
) -> np.ndarray:
    """(draws, J, m) draws of the true effects of schools present in all the given cohorts, given the data.

    Score points. From the posterior (:func:`posterior_of`; of independent cohorts, from each one's own); plug-in, or where
    there is none, normal about the joint EB predictions with each school's full error covariance. The error of the fixed
    effects is drawn once a draw, common to all schools. Raises ModelError for a cohort that is not in the fit, and where
    the draws would take the variances of a fit on a boundary as known.
    """
    drawn = _draws(joint, cohorts, seed, draws, intervals)
    if drawn is None:
        raise ModelError(
            "The joint fit lies on a boundary (a school variance of 0, or a correlation of 1): what its schools' effects may "
            "be is not known from the estimated variances. Integrated intervals of an unstructured fit do not need them."
        )
    return drawn


def _draws(
    joint: JointFit, cohorts: Sequence[int], seed: int | np.random.Generator, draws: int, intervals: Intervals
) -> np.ndarray | None:
    """What :func:`draw_joint` gives; None where it refuses for a boundary."""
    check_intervals(intervals)
    p, rng = Present.of(joint, cohorts), np.random.default_rng(seed)
    drawn = _draw_posterior(joint, cohorts, rng, draws) if intervals == "integrated" and len(p.schools) else None
    if drawn is not None or on_boundary(joint, *cohorts):
        return drawn
    own = np.einsum("jab,djb->dja", _blup.factor(p.conditional), rng.standard_normal((draws, *p.effects.shape)))
    shared = rng.standard_normal((draws, len(p.vcov))) @ _blup.factor(p.vcov).T
    return np.asarray(p.effects + own + np.einsum("jap,dp->dja", p.sensitivity, shared))


def _draw_posterior(joint: JointFit, cohorts: Sequence[int], rng: np.random.Generator, draws: int) -> np.ndarray | None:
    """(draws, J, m) from the posterior; None where there is none."""
    here, at = np.flatnonzero(present_schools(joint, cohorts)), [joint.cohorts.index(c) for c in cohorts]
    if not are_apart(joint):
        nodes = posterior_of(joint)
        return None if nodes is None else nodes.draw(draws, rng, here)[:, :, at]
    drawn: np.ndarray | None = integrated_or_told(lambda: draw_apart(joint.arrays, at, here, draws, rng))
    return drawn


def present_schools(joint: JointFit, cohorts: Sequence[int]) -> np.ndarray:
    """Which schools of a joint fit have students in all the given cohorts.

    Parameters
    ----------
    joint : JointFit
        A joint model.
    cohorts : sequence of int
        Some of its cohorts.

    Returns
    -------
    ndarray (J,)
        True or False, in the order of ``joint.arrays.data.schools``.

    Raises
    ------
    ModelError
        For a cohort that is not in the fit.

    Notes
    -----
    Only of these schools is a change told.

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2023, 2024])
    >>> int(va.present_schools(joint, [2023, 2024]).sum())
    187
    """
    absent = [c for c in cohorts if c not in joint.cohorts]
    if absent:
        raise ModelError(f"Cohort {absent[0]} is not in the joint fit; it has {list(joint.cohorts)}.")
    at = [joint.cohorts.index(c) for c in cohorts]
    return np.asarray((joint.arrays.data.n[:, at] > 0).all(axis=1))


def change_in_va(joint: JointFit, first: int, second: int, intervals: Intervals = "integrated") -> pd.DataFrame:
    """Change of every school's relative effect between two cohorts, for schools with students in both.

    Parameters
    ----------
    joint : JointFit
        A joint model with both cohorts.
    first, second : int
        The earlier and the later cohort.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of variances and correlations
        (:func:`valib.effects.joint.posterior_of`), or taking their estimates as known: se from the T x T error covariance.

    Returns
    -------
    DataFrame
        One row a school (index): ``n_first``, ``n_second``, ``change``, ``se``, ``se_independent``, ``lower``, ``upper``,
        ``p_up``, in score points. se: the standard deviation of what lower and upper are limits of. se_independent: what
        the plug-in error would be if the two errors were independent, for comparison. p_up: probability that the effect
        went up. ``attrs["intervals"]`` says which intervals the table has.

    Raises
    ------
    ModelError
        For a cohort that is not in the fit.

    Notes
    -----
    With C_j the covariance of school j's prediction errors over cohorts::

        change_j = u_hat_j,second - u_hat_j,first
        Var      = C_j,11 + C_j,22 - 2 C_j,12

    On a boundary (singular; of independent effects, a cohort of zero variance) the plug-in errors are not known: se, lower,
    upper and p_up are then missing. Sources: Henderson (1975) for the prediction of contrasts; Leckie (2018).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2024])
    >>> va.change_in_va(joint, 2021, 2024)[["n_first", "n_second", "change"]].head(2).round(1)
            n_first  n_second  change
    school
    0029         13        11     6.1
    0109         60        50     5.9
    """
    check_intervals(intervals)
    p = Present.of(joint, (first, second))
    error = p.conditional + p.sensitivity @ p.vcov @ p.sensitivity.transpose(0, 2, 1)
    separate = error[:, 0, 0] + error[:, 1, 1]
    se = np.sqrt(np.maximum(separate - 2 * error[:, 0, 1], 0.0))
    change = p.effects @ CONTRAST
    if on_boundary(joint, first, second):
        se = np.full(len(se), np.nan)
    lower, upper = _blup.interval(change, se, joint.level)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_up = np.where(se == 0, 0.5, stats.norm.cdf(change / se))
    mixture = _change_posterior(joint, first, second) if intervals == "integrated" and len(p.schools) else None
    if mixture is not None:
        se, p_up, (lower, upper) = mixture.sd()[0], mixture.above()[0], (x[0] for x in mixture.interval(joint.level))
    table = pd.DataFrame(
        {
            "n_first": p.n[:, 0],
            "n_second": p.n[:, 1],
            "change": change,
            "se": se,
            "se_independent": np.sqrt(separate),
            "lower": lower,
            "upper": upper,
            "p_up": p_up,
        },
        index=pd.Index(p.schools, name="school"),
    )
    table.attrs["intervals"] = "plugin" if mixture is None else "integrated"
    return table


def _change_posterior(joint: JointFit, first: int, second: int) -> Mixture | None:
    """The posterior of the changes of schools in both cohorts; None where the variances are taken as known."""
    if first == second:
        return None
    here = np.flatnonzero(present_schools(joint, (first, second)))
    at = joint.cohorts.index(first), joint.cohorts.index(second)
    if are_apart(joint):
        change: Mixture | None = integrated_or_told(lambda: fit_change_apart(joint.arrays, *at, here), stacklevel=3)
        return change
    nodes = posterior_of(joint)
    return None if nodes is None else nodes.change(*at, here)


def over_cohorts(joint: JointFit, first: int, second: int) -> np.ndarray:
    """(T,) the second cohort less the first."""
    return np.array([float(c == second) - float(c == first) for c in joint.cohorts])


def on_boundary(joint: JointFit, *cohorts: int) -> bool:
    """Whether plug-in errors in or between cohorts are not known: Omega is singular, and that concerns them."""
    if not joint.singular:
        return False
    return joint.covariance != "independent" or bool((joint.tau2[list(cohorts)] <= 0).any())


def which_improved(
    joint: JointFit, first: int, second: int, school: str, other: str, intervals: Intervals = "integrated"
) -> dict[str, float]:
    """Did one school change more than another between two cohorts? Difference of changes, its error and probability.

    Parameters
    ----------
    joint : JointFit
        A joint model with both cohorts.
    first, second : int
        The earlier and the later cohort.
    school, other : str
        The two schools.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.change_in_va`.

    Returns
    -------
    dict of str to float
        ``difference`` (score points), ``se``, ``probability`` that it is positive; both missing where the intervals are
        plug-in and the fit on a boundary.

    Raises
    ------
    ModelError
        For a school without students in both cohorts, for the same school twice, and for a cohort that is not in the fit.

    Notes
    -----
    With c = (-1, 1), C_j the error covariance of school j with known coefficients and S_j = d u_hat_j / d b, at given
    variances (those of the fit, or of every node of the posterior)::

        Var = c'C_1 c + c'C_2 c + (S_1'c - S_2'c)' Var(b) (S_1'c - S_2'c)

    so that the errors the two schools share through the fixed effects are taken into account. Source: Henderson (1975).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2024])
    >>> found = va.which_improved(joint, 2021, 2024, "0029", "0109")
    >>> {name: round(value, 1) for name, value in found.items()}
    {'difference': 0.2, 'se': 11.7, 'probability': 0.5}
    """
    if school == other:
        raise ModelError(f"Two schools are compared; both named are '{school}'.")
    check_intervals(intervals)
    p = Present.of(joint, (first, second))
    rows = []
    for name in (school, other):
        row = np.flatnonzero(p.schools == name)
        if not len(row):
            raise ModelError(f"School '{name}' has no students in both of cohorts {first} and {second}.")
        rows.append(row[0])
    difference = float(np.subtract(*(p.effects[rows] @ CONTRAST)))
    nodes = posterior_of(joint) if intervals == "integrated" and first != second else None
    if nodes is not None:
        at = np.flatnonzero(present_schools(joint, (first, second)))[rows]
        over = nodes.combination(over_cohorts(joint, first, second), at[:1], at[1:])
        return {"difference": difference, "se": float(over.sd()[0, 0]), "probability": float(over.above()[0, 0])}
    if on_boundary(joint, first, second):
        return {"difference": difference, "se": float("nan"), "probability": float("nan")}
    own = float((CONTRAST @ p.conditional[rows] @ CONTRAST).sum())
    shared = np.subtract(*(CONTRAST @ p.sensitivity[rows]))
    se = float(np.sqrt(own + shared @ p.vcov @ shared))
    return {"difference": difference, "se": se, "probability": float(stats.norm.cdf(difference / se)) if se else 0.5}


def quintile_transitions(
    joint: JointFit,
    first: int,
    second: int,
    seed: int | np.random.Generator,
    draws: int = 1000,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """How schools move between fifths: shares of the schools of each fifth in one cohort by fifth in another.

    Parameters
    ----------
    joint : JointFit
        A joint model with both cohorts.
    first, second : int
        The earlier and the later cohort.
    seed : int or numpy.random.Generator
        Where the draws begin: the same seed gives the same result, byte for byte.
    draws : int
        Of the true effects, given the data.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.change_in_va`.

    Returns
    -------
    DataFrame
        25 rows: ``from``, ``to`` (1 lowest), ``share`` (mean over draws), ``lower``, ``upper``, ``plugin`` (the table of the
        EB predictions themselves, which understates movement). Where the draws take the variances as known and the fit is
        on a boundary, ``share``, ``lower`` and ``upper`` are missing.

    Raises
    ------
    ModelError
        For fewer than five schools in both cohorts, and for a cohort that is not in the fit.

    Notes
    -----
    Fifths are counted among schools with students in both cohorts, in draws of the true effects, so that the table is
    about the effects and not about their noise. Draws are from the posterior of the joint model, or plug-in: normal about
    the predictions with each school's full error covariance. The error of the fixed effects is common to all schools of
    a draw.

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2024])
    >>> moves = va.quintile_transitions(joint, 2021, 2024, seed=1, draws=200)
    >>> moves.groupby("from")["share"].sum().round(2).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    effects = Present.of(joint, (first, second)).effects
    J = len(effects)
    if J < 5:
        raise ModelError(f"A table of fifths needs five schools in both cohorts; there are {J}.")
    drawn = _draws(joint, (first, second), seed, draws, intervals)
    tables = np.full((1, 5, 5), np.nan) if drawn is None else np.stack([_cross_fifths(d) for d in drawn])
    tail = (1 - joint.level) / 2
    lower, upper = np.quantile(tables, [tail, 1 - tail], axis=0)
    index = [(a + 1, b + 1) for a in range(5) for b in range(5)]
    frame = pd.DataFrame(index, columns=["from", "to"])
    told = {"share": tables.mean(axis=0), "lower": lower, "upper": upper, "plugin": _cross_fifths(effects)}
    for name, table in told.items():
        frame[name] = table.ravel()
    return frame


def _cross_fifths(effects: np.ndarray) -> np.ndarray:
    """(5, 5) shares by row of a cross-table of fifths; effects (J, 2)."""
    J = len(effects)
    fifth = np.argsort(np.argsort(effects, axis=0, kind="stable"), axis=0, kind="stable") * 5 // J
    counts = np.zeros((5, 5))
    np.add.at(counts, (fifth[:, 0], fifth[:, 1]), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
