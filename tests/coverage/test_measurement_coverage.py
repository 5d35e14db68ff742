"""Coverage of fits from which errors of measurement are taken off, in worlds of the independent simulator."""

from __future__ import annotations

import json

import numpy as np
import pytest
from measurement import BETWEEN, ERROR, REPLICATES, STORED, WORLDS, measure


@pytest.fixture(scope="module")
def stored() -> dict:
    content = json.loads(STORED.read_text(encoding="utf-8"))
    assert content["replicates"] == REPLICATES and set(content["worlds"]) == set(WORLDS)
    return content["worlds"]


@pytest.mark.parametrize("what", ["relative, integrated", "joint, effects", "joint, changes", "joint, correlation"])
def test_integrated_intervals_cover_in_every_world(stored, what):
    """Of a nominal 95 percent at least 93; more, as without the correction, where the prior of the variances counts."""
    for name, world in stored.items():
        share, error = world[what]["mean"], world[what]["mcse"]
        assert share > 0.93 - 2 * error, (name, share)
        if what in ("relative, integrated", "joint, effects"):
            assert share < 0.97 + 2 * error, (name, share)


def test_variances_taken_as_known_cover_too_seldom_where_schools_are_few(stored):
    few = stored["12 schools of 8-25"]["relative, plugin"]
    assert few["mean"] + 2 * few["mcse"] < 0.9


def test_the_estimates_are_those_of_true_scores(stored):
    """Slope, what is recorded about the true line, and a school mean's coefficient within 3.5 Monte Carlo errors; variances
    of 30 schools and more too, of fewer maximum likelihood has them too small by a share of 1 / J."""
    truth = {"slope": 0.8, "sigma2": 45.0**2 + (0.8 * ERROR) ** 2}
    for name, world in stored.items():
        wanted = dict(truth)
        if "means" in name:
            wanted |= {
                "mean": BETWEEN,
                "sigma2": 45.0**2 + ((0.8 + BETWEEN) * ERROR) ** 2,
            }  # the error of a cell's mean
        if name.startswith("30"):
            wanted |= {
                "tau2": 225.0 * (1 - 1 / int(name.split()[0])),
                "covariance": 157.5 * (1 - 1 / int(name.split()[0])),
            }
        for what, true in wanted.items():
            assert abs(world[what]["mean"] - true) < 3.5 * world[what]["mcse"], (name, what)


def test_two_replicates_repeat_what_is_stored(stored):
    name, few = "12 schools of 8-25", 2
    now = measure(name, few)
    for what in ("relative, integrated", "slope", "sigma2"):
        mean, error = stored[name][what]["mean"], stored[name][what]["mcse"]
        assert abs(now[what]["mean"] - mean) < 4 * error * np.sqrt(REPLICATES / few)
