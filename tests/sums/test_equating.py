"""Declared scale breaks: refused without a link, exact with one, the link's error by its closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.relative import fit_relative
from valib.effects.shift import shift_parts
from valib.errors import BenchmarkError
from valib.records.reading import read_records
from valib.sums.equating import Link, ScaleBreak, carry_back, crossed, on_one_scale, perturbed, to_old_scale

EXACT = 1e-9
BASELINE = [2015, 2016]
LINK = Link(slope=1.25, intercept=-80.0, slope_se=0.02, intercept_se=6.0, covariance=-0.1)

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")


def alike(ours, theirs, rtol, atol):
    """Two tables of schools are the same, words of sides and numbers."""
    assert list(ours["side"]) == list(theirs["side"])
    np.testing.assert_allclose(ours.drop(columns="side"), theirs.drop(columns="side"), rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def benchmark(small):
    return fit_baseline(small, BASELINE)


def to_new(records: pd.DataFrame, column: str, link: Link, first: int = 2021) -> pd.DataFrame:
    """The records with a column from cohort ``first`` on the link's new scale."""
    moved = records.copy()
    later = moved.cohort >= first
    moved.loc[later, column] = (moved.loc[later, column] - link.intercept) / link.slope
    return moved


def same(ours, theirs):
    """Two benchmark fits with the same estimates and errors."""
    assert (ours.shift, ours.shift_se) == pytest.approx((theirs.shift, theirs.shift_se), rel=1e-7)
    assert (ours.tau2, ours.sigma2, ours.loglik) == pytest.approx((theirs.tau2, theirs.sigma2, theirs.loglik), rel=1e-7)
    alike(ours.school_effects, theirs.school_effects, 1e-6, 1e-7)


class TestLink:
    @pytest.mark.parametrize(("se", "covariance"), [((0, 0), 0), ((0.1, 0), 0), ((0.02, 6), -0.1), ((0.02, 6), 0.12)])
    def test_the_factor_gives_the_covariance(self, se, covariance):
        F = Link(1.0, 0.0, *se, covariance).factor
        expected = [[se[1] ** 2, covariance], [covariance, se[0] ** 2]]
        np.testing.assert_allclose(F @ F.T, expected, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        "numbers",
        [
            {"slope": 0.0},
            {"slope": -1.0},
            {"slope": np.nan},
            {"intercept": np.inf},
            {"slope_se": -0.1},
            {"intercept_se": -1.0},
        ],
    )
    def test_impossible_numbers_are_refused(self, numbers):
        with pytest.raises(BenchmarkError, match="positive slope and standard errors that are zero or positive"):
            Link(**numbers)

    def test_a_covariance_beyond_the_standard_errors_is_refused(self):
        with pytest.raises(BenchmarkError, match="covariance is larger"):
            Link(slope_se=0.1, intercept_se=2.0, covariance=0.21)
        with pytest.raises(BenchmarkError, match="concerns score or prior_score, not 'grade'"):
            ScaleBreak(2021, "grade")

    def test_a_params_file_reads_them_and_knows_no_other_names(self):
        adapter = TypeAdapter(ScaleBreak)
        read = adapter.validate_python({"cohort": 2021, "link": {"slope": 2, "intercept": 1.5}})
        assert read == ScaleBreak(2021, "score", Link(2.0, 1.5))
        for wrong in ({"cohort": 2021, "links": None}, {"cohort": 2021, "link": {"slop": 1.0}}):
            with pytest.raises(ValidationError, match="Unexpected keyword"):
                adapter.validate_python(wrong)


class TestCrossed:
    def test_a_break_counts_when_it_lies_between(self):
        at = {year: ScaleBreak(year, "score", LINK) for year in (2014, 2015, 2017, 2020, 2021, 2022)}
        assert crossed(list(at.values())[:2], BASELINE, 2021) == []
        assert crossed([at[2022]], BASELINE, 2021) == []
        for year in (2017, 2020, 2021):
            assert crossed([at[year]], BASELINE, 2021) == [at[year]]
        assert crossed([at[2021], at[2017]], BASELINE, 2021) == [at[2017], at[2021]]

    def test_without_a_link_it_is_refused_and_named(self, small, benchmark):
        with pytest.raises(
            BenchmarkError,
            match="scale of prior_score changes with cohort 2020, between the baseline "
            "2015 to 2016 and cohort 2021: .* needs a link",
        ):
            fit_benchmark(small, 2021, benchmark, scale_breaks=[ScaleBreak(2020, "prior_score")])

    def test_inside_the_baseline_or_backwards_it_is_refused_even_with_a_link(self):
        with pytest.raises(BenchmarkError, match="changes with cohort 2016, inside the baseline 2015 to 2016"):
            crossed([ScaleBreak(2016, "score", LINK)], BASELINE, 2021)
        with pytest.raises(BenchmarkError, match="cohort 2013: .*, and a link leads to later cohorts only"):
            crossed([ScaleBreak(2014, "score", LINK)], BASELINE, 2013)

    def test_what_it_does_not_concern_is_left_as_it_was(self, small, benchmark):
        ours = fit_benchmark(small, 2021, benchmark, scale_breaks=[ScaleBreak(2022), ScaleBreak(2014)])
        same(ours, fit_benchmark(small, 2021, benchmark))


class TestCarriedBack:
    def test_by_hand_the_latest_break_first(self):
        data = pd.DataFrame({"score": [10.0, 20.0], "prior_score": [1.0, 2.0]})
        breaks = [
            ScaleBreak(2018, "score", Link(2.0, 3.0)),
            ScaleBreak(2020, "score", Link(0.5, 1.0)),
            ScaleBreak(2019, "prior_score", Link(10.0, -1.0)),
        ]
        moved = to_old_scale(data, breaks)
        assert moved["score"].tolist() == [3 + 2 * (1 + 5.0), 3 + 2 * (1 + 10.0)]
        assert moved["prior_score"].tolist() == [9.0, 19.0]
        assert data["score"].tolist() == [10.0, 20.0]

    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    @pytest.mark.parametrize("columns", [["score"], ["prior_score"], ["score", "prior_score"]])
    def test_an_exact_link_undoes_a_new_scale(self, small, benchmark, columns, shift):
        """All estimates and errors are those of the data that never changed their scale."""
        exact, moved = Link(1.25, -80.0), small
        for column in columns:
            moved = to_new(moved, column, exact)
        breaks = [ScaleBreak(2020, column, exact) for column in columns]
        ours = fit_benchmark(moved, 2021, benchmark, shift=shift, scale_breaks=breaks)
        theirs = fit_benchmark(small, 2021, benchmark, shift=shift)
        alike(ours.school_effects, theirs.school_effects, 1e-6, 1e-7)
        assert ours.student_sd == pytest.approx(theirs.student_sd, rel=EXACT)
        if shift == "estimated":
            same(ours, theirs)

    def test_two_breaks_of_one_scale(self, small, benchmark):
        first, second = Link(0.9, 30.0), Link(1.25, -80.0)
        moved = to_new(to_new(small, "score", first), "score", second)
        breaks = [ScaleBreak(2021, "score", second), ScaleBreak(2018, "score", first)]
        same(fit_benchmark(moved, 2021, benchmark, scale_breaks=breaks), fit_benchmark(small, 2021, benchmark))

    def test_carried_back_records_serve_the_relative_model(self, small):
        moved = to_new(small, "score", LINK)
        back = carry_back(moved, [ScaleBreak(2021, "score", LINK)], BASELINE, 2021)
        ours, theirs = fit_relative(back, 2021), fit_relative(small, 2021)
        np.testing.assert_allclose(ours.fixed_effects, theirs.fixed_effects, rtol=1e-8)
        with pytest.raises(BenchmarkError, match="needs a link"):
            carry_back(moved, [ScaleBreak(2021)], BASELINE, 2021)


class TestLinkError:
    """Closed forms: what F of a link does to a mean residual is (dI + dS mean new score), times -b for the prior."""

    def closed(self, records, fit, loading, link) -> float:
        """Var from the link at the weights of the shift: a_se^2 + m^2 s_se^2 + 2 m cov, times loading^2."""
        a = fit.moments.n / (1 + fit.moments.n * fit.theta)
        means = records[records.cohort == 2021].groupby("school")[loading[0]].mean()
        m = a @ means / a.sum()
        return loading[1] ** 2 * (link.intercept_se**2 + m**2 * link.slope_se**2 + 2 * m * link.covariance)

    @pytest.mark.parametrize("column", ["score", "prior_score"])
    @pytest.mark.parametrize("formula", ["score ~ prior_score", "score ~ prior_score + school_mean(prior_score)"])
    def test_it_enters_the_shift_as_the_closed_form_says(self, small, column, formula):
        benchmark, moved = fit_baseline(small, BASELINE, formula), to_new(small, column, LINK)
        fit = fit_benchmark(moved, 2021, benchmark, equating_se=1.0, scale_breaks=[ScaleBreak(2021, column, LINK)])
        plain = fit_benchmark(small, 2021, benchmark, equating_se=1.0)
        b = 1.0 if column == "score" else benchmark.coefficients.iloc[1:].sum()
        expected = self.closed(moved, fit, (column, b), LINK)
        assert fit.shift == pytest.approx(plain.shift, rel=1e-7)
        assert fit.shift_se**2 - plain.shift_se**2 == pytest.approx(expected, rel=1e-6)
        assert shift_parts([fit], benchmark)["se_scale"][0] ** 2 == pytest.approx(1.0 + expected, rel=1e-6)

    @pytest.mark.parametrize("shift", ["estimated", "absorbed"])
    def test_it_enters_every_benchmark_va_by_that_schools_own_scores(self, small, benchmark, shift):
        """At the mean m_j = (1 - lambda_j) mean_w + lambda_j mean_j; absorbed: lambda_j (dI + dS mean_j)."""
        moved = to_new(small, "score", LINK)
        fit = fit_benchmark(moved, 2021, benchmark, shift=shift, scale_breaks=[ScaleBreak(2021, "score", LINK)])
        plain = fit_benchmark(small, 2021, benchmark, shift=shift)
        means = moved[moved.cohort == 2021].groupby("school").score.mean().to_numpy()
        a, lam = fit.moments.n / (1 + fit.moments.n * fit.theta), fit.school_effects["shrinkage"].to_numpy()
        L = np.column_stack([np.ones(len(means)), means])
        L = lam[:, None] * L + ((1 - lam)[:, None] * (a @ L / a.sum()) if shift == "estimated" else 0)
        V = np.array([[LINK.intercept_se**2, LINK.covariance], [LINK.covariance, LINK.slope_se**2]])
        added = fit.school_effects["se_comparative"] ** 2 - plain.school_effects["se_comparative"] ** 2
        np.testing.assert_allclose(added, np.diag(L @ V @ L.T), rtol=1e-5)

    def test_two_links_add_their_variances(self, small, benchmark):
        moved = to_new(to_new(small, "score", LINK), "prior_score", LINK)
        breaks = [ScaleBreak(2021, column, LINK) for column in ("score", "prior_score")]
        fit, plain = fit_benchmark(moved, 2021, benchmark, scale_breaks=breaks), fit_benchmark(small, 2021, benchmark)
        expected = sum(
            self.closed(moved, fit, loading, LINK)
            for loading in (("score", 1.0), ("prior_score", benchmark.coefficients["prior_score"]))
        )
        assert fit.shift_se**2 - plain.shift_se**2 == pytest.approx(expected, rel=1e-6)

    def test_the_spread_over_links_drawn_from_their_errors_is_the_stated_one(self, small, benchmark):
        """150 linking studies of the same test: the SD of the shifts, and of one school, within 3.5 Monte Carlo SEs."""
        moved, rng, draws = to_new(small, "score", LINK), np.random.default_rng(2), 150
        breaks = [ScaleBreak(2021, "score", LINK)]
        given, plain = (
            fit_benchmark(moved, 2021, benchmark, variances="baseline", scale_breaks=b)
            for b in (breaks, [ScaleBreak(2021, "score", Link(LINK.slope, LINK.intercept))])
        )
        found = []
        for z in rng.standard_normal((draws, 2)):
            intercept, slope = np.array([LINK.intercept, LINK.slope]) + LINK.factor @ z
            fit = fit_benchmark(
                moved,
                2021,
                benchmark,
                variances="baseline",
                scale_breaks=[ScaleBreak(2021, "score", Link(slope, intercept))],
            )
            found.append([fit.shift, fit.school_effects.loc["S0005", "effect"]])
        stated = [
            given.shift_se**2 - plain.shift_se**2,
            np.diff([f.school_effects.loc["S0005", "se_comparative"] ** 2 for f in (plain, given)])[0],
        ]
        ratio = np.var(found, axis=0, ddof=1) / stated
        assert (abs(ratio - 1) < 3.5 * np.sqrt(2 / (draws - 1))).all()

    def test_a_link_without_error_has_no_direction(self):
        assert perturbed([ScaleBreak(2021, "score", Link(1.1, 3.0))]) == []
        breaks = [ScaleBreak(2021, "score", LINK), ScaleBreak(2021, "prior_score", Link(slope_se=0.1))]
        assert len(perturbed(breaks)) == 3


@pytest.mark.parametrize("link", [None, Link(1.3, 20.0, 0.1, 9.0)])
def test_what_is_left_does_not_know_of_breaks_before_the_baseline(small, link):
    """The way back ends at the baseline's scale, so a break before it adds nothing, and need not have a link."""
    later = ScaleBreak(2021, "score", LINK)
    moved, left = on_one_scale(small, [ScaleBreak(2014, "score", link), later], BASELINE, [2021])
    alone, own = on_one_scale(small, [later], BASELINE, [2021])
    assert left == own
    pd.testing.assert_frame_equal(moved, alone)


def test_a_break_after_the_cohorts_is_left_as_it_stands(small):
    """Cohorts from it on are not carried back, and one without a link may lie before it."""
    breaks = [ScaleBreak(2022, "score"), ScaleBreak(2024, "score", LINK)]
    moved, left = on_one_scale(small, breaks, BASELINE, [2021])
    assert left == breaks[1:]
    pd.testing.assert_frame_equal(moved, small)


def test_records_on_one_scale_with_what_is_left_of_the_breaks_give_the_same_fits():
    records = read_records(Path(__file__).parents[1] / "reference" / "data" / "panel_sim.csv")
    breaks = [
        ScaleBreak(2019, "score", Link(1.1, -5.0, 0.01, 1.0, -0.004)),
        ScaleBreak(2024, "score", Link(0.8, 30.0, 0.004, 2.0, -0.006)),
        ScaleBreak(2021, "prior_score", Link(0.9, -10.0, 0.002, 1.0)),
    ]
    benchmark = fit_baseline(records, [2015, 2016, 2017], "score ~ prior_score + school_mean(prior_score)")
    moved, left = on_one_scale(records, breaks, [2015, 2016, 2017], [2019, 2021, 2024])
    for cohort in (2019, 2021, 2024):
        direct = fit_benchmark(records, cohort, benchmark, scale_breaks=breaks)
        carried = fit_benchmark(moved, cohort, benchmark, scale_breaks=left)
        np.testing.assert_allclose([carried.shift, carried.shift_se], [direct.shift, direct.shift_se], rtol=1e-8)
        alike(carried.school_effects, direct.school_effects, 1e-7, 1e-8)
