"""The numbers of the chapter on quantiles, on records of other years and another spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.pages.chapters import quantiles as numbers

QUICK = {"draws": 150, "warmup": 150, "seed": 3}


def rows(rng, cohort, spread, move=0.0):
    n = rng.integers(15, 40, 60)
    school = np.repeat(np.arange(60), n)
    prior = rng.normal(430, 75, len(school))
    score = 150 + move + 0.8 * prior + rng.normal(0, 12, 60)[school] + spread * rng.normal(0, 40, len(school))
    frame = pd.DataFrame(
        {"school": np.char.mod("W%03d", school), "cohort": cohort, "score": score, "prior_score": prior}
    )
    return frame.assign(student=np.char.mod(f"{cohort}-%d", np.arange(len(school))))


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(31)
    return va.read_records(pd.concat([rows(rng, 2031, 1.0), rows(rng, 2035, 1.5, move=5.0)]))


@pytest.fixture(scope="module")
def moved(study):
    found = {}
    for p in (0.2, 0.8):
        base = va.fit_quantile(study, 2031, quantile=p, **QUICK)
        found[p] = va.fit_quantile(study, 2035, quantile=p, benchmark=base, **QUICK), va.share_below(base, study, 2035)
    return found


def test_a_wider_spread_is_told_as_such(study, moved):
    fits, shares = ({p: pair[k] for p, pair in moved.items()} for k in (0, 1))
    mean = va.fit_benchmark(study, 2035, va.fit_baseline(study, [2031]))
    found = numbers.shift(fits, mean, shares, 0.95)
    (table,) = found.tables.values()
    np.testing.assert_allclose(table["Shift"], [fits[p].shift for p in (0.2, 0.8)])
    assert table["Shift"].iloc[0] < 0 < table["Shift"].iloc[1]
    assert "the spread of scores has grown" in found.sentences[0]
    below = f"{100 * shares[0.2][0]:.1f}% of these students"  # of two as near to the middle, the first
    assert below in found.sentences[0] and "below percentile 20, where 20% were" in found.sentences[0]
    assert numbers.shift_figure(fits, mean, 0.95).figures["fig_quantile_shift"].axes


def test_schools_that_differ_by_chance_alone_are_told_as_such(study):
    fits = {p: va.fit_quantile(study, 2035, quantile=p, **QUICK) for p in (0.2, 0.8)}
    (sentence,) = numbers.contrast(fits, 0.95).sentences
    assert "no more than chance" in sentence and "of 60 schools" in sentence
    found = numbers.relative(fits, va.fit_relative(study, 2035))
    (table,) = found.tables.values()
    np.testing.assert_allclose(table["Mean VA"], [-fits[p].offset for p in (0.2, 0.8)])
    assert table["Mean VA"].iloc[0] > 0 > table["Mean VA"].iloc[1]


def test_chains_that_have_not_met_are_named(study):
    fits = {0.5: va.fit_quantile(study, 2035, draws=20, warmup=0)}
    assert "have not met" in numbers.relative(fits, va.fit_relative(study, 2035)).sentences[0]


def test_the_stored_coverage_is_quoted_as_it_is():
    values = numbers.covered().values
    assert float(values["least_laplace"]) <= float(values["most_laplace"]) < float(values["most_calibrated"])
    assert int(values["replicates"]) >= 200
