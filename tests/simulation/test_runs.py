"""The Monte Carlo engine: reproducible, resumable, and the published numbers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from valib.errors import ParamsError
from valib.simulation import runs as montecarlo
from valib.simulation.methods import Method
from valib.simulation.worlds import scenario

SMALL = scenario("drift", schools=20)
TINY = [SMALL, scenario("heavy tails", schools=20)]
SOME = [
    "seed",
    "default",
    Method("boot", intervals="bootstrap", draws=10, replicates=60),
    Method("eb", "correlation", way="eb", replicates=60),
]
SETTINGS = {"replicates": 110, "seed": 4}  # three chunks a scenario, the last one short
Z = 4.0  # Monte Carlo standard errors; the seeds are fixed


@pytest.fixture(scope="module")
def alone():
    return montecarlo.simulate(TINY, SOME, **SETTINGS)


def test_the_number_of_workers_changes_nothing(alone):
    both = montecarlo.simulate(TINY, SOME, jobs=2, **SETTINGS)
    pd.testing.assert_frame_equal(both.draws, alone.draws, check_exact=True)
    pd.testing.assert_frame_equal(both.table, alone.table, check_exact=True)


def test_a_run_that_is_killed_takes_up_where_it_stopped(alone, tmp_path, monkeypatch):
    script = f"""
import os
from valib.simulation import runs as montecarlo
from valib.simulation.worlds import scenario
from valib.simulation.methods import Method
some = ["seed", "default", Method("boot", intervals="bootstrap", draws=10, replicates=60),
        Method("eb", "correlation", way="eb", replicates=60)]
montecarlo.simulate([scenario("drift", schools=20), scenario("heavy tails", schools=20)], some, replicates=110, seed=4,
               cache={str(tmp_path / "cache")!r}, progress=lambda done, all: done == 2 and os._exit(9))
"""
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    kept = sorted((tmp_path / "cache").iterdir())
    assert 2 <= len(kept) < 6  # the generator may have been one chunk ahead
    computed = []
    compute = montecarlo._compute
    monkeypatch.setattr(montecarlo, "_compute", lambda *a: computed.append(a[2]) or compute(*a))
    again = montecarlo.simulate(TINY, SOME, cache=tmp_path / "cache", **SETTINGS)
    assert len(computed) == 6 - len(kept)
    pd.testing.assert_frame_equal(again.draws, alone.draws, check_exact=True)
    pd.testing.assert_frame_equal(again.table, alone.table, check_exact=True)


def test_a_damaged_chunk_is_computed_again(tmp_path):
    settings = {"replicates": 4, "seed": 1, "cache": tmp_path}
    first = montecarlo.simulate([SMALL], ["default"], **settings)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    pd.testing.assert_frame_equal(montecarlo.simulate([SMALL], ["default"], **settings).draws, first.draws)
    assert [f.name for f in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "change",
    [
        {"scenarios": [replace(SMALL, tau=14.0)]},
        {"methods": [Method("default", likelihood="REML")]},
        {"seed": 2},
        {"level": 0.9},
    ],
)
def test_the_cache_belongs_to_scenario_methods_seed_and_level(tmp_path, change):
    settings = {"scenarios": [SMALL], "methods": ["default"], "seed": 1, "level": 0.95}
    one = montecarlo.simulate(**settings, replicates=3, cache=tmp_path)
    other = montecarlo.simulate(**(settings | change), replicates=3, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 and not one.draws.equals(other.draws)


def test_a_longer_run_begins_with_the_shorter_one_and_scenarios_do_not_disturb_each_other():
    long = montecarlo.simulate([scenario("plain", schools=20), SMALL], ["default"], replicates=60, seed=1).draws
    short = montecarlo.simulate([SMALL], ["default"], replicates=50, seed=1).draws
    long = long[(long["scenario"] == "drift") & (long["replicate"] < 50)].reset_index(drop=True)
    pd.testing.assert_frame_equal(long, short, check_exact=True)


def test_slow_methods_may_be_given_fewer_replicates(alone):
    t = alone.table
    counts = t[(t["measure"] == "bias") & (t["estimand"] == "va")].groupby("method")["replicates"].first()
    assert counts.to_dict() == {"seed": 110, "default": 110, "boot": 60}


def test_progress_is_told(alone):
    told = []
    montecarlo.simulate([SMALL], ["seed"], replicates=60, seed=1, progress=lambda *a: told.append(a))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"scenarios": ["nope"]}, "nope"),
        ({"scenarios": ["plain", "plain"]}, "twice"),
        ({"methods": ["nope"]}, "nope"),
        ({"methods": ["seed", "seed"]}, "twice"),
        ({"methods": {"drift": ["seed"]}}, "plain"),
        ({"replicates": 1}, "two"),
        ({"scenarios": []}, "No scenario"),
        ({"level": 1.0}, "level"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, part):
    with pytest.raises(ParamsError, match=part):
        montecarlo.simulate(**({"scenarios": ["plain"], "methods": ["seed"], "replicates": 2, "seed": 1} | arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "other"},
        {"intervals": "none"},
        {"estimator": "within", "context": True},
        {"shift": "none"},
        {"intervals": "bootstrap", "context": True},
        {"context": True, "corrected": True},
        {"way": "none"},
        {"draws": 1, "intervals": "bootstrap"},
    ],
)
def test_methods_that_are_not_there_are_refused(arguments):
    with pytest.raises(ParamsError, match="Method 'm'"):
        Method("m", **arguments)


# The numbers that others can check: 200 schools, tau 15, sigma 45, 10-60 students, delta -14.


@pytest.fixture(scope="module")
def published():
    methods = ["seed", "answer", "default", "default (b known)", "relative", "mixed / estimated / baseline"]
    return montecarlo.simulate(["plain", "drift", "sorting"], methods, replicates=300, seed=20150512)


def check(run, scenario_name, method, estimand, measure, value, more=0.0):
    found, error = run.get(scenario_name, method, estimand, measure), run.mcse(scenario_name, method, estimand, measure)
    assert abs(found - value) < Z * error + more, (found, error, value)


def test_the_absorbed_shift_inflates_the_variance_and_shrinks_the_drift(published):
    n = np.arange(10, 61)
    shrunk = lambda tau2: -14 * (n * tau2 / (n * tau2 + 45.0**2)).mean()  # noqa: E731
    # the seed's variance tends to tau2 + delta2 = 421; a little less, since estimates of an SD are biased downwards
    check(published, "drift", "seed", "tau", "mean", np.sqrt(421), 0.1)
    check(published, "drift", "seed", "mean_va", "mean", shrunk(421.0), 0.05)
    check(published, "drift", "answer", "mean_va", "mean", shrunk(225.0), 0.1)
    check(published, "drift", "default", "shift", "mean", -14.0)
    assert published.get("drift", "seed", "tau", "mean") == pytest.approx(20.5, abs=0.2)
    assert published.get("drift", "seed", "mean_va", "mean") == pytest.approx(-12.0, abs=0.15)
    assert published.get("drift", "answer", "mean_va", "mean") == pytest.approx(-10.7, abs=0.15)


def test_least_squares_takes_sorting_for_slope(published):
    # the pooled slope is off by sorting x intake_sd x tau / prior_sd^2
    check(published, "sorting", "seed", "slope", "mean", 0.8 + 0.78 * 25 * 15 / 75**2, 0.001)
    assert published.get("sorting", "seed", "slope", "mean") == pytest.approx(0.852, abs=0.002)
    assert published.get("sorting", "default", "slope", "mean") == pytest.approx(0.811, abs=0.002)
    check(published, "plain", "seed", "slope", "mean", 0.8)
    assert published.get("sorting", "seed", "gradient", "mean") < -0.04


def test_which_intervals_cover_in_the_plain_world(published):
    for method in ("default", "mixed / estimated / baseline"):
        assert published.get("plain", method, "va", "coverage") == pytest.approx(0.95, abs=0.01)
        check(published, "plain", method, "shift", "coverage", 0.95)
    assert published.get("plain", "relative", "effect", "coverage") == pytest.approx(0.95, abs=0.01)
    known = published.get("plain", "default (b known)", "shift", "coverage")
    assert known < 0.95 - 2 * published.mcse("plain", "default (b known)", "shift", "coverage")
    assert published.get("drift", "answer", "va", "coverage") < 0.93
    check(published, "plain", "default", "va", "bias", 0.0)
    width = published.get("plain", "default", "shift", "width") / (2 * 1.96)
    assert width == pytest.approx(published.get("plain", "default", "shift", "emp_se"), rel=0.15)


def test_schools_that_last_make_the_shift_s_error_small_and_both_errors_see_it():
    boot = Method("boot", intervals="bootstrap", draws=40)
    run = montecarlo.simulate([scenario("serial", schools=60)], ["default", boot], replicates=60, seed=2)
    spread = run.get("serial", "default", "shift", "emp_se") * 2 * 2.0
    for method in ("default", "boot"):  # 60 replicates know a standard deviation to a tenth
        assert run.get("serial", method, "shift", "width") == pytest.approx(spread, rel=0.25)


def test_the_reliability_correction_undoes_what_error_in_the_prior_does():
    run = montecarlo.simulate(
        ["measurement error"],
        ["default", "default (corrected)", "relative", "relative (corrected)"],
        replicates=200,
        seed=3,
    )
    name = "measurement error"
    # within schools the reliability is 5000 / (5000 + error); the intake fell by 20 points
    error = scenario(name).error_variances[0]
    slope = 0.8 * 5000 / (5000 + error)
    check(run, name, "default", "slope", "mean", slope, 0.01)
    check(run, name, "default", "shift", "mean", -20 * (0.8 - slope), 0.2)
    for method in ("default (corrected)", "relative (corrected)"):
        check(run, name, method, "slope", "bias", 0.0)
        check(run, name, method, "slope", "coverage", 0.95)
        check(run, name, method, "gradient", "mean", 0.0, 0.006)
    check(run, name, "default (corrected)", "shift", "bias", 0.0)
    assert run.get(name, "default (corrected)", "va", "coverage") == pytest.approx(0.95, abs=0.01)
    assert run.get(name, "relative (corrected)", "effect", "coverage") == pytest.approx(0.95, abs=0.012)


def test_an_easier_prior_test_looks_like_a_loss_of_value_added():
    run = montecarlo.simulate(["easier prior"], ["default"], replicates=100, seed=1)
    check(run, "easier prior", "default", "shift", "mean", -0.8 * 10)


def test_the_equating_error_widens_the_intervals_that_know_of_it():
    run = montecarlo.simulate(["equating error"], ["default", "default (equating)"], replicates=300, seed=1)
    check(run, "equating error", "default (equating)", "shift", "coverage", 0.95)
    assert run.get("equating error", "default", "shift", "coverage") < 0.75


def test_correlations_by_way():
    run = montecarlo.simulate(
        [scenario("serial", sizes=(30, 30))], ["eb", "disattenuated", "joint_eb", "joint_model"], replicates=60, seed=5
    )
    lam = 30 * 225 / (30 * 225 + 45**2)
    check(run, "serial", "eb", "rho", "mean", 0.81 * lam, 0.01)
    check(run, "serial", "disattenuated", "rho", "mean", 0.81, 0.01)
    check(run, "serial", "joint_model", "rho", "mean", 0.81, 0.01)
    assert run.get("serial", "joint_eb", "rho", "bias") > 0.03


def test_wide_puts_measures_side_by_side(published):
    wide = published.wide("shift", ["bias", "coverage"])
    assert wide.loc[("drift", "default"), "bias"] == published.get("drift", "default", "shift", "bias")
    assert wide.loc[("drift", "default"), "coverage_mcse"] == published.mcse("drift", "default", "shift", "coverage")
    with pytest.raises(ParamsError, match="no bias of shift by method 'seed'"):
        published.get("drift", "seed", "shift", "bias")
