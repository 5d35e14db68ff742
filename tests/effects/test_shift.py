"""The system shift taken apart: against the covariance algebra of all random parts, and by simulation."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from oracle import Dense, indicators
from scipy import stats

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark, population_mean_va
from valib.effects.relative import fit_relative
from valib.effects.shift import coefficient_loadings, relative_to_school, shift_parts
from valib.effects.shift_profile import prior_sensitivity, shift_at, shift_over_prior, split_shift
from valib.errors import BenchmarkError, ModelError

EXACT = 1e-9  # double precision through the inverse of a matrix of some hundred rows
BASELINE = (2015, 2016)

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")


@pytest.fixture(scope="module")
def benchmark(small):
    return fit_baseline(small, BASELINE)


@pytest.fixture(scope="module")
def fit(small, benchmark):
    return fit_benchmark(small, 2021, benchmark, equating_se=1.5)


@pytest.fixture(scope="module")
def relative(small):
    return fit_relative(small, 2021)


def dense(frame: pd.DataFrame, cell, tau2: float, sigma2: float) -> tuple[np.ndarray, Dense]:
    X = np.column_stack([np.ones(len(frame)), frame.prior_score])
    labels, Z = indicators(cell)
    return labels, Dense(X, frame.score.to_numpy(), Z, tau2, sigma2)


def focal(small, fit) -> tuple[np.ndarray, Dense]:
    frame = small[small.cohort == 2021]
    return dense(frame, frame.school, fit.tau2, fit.sigma2)


class TestShiftParts:
    @pytest.mark.parametrize("options", [{}, {"variances": "baseline"}, {"method": "REML"}])
    def test_each_part_is_its_own_variance_by_dense_algebra(self, small, benchmark, options):
        fit = fit_benchmark(small, 2021, benchmark, equating_se=1.5, **options)
        row = shift_parts([fit], benchmark).iloc[0]
        b, V = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
        model = focal(small, fit)[1]
        shift, schools = model.shift(b, 0 * V)
        assert row["shift"] == pytest.approx(shift, rel=EXACT)
        assert row["se_schools"] ** 2 == pytest.approx(schools, rel=EXACT)
        assert row["se_coefficients"] ** 2 == pytest.approx(model.shift(b, V)[1] - schools, rel=1e-8)
        assert row["se_scale"] == pytest.approx(1.5, rel=1e-8)
        assert row["se_cautious"] ** 2 == pytest.approx(model.shift(b, V, 1.5**2)[1], rel=EXACT)

    def test_the_parts_add_up_and_the_rest_is_the_fits(self, small, benchmark, fit):
        later = fit_benchmark(small.assign(cohort=small.cohort.replace(2021, 2024)), 2024, benchmark)
        table = shift_parts([fit, later], benchmark)
        parts = table[["se_schools", "se_coefficients", "se_scale"]] ** 2
        np.testing.assert_allclose(parts.sum(axis=1), table["se_cautious"] ** 2, rtol=EXACT)
        assert table["cohort"].tolist() == [2021, 2024]
        assert table["se_scale"][1] == pytest.approx(0, abs=1e-6)
        assert table.loc[0, ["lower", "upper"]].tolist() == list(fit.shift_interval)
        sd = small[small.cohort == 2021].score.std()
        np.testing.assert_allclose(table["effect_size"], table["shift"] / sd)

    def test_what_has_no_parts_is_refused(self, small, benchmark, fit, relative):
        absorbed = fit_benchmark(small, 2021, benchmark, shift="absorbed")
        with pytest.raises(BenchmarkError, match="2021 was absorbed"):
            shift_parts([fit, absorbed], benchmark)
        with pytest.raises(BenchmarkError, match="2021 is not a fit against this benchmark"):
            shift_parts([fit], fit_baseline(small, [2015]))
        with pytest.raises(BenchmarkError, match="2021 is not a fit against this benchmark"):
            shift_parts([relative], benchmark)


class TestShiftOverTheProfile:
    def test_difference_and_variance_by_dense_algebra(self, small, benchmark, relative):
        model = focal(small, relative)[1]
        x = np.array([[1.0, 430.0], [1.0, 520.0]])
        table = shift_at(relative, benchmark, x, equating_se=2.0)
        np.testing.assert_allclose(table["shift"], x @ (model.b - benchmark.coefficients), rtol=1e-7)
        V = model.vcov + benchmark.vcov.to_numpy()
        np.testing.assert_allclose(table["se"] ** 2, np.diag(x @ V @ x.T) + 4.0, rtol=1e-7)
        t = stats.t.ppf(0.975, relative.n_schools - 1)
        np.testing.assert_allclose(table["upper"] - table["shift"], t * table["se"])

    def test_level_and_slope_add_up_to_the_total(self, small, benchmark, relative):
        parts = split_shift(relative, benchmark, equating_se=2.0)["shift"]
        assert parts["level"] + parts["slope"] == pytest.approx(parts["total"], abs=1e-10)
        mean = small[small.cohort == 2021].prior_score.mean()
        apart = mean - small[small.cohort < 2021].prior_score.mean()
        turned = relative.fixed_effects["prior_score"] - benchmark.coefficients["prior_score"]
        assert parts["slope"] == pytest.approx(apart * turned, rel=1e-8)
        expected = shift_at(relative, benchmark, [1.0, mean], 2.0).drop(columns="error").iloc[0].tolist()
        total = split_shift(relative, benchmark, 2.0).drop(columns="error").loc["total"]
        assert total.tolist() == pytest.approx(expected, rel=1e-9)

    def test_the_level_is_what_the_population_mean_adds_to_relative_va(self, benchmark, relative):
        moved = population_mean_va(relative, benchmark)["effect"] - relative.school_effects["effect"]
        np.testing.assert_allclose(moved, split_shift(relative, benchmark).loc["level", "shift"], rtol=1e-8)

    def test_the_scale_error_enters_the_level_and_not_the_slope(self, benchmark, relative):
        without, given = split_shift(relative, benchmark)["se"], split_shift(relative, benchmark, 3.0)["se"]
        np.testing.assert_allclose(given**2 - without**2, [9.0, 0.0, 9.0], atol=1e-9)

    def test_another_unit_of_the_prior_changes_nothing(self, small, benchmark, relative):
        moved = small.assign(prior_score=(small.prior_score - 480) / 60)
        again = split_shift(fit_relative(moved, 2021), fit_baseline(moved, BASELINE))
        again, wanted = (table.drop(columns="error") for table in (again, split_shift(relative, benchmark)))
        np.testing.assert_allclose(again, wanted, rtol=1e-6, atol=1e-6)

    def test_the_curve_passes_through_the_level_with_the_difference_of_slopes(self, small, benchmark, relative):
        mean = float(benchmark.column_means["prior_score"])
        curve = shift_over_prior(relative, benchmark, [mean, mean + 10], equating_se=1.0)
        assert curve["prior"].tolist() == [mean, mean + 10]
        level = split_shift(relative, benchmark, 1.0).drop(columns="error").loc["level"]
        np.testing.assert_allclose(curve.loc[0, level.index].astype(float), level.astype(float), rtol=1e-9)
        turned = relative.fixed_effects["prior_score"] - benchmark.coefficients["prior_score"]
        assert np.diff(curve["shift"])[0] == pytest.approx(10 * turned, rel=1e-7)

    def test_other_covariates_stay_at_their_baseline_means(self, small):
        formula = "score ~ female + prior_score + school_mean(prior_score)"
        benchmark, relative = fit_baseline(small, BASELINE, formula), fit_relative(small, 2021, formula)
        row = benchmark.column_means.copy()
        row["prior_score"] = 555.0
        expected = shift_at(relative, benchmark, row)
        ours = shift_over_prior(relative, benchmark, np.array([555.0]))
        pd.testing.assert_frame_equal(ours.drop(columns="prior"), expected)

    def test_a_prior_that_is_not_one_line_is_refused(self, small):
        for formula in ("score ~ prior_score + I(prior_score ** 2)", "score ~ prior_score * female", "score ~ female"):
            fits = fit_relative(small, 2021, formula), fit_baseline(small, BASELINE, formula)
            with pytest.raises(ModelError, match="as one linear column"):
                shift_over_prior(*fits, np.array([500.0]))

    def test_a_covariate_of_a_similar_name_is_no_obstacle(self, small):
        """prior_score_maths is another column, not a transform of prior_score."""
        rng = np.random.default_rng(1)
        data = small.assign(prior_score_maths=small.prior_score + rng.normal(0, 30, len(small)))
        formula = "score ~ prior_score + prior_score_maths"
        benchmark, relative = fit_baseline(data, BASELINE, formula), fit_relative(data, 2021, formula)
        curve = shift_over_prior(relative, benchmark, np.array([0.0, 1.0]))
        turned = relative.fixed_effects["prior_score"] - benchmark.coefficients["prior_score"]
        assert np.diff(curve["shift"])[0] == pytest.approx(turned, rel=1e-6)

    def test_it_needs_the_focal_cohorts_own_coefficients(self, small, benchmark, fit):
        for other in (fit, fit_relative(small, 2021, "score ~ prior_score + female")):
            for call in (
                lambda r: split_shift(r, benchmark),
                lambda r: shift_at(r, benchmark, [1.0, 0.0]),
                lambda r: shift_over_prior(r, benchmark, np.array([0.0])),
            ):
                with pytest.raises(BenchmarkError, match="relative model with the benchmark's formula"):
                    call(other)

    def test_a_singular_relative_fit_has_a_shift(self):
        """No school variance in the focal cohort: least squares, and its errors."""
        rng = np.random.default_rng(5)
        data = simulate(rng, schools=10, cohorts=(2015, 2021), tau=15)
        later = data.cohort == 2021
        x = data.prior_score[later]
        noise = pd.Series(rng.normal(0, 40, later.sum()), index=x.index)
        data.loc[later, "score"] = 100 + 0.8 * x + noise - noise.groupby(data.school[later]).transform("mean")
        benchmark, relative = fit_baseline(data, [2015]), fit_relative(data, 2021)
        assert relative.singular
        X = np.column_stack([np.ones(later.sum()), x])
        b = np.linalg.lstsq(X, data.score[later], rcond=None)[0]
        at = shift_at(relative, benchmark, [1.0, 480.0])
        assert at["shift"][0] == pytest.approx(np.array([1, 480]) @ (b - benchmark.coefficients), rel=1e-7)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            part = shift_parts([fit_benchmark(data, 2021, benchmark)], benchmark).iloc[0]
        assert part["se_schools"] > 0


class TestRelativeToSchool:
    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    @pytest.mark.parametrize("estimator", ["mixed", "ols"])
    def test_effect_and_error_by_the_covariances_of_all_random_parts(self, small, shift, estimator):
        """The error as a linear map of (u, e) of the baseline and of the focal cohort, school cohorts independent.

        With the benchmark's Var(b_B) set to that of its own linear estimator under this model, the formula is exact
        for GLS; for OLS the prediction error of the named school is correlated with b_B, so that one is compared with
        b_B from other students (an independent copy).
        """
        frame = small[small.cohort < 2021]
        benchmark = fit_baseline(small, BASELINE, estimator=estimator)
        labels, base = dense(frame, frame.school + frame.cohort.astype(str), benchmark.tau2, benchmark.sigma2)
        hat = base.vcov @ base.X.T @ base.Vi if estimator == "mixed" else np.linalg.pinv(base.X)
        V = hat @ base.V @ hat.T
        vcov = pd.DataFrame(V, index=benchmark.vcov.index, columns=benchmark.vcov.index)
        benchmark = replace(benchmark, vcov=vcov, influence=None)
        fit = fit_benchmark(small, 2021, benchmark, shift=shift, equating_se=1.2)
        table = relative_to_school(small, fit, benchmark, "S0003", 2016)
        schools, model = focal(small, fit)
        b = benchmark.coefficients.to_numpy()
        own, error = model.benchmark_va(b, 0 * V, shift, 1.2**2)
        k = labels.tolist().index("S00032016")
        K = base.tau2 * base.Z.T[k] @ base.Vi
        np.testing.assert_allclose(table["effect"], own - K @ (base.y - base.X @ b), rtol=1e-7, atol=1e-7)
        D = model._map(shift) @ model.X - K @ base.X  # loadings on b_hat - b, up to sign
        gap = K @ base.Z - np.eye(len(labels))[k]  # known-b prediction error on u, K on e
        var = np.diag(error) + base.tau2 * gap @ gap + base.sigma2 * K @ K + np.diag(D @ V @ D.T)
        if estimator == "mixed":  # the cross term, written out: zero
            cross = base.tau2 * gap @ (hat @ base.Z).T + base.sigma2 * K @ hat.T
            var = var + 2 * D @ cross
        np.testing.assert_allclose(table["se"] ** 2, var, rtol=1e-7)
        assert table.index.tolist() == schools.tolist()
        t = stats.t.ppf(0.975, fit.n_schools - 1)
        np.testing.assert_allclose(table["upper"] - table["effect"], t * table["se"])

    def test_loadings_are_the_derivatives_of_the_effects(self, small, benchmark):
        for shift in ("estimated", "absorbed"):
            fit = fit_benchmark(small, 2021, benchmark, shift=shift, variances="baseline")
            for name, step in (("Intercept", 1.0), ("prior_score", 0.01)):
                moved = benchmark.coefficients.copy()
                moved[name] += step
                again = fit_benchmark(
                    small, 2021, replace(benchmark, coefficients=moved), shift=shift, variances="baseline"
                )
                change = (fit.school_effects["effect"] - again.school_effects["effect"]) / step
                at = benchmark.coefficients.index.get_loc(name)
                np.testing.assert_allclose(change, coefficient_loadings(fit)[:, at], rtol=1e-7)

    def test_what_is_not_there_is_named(self, small, benchmark, fit):
        with pytest.raises(BenchmarkError, match=r"Cohort 2021 is not in the baseline \[2015, 2016\]"):
            relative_to_school(small, fit, benchmark, "S0003", 2021)
        with pytest.raises(BenchmarkError, match="School 'S0002' has no students in cohort 2016"):
            relative_to_school(small, fit, benchmark, "S0002", 2016)
        with pytest.raises(BenchmarkError, match="not a fit against this benchmark"):
            relative_to_school(small, fit, fit_baseline(small, [2016]), "S0003", 2016)


class TestPriorSensitivity:
    def test_an_easier_prior_test_moves_the_shift_by_exactly_that(self, small, benchmark, fit):
        table = prior_sensitivity(fit, benchmark, mean_changes=[5.0, -10.0])
        for d, row in zip((5.0, -10.0), table.itertuples(), strict=True):
            moved = small.assign(prior_score=small.prior_score + d * (small.cohort == 2021))
            again = fit_benchmark(moved, 2021, benchmark)
            assert row.artefact == pytest.approx(again.shift - fit.shift, rel=1e-7)
            assert row.corrected == pytest.approx(fit.shift - row.artefact)
            assert row.low_prior == row.high_prior == row.artefact
        assert table["scenario"][0] == "prior test easier by +5.0 points"

    def test_reliabilities_by_simulation(self):
        """Error of measurement with and without a change of it, and a changed intake; the truth has no shift."""
        rng, sd, n = np.random.default_rng(11), 60.0, 60_000

        def cohort(year, mean, reliability):
            true = rng.normal(mean, sd, n)
            noise = sd * np.sqrt(1 / reliability - 1) * rng.standard_normal(n)
            return pd.DataFrame(
                {
                    "school": rng.integers(0, 100, n).astype(str),
                    "cohort": year,
                    "score": 100 + 0.8 * true + 40 * rng.standard_normal(n),
                    "prior_score": true + noise,
                }
            )

        data = pd.concat([cohort(2015, 500, 0.9), cohort(2021, 530, 0.9), cohort(2023, 530, 0.7)], ignore_index=True)
        benchmark = fit_baseline(data, [2015], estimator="ols")
        slope, error = 0.8 * 0.9, 40 / np.sqrt(n)
        for year, after in ((2021, 0.9), (2023, 0.7)):
            fit = fit_benchmark(data, year, benchmark)
            row = prior_sensitivity(fit, benchmark, reliabilities=[(0.9, after)]).iloc[0]
            assert row["artefact"] == pytest.approx(slope * (1 / 0.9 - 1) * 30, abs=0.1)
            assert fit.shift == pytest.approx(row["artefact"], abs=5 * np.sqrt(2) * error)
            assert row["corrected"] == pytest.approx(0, abs=5 * np.sqrt(2) * error)
            r = data[data.cohort == year]
            b = benchmark.coefficients
            residual = r.score - b["Intercept"] - b["prior_score"] * r.prior_score
            step = benchmark.summaries["columns"]["prior_score"]["sd"]
            for sign, column in ((-1, "low_prior"), (1, "high_prior")):
                near = residual[abs(r.prior_score - r.prior_score.mean() - sign * step) < 5]
                assert near.mean() == pytest.approx(row[column], abs=5 * 45 / np.sqrt(len(near)))
        turned = slope * (0.7 / 0.9 - 1) * step
        assert row["high_prior"] - row["low_prior"] == pytest.approx(2 * turned, rel=0.02)

    def test_with_an_absorbed_shift_there_is_nothing_to_correct(self, small, benchmark):
        table = prior_sensitivity(fit_benchmark(small, 2021, benchmark, shift="absorbed"), benchmark, [5.0])
        assert table["corrected"].isna().all() and table["artefact"].notna().all()

    def test_what_cannot_be_said_is_refused(self, small, benchmark, fit):
        for pair in ((0.0, 0.9), (0.9, 1.1), (0.9, -0.1)):
            with pytest.raises(ModelError, match="above 0 and not above 1"):
                prior_sensitivity(fit, benchmark, reliabilities=[pair])
        other = fit_baseline(small, BASELINE, "score ~ female")
        with pytest.raises(ModelError, match="needs prior_score as one linear column"):
            prior_sensitivity(fit_benchmark(small, 2021, other), other, [1.0])
        assert prior_sensitivity(fit, benchmark).empty


def test_errors_have_mean_0_and_the_stated_variance_in_a_world_with_drift_and_a_turned_slope():
    """80 worlds, true shift -10 - 0.1 (x - 480): level, total, the curve, and VA against a school of the baseline.

    Errors over their standard errors: mean 0 within 3.5 / sqrt(80), mean square 1 within 3.5 sqrt(2 / 80).
    """
    rng, replicates = np.random.default_rng(20), 80
    z = []
    for _ in range(replicates):
        data = simulate(rng, schools=40, size=(8, 20), cohorts=(2015, 2021), rho=0.0)
        later = data.cohort == 2021
        data.loc[later, "score"] += -10 - 0.1 * (data.prior_score[later] - 480)
        benchmark, relative = fit_baseline(data, [2015]), fit_relative(data, 2021)
        parts, means = split_shift(relative, benchmark), data.groupby("cohort").prior_score.mean()
        curve = shift_over_prior(relative, benchmark, np.array([400.0])).iloc[0]
        against = relative_to_school(data, fit_benchmark(data, 2021, benchmark), benchmark, "S0007", 2015).loc["S0003"]
        u = data.groupby(["cohort", "school"]).u.first()
        truth = -10 - 0.1 * (means[2021] - 480) + u[2021]["S0003"] - u[2015]["S0007"]
        z.append(
            [
                (parts["shift"][p] - (-10 - 0.1 * (means[y] - 480))) / parts.se[p]
                for p, y in (("level", 2015), ("total", 2021))
            ]
        )
        z[-1] += [(curve["shift"] + 2) / curve["se"], (against["effect"] - truth) / against["se"]]
    assert (abs(np.mean(z, axis=0)) < 3.5 / np.sqrt(replicates)).all()
    assert (abs(np.mean(np.square(z), axis=0) - 1) < 3.5 * np.sqrt(2 / replicates)).all()
