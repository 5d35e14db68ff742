"""Benchmarks: every recipe of the reference, dense algebra for every error, statsmodels, coverage,
artefact, refusals."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import reference, simulate
from oracle import Dense, indicators
from scipy import stats

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import check_prior, fit_benchmark, population_mean_va
from valib.effects.relative import fit_relative
from valib.errors import BenchmarkError, ModelError, RecordsError, ValibError, ValibWarning

# Both sides are at optima that are exact to about 1e-10 in theta; differences are rounding.
FIXED = 1e-9  # relative to the largest entry
PREDICTED = 5e-9  # likewise; 3e-10 was seen
VARIANCE = 5e-9  # 5e-10 was seen
LOGLIK = 1e-8  # absolute; 2e-11 was seen
DENSE = 1e-7  # relative; dense inverses on the other side, and an intercept 480 points away from the data

YEARS = [2015, 2016, 2017, 2019, 2021, 2024]
DEFINITIONS = {"B_multi": (2015, 2016, 2017), "B_2019": (2019,)}


def relative_difference(value, wanted) -> float:
    wanted = np.asarray(wanted, dtype=float)
    return float(np.abs(np.asarray(value, dtype=float) - wanted).max() / np.abs(wanted).max())


def fit_quietly(*args, **kwargs):
    """A benchmark fit whose warnings (a focal cohort of the baseline, a prior that moved) are not the
    point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        return fit_benchmark(*args, **kwargs)


@pytest.fixture(scope="module")
def benchmarks(panel):
    """Every benchmark of the reference: least squares, and mixed with one effect a school over the
    pooled years."""
    out = {}
    for name, cohorts in DEFINITIONS.items():
        out[name, "ols"] = fit_baseline(panel, cohorts, estimator="ols")
        for method in ("ML", "REML"):
            out[name, method] = fit_baseline(panel, cohorts, groups="school", method=method)
    return out


@pytest.mark.parametrize("definition", DEFINITIONS)
class TestAgainstLme4:
    def test_least_squares_benchmark(self, benchmarks, definition):
        wanted, mine = reference("case5_sim")[definition]["lm"], benchmarks[definition, "ols"]
        assert mine.n_students == wanted["nobs"]
        assert relative_difference(mine.coefficients, list(wanted["coef"].values())) < FIXED
        assert relative_difference(mine.vcov_model, wanted["vcov"]["matrix"]) < FIXED

    @pytest.mark.parametrize("method", ["ML", "REML"])
    def test_mixed_benchmark(self, benchmarks, definition, method):
        wanted, mine = (reference("case5_sim")[definition][f"lmer_benchmark_{method}"], benchmarks[definition, method])
        assert relative_difference(mine.coefficients, list(wanted["fixef"].values())) < FIXED
        assert relative_difference(mine.vcov_model, wanted["vcov_fixef"]["matrix"]) < VARIANCE
        assert (mine.tau2, mine.sigma2) == pytest.approx((wanted["sigma2_b"], wanted["sigma2"]), rel=VARIANCE)
        assert (mine.n_students, mine.n_schools) == (wanted["nobs"], wanted["n_groups"])

    @pytest.mark.parametrize("year", YEARS)
    def test_the_recipe_of_the_question(self, panel, benchmarks, definition, year):
        """lm on the baseline; offsets and -1 + (1 | school) on the focal year, ML."""
        wanted = reference("case5_sim")[definition]["focal"][str(year)]["offset_only_ML"]
        fit = fit_quietly(panel, year, benchmarks[definition, "ols"], shift="absorbed")
        assert fit.loglik == pytest.approx(wanted["logLik"], abs=LOGLIK)
        assert (fit.tau2, fit.sigma2) == pytest.approx((wanted["sigma2_b"], wanted["sigma2"]), rel=VARIANCE)
        assert fit.shift is None and fit.shift_se is None
        mine = fit.school_effects.loc[wanted["ranef"]["group"]]
        assert len(mine) == len(fit.school_effects)
        assert list(mine.n) == wanted["ranef"]["n"]
        assert relative_difference(mine.effect, wanted["ranef"]["b"]) < PREDICTED
        assert relative_difference(mine.se_conditional**2, wanted["ranef"]["condvar"]) < VARIANCE
        assert fit.school_effects.effect.mean() == pytest.approx(wanted["ranef_mean"], abs=1e-6)
        z = stats.norm.ppf(0.975)
        assert relative_difference(mine.effect - z * mine.se_conditional, wanted["ranef"]["lower95"]) < PREDICTED

    @pytest.mark.parametrize("year", YEARS)
    def test_the_same_with_an_intercept(self, panel, benchmarks, definition, year):
        wanted = reference("case5_sim")[definition]["focal"][str(year)]["free_intercept_ML"]
        known = replace(
            benchmarks[definition, "ols"], vcov=0 * benchmarks[definition, "ols"].vcov, influence=None
        )  # lme4's offset is known
        fit = fit_quietly(panel, year, known)
        assert fit.loglik == pytest.approx(wanted["logLik"], abs=LOGLIK)
        assert (fit.tau2, fit.sigma2) == pytest.approx((wanted["sigma2_b"], wanted["sigma2"]), rel=VARIANCE)
        assert fit.shift == pytest.approx(wanted["shift"], abs=1e-7)
        assert fit.shift_se**2 == pytest.approx(wanted["vcov_fixef"]["matrix"][0][0], rel=VARIANCE)
        ranef = wanted["ranef"]
        mine = fit.school_effects.loc[ranef["group"]]
        assert relative_difference(mine.effect - fit.shift, ranef["b"]) < PREDICTED
        assert relative_difference(mine.shrinkage, ranef["lambda"]) < VARIANCE
        assert relative_difference(mine.se_conditional**2, ranef["condvar"]) < VARIANCE
        assert relative_difference(mine.se_diagnostic**2, ranef["diagnostic_var"]) < VARIANCE
        # lme4's error is that of u alone: own + lambda^2 Var(delta); VA = delta + u has own + (1 - lambda)^2
        # Var(delta)
        own, lam = np.asarray(ranef["condvar"]), np.asarray(ranef["lambda"])
        shift_var = (np.asarray(ranef["pev"]) - own) / lam**2
        assert relative_difference(mine.se_comparative**2, own + (1 - lam) ** 2 * shift_var) < VARIANCE

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("year", YEARS)
    def test_the_recipe_of_the_answer(self, panel, benchmarks, definition, year, method):
        """Fixed effects and both variances from the baseline's mixed model; BLUP by formula."""
        wanted = reference("case5_sim")[definition]["focal"][str(year)][f"fixed_all_from_benchmark_{method}"]
        fit = fit_quietly(
            panel, year, benchmarks[definition, method], shift="absorbed", variances="baseline", method=method
        )
        mine = fit.school_effects.loc[wanted["group"]]
        assert len(mine) == len(fit.school_effects) and list(mine.n) == wanted["n"]
        assert relative_difference(mine.shrinkage, wanted["shrinkage"]) < VARIANCE
        assert relative_difference(mine.effect, wanted["b"]) < PREDICTED
        assert relative_difference(mine.se_conditional**2, wanted["condvar"]) < VARIANCE
        assert (fit.tau2, fit.sigma2) == (benchmarks[definition, method].tau2, benchmarks[definition, method].sigma2)

    @pytest.mark.parametrize("year", YEARS)
    def test_a_cohort_of_the_baseline_is_warned_about_and_no_other(self, panel, benchmarks, definition, year):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fit_benchmark(panel, year, benchmarks[definition, "ols"])
        told = [str(w.message) for w in said if w.category is ValibWarning and "part of the baseline" in str(w.message)]
        assert len(told) == (year in DEFINITIONS[definition])


def focal_matrices(frame, cohort, fit) -> tuple[Dense, np.ndarray]:
    rows = frame[frame.cohort == cohort]
    labels, Z = indicators(rows.school)
    return Dense(
        np.column_stack([np.ones(len(rows)), rows.prior_score]), rows.score.to_numpy(), Z, fit.tau2, fit.sigma2
    ), labels


class TestAgainstDenseAlgebra:
    """Var of VA from the joint covariance of (u, e, b_B - b, equating), with no formula of ours in
    between."""

    @pytest.mark.parametrize("equating_se", [0.0, 3.0])
    @pytest.mark.parametrize("variances", ["focal", "baseline"])
    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    @pytest.mark.parametrize("estimator", ["mixed", "ols", "within"])
    def test_value_added_and_its_whole_error_covariance(self, small, estimator, shift, variances, equating_se):
        benchmark = replace(fit_baseline(small, [2015, 2016], estimator=estimator), influence=None)
        fit = fit_benchmark(small, 2021, benchmark, shift, variances, equating_se=equating_se, intervals="plugin")
        model, labels = focal_matrices(small, 2021, fit)
        assert list(fit.school_effects.index) == list(labels) and "S0002" in labels and "S0004" not in labels
        va, covariance = model.benchmark_va(
            benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy(), shift, equating_se**2
        )
        np.testing.assert_allclose(fit.school_effects.effect, va, rtol=DENSE, atol=1e-7)
        np.testing.assert_allclose(fit.school_effects.se_comparative**2, np.diag(covariance), rtol=DENSE)
        whole = np.diag(fit.school_effects.se_conditional**2) + fit.common @ fit.common.T
        np.testing.assert_allclose(whole, covariance, rtol=1e-6, atol=1e-7 * np.abs(covariance).max())
        z = stats.norm.ppf(0.975)
        np.testing.assert_allclose(
            fit.school_effects.upper - fit.school_effects.lower, 2 * z * fit.school_effects.se_comparative, rtol=1e-12
        )
        if shift == "estimated":
            delta, variance = model.shift(benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy(), equating_se**2)
            assert fit.shift == pytest.approx(delta, rel=DENSE)
            assert fit.shift_se**2 == pytest.approx(variance, rel=DENSE)

    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    def test_sampling_variance_of_the_predicted_effect(self, small, shift):
        """Var(u_hat) over focal students, benchmark and (absorbed) equating, by the linear map that
        gives u_hat."""
        benchmark = fit_baseline(small, [2015, 2016])
        fit = fit_benchmark(small, 2021, benchmark, shift, equating_se=2.0)
        model, _ = focal_matrices(small, 2021, fit)
        K = model._map(shift)
        if shift == "estimated":
            one = np.ones((len(model.y), 1))
            K = K - np.ones((len(K), 1)) @ np.linalg.inv(one.T @ model.Vi @ one) @ one.T @ model.Vi
        KX, K1 = K @ model.X, K.sum(axis=1)
        wanted = K @ model.V @ K.T + KX @ benchmark.vcov.to_numpy() @ KX.T + 4.0 * np.outer(K1, K1)
        np.testing.assert_allclose(fit.school_effects.se_diagnostic**2, np.diag(wanted), rtol=1e-6)

    @pytest.mark.parametrize("method", ["ML", "REML"])
    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    def test_focal_variances_maximise_the_dense_likelihood_of_the_residuals(self, small, shift, method):
        benchmark = fit_baseline(small, [2015, 2016])
        fit = fit_benchmark(small, 2021, benchmark, shift, method=method)
        model, _ = focal_matrices(small, 2021, fit)
        residual = model.y - model.X @ benchmark.coefficients.to_numpy()
        ones = np.ones((len(residual), 1 if shift == "estimated" else 0))
        alone = Dense(ones, residual, model.Z, fit.tau2, fit.sigma2)
        step = np.linalg.solve(alone.information(method), alone.score(method))
        np.testing.assert_allclose(step / [fit.tau2, fit.sigma2], 0, atol=1e-7)
        assert fit.loglik == pytest.approx(alone.loglik(method), rel=1e-10)
        np.testing.assert_allclose(
            [fit.tau2_se, fit.sigma2_se], np.sqrt(np.diag(np.linalg.inv(alone.information(method)))), rtol=1e-6
        )

    def test_carried_over_variances_are_not_refitted(self, small):
        benchmark = fit_baseline(small, [2015, 2016])
        fit = fit_benchmark(small, 2021, benchmark, variances="baseline")
        model, _ = focal_matrices(small, 2021, fit)
        residual = Dense(
            np.ones((len(model.y), 1)),
            model.y - model.X @ benchmark.coefficients.to_numpy(),
            model.Z,
            fit.tau2,
            fit.sigma2,
        )
        assert (fit.tau2, fit.sigma2) == (benchmark.tau2, benchmark.sigma2)
        assert np.isnan(fit.tau2_se) and fit.loglik == pytest.approx(residual.loglik("ML"), rel=1e-10)

    def test_population_mean_added(self, small):
        """u_hat + x'(b_t - b_B) and its error as one linear map of the focal students, and the
        benchmark's error."""
        benchmark, relative = fit_baseline(small, [2015, 2016]), fit_relative(small, 2021)
        table = population_mean_va(relative, benchmark, equating_se=1.5, intervals="plugin")
        model, labels = focal_matrices(small, 2021, relative)
        x = np.array([1.0, small[small.cohort < 2021].prior_score.mean()])
        B = model.vcov @ model.X.T @ model.Vi
        K = model.tau2 * model.Z.T @ model.P + np.ones((len(labels), 1)) @ (x @ B)[None]
        KZ = K @ model.Z - np.eye(len(labels))
        covariance = model.tau2 * KZ @ KZ.T + model.sigma2 * K @ K.T
        variance = np.diag(covariance) + x @ benchmark.vcov.to_numpy() @ x + 1.5**2
        np.testing.assert_allclose(
            table.effect, K @ model.y - x @ benchmark.coefficients.to_numpy(), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(table.se**2, variance, rtol=1e-6)

    def test_at_one_profile_population_mean_differs_between_schools_as_relative_effects_do(self, small):
        benchmark, relative = fit_baseline(small, [2015, 2016]), fit_relative(small, 2021)
        table = population_mean_va(relative, benchmark, pd.Series({"Intercept": 1.0, "prior_score": 500.0}))
        move = table.effect - relative.school_effects.effect
        wanted = (relative.fixed_effects - benchmark.coefficients) @ [1.0, 500.0]
        np.testing.assert_allclose(move, wanted, rtol=1e-10)


class TestShiftAlgebra:
    def test_a_constant_added_to_the_focal_scores_is_the_shift(self, small):
        """The estimated shift takes it up whole; relative effects and all errors stay."""
        benchmark = fit_baseline(small, [2015, 2016])
        moved = small.assign(score=small.score + 25.0 * (small.cohort == 2021))
        a, b = (fit_benchmark(f, 2021, benchmark) for f in (small, moved))
        assert b.shift - a.shift == pytest.approx(25.0, abs=1e-8)
        np.testing.assert_allclose(b.school_effects.effect - a.school_effects.effect, 25.0, atol=1e-7)
        np.testing.assert_allclose(b.school_effects.se_comparative, a.school_effects.se_comparative, rtol=1e-7)

    def test_absorbing_a_shift_inflates_the_school_variance_and_shrinks_the_mean(self):
        """tau2 tends to tau2 + delta^2, and the mean effect understates the shift."""
        rng = np.random.default_rng(5)
        frame = simulate(
            rng, schools=300, size=(10, 30), cohorts=(2015, 2016, 2024), tau=15, sigma=45, shift={2024: -20.0}
        )
        benchmark = fit_baseline(frame, [2015, 2016])
        absorbed, estimated = (fit_benchmark(frame, 2024, benchmark, s) for s in ("absorbed", "estimated"))
        carried = fit_benchmark(frame, 2024, benchmark, "absorbed", "baseline")
        assert absorbed.tau2 == pytest.approx(estimated.tau2 + estimated.shift**2, rel=0.05)
        means = [f.school_effects.effect.mean() for f in (estimated, absorbed, carried)]
        assert means[0] < means[1] < means[2] < 0
        assert estimated.shift == pytest.approx(-20, abs=3 * estimated.shift_se)

    def test_with_the_relative_model_s_own_coefficients_nothing_is_left_of_a_shift(self, small):
        relative = fit_relative(small, 2021)
        same = replace(fit_baseline(small, [2015, 2016]), coefficients=relative.fixed_effects)
        fit = fit_benchmark(small, 2021, same)
        assert fit.shift == pytest.approx(0, abs=1e-7)
        assert (fit.tau2, fit.sigma2) == pytest.approx((relative.tau2, relative.sigma2), rel=1e-7)
        np.testing.assert_allclose(fit.school_effects.effect, relative.school_effects.effect, atol=1e-6)

    def test_equating_error_moves_every_interval_and_no_estimate(self, small):
        benchmark = fit_baseline(small, [2015, 2016])
        a, b = (fit_benchmark(small, 2021, benchmark, equating_se=s) for s in (0.0, 4.0))
        np.testing.assert_array_equal(a.school_effects.effect, b.school_effects.effect)
        np.testing.assert_allclose(
            b.school_effects.se_comparative**2 - a.school_effects.se_comparative**2, 16.0, rtol=1e-9
        )
        assert b.shift_se**2 - a.shift_se**2 == pytest.approx(16.0, rel=1e-9)
        pd.testing.assert_frame_equal(a.ranks(1, 500), b.ranks(1, 500), check_exact=False, atol=0.6)

    def test_no_school_variance_in_the_focal_cohort(self, small):
        """theta = 0: every school has the shift as its value added, with the shift's error."""
        benchmark = replace(fit_baseline(small, [2015, 2016]), influence=None)
        rng = np.random.default_rng(1)
        rows = small[small.cohort == 2021].copy()
        spread = np.concatenate([rng.permutation(np.linspace(-30, 30, n)) for n in rows.groupby("school").size()])
        rows = rows.sort_values("school")
        rows["score"] = (
            benchmark.coefficients["Intercept"] - 9 + benchmark.coefficients["prior_score"] * rows.prior_score + spread
        )
        fit = fit_benchmark(rows, 2021, benchmark)
        assert fit.singular and fit.tau2 == 0 and fit.shift == pytest.approx(-9, abs=1e-8)
        np.testing.assert_allclose(fit.school_effects.effect, fit.shift, rtol=1e-12)
        np.testing.assert_allclose(fit.school_effects.se_comparative, fit.shift_se, rtol=1e-10)
        assert np.isfinite(fit.ranks(1, 100).to_numpy(dtype=float)).all()
        carried = fit_benchmark(small, 2021, replace(benchmark, tau2=0.0), variances="baseline")
        assert carried.singular and carried.tau2 == 0
        np.testing.assert_allclose(carried.school_effects.effect, carried.shift, rtol=1e-12)
        absorbed = fit_benchmark(rows.assign(score=rows.score + 9), 2021, benchmark, "absorbed")
        assert absorbed.singular and (absorbed.school_effects.effect == 0).all()


@pytest.fixture(scope="module")
def replicates():
    """120 worlds of three baseline cohorts and a focal one, school effects independent over cohorts,
    shift -14."""
    rng = np.random.default_rng(20250512)
    out = []
    for _ in range(120):
        frame = simulate(rng, schools=40, size=(8, 40), cohorts=(2015, 2016, 2017, 2024), shift={2024: -14.0})
        benchmark = fit_baseline(frame, [2015, 2016, 2017], method="REML")
        fit = fit_quietly(frame, 2024, benchmark, method="REML")
        truth = -14.0 + frame[frame.cohort == 2024].groupby("school").u.first().loc[fit.school_effects.index]
        out.append((benchmark, fit, truth))
    return out


class TestRecovery:
    """Seeded; the bands are about three Monte Carlo standard errors."""

    def test_the_shift_is_unbiased_and_its_error_right(self, replicates):
        shift = np.array([f.shift for _, f, _ in replicates])
        assert abs(shift.mean() + 14) < 3 * shift.std() / np.sqrt(len(shift))
        assert np.mean([f.shift_se for _, f, _ in replicates]) == pytest.approx(
            shift.std(ddof=1), rel=3 / np.sqrt(2 * len(shift))
        )

    def test_the_interval_of_the_shift_covers(self, replicates):
        inside = [f.shift_interval[0] <= -14 <= f.shift_interval[1] for _, f, _ in replicates]
        assert 0.95 - 3 * np.sqrt(0.95 * 0.05 / 120) <= np.mean(inside)

    def test_intervals_of_benchmark_value_added_cover(self, replicates):
        inside = np.mean(
            [((f.school_effects.lower <= t) & (t <= f.school_effects.upper)).mean() for _, f, t in replicates]
        )
        assert inside == pytest.approx(0.95, abs=0.015)

    def test_the_conditional_variance_alone_would_not(self, replicates):
        """Leaving the common errors out costs coverage; how much depends on the sizes of schools and
        cohorts."""
        z = stats.norm.ppf(0.975)
        share = [
            (np.abs(f.school_effects.effect - t) <= z * f.school_effects.se_conditional).mean()
            for _, f, t in replicates
        ]
        full = [((f.school_effects.lower <= t) & (t <= f.school_effects.upper)).mean() for _, f, t in replicates]
        assert np.mean(share) < np.mean(full) - 0.005

    def test_coefficients_and_their_clustered_errors(self, replicates):
        slope = np.array([b.coefficients["prior_score"] for b, _, _ in replicates])
        assert abs(slope.mean() - 0.8) < 3 * slope.std() / np.sqrt(len(slope))
        assert np.mean([b.se["prior_score"] for b, _, _ in replicates]) == pytest.approx(slope.std(ddof=1), rel=0.2)

    def test_baseline_variances(self, replicates):
        for name, truth in (("tau2", 225.0), ("sigma2", 2025.0)):
            values = np.array([getattr(b, name) for b, _, _ in replicates])
            assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values)), name


class TestComparability:
    def test_prior_check_numbers(self, small):
        benchmark = fit_baseline(small, [2015, 2016])
        moved = small.assign(
            prior_score=small.prior_score.where(small.cohort < 2021, 500 + 1.3 * (small.prior_score - 480))
        )
        old, new = moved[moved.cohort < 2021].prior_score, moved[moved.cohort == 2021].prior_score
        check = check_prior(moved, 2021, benchmark)
        assert check.smd == pytest.approx((new.mean() - old.mean()) / old.std(), rel=1e-10)
        assert check.variance_ratio == pytest.approx(new.var() / old.var(), rel=1e-10)
        assert not check.ok and "prior_score" in check.sentence and "2021" in check.sentence
        with pytest.warns(ValibWarning, match="prior_score"):
            fit_benchmark(moved, 2021, benchmark)

    def test_a_prior_that_stays_does_not_warn(self):
        frame = simulate(np.random.default_rng(1), schools=60, cohorts=(2015, 2016, 2021))
        benchmark = fit_baseline(frame, [2015, 2016])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ValibWarning)
            fit_benchmark(frame, 2021, benchmark)
        assert check_prior(frame, 2021, benchmark).ok

    @pytest.mark.parametrize(
        "scale",
        [
            lambda s: (s - s.mean()) / s.std(),
            lambda s: 500 + 100 * (s - s.mean()) / s.std(),
            lambda s: (500 + 100 * (s - s.mean()) / s.std()).round(1),
        ],
    )
    def test_scores_standardised_within_cohort_are_refused(self, panel, scale):
        frame = panel.assign(score=panel.groupby("cohort").score.transform(scale))
        with pytest.raises(BenchmarkError, match="standardised within each cohort"):
            fit_baseline(frame, [2015, 2016, 2017])
        with pytest.raises(BenchmarkError, match="standardised within each cohort"):
            fit_benchmark(frame, 2024, fit_baseline(frame, [2015]))

    def test_scores_standardised_once_over_all_cohorts_are_not(self, panel):
        frame = panel.assign(score=(panel.score - panel.score.mean()) / panel.score.std())
        benchmark = fit_baseline(frame, [2015, 2016, 2017])
        assert np.isfinite(fit_quietly(frame, 2024, benchmark).shift)


class TestRefusals:
    def test_an_unseen_level_names_column_and_level(self, small):
        rng = np.random.default_rng(4)
        frame = small.assign(region=rng.choice(["north", "south"], len(small)))
        benchmark = fit_baseline(frame, [2015, 2016], "score ~ prior_score + region")
        frame.loc[frame.index[frame.cohort == 2021][3], "region"] = "east"
        with pytest.raises(ValibError, match="'region'.*'east'"):
            fit_benchmark(frame, 2021, benchmark)

    def test_an_absent_column_is_named(self, small):
        benchmark = fit_baseline(small, [2015, 2016], "score ~ prior_score + female")
        with pytest.raises(ValibError, match="'female'"):
            fit_benchmark(small.drop(columns="female"), 2021, benchmark)

    @pytest.mark.parametrize(
        ("what", "options"),
        [
            ("shift", {"shift": "free"}),
            ("variances", {"variances": "both"}),
            ("equating", {"equating_se": -1.0}),
            ("equating", {"equating_se": np.nan}),
            ("REML", {"method": "MAP"}),
        ],
    )
    def test_other_options_of_a_fit(self, small, what, options):
        with pytest.raises(ValibError, match=what):
            fit_benchmark(small, 2021, fit_baseline(small, [2015, 2016]), **options)

    @pytest.mark.parametrize(
        ("what", "options"),
        [
            ("estimator", {"estimator": "gee"}),
            ("groups", {"groups": "class"}),
            ("intercept", {"formula": "score ~ 0 + prior_score"}),
            ("REML", {"method": "MAP"}),
        ],
    )
    def test_other_options_of_a_baseline(self, small, what, options):
        with pytest.raises(ValibError, match=what):
            fit_baseline(small, [2015, 2016], **options)

    def test_an_absent_cohort_is_named(self, small):
        benchmark = fit_baseline(small, [2015, 2016])
        with pytest.raises(RecordsError, match="2033"):
            fit_benchmark(small, 2033, benchmark)
        with pytest.raises(RecordsError, match="2033"):
            fit_baseline(small, [2015, 2033])
        with pytest.raises(RecordsError):
            fit_baseline(small, [])

    def test_within_names_what_does_not_vary_within_schools(self, small):
        with pytest.raises(ModelError, match="school_mean"):
            fit_baseline(small, [2015, 2016], "score ~ prior_score + school_mean(prior_score)", estimator="within")

    def test_an_interaction_with_the_school_mean_varies_within_schools(self, small):
        benchmark = fit_baseline(
            small, [2015, 2016], "score ~ prior_score + female:school_mean(prior_score)", estimator="within"
        )
        assert np.isfinite(benchmark.se).all()

    def test_a_profile_that_lacks_a_column(self, small):
        with pytest.raises(BenchmarkError, match="prior_score"):
            population_mean_va(
                fit_relative(small, 2021), fit_baseline(small, [2015, 2016]), pd.Series({"Intercept": 1.0})
            )

    def test_models_of_different_formulas_are_not_compared(self, small):
        with pytest.raises(BenchmarkError, match="benchmark.s formula"):
            population_mean_va(
                fit_relative(small, 2021, "score ~ prior_score + female"), fit_baseline(small, [2015, 2016])
            )

    def test_a_large_offset_of_the_scales_costs_no_accuracy(self, small):
        far = small.assign(score=small.score + 1e6, prior_score=small.prior_score + 1e6)
        a, b = (fit_benchmark(f, 2021, fit_baseline(f, [2015, 2016])) for f in (small, far))
        assert b.shift == pytest.approx(a.shift, abs=1e-5)
        np.testing.assert_allclose(b.school_effects.effect, a.school_effects.effect, atol=1e-5)
        np.testing.assert_allclose(b.school_effects.se_comparative, a.school_effects.se_comparative, rtol=1e-4)


def test_coefficients_of_columns_with_other_centres_are_not_compared(small):
    benchmark = fit_baseline(small, [2015, 2016], "score ~ center(prior_score)")
    with pytest.raises(BenchmarkError, match="benchmark.state"):
        population_mean_va(fit_relative(small, 2021, "score ~ center(prior_score)"), benchmark)
    centred = population_mean_va(fit_relative(small, 2021, benchmark.state), benchmark)
    plain = population_mean_va(fit_relative(small, 2021), fit_baseline(small, [2015, 2016]))
    np.testing.assert_allclose(centred, plain, rtol=1e-7)
