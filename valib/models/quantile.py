"""A conditional quantile with a school intercept, by Gibbs sampling of the asymmetric Laplace likelihood.

    y_i = x_i' b + a_j + e_i,   a_j ~ N(0, s2),   e_i ~ asymmetric Laplace(0, sigma, p):

    f(e) = p (1 - p) / sigma  exp(-rho_p(e) / sigma),   rho_p(e) = e (p - 1{e < 0})

so that 0 is the p-quantile of e and x' b + a_j that of y in school j. Priors are flat on b and on the standard deviation s,
and 1 / sigma on sigma. With e = theta v + psi sqrt(sigma v) z, v exponential with mean sigma, z normal, theta =
(1 - 2 p) / (p (1 - p)) and psi2 = 2 / (p (1 - p)), all is normal given v (Kozumi and Kobayashi 2011). Three blocks are drawn
in turn: sigma with v integrated out, then v, of a generalised inverse Gaussian distribution; and s, b, a together, s by
Metropolis steps with b and a integrated out, so that a small s does not hold the chain. All chains step at once.

Outside the Laplace family the likelihood is a working one, whose posterior is too narrow or too wide (Yang, Wang and He
2016). The posterior of a location under it has variance sigma / (n f(0)), the sampling variance of a quantile is
p (1 - p) / (n f(0)^2): they agree where sigma = p (1 - p) / f(0). So sigma is held there, f(0) estimated from residuals
(:func:`calibrated_scale`); for Laplace errors that is their own sigma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from ..errors import ModelError
from ..sums.arrays import FloatArray

MOVES = 2  # Metropolis steps of log s an iteration
ACCEPT = 0.44  # share of them that warm-up aims at (one dimension: Roberts and Rosenthal 2001)
COLLINEAR = 1e-10  # smallest relative diagonal of R for which a column of X is told from the others
FEWEST_SCHOOLS = 3  # for which the posterior of s is proper under its flat prior
POINTS = 801  # quantiles that stand for the distribution of residuals
TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class QuantileDraws:
    """Draws of C chains, M each: coefficients (C, M, p), effects (C, M, J) of the a_j, scale (C, M) sigma, school_sd
    (C, M) s; accepted (C,): share of the Metropolis steps taken."""

    coefficients: FloatArray
    effects: FloatArray
    scale: FloatArray
    school_sd: FloatArray
    accepted: FloatArray


@dataclass(slots=True, eq=False)
class _Chains:
    """Where the chains stand, in units in which y has about spread 1 and X orthogonal columns; rows sorted by school."""

    y: FloatArray  # (C, N), or (1, N) for all
    Q: FloatArray  # (N, p)
    outer: FloatArray  # (N, p (p + 1) / 2): products of its columns
    first: np.ndarray  # (J,) of each school
    sizes: np.ndarray  # (J,)
    p: float
    rng: np.random.Generator
    gamma: FloatArray  # (C, p)
    effects: FloatArray  # (C, J)
    sigma: FloatArray  # (C,)
    log_s: FloatArray  # (C,)
    step: FloatArray  # (C,)

    def turn(self, held: FloatArray | None) -> FloatArray:
        """One iteration; returns the share of Metropolis steps taken (C,). held (C,): sigma, where it is given."""
        theta, psi2 = (1 - 2 * self.p) / (self.p * (1 - self.p)), 2 / (self.p * (1 - self.p))
        e = self.gamma @ self.Q.T
        e += np.repeat(self.effects, self.sizes, axis=1)
        np.subtract(self.y, e, out=e)
        if held is None:
            loss = self.p * e.sum(axis=1) - np.minimum(e, 0).sum(axis=1)
            self.sigma = loss / self.rng.standard_gamma(e.shape[1], len(e))
        v = inverse_gaussian_mixture(e, self.sigma[:, None], theta, psi2, self.rng)
        w = np.divide(1 / (psi2 * self.sigma[:, None]), v, out=e)
        v *= -theta
        v += self.y
        v *= w
        return self._normal(w, v)

    def _normal(self, w: FloatArray, wt: FloatArray) -> FloatArray:
        """Draw s, then the coefficients, then the effects, given weights w and weighted responses wt (C, N)."""
        C, P = self.gamma.shape
        rows, columns = np.tril_indices(P)
        W, T = np.add.reduceat(w, self.first, axis=1), np.add.reduceat(wt, self.first, axis=1)
        S = np.stack([np.add.reduceat(w * q, self.first, axis=1) for q in self.Q.T], axis=2)
        XX = np.empty((C, P, P))
        XX[:, rows, columns] = XX[:, columns, rows] = w @ self.outer
        Xt = wt @ self.Q

        def given(log_s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
            s2 = np.exp(2 * log_s)[:, None]
            k = s2 / (1 + s2 * W)
            kS = k[..., None] * S
            A = XX - np.swapaxes(kS, 1, 2) @ S
            c = Xt - np.einsum("cjp,cj->cp", kS, T)
            L = np.linalg.cholesky(A)
            half = np.linalg.solve(L, c[..., None])[..., 0]
            log_det = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1) + 0.5 * np.log1p(s2 * W).sum(axis=1)
            value = 0.5 * ((half**2).sum(axis=1) + (k * T**2).sum(axis=1)) - log_det + log_s
            return value, k, L, half

        now, accepted = given(self.log_s), np.zeros(C)
        for _ in range(MOVES):
            there = self.log_s + self.step * self.rng.standard_normal(C)
            then = given(there)
            take = np.log(self.rng.random(C)) < then[0] - now[0]
            self.log_s = np.where(take, there, self.log_s)
            value, k, L, half = (
                np.where(take.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(then, now, strict=True)
            )
            now = value, k, L, half
            accepted += take / MOVES
        _, k, L, half = now
        z = half + self.rng.standard_normal((C, P))
        self.gamma = np.asarray(np.linalg.solve(np.swapaxes(L, 1, 2), z[..., None])[..., 0], dtype=np.float64)
        mean = k * (T - np.einsum("cjp,cp->cj", S, self.gamma))
        self.effects = mean + np.sqrt(k) * self.rng.standard_normal(k.shape)
        return accepted


def inverse_gaussian_mixture(
    e: FloatArray, sigma: FloatArray, theta: float, psi2: float, rng: np.random.Generator
) -> FloatArray:
    """Draw v given e: 1 / v is inverse Gaussian with mean sqrt(b / chi) and shape b, chi = e^2 / (psi2 sigma),
    b = theta^2 / (psi2 sigma) + 2 / sigma.

    Michael, Schucany and Haas (1976), written for v, so that nothing cancels and e = 0 is no exception.
    """
    b = (theta**2 / psi2 + 2) / sigma
    m = np.abs(e)
    m /= np.sqrt(psi2 * sigma * b)
    g = rng.standard_normal(e.shape)
    g *= g
    g /= b
    large = 4 * m
    large += g
    large *= g
    np.sqrt(large, out=large)
    large += g
    large *= 0.5
    large += m
    np.add(large, m, out=g)
    g *= rng.random(e.shape)
    m *= m
    m /= large  # the smaller root
    v = np.where(g <= large, large, m)
    return np.maximum(v, TINY * sigma, out=v)


def sample(
    y: FloatArray,
    X: FloatArray,
    school: np.ndarray,
    p: float,
    draws: int = 1000,
    warmup: int = 500,
    seed: int | np.random.Generator = 0,
    scale: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> QuantileDraws:
    """Sample the posterior of the module's model.

    y (C, N): the response, a row a chain; X (N, p); school (N,): 0 .. J - 1, each with students; p: the quantile.
    draws, warmup: kept and passed over in each chain. scale: sigma, where it is held. progress: called with the
    iterations done and those to do.

    Raises ModelError for collinear columns, fewer than three schools, and a response that X gives exactly.
    """
    C, N = y.shape
    order = np.argsort(school, kind="stable")
    sizes = np.bincount(school)
    if len(sizes) < FEWEST_SCHOOLS:
        raise ModelError(
            f"A quantile with a school intercept needs {FEWEST_SCHOOLS} schools, but there are {len(sizes)}."
        )
    Q, R = np.linalg.qr(X[order])
    diagonal = np.abs(np.diag(R))
    if N <= X.shape[1] or diagonal.min() <= COLLINEAR * np.sqrt((X**2).sum(axis=0)).max():
        raise ModelError("The columns of the model are collinear: the coefficients of a quantile cannot be told apart.")
    Q = Q * np.sqrt(N)
    ones = np.linalg.lstsq(X, np.ones(N), rcond=None)[0]
    centre = float(np.median(y)) if np.allclose(X @ ones, 1.0) else 0.0  # where a constant can be given back
    unit = float(np.std(y - centre))
    rng = np.random.default_rng(seed)
    z = (y[:, order] - centre) / unit if unit > 0 else y
    start = z @ Q / N
    spread = np.std(z - start @ Q.T, axis=1)
    if not unit > 0 or spread.min() < 1e-8:
        raise ModelError("The response does not vary about the model, so it has no quantiles to compare.")
    rows, columns = np.tril_indices(X.shape[1])
    sigma = spread * p * (1 - p) if scale is None else np.full(C, scale / unit)
    chains = _Chains(
        *(z, Q, Q[:, rows] * Q[:, columns], np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes, p, rng),
        *(start, np.zeros((C, len(sizes))), sigma),
        *(np.log(spread / 3) + 0.5 * rng.standard_normal(C), np.full(C, 0.5)),
    )
    kept = _run(chains, draws, warmup, None if scale is None else sigma, progress)
    gamma, effects, sigma, log_s, accepted = kept
    coefficients = gamma @ np.linalg.inv(R / np.sqrt(N)).T * unit
    coefficients += centre * ones
    return QuantileDraws(coefficients, effects * unit, sigma * unit, np.exp(log_s) * unit, accepted)


def _run(
    chains: _Chains, draws: int, warmup: int, held: FloatArray | None, progress: Callable[[int, int], None] | None
) -> tuple[FloatArray, ...]:
    """Warm up, setting the Metropolis steps, then keep draws of gamma, effects, sigma, log s; and the share accepted."""
    C, P = chains.gamma.shape
    gamma, effects = np.empty((C, draws, P)), np.empty((C, draws, chains.effects.shape[1]))
    sigma, log_s, accepted = np.empty((C, draws)), np.empty((C, draws)), np.zeros(C)
    for i in range(-warmup, draws):
        share = chains.turn(held)
        if i < 0:
            chains.step *= np.exp((share - ACCEPT) / np.sqrt(i + warmup + 1))
        else:
            gamma[:, i], effects[:, i], sigma[:, i], log_s[:, i] = (
                chains.gamma,
                chains.effects,
                chains.sigma,
                chains.log_s,
            )
            accepted += share / draws
        if progress is not None:
            progress(i + warmup + 1, warmup + draws)
    return gamma, effects, sigma, log_s, accepted


def calibrated_scale(residuals: FloatArray, p: float) -> float:
    """sigma = p (1 - p) / f(0), at which the working posterior has the sampling variance of a quantile.

    residuals (N,): about the conditional quantile. 1 / f(0) is the difference quotient of their quantiles about p over
    the bandwidth of Hall and Sheather (1988).
    """
    N = len(residuals)
    z = stats.norm.ppf(p)
    h = N ** (-1 / 3) * stats.norm.ppf(0.975) ** (2 / 3) * (1.5 * stats.norm.pdf(z) ** 2 / (2 * z**2 + 1)) ** (1 / 3)
    h = min(h, 0.95 * p, 0.95 * (1 - p))
    low, high = np.quantile(residuals, [p - h, p + h])
    return float(p * (1 - p) * max((high - low) / (2 * h), TINY * np.std(residuals)))


def marginal_offset(school_sd: FloatArray, scale: FloatArray, p: float) -> FloatArray:
    """m with P(a + e <= m) = p for a ~ N(0, s2) and Laplace errors e: how far the marginal quantile lies from x' b.

    school_sd, scale: arrays of one shape. The distribution function of the sum is closed, with F_e that of e::

        P(a + e <= m) = E F_e(m - a)
                      = Phi(m / s) - (1 - p) M(-p / sigma, 1) + p M((1 - p) / sigma, -1)
        M(c, d) = E exp(c u) 1{d u >= 0} = exp(c m + c^2 s2 / 2) Phi(d (m + c s2) / s),   u ~ N(m, s2)

    and is solved by Newton's steps, halving where one would leave the bracket.
    """
    s, sigma = np.broadcast_arrays(np.maximum(school_sd, TINY * scale), scale)

    def parts(m: FloatArray) -> tuple[FloatArray, FloatArray]:
        terms = []
        for c, d in ((-p / sigma, 1), ((1 - p) / sigma, -1)):
            terms.append(np.exp(c * m + 0.5 * (c * s) ** 2 + special.log_ndtr(d * (m + c * s * s) / s)))
        above, below = terms
        return special.ndtr(m / s) - (1 - p) * above + p * below, p * (1 - p) / sigma * (above + below)

    return _solve(parts, np.zeros(s.shape), 8 * (s + sigma / min(p, 1 - p)), p)


def empirical_offset(school_sd: FloatArray, residuals: FloatArray, p: float) -> FloatArray:
    """The same for errors that are distributed as the residuals (N,), whose own p-quantile is taken off first."""
    points = np.quantile(residuals, (np.arange(POINTS) + 0.5) / POINTS) - np.quantile(residuals, p)
    s = np.maximum(school_sd, TINY * np.ptp(points))
    grid = np.exp(np.linspace(np.log(s.min()), np.log(s.max()), 60)) if s.max() > s.min() else s.ravel()[:1]

    def parts(m: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = (m[:, None] - points) / grid[:, None]
        return special.ndtr(z).mean(axis=1), np.exp(-0.5 * z**2).mean(axis=1) / (grid * np.sqrt(2 * np.pi))

    found = _solve(parts, np.zeros(grid.shape), 8 * grid + np.ptp(points), p)
    return np.interp(s, grid, found)


def _solve(
    parts: Callable[[FloatArray], tuple[FloatArray, FloatArray]], m: FloatArray, reach: FloatArray, p: float
) -> FloatArray:
    """m at which a distribution function is p, within -reach .. reach; parts: the function and its density."""
    low, high = -reach, np.array(reach)
    for _ in range(100):
        value, density = parts(m)
        low, high = np.where(value < p, m, low), np.where(value >= p, m, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            there = m - (value - p) / density
        new = np.where((there > low) & (there < high), there, 0.5 * (low + high))
        if np.all(np.abs(new - m) <= 1e-13 * reach):
            return new
        m = new
    return m
