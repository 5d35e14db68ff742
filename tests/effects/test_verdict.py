"""Verdicts: which side of the reference an interval lies, and which interval decides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valib.effects.verdict import shift_verdicts, sides, verdict


def test_sides_by_hand():
    lower, upper = [0.1, -3.0, -1.0, 0.0, np.nan, -2.0], [2.0, -0.1, 1.0, 1.0, 1.0, 0.0]
    assert sides(lower, upper).tolist() == ["above", "below", "not told apart", "not told apart", "", "not told apart"]
    assert sides(1.0, 2.0, reference=1.5) == "not told apart" and sides(1.0, 2.0, reference=3.0) == "below"


def test_the_widest_interval_that_is_known_decides_and_is_named():
    found = verdict({"schools": (-5.0, -1.0), "year": (-7.0, 1.0), "unknown": (np.nan, np.nan)})
    assert (found.side, found.interval, found.lower, found.upper) == ("not told apart", "year", -7.0, 1.0)
    assert verdict({"schools": (-5.0, -1.0), "year": (-4.0, -2.0)}).interval == "schools"
    assert verdict({"schools": (-5.0, -1.0), "year": (np.nan, 1.0)}).side == "below"
    assert verdict({}).side == "" and verdict({"one": (np.nan, 1.0)}).interval == ""


@pytest.mark.parametrize(
    ("year", "side", "by"),
    [((-9.0, 3.0), "not told apart", "a further ordinary year"), ((np.nan, np.nan), "below", "schools")],
)
def test_a_shift_is_judged_by_the_year_where_that_is_known(year, side, by):
    context = pd.DataFrame(
        {
            "role": ["baseline", "focal"],
            "lower": [-1.0, -5.0],
            "upper": [1.0, -1.0],
            "year_lower": [np.nan, year[0]],
            "year_upper": [np.nan, year[1]],
        },
        index=[2016, 2021],
    )
    found = shift_verdicts(context)
    assert found.index.tolist() == [2021] and found.loc[2021, ["side", "interval"]].tolist() == [side, by]
