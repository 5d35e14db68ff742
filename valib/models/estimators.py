"""The one-cohort methods of the library on many simulated data sets at once: relative and benchmark value added.

Same equations as :mod:`valib.effects.baseline`, :mod:`valib.effects.benchmark` and :mod:`valib.effects.relative`, on
arrays of R data sets; the tests hold the two against each other. Columns: 1, prior score, (its school mean,) score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .blup import factor
from .likelihood import Compressed, maximise, profile
from .measurement import remove_error


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums of R data sets with C cells, of which some may be empty: n (R, C), sums (R, C, k), cross (R, C, k, k)."""

    n: np.ndarray
    sums: np.ndarray
    cross: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """(R, C, k), 0 in empty cells."""
        return self.sums / np.maximum(self.n, 1)[..., None]

    def map(self, matrix: np.ndarray) -> Sums:
        """Sums of the columns Z @ matrix, matrix (R, k, m)."""
        left = matrix[:, None].transpose(0, 1, 3, 2)
        return Sums(self.n, self.sums @ matrix, left @ self.cross @ matrix[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Benchmarks of R data sets: b (R, p), vcov (R, p, p) clustered by school, tau2 and sigma2 (R,).

    sigma2: of y - X b with the covariates as recorded, so that an error of measurement counts with b^2 s2m.
    """

    b: np.ndarray
    vcov: np.ndarray
    tau2: np.ndarray
    sigma2: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """School effects of R data sets.

    effect (R, J), and error variances own = tau2 (1 - lambda), known (with known b), full. tau2 (R,): between schools.
    shift, shift_known, shift_full (R,): the system shift and its variances, None where it is not estimated.
    slope, slope_var (R,): coefficient of the prior and its variance.
    """

    effect: np.ndarray
    own: np.ndarray
    known: np.ndarray
    full: np.ndarray
    tau2: np.ndarray
    slope: np.ndarray
    slope_var: np.ndarray
    shift: np.ndarray | None = None
    shift_known: np.ndarray | None = None
    shift_full: np.ndarray | None = None


def compress_sums(data: Sums) -> Compressed:
    """Add cells of equal size, as :func:`valib.models.likelihood.compress` does; empty cells vanish."""
    return compress_cells(data.n, data.sums, data.cross.sum(axis=1))


def compress_cells(n: np.ndarray, sums: np.ndarray, cross: np.ndarray) -> Compressed:
    """The same from n (R, C), sums (R, C, k) and the cross-products of all cells, cross (R, k, k)."""
    R, k = len(n), sums.shape[-1]
    n = n.astype(np.intp)
    sizes = np.flatnonzero(np.bincount(n.ravel()))
    sizes = sizes[sizes > 0]
    place = np.zeros(sizes.max() + 1, dtype=np.intp)
    place[sizes] = np.arange(len(sizes))
    code = (place[n] + len(sizes) * np.arange(R)[:, None]).ravel()
    there = (n > 0).ravel().astype(np.float64)

    def total(values):
        return np.bincount(code, weights=values, minlength=R * len(sizes)).reshape(R, -1)

    outer = np.empty((R, len(sizes), k, k))
    for a in range(k):
        for b in range(a, k):
            outer[..., a, b] = outer[..., b, a] = total((sums[..., a] * sums[..., b]).ravel())
    return Compressed(sizes.astype(np.float64), total(there), outer, cross, n.sum(axis=1).astype(np.float64))


def fit_baselines(data: Sums, cohorts: int, estimator: str, groups: str, reml: bool, s2m: float = 0.0) -> Baseline:
    """Benchmarks of R data sets; the equations of :func:`valib.effects.baseline.estimate`. s2m: error variance of the prior."""
    R, k = len(data.n), data.sums.shape[-1]
    grouped = pool(data, cohorts) if groups == "school" else data
    n, p = grouped.n, k - 1
    errors = np.zeros(p)
    errors[1] = s2m
    compressed = remove_error(compress_sums(grouped), errors)
    theta = maximise(compressed, reml)
    at = profile(compressed, theta, reml)
    sigma2 = at.rss / (compressed.n - (p if reml else 0))
    inverse_n = np.divide(1.0, n, out=np.zeros(n.shape), where=n > 0)
    w = {"ols": 0.0 * n, "mixed": theta[:, None] / (1 + n * theta[:, None]), "within": inverse_n}[estimator]
    cell = grouped.cross - (w[..., None] * grouped.sums)[..., None] * grouped.sums[..., None, :]
    cell[..., 1, 1] -= s2m * n * (1 - w)
    columns = slice(1, p) if estimator == "within" else slice(0, p)
    M = cell.sum(axis=1)
    inverse = np.linalg.inv(M[:, columns, columns])
    a = np.zeros((R, k))
    a[:, -1] = 1.0
    a[:, columns] = -(inverse @ M[:, columns, -1:])[..., 0]
    influence = np.zeros((R, n.shape[1], p))
    influence[..., columns] = (cell @ a[:, None, :, None])[..., columns, 0] @ inverse
    if estimator == "within":
        _add_intercept(grouped, a, influence, reml)
    J = data.n.shape[1] // cohorts
    by_school = influence.reshape(R, -1, J, p).sum(axis=1)
    present = (data.n.reshape(R, cohorts, J) > 0).any(axis=1).sum(axis=1)
    N = compressed.n
    scale = present / (present - 1) * (N - 1) / (N - p)
    vcov = scale[:, None, None] * np.swapaxes(by_school, 1, 2) @ by_school
    return Baseline(-a[:, :-1], vcov, theta * sigma2, sigma2 + s2m * a[:, 1] ** 2)


def pool(data: Sums, cohorts: int) -> Sums:
    """One cell a school."""
    R, C, k = data.sums.shape
    J = C // cohorts
    return Sums(
        data.n.reshape(R, cohorts, J).sum(axis=1),
        data.sums.reshape(R, cohorts, J, k).sum(axis=1),
        data.cross.reshape(R, cohorts, J, k, k).sum(axis=1),
    )


def _add_intercept(data: Sums, a: np.ndarray, influence: np.ndarray, reml: bool) -> None:
    """Within slopes: the intercept is the GLS mean of y - X b (slopes only) over cells; filled in place."""
    left = data.map(_ones_and(a))
    theta = maximise(compress_sums(left), reml)[:, None]
    weight = data.n / (1 + data.n * theta)
    weight = weight / weight.sum(axis=1, keepdims=True)
    mean = data.means
    rbar, centre = (mean @ a[..., None])[..., 0], (weight[:, None] @ mean[..., :-1])[:, 0]
    centre[:, 0] = 0.0
    b0 = (weight * rbar).sum(axis=1)
    influence[..., 0] = weight * (rbar - b0[:, None]) - (influence @ centre[..., None])[..., 0]
    a[:, 0] = -b0


def _ones_and(a: np.ndarray) -> np.ndarray:
    """(R, k, 2): the column of ones, and the residual y - X b of a = (-b, 1)."""
    matrix = np.zeros((*a.shape, 2))
    matrix[:, 0, 0] = 1.0
    matrix[..., 1] = a
    return matrix


def benchmark_va(
    focal: Sums, baseline: Baseline, shift: str, variances: str, reml: bool, equating_se: float = 0.0
) -> Predictions:
    """Benchmark value added of R focal cohorts; the equations of :func:`valib.effects.benchmark.predict_benchmark`."""
    a = np.concatenate([-baseline.b, np.ones((len(baseline.b), 1))], axis=1)
    matrix = _ones_and(a) if shift == "estimated" else a[..., None]
    r = compress_sums(focal.map(matrix))
    theta = maximise(r, reml) if variances == "focal" else baseline.tau2 / baseline.sigma2
    at = profile(r, theta, reml)
    sigma2 = at.rss / (r.n - (r.p if reml else 0)) if variances == "focal" else baseline.sigma2
    tau2 = theta * sigma2
    n, means, t = focal.n, focal.means, theta[:, None]
    lam, xbar = n * t / (1 + n * t), means[..., :-1]
    residual = (means @ a[..., None])[..., 0]
    own, F = tau2[:, None] * (1 - lam), factor(baseline.vcov)
    common = {"tau2": tau2, "slope": baseline.b[:, 1], "slope_var": baseline.vcov[:, 1, 1]}
    if shift == "absorbed":
        shared = lam**2 * (((xbar @ F) ** 2).sum(axis=-1) + equating_se**2)
        return Predictions(lam * residual, own, own, own + shared, **common)
    weight = n / (1 + n * t)
    total = weight.sum(axis=1, keepdims=True)
    delta, var_delta = at.b[:, :1], sigma2[:, None] / total
    centre = (weight[:, None] @ xbar) / total[..., None]
    g = (1 - lam)[..., None] * centre + lam[..., None] * xbar
    known = own + (1 - lam) ** 2 * var_delta
    full = known + ((g @ F) ** 2).sum(axis=-1) + equating_se**2
    shift_full = var_delta[:, 0] + ((centre @ F) ** 2).sum(axis=(1, 2)) + equating_se**2
    return Predictions(
        delta + lam * (residual - delta),
        own,
        known,
        full,
        **common,
        shift=delta[:, 0],
        shift_known=var_delta[:, 0],
        shift_full=shift_full,
    )


def relative_va(focal: Sums, reml: bool, s2m: float = 0.0) -> Predictions:
    """Relative value added of R focal cohorts; the equations of :func:`valib.effects.relative.fit_relative`.

    With a corrected prior (s2m > 0) the model's covariance of b does not hold, so the clustered one is taken; and a
    student's residual y - x'b on record has the variance sigma2 + b^2 s2m, by which the effects are shrunk.
    """
    p = focal.sums.shape[-1] - 1
    errors = np.zeros(p)
    errors[1] = s2m
    data = remove_error(compress_sums(focal), errors)
    theta = maximise(data, reml)
    at = profile(data, theta, reml)
    sigma2 = at.rss / (data.n - (p if reml else 0))
    vcov = sigma2[:, None, None] * at.A_inverse
    if s2m:
        vcov = fit_baselines(focal, 1, "mixed", "school_cohort", reml, s2m).vcov
    tau2 = theta * sigma2
    n, t, means = focal.n, (tau2 / (sigma2 + s2m * at.b[:, 1] ** 2))[:, None], focal.means
    lam = n * t / (1 + n * t)
    residual = means[..., -1] - (means[..., :-1] @ at.b[..., None])[..., 0]
    own = tau2[:, None] * (1 - lam)
    shared = lam**2 * ((means[..., :-1] @ factor(vcov)) ** 2).sum(axis=-1)
    return Predictions(lam * residual, own, own, own + shared, tau2, at.b[:, 1], vcov[:, 1, 1])


def known_errors(predictions: Predictions) -> Predictions:
    """The same with the intervals that take the coefficients as known."""
    return replace(predictions, full=predictions.known, shift_full=predictions.shift_known)
