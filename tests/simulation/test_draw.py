"""Simulated worlds: what is drawn has the stated truth, with and without students."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from valib.errors import ParamsError
from valib.simulation.draw import _draw_students, draw
from valib.simulation.worlds import PLAIN, SCENARIOS, Scenario, combine, scenario

Z = 4.5  # Monte Carlo standard errors: one false alarm in 150,000 checks, and the seeds are fixed


def rngs(count, seed=1):
    return [np.random.default_rng(q) for q in np.random.SeedSequence(seed).spawn(count)]


def near(values, truth):
    """The mean of independent values lies near the truth."""
    values = np.asarray(values, dtype=float)
    assert abs(values.mean() - truth) < Z * values.std(ddof=1) / np.sqrt(len(values)), (values.mean(), truth)


def within(worlds, a, b, t):
    """Pooled cross-product of columns a and b about school means over its degrees of freedom, by replicate."""
    n = np.maximum(worlds.n[:, t], 1)
    products = worlds.cross[:, t, :, a, b] - worlds.sums[:, t, :, a] * worlds.sums[:, t, :, b] / n
    return products.sum(axis=1) / (worlds.n[:, t] - (worlds.n[:, t] > 0)).sum(axis=1)


def means(worlds, column, t):
    return worlds.sums[:, t, :, column] / worlds.n[:, t]


@pytest.mark.parametrize("by_student", [False, True], ids=["sums", "students"])
def test_both_ways_of_drawing_give_the_stated_world(by_student):
    s = combine(
        "all",
        "drift",
        "sorting",
        "serial",
        schools=60,
        slope_change=-0.1,
        intake_change=12.0,
        reliability=0.85,
        focal_reliability=0.7,
        prior_easier=5.0,
        equating_se=3.0,
        sizes=(1, 20),
    )
    if by_student:
        parts = [_draw_students(s, rng) for rng in rngs(300)]
        w = type(draw(s, rngs(1)))(*(np.stack([p[i] for p in parts]) for i in range(6)))
    else:
        w = draw(s, rngs(300))
    vx, (base_error, focal_error) = 75.0**2 - 25.0**2, s.error_variances
    near(within(w, 1, 1, 0), vx + base_error)
    near(within(w, 1, 1, 3), vx + focal_error)
    near(within(w, 1, 2, 0), 0.8 * vx)
    near(within(w, 1, 2, 3), 0.7 * vx)
    near(within(w, 2, 2, 3), 0.7**2 * vx + 45.0**2)
    near(means(w, 1, 0).mean(axis=1), 0.0)
    near(means(w, 1, 3).mean(axis=1), 12.0 + 5.0)
    near(means(w, 2, 3).mean(axis=1), -14.0 + 0.7 * 12.0)
    near((w.va - w.effects[:, -1]).mean(axis=1), s.shift)
    assert s.shift == pytest.approx(-14.0 - 0.1 * 12.0)
    # what a school's students gain on the baseline's line is its truth, up to their own noise and the equating error
    error = means(w, 2, 3) - 0.8 * (means(w, 1, 3) - 5.0) - w.va
    near(error.mean(axis=1), 0.0)
    near((error**2 * w.n[:, 3]).mean(axis=1) - 3.0**2 * w.n[:, 3].mean(axis=1), 45.0**2 + 0.64 * focal_error)


def test_effects_intakes_and_their_correlations():
    s = combine("x", "sorting", "serial")
    w = draw(s, rngs(200))
    u, focal = w.effects, w.effects[:, -1]
    near((u**2).mean(axis=(1, 2)), 15.0**2)
    near((u[:, 2] * u[:, 3]).mean(axis=1), 15.0**2 * 0.9**2)
    near((u[:, 0] * u[:, 3]).mean(axis=1), 15.0**2 * 0.9**4)
    near((w.intake * focal).mean(axis=1), 0.78 * 25 * 15)
    near((w.intake**2).mean(axis=1), 25.0**2)
    assert s.effect_correlation == pytest.approx(0.81)


def test_a_baseline_after_the_focal_cohort():
    w = draw(scenario("serial", baseline=(2018, 2021), focal=2019), rngs(200))
    near((w.effects[:, 0] * w.effects[:, 2]).mean(axis=1), 15.0**2 * 0.9)
    near((w.effects[:, 1] * w.effects[:, 2]).mean(axis=1), 15.0**2 * 0.9**2)


def test_heavy_tails_keep_the_variance():
    s = scenario("heavy tails", student_df=6.0, school_df=6.0)  # with four the variance's own variance is infinite
    w = draw(s, rngs(80))
    near(within(w, 2, 2, 0) - 0.64 * within(w, 1, 1, 0), 45.0**2)
    near((w.effects[:, 0] ** 2).mean(axis=1), 15.0**2)
    kurtosis = (w.effects**4).mean() / (w.effects**2).mean() ** 2
    assert 4 < kurtosis < 10  # 6 for six degrees of freedom, 3 for normal effects


def test_spread_that_varies_keeps_the_average_variance():
    w = draw(scenario("heteroscedastic"), rngs(80))
    r = within(w, 2, 2, 0) - 1.6 * within(w, 1, 2, 0) + 0.64 * within(w, 1, 1, 0)
    near(r, 45.0**2)
    by_school = w.cross[:, 0, :, 2, 2] - 1.6 * w.cross[:, 0, :, 1, 2] + 0.64 * w.cross[:, 0, :, 1, 1]
    assert (by_school / w.n[:, 0]).std() > 2 * (45.0**2 * np.sqrt(2 / 35))  # far more than chance


def test_missing_students_are_the_weaker_ones_of_the_focal_cohort():
    s = scenario("missing students", sizes=(50, 50))
    w = draw(s, rngs(60))
    assert (w.n[:, :3] == 50).all()
    near(1 - w.n[:, 3].mean(axis=1) / 50, 0.1)
    gain = (w.sums[:, 3, :, 2] - 0.8 * w.sums[:, 3, :, 1]) / np.maximum(w.n[:, 3], 1) - w.effects[:, 3]
    assert gain.mean() > 2  # the weak stay away, so that the school looks better than its students
    everywhere = draw(scenario("missing students", missing_baseline=True), rngs(2))
    assert (everywhere.n[:, 0] < draw(scenario("missing students"), rngs(2)).n[:, 0]).any()


def test_cells_give_sizes_and_absent_schools():
    cells = ((5, 0, 7, 9), (1, 2, 0, 0), (4, 4, 4, 4))
    w = draw(Scenario("c", cells=cells), rngs(2))
    assert (w.n == np.array(cells).T).all()
    assert (w.cross[:, 1, 0] == 0).all() and (w.cross[:, 3, 1] == 0).all()


@pytest.mark.parametrize("by_student", [False, True], ids=["sums", "students"])
def test_ordinary_years_and_slopes_of_schools_have_their_spread(by_student):
    """v_t: the mean over schools varies by cohort_sd^2 beyond what schools and students make; s_j: Var(y) about the
    means of cells holds slope_sd^2 Var(x) beside the common slope, and a school keeps its slope."""
    s = scenario("plain", schools=40, sizes=(60, 60), tau=2.0, sigma=20.0, cohort_sd=3.0, slope_sd=0.2)
    parts = [_draw_students(s, rng) for rng in rngs(200)] if by_student else None
    w = (
        type(draw(s, rngs(1)))(*(np.stack([p[i] for p in parts]) for i in range(6)))
        if by_student
        else draw(s, rngs(200))
    )
    vx = 75.0**2 - 25.0**2
    level = (means(w, 2, slice(None)) - 0.8 * means(w, 1, slice(None))).mean(axis=2)
    own = (2.0**2 + (20.0**2 + 0.2**2 * vx) / 60) / 40
    near(level.ravel() ** 2, 3.0**2 + own)
    near(within(w, 2, 2, 1), (0.8**2 + 0.2**2) * vx + 20.0**2)
    n = w.n[..., None, None]
    about = w.cross - w.sums[..., :, None] * w.sums[..., None, :] / n
    slopes = about[..., 1, 2] / about[..., 1, 1] - 0.8
    near((slopes[:, 0] * slopes[:, -1]).mean(axis=1), 0.2**2)
    # the truth of a school holds its year and what its slope makes of who came
    error = means(w, 2, -1) - 0.8 * means(w, 1, -1) - w.va
    near((error**2).mean(axis=1), 20.0**2 / 60)


@pytest.mark.parametrize("name", ["floor", "ceiling"])
def test_scores_stop_at_the_limit_and_the_truth_does_not(name):
    s = replace(scenario(name, schools=300), sizes=(1, 1))
    free = replace(s, floor=None, ceiling=None, student_df=None)
    w, without = draw(s, rngs(20)), [_draw_students(free, rng) for rng in rngs(20)]
    y = w.sums[..., 2]
    limit = s.ceiling if name == "ceiling" else s.floor
    assert (y.max() if name == "ceiling" else y.min()) == limit
    chance = stats.norm.cdf(-80.0, scale=np.sqrt(0.64 * 75.0**2 + 15.0**2 + 45.0**2))
    near((y == limit).mean(axis=(1, 2)), chance)
    assert np.array_equal(w.va, np.stack([one[4] for one in without]))
    assert np.array_equal(y, np.clip(np.stack([one[1] for one in without])[..., 2], s.floor, s.ceiling))


def test_one_student_has_no_spread():
    w = draw(Scenario("one", sizes=(1, 1)), rngs(1))
    x, y = w.sums[..., 1], w.sums[..., 2]
    assert np.allclose(w.cross[..., 1, 1], x * x) and np.allclose(w.cross[..., 1, 2], x * y)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_named_scenario_differs_from_the_plain_one_and_can_be_drawn(name):
    s = scenario(name, schools=6)
    w = draw(s, rngs(1))
    assert np.isfinite(w.cross).all() and s.about
    eigen = np.linalg.eigvalsh(w.cross)
    assert (eigen > -1e-9 * np.abs(eigen).max()).all()
    different = {
        k: v
        for k, v in SCENARIOS[name].parameters().items()
        if k not in ("name", "about") and v != PLAIN.parameters()[k]
    }
    assert (name == "plain") == (not different)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"rho": 1.1}, "rho"),
        ({"tau": -1}, "tau"),
        ({"focal": 2016}, "focal"),
        ({"baseline": ()}, "baseline"),
        ({"sizes": (9, 3)}, "sizes"),
        ({"intake_sd": 80}, "intake_sd"),
        ({"reliability": 0}, "reliability"),
        ({"student_df": 2}, "freedom"),
        ({"cells": ((1, 2),)}, "cells"),
        ({"schools": 1}, "schools"),
        ({"cohort_sd": -1.0}, "cohort_sd"),
        ({"slope_sd": -0.1}, "slope_sd"),
        ({"floor": 10.0, "ceiling": 10.0}, "floor"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_impossible_worlds_are_refused(changes, part):
    with pytest.raises(ParamsError, match=part):
        scenario("plain", **changes)


def test_an_unknown_scenario_is_named():
    with pytest.raises(ParamsError, match="'nope'.*plain"):
        scenario("nope")


def test_combining_takes_what_each_changes():
    s = combine("both", "drift", "small schools", rho=0.5)
    assert (s.delta, s.sizes, s.rho, s.name, s.about) == (-14.0, (3, 15), 0.5, "both", "drift + small schools")
