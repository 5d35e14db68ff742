"""Weighted draws of a posterior of variances and correlations: their proposal, their prior, whether they can be trusted.

Draws come from a multivariate t about the mode, its location and scale taken anew from the weights at every look, and are
weighted by the exact density (importance sampling; Ionides 2008 for weights that are cut). Pareto's k says whether the
weights can be trusted: below 0.7 they can (Vehtari, Simpson, Gelman, Yao and Gabry 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import optimize, stats

from ..sums.arrays import FloatArray

TAILS = 5.0  # degrees of freedom of the proposal
WIDER = 1.2  # factor of its scale
LARGEST_K, FEWEST_DRAWS = 0.7, 100.0  # of weights that can be trusted
LEAST = 1e-9  # weight of a draw that is dropped


def weighted_draws(
    evaluate: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    location: FloatArray,
    scale: FloatArray,
    sizes: Iterable[int],
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draws x (G, d) of the last of some looks, each look's proposal from the weights of the one before.

    evaluate gives the log density (G,) at x and what else belongs to the draws (G, ...); both are returned, the density as
    the log weight of the draw.
    """
    sizes = list(sizes)
    for look, size in enumerate(sizes):
        x, log_proposal = _propose(location, WIDER * scale, size, rng)
        log_density, more = evaluate(x)
        log_weight = log_density - log_proposal
        if look < len(sizes) - 1:
            location, scale = _adapted(x, log_weight, location, scale)
    return x, more, log_weight


def _propose(
    location: FloatArray, scale: FloatArray, size: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draws (size, d) of a multivariate t, evenly spread (scrambled Sobol points), and their log density."""
    d = len(location)
    points = stats.qmc.Sobol(d + 1, rng=rng).random(size).clip(1e-12, 1 - 1e-12)
    z = stats.norm.ppf(points[:, :d]) / np.sqrt(stats.chi2.ppf(points[:, d:], TAILS) / TAILS)
    density = -0.5 * (TAILS + d) * np.log1p((z**2).sum(axis=1) / TAILS)
    return location + z @ scale.T, density


def _adapted(
    x: FloatArray, log_weight: FloatArray, location: FloatArray, scale: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Location and scale of the next proposal, from weights cut at sqrt(size) times their mean (Ionides 2008)."""
    weight = np.exp(log_weight - log_weight.max())
    weight = np.minimum(weight, weight.mean() * np.sqrt(len(weight)))
    weight /= weight.sum()
    if 1 / (weight**2).sum() < 5 * len(location):
        return location, scale
    centre = weight @ x
    spread = (x - centre).T @ (weight[:, None] * (x - centre))
    return centre, np.linalg.cholesky(spread * (TAILS - 2) / TAILS)


def mode(log_density: Callable[[FloatArray], FloatArray], start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mode (d,) and a factor (d, d) of the inverse curvature there, by central differences taken all at once.

    Both to five digits: the draws then do not hang on the last digits of a search, which differ between machines.
    """
    d, step = len(start), 1e-4
    moves = step * np.concatenate([np.eye(d), -np.eye(d)])

    def value_and_slope(x: FloatArray) -> tuple[float, FloatArray]:
        values = -log_density(np.concatenate([x[None], x + moves]))
        return values[0], (values[1 : d + 1] - values[d + 1 :]) / (2 * step)

    x = optimize.minimize(value_and_slope, start, jac=True, method="BFGS", options={"gtol": 1e-3}).x.round(5)
    wide = 30 * moves  # wide enough that rounding does not tell
    shifted = x + (wide[:, None] + wide[None]).reshape(-1, d)
    values = -log_density(shifted).reshape(2 * d, 2 * d)
    plus, minus = slice(0, d), slice(d, 2 * d)
    hessian = (values[plus, plus] - values[plus, minus] - values[minus, plus] + values[minus, minus]) / (60 * step) ** 2
    size, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    root = (axes / np.sqrt(np.maximum(size, 0.05))) @ axes.T  # symmetric: eigenvectors have no sign of their own
    return x, root.round(5)


def correlations(y: FloatArray, T: int) -> tuple[FloatArray, FloatArray]:
    """R (G, T, T) of tanh^-1 partial correlations y (G, T (T - 1) / 2), and the log density of LKJ(1) in y.

    The partial correlation of cohorts i and j < i given those before j is tanh y_ij; under LKJ(1) its density is
    proportional to (1 - z^2)^((T - 1 - j) / 2), j = 1 .. T - 1 (Lewandowski, Kurowicka and Joe 2009).
    """
    rows, columns = np.tril_indices(T, -1)
    z, log_left = np.zeros((len(y), T, T)), np.zeros((len(y), T, T))
    z[:, rows, columns] = np.tanh(y)
    log_left[:, rows, columns] = -2 * (np.abs(y) + np.log1p(np.exp(-2 * np.abs(y))) - np.log(2))  # log(1 - z^2)
    before = np.cumsum(log_left, axis=2) - log_left
    L = z * np.exp(0.5 * before)
    L[:, np.arange(T), np.arange(T)] = np.exp(0.5 * log_left.sum(axis=2))
    density = (log_left[:, rows, columns] * (1 + (T - 2 - columns) / 2)).sum(axis=1)
    return L @ np.swapaxes(L, 1, 2), density


def kept_draws(log_weight: FloatArray) -> tuple[np.ndarray, FloatArray, float, float]:
    """Which of G draws count (G,), their weights, which sum to 1, for how many independent ones they stand, Pareto's k."""
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    keep = weight > LEAST
    kept = weight[keep] / weight[keep].sum()
    return keep, kept, float(1 / (kept**2).sum()), pareto_k(log_weight)


def can_be_trusted(effective: float, k: float) -> bool:
    """Whether weights can be relied on that stand for so many independent draws and have this Pareto k."""
    return k < LARGEST_K and effective > FEWEST_DRAWS


def pareto_k(log_weight: FloatArray) -> float:
    """Shape of a generalised Pareto distribution fitted to the largest weights (Zhang and Stephens 2009)."""
    w = np.sort(np.exp(log_weight - log_weight.max()))
    tail = int(min(0.2 * len(w), 3 * np.sqrt(len(w))))
    x = w[-tail:] - w[-tail - 1]
    if x[-1] <= 0:
        return float("-inf")
    m = 30 + int(np.sqrt(tail))
    b = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * max(x[int(tail / 4 + 0.5) - 1], 1e-300))
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    profile = tail * (np.log(-b / k) - k - 1)
    weights = 1 / np.exp(profile - profile[:, None]).sum(axis=1)
    best = (b * weights).sum()
    shape = np.log1p(-best * x).mean()
    return float((shape * tail + 5) / (tail + 10))  # a weak prior about 0.5 for few weights


def weighted_limits(values: FloatArray, weight: FloatArray, level: float) -> tuple[float, float]:
    """Limits of values (G,) with weights (G,) that sum to 1; a value stands in the middle of its weight."""
    rising = np.argsort(values, kind="stable")
    F = np.cumsum(weight[rising]) - weight[rising] / 2
    lower, upper = (float(np.interp(p, F, values[rising])) for p in tails(level))
    return lower, upper


def tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2
