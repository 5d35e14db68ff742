"""The posterior of school effects where residual variances are unequal: quadrature over tau, and over each school's variance.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij of the variances of :mod:`valib.models.residual_variance` (by group
    of students) or :mod:`valib.models.school_variance` (by school);   flat priors on b and on tau (Gelman 2006)

On nodes of tau over all but e^-12 of its posterior (near 0 even in tau, beyond in its logarithm),

    p(tau | y) ~ L(b(tau), tau) |A(tau)|^(-1/2)      b integrated out by Laplace's approximation, exact by group
    u_j | tau, sigma2_j, y ~ N(lambda_j rbar_j, tau2 (1 - lambda_j) + lambda_j^2 xbar_j' A^-1 xbar_j)

so that an effect is a mixture of normals. By group, log sigma_k are at their maximum on every node of tau, with Laplace's
factor; by school, nu and s2 run over their nodes too, and each school's variance over its own with the weights that its
students give them. lambda_j = a_j tau2 / (1 + a_j tau2), a_j = sum_i 1 / sigma2_i.
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
from .residual_variance import GroupPoint, GroupProblem, GroupVariances
from .school_variance import MANY, SchoolPoint, SchoolVariances, profile

DROP = 12.0  # fall of the log density at which the nodes end
COUNT, FEWER = (
    41,
    17,
)  # nodes of tau; half as many for many schools, of which it is better known; for each of several nu
LOOK = np.linspace(-8.0, 6.0, 29)  # of log(tau / sigma), where the bulk is looked for
LEAST = 1e-7  # weight of a node, of the largest, that is dropped


@dataclass(frozen=True, slots=True, eq=False)
class UnequalPosterior:
    """M nodes of tau (scaled) and what else is common, weight (M,); each school's q (J, M, G) and a (J, M, G), the sum of
    1 / sigma2_i, on G nodes of its variance; rbar (J, M), xbar (J, M, p) means weighted by precision; b_root (M, p, p): F with
    F F' = A^-1. size: score points of a scaled unit."""

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
    _check(xx - np.einsum("ja,jb->ab", total / n[:, None], total), xx, len(n), float(sums.count.sum()))

    def at(tau: float) -> tuple[float, GroupPoint]:
        end = minimise(GroupProblem(sums, True, tau), fit.x[1:])
        point = GroupProblem(sums, True, tau).value(end.x)
        return -0.5 * (point.deviance + float(np.linalg.slogdet(end.hessian)[1])), point

    sigma, count = float(np.exp(fit.x[1:]).mean()), _count(len(n))
    taus, factors = _tau_grid(lambda tau: at(tau)[0], sigma, abs(float(fit.x[0])), count)
    found = [at(float(tau)) for tau in taus]
    keep, weight = _kept(np.array([value for value, _ in found]) + factors)
    points = [found[k][1] for k in keep]
    a = np.stack([point.a for point in points], axis=1)
    means = np.stack([point.t / point.a[:, None] for point in points], axis=1)
    b = np.stack([point.b for point in points])
    rbar = means[..., -1] - np.einsum("jmp,mp->jm", means[..., :-1], b)
    root, one = factor(np.stack([point.A_inverse for point in points])), np.ones((*a.shape, 1))
    return UnequalPosterior(taus[keep], weight, one, a[..., None], rbar, means[..., :-1], root, float(size))


def _by_school(fit: SchoolVariances) -> UnequalPosterior:
    sums, p, (tau, s2, nu) = fit.sums, fit.sums.p, fit.par
    xx = sums.within[:, :p, :p].sum(axis=0)
    between = np.einsum("j,ja,jb->ab", sums.n, sums.mean[:, :p], sums.mean[:, :p])
    _check(xx, xx + between, len(sums.n), float(sums.n.sum()))
    held = [fit.b]

    def at(tau: float, s2: float, nu: float) -> tuple[float, FloatArray, SchoolPoint]:
        loglik, held[0], point = profile(sums, held[0], tau, s2, nu, True)
        return loglik, held[0], point

    K = len(fit.nodes)
    count = _count(len(sums.n)) if K == 1 else FEWER
    taus, factors = _tau_grid(lambda t: at(t, s2, nu)[0], float(np.sqrt(s2)), tau, count)
    found = [at(float(t), float(node[1]), float(node[0])) for node in fit.nodes for t in taus]
    log_factor = np.tile(factors, K) + np.repeat(np.log(fit.nodes[:, 3]), len(taus))
    keep, weight = _kept(np.array([value for value, _, _ in found]) + log_factor)
    every = np.tile(taus, K)
    b, points = np.stack([found[k][1] for k in keep]), [found[k][2] for k in keep]
    G = max(point.q.shape[1] for point in points)
    shape = (len(sums.n), G)
    q = np.stack([np.broadcast_to(point.q * point.q.shape[1] / G, shape) for point in points], axis=1)
    sigma2 = np.stack([np.broadcast_to(point.sigma2, shape) for point in points], axis=1)
    root = factor(np.stack([np.linalg.inv(point.A) for point in points]))
    rbar = sums.mean[:, -1, None] - sums.mean[:, :p] @ b.T
    xbar = np.repeat(sums.mean[:, None, :p], len(keep), axis=1)
    a = sums.n[:, None, None] / sigma2
    return UnequalPosterior(every[keep], weight, q, a, rbar, xbar, root, float(sums.scale[-1]))


def _check(within: FloatArray, whole: FloatArray, J: int, N: float) -> None:
    """Refuse fewer schools than columns that are constant within schools (the intercept counted) and two."""
    size = np.sqrt(np.maximum(np.diag(whole), np.finfo(float).tiny))
    flat = int((np.linalg.eigvalsh(within / size[:, None] / size) <= SCHOOL_LEVEL).sum())
    refuse_improper(np.array([J]), np.array([flat]), np.array([N - J - (len(size) - flat)]))


def _count(schools: int) -> int:
    """Nodes of tau where it is the only thing common that is not known."""
    return COUNT if schools < MANY else COUNT // 2 + 1


def _tau_grid(at: Callable[[float], float], sigma: float, tau: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes of tau over all but e^-DROP of its posterior, and the logarithms of their factors in the quadrature.

    at(tau): log density with a flat prior on tau. They are even in v, tau = c sinh(v), c where log tau has its mode: near 0
    even in tau, beyond c in its logarithm; 0 is a node where the density has not fallen there.
    """
    known = [*(LOOK + np.log(sigma)), *([np.log(tau)] if tau > 0 else [])]
    c = float(np.exp(known[int(np.argmax([at(float(np.exp(u))) + u for u in known]))]))

    def density(v: float) -> float:
        return at(c * float(np.sinh(v))) + float(np.log(np.cosh(v)))

    mode = float(np.arcsinh(1.0))
    for step in (0.4, 0.2, 0.1, 0.05, 0.025, 0.012):
        mode = max((max(mode - step, 0.0), mode, mode + step), key=density)
    top, ends = density(mode), []
    for side in (-1.0, 1.0):
        step = 0.02
        while mode + side * step > 0 and density(mode + side * step) > top - DROP and step < 40:
            step *= 1.5
        ends.append(max(mode + side * step, 0.0))
    v = np.linspace(ends[0], ends[1], count)
    factor = np.cosh(v)
    factor[[0, -1]] /= 2
    return c * np.sinh(v), np.log(factor)


def _kept(log_weight: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Which nodes count, and their weights, which sum to 1."""
    if not np.isfinite(log_weight).all():
        raise ModelError("Intervals cannot be integrated over the variances: the likelihood is not finite.")
    weight = np.exp(log_weight - log_weight.max())
    keep = np.flatnonzero(weight > LEAST)
    return keep, weight[keep] / weight[keep].sum()
