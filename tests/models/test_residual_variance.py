"""Residual variances by group of students and along a covariate: dense matrices, closed form, nlme, edges, simulated truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import reference
from oracle import indicators

import valib as va
from valib.errors import ModelError
from valib.models.likelihood import compress
from valib.models.mixed import fit_moments
from valib.models.posterior import integrate, posterior
from valib.models.residual_variance import GroupProblem, fit_exponential, fit_groups, group_sums
from valib.models.unequal_posterior import integrate_unequal
from valib.sums.design import build_design, make_cells
from valib.sums.moments import moments_from_arrays

NLME = 3e-5  # relative; nlminb ends up to 1e-5 from the optimum, where the log-likelihood is flat
LOWER = 1e-7  # of a log-likelihood: valib's is never lower than nlme's by more than rounding
NAMES = ("Intercept", "prior", "dummy")


def problem(seed: int, tau: float = 8.0, sds=(5.0, 9.0, 14.0), sizes=None):
    """Unbalanced records with three groups of students, small enough for dense matrices."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 16, 20) if sizes is None else np.asarray(sizes)
    code = np.repeat(np.arange(len(sizes)), sizes)
    group = rng.integers(0, 3, len(code))
    X = np.column_stack([np.ones(len(code)), rng.normal(480, 75, len(code)), rng.integers(0, 2, len(code))])
    y = 20 + 0.8 * X[:, 1] + 3 * X[:, 2] + tau * rng.standard_normal(len(sizes))[code]
    y += np.asarray(sds)[group] * rng.standard_normal(len(code))
    return X, y, code, group


def grouped(X, y, code, group):
    return moments_from_arrays(X, y, make_cells(pd.Series(code), pd.Series(group)), NAMES[: X.shape[1]], "score")


class Written:
    """The model with every matrix written out."""

    def __init__(self, X, y, school, variances, tau2):
        S = indicators(school)[1]
        V = tau2 * S @ S.T + np.diag(variances)
        Vi = np.linalg.inv(V)
        self.vcov = np.linalg.inv(X.T @ Vi @ X)
        self.b = self.vcov @ X.T @ Vi @ y
        r = y - X @ self.b
        self.value, self.logdet_A, self.shape = (
            np.linalg.slogdet(V)[1] + r @ Vi @ r,
            np.linalg.slogdet(self.vcov)[1],
            X.shape,
        )
        reach = tau2 * S.T @ Vi
        self.effects = reach @ r
        own = tau2 * np.eye(S.shape[1]) - reach @ S * tau2
        self.conditional = np.diag(own)
        self.comparative = np.diag(own + reach @ X @ self.vcov @ X.T @ reach.T)

    def loglik(self, method):
        N, p = self.shape
        if method == "ML":
            return -0.5 * (N * np.log(2 * np.pi) + self.value)
        return -0.5 * ((N - p) * np.log(2 * np.pi) + self.value - self.logdet_A)


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_number_against_dense_matrices(seed, method):
    """Inverting a 160 x 160 covariance beside sums about a shift leaves some 1e-8 of relative error."""
    X, y, code, group = problem(seed)
    fit = fit_groups(grouped(X, y, code, group), ("a", "b", "c"), method)
    written = Written(X, y, code, fit.sd[group] ** 2, fit.tau2)
    assert fit.loglik == pytest.approx(written.loglik(method), rel=1e-9)
    np.testing.assert_allclose(fit.coefficients, written.b, rtol=1e-7)
    np.testing.assert_allclose(fit.vcov, written.vcov, rtol=1e-6, atol=1e-9)
    for name, own in (("effect", "effects"), ("var_conditional", "conditional"), ("var_comparative", "comparative")):
        np.testing.assert_allclose(getattr(fit.effects, name), getattr(written, own), rtol=1e-6, atol=1e-8)
    at = np.array([np.sqrt(fit.tau2), *np.log(fit.sd)])

    def loglik(x):  # a maximum of the dense likelihood, and its curvature
        return Written(X, y, code, np.exp(2 * x[1:])[group], x[0] ** 2).loglik(method)

    steps = np.diag([1e-3 * at[0], *[1e-3] * 3])
    h = np.diag(steps)
    gradient = np.array([(loglik(at + s) - loglik(at - s)) for s in steps]) / (2 * h)
    assert np.abs(gradient * h).max() < 1e-6
    H = np.array(
        [
            [(loglik(at + a + b) - loglik(at + a - b) - loglik(at - a + b) + loglik(at - a - b)) / 4 for b in steps]
            for a in steps
        ]
    ) / np.outer(h, h)
    errors = np.sqrt(np.diag(np.linalg.inv(-H)))
    assert fit.tau2_se == pytest.approx(2 * at[0] * errors[0], rel=1e-3)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.log_sd_vcov)), errors[1:], rtol=1e-3)


@pytest.mark.parametrize("reml", [False, True])
def test_derivatives(reml):
    """By central differences, which leave 1e-6 of the largest; with tau held as well."""
    sums = group_sums(grouped(*problem(3)))
    for one, x in (
        (GroupProblem(sums, reml), np.array([0.3, -0.4, 0.1, 0.5])),
        (GroupProblem(sums, reml, 0.3), np.array([-0.4, 0.1, 0.5])),
    ):
        gradient, hessian = one.derivatives(x, one.value(x))
        for k, step in enumerate(1e-5 * np.eye(len(x))):
            up, down = one.value(x + step), one.value(x - step)
            assert gradient[k] == pytest.approx((up.deviance - down.deviance) / 2e-5, rel=1e-5, abs=1e-4)
            bend = (one.derivatives(x + step, up)[0] - one.derivatives(x - step, down)[0]) / 2e-5
            np.testing.assert_allclose(hessian[k], bend, atol=1e-6 * np.abs(hessian).max())


def test_by_hand_without_schools_differences():
    """tau = 0, an intercept alone, two groups with means on either side: sigma2_k are the groups' mean squares about b.

    Group 0: -1, 1; group 1: -2, 2, -2, 2 about 0: b = 0 by symmetry, sigma2 = 1 and 4; schools have the mean 0 each.
    """
    y = np.array([-1.0, 1, -2, 2, -2, 2])
    code, group = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    fit = fit_groups(grouped(np.ones((6, 1)), y, code, group), (0, 1))
    assert fit.singular and fit.tau2 == 0
    np.testing.assert_allclose(fit.sd**2, [1, 4], rtol=1e-8)
    assert fit.loglik == pytest.approx(-0.5 * (6 * np.log(2 * np.pi) + 4 * np.log(4) + 6))
    assert not fit.effects.effect.any() and np.isnan(fit.tau2_se)


def test_a_schools_students_count_by_the_precision_of_their_group():
    """lambda = tau2 a / (1 + tau2 a), a = sum of 1 / sigma2: 4 students of variance 100 weigh as 1 of variance 25."""
    sizes = [4, 1, *[6] * 30]
    X, y, code, group = problem(5, sizes=sizes)
    group[:4], group[4] = 2, 0
    fit = fit_groups(grouped(X, y, code, group), (0, 1, 2))
    a = np.array([4 / fit.sd[2] ** 2, 1 / fit.sd[0] ** 2])
    np.testing.assert_allclose(fit.effects.shrinkage[:2], fit.tau2 * a / (1 + fit.tau2 * a), rtol=1e-9)


class TestAgainstNlme:
    """varIdent and varExp; valib's log-likelihood is never lower."""

    stored = reference("case12_residual")

    def check(self, fit, told):
        assert fit.loglik >= told["logLik"] - LOWER and fit.loglik == pytest.approx(told["logLik"], abs=1e-5)
        assert fit.common_loglik == pytest.approx(told["common"], abs=1e-6)
        assert fit.tau2 == pytest.approx(told["tau2"], rel=1e-4)
        size = np.sqrt(np.abs(np.diag(told["vcov"])))
        assert (np.abs(fit.coefficients - list(told["fixef"].values())) < 1e-3 * size).all()  # of a standard error
        np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov)), size, rtol=1e-4)
        at = [list(map(str, fit.schools)).index(str(g)) for g in told["group"]]
        np.testing.assert_allclose(fit.effects.effect[at], told["effects"], atol=1e-4 * np.sqrt(fit.tau2))

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize(
        "name, data, formula, column",
        [
            ("exam_sex", "exam", "score ~ prior_score", "sex"),
            ("exam_vr", "exam", "score ~ prior_score + sex", "vr"),
            ("chem97_gender", "chem97", "score ~ gcsecnt + gender + age", "gender"),
        ],
    )
    def test_by_group(self, name, data, formula, column, method):
        rows = va.load(data) if data == "chem97" else va.load_records(data)
        told = self.stored[f"{name}_{method}"]
        design = build_design(rows, formula, "school", None)
        code, labels = pd.factorize(design.data[column].astype(str), sort=True)
        cells = make_cells(design.data["school"], pd.Series(code))
        fit = fit_groups(moments_from_arrays(design.X, design.y, cells, design.names), list(labels), method)
        self.check(fit, told)
        expected = np.array([told["sigma"] * told["coefs"][label] for label in labels])
        np.testing.assert_allclose(fit.sd, expected, rtol=NLME)

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_along_a_covariate(self, method):
        design = build_design(va.load_records("exam"), "score ~ prior_score", "school", None)
        v = design.data["prior_score"].to_numpy()
        fit = fit_exponential(design.X, design.y, design.cells, design.names, v, method)
        told = self.stored[f"exam_exp_{method}"]
        self.check(fit, told)
        assert fit.slope.delta == pytest.approx(told["coefs"]["expon"], rel=1e-4)
        at_zero = fit.sd[0] * np.exp(-fit.slope.delta * fit.slope.centre)
        assert at_zero == pytest.approx(told["sigma"], rel=NLME)
        assert fit.df == 1 and fit.p == pytest.approx(0.021, abs=0.001)

    def test_a_variance_for_every_school(self):
        """65 free variances: nlme's optimiser ends 7e-7 below."""
        design = build_design(va.load_records("exam"), "score ~ prior_score", "school", None)
        code = design.cells.code
        cells = make_cells(design.data["school"], pd.Series(code))
        fit = fit_groups(moments_from_arrays(design.X, design.y, cells, design.names), range(65))
        self.check(fit, self.stored["exam_school_ML"])


class TestAlongACovariate:
    def test_the_likelihood_against_dense_matrices_and_the_error_of_delta(self):
        X, y, code, _ = problem(8, sds=(9, 9, 9))
        v = X[:, 1]
        fit = fit_exponential(X, y, make_cells(pd.Series(code)), NAMES, v)
        delta, sd, tau2 = fit.slope.delta, fit.sd[0], fit.tau2

        def loglik(d, s=sd):
            return Written(X, y, code, s**2 * np.exp(2 * d * (v - v.mean())), tau2).loglik("ML")

        assert fit.loglik == pytest.approx(loglik(delta), rel=1e-9)
        h = 0.02 / v.std()
        bend = (loglik(delta + h) - 2 * loglik(delta) + loglik(delta - h)) / h**2
        assert fit.slope.delta_se == pytest.approx(1 / np.sqrt(-bend), rel=0.05)  # the others move with delta a little

    def test_recovery(self):
        X, y, code, _ = problem(9, sizes=[40] * 150, sds=(0, 0, 0))
        rng = np.random.default_rng(1)
        y = y + 9 * np.exp(0.003 * (X[:, 1] - 480)) * rng.standard_normal(len(y))
        fit = fit_exponential(X, y, make_cells(pd.Series(code)), NAMES, X[:, 1])
        assert abs(fit.slope.delta - 0.003) < 3 * fit.slope.delta_se < 0.001
        assert fit.sd[0] == pytest.approx(9, abs=0.3)

    def test_a_constant_covariate_is_refused(self):
        X, y, code, _ = problem(1)
        with pytest.raises(ModelError, match="constant"):
            fit_exponential(X, y, make_cells(pd.Series(code)), NAMES, np.ones(len(y)))


def test_simulated_truth_within_its_errors():
    """6,000 students: standard deviations within three of their standard errors, and the test sees them."""
    fit = fit_groups(grouped(*problem(11, sizes=[40] * 150)), (0, 1, 2))
    z = (np.log(fit.sd) - np.log([5, 9, 14])) / np.sqrt(np.diag(fit.log_sd_vcov))
    assert np.abs(z).max() < 3 and fit.p < 1e-10 and abs(fit.tau2 - 64) < 3 * fit.tau2_se


def test_the_likelihood_ratio_rejects_as_often_as_it_says():
    """120 draws with equal variances: 6 rejections expected at 5%, and between 1 and 13 in 99.5% of such runs."""
    rejected = 0
    for seed in range(120):
        X, y, code, group = problem(1000 + seed, sds=(9, 9, 9))
        rejected += fit_groups(grouped(X[:, :2], y, code, group), (0, 1, 2)).p < 0.05
    assert 1 <= rejected <= 13


class TestEdges:
    def test_equal_variances_give_the_plain_model(self):
        X, y, code, _ = problem(4, sds=(9, 9, 9))
        twice = np.r_[X, X], np.r_[y, y], np.r_[code, code], np.repeat([0, 1], len(y))
        fit = fit_groups(grouped(*twice), ("a", "b"))
        assert fit.sd[0] == pytest.approx(fit.sd[1], rel=1e-7) and fit.statistic < 1e-8
        assert fit.loglik >= fit.common_loglik

    def test_a_group_of_one_student_is_refused(self):
        X, y, code, group = problem(1)
        group[:] = 0
        group[3] = 1
        with pytest.raises(ModelError, match="'few' has one student"):
            fit_groups(grouped(X, y, code, group), ("many", "few"))

    def test_one_group_is_refused(self):
        X, y, code, group = problem(1)
        with pytest.raises(ModelError, match="at least two groups"):
            fit_groups(grouped(X, y, code, 0 * group), ("all",))

    def test_a_group_without_residuals_is_refused(self):
        """Of the students of group 1 the score is a line, in one school: their variance is 0."""
        X, y, code, group = problem(2, sizes=[12] * 12)
        group[:] = 0
        group[:6], y[:6] = 1, 20 + 0.8 * X[:6, 1]
        X[:6, 2] = 0
        X = X[:, :2]
        with pytest.raises(ModelError, match="'line' perfectly"):
            fit_groups(grouped(X, y, code, group), ("rest", "line"))

    def test_collinear_columns_are_named(self):
        X, y, code, group = problem(1)
        X[:, 2] = 2 * X[:, 1]
        with pytest.raises(ModelError, match="collinear"):
            fit_groups(grouped(X, y, code, group), (0, 1, 2))


class TestPosterior:
    def test_with_equal_variances_it_is_that_of_one_variance(self):
        """Two groups at random with nearly one variance: limits within 1% of the exact posterior's (t against normal)."""
        exam = build_design(va.load_records("exam"), "score ~ prior_score", "school", None)
        half = np.arange(len(exam.y)) % 2
        two = moments_from_arrays(exam.X, exam.y, make_cells(exam.data["school"], pd.Series(half)), exam.names)
        ours = integrate_unequal(fit_groups(two, (0, 1))).effects()
        m = two.pool_cohorts()
        theirs = posterior(integrate(compress(m)), m.n[None], (m.sums / m.n[:, None])[None]).effects()
        for mine, exact in zip(ours.interval(), theirs.interval(), strict=True):
            np.testing.assert_allclose(mine, exact, atol=0.01 * np.sqrt(fit_moments(m).tau2))

    def test_draws_and_combinations_are_those_of_the_mixture(self):
        over = integrate_unequal(fit_groups(grouped(*problem(6)), (0, 1, 2)))
        mixture, drawn = over.effects(), over.draw(20_000, np.random.default_rng(1))
        error = mixture.sd()[0] / np.sqrt(20_000)
        assert (np.abs(drawn.mean(axis=0) - mixture.expectation()[0]) < 4.5 * error).all()
        np.testing.assert_allclose(drawn.std(axis=0), mixture.sd()[0], rtol=0.04)
        w = np.full((1, drawn.shape[1]), 1 / drawn.shape[1])
        assert over.combinations(w).sd()[0, 0] == pytest.approx((drawn @ w[0]).std(), rel=0.04)
        one = over.combinations(np.eye(drawn.shape[1]))
        np.testing.assert_allclose(one.sd(), mixture.sd(), rtol=1e-6)

    def test_too_few_schools(self):
        X, y, code, group = problem(1, sizes=[30, 30])
        with pytest.raises(ModelError, match="at least 3 schools"):
            integrate_unequal(fit_groups(grouped(X, y, code, group), (0, 1, 2)))
