"""The priors of the library and others, by the stored brute-force run of priors.py; a part of it is run again."""

from __future__ import annotations

import json

import intervals
import numpy as np
import pandas as pd
import priors
import pytest

from valib.effects.change import change_in_va
from valib.effects.joint import fit_joint

STORED = json.loads(priors.STORED.read_text(encoding="utf-8"))
WORLDS = STORED["worlds"]
FLAT = "flat on tau", "flat on tau and rho"  # those of the library
LEAST, MOST = 0.925, 0.97


def test_what_is_stored_is_of_these_worlds_and_of_enough_replicates():
    assert set(WORLDS) == {*priors.ONE, *priors.TWO} and STORED["replicates"] == priors.REPLICATES >= 400


def test_the_library_covers_what_its_priors_cover():
    """No code is shared: an excess that both have is the prior's, and no grid's. Three Monte Carlo errors."""
    library, seen = json.loads(intervals.STORED.read_text(encoding="utf-8"))["worlds"], 0
    for name, world in WORLDS.items():
        kind, prior = ("relative", FLAT[0]) if name in priors.ONE else ("change", FLAT[1])
        for ours in (library.get(name, {}), library.get(name.removesuffix(", rho 0.7"), {})):
            if kind in ours:
                seen += 1
                error = np.hypot(ours[kind]["mcse"], world[prior]["mcse"])
                assert abs(ours[kind]["coverage"] - world[prior]["coverage"]) < 3 * error + 0.004, name  # sigma known
    assert seen > 20


def test_flat_priors_never_hold_too_little_and_every_other_that_is_narrower_does():
    """A prior that expects less variation is nearer to 95 percent where there is little, and misleads where there is more."""
    for flat, worlds in zip(FLAT, (priors.ONE, priors.TWO), strict=True):
        least = {p: min(WORLDS[w][p]["coverage"] for w in worlds) for p in WORLDS[next(iter(worlds))]}
        error = max(WORLDS[w][flat]["mcse"] for w in worlds)
        assert least[flat] > LEAST - 2 * error
        narrow = {p: all(WORLDS[w][p]["width"] < WORLDS[w][flat]["width"] + 0.005 for w in worlds) for p in least}
        narrower = [p for p in least if p != flat and narrow[p]]
        assert narrower
        for prior in narrower:
            assert least[prior] < least[flat]
            assert max(WORLDS[w][prior]["coverage"] for w in worlds) > MOST or least[prior] < LEAST - 2 * error


def test_intervals_that_hold_too_much_are_narrower_than_those_that_are_exact():
    for world in WORLDS.values():
        for prior in FLAT:
            assert world.get(prior, {"width": 0.0})["width"] < 1


@pytest.mark.parametrize("name", ["20 schools, 3-12 students, tau 5", "20 schools, 10-30 students, tau 10, rho 0.95"])
def test_a_part_of_the_run_again(name):
    again, prior = priors.measure(name, 10), FLAT[name in priors.TWO]
    error = WORLDS[name][prior]["mcse"] * np.sqrt(priors.REPLICATES / 10)
    assert abs(again[prior]["coverage"] - WORLDS[name][prior]["coverage"]) < 4 * error


def test_a_change_by_brute_force_is_that_of_the_library():
    """Limits of twelve schools on one data set, with so many students that sigma is known: to half a percent of a width."""
    rng, J, n = np.random.default_rng(4), 12, 150
    u = 15 * (np.sqrt(0.5) * rng.standard_normal((J, 1)) + np.sqrt(0.5) * rng.standard_normal((J, 2)))
    sigma = priors.SIGMA * np.sqrt(n / 20)
    drawn = u[..., None] + sigma * rng.standard_normal((J, 2, n))
    rows = [(f"S{j:02d}", t, score) for j in range(J) for t in (0, 1) for score in drawn[j, t]]
    frame = pd.DataFrame(rows, columns=["school", "cohort", "score"]).assign(prior_score=0.0)
    frame["student"] = [f"P{i}" for i in range(len(frame))]
    frame["cohort"] += 2020
    table = change_in_va(fit_joint(frame, [2020, 2021], "score ~ 1"), 2020, 2021)
    means = frame.groupby(["school", "cohort"])["score"].mean().unstack().to_numpy()
    pooled = frame.groupby(["school", "cohort"])["score"].var().mean() / n
    lower, upper = priors.limits_of_change(means, np.full((J, 2), pooled))
    width = table["upper"] - table["lower"]
    assert np.abs((table["lower"] - lower) / width).max() < 0.01
    assert np.abs((table["upper"] - upper) / width).max() < 0.01
