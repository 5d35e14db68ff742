"""Fits side by side: the algebra that ties recipes together, the rule for the school followed, parts of the error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

from valib.effects import side_by_side as compare
from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import check_prior, fit_benchmark
from valib.effects.relative import fit_relative
from valib.errors import RecordsError

EXACT = 1e-9  # score points; both sides are closed forms at one theta


@pytest.fixture(scope="module")
def world(panel):
    baselines, _ = compare.fit_estimators(panel, [2015, 2016])
    relative = [fit_relative(panel, t) for t in (2019, 2024)]
    default = [fit_benchmark(panel, t, baselines["mixed"], equating_se=2.0) for t in (2019, 2024)]
    return panel, baselines, relative, default


def test_an_estimator_that_the_formula_forbids_is_named_with_its_reason(panel):
    fits, refused = compare.fit_estimators(panel, [2015], "score ~ prior_score + school_mean(prior_score)")
    assert set(fits) == {"mixed", "ols"} and "does not vary within schools" in refused["within"]
    alone = fit_baseline(panel, [2015], "score ~ prior_score + school_mean(prior_score)", "ols")
    pd.testing.assert_series_equal(fits["ols"].coefficients, alone.coefficients)


def test_mean_of_an_absorbed_fit_is_mean_shrinkage_times_weighted_residual(world):
    panel, baselines, _, _ = world
    fit = fit_benchmark(panel, 2019, baselines["ols"], shift="absorbed")
    row = compare.spread_of_va({"question": [fit]}).iloc[0]
    a = fit.moments.n / (1 + fit.moments.n * fit.theta)
    rbar = fit.moments.means[:, -1] - fit.moments.means[:, :-1] @ fit.fixed_effects.to_numpy()
    assert row["mean"] == pytest.approx(row["shrinkage"] * (a @ rbar / a.sum()), abs=EXACT)
    assert np.isnan(row["shift"]) and row["sd"] == pytest.approx(np.sqrt(fit.tau2))


def test_mean_of_an_estimated_fit_is_the_shift(world):
    table = compare.spread_of_va({"default": world[3]})
    np.testing.assert_allclose(table["mean"], table["shift"], atol=EXACT)


class TestSchoolToFollow:
    def test_rule(self, world):
        fits = world[2]
        name = compare.school_to_follow(fits, min_students=20)
        n = pd.concat([f.school_effects["n"] for f in fits], axis=1, join="inner").min(axis=1)
        effect = fits[-1].school_effects["effect"].loc[n.index[n >= 20]]
        distance = (effect - fits[-1].school_effects["effect"].quantile(0.2)).abs()
        assert distance[name] == distance.min() and n[name] >= 20

    def test_named_school_wins_and_must_be_large_enough(self, world):
        fits = world[2]
        n = fits[-1].school_effects["n"]
        assert compare.school_to_follow(fits, 5, school=n.idxmax()) == n.idxmax()
        with pytest.raises(RecordsError, match="cannot be shown in cohort 2024: .* fewer than"):
            compare.school_to_follow(fits, int(n.min()) + 1, school=n.idxmin())

    def test_a_school_that_hides_a_small_one_is_not_followed(self, world):
        fit = world[2][-1]
        smallest = fit.school_effects["n"].nsmallest(3, keep="all")
        hider = smallest.index[-1]
        with pytest.raises(RecordsError, match="hides a school that has"):
            compare.school_to_follow([fit], int(smallest.iloc[0]) + 1, school=hider)

    def test_last_cohort_decides_where_no_school_is_large_in_all(self, world):
        early, late = world[2]
        floor = int(late.school_effects["n"].max())
        if (early.school_effects["n"] >= floor).any():
            floor += 1
            with pytest.raises(RecordsError, match="No school that may be shown has"):
                compare.school_to_follow([early, late], floor)
        else:
            assert compare.school_to_follow([early, late], floor) == late.school_effects["n"].idxmax()


def test_follow_shows_residual_times_shrinkage(world):
    _, _, relative, default = world
    school = compare.school_to_follow(relative)
    table = compare.follow_school({"relative": relative[-1], "default": default[-1]}, school).set_index("recipe")
    lam, r = table["shrinkage"], table["residual"]
    assert table.loc["relative", "effect"] == pytest.approx(lam["relative"] * r["relative"], abs=EXACT)
    delta = default[-1].shift
    assert table.loc["default", "effect"] == pytest.approx(delta + lam["default"] * (r["default"] - delta), abs=EXACT)
    assert compare.follow_school({"relative": relative[-1]}, "no such school").empty


def test_mean_over_schools_keeps_the_common_error(world):
    fit = world[3][-1]
    independent, actual = compare.mean_va_error(fit)
    J = fit.n_schools
    dense = np.diag(fit.school_effects["se_conditional"] ** 2) + fit.common @ fit.common.T
    assert actual == pytest.approx(np.sqrt(dense.sum()) / J, rel=1e-10)
    assert independent == pytest.approx(np.sqrt(np.trace(dense)) / J, rel=1e-10)
    assert actual > 2.0 > independent  # the equating error alone is 2 points and does not average out


def test_agreement_is_exact_where_only_the_level_moved():
    records = simulate(np.random.default_rng(11), schools=40, cohorts=(2015, 2019))
    moved = records.copy()
    moved.loc[moved["cohort"] == 2019, "score"] += 30.0
    benchmark = fit_baseline(records, [2015])
    tables = [
        compare.agreement_by_cohort([fit_relative(r, 2019)], [fit_benchmark(r, 2019, benchmark)]).iloc[0]
        for r in (records, moved)
    ]
    assert tables[1]["mean_difference"] - tables[0]["mean_difference"] == pytest.approx(30.0, abs=1e-6)
    assert tables[1]["correlation"] == pytest.approx(tables[0]["correlation"], abs=1e-9)


def test_prior_table_lists_the_baseline_first(world):
    checks = [check_prior(world[0], t, world[1]["mixed"]) for t in (2019, 2024)]
    table = compare.prior_table(checks)
    assert list(table["cohort"]) == ["baseline", "2019", "2024"]
    assert table["smd"].tolist()[1:] == [c.smd for c in checks]
    assert table.loc[0, "mean"] == checks[0].baseline_mean


def test_sensitivity_changes_one_choice_at_a_time(world):
    formulas = ["score ~ prior_score", "score ~ prior_score + school_mean(prior_score)", "score ~ prior_score + absent"]
    table, refused = compare.shift_sensitivity(world[0], 2024, [2015, 2016], formulas, level=0.9)
    assert table["choice"].tolist() == [
        "as in this chapter",
        "formula",
        "estimator",
        "estimator",
        "baseline cohort",
        "baseline cohort",
    ]
    assert list(refused) == [formulas[2]] and "absent" in refused[formulas[2]]
    direct = fit_benchmark(world[0], 2024, fit_baseline(world[0], [2016]), level=0.9)
    assert table.iloc[-1]["shift"] == direct.shift and table.iloc[-1]["upper"] == direct.shift_interval[1]
    alone, _ = compare.shift_sensitivity(world[0], 2024, [2015], formulas[:1])
    assert "baseline cohort" not in set(alone["choice"])
