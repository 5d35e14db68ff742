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
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ModelError
from .mixed import unshift
from .moments import Moments


@dataclass(frozen=True, slots=True, eq=False)
class JointMoments:
    """Moments of J schools in T cohorts, each cohort with its own columns, scaled and as residuals.

    schools (J,), cohorts (T,); names: column names by cohort. n (J, T): students, 0 where a school has none.
    column (Q,): cohort of each of the Q = P + T columns, first the fixed-effects columns cohort by cohort, then one
    response a cohort. z (J, Q): cell sums over sqrt(n). within (Q, Q): cross-products within cells, blocks by cohort.
    The fixed effects are offset + back @ delta, with delta (P,) those of the scaled columns. log_scale: the sum of the
    logarithms of the columns' scales.
    """

    schools: np.ndarray
    cohorts: np.ndarray
    names: tuple[tuple[str, ...], ...]
    n: np.ndarray
    column: np.ndarray
    z: np.ndarray
    within: np.ndarray
    offset: np.ndarray
    back: np.ndarray
    log_scale: float

    @property
    def n_fixed(self) -> int:
        """P, fixed effects of all cohorts."""
        return len(self.offset)

    @property
    def n_students(self) -> float:
        """Students of all cohorts."""
        return float(self.n.sum())

    @property
    def inverse_n(self) -> np.ndarray:
        """(J, T): 1/n, 0 where a school has no students."""
        return np.divide(1.0, self.n, out=np.zeros_like(self.n), where=self.n > 0)

    @property
    def shared(self) -> np.ndarray:
        """(T, T): schools with students in both cohorts."""
        there = (self.n > 0).astype(np.int64)
        return there.T @ there


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The model at one (Omega, sigma2), the fixed effects profiled out by generalised least squares.

    deviance: -2 log-likelihood with all constants. delta (P,): fixed effects of the scaled columns; factor (P, P):
    its product with its transpose is their covariance. N (J, T, T) as above; root (J, T): sqrt(n / sigma2).
    G (J, T, P): Z'V^-1 X; w (J, T): Z'V^-1 (y - X b).
    """

    deviance: float
    delta: np.ndarray
    factor: np.ndarray
    N: np.ndarray
    root: np.ndarray
    G: np.ndarray
    w: np.ndarray

    @property
    def H(self) -> np.ndarray:
        """(J, T, T): Z'V^-1 Z."""
        return self.root[:, :, None] * self.N * self.root[:, None, :]


def stack_moments(parts: list[Moments], coefficients: list[np.ndarray]) -> JointMoments:
    """Bring the moments of T single cohorts together.

    coefficients: T vectors (p_t,) near b_t, those of the cohorts' own fits; their prediction is taken off the response
    so that the sums of squares left are those of residuals.
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
    return JointMoments(schools, np.concatenate([m.cohorts for m in parts]), tuple(m.names[:-1] for m in parts), n,
                        column, z, within, offset, back, log_scale)


def within_by_school(parts: list[Moments], coefficients: list[np.ndarray], data: JointMoments) -> np.ndarray:
    """(J, Q, Q): ``data.within`` school by school, from moments with cross-products by cell."""
    cells = np.zeros((len(data.schools), len(data.column), len(data.column)))
    for t, m in enumerate(parts):
        change, _ = _change(m, coefficients[t])
        at = np.flatnonzero(data.column == t)
        row = np.searchsorted(data.schools, m.schools)[m.cell_school]
        cells[row[:, None, None], at[:, None], at] = (change.T @ m.cell_cross @ change
                                                      - data.z[row][:, at, None] * data.z[row][:, None, at])
    return cells


def _change(moments: Moments, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, k): shifted columns to scaled columns and residuals about the coefficients (p,); and the scales (p,)."""
    undo = unshift(moments)
    scale = np.sqrt(np.diag(moments.pooled())[:-1] / moments.n_students)
    change = np.diag(np.append(1 / scale, 1.0))
    change[:-1, -1] = -np.linalg.solve(undo[:-1, :-1], coefficients - undo[:-1, -1])
    return change, scale


def evaluate(data: JointMoments, omega: np.ndarray, sigma2: np.ndarray, reml: bool = False) -> Evaluation:
    """Deviance, fixed effects and cell residuals at omega (T, T), positive semi-definite, and sigma2 (T,) > 0."""
    P, column = data.n_fixed, data.column
    root = np.sqrt(data.n / sigma2)
    inner = root[:, :, None] * omega * root[:, None, :]
    inner[:, np.arange(len(sigma2)), np.arange(len(sigma2))] += 1.0
    logdet = 2 * np.log(np.diagonal(np.linalg.cholesky(inner), axis1=1, axis2=2)).sum()
    N = np.linalg.inv(inner)
    z = data.z / np.sqrt(sigma2)[column]
    Nz = N[:, :, column] * z[:, None, :]
    cross = data.within / sigma2[column][:, None]
    for t in range(len(sigma2)):
        cross[column == t] += z[:, column == t].T @ Nz[:, t]
    c = cross[:P, P:].sum(axis=1)
    lower = np.linalg.cholesky(cross[:P, :P])
    factor = np.linalg.inv(lower).T
    delta = factor @ (factor.T @ c)
    deviance = ((data.n_students - reml * P) * np.log(2 * np.pi) + data.n.sum(axis=0) @ np.log(sigma2) + logdet
                + cross[P:, P:].sum() - c @ delta)
    if reml:
        deviance += 2 * (np.log(np.diag(lower)).sum() + data.log_scale)
    a = np.append(-delta, np.ones(len(sigma2)))
    return Evaluation(float(deviance), delta, factor, N, root, root[:, :, None] * Nz[:, :, :P], root * (Nz @ a))


def derivatives(data: JointMoments, at: Evaluation, sigma2: np.ndarray,
                reml: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (T T + T,) and Hessian of the deviance in (vec Omega, sigma2), the fixed effects profiled out.

    With P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1, and V_i the derivative of V,
        gradient_i   = tr(V^-1 V_i) - y'P V_i P y
        Hessian_ik   = -tr(V^-1 V_i V^-1 V_k) + 2 y'P V_i P V_k P y
    and P for V^-1 in the traces under REML. Rows of vec Omega hold one entry each: contract both sides with symmetric
    dOmega/dpsi.
    """
    T, P, column, inverse_n, H = len(sigma2), data.n_fixed, data.column, data.inverse_n, at.H
    a = np.append(-at.delta, np.ones(T))
    Wa = data.within @ a
    energy = np.bincount(column, a * Wa, T)
    U = at.w[:, :, None] * at.w[:, None, :]
    if reml:
        Gf = at.G @ at.factor
        U = U + Gf @ np.swapaxes(Gf, 1, 2)
        energy = energy + np.bincount(column[:P], (data.within[:P, :P] * (at.factor @ at.factor.T)).sum(axis=1), T)
    spare = data.n.sum(axis=0) - (data.n > 0).sum(axis=0)
    slope = H - U
    gradient = np.concatenate([slope.sum(axis=0).ravel(), spare / sigma2 - energy / sigma2**2 + np.einsum(
        "jtt,jt->t", slope, inverse_n)])
    Y, flat = 2 * U - H, (len(H), T * T)
    hessian = np.empty((T * T + T, T * T + T))
    hessian[:T * T, :T * T] = (Y.reshape(flat).T @ H.reshape(flat)).reshape(T, T, T, T).transpose(
        1, 2, 3, 0).reshape(T * T, T * T)
    mixed = np.matmul(H.transpose(1, 2, 0), (Y * inverse_n[:, None, :]).transpose(2, 0, 1)).reshape(T, T * T)
    hessian[T * T:, :T * T], hessian[:T * T, T * T:] = mixed, mixed.T
    hessian[T * T:, T * T:] = (np.einsum("jts,jt,js->ts", Y * H, inverse_n, inverse_n)
                               + np.diag(2 * energy / sigma2**3 - spare / sigma2**2))
    own = np.arange(T)[:, None] == column[:P]
    score = np.concatenate([
        (at.G.reshape(len(H), T * P).T @ at.w).reshape(T, P, T).transpose(0, 2, 1).reshape(T * T, P),
        own * Wa[:P] / sigma2[:, None] ** 2 + np.einsum("jtp,jt->tp", at.G, at.w * inverse_n)]) @ at.factor
    hessian -= 2 * score @ score.T
    if reml:
        loss = _information_lost(data, Gf, at.factor, own, sigma2)
        hessian -= loss @ loss.T
    return gradient, hessian


def _information_lost(data: JointMoments, Gf, factor, own, sigma2) -> np.ndarray:
    """(T T + T, P P): rows F' X'V^-1 V_i V^-1 X F with F F' = (X'V^-1 X)^-1, V_i as in :func:`derivatives`."""
    J, T, P = Gf.shape
    flat = Gf.reshape(J, T * P)
    of_omega = (flat.T @ flat).reshape(T, P, T, P).transpose(0, 2, 1, 3).reshape(T * T, P * P)
    scaled = Gf * np.sqrt(data.inverse_n)[:, :, None]
    of_sigma = np.matmul(scaled.transpose(1, 2, 0), scaled.transpose(1, 0, 2))
    inside = factor.T @ (own[:, :, None] * data.within[:P, :P]) @ factor / sigma2[:, None, None] ** 2
    return np.concatenate([of_omega, (of_sigma + inside).reshape(T, P * P)])
