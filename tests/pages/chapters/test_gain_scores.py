"""Gain scores through the chapters of the book: lme4's values of cases/01, from both ways of writing the formula."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
from chapter_code import run_chapter
from conftest import ROOT

CASE = ROOT / "tests" / "cases" / "01-gain-score-left-side"
# lme4: score - prior_score ~ 1 + (1 | school) of 2021; its shift against 2016 and 2017 (expected.txt)
EFFECTS = {"0100": -1.028511, "0101": 1.741771, "0102": -2.544284, "0107": 17.849753}
SHIFT = -10.84836
STUDY = {
    "data": str(CASE / "records.csv"),
    "baseline_cohorts": [2016, 2017],
    "focal_cohorts": [2021],
    "further_formulas": [],
    "min_students": 1,
    "bootstrap_replicates": 4,
}


@pytest.mark.parametrize(
    "formula", [pytest.param("I(score - prior_score) ~ 1", marks=pytest.mark.long), "score - prior_score ~ 1"]
)
def test_the_chapters_fit_the_gain(formula, tmp_path, monkeypatch):
    monkeypatch.setenv("VALIB_RESULTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_chapter("02_relative", STUDY | {"formula": formula})
        found = run_chapter("04_benchmark", STUDY | {"formula": formula})
    names = ("relative_effects", "shifts")
    written = {name: pd.read_csv(tmp_path / f"{name}.csv", dtype={"school": "str"}) for name in names}
    effects = written["relative_effects"].set_index("school")["effect"]
    for school, effect in EFFECTS.items():  # published to the place of their errors: a tenth of a point
        assert effects[school] == pytest.approx(effect, abs=0.06)
    assert written["shifts"]["shift"].tolist() == [pytest.approx(SHIFT, abs=0.06)]
    assert found["study"].params.formula == formula
