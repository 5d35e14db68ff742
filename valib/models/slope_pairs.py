"""Random slopes of two cohorts at once: every school has an intercept and slopes in both, by ML or REML from sums.

    y_ijc = x_ijc' b_c + z_ijc' g_jc + e_ijc,   c = s, t,   (g_js, g_jt) ~ N(0, G),   e_ijc ~ N(0, sigma2_c)

With many cohorts G has too many parameters; every pair of them, fitted by itself, gives all covariances (Fieuws and
Verbeke 2006). The response of a cohort is divided by its sigma_c, with gamma_c = 1 / sigma_c and its b and g measured in
sigma_c as well: that is the model of :mod:`valib.models.slopes` with 2q random effects, sigma 1, a block of D_j for each
cohort and the response gamma_s y_s + gamma_t y_t. With S (2, 2) the generalised residual cross-products of the two
responses at Lambda and nu_c = N_c (N_c - p_c for REML)

    -2 l = sum_j log|I + L' D_j L|  (+ log|A|)  + gamma' S gamma - 2 sum_c nu_c log gamma_c,   constants apart

minimised in the entries of L, unbounded as there, and in log gamma. A school that misses a cohort has D = 0 in its block.
Sources: Fieuws and Verbeke (2006); Pinheiro and Bates (2000), whose nlme the values are compared with; Leckie (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import factor
from .mixed import PERFECT, unshift
from .newton import End, OneValue, minimise
from .options import Method
from .slopes import (
    SlopeProfile,
    SlopesFit,
    SlopeSums,
    derivatives_in_lambda,
    entry_moves,
    factor_bend,
    factor_moves,
    fit_slopes,
    lower_factor,
    on_boundary,
    predict_slopes,
    slope_matrix,
    weigh,
)

BETWEEN = (0.9, 0.6, 0.0, -0.6)  # correlations of the two cohorts' effects from which searches start
SMALLEST = 0.03  # standard deviation over sigma that a start has at least


@dataclass(frozen=True, slots=True, eq=False)
class PairSums(SlopeSums):
    """Sums of two cohorts over J schools of either: D (2q, 2q, J) in blocks, the columns of W (2q, k, J) and cross (k, k)
    are [X_s, X_t, y_s, y_t]. by_cohort (J, 2): students; fixed: (p_s, p_t). ``turn`` has no response's size in it."""

    by_cohort: FloatArray
    fixed: tuple[int, int]

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return sum(self.fixed)

    @property
    def size(self) -> FloatArray:
        """(2,): score points in a unit of each scaled response."""
        return self.scale[self.p :]

    def degrees(self, reml: bool) -> FloatArray:
        """nu (2,)."""
        degrees: FloatArray = self.by_cohort.sum(axis=0) - (np.array(self.fixed) if reml else 0)
        return degrees

    def to_points(self, gamma: FloatArray) -> FloatArray:
        """(2q, 2q): effects in score points, about the means of the columns, from those scaled and measured in sigma_c."""
        unit: FloatArray = np.repeat(self.size / gamma, self.q // 2)[:, None] * self.turn
        return unit


@dataclass(frozen=True, slots=True, eq=False)
class PairProfile(OneValue):
    """The deviance at (L, gamma): one, the profile of the response gamma_s y_s + gamma_t y_t; S (2, 2) and r (2q, 2, J) of
    the two responses."""

    deviance: float
    one: SlopeProfile
    S: FloatArray
    r: FloatArray
    gamma: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairProblem:
    """The deviance in x: the entries of L (m,), row by row, then log gamma (2,)."""

    sums: PairSums
    reml: bool

    def value(self, x: FloatArray) -> PairProfile:
        """The profile at x; LinAlgError where X loses its rank."""
        return profile_pair(self.sums, lower_factor(x[:-2], self.sums.q), np.exp(x[-2:]), self.reml)

    def derivatives(self, x: FloatArray, at: PairProfile) -> tuple[FloatArray, FloatArray]:
        """Gradient (m + 2,) and Hessian by the chain rule from those in Lambda."""
        gradient, hessian = self.in_lambda(at, factor_moves(lower_factor(x[:-2], self.sums.q)))
        sigma_one = replace(at.one, rss=self.sums.dof(self.reml))
        hessian[:-2, :-2] += factor_bend(slope_matrix(self.sums, sigma_one, self.reml))
        return gradient, hessian

    def in_lambda(self, at: PairProfile, moves: FloatArray) -> tuple[FloatArray, FloatArray]:
        """First (m + 2,) and second derivatives along changes of Lambda, moves (m, 2q, 2q), and in log gamma."""
        m, gamma = len(moves), at.gamma
        gradient, hessian = np.empty(m + 2), np.empty((m + 2, m + 2))
        gradient[:m], hessian[:m, :m] = derivatives_in_lambda(self.sums, at.one, self.reml, moves, 1.0)
        own = gamma * (at.S @ gamma)
        gradient[m:] = 2 * (own - self.sums.degrees(self.reml))
        hessian[m:, m:] = 2 * (gamma[:, None] * at.S * gamma + np.diag(own))
        between = -2 * gamma * np.einsum("mab,acj,bj->mc", moves, at.r, at.one.r, optimize=True)
        hessian[:m, m:], hessian[m:, :m] = between, between.T
        return gradient, hessian


@dataclass(frozen=True, slots=True, eq=False)
class PairFit:
    """A fitted pair of cohorts; effects are about each cohort's own means of the columns (``centre``), in score points.

    cohorts, names: of both cohorts; coefficients (p,), vcov (p, p): of [X_s, X_t]. random: q columns of z, the intercept
    first; centre (2q,). G (2q, 2q), G_se: covariance of (g_s, g_t) and its errors from the observed information (nan on the
    boundary); lambda_vcov: covariance of the entries of G in units of sigma_c, on and below the diagonal. sigma2, sigma2_se
    (2,). boundary: G has not full rank. schools: J labels; n (J, 2), effects (J, 2q), conditional (J, 2q, 2q) and common
    (J, 2q, p) as in :class:`valib.models.slopes.SlopesFit`. alone: each cohort's own fit.
    """

    cohorts: tuple[int, int]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    coefficients: FloatArray
    vcov: FloatArray
    random: tuple[str, ...]
    centre: FloatArray
    G: FloatArray
    G_se: FloatArray
    lambda_vcov: FloatArray
    sigma2: FloatArray
    sigma2_se: FloatArray
    loglik: float
    method: Method
    boundary: bool
    converged: bool
    schools: np.ndarray
    n: FloatArray
    effects: FloatArray
    conditional: FloatArray
    common: FloatArray
    alone: tuple[SlopesFit, SlopesFit]
    sums: PairSums
    profile: PairProfile

    @property
    def n_parameters(self) -> int:
        """Fixed effects and variances."""
        q = self.sums.q
        return self.sums.p + q * (q + 1) // 2 + 2

    @property
    def to_raw(self) -> FloatArray:
        """(2q, 2q): effects about 0 from effects about the centre."""
        raw: FloatArray = block_diag(*(one.to_raw for one in self.alone))
        return raw

    def at(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """w'(g_s, g_t) of every school for w = z (2q,) of the centred columns: (J,) with its error variance, b estimated."""
        own = np.einsum("a,jab,b->j", z, self.conditional, z)
        return self.effects @ z, own + ((z @ self.common) ** 2).sum(axis=-1)

    def correlation(self, first: FloatArray, second: FloatArray) -> tuple[float, float]:
        """Correlation of first'g_s and second'g_t, (2q,) each, and its error by the delta method; nan where a variance is 0."""
        V = self.sums.to_points(self.profile.gamma)
        R = np.array(covariance_of(self.G, first, second))
        if R[0] <= 0 or R[2] <= 0:
            return float("nan"), float("nan")
        size = float(np.sqrt(R[0] * R[2]))
        r = float(R[1]) / size
        moved = covariance_of(V @ entry_moves(self.sums.q) @ V.T, first, second)
        slope = moved[1] / size - r / 2 * (moved[0] / R[0] + moved[2] / R[2])
        return r, float(np.sqrt(max(slope @ self.lambda_vcov @ slope, 0.0)))


def covariance_of(G: FloatArray, first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """first'G first, first'G second and second'G second of G (..., k, k)."""
    a, b = G @ first, G @ second
    return a @ first, b @ first, b @ second


def fit_pair(parts: Sequence[Moments], columns: Sequence[Sequence[int]], method: Method = "ML") -> PairFit:
    """Fit the model with random slopes to the sums of two cohorts.

    Parameters
    ----------
    parts : two of Moments
        Each of one cohort, with cross-products by cell and an intercept.
    columns : two sequences of int
        Positions in X, of each cohort, of the columns whose coefficient varies over schools, beside the intercept.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.

    Returns
    -------
    PairFit
        Coefficients, G, sigma2, effects in both cohorts and their errors.

    Raises
    ------
    ModelError
        As for :func:`valib.models.slopes.fit_slopes`, the cohort named; for slopes of other columns in one cohort than in the
        other; and for cohorts that share no school.

    Notes
    -----
    Searches start from each cohort's own fit, with several correlations between them, independence among these: the
    log-likelihood is never below the sum of the two.
    """
    return join(parts, [fit_alone(m, c, method) for m, c in zip(parts, columns, strict=True)], method)


def join(parts: Sequence[Moments], alone: Sequence[SlopesFit], method: Method = "ML") -> PairFit:
    """The same from each cohort's own fit, of :func:`fit_alone`."""
    s, t = (int(m.cohorts[0]) for m in parts)
    if alone[0].random != alone[1].random:
        raise ModelError(
            f"Cohort {s} has slopes of {', '.join(alone[0].random[1:])} and cohort {t} of {', '.join(alone[1].random[1:])}: "
            "a pair needs the same."
        )
    if not np.isin(alone[0].schools, alone[1].schools).any():
        raise ModelError(f"No school has students in both cohort {s} and cohort {t}: their slopes cannot be compared.")
    sums, schools = pair_sums(alone)
    return _result(parts, alone, schools, _search(sums, alone, method == "REML"), method)


def fit_alone(moments: Moments, columns: Sequence[int], method: Method = "ML") -> SlopesFit:
    """One cohort's own fit; an error names it."""
    try:
        return fit_slopes(moments, columns, method)
    except ModelError as error:
        raise ModelError(f"Cohort {moments.cohorts[0]}: {error}") from error


def pair_sums(alone: Sequence[SlopesFit]) -> tuple[PairSums, np.ndarray]:
    """The sums of two cohorts as those of one design, and the labels of the schools."""
    schools = np.unique(np.concatenate([one.schools for one in alone]))
    q, p, J = alone[0].sums.q, [one.sums.p for one in alone], len(schools)
    k = sum(p) + 2
    D, W, cross = np.zeros((2 * q, 2 * q, J)), np.zeros((2 * q, k, J)), np.zeros((k, k))
    n, scale = np.zeros((J, 2)), np.empty(k)
    for c, fit in enumerate(alone):
        at, rows = np.searchsorted(schools, fit.schools), np.arange(c * q, c * q + q)
        own = np.append(c * p[0] + np.arange(p[c]), sum(p) + c)
        D[np.ix_(rows, rows, at)], W[np.ix_(rows, own, at)] = fit.sums.D, fit.sums.W
        cross[np.ix_(own, own)], scale[own], n[at, c] = fit.sums.cross, fit.sums.scale, fit.n
    turn = block_diag(*(one.sums.turn for one in alone))
    centre = np.concatenate([one.centre for one in alone])
    return PairSums(D, W, cross, n.sum(axis=1), scale, turn, centre, (), n, (p[0], p[1])), schools


def profile_pair(sums: PairSums, L: FloatArray, gamma: FloatArray, reml: bool) -> PairProfile:
    """The deviance at L (2q, 2q), Lambda = L L', and gamma (2,)."""
    p = sums.p
    at, LW, solved = weigh(sums, L)
    M = sums.cross - np.einsum("akj,alj->kl", LW, solved, optimize=True)
    lower = np.linalg.cholesky(M[:p, :p])
    A_inverse = np.linalg.inv(M[:p, :p])
    b = A_inverse @ M[:p, p:]
    S = M[p:, p:] - M[p:, :p] @ b
    S = (S + S.T) / 2
    rss = max(float(gamma @ S @ gamma), np.finfo(float).tiny)
    penalty = float(at.logdet.sum()) + (2 * float(np.log(np.diag(lower)).sum()) if reml else 0.0)
    r = at.U[:, p:] - np.einsum("akj,kc->acj", at.U[:, :p], b)
    deviance = penalty + rss - 2 * float(sums.degrees(reml) @ np.log(gamma))
    one = SlopeProfile(
        deviance, L @ L.T, b @ gamma, A_inverse, rss, penalty, at.U, at.K, np.einsum("acj,c->aj", r, gamma)
    )
    return PairProfile(deviance, one, S, r, gamma)


def _search(sums: PairSums, alone: Sequence[SlopesFit], reml: bool) -> End[PairProblem]:
    """The lowest end of Newton's method from the two best starts, from all where the first end is on the boundary."""
    problem, rows = PairProblem(sums, reml), np.tril_indices(sums.q)
    log_gamma = np.log(sums.size) - 0.5 * np.log([one.sigma2 for one in alone])
    first, second = (_lower_root(one.profile.Lambda) for one in alone)
    starts = []
    for r in BETWEEN:
        L = np.block([[first, np.zeros_like(first)], [r * second, np.sqrt(1 - r * r) * second]])
        starts.append(np.concatenate([L[rows], log_gamma]))
    order = np.argsort([problem.value(x).deviance for x in starts], kind="stable")
    ends = [minimise(problem, starts[k]) for k in order[:2]]
    best = min(ends, key=lambda end: end.at.deviance)
    if on_boundary(problem.value(best.x).one.Lambda) or not best.converged:
        ends += [minimise(problem, starts[k]) for k in order[2:]]
    return min(ends, key=lambda end: end.at.deviance)


def _lower_root(Lambda: FloatArray) -> FloatArray:
    """A lower triangular root of Lambda (q, q), which may be singular, no standard deviation in it below SMALLEST."""
    sd = np.sqrt(np.diag(Lambda))
    root: FloatArray = np.linalg.qr(factor(Lambda).T)[1].T
    root += np.diag(np.where(sd < SMALLEST, SMALLEST, 0.0))
    return root


def _result(
    parts: Sequence[Moments], alone: Sequence[SlopesFit], schools: np.ndarray, end: End[PairProblem], method: Method
) -> PairFit:
    """Undo scales and shifts, and predict the schools."""
    problem, at = end.problem, end.problem.value(end.x)
    sums, gamma, p = problem.sums, at.gamma, problem.sums.p
    sigma2 = (sums.size / gamma) ** 2
    for c, m in enumerate(parts):
        if at.S[c, c] <= PERFECT * sums.cross[p + c, p + c]:
            raise ModelError(f"Cohort {m.cohorts[0]}: the model fits {m.names[-1]} perfectly.")
    undo = [unshift(m) for m in parts]
    size = np.repeat(sums.size / gamma, sums.fixed) / sums.scale[:p]
    linear = block_diag(*(one[:-1, :-1] for one in undo)) * size
    turn = sums.to_points(gamma)
    degrees = sums.degrees(problem.reml)
    constant = float(degrees @ (np.log(2 * np.pi) + 2 * np.log(sums.size)))
    constant += 2 * float(np.log(sums.scale[:p]).sum()) if problem.reml else 0.0
    lambda_vcov, G_se, sigma2_se = _errors(problem, at, turn, sigma2)
    vcov = linear @ at.one.A_inverse @ linear.T
    return PairFit(
        (int(parts[0].cohorts[0]), int(parts[1].cohorts[0])),
        (parts[0].names[:-1], parts[1].names[:-1]),
        linear @ at.one.b + np.concatenate([one[:-1, -1] for one in undo]),
        (vcov + vcov.T) / 2,
        alone[0].random,
        sums.centre,
        turn @ at.one.Lambda @ turn.T,
        G_se,
        lambda_vcov,
        sigma2,
        sigma2_se,
        -0.5 * (at.deviance + constant),
        method,
        on_boundary(at.one.Lambda),
        end.converged,
        schools,
        sums.by_cohort,
        *predict_slopes(sums, at.one, 1.0, turn),
        (alone[0], alone[1]),
        sums,
        at,
    )


def _errors(
    problem: PairProblem, at: PairProfile, turn: FloatArray, sigma2: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Covariance of the entries of Lambda, errors of G (2q, 2q) and sigma2 (2,), from the observed information; nan on the
    boundary."""
    q, moves = problem.sums.q, entry_moves(problem.sums.q)
    m = len(moves)
    if on_boundary(at.one.Lambda):
        return np.full((m, m), np.nan), np.full((q, q), np.nan), np.full(2, np.nan)
    vcov = 2 * np.linalg.pinv(problem.in_lambda(at, moves)[1], hermitian=True)
    G, of_cohort = turn @ at.one.Lambda @ turn.T, np.arange(q) // (q // 2)
    in_gamma = [-G * ((of_cohort[:, None] == c) * 1.0 + (of_cohort == c)) for c in (0, 1)]
    to_G = np.concatenate([turn @ moves @ turn.T, in_gamma]).reshape(m + 2, -1)
    G_se: FloatArray = np.sqrt(np.maximum(np.einsum("ma,mn,na->a", to_G, vcov, to_G), 0.0)).reshape(q, q)
    sigma2_se: FloatArray = 2 * sigma2 * np.sqrt(np.maximum(np.diag(vcov)[m:], 0.0))
    lambda_vcov = np.array(vcov[:m, :m], dtype=np.float64)
    return lambda_vcov, G_se, sigma2_se
