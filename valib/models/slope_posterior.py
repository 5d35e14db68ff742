"""The posterior of a model with random slopes, the variances not known: weighted draws of the covariance.

    y_ij = x_ij' b + z_ij' g_j + e_ij,   g_j ~ N(0, G),   G = sigma2 Lambda   (:mod:`valib.models.slopes`)
    flat priors on b and on the standard deviation of every effect (columns about their means), LKJ(1) on their
    correlations, p(sigma2) ~ 1 / sigma2

With phi the standard deviations over sigma, S_j = (Lambda^-1 + D_j)^-1, A, b and rss as there and nu = N - p - q,

    p(phi, R | y) ~ prod_j |I + D_j Lambda|^(-1/2)  |A|^(-1/2)  rss^(-nu/2)  LKJ(R)
    z'g_j | phi, R, y ~ t_nu, mean z'S_j Z'(y - X b), scale2 s2 (z'S_j z + z'S_j Z'X A^-1 X'Z S_j z),   s2 = rss / nu

so value added at any z is a mixture of t's over the draws. They come from a multivariate t about the mode in
(log phi, partial correlations), taken anew from the weights, as for the joint model
(:mod:`valib.models.joint_posterior`); the effective size and Pareto's k say whether they can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .blup import factor
from .importance import can_be_trusted, correlations, kept_draws, mode, weighted_draws
from .joint_posterior import MANY_SCHOOLS
from .linalg import invert
from .mixture import Mixture
from .slopes import SlopesFit, SlopeSums

DRAWS = (512, 512, 1024)  # of the looks and of the result; halves and quarters of many schools, of which more is known
MORE = 4  # times as many, where those cannot be trusted
BLOCK = 1_000_000  # numbers held for a block of draws
SMALLEST = 0.05  # start of phi, where the maximum has less


@dataclass(frozen=True, slots=True, eq=False)
class SlopePosterior:
    """M weighted draws of (phi, R): Lambda (M, q, q) of the scaled columns, weight (M,) that sums to 1, b (M, p),
    A_inverse (M, p, p), s2 (M,); df: nu. turn (q, q): effects of the columns about their means from the scaled ones'."""

    sums: SlopeSums
    turn: FloatArray
    Lambda: FloatArray
    weight: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    s2: FloatArray
    df: float
    effective: float
    pareto_k: float

    @property
    def trusted(self) -> bool:
        """Whether the weights can be relied on."""
        return can_be_trusted(self.effective, self.pareto_k)

    def effects(self) -> Mixture:
        """Value added at the mean of every random column, (1, J)."""
        return self.at(np.eye(1, self.sums.q)[0])

    def at(self, z: FloatArray) -> Mixture:
        """z'g_j for z (q,) of the columns about their means, (1, J): a difference of two z is one as well."""
        J, M, p = len(self.sums.n), len(self.weight), self.sums.p
        mean, variance = np.empty((1, J, M)), np.empty((1, J, M))
        scaled = self.turn.T @ z
        for rows in blocks(M, self.sums):
            S = inner(self.sums, self.Lambda[rows])[0]
            reach = np.einsum("a,abgj->bgj", scaled, S)
            own = np.einsum("b,bgj->gj", scaled, reach)
            W = np.einsum("bgj,bkj->gjk", reach, self.sums.W, optimize=True)
            mean[0, :, rows] = (W[..., p] - np.einsum("gjk,gk->gj", W[..., :p], self.b[rows], optimize=True)).T
            known = ((W[..., :p] @ factor(self.A_inverse[rows])) ** 2).sum(axis=-1)
            variance[0, :, rows] = (self.s2[rows, None] * (own + known)).T
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        return Mixture(self.weight[None], mean, scale, np.array([[[self.df]]]), np.array([np.inf]))

    def draw(self, size: int, random: np.random.Generator, z: FloatArray | None = None) -> FloatArray:
        """(size, J) draws of z'g_j, by default at the means; (size, J, m) for z (m, q), drawn together."""
        rows_of_z = np.eye(1, self.sums.q) if z is None else z
        at = np.sort(random.choice(len(self.weight), size=size, p=self.weight))
        sigma = np.sqrt(self.s2[at] * self.df / random.chisquare(self.df, size))
        J, p, q = len(self.sums.n), self.sums.p, self.sums.q
        drawn, scaled = np.empty((size, J, len(rows_of_z))), rows_of_z @ self.turn
        for rows in blocks(size, self.sums):
            chosen, s = at[rows], sigma[rows]
            S = np.moveaxis(inner(self.sums, self.Lambda[chosen])[0], (0, 1), (2, 3))
            noise = random.standard_normal((len(s), p, 1))
            b = self.b[chosen] + s[:, None] * (factor(self.A_inverse[chosen]) @ noise)[..., 0]
            r = self.sums.W[:, p].T - np.einsum("bkj,gk->gjb", self.sums.W[:, :p], b, optimize=True)
            own = (factor(S) @ random.standard_normal((len(s), J, q, 1)))[..., 0]
            g = (S @ r[..., None])[..., 0] + s[:, None, None] * own
            drawn[rows] = g @ scaled.T
        return drawn[..., 0] if z is None else drawn


def integrate_slopes(fit: SlopesFit, random: int | np.random.Generator = 0) -> SlopePosterior:
    """The posterior about a fit; ``random``: the seed of its draws.

    Raises ModelError for fewer schools than the priors need to be proper, and where the draws cannot be trusted.
    """
    sums, q, rng = fit.sums, fit.sums.q, np.random.default_rng(random)
    check_schools(sums)
    sd = np.sqrt(np.diag(fit.profile.Lambda))
    correlation = fit.profile.Lambda[0, 1:] / np.maximum(sd[0] * sd[1:], np.finfo(float).tiny)
    start = np.zeros(q * (q + 1) // 2)
    start[:q] = np.log(np.maximum(sd, SMALLEST))
    if q == 2:
        start[q:] = np.arctanh(np.clip(correlation, -0.8, 0.8))
    products = outer_products(sums)

    def log_density(x: FloatArray) -> FloatArray:
        Lambda, prior = lambda_of(x, q)
        return _evaluate(sums, products, Lambda)[0] + prior

    location, scale = mode(log_density, start)
    fewer = 1 + (len(sums.n) > MANY_SCHOOLS) + 2 * (len(sums.n) > 4 * MANY_SCHOOLS)
    for more in (1, MORE):
        sizes = (size * more // fewer for size in DRAWS)
        x, _, log_weight = weighted_draws(lambda x: (log_density(x), x), location, scale, sizes, rng)
        found = _posterior(fit, products, x, log_weight)
        if found.trusted:
            return found
    raise ModelError(
        f"The variances of {len(sums.n)} schools with {q} random effects are too little known for intervals to be integrated "
        f"over them (effective draws {found.effective:.0f}, Pareto k {found.pareto_k:.2f})."
    )


def check_schools(sums: SlopeSums) -> None:
    """ModelError where the schools are too few for the posterior to be proper."""
    least = sum(_is_constant(sums, c) for c in range(sums.p)) + sums.q + 1
    if len(sums.n) < least:
        raise ModelError(
            f"Intervals cannot be integrated over the variances of {len(sums.n)} schools with {sums.q} random effects: they "
            f"need {least}."
        )


def _posterior(fit: SlopesFit, products: FloatArray, x: FloatArray, log_weight: FloatArray) -> SlopePosterior:
    """The draws that count, with what each says of b and sigma."""
    sums = fit.sums
    keep, kept, effective, k = kept_draws(log_weight)
    Lambda = lambda_of(x[keep], sums.q)[0]
    _, b, A_inverse, rss = _evaluate(sums, products, Lambda)
    df, size = _degrees(sums), sums.scale[-1]
    return SlopePosterior(sums, size * sums.turn, Lambda, kept, b, A_inverse, rss / df, df, effective, k)


def _degrees(sums: SlopeSums) -> float:
    """nu."""
    return float(sums.n.sum()) - sums.p - sums.q


def _is_constant(sums: SlopeSums, column: int) -> bool:
    """Whether a column of X is the same for all students of a school, in every school."""
    own = sums.W[0, column] ** 2 / sums.n
    return bool(sums.cross[column, column] - own.sum() <= 1e-9 * sums.cross[column, column])


def lambda_of(x: FloatArray, q: int) -> tuple[FloatArray, FloatArray]:
    """Lambda (G, q, q) at x (G, d): log phi, then inverse hyperbolic tangents of partial correlations; and the log prior."""
    R, density = correlations(x[:, q:], q)
    log_phi = x[:, :q]
    return np.exp(log_phi[:, :, None] + log_phi[:, None, :]) * R, density + log_phi.sum(axis=1)


def inner(sums: SlopeSums, Lambda: FloatArray) -> tuple[FloatArray, FloatArray]:
    """S (q, q, G, J) and log|I + D Lambda| (G, J)."""
    q = sums.q
    L = factor(Lambda)
    within = np.einsum("gba,bcj,gcd->adgj", L, sums.D, L, optimize=True)
    within[np.arange(q), np.arange(q)] += 1.0
    inverse, logdet = invert(within)
    return np.einsum("gac,cdgj,gbd->abgj", L, inverse, L, optimize=True), logdet


def outer_products(sums: SlopeSums) -> FloatArray:
    """(q q J, k k) of W, for :func:`pooled`."""
    products: FloatArray = np.einsum("akj,blj->abjkl", sums.W, sums.W).reshape(sums.q**2 * len(sums.n), -1)
    return products


def pooled(sums: SlopeSums, products: FloatArray, Lambda: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[X, y]'V^-1 [X, y] (G, k, k) and sum_j log|I + D Lambda| (G,) at Lambda (G, q, q)."""
    G, k = len(Lambda), len(sums.cross)
    M, penalty = np.empty((G, k, k)), np.empty(G)
    for rows in blocks(G, sums):
        S, logdet = inner(sums, Lambda[rows])
        flat = S.transpose(2, 0, 1, 3).reshape(S.shape[2], -1)
        M[rows], penalty[rows] = sums.cross - (flat @ products).reshape(-1, k, k), logdet.sum(axis=1)
    return M, penalty


def _evaluate(
    sums: SlopeSums, products: FloatArray, Lambda: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log density without the prior (G,), b (G, p), A^-1 (G, p, p) and rss (G,) at Lambda (G, q, q)."""
    p, (M, penalty) = sums.p, pooled(sums, products, Lambda)
    A_inverse, logdet_A = invert(np.moveaxis(M[:, :p, :p], 0, -1))
    A_inverse = np.moveaxis(A_inverse, -1, 0)
    b = (A_inverse @ M[:, :p, p:])[..., 0]
    rss = np.maximum(M[:, p, p] - (M[:, p, :p] * b).sum(axis=1), np.finfo(float).tiny)
    density = -0.5 * (penalty + logdet_A + _degrees(sums) * np.log(rss))
    return np.where(np.isfinite(density), density, -1e300), b, A_inverse, rss


def blocks(M: int, sums: SlopeSums) -> Iterator[slice]:
    """Draws in blocks whose arrays stay small."""
    size = max(1, BLOCK // (len(sums.n) * sums.q * max(sums.q, sums.p)))
    return (slice(first, min(first + size, M)) for first in range(0, M, size))
