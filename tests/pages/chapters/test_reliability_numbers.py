"""The line of chapter 4 on what a reliability of .9 would do."""

from __future__ import annotations

import numpy as np
import pytest

import valib as va
from valib.pages.chapters.reliability import if_reliability_were


def test_slope_shift_and_correlation_are_those_of_the_two_benchmarks():
    records = va.load_records("demo")
    plain, off = (va.fit_baseline(records, [2015, 2016, 2017], reliability=r) for r in (None, {"prior_score": 0.9}))
    fits = [va.fit_benchmark(records, 2024, b) for b in (plain, off)]
    table = if_reliability_were(records, plain, fits[0]).tables["tab-04-reliability"]
    assert table["slope"].tolist() == [b.coefficients["prior_score"] for b in (plain, off)]
    assert table["shift"].tolist() == [f.shift for f in fits]
    intake = records[records["cohort"] == 2024].groupby("school")["prior_score"].mean()
    want = [np.corrcoef(intake, f.school_effects["effect"].loc[intake.index])[0, 1] for f in fits]
    assert table["correlation"].to_numpy() == pytest.approx(want, rel=1e-6)
    assert table["slope"].is_monotonic_increasing and table["correlation"].is_monotonic_decreasing


def test_a_formula_that_allows_none_is_told_why():
    records = va.load_records("demo")
    benchmark = va.fit_baseline(records, [2015, 2016], "score ~ prior_score + I(prior_score**2)")
    found = if_reliability_were(records, benchmark, va.fit_benchmark(records, 2024, benchmark))
    assert not found.tables and "only a linear column by itself" in found.sentences[0]
