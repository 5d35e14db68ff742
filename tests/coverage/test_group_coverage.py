"""Coverage of the intervals of groups of schools, by a simulator that shares no code with the library."""

from __future__ import annotations

import json

import numpy as np
import pytest
from groups import REPLICATES, STORED, WORLDS, measure

pytestmark = pytest.mark.filterwarnings("ignore::valib.errors.ValibWarning")
MEANS = ("relative, equal", "relative, students", "benchmark, equal", "benchmark, students")
LEAST, MOST = 0.925, 0.98  # of a nominal 95 percent; with a dozen schools the flat prior on tau makes intervals wide


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads(STORED.read_text(encoding="utf-8"))["worlds"]


def test_group_intervals_cover_what_they_claim(stored):
    """Monte Carlo errors are below .008: two are allowed beyond the bounds."""
    assert set(stored) == set(WORLDS)
    for name, world in stored.items():
        for kind in (*MEANS, "shift", "shift, cautious"):
            found, mcse = world[kind]["coverage"], world[kind]["mcse"]
            assert world[kind]["replicates"] >= REPLICATES >= 400 and mcse < 0.008
            assert LEAST - 2 * mcse < found < MOST + 2 * mcse, (name, kind, found)


def test_plug_in_limits_of_groups_do_not(stored):
    """.55 to .85 with a dozen to forty small schools: the variances are taken as known, and a boundary has no limits."""
    small = [world[f"{kind}, plugin"]["coverage"] for world in stored.values() for kind in MEANS]
    assert max(small) < 0.93 and min(small) < 0.6


def test_a_few_replicates_repeat_what_is_stored(stored):
    name, few = "12 schools, 3-12 students, tau 10, 3 groups", 5
    now = measure(name, few)
    for kind in MEANS:
        error = stored[name][kind]["mcse"] * np.sqrt(REPLICATES / few)
        assert abs(now[kind]["coverage"] - stored[name][kind]["coverage"]) < 4 * error
