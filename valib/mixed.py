"""One cohort: the random-intercept model by maximum likelihood or REML, from moments.

    y_ij = x_ij' b + u_j + e_ij,   u_j ~ N(0, tau2),   e_ij ~ N(0, sigma2),   theta = tau2 / sigma2

With w_j = theta / (1 + n_j theta) and T_j = s_j s_j' (s_j the cell sum of Z = [X, y]), everything the likelihood needs
is the bordered matrix M(theta) = Z'Z - sum_j w_j T_j. A cell enters only through its size n_j and T_j, so cells of
equal size are added once (:func:`compress`) and an evaluation costs O(D p^2), D the number of distinct sizes, whatever
the number of students or schools. Every function works on a batch of R data sets at once (bootstrap, simulation).

Sources: Laird and Ware (1982); Longford (1987) and Bates et al. (2015) for the profiled likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .errors import ModelError
from .moments import Moments

GRID = 36             # starting points for theta, evenly spaced in log theta
THETA_RANGE = (1e-8, 1e6)   # relative to 1 / (largest cell size) at the lower end
STEP_TOLERANCE = 1e-11      # of log theta
MAX_STEPS = 80
COLLINEAR = 1e-9      # smallest share of a column's variation that the other columns leave unexplained
PERFECT = 1e-13       # residual variation as a share of the response's, below which the fit is perfect


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """Moments of R data sets with cells of equal size added: all that the likelihood needs.

    sizes (D,): distinct cell sizes. counts (R, D): cells of each size. outer (R, D, k, k): sum of s_j s_j' over them.
    cross (R, k, k): pooled Z'Z. n (R,): students. p = k - 1 fixed effects.
    """

    sizes: np.ndarray
    counts: np.ndarray
    outer: np.ndarray
    cross: np.ndarray
    n: np.ndarray

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return self.cross.shape[-1] - 1


@dataclass(frozen=True, slots=True, eq=False)
class MixedFit:
    """A fitted random-intercept model, about the moments' shift undone.

    coefficients (p,), vcov (p, p) = sigma2 A^-1; tau2, sigma2 (score points squared) and their standard errors from
    the observed information; theta = tau2/sigma2; loglik the full Gaussian (or restricted) log-likelihood;
    singular: theta is on its boundary 0.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    vcov: np.ndarray
    tau2: float
    sigma2: float
    tau2_se: float
    sigma2_se: float
    theta: float
    loglik: float
    method: str
    singular: bool
    n_students: int
    n_groups: int


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The profiled deviance -2 l (without constants) at theta, and its first two derivatives; each (R,).

    b (R, p) and A_inverse (R, p, p) belong to the shifted columns. rss, rss1, rss2: residual sum of squares and its
    derivatives; penalty, penalty1, penalty2: the rest of the deviance.
    """

    deviance: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    b: np.ndarray
    A_inverse: np.ndarray
    rss: np.ndarray
    rss1: np.ndarray
    rss2: np.ndarray
    penalty1: np.ndarray
    penalty2: np.ndarray


def compress(moments: Moments, weights: np.ndarray | None = None) -> Compressed:
    """Add cells of equal size. weights (R, J): school multiplicities of R bootstrap data sets (needs cell_cross)."""
    sizes, code = np.unique(moments.n, return_inverse=True)
    k, order = moments.sums.shape[1], np.argsort(code, kind="stable")
    edges = np.append(np.flatnonzero(np.diff(code[order], prepend=-1)), len(code))
    S = moments.sums[order]
    outer = (S[:, :, None] * S[:, None, :]).reshape(-1, k * k)
    if weights is None:
        w = moments.weight[order]
        counts = np.add.reduceat(w, edges[:-1])[None]
        parts = np.add.reduceat(w[:, None] * outer, edges[:-1], axis=0)[None]
        cross = moments.pooled()[None]
    else:
        W = np.ascontiguousarray(np.asarray(weights, dtype=np.float64).T)[moments.cell_school[order]]
        both = np.concatenate([outer, moments.cell_cross.reshape(-1, k * k)[order]], axis=1)
        counts = np.add.reduceat(W, edges[:-1], axis=0).T
        sums = np.empty((len(sizes), W.shape[1], 2 * k * k))
        for d, (first, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            np.matmul(W[first:stop].T, both[first:stop], out=sums[d])
        parts = sums[:, :, :k * k].transpose(1, 0, 2)
        cross = sums[:, :, k * k:].sum(axis=0).reshape(-1, k, k)
    return Compressed(sizes, counts, np.ascontiguousarray(parts).reshape(-1, len(sizes), k, k), cross, counts @ sizes)


def profile(data: Compressed, theta: np.ndarray, reml: bool) -> Profile:
    """Profiled deviance and derivatives at theta (R,), one value for each data set (or a batch of theta for one)."""
    p, k = data.p, data.p + 1
    theta = np.asarray(theta, dtype=np.float64)
    v = 1.0 / (1.0 + theta[:, None] * data.sizes)
    outer = data.outer.reshape(*data.outer.shape[:2], k * k)

    def weighted(w):
        return (w[:, None, :] @ outer).reshape(-1, k, k)

    M, M1, M2 = data.cross - weighted(theta[:, None] * v), -weighted(v**2), weighted(2 * data.sizes * v**3)
    A_inverse = np.linalg.inv(M[:, :p, :p]) if p else np.empty((len(M), 0, 0))
    b = (A_inverse @ M[:, :p, p:])[..., 0]
    a = np.concatenate([-b, np.ones((len(M), 1))], axis=1)
    rss = np.einsum("ri,ri->r", M[:, p, :], a)
    slope = np.einsum("rij,rj->ri", M1, a)
    rss1 = np.einsum("ri,ri->r", a, slope)
    bend = np.einsum("ri,rij,rj->r", slope[:, :p], A_inverse, slope[:, :p])
    rss2 = np.einsum("ri,rij,rj->r", a, M2, a) - 2 * bend
    nv = data.sizes * v
    penalty = np.einsum("rd,rd->r", data.counts, np.log1p(theta[:, None] * data.sizes))
    penalty1 = np.einsum("rd,rd->r", data.counts, nv)
    penalty2 = -np.einsum("rd,rd->r", data.counts, nv**2)
    if reml and p:
        B1 = A_inverse @ M1[:, :p, :p]
        penalty = penalty + np.linalg.slogdet(M[:, :p, :p])[1]
        penalty1 = penalty1 + np.trace(B1, axis1=1, axis2=2)
        penalty2 = (penalty2 + np.einsum("rij,rji->r", A_inverse, M2[:, :p, :p])
                    - np.einsum("rij,rji->r", B1, B1))
    dof = data.n - (p if reml else 0)
    safe = np.maximum(rss, np.finfo(float).tiny)
    with np.errstate(over="ignore", invalid="ignore"):  # of a fit close to perfect, which is refused afterwards
        ratio = rss1 / safe
        curve = dof * (rss2 / safe - ratio**2) + penalty2
    return Profile(dof * np.log(safe) + penalty, dof * ratio + penalty1, curve, b, A_inverse, rss, rss1, rss2, penalty1,
                   penalty2)


def maximise(data: Compressed, reml: bool = False) -> np.ndarray:
    """theta (R,) that maximises the profiled (restricted) likelihood; exactly 0 on the boundary.

    The likelihood can have two maxima (a boundary one and an inner one, for example one large school among tiny
    ones). A grid in log theta brackets every inner maximum by the sign of the slope, Newton steps kept inside the
    bracket finish, and the highest is taken; theta = 0 where nothing is higher.
    """
    R = len(data.n)
    grid = np.linspace(np.log(THETA_RANGE[0] / data.sizes.max()), np.log(THETA_RANGE[1]), GRID)
    if R == 1:
        slope = profile(data, np.exp(grid), reml).gradient[:, None]
    else:
        slope = np.stack([profile(data, np.full(R, np.exp(g)), reml).gradient for g in grid])
    slope = np.append(slope, np.ones((1, R)), axis=0)  # still falling at the end of the grid: the end is a candidate
    ends = np.append(grid, grid[-1])
    turns = (slope[:-1] < 0) & (slope[1:] >= 0)
    order = np.cumsum(turns, axis=0)
    theta = np.zeros(R)
    lowest = profile(data, theta, reml).deviance
    for k in range(1, int(order[-1].max()) + 1):
        rows = np.flatnonzero(order[-1] >= k)
        at = np.argmax(order[:, rows] == k, axis=0)
        part = data if R == 1 else replace(data, counts=data.counts[rows], outer=data.outer[rows],
                                           cross=data.cross[rows], n=data.n[rows])
        found = np.exp(_descend(part, ends[at], ends[at + 1], reml))
        deviance = profile(part, found, reml).deviance
        better = deviance < lowest[rows]
        theta[rows[better]], lowest[rows[better]] = found[better], deviance[better]
    return theta


def _descend(data: Compressed, lower: np.ndarray, upper: np.ndarray, reml: bool) -> np.ndarray:
    """log theta (R,) where the deviance is least between lower and upper (R,), by Newton steps or halving."""
    eta = (lower + upper) / 2
    for _ in range(MAX_STEPS):
        theta = np.exp(eta)
        at = profile(data, theta, reml)
        slope = theta * at.gradient
        curve = theta**2 * at.hessian + slope
        lower, upper = np.where(slope < 0, eta, lower), np.where(slope > 0, eta, upper)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = eta - slope / curve
        new = np.where((curve > 0) & (new >= lower) & (new <= upper), new, (lower + upper) / 2)
        step, eta = np.abs(new - eta), new
        if (step < STEP_TOLERANCE).all():
            break
    return eta


def fit_moments(moments: Moments, method: str = "ML", theta: float | None = None) -> MixedFit:
    """Fit the random-intercept model to moments (cells are the groups).

    method: "ML" or "REML". theta: hold the variance ratio instead of estimating it (sigma2 is still profiled).
    Raises ModelError for fewer than two groups, groups of one student only, constant or collinear columns (named),
    a response without variation, and a perfect fit.
    """
    check_estimable(moments)
    return fit_compressed(compress(moments), moments, method, theta)


def fit_compressed(data: Compressed, moments: Moments, method: str = "ML", theta: float | None = None) -> MixedFit:
    """The fit of :func:`fit_moments` from compressed sums of these moments, whatever was taken off them."""
    reml = _is_reml(method)
    _check_fit(profile(data, np.zeros(1), reml).rss[0], moments, 0.0)
    chosen = maximise(data, reml)[0] if theta is None else float(theta)
    at = profile(data, np.array([chosen]), reml)
    _check_fit(at.rss[0], moments, chosen)
    dof = data.n[0] - (data.p if reml else 0)
    sigma2 = at.rss[0] / dof
    undo = unshift(moments)
    b = undo[:-1, :-1] @ at.b[0] + undo[:-1, -1]
    vcov = sigma2 * undo[:-1, :-1] @ at.A_inverse[0] @ undo[:-1, :-1].T
    errors = variance_errors(at, chosen, sigma2, dof)
    tau2, loglik = chosen * sigma2, -0.5 * (at.deviance[0] + dof * (1 + np.log(2 * np.pi / dof)))
    return MixedFit(moments.names[:-1], b, vcov, float(tau2), float(sigma2), *errors, float(chosen), float(loglik),
                    method, bool(chosen == 0), round(data.n[0]), round(float(data.counts.sum())))


def loglik_at(moments: Moments, tau2: float, sigma2: float, method: str = "ML") -> float:
    """Log-likelihood at given variances, the fixed effects (if any) at their generalised least squares values."""
    reml = _is_reml(method)
    data = compress(moments)
    at = profile(data, np.array([tau2 / sigma2]), reml)
    dof = data.n[0] - (data.p if reml else 0)
    penalty = at.deviance[0] - dof * np.log(at.rss[0])
    return float(-0.5 * (dof * np.log(2 * np.pi * sigma2) + penalty + at.rss[0] / sigma2))


def variance_errors(at: Profile, theta: float, sigma2: float, dof: float) -> tuple[float, float]:
    """Standard errors of tau2 and sigma2 from the observed information, the fixed effects profiled out.

    Half the Hessian of h(tau2, sigma2) = dof log sigma2 + rss(theta)/sigma2 + penalty(theta), theta = tau2/sigma2.
    On the boundary theta = 0 the curvature says nothing about tau2: its standard error is nan.
    """
    s = sigma2
    F1, F2, R, R1, R2 = at.penalty1[0], at.penalty2[0], at.rss[0], at.rss1[0], at.rss2[0]
    tt = (F2 + R2 / s) / s**2
    ts = -(F2 * theta + F1) / s**2 - (R2 * theta + 2 * R1) / s**3
    ss = (-dof + F2 * theta**2 + 2 * F1 * theta) / s**2 + (R2 * theta**2 + 4 * R1 * theta + 2 * R) / s**3
    if theta == 0.0:
        return float("nan"), float(np.sqrt(2 / ss)) if ss > 0 else float("nan")
    det = tt * ss - ts**2
    if det <= 0 or tt <= 0:
        return float("nan"), float("nan")
    return float(np.sqrt(2 * ss / det)), float(np.sqrt(2 * tt / det))


def unshift(moments: Moments) -> np.ndarray:
    """(k, k) affine map from coefficients of shifted columns to those of the columns themselves.

    In [b, 1] coordinates: slopes are unchanged, the intercept becomes b0 + shift_y - sum_k shift_k b_k.
    """
    undo = np.eye(len(moments.names))
    if moments.shift.any():
        undo[moments.names.index("Intercept"), :-1] -= moments.shift[:-1]
        undo[moments.names.index("Intercept"), -1] += moments.shift[-1]
    return undo


def check_estimable(moments: Moments) -> None:
    """Refuse what no random-intercept model can be fitted to; one sentence, columns named."""
    if len(moments.schools) < 2 or len(moments.n) < 2:
        raise ModelError("A value-added model needs at least two schools; the records have "
                         f"{len(moments.schools)}.")
    if moments.n.max() < 2:
        raise ModelError("Every school has one student only, so school and student variation cannot be told apart.")
    if moments.n_students <= moments.n_fixed + 1:
        raise ModelError(f"There are {moments.n_students:.0f} students for {moments.n_fixed} fixed effects.")
    spread = _about_mean(moments)
    scale = np.maximum(np.abs(moments.means).max(axis=0), 1e-300) ** 2 * moments.n_students
    if spread[-1, -1] <= 1e-20 * scale[-1]:
        raise ModelError(f"All values of {moments.names[-1]} are equal: there is nothing to model.")
    check_columns(moments, spread, scale)


def check_columns(moments: Moments, spread: np.ndarray, scale: np.ndarray) -> None:
    """Name the columns of X that are constant or a linear combination of others."""
    columns = [c for c in range(moments.n_fixed) if c != moments.intercept]
    constant = [moments.names[c] for c in columns if spread[c, c] <= 1e-20 * scale[c]]
    if constant:
        raise ModelError(f"Column {', '.join(map(repr, constant))} is constant, so its coefficient cannot be "
                         "estimated.")
    size = np.sqrt(np.diag(spread)[columns])
    values, vectors = np.linalg.eigh(spread[np.ix_(columns, columns)] / np.outer(size, size)) if columns else ([], [])
    if len(values) and values[0] < COLLINEAR:
        involved = [moments.names[c] for c, x in zip(columns, np.abs(vectors[:, 0]), strict=True) if x > 1e-4]
        raise ModelError(f"The columns {', '.join(map(repr, involved))} are collinear: each is a linear combination "
                         "of the others, so leave one out of the formula.")


def _about_mean(moments: Moments) -> np.ndarray:
    """Cross-product of the columns about their means (about 0 without an intercept)."""
    if moments.intercept is None:
        return moments.reshift(np.zeros_like(moments.shift)).pooled()
    total = moments.weight @ moments.sums
    return moments.pooled() - np.outer(total, total) / moments.n_students


def _check_fit(rss: float, moments: Moments, theta: float) -> None:
    if rss <= PERFECT * max(_about_mean(moments)[-1, -1], 1e-300) or theta >= 0.5 * THETA_RANGE[1]:
        raise ModelError(f"The model fits {moments.names[-1]} perfectly: no variation is left within schools.")


def _is_reml(method: str) -> bool:
    if method not in ("ML", "REML"):
        raise ModelError(f"The method must be 'ML' or 'REML', not {method!r}.")
    return method == "REML"
