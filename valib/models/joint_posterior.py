"""The posterior of the joint model, the variances not known: on a grid for two cohorts, by weighted draws for more.

    y_ijt = x_ijt' b_t + u_jt + e_ijt,   (u_j1 .. u_jT) ~ N(0, Omega),   e_ijt ~ N(0, sigma2_t)
    flat priors on b_t and on every tau_t (a standard deviation), LKJ(1) on the correlations R (Lewandowski, Kurowicka
    and Joe 2009: flat over correlation matrices),   p(sigma2_t) ~ 1 / sigma2_t

In phi_t = tau_t / sigma_t, and with the responses of a cohort divided by its sigma_t, the covariance of the data has no
sigma in it. With S the T x T generalised residual cross-products of the responses at (phi, R), g_t = 1 / sigma_t and
nu_t = N_t - p_t - 1,

    p(phi, R, log g | y) ~ prod_j |M_j|^(-1/2) |A|^(-1/2) prod_t g_t^nu_t exp(-g'S g / 2)

Given all of these the effects are normal, so contrasts are mixtures of normals (:mod:`valib.models.mixture`).

Two cohorts: the product of the trapezoidal rule of :mod:`valib.models.posterior` for both phi_t and Gauss-Legendre's for
arcsin rho, in which the standard deviation of a change is smooth at rho = 1; log g by three Gauss-Hermite nodes a
dimension about its mode, weighted by the exact density. No refit, no sampler; the error is below 5e-4 in probability.

More: draws from a multivariate t about the mode in (log phi, partial correlations), its location and scale once taken
anew from the weights, log g from its normal approximation, all weighted by the exact density; the effective size and
Pareto's k (Vehtari, Simpson, Gelman, Yao and Gabry 2024: below 0.7 the weights can be trusted) come with the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import Legendre
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy import optimize

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .blup import factor
from .importance import can_be_trusted, correlations, kept_draws, mode, tails, weighted_draws, weighted_limits
from .joint_likelihood import JointMoments
from .likelihood import Compressed, compress_cells
from .linalg import invert
from .mixture import Mixture
from .posterior import Posterior, check_proper, integrate, place, posterior

DROP = 14.0  # fall of the log density at which the grid ends: a mass of 1e-6
STEP = 0.42  # widest step of y in log phi = c + 2 sinh(y / 2)
FEWEST = 15  # nodes of a narrow dimension: 0.8 of its standard deviation apart
ANGLES = 15  # nodes of arcsin rho
LOOKS = 2  # coarse grids that find the bulk before the last one
COARSE = 13  # nodes a dimension of those
LEFT_OUT = 5e-6  # mass of the nodes of least weight that are dropped
KNOWN = 2000.0  # nu from which sigma is taken at its mode
BLOCK = 100_000  # numbers held for a block of nodes
PRODUCT = 1e-8  # weight of a pair of nodes of independent cohorts, below which it is dropped
DRAWS = (1024, 1024, 2048, 8192)  # of the looks and of the result
MANY_SCHOOLS = 120  # beyond which the result has as many draws as the first look: the posterior is nearly normal


@dataclass(frozen=True, slots=True, eq=False)
class JointNodes:
    """Posterior of T cohorts on M nodes of (phi, R) with K nodes of sigma each.

    omega (M, T, T): of the effects in units of sigma; weight (M,), sums to 1; share (M, K): weights of the sigma nodes,
    sigma (M, K, T). order: moments of that order and above do not exist. Of a grid, angles (2, A):
    nodes of arcsin rho between angle_ends and the mass at each; None for draws. effective: effective number of draws,
    pareto_k: of their weights; both nan for a grid.
    """

    data: JointMoments
    omega: FloatArray
    weight: FloatArray
    share: FloatArray
    sigma: FloatArray
    order: float
    angles: FloatArray | None = None
    angle_ends: tuple[float, float] | None = None
    effective: float = float("nan")
    pareto_k: float = float("nan")

    @property
    def trusted(self) -> bool:
        """Whether the nodes can be relied on: always for a grid; for draws if k and the effective size are good."""
        return self.angles is not None or can_be_trusted(self.effective, self.pareto_k)

    def contrast(self, c: FloatArray, schools: np.ndarray | None = None) -> Mixture:
        """c' (u_j1 .. u_jT) of schools (positions; by default all), (1, J)."""
        data = self.data if schools is None else _schools(self.data, schools)
        J, M = len(data.n), len(self.weight)
        mean, variance, df = (np.empty((1, J, M)) for _ in range(3))
        kappa = c * self.sigma
        whole = None if schools is None else self.data
        for rows in node_blocks(M, self.data):
            unit = _unit(data, self.omega[rows], whole)
            k = kappa[rows]
            both = (k[..., :, None] / self.sigma[rows][..., None, :]).reshape(*k.shape[:2], -1)
            square = (k[..., :, None] * k[..., None, :]).reshape(*k.shape[:2], -1)
            means, variances = (
                left @ np.moveaxis(of.reshape(*of.shape[:2], -1), 1, 2)
                for left, of in ((both, unit.u), (square, unit.error))
            )
            one = _one_component(means, np.maximum(variances, np.finfo(float).tiny), self.share[rows, :, None])
            for whole_array, part in zip((mean, variance, df), one, strict=True):
                whole_array[0, :, rows] = part.T
        return Mixture(self.weight[None], mean, np.sqrt(variance), df, np.array([self.order]))

    def change(self, first: int, second: int, schools: np.ndarray | None = None) -> Mixture:
        """u_j,second - u_j,first, of two positions among the cohorts."""
        c = np.zeros(self.omega.shape[1])
        c[second] += 1.0
        c[first] -= 1.0
        return self.contrast(c, schools)

    def combination(
        self, c: FloatArray, first: np.ndarray, second: np.ndarray | None = None, k: FloatArray | None = None
    ) -> Mixture:
        """c' (u_first - u_second) + k'b for K schools ``first`` (positions), (1, K).

        second: as many other schools, by default none. k (P,): on the fixed effects of all cohorts, by default none.
        The errors that schools share with each other and with k'b through the fixed effects are taken into account.
        """
        data, P = _schools(self.data, first), self.data.n_fixed
        k = np.zeros(P) if k is None else k
        shape = (1, len(first), len(self.weight))
        mean, variance, df = (np.empty(shape) for _ in range(3))
        for rows in node_blocks(len(self.weight), self.data):
            unit, sigma = _unit(data, self.omega[rows], self.data), self.sigma[rows]
            u, own, reach = unit.u, unit.conditional, -unit.sensitivity
            if second is not None:
                other = _unit(_schools(self.data, second), self.omega[rows], self.data)
                u, own, reach = u - other.u, own + other.conditional, reach + other.sensitivity
            kappa, on_b = c * sigma, (k @ self.data.back) * sigma[..., self.data.column[:P]]
            response = np.einsum("gkt,gjts->gkjs", kappa, u) + np.einsum("gkp,gps->gks", on_b, unit.delta)[:, :, None]
            means = (response / sigma[:, :, None]).sum(axis=-1) + k @ self.data.offset
            load = np.einsum("gkt,gjtp->gkjp", kappa, reach) + on_b[:, :, None]
            variances = np.einsum("gkt,gjts,gks->gkj", kappa, own, kappa, optimize=True)
            variances += ((load @ unit.A_inverse[:, None]) * load).sum(axis=-1)
            one = _one_component(means, np.maximum(variances, np.finfo(float).tiny), self.share[rows, :, None])
            for whole, part in zip((mean, variance, df), one, strict=True):
                whole[0, :, rows] = part.T
        return Mixture(self.weight[None], mean, np.sqrt(variance), df, np.array([self.order]))

    def draw(self, size: int, random: np.random.Generator, schools: np.ndarray) -> FloatArray:
        """(size, J, T) draws of the effects of schools (positions): node first, then sigma, b, u."""
        data, P, T = _schools(self.data, schools), self.data.n_fixed, self.omega.shape[1]
        at = np.sort(random.choice(len(self.weight), size=size, p=self.weight))
        which = (random.random(size)[:, None] > np.cumsum(self.share[at], axis=1)[:, :-1]).sum(axis=1)
        sigma = self.sigma[at, which]
        drawn = np.empty((size, len(schools), T))
        for rows in node_blocks(size, self.data):
            unit, s = _unit(data, self.omega[at[rows]], self.data), sigma[rows, None]
            z, z_b = random.standard_normal(drawn[rows].shape), random.standard_normal((len(s), P, 1))
            own = (factor(unit.conditional) @ z[..., None])[..., 0]
            b = factor(unit.A_inverse) @ z_b
            shared = (unit.sensitivity @ b[:, None])[..., 0]
            drawn[rows] = s * ((unit.u @ (1 / s)[..., None])[..., 0] + own - shared)
        return drawn

    def correlation(self, first: int, second: int, level: float = 0.95) -> tuple[float, float, float, float]:
        """Posterior mean, standard deviation and limits of a correlation of two cohorts.

        The limits are those of weighted draws or, of a grid, of the polynomial through its nodes.
        """
        sd_first, sd_second = (np.sqrt(self.omega[:, t, t]) for t in (first, second))
        rho = self.omega[:, first, second] / (sd_first * sd_second)
        mean = float(self.weight @ rho)
        sd = float(np.sqrt(self.weight @ (rho - mean) ** 2))
        if self.angles is not None:
            lower, upper = (self._grid_quantile(p) for p in tails(level))
            return mean, sd, lower, upper
        lower, upper = weighted_limits(rho, self.weight, level)
        return mean, sd, lower, upper

    def _grid_quantile(self, p: float) -> float:
        """Quantile of rho, from the Legendre series of the density through the nodes of the rule."""
        assert self.angles is not None and self.angle_ends is not None  # of a grid
        (angle, mass), (low, high) = self.angles, self.angle_ends
        gauss = leggauss(len(angle))[1] * (high - low) / 2
        density = Legendre.fit(angle, mass / gauss, len(angle) - 1, domain=[low, high])
        distribution = density.integ(lbnd=low)
        total = distribution(high)
        return float(np.sin(optimize.brentq(lambda a: distribution(a) / total - p, low, high, xtol=1e-12)))


def _one_component(
    mean: FloatArray, variance: FloatArray, share: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Normals (M, K, J) over the K nodes of sigma as one t (M, J): mean, squared scale and degrees of freedom that
    match mean, variance and fourth moment; the error is of order 1 / nu^2."""
    if share.shape[1] == 1:
        return mean[:, 0], variance[:, 0], np.full(mean[:, 0].shape, np.inf)
    centre, inner = (share * mean).sum(axis=1), (share * variance).sum(axis=1)
    off = mean - centre[:, None]
    total = inner + (share * off**2).sum(axis=1)
    fourth = (share * (3 * variance**2 + 6 * variance * off**2 + off**4)).sum(axis=1)
    df = np.minimum(4 + 6 / np.maximum(fourth / total**2 - 3, 1e-9), 1e9)
    return centre, total * (df - 2) / df, df


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """At G nodes (phi, rho), every sigma 1: half log determinants (G,), S (G, T, T); u (G, J, T, T): BLUP in cohort t
    from the response of cohort s; conditional (G, J, T, T): its error covariance with known fixed effects; sensitivity
    (G, J, T, P): -du / d delta; A_inverse (G, P, P): covariance of delta (G, P, T), by response."""

    penalty: FloatArray
    S: FloatArray
    u: FloatArray
    conditional: FloatArray
    sensitivity: FloatArray
    A_inverse: FloatArray
    delta: FloatArray

    @property
    def error(self) -> FloatArray:
        """(G, J, T, T): the error covariance of u."""
        S = self.sensitivity
        whole: FloatArray = self.conditional + S @ self.A_inverse[:, None] @ np.swapaxes(S, -1, -2)
        return whole


def integrate_joint(data: JointMoments, random: int | np.random.Generator = 0) -> JointNodes:
    """The posterior of the joint model: a grid for two cohorts, weighted draws (``random``: their seed) for more.

    Raises ModelError where the posterior of a cohort alone is improper.
    """
    alone = [_cohort(data, t) for t in range(data.n.shape[1])]
    for one, year in zip(alone, data.cohorts, strict=True):
        if fault := check_proper(one):
            raise ModelError(f"Cohort {year}: {fault}")
    placed = [np.concatenate(part) for part in zip(*map(place, alone), strict=True)]
    return _integrate_two(data, *placed) if len(alone) == 2 else _draw(data, placed[0], placed[3].min(), random)


def posterior_apart(
    data: JointMoments, t: int, schools: np.ndarray | None = None, loadings: FloatArray | None = None
) -> Posterior:
    """The posterior of one cohort alone, for schools (positions; by default all). Raises ModelError where improper.

    loadings (J, T, m): what m standard normal errors from elsewhere do to the mean responses of all schools.
    """
    alone, rows = _cohort(data, t), slice(None) if schools is None else schools
    if fault := check_proper(alone):
        raise ModelError(f"Cohort {data.cohorts[t]}: {fault}")
    n = data.n[rows, t]
    means = data.z[rows][:, data.column == t] / np.sqrt(np.maximum(n, 1))[:, None]
    shared = None if loadings is None else loadings[rows, t][None]
    return posterior(integrate(alone), n[None], means[None], "relative", shared)


def change_apart(data: JointMoments, first: int, second: int, schools: np.ndarray) -> Mixture:
    """u_j,second - u_j,first of schools (positions) with students in both cohorts, cohorts independent: (1, J).

    The product of the cohorts' own posteriors; the difference of two t's is taken as the t of its variance and fourth
    moment. Raises ModelError where the posterior of one of them is improper.
    """
    a, b = (posterior_apart(data, t, schools).effects() for t in (first, second))
    weight = (a.weight[0][:, None] * b.weight[0]).ravel()
    one, two = np.divmod(np.flatnonzero(weight > PRODUCT), b.weight.shape[1])
    weight = weight[weight > PRODUCT]
    spread, fourth = np.zeros((1, len(schools), len(one))), np.zeros((1, len(schools), len(one)))
    for mixture, at in ((a, one), (b, two)):
        own_df = max(float(mixture.df.ravel()[0]), 5.0)
        variance = mixture.scale[:, :, at] ** 2 * own_df / (own_df - 2)
        spread += variance
        fourth += 6 / (own_df - 4) * variance**2
    df = 4 + 6 * spread**2 / fourth
    order = np.minimum(a.order, b.order)
    return Mixture(
        weight[None] / weight.sum(), b.mean[:, :, two] - a.mean[:, :, one], np.sqrt(spread * (df - 2) / df), df, order
    )


def _integrate_two(
    data: JointMoments, centre: FloatArray, low: FloatArray, high: FloatArray, order: np.ndarray
) -> JointNodes:
    """The grid; centre, low, high (2,): where the posterior of log phi_t lies by each cohort alone."""
    ends = [2 * np.arcsinh((end - centre) / 2) for end in (low, high)]
    edges = np.array([*zip(*ends, strict=True), (-np.pi / 2, np.pi / 2)])
    for _ in range(LOOKS):
        edges = _narrow(edges, _grid(data, centre, edges, [COARSE] * 3)[-1])
    counts = [int(max(np.ceil((b - a) / STEP), FEWEST - 1)) + 1 for a, b in edges[:2]] + [ANGLES]
    omega, rule, density = _grid(data, centre, edges, counts)
    weight = np.exp(density - density.max()) * rule
    mass, weight = weight.sum(axis=(0, 1)) / weight.sum(), weight.ravel() / weight.sum()
    rising = np.argsort(weight, kind="stable")
    keep = np.sort(rising[np.searchsorted(np.cumsum(weight[rising]), LEFT_OUT) :])
    omega, weight = omega.reshape(-1, 2, 2)[keep], weight[keep]
    parts = [
        _marginal(_unit(data, omega[rows], effects=False), _degrees(data))[1:] for rows in node_blocks(len(keep), data)
    ]
    share, sigma = (np.concatenate(part) for part in zip(*parts, strict=True))
    angle = edges[2].mean() + np.ptp(edges[2]) / 2 * leggauss(ANGLES)[0]
    angles = np.stack([angle, mass])
    return JointNodes(data, omega, weight / weight.sum(), share, sigma, order.min(), angles, tuple(edges[2]))


def _grid(data: JointMoments, centre: FloatArray, edges: FloatArray, counts: list[int]) -> tuple[FloatArray, ...]:
    """omega (a, b, c, 2, 2), quadrature weights and log density (a, b, c) of a product grid."""
    ys = [np.linspace(edge[0], edge[1], count) for edge, count in zip(edges[:2], counts[:2], strict=True)]
    x, gauss = leggauss(counts[2])
    angle = edges[2].mean() + np.ptp(edges[2]) / 2 * x
    logs = [c + 2 * np.sinh(y / 2) for c, y in zip(centre, ys, strict=True)]
    sizes = [log[:, None, None] if d == 0 else log[None, :, None] for d, log in enumerate(logs)]
    log_phi = np.stack(np.broadcast_arrays(*sizes, angle)[:2], axis=-1)
    R = np.where(np.eye(2, dtype=bool), 1.0, np.sin(angle)[:, None, None])
    omega = np.exp(log_phi[..., :, None] + log_phi[..., None, :]) * R
    steps = [(y[1] - y[0]) * np.cosh(y / 2) for y in ys]
    rule = steps[0][:, None, None] * steps[1][:, None] * gauss * np.ptp(edges[2]) / 2
    density = _log_density(data, omega.reshape(-1, 2, 2)).reshape(rule.shape)
    density = np.where(np.isnan(density), -np.inf, density)  # phi of e^50 at an end, too large to invert: no mass there
    return omega, rule, density + log_phi.sum(axis=-1) + np.log(np.cos(angle))


def _narrow(edges: FloatArray, density: FloatArray) -> FloatArray:
    """Ends of the grid about what lies within DROP of the maximum, a step beyond it on either side."""
    there, out = density > density.max() - DROP, edges.copy()
    nodes = [np.linspace(edge[0], edge[1], COARSE) for edge in edges[:2]]
    nodes.append(edges[2].mean() + np.ptp(edges[2]) / 2 * leggauss(COARSE)[0])
    for d, at in enumerate(nodes):
        inside = np.flatnonzero(there.any(axis=tuple({0, 1, 2} - {d})))
        out[d] = (
            at[inside[0] - 1] if inside[0] else edges[d, 0],
            at[inside[-1] + 1] if inside[-1] < COARSE - 1 else edges[d, 1],
        )
    return out


def _log_density(data: JointMoments, omega: FloatArray) -> FloatArray:
    """(G,) log p(phi, R | y) without constants, sigma integrated."""
    parts = [
        _marginal(_unit(data, omega[rows], effects=False), _degrees(data))[0] for rows in node_blocks(len(omega), data)
    ]
    return np.concatenate(parts)


def _mode_of_sigma(S: FloatArray, nu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mode (G, T) of log g, and the lower Cholesky factor (G, T, T) of the inverse curvature there; S (G, T, T)."""
    T = len(nu)
    eta = 0.5 * np.log(nu / np.diagonal(S, axis1=1, axis2=2))
    for _ in range(60):
        g = np.exp(eta)
        K = g[:, :, None] * S * g[:, None, :]
        curve = K + np.eye(T) * K.sum(axis=2)[:, None, :]
        step = np.linalg.solve(curve, (nu - K.sum(axis=2))[..., None])[..., 0]
        if np.abs(step).max() < 1e-9:
            break
        eta = eta + np.clip(step, -1, 1)
    return eta, np.linalg.cholesky(np.linalg.inv(curve))


def _at_sigma(log_g: FloatArray, S: FloatArray, nu: FloatArray) -> FloatArray:
    """(G, K) log density of log g (G, K, T), without constants."""
    g = np.exp(log_g)
    density: FloatArray = log_g @ nu - 0.5 * np.einsum("gkt,gts,gks->gk", g, S, g)
    return density


def _marginal(unit: _Unit, nu: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log density with log g integrated by Gauss-Hermite's rule about its mode; shares (G, K) and sigma (G, K, T) of
    its nodes: three a dimension, or the mode alone where the degrees of freedom are many or cohorts more than two."""
    T = len(nu)
    eta, lower = _mode_of_sigma(unit.S, nu)
    one, rule = hermegauss(3 if nu.min() < KNOWN and T == 2 else 1)
    z = np.stack(np.meshgrid(*[one] * T, indexing="ij"), axis=-1).reshape(-1, T)
    w = np.prod(np.stack(np.meshgrid(*[rule] * T, indexing="ij"), axis=-1).reshape(-1, T), axis=1)
    log_g = eta[:, None] + z @ np.swapaxes(lower, 1, 2)
    value = _at_sigma(log_g, unit.S, nu) + 0.5 * (z**2).sum(axis=1) + np.log(w)
    top = value.max(axis=1, keepdims=True)
    share = np.exp(value - top)
    total = share.sum(axis=1)
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return top[:, 0] + np.log(total) + volume - unit.penalty, share / total[:, None], np.exp(-log_g)


def _degrees(data: JointMoments) -> FloatArray:
    """nu (T,)."""
    degrees: FloatArray = data.n.sum(axis=0) - np.bincount(data.column[: data.n_fixed], minlength=data.n.shape[1]) - 1
    return degrees


def _unit(data: JointMoments, omega: FloatArray, whole: JointMoments | None = None, effects: bool = True) -> _Unit:
    """The model with every sigma 1; whole: the data that the fixed effects come from, where ``data`` are some schools."""
    P = data.n_fixed
    N, Nz, A_inverse, delta, penalty, S = _solve(data if whole is None else whole, omega)
    if not effects:
        return _Unit(penalty, S, *[np.empty(0)] * 5)
    if whole is not None:
        N, Nz = _inner(data, omega)[::2]
    root = np.sqrt(data.n)[..., None]
    w = root * (Nz[..., P:] - Nz[..., :P] @ delta[:, None])
    HX, H = root * Nz[..., :P], root * N * np.swapaxes(root, -1, -2)
    prior = omega[:, None]
    sensitivity = prior @ HX
    return _Unit(penalty, S, prior @ w, prior - prior @ H @ prior, sensitivity, A_inverse, delta)


def _inner(data: JointMoments, omega: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """N = (I + D^1/2 Omega D^1/2)^-1 (G, J, T, T), log|N^-1| (G, J), and N times the scaled cell sums (G, J, T, Q)."""
    root, T = np.sqrt(data.n), data.n.shape[1]
    inner = np.moveaxis(omega, 0, -1)[..., None] * root.T[:, None, None] * root.T[None, :, None]
    inner[np.arange(T), np.arange(T)] += 1.0
    inverse, logdet = invert(inner)
    N = np.moveaxis(inverse, (0, 1), (-2, -1))
    return N, logdet, N[..., data.column] * data.z[:, None]


def precisions(data: JointMoments, omega: FloatArray) -> FloatArray:
    """(G, J, T, T): H_j = Z'V^-1 Z at Omega (G, T, T), every sigma 1."""
    root = np.sqrt(data.n)[..., None]
    H: FloatArray = root * _inner(data, omega)[0] * np.swapaxes(root, -1, -2)
    return H


def _solve(data: JointMoments, omega: FloatArray) -> tuple[FloatArray, ...]:
    """N, Nz of :func:`_inner`; A^-1 (G, P, P), coefficients by response (G, P, T), half log determinants, S."""
    P, column = data.n_fixed, data.column
    N, logdet, Nz = _inner(data, omega)
    cross = np.repeat(data.within[None], len(omega), axis=0)
    for t in range(data.n.shape[1]):
        cross[:, column == t] += data.z[:, column == t].T @ Nz[:, :, t]
    A_inverse, logdet_A = invert(np.moveaxis(cross[:, :P, :P], 0, -1))
    A_inverse = np.moveaxis(A_inverse, -1, 0)
    delta = A_inverse @ cross[:, :P, P:]
    S = cross[:, P:, P:] - cross[:, P:, :P] @ delta
    return N, Nz, A_inverse, delta, 0.5 * (logdet.sum(axis=-1) + logdet_A), (S + np.swapaxes(S, 1, 2)) / 2


def _cohort(data: JointMoments, t: int) -> Compressed:
    """The sums of one cohort alone."""
    own = np.flatnonzero(data.column == t)
    there = data.n[:, t] > 0
    n, z = data.n[there, t], data.z[there][:, own]
    sums = z * np.sqrt(n)[:, None]
    return compress_cells(n[None], sums[None], (data.within[np.ix_(own, own)] + z.T @ z)[None])


def _schools(data: JointMoments, rows: np.ndarray) -> JointMoments:
    """Some of the schools."""
    return replace(data, schools=data.schools[rows], n=data.n[rows], z=data.z[rows])


def node_blocks(M: int, data: JointMoments) -> Iterator[slice]:
    """Nodes in blocks whose arrays stay small."""
    size = max(1, BLOCK // (len(data.n) * data.n.shape[1] * len(data.column)))
    return (slice(first, min(first + size, M)) for first in range(0, M, size))


def _omega(x: FloatArray, T: int) -> tuple[FloatArray, FloatArray]:
    """Omega / sigma sigma' (G, T, T) at x (G, d): log phi, then y; and the log density of the prior in x."""
    R, density = correlations(x[:, T:], T)
    log_phi = x[:, :T]
    return np.exp(log_phi[:, :, None] + log_phi[:, None, :]) * R, density + log_phi.sum(axis=1)


def _draw(data: JointMoments, centre: FloatArray, order: float, random: int | np.random.Generator) -> JointNodes:
    """Weighted draws for T > 2 cohorts; centre (T,): modes of log phi_t by each cohort alone."""
    rng, T, nu = np.random.default_rng(random), data.n.shape[1], _degrees(data)

    def log_density(x: FloatArray) -> FloatArray:
        omega, prior = _omega(x, T)
        return _log_density(data, omega) + prior

    def evaluate(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        omega, prior = _omega(x, T)
        z = rng.standard_normal((len(x), T))
        solved = [_solve(data, omega[rows])[4:] for rows in node_blocks(len(x), data)]
        penalty, S = (np.concatenate(part) for part in zip(*solved, strict=True))
        density, sigma = drawn_sigma(penalty, S, nu, z)
        return density + prior, sigma

    location, scale = mode(log_density, np.concatenate([centre, np.full(T * (T - 1) // 2, 0.3)]))
    sizes = DRAWS if len(data.n) <= MANY_SCHOOLS else (DRAWS[0],) * 2
    x, sigma, log_weight = weighted_draws(evaluate, location, scale, sizes, rng)
    keep, kept, effective, k = kept_draws(log_weight)
    omega, share = _omega(x, T)[0][keep], np.ones((len(kept), 1))
    return JointNodes(data, omega, kept, share, sigma[keep, None], order, None, None, effective, k)


def drawn_sigma(penalty: FloatArray, S: FloatArray, nu: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log density (G,) of draws of log g from its normal approximation, less that of the draw, and sigma (G, T); penalty
    (G,): half log determinants, z (G, T): standard normal."""
    eta, lower = _mode_of_sigma(S, nu)
    log_g = eta + (lower @ z[..., None])[..., 0]
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    value = _at_sigma(log_g[:, None], S, nu)[:, 0] + 0.5 * (z**2).sum(axis=1)
    return value + volume - penalty, np.exp(-log_g)


def mode_density(penalty: FloatArray, S: FloatArray, nu: FloatArray) -> FloatArray:
    """(G,) log density with log g integrated by its normal approximation."""
    return drawn_sigma(penalty, S, nu, np.zeros((len(S), len(nu))))[0]
