"""The exact posterior of one cohort's school effects, the variances not known: quadrature in one dimension.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij ~ N(0, sigma2)
    flat priors on b and on tau (a standard deviation: Gelman 2006),   p(sigma2) ~ 1 / sigma2

With phi = tau / sigma, theta = phi^2, and A, b, rss of :mod:`valib.models.likelihood` at theta, nu = N - p - 1:

    p(phi | y) ~ prod_j (1 + n_j theta)^(-1/2)  |A|^(-1/2)  rss^(-nu/2)
    sigma2 | phi, y ~ rss / chi2_nu,   b | phi, y ~ t_nu about b(theta) with scale s2 A^-1,   s2 = rss / nu
    u_j | phi, y    ~ t_nu, mean lambda_j rbar_j, scale2 s2 [theta (1 - lambda_j) + lambda_j^2 xbar_j' A^-1 xbar_j]

so the posterior of an effect, of a difference or of the shift is a mixture of t's over nodes of phi
(:mod:`valib.models.mixture`). Its tail in phi is phi^-(J - q), q the columns of X that are constant within schools: it
is proper for J >= q + 2, its mean exists for J >= q + 3 and its variance for J >= q + 4.

The nodes are those of the trapezoidal rule after log phi = c + 2 sinh(y / 2) (Takahasi and Mori 1974): evenly spaced
about the bulk, ever wider in the tails, as many as the width asks for; the error falls exponentially in their number.
Sums are written as W + sum_j s_j s_j' / (n_j (1 + n_j theta)), W the cross-products within schools, in whose own axes
school-level columns are exactly 0: nothing cancels however large theta. Everything is for R data sets at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .likelihood import Compressed
from .linalg import invert
from .mixture import Mixture

DROP = 26.0  # fall of the log density at which the nodes end: a mass of 1e-11 is left out
STEP = 0.12  # widest step of y
FEWEST = 18  # nodes of a narrow posterior: 0.85 of its standard deviation apart
RANGE = (-36.0, 46.0)  # of log phi about log(1 / sqrt(mean n)), where the bulk is looked for
SEARCH = 165, 49, 3  # nodes of the first and the later looks, and how many of those
SCHOOL_LEVEL = 1e-9  # share of a column's variation within schools, below which it is constant there
MATCHED = 400.0  # degrees of freedom from which a t plus a normal error is taken as a t of the same fourth moment
SPLIT, TAIL = 24, 1e-10  # nodes of sigma2 where there are fewer, and the mass left out at either end


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Posterior of (phi, sigma2, b) of R data sets on M nodes of phi.

    phi, weight (R, M): weights sum to 1 (nodes of weight 0 fill up a batch). s2 (R, M): scale of sigma2; df (R,): nu,
    inf where sigma2 is known. b (R, M, p), A_inverse (R, M, p, p): of the columns X @ turn, turn (R, p, p); the columns
    of X are shifted as the moments were. order (R,): J - q - 1, moments of that order and above do not exist.
    """

    phi: FloatArray
    weight: FloatArray
    s2: FloatArray
    df: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    turn: FloatArray
    order: np.ndarray

    @property
    def theta(self) -> FloatArray:
        """(R, M)"""
        return self.phi**2

    def variance_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """(2, R) limits of tau and of sigma."""
        tails = (1 - level) / 2, (1 + level) / 2
        tau, sigma = (np.stack([self._sd_quantile(factor, p) for p in tails]) for factor in (self.phi, 1.0))
        return tau, sigma

    def _sd_quantile(self, factor: FloatArray | float, p: float) -> FloatArray:
        """(R,) quantile of factor sigma, by halving in the logarithm (P(sigma < x) = Q(nu/2, nu s2 / 2 x^2))."""
        size = np.log(np.maximum(np.sqrt(self.s2) * factor, 1e-300))
        low, high = size.min(axis=1) - 20.0, size.max(axis=1) + 20.0
        half = np.minimum(self.df, 1e9)[:, None] / 2
        for _ in range(64):
            middle = (low + high) / 2
            F = special.gammaincc(half, half * np.exp(2 * (size - middle[:, None])))
            less = (self.weight * F).sum(axis=1) < p
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        quantile: FloatArray = np.exp(middle)
        return quantile


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What p(phi | y) needs: sizes (D,); counts (R, D); within (R, k, k); between (R, D, k k), sum of s s' / n."""

    sizes: FloatArray
    counts: FloatArray
    within: FloatArray
    between: FloatArray
    df: FloatArray
    order: np.ndarray
    turn: FloatArray


def check_proper(data: Compressed) -> str | None:
    """Why the posterior of some data set is improper, in a sentence; None where all are proper."""
    try:
        _sums(data)
    except ModelError as error:
        return str(error)
    return None


def integrate(data: Compressed) -> Nodes:
    """The posterior of (phi, sigma2, b). Raises ModelError where it is improper, with the schools it would need."""
    sums = _sums(data)
    centre, low, high = _place(sums)
    ends = [2 * np.arcsinh((end - centre) / 2) for end in (low, high)]
    count = np.maximum(np.ceil((ends[1] - ends[0]) / STEP), FEWEST - 1)
    at = np.minimum(np.arange(count.max() + 1), count[:, None])
    step = (ends[1] - ends[0]) / count
    y = ends[0][:, None] + step[:, None] * at
    log_phi = centre[:, None] + 2 * np.sinh(y / 2)
    density, rss, b, A_inverse = _evaluate(sums, log_phi)
    density = density + np.log(np.cosh(y / 2))
    weight = np.exp(density - density.max(axis=1, keepdims=True)) * (np.arange(at.shape[1]) <= count[:, None])
    weight = weight / weight.sum(axis=1, keepdims=True)
    return Nodes(np.exp(log_phi), weight, rss / sums.df[:, None], sums.df, b, A_inverse, sums.turn, sums.order)


def known_variances(data: Compressed, tau2: FloatArray, sigma2: FloatArray) -> Nodes:
    """One node at given variances (R,): the plug-in distribution, normal; b has the covariance sigma2 A^-1."""
    p, R = data.p, len(data.n)
    theta = np.asarray(tau2, dtype=np.float64) / sigma2
    w = theta[:, None] / (1 + theta[:, None] * data.sizes)
    M = data.cross - np.einsum("rd,rdij->rij", w, data.outer)
    A_inverse = np.linalg.inv(M[:, :p, :p]) if p else np.empty((R, 0, 0))
    b = (A_inverse @ M[:, :p, p:])[:, None, :, 0]
    inf = np.full(R, np.inf)
    return Nodes(
        np.sqrt(theta)[:, None],
        np.ones((R, 1)),
        np.asarray(sigma2, dtype=np.float64)[:, None],
        inf,
        b,
        A_inverse[:, None],
        np.broadcast_to(np.eye(p), (R, p, p)),
        inf,
    )


def place(data: Compressed) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Where the posterior of log phi lies: mode, lower and upper end (R,); and the order as in :class:`Nodes`."""
    sums = _sums(data)
    return *_place(sums), sums.order


def _sums(data: Compressed) -> _Sums:
    """Sums in the axes of W, school-level directions exactly 0; ModelError where the posterior is improper."""
    p, k, R = data.p, data.p + 1, len(data.n)
    between = data.outer / data.sizes[:, None, None]
    within = data.cross - between.sum(axis=1)
    size = np.sqrt(np.einsum("rii->ri", data.cross[:, :p, :p]))
    share = within[:, :p, :p] / (size[:, :, None] * size[:, None, :])
    values, axes = np.linalg.eigh((share + np.swapaxes(share, 1, 2)) / 2) if p else (np.empty((R, 0)), share)
    keep = np.concatenate([values > SCHOOL_LEVEL, np.ones((R, 1), dtype=bool)], axis=1)
    turn = axes / size[:, :, None]
    full = np.zeros((R, k, k))
    full[:, :p, :p], full[:, p, p] = turn, 1.0
    left = np.swapaxes(full, 1, 2)
    within = (left @ within @ full) * keep[:, :, None] * keep[:, None, :]
    between = left[:, None] @ between @ full[:, None]
    J, q = data.counts.sum(axis=1), p - keep[:, :p].sum(axis=1)
    refuse_improper(J, q, data.n - J - (p - q))
    return _Sums(data.sizes, data.counts, within, between.reshape(R, -1, k * k), data.n - p - 1, J - q - 1, turn)


def refuse_improper(J: FloatArray, q: FloatArray, spare: FloatArray) -> None:
    """Raise ModelError where the posterior is improper: J schools, q school-level columns, spare students within (R,)."""
    few = np.flatnonzero(J < q + 2)
    if len(few):
        j, s = round(J[few[0]]), int(q[few[0]])
        raise ModelError(
            f"Intervals integrated over the variances need at least {s + 2} schools with {s} coefficients "
            f"that are constant within schools (the intercept counted); there are {j}."
        )
    if (spare < 1).any():
        raise ModelError(
            "Intervals integrated over the variances need more students: there is none within schools "
            "beyond the coefficients."
        )


def _evaluate(sums: _Sums, log_phi: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log density of log phi (R, G) without constants; rss (R, G), b (R, G, p), A_inverse (R, G, p, p)."""
    k = sums.within.shape[-1]
    p, (R, G) = k - 1, log_phi.shape
    spread = 1 + np.exp(2 * log_phi)[..., None] * sums.sizes
    M = sums.within[:, None] + ((1 / spread) @ sums.between).reshape(R, G, k, k)
    A_inverse, logdet = invert(np.moveaxis(M[..., :p, :p], (-2, -1), (0, 1)))
    A_inverse = np.moveaxis(A_inverse, (0, 1), (-2, -1))
    b = (A_inverse @ M[..., :p, p:])[..., 0]
    rss = np.maximum(M[..., p, p] - (b * M[..., :p, p]).sum(axis=-1), np.finfo(float).tiny)
    penalty = (np.log(spread) @ sums.counts[..., None])[..., 0]
    return -0.5 * (penalty + logdet + sums.df[:, None] * np.log(rss)) + log_phi, rss, b, A_inverse


def _place(sums: _Sums) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mode and ends (R,) of log phi; the upper end also holds what second moments (or first ones) need."""
    rows = np.arange(len(sums.df))
    middle = -0.5 * np.log(sums.counts @ sums.sizes / sums.counts.sum(axis=1))
    low, high = (middle + end for end in RANGE)
    tilt = np.clip(sums.order - 1, 0, 2)[:, None]
    for look in range(1 + SEARCH[2]):
        size = SEARCH[0] if look == 0 else SEARCH[1]
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, size)
        density = _evaluate(sums, grid)[0]
        heavy = density + tilt * grid
        first = np.argmax(density > density.max(axis=1, keepdims=True) - DROP, axis=1)
        last = size - 1 - np.argmax((heavy > heavy.max(axis=1, keepdims=True) - DROP)[:, ::-1], axis=1)
        low, high = grid[rows, np.maximum(first - 1, 0)], grid[rows, np.minimum(last + 1, size - 1)]
    return grid[rows, np.argmax(density, axis=1)], low, high


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Posterior of the school effects of R data sets with J schools.

    target_j = u_j (keep = 0, relative) or xbar_j' b + u_j (keep = 1; with X = 1 this is delta + u_j, the benchmark VA).
    nodes; n (R, J), 0 for a school without students; xbar (R, J, p) in the nodes' axes, ybar (R, J). L (R, J, m): what
    m independent standard normal errors (of benchmark coefficients, equating, links) do to ybar; L_b (R, M, p, m): what
    they do to b(theta).
    """

    nodes: Nodes
    n: FloatArray
    xbar: FloatArray
    ybar: FloatArray
    keep: float
    L: FloatArray
    L_b: FloatArray

    @property
    def shrinkage(self) -> FloatArray:
        """lambda (R, J, M)."""
        size = self.n[:, :, None] * self.nodes.theta[:, None]
        return size / (1 + size)

    def effects(self) -> Mixture:
        """The target of every school, (R, J)."""
        N, lam = self.nodes, self.shrinkage
        reach = self.keep - lam
        mean = lam * self.ybar[..., None] + reach * (self.xbar @ np.swapaxes(N.b, 1, 2))
        leverage = _quadratic(self.xbar, N.A_inverse)
        own = N.theta[:, None] * (1 - lam)
        return self._mixture(mean, own + reach**2 * leverage, self._shared_variance(lam, reach))

    def at_profile(self, profile: FloatArray, variance: float = 0.0) -> Mixture:
        """profile'b + u_j, (R, J), for a row of the (shifted) design matrix (R, p), where the target is relative;
        variance: of a normal error that all share."""
        N, lam = self.nodes, self.shrinkage
        x = np.einsum("rpi,rp->ri", N.turn, profile)
        load = x[:, None, None] - lam[..., None] * self.xbar[:, :, None]
        mean = lam * self.ybar[..., None] + np.einsum("rjmi,rmi->rjm", load, N.b)
        known = np.einsum("rjmi,rmil,rjml->rjm", load, N.A_inverse, load, optimize=True)
        return self._mixture(mean, N.theta[:, None] * (1 - lam) + known, np.full(mean.shape, variance))

    def differences(self, first: FloatArray, second: FloatArray) -> Mixture:
        """target_first - target_second for pairs of positions (K,), (R, K): errors that both share cancel."""
        N, lam = self.nodes, self.shrinkage
        left, right = lam[:, first], lam[:, second]
        load = (self.keep - left)[..., None] * self.xbar[:, first, None] - (self.keep - right)[..., None] * self.xbar[
            :, second, None
        ]
        mean = (
            left * self.ybar[:, first, None]
            - right * self.ybar[:, second, None]
            + np.einsum("rkmi,rmi->rkm", load, N.b)
        )
        own = N.theta[:, None] * ((1 - left) + (1 - right))
        known = np.einsum("rkmi,rmij,rkmj->rkm", load, N.A_inverse, load)
        common = (
            left[..., None] * self.L[:, first, None]
            - right[..., None] * self.L[:, second, None]
            + np.einsum("rkmi,rmih->rkmh", load, self.L_b)
        )
        return self._mixture(mean, own + known, (common**2).sum(axis=-1))

    def combinations(self, weights: FloatArray) -> Mixture:
        """sum_j weights_kj target_j for weights (K, J), (R, K): an error that schools share is added up once."""
        N, lam = self.nodes, self.shrinkage
        load = np.einsum("kj,rjm,rji->rkmi", weights, self.keep - lam, self.xbar, optimize=True)
        mean = weights @ (lam * self.ybar[..., None]) + np.einsum("rkmi,rmi->rkm", load, N.b)
        own = N.theta[:, None] * (weights**2 @ (1 - lam))
        known = np.einsum("rkmi,rmij,rkmj->rkm", load, N.A_inverse, load, optimize=True)
        common = np.einsum("kj,rjm,rjh->rkmh", weights, lam, self.L, optimize=True)
        common = common + np.einsum("rkmi,rmih->rkmh", load, self.L_b)
        return self._mixture(mean, own + known, (common**2).sum(axis=-1))

    def coefficient(self, weights: FloatArray) -> Mixture:
        """weights' b for weights (R, p) on the columns as given, (R, 1); with X = 1 and weight 1 the system shift."""
        N = self.nodes
        c = np.einsum("rpi,rp->ri", N.turn, weights)
        mean, scale = np.einsum("rmi,ri->rm", N.b, c), np.einsum("ri,rmij,rj->rm", c, N.A_inverse, c)
        shared = (np.einsum("ri,rmih->rmh", c, self.L_b) ** 2).sum(axis=-1)
        return self._mixture(mean[:, None], scale[:, None], shared[:, None])

    def _shared_variance(self, lam: FloatArray, reach: FloatArray) -> FloatArray:
        """(R, J, M) variance of lam L_j + reach xbar_j' L_b."""
        if not self.L.shape[-1]:
            return np.zeros(lam.shape)
        own = (self.L**2).sum(axis=-1)[..., None]
        outer = self.L_b @ np.swapaxes(self.L_b, -1, -2)
        cross = sum(
            self.xbar[..., i, None] * (self.L @ np.swapaxes(self.L_b[:, :, i], 1, 2))
            for i in range(self.xbar.shape[-1])
        )
        variance: FloatArray = lam**2 * own + 2 * lam * reach * cross + reach**2 * _quadratic(self.xbar, outer)
        return variance

    def _mixture(self, mean: FloatArray, relative: FloatArray, shared: FloatArray) -> Mixture:
        """Components with scale2 s2 relative and a normal error of variance shared, all (R, K, M)."""
        N = self.nodes
        if not shared.any():
            scale = np.sqrt(relative * N.s2[:, None])
            return Mixture(N.weight, mean, scale, N.df[:, None, None], N.order)
        if N.df.min() >= MATCHED:
            return _matched(N, mean, relative * N.s2[:, None], shared)
        share, g = _sigma_nodes(N.df)
        weight = (N.weight[:, :, None] * share[:, None]).reshape(len(mean), -1)
        variance = (relative * N.s2[:, None])[..., None] / g[:, None, None] + shared[..., None]
        shape = (*mean.shape[:2], -1)
        return Mixture(
            weight, np.repeat(mean, SPLIT, axis=-1), np.sqrt(variance).reshape(shape), np.array([[[np.inf]]]), N.order
        )

    def draw(self, size: int, random: np.random.Generator, data_set: int = 0) -> FloatArray:
        """(size, J) draws of the targets of one data set: phi first, then sigma2, b, the shared errors, u."""
        N, r = self.nodes, data_set
        at = random.choice(N.weight.shape[1], size=size, p=N.weight[r])
        chi2 = random.chisquare(N.df[r], size) / N.df[r] if np.isfinite(N.df[r]) else np.ones(size)
        sigma = np.sqrt(N.s2[r, at] / chi2)
        z = random.standard_normal((size, self.L.shape[-1]))
        lower = np.linalg.cholesky(N.A_inverse[r]) if N.b.shape[-1] else N.A_inverse[r]
        spread = (lower[at] @ random.standard_normal((size, N.b.shape[-1], 1)))[..., 0]
        b = N.b[r, at] + sigma[:, None] * spread + (self.L_b[r, at] @ z[..., None])[..., 0]
        theta = N.theta[r, at, None]
        lam = self.n[r] * theta / (1 + self.n[r] * theta)
        own = sigma[:, None] * np.sqrt(theta * (1 - lam)) * random.standard_normal(lam.shape)
        drawn: FloatArray = lam * (self.ybar[r] + z @ self.L[r].T) + (self.keep - lam) * (b @ self.xbar[r].T) + own
        return drawn


def posterior(
    nodes: Nodes, n: FloatArray, means: FloatArray, target: str = "relative", loadings: FloatArray | None = None
) -> Posterior:
    """The posterior of the schools of R data sets.

    n (R, J): students, 0 for a school that has none; means (R, J, k): its means of the (shifted) columns [X, y].
    target: "relative" (u_j) or "benchmark" (xbar_j' b + u_j). loadings (R, J, m): errors of ybar from elsewhere.
    """
    if target not in ("relative", "benchmark"):
        raise ModelError(f"The target must be 'relative' or 'benchmark', not {target!r}.")
    n, there = np.asarray(n, dtype=np.float64), (np.asarray(n) > 0)[..., None]
    xbar, ybar = np.where(there, means[..., :-1] @ nodes.turn, 0.0), np.where(n > 0, means[..., -1], 0.0)
    R, J, p = xbar.shape
    L = np.zeros((R, J, 0)) if loadings is None else np.where(there, loadings, 0.0)
    a = n[:, None] / (1 + n[:, None] * nodes.theta[..., None])
    pulled = (np.swapaxes(xbar, 1, 2)[:, None] * a[:, :, None]) @ L[:, None]
    return Posterior(nodes, n, xbar, ybar, float(target == "benchmark"), L, nodes.A_inverse @ pulled)


def _quadratic(x: FloatArray, matrices: FloatArray) -> FloatArray:
    """x_j' A_m x_j for x (R, J, p), A (R, M, p, p): (R, J, M)."""
    R, J, p = x.shape
    rows, columns = np.triu_indices(p)
    twice = np.where(rows == columns, 1.0, 2.0)
    return (x[..., rows] * x[..., columns]) @ np.swapaxes(matrices[..., rows, columns] * twice, 1, 2)


def _matched(N: Nodes, mean: FloatArray, scale2: FloatArray, shared: FloatArray) -> Mixture:
    """t plus normal as a t with the same variance and fourth moment; its error is of the order 1 / df^2."""
    df = np.minimum(N.df, 1e12)[:, None, None]
    own = scale2 * df / (df - 2)
    variance = own + shared
    matched = 4 + (df - 4) * (variance / own) ** 2
    return Mixture(N.weight, mean, np.sqrt(variance * (matched - 2) / matched), matched, N.order)


def _sigma_nodes(df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights and nodes (R, SPLIT) of g = chi2_nu / nu: the trapezoidal rule in its logarithm."""
    half = df[:, None] / 2
    low, high = (np.log(inverse(half, TAIL) / half) for inverse in (special.gammaincinv, special.gammainccinv))
    x = low + (high - low) * np.linspace(0, 1, SPLIT)
    density = half * (x - np.expm1(x))
    weight = np.exp(density - density.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True), np.exp(x)


def take(nodes: Nodes, rows: np.ndarray) -> Nodes:
    """Some of the data sets."""
    return replace(nodes, **{name: getattr(nodes, name)[rows] for name in Nodes.__slots__})
