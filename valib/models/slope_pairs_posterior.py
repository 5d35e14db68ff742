"""The posterior of random slopes of two cohorts, the variances not known: weighted draws of their covariance.

    flat priors on b and on the standard deviation of every effect (columns about their means), LKJ(1) on the correlations
    of all 2q effects, p(sigma2_c) ~ 1 / sigma2_c

as for one cohort (:mod:`valib.models.slope_posterior`) and for intercepts of several (:mod:`valib.models.joint_posterior`).
With phi the standard deviations over sigma_c, A, S and gamma_c = 1 / sigma_c as in :mod:`valib.models.slope_pairs`, and
nu_c = N_c - p_c - q,

    p(phi, R, log gamma | y) ~ prod_j |I + D_j Lambda|^(-1/2) |A|^(-1/2) prod_c gamma_c^nu_c exp(-gamma'S gamma / 2) LKJ(R)

(phi, R) are drawn from a multivariate t about the mode, log gamma from its normal approximation, all weighted by the exact
density. Given these the effects are normal, so a change of value added is a mixture of normals over the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .blup import factor
from .importance import can_be_trusted, kept_draws, mode, weighted_draws, weighted_limits
from .joint_posterior import MANY_SCHOOLS, drawn_sigma, mode_density
from .linalg import invert
from .mixture import Mixture
from .slope_pairs import PairFit, PairSums, covariance_of
from .slope_posterior import SMALLEST, blocks, check_schools, inner, lambda_of, outer_products, pooled

DRAWS = (1024, 1024, 2048, 4096)  # of the looks and of the result; of many schools the third is the last
MORE, ENOUGH = 4, 400.0  # times as many, where those stand for fewer independent ones than that
DRAWN_IN = 0.8  # share of the estimated correlations from which the search of the mode starts


@dataclass(frozen=True, slots=True, eq=False)
class PairPosterior:
    """M weighted draws: Lambda (M, 2q, 2q) of the scaled columns, weight (M,) that sums to 1, b (M, p, 2) by response,
    A_inverse (M, p, p), sigma (M, 2) of the scaled responses."""

    sums: PairSums
    Lambda: FloatArray
    weight: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    sigma: FloatArray
    effective: float
    pareto_k: float

    @property
    def trusted(self) -> bool:
        """Whether the weights can be relied on."""
        return can_be_trusted(self.effective, self.pareto_k)

    def at(self, z: FloatArray) -> Mixture:
        """w'(g_s, g_t) of every school, (1, J), for w = z (2q,) of the columns about their means."""
        J, M, p, q = len(self.sums.n), len(self.weight), self.sums.p, self.sums.q
        mean, variance = np.empty((1, J, M)), np.empty((1, J, M))
        scaled = (z * np.repeat(self.sums.size * self.sigma, q // 2, axis=1)) @ self.sums.turn
        for rows in blocks(M, self.sums):
            gamma, A_inverse = 1 / self.sigma[rows], self.A_inverse[rows]
            reach = np.einsum("ga,abgj->bgj", scaled[rows], inner(self.sums, self.Lambda[rows])[0])
            W = np.einsum("bgj,bkj->gjk", reach, self.sums.W, optimize=True)
            a = gamma[:, :, None] * np.concatenate(
                [-np.swapaxes(self.b[rows], 1, 2), np.broadcast_to(np.eye(2), (len(gamma), 2, 2))], axis=2
            )
            mean[0, :, rows] = np.einsum("gjk,gk->jg", W, a.sum(axis=1), optimize=True)
            known = ((W[..., :p] @ factor(A_inverse)) ** 2).sum(axis=-1)
            variance[0, :, rows] = (np.einsum("gb,bgj->gj", scaled[rows], reach) + known).T
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        return Mixture(self.weight[None], mean, scale, np.array([[[np.inf]]]), np.array([np.inf]))

    def correlation(self, first: FloatArray, second: FloatArray, level: float = 0.95) -> tuple[float, float, float]:
        """Standard deviation and limits of the correlation of first'g_s and second'g_t, (2q,) each."""
        covariance = covariance_of(self.sums.turn @ self.Lambda @ self.sums.turn.T, first, second)
        r = covariance[1] / np.sqrt(covariance[0] * covariance[2])
        sd = float(np.sqrt(self.weight @ (r - self.weight @ r) ** 2))
        return sd, *weighted_limits(r, self.weight, level)


def integrate_pair(fit: PairFit, random: int | np.random.Generator = 0) -> PairPosterior:
    """The posterior about a fit; ``random``: the seed of its draws.

    Raises ModelError for fewer schools in a cohort than the priors need to be proper, and where the draws cannot be trusted.
    """
    sums, q, rng = fit.sums, fit.sums.q, np.random.default_rng(random)
    for one in fit.alone:
        check_schools(one.sums)
    products, nu = outer_products(sums), sums.degrees(True) - q // 2

    def log_density(x: FloatArray) -> FloatArray:
        Lambda, prior = lambda_of(x, q)
        penalty, S = _residuals(sums, products, Lambda)[:2]
        return mode_density(penalty, S, nu) + prior

    def evaluate(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        Lambda, prior = lambda_of(x, q)
        penalty, S = _residuals(sums, products, Lambda)[:2]
        density, sigma = drawn_sigma(penalty, S, nu, rng.standard_normal((len(x), 2)))
        return density + prior, sigma

    location, scale = mode(log_density, _start(fit.profile.one.Lambda))
    for more in (1, MORE):
        sizes = [more * size for size in (DRAWS if len(sums.n) <= MANY_SCHOOLS else DRAWS[:3])]
        x, sigma, log_weight = weighted_draws(evaluate, location, scale, sizes, rng)
        found = _posterior(fit, products, x, sigma, log_weight)
        if found.trusted and found.effective > ENOUGH:
            return found
    if found.trusted:
        return found
    raise ModelError(
        f"The variances of {len(sums.n)} schools with {q} random effects in two cohorts are too little known for intervals to "
        f"be integrated over them (effective draws {found.effective:.0f}, Pareto k {found.pareto_k:.2f})."
    )


def _start(Lambda: FloatArray) -> FloatArray:
    """log phi, then inverse hyperbolic tangents of partial correlations, of Lambda (2q, 2q) drawn towards independence."""
    sd = np.sqrt(np.diag(Lambda))
    R = DRAWN_IN * Lambda / np.maximum(np.outer(sd, sd), np.finfo(float).tiny)
    np.fill_diagonal(R, 1.0)
    L = np.linalg.cholesky(R)
    left = 1 - np.cumsum(L**2, axis=1) + L**2
    rows = np.tril_indices(len(sd), -1)
    return np.concatenate([np.log(np.maximum(sd, SMALLEST)), np.arctanh((L / np.sqrt(np.maximum(left, 1e-12)))[rows])])


def _residuals(
    sums: PairSums, products: FloatArray, Lambda: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Half log determinants (G,), S (G, 2, 2), b (G, p, 2) and A^-1 (G, p, p) at Lambda (G, 2q, 2q)."""
    p, (M, penalty) = sums.p, pooled(sums, products, Lambda)
    A_inverse, logdet_A = invert(np.moveaxis(M[:, :p, :p], 0, -1))
    A_inverse = np.moveaxis(A_inverse, -1, 0)
    b = A_inverse @ M[:, :p, p:]
    S = M[:, p:, p:] - M[:, p:, :p] @ b
    return 0.5 * (penalty + logdet_A), (S + np.swapaxes(S, 1, 2)) / 2, b, A_inverse


def _posterior(
    fit: PairFit, products: FloatArray, x: FloatArray, sigma: FloatArray, log_weight: FloatArray
) -> PairPosterior:
    """The draws that count, with what each says of b."""
    sums = fit.sums
    keep, kept, effective, k = kept_draws(log_weight)
    Lambda = lambda_of(x[keep], sums.q)[0]
    b, A_inverse = _residuals(sums, products, Lambda)[2:]
    return PairPosterior(sums, Lambda, kept, b, A_inverse, sigma[keep], effective, k)
