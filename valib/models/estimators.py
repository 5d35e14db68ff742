"""Value added by one family of estimators, on R data sets at once: single fits, bootstrap and simulation call these.

One data set is a batch of one. The arrays are those of :class:`valib.sums.moments.Moments` with R in front; where a
function says "...", any leading axes will do, and none. In [X, y] the response stands last.

    coefficients   b = A^-1 c,  A = sum_c (X'X - w_c s s'),  c likewise from X'y; w_c = 0: least squares,
                   theta/(1 + n theta): the mixed model, 1/n: the within estimator
    influences     psi_j (p,): what school j adds to b_hat - b
    Var(b)         J/(J-1) (N-1)/(N-p) sum_j psi_j psi_j'            (CR1; Liang and Zeger 1986)
    shift          delta = sum_j a_j rbar_j / sum_j a_j,  a_j = n_j/(1 + n_j theta),
                   with influences phi_j = a_j (rbar_j - delta) / sum_j a_j
    Var(shift)     J/(J-1) sum_j (phi_j - xbar_w' psi_j)^2, the same schools having part in both: what a school adds to
                   the one error and to the other is added before it is squared. A school absent from one has 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import Blup, factor, precision, predict_blup, shrinkage
from .likelihood import Compressed, Optimum, compress, optimise
from .measurement import noise, remove_error, student_and_cell
from .mixed import unshift
from .options import Estimator, Groups, ShiftMode

CONSTANT_WITHIN = 1e-10  # share of a column's variation that lies within cells, below which it is constant there


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """What is typical in R data sets, in the shifted columns of their moments: b (R, p).

    A_inverse (R, p, p): of the estimator's own A, 0 for the intercept of the within estimator. rss (R,): a'Ma with
    a = (-b, 1). mixed: the mixed model, whose variances the benchmark keeps. between: for the within estimator the
    random-intercept model of what its slopes leave, which gives the intercept.
    """

    b: FloatArray
    A_inverse: FloatArray
    rss: FloatArray
    mixed: Optimum
    between: Optimum | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Benchmarks of R data sets with J schools.

    b (R, p); influence (R, J, p): of schools; vcov (R, p, p): clustered by school; vcov_model: the estimator's own;
    vcov_students: of the students alone, these very schools being given. tau2, sigma2 (R,): of the mixed model; sigma2
    of y - x'b as recorded, so that an error of measurement counts with b^2 times its variance.
    """

    b: FloatArray
    influence: FloatArray
    vcov: FloatArray
    vcov_model: FloatArray
    vcov_students: FloatArray
    tau2: FloatArray
    sigma2: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """The system shift, each (...,): delta; var_delta = sigma2 / sum a_j with b_B known; var_students, of that what is
    due to students alone; var_scale of equating and links; var = var_delta + xbar_w' Var(b_B) xbar_w + var_scale, which
    takes the schools of baseline and cohort as different ones. centre (..., p): xbar_w, the a-weighted means of the
    columns. influence (..., J): phi_j.
    """

    delta: FloatArray
    var_delta: FloatArray
    var_students: FloatArray
    var_scale: FloatArray
    var: FloatArray
    centre: FloatArray
    influence: FloatArray

    def by_school(self, influence_b: FloatArray) -> FloatArray:
        """(..., J): phi_j - xbar_w' psi_j, what each school adds to the error of the shift; influence_b (..., J, p)."""
        return self.influence - (influence_b @ self.centre[..., None])[..., 0]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """School effects of R data sets: blup (R, J), with the coefficients b (R, p), their vcov, tau2 and sigma2 (R,);
    influence (R, J, p): of schools on b, of a relative model where it was asked for.
    """

    blup: Blup
    b: FloatArray
    vcov: FloatArray
    tau2: FloatArray
    sigma2: FloatArray
    shift: Shift | None = None
    influence: FloatArray | None = None


def coefficients(
    recorded: Compressed,
    intercept: int | None,
    estimator: Estimator,
    reml: bool,
    errors: FloatArray,
    theta: FloatArray | None = None,
) -> Coefficients:
    """b of R data sets. errors (p,): error variances of the columns, to be taken off, or those that
    :func:`valib.models.measurement.error_vector` has with school means. theta (R,): of the mixed model,
    where it is known already.
    """
    data = remove_error(recorded, errors)
    mixed = optimise(data, reml, theta)
    if estimator == "mixed":
        return Coefficients(mixed.at.b, mixed.at.A_inverse, mixed.at.rss, mixed)
    p, M, columns = data.p, data.cross, np.arange(data.p)
    if estimator == "within":
        M = M - np.einsum("d,rdij->rij", 1 / data.sizes, data.outer)
        columns = columns[columns != intercept]
    inverse = np.zeros((len(M), p, p))
    square = (slice(None), columns[:, None], columns)
    inverse[square] = np.linalg.inv(M[square])
    b = (inverse @ M[:, :p, p:])[..., 0]
    a = _residual(b)
    rss = (a[:, None] @ M @ a[..., None])[:, 0, 0]
    if estimator == "ols":
        return Coefficients(b, inverse, rss, mixed)
    between = optimise(residuals(recorded, b, intercept), reml)
    b[:, intercept] = between.at.b[:, 0]
    return Coefficients(b, inverse, rss, mixed, between)


def residuals(data: Compressed, b: FloatArray, intercept: int | None = None) -> Compressed:
    """Compressed moments of r = y - X b, with b (R, p) of its own in every data set; ones before it if the position of
    the intercept is given.
    """
    L = _residual(b)[..., None]
    if intercept is not None:
        ones = np.zeros_like(L)
        ones[:, intercept] = 1.0
        L = np.concatenate([ones, L], axis=2)
    R, D, k, m = *data.outer.shape[:3], L.shape[-1]
    half = (data.outer.reshape(R, D * k, k) @ L).reshape(R, D, k, m)  # one product a data set, not one a size
    outer = (np.swapaxes(half, 2, 3).reshape(R, D * m, k) @ L).reshape(R, D, m, m)
    return Compressed(data.sizes, data.counts, outer, L.transpose(0, 2, 1) @ data.cross @ L, data.n)


def fit_baselines(
    moments: Moments,
    estimator: Estimator = "mixed",
    groups: Groups = "school_cohort",
    reml: bool = False,
    errors: FloatArray | None = None,
    theta: FloatArray | None = None,
) -> Baseline:
    """Benchmarks from moments by cell. groups: the mixed model's random intercept is one a "school_cohort" cell, or one
    a "school". errors (p,), theta (R,): as in :func:`coefficients`.
    """
    cells = moments.batch.pool_cohorts() if groups == "school" else moments.batch
    p, data, undo = cells.n_fixed, compress(cells), unshift(cells)
    errors = np.zeros(p) if errors is None else errors
    found = coefficients(data, cells.intercept, estimator, reml, errors, theta)
    dof = data.n - p if estimator == "ols" else found.rss / found.mixed.sigma2
    if estimator == "within":
        dof = data.n - data.counts.sum(axis=1) - (p - 1)
    model = (found.rss / dof)[:, None, None] * found.A_inverse
    sigma2 = found.mixed.sigma2 + noise(found.b, errors)
    students = sigma2[:, None, None] * (found.A_inverse @ _kept_squares(data, found, estimator) @ found.A_inverse)
    influence = _influences(cells, found, estimator, errors)
    if estimator == "within":
        _add_intercept(cells, found, influence, model, students, sigma2)
    b = found.b @ undo[:-1, :-1].T + undo[:-1, -1]
    by_school = cells.by_school(influence) @ undo[:-1, :-1].T
    model, students = (undo[:-1, :-1] @ V @ undo[:-1, :-1].T for V in (model, students))
    vcov = clustered(by_school, data.n, cells.present)
    return Baseline(b, by_school, vcov, model, students, found.mixed.tau2, sigma2)


def clustered(influence: FloatArray, students: FloatArray, schools: np.ndarray) -> FloatArray:
    """(R, p, p): CR1 covariance of coefficients from the influences (R, J, p) of schools (Liang and Zeger 1986).

    students, schools (R,): how many there are.
    """
    scale = (students - 1) / (students - influence.shape[-1])
    vcov: FloatArray = scale[:, None, None] * school_variance(influence, schools[:, None, None])
    return vcov


def school_variance(influence: FloatArray, schools: int | np.ndarray) -> FloatArray:
    """J/(J-1) sum_j d_j d_j': the variance of an estimate to which school j adds d_j; influence (..., J, m)."""
    variance: FloatArray = schools / (schools - 1) * (np.swapaxes(influence, -1, -2) @ influence)
    return variance


def _kept_squares(data: Compressed, found: Coefficients, estimator: Estimator) -> FloatArray:
    """(R, p, p): sum over students of (x_i - w_c s_c)(x_i - w_c s_c)', so that A^-1 of it A^-1 sigma2 is the variance
    of b over students of these very schools.
    """
    theta, n = found.mixed.theta[:, None], data.sizes
    w = {"ols": 0.0 * theta * n, "mixed": theta / (1 + theta * n), "within": 1 / n + 0.0 * theta}[estimator]
    squares: FloatArray = (data.cross - np.einsum("rd,rdij->rij", 2 * w - n * w**2, data.outer))[:, :-1, :-1]
    return squares


def _influences(cells: Moments, found: Coefficients, estimator: Estimator, errors: FloatArray) -> FloatArray:
    """(R, C, p): what each cell adds to b_hat - b, in shifted columns."""
    n, a = cells.n, _residual(found.b)
    theta = found.mixed.theta[:, None]
    w = {"ols": 0.0 * n, "mixed": theta / (1 + n * theta)}.get(estimator)
    if w is None:
        w = np.divide(1.0, n, out=np.zeros(n.shape), where=n > 0)
    total = (cells.sums @ a[..., None])[..., 0]
    assert cells.cell_cross is not None  # moments by cell
    score = (cells.cell_cross @ a[:, None, :, None])[..., 0] - (w * total)[..., None] * cells.sums
    student, cell = ((E @ a[:, :-1, None])[:, None, :, 0] for E in student_and_cell(errors))
    own, shared = n * (1 - w), (n > 0) - n * w
    score = score[..., :-1] - own[..., None] * student - shared[..., None] * cell
    return score @ found.A_inverse


def _add_intercept(
    cells: Moments,
    found: Coefficients,
    influence: FloatArray,
    model: FloatArray,
    students: FloatArray,
    sigma2: FloatArray,
) -> None:
    """Within slopes: the intercept is the GLS mean of y - X b (slopes only) over cells; its entries of the influences
    and of the covariances are filled in place.
    """
    i, between = cells.intercept, found.between
    assert between is not None  # of within slopes
    n = np.maximum(cells.n, 1)[..., None]
    weight = precision(cells.n, between.theta[:, None])
    weight = weight / weight.sum(axis=1, keepdims=True)
    rbar = (cells.sums / n @ _residual(found.b)[..., None])[..., 0]  # about the intercept
    centre = (weight[:, None] @ (cells.sums[..., :-1] / n))[:, 0]
    centre[:, i] = 0.0
    influence[..., i] = weight * rbar - (influence @ centre[..., None])[..., 0]
    means = sigma2 * (weight**2 / n[..., 0]).sum(axis=1)
    for V, own in ((model, between.vcov[:, 0, 0]), (students, means)):
        column = (V @ centre[..., None])[..., 0]
        V[:, i] = V[..., i] = -column
        V[:, i, i] = own + (centre * column).sum(axis=1)


def check_within(moments: Moments) -> None:
    """Raise ModelError, naming them, for columns that do not vary within cells: the within estimator has no slope."""
    data = compress(moments)
    within = data.cross[0] - np.einsum("d,dij->ij", 1 / data.sizes, data.outer[0])
    total = moments.n_students * (moments.weight @ moments.sums / moments.n_students) ** 2
    spread = np.diag(data.cross[0]) - total
    columns = [c for c in range(moments.n_fixed) if c != moments.intercept]
    constant = [moments.names[c] for c in columns if within[c, c] <= CONSTANT_WITHIN * spread[c]]
    if constant:
        raise ModelError(
            f"Column {', '.join(map(repr, constant))} does not vary within schools, so the 'within' "
            "estimator cannot give its coefficient: use 'mixed', or leave it out."
        )


def relative_va(
    moments: Moments, fit: Optimum, reml: bool, errors: FloatArray | None = None, influences: bool = False
) -> Predictions:
    """Relative value added from the fit of R cohorts, errors (p,) of measurement taken off (then by cell).

    influences: with those of the schools on b (by cell too).

    With errors the model's covariance of b does not hold, so the clustered one is taken; and a student's residual y - x'b on
    record has the variance sigma2 + b^2 errors, by which the effects are shrunk, and at which the intercept is fitted to the
    residuals, so that the effects sum to zero.
    """
    data, undo = moments.batch, unshift(moments)
    b = fit.at.b @ undo[:-1, :-1].T + undo[:-1, -1]
    corrected, base = errors is not None and errors.any(), None
    if corrected or influences:
        base = fit_baselines(data, "mixed", reml=reml, errors=errors, theta=fit.theta)
    means = data.means
    if corrected and base is not None and errors is not None:
        sigma2 = fit.sigma2 + noise(b, errors)
        a = precision(data.n, (fit.tau2 / sigma2)[:, None])
        b, psi = _refitted(moments.intercept, b, base.influence, means, a / a.sum(axis=1, keepdims=True))
        base = replace(base, influence=psi)
        vcov = clustered(psi, data.n.sum(axis=1), data.present)
    else:
        vcov, sigma2 = undo[:-1, :-1] @ fit.vcov @ undo[:-1, :-1].T, fit.sigma2
    residual = (means @ _residual(b)[..., None])[..., 0]
    blup = predict_blup(data.n, residual, fit.tau2[:, None], sigma2[:, None], means[..., :-1], vcov)
    return Predictions(blup, b, vcov, fit.tau2, sigma2, influence=None if base is None else base.influence)


def _refitted(
    i: int | None, b: FloatArray, influence: FloatArray, means: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """b (R, p) and influences (R, J, p) with the intercept, at i, from the residuals: their mean by weight (R, J)."""
    if i is None:
        return b, influence
    b, psi = b.copy(), influence.copy()
    b[:, i] += (weight * (means @ _residual(b)[..., None])[..., 0]).sum(axis=1)
    centre = (weight[:, None] @ means[..., :-1])[:, 0]
    centre[:, i] = psi[..., i] = 0.0
    psi[..., i] = weight * (means @ _residual(b)[..., None])[..., 0] - (psi @ centre[..., None])[..., 0]
    return b, psi


def optimise_residuals(
    data: Compressed, b: FloatArray, kept: tuple[FloatArray, FloatArray] | None, intercept: int | None, reml: bool
) -> Optimum:
    """The random-intercept model of r = y - X b of R focal cohorts, b (R, p) in shifted columns.

    kept: tau2 and sigma2 (R,) of the baseline, where they are carried over. intercept: its position where the shift is
    estimated, or None.
    """
    found = optimise(residuals(data, b, intercept), reml, None if kept is None else kept[0] / kept[1])
    return found if kept is None else replace(found, sigma2=kept[1])


def benchmark_va(
    n: FloatArray,
    means: FloatArray,
    b: FloatArray,
    vcov: FloatArray,
    tau2: FloatArray | float,
    sigma2: FloatArray | float,
    shift: ShiftMode,
    equating_se: float = 0.0,
    link_loadings: FloatArray | None = None,
) -> tuple[Blup, Shift | None]:
    """Benchmark VA and the system shift with their errors, from cells of one cohort in each data set.

    n (..., J), means (..., J, k); b (..., p), vcov (..., p, p): benchmark coefficients and Var(b_B); tau2, sigma2
    (...,). With a_j = n_j / (1 + n_j theta), xbar_w the a-weighted mean of xbar_j and
    g_j = (1 - lambda_j) xbar_w + lambda_j xbar_j:
    estimated  Var(VA_j) = tau2 (1 - lambda_j) + (1 - lambda_j)^2 Var(delta) + g_j' Var(b_B) g_j + s2_equating
    absorbed   Var(VA_j) = tau2 (1 - lambda_j) + lambda_j^2 (xbar_j' Var(b_B) xbar_j + s2_equating)
    link_loadings (..., J, m): what m standard normal errors of a scale link do to the mean residuals; they enter as the
    equating error does, weighted like xbar_j where they differ between schools.
    Diagnostic: the sampling variance of u_hat_j (without delta), in which Var(b_B) adds because b_B comes from other
    students: lambda tau2 - lambda^2 Var(delta) + lambda^2 (xbar_j - xbar_w)' Var(b_B) (xbar_j - xbar_w).
    """
    tau2, sigma2 = np.asarray(tau2)[..., None], np.asarray(sigma2)[..., None]
    xbar, F = means[..., :-1], factor(vcov)
    residual = (means @ _residual(b)[..., None])[..., 0]
    lam = shrinkage(n, tau2, sigma2)
    own, L = tau2 * (1 - lam), np.full((*n.shape, 1), float(equating_se))
    if link_loadings is not None:
        L = np.concatenate([L, link_loadings], axis=-1)
    if shift == "absorbed":
        common = lam[..., None] * np.concatenate([xbar @ F, L], axis=-1)
        shared = (common**2).sum(axis=-1)
        return Blup(lam * residual, lam, residual, own, own + shared, lam * tau2 + shared, common), None
    a = precision(n, tau2 / sigma2)
    total = a.sum(axis=-1, keepdims=True)
    delta, var_delta = (a * residual).sum(axis=-1, keepdims=True) / total, sigma2 / total
    centre, L_centre = ((a[..., None, :] @ values) / total[..., None] for values in (xbar, L))
    blup = predict_shifted(n, residual, tau2, sigma2, (delta, var_delta), (xbar @ F, centre @ F), (L, L_centre))
    scale = (L_centre**2).sum(axis=(-2, -1))
    students = (sigma2 * a**2 / np.maximum(n, 1)).sum(axis=-1) / total[..., 0] ** 2
    moved = Shift(
        delta[..., 0],
        var_delta[..., 0],
        students,
        scale,
        var_delta[..., 0] + ((centre @ F) ** 2).sum(axis=(-2, -1)) + scale,
        centre[..., 0, :],
        a * (residual - delta) / total,
    )
    return blup, moved


def predict_shifted(
    n: FloatArray,
    residual: FloatArray,
    tau2: FloatArray | float,
    sigma2: FloatArray | float,
    shift: tuple[Any, Any],
    loads: tuple[FloatArray, FloatArray],
    scale: tuple[FloatArray, FloatArray],
) -> Blup:
    """delta + u_hat_j of schools (..., J) where delta and its variance, ``shift``, are known from these or other schools.

    residual: rbar_j about the benchmark. loads: xbar_j F (..., J, p) and its a-weighted mean over the schools that delta is
    of (..., 1, p), F F' = Var(b_B). scale: the same of equating and links, L_j (..., J, m) and its mean.
    """
    delta, var_delta = shift
    lam = shrinkage(n, tau2, sigma2)
    own, keep = tau2 * (1 - lam), (1 - lam)[..., None]
    parts = [keep * centre + lam[..., None] * each for each, centre in (loads, scale)]
    common = np.concatenate([np.sqrt(var_delta)[..., None] * keep, *parts], axis=-1)
    apart = sum(((each - centre) ** 2).sum(axis=-1) for each, centre in (loads, scale))
    diagnostic = np.maximum(lam * tau2 - lam**2 * var_delta + lam**2 * apart, 0.0)
    effect, var = delta + lam * (residual - delta), own + (common**2).sum(axis=-1)
    return Blup(effect, lam, residual, own, var, diagnostic, common)


def residual_moments(moments: Moments, b: FloatArray, intercept: bool) -> Moments:
    """Moments of r = y - X b about 0, with a column of ones before it if ``intercept``; of one data set."""
    columns = np.append(-b, 1.0)[:, None]
    names: tuple[str, ...] = ("residual",)
    if intercept:
        columns = np.column_stack([np.eye(len(b) + 1)[moments.intercept], columns])
        names = ("Intercept", "residual")
    moved = moments.transform(columns, names)
    return moved.reshift(np.zeros(len(names)))


def known_errors(found: Predictions) -> Predictions:
    """The same with the intervals that take the coefficients as known."""
    known, shift = found.blup.var_conditional, found.shift
    if shift is not None:
        known = known + found.blup.common[..., 0] ** 2
        shift = replace(shift, var=shift.var_delta)
    return replace(found, blup=replace(found.blup, var_comparative=known), shift=shift)


def _residual(b: FloatArray) -> FloatArray:
    """(..., k): a = (-b, 1), so that [X, y] a is the residual."""
    return np.concatenate([-b, np.ones((*b.shape[:-1], 1))], axis=-1)
