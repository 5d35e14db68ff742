"""Scores standardised within cohorts: refused beyond doubt, asked about seldom, and neither for ordinary cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from valib.records.prior_check import DOUBTFUL, REFUSED, alike, looks_standardised, may_be_standardised

PAIRS = 4000  # simulated studies; a share of 0.01 then has a Monte Carlo error of 0.0016


def moments(*cohorts: np.ndarray) -> dict[int, dict[str, float]]:
    return {2015 + t: {"n": len(x), "mean": x.mean(), "sd": x.std(ddof=1)} for t, x in enumerate(cohorts)}


def test_two_chances_by_hand():
    """Two cohorts of 50 with means 1 apart and SD 10: z^2 = 1 / (100 (1/50 + 1/50)); the SDs are the same."""
    by_mean, by_sd = alike({1: {"n": 50, "mean": 0.0, "sd": 10.0}, 2: {"n": 50, "mean": 1.0, "sd": 10.0}})
    assert by_mean == pytest.approx(stats.chi2.cdf(0.25, 1), rel=1e-12) and by_sd == 0.0
    _, by_sd = alike({1: {"n": 50, "mean": 0.0, "sd": 10.0}, 2: {"n": 50, "mean": 0.0, "sd": 11.0}})
    assert by_sd == pytest.approx(stats.chi2.cdf(50 * np.log(1.1) ** 2, 1), rel=1e-12)


@pytest.mark.parametrize("T", [2, 5])
def test_the_chances_of_ordinary_cohorts_are_uniform_and_independent(T):
    """So both are below p in a share p^2 of studies: REFUSED^2 = 1e-6 of ordinary ones are refused.

    Cohorts of 150 normal scores; log SD is nearly normal there, hence the allowance of 0.02 beside the KS limit.
    """
    rng = np.random.default_rng(5)
    draws = rng.normal(500, 90, (PAIRS, T, 150))
    chances = np.array([alike(moments(*study)) for study in draws])
    for column in chances.T:
        assert stats.kstest(column, "uniform").statistic < 1.63 / np.sqrt(PAIRS) + 0.02
    both = (chances.max(axis=1) < 0.1).mean()
    assert both == pytest.approx(0.01, abs=3.5 * np.sqrt(0.01 * 0.99 / PAIRS))
    assert REFUSED**2 == pytest.approx(1e-6) and DOUBTFUL**2 < 1e-3


def test_stable_schools_do_not_bring_refusals():
    """The same 40 schools in both cohorts take part of the sampling error away; still no study of 1,000 is refused."""
    rng = np.random.default_rng(6)
    for _ in range(1000):
        u = np.repeat(rng.normal(0, 40, 40), 10)
        one, two = (500 + u + rng.normal(0, 80, 400) for _ in range(2))
        assert not looks_standardised(moments(one, two))


@pytest.mark.parametrize("decimals", [None, 1])
def test_standardised_scores_are_refused_on_any_scale(decimals):
    rng = np.random.default_rng(7)
    raw = [rng.normal(480 + 10 * t, 70 + t, 300 + 20 * t) for t in range(3)]
    z = [(x - x.mean()) / x.std(ddof=1) for x in raw]
    for scaled in ([500 + 100 * x for x in z], [50 + 10 * x for x in z]):
        rounded = scaled if decimals is None else [x.round(decimals) for x in scaled]
        assert looks_standardised(moments(*rounded)) and may_be_standardised(moments(*rounded))
    assert looks_standardised(moments(*[x.round(2) for x in z[:2]]))  # two cohorts of z-scores with two decimals
    assert not may_be_standardised(moments(*raw))


def test_one_cohort_or_nothing_finite_is_never_refused():
    assert alike(moments(np.arange(9.0))) == (1.0, 1.0)
    assert not looks_standardised({1: {"n": 5, "mean": np.nan, "sd": 1.0}, 2: {"n": 5, "mean": 0.0, "sd": 1.0}})
    assert not looks_standardised({1: {"n": 5, "mean": 1.0, "sd": 0.0}, 2: {"n": 5, "mean": 1.0, "sd": 0.0}})
