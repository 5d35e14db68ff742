"""Residual variances of schools: quadrature by brute force, closed forms, R's Bartlett test, edges, null distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference
from scipy import integrate as quadrature
from scipy import stats

import valib as va
from valib.errors import ModelError
from valib.models.likelihood import compress
from valib.models.mixed import fit_moments
from valib.models.posterior import integrate, posterior
from valib.models.school_variance import (
    SchoolSums,
    bartlett,
    evaluate,
    fit_schools,
    profile,
    school_sums,
    variance_test,
)
from valib.models.unequal_posterior import integrate_unequal
from valib.sums.design import make_cells
from valib.sums.moments import compute_moments, moments_from_arrays

NAMES = ("Intercept", "prior", "dummy")


def problem(seed: int, spread: float = 0.4, tau: float = 8.0, sizes=None):
    """Unbalanced records of schools whose standard deviations are 9 exp(spread z)."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 16, 25) if sizes is None else np.asarray(sizes)
    code = np.repeat(np.arange(len(sizes)), sizes)
    sd = 9 * np.exp(spread * rng.standard_normal(len(sizes)))
    X = np.column_stack([np.ones(len(code)), rng.normal(480, 75, len(code)), rng.integers(0, 2, len(code))])
    y = 20 + 0.8 * X[:, 1] + 3 * X[:, 2] + tau * rng.standard_normal(len(sizes))[code]
    return X, y + sd[code] * rng.standard_normal(len(code)), code, sd


def summed(X, y, code):
    return moments_from_arrays(X, y, make_cells(pd.Series(code)), NAMES[: X.shape[1]], "score", by_cell=True)


def prior_density(sigma2, s2, nu):
    """Scaled inverse chi-square: of an inverse gamma in SciPy."""
    return stats.invgamma.pdf(sigma2, nu / 2, scale=nu * s2 / 2)


def written_loglik(X, y, code, b, tau, s2, nu):
    """The likelihood, each school's variance integrated by adaptive quadrature over dense normal densities."""
    total = 0.0
    for school in np.unique(code):
        r = (y - X @ b)[code == school]
        one = np.ones((len(r), len(r)))
        top = stats.multivariate_normal.logpdf(r, cov=tau**2 * one + max(r.var(), s2) * np.eye(len(r)))

        def density(log, r=r, one=one, top=top):
            v = np.exp(log)
            return np.exp(
                stats.multivariate_normal.logpdf(r, cov=tau**2 * one + v * np.eye(len(r))) - top
            ) * prior_density(v, s2, nu) * v  # fmt: skip

        centre = np.log(s2)
        total += top + np.log(
            quadrature.quad(density, centre - 9, centre + 9, points=[centre], epsabs=0, epsrel=1e-10)[0]
        )
    return total


class TestTheLikelihood:
    @pytest.mark.parametrize("tau, nu", [(0.5, 4.0), (0.0, 12.0), (1.5, 60.0)])
    def test_by_brute_force(self, tau, nu):
        """Schools of one student too; the trapezoidal rule leaves 1e-9 of it."""
        X, y, code, _ = problem(1, sizes=[1, 2, 3, 7, 12])
        sums = school_sums(summed(X, y, code))
        scale = sums.scale
        b = np.array([30.0, 0.75, 2.0])
        shift = summed(X, y, code).shift
        about = np.array([b[0] + b[1:] @ shift[1:-1] - shift[-1], *b[1:]])  # of the shifted columns
        ours = evaluate(sums, about * scale[:-1] / scale[-1], tau * 20 / scale[-1], (10 / scale[-1]) ** 2, nu)
        dense = written_loglik(X, y, code, b, tau * 20, 100.0, nu)
        assert ours.loglik - len(y) * np.log(scale[-1]) == pytest.approx(dense, rel=1e-7)

    def test_its_gradient_and_curvature_in_b(self):
        """By central differences."""
        sums = school_sums(summed(*problem(2)[:3]))
        b = np.array([0.1, 0.9, 0.05])
        at = evaluate(sums, b, 0.3, 0.5, 8.0)
        for k, step in enumerate(1e-5 * np.eye(3)):
            up, down = (evaluate(sums, b + s, 0.3, 0.5, 8.0) for s in (step, -step))
            assert at.score[k] == pytest.approx((up.loglik - down.loglik) / 2e-5, rel=1e-5, abs=1e-4)
            np.testing.assert_allclose(at.A[k], (down.score - up.score) / 2e-5, atol=1e-5 * np.abs(at.A).max())

    def test_equal_variances_are_its_limit(self):
        """nu infinite is the random-intercept model, and 1e5 is within 1e-2 of it in log-likelihood."""
        moments = summed(*problem(3)[:3])
        for method in ("ML", "REML"):
            plain, sums = fit_moments(moments, method), school_sums(moments)
            size = sums.scale[-1]
            start = plain.optimum.at.b[0] / size * sums.scale[:-1]
            par = np.sqrt(plain.tau2) / size, plain.sigma2 / size**2
            found = profile(sums, start, *par, np.inf, method == "REML")
            constant = sums.n.sum() * np.log(size)
            if method == "REML":
                constant += np.log(sums.scale[:-1]).sum() - 3 * np.log(size)
            assert found[0] - constant == pytest.approx(plain.loglik, abs=1e-8)
            near = profile(sums, start, *par, 1e5, method == "REML")[0]
            assert abs(near - found[0]) < 0.01

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_a_fit_is_a_maximum(self, method):
        """No step of a hundredth in (tau, log s2, log nu) goes up, and the gradient is 0 to 1e-4."""
        moments = summed(*problem(4, sizes=[12] * 40)[:3])
        fit = fit_schools(moments, method)
        assert not fit.boundary and not fit.singular and fit.loglik > fit.common_loglik
        tau, s2, nu = fit.par
        top = profile(fit.sums, fit.b, tau, s2, nu, method == "REML")[0]

        def loglik(x):
            return profile(fit.sums, fit.b, tau * np.exp(x[0]), s2 * np.exp(x[1]), nu * np.exp(x[2]), method == "REML")[
                0
            ]

        for step in 0.01 * np.eye(3):
            up, down = loglik(step), loglik(-step)
            assert max(up, down) < top and abs(up - down) / 0.02 < 2e-3
        steps = 0.02 * np.eye(3)
        H = np.array(
            [
                [(loglik(a + b) - loglik(a - b) - loglik(b - a) + loglik(-a - b)) / (4 * 0.02**2) for b in steps]
                for a in steps
            ]
        )
        errors = np.sqrt(np.diag(np.linalg.inv(-H)))
        assert fit.tau2_se == pytest.approx(2 * fit.tau2 * errors[0], rel=0.02)
        assert (fit.log_s_se, fit.log_nu_se) == pytest.approx((errors[1] / 2, errors[2]), rel=0.02)


class TestByHand:
    def test_the_shrunken_variance(self):
        """tau so large that a school's mean says nothing: 1 / E[1 / sigma2] = (nu s2 + W) / (nu + n - 1).

        nu 10, s2 4, residuals -5, 0, 5 (W = 50): 90 / 12 = 7.5; of one student alone the common 4.
        """
        y = np.array([-5.0, 0.0, 5.0, 1.0])
        sums = SchoolSums(np.array([3.0, 1.0]), np.array([[1.0, 0.0], [1.0, 1.0]]), np.zeros((2, 2, 2)), np.ones(2))
        sums.within[0, 1, 1] = (y[:3] ** 2).sum()
        at = evaluate(sums, np.zeros(1), 1e5, 4.0, 10.0)
        np.testing.assert_allclose(1 / (at.q / at.sigma2).sum(axis=1), [7.5, 4.0], rtol=1e-8)

    def test_the_blup_is_of_the_own_variance(self):
        """Two schools of 12 with one mean residual: the one that varies less is shrunk less and its error is smaller."""
        rng = np.random.default_rng(1)
        e = rng.standard_normal(12)
        e = (e - e.mean()) / e.std()
        rest = [
            8 * rng.standard_normal() + 9 * rng.standard_normal(12) * np.exp(0.4 * rng.standard_normal())
            for _ in range(40)
        ]
        y = np.concatenate([10 + 4 * e, 10 + 20 * e, *rest])
        fit = fit_schools(summed(np.ones((len(y), 1)), y, np.repeat(np.arange(42), 12)))
        assert fit.own_sd[0] == pytest.approx(4 * np.sqrt(12 / 11)) and fit.own_sd[1] == pytest.approx(
            20 * np.sqrt(12 / 11)
        )
        assert fit.own_sd[0] < fit.sd[0] < fit.s < fit.sd[1] < fit.own_sd[1]
        about = fit.tau2 / (fit.tau2 + fit.sd[:2] ** 2 / 12)
        np.testing.assert_allclose(fit.effects.shrinkage[:2], about, rtol=0.05)  # E of lambda, lambda at E
        assert fit.effects.effect[0] > fit.effects.effect[1] > 0
        assert fit.effects.var_conditional[0] < fit.effects.var_conditional[1]

    def test_moments_of_a_school_by_quadrature(self):
        """E and Var of u given the data, by two-dimensional sums over (log sigma2, u) at the estimates."""
        X, y, code, _ = problem(5, sizes=[6] * 30)
        fit = fit_schools(summed(X, y, code))
        tau, s2, nu = (fit.par[0] * fit.sums.scale[-1], fit.s**2, fit.nu)
        r = (y - X @ fit.coefficients)[code == 3]
        u, log = np.linspace(-8 * tau, 8 * tau, 1601)[:, None], np.linspace(np.log(s2) - 6, np.log(s2) + 6, 1201)[None]
        v = np.exp(log)
        density = -0.5 * len(r) * np.log(v) - ((r[:, None, None] - u) ** 2).sum(axis=0) / (2 * v) - u**2 / (2 * tau**2)
        density = np.exp(density - density.max()) * prior_density(v, s2, nu) * v
        density /= density.sum()
        mean = (density * u).sum()
        assert fit.effects.effect[3] == pytest.approx(mean, rel=1e-5)
        assert fit.effects.var_conditional[3] == pytest.approx((density * (u - mean) ** 2).sum(), rel=1e-5)
        assert fit.sd[3] == pytest.approx(1 / np.sqrt((density / v).sum()), rel=1e-5)


class TestBartlett:
    def test_r_on_exam(self):
        """The statistic of R's bartlett.test on the residuals of a regression with school indicators (n - 1 each), and
        nearly that on the degrees of freedom that the regression leaves each school."""
        told = reference("case12_residual")["bartlett"]
        moments = compute_moments(va.build_design(va.load_records("exam"), "score ~ prior_score"), by_cell=True)
        found = variance_test(school_sums(moments))
        n = moments.n
        again = bartlett(found.variance * found.df_school / (n - 1), n - 1)
        assert again[:2] == (pytest.approx(told["statistic"], rel=1e-8), told["df"])
        assert found.statistic == pytest.approx(told["statistic"], rel=1e-3)
        assert found.df_school.sum() == pytest.approx(n.sum() - len(n) - 1, rel=1e-10)

    @pytest.mark.parametrize("df", [[1, 1, 2, 3, 2, 5, 8, 1, 1, 4], [9] * 12, [1, 40], [2.5, 3.5, 1.2]])
    def test_its_p_value_is_uniform_under_the_null(self, df):
        """20,000 draws: rejections at 5% and 1% within four Monte Carlo errors and a tenth of themselves."""
        df = np.asarray(df, dtype=float)
        rng = np.random.default_rng(2)
        variance = rng.chisquare(df, (20_000, len(df))) / df
        M = df.sum() * np.log(variance @ df / df.sum()) - np.log(variance) @ df
        C = 1 + ((1 / df).sum() - 1 / df.sum()) / (3 * (len(df) - 1))
        order = np.argsort(M)
        for level in (0.05, 0.01):
            cut = order[int(20_000 * (1 - level))]
            statistic, K, p, _ = bartlett(variance[cut], df)
            assert statistic == pytest.approx(M[cut] / C) and K == len(df) - 1
            assert p == pytest.approx(level, abs=4 * np.sqrt(level / 20_000) + 0.1 * level)

    def test_chi_square_is_wrong_for_small_schools(self):
        """The reason for the exact cumulants: at the 1% point of schools of two students chi2 says 2.7%."""
        df = np.ones(60)
        variance = np.random.default_rng(3).chisquare(1, (20_000, 60))
        M = 60 * np.log(variance.mean(axis=1)) - np.log(variance).sum(axis=1)
        cut = np.argsort(M)[int(20_000 * 0.99)]
        _, _, p, p_chi2 = bartlett(variance[cut], df)
        assert p == pytest.approx(0.01, abs=0.003) and p_chi2 > 0.02

    def test_the_fixed_effects_are_paid_for(self):
        """Schools of four students and two covariates: 400 draws of equal variances reject 20 times, 6 to 36 in 99.9%."""
        rejected = 0
        for seed in range(400):
            X, y, code, _ = problem(seed, spread=0.0, sizes=[4] * 10)
            rejected += variance_test(school_sums(summed(X, y, code))).p < 0.05
        assert 6 <= rejected <= 36

    def test_what_has_no_test(self):
        X, y, code, _ = problem(1, sizes=[1, 1, 1, 5])
        with pytest.raises(ModelError, match="two schools with two students"):
            variance_test(school_sums(summed(X[:, :1], y, code)))
        X, y, code, _ = problem(1, sizes=[3, 5, 6])
        y[:3] = 7.0
        with pytest.raises(ModelError, match="residual variance is 0"):
            variance_test(school_sums(summed(X[:, :1], y, code)))


class TestEdges:
    def test_a_school_of_one_and_one_without_residuals(self):
        X, y, code, _ = problem(6, sizes=[1, 2, *[9] * 30])
        y -= 0.8 * X[:, 1] + 3 * X[:, 2]
        y[1:3], X = 20.0, X[:, :1]
        fit = fit_schools(summed(X, y, code))
        assert np.isnan(fit.own_sd[0]) and fit.own_sd[1] == pytest.approx(0, abs=1e-6)
        assert 0 < fit.sd[1] < fit.s and np.isfinite(fit.effects.effect).all()
        lower, upper = fit.interval()
        assert (lower > 0).all() and (lower < fit.sd).all() and (fit.sd < upper).all()

    def test_equal_variances_are_the_boundary(self):
        """Every school has the same residuals: nu is infinite, and the fit is the plain one."""
        rng = np.random.default_rng(7)
        e = rng.standard_normal(10)
        y = np.concatenate([8 * rng.standard_normal() + e - e.mean() for _ in range(30)])
        moments = summed(np.ones((300, 1)), y, np.repeat(np.arange(30), 10))
        fit, plain = fit_schools(moments), fit_moments(moments)
        assert fit.boundary and np.isinf(fit.nu) and fit.spread == 0 and fit.statistic == 0 and fit.p == 1
        assert fit.loglik == plain.loglik and fit.tau2 == pytest.approx(plain.tau2)
        np.testing.assert_allclose(fit.sd, np.sqrt(plain.sigma2), rtol=1e-8)
        assert fit.tau2_se == pytest.approx(plain.tau2_se) and fit.sigma2_se == pytest.approx(plain.sigma2_se)
        lower, upper = fit.interval()
        assert (lower < fit.sd - 1e-3).all() and (fit.sd + 1e-3 < upper).all()  # what is not known of nu shows

    def test_no_variation_between_schools(self):
        X, y, code, _ = problem(8, tau=0.0, sizes=[12] * 30)
        y -= np.repeat(
            [y[code == k].mean() - (0.8 * X[code == k, 1] + 3 * X[code == k, 2]).mean() for k in range(30)], 12
        )
        fit = fit_schools(summed(X, y, code))
        assert fit.singular and fit.tau2 == 0 and np.isnan(fit.tau2_se) and not fit.effects.effect.any()
        assert fit.loglik >= fit.common_loglik
        over = integrate_unequal(fit)
        assert (over.effects().sd() > 0).all()

    def test_too_few_schools(self):
        X, y, code, _ = problem(1, sizes=[8, 8, 1, 1])
        with pytest.raises(ModelError, match="at least three schools"):
            fit_schools(summed(X[:, :1], y, code))

    def test_sums_without_cross_products_by_school(self):
        X, y, code, _ = problem(1)
        moments = moments_from_arrays(X, y, make_cells(pd.Series(code)), NAMES)
        with pytest.raises(ModelError, match="by_cell=True"):
            fit_schools(moments)


class TestPosterior:
    def test_on_the_boundary_it_is_that_of_one_variance(self):
        """Limits within 2% of a standard deviation of schools of the exact ones: nu is not quite known to be infinite."""
        X, y, code, _ = problem(12, spread=0.0, sizes=[25] * 60)
        moments = summed(X, y, code)
        fit = fit_schools(moments)
        ours = integrate_unequal(fit).effects().interval()
        nodes = integrate(compress(moments))
        theirs = posterior(nodes, moments.n[None], (moments.sums / moments.n[:, None])[None]).effects().interval()
        for mine, exact in zip(ours, theirs, strict=True):
            assert np.abs(mine - exact).mean() < 0.02 * np.sqrt(fit.tau2)

    def test_draws_and_combinations_are_those_of_the_mixture(self):
        over = integrate_unequal(fit_schools(summed(*problem(9)[:3])))
        mixture, drawn = over.effects(), over.draw(20_000, np.random.default_rng(1))
        error = mixture.sd()[0] / np.sqrt(20_000)
        assert (np.abs(drawn.mean(axis=0) - mixture.expectation()[0]) < 4.5 * error).all()
        np.testing.assert_allclose(drawn.std(axis=0), mixture.sd()[0], rtol=0.04)
        below = (drawn < mixture.quantile(0.1)[0]).mean(axis=0)
        np.testing.assert_allclose(below, 0.1, atol=0.012)
        one = over.combinations(np.eye(drawn.shape[1]))
        np.testing.assert_allclose(one.sd(), mixture.sd(), rtol=5e-3)  # the error of b at the mean shrinkage of a node
        w = np.full((1, drawn.shape[1]), 1 / drawn.shape[1])
        assert over.combinations(w).sd()[0, 0] == pytest.approx((drawn @ w[0]).std(), rel=0.04)

    def test_the_same_seed_gives_the_same_draws(self):
        over = integrate_unequal(fit_schools(summed(*problem(9)[:3])))
        first, second = (over.draw(50, np.random.default_rng(4)) for _ in range(2))
        assert (first == second).all()
