"""Groups and similar schools in the chapter on practice: the tables of valib fit, of what may be shown, or what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

import valib as va
from valib.pages.chapters import beside
from valib.study.params import Params

SMALL = "S0001"  # three students; alone of its district with the two that are held back with it elsewhere


@pytest.fixture(scope="module")
def fitted():
    """Thirty schools in three districts, and a pair in a fourth, one of them too small to be shown."""
    rows = simulate(np.random.default_rng(8), schools=32, size=(12, 30), cohorts=(2030, 2031, 2033), tau=15.0)
    number = rows["school"].str[1:].astype(int)
    rows["district"] = np.where(number < 2, "Pair", "D" + (number % 3).astype(str))
    small = rows.index[(rows["school"] == SMALL) & (rows["cohort"] == 2033)]
    records = va.read_records(rows.drop(columns="u").drop(small[3:]))
    typical = va.fit_baseline(records, [2030, 2031])
    return records, va.fit_benchmark(records, 2033, typical), typical


def study(**named) -> Params:
    return Params(baseline_cohorts=[2030, 2031], focal_cohorts=[2033], neighbours=3, **named)


def test_groups_are_those_of_the_library_and_a_pair_is_not_shown(fitted):
    records, fit, typical = fitted
    params = study(groups="district")
    found = beside.tables(params, records, fit, typical)
    told = beside.groups(params, found, fit)
    table = told.tables["tab-11-groups"].set_index("Group")
    want = va.group_va(fit, va.school_groups(records, "district", 2033), benchmark=typical)
    assert "Pair" in want.index and "Pair" not in table.index and len(table) >= 2
    columns = {
        "schools": "Schools",
        "n": "Students",
        "effect": "Mean VA",
        "lower": "Lower",
        "shift": "Shift",
        "shift_upper": "to",
    }
    np.testing.assert_allclose(table[list(columns.values())], want.loc[table.index, list(columns)])
    assert set(told.files) == {"groups.csv"} and set(told.files["groups.csv"]["group"]) == set(table.index)
    assert "names no" not in " ".join(beside.not_there(params, found).sentences)


def test_schools_that_differ_from_their_like_are_counted(fitted):
    records, fit, typical = fitted
    params = study(similar=["prior_score"])
    found = beside.tables(params, records, fit, typical)
    want = va.similar_schools(records, fit, ["prior_score"], 3, params.min_students)
    (said,) = beside.similar(params, found).sentences
    above, below = (want["lower"] > 0).sum(), (want["upper"] < 0).sum()
    assert (
        f"above zero for {above} and below zero for {below} of {len(want)} schools" in said and SMALL not in want.index
    )
    assert set(beside.similar(params, found).files["similar.csv"]["school"]) == set(want.index)


def test_what_is_not_named_or_cannot_be_computed_is_said(fitted):
    records, fit, typical = fitted
    nothing = beside.tables(study(), records, fit, typical)
    assert (
        nothing == {} and not beside.groups(study(), nothing, fit).shown and not beside.similar(study(), nothing).shown
    )
    (said,) = beside.not_there(study(), nothing).sentences
    assert "does not name `groups`" in said and "nor `similar`" in said
    params = study(groups="planet", similar=["prior_score"])
    found = beside.tables(params, records, fit, typical)
    (said,) = beside.not_there(params, found).sentences
    assert set(found) == {"similar.csv"} and "do not bear `groups`" in said and "planet" not in said


def test_where_no_group_may_be_shown_no_table_stands(fitted):
    records, fit, typical = fitted
    params = study(groups="district", min_schools=20)
    told = beside.groups(params, beside.tables(params, records, fit, typical), fit)
    assert told.tables == {} and "fewer than 20 schools" in told.sentences[0]
    assert isinstance(told.files["groups.csv"], pd.DataFrame) and told.files["groups.csv"].empty
