"""An independent answer: the random-intercept model by plain dense matrices, from the covariance of
(u, y) upwards.

Nothing here uses valib, moments, shrinkage factors or the Woodbury identity: V is written out in full and
inverted, so it is only for small data. Every error variance is the variance of a linear map of (u, e, b_B -
b).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Dense:
    """One random-intercept model, written out. X (N, p), y (N,), Z (N, J) of zeros and ones, V (N, N)."""

    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    tau2: float
    sigma2: float

    @property
    def V(self) -> np.ndarray:
        return self.tau2 * self.Z @ self.Z.T + self.sigma2 * np.eye(len(self.y))

    @property
    def Vi(self) -> np.ndarray:
        return np.linalg.inv(self.V)

    @property
    def vcov(self) -> np.ndarray:
        return np.linalg.inv(self.X.T @ self.Vi @ self.X)

    @property
    def b(self) -> np.ndarray:
        return self.vcov @ self.X.T @ self.Vi @ self.y

    @property
    def P(self) -> np.ndarray:
        """y'Py is the generalised residual sum of squares; P X = 0."""
        Vi = self.Vi
        return Vi - Vi @ self.X @ np.linalg.inv(self.X.T @ Vi @ self.X) @ self.X.T @ Vi

    def loglik(self, method: str) -> float:
        p = self.X.shape[1] if method == "REML" else 0
        value = -0.5 * ((len(self.y) - p) * np.log(2 * np.pi) + np.linalg.slogdet(self.V)[1] + self.y @ self.P @ self.y)
        return value - (0.5 * np.linalg.slogdet(self.X.T @ self.Vi @ self.X)[1] if method == "REML" else 0.0)

    def score(self, method: str) -> np.ndarray:
        """Derivatives of the profile log-likelihood in (tau2, sigma2)."""
        W = self.P if method == "REML" else self.Vi
        Py = self.P @ self.y
        return np.array([-0.5 * (np.trace(W @ D) - Py @ D @ Py) for D in self._parts()])

    def information(self, method: str) -> np.ndarray:
        """Observed information of (tau2, sigma2), b profiled out."""
        W, P = (self.P if method == "REML" else self.Vi), self.P
        D = self._parts()
        return np.array([[-0.5 * np.trace(W @ E @ W @ F) + self.y @ P @ E @ P @ F @ P @ self.y for F in D] for E in D])

    def _parts(self):
        return self.Z @ self.Z.T, np.eye(len(self.y))

    # -- predictions --------------------

    @property
    def blup(self) -> np.ndarray:
        return self.tau2 * self.Z.T @ self.Vi @ (self.y - self.X @ self.b)

    @property
    def conditional(self) -> np.ndarray:
        """Var(u | y, b), (J, J)."""
        C = self.tau2 * self.Z.T
        return self.tau2 * np.eye(self.Z.shape[1]) - C @ self.Vi @ C.T

    @property
    def comparative(self) -> np.ndarray:
        """Var(u_hat - u), (J, J): the u block of the inverse of Henderson's mixed model equations."""
        W = np.hstack([self.X, self.Z])
        C = W.T @ W / self.sigma2
        p = self.X.shape[1]
        C[p:, p:] += np.eye(self.Z.shape[1]) / self.tau2
        return np.linalg.inv(C)[p:, p:]

    @property
    def diagnostic(self) -> np.ndarray:
        """Var(u_hat), (J, J), from u_hat = K y."""
        K = self.tau2 * self.Z.T @ self.P
        return K @ self.V @ K.T

    # -- benchmark VA --------------------

    def _map(self, shift: str) -> np.ndarray:
        """K (J, N) with VA = K r, r = y - X b_B."""
        one, Vi = np.ones((len(self.y), 1)), self.Vi
        if shift == "absorbed":
            return self.tau2 * self.Z.T @ Vi
        mean = np.linalg.inv(one.T @ Vi @ one) @ one.T @ Vi
        return np.ones((self.Z.shape[1], 1)) @ mean + self.tau2 * self.Z.T @ Vi @ (np.eye(len(self.y)) - one @ mean)

    def shift(self, b_B: np.ndarray, vcov_B: np.ndarray, equating_var: float = 0.0) -> tuple[float, float]:
        """delta_hat and Var(delta_hat - delta), b_B independent of the focal students."""
        one, Vi = np.ones((len(self.y), 1)), self.Vi
        k = (np.linalg.inv(one.T @ Vi @ one) @ one.T @ Vi).ravel()
        variance = k @ self.V @ k + k @ self.X @ vcov_B @ self.X.T @ k + equating_var * k.sum() ** 2
        return float(k @ (self.y - self.X @ b_B)), float(variance)

    def benchmark_va(self, b_B, vcov_B, shift: str, equating_var: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """VA (J,) and the covariance (J, J) of its error.

        y = X b + 1 (delta + c) + Z u + e with c the equating error; the estimand is delta + u_j (estimated)
        or, with the shift absorbed, the whole deviation u_j from the benchmark, taken as N(0, tau2). The
        error is K (Z u + e) - u + K 1 c - K X (b_B - b): a linear map of independent parts with known
        covariances.
        """
        K = self._map(shift)
        J = self.Z.shape[1]
        KZ = K @ self.Z - np.eye(J)
        KX, K1 = K @ self.X, K.sum(axis=1)
        covariance = (
            self.tau2 * KZ @ KZ.T + self.sigma2 * K @ K.T + KX @ vcov_B @ KX.T + equating_var * np.outer(K1, K1)
        )
        return K @ (self.y - self.X @ b_B), covariance


def indicators(group) -> tuple[np.ndarray, np.ndarray]:
    """Sorted labels (J,) and the N x J matrix of zeros and ones."""
    labels, code = np.unique(np.asarray(group), return_inverse=True)
    return labels, np.eye(len(labels))[code]


def cluster_robust(model: Dense, cluster) -> np.ndarray:
    """Sandwich of the GLS estimate with whole clusters as the independent pieces, no small-sample
    factor, (p, p)."""
    _, C = indicators(cluster)
    scores = C.T @ ((model.Vi @ (model.y - model.X @ model.b))[:, None] * model.X)
    return model.vcov @ scores.T @ scores @ model.vcov


def within_estimate(X: np.ndarray, y: np.ndarray, cell, cluster) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (without the first, constant column) by dummies written out, and their cluster sandwich
    without a factor."""
    _, D = indicators(cell)
    M = np.eye(len(y)) - D @ np.linalg.pinv(D)
    S = M @ X[:, 1:]
    b = np.linalg.lstsq(S, M @ y, rcond=None)[0]
    _, C = indicators(cluster)
    scores = C.T @ ((M @ y - S @ b)[:, None] * S)
    bread = np.linalg.inv(S.T @ S)
    return b, bread @ scores.T @ scores @ bread


def assert_derivatives(problem, x, h=1e-5):
    """Gradient and Hessian of a problem of :mod:`valib.models.newton` at x are its central differences."""
    gradient, hessian = problem.derivatives(x, problem.value(x))
    for k, step in enumerate(h * np.eye(len(x))):
        up, down = problem.value(x + step), problem.value(x - step)
        assert gradient[k] == pytest.approx((up.deviance - down.deviance) / (2 * h), rel=1e-5, abs=1e-4)
        bend = (problem.derivatives(x + step, up)[0] - problem.derivatives(x - step, down)[0]) / (2 * h)
        np.testing.assert_allclose(hessian[k], bend, atol=1e-6 * np.abs(hessian).max())
