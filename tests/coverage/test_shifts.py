"""The intervals of shifts cover what they say, by the stored run of shifts.py; a part of it is run again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shifts

STORED = json.loads(shifts.STORED.read_text(encoding="utf-8"))["worlds"]
PLAIN = [name for name in STORED if "rho" in name]  # nine worlds without shocks, missing cells or sorting
YEARS = "40 schools, shocks, five baseline cohorts"
ERRORS = 2.6  # Monte Carlo standard errors: one in a hundred by chance, of a few dozen looks one or none


def test_the_stored_run_is_of_all_worlds():
    assert list(STORED) == list(shifts.WORLDS)
    for name, world in STORED.items():
        assert {one["replicates"] for one in world.values()} == {shifts.MORE.get(name, shifts.REPLICATES)}
    assert shifts.REPLICATES >= 400


@pytest.mark.parametrize("kind", ["schools", "difference", "at a low prior score"])
@pytest.mark.parametrize("name", [name for name in STORED if name != YEARS])
def test_intervals_cover_95_percent(name, kind):
    """10, 20 and 40 schools, effects that do not last, last, and hardly change."""
    one = STORED[name][kind]
    assert 0.94 - ERRORS * one["mcse"] <= one["coverage"] <= 0.96 + ERRORS * one["mcse"]


@pytest.mark.parametrize("kind", ["schools", "difference", "at a low prior score"])
def test_over_the_plain_worlds_together_the_error_is_small(kind):
    """3,600 replicates know a coverage to half a point."""
    mean = np.mean([STORED[name][kind]["coverage"] for name in PLAIN])
    mcse = np.sqrt(0.95 * 0.05 / (shifts.REPLICATES * len(PLAIN)))
    assert 0.94 - ERRORS * mcse <= mean <= 0.96 + ERRORS * mcse


def test_two_samples_are_too_wide_where_effects_last():
    for name in (n for n in PLAIN if "rho 0.95" in n):
        assert STORED[name]["cautious"]["coverage"] > 0.985


def test_ordinary_years_are_covered_by_their_own_interval_and_not_by_that_of_schools():
    """Shocks of three points in every cohort, five baseline cohorts."""
    found = STORED[YEARS]
    assert found["a further ordinary year"]["coverage"] >= 0.90
    assert found["schools"]["coverage"] < 0.85


@pytest.mark.parametrize("name", ["10 schools, rho 0.95", YEARS])
def test_a_part_of_the_run_again(name):
    """Twenty replicates: by the stored coverage, five misses or more come once in four hundred times or less."""
    again = shifts.measure(name, 20)
    kind = "a further ordinary year" if name == YEARS else "schools"
    assert again[kind]["coverage"] >= 0.8
