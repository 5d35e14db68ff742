"""Verdicts on coverages: the boundaries, and that they rest on no noise."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from valib.simulation.verdicts import judge, nearer


def se(share, n):
    return np.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize(("hits", "n"), [(190, 200), (0, 40), (40, 40), (4750, 5000)])
def test_the_interval_is_wilson_s(hits, n):
    found = judge(hits / n, se(hits / n, n), n)
    # the limits of another package, to rounding
    assert (found.lower, found.upper) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(
    ("coverage", "n", "kind"),
    [
        (0.95, 200, "open"),  # at its level, and still nothing is known
        (0.95, 1900, "open"),  # the lower limit is 93.9: an interval of a share is not symmetric
        (0.95, 2300, "holds"),
        (0.95, 100_000, "holds"),
        (0.942, 100_000, "holds"),
        (0.941, 10_000, "open"),
        (0.93, 2000, "open"),  # reaches up to 94.05
        (0.93, 2500, "below"),
        (0.97, 1000, "open"),
        (0.97, 1500, "above"),
        (1.0, 40, "open"),
        (1.0, 200, "above"),
        (0.5, 200, "below"),
    ],
)
def test_boundaries(coverage, n, kind):
    found = judge(coverage, se(coverage, n), n)
    assert found.kind == kind, found
    assert found.lower <= coverage <= found.upper + 1e-15
    inside = 0.94 <= found.lower and found.upper <= 0.96
    assert inside == (found.kind == "holds")


def test_the_distance_that_is_told_is_the_least_one():
    found = judge(0.9, se(0.9, 1000), 1000)
    assert found.by == pytest.approx(0.95 - found.upper) and "too low by at least 3.3 points" in str(found)
    assert "not settled: " in str(judge(0.95, se(0.95, 200), 200))
    assert str(judge(0.95, 0.001, 500)) == "95.0% (as it claims)"


def test_another_level_and_margin():
    assert judge(0.9, 0.002, 100, level=0.9).kind == "holds"
    assert judge(0.9, 0.002, 100, level=0.95).kind == "below"
    assert judge(0.93, 0.002, 100, margin=0.03).kind == "holds"


def test_which_is_nearer_is_said_only_beyond_the_error():
    assert nearer((0.94, 0.015), (0.92, 0.018), 0.95) == 0
    assert nearer((0.94, 0.004), (0.9, 0.004), 0.95) == -1
    assert nearer((0.999, 0.001), (0.95, 0.004), 0.95) == 1


def test_methods_that_are_equally_good_are_rarely_told_apart():
    """Two of 200 replicates each, both at 95 percent: a direction in at most one of twenty studies, by chance."""
    shares = np.random.default_rng(1).binomial(200, 0.95, (2000, 2)) / 200
    told = [nearer((a, se(a, 200)), (b, se(b, 200)), 0.95) for a, b in shares]
    assert np.mean(np.abs(told)) < 0.05
