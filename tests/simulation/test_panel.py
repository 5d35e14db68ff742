"""The generator draws from the world it states: exact equations without noise, moments with Monte Carlo error."""

import numpy as np
import pandas as pd
import pytest

from valib.errors import ParamsError
from valib.records.reading import left_out, read_records
from valib.simulation.panel import DEMO, PanelDesign, simulate_panel

# Bound on |estimate - truth| in Monte Carlo standard errors. A correct generator passes a bound of 4 in all but 6 of
# 100,000 draws of a seed; the seeds are fixed, so a test that passes once always passes.
Z = 4.0


def within_error(estimates, truth):
    """Whether the mean of independent estimates lies within Z of its standard errors of the truth."""
    estimates = np.asarray(estimates, dtype=float)
    return abs(estimates.mean() - truth) <= Z * estimates.std(ddof=1) / np.sqrt(estimates.size)


def replicates(design, count=40, seed=1):
    rng = np.random.default_rng(seed)
    return [simulate_panel(design, rng) for _ in range(count)]


def growth(panel, design):
    """Records with r, the score less what is expected of the prior score without drift and school."""
    records = panel.records
    return records.assign(r=records["score"] - design.score_mean - design.slope * (records["prior_score"] - 430))


def test_scores_without_noise_follow_the_equation_exactly():
    design = PanelDesign(
        cohorts=(2020, 2022),
        schools=7,
        tau=0.0,
        sigma=0.0,
        drift={2022: -9.0},
        slope_change={2022: 0.1},
        female_effect=4.0,
        ses_effect=3.0,
        context_effect=0.2,
        sorting=0.5,
    )
    records = simulate_panel(design, 3).records
    school_mean = records.groupby(["school_id", "year"])["prior_score"].transform("mean")
    late = (records["year"] == 2022).astype(float)
    expected = (
        500
        + (0.8 + 0.1 * late) * (records["prior_score"] - 430)
        + 4 * records["female"]
        + 3 * records["ses"]
        + 0.2 * (school_mean - 430)
        - 9 * late
    )
    np.testing.assert_allclose(records["score"], expected, rtol=1e-12)


def test_school_effects_of_the_truth_are_those_in_the_scores():
    design = PanelDesign(schools=30, sigma=0.0, tau=15.0)
    panel = simulate_panel(design, 4)
    cells = growth(panel, design).groupby(["year", "school_id"])["r"].agg(["mean", "std", "size"])
    truth = panel.truth.set_index(["cohort", "school"]).sort_index()
    np.testing.assert_allclose(cells["mean"], truth["u"], atol=1e-10)
    assert cells["size"].tolist() == truth["n"].tolist()
    assert cells["std"].max() < 1e-10


def test_drift_slope_and_variances_are_recovered():
    design = PanelDesign(schools=80, size=20, drift={2024: -14.0}, slope_change={2024: -0.05}, sorting=0.4)
    drift, slope, sigma2, tau2 = [], [], [], []
    for panel in replicates(design):
        records = growth(panel, design)
        cell = records.groupby(["year", "school_id"])
        within = records[["score", "prior_score"]] - cell[["score", "prior_score"]].transform("mean")
        late = within[records["year"] == 2024]
        slope.append((late["score"] * late["prior_score"]).sum() / (late["prior_score"] ** 2).sum())
        means = records[records["year"] == 2023].groupby("school_id")["r"].mean()
        sigma2.append(cell["r"].var().loc[2023].mean())
        tau2.append(means.var() - sigma2[-1] / 20)
        line = records["r"] - panel.truth["slope"].sub(0.8).groupby(panel.truth["cohort"]).first().reindex(
            records["year"]
        ).to_numpy() * (records["prior_score"] - 430)
        drift.append(line[records["year"] == 2024].mean())
    assert within_error(drift, -14.0)
    assert within_error(slope, 0.75)
    assert within_error(sigma2, 45.0**2)
    assert within_error(tau2, 15.0**2)


def test_effects_are_serially_correlated_by_calendar_gap_and_sorted_on():
    design = PanelDesign(
        cohorts=(2015, 2016, 2019), schools=400, size=1, rho=0.8, sorting=0.3, tau=10.0, intake_sd=20.0
    )
    gap1, gap3, gap4, sorting, sd, intake_sd = [], [], [], [], [], []
    for panel in replicates(design):
        u = panel.truth.pivot(index="school", columns="cohort", values="u")
        # zero means are known, so cross-products over the known variance are unbiased
        gap1.append((u[2015] * u[2016]).mean() / 100)
        gap3.append((u[2016] * u[2019]).mean() / 100)
        gap4.append((u[2015] * u[2019]).mean() / 100)
        last = panel.truth[panel.truth["cohort"] == 2019]
        sorting.append((last["u"] * last["intake"]).mean() / 200)
        sd.append((last["u"] ** 2).mean())
        intake_sd.append((last["intake"] ** 2).mean())
    assert within_error(gap1, 0.8)
    assert within_error(gap3, 0.8**3)
    assert within_error(gap4, 0.8**4)
    assert within_error(sorting, 0.3)
    assert within_error(sd, 100.0)
    assert within_error(intake_sd, 400.0)


def test_unreliable_prior_keeps_its_spread_and_flattens_the_slope():
    design = PanelDesign(schools=60, size=20, reliability=0.8, tau=0.0, sigma=10.0)
    spread, slope = [], []
    for panel in replicates(design):
        records = panel.records
        spread.append(((records["prior_score"] - 430) ** 2).mean())
        within = records[["score", "prior_score"]] - records.groupby(["year", "school_id"])[
            ["score", "prior_score"]
        ].transform("mean")
        slope.append((within["score"] * within["prior_score"]).sum() / (within["prior_score"] ** 2).sum())
    assert within_error(spread, 75.0**2)
    assert within_error(slope, 0.8 * (0.8 * 75**2 - 25**2) / (75**2 - 25**2))


def test_prior_of_a_disturbed_year_and_ses():
    design = PanelDesign(schools=60, size=25, prior_shift={2024: -12.0}, prior_spread={2024: 1.2}, intake_sd=30.0)
    level, spread, within, between = [], [], [], []
    for panel in replicates(design):
        records = panel.records
        level.append(records.loc[records["year"] == 2024, "prior_score"].mean())
        cell = records.groupby(["year", "school_id"])
        spread.append(cell["prior_score"].var().loc[2024].mean())
        deviations = records[["prior_score", "ses"]] - cell[["prior_score", "ses"]].transform("mean")
        early = deviations[records["year"] == 2023]
        # n - 1 of n degrees of freedom are left within each cell of 25
        within.append((early["prior_score"] * early["ses"]).mean() * 25 / 24)
        between.append(records["ses"].pow(2).mean())
    within_sd = np.sqrt(75**2 - 30**2)
    assert within_error(level, 430 - 12.0)
    assert within_error(spread, (1.2 * within_sd) ** 2)
    assert within_error(within, 0.3 * np.sqrt(1 - 0.5**2) * within_sd)
    assert within_error(between, 1.0)


def test_moved_students_carry_half_of_another_school():
    design = PanelDesign(schools=100, size=40, mobility=0.5, sigma=0.0, tau=20.0)
    slopes = []
    for panel in replicates(design):
        records = growth(panel, design).merge(panel.truth, left_on=["school_id", "year"], right_on=["school", "cohort"])
        slopes.append((records["r"] * records["u"]).sum() / (records["u"] ** 2).sum())
    # the school left is drawn from all schools, so 1 in 100 "moves" within the own school
    assert within_error(slopes, 1 - 0.5 * 0.5 * (1 - 1 / 100))


def test_sizes_follow_the_log_normal_and_its_limits():
    design = PanelDesign(cohorts=(2024,), schools=2000, size_median=30.0, size_log_sd=0.8, size_change=0.0)
    sizes = simulate_panel(design, 1).truth["n"]
    assert np.log(sizes).mean() == pytest.approx(np.log(30), abs=Z * 0.8 / np.sqrt(2000))
    assert np.log(sizes).std() == pytest.approx(0.8, rel=Z / np.sqrt(4000))
    limited = PanelDesign(schools=500, size_log_sd=1.5, size_limits=(5, 60))
    sizes = simulate_panel(limited, 1).truth["n"]
    assert (sizes.min(), sizes.max()) == (5, 60)
    assert (simulate_panel(PanelDesign(schools=9, size=12), 1).truth["n"] == 12).all()


def test_schools_open_close_and_miss_cohorts_but_none_vanishes():
    cohorts = tuple(range(2015, 2025))
    truth = simulate_panel(PanelDesign(cohorts=cohorts, schools=300, size=1, open_late=1.0), 2).truth
    spans = truth.groupby("school")["cohort"].agg(["min", "max", "size"])
    assert (spans["max"] == 2024).all() and spans["min"].nunique() == 10
    assert (spans["size"] == 2025 - spans["min"]).all()  # without gaps
    truth = simulate_panel(PanelDesign(cohorts=cohorts, schools=300, size=1, close_early=1.0), 2).truth
    assert truth.groupby("school")["cohort"].min().eq(2015).all()
    truth = simulate_panel(PanelDesign(cohorts=cohorts, schools=300, size=1, cell_missing=0.2), 2).truth
    assert len(truth) / 3000 == pytest.approx(0.8, abs=Z * np.sqrt(0.16 / 3000))
    truth = simulate_panel(PanelDesign(cohorts=cohorts, schools=300, size=1, cell_missing=1.0), 2).truth
    assert len(truth) == truth["school"].nunique() == 300


def test_missing_values_are_counted_by_the_reader():
    design = PanelDesign(schools=200, size=25, missing_prior=0.1, missing_score=0.05)
    records = read_records(simulate_panel(design, 5).records)
    rows = left_out(records).groupby("reason")["rows"].sum()
    assert rows["no score"] / 10_000 == pytest.approx(0.05, abs=Z * np.sqrt(0.05 * 0.95 / 1e4))
    assert rows["no prior score"] / 10_000 == pytest.approx(0.095, abs=Z * np.sqrt(0.095 * 0.905 / 1e4))
    assert len(records) + rows.sum() == 10_000


def test_same_seed_same_panel_and_a_generator_moves_on():
    first, second = simulate_panel(DEMO, 7), simulate_panel(DEMO, np.random.default_rng(7))
    pd.testing.assert_frame_equal(first.records, second.records)
    pd.testing.assert_frame_equal(first.truth, second.truth)
    rng = np.random.default_rng(7)
    one, two = simulate_panel(DEMO, rng), simulate_panel(DEMO, rng)
    assert not one.truth["u"].equals(two.truth["u"])


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_serial_correlation_at_its_ends(rho):
    u = simulate_panel(PanelDesign(schools=300, size=1, rho=rho), 1).truth.pivot(
        index="school", columns="cohort", values="u"
    )
    if rho == 1.0:
        np.testing.assert_allclose(u[2023], u[2024])
    else:
        assert abs(np.corrcoef(u[2023], u[2024])[0, 1]) < Z / np.sqrt(300)


def test_smallest_worlds():
    panel = simulate_panel(PanelDesign(cohorts=(2024,), schools=1, size=1, tau=0.0, intake_sd=0.0), 1)
    assert len(panel.records) == 1 and panel.truth["u"].tolist() == [0.0]
    assert panel.truth["intake"].tolist() == [0.0]
    assert read_records(panel.records)["school"].str.len().tolist() == [4]
    crowded = simulate_panel(PanelDesign(cohorts=(2024,), schools=12_000, size=1), 1)
    assert crowded.truth["school"].is_unique


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"cohorts": ()}, "cohorts must be"),
        ({"cohorts": (2024, 2023)}, "cohorts must be"),
        ({"schools": 0}, "schools must lie between 1"),
        ({"size": 0}, "size must lie between 1"),
        ({"rho": 1.1}, "rho must lie between 0 and 1"),
        ({"sorting": -2}, "sorting must lie between -1 and 1"),
        ({"tau": -1.0}, "tau must lie between 0"),
        ({"sigma": np.nan}, "sigma must lie between 0"),
        ({"size_limits": (9, 3)}, "size_limits must be"),
        ({"intake_sd": 70.0, "reliability": 0.8}, "intake_sd"),
        ({"drift": {2020: 1.0}}, "drift names cohort 2020"),
    ],
)
def test_worlds_that_cannot_be_are_refused(parameters, words):
    with pytest.raises(ParamsError, match=words):
        PanelDesign(**parameters)


def test_ordinary_years_and_schools_spreads_are_drawn_and_told():
    """Without other noise a score less its expectation is the year's own part; the spread within a school is sigma_j."""
    design = PanelDesign(
        cohorts=tuple(range(2001, 2021)), schools=40, size=60, tau=0.0, sigma=10.0, cohort_sd=3.0, sigma_log_sd=0.3
    )
    shock, logs = [], []
    for panel in replicates(design, count=10):
        records = growth(panel, design)
        truth = panel.truth
        by_cohort = truth.groupby("cohort")["shock"].first()
        mean = records.groupby("year")["r"].mean()
        assert (mean - by_cohort).abs().max() < Z * 1.5 * 10 / np.sqrt(40 * 60)
        within = records.groupby("school_id")["r"].std()
        told = truth.groupby("school")["sigma"].first()
        np.testing.assert_allclose(
            np.sqrt(within**2 - by_cohort.var(ddof=0)), told, rtol=0.12
        )  # 1,200 students a school: 2% of Monte Carlo error, and the years' own part
        shock.append(by_cohort.std(ddof=1) ** 2)
        logs.append(np.log(told / 10).std(ddof=1) ** 2)
    assert within_error(shock, 9.0)
    assert within_error(logs, 0.09)
