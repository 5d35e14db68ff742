"""Lines of schools in two cohorts, by a simulator that shares no code with the library: do printed intervals hold the truth?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from slope_pairs import STORED, VALUES, WORLDS, measure

MIDDLE, SMALL = "20 schools, 40-80 students", "20 schools, 10-30 students"


@pytest.fixture(scope="module")
def stored() -> dict:
    content = json.loads(STORED.read_text(encoding="utf-8"))
    assert set(content["worlds"]) == set(WORLDS)
    return content["worlds"]


def test_changes_of_schools_are_covered(stored):
    """Of a nominal 95 percent, within two Monte Carlo errors; on a boundary too, but where draws cannot be trusted."""
    for name, world in stored.items():
        for value in VALUES:
            share = world[f"integrated, change at {value}"]
            assert share["n"] >= (0.9 if name == SMALL else 1.0) * WORLDS[name].replicates
            assert 0.93 - 2 * share["mcse"] < share["mean"] < 0.98 + 2 * share["mcse"], (name, value)


def test_correlations_are_covered(stored):
    """To two Monte Carlo errors; flat priors make the limits of few small schools cautious."""
    for name, world in stored.items():
        for what in (*VALUES, "slope"):
            assert world[f"integrated, r, {what}"]["mean"] > 0.95 - 2 * np.sqrt(
                0.95 * 0.05 / WORLDS[name].replicates
            ), (name, what)


def test_few_schools_often_lie_on_the_boundary_where_plug_in_limits_are_missing_or_too_short(stored):
    assert stored[SMALL]["boundary"]["mean"] > 0.5 and stored[SMALL]["plugin, change at mean"]["n"] < 12
    plugin, integrated = (stored[MIDDLE][f"{way}, change at low"] for way in ("plugin", "integrated"))
    assert plugin["mean"] + 2 * plugin["mcse"] < integrated["mean"]


def test_estimates_are_near_the_truth(stored):
    """Correlations without bias to three Monte Carlo errors, variances too (ML's is J - 1 over J)."""
    world = stored[MIDDLE]
    for what in (*VALUES, "slope"):
        error = world[f"error of r, {what}"]
        assert abs(error["mean"]) < 3 * error["mcse"] + 0.02
    for what, expected in (("G", 19 / 20), ("sigma2", 1.0)):
        assert abs(world[what]["mean"] - expected) < 3 * world[what]["mcse"] + 0.01


def test_two_replicates_repeat_what_is_stored(stored):
    now, few = measure(MIDDLE, 2), 2
    for what in ("G", "sigma2"):
        told = stored[MIDDLE][what]
        assert abs(now[what]["mean"] - told["mean"]) < 4 * told["mcse"] * np.sqrt(WORLDS[MIDDLE].replicates / few)
