"""What chapters say of coverage and of sides, against counts made by hand."""

from __future__ import annotations

import pytest

import valib as va
from valib.pages.chapters import benchmark, records, relative

pytestmark = pytest.mark.filterwarnings("ignore::valib.ValibWarning")


def test_chapter_one_counts_schools_by_their_coverage():
    rows = va.load_records("demo")
    table = va.fit_relative(rows, 2024).school_effects
    told = records.coverage(rows, 2024, 0.85)
    values = {k: int(v) for k, v in told.values.items() if k.startswith("covered") and v.isdigit()}
    assert values["covered_schools"] == len(table) and values["covered_all"] == (table["n"] == table["tested"]).sum()
    assert values["covered_under"] == (table["linked_share"] < 0.9).sum() == 6
    assert values["covered_low"] == (table["linked_share"] < 0.85).sum()
    assert len(told.shown) == 1
    assert records.coverage(rows[rows["score"] > 500], 2024, 0.5).shown == [], "rows were taken out: not known"


def test_chapter_two_and_four_count_schools_shown_on_each_side():
    rows = va.load_records("demo")
    fit = va.fit_relative(rows, 2024)
    shown = va.only_shown(fit.school_effects, 5)
    values = {k: int(v) for k, v in relative.last_cohort(fit, 5).values.items() if v.isdigit()}
    assert values["above"] == (shown["lower"] > 0).sum() and values["below"] == (shown["upper"] < 0).sum()
    assert values["above"] + values["below"] + values["across"] == values["sided"] == len(shown)
    called = va.false_discoveries(fit, 0.05, 5)["side_fdr"].isin(["above", "below"]).sum()
    assert values["fdr_called"] == called < values["above"] + values["below"]
    told = benchmark.sides([fit], 5).values["va_sides"]
    assert told == f"2024: {values['above']} above, {values['below']} below, {values['across']} not told apart"
