"""Lines of schools in two cohorts, by a simulator that shares no code with the library: do printed intervals hold the truth?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from slope_pairs import REPLICATES, STORED, VALUES, WORLDS, measure

LARGE = "60 schools, 20-60 students"


@pytest.fixture(scope="module")
def stored() -> dict:
    content = json.loads(STORED.read_text(encoding="utf-8"))
    assert content["replicates"] == REPLICATES and set(content["worlds"]) == set(WORLDS)
    return content["worlds"]


def test_changes_of_schools_are_covered(stored):
    """Of a nominal 95 percent, within two Monte Carlo errors; every replicate has integrated limits, on a boundary too."""
    for name, world in stored.items():
        for value in VALUES:
            share = world[f"integrated, change at {value}"]
            assert share["n"] == REPLICATES
            assert 0.93 - 2 * share["mcse"] < share["mean"] < 0.98 + 2 * share["mcse"], (name, value)


def test_correlations_are_covered(stored):
    """Of 60 replicates, whose Monte Carlo error is 2.8 percent; priors that are flat make few schools' limits cautious."""
    for name, world in stored.items():
        for what in (*VALUES, "slope"):
            assert world[f"integrated, r, {what}"]["mean"] > 0.95 - 2 * np.sqrt(0.95 * 0.05 / REPLICATES), (name, what)


def test_few_schools_often_lie_on_the_boundary_where_plug_in_limits_are_missing_or_too_short(stored):
    small = stored["20 schools, 10-30 students"]
    assert small["boundary"]["mean"] > 0.5 and small["plugin, change at mean"]["n"] < REPLICATES / 2
    assert small["plugin, change at mean"]["mean"] < small["integrated, change at mean"]["mean"]


def test_estimates_are_near_the_truth(stored):
    """Of 60 schools: correlations without bias to three Monte Carlo errors, variances too (ML's is J - 1 over J)."""
    world = stored[LARGE]
    for what in (*VALUES, "slope"):
        error = world[f"error of r, {what}"]
        assert abs(error["mean"]) < 3 * error["mcse"] + 0.02
    for what, expected in (("G", 59 / 60), ("sigma2", 1.0)):
        assert abs(world[what]["mean"] - expected) < 3 * world[what]["mcse"] + 0.01


def test_two_replicates_repeat_what_is_stored(stored):
    now, few = measure("20 schools, 40-80 students", 2), 2
    for what in ("G", "sigma2"):
        told = stored["20 schools, 40-80 students"][what]
        assert abs(now[what]["mean"] - told["mean"]) < 4 * told["mcse"] * np.sqrt(REPLICATES / few)
