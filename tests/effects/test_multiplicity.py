"""Sides of many schools: counted, held against chance, and with few false ones (Benjamini and Hochberg)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from scipy import stats

import valib as va
from valib.effects.multiplicity import adjusted, count_sides, normal_tails, sides_at, sides_line, tail_probabilities
from valib.study import tables

SIDES = ["above", "below", "not told apart"]
pytestmark = pytest.mark.filterwarnings("ignore::valib.ValibWarning")


@pytest.fixture(scope="module")
def exam():
    return va.fit_relative(va.load_records("exam"))


def test_by_hand_five_schools():
    """q_(i) = min over k >= i of 5 p_(k) / k: .005, .02, .05 (= 5 * .03 / 3), .0625, .2."""
    p = np.array([0.2, 0.001, 0.05, 0.008, 0.03])
    np.testing.assert_allclose(adjusted(p), [0.2, 0.005, 0.0625, 0.02, 0.05], rtol=1e-12)
    effect = np.array([1.0, -9.0, 3.0, 6.0, 5.0])
    assert sides_at(effect, adjusted(p), 0.05).tolist() == [
        "not told apart", "below", "not told apart", "above", "above"
    ]  # fmt: skip


def test_the_adjusted_are_scipys_and_unknown_ones_do_not_count():
    p = np.random.default_rng(2).uniform(size=40) ** 2
    np.testing.assert_array_equal(adjusted(p), stats.false_discovery_control(p))
    with_gaps = np.insert(p, [3, 20], np.nan)
    np.testing.assert_array_equal(adjusted(with_gaps)[~np.isnan(with_gaps)], stats.false_discovery_control(p))
    assert np.isnan(adjusted(np.array([np.nan, np.nan]))).all() and len(adjusted(np.array([]))) == 0


@pytest.mark.parametrize("intervals", ["integrated", "plugin"])
def test_an_interval_leaves_out_zero_just_where_the_tail_probability_is_below_its_complement(intervals):
    fit = va.fit_relative(va.load_records("demo"), 2024, intervals=intervals)
    p = tail_probabilities(fit)
    assert ((p < 0.05) == fit.school_effects["side"].isin(["above", "below"])).all()
    assert np.array_equal(
        np.sign(fit.school_effects["effect"])[p < 0.05] > 0, (fit.school_effects["side"] == "above")[p < 0.05]
    )


def test_normal_tails_are_those_of_the_normal_distribution():
    np.testing.assert_allclose(normal_tails([1.959963984540054, -1.959963984540054, 0.0], 1.0), [0.05, 0.05, 1.0])
    assert np.isnan(normal_tails([0.0, 1.0], [0.0, np.nan])).all()


def test_counts_of_sides_and_of_chance(exam):
    counts = va.side_counts([exam]).iloc[0]
    sides = exam.school_effects["side"].value_counts()
    assert counts[["above", "below", "unclear"]].tolist() == sides[["above", "below", "not told apart"]].tolist()
    assert counts["schools"] == 65 and counts["by_chance"] == pytest.approx(65 * 0.05)
    assert counts[["above_share", "below_share", "unclear_share"]].sum() == pytest.approx(1)
    assert "of 65 schools 14 above (22%), 14 below (22%), 37 not told apart (57%)" in sides_line(0, dict(counts), 0.95)


def test_without_intervals_there_is_no_side_and_no_share():
    nothing = count_sides(["", ""], 0.95)
    assert nothing["schools"] == 0 and nothing["by_chance"] == 0 and np.isnan(nothing["above_share"])
    assert sides_line(2024, nothing, 0.95) == "2024: no school has an interval of its own, so none is above or below."


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_must_lie_between_0_and_1(exam, rate):
    with pytest.raises(va.ModelError, match="false discovery rate must lie between 0 and 1"):
        va.false_discoveries(exam, rate)


@pytest.mark.parametrize("intervals", ["integrated", "plugin"])
def test_where_schools_do_not_differ_no_side_is_told(intervals):
    """The boundary: plug-in intervals are missing, integrated ones hold 0."""
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"school": np.repeat(np.arange(30), 20).astype(str), "cohort": 2024})
    rows["student"], rows["prior_score"] = np.arange(600).astype(str), rng.normal(size=600)
    rows["score"] = rows["prior_score"] + rng.normal(size=600)
    rows["score"] -= rows.groupby("school")["score"].transform("mean") - rows.groupby("school")[
        "prior_score"
    ].transform("mean")
    fit = va.fit_relative(va.read_records(rows), 2024, intervals=intervals)
    assert fit.singular
    table = va.false_discoveries(fit)
    allowed = {"plugin": {""}, "integrated": {"not told apart"}}[intervals]
    assert set(fit.school_effects["side"]) == set(table["side_fdr"]) == allowed
    assert set(tables.school_effects([fit], fdr=0.05)[0]["side"]) == allowed


def test_schools_held_back_do_not_move_the_bound_of_the_others():
    fit = va.fit_relative(va.load_records("exam"))
    shown = va.only_shown(fit.school_effects, 10)
    table = va.false_discoveries(fit, 0.05, min_students=10)
    assert table.index.equals(shown.index)
    p = pd.Series(tail_probabilities(fit), fit.school_effects.index)[shown.index]
    np.testing.assert_array_equal(table["q"], stats.false_discovery_control(p))
    written = tables.school_effects([fit], 10, 0.05)[0].set_index("school")
    assert written["side_fdr"].tolist() == table["side_fdr"].tolist()
    assert "side_fdr" not in tables.school_effects([fit], 10)[0]


def test_the_share_of_false_ones_is_held_where_few_or_no_schools_differ():
    """800 data sets, plug-in with the true variances, of which 0 or 12 of 120 schools differ from 0.

    The proportion of false ones among those called averages to at most the rate; without control, each interval by
    itself, it is more than twice that where few differ.
    """
    rng, J, n, sigma, rate = np.random.default_rng(11), 120, 30, 45.0, 0.1
    for differing in (0, 12):
        found, each = [], []
        u = np.zeros(J)
        u[:differing] = np.where(np.arange(differing) % 2, 45.0, -45.0)
        tau2 = max(float((u**2).mean()), 25.0)
        factor = n * tau2 / (n * tau2 + sigma**2)
        se = np.sqrt(tau2 * (1 - factor))
        for _ in range(800):
            effect = factor * (u + rng.normal(0, sigma / np.sqrt(n), J))
            p = normal_tails(effect, se)
            for rejected, out in ((adjusted(p) <= rate, found), (p < rate, each)):
                out.append((rejected & (u == 0)).sum() / max(rejected.sum(), 1))
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) <= rate + 3 * error
        assert np.mean(each) > 2 * rate or differing == 0
        if differing:
            assert np.mean(found) > 0, "something is called"


def test_where_no_school_differs_any_is_called_as_often_as_the_rate_says():
    """Exact tail probabilities, all uniform: the false discovery rate is then the probability of calling any, the rate."""
    rng, rate, R = np.random.default_rng(12), 0.1, 4000
    called = np.mean([(adjusted(p) <= rate).any() for p in rng.uniform(size=(R, 60))])
    assert abs(called - rate) <= 3 * np.sqrt(rate * (1 - rate) / R)


def test_the_rate_is_held_by_the_posterior_of_fitted_data_sets():
    """Worlds in which one school in ten differs: the whole fit, variances estimated and integrated over."""
    false, called, truly = [], 0, {f"S{k:04d}" for k in range(6)}
    for seed in range(12):
        frame = simulate(np.random.default_rng(100 + seed), 60, (40, 40), (2024,), tau=1e-6).drop(columns="u")
        frame.loc[frame["school"].isin(truly), "score"] += 60.0
        table = va.false_discoveries(va.fit_relative(va.read_records(frame), 2024), 0.05)
        hits = table.index[table["side_fdr"] == "above"]  # the others lie below the average, by 6 points, and not above
        false.append(sum(school not in truly for school in hits) / max(len(hits), 1))
        called += len(hits)
    assert called >= 36 and np.mean(false) <= 0.05 + 3 * np.std(false) / np.sqrt(len(false))


def test_a_joint_fit_has_sides_by_cohort():
    records = va.load_records("demo")
    fit = va.fit_joint(records, [2023, 2024])
    table, _ = tables.joint_effects(fit, 5, "plugin", 0.05)
    for _, part in table.groupby("cohort"):
        p = 2 * stats.norm.sf(np.abs(part["effect"]) / part["se_comparative"])
        called, up = stats.false_discovery_control(p) <= 0.05, part["effect"] > 0
        assert part["side_fdr"].tolist() == np.select([called & up, called & ~up], SIDES[:2], SIDES[2]).tolist()
        by_limits = np.select([part["lower"] > 0, part["upper"] < 0], SIDES[:2], SIDES[2])
        assert part["side"].tolist() == by_limits.tolist()
    lines = tables.side_lines(table, fit.level)
    assert len(lines) == 2 and all("With the false discovery rate held, " in line for line in lines)
