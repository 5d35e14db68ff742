"""The unstructured joint model on many data sets at once, where its likelihood gives no trouble.

The first start of :func:`valib.models.joint_fit.fit_joint_moments` and the plain road of its search, on arrays with a
leading axis of data sets. Where that search would do more - a saddle, a step that does not lower the deviance, an end
near singular or hardly known - nothing is given, and the data set is for that function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .joint_fit import IMPRECISE, NEAR_SINGULAR, JointProblem, correlation_se, magnitudes, moment_correlation
from .joint_likelihood import JointMoments
from .newton import minimise_all
from .structures import correlation, make_structure


@dataclass(frozen=True, slots=True, eq=False)
class JointBatch:
    """R joint fits of T cohorts and J schools; nan where there is none.

    found (R,): whether there is one. omega, correlation, correlation_se (R, T, T), sigma2 (R, T), effects (R, J, T): as
    those of :class:`valib.models.joint_fit.MultivariateFit`.
    """

    found: np.ndarray
    omega: np.ndarray
    correlation: np.ndarray
    correlation_se: np.ndarray
    sigma2: np.ndarray
    effects: np.ndarray


def stack_sums(cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, b: np.ndarray) -> JointMoments:
    """The moments of R data sets together, as :func:`valib.models.joint_likelihood.stack_moments` does for one.

    n (R, T, J), sums (R, T, J, k), cross (R, T, k, k) over the schools: of columns that are not shifted; b (R, T, p):
    coefficients near those of each cohort.
    """
    R, T, J, k = sums.shape
    p, P = k - 1, T * (k - 1)
    scale = np.sqrt(np.diagonal(cross, axis1=-2, axis2=-1)[..., :-1] / n.sum(axis=-1)[..., None])
    change = np.zeros((R, T, k, k))
    change[..., np.arange(k), np.arange(k)] = np.concatenate([1 / scale, np.ones((R, T, 1))], axis=-1)
    change[..., :-1, -1] = -b
    mean = sums @ change / np.sqrt(np.maximum(n, 1))[..., None]
    inside = np.swapaxes(change, -1, -2) @ cross @ change - np.swapaxes(mean, -1, -2) @ mean
    z, within, back = np.zeros((R, J, P + T)), np.zeros((R, P + T, P + T)), np.zeros((R, P, P))
    column = np.concatenate([np.repeat(np.arange(T), p), np.arange(T)])
    for t in range(T):
        at = np.flatnonzero(column == t)
        z[..., at], within[:, at[:, None], at] = mean[:, t], inside[:, t]
        back[:, at[:-1], at[:-1]] = 1 / scale[:, t]
    return JointMoments(
        np.arange(J),
        cohorts,
        (tuple(f"x{i}" for i in range(p)),) * T,
        np.swapaxes(n, 1, 2).astype(np.float64),
        column,
        z,
        within,
        b.reshape(R, P),
        back,
        np.log(scale).sum(axis=(1, 2)),
    )


def fit_all(data: JointMoments, tau2: np.ndarray, sigma2: np.ndarray, reml: bool = False) -> JointBatch:
    """Fit R data sets; tau2, sigma2 (R, T): of the cohorts' own fits."""
    scale = magnitudes(data, tau2, sigma2)
    structure = make_structure("unstructured", data.cohorts, scale)
    problem = JointProblem(data, structure, False, reml)
    psi = structure.start(moment_correlation(data, scale, sigma2) * structure.unit)
    x, there = minimise_all(problem, np.concatenate([psi, np.log(sigma2)], axis=1))
    there &= (data.shared > 0).all(axis=(1, 2))
    rows, (R, J, T) = np.flatnonzero(there), data.n.shape
    out = JointBatch(
        np.zeros(R, dtype=bool), *(np.full((R, *shape), np.nan) for shape in ((T, T), (T, T), (T, T), (T,), (J, T)))
    )
    if len(rows):
        _fill(out, problem.take(rows), x[rows], rows)
    return out


def _fill(out: JointBatch, problem: JointProblem, x: np.ndarray, rows: np.ndarray) -> None:
    """Put the results at the minima x of some rows in their places, but for doubtful ones."""
    T = len(problem.data.cohorts)
    at, (omega, sigma2) = problem.value(x), problem.split(x)
    good = np.diagonal(omega, axis1=1, axis2=2).min(axis=1) > 0
    R = np.where(good[:, None, None], correlation(omega), np.eye(T))
    J, hessian = problem.jacobian(x), problem.derivatives(x, at)[1]
    se = correlation_se(omega, R, 2 * J @ np.linalg.solve(hessian, np.swapaxes(J, 1, 2)))
    good &= (np.linalg.eigvalsh(R)[:, 0] >= NEAR_SINGULAR) & (se < IMPRECISE).all(axis=(1, 2))
    out.found[rows[good]] = True
    places = (out.omega, out.correlation, out.correlation_se, out.sigma2, out.effects)
    for place, value in zip(places, (omega, R, se, sigma2, at.w @ omega), strict=True):
        place[rows[good]] = value[good]
