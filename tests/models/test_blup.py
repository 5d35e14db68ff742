"""Predictions and their errors against dense covariance algebra, with known variances, and overlap
intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from oracle import Dense, indicators
from scipy import stats

from valib.effects.relative import fit_relative
from valib.errors import ModelError
from valib.models.blup import (
    correlation_interval,
    delta_error,
    factor,
    fisher_error,
    interval,
    overlap_multiplier,
    predict_blup,
    shrinkage,
)

DENSE = 1e-8  # relative; two dense inverses of 250 x 250 matrices stand between the two answers


def world(seed: int, schools: int = 14) -> pd.DataFrame:
    return simulate(np.random.default_rng(seed), schools=schools, size=(1, 25), tau=20, sigma=40)


def dense_of(frame: pd.DataFrame, fit) -> tuple[Dense, np.ndarray]:
    labels, Z = indicators(frame.school)
    X = np.column_stack([np.ones(len(frame)), frame.prior_score])
    return Dense(X, frame.score.to_numpy(), Z, fit.tau2, fit.sigma2), labels


class TestAgainstDenseAlgebra:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_predictions_and_the_three_errors(self, seed, method):
        frame = world(seed)
        fit = fit_relative(frame, method=method)
        model, labels = dense_of(frame, fit)
        effects = fit.school_effects.loc[labels]
        np.testing.assert_allclose(effects.effect, model.blup, rtol=DENSE, atol=1e-8)
        np.testing.assert_allclose(effects.se_conditional**2, np.diag(model.conditional), rtol=DENSE)
        np.testing.assert_allclose(effects.se_comparative**2, np.diag(model.comparative), rtol=DENSE)
        np.testing.assert_allclose(effects.se_diagnostic**2, np.diag(model.diagnostic), rtol=1e-7)

    def test_prediction_error_and_sampling_variance_add_up_to_the_school_variance(self):
        """With b estimated on the same students, Cov(u_hat, u) = Var(u_hat)."""
        fit = fit_relative(world(4))
        np.testing.assert_allclose(
            fit.school_effects.se_comparative**2 + fit.school_effects.se_diagnostic**2, fit.tau2, rtol=1e-10
        )

    def test_errors_of_two_schools_are_correlated_as_the_mixed_model_equations_say(self):
        """Own variance and shared loadings give the whole J x J matrix, not only its diagonal."""
        frame = world(5)
        fit = fit_relative(frame)
        model, _ = dense_of(frame, fit)
        whole = np.diag(fit.school_effects.se_conditional**2) + fit.common @ fit.common.T
        np.testing.assert_allclose(whole, model.comparative, rtol=1e-6, atol=1e-9 * fit.tau2)

    def test_the_conditional_errors_of_two_schools_are_independent(self):
        frame = world(6)
        model, _ = dense_of(frame, fit_relative(frame))
        apart = model.conditional - np.diag(np.diag(model.conditional))
        assert np.abs(apart).max() < 1e-10 * model.tau2


class TestByHand:
    def test_the_seed_answer_s_formula(self):
        """n s_b^2 / (s^2 + n s_b^2) times the mean residual."""
        n, r, tau2, sigma2 = np.array([10, 1, 250]), np.array([43.6, -20.0, 3.0]), 1378.2, 960.5
        b = predict_blup(n, r, tau2, sigma2)
        np.testing.assert_allclose(b.effect, n * tau2 / (sigma2 + n * tau2) * r, rtol=1e-15)
        np.testing.assert_allclose(b.var_conditional, tau2 * sigma2 / (tau2 * n + sigma2), rtol=1e-12)
        np.testing.assert_array_equal(b.var_comparative, b.var_conditional)
        np.testing.assert_allclose(b.var_diagnostic, b.shrinkage * tau2, rtol=1e-14)

    def test_a_school_unseen_at_fitting_is_predicted_at_zero_with_the_whole_variance(self):
        b = predict_blup(
            np.array([0, 5]), np.array([np.nan, 2.0]), 100.0, 400.0, np.array([[np.nan, np.nan], [1.0, 2.0]]), np.eye(2)
        )
        assert (b.effect[0], b.shrinkage[0], b.var_conditional[0], b.var_comparative[0], b.var_diagnostic[0]) == (
            0,
            0,
            100,
            100,
            0,
        )

    def test_shrinkage_is_between_none_and_all(self):
        lam = shrinkage(np.array([0, 1, 10, 1e9]), 50.0, 450.0)
        np.testing.assert_allclose(lam, [0, 0.1, 10 / 19, 1], rtol=1e-7)
        np.testing.assert_array_equal(shrinkage(np.array([3, 4]), 0.0, 10.0), 0)

    def test_with_no_school_variance_nothing_is_predicted(self):
        b = predict_blup(np.array([3, 9]), np.array([5.0, -5.0]), 0.0, 10.0, np.ones((2, 1)), np.array([[2.0]]))
        for field in ("effect", "var_conditional", "var_comparative", "var_diagnostic"):
            np.testing.assert_array_equal(getattr(b, field), 0)

    @pytest.mark.parametrize(("tau2", "sigma2"), [(-1.0, 1.0), (1.0, 0.0), (1.0, -2.0)])
    def test_impossible_variances_are_refused(self, tau2, sigma2):
        with pytest.raises(ModelError, match="sigma2 > 0"):
            predict_blup(np.array([3]), np.array([1.0]), tau2, sigma2)

    def test_factor_of_a_singular_covariance(self):
        V = np.array([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        F = factor(V)
        np.testing.assert_allclose(F @ F.T, V, atol=1e-14)

    def test_factors_of_several_covariances_are_those_of_each(self):
        V = np.stack([np.diag([4.0, 0.0]), np.array([[2.0, -1.0], [-1.0, 3.0]])])
        F = factor(V)
        np.testing.assert_allclose(F @ F.transpose(0, 2, 1), V, atol=1e-14)
        assert (F[1] == factor(V[1])).all()

    @pytest.mark.parametrize(
        ("level", "z"), [(0.95, 1.959963984540054), (0.9, 1.6448536269514722), (0.5, 0.6744897501960817)]
    )
    def test_interval(self, level, z):
        lower, upper = interval(np.array([10.0]), np.array([2.0]), level)
        assert (lower[0], upper[0]) == pytest.approx((10 - 2 * z, 10 + 2 * z), rel=1e-12)


@pytest.mark.parametrize("level", [95, 1.0, 0.0, -0.5, np.nan])
def test_a_level_that_is_no_probability_is_refused(level):
    """95 for 0.95 would give intervals of nan."""
    with pytest.raises(ModelError, match="between 0 and 1"):
        fit_relative(world(1), level=level)


class TestCorrelations:
    @pytest.mark.parametrize("pairs,level", [(4, 0.95), (25, 0.9), (400, 0.99)])
    def test_fisher_s_interval_is_that_of_scipy(self, pairs, level):
        """SciPy gives Fisher's interval for a Pearson correlation."""
        x, y = np.random.default_rng(pairs).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], pairs).T
        found = stats.pearsonr(x, y)
        limits = correlation_interval(np.array([found.statistic]), fisher_error(np.array([pairs])), level)
        np.testing.assert_allclose(np.ravel(limits), found.confidence_interval(level), rtol=1e-12)

    def test_the_delta_method_is_exact_for_a_small_error(self):
        """As se goes to 0 the interval tends to r -+ z se, with relative error of the order of se."""
        r, se = np.array([0.8, -0.3]), 1e-7
        lower, upper = correlation_interval(r, delta_error(r, se))
        z = stats.norm.ppf(0.975)
        np.testing.assert_allclose([lower, upper], [r - z * se, r + z * se], atol=10 * se**2)

    def test_what_has_no_interval_has_none(self, recwarn):
        r, n = np.array([0.5, 1.0, -1.0, 0.5, np.nan]), np.array([3, 50, 50, 4, 50])
        for se in (fisher_error(n), np.where(n == 3, np.nan, delta_error(r, 0.1))):
            lower, upper = correlation_interval(r, se)
            assert np.isnan(lower).tolist() == np.isnan(upper).tolist() == [True, True, True, False, True]
        assert not recwarn.list


class TestKnownVariances:
    """Simulated with the variances given to `predict_blup`, so that the stated errors must be exact."""

    def test_errors_have_the_stated_variance_and_intervals_their_coverage(self):
        """b is estimated by GLS in each of 4,000 replicates; a variance then has a Monte Carlo error of
        2.2%."""
        rng = np.random.default_rng(42)
        n = np.array([1, 2, 4, 8, 15, 30])
        tau2, sigma2, R = 100.0, 400.0, 4000
        code = np.repeat(np.arange(6), n)
        X = np.column_stack([np.ones(60), rng.standard_normal(60) + np.repeat(rng.standard_normal(6), n)])
        Z = np.eye(6)[code]
        model = Dense(X, np.zeros(60), Z, tau2, sigma2)
        u = np.sqrt(tau2) * rng.standard_normal((R, 6))
        y = u @ Z.T + np.sqrt(sigma2) * rng.standard_normal((R, 60))
        b = y @ (model.vcov @ X.T @ model.Vi).T
        residual = (y - b @ X.T) @ Z / n
        xbar = (Z.T @ X) / n[:, None]
        error = np.stack([predict_blup(n, r, tau2, sigma2, xbar, model.vcov).effect for r in residual]) - u
        stated = predict_blup(n, residual[0], tau2, sigma2, xbar, model.vcov).var_comparative
        np.testing.assert_allclose(error.var(axis=0), stated, rtol=3.5 * np.sqrt(2 / R))
        inside = np.abs(error) <= stats.norm.ppf(0.975) * np.sqrt(stated)
        np.testing.assert_allclose(inside.mean(axis=0), 0.95, atol=3.5 * np.sqrt(0.95 * 0.05 / R))
        seed_interval = np.abs(error) <= stats.norm.ppf(0.975) * np.sqrt(tau2 * sigma2 / (n * tau2 + sigma2))
        assert seed_interval[:, -1].mean() < 0.92  # the conditional variance leaves the error of b out


class TestOverlap:
    def test_equal_errors_give_the_published_139(self):
        z = overlap_multiplier(np.full(30, 4.0))
        assert z == pytest.approx(stats.norm.ppf(0.975) / np.sqrt(2), rel=1e-9) and round(z, 2) == 1.39

    def test_average_error_of_a_comparison_is_nominal(self):
        se = np.random.default_rng(1).uniform(2, 12, 25)
        z = overlap_multiplier(se, 0.9)
        i, j = np.triu_indices(25, 1)
        p = 2 * stats.norm.sf(z * (se[i] + se[j]) / np.hypot(se[i], se[j]))
        assert p.mean() == pytest.approx(0.1, rel=1e-9)

    def test_quantiles_stand_for_many_schools(self):
        se = np.random.default_rng(2).gamma(4, 2, 1500) + 0.5
        assert overlap_multiplier(se) == pytest.approx(overlap_multiplier(se, largest=1500), abs=5e-4)

    @pytest.mark.parametrize("se", [[3.0], [0.0, 0.0], []])
    def test_nothing_to_compare(self, se):
        with pytest.raises(ModelError, match="two schools"):
            overlap_multiplier(np.array(se))
