"""One cohort whose groups of students vary by themselves: a random intercept and a residual variance for each group.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij ~ N(0, sigma2_k(i)),   omega_k = 1 / sigma2_k

k(i) is the group of student i (nlme's varIdent). The students enter through n_jk and s_jk = sum z of z = [x, y] by school and
group, and the cross-products C_k = sum z z' by group. With a_j = sum_k omega_k n_jk, t_j = sum_k omega_k s_jk and
w_j = tau2 / (1 + tau2 a_j), Woodbury's identity gives

    M = sum_k omega_k C_k - sum_j w_j t_j t_j' = [A c; c' q],   b = A^-1 c,   rss = q - c'b
    -2 l = dof log 2 pi - sum_k n_k log omega_k + sum_j log(1 + tau2 a_j) + rss  (+ log|A| for REML),   dof = N (N - p)

The search moves (tau, log sigma_k) by Newton's method with exact derivatives (:mod:`valib.models.newton`). The deviance is even
in tau, so that tau = 0 is an inner point of it. With e_jk = s_jk - n_jk w_j t_j and v_j = 1 / (1 + tau2 a_j)

    dM / domega_k = sum_{i in k} (z_i - w_j t_j)(z_i - w_j t_j)'      dM / dtau2 = - sum_j v_j^2 t_j t_j'
    d2M / domega_k domega_l = - sum_j w_j (e_jk e_jl' + e_jl e_jk')
    d2M / domega_k dtau2    = - sum_j v_j^2 (e_jk t_j' + t_j e_jk')

The BLUP is u_hat_j = w_j t_j'(-b, 1): every student counts by the precision of the own group. Where the variance follows a
covariate v instead, Var(e_ij) = sigma2 exp(2 delta (v_ij - vbar)) (nlme's varExp), the sums are weighted by
exp(-2 delta (v_ij - vbar)), and delta is found on a line outside. Source: Pinheiro and Bates (2000, section 5.2), whose
nlme the values are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.design import Cells
from ..sums.moments import Moments, moments_from_arrays
from .blup import Blup, factor
from .mixed import MixedFit, fit_moments, unshift
from .newton import End, OneValue, minimise
from .options import Method

SINGULAR = 1e-6  # tau over sigma, below which schools do not vary
NONE_LEFT = 1e-6  # sigma of a group over that of all, below which the group fits perfectly


@dataclass(frozen=True, slots=True, eq=False)
class GroupSums:
    """Sums of the scaled columns [X, y] about a shift, J schools and K groups of students.

    n (J, K), s (J, K, k), C (K, k, k), of students or of their weights; scale (k,): what the columns were divided by;
    count (K,): students.
    """

    n: FloatArray
    s: FloatArray
    C: FloatArray
    scale: FloatArray
    count: FloatArray

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return int(self.C.shape[-1]) - 1


@dataclass(frozen=True, slots=True, eq=False)
class GroupPoint(OneValue):
    """The model at one (tau2, omega): the deviance without its constant, b (p,), A_inverse (p, p), and by school a (J,),
    t (J, k), v (J,), w (J,)."""

    deviance: float
    b: FloatArray
    A_inverse: FloatArray
    a: FloatArray
    t: FloatArray
    v: FloatArray
    w: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class GroupProblem:
    """The deviance in x = (tau, log sigma_1 .. log sigma_K), in units of the scaled response; with ``tau`` given it is
    held, and x = log sigma."""

    sums: GroupSums
    reml: bool
    tau: float | None = None

    def _parts(self, x: FloatArray) -> tuple[float, FloatArray]:
        """tau and omega (K,)."""
        free = self.tau is None
        tau = float(x[0]) if self.tau is None else self.tau
        return tau, np.exp(-2 * x[1:] if free else -2 * x)

    def value(self, x: FloatArray) -> GroupPoint:
        """The model at x; LinAlgError where A is not positive definite."""
        sums, (tau, omega) = self.sums, self._parts(x)
        p, D = sums.p, tau**2
        a = sums.n @ omega
        t = np.einsum("jkc,k->jc", sums.s, omega)
        v = 1 / (1 + D * a)
        w = D * v
        M = np.einsum("k,kab->ab", omega, sums.C) - (t * w[:, None]).T @ t
        lower = np.linalg.cholesky(M[:p, :p])
        A_inverse = np.linalg.inv(M[:p, :p])
        b = A_inverse @ M[:p, p]
        rss = float(M[p, p] - M[p, :p] @ b)
        deviance = rss - float(sums.count @ np.log(omega)) - float(np.log(v).sum())
        deviance += 2 * float(np.log(np.diag(lower)).sum()) if self.reml else 0.0
        return GroupPoint(deviance, b, A_inverse, a, t, v, w)

    def derivatives(self, x: FloatArray, at: GroupPoint) -> tuple[FloatArray, FloatArray]:
        """Gradient and Hessian in x, by the chain rule from those in (tau2, omega)."""
        tau, omega = self._parts(x)
        gradient, hessian = _derivatives(self.sums, at, omega, self.reml)
        first = np.concatenate([[2 * tau], -2 * omega])
        hessian = hessian * np.outer(first, first)
        hessian[np.diag_indices_from(hessian)] += gradient * np.concatenate([[2.0], 4 * omega])
        gradient = gradient * first
        return (gradient, hessian) if self.tau is None else (gradient[1:], hessian[1:, 1:])


def _moves(sums: GroupSums, at: GroupPoint) -> tuple[FloatArray, FloatArray]:
    """First (K + 1, k, k) and second (K + 1, K + 1, k, k) derivatives of M in (tau2, omega)."""
    K, k = sums.n.shape[1], sums.C.shape[-1]
    wt, vt = at.w[:, None] * at.t, at.v[:, None] * at.t
    first, second = np.empty((K + 1, k, k)), np.empty((K + 1, K + 1, k, k))
    cross = np.einsum("jka,jb->kab", sums.s, wt, optimize=True)
    first[0] = -vt.T @ vt
    first[1:] = sums.C - cross - np.swapaxes(cross, 1, 2)
    first[1:] += np.einsum("jk,ja,jb->kab", sums.n, wt, wt, optimize=True)
    e = sums.s - sums.n[:, :, None] * wt[:, None]
    second[0, 0] = 2 * (vt * (at.v * at.a)[:, None]).T @ vt
    mixed = -np.einsum("jka,jb->kab", e * (at.v**2)[:, None, None], at.t, optimize=True)
    second[1:, 0] = second[0, 1:] = mixed + np.swapaxes(mixed, 1, 2)
    pairs = -np.einsum("jka,jlb->klab", e * at.w[:, None, None], e, optimize=True)
    second[1:, 1:] = pairs + np.swapaxes(pairs, 2, 3)
    return first, second


def _derivatives(sums: GroupSums, at: GroupPoint, omega: FloatArray, reml: bool) -> tuple[FloatArray, FloatArray]:
    """Gradient (K + 1,) and Hessian (K + 1, K + 1) of the deviance in (tau2, omega)."""
    p, (first, second) = sums.p, _moves(sums, at)
    a = np.append(-at.b, 1.0)
    slope = first @ a
    gradient = slope @ a
    hessian = np.einsum("mnab,a,b->mn", second, a, a) - 2 * slope[:, :p] @ at.A_inverse @ slope[:, :p].T
    gradient[0] += at.v @ at.a
    gradient[1:] += at.w @ sums.n - sums.count / omega
    hessian[0, 0] -= (at.v**2) @ at.a**2
    hessian[1:, 0] += (at.v**2) @ sums.n
    hessian[0, 1:] += (at.v**2) @ sums.n
    hessian[1:, 1:] += np.diag(sums.count / omega**2) - (sums.n * (at.w**2)[:, None]).T @ sums.n
    if reml:
        B = at.A_inverse @ first[:, :p, :p]
        gradient = gradient + np.trace(B, axis1=1, axis2=2)
        bend = np.einsum("ij,mnji->mn", at.A_inverse, second[:, :, :p, :p])
        hessian = hessian + bend - np.einsum("mij,nji->mn", B, B)
    return gradient, hessian


@dataclass(frozen=True, slots=True)
class Slope:
    """How log sigma follows a covariate: delta a unit, delta_se; centre and spread, mean and standard deviation of the
    covariate; mean_factor: mean of exp(2 delta (v - centre)) over students."""

    delta: float
    delta_se: float
    centre: float
    spread: float
    mean_factor: float


@dataclass(frozen=True, slots=True, eq=False)
class GroupVariances:
    """A fitted model with a residual variance for each of K groups of students, the moments' shift undone.

    groups: K labels; n (K,): students. names: the p columns of X; coefficients (p,), vcov (p, p) = A^-1. tau2, tau2_se;
    sd (K,): residual standard deviations, score points, with log_sd_vcov (K, K) of their logarithms from the observed
    information. sigma2: mean residual variance over students. loglik; common_loglik: of the model with one variance for all.
    singular: tau2 is 0. schools (J,) with effects: their BLUPs. sums, point, x: for the posterior. slope: of a variance that
    follows a covariate, K = 1, sd being that at its mean.
    """

    groups: tuple[Any, ...]
    n: FloatArray
    names: tuple[str, ...]
    coefficients: FloatArray
    vcov: FloatArray
    tau2: float
    tau2_se: float
    sd: FloatArray
    log_sd_vcov: FloatArray
    loglik: float
    common_loglik: float
    method: Method
    singular: bool
    schools: np.ndarray
    school_n: FloatArray
    effects: Blup
    sums: GroupSums
    point: GroupPoint
    x: FloatArray
    slope: Slope | None = None

    @property
    def sigma2(self) -> float:
        """Mean residual variance over students."""
        more = 1.0 if self.slope is None else self.slope.mean_factor
        return more * float(self.n @ self.sd**2 / self.n.sum())

    @property
    def sigma2_se(self) -> float:
        """Its standard error (delta method)."""
        g = 2 * self.n * self.sd**2 / self.n.sum()
        return float(np.sqrt(max(g @ self.log_sd_vcov @ g, 0.0)))

    @property
    def n_students(self) -> int:
        """Students."""
        return round(float(self.n.sum()))

    @property
    def n_groups(self) -> int:
        """Schools."""
        return len(self.school_n)

    @property
    def statistic(self) -> float:
        """Likelihood ratio against one variance for all."""
        return max(2 * (self.loglik - self.common_loglik), 0.0)

    @property
    def df(self) -> int:
        """Its degrees of freedom."""
        return len(self.groups) - 1 if self.slope is None else 1

    @property
    def p(self) -> float:
        """Its p-value: chi2 (no variance lies on a boundary)."""
        return float(stats.chi2.sf(self.statistic, self.df))


def group_sums(moments: Moments) -> GroupSums:
    """The sums of moments whose ``cohorts`` are groups of students, scaled to columns of size about one."""
    J, K, k = len(moments.schools), len(moments.cohorts), len(moments.names)
    n, s = np.zeros((J, K)), np.zeros((J, K, k))
    n[moments.cell_school, moments.cell_cohort] = moments.n
    s[moments.cell_school, moments.cell_cohort] = moments.sums
    scale = np.sqrt(np.maximum(np.diag(moments.pooled()), np.finfo(float).tiny) / n.sum())
    return GroupSums(n, s / scale, moments.cross / scale[:, None] / scale, scale, n.sum(axis=0))


def fit_groups(moments: Moments, groups: Sequence[Any], method: Method = "ML") -> GroupVariances:
    """Fit the model with a residual variance for each group of students.

    Parameters
    ----------
    moments : Moments
        By school and group: the groups stand where cohorts do, 0 .. K - 1.
    groups : sequence
        Their labels (K,).
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.

    Returns
    -------
    GroupVariances
        Coefficients, variances, effects and their errors.

    Raises
    ------
    ModelError
        As for :func:`valib.fit_moments`; for fewer than two groups; for a group of one student, or whose students fit
        perfectly, which has no residual variance.

    Notes
    -----
    See the module. The search begins at the model with one variance, so that the log-likelihood is never below that one's.
    """
    common = fit_moments(moments.pool_cohorts(), method)
    if len(groups) < 2:
        raise ModelError("Residual variances by group need at least two groups of students; there is one.")
    sums, reml = group_sums(moments), method == "REML"
    if sums.count.min() < 2:
        few = groups[int(sums.count.argmin())]
        raise ModelError(f"The group {few!r} has one student, too few for a residual variance of its own.")
    start = _start(sums, common)
    end = _lowest(GroupProblem(sums, reml), start)
    if not end.converged or (end.x[1:] - start[1]).min() < np.log(NONE_LEFT):
        where = groups[int(np.argmin(end.x[1:]))]
        raise ModelError(f"The model fits the students of group {where!r} perfectly: they have no residual variance.")
    return _result(moments, tuple(groups), end, method, common)


def _lowest(problem: GroupProblem, start: tuple[float, float]) -> End[GroupProblem]:
    """The minimum from tau and a common log sigma."""
    end = minimise(problem, np.concatenate([[start[0]], np.full(len(problem.sums.count), start[1])]))
    if start[0] == 0.0:  # tau = 0 is stationary: look beside it too
        other = minimise(problem, np.concatenate([[0.2 * np.exp(start[1])], end.x[1:]]))
        end = other if other.at.deviance < end.at.deviance else end
    return end


def fit_exponential(
    X: FloatArray, y: FloatArray, cells: Cells, names: tuple[str, ...], v: FloatArray, method: Method = "ML"
) -> GroupVariances:
    """Fit the model whose residual variance follows a covariate, sigma2 exp(2 delta (v - vbar)).

    X (N, p), y (N,), v (N,); cells: the schools of the rows. ``sd`` of the result is that at the mean of v, its ``slope`` says
    the rest. Raises ModelError as :func:`fit_groups`, and for a v that does not vary.
    """
    plain = moments_from_arrays(X, y, cells, names)
    common, reml = fit_moments(plain, method), method == "REML"
    centre, spread = float(v.mean()), float(v.std())
    if spread <= 1e-12 * max(abs(centre), 1e-300):
        raise ModelError("The covariate of the residual variance is constant.")
    z = (v - centre) / spread
    whole = group_sums(plain)
    start = _start(whole, common)
    columns = [*(X.T - plain.shift[:-1, None]), y - plain.shift[-1]]
    Z = np.column_stack(columns) / whole.scale

    def at(slope: float) -> End[GroupProblem]:
        weight = np.exp(-2 * slope * z)
        own = Z * weight[:, None]
        s = np.stack([np.bincount(cells.code, c, len(cells.n)) for c in own.T], axis=1).astype(np.float64)
        n: FloatArray = np.bincount(cells.code, weight, len(cells.n)).astype(np.float64)
        sums = GroupSums(n[:, None], s[:, None], (Z.T @ own)[None], whole.scale, whole.count)
        return _lowest(GroupProblem(sums, reml), start)

    def deviance(slope: float) -> float:
        return float(at(slope).at.deviance)

    best = optimize.minimize_scalar(deviance, bracket=(-0.1, 0.1), tol=1e-9)
    slope = float(best.x) if best.fun < deviance(0.0) else 0.0
    bend = (deviance(slope + 0.01) - 2 * deviance(slope) + deviance(slope - 0.01)) / 1e-4
    error = float(np.sqrt(2 / bend)) / spread if bend > 0 else float("nan")
    found = _result(plain, ("at the mean",), at(slope), method, common)
    factor_of_mean = float(np.mean(np.exp(2 * slope * z)))
    return replace(found, slope=Slope(slope / spread, error, centre, spread, factor_of_mean))


def _start(sums: GroupSums, common: MixedFit) -> tuple[float, float]:
    """tau and log sigma of the model with one variance, in units of the scaled response."""
    return float(np.sqrt(common.tau2)) / sums.scale[-1], 0.5 * float(np.log(common.sigma2)) - float(
        np.log(sums.scale[-1])
    )


def _result(
    moments: Moments, groups: tuple[Any, ...], end: End[GroupProblem], method: Method, common: MixedFit
) -> GroupVariances:
    """Undo scales and shift, and predict the schools."""
    problem, x = end.problem, end.x
    sums, size = problem.sums, problem.sums.scale[-1]
    at = problem.value(x)
    undo = unshift(moments)
    linear = undo[:-1, :-1] * (size / sums.scale[:-1])
    n, tau = sums.count, abs(float(x[0]))
    N, p = n.sum(), sums.p
    dof = N - (p if problem.reml else 0)
    constant = dof * np.log(2 * np.pi) + 2 * dof * np.log(size)
    constant += 2 * float(np.log(sums.scale[:-1]).sum()) if problem.reml else 0.0
    singular = bool(tau < SINGULAR * np.exp(x[1:]).max())
    keep = np.arange(len(x)) >= int(singular)
    information = problem.derivatives(x, at)[1][np.ix_(keep, keep)] / 2
    errors = np.linalg.pinv(information)
    tau = 0.0 if singular else tau
    tau2_se = float("nan") if singular else 2 * tau * float(np.sqrt(max(errors[0, 0], 0.0))) * size**2
    loglik = -0.5 * (at.deviance + constant)
    sd: FloatArray = np.exp(x[1:]) * float(size)
    log_sd_vcov = np.asarray(errors[-len(n) :, -len(n) :], dtype=np.float64)
    return GroupVariances(
        groups,
        n,
        moments.names[:-1],
        linear @ at.b + undo[:-1, -1],
        linear @ at.A_inverse @ linear.T,
        tau**2 * size**2,
        tau2_se,
        sd,
        log_sd_vcov,
        max(loglik, common.loglik),
        common.loglik,
        method,
        singular,
        moments.schools,
        moments.by_school(moments.n[:, None])[:, 0],
        group_blup(at, tau**2, size),
        sums,
        at,
        x,
    )


def group_blup(at: GroupPoint, tau2: float, size: float) -> Blup:
    """BLUPs and their errors in score points; tau2 of the scaled response, ``size`` its scale."""
    known = tau2 * at.a / (1 + tau2 * at.a)
    residual = (at.t @ np.append(-at.b, 1.0)) / at.a
    own = tau2 * (1 - known)
    common = (known / at.a)[:, None] * (at.t[:, :-1] @ factor(at.A_inverse))
    shared = (common**2).sum(axis=1)
    a, b, c = (size**2 * v for v in (own, own + shared, np.maximum(known * tau2 - shared, 0.0)))
    return Blup(size * known * residual, known, size * residual, a, b, c, size * common)
