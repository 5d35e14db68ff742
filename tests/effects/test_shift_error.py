"""The error of a shift where the same schools take part in baseline and cohort: dense algebra, the delete-one-school
jackknife of the whole procedure, and what stands beside a shift."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from oracle import Dense, indicators
from scipy import stats

import valib as va
from valib.effects.baseline import Benchmark, fit_baseline
from valib.effects.benchmark import fit_benchmark, prior_part
from valib.effects.bootstrap import refit_weighted
from valib.effects.relative import fit_relative
from valib.effects.shift import mean_change, relative_to_school, shift_difference, shift_in_context, shift_parts
from valib.effects.shift_profile import shift_at, shift_over_prior
from valib.errors import BenchmarkError, ValibWarning
from valib.sums.students import sum_students

EXACT = 1e-8  # dense matrices of some hundred rows against sums
YEARS = (2015, 2016, 2021, 2023)

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")


@pytest.fixture(scope="module")
def panel():
    """18 schools with effects that last; one missing from the baseline, one from cohort 2021, one with one student."""
    frame = simulate(
        np.random.default_rng(5),
        schools=18,
        size=(4, 16),
        cohorts=YEARS,
        tau=15,
        rho=0.8,
        shift={2021: -9.0, 2023: -12.0},
    )
    gone = ((frame.school == "S0002") & (frame.cohort < 2021)) | ((frame.school == "S0004") & (frame.cohort == 2021))
    single = (frame.school == "S0006") & frame.duplicated(["school", "cohort"])
    return frame[~gone & ~single].reset_index(drop=True)


def linear(frame, cell, tau2, sigma2, estimator="mixed"):
    """X, y, the schools and the matrix that makes the coefficients of y."""
    X = np.column_stack([np.ones(len(frame)), frame.prior_score])
    model = Dense(X, frame.score.to_numpy(), indicators(cell)[1], tau2, sigma2)
    hat = np.linalg.pinv(X) if estimator == "ols" else model.vcov @ X.T @ model.Vi
    return X, model.y, frame.school.to_numpy(), hat


def by_school(hat, residual, schools) -> pd.DataFrame:
    """What each school adds to hat @ y."""
    return pd.DataFrame((hat * residual).T).groupby(schools).sum()


def dense_shift(panel, benchmark, fit):
    """phi_j - xbar_w' psi_j by school, and the students' own variance, from matrices of all students."""
    frame = panel[panel.cohort.isin(benchmark.cohorts)]
    cell = frame.school + frame.cohort.astype(str)
    X, y, schools, hat = linear(frame, cell, benchmark.tau2, benchmark.sigma2, benchmark.estimator)
    b = hat @ y
    psi = by_school(hat, y - X @ b, schools)
    frame = panel[panel.cohort == fit.cohort]
    Z = indicators(frame.school)[1]
    V_inverse = np.linalg.inv(fit.tau2 * Z @ Z.T + fit.sigma2 * np.eye(len(frame)))
    weights = V_inverse.sum(axis=0) / V_inverse.sum()
    X = np.column_stack([np.ones(len(frame)), frame.prior_score])
    residual = frame.score.to_numpy() - X @ b
    delta, centre = weights @ residual, weights @ X
    phi = pd.Series(weights * (residual - delta)).groupby(frame.school.to_numpy()).sum()
    students = fit.sigma2 * weights @ weights + benchmark.sigma2 * ((centre @ hat) ** 2).sum()
    return delta, phi.sub(psi @ centre, fill_value=0.0), students, psi


@pytest.mark.parametrize("estimator", ["mixed", "ols"])
@pytest.mark.parametrize("cohort", [2021, 2023])
def test_the_error_by_school_is_that_of_dense_algebra(panel, estimator, cohort):
    benchmark = fit_baseline(panel, [2015, 2016], estimator=estimator)
    fit = fit_benchmark(panel, cohort, benchmark)
    delta, added, students, psi = dense_shift(panel, benchmark, fit)
    np.testing.assert_allclose(benchmark.influence, psi, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.shift_influence, added, rtol=1e-6, atol=1e-8)
    J = len(added)
    assert fit.shift == pytest.approx(delta, rel=EXACT) and J == 18 and fit.shift_df == 17
    assert fit.shift_error == "schools"
    assert fit.shift_se**2 == pytest.approx(J / (J - 1) * (added**2).sum(), rel=EXACT)
    assert fit.shift_se_students**2 == pytest.approx(students, rel=EXACT)
    assert fit.shift_interval[1] - fit.shift == pytest.approx(stats.t.ppf(0.975, 17) * fit.shift_se)
    equated = fit_benchmark(panel, cohort, benchmark, equating_se=3.0)
    assert equated.shift_se**2 - fit.shift_se**2 == pytest.approx(9.0, rel=1e-9)
    assert equated.shift_se_students**2 - fit.shift_se_students**2 == pytest.approx(9.0, rel=1e-9)


def test_within_slopes_have_the_students_error_of_their_demeaned_rows(panel):
    benchmark = fit_baseline(panel, [2015, 2016], estimator="within")
    frame = panel[panel.cohort < 2021]
    x = frame.prior_score - frame.groupby(["school", "cohort"]).prior_score.transform("mean")
    assert benchmark.vcov_students.iloc[1, 1] == pytest.approx(benchmark.sigma2 / (x @ x), rel=EXACT)


def jackknife(panel, benchmark, cohort) -> float:
    """Standard error of the shift from the whole procedure without each school in turn."""
    moments = sum_students(panel, [*benchmark.cohorts, cohort], benchmark.state, by_cell=True).moments
    J = len(moments.schools)
    delta = refit_weighted(moments, benchmark, [cohort], 1.0 - np.eye(J), "estimated", "focal", "ML")[1][0]
    return float(np.sqrt((J - 1) / J * ((delta - delta.mean()) ** 2).sum()))


def test_the_demo_s_errors_are_the_jackknife_s_and_not_those_of_two_samples():
    """Effects of the demo's schools last, so that the errors of baseline and cohort partly cancel."""
    records = va.load_records("demo")
    benchmark = fit_baseline(records, [2015, 2016, 2017])
    for cohort in (2019, 2024):
        fit = fit_benchmark(records, cohort, benchmark, intervals="plugin")
        assert fit.shift_se == pytest.approx(jackknife(records, benchmark, cohort), rel=3e-3)
        cautious = fit_benchmark(records, cohort, replace(benchmark, influence=None), intervals="plugin")
        assert cautious.shift_error == "cautious" and cautious.shift_se > 1.25 * fit.shift_se
        assert shift_parts([fit], benchmark)["se_cautious"][0] == pytest.approx(cautious.shift_se, rel=1e-9)
        assert fit.shift_se_students < fit.shift_se


@pytest.mark.parametrize(("estimator", "groups"), [("within", "school_cohort"), ("mixed", "school"), ("ols", "school")])
def test_other_estimators_follow_the_jackknife_too(estimator, groups):
    """Seventy schools: the two differ by terms of the order of 1 / J."""
    frame = simulate(np.random.default_rng(3), schools=70, cohorts=YEARS, rho=0.7, sorting=0.4)
    benchmark = fit_baseline(frame, [2015, 2016], estimator=estimator, groups=groups)
    fit = fit_benchmark(frame, 2021, benchmark, intervals="plugin")
    assert fit.shift_se == pytest.approx(jackknife(frame, benchmark, 2021), rel=0.03)


class TestWhatIsBuiltOnIt:
    def test_a_difference_of_shifts(self, panel):
        benchmark = fit_baseline(panel, [2015, 2016])
        fits = [fit_benchmark(panel, c, benchmark, equating_se=e, cohort_sd=2.0) for c, e in ((2021, 1.0), (2023, 2.0))]
        (row,) = shift_difference(fits, benchmark).itertuples()
        plain = [fit_benchmark(panel, c, benchmark) for c in (2021, 2023)]
        before, after = (dense_shift(panel, benchmark, f)[1] for f in plain)
        d = after.sub(before, fill_value=0.0)
        assert row.error == "schools"
        # each cohort's own year and equating; the baseline's years are common to both
        assert row.se**2 == pytest.approx(18 / 17 * d @ d + 1 + 4 + 2 * 4.0, rel=EXACT)
        assert row.upper - row.difference == pytest.approx(stats.t.ppf(0.975, 17) * row.se)

    def test_the_shift_at_a_prior_score(self, panel):
        benchmark = fit_baseline(panel, [2015, 2016])
        relative = fit_relative(panel, 2021, benchmark.state, influences=True)
        frame = panel[panel.cohort == 2021]
        X, y, schools, hat = linear(frame, frame.school, relative.tau2, relative.sigma2)
        own = by_school(hat, y - X @ (hat @ y), schools)
        d = own.sub(dense_shift(panel, benchmark, fit_benchmark(panel, 2021, benchmark))[3], fill_value=0.0)
        table = shift_over_prior(relative, benchmark, [420.0, 500.0], equating_se=1.5)
        for row, prior in zip(table.itertuples(), (420.0, 500.0), strict=True):
            added = d.to_numpy() @ [1.0, prior]
            assert row.error == "schools"
            assert row.se**2 == pytest.approx(18 / 17 * added @ added + 2.25, rel=1e-7)
            assert row.upper - row.shift == pytest.approx(stats.t.ppf(0.975, 17) * row.se)
        cautious = shift_at(fit_relative(panel, 2021, benchmark.state), benchmark, [1.0, 420.0])
        assert cautious["error"].tolist() == ["cautious"]

    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    def test_value_added_relative_to_a_school(self, panel, shift):
        """What is common to all schools, once more by dense algebra."""
        benchmark = fit_baseline(panel, [2015, 2016])
        fit = fit_benchmark(panel, 2021, benchmark, shift, equating_se=1.2)
        table = relative_to_school(panel, fit, benchmark, "S0003", 2016)
        estimated = fit_benchmark(panel, 2021, benchmark)
        _, added, _, psi = dense_shift(panel, benchmark, estimated)
        frame = panel[panel.cohort == 2021].groupby("school")
        n, xbar = frame.size().to_numpy(), np.column_stack([np.ones(len(frame)), frame.prior_score.mean()])
        lam = n * fit.tau2 / (n * fit.tau2 + fit.sigma2)
        base = panel[(panel.cohort == 2016) & (panel.school == "S0003")]
        lam_k = len(base) * benchmark.tau2 / (len(base) * benchmark.tau2 + benchmark.sigma2)
        named = lam_k * np.array([1.0, base.prior_score.mean()])
        # VA_j = (1 - lam) delta + lam r_j: delta moves by `added`, r_j and the named school by b_B alone
        keep = 1 - lam if shift == "estimated" else 0 * lam
        moved = np.outer(keep, added) - (lam[:, None] * xbar - named) @ psi.reindex(added.index, fill_value=0.0).T
        J, scale = len(added), 1.2**2 * (1 if shift == "estimated" else lam**2)
        var = fit.tau2 * (1 - lam) + benchmark.tau2 * (1 - lam_k) + scale + J / (J - 1) * (moved**2).sum(axis=1)
        assert set(table["error"]) == {"schools"}
        np.testing.assert_allclose(table["se"] ** 2, var, rtol=1e-7)

    def test_the_change_of_the_mean_carries_the_shift_s_error(self, panel):
        benchmark = fit_baseline(panel, [2015, 2016])
        fit = fit_benchmark(panel, 2021, benchmark)
        row = mean_change([fit], benchmark).iloc[0]
        assert (row["se"], row["error"], row["lower"], row["upper"]) == (fit.shift_se, "schools", *fit.shift_interval)


class TestArtefact:
    def test_a_later_year_gets_the_right_error_from_the_schools_influences(self, panel, tmp_path):
        benchmark = fit_baseline(panel, [2015, 2016])
        later = panel[panel.cohort == 2023]
        here = fit_benchmark(panel, 2023, benchmark)
        kept = Benchmark.load(benchmark.save(tmp_path / "kept.json", influences=True))
        bare = Benchmark.load(benchmark.save(tmp_path / "bare.json"))
        with_schools, without = fit_benchmark(later, 2023, kept), fit_benchmark(later, 2023, bare)
        assert (with_schools.shift_se, with_schools.shift_error) == (here.shift_se, "schools")
        assert without.shift_error == "cautious" and without.shift_se > here.shift_se
        assert np.isnan(without.shift_se_students) and with_schools.shift_se_students == here.shift_se_students
        assert "S0003" in (tmp_path / "kept.json").read_text() and "S0003" not in (tmp_path / "bare.json").read_text()
        context = shift_in_context([with_schools], kept)
        pd.testing.assert_frame_equal(context, shift_in_context([here], benchmark))
        own = shift_in_context([without], bare)["own_shift"]
        np.testing.assert_allclose(own[:2], context["own_shift"][:2], rtol=0.05)  # two digits of their errors
        told = json.loads((tmp_path / "kept.json").read_text())["publication"]
        assert told == "not for publication: exact, with every school"
        with pytest.raises(BenchmarkError, match="does not know"):
            bare.save(tmp_path / "none.json", influences=True)

    @pytest.mark.parametrize(
        "change", [{"values": [[1.0]]}, {"schools": ["S0001"] * 17}, {"schools": None}, {"values": [["x", "y"]] * 17}]
    )
    def test_damaged_influences_are_refused(self, panel, tmp_path, change):
        path = fit_baseline(panel, [2015, 2016]).save(tmp_path / "b.json", influences=True)
        content = json.loads(path.read_text())
        content["school_influences"] |= change
        path.write_text(json.dumps(content))
        with pytest.raises(BenchmarkError, match=r"b\.json"):
            Benchmark.load(path)

    def test_schools_that_are_all_new_leave_two_samples(self, panel):
        """Then nothing is shared, and the error is the sum of the two, here each by its schools."""
        benchmark = fit_baseline(panel, [2015, 2016])
        new = panel.assign(school="N" + panel.school)
        fit = fit_benchmark(new, 2021, benchmark)
        centre = shift_centre(fit)
        own = fit.shift_influence[fit.shift_influence.index.str.startswith("N")]
        J, psi = len(fit.shift_influence), benchmark.influence.to_numpy() @ centre
        assert J == 17 + 17
        assert fit.shift_se**2 == pytest.approx(J / (J - 1) * (own @ own + psi @ psi), rel=1e-9)


def shift_centre(fit) -> np.ndarray:
    a = fit.moments.n / (1 + fit.moments.n * fit.theta)
    return a @ fit.moments.means[:, :-1] / a.sum()


@pytest.fixture(scope="module")
def years():
    """Five baseline cohorts and a focal one."""
    cohorts = (2012, 2013, 2014, 2015, 2016, 2021)
    frame = simulate(np.random.default_rng(9), schools=25, size=(8, 25), cohorts=cohorts, rho=0.7, shift={2021: -12.0})
    return frame, fit_baseline(frame, cohorts[:5])


class TestContext:
    def test_own_shifts_are_those_of_fits_of_the_baseline_cohorts(self, years):
        frame, benchmark = years
        for cohort, row in benchmark.own_shifts.items():
            own = fit_benchmark(frame, cohort, benchmark, intervals="plugin")
            others = fit_baseline(frame, [c for c in benchmark.cohorts if c != cohort])
            apart = fit_benchmark(frame, cohort, others, intervals="plugin")
            wanted = own.shift, own.shift_se, apart.shift, apart.shift_se
            assert tuple(row.values()) == pytest.approx(wanted, rel=1e-6, abs=1e-7)

    def test_the_columns_by_hand(self, years):
        frame, benchmark = years
        fit = fit_benchmark(frame, 2021, benchmark)
        table = shift_in_context([fit], benchmark)
        assert table["role"].tolist() == ["baseline"] * 5 + ["focal"] and table.index.tolist()[-1] == 2021
        own = np.array([row["shift"] for row in benchmark.own_shifts.values()])
        row, s = table.loc[2021], own.std(ddof=1)
        assert table["own_shift"].tolist()[:5] == own.tolist() and table["wobble_sd"].nunique() == 1
        half = stats.t.ppf(0.975, 4) * s * np.sqrt(1.2)
        assert (row["wobble_sd"], row["year_lower"]) == pytest.approx((s, fit.shift - half))
        assert (row["lower"], row["upper"]) == fit.shift_interval
        assert np.isnan(row["equating_se"]) and fit.equating_se is None
        zero = fit_benchmark(frame, 2021, benchmark, equating_se=0.0)
        assert shift_in_context([zero], benchmark).loc[2021, "equating_se"] == 0.0

    def test_at_the_break_even_wobble_the_interval_touches_zero(self, years):
        frame, benchmark = years
        even = shift_in_context([fit_benchmark(frame, 2021, benchmark)], benchmark).loc[2021, "break_even"]
        assert even > 1
        touching = fit_benchmark(frame, 2021, benchmark, cohort_sd=even)
        assert touching.shift_interval[1] == pytest.approx(0.0, abs=1e-9)
        known = fit_benchmark(frame, 2021, benchmark)
        added = even**2 * 1.2
        assert touching.shift_se**2 - known.shift_se**2 == pytest.approx(added)
        var = [f.school_effects["se_comparative"] ** 2 for f in (touching, known)]
        np.testing.assert_allclose(var[0] - var[1], added)
        nothing = frame.assign(score=frame.score + 12.0 * (frame.cohort == 2021))
        flat = fit_benchmark(nothing, 2021, benchmark)
        assert shift_in_context([flat], benchmark).loc[2021, "break_even"] == 0.0

    def test_one_and_two_baseline_cohorts(self, years):
        frame, _ = years
        one, two = (fit_baseline(frame, cohorts) for cohorts in ([2016], [2015, 2016]))
        alone = shift_in_context([fit_benchmark(frame, 2021, one)], one)
        assert alone.loc[2021, ["wobble_sd", "year_lower", "year_upper"]].isna().all()
        assert np.isnan(alone.loc[2016, "leave_one_out"]) and abs(alone.loc[2016, "own_shift"]) < 1e-6
        pair = shift_in_context([fit_benchmark(frame, 2021, two)], two)
        width = pair.loc[2021, "year_upper"] - pair.loc[2021, "year_lower"]
        assert width == pytest.approx(2 * stats.t.ppf(0.975, 1) * pair.loc[2021, "wobble_sd"] * np.sqrt(1.5))

    def test_a_depressed_prior_year_is_flagged_and_is_all_of_the_shift(self):
        """Nothing has moved but the prior scores of one cohort, by less than a tenth of their standard deviation."""
        frame = simulate(np.random.default_rng(4), schools=150, tau=8, cohorts=(2015, 2016, 2021), rho=0.7)
        benchmark = fit_baseline(frame, [2015, 2016])
        moved = frame.assign(prior_score=frame.prior_score - 5.5 * (frame.cohort == 2021))
        before = fit_benchmark(frame, 2021, benchmark)
        with pytest.warns(ValibWarning, match=r"The change of the mean prior_score alone"):
            fit = fit_benchmark(moved, 2021, benchmark)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert va.check_prior(moved, 2021, benchmark).ok  # the limits on the distribution are silent
        part, was = (prior_part(f, benchmark) for f in (fit, before))
        assert fit.shift - before.shift == pytest.approx(part - was, rel=1e-9)
        assert part - was == pytest.approx(5.5 * benchmark.coefficients["prior_score"], rel=1e-9)
        curved = fit_baseline(frame, [2015, 2016], "score ~ poly(prior_score, 2)")
        assert np.isnan(prior_part(fit_benchmark(frame, 2021, curved), curved))
