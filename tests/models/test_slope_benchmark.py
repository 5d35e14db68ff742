"""Slopes of schools against a benchmark: dense matrices, the random intercept as a special case, lme4, draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import reference
from oracle import indicators

from valib.models.estimators import benchmark_va, residual_moments
from valib.models.mixed import fit_moments
from valib.models.slope_benchmark import Kept, fit_benchmark_slopes, fit_slope_baseline, system_slopes
from valib.models.slope_benchmark_posterior import integrate_benchmark_slopes
from valib.sums.design import build_design, make_cells
from valib.sums.moments import compute_moments, moments_from_arrays

DENSE = 1e-7  # relative to the largest; inverting a 200 x 200 covariance loses half of sixteen digits
LME4 = 1e-5  # bobyqa ends about 1e-6 from the optimum
B = np.array([11.0, 4.6, 0.4, -0.2])
V_B = np.array([[0.5, -0.03, 0.02, 0.01], [-0.03, 0.06, 0.0, 0.01], [0.02, 0.0, 0.2, 0.0], [0.01, 0.01, 0.0, 0.1]])
SCALE = 0.7
MODES = ("estimated", "absorbed")


def problem(seed: int, sizes=None, offset: float = 3.0, slope: float = 3.0):
    """Unbalanced records: an intercept, a prior score, a dummy and a school's mean."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 18, 18) if sizes is None else np.asarray(sizes)
    code = np.repeat(np.arange(len(sizes)), sizes)
    prior, dummy = offset + rng.standard_normal(len(code)), rng.integers(0, 2, len(code)).astype(float)
    X = np.column_stack([np.ones(len(code)), prior, dummy, rng.standard_normal(len(sizes))[code]])
    g = rng.standard_normal((len(sizes), 2)) * [8.0, slope]
    y = 4 + 5 * prior + g[code, 0] + g[code, 1] * (prior - offset) + 9 * rng.standard_normal(len(code))
    school = np.array([f"S{k:02d}" for k in code], dtype=object)
    names = ("Intercept", "prior", "dummy", "context")
    return X, y, school, moments_from_arrays(X, y, make_cells(pd.Series(school)), names, "score", by_cell=True)


class Written:
    """Predictions and errors of VA = delta e_1 + g with every matrix written out, at given G (about 0) and sigma2."""

    def __init__(self, X, y, school, G, sigma2, mode):
        S, Z = indicators(school)[1], X[:, :2]
        N, J = len(y), S.shape[1]
        big = np.einsum("ij,iq->ijq", S, Z).reshape(N, -1)
        prior = np.kron(np.eye(J), G)
        V = big @ prior @ big.T + sigma2 * np.eye(N)
        Vi, one = np.linalg.inv(V), np.ones((N, 1))
        r, first = y - X @ B, np.tile([[1.0], [0.0]], (J, 1))
        w = np.linalg.inv(one.T @ Vi @ one) @ one.T @ Vi if mode == "estimated" else np.zeros((1, N))
        shrink = prior @ big.T @ Vi @ (np.eye(N) - one @ w)
        A = first @ w + shrink
        self.effects = (A @ r).reshape(J, 2)
        known = prior - prior @ big.T @ Vi @ big @ prior
        miss = A @ big - np.eye(2 * J)
        outside = A @ (X @ V_B @ X.T + SCALE**2 * one @ one.T) @ A.T
        comparative = miss @ prior @ miss.T + sigma2 * A @ A.T + outside
        diagnostic = shrink @ (V + X @ V_B @ X.T + SCALE**2 * one @ one.T) @ shrink.T
        at = np.arange(J)
        self.conditional, self.comparative, self.diagnostic = (
            M.reshape(J, 2, J, 2)[at, :, at, :] for M in (known, comparative, diagnostic)
        )
        self.delta, self.centre = (w @ r).item(), (w @ X)[0]
        self.var_delta, self.var_students = (w @ V @ w.T).item(), sigma2 * (w @ w.T).item()
        self.phi = S.T @ (w[0] * (r - self.delta))
        left = r - self.delta * (mode == "estimated")
        self.logliks = {"ML": -0.5 * (N * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + left @ Vi @ left)}
        inside = np.log((one.T @ Vi @ one).item()) if mode == "estimated" else 0.0
        p = mode == "estimated"
        self.logliks["REML"] = self.logliks["ML"] - 0.5 * (inside - p * np.log(2 * np.pi))


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=DENSE * np.abs(expected).max())


class TestDense:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_every_number(self, mode, method):
        X, y, school, moments = problem(3)
        found = fit_benchmark_slopes(moments, [1], B, V_B, mode, method, scale_se=SCALE)
        fit, written = found.fit, Written(X, y, school, found.fit.raw, found.fit.sigma2, mode)
        T = fit.to_raw
        close(fit.effects @ T.T, written.effects)
        close(T @ fit.conditional @ T.T, written.conditional)
        close(T @ fit.comparative @ T.T, written.comparative)
        close(
            found.blup.var_diagnostic,
            np.einsum("a,jab,b->j", [1, fit.centre[1]], written.diagnostic, [1, fit.centre[1]]),
        )
        assert fit.loglik == pytest.approx(written.logliks[method], rel=1e-9)
        if mode == "absorbed":
            assert found.shift is None
            return
        shift = found.shift
        close(shift.centre, written.centre)
        close(shift.influence, written.phi)
        told = [shift.delta, shift.var_delta, shift.var_students, shift.var_scale]
        np.testing.assert_allclose(told, [written.delta, written.var_delta, written.var_students, SCALE**2], rtol=DENSE)
        whole = written.var_delta + written.centre @ V_B @ written.centre + SCALE**2
        assert shift.var == pytest.approx(whole, rel=DENSE)

    @pytest.mark.parametrize("mode", MODES)
    def test_it_is_the_maximum(self, mode):
        """No covariance nearby has a higher likelihood, as the dense matrices have it."""
        X, y, school, moments = problem(11, sizes=[12] * 20, slope=6.0)
        fit = fit_benchmark_slopes(moments, [1], B, V_B, mode).fit
        assert not fit.boundary
        for k, factor in ((0, 1.05), (0, 0.95), (1, 1.05), (1, 0.95)):
            G = fit.raw.copy()
            G[k, k] *= factor
            assert Written(X, y, school, G, fit.sigma2, mode).logliks["ML"] < fit.loglik
            assert Written(X, y, school, fit.raw, fit.sigma2 * factor, mode).logliks["ML"] < fit.loglik

    @pytest.mark.parametrize("mode", MODES)
    def test_variances_of_a_baseline(self, mode):
        """G about the baseline's means is G about 0 moved there, wherever the focal students are."""
        X, y, school, moments = problem(7, offset=5.0)
        G, centre = np.array([[30.0, 4.0], [4.0, 6.0]]), np.array([0.0, 2.2])
        found = fit_benchmark_slopes(moments, [1], B, V_B, mode, kept=Kept(("a", "b"), centre, G, 70.0), scale_se=SCALE)
        back = np.array([[1.0, -2.2], [0.0, 1.0]])
        written = Written(X, y, school, back @ G @ back.T, 70.0, mode)
        T = found.fit.to_raw
        close(found.fit.raw, back @ G @ back.T)
        close(found.fit.effects @ T.T, written.effects)
        close(T @ found.fit.comparative @ T.T, written.comparative)
        assert found.fit.loglik == pytest.approx(written.logliks["ML"], rel=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_without_variance_of_slopes_it_is_the_random_intercept(mode):
    _, _, _, moments = problem(5)
    kept = Kept(("a", "b"), np.zeros(2), np.diag([40.0, 0.0]), 75.0)
    found = fit_benchmark_slopes(moments, [1], B, V_B, mode, kept=kept, scale_se=SCALE)
    blup, shift = benchmark_va(moments.n, moments.means, B, V_B, 40.0, 75.0, mode, SCALE)
    for name in ("effect", "shrinkage", "var_conditional", "var_comparative", "var_diagnostic"):
        np.testing.assert_allclose(getattr(found.blup, name), getattr(blup, name), rtol=1e-9, atol=1e-9)
    if shift is not None:
        for name in ("delta", "var_delta", "var_students", "var", "centre", "influence"):
            np.testing.assert_allclose(getattr(found.shift, name), getattr(shift, name), rtol=1e-9, atol=1e-9)
    # never below the model without slopes
    less = fit_moments(residual_moments(moments, B, mode == "estimated")).loglik
    assert fit_benchmark_slopes(moments, [1], B, V_B, mode).fit.loglik >= less - 1e-9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_exam_as_lme4_has_it(exam, mode, method):
    told = reference("case13_benchmark_slopes")[f"{mode}_{method}"]
    moments = compute_moments(build_design(exam, "score ~ prior_score"), by_cell=True)
    fit = fit_benchmark_slopes(moments, [1], np.array([-0.1, 0.5]), np.zeros((2, 2)), mode, method).fit
    assert fit.loglik >= told["logLik"] - 1e-7
    assert fit.loglik == pytest.approx(told["logLik"], abs=1e-6)
    np.testing.assert_allclose(fit.raw, told["G"], rtol=LME4)
    assert fit.sigma2 == pytest.approx(told["sigma2"], rel=LME4)
    order = {code: k for k, code in enumerate(fit.schools)}
    rows = [order[code] for code in told["group"]]
    T, effects = fit.to_raw, np.array(told["effects"])
    if mode == "estimated":
        effects[:, 0] += told["delta"]
        assert fit.coefficients[0] == pytest.approx(told["delta"], abs=LME4)
        assert np.sqrt(fit.vcov[0, 0]) == pytest.approx(told["delta_se"], rel=LME4)
    np.testing.assert_allclose((fit.effects @ T.T)[rows], effects, atol=LME4)
    np.testing.assert_allclose((T @ fit.conditional @ T.T)[rows], told["condcov"], atol=LME4)


def test_a_baseline_with_slopes_written_out():
    """psi_j = A^-1 X_j'V_j^-1 (y_j - X_j b), and the variance over students of these very schools."""
    X, y, school, moments = problem(9)
    fit, found = fit_slope_baseline(moments, [1])
    S, Z = indicators(school)[1], X[:, :2]
    big = np.einsum("ij,iq->ijq", S, Z).reshape(len(y), -1)
    V = big @ np.kron(np.eye(S.shape[1]), fit.raw) @ big.T + fit.sigma2 * np.eye(len(y))
    Vi = np.linalg.inv(V)
    A = np.linalg.inv(X.T @ Vi @ X)
    b = A @ X.T @ Vi @ y
    psi = np.stack([A @ X.T @ (part * (Vi @ (y - X @ b))) for part in S.T])  # V is block-diagonal
    close(found.b[0], b)
    close(found.vcov_model[0], A)
    close(found.influence[0], psi)
    J, N, p = S.shape[1], len(y), X.shape[1]
    close(found.vcov[0], J / (J - 1) * (N - 1) / (N - p) * psi.T @ psi)
    close(found.vcov_students[0], fit.sigma2 * A @ X.T @ Vi @ Vi @ X @ A)


@pytest.fixture(scope="module")
def found():
    _, _, _, moments = problem(21, sizes=np.random.default_rng(2).integers(5, 18, 30), slope=5.0)
    return moments, {mode: fit_benchmark_slopes(moments, [1], B, V_B, mode, scale_se=SCALE) for mode in MODES}


def test_the_system_s_own_slope():
    """d of r = z'd + z'g + e by generalised least squares, written out."""
    X, y, school, moments = problem(13, offset=2.0)
    fit = fit_benchmark_slopes(moments, [1], B, V_B).fit
    S, Z = indicators(school)[1], X[:, :2]
    big = np.einsum("ij,iq->ijq", S, Z).reshape(len(y), -1)
    Vi = np.linalg.inv(big @ np.kron(np.eye(S.shape[1]), fit.raw) @ big.T + fit.sigma2 * np.eye(len(y)))
    A = np.linalg.inv(Z.T @ Vi @ Z)
    moved, se = system_slopes(moments, fit, B, V_B)
    np.testing.assert_allclose(moved, (A @ Z.T @ Vi @ (y - X @ B))[1:], rtol=1e-8)
    np.testing.assert_allclose(se**2, A[1, 1] + V_B[1, 1], rtol=1e-8)


class TestPosterior:
    @pytest.mark.parametrize("mode", MODES)
    def test_at_one_draw_it_is_the_plugin_answer(self, found, mode):
        """At known variances (one draw, many degrees of freedom) mean and variance are those of the dense matrices."""
        moments, fits = found
        whole = integrate_benchmark_slopes(fits[mode], V_B, SCALE)
        k = int(np.argmax(whole.weight))
        one = {name: getattr(whole, name)[k : k + 1] for name in ("Lambda", "b", "A_inverse", "s2")}
        one = replace(whole, weight=np.ones(1), df=1e12, **one)
        sigma2 = float(one.s2[0]) * fits[mode].sums.size ** 2
        G = float(one.s2[0]) * one.turn @ one.Lambda[0] @ one.turn.T
        centre = fits[mode].fit.centre
        told = fit_benchmark_slopes(
            moments, [1], B, V_B, mode, kept=Kept(("a", "b"), centre, G, sigma2), scale_se=SCALE
        )
        for z in ([1.0, 0.0], [1.0, -1.3], [0.0, 1.0]):
            mixture = one.at(np.array(z))
            effect, _, whole_var = told.fit.at(np.array([z]))
            np.testing.assert_allclose(mixture.mean[0, :, 0], effect[:, 0], atol=1e-9)
            np.testing.assert_allclose(mixture.sd()[0] ** 2, whole_var[:, 0], rtol=1e-6)

    @pytest.mark.parametrize("mode", MODES)
    def test_draws_are_those_of_the_mixture(self, found, mode):
        post = integrate_benchmark_slopes(found[1][mode], V_B, SCALE)
        z = np.array([[1.0, 0.0], [1.0, 1.5]])
        drawn = post.draw(6000, np.random.default_rng(1), z)
        for k, row in enumerate(z):
            mixture = post.at(row)
            sd = mixture.sd()[0]
            error = (drawn[..., k].mean(axis=0) - mixture.expectation()[0]) / (sd / np.sqrt(6000))
            assert np.abs(error).max() < 4.5  # of 30 normal numbers, which share the error of b_B
            np.testing.assert_allclose(drawn[..., k].std(axis=0), sd, rtol=0.07)
        np.testing.assert_allclose(drawn[..., 0], post.draw(6000, np.random.default_rng(1)), atol=0)
