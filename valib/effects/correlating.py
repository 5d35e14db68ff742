"""Correlating the school effects of many simulated data sets at once, in all six ways.

The separate fits, the joint fits and the correlations are made on arrays; the joint model of the few data sets whose
likelihood gives trouble is fitted by :func:`valib.models.joint_fit.fit_joint_moments`, one by one.
"""

from __future__ import annotations

import numpy as np

from ..models.blup import correlation_interval, delta_error
from ..models.estimators import compress_cells
from ..models.joint_batch import fit_all, stack_sums
from ..models.joint_fit import fit_joint_moments
from ..models.likelihood import THETA_RANGE, maximise, profile
from ..models.mixed import fit_moments
from ..sums.moments import Moments
from .stability import WAYS, TwoStep, two_step_correlations

SOUND = 1e-6  # share of a column's or the response's square that must be left for a data set to be fitted with others


def correlate_all(
    cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, level: float, method: str = "ML"
) -> np.ndarray:
    """(R, pairs, 6, 3): estimate and the limits of its interval, by pair of cohorts and way of :data:`WAYS`.

    cohorts (T,) in calendar order; n (R, T, J), sums (R, T, J, k): students and sums of the columns 1, .., response by
    cell; cross (R, T, k, k): cross-products by cohort. method: of the joint model, the separate ones are fitted by ML.
    nan for a data set with a between-school variance of 0. Raises ModelError for what no model can be fitted to.
    """
    out = np.full((len(n), len(cohorts) * (len(cohorts) - 1) // 2, len(WAYS), 3), np.nan)
    b, tau2, sigma2 = fit_cohorts(cohorts, n, sums, cross, "ML")
    rows = np.flatnonzero((tau2 > 0).all(axis=1))
    if not len(rows):
        return out
    n, sums, cross, b, tau2, sigma2 = (values[rows] for values in (n, sums, cross, b, tau2, sigma2))
    r, se, eb = _joint(cohorts, n, sums, cross, (b, tau2, sigma2), method)
    sizes = np.swapaxes(n, 1, 2).astype(np.float64)
    absent = np.where(sizes > 0, 1.0, np.nan)
    left = (sums[..., -1:] - sums[..., :-1] @ b[..., None])[..., 0]
    residual = np.swapaxes(left, 1, 2) / np.maximum(sizes, 1)
    shrinkage = absent * sizes * tau2[:, None] / (sizes * tau2[:, None] + sigma2[:, None])
    data = TwoStep(np.arange(n.shape[2]), cohorts, sizes, shrinkage * residual, shrinkage, tau2, sigma2)
    found = two_step_correlations(data, eb, level)
    found["joint_model"] = r, *correlation_interval(r, delta_error(r, se), level)
    first, second = np.triu_indices(len(cohorts), 1)
    values = np.array([found[way] for way in WAYS])[..., first, second].transpose(2, 3, 0, 1)
    known = np.isfinite(r).all(axis=(1, 2))
    out[rows[known]] = values[known]
    return out


def fit_cohorts(
    cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """b (R, T, p), tau2 and sigma2 (R, T) of separate models; arguments and errors as of :func:`correlate_all`.

    A cohort that may be beyond a fit is judged by :func:`valib.models.mixed.fit_moments` alone.
    """
    (R, T, J, k), reml = sums.shape, method == "REML"
    sound = _sound(n.reshape(R * T, J), cross.reshape(R * T, k, k))
    b, tau2, sigma2 = np.zeros((R * T, k - 1)), np.zeros(R * T), np.zeros(R * T)
    rows = np.flatnonzero(sound)
    if len(rows):
        data = compress_cells(
            n.reshape(R * T, J)[rows], sums.reshape(R * T, J, k)[rows], cross.reshape(R * T, k, k)[rows]
        )
        theta = maximise(data, reml)
        at = profile(data, theta, reml)
        sigma2[rows] = at.rss / (data.n - (k - 1 if reml else 0))
        b[rows], tau2[rows] = at.b, theta * sigma2[rows]
        sound[rows] = (at.rss > SOUND * data.cross[:, -1, -1]) & (theta < 0.1 * THETA_RANGE[1])
    for row in np.flatnonzero(~sound):
        r, t = divmod(row, T)
        one = fit_moments(_moments(cohorts[t], n[r, t], sums[r, t], cross[r, t]), method)
        b[row], tau2[row], sigma2[row] = one.coefficients, one.tau2, one.sigma2
    return b.reshape(R, T, -1), tau2.reshape(R, T), sigma2.reshape(R, T)


def _sound(n: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """(R,): whether there are schools and students enough, and columns far from collinear."""
    size = np.sqrt(np.diagonal(cross, axis1=1, axis2=2)[:, :-1])
    enough = ((n > 0).sum(axis=1) > 1) & (n.max(axis=1) > 1) & (n.sum(axis=1) > cross.shape[-1] + 1)
    enough &= (size > 0).all(axis=1)
    size[~enough] = 1.0
    scaled = np.where(enough[:, None, None], cross[:, :-1, :-1], 0.0) / (size[:, :, None] * size[:, None, :])
    return enough & (np.linalg.eigvalsh(scaled)[:, 0] > SOUND)


def _joint(
    cohorts: np.ndarray, n: np.ndarray, sums: np.ndarray, cross: np.ndarray, start: tuple, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlations and their errors (R, T, T), effects (R, J, T) of joint fits; start: the separate fits by ML."""
    b, tau2, sigma2 = start if method == "ML" else fit_cohorts(cohorts, n, sums, cross, method)
    found = fit_all(stack_sums(cohorts, n, sums, cross, b), tau2, sigma2, method == "REML")
    r, se, effects = found.correlation, found.correlation_se, found.effects
    for row in np.flatnonzero(~found.found):
        parts = [_moments(*cell) for cell in zip(cohorts, n[row], sums[row], cross[row], strict=True)]
        one = fit_joint_moments(parts, method=method)
        r[row], se[row], effects[row, one.data.schools] = one.correlation, one.correlation_se, one.effects
    return r, se, effects


def _moments(cohort: int, n: np.ndarray, sums: np.ndarray, cross: np.ndarray) -> Moments:
    """One cohort of one data set as the library's moments: n (J,), sums (J, k), cross (k, k)."""
    here, k = np.flatnonzero(n), sums.shape[-1]
    names = ("Intercept", *(f"x{c}" for c in range(1, k - 1)), "score")
    return Moments(
        names,
        np.zeros(k),
        here,
        np.array([cohort]),
        np.arange(len(here)),
        np.zeros(len(here), dtype=np.intp),
        n[here].astype(np.float64),
        sums[here],
        cross[None],
        None,
        np.ones(len(here)),
    )
