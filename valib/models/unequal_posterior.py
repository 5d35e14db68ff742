"""The posterior of school effects where residual variances are unequal: quadrature over tau, and over each school's variance.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij of the variances of :mod:`valib.models.residual_variance` (by group
    of students) or :mod:`valib.models.school_variance` (by school);   flat priors on b and on tau (Gelman 2006)

On nodes of tau, evenly spaced in its logarithm over all but e^-12 of its posterior,

    p(tau | y) ~ L(b(tau), tau) |A(tau)|^(-1/2)      b integrated out by Laplace's approximation, exact by group
    u_j | tau, sigma2_j, y ~ N(lambda_j rbar_j, tau2 (1 - lambda_j) + lambda_j^2 xbar_j' A^-1 xbar_j)

so that an effect is a mixture of normals. By group, log sigma_k are at their maximum on every node of tau, with Laplace's
factor; by school, each school's variance runs over its nodes with the weights that its students give them, the common
distribution of variances being held at its estimate. lambda_j = a_j tau2 / (1 + a_j tau2), a_j = sum_i 1 / sigma2_i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .blup import factor
from .mixture import Mixture
from .newton import minimise
from .posterior import SCHOOL_LEVEL, refuse_improper
from .residual_variance import GroupProblem, GroupVariances
from .school_variance import SchoolVariances, profile

DROP = 12.0  # fall of the log density at which the nodes end
COUNT = 41  # nodes of tau; half as many for many schools, of which tau is better known
MANY = 400
LOOK = np.linspace(-8.0, 6.0, 29)  # of log(tau / sigma), where the bulk is looked for
LEAST = 1e-8  # weight of a node that is dropped


@dataclass(frozen=True, slots=True, eq=False)
class UnequalPosterior:
    """M nodes of tau (scaled), weight (M,); each school's q (J, M, G) and a (J, M, G) = sum_i 1 / sigma2_i on G nodes of its
    variance; rbar (J, M), xbar (J, M, p) means weighted by precision; b_root (M, p, p): F with F F' = A^-1. size: score points a
    scaled unit."""

    tau: FloatArray
    weight: FloatArray
    q: FloatArray
    a: FloatArray
    rbar: FloatArray
    xbar: FloatArray
    b_root: FloatArray
    size: float

    @property
    def shrinkage(self) -> FloatArray:
        """lambda (J, M, G)."""
        known: FloatArray = self.a * self.tau[:, None] ** 2
        return known / (1 + known)

    def effects(self) -> Mixture:
        """Value added, (1, J)."""
        lam, J = self.shrinkage, len(self.q)
        mean = lam * self.rbar[..., None]
        reach = np.einsum("jmp,mpq->jmq", self.xbar, self.b_root, optimize=True)
        variance = self.tau[:, None] ** 2 * (1 - lam) + lam**2 * (reach**2).sum(axis=-1)[..., None]
        weight = (self.weight[:, None] * self.q).reshape(1, J, -1)
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny)).reshape(1, J, -1)
        return Mixture(
            weight, self.size * mean.reshape(1, J, -1), self.size * scale, np.array([[[np.inf]]]), np.array([np.inf])
        )

    def combinations(self, weights: FloatArray) -> Mixture:
        """sum_j weights_kj u_j for weights (K, J), (1, K): on each node of tau a normal of the sum's mean and variance, as
        the schools are independent there but for b."""
        lam = self.shrinkage
        first = (self.q * lam).sum(axis=-1)
        own = self.tau**2 * (1 - first)
        own = own + self.rbar**2 * np.maximum((self.q * lam**2).sum(axis=-1) - first**2, 0.0)
        reach = np.einsum("jmp,mpq->jmq", first[..., None] * self.xbar, self.b_root, optimize=True)
        shared = np.einsum("kj,jmq->kmq", weights, reach, optimize=True)
        mean = weights @ (first * self.rbar)
        variance = weights**2 @ own + (shared**2).sum(axis=-1)
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        weight, inf = self.weight[None], np.array([np.inf])
        return Mixture(weight, self.size * mean[None], self.size * scale[None], inf[None, None], inf)

    def draw(self, size: int, random: np.random.Generator) -> FloatArray:
        """(size, J) draws: tau first, then b, the schools' variances, u."""
        J, p = self.rbar.shape[0], self.xbar.shape[-1]
        at = random.choice(len(self.weight), size=size, p=self.weight)
        z = random.standard_normal((size, p))
        spot, noise = random.random((size, J)), random.standard_normal((size, J))
        drawn = np.empty((size, J))
        for node in np.unique(at):
            rows = np.flatnonzero(at == node)
            cut = np.cumsum(self.q[:, node], axis=1)
            g = np.minimum((spot[rows][..., None] > cut).sum(axis=-1), cut.shape[1] - 1)
            a = self.a[np.arange(J), node, g]
            lam = a * self.tau[node] ** 2 / (1 + a * self.tau[node] ** 2)
            rbar = self.rbar[:, node] - (z[rows] @ self.b_root[node].T) @ self.xbar[:, node].T
            drawn[rows] = lam * rbar + self.tau[node] * np.sqrt(1 - lam) * noise[rows]
        return self.size * drawn


def integrate_unequal(fit: GroupVariances | SchoolVariances) -> UnequalPosterior:
    """The posterior about a fit. Raises ModelError for fewer schools than the flat prior on tau needs."""
    if isinstance(fit, GroupVariances):
        return _by_group(fit)
    return _by_school(fit)


def _by_group(fit: GroupVariances) -> UnequalPosterior:
    sums, size = fit.sums, fit.sums.scale[-1]
    xx = sums.C.sum(axis=0)[:-1, :-1]
    total, n = sums.s.sum(axis=1)[:, :-1], sums.n.sum(axis=1)
    _check(xx - np.einsum("ja,jb->ab", total / n[:, None], total), xx, len(n), float(n.sum()))
    start = fit.x[1:].copy()

    def at(tau: float) -> tuple[float, FloatArray]:
        end = minimise(GroupProblem(sums, True, tau), start)
        logdet = np.linalg.slogdet(end.hessian)[1]
        return -0.5 * (float(end.at.deviance) + logdet), end.x

    sigma = float(np.exp(fit.x[1:]).mean())
    taus, weight, found = _tau_nodes(at, sigma, abs(float(fit.x[0])), len(n))
    points = [GroupProblem(sums, True, tau).value(x) for tau, x in zip(taus, found, strict=True)]
    a = np.stack([point.a for point in points], axis=1)
    means = np.stack([point.t / point.a[:, None] for point in points], axis=1)
    b = np.stack([point.b for point in points])
    rbar = means[..., -1] - np.einsum("jmp,mp->jm", means[..., :-1], b)
    root = factor(np.stack([point.A_inverse for point in points]))
    return UnequalPosterior(taus, weight, np.ones((*a.shape, 1)), a[..., None], rbar, means[..., :-1], root, float(size))


def _by_school(fit: SchoolVariances) -> UnequalPosterior:
    sums, p, (tau, s2, nu) = fit.sums, fit.sums.p, fit.par
    xx = sums.within[:, :p, :p].sum(axis=0)
    between = np.einsum("j,ja,jb->ab", sums.n, sums.mean[:, :p], sums.mean[:, :p])
    _check(xx, xx + between, len(sums.n), float(sums.n.sum()))
    held = [fit.b]

    def at(tau: float) -> tuple[float, FloatArray]:
        loglik, held[0], _ = profile(sums, held[0], tau, s2, nu, True)
        return loglik, held[0]

    taus, weight, found = _tau_nodes(at, float(np.sqrt(s2)), tau, len(sums.n))
    points = [profile(sums, b, t, s2, nu, False)[2] for t, b in zip(taus, found, strict=True)]
    q, sigma2 = (np.stack([getattr(point, name) for point in points], axis=1) for name in ("q", "sigma2"))
    b, root = np.stack(found), factor(np.stack([np.linalg.inv(point.A) for point in points]))
    rbar = sums.mean[:, -1, None] - sums.mean[:, :p] @ b.T
    xbar = np.repeat(sums.mean[:, None, :p], len(taus), axis=1)
    return UnequalPosterior(
        taus, weight, q, sums.n[:, None, None] / sigma2, rbar, xbar, root, float(sums.scale[-1])
    )


def _check(within: FloatArray, whole: FloatArray, J: int, N: float) -> None:
    """Refuse fewer schools than columns that are constant within schools (the intercept counted) and two."""
    size = np.sqrt(np.maximum(np.diag(whole), np.finfo(float).tiny))
    flat = int((np.linalg.eigvalsh(within / size[:, None] / size) <= SCHOOL_LEVEL).sum())
    refuse_improper(np.array([J]), np.array([flat]), np.array([N - J - (len(size) - flat)]))


def _tau_nodes(
    at: Callable[[float], tuple[float, FloatArray]], sigma: float, tau: float, schools: int
) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Nodes of tau with their weights and what ``at`` gives there. at(tau): log density of a flat prior, and the rest."""

    def density(u: float) -> float:
        return at(float(np.exp(u)))[0] + u

    known = [*(LOOK + np.log(sigma)), *([np.log(tau)] if tau > 0 else [])]
    values = [density(u) for u in known]
    mode = float(known[int(np.argmax(values))])
    for step in (0.25, 0.12, 0.06, 0.03, 0.015):
        mode = max((mode - step, mode, mode + step), key=density)
    top, ends = density(mode), []
    for side in (-1.0, 1.0):
        step = 0.02
        while density(mode + side * step) > top - DROP and step < 40:
            step *= 1.5
        ends.append(mode + side * step)
    grid = np.linspace(*ends, COUNT if schools < MANY else COUNT // 2 + 1)
    found = [at(float(np.exp(u))) for u in grid]
    log_weight = np.array([value + u for (value, _), u in zip(found, grid, strict=True)])
    if not np.isfinite(log_weight).all():
        raise ModelError("Intervals cannot be integrated over the variances: the likelihood is not finite.")
    weight = np.exp(log_weight - log_weight.max())
    keep = np.flatnonzero(weight > LEAST * weight.max())
    weight = weight[keep] / weight[keep].sum()
    return np.exp(grid[keep]), weight, [found[k][1] for k in keep]
