"""The profiled likelihood of the random-intercept model on many data sets at once, and its maximum.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij ~ N(0, sigma2),   theta = tau2 / sigma2

With w_j = theta / (1 + n_j theta) and T_j = s_j s_j' (s_j the cell sum of Z = [X, y]), everything the likelihood needs
is the bordered matrix M(theta) = Z'Z - sum_j w_j T_j. A cell enters only through its size n_j and T_j, so cells of
equal size are added once (:func:`compress`) and an evaluation costs O(D p^2), D the number of distinct sizes, whatever
the number of students or schools. Every function works on a batch of R data sets at once (bootstrap, simulation).

Sources: Laird and Ware (1982); Longford (1987) and Bates et al. (2015) for the profiled likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..sums.arrays import FloatArray
from ..sums.moments import Moments, weighted_count
from .linalg import invert

GRID = 36  # starting points for theta, evenly spaced in log theta
THETA_RANGE = (1e-8, 1e6)  # relative to 1 / (largest cell size) at the lower end
STEP_TOLERANCE = 1e-11  # of log theta
MAX_STEPS = 80
BLOCK = 40_000  # numbers held for the grid of a block of data sets: they stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """Moments of R data sets with cells of equal size added: all that the likelihood needs.

    sizes (D,): distinct cell sizes. counts (R, D): cells of each size. outer (R, D, k, k): sum of s_j s_j' over them.
    cross (R, k, k): pooled Z'Z. n (R,): students. p = k - 1 fixed effects.
    """

    sizes: FloatArray
    counts: FloatArray
    outer: FloatArray
    cross: FloatArray
    n: FloatArray

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.cross.shape[-1]) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The profiled deviance -2 l (without constants) at theta, and its first two derivatives; each (R,).

    b (R, p) and A_inverse (R, p, p) belong to the shifted columns. rss, rss1, rss2: residual sum of squares and its
    derivatives; penalty, penalty1, penalty2: the rest of the deviance.
    """

    deviance: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    rss: FloatArray
    rss1: FloatArray
    rss2: FloatArray
    penalty1: FloatArray
    penalty2: FloatArray


def compress(moments: Moments, weights: FloatArray | None = None) -> Compressed:
    """Add cells of equal size, in each of the R data sets of the moments (one, where they are those of one).

    weights (R, B, J), or (B, J) for one data set: multiplicities of schools in B bootstrap samples of each; then the
    result has R B data sets, and the moments need cell_cross.
    """
    moments = moments.batch
    if weights is not None:
        J = len(moments.schools)
        return _compress_samples(moments, np.asarray(weights, dtype=np.float64).reshape(len(moments.n), -1, J))
    return compress_cells(moments.n, moments.sums, moments.pooled(), moments.weight)


def compress_cells(n: FloatArray, sums: FloatArray, cross: FloatArray, weight: FloatArray | None = None) -> Compressed:
    """The same from n (R, C), 0 where a data set lacks a cell, sums (R, C, k) and the cross-products of all cells,
    cross (R, k, k); weight (C,): how often each cell counts.
    """
    R, k = len(n), sums.shape[-1]
    n = n.astype(np.intp)
    sizes = np.flatnonzero(np.bincount(n.ravel()))
    sizes = sizes[sizes > 0]
    place = np.zeros(sizes.max() + 1, dtype=np.intp)
    place[sizes] = np.arange(len(sizes))
    code = (place[n] + len(sizes) * np.arange(R)[:, None]).ravel()
    count = np.where(n > 0, 1.0 if weight is None else weight, 0.0)
    weighted = sums * count[..., None]

    def total(values: FloatArray) -> FloatArray:
        return weighted_count(code, values.ravel(), R * len(sizes)).reshape(R, -1)

    outer = np.empty((R, len(sizes), k, k))
    for a in range(k):
        for b in range(a, k):
            outer[..., a, b] = outer[..., b, a] = total(weighted[..., a] * sums[..., b])
    counts, numbers = total(count), sizes.astype(np.float64)
    return Compressed(numbers, counts, outer, cross, counts @ numbers)


def _compress_samples(data: Moments, weights: FloatArray) -> Compressed:
    """The R B samples of R data sets; weights (R, B, J)."""
    (R, C, k), B = data.sums.shape, weights.shape[1]
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
        np.matmul(np.swapaxes(by_school[at, data.cell_school[cell]], 1, 2), added, out=sums[:, :, d])
    square = np.empty((k, k), dtype=np.intp)
    square[rows, columns] = square[columns, rows] = np.arange(len(rows))
    assert data.cell_cross is not None  # moments by cell
    cross = weights @ data.by_school(data.cell_cross.reshape(R, C, k * k))
    counts = sums[..., -1].reshape(R * B, -1)
    outer = sums[..., square].reshape(R * B, len(sizes), k, k)
    return Compressed(sizes, counts, outer, cross.reshape(R * B, k, k), counts @ sizes)


def profile(data: Compressed, theta: FloatArray, reml: bool) -> Profile:
    """Profiled deviance and derivatives at theta (R,), one value for each data set (or a batch of theta for one)."""
    p, k = data.p, data.p + 1
    theta = np.asarray(theta, dtype=np.float64)
    v = 1.0 / (1.0 + theta[:, None] * data.sizes)
    nv = data.sizes * v
    outer = data.outer.reshape(*data.outer.shape[:2], k * k)
    weighted = (np.stack([theta[:, None] * v, v * v, 2 * nv * v * v], axis=1) @ outer).reshape(-1, 3, k, k)
    M, M1, M2 = data.cross - weighted[:, 0], -weighted[:, 1], weighted[:, 2]
    A_inverse = np.asarray(np.linalg.inv(M[:, :p, :p]) if p else np.empty((len(M), 0, 0)), dtype=np.float64)
    b = (A_inverse @ M[:, :p, p:])[..., 0]
    a = np.concatenate([-b, np.ones((len(M), 1))], axis=1)
    rss = np.einsum("ri,ri->r", M[:, p, :], a)
    slope = np.einsum("rij,rj->ri", M1, a)
    rss1 = np.einsum("ri,ri->r", a, slope)
    bend = np.einsum("ri,rij,rj->r", slope[:, :p], A_inverse, slope[:, :p])
    rss2 = np.einsum("ri,rij,rj->r", a, M2, a) - 2 * bend
    penalty = np.einsum("rd,rd->r", data.counts, np.log1p(theta[:, None] * data.sizes))
    penalty1 = np.einsum("rd,rd->r", data.counts, nv)
    penalty2 = -np.einsum("rd,rd->r", data.counts, nv**2)
    if reml and p:
        B1 = A_inverse @ M1[:, :p, :p]
        penalty = penalty + np.linalg.slogdet(M[:, :p, :p])[1]
        penalty1 = penalty1 + np.trace(B1, axis1=1, axis2=2)
        penalty2 = penalty2 + np.einsum("rij,rji->r", A_inverse, M2[:, :p, :p]) - np.einsum("rij,rji->r", B1, B1)
    dof = data.n - (p if reml else 0)
    safe = np.maximum(rss, np.finfo(float).tiny)
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit close to perfect, which is refused afterwards
        ratio = rss1 / safe
        curve = dof * (rss2 / safe - ratio**2) + penalty2
    return Profile(
        dof * np.log(safe) + penalty, dof * ratio + penalty1, curve, b, A_inverse, rss, rss1, rss2, penalty1, penalty2
    )


def maximise(data: Compressed, reml: bool = False) -> FloatArray:
    """theta (R,) that maximises the profiled (restricted) likelihood; exactly 0 on the boundary.

    The likelihood can have two maxima (a boundary one and an inner one, for example one large school among tiny
    ones). A grid in log theta brackets every inner maximum by the sign of the slope, Newton steps kept inside the
    bracket finish, and the highest is taken; theta = 0 where nothing is higher.
    """
    R = len(data.n)
    grid = np.linspace(np.log(THETA_RANGE[0] / data.sizes.max()), np.log(THETA_RANGE[1]), GRID)
    slope = _grid_slopes(data, np.exp(grid), reml)
    slope = np.append(slope, np.ones((1, R)), axis=0)  # still falling at the end of the grid: the end is a candidate
    ends = np.append(grid, grid[-1])
    turns = (slope[:-1] < 0) & (slope[1:] >= 0)
    order = np.cumsum(turns, axis=0)
    theta = np.zeros(R)
    lowest = profile(data, theta, reml).deviance
    for k in range(1, int(order[-1].max()) + 1):
        rows = np.flatnonzero(order[-1] >= k)
        at = np.argmax(order[:, rows] == k, axis=0)
        part = data if R == 1 else _take(data, rows)
        below, above = slope[at, rows], slope[at + 1, rows]
        start = ends[at] + (ends[at + 1] - ends[at]) * below / (below - above)
        found = np.exp(_descend(part, start, ends[at], ends[at + 1], reml))
        deviance = profile(part, found, reml).deviance
        better = deviance < lowest[rows]
        theta[rows[better]], lowest[rows[better]] = found[better], deviance[better]
    return theta


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The model at the maximum of its likelihood, or at a variance ratio that is held: theta, sigma2 (R,)."""

    theta: FloatArray
    sigma2: FloatArray
    at: Profile

    @property
    def tau2(self) -> FloatArray:
        """(R,) theta sigma2."""
        return self.theta * self.sigma2

    @property
    def vcov(self) -> FloatArray:
        """(R, p, p) sigma2 A^-1, of the shifted columns."""
        return self.sigma2[:, None, None] * self.at.A_inverse


def optimise(data: Compressed, reml: bool = False, theta: FloatArray | None = None) -> Optimum:
    """Fit R data sets; theta (R,): hold the variance ratios instead of estimating them (sigma2 is still profiled)."""
    chosen = maximise(data, reml) if theta is None else theta
    at = profile(data, chosen, reml)
    return Optimum(chosen, at.rss / (data.n - (data.p if reml else 0)), at)


def _grid_slopes(data: Compressed, theta: FloatArray, reml: bool) -> FloatArray:
    """(G, R): derivative of the profiled deviance in log theta at theta (G,), the same values for every data set."""
    R, k = len(data.n), data.p + 1
    block = max(1, BLOCK // (k * k * len(theta)))
    parts = [_slopes(_take(data, slice(first, first + block)), theta, reml) for first in range(0, R, block)]
    return np.concatenate(parts).T


def _slopes(data: Compressed, theta: FloatArray, reml: bool) -> FloatArray:
    """(R, G): as :func:`_grid_slopes`. Arrays hold one entry of all matrices: (k, k, R, G)."""
    p, G = data.p, len(theta)
    rows, columns = np.triu_indices(p + 1)
    v = 1.0 / (1.0 + theta[:, None] * data.sizes)
    sums = np.concatenate([theta[:, None] * v, v * v]) @ data.outer[:, :, rows, columns]
    M, M1 = np.empty((2, p + 1, p + 1, len(data.n), G))
    for matrix, values in ((M, data.cross[:, None, rows, columns] - sums[:, :G]), (M1, -sums[:, G:])):
        matrix[rows, columns] = matrix[columns, rows] = values.transpose(2, 0, 1)
    A_inverse = invert(M[:p, :p])[0]
    a = np.ones((p + 1, len(data.n), G))
    a[:p] = -(A_inverse * M[:p, p]).sum(axis=1)
    rss, rss1 = (a * M[p]).sum(axis=0), (a * (M1 * a).sum(axis=1)).sum(axis=0)
    dof = data.n[:, None] - (p if reml else 0)
    with np.errstate(over="ignore"):  # of a fit close to perfect
        slope = dof * rss1 / np.maximum(rss, np.finfo(float).tiny) + data.counts @ (data.sizes * v).T
    if reml:
        slope += (A_inverse * M1[:p, :p]).sum(axis=(0, 1))
    slopes: FloatArray = theta * slope
    return slopes


def _take(data: Compressed, rows: Any) -> Compressed:
    """Some of the data sets."""
    return replace(data, counts=data.counts[rows], outer=data.outer[rows], cross=data.cross[rows], n=data.n[rows])


def _descend(data: Compressed, eta: FloatArray, lower: FloatArray, upper: FloatArray, reml: bool) -> FloatArray:
    """log theta (R,) where the deviance is least between lower and upper (R,), by Newton steps from eta or halving.

    Every data set stops by itself, so that its result does not depend on the others.
    """
    found, rows = eta.copy(), np.arange(len(eta))
    for _ in range(MAX_STEPS):
        theta = np.exp(eta)
        at = profile(data, theta, reml)
        slope = theta * at.gradient
        curve = theta**2 * at.hessian + slope
        lower, upper = np.where(slope < 0, eta, lower), np.where(slope > 0, eta, upper)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = eta - slope / curve
        new = np.where((curve > 0) & (new >= lower) & (new <= upper), new, (lower + upper) / 2)
        found[rows] = new
        moving = np.abs(new - eta) >= STEP_TOLERANCE
        if not moving.any():
            break
        eta = new
        if not moving.all():
            data, rows, eta, lower, upper = _take(data, moving), rows[moving], new[moving], lower[moving], upper[moving]
    return found
