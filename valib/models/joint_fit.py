"""Several cohorts: maximum likelihood or REML of the joint model, predictions of school effects, standard errors.

The search (:mod:`valib.models.newton`) starts from the cell means; where its end is near singular or hardly known,
further starts are made and the highest likelihood is taken. An unstructured Omega whose search crawls is taken on with its
cohorts in another order. :func:`fit_all` fits many data sets at once by the plain road of that search, and gives nothing
for one where it would do more - a saddle, a step that does not lower the deviance, an end near singular or hardly known.
Sources: Harville (1977) for prediction; Leckie (2018) for the model and what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import factor, shrinkage
from .estimators import clustered, residual_moments
from .joint_likelihood import Evaluation, JointMoments, derivatives, evaluate, stack_moments, within_by_school
from .measurement import fit_corrected
from .mixed import MixedFit, fit_moments
from .newton import FLAT, End, Quadratic, minimise, minimise_all
from .options import Covariance, Method, Residual
from .structures import Structure, correlation, make_structure, pivot

RESIDUALS: tuple[Residual, ...] = ("by_cohort", "common")
MAX_PIVOTS = 5
SINGULAR = 1e-6  # smallest eigenvalue of the correlation matrix, below which Omega counts as singular
NEAR_SINGULAR = 1e-2  # the same, below which further starts are made
IMPRECISE = 0.3  # standard error of a correlation, above which further starts are made
ZERO = 1e-9  # of tau2_t / sigma2_t, below which it is 0
STARTS = (None, 0.5, 0.9, -0.5)  # correlation of neighbouring cohorts; None: from the cell means


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """What errors of measurement leave for the posterior (:mod:`valib.models.joint_measurement`).

    plain: moments of the residuals about the coefficients, with a mean in each cohort. means: positions of the intercepts
    among the P coefficients. slopes (P, m): the others as m standard normal errors have them; loadings (J, T, m): what these
    do to the mean residuals of schools.
    """

    plain: JointMoments
    means: np.ndarray
    slopes: FloatArray
    loadings: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class MultivariateFit:
    """A fitted joint model of J schools and T cohorts; score points, variances score points squared.

    coefficients (P,), vcov (P, P): fixed effects of all cohorts, cohort by cohort (names). omega (T, T), sigma2 (T,).
    omega_se, correlation, correlation_se (T, T), sigma2_se (T,): delta method on the observed information; nan where
    the estimate lies on a boundary. variance_vcov (T T + T, T T + T): of (vec Omega, sigma2).
    loglik with all constants; n_parameters counts fixed effects and variances. singular: Omega is (nearly) not of full
    rank. converged: the optimiser's own criterion was met. deviances: -2 log-likelihood reached from every start.
    effects (J, T): u_hat, also for cohorts a school is missing from. conditional (J, T, T): error covariance with known
    b. sensitivity (J, T, P): d u_hat / d b, so that the error covariance to report is
    conditional + sensitivity vcov sensitivity' and Cov(u_hat - u, b_hat - b) = sensitivity vcov. corrected: where errors
    of measurement are taken off.
    """

    data: JointMoments
    structure: Covariance
    residual: Residual
    method: Method
    coefficients: FloatArray
    vcov: FloatArray
    omega: FloatArray
    omega_se: FloatArray
    correlation: FloatArray
    correlation_se: FloatArray
    sigma2: FloatArray
    sigma2_se: FloatArray
    variance_vcov: FloatArray
    loglik: float
    n_parameters: int
    singular: bool
    converged: bool
    deviances: tuple[float, ...]
    effects: FloatArray
    conditional: FloatArray
    sensitivity: FloatArray
    corrected: Corrected | None = None

    @property
    def comparative(self) -> FloatArray:
        """(J, T, T): prediction error covariance with b estimated, the one to report."""
        return self.conditional + self.sensitivity @ self.vcov @ np.swapaxes(self.sensitivity, 1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class JointProblem:
    """What is minimised: the deviance in x = (psi (m,), log sigma2 (T,) or (1,)).

    With the moments of R data sets x has R rows, and so have the results; the structure's scale may have them.
    """

    data: JointMoments
    structure: Structure
    common: bool
    reml: bool

    def split(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Omega (T, T) and sigma2 (T,) at x."""
        m = self.structure.size
        sigma2 = np.exp(np.broadcast_to(x[..., m:], (*x.shape[:-1], len(self.data.cohorts))))
        return self.structure.omega(x[..., :m]), sigma2

    def value(self, x: FloatArray) -> Evaluation:
        """The model at x."""
        return evaluate(self.data, *self.split(x), self.reml)

    def jacobian(self, x: FloatArray) -> FloatArray:
        """(T T + T, len(x)): derivative of (vec Omega, sigma2)."""
        m, T = self.structure.size, len(self.data.cohorts)
        sigma2 = self.split(x)[1]
        J = np.zeros((*x.shape[:-1], T * T + T, x.shape[-1]))
        J[..., : T * T, :m] = np.swapaxes(self.structure.jacobian(x[..., :m]).reshape(*x.shape[:-1], m, T * T), -1, -2)
        J[..., T * T :, m:] = sigma2[..., None] * (1.0 if self.common else np.eye(T))
        return J

    def derivatives(self, x: FloatArray, at: Evaluation) -> tuple[FloatArray, FloatArray]:
        """Gradient and Hessian in x."""
        m, T = self.structure.size, len(self.data.cohorts)
        sigma2 = self.split(x)[1]
        g, h = derivatives(self.data, at, sigma2, self.reml)
        J = self.jacobian(x)
        Jt = np.swapaxes(J, -1, -2)
        hessian = Jt @ h @ J
        hessian[..., :m, :m] += self.structure.curvature(x[..., :m], g[..., : T * T].reshape(*x.shape[:-1], T, T))
        bend = (g[..., T * T :] * sigma2)[..., None]
        hessian[..., m:, m:] += bend.sum(axis=-2, keepdims=True) if self.common else bend * np.eye(T)
        return (Jt @ g[..., None])[..., 0], (hessian + np.swapaxes(hessian, -1, -2)) / 2

    def take(self, rows: Any) -> JointProblem:
        """The problems of some of R data sets."""
        scale = self.structure.scale
        structure = self.structure if scale.ndim == 1 else replace(self.structure, scale=scale[rows])
        return replace(self, data=self.data.take(rows), structure=structure)


def fit_joint_moments(
    parts: list[Moments],
    structure: Covariance = "unstructured",
    residual: Residual = "by_cohort",
    method: Method = "ML",
    errors: list[FloatArray] | None = None,
) -> MultivariateFit:
    """Fit the joint model to the moments of T single cohorts (in calendar order).

    structure: a name of :data:`valib.models.structures.STRUCTURES`. residual: "by_cohort" or "common" sigma2.
    method: "ML" or "REML". errors: of measurement, T of :func:`valib.models.measurement.error_vector`, to be taken off; the
    moments are then by cell, and the result is what :func:`_as_recorded` says.

    Raises ModelError for fewer than two cohorts, a cohort that no model can be fitted to (named), and an unstructured Omega
    with two cohorts that share no school.
    """
    if residual not in RESIDUALS:
        raise ModelError(f"The residual variance must be one of {', '.join(RESIDUALS)}, not {residual!r}.")
    if len(parts) < 2:
        raise ModelError("A joint model needs at least two cohorts.")
    separate = [_fit_cohort(m, method, None if errors is None else errors[t]) for t, m in enumerate(parts)]
    data = stack_moments(parts, [f.coefficients for f in separate], errors)
    tau2, sigma2 = np.array([[f.tau2, f.sigma2] for f in separate]).T
    scale = magnitudes(data, tau2, sigma2)
    problem = JointProblem(data, make_structure(structure, data.cohorts, scale), residual == "common", method == "REML")
    _check_identified(data, structure)
    pooled = np.log(np.average(sigma2, weights=data.n.sum(axis=0))) if problem.common else None
    log_sigma2 = np.array([pooled]) if problem.common else np.log(sigma2)
    if structure == "independent" and not problem.common:  # the cohorts' own maxima are the joint one
        psi = np.sqrt([f.tau2 for f in separate]) / scale
        ends = [minimise(problem, np.concatenate([psi, log_sigma2]))]
    else:
        ends = _search(problem, scale, sigma2, log_sigma2)
    best = min(ends, key=lambda end: end.at.deviance)
    fit = _result(best, residual, method, tuple(end.at.deviance for end in ends))
    return fit if errors is None else _as_recorded(fit, best, parts, errors)


def _search(
    problem: JointProblem, scale: FloatArray, sigma2: FloatArray, log_sigma2: FloatArray
) -> list[End[JointProblem]]:
    """Ends of the searches: one start from the cell means, further ones where the first end is doubtful.

    scale, sigma2 (T,) as :func:`magnitudes` gives them; log_sigma2 (T,) or (1,): where the search begins.
    """
    ends = []
    lag = np.abs(np.arange(len(scale))[:, None] - np.arange(len(scale)))
    for rho in STARTS:
        R = moment_correlation(problem.data, scale, sigma2) if rho is None else rho**lag
        end = minimise(problem, np.concatenate([problem.structure.start(R * (scale[:, None] * scale)), log_sigma2]))
        for _ in range(MAX_PIVOTS):
            if end.converged or problem.structure.name != "unstructured":
                break
            structure, psi = pivot(problem.structure, problem.split(end.x)[0])
            end = minimise(replace(problem, structure=structure), np.concatenate([psi, end.x[len(psi) :]]))
        ends.append(end)
        if end.converged and not _is_doubtful(end):
            break
    return ends


def _is_doubtful(end: End[JointProblem]) -> bool:
    """Whether another maximum may well be higher: Omega is near singular, or hardly known."""
    omega = end.problem.split(end.x)[0]
    if _is_singular(omega, NEAR_SINGULAR):
        return True
    se = correlation_se(omega, correlation(omega), _variance_vcov(end))
    return not (se < IMPRECISE).all()


def _fit_cohort(moments: Moments, method: Method, errors: FloatArray | None = None) -> MixedFit:
    try:
        return fit_moments(moments, method) if errors is None else fit_corrected(moments, errors, method)
    except ModelError as error:
        raise ModelError(f"Cohort {moments.cohorts[0]}: {error}") from error


def _check_identified(data: JointMoments, structure: Covariance) -> None:
    if structure != "unstructured":
        return
    apart = np.argwhere(np.triu(data.shared == 0))
    if len(apart):
        t, s = data.cohorts[apart[0]]
        raise ModelError(
            f"No school has students in both cohort {t} and cohort {s}, so the covariance of their school "
            "effects cannot be estimated: choose another covariance structure, for example 'ar1'."
        )


def magnitudes(data: JointMoments, tau2: FloatArray, sigma2: FloatArray) -> FloatArray:
    """Standard deviations of school effects (..., T), never 0, from the variances of the cohorts' own fits."""
    typical = sigma2 * (data.n > 0).sum(axis=-2) / data.n.sum(axis=-2)
    sds: FloatArray = np.sqrt(np.maximum(tau2, np.maximum(0.1 * tau2.mean(axis=-1, keepdims=True), 0.1 * typical)))
    return sds


def moment_correlation(data: JointMoments, scale: FloatArray, sigma2: FloatArray) -> FloatArray:
    """A positive definite correlation matrix (..., T, T) near that of the cohorts' own predictions, not shrunken."""
    scale, sigma2, T = scale[..., None, :], sigma2[..., None, :], scale.shape[-1]
    lam = shrinkage(data.n, scale**2, sigma2)
    u = lam * data.z[..., data.n_fixed :] * np.sqrt(data.inverse_n) / scale
    shared = np.maximum(np.swapaxes(lam, -1, -2) @ lam, 1e-300)
    R = (np.swapaxes(u, -1, -2) @ u / shared).clip(-0.95, 0.95)
    R[..., np.arange(T), np.arange(T)] = 1.0
    values, vectors = np.linalg.eigh(R)
    return correlation(vectors * np.maximum(values, 0.1)[..., None, :] @ np.swapaxes(vectors, -1, -2))


def _is_singular(omega: FloatArray, tolerance: float) -> bool:
    """Whether a variance is 0 or the correlation matrix nearly loses rank."""
    if (np.diag(omega) <= 0).any():
        return True
    return bool(np.linalg.eigvalsh(correlation(omega))[0] < tolerance)


def _result(
    end: End[JointProblem], residual: Residual, method: Method, deviances: tuple[float, ...]
) -> MultivariateFit:
    """Estimates, errors and predictions at the optimum."""
    problem, x, data = end.problem, end.x, end.problem.data
    omega, sigma2 = problem.split(x)
    gone = np.diag(omega) <= ZERO * sigma2
    omega[gone], omega[:, gone] = 0.0, 0.0
    at = evaluate(data, omega, sigma2, problem.reml)
    singular = _is_singular(omega, SINGULAR)
    T = len(sigma2)
    variance_vcov = _variance_vcov(end)
    se = np.sqrt(np.maximum(np.diag(variance_vcov), 0))
    omega_se = se[: T * T].reshape(T, T)
    R = correlation(omega)
    R_se = correlation_se(omega, R, variance_vcov)
    if problem.structure.name == "independent":
        omega_se = np.where(gone[:, None] | gone, np.nan, omega_se)
    elif singular:
        omega_se, R_se = np.full((T, T), np.nan), np.full((T, T), np.nan)
    F = data.back @ at.factor
    return MultivariateFit(
        data=data,
        structure=problem.structure.name,
        residual=residual,
        method=method,
        coefficients=data.offset + data.back @ at.delta,
        vcov=F @ F.T,
        omega=omega,
        omega_se=omega_se,
        correlation=R,
        correlation_se=R_se,
        sigma2=np.array(sigma2),
        sigma2_se=se[T * T :],
        variance_vcov=variance_vcov,
        loglik=-0.5 * at.deviance,
        n_parameters=data.n_fixed + len(x),
        singular=singular,
        converged=end.converged,
        deviances=deviances,
        effects=at.w @ omega,
        conditional=omega - omega @ at.H @ omega,
        sensitivity=-(omega @ at.G) @ np.linalg.inv(data.back),
    )


def _as_recorded(
    fit: MultivariateFit, end: End[JointProblem], parts: list[Moments], errors: list[FloatArray]
) -> MultivariateFit:
    """A fit from which errors of measurement are taken off, as what is recorded has it.

    A residual y - x'b on record has the variance sigma2_t + b_t' F_t b_t: by it effects are shrunk, it is the sigma2 that is
    told, at it the intercepts are fitted to the residuals, so that effects sum to zero, and at it, b known, Omega and sigma2
    have their information. vcov is clustered by school over all its cohorts.
    """
    T, P, column = len(fit.sigma2), fit.data.n_fixed, fit.data.column
    cohort = column[:P]
    data = stack_moments(parts, [fit.coefficients[cohort == t] for t in range(T)], errors)  # of residuals
    assert data.errors is not None
    sigma2 = fit.sigma2 + np.diag(data.errors)[P:]
    at = evaluate(replace(data, errors=None), fit.omega, sigma2)
    psi = _influences(
        fit, data, within_by_school(parts, [fit.coefficients[cohort == t] for t in range(T)], data, errors)
    )
    first = np.searchsorted(cohort, np.arange(T))
    means = np.array([i + m.intercept for i, m in zip(first, parts, strict=True) if m.intercept is not None], dtype=int)
    others = np.setdiff1d(np.arange(P), means)
    X = data.z[:, :P] * np.sqrt(data.inverse_n)[:, cohort] @ np.linalg.inv(data.back)
    X = X[:, None, others] * (cohort[others] == np.arange(T)[:, None])  # (J, T, m), means of the slopes' columns
    w, b = at.w + at.G @ at.delta, fit.coefficients.copy()
    if len(means):
        total = at.H.sum(axis=0)
        move = np.linalg.solve(total, w.sum(axis=0))
        b[means] += move
        w = w - at.H @ move
        psi[:, means] = w @ np.linalg.inv(total) - psi[:, others] @ np.linalg.solve(total, (at.H @ X).sum(axis=0)).T
    vcov = clustered(psi[None], np.atleast_1d(data.n_students), np.array([len(psi)]))[0]
    split = [b[cohort == t] for t in range(T)]
    slopes = np.zeros((P, len(others)))
    slopes[others] = factor(vcov[np.ix_(others, others)])
    fit = replace(
        fit,
        data=stack_moments(parts, split, errors),
        coefficients=b,
        vcov=vcov,
        sigma2=sigma2,
        effects=w @ fit.omega,
        conditional=fit.omega - fit.omega @ at.H @ fit.omega,
        sensitivity=-(fit.omega @ at.G) @ np.linalg.inv(data.back),
        corrected=Corrected(_of_residuals(parts, split), means, slopes, -X @ slopes[others]),
    )
    return _with_information(fit, end)


def _of_residuals(parts: list[Moments], b: list[FloatArray]) -> JointMoments:
    """Moments of the residuals about b_t, with the intercepts that the cohorts have."""
    ones = [m.intercept is not None for m in parts]
    residuals = [residual_moments(m, own, one) for m, own, one in zip(parts, b, ones, strict=True)]
    return stack_moments(residuals, [np.zeros(int(one)) for one in ones])


def _with_information(fit: MultivariateFit, end: End[JointProblem]) -> MultivariateFit:
    """Errors of Omega and sigma2 from the moments of residuals, at sigma2 as recorded."""
    assert fit.corrected is not None
    T, m = len(fit.sigma2), end.problem.structure.size
    problem = replace(end.problem, data=fit.corrected.plain, common=False)
    x = np.concatenate([end.x[:m], np.log(fit.sigma2)])
    there = problem.value(x)
    vcov = _variance_vcov(End(problem, x, there, problem.derivatives(x, there)[1], True))
    se, known = np.sqrt(np.maximum(np.diag(vcov), 0)), np.isfinite(fit.omega_se)
    return replace(
        fit,
        omega_se=np.where(known, se[: T * T].reshape(T, T), np.nan),
        correlation_se=np.where(known, correlation_se(fit.omega, fit.correlation, vcov), np.nan),
        sigma2_se=se[T * T :],
        variance_vcov=vcov,
    )


def _influences(fit: MultivariateFit, data: JointMoments, cells: FloatArray) -> FloatArray:
    """(J, P): what each school adds to b_hat - b; data: of residuals, cells (J, Q, Q) within by school, both without errors."""
    P, column, s2 = data.n_fixed, data.column, fit.sigma2[data.column]
    at, z = evaluate(data, fit.omega, fit.sigma2), data.z / np.sqrt(s2)
    fitted = (at.N * z[:, None, P:]).sum(axis=-1)  # N_j z_j of the residuals
    assert data.errors is not None
    taken = np.diagonal(at.N, axis1=1, axis2=2)[:, column] * (data.n[:, column] > 0) * data.errors[:, P:].sum(axis=1)
    score = (cells[..., P:].sum(axis=-1) - taken) / s2 + z * fitted[:, column]
    F = data.back @ at.factor
    return np.asarray(score[:, :P] @ at.factor @ F.T)


def _variance_vcov(end: End[JointProblem]) -> FloatArray:
    """Delta method: covariance of (vec Omega, sigma2) from the observed information of x; nan where it is singular."""
    J, newton = end.problem.jacobian(end.x), Quadratic.of(np.zeros(len(end.x)), end.hessian)
    if newton.size is not None and (newton.downhill is not None or newton.size.min() <= FLAT * newton.size.max()):
        return np.full((len(J), len(J)), np.nan)
    scaled = J * newton.scale
    return 2 * scaled @ np.linalg.solve(newton.scaled, scaled.T)


def correlation_se(omega: FloatArray, R: FloatArray, variance_vcov: FloatArray) -> FloatArray:
    """(..., T, T), 0 at t = s: d r_ts = d w_ts / sd_t sd_s - r_ts / 2 (d w_tt / w_tt + d w_ss / w_ss), w = omega."""
    T = omega.shape[-1]
    t, s = np.divmod(np.arange(T * T), T)
    with np.errstate(divide="ignore", invalid="ignore"):
        D = np.zeros((*omega.shape[:-2], T * T, T * T))
        D[..., np.arange(T * T), np.arange(T * T)] = 1 / np.sqrt(omega[..., t, t] * omega[..., s, s])
        for i in (t, s):
            D[..., np.arange(T * T), i * (T + 1)] -= R[..., t, s] / (2 * omega[..., i, i])
        variance = np.einsum("...ij,...jk,...ik->...i", D, variance_vcov[..., : T * T, : T * T], D)
    return np.where(t == s, 0.0, np.sqrt(np.maximum(variance, 0.0))).reshape(omega.shape)


@dataclass(frozen=True, slots=True, eq=False)
class JointBatch:
    """R joint fits of T cohorts and J schools; nan where there is none.

    found (R,): whether there is one. omega, correlation, correlation_se (R, T, T), sigma2 (R, T), effects (R, J, T): as
    those of :class:`valib.models.joint_fit.MultivariateFit`.
    """

    found: np.ndarray
    omega: FloatArray
    correlation: FloatArray
    correlation_se: FloatArray
    sigma2: FloatArray
    effects: FloatArray


def stack_sums(cohorts: np.ndarray, n: FloatArray, sums: FloatArray, cross: FloatArray, b: FloatArray) -> JointMoments:
    """The moments of R data sets together, as :func:`valib.models.joint_likelihood.stack_moments` does for one.

    n (R, T, J), sums (R, T, J, k), cross (R, T, k, k) over the schools: of columns that are not shifted; b (R, T, p):
    coefficients near those of each cohort.
    """
    R, T, J, k = sums.shape
    p, P = k - 1, T * (k - 1)
    scale = np.sqrt(np.diagonal(cross, axis1=-2, axis2=-1)[..., :-1] / n.sum(axis=-1)[..., None])
    change = np.zeros((R, T, k, k))
    change[..., np.arange(k), np.arange(k)] = np.concatenate([1 / scale, np.ones((R, T, 1))], axis=-1)
    change[..., :-1, -1] = -b
    mean = sums @ change / np.sqrt(np.maximum(n, 1))[..., None]
    inside = np.swapaxes(change, -1, -2) @ cross @ change - np.swapaxes(mean, -1, -2) @ mean
    z, within, back = np.zeros((R, J, P + T)), np.zeros((R, P + T, P + T)), np.zeros((R, P, P))
    column = np.concatenate([np.repeat(np.arange(T), p), np.arange(T)])
    for t in range(T):
        at = np.flatnonzero(column == t)
        z[..., at], within[:, at[:, None], at] = mean[:, t], inside[:, t]
        back[:, at[:-1], at[:-1]] = 1 / scale[:, t]
    return JointMoments(
        np.arange(J),
        cohorts,
        (tuple(f"x{i}" for i in range(p)),) * T,
        np.swapaxes(n, 1, 2).astype(np.float64),
        column,
        z,
        within,
        b.reshape(R, P),
        back,
        np.log(scale).sum(axis=(1, 2)),
    )


def fit_all(data: JointMoments, tau2: FloatArray, sigma2: FloatArray, reml: bool = False) -> JointBatch:
    """Fit R data sets; tau2, sigma2 (R, T): of the cohorts' own fits."""
    scale = magnitudes(data, tau2, sigma2)
    structure = make_structure("unstructured", data.cohorts, scale)
    problem = JointProblem(data, structure, False, reml)
    psi = structure.start(moment_correlation(data, scale, sigma2) * structure.unit)
    x, there = minimise_all(problem, np.concatenate([psi, np.log(sigma2)], axis=1))
    there &= (data.shared > 0).all(axis=(1, 2))
    rows, (R, J, T) = np.flatnonzero(there), data.n.shape
    out = JointBatch(
        np.zeros(R, dtype=bool), *(np.full((R, *shape), np.nan) for shape in ((T, T), (T, T), (T, T), (T,), (J, T)))
    )
    if len(rows):
        _fill(out, problem.take(rows), x[rows], rows)
    return out


def _fill(out: JointBatch, problem: JointProblem, x: FloatArray, rows: np.ndarray) -> None:
    """Put the results at the minima x of some rows in their places, but for doubtful ones."""
    T = len(problem.data.cohorts)
    at, (omega, sigma2) = problem.value(x), problem.split(x)
    good = np.diagonal(omega, axis1=1, axis2=2).min(axis=1) > 0
    R = np.where(good[:, None, None], correlation(omega), np.eye(T))
    J, hessian = problem.jacobian(x), problem.derivatives(x, at)[1]
    se = correlation_se(omega, R, 2 * J @ np.linalg.solve(hessian, np.swapaxes(J, 1, 2)))
    good &= (np.linalg.eigvalsh(R)[:, 0] >= NEAR_SINGULAR) & (se < IMPRECISE).all(axis=(1, 2))
    out.found[rows[good]] = True
    places = (out.omega, out.correlation, out.correlation_se, out.sigma2, out.effects)
    for place, value in zip(places, (omega, R, se, sigma2, at.w @ omega), strict=True):
        place[rows[good]] = value[good]
