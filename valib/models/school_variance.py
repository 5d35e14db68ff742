"""One cohort whose schools have residual variances of their own, drawn from a common distribution and shrunk towards it.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij ~ N(0, sigma2_j),   sigma2_j ~ nu s2 / chi2_nu

(a scaled inverse chi-square, which is an inverse gamma). A school enters through n_j, its means and its cross-products within.
With d_j = n_j - 1, W_j = sum_i (r_ij - rbar_j)^2 and r = y - x'b, the likelihood of the school, its variance integrated out, is

    L_j = [ Gamma((nu + d_j)/2) / Gamma(nu/2)  (nu s2 / 2)^(nu/2)  ((nu s2 + W_j)/2)^(-(nu + d_j)/2)  (2 pi)^(-d_j/2) ]
          E{ N(rbar_j; 0, tau2 + sigma2/n_j) / sqrt(n_j) },   sigma2 ~ (nu s2 + W_j) / chi2_(nu + d_j)

by the trapezoidal rule in log sigma2, which leaves about 1e-10. (tau, s2, nu) maximise it, b within them by Newton steps; REML
is by Laplace's approximation of the integral over b, which is exact where the variances are equal (nu infinite, a legal answer
on the boundary). Given the data a school's variance has the weights q_jg on the nodes sigma2_jg, and

    u_hat_j = lambda_j rbar_j,   lambda_j = E_q[ n_j tau2 / (n_j tau2 + sigma2) ]
    Var(u_j | y, b) = E_q[ tau2 (1 - lambda) ] + rbar_j^2 Var_q(lambda)

What is not known of nu matters for limits, above all on its boundary, where a plug-in limit would say that all schools vary
alike: limits are mixtures over nodes of omega = sqrt(2 / nu), about the standard deviation of log sigma2_j over schools, with a
flat prior on it, as on tau; s2 is at its maximum on every node, or, of few students, on nodes too.

Sources: Smyth (2004, Statistical Applications in Genetics and Molecular Biology 3, 3) for the empirical Bayes variances;
Raudenbush and Bryk (1987, Journal of Educational Statistics 12, 241-269) for the question asked of schools; Bartlett (1937,
Proceedings of the Royal Society A 160, 268-282) for the test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import Blup, factor
from .mixed import MixedFit, fit_moments, unshift
from .options import Method

NODES, TAIL = 32, 1e-10  # of log sigma2 for each school, and the mass left out at either end
FINE = 256  # nodes for quantiles of a school's variance
NU_RANGE = (0.2, 1e5)  # degrees of freedom of the common distribution; the upper end stands for equal variances
STARTS = (6.0, 30.0, 150.0)  # of nu
FLAT = 1e-6  # a log-likelihood less than this above that of equal variances is on the boundary
STEPS, CLOSE = 40, 1e-11  # of b: Newton steps, and the decrement that ends them
SPREADS, DROP, WIDEST = 7, 6.0, 3.0  # nodes of omega, the fall of the log-likelihood at which they end, the largest
HERMITE = ((-np.sqrt(3), 1 / 6), (0.0, 2 / 3), (np.sqrt(3), 1 / 6))  # nodes and weights of log s2,
MANY_STUDENTS = 400  # where there are fewer than so many students
MANY = 400  # schools from which omega is taken as known
NO_SPREAD = 1e-10  # variance of a school, of the largest, that is rounding
STILL = 1e-7  # tau over s, below which schools do not vary
ENDS = {"ftol": 1e-13, "gtol": 1e-6}  # of the search
STEP = 2e-3  # of the differences that the curvature in (tau, log s2, log nu) is found by


@dataclass(frozen=True, slots=True, eq=False)
class SchoolSums:
    """Sums of the scaled columns [X, y] of J schools: n (J,), mean (J, k), within (J, k, k) about the school's mean; scale
    (k,): what the columns were divided by."""

    n: FloatArray
    mean: FloatArray
    within: FloatArray
    scale: FloatArray

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.mean.shape[1]) - 1


@dataclass(frozen=True, slots=True, eq=False)
class SchoolPoint:
    """The model at (b, tau, s2, nu): log-likelihood, its gradient in b (p,) and A (p, p), less its Hessian; q (J, G) weights
    of the nodes sigma2 (J, G)."""

    loglik: float
    score: FloatArray
    A: FloatArray
    q: FloatArray
    sigma2: FloatArray


def school_sums(moments: Moments) -> SchoolSums:
    """The sums of one cohort's moments by cell, about the schools' means. ModelError without cross-products by cell."""
    if moments.cell_cross is None:
        raise ModelError(
            "Variances by school need the cross-products by school: compute the moments with by_cell=True."
        )
    n = moments.n[:, None]
    mean = moments.sums / n
    scale = np.sqrt(np.maximum(np.diag(moments.pooled()), np.finfo(float).tiny) / moments.n.sum())
    within = moments.cell_cross - moments.sums[:, :, None] * mean[:, None]
    diagonal = np.arange(within.shape[1])
    within[:, diagonal, diagonal] = np.maximum(within[:, diagonal, diagonal], 0.0)
    within[moments.n == 1] = 0.0
    return SchoolSums(moments.n, mean / scale, within / scale[:, None] / scale, scale)


def _nodes(df: FloatArray, size: int = NODES) -> tuple[FloatArray, FloatArray]:
    """Weights and nodes (J, size) of g = chi2_df / df for df (J,), by the trapezoidal rule in log g."""
    unique, code = np.unique(df, return_inverse=True)
    half = unique[:, None] / 2
    low, high = (np.log(inverse(half, TAIL)) - np.log(half) for inverse in (special.gammaincinv, special.gammainccinv))
    low = np.maximum(low, -600.0)
    x = low + (high - low) * np.linspace(0, 1, size)
    density = half * (x - np.expm1(x))
    weight = np.exp(density - density.max(axis=1, keepdims=True))
    return (weight / weight.sum(axis=1, keepdims=True))[code], np.exp(x)[code]


def _squares(sums: SchoolSums, b: FloatArray) -> FloatArray:
    """W (J,), the residual sum of squares of each school about its own mean."""
    a = np.append(-b, 1.0)
    squares: FloatArray = np.einsum("a,jab,b->j", a, sums.within, a)
    return np.maximum(squares, 0.0)


def evaluate(sums: SchoolSums, b: FloatArray, tau: float, s2: float, nu: float) -> SchoolPoint:
    """The model at b (p,), tau >= 0, s2 > 0 and nu > 0, inf for equal variances; everything in scaled units."""
    p, n, d = sums.p, sums.n, sums.n - 1
    a = np.append(-b, 1.0)
    reach = sums.within @ a
    W, rbar, xbar = np.maximum(reach @ a, 0.0), sums.mean @ a, sums.mean[:, :p]
    if np.isinf(nu):
        weight, sigma2 = np.ones((len(n), 1)), np.full((len(n), 1), s2)
        own = -0.5 * (d * np.log(2 * np.pi * s2) + W / s2)
    else:
        weight, g = _nodes(nu + d)
        total = nu * s2 + W
        sigma2 = total[:, None] / (nu + d)[:, None] / g
        own = special.gammaln((nu + d) / 2) - special.gammaln(nu / 2) - nu / 2 * np.log1p(W / (nu * s2))
        own -= d / 2 * np.log(np.pi * total)
    spread = sigma2 + n[:, None] * tau**2
    log_mean = -0.5 * (np.log(2 * np.pi * spread) + n[:, None] * rbar[:, None] ** 2 / spread)
    largest = log_mean.max(axis=1, keepdims=True)
    q = weight * np.exp(log_mean - largest)
    total_q = q.sum(axis=1, keepdims=True)
    q = q / total_q
    loglik = float((own + largest[:, 0] + np.log(total_q[:, 0])).sum())
    first, second = 1 / sigma2, n[:, None] / spread
    e1, e2 = (q * first).sum(axis=1), (q * second).sum(axis=1)
    u, m = reach[:, :p], xbar * rbar[:, None]
    A = np.einsum("j,jab->ab", e1, sums.within[:, :p, :p]) + (xbar * e2[:, None]).T @ xbar
    c11, c12, c22 = ((q * x * y).sum(axis=1) - ex * ey for x, y, ex, ey in _pairs(first, second, e1, e2))
    A -= (u * c11[:, None]).T @ u + (m * c22[:, None]).T @ m
    both = (u * c12[:, None]).T @ m
    A -= both + both.T
    return SchoolPoint(loglik, e1 @ u + e2 @ m, A, q, sigma2)


def _pairs(
    x: FloatArray, y: FloatArray, ex: FloatArray, ey: FloatArray
) -> tuple[tuple[FloatArray, FloatArray, FloatArray, FloatArray], ...]:
    """The three pairs of which the covariance is asked."""
    return (x, x, ex, ex), (x, y, ex, ey), (y, y, ey, ey)


def profile(
    sums: SchoolSums, b: FloatArray, tau: float, s2: float, nu: float, reml: bool
) -> tuple[float, FloatArray, SchoolPoint]:
    """Log-likelihood (restricted by Laplace), b and the point at the best b, by Newton steps from b (p,).

    Raises LinAlgError where no step goes up.
    """
    at = evaluate(sums, b, tau, s2, nu)
    for _ in range(STEPS):
        try:
            lower = np.linalg.cholesky(at.A)
        except np.linalg.LinAlgError:  # far from the maximum: information without what is missing of it
            ridge = np.abs(np.linalg.eigvalsh(at.A)).max()
            lower = np.linalg.cholesky(at.A + 2 * ridge * np.eye(sums.p))
        step = np.linalg.solve(lower.T, np.linalg.solve(lower, at.score))
        decrement = float(step @ at.score)
        if decrement < CLOSE:
            b = b + step
            at = evaluate(sums, b, tau, s2, nu)
            break
        new = evaluate(sums, b + step, tau, s2, nu)
        while new.loglik < at.loglik - 1e-9 * abs(at.loglik) and np.abs(step).max() > 1e-12:
            step = step / 4
            new = evaluate(sums, b + step, tau, s2, nu)
        b, at = b + step, new
    loglik = at.loglik
    if reml:
        loglik -= 0.5 * (np.linalg.slogdet(at.A)[1] - sums.p * np.log(2 * np.pi))
    return loglik, b, at


@dataclass(frozen=True, slots=True, eq=False)
class SchoolVariances:
    """A fitted model with residual variances of schools, the moments' shift undone.

    names: the p columns of X; coefficients (p,), vcov (p, p). tau2, tau2_se. s: the common residual standard deviation, the
    square root of s2; nu: degrees of freedom of the distribution of variances (inf on the boundary, where all are equal);
    log_s_se, log_nu_se: standard errors of their logarithms from the observed information (nan on the boundary).
    loglik, common_loglik: of this model, and of the one with one variance. singular: tau2 is 0; boundary: nu is infinite.

    schools (J,), n (J,); own_sd (J,): the school's own residual standard deviation, W_j / (n_j - 1) at the estimate of b
    (nan for one student); sd (J,): shrunken, 1 / sqrt(E[1 / sigma2_j | y]). effects: BLUPs with the schools' own variances.
    sums, b (p,), point, and par = (tau, s2, nu) in scaled units: for the posterior; nodes (K, 4): nu, s2,
    weight, factor of the quadrature.
    """

    names: tuple[str, ...]
    coefficients: FloatArray
    vcov: FloatArray
    tau2: float
    tau2_se: float
    s: float
    log_s_se: float
    nu: float
    log_nu_se: float
    loglik: float
    common_loglik: float
    method: Method
    singular: bool
    boundary: bool
    schools: np.ndarray
    n: FloatArray
    own_sd: FloatArray
    sd: FloatArray
    effects: Blup
    sums: SchoolSums
    b: FloatArray
    point: SchoolPoint
    par: tuple[float, float, float]
    nodes: FloatArray

    @property
    def sigma2(self) -> float:
        """The common residual variance s2."""
        return self.s**2

    @property
    def sigma2_se(self) -> float:
        """Standard error of s2."""
        return 2 * self.s**2 * self.log_s_se

    @property
    def spread(self) -> float:
        """Standard deviation of log sigma_j over schools, 1/2 sqrt(trigamma(nu / 2)): about the share by which residual
        standard deviations differ."""
        return 0.5 * float(np.sqrt(special.polygamma(1, self.nu / 2))) if np.isfinite(self.nu) else 0.0

    @property
    def n_students(self) -> int:
        """Students."""
        return round(float(self.n.sum()))

    @property
    def n_groups(self) -> int:
        """Schools."""
        return len(self.n)

    @property
    def statistic(self) -> float:
        """Likelihood ratio against one variance for all."""
        return max(2 * (self.loglik - self.common_loglik), 0.0)

    @property
    def p(self) -> float:
        """Its p-value: the spread lies on its boundary under the null, so half chi2 with 0 and half with 1 degree of
        freedom (Self and Liang 1987)."""
        return 1.0 if self.statistic == 0 else float(0.5 * stats.chi2.sf(self.statistic, 1))

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """(J,) central intervals of sigma_j given the data, over the nodes of (nu, s2)."""
        log, density = zip(*(self._fine(nu, s2) for nu, s2, _, _ in self.nodes), strict=True)
        x, mass = (
            np.concatenate(log, axis=1),
            np.concatenate([w * d for (_, _, w, _), d in zip(self.nodes, density, strict=True)], 1),
        )
        order = np.argsort(x, axis=1)
        x, mass = np.take_along_axis(x, order, 1), np.take_along_axis(mass, order, 1)
        cdf = np.cumsum(mass, axis=1) - mass / 2
        ends = [
            np.exp(0.5 * np.array([np.interp(tail, c, v) for c, v in zip(cdf, x, strict=True)])) * self.sums.scale[-1]
            for tail in ((1 - level) / 2, (1 + level) / 2)
        ]
        return ends[0], ends[1]

    def _fine(self, nu: float, s2: float) -> tuple[FloatArray, FloatArray]:
        """Nodes (J, FINE) of log sigma2_j given (nu, s2) and their masses; of equal variances those of the common one."""
        shape = (len(self.n), FINE)
        if np.isinf(nu):
            z, wide = np.linspace(-6, 6, FINE), (2.0 if len(self.nodes) <= SPREADS else 1.0) * self.log_s_se
            mass = np.exp(-(z**2) / 2)
            return np.broadcast_to(np.log(s2) + wide * z, shape), np.broadcast_to(mass / mass.sum(), shape)
        a, W = np.append(-self.b, 1.0), _squares(self.sums, self.b)
        weight, g = _nodes(nu + self.n - 1, FINE)
        sigma2 = (nu * s2 + W)[:, None] / (nu + self.n - 1)[:, None] / g
        spread = sigma2 + self.n[:, None] * self.par[0] ** 2
        log_mean = -0.5 * (np.log(spread) + (self.n * (self.sums.mean @ a) ** 2)[:, None] / spread)
        q = weight * np.exp(log_mean - log_mean.max(axis=1, keepdims=True))
        return np.log(sigma2), q / q.sum(axis=1, keepdims=True)


def fit_schools(moments: Moments, method: Method = "ML") -> SchoolVariances:
    """Fit the model with residual variances of schools to the sums of one cohort.

    Parameters
    ----------
    moments : Moments
        With cross-products by cell (``by_cell=True``); the cells are the schools.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood by Laplace's approximation.

    Returns
    -------
    SchoolVariances
        Coefficients, variances, effects and their errors.

    Raises
    ------
    ModelError
        As for :func:`valib.fit_moments`; and for fewer than three schools with two students, of which no distribution of
        variances can be known.

    Notes
    -----
    See the module. The model with equal variances is its boundary, so that the log-likelihood is never below that one's.
    """
    common = fit_moments(moments, method)
    sums, reml = school_sums(moments), method == "REML"
    if (sums.n > 1).sum() < 3:
        raise ModelError(
            f"Residual variances of schools need at least three schools with two students; there are {(sums.n > 1).sum()}."
        )
    tau, s2 = float(np.sqrt(common.tau2)) / sums.scale[-1], common.sigma2 / sums.scale[-1] ** 2
    b: FloatArray = common.optimum.at.b[0] / sums.scale[-1] * sums.scale[:-1]
    equal = profile(sums, b, tau, s2, np.inf, reml)
    par, best = _search(sums, reml, b, max(tau, 0.05 * np.sqrt(s2)), s2)
    boundary = best[0] < equal[0] + FLAT or par[2] > 0.5 * NU_RANGE[1]
    if boundary:
        par, best = (tau, s2, np.inf), equal
    return _result(moments, sums, common, par, best, boundary, method)


def _spread_nodes(
    sums: SchoolSums, reml: bool, b: FloatArray, par: tuple[float, float, float], loglik: float
) -> FloatArray:
    """(K, 4): nu, s2, weight and factor of the quadrature, on even nodes of omega = sqrt(2 / nu), with a flat prior on it,
    and of few students on three Gauss-Hermite nodes of log s2 for each; tau is held."""
    tau, s2, nu = par
    if len(sums.n) >= MANY:
        return np.array([[nu, s2, 1.0, 1.0]])

    def at(log_s2: float, omega: float) -> float:
        return profile(sums, b, tau, float(np.exp(log_s2)), _degrees(omega), reml)[0]

    def best(omega: float) -> tuple[float, float, float]:
        """Log-likelihood, log s2 and its standard error at omega."""
        x, h = float(np.log(s2)), 1e-3
        for _ in range(4):
            low, value, high = (at(x + k * h, omega) for k in (-1, 0, 1))
            bend = max((2 * value - low - high) / h**2, 1e-2)
            step = float(np.clip((high - low) / (2 * h) / bend, -0.5, 0.5))
            x += step
            if abs(step) < 1e-4:
                break
        return value, x, float(1 / np.sqrt(bend))

    middle, ends = float(np.sqrt(2 / nu)), []
    for side in (-1, 1):
        step = 0.01
        while 0 < middle + side * step < WIDEST and best(middle + side * step)[0] > loglik - DROP:
            step *= 1.6
        ends.append(min(max(middle + side * step, 0.0), WIDEST))
    found, hermite = [], HERMITE if sums.n.sum() < MANY_STUDENTS else ((0.0, 1.0),)
    for k, omega in enumerate(np.linspace(ends[0], ends[1], SPREADS)):
        top, x, error = best(float(omega))
        for z, w in hermite:
            value = at(x + z * error, float(omega)) if z else top
            factor = (
                w * np.exp(z**2 / 2) * (error if len(hermite) > 1 else 1.0) * (0.5 if k in (0, SPREADS - 1) else 1.0)
            )
            found.append((_degrees(float(omega)), np.exp(x + z * error), value, factor))
    nodes = np.array(found)
    nodes[:, 2] = nodes[:, 3] * np.exp(nodes[:, 2] - nodes[:, 2].max())
    nodes[:, 2] /= nodes[:, 2].sum()
    return nodes


def _degrees(omega: float) -> float:
    """nu = 2 / omega^2."""
    return float("inf") if omega < 1e-4 else 2 / omega**2


def _unpack(x: FloatArray) -> tuple[float, float, float]:
    """(tau, s2, nu) of x = (tau / s, log s2, log nu)."""
    s2 = float(np.exp(x[1]))
    return abs(float(x[0])) * float(np.sqrt(s2)), s2, float(np.exp(x[2]))


def _search(
    sums: SchoolSums, reml: bool, b: FloatArray, tau: float, s2: float
) -> tuple[tuple[float, float, float], tuple[float, FloatArray, SchoolPoint]]:
    """The best (tau, s2, nu) and the model there, from the best of several starts of nu."""
    held = [b]

    def deviance(x: FloatArray) -> float:
        loglik, held[0], _ = profile(sums, held[0], *_unpack(x), reml)
        return -2 * loglik

    starts = [np.array([tau / np.sqrt(s2), np.log(s2), np.log(nu)]) for nu in STARTS]
    x = starts[int(np.argmin([deviance(s) for s in starts]))]
    bounds = [(-1e3, 1e3), (x[1] - 20, x[1] + 20), tuple(np.log(NU_RANGE))]
    found = optimize.minimize(deviance, x, method="L-BFGS-B", jac="2-point", bounds=bounds, options=ENDS)
    x = _polish(deviance, found.x)
    return _unpack(x), profile(sums, held[0], *_unpack(x), reml)


def _polish(deviance: object, x: FloatArray) -> FloatArray:
    """Two Newton steps with differences of the deviance, kept where they go down; inside the range of nu only."""
    for _ in range(2):
        if x[2] > np.log(NU_RANGE[1]) - 1 or x[2] < np.log(NU_RANGE[0]) + 0.1 or abs(x[0]) < STILL:
            return x
        gradient, hessian = _differences(deviance, x)
        try:
            new = x - np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return x
        if np.abs(new - x).max() > 0.1 or deviance(new) > deviance(x):  # type: ignore[operator]
            return x
        x = new
    return x


def _differences(f: object, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient and Hessian of f at x (m,) by central differences."""
    m, call = len(x), f
    assert callable(call)
    steps = STEP * np.eye(m)
    up, down, here = (np.array([call(x + k * s) for s in steps]) for k in (1, -1, 0))
    gradient = (up - down) / (2 * STEP)
    hessian = np.diag((up - 2 * here + down) / STEP**2)
    for i in range(m):
        for j in range(i):
            value = call(x + steps[i] + steps[j]) + call(x - steps[i] - steps[j]) - up[i] - up[j] - down[i] - down[j]
            hessian[i, j] = hessian[j, i] = (value + 2 * here[i]) / (2 * STEP**2)
    return gradient, hessian


def _variance_errors(
    sums: SchoolSums, par: tuple[float, float, float], b: FloatArray, reml: bool, common: MixedFit
) -> tuple[float, float, float]:
    """Standard errors of tau (scaled), log s and log nu; of the model with one variance on the boundary of nu."""
    tau, s2, nu = par
    size = sums.scale[-1]
    if np.isinf(nu):
        tau_se = common.tau2_se / size**2 / (2 * tau) if tau > 0 else float("nan")
        return tau_se, common.sigma2_se / common.sigma2 / 2, float("nan")
    held = [b]

    def deviance(x: FloatArray) -> float:
        loglik, held[0], _ = profile(sums, held[0], abs(float(x[0])), float(np.exp(x[1])), float(np.exp(x[2])), reml)
        return -2 * loglik

    hessian = _differences(deviance, np.array([tau, np.log(s2), np.log(nu)]))[1] / 2
    keep = np.arange(3) >= int(tau <= STILL * np.sqrt(s2))
    errors = np.full(3, np.nan)
    values = np.linalg.eigvalsh(hessian[np.ix_(keep, keep)])
    if values[0] > 0:
        errors[keep] = np.sqrt(np.diag(np.linalg.inv(hessian[np.ix_(keep, keep)])))
    return float(errors[0]), float(errors[1] / 2), float(errors[2])


def _result(
    moments: Moments,
    sums: SchoolSums,
    common: MixedFit,
    par: tuple[float, float, float],
    best: tuple[float, FloatArray, SchoolPoint],
    boundary: bool,
    method: Method,
) -> SchoolVariances:
    """Undo scales and shift, and predict the schools."""
    reml, size, (loglik, b, at) = method == "REML", sums.scale[-1], best
    tau, s2, nu = par
    singular = bool(tau <= STILL * np.sqrt(s2))
    tau = 0.0 if singular else tau
    errors = _variance_errors(sums, (tau, s2, nu), b, reml, common)
    undo = unshift(moments)
    linear = undo[:-1, :-1] * (size / sums.scale[:-1])
    constant = sums.n.sum() * np.log(size)
    if reml:
        constant += -sums.p * np.log(size) + float(np.log(sums.scale[:-1]).sum())
    own_sd = size * np.sqrt(_squares(sums, b) / np.where(sums.n > 1, sums.n - 1, np.nan))
    total = loglik - constant
    return SchoolVariances(
        moments.names[:-1],
        linear @ b + undo[:-1, -1],
        linear @ np.linalg.inv(at.A) @ linear.T,
        tau**2 * size**2,
        float("nan") if singular else 2 * tau * errors[0] * size**2,
        float(np.sqrt(s2) * size),
        errors[1],
        nu,
        errors[2],
        common.loglik if boundary else max(total, common.loglik),
        common.loglik,
        method,
        singular,
        boundary,
        moments.schools[moments.cell_school],
        sums.n,
        own_sd,
        size / np.sqrt((at.q / at.sigma2).sum(axis=1)),
        school_blup(sums, b, tau, at, size),
        sums,
        b,
        at,
        (tau, s2, nu),
        _spread_nodes(sums, reml, b, (tau, s2, nu), loglik),
    )


def school_blup(sums: SchoolSums, b: FloatArray, tau: float, at: SchoolPoint, size: float) -> Blup:
    """BLUPs and their errors in score points, from the weights of every school's variance."""
    n, D = sums.n[:, None], tau**2
    lam = n * D / (n * D + at.sigma2)
    known = (at.q * lam).sum(axis=1)
    residual = sums.mean @ np.append(-b, 1.0)
    own = D * (1 - known) + residual**2 * np.maximum((at.q * lam**2).sum(axis=1) - known**2, 0.0)
    root = factor(np.asarray(np.linalg.inv(at.A), dtype=np.float64))
    common = known[:, None] * (sums.mean[:, :-1] @ root)
    shared = (common**2).sum(axis=1)
    a, b2, c = (size**2 * v for v in (own, own + shared, np.maximum(D * known - shared, 0.0)))
    return Blup(size * known * residual, known, size * residual, a, b2, c, size * common)


@dataclass(frozen=True, slots=True, eq=False)
class VarianceTest:
    """Bartlett's test that the residual variances of schools are equal, from their own within-school variances.

    statistic: Bartlett's, with his correction; df: schools less one. p: from the exact mean, variance and skewness of the
    statistic where all variances are equal and residuals normal. p_chi2: from chi2 with df degrees of freedom, which is
    wrong where schools are small. variance (J,), df_school (J,): s2_j and d_j, nan and 0 for schools that do not enter.
    """

    statistic: float
    df: int
    p: float
    p_chi2: float
    variance: FloatArray
    df_school: FloatArray


def variance_test(sums: SchoolSums) -> VarianceTest:
    """The test from the sums of one cohort by school.

    b is estimated within schools, so that the schools' effects do not matter; d_j = n_j - 1 - tr(A^-1 X_j'X_j), the
    degrees of freedom that b leaves school j (A, X_j of deviations from school means). Raises ModelError for fewer than two
    schools with two students, and for schools whose students fit perfectly, of which the statistic is infinite.
    """
    p = sums.p
    xx = sums.within[:, :p, :p]
    A = np.linalg.pinv(xx.sum(axis=0), rcond=1e-9, hermitian=True)
    b = A @ sums.within[:, :p, p].sum(axis=0)
    a = np.append(-b, 1.0)
    W = np.einsum("a,jab,b->j", a, sums.within, a)
    d = sums.n - 1 - np.einsum("ab,jba->j", A, xx)
    enter = (sums.n > 1) & (d > 1e-6)
    if enter.sum() < 2:
        raise ModelError("A test of equal variances needs two schools with two students at least.")
    variance = np.where(enter, W / np.where(enter, d, 1.0), np.nan)
    if (variance[enter] <= NO_SPREAD * np.nanmax(variance)).any():
        raise ModelError(
            "The students of a school fit perfectly, so that its residual variance is 0 and the test of equal variances "
            "cannot be made."
        )
    statistic, df, p_value, p_chi2 = bartlett(variance[enter], d[enter])
    return VarianceTest(statistic, df, p_value, p_chi2, variance * sums.scale[-1] ** 2, np.where(enter, d, 0.0))


def bartlett(variance: FloatArray, df: FloatArray) -> tuple[float, int, float, float]:
    """Bartlett's statistic of variances (K,) with degrees of freedom df (K,), K - 1, and its two p-values.

        M = d log(sum_k d_k s2_k / d) - sum_k d_k log s2_k,   d = sum_k d_k,   B = M / C
        C = 1 + (sum_k 1/d_k - 1/d) / (3 (K - 1))

    Where all variances are equal, d_k s2_k / sum are Dirichlet with d_k / 2, so that the cumulants of M are
    kappa_r = sum_k (-d_k)^r psi_(r-1)(d_k/2) - (-d)^r psi_(r-1)(d/2), with a shift in the mean (psi polygamma functions): the
    p-value is that of the gamma distribution with M's first three. C makes B chi2 with K - 1 degrees of freedom where every
    d_k is large.
    """
    K, d = len(df), float(df.sum())
    M = float(d * np.log(df @ variance / d) - df @ np.log(variance))
    C = 1 + float((1 / df).sum() - 1 / d) / (3 * (K - 1))
    mean = d * (special.digamma(d / 2) - np.log(d / 2)) - float(df @ (special.digamma(df / 2) - np.log(df / 2)))
    second, third = (
        float(((-df) ** r * special.polygamma(r - 1, df / 2)).sum() - (-d) ** r * special.polygamma(r - 1, d / 2))
        for r in (2, 3)
    )
    shape = 4 * second**3 / third**2
    scale = third / (2 * second)
    return M / C, K - 1, float(stats.gamma.sf((M - mean) / scale + shape, shape)), float(stats.chi2.sf(M / C, K - 1))
