"""Published counts of linkage, by cohort and by school, against an attacker who solves for what is held back.

The attacker knows that counts are whole and not negative, every count that is told, all totals that are told, how many rows
each school that is named has, and that a school that is not named has a row at least. What is held back must keep two values.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from valib.errors import RecordsError
from valib.records.prior import OUTCOMES, Prior, linkage
from valib.records.told import published, told_linkage

FLOOR = 5


def records(seed: int) -> pd.DataFrame:
    """Rows by cohort, school, outcome and grade step: few schools, some of few rows, few rows unlinked or ambiguous."""
    rng = np.random.default_rng(seed)
    rows = []
    for school in range(rng.integers(3, 8)):
        for cohort in (2022, 2023):
            size = int(rng.choice([1, 2, 4, 6, 12, 30]))
            counts = rng.multinomial(size, [0.75, 0.17, 0.08])
            for outcome, n in zip(OUTCOMES, counts, strict=True):
                step = rng.choice([1.0, 2.0], p=[0.9, 0.1]) if outcome == "linked" else np.nan
                if n:
                    rows.append((cohort, f"s{school}", outcome, step, int(n)))
    return pd.DataFrame(rows, columns=["cohort", "school", "outcome", "step", "rows"])


def span(A: np.ndarray, b: np.ndarray, which: np.ndarray, least: np.ndarray) -> tuple[int, int]:
    """The smallest and the largest whole value that a sum of unknowns can have."""
    ends = []
    for sign in (1, -1):
        found = linprog(sign * which, A_eq=A, b_eq=b, bounds=list(zip(least, [None] * len(least), strict=True)))
        ends.append(np.inf * -sign if found.status == 3 else sign * found.fun)
    return int(np.ceil(ends[0] - 1e-6)), np.inf if np.isinf(ends[1]) else int(np.floor(ends[1] + 1e-6))


def spans(told: dict, true: pd.DataFrame, by: str) -> list[tuple[int, tuple]]:
    """Of each count of few rows that is held back, and of the few rows of a unit not named: the truth, and what is left."""
    units = list(true.index)
    named = {str(row[by]): row for row in told[f"by_{by}"]}
    J, K = len(units), len(OUTCOMES)
    equations, values = [], []

    def known(cells, value):
        row = np.zeros(J * K)
        row[cells] = 1
        equations.append(row)
        values.append(value)

    for k, outcome in enumerate(OUTCOMES):
        if told[outcome] is not None:
            known([j * K + k for j in range(J)], told[outcome])
    for j, unit in enumerate(units):
        if str(unit) in named:
            known([j * K + k for k in range(K)], true.loc[unit].sum())  # as the coverage of schools may tell it
            for k, outcome in enumerate(OUTCOMES):
                if named[str(unit)][outcome] is not None:
                    known([j * K + k], named[str(unit)][outcome])
    A, b, found = np.array(equations), np.array(values), []
    for j, unit in enumerate(units):
        row = true.loc[unit]
        if str(unit) not in named:
            which = np.zeros(J * K)
            which[j * K : (j + 1) * K] = 1
            if row.sum() < FLOOR:
                found.append((int(row.sum()), span(A, b, which, np.zeros(J * K))))
            continue
        for k, outcome in enumerate(OUTCOMES):
            if named[str(unit)][outcome] is None and 0 < row[outcome] < FLOOR:
                which = np.zeros(J * K)
                which[j * K + k] = 1
                found.append((int(row[outcome]), span(A, b, which, np.zeros(J * K))))
    return found


@pytest.mark.parametrize("by", ["school", "cohort"])
def test_what_is_held_back_keeps_two_values(by):
    attacked = 0
    for seed in range(25):
        counted = records(seed)
        try:
            told = told_linkage(linkage(Prior(years_before=1), counted, "x.csv"), FLOOR)
        except RecordsError:  # more ambiguous rows than linked ones
            continue
        true = (
            counted.groupby([by, "outcome"])["rows"]
            .sum()
            .unstack(fill_value=0)
            .reindex(columns=list(OUTCOMES), fill_value=0)
        )
        for value, (low, high) in spans(told, true, by):
            assert low < high, (seed, value, low, high)
            attacked += 1
    assert attacked > 15


def test_an_attacker_finds_what_a_total_gives_away():
    """That the test can fail: with one school left out, its rows are the total less the others."""
    true = pd.DataFrame([[3, 0, 0], [10, 6, 0]], index=["a", "b"], columns=list(OUTCOMES))
    told = {
        "linked": 13,
        "unlinked": 6,
        "ambiguous": 0,
        "by_school": [{"school": "b", "linked": 10, "unlinked": 6, "ambiguous": 0}],
    }
    assert spans(told, true, "school") == [(3, (3, 3))]


def test_results_tell_nothing_of_schools_and_no_few_rows_of_another_grade():
    for seed in range(25):
        counted = records(seed)
        try:
            attrs = {"prior": linkage(Prior(years_before=1), counted, "x.csv")}
        except RecordsError:
            continue
        told = published(attrs, FLOOR)["prior"]
        assert "by_school" not in told and "grade_steps" not in told and "s0" not in json.dumps(told)
        linked = {row["cohort"]: row["linked"] for row in told["by_cohort"]}
        for row in told["odd_steps"]:
            assert linked[row["cohort"]] is not None
            assert not 0 < row["odd"] < FLOOR and not 0 < row["rows"] - row["odd"] < FLOOR
