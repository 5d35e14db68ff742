"""Differences of shifts, the change of the mean score, and change on a fixed scale: by dense algebra and simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from scipy import stats

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark, population_mean_va
from valib.effects.change import change_in_va
from valib.effects.joint import fit_joint
from valib.effects.relative import fit_relative
from valib.effects.shift import mean_change, shift_difference, shift_parts
from valib.effects.shift_profile import prior_sensitivity, split_shift
from valib.effects.system_change import change_on_benchmark, system_change
from valib.errors import BenchmarkError, ModelError
from valib.sums.equating import Link, ScaleBreak

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")


@pytest.fixture(scope="module")
def panel():
    """Four cohorts of 25 schools with effects that last, a shift in the last two and a stronger intake in the last."""
    data = simulate(
        np.random.default_rng(7), schools=25, cohorts=(2015, 2016, 2021, 2023), rho=0.7, shift={2021: -6.0, 2023: -10.0}
    )
    data.loc[data.cohort == 2023, "prior_score"] += 25.0
    return data[~((data.school == "S0002") & (data.cohort == 2015))].reset_index(drop=True)


@pytest.fixture(scope="module")
def benchmark(panel):
    return fit_baseline(panel, (2015, 2016))


@pytest.fixture(scope="module")
def joint(panel):
    return fit_joint(panel, (2015, 2016, 2021, 2023), covariance="compound_symmetry")


def weighted_mean(fit, columns=slice(-1)) -> np.ndarray:
    """xbar_w of a fit, from its moments."""
    a = fit.moments.n / (1 + fit.moments.n * fit.theta)
    return a @ fit.moments.means[:, columns] / a.sum()


class TestShiftDifference:
    @pytest.mark.parametrize("variances", ["focal", "baseline"])
    def test_the_coefficients_error_remains_as_far_as_intakes_differ(self, panel, benchmark, variances):
        benchmark = replace(benchmark, influence=None)
        fits = [fit_benchmark(panel, t, benchmark, equating_se=1.5, variances=variances) for t in (2021, 2023)]
        (row,) = shift_difference(fits, benchmark).itertuples()
        x = weighted_mean(fits[1]) - weighted_mean(fits[0])
        parts = shift_parts(fits, benchmark)
        expected = (parts["se_schools"] ** 2).sum() + 2 * 1.5**2 + x @ benchmark.vcov.to_numpy() @ x
        assert row.se**2 == pytest.approx(expected, rel=1e-9)
        assert (row.first, row.second, row.difference) == (2021, 2023, fits[1].shift - fits[0].shift)
        assert row.se_independent**2 == pytest.approx((parts["se"] ** 2).sum(), rel=1e-9)
        assert row.se < row.se_independent
        assert row.upper - row.difference == pytest.approx(stats.t.ppf(0.975, fits[0].shift_df) * row.se)

    def test_a_change_of_the_coefficients_moves_the_difference_by_the_loading(self, panel, benchmark):
        """What the formula calls the loading of b_B, by moving b_B."""

        def fits(b):
            return [fit_benchmark(panel, t, b, variances="baseline") for t in (2021, 2023)]

        before = shift_difference(fits(benchmark), benchmark)["difference"][0]
        x = weighted_mean(fits(benchmark)[1]) - weighted_mean(fits(benchmark)[0])
        for k, step in enumerate((1.0, 0.01)):
            b = benchmark.coefficients.copy()
            b.iloc[k] += step
            moved = replace(benchmark, coefficients=b)
            after = shift_difference(fits(moved), moved)["difference"][0]
            assert after - before == pytest.approx(-x[k] * step, rel=1e-7)

    def test_a_link_that_both_cohorts_cross_is_shared(self, panel, benchmark):
        """Both are moved by the link's intercept alike, so its error leaves; one crossed by one alone stays."""

        def difference(year):
            breaks = [ScaleBreak(year, "score", Link(intercept_se=4.0))]
            return (
                shift_difference(
                    [fit_benchmark(panel, t, benchmark, scale_breaks=breaks) for t in (2021, 2023)], benchmark
                )["se"][0]
                ** 2
            )

        plain = shift_difference([fit_benchmark(panel, t, benchmark) for t in (2021, 2023)], benchmark)["se"][0] ** 2
        assert difference(2021) == pytest.approx(plain, rel=1e-6)
        assert difference(2023) == pytest.approx(plain + 16.0, rel=1e-6)

    def test_a_links_slope_error_remains_by_the_difference_of_the_mean_scores(self, panel, benchmark):
        breaks = [ScaleBreak(2021, "score", Link(slope_se=0.02))]
        linked, plain = (
            [fit_benchmark(panel, t, benchmark, "estimated", "baseline", scale_breaks=b) for t in (2021, 2023)]
            for b in (breaks, [])
        )
        scores = [weighted_mean(f, slice(-1, None))[0] for f in plain]
        gap = shift_difference(linked, benchmark)["se"][0] ** 2 - shift_difference(plain, benchmark)["se"][0] ** 2
        assert gap == pytest.approx((0.02 * (scores[1] - scores[0])) ** 2, rel=1e-5)

    def test_every_pair_in_calendar_order(self, panel):
        benchmark = fit_baseline(panel, [2015])
        fits = [fit_benchmark(panel, t, benchmark) for t in (2023, 2016, 2021)]
        table = shift_difference(fits, benchmark)
        assert list(zip(table["first"], table["second"], strict=True)) == [(2016, 2021), (2016, 2023), (2021, 2023)]
        whole = table.set_index(["first", "second"])["difference"]
        assert whole[2016, 2021] + whole[2021, 2023] == pytest.approx(whole[2016, 2023])
        assert shift_difference(fits[:1], benchmark).empty
        with pytest.raises(BenchmarkError, match="not a fit against this benchmark"):
            shift_difference(fits, fit_baseline(panel, [2015, 2016]))


class TestMeanChange:
    def test_the_parts_add_up_to_the_change_of_the_mean_score(self, panel, benchmark):
        fits = [fit_benchmark(panel, t, benchmark) for t in (2021, 2023)]
        table = mean_change(fits, benchmark).set_index("cohort")
        mean = panel.groupby("cohort").score.mean()
        before = panel.score[panel.cohort < 2021].mean()
        np.testing.assert_allclose(table["change"], mean[[2021, 2023]] - before)
        np.testing.assert_allclose(table[["intake", "shift", "weighting"]].sum(axis=1), table["change"])
        prior = panel.prior_score[panel.cohort == 2023].mean() - panel.prior_score[panel.cohort < 2021].mean()
        assert table.loc[2023, "intake"] == pytest.approx(benchmark.coefficients["prior_score"] * prior)
        assert table.loc[2023, "shift"] == fits[1].shift

    def test_least_squares_and_means_over_students_leave_nothing(self, panel):
        """Oaxaca and Blinder: intake plus xbar_t'(b_t - b_B) is all of it."""
        benchmark = fit_baseline(panel, (2015, 2016), estimator="ols")
        table = mean_change([fit_benchmark(panel, 2023, benchmark)], benchmark).iloc[0]
        focal = panel[panel.cohort == 2023]
        X = np.column_stack([np.ones(len(focal)), focal.prior_score])
        b = np.linalg.lstsq(X, focal.score, rcond=None)[0]
        unexplained = X.mean(axis=0) @ (b - benchmark.coefficients)
        assert table["intake"] + unexplained == pytest.approx(table["change"], abs=1e-8)
        assert table["shift"] + table["weighting"] == pytest.approx(unexplained, abs=1e-8)

    def test_the_mixed_model_and_its_own_weights_leave_nothing(self, panel, benchmark):
        fit = fit_benchmark(panel, 2023, benchmark)
        cells = panel[panel.cohort < 2021].groupby(["school", "cohort"])[["score", "prior_score"]].agg(["size", "mean"])
        n = cells["score", "size"].to_numpy()
        a = n / (1 + n * benchmark.tau2 / benchmark.sigma2)
        before = np.array([a @ cells[c, "mean"] / a.sum() for c in ("score", "prior_score")])
        a = fit.moments.n / (1 + fit.moments.n * fit.theta)
        after = a @ fit.moments.means[:, [-1, fit.moments.names.index("prior_score")]] / a.sum()
        change, prior = after - before
        assert change == pytest.approx(benchmark.coefficients["prior_score"] * prior + fit.shift, abs=1e-7)

    def test_an_absorbed_shift_is_refused(self, panel, benchmark):
        with pytest.raises(BenchmarkError, match="2021 was absorbed"):
            mean_change([fit_benchmark(panel, 2021, benchmark, shift="absorbed")], benchmark)


class TestChangeOnTheBenchmark:
    def test_independent_cohorts_give_the_difference_of_population_mean_va(self, panel, benchmark):
        """Then both come from separate fits, and the benchmark's coefficients leave the difference."""
        joint = fit_joint(panel, (2021, 2023), covariance="independent")
        profile = benchmark.column_means
        ours = change_on_benchmark(joint, 2021, 2023, profile, intervals="plugin")
        known = replace(benchmark, vcov=0 * benchmark.vcov)
        first, second = (population_mean_va(fit_relative(panel, t), known, intervals="plugin") for t in (2021, 2023))
        np.testing.assert_allclose(ours["change"], second["effect"] - first["effect"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ours["se"] ** 2, second["se"] ** 2 + first["se"] ** 2, rtol=1e-5)
        system = system_change(joint, 2021, 2023, profile)
        level = [split_shift(fit_relative(panel, t), benchmark).loc["level", "shift"] for t in (2021, 2023)]
        assert system["change"] == pytest.approx(level[1] - level[0], rel=1e-5)
        assert system["se"] == pytest.approx(system["se_independent"], rel=1e-9)

    def test_it_is_the_relative_change_plus_the_systems(self, panel, benchmark, joint):
        profile = benchmark.column_means
        ours = change_on_benchmark(joint, 2015, 2023, profile)
        own = change_in_va(joint, 2015, 2023)
        system = system_change(joint, 2015, 2023, profile)
        np.testing.assert_allclose(ours["change"] - own["change"], system["change"])
        assert "S0002" not in ours.index and ours["n_second"].equals(own["n_second"])
        assert system["se"] < system["se_independent"]
        scaled = change_on_benchmark(joint, 2015, 2023, profile, scale_se=3.0)
        np.testing.assert_allclose(scaled["se"] ** 2 - ours["se"] ** 2, 9.0)
        assert system_change(joint, 2015, 2023, profile, 3.0)["se"] ** 2 == pytest.approx(system["se"] ** 2 + 9.0)

    def test_error_by_dense_algebra(self, benchmark):
        """Var of c'(u_hat - u) + k'(b_hat - b) as a linear map of (u, e), everything written out."""
        data = simulate(np.random.default_rng(3), schools=7, size=(9, 15), cohorts=(2015, 2021), rho=0.3)
        joint = fit_joint(data, (2015, 2021), covariance="compound_symmetry")
        assert not joint.singular
        profile = pd.Series([1.0, 455.0], index=benchmark.coefficients.index)
        t = (data.cohort == 2021).to_numpy().astype(int)
        X = np.zeros((len(data), 4))
        X[np.arange(len(data)), 2 * t], X[np.arange(len(data)), 2 * t + 1] = 1.0, data.prior_score
        Z = np.eye(14)[pd.factorize(data.school, sort=True)[0] * 2 + t]
        spread = np.kron(np.eye(7), joint.omega.to_numpy())
        R = np.diag(joint.sigma2.to_numpy()[t])
        Vi = np.linalg.inv(Z @ spread @ Z.T + R)
        H = np.linalg.inv(X.T @ Vi @ X) @ X.T @ Vi
        K = spread @ Z.T @ Vi @ (np.eye(len(data)) - X @ H)
        c = np.kron(np.eye(7), [-1.0, 1.0])
        k = np.array([-1.0, -455.0, 1.0, 455.0])
        G = c @ K + k @ H  # of y; the error is G (Z u + e) - c u
        on_u = G @ Z - c
        var = np.diag(on_u @ spread @ on_u.T + G @ R @ G.T)
        ours = change_on_benchmark(joint, 2015, 2021, profile)
        np.testing.assert_allclose(ours["se"] ** 2, var, rtol=1e-6)
        np.testing.assert_allclose(ours["change"], G @ data.score, rtol=1e-6, atol=1e-6)
        system = system_change(joint, 2015, 2021, profile)
        assert system["se"] ** 2 == pytest.approx(k @ H @ (Z @ spread @ Z.T + R) @ H.T @ k, rel=1e-6)

    def test_what_is_not_there_is_named(self, benchmark, joint):
        with pytest.raises(ModelError, match="Cohort 2030 is not in the joint fit"):
            system_change(joint, 2015, 2030, benchmark.column_means)
        with pytest.raises(ModelError, match="The profile has the columns"):
            change_on_benchmark(joint, 2015, 2023, benchmark.column_means.iloc[:1])

    def test_columns_as_the_baseline_defines_them(self, panel, benchmark):
        """A centred prior is centred where the baseline centred it, and the answers are those of the plain one."""
        centred = fit_baseline(panel, (2015, 2016), "score ~ center(prior_score)")
        joint = fit_joint(panel, (2021, 2023), centred.state, "compound_symmetry")
        plain = fit_joint(panel, (2021, 2023), "score ~ prior_score", "compound_symmetry")
        ours = change_on_benchmark(joint, 2021, 2023, centred.column_means)
        pd.testing.assert_frame_equal(ours, change_on_benchmark(plain, 2021, 2023, benchmark.column_means), rtol=1e-5)
        assert joint.formula == centred.formula and joint.summary()["formula"] == centred.formula
        one, other = (split_shift(fit_relative(panel, 2023, b.state), b) for b in (centred, benchmark))
        pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_errors_of_changes_have_mean_0_and_the_stated_variance():
    """80 worlds with lasting effects: a school's change on the fixed scale, and the system's for these schools.

    The truth of a school's change is u_t - u_s plus the shift; errors over their standard errors have mean 0 within
    3.5 / sqrt(80) and mean square 1 within 3.5 sqrt(2 / 80). A fit on a boundary has no errors and is left out.
    """
    rng, replicates, z = np.random.default_rng(31), 80, []
    profile = pd.Series([1.0, 480.0], index=["Intercept", "prior_score"])
    for _ in range(replicates):
        data = simulate(rng, schools=60, size=(10, 30), cohorts=(2015, 2021), rho=0.7, shift={2021: -8.0})
        joint = fit_joint(data, (2015, 2021), covariance="compound_symmetry")
        if joint.singular:
            continue
        row = change_on_benchmark(joint, 2015, 2021, profile).loc["S0003"]
        u = data.groupby(["cohort", "school"]).u.first()
        system = system_change(joint, 2015, 2021, profile)
        z.append(
            [
                (row["change"] - (u[2021]["S0003"] - u[2015]["S0003"] - 8.0)) / row["se"],
                (system["change"] + 8.0) / system["se"],
            ]
        )
    assert len(z) > 0.9 * replicates
    assert (abs(np.mean(z, axis=0)) < 3.5 / np.sqrt(replicates)).all()
    assert (abs(np.mean(np.square(z), axis=0) - 1) < 3.5 * np.sqrt(2 / replicates)).all()


def test_an_easier_prior_test_moves_the_school_means_too(panel):
    formula = "score ~ prior_score + school_mean(prior_score)"
    benchmark = fit_baseline(panel, (2015, 2016), formula)
    fit = fit_benchmark(panel, 2021, benchmark)
    moved = panel.assign(prior_score=panel.prior_score + 7.0 * (panel.cohort == 2021))
    again = fit_benchmark(moved, 2021, benchmark)
    artefact = prior_sensitivity(fit, benchmark, mean_changes=[7.0])["artefact"][0]
    assert artefact == pytest.approx(again.shift - fit.shift, rel=1e-7)
    curved = fit_baseline(panel, (2015, 2016), "score ~ prior_score + I(prior_score ** 2)")
    with pytest.raises(ModelError, match="sensitivity to the prior needs prior_score as one linear column"):
        prior_sensitivity(fit_benchmark(panel, 2021, curved), curved, [1.0])
