"""Coverage of the intervals of schools, by a simulator that shares no code with the library."""

from __future__ import annotations

import json

import intervals
import numpy as np
import pytest
from independent import World, draw
from intervals import CHANGES, REPLICATES, STORED, WORLDS, measure, replicate_change

LEVELS = ("relative", "benchmark")
LEAST, MOST = 0.925, 0.97  # of a nominal 95 percent


# Above MOST by more than Monte Carlo error: what was measured. The data say next to nothing of tau (or, of changes, of
# two tau and the correlation), so the flat prior has its say and the intervals are wider than they claim.
WIDE = {
    ("10 schools, 3-12 students, tau 5", "relative"): 0.9947,
    ("10 schools, 3-12 students, tau 5", "benchmark"): 0.9805,
    ("10 schools, 3-12 students, tau 8", "relative"): 0.9833,
    ("10 schools, 10-30 students, tau 5", "relative"): 0.9775,
    ("20 schools, 3-12 students, tau 5", "relative"): 0.9912,
    ("20 schools, 3-12 students, tau 5", "benchmark"): 0.9819,
    ("40 schools, 3-12 students, tau 5", "relative"): 0.9814,
    ("10 schools, 3-12 students, tau 15", "change"): 0.9865,
    ("10 schools, 10-30 students, tau 8", "change"): 0.9920,
    ("20 schools, 10-30 students, tau 10, rho 0.95", "change"): 0.9959,
    ("40 schools, 10-30 students, tau 8", "change"): 0.9759,
}


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads(STORED.read_text(encoding="utf-8"))["worlds"]


def test_what_is_stored_is_of_these_worlds_and_of_enough_replicates(stored):
    assert set(stored) == set(WORLDS) and set(CHANGES) <= set(WORLDS)
    assert all(set(LEVELS) <= set(world) for world in stored.values())
    assert all("change" in stored[name] for name in CHANGES)
    told = [one for world in stored.values() for one in world.values()]
    assert told and all(one["replicates"] >= REPLICATES >= 400 for one in told)


def test_integrated_intervals_cover_where_plug_in_ones_do_not(stored):
    """Monte Carlo errors are about .004: two are allowed beyond the bounds that are claimed."""
    for name, world in stored.items():
        for kind in (*LEVELS, "change"):
            if kind not in world:
                continue
            found, mcse = world[kind]["coverage"], world[kind]["mcse"]
            assert found > LEAST - 2 * mcse, (name, kind, found)
            if (name, kind) in WIDE:
                assert found == pytest.approx(WIDE[name, kind], abs=1e-4) and found > MOST + 2 * mcse
            else:
                assert found < MOST + 2 * mcse, (name, kind, found)
    low = [
        world["relative, plugin"]["coverage"] for name, world in stored.items() if name.startswith("20 schools, 3-12")
    ]
    assert low and max(low) < 0.85  # .48 at tau 5 to .82 at tau 15


@pytest.mark.parametrize("name", ["10 schools, 10-30 students, tau 8", "40 schools, 10-60 students, tau 15, sorting"])
def test_a_few_replicates_repeat_what_is_stored(stored, name):
    """The same replicates again: their mean lies within four errors of so few of the stored one."""
    few = 12
    now = measure(name, few)
    assert now == measure(name, few)
    for kind in LEVELS:
        error = stored[name][kind]["mcse"] * np.sqrt(REPLICATES / few)
        assert abs(now[kind]["coverage"] - stored[name][kind]["coverage"]) < 4 * error


def test_changes_in_a_few_replicates(stored):
    now = measure("10 schools, 3-12 students, tau 15", 8, replicate=replicate_change)
    assert now["change"]["coverage"] > 0.8 > now["change, plugin"]["coverage"] - 0.15


class TestTheSimulator:
    """What is drawn has the moments that are written above it; 4 Monte Carlo errors."""

    def test_effects_have_their_variance_and_correlation(self):
        world = World(4000, (1, 2), 10.0, rho=0.7, shift=-14.0)
        panel = draw(world, np.random.default_rng(1))
        assert panel.effects.std().to_numpy() == pytest.approx(10.0, abs=4 * 10 / np.sqrt(8000))
        r = panel.effects.corr().to_numpy()[np.triu_indices(5, 1)]
        assert r == pytest.approx(0.7, abs=4 * 0.51 / np.sqrt(4000))
        assert panel.shift.tolist() == [0.0, 0.0, 0.0, -14.0, -14.0] and (panel.shock == 0).all()

    def test_scores_are_made_of_what_is_told(self):
        world = World(60, (30, 60), 10.0, sigma=20.0, shock=3.0, sorting=0.5, slope_change=0.1)
        panel = draw(world, np.random.default_rng(2))
        rows = panel.records
        late = rows["cohort"].isin(world.focal_cohorts)
        effect = panel.effects.stack()[list(zip(rows["school"], rows["cohort"], strict=True))].to_numpy()
        common = (panel.shift + panel.shock)[rows["cohort"]].to_numpy()
        left = rows["score"] - 110 - (0.8 + 0.1 * late) * rows["prior_score"] - effect - common
        assert abs(left.mean()) < 4 * 20 / np.sqrt(len(rows))
        assert left.std() == pytest.approx(20, abs=4 * 20 / np.sqrt(2 * len(rows)))
        assert panel.shock.std() > 0
        mean = rows.groupby(["school", "cohort"])["prior_score"].mean().unstack()
        slope = np.polyfit(panel.effects.to_numpy().ravel(), mean.to_numpy().ravel(), 1)[0]
        assert slope == pytest.approx(0.5, abs=0.5)

    def test_missing_cells_and_seeds(self):
        world = World(30, (2, 5), 10.0, missing=0.5)
        a, b, c = (draw(world, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert a.records.equals(b.records) and not a.records.equals(c.records)
        cells = a.records.groupby(["school", "cohort"]).ngroups
        assert 60 < cells < 110 and a.records["school"].nunique() == 30

    def test_it_uses_nothing_of_the_library(self):
        text = (intervals.HERE / "independent.py").read_text(encoding="utf-8")
        assert "import" in text and not any(line.split()[1:2] == ["valib"] for line in text.splitlines())
