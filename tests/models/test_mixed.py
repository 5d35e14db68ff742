"""The likelihood and its maximum: dense matrices, closed forms, statsmodels, the boundary, digits."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from oracle import Dense, indicators

from valib.errors import ModelError
from valib.models.likelihood import compress, maximise, profile
from valib.models.mixed import fit_moments, loglik_at
from valib.sums.design import build_design, make_cells
from valib.sums.moments import compute_moments, moments_from_arrays

DENSE = 1e-9  # relative; inverting a 200 x 200 covariance loses a few of sixteen digits
OPTIMUM = 1e-8  # relative; variances where the analytic score is zero
MIXEDLM = 1e-6  # relative; statsmodels' derivative-free search ends about 2e-7 from the variances


def problem(seed: int, sizes=None, p: int = 3, tau: float = 8.0, sigma: float = 20.0, offset: float = 0.0):
    """An unbalanced problem small enough for dense matrices; X has an intercept, a prior and a school
    covariate."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 18, 16) if sizes is None else np.asarray(sizes)
    code = np.repeat(np.arange(len(sizes)), sizes)
    school = np.array([f"S{k:02d}" for k in code], dtype=object)
    context = rng.standard_normal(len(sizes))[code]
    X = np.column_stack([np.ones(len(code)), 50 + 5 * rng.standard_normal(len(code)) + context, context])[:, :p]
    y = (
        offset
        + X @ np.array([10.0, 0.8, -3.0])[:p]
        + tau * rng.standard_normal(len(sizes))[code]
        + sigma * rng.standard_normal(len(code))
    )
    moments = moments_from_arrays(
        X, y, make_cells(pd.Series(school)), ("Intercept", "prior", "context")[:p], "score", by_cell=True
    )
    return X, y, school, moments


def dense(X, y, school, tau2, sigma2) -> Dense:
    return Dense(X, y, indicators(school)[1], tau2, sigma2)


class TestLikelihood:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize(("tau2", "sigma2"), [(64.0, 400.0), (0.0, 500.0), (900.0, 30.0), (1e-6, 400.0)])
    def test_at_any_variances_it_is_the_dense_gaussian_one(self, tau2, sigma2, method):
        X, y, school, moments = problem(1)
        assert loglik_at(moments, tau2, sigma2, method) == pytest.approx(
            dense(X, y, school, tau2, sigma2).loglik(method), rel=1e-10
        )

    @pytest.mark.parametrize("reml", [False, True])
    @pytest.mark.parametrize("theta", [0.0, 1e-3, 0.2, 5.0])
    def test_derivatives_of_the_profiled_deviance(self, theta, reml):
        """By differences of complex-free, five-point type; 1e-6 is what differencing leaves."""
        data = compress(problem(2)[3])
        h = 1e-4 * (1 + theta)
        points = np.array([theta + 2 * h, theta + h, theta, theta - h, theta - 2 * h])
        at = profile(data, points, reml)
        slope = (-at.deviance[0] + 8 * at.deviance[1] - 8 * at.deviance[3] + at.deviance[4]) / (12 * h)
        bend = (-at.gradient[0] + 8 * at.gradient[1] - 8 * at.gradient[3] + at.gradient[4]) / (12 * h)
        assert at.gradient[2] == pytest.approx(slope, rel=1e-6, abs=1e-6)
        assert at.hessian[2] == pytest.approx(bend, rel=1e-6, abs=1e-6)

    def test_cells_of_equal_size_may_be_added_up(self):
        """A compressed data set knows as much as the cells one by one."""
        X, y, school, moments = problem(3, sizes=[4] * 10 + [7] * 6)
        data = compress(moments)
        assert list(data.sizes) == [4, 7] and data.counts.tolist() == [[10, 6]]
        assert loglik_at(moments, 50.0, 300.0) == pytest.approx(
            dense(X, y, school, 50.0, 300.0).loglik("ML"), rel=1e-10
        )


class TestMaximum:
    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("seed", range(6))
    def test_the_dense_score_is_zero_and_every_number_is_the_dense_one(self, seed, method):
        X, y, school, moments = problem(seed, tau=12)
        fit = fit_moments(moments, method)
        model = dense(X, y, school, fit.tau2, fit.sigma2)
        information = model.information(method)
        assert fit.theta > 0
        # the Newton step that is left, relative to the variances
        np.testing.assert_allclose(
            np.linalg.solve(information, model.score(method)) / [fit.tau2, fit.sigma2], 0, atol=OPTIMUM
        )
        np.testing.assert_allclose(fit.coefficients, model.b, rtol=DENSE)
        np.testing.assert_allclose(fit.vcov, model.vcov, rtol=1e-7, atol=DENSE * np.abs(model.vcov).max())
        assert fit.loglik == pytest.approx(model.loglik(method), rel=1e-11)
        np.testing.assert_allclose(
            [fit.tau2_se, fit.sigma2_se], np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-7
        )

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_no_other_variances_do_better(self, method):
        X, y, school, moments = problem(11)
        fit = fit_moments(moments, method)
        grid = [
            loglik_at(moments, t, s, method)
            for t in np.linspace(0, 4 * fit.tau2 + 50, 41)
            for s in fit.sigma2 * np.linspace(0.5, 1.6, 41)
        ]
        assert max(grid) <= fit.loglik + 1e-9

    def test_a_global_maximum_is_found_when_the_likelihood_has_two(self):
        """One large school against many small ones can give the profiled likelihood a second, lower maximum
        or none near zero; a fine scan must not find anything better on 200 awkward data sets."""
        rng = np.random.default_rng(77)
        scan = np.r_[0, np.exp(np.linspace(np.log(1e-7), np.log(1e3), 800))]
        for _ in range(200):
            sizes = np.r_[rng.integers(1, 4, 5), rng.integers(100, 1500)]
            code = np.repeat(np.arange(6), sizes)
            y = rng.standard_t(3, 6)[code] * rng.choice([0.05, 0.5, 5]) + rng.standard_normal(len(code))
            data = compress(
                moments_from_arrays(
                    np.ones((len(code), 1)), y, make_cells(pd.Series(code).astype("str")), ("Intercept",), "y"
                )
            )
            for reml in (False, True):
                best = profile(data, maximise(data, reml), reml).deviance[0]
                assert best <= profile(data, scan, reml).deviance.min() + 1e-9

    def test_a_batch_of_data_sets_gives_what_each_gives_alone(self):
        moments = problem(5)[3]
        weights = np.random.default_rng(1).multinomial(16, np.full(16, 1 / 16), size=20)
        together = maximise(compress(moments, weights), True)
        alone = [maximise(compress(moments.reweight(w)), True)[0] for w in weights]
        np.testing.assert_allclose(together, alone, rtol=1e-8, atol=1e-14)

    def test_a_reweighted_fit_is_the_fit_to_schools_repeated(self):
        X, y, school, moments = problem(6)
        weight = np.random.default_rng(2).multinomial(16, np.full(16, 1 / 16))
        labels = np.unique(school)
        parts = [
            (np.flatnonzero(school == s), f"{s}-{copy}")
            for s, w in zip(labels, weight, strict=True)
            for copy in range(w)
        ]
        rows = np.concatenate([r for r, _ in parts])
        names = np.concatenate([np.full(len(r), name, dtype=object) for r, name in parts])
        for method in ("ML", "REML"):
            a = fit_moments(moments.reweight(weight), method)
            b = fit_moments(
                moments_from_arrays(X[rows], y[rows], make_cells(pd.Series(names)), moments.names[:-1], "score"), method
            )
            np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-8)
            np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-6, atol=1e-9)
            assert (a.loglik, a.tau2, a.sigma2) == pytest.approx((b.loglik, b.tau2, b.sigma2), rel=1e-8)
            assert (a.n_students, a.n_groups) == (b.n_students, b.n_groups)

    def test_a_held_variance_ratio(self):
        X, y, school, moments = problem(7)
        fit = fit_moments(moments, "ML", theta=0.3)
        model = dense(X, y, school, 0.3 * fit.sigma2, fit.sigma2)
        assert fit.theta == 0.3
        assert model.y @ model.P @ model.y == pytest.approx(len(y), rel=1e-9)  # sigma2 profiled out


def anova(y: np.ndarray, n: int):
    """Between and within sums of squares of J schools of n students, rows in order of school."""
    means = y.reshape(-1, n).mean(axis=1)
    return n * ((means - means.mean()) ** 2).sum(), ((y.reshape(-1, n) - means[:, None]) ** 2).sum()


class TestBalancedClosedForm:
    """One-way analysis of variance: with equal sizes ML and REML have exact solutions (Searle, Casella,
    McCulloch)."""

    @pytest.mark.parametrize("seed", range(4))
    def test_both(self, seed):
        J, n = 12, 7
        rng = np.random.default_rng(seed)
        code = np.repeat(np.arange(J), n)
        y = 500 + 15 * rng.standard_normal(J)[code] + 20 * rng.standard_normal(J * n)
        moments = moments_from_arrays(
            np.ones((J * n, 1)), y, make_cells(pd.Series(code).map("S{:02d}".format)), ("Intercept",), "y"
        )
        between, within = anova(y, n)
        sigma2 = within / (J * (n - 1))
        for method, mean_square in (("REML", between / (J - 1)), ("ML", between / J)):
            assert mean_square > sigma2
            fit = fit_moments(moments, method)
            assert fit.sigma2 == pytest.approx(sigma2, rel=1e-10)
            assert fit.tau2 == pytest.approx((mean_square - sigma2) / n, rel=1e-9)
            assert fit.coefficients[0] == pytest.approx(y.mean(), rel=1e-13)
            assert fit.vcov[0, 0] == pytest.approx(mean_square / (J * n), rel=1e-9)
            dof = J * n - (method == "REML")
            constant = np.log(J * n / mean_square) if method == "REML" else 0.0
            loglik = -0.5 * (
                dof * np.log(2 * np.pi) + J * (n - 1) * np.log(sigma2) + J * np.log(mean_square) + dof + constant
            )
            assert fit.loglik == pytest.approx(loglik, rel=1e-12)
            assert fit.sigma2_se == pytest.approx(sigma2 * np.sqrt(2 / (J * (n - 1))), rel=1e-7)
            df = J - (method == "REML")
            assert fit.tau2_se == pytest.approx(
                np.sqrt(2 * (mean_square**2 / df + sigma2**2 / (J * (n - 1)))) / n, rel=1e-7
            )

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_on_the_boundary_the_school_variance_is_exactly_zero(self, method):
        """Between mean square below the within one: the estimate is 0 and all students form one sample."""
        J, n = 8, 5
        rng = np.random.default_rng(5)
        y = np.stack([500 + 20 * rng.permutation(np.linspace(-1, 1, n)) for _ in range(J)]).ravel() + rng.normal(
            0, 1, J * n
        )
        between, within = anova(y, n)
        assert between / (J - 1) < within / (J * (n - 1))
        fit = fit_moments(
            moments_from_arrays(
                np.ones((J * n, 1)),
                y,
                make_cells(pd.Series(np.repeat(np.arange(J), n)).astype("str")),
                ("Intercept",),
                "y",
            ),
            method,
        )
        assert fit.theta == 0.0 and fit.tau2 == 0.0 and fit.singular
        dof = J * n - (method == "REML")
        assert fit.sigma2 == pytest.approx((between + within) / dof, rel=1e-11)
        assert fit.vcov[0, 0] == pytest.approx(fit.sigma2 / (J * n), rel=1e-10)
        loglik = -0.5 * (dof * (np.log(2 * np.pi * fit.sigma2) + 1) + (np.log(J * n) if method == "REML" else 0))
        assert fit.loglik == pytest.approx(loglik, rel=1e-11)
        assert np.isnan(fit.tau2_se) and fit.sigma2_se == pytest.approx(fit.sigma2 * np.sqrt(2 / dof), rel=1e-7)

    def test_between_the_two_boundaries_only_ML_is_singular(self):
        """Data whose between mean square lies between sigma2 and sigma2 J/(J - 1): REML > 0, ML = 0."""
        J, n = 6, 4
        rng = np.random.default_rng(8)
        e = rng.standard_normal((J, n))
        e -= e.mean(axis=1, keepdims=True)
        m = rng.standard_normal(J)
        m -= m.mean()
        sigma2 = (e**2).sum() / (J * (n - 1))
        m *= np.sqrt(1.1 * sigma2 * (J - 1) / (n * (m**2).sum()))  # MSB = 1.1 sigma2
        moments = moments_from_arrays(
            np.ones((J * n, 1)),
            (e + m[:, None]).ravel() + 50,
            make_cells(pd.Series(np.repeat(np.arange(J), n)).astype("str")),
            ("Intercept",),
            "y",
        )
        assert fit_moments(moments, "REML").tau2 == pytest.approx(0.1 * sigma2 / n, rel=1e-6)
        assert fit_moments(moments, "ML").tau2 == 0.0

    @pytest.mark.parametrize("share", [1 + 1e-7, 1 + 1e-5, 1 + 1e-3])
    def test_just_inside_the_boundary_the_tiny_variance_is_found(self, share):
        J, n = 6, 4
        rng = np.random.default_rng(8)
        e = rng.standard_normal((J, n))
        e -= e.mean(axis=1, keepdims=True)
        m = rng.standard_normal(J)
        m -= m.mean()
        sigma2 = (e**2).sum() / (J * (n - 1))
        m *= np.sqrt(share * sigma2 * (J - 1) / (n * (m**2).sum()))
        moments = moments_from_arrays(
            np.ones((J * n, 1)),
            (e + m[:, None]).ravel(),
            make_cells(pd.Series(np.repeat(np.arange(J), n)).astype("str")),
            ("Intercept",),
            "y",
        )
        fit = fit_moments(moments, "REML")
        assert fit.tau2 / sigma2 == pytest.approx((share - 1) / n, rel=1e-3, abs=1e-9)


class TestStatsmodels:
    @pytest.mark.parametrize("reml", [False, True])
    def test_mixedlm(self, reml):
        import statsmodels.formula.api as smf

        world = simulate(np.random.default_rng(9), schools=25, size=(3, 25))
        world["female"] = np.random.default_rng(10).integers(0, 2, len(world))
        world["z"] = (world.prior_score - 480) / 60  # statsmodels' optimisers stop early on uncentred columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = smf.mixedlm("score ~ z + female", world, groups=world.school).fit(
                reml=reml, method=["powell"], xtol=1e-10, ftol=1e-12
            )
        moments = compute_moments(build_design(world, "score ~ z + female"))
        fit = fit_moments(moments, "REML" if reml else "ML")
        assert fit.tau2 == pytest.approx(float(wanted.cov_re.iloc[0, 0]), rel=MIXEDLM)
        assert fit.sigma2 == pytest.approx(wanted.scale, rel=MIXEDLM)
        np.testing.assert_allclose(fit.coefficients, wanted.fe_params, rtol=MIXEDLM)
        assert fit.loglik == pytest.approx(wanted.llf, abs=1e-4)
        assert fit.loglik >= wanted.llf - 1e-6


class TestDigits:
    @pytest.mark.parametrize("offset", [1e4, 1e6])
    def test_scores_far_from_zero(self, offset):
        X, y, school, moments = problem(4)
        far = problem(4, offset=offset)[3]
        a, b = fit_moments(moments, "REML"), fit_moments(far, "REML")
        # adding the offset itself rounds each score by offset x 1e-16
        assert b.tau2 == pytest.approx(a.tau2, rel=1e-9 * offset / 1e4)
        assert b.sigma2 == pytest.approx(a.sigma2, rel=1e-10 * offset / 1e4)
        assert b.coefficients[0] - offset == pytest.approx(a.coefficients[0], abs=1e-11 * offset)
        np.testing.assert_allclose(b.vcov, a.vcov, rtol=1e-7)

    def test_sizes_from_one_to_two_thousand(self):
        """Against a longer way round: the same likelihood with the one dense inverse that matters,
        school by school."""
        X, y, school, moments = problem(8, sizes=[1, 1, 2, 3, 40, 2000])
        fit = fit_moments(moments, "ML")
        logdet, quad, XtViX, XtViy = 0.0, 0.0, 0.0, 0.0
        for s in np.unique(school):
            rows = school == s
            n = rows.sum()
            V = fit.tau2 + fit.sigma2 * np.eye(n)
            W = np.linalg.solve(V, np.column_stack([X[rows], y[rows]]))
            logdet += np.linalg.slogdet(V)[1]
            XtViX, XtViy, quad = (XtViX + X[rows].T @ W[:, :3], XtViy + X[rows].T @ W[:, 3], quad + y[rows] @ W[:, 3])
        b = np.linalg.solve(XtViX, XtViy)
        np.testing.assert_allclose(fit.coefficients, b, rtol=1e-8)
        assert fit.loglik == pytest.approx(-0.5 * (len(y) * np.log(2 * np.pi) + logdet + quad - b @ XtViy), rel=1e-9)


class TestRefusals:
    def make(self, X, y, code, names=("Intercept", "prior_score", "ses")):
        return moments_from_arrays(X, y, make_cells(pd.Series(code).astype("str")), names[: X.shape[1]], "score")

    def test_more_coefficients_than_students(self):
        rng = np.random.default_rng(1)
        with pytest.raises(ModelError, match="4 students"):
            fit_moments(
                self.make(np.column_stack([np.ones(4), rng.normal(size=(4, 2))]), rng.normal(size=4), [0, 0, 1, 1])
            )

    def test_every_collinear_column_is_named_and_no_other(self):
        rng = np.random.default_rng(2)
        a, b, c = rng.normal(500, 50, (3, 60))
        X = np.column_stack([np.ones(60), a, b, c, a - 2 * b])
        with pytest.raises(ModelError) as said:
            fit_moments(self.make(X, rng.normal(size=60), np.arange(60) % 6, ("Intercept", "aa", "bb", "cc", "dd")))
        assert all(f"'{x}'" in str(said.value) for x in ("aa", "bb", "dd")) and "'cc'" not in str(said.value)

    def test_columns_collinear_with_the_intercept(self):
        rng = np.random.default_rng(3)
        d = (np.arange(60) % 2).astype(float)
        X = np.column_stack([np.ones(60), d, 1 - d])
        with pytest.raises(ModelError, match="prior_score.*ses"):
            fit_moments(self.make(X, rng.normal(size=60), np.arange(60) % 6))

    def test_a_constant_column_is_named(self):
        rng = np.random.default_rng(4)
        X = np.column_stack([np.ones(60), rng.normal(size=60), np.full(60, 0.1)])
        with pytest.raises(ModelError, match="'ses' is constant"):
            fit_moments(self.make(X, rng.normal(size=60), np.arange(60) % 6))

    def test_constant_without_intercept_is_an_intercept(self):
        rng = np.random.default_rng(4)
        fit = fit_moments(self.make(np.full((60, 1), 2.0), rng.normal(size=60) + 5, np.arange(60) % 6, ("constant",)))
        assert 2 * fit.coefficients[0] == pytest.approx(5, abs=1)

    def test_scores_constant_within_schools_leave_nothing_for_students(self):
        with pytest.raises(ModelError, match="within schools"):
            fit_moments(self.make(np.ones((30, 1)), np.repeat([3.0, 5.0, 9.0], 10), np.repeat([0, 1, 2], 10)))

    @pytest.mark.parametrize("method", ["ml", "reml", "MLE", ""])
    def test_other_methods(self, method):
        with pytest.raises(ModelError, match="'ML' or 'REML'"):
            fit_moments(problem(1)[3], method)
