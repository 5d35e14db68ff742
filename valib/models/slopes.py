"""Random slopes: one cohort whose schools may serve students differently, by maximum likelihood or REML from sums.

    y_ij = x_ij' b + z_ij' g_j + e_ij,   g_j ~ N(0, G),   e_ij ~ N(0, sigma2),   G = sigma2 Lambda,   Lambda = L L'

z_ij (q entries) are the intercept and some columns of x_ij. The students enter through D_j = sum_i z z' and
W_j = sum_i z [x, y]' of each school and the pooled cross-product of [x, y]: through the cross-products by school. With
S_j = L (I + L' D_j L)^-1 L' (Woodbury's identity)

    M = sum_j ([X, y]'[X, y] - W_j' S_j W_j) = [A c; c' q],   b = A^-1 c,   rss = q - c'b
    -2 l = dof log rss + sum_j log|I + L' D_j L|  (+ log|A| for REML),   dof = N (N - p), constants apart

L is lower triangular without bounds on its entries, so a slope that does not vary and a correlation of -1 or 1 are inner
points of the search (:mod:`valib.models.newton`), which has the exact gradient and Hessian. With U_j = Z'V^-1 [X, y],
K_j = Z'V^-1 Z (V in units of sigma2) and r_j = U_j (-b, 1): dM = -sum U' dLambda U, dU = -K dLambda U.

Sources: Laird and Ware (1982); Longford (1987); Bates et al. (2015), whose lme4 the values are compared with; Goldstein
(2011) for comparative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import Blup, factor
from .likelihood import compress, optimise
from .linalg import invert
from .mixed import PERFECT, check_estimable, unshift
from .newton import End, OneValue, minimise
from .options import Method

SLOPE_STARTS = (0.02, 0.15, 0.5)  # standard deviations of a slope, a standard deviation of its column, over sigma
CORRELATION_STARTS = (-0.9, -0.4, 0.0, 0.4, 0.9)
SEARCHES = 3  # of the best starts that Newton's method goes on from
SINGULAR = 1e-7  # smallest eigenvalue of the correlations of the random part, relative to the largest
FLAT_COLUMN = 1e-12  # share of a column's variation within schools, below which a school has no slope of it


@dataclass(frozen=True, slots=True, eq=False)
class SlopeSums:
    """What the likelihood needs, every column divided by its size.

    D (q, q, J): Z'Z by school; W (q, k, J): Z'[X, y]; cross (k, k); n (J,). scale (k,): sizes of the columns [X, y] about
    the moments' shift. turn (q, q): effects of the scaled columns to those of the columns about their means ``centre``
    (q,), whose first entry is 0: g = turn g_scaled / scale_y. columns (q,): where the random columns stand in X.
    """

    D: FloatArray
    W: FloatArray
    cross: FloatArray
    n: FloatArray
    scale: FloatArray
    turn: FloatArray
    centre: FloatArray
    columns: tuple[int, ...]

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.cross) - 1

    @property
    def q(self) -> int:
        """Number of random effects a school."""
        return len(self.D)

    def dof(self, reml: bool) -> float:
        """N, or N - p for REML."""
        return float(self.n.sum()) - (self.p if reml else 0)


@dataclass(frozen=True, slots=True, eq=False)
class SlopeProfile(OneValue):
    """The profiled deviance -2 l at Lambda (q, q), without constants, and what its derivatives need.

    U (q, k, J), K (q, q, J), r (q, J): as in the module's equations. b (p,), A_inverse (p, p), rss of scaled columns.
    """

    deviance: float
    Lambda: FloatArray
    b: FloatArray
    A_inverse: FloatArray
    rss: float
    penalty: float
    U: FloatArray
    K: FloatArray
    r: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SlopeProblem:
    """The deviance in the entries of L (m,), row by row, for :func:`valib.models.newton.minimise`."""

    sums: SlopeSums
    reml: bool

    def value(self, x: FloatArray) -> SlopeProfile:
        """The profile at L; LinAlgError where X loses its rank."""
        return profile_slopes(self.sums, lower_factor(x, self.sums.q), self.reml)

    def derivatives(self, x: FloatArray, at: SlopeProfile) -> tuple[FloatArray, FloatArray]:
        """Gradient (m,) and Hessian (m, m) by the chain rule from those in Lambda."""
        moves = factor_moves(lower_factor(x, self.sums.q))
        gradient, hessian = derivatives_in_lambda(self.sums, at, self.reml, moves)
        return gradient, hessian + factor_bend(slope_matrix(self.sums, at, self.reml))


def lower_factor(x: FloatArray, q: int) -> FloatArray:
    """L (q, q) of its entries x, row by row."""
    L = np.zeros((q, q))
    L[np.tril_indices(q)] = x
    return L


def factor_moves(L: FloatArray) -> FloatArray:
    """(m, q, q): what a change of each entry of L does to Lambda = L L'."""
    rows, columns = np.tril_indices(len(L))
    moves = np.zeros((len(rows), *L.shape))
    moves[np.arange(len(rows)), rows] = L[:, columns].T
    return moves + np.swapaxes(moves, 1, 2)


def factor_bend(G: FloatArray) -> FloatArray:
    """(m, m): what the Hessian in L has beside the chain rule's first part; G (q, q): derivative in Lambda."""
    rows, columns = np.tril_indices(len(G))
    return np.where(columns[:, None] == columns, 2 * G[np.ix_(rows, rows)], 0.0)


def entry_moves(q: int) -> FloatArray:
    """(m, q, q): a unit change of each entry of Lambda on and below the diagonal, and of its mirror image."""
    rows, columns = np.tril_indices(q)
    moves, m = np.zeros((len(rows), q, q)), np.arange(len(rows))
    moves[m, rows, columns] = moves[m, columns, rows] = 1.0
    return moves


def on_boundary(Lambda: FloatArray) -> bool:
    """Whether a variance is 0 or the correlations are not of full rank."""
    sd = np.sqrt(np.diag(Lambda))
    if (sd <= SINGULAR).any():
        return True
    values = np.linalg.eigvalsh(Lambda / np.outer(sd, sd))
    return bool(values[0] < SINGULAR * values[-1])


@dataclass(frozen=True, slots=True, eq=False)
class SlopesFit:
    """A fitted model with random slopes, about the moments' shift undone; centred: about ``centre``, raw: about 0.

    names: the p columns of X; coefficients (p,), vcov (p, p). random: the q columns of z, the intercept first; centre
    (q,): the mean of each over students (0 for the intercept). G (q, q): covariance of the effects of the centred columns,
    G_se (q, q) of its entries, from the observed information (nan on the boundary); raw (q, q): the same about 0, as lme4
    gives it. sigma2, sigma2_se. boundary: G has not full rank.

    schools: J labels; n (J,). effects (J, q): BLUPs of the centred columns' effects; conditional (J, q, q): their
    covariance with b known; common (J, q, p): loadings of the error on what is not known of b, the same for all schools.
    The comparative covariance is conditional + common common'.
    """

    names: tuple[str, ...]
    coefficients: FloatArray
    vcov: FloatArray
    random: tuple[str, ...]
    centre: FloatArray
    G: FloatArray
    G_se: FloatArray
    sigma2: float
    sigma2_se: float
    loglik: float
    method: Method
    boundary: bool
    schools: np.ndarray
    n: FloatArray
    effects: FloatArray
    conditional: FloatArray
    common: FloatArray
    sums: SlopeSums
    profile: SlopeProfile

    @property
    def to_raw(self) -> FloatArray:
        """(q, q): effects about 0 from effects about the centre."""
        turn = np.eye(len(self.centre))
        turn[0] -= self.centre
        turn[0, 0] = 1.0
        return turn

    @property
    def raw(self) -> FloatArray:
        """G about 0."""
        raw: FloatArray = self.to_raw @ self.G @ self.to_raw.T
        return raw

    @property
    def comparative(self) -> FloatArray:
        """(J, q, q): covariance of the prediction error, b estimated."""
        whole: FloatArray = self.conditional + self.common @ np.swapaxes(self.common, 1, 2)
        return whole

    @property
    def n_students(self) -> int:
        """Students."""
        return round(float(self.n.sum()))

    @property
    def n_groups(self) -> int:
        """Schools."""
        return len(self.n)

    @property
    def tau2(self) -> float:
        """Variance of schools at the mean of every random column."""
        return float(self.G[0, 0])

    @property
    def singular(self) -> bool:
        """Whether schools do not vary at the mean."""
        return bool(self.profile.Lambda[0, 0] <= SINGULAR**2)

    @property
    def tau2_se(self) -> float:
        """Its standard error."""
        return float(self.G_se[0, 0])

    def blup(self) -> Blup:
        """The schools' effects at the mean of every random column; shrinkage: the share of tau2 that is known."""
        own, whole = self.conditional[:, 0, 0], self.comparative[:, 0, 0]
        known = np.clip(1 - own / self.tau2, 0.0, 1.0) if self.tau2 > 0 else np.zeros(len(self.n))
        missing, sampling = np.full(len(self.n), np.nan), np.maximum(self.tau2 - whole, 0.0)
        return Blup(self.effects[:, 0], known, missing, own, whole, sampling, self.common[:, 0])

    def at(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """VA of every school at m values z (m, q) of the centred columns: effects, conditional and comparative
        variances, each (J, m)."""
        spread = self.effects @ z.T
        own, all_of = (np.einsum("ma,jab,mb->jm", z, V, z) for V in (self.conditional, self.comparative))
        return spread, own, all_of


def slope_sums(moments: Moments, columns: Sequence[int]) -> SlopeSums:
    """The sums of a design with cross-products by cell (one cohort); columns: positions in X of the random columns, the
    intercept first. Raises ModelError for a column that is constant within all schools."""
    if moments.cell_cross is None:
        raise ModelError("Random slopes need the cross-products by school: compute the moments with by_cell=True.")
    columns, N = tuple(columns), float(moments.n.sum())
    mean = moments.sums[:, columns].sum(axis=0) / N
    cross = moments.pooled()
    scale = np.sqrt(np.maximum(np.diag(cross), np.finfo(float).tiny) / N)
    spread = np.sqrt(np.maximum(np.diag(cross)[list(columns)] / N - mean**2, 0.0))
    for place, name in enumerate(moments.names[c] for c in columns[1:]):
        _check_varies(moments, columns[place + 1], name, spread[place + 1])
    turn = np.diag(np.append(1.0, 1 / spread[1:]))
    affine = turn.copy()
    affine[0, 1:] = -mean[1:] / spread[1:]
    own = np.moveaxis(moments.cell_cross, 0, -1)
    own, cross = own / scale[:, None, None] / scale[None, :, None], cross / scale[:, None] / scale
    by_random = own[list(columns)] * scale[list(columns), None, None]
    W = np.ascontiguousarray(np.einsum("cr,ckj->rkj", affine, by_random))
    D = np.einsum("rcj,cs->rsj", W[:, list(columns)] * scale[list(columns), None], affine)
    centre = mean + moments.shift[list(columns)]
    centre[0] = 0.0
    return SlopeSums(D, W, cross, moments.n, scale, turn, centre, columns)


def _check_varies(moments: Moments, column: int, name: str, spread: float) -> None:
    """Refuse a column that no school has a slope of."""
    assert moments.cell_cross is not None  # moments by cell
    within = moments.cell_cross[:, column, column] - moments.sums[:, column] ** 2 / moments.n
    if within.sum() <= FLAT_COLUMN * max(spread**2 * moments.n.sum(), np.finfo(float).tiny):
        raise ModelError(
            f"Column '{name}' is the same for all students of a school, in every school, so that no school has a slope of "
            "it: leave it out of the random part."
        )


def profile_slopes(sums: SlopeSums, L: FloatArray, reml: bool) -> SlopeProfile:
    """The profiled deviance at L (q, q), Lambda = L L'."""
    p = sums.p
    at, LW, solved = weigh(sums, L)
    M = sums.cross - np.einsum("akj,alj->kl", LW, solved, optimize=True)
    A, c = M[:p, :p], M[:p, p]
    lower = np.linalg.cholesky(A)
    A_inverse = np.linalg.inv(A)
    b = A_inverse @ c
    a = np.append(-b, 1.0)
    rss = max(float(M[p] @ a), np.finfo(float).tiny)
    penalty = float(at.logdet.sum()) + (2 * float(np.log(np.diag(lower)).sum()) if reml else 0.0)
    r = np.einsum("akj,k->aj", at.U, a)
    deviance = sums.dof(reml) * float(np.log(rss)) + penalty
    return SlopeProfile(deviance, L @ L.T, b, A_inverse, rss, penalty, at.U, at.K, r)


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """U = Z'V^-1 [X, y] (q, k, J), K = Z'V^-1 Z (q, q, J) and log|I + L'D L| (J,), V in units of sigma2."""

    U: FloatArray
    K: FloatArray
    logdet: FloatArray


def weigh(sums: SlopeSums, L: FloatArray) -> tuple[Weighed, FloatArray, FloatArray]:
    """The sums weighed by V^-1 at Lambda = L L', with L'W and (I + L'D L)^-1 L'W, each (q, k, J)."""
    q = sums.q
    DL = np.einsum("abj,bc->acj", sums.D, L)
    inner = np.einsum("ba,bcj->acj", L, DL)
    inner[np.arange(q), np.arange(q)] += 1.0
    inverse, logdet = invert(inner)
    if not np.isfinite(logdet).all():
        raise np.linalg.LinAlgError("not positive definite")
    LW = np.einsum("ba,bkj->akj", L, sums.W)
    solved = (inverse[:, :, None] * LW).sum(axis=1)
    left = (inverse[:, :, None] * np.swapaxes(DL, 0, 1)).sum(axis=1)  # M^-1 L'D
    U = sums.W - (DL[:, :, None] * solved[None]).sum(axis=1)
    K = sums.D - (DL[:, :, None] * left[None]).sum(axis=1)
    return Weighed(U, (K + K.swapaxes(0, 1)) / 2, logdet), LW, solved


def slope_matrix(sums: SlopeSums, at: SlopeProfile, reml: bool) -> FloatArray:
    """(q, q): derivative of the deviance in the entries of Lambda."""
    G: FloatArray = at.K.sum(axis=-1) - sums.dof(reml) / at.rss * at.r @ at.r.T
    return G - _spread_of_b(sums, at).sum(axis=-1) if reml else G


def _spread_of_b(sums: SlopeSums, at: SlopeProfile) -> FloatArray:
    """Q (q, q, J): U_p A^-1 U_p' of each school."""
    UA = np.einsum("akj,kl->alj", at.U[:, : sums.p], at.A_inverse, optimize=True)
    Q: FloatArray = np.einsum("alj,blj->abj", UA, at.U[:, : sums.p], optimize=True)
    return Q


def derivatives_in_lambda(
    sums: SlopeSums, at: SlopeProfile, reml: bool, moves: FloatArray, sigma2: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """First (m,) and second (m, m) derivatives of the deviance along symmetric changes of Lambda, moves (m, q, q).

    sigma2: hold it, so that the deviance is rss / sigma2 + penalty; by default it is profiled out.
    """
    q, p, m = sums.q, sums.p, len(moves)
    flat, dof = moves.reshape(m, -1), sums.dof(reml)

    def second(first: FloatArray) -> FloatArray:
        """sum over a..d of move1_ab move2_cd K_bc first_da, for every two moves."""
        pairs = at.K.reshape(q * q, -1) @ first.reshape(q * q, -1).T
        tensor = pairs.reshape(q, q, q, q).transpose(3, 0, 1, 2)  # a, b, c, d
        return np.asarray(flat @ tensor.reshape(q * q, q * q) @ flat.T)

    R = at.r[:, None] * at.r[None]
    rss1 = -(flat @ R.sum(axis=-1).ravel())
    reach = -np.einsum("akj,bj->kab", at.U[:, :p], at.r, optimize=True).reshape(p, q * q) @ flat.T
    rss2 = 2 * second(R) - 2 * reach.T @ at.A_inverse @ reach
    penalty1 = flat @ at.K.sum(axis=-1).ravel()
    penalty2 = -second(at.K)
    if reml:
        Q = _spread_of_b(sums, at)
        Up = at.U[:, :p].reshape(q * p, len(sums.n))
        by_entry = (Up @ Up.T).reshape(q, p, q, p).transpose(1, 3, 0, 2).reshape(p * p, q * q)
        B = at.A_inverse @ -(by_entry @ flat.T).reshape(p, p, m).transpose(2, 0, 1)
        penalty1 = penalty1 - flat @ Q.sum(axis=-1).ravel()
        penalty2 = penalty2 + 2 * second(Q) - np.einsum("mij,nji->mn", B, B)
    if sigma2 is not None:
        return rss1 / sigma2 + penalty1, rss2 / sigma2 + penalty2
    ratio = rss1 / at.rss
    return dof * ratio + penalty1, dof * (rss2 / at.rss - np.outer(ratio, ratio)) + penalty2


def fit_slopes(moments: Moments, random: Sequence[int], method: Method = "ML") -> SlopesFit:
    """Fit the model with random slopes to the sums of one cohort.

    Parameters
    ----------
    moments : Moments
        With cross-products by cell (``by_cell=True``) and an intercept; the cells are the schools.
    random : sequence of int
        Positions in X of the columns whose coefficient varies over schools, beside the intercept.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.

    Returns
    -------
    SlopesFit
        Coefficients, G, sigma2, effects and their errors.

    Raises
    ------
    ModelError
        As for :func:`valib.fit_moments`; without an intercept; for a random column that does not vary within schools;
        where schools have fewer students than random effects; and for a perfect fit.

    Notes
    -----
    See the module. Several starts are taken, the model without slopes among them, so that the log-likelihood is never below
    that one's.
    """
    if method not in ("ML", "REML"):
        raise ModelError(f"The method must be 'ML' or 'REML', not {method!r}.")
    check_estimable(moments)
    if moments.intercept is None:
        raise ModelError("Random slopes are fitted beside a random intercept: the formula must have an intercept.")
    sums, reml = slope_sums(moments, (moments.intercept, *random)), method == "REML"
    if float(moments.n.sum()) <= sums.q * len(moments.n):
        raise ModelError(
            f"There are {moments.n.sum():.0f} students for {sums.q} random effects in each of {len(moments.n)} schools, too "
            "few for slopes of schools."
        )
    if profile_slopes(sums, np.zeros((sums.q, sums.q)), reml).rss <= PERFECT * sums.cross[-1, -1]:
        raise ModelError(f"The model fits {moments.names[-1]} perfectly: no variation is left within schools.")
    return _result(moments, search(sums, reml, _intercept_alone(moments, reml)), method)


def _intercept_alone(moments: Moments, reml: bool) -> float:
    """sd of the random intercept over sigma, of the model without slopes."""
    return float(np.sqrt(optimise(compress(moments), reml).theta[0]))


def search(sums: SlopeSums, reml: bool, intercept: float = 0.3) -> End[SlopeProblem]:
    """The lowest end of Newton's method from several starts; intercept: a guess of its standard deviation over sigma."""
    problem, q = SlopeProblem(sums, reml), sums.q
    starts = [_start(q, max(intercept, 0.05), s, c) for s in SLOPE_STARTS for c in CORRELATION_STARTS]
    values = [problem.value(x).deviance for x in starts]
    best = minimise(problem, starts[int(np.argmin(values))])
    tried = [0.0]
    for place in np.argsort(values)[1:]:
        correlation = CORRELATION_STARTS[place % len(CORRELATION_STARTS)]
        if correlation in tried or len(tried) > SEARCHES - 1:
            continue
        tried.append(correlation)
        best = _lower(best, minimise(problem, starts[place]))
    return _lower(best, minimise(problem, _start(q, intercept, 0.0, 0.0)))


def _start(q: int, intercept: float, slope: float, correlation: float) -> FloatArray:
    """Entries of L: every slope of one size, correlated with the intercept alike."""
    L = np.diag(np.append(intercept, np.full(q - 1, slope * np.sqrt(1 - correlation**2))))
    L[1:, 0] = slope * correlation
    return L[np.tril_indices(q)]


def _lower(one: End[SlopeProblem], other: End[SlopeProblem]) -> End[SlopeProblem]:
    return other if other.at.deviance < one.at.deviance else one


def _result(moments: Moments, end: End[SlopeProblem], method: Method) -> SlopesFit:
    """Undo scales and shift, and predict the schools."""
    sums, at = end.problem.sums, end.problem.value(end.x)
    reml, size = method == "REML", sums.scale[-1]
    dof = sums.dof(reml)
    sigma2 = at.rss / dof
    if at.rss <= PERFECT * sums.cross[-1, -1]:
        raise ModelError(f"The model fits {moments.names[-1]} perfectly: no variation is left within schools.")
    undo = unshift(moments)
    linear = undo[:-1, :-1] * (size / sums.scale[:-1])
    b = linear @ at.b + undo[:-1, -1]
    vcov = sigma2 * linear @ at.A_inverse @ linear.T
    turn = size * sums.turn
    G_se, sigma2_se, boundary = covariance_errors(sums, at, reml, turn)
    constant = dof * (1 + np.log(2 * np.pi / dof)) + 2 * dof * np.log(size)
    constant += 2 * float(np.log(sums.scale[:-1]).sum()) if reml else 0.0
    return SlopesFit(
        moments.names[:-1],
        b,
        (vcov + vcov.T) / 2,
        tuple(moments.names[c] for c in sums.columns),
        sums.centre,
        sigma2 * turn @ at.Lambda @ turn.T,
        G_se,
        float(sigma2 * size**2),
        sigma2_se,
        float(-0.5 * (at.deviance + constant)),
        method,
        boundary,
        moments.schools[moments.cell_school],
        moments.n,
        *predict_slopes(sums, at, sigma2, turn),
        sums,
        at,
    )


def predict_slopes(
    sums: SlopeSums, at: SlopeProfile, sigma2: float, turn: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Effects (J, q), their conditional covariances (J, q, q) and loadings (J, q, p) on what is not known of b: times
    turn (q, q). g = Lambda r, Var(g | y, b) = sigma2 (Lambda - Lambda K Lambda), dg / db = -Lambda U_p."""
    effects = np.einsum("ab,bc,cj->ja", turn, at.Lambda, at.r)
    conditional = sigma2 * turn @ (at.Lambda - at.Lambda @ np.moveaxis(at.K, -1, 0) @ at.Lambda) @ turn.T
    reach = turn @ at.Lambda @ np.moveaxis(at.U[:, : sums.p], -1, 0)
    return effects, (conditional + np.swapaxes(conditional, 1, 2)) / 2, -reach @ factor(sigma2 * at.A_inverse)


def covariance_errors(
    sums: SlopeSums, at: SlopeProfile, reml: bool, turn: FloatArray
) -> tuple[FloatArray, float, bool]:
    """Standard errors of G (q, q) and sigma2 from the observed information, and whether G is on its boundary (errors nan)."""
    q, size = sums.q, sums.scale[-1]
    if on_boundary(at.Lambda):
        return np.full((q, q), np.nan), float("nan"), True
    moves, dof = entry_moves(q), sums.dof(reml)
    m = len(moves)
    sigma2 = at.rss / dof
    H = np.empty((m + 1, m + 1))
    H[:m, :m] = derivatives_in_lambda(sums, at, reml, moves, sigma2)[1]
    H[m, :m] = H[:m, m] = np.einsum("mab,abj->m", moves, at.r[:, None] * at.r[None]) / sigma2**2
    H[m, m] = -dof / sigma2**2 + 2 * at.rss / sigma2**3
    vcov = 2 * np.linalg.pinv(H)
    to_G = np.concatenate([sigma2 * (turn @ moves @ turn.T), (turn @ at.Lambda @ turn.T)[None]]).reshape(m + 1, -1)
    G_se = np.sqrt(np.maximum(np.einsum("ma,mn,na->a", to_G, vcov, to_G), 0.0)).reshape(q, q)
    return G_se, float(np.sqrt(max(vcov[m, m], 0.0)) * size**2), False


def slope_loglik(moments: Moments, random: Sequence[int], G: FloatArray, sigma2: float, method: Method = "ML") -> float:
    """Log-likelihood at given G (q, q) of the raw columns (about 0) and sigma2, b at its generalised least squares value."""
    assert moments.intercept is not None  # a random intercept
    sums, reml = slope_sums(moments, (moments.intercept, *random)), method == "REML"
    size = sums.scale[-1]
    to_scaled = np.diag(1 / np.diag(sums.turn)) / size
    about = np.eye(sums.q)
    about[0, 1:] = sums.centre[1:]
    inner = to_scaled @ about
    Lambda = inner @ np.asarray(G) @ inner.T * size**2 / sigma2
    at = profile_slopes(sums, factor(Lambda), reml)
    dof = sums.dof(reml)
    constant = 2 * float(np.log(sums.scale[:-1]).sum()) if reml else 0.0
    return float(-0.5 * (dof * np.log(2 * np.pi * sigma2) + at.penalty + at.rss * size**2 / sigma2 + constant))


def mixture_p(statistic: float, effects: int) -> float:
    """P-value of a likelihood-ratio statistic of one random slope among q = ``effects`` random effects.

    Under the null hypothesis that its variance is 0 the statistic is, half and half, chi2 with q - 1 and with q degrees of
    freedom: the variance lies on its boundary, and q - 1 covariances go with it (Self and Liang 1987; Stram and Lee 1994).
    """
    statistic = max(statistic, 0.0)
    return float(0.5 * stats.chi2.sf(statistic, effects - 1) + 0.5 * stats.chi2.sf(statistic, effects))
