"""The school bootstrap of many simulated data sets at once: all samples of all data sets are fitted together.

Same equations as :mod:`valib.effects.bootstrap`, which takes one data set; the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models.estimators import Sums, pool
from ..models.likelihood import Compressed
from ..models.measurement import remove_error
from .bootstrap import baseline_estimates, check_determined, focal_estimates

SAMPLES = 1000  # data sets fitted at once, at most: bounds the memory


def draw_weights(present: np.ndarray, draws: int, seeds: Sequence[np.random.SeedSequence]) -> np.ndarray:
    """(R, draws, J): how often each school stands in each sample; present (R, J): which schools there are.

    Every data set has a seed of its own, so that its samples are the same whatever the others are.
    """
    weights = np.zeros((len(present), draws, present.shape[1]))
    for part, here, seed in zip(weights, present, seeds, strict=True):
        J = int(here.sum())
        part[:, here] = np.random.default_rng(seed).multinomial(J, np.full(J, 1 / J), size=draws)
    return weights


def resample(
    base: Sums,
    focal: Sums,
    weights: np.ndarray,
    *,
    cohorts: int,
    estimator: str,
    groups: str,
    shift: str,
    variances: str,
    reml: bool,
    s2m: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """System shift (R, B) in every sample, nan where absorbed, and variance of schools' VA over samples (R, J).

    base (R, T J), focal (R, J): cells of R data sets; weights (R, B, J). s2m: error variance of the prior. A school
    without focal students has the variance 0. Raises BenchmarkError for a sample that leaves b undetermined.
    """
    R, B, J = weights.shape
    delta, spread = np.empty((R, B)), np.empty((R, J))
    step = max(1, SAMPLES // B)
    for first in range(0, R, step):
        at = slice(first, first + step)
        parts = (Sums(d.n[at], d.sums[at], d.cross[at]) for d in (base, focal))
        delta[at], spread[at] = _resample(*parts, weights[at], cohorts, estimator, groups, shift, variances, reml, s2m)
    return delta, spread


def _resample(base, focal, weights, cohorts, estimator, groups, shift, variances, reml, s2m):
    R, B, J = weights.shape
    errors = np.zeros(base.sums.shape[-1] - 1)
    errors[1] = s2m
    baseline = remove_error(compress_samples(pool(base, cohorts) if groups == "school" else base, weights), errors)
    check_determined(baseline.cross[:, :-1, :-1])
    b, tau2, sigma2 = baseline_estimates(baseline, 0, estimator, reml)
    delta, theta, _ = focal_estimates(
        compress_samples(focal, weights), b, tau2, sigma2 + b**2 @ errors, 0, shift, variances, reml
    )
    n, means = focal.n[:, None], focal.means
    lam = n * theta.reshape(R, B, 1)
    lam /= 1 + lam
    rbar = means[:, None, :, -1] - b.reshape(R, B, -1) @ np.swapaxes(means[..., :-1], 1, 2)
    centre = np.nan_to_num(delta).reshape(R, B, 1)
    va = centre + lam * (rbar - centre)
    return delta.reshape(R, B), np.where(focal.n > 0, va.var(axis=1, ddof=1), 0.0)


def compress_samples(data: Sums, weights: np.ndarray) -> Compressed:
    """The R B samples as data sets with cells of equal size added, as :func:`valib.models.likelihood.compress` does.

    data: C cells, of J schools in one cohort after the other; weights (R, B, J).
    """
    (R, C, k), (_, B, J) = data.sums.shape, weights.shape
    rows, columns = np.triu_indices(k)
    values = np.concatenate([data.sums[..., rows] * data.sums[..., columns], np.ones((R, C, 1))], axis=-1)
    values[data.n == 0] = 0.0
    order = np.argsort(data.n, axis=1, kind="stable")
    n = np.take_along_axis(data.n, order, axis=1)
    sizes = np.unique(n[n > 0])
    edges = [(n < size).sum(axis=1) for size in (*sizes, sizes[-1] + 1)]
    at, last, by_school = np.arange(R)[:, None], C - 1, np.ascontiguousarray(np.swapaxes(weights, 1, 2))
    sums = np.empty((R, B, len(sizes), values.shape[-1]))
    for d, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        place = start[:, None] + np.arange((stop - start).max())
        cell = order[at, np.minimum(place, last)]
        added = values[at, cell] * (place < stop[:, None])[..., None]
        np.matmul(np.swapaxes(by_school[at, cell % J], 1, 2), added, out=sums[:, :, d])
    square = np.empty((k, k), dtype=np.intp)
    square[rows, columns] = square[columns, rows] = np.arange(len(rows))
    cross = weights @ data.cross.reshape(R, C // J, J, k * k).sum(axis=1)
    counts = sums[..., -1].reshape(R * B, -1)
    outer = sums[..., square].reshape(R * B, len(sizes), k, k)
    return Compressed(sizes.astype(np.float64), counts, outer, cross.reshape(R * B, k, k), counts @ sizes)
