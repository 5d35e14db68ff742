"""Quantile value added of schools: what it centres on, coverage of its intervals, the benchmark, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import valib as va
from valib.errors import ModelError

MEASURED = Path(__file__).parents[1] / "coverage" / "quantiles.json"
QUICK = {"draws": 250, "warmup": 150}


def world(rng, schools=40, cohort=2019, tau=15.0, sigma=45.0, move=0.0, spread=1.0, size=(10, 41)):
    """Normal students: the conditional p-quantile of school j is b'x + u_j + sigma z_p, so all quantiles are known."""
    n = rng.integers(*size, schools)
    school = np.repeat(np.arange(schools), n)
    u = rng.normal(0, tau, schools)
    prior = rng.normal(430, 75, len(school))
    score = 150 + move + 0.8 * prior + u[school] + rng.normal(0, sigma * spread, len(school))
    names = np.char.mod("S%03d", school)
    frame = pd.DataFrame({"school": names, "cohort": cohort, "score": score, "prior_score": prior})
    return frame.astype({"school": "str"}), u


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_effects_are_those_of_known_normal_schools(p):
    """VA_j = u_j + sigma z_p - sqrt(tau2 + sigma2) z_p. 150 schools: the mean distance is within 4 of its standard errors
    and the effects follow the truth as closely as their own errors say."""
    data, u = world(np.random.default_rng(5), schools=150)
    fit = va.fit_quantile(data, quantile=p, draws=600, warmup=200)  # the worst of 150 schools has met then
    truth = u + stats.norm.ppf(p) * (45 - np.hypot(15, 45))
    off = fit.school_effects["effect"].to_numpy() - truth
    assert abs(off.mean()) < 4 * np.sqrt(15**2 / 150 + 1.2**2)
    assert np.sqrt((off**2).mean()) == pytest.approx(np.sqrt((fit.school_effects["se"] ** 2).mean()), rel=0.2)
    assert fit.converged


def test_the_marginal_quantile_is_passed_by_its_share_of_students():
    data, _ = world(np.random.default_rng(6), schools=150)
    for p in (0.25, 0.75):
        fit = va.fit_quantile(data, quantile=p, **QUICK)
        share, se = va.share_below(fit, data, 2019)
        assert share == pytest.approx(p, abs=3 * se)


def test_the_mean_of_quantile_value_added_is_minus_the_offset_and_not_nought():
    data, _ = world(np.random.default_rng(7), schools=100, tau=30)
    low, high = (va.fit_quantile(data, quantile=p, **QUICK) for p in (0.1, 0.9))
    for fit in (low, high):
        assert fit.school_effects["effect"].mean() == pytest.approx(-fit.offset, abs=2)
    assert low.offset < -2 and high.offset > 2


@pytest.mark.parametrize(("move", "spread"), [(-14.0, 1.0), (0.0, 1.3)])
def test_a_benchmark_finds_how_each_quantile_has_moved(move, spread):
    """A shift moves all quantiles alike; a wider spread moves the low one down and the high one up."""
    rng = np.random.default_rng(9)
    before, _ = world(rng, 120, 2015)
    now, _ = world(rng, 120, 2019, move=move, spread=spread)
    for p in (0.25, 0.75):
        z = stats.norm.ppf(p)
        truth = move + z * (np.hypot(15, 45 * spread) - np.hypot(15, 45))
        base = va.fit_quantile(before, quantile=p, **QUICK)
        fit = va.fit_quantile(now, quantile=p, benchmark=base, **QUICK)
        assert fit.shift == pytest.approx(truth, abs=3.5 * fit.shift_se)
        low, high = fit.shift_interval
        assert low < fit.shift < high
        relative = va.fit_quantile(now, quantile=p, **QUICK)
        moved = fit.school_effects["effect"] - relative.school_effects["effect"]
        assert moved.mean() == pytest.approx(fit.shift, abs=1.5)
        share, se = va.share_below(base, now, 2019)
        assert np.sign(share - p) == -np.sign(fit.shift) or abs(share - p) < 3 * se


def test_the_benchmark_error_is_in_the_shift():
    """Ten baseline schools say less than a hundred; the focal cohort is the same."""
    rng = np.random.default_rng(10)
    now, _ = world(rng, 100)
    se = []
    for schools in (10, 200):
        base = va.fit_quantile(world(rng, schools, 2015)[0], quantile=0.5, **QUICK)
        se.append(va.fit_quantile(now, quantile=0.5, benchmark=base, **QUICK).shift_se)
    assert se[0] > 1.4 * se[1]


def test_intervals_cover_as_was_measured():
    """The committed run of tests/coverage/quantiles.py: calibrated intervals within 92.5 to 97 percent for errors that
    are not Laplace, where those of the Laplace model are too narrow; both hold for Laplace errors."""
    table = pd.DataFrame(json.loads(MEASURED.read_text())["worlds"])
    assert (table["replicates"] >= 200).all()
    calibrated = table["calibrated"].where(table["schools"] >= 20).dropna()
    assert calibrated.between(0.925, 0.97).all()
    own = table.loc[table["errors"] == "laplace", "laplace"]
    assert own.between(0.925, 0.97).all()
    normal = table[table["errors"] == "normal"]
    assert (normal["laplace"] < normal["calibrated"] - 2 * np.hypot(normal["mcse"], normal["mcse"])).all()


def test_several_cohorts_have_a_row_a_school_and_cohort():
    rng = np.random.default_rng(3)
    data = pd.concat([world(rng, 12, t)[0] for t in (2015, 2016)])
    fit = va.fit_quantile(data, [2015, 2016], **QUICK)
    assert fit.school_effects.index.names == ["cohort", "school"] and len(fit.school_effects) == 24
    assert fit.n_schools == 12


def test_the_same_seed_gives_the_same_table():
    data, _ = world(np.random.default_rng(3), 12)
    one, two = (va.fit_quantile(data, draws=50, warmup=50, seed=4).school_effects for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_it_prints_and_says_when_chains_have_not_met():
    data, _ = world(np.random.default_rng(3), 12)
    fit = va.fit_quantile(data, draws=20, warmup=0)
    assert not fit.converged and "more draws" in str(fit) and "Quantile value added" in str(fit)
    fine = replace(fit, diagnostics=fit.diagnostics.assign(rhat=1.0, ess_bulk=1e3, ess_tail=1e3))
    assert fine.converged and "more draws" not in str(fine)


def test_what_cannot_be_asked_is_refused():
    data, _ = world(np.random.default_rng(3), 12)
    for given, words in (
        ({"quantile": 1.0}, "between 0 and 1"),
        ({"errors": "normal"}, "must be one of calibrated, laplace"),
        ({"draws": 0}, "at least one draw"),
        ({"formula": "score ~ nothing"}, "nothing"),
    ):
        with pytest.raises(ModelError, match=words):
            va.fit_quantile(data, **given)
    base = va.fit_quantile(data, quantile=0.25, draws=20, warmup=5)
    with pytest.raises(ModelError, match=r"of quantile 0\.25, not 0\.75"):
        va.fit_quantile(data, quantile=0.75, benchmark=base)
    with pytest.raises(ModelError, match="Name the cohort"):
        va.fit_quantile(pd.concat([data, data.assign(cohort=2020)]))
    with pytest.raises(ModelError, match="read the records into memory"):
        va.fit_quantile(object())
