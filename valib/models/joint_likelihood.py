"""Several cohorts: the likelihood of the joint model and its first two derivatives, from moments.

    y_ijt = x_ijt' b_t + u_jt + e_ijt,   (u_j1 .. u_jT) ~ N(0, Omega),   e_ijt ~ N(0, sigma2_t)

Within a cell (school j, cohort t) the students' deviations from the cell mean say nothing of u. With z_jt the cell sums
divided by sqrt(n_jt), D_j = diag(n_jt / sigma2_t), W_t the cross-products within cells and R any stacked columns,

    N_j = (I + D_j^1/2 Omega D_j^1/2)^-1
    R' V^-1 R  = sum_t W_t / sigma2_t + sum_j z_j' S^-1/2 N_j S^-1/2 z_j        S = diag(sigma2_t)
    log|V|     = sum_t n_t log sigma2_t - sum_j log|N_j|
    Z'V^-1 Z   = H_j = D_j^1/2 N_j D_j^1/2,     u_hat_j = Omega w_j,   w_j = Z'V^-1 (y - X b)

which is the Woodbury identity without its cancellations: every term is positive, Omega may be singular and needs no
factor, a school may miss cohorts (n_jt = 0). The derivatives follow from d y'Py = -y'P dV P y and cost as much as the
likelihood. Sources: Searle, Casella and McCulloch (1992, chapter 6); Lindstrom and Bates (1988).

Errors of measurement (:mod:`valib.models.measurement`) add E1_t from every student and E2_t from every cell of cohort t to
the columns' cross-products, so to W_t on average (n_t - C_t) E1_t and to z_jt z_jt' in every cell F_t = E1_t + E2_t:

    E[X'V^-1 X] - true = sum_t 1/sigma2_t [(n_t - C_t) E1_t + sum_j N_j,tt F_t]       (without E2: s2m sum_i [V^-1]_ii)

The first is taken off W_t once. The second depends on Omega: with L_j = D_j^1/2 N_j, whatever has two responses or columns
of school j in it, such as w_j w_j', loses L_j diag_t(a_t'F_t a_t / sigma2_t) L_j', and the derivatives are exact again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray, IntArray
from ..sums.moments import Moments
from .linalg import invert
from .measurement import student_and_cell
from .mixed import unshift


@dataclass(frozen=True, slots=True, eq=False)
class JointMoments:
    """Moments of J schools in T cohorts, each cohort with its own columns, scaled and as residuals.

    They may be those of R data sets: then n, z, within, offset, back and log_scale have R in front, as have the results
    of :func:`evaluate` and :func:`derivatives`; a school that a data set lacks has n = 0 and z = 0.

    schools (J,), cohorts (T,); names: column names by cohort. n (J, T): students, 0 where a school has none.
    column (Q,): cohort of each of the Q = P + T columns, first the fixed-effects columns cohort by cohort, then one
    response a cohort. z (J, Q): cell sums over sqrt(n). within (Q, Q): cross-products within cells, blocks by cohort.
    The fixed effects are offset + back @ delta, with delta (P,) those of the scaled columns. log_scale: the sum of the
    logarithms of the columns' scales. errors (Q, Q): F, blocks by cohort, in these columns (that of a response, a residual,
    has the errors of its covariates), the same for R data sets; None: no errors of measurement.
    """

    schools: np.ndarray
    cohorts: np.ndarray
    names: tuple[tuple[str, ...], ...]
    n: FloatArray
    column: np.ndarray
    z: FloatArray
    within: FloatArray
    offset: FloatArray
    back: FloatArray
    log_scale: float
    errors: FloatArray | None = None

    @property
    def n_fixed(self) -> int:
        """P, fixed effects of all cohorts."""
        return int(self.offset.shape[-1])

    @property
    def n_students(self) -> Any:
        """Students of all cohorts."""
        return self.n.sum(axis=(-2, -1))

    @property
    def inverse_n(self) -> FloatArray:
        """(J, T): 1/n, 0 where a school has no students."""
        return np.divide(1.0, self.n, out=np.zeros_like(self.n), where=self.n > 0)

    @property
    def shared(self) -> IntArray:
        """(T, T): schools with students in both cohorts."""
        there = (self.n > 0).astype(np.int64)
        return np.swapaxes(there, -1, -2) @ there

    def take(self, rows: Any) -> JointMoments:
        """Some of R data sets."""
        return replace(
            self, **{name: getattr(self, name)[rows] for name in ("n", "z", "within", "offset", "back", "log_scale")}
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The model at one (Omega, sigma2), the fixed effects profiled out by generalised least squares.

    deviance: -2 log-likelihood with all constants. delta (P,): fixed effects of the scaled columns; factor (P, P):
    its product with its transpose is their covariance. N (J, T, T) as above; root (J, T): sqrt(n / sigma2).
    G (J, T, P): Z'V^-1 X; w (J, T): Z'V^-1 (y - X b).
    """

    deviance: float
    delta: FloatArray
    factor: FloatArray
    N: FloatArray
    root: FloatArray
    G: FloatArray
    w: FloatArray

    @property
    def H(self) -> FloatArray:
        """(J, T, T): Z'V^-1 Z."""
        return self.root[..., :, None] * self.N * self.root[..., None, :]

    def take(self, rows: Any) -> Evaluation:
        """Those of some of R data sets."""
        return Evaluation(*(getattr(self, field.name)[rows] for field in fields(self)))


def stack_moments(
    parts: list[Moments], coefficients: list[FloatArray], errors: list[FloatArray] | None = None
) -> JointMoments:
    """Bring the moments of T single cohorts together.

    coefficients: T vectors (p_t,) near b_t, those of the cohorts' own fits; their prediction is taken off the response
    so that the sums of squares left are those of residuals. errors: T of :func:`valib.models.measurement.error_vector`.
    """
    schools = np.unique(np.concatenate([m.schools for m in parts]))
    T, P = len(parts), sum(m.n_fixed for m in parts)
    n, z, within = np.zeros((len(schools), T)), np.zeros((len(schools), P + T)), np.zeros((P + T, P + T))
    column = np.concatenate([np.repeat(np.arange(T), [m.n_fixed for m in parts]), np.arange(T)])
    offset, back, log_scale = np.empty(P), np.zeros((P, P)), 0.0
    for t, m in enumerate(parts):
        if (m.weight != 1).any() or len(m.cohorts) != 1:
            raise ModelError("The joint model needs the moments of single cohorts, not reweighted.")
        change, scale = _change(m, coefficients[t])
        fixed = np.flatnonzero(column[:P] == t)
        at = np.append(fixed, P + t)
        row = np.searchsorted(schools, m.schools)[m.cell_school]
        n[row, t] = m.n
        mean = m.sums @ change / np.sqrt(m.n)[:, None]
        z[row[:, None], at] = mean
        within[np.ix_(at, at)] = change.T @ m.pooled() @ change - mean.T @ mean
        offset[fixed] = coefficients[t]
        back[np.ix_(fixed, fixed)] = unshift(m)[:-1, :-1] / scale
        log_scale += np.log(scale).sum()
    F, spare = np.zeros_like(within), (n - (n > 0)).sum(axis=0)
    for t, one in enumerate(errors or ()):
        square, (E1, E2) = np.ix_(column == t, column == t), _change_errors(parts[t], one, coefficients[t])
        within[square] -= spare[t] * E1
        F[square] = E1 + E2
    return JointMoments(
        schools,
        np.concatenate([m.cohorts for m in parts]),
        tuple(m.names[:-1] for m in parts),
        n,
        column,
        z,
        within,
        offset,
        back,
        log_scale,
        F if errors else None,
    )


def within_by_school(
    parts: list[Moments], coefficients: list[FloatArray], data: JointMoments, errors: list[FloatArray] | None = None
) -> FloatArray:
    """(J, Q, Q): ``data.within`` school by school, from moments with cross-products by cell."""
    cells = np.zeros((len(data.schools), len(data.column), len(data.column)))
    for t, m in enumerate(parts):
        assert m.cell_cross is not None  # moments with cross-products by cell
        change, _ = _change(m, coefficients[t])
        at = np.flatnonzero(data.column == t)
        row = np.searchsorted(data.schools, m.schools)[m.cell_school]
        cells[row[:, None, None], at[:, None], at] = (
            change.T @ m.cell_cross @ change - data.z[row][:, at, None] * data.z[row][:, None, at]
        )
        if errors:
            cells[row[:, None, None], at[:, None], at] -= (m.n - 1)[:, None, None] * _change_errors(
                m, errors[t], coefficients[t]
            )[0]
    return cells


def _change_errors(moments: Moments, errors: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(k, k) each: E1 and E2 of scaled columns and of residuals about the coefficients."""
    change = _change(moments, coefficients)[0]
    E1, E2 = (change.T @ np.pad(E, (0, 1)) @ change for E in student_and_cell(errors))
    return E1, E2


def _change(moments: Moments, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(k, k): shifted columns to scaled columns and residuals about the coefficients (p,); and the scales (p,)."""
    undo = unshift(moments)
    scale = np.sqrt(np.diag(moments.pooled())[:-1] / moments.n_students)
    change = np.diag(np.append(1 / scale, 1.0))
    change[:-1, -1] = -np.linalg.solve(undo[:-1, :-1], coefficients - undo[:-1, -1])
    return change, scale


def evaluate(data: JointMoments, omega: FloatArray, sigma2: FloatArray, reml: bool = False) -> Evaluation:
    """Deviance, fixed effects and cell residuals at omega (T, T), positive semi-definite, and sigma2 (T,) > 0.

    Raises LinAlgError where the fixed effects are not determined; among R data sets such a one has the deviance nan.
    """
    P, T, column = data.n_fixed, sigma2.shape[-1], data.column
    root = np.sqrt(data.n / sigma2[..., None, :])
    inner = root[..., :, None] * omega[..., None, :, :] * root[..., None, :]
    inner[..., np.arange(T), np.arange(T)] += 1.0
    inverse, logdet = invert(np.moveaxis(inner, (-2, -1), (0, 1)))
    N = np.moveaxis(inverse, (0, 1), (-2, -1))
    z = data.z / np.sqrt(sigma2)[..., None, column]
    Nz = N[..., column] * z[..., None, :]
    cross = data.within / sigma2[..., column, None]
    for t in range(T):
        cross[..., column == t, :] += np.swapaxes(z[..., column == t], -1, -2) @ Nz[..., t, :]
    if data.errors is not None:
        cross -= (_own_weight(data, N) / sigma2)[..., column, None] * data.errors
    c = cross[..., :P, P:].sum(axis=-1)
    lower = _cholesky(cross[..., :P, :P])
    factor = np.swapaxes(np.linalg.inv(lower), -1, -2)
    delta = _times(factor, _times(np.swapaxes(factor, -1, -2), c))
    deviance = (
        (data.n_students - reml * P) * np.log(2 * np.pi)
        + (data.n.sum(axis=-2) * np.log(sigma2)).sum(axis=-1)
        + logdet.sum(axis=-1)
        + cross[..., P:, P:].sum(axis=(-2, -1))
        - (c * delta).sum(axis=-1)
    )
    if reml:
        deviance = deviance + 2 * (np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1) + data.log_scale)
    a = np.concatenate([-delta, np.ones_like(sigma2)], axis=-1)
    w = _times(Nz.reshape(*z.shape[:-2], -1, z.shape[-1]), a).reshape(root.shape)
    return Evaluation(deviance, delta, factor, N, root, root[..., None] * Nz[..., :P], root * w)


def _own_weight(data: JointMoments, N: FloatArray) -> FloatArray:
    """(..., T): sum_j N_j,tt over the schools that are there."""
    weight: FloatArray = (np.diagonal(N, axis1=-2, axis2=-1) * (data.n > 0)).sum(axis=-2)
    return weight


def _times(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Product of matrices (..., a, b) and vectors (..., b)."""
    return (matrix @ vector[..., None])[..., 0]


def _cholesky(matrices: FloatArray) -> FloatArray:
    """Lower factors of (..., P, P); one alone raises LinAlgError, among others it gives nan."""
    try:
        return np.asarray(np.linalg.cholesky(matrices), dtype=np.float64)
    except np.linalg.LinAlgError:
        if matrices.ndim == 2:
            raise
    lower = np.full(matrices.shape, np.nan)
    for r, one in enumerate(matrices):
        with suppress(np.linalg.LinAlgError):
            lower[r] = np.linalg.cholesky(one)
    return lower


def derivatives(
    data: JointMoments, at: Evaluation, sigma2: FloatArray, reml: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Gradient (T T + T,) and Hessian of the deviance in (vec Omega, sigma2), the fixed effects profiled out.

    With P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1, and V_i the derivative of V,
        gradient_i   = tr(V^-1 V_i) - y'P V_i P y
        Hessian_ik   = -tr(V^-1 V_i V^-1 V_k) + 2 y'P V_i P V_k P y
    and P for V^-1 in the traces under REML. Rows of vec Omega hold one entry each: contract both sides with symmetric
    dOmega/dpsi.
    """
    T, P, column, inverse_n, H = sigma2.shape[-1], data.n_fixed, data.column, data.inverse_n, at.H
    lead, J, own = H.shape[:-3], H.shape[-3], np.arange(T)[:, None] == column
    a = np.concatenate([-at.delta, np.ones_like(sigma2)], axis=-1)
    Wa = _times(data.within, a)
    energy = (a * Wa) @ own.T
    U = at.w[..., :, None] * at.w[..., None, :]
    if reml:
        Gf = (at.G.reshape(*lead, J * T, P) @ at.factor).reshape(at.G.shape)
        U = U + Gf @ np.swapaxes(Gf, -1, -2)
        known = at.factor @ np.swapaxes(at.factor, -1, -2)
        energy = energy + (data.within[..., :P, :P] * known).sum(axis=-1) @ own[:, :P].T
    if data.errors is not None:
        U = U - _errors_in_squares(data, at, a, sigma2, reml)
    spare = data.n.sum(axis=-2) - (data.n > 0).sum(axis=-2)
    slope, Y = H - U, 2 * U - H
    of_sigma = spare / sigma2 - energy / sigma2**2 + np.einsum("...jtt,...jt->...t", slope, inverse_n)
    gradient = np.concatenate([slope.sum(axis=-3).reshape(*lead, T * T), of_sigma], axis=-1)
    flat, hessian = (*lead, J, T * T), np.empty((*lead, T * T + T, T * T + T))
    hessian[..., : T * T, : T * T] = np.moveaxis(
        (np.swapaxes(Y.reshape(flat), -1, -2) @ H.reshape(flat)).reshape(*lead, T, T, T, T), -4, -1
    ).reshape(*lead, T * T, T * T)
    mixed = np.matmul(np.moveaxis(H, -3, -1), np.moveaxis(Y * inverse_n[..., None, :], -1, -3)).reshape(*lead, T, T * T)
    hessian[..., T * T :, : T * T], hessian[..., : T * T, T * T :] = mixed, np.swapaxes(mixed, -1, -2)
    hessian[..., T * T :, T * T :] = (Y * H * inverse_n[..., :, None] * inverse_n[..., None, :]).sum(axis=-3) + (
        2 * energy / sigma2**3 - spare / sigma2**2
    )[..., None] * np.eye(T)
    score = _mixed_score(data, at, a, own * Wa[..., None, :] / sigma2[..., None] ** 2, sigma2) @ at.factor
    hessian -= 2 * score @ np.swapaxes(score, -1, -2)
    if reml:
        loss = _information_lost(data, at, Gf, own[:, :P], sigma2)
        hessian -= loss @ np.swapaxes(loss, -1, -2)
    return gradient, hessian


def _mixed_score(
    data: JointMoments, at: Evaluation, a: FloatArray, of_within: FloatArray, sigma2: FloatArray
) -> FloatArray:
    """(..., T T + T, P): rows X'V^-1 V_i V^-1 (y - X b); of_within (..., T, Q): the part of sigma2 from within cells."""
    *lead, J, T, P = at.G.shape
    of_omega = (np.swapaxes(at.G.reshape(*lead, J, T * P), -1, -2) @ at.w).reshape(*lead, T, P, T)
    of_sigma = of_within[..., :P] + np.einsum("...jtp,...jt->...tp", at.G, at.w * data.inverse_n)
    if data.errors is not None:
        pairs, own = _errors_by_cohort(data, at, sigma2)
        error, column = (a @ data.errors)[..., None, :P], data.column[:P]
        of_omega = of_omega - np.swapaxes(pairs[..., column], -1, -2) * error[..., None]  # (T, P, T)
        of_sigma = of_sigma - own[..., column] * error
    return np.concatenate([np.swapaxes(of_omega, -1, -2).reshape(*lead, T * T, P), of_sigma], axis=-2)


def _errors_in_squares(data: JointMoments, at: Evaluation, a: FloatArray, sigma2: FloatArray, reml: bool) -> FloatArray:
    """(..., J, T, T): what errors of measurement add on average to w_j w_j', and to the squares that REML adds."""
    F, P = data.errors, data.n_fixed
    assert F is not None  # asked only where there are some
    by_column = a * (a @ F)
    if reml:
        by_column[..., :P] += ((at.factor @ np.swapaxes(at.factor, -1, -2)) * F[:P, :P]).sum(axis=-1)
    f = by_column @ (data.column[:, None] == np.arange(sigma2.shape[-1])) / sigma2
    L = at.root[..., :, None] * at.N
    squares: FloatArray = (L * f[..., None, None, :]) @ np.swapaxes(L, -1, -2)
    return squares


def _errors_by_cohort(data: JointMoments, at: Evaluation, sigma2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(..., T, T, T): sum_j L_j,tc L_j,sc / sigma2_c, and (..., T, T): sum_j L_j,tc^2 / (n_jt sigma2_c)."""
    L = at.root[..., :, None] * at.N
    pairs = np.einsum("...jtc,...jsc->...tsc", L, L) / sigma2[..., None, None, :]
    own = np.einsum("...jtc,...jt->...tc", L**2, data.inverse_n) / sigma2[..., None, :]
    return pairs, own


def _information_lost(
    data: JointMoments, at: Evaluation, Gf: FloatArray, own: FloatArray, sigma2: FloatArray
) -> FloatArray:
    """(T T + T, P P) from Gf = G F (J, T, P), F (P, P) the factor and own (T, P), each cohort's columns: rows
    F' X'V^-1 V_i V^-1 X F with F F' = (X'V^-1 X)^-1, V_i as in :func:`derivatives`.
    """
    (*lead, J, T, P), F = Gf.shape, at.factor[..., None, :, :]
    flat = Gf.reshape(*lead, J, T * P)
    of_omega = (np.swapaxes(flat, -1, -2) @ flat).reshape(*lead, T, P, T, P)
    of_omega = np.swapaxes(of_omega, -3, -2).reshape(*lead, T * T, P * P)
    scaled = Gf * np.sqrt(data.inverse_n)[..., None]
    of_sigma = np.matmul(np.moveaxis(scaled, -3, -1), np.swapaxes(scaled, -3, -2))
    within = own[:, :, None] * data.within[..., None, :P, :P]
    inside = np.swapaxes(F, -1, -2) @ within @ F / sigma2[..., None, None] ** 2
    loss = np.concatenate([of_omega, (of_sigma + inside).reshape(*lead, T, P * P)], axis=-2)
    if data.errors is None:
        return loss
    pairs, by_sigma = _errors_by_cohort(data, at, sigma2)
    share = np.concatenate([pairs.reshape(*lead, T * T, T), by_sigma], axis=-2)
    error = (np.swapaxes(F, -1, -2) @ (own[:, :, None] * data.errors[:P, :P]) @ F).reshape(*lead, T, P * P)
    return loss - share @ error
