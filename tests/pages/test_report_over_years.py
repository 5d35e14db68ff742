"""Several years in one number on a school's page: those of the joint model, in words of their own, and never of the hidden."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from test_report import STUDY, a_school, params_for
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.pages import report
from valib.pages.report import words
from valib.pages.report.changes import NOT_FITTED, SINGULAR, Years
from valib.pages.report.over_years import NO_PART, ONE_YEAR, over_years
from valib.pages.report.results import HELD_BACK, SHOWN, compute
from valib.pages.report.words import Estimate

FOCAL = STUDY["focal_cohorts"]
HIDDEN_NOW, HIDDEN_BEFORE = "S0002", "S0004"  # three students in a focal cohort; in a baseline cohort


def records(turned: int | None = None) -> pd.DataFrame:
    """Forty schools in three cohorts, alike to .6 from one to another; turned: the cohort whose effects are upside down."""
    rng = np.random.default_rng(4)
    rows = simulate(rng, schools=40, size=(12, 30), cohorts=(2016, *FOCAL), rho=0.6, tau=15.0)
    rows.loc[rows["cohort"] == turned, "score"] -= 2 * rows["u"]
    return rows.drop(columns="u")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Forty schools, of which one is too small in 2019 and one in 2016; plug-in intervals, which are quick."""
    rows = records()
    for school, cohort in ((HIDDEN_NOW, 2019), (HIDDEN_BEFORE, 2016)):
        rows = rows.drop(rows.index[(rows["school"] == school) & (rows["cohort"] == cohort)][3:])
    params = params_for(tmp_path_factory.mktemp("years"), rows, baseline_cohorts=[2016], intervals="plugin")
    return params, compute(params, params.read_records())


def test_both_are_those_of_the_joint_models_of_the_focal_cohorts(study):
    params, results = study
    records, found = params.read_records(), results.over_years
    mean = va.average_va(va.fit_joint(records, FOCAL, params.formula), intervals="plugin")
    structure = {"covariance": "compound_symmetry"}
    lasting = va.lasting_va(va.fit_joint(records, FOCAL, params.formula, **structure))
    for table, want, name in ((found.averages, mean, "average"), (found.lasting, lasting, "lasting")):
        mine = table.set_index("school")
        columns = [name, "se", "lower", "upper", "n", "cohorts"]
        np.testing.assert_array_equal(mine[columns], want.loc[mine.index, columns])
        assert len(mine) > 30
    assert (found.averages["averaged"] == "2019, 2024").all()


def test_the_numbers_of_valib_fit_are_those_of_the_report(study, tmp_path):
    """One folder holds both, and each explains its own files."""
    params, results = study
    cohorts = ["--baseline-cohorts", "2016", "--focal-cohorts", "2019,2024", "--intervals", "plugin"]
    joint = ["fit", params.data, "--model", "joint", *cohorts, "--no-figures"]
    for words_of in (
        [*joint, "--average", "2019,2024", "--out", str(tmp_path)],
        [
            "report",
            params.data,
            *cohorts,
            *"--school S0007 --school S0009 --quiet --excel --jobs 1 --out".split(),
            str(tmp_path),
        ],
        [*joint, "--average", "2019,2024", "--out", str(tmp_path)],
        [*joint, "--covariance", "compound_symmetry", "--out", str(tmp_path / "lasting")],
    ):
        done = CliRunner().invoke(app, words_of)
        assert done.exit_code == 0, done.output
    assert {"columns.csv", "report_columns.csv", "about.csv", "report_about.csv"} <= {
        p.name for p in tmp_path.iterdir()
    }
    for ours, theirs, name in (
        ("report_averages.csv", "averages.csv", "average"),
        ("report_lasting.csv", "lasting/lasting.csv", "lasting"),
    ):
        one, other = (pd.read_csv(tmp_path / file).set_index("school") for file in (ours, theirs))
        columns = [name, "se", "lower", "upper", "side"]
        pd.testing.assert_frame_equal(one[columns], other.loc[one.index, columns])


def test_a_school_held_back_in_a_focal_cohort_is_in_neither(study):
    results = study[1]
    state = results.cells.pivot(index="school", columns="cohort", values="state")[FOCAL]
    held = set(state.index[(state == HELD_BACK).any(axis=1)])
    assert HIDDEN_NOW in held and len(held) >= 3
    for table in (results.over_years.averages, results.over_years.lasting):
        assert set(table["school"]) == set(state.index[(state == SHOWN).any(axis=1)]) - held
        assert HIDDEN_BEFORE in set(table["school"]), "the model has none of its students of that year"
    page = report.school_page(results, HIDDEN_NOW)
    assert all("would give away the figure that is held back" in text for text in page.several_years())
    assert not re.search(r"\d\.\d", " ".join(page.several_years())) and page.about_several_years() == ""


def test_the_two_are_never_in_one_sentence(study):
    results = study[1]
    for school in results.schools_shown()[:10]:
        mean, lasting = report.school_page(results, school).several_years()
        assert "lasting" not in mean and "mean" not in lasting and "2019" not in lasting
    for name in ("averages", "lasting"):
        columns = set(getattr(results.over_years, name).columns)
        assert len(columns & {"average", "lasting"}) == 1


def test_words_follow_the_interval():
    up, across = Estimate(8.1, 2.3, 13.9), Estimate(1.0, -2.0, 4.0)
    assert words.mean([2021, 2019], 2, up, 0.95, 1) == (
        "Over 2019 and 2021, the mean of the school's value added is **above the average** of schools: +8.1 score points, "
        "with a 95% interval from 2.3 to 13.9."
    )
    assert words.mean([2019, 2021], 1, up, 0.95, 1).endswith(
        "It has students in 1 of these 2 years; the rest is predicted from its other years, and the interval counts that."
    )
    assert words.lasting(across, 0.9, 1) == (
        "The lasting part of the school's value added is **not distinguishable from the average** of schools: +1.0 score "
        "points, with a 90% interval from \N{MINUS SIGN}2.0 to 4.0, which holds zero."
    )
    told = words.several_years
    assert "(p < 0.001)" in told(True, True, 1e-5) and "(p = 0.012)" in told(False, True, 0.012)
    assert "fits better" not in told(True, True, 0.2) + told(True, False, 0.001)
    assert "two questions" in told(True, True, None) and "two questions" not in told(False, True, None)
    assert "lasting" not in told(True, False, None).lower() and told(False, False, 0.001) == ""


def of(results, **changed):
    return dataclasses.replace(results, over_years=dataclasses.replace(results.over_years, **changed))


@pytest.mark.parametrize("why", [NOT_FITTED, SINGULAR, ONE_YEAR, NO_PART])
def test_what_cannot_be_estimated_is_said(study, why):
    results, school = study[1], a_school(study[1])
    none = {name: getattr(results.over_years, name)[:0] for name in ("averages", "lasting")}
    page = report.school_page(of(results, **none, why_no_average=why, why_no_lasting=why), school)
    said = page.several_years()
    assert all(words.NO_FIGURE[why] in text for text in said) and page.about_several_years() == ""


def test_one_year_has_none_and_neither_have_effects_that_are_not_found_again(tmp_path):
    rows = records(turned=2024)
    settings = {"baseline_cohorts": [2016], "intervals": "plugin"}
    params = params_for(tmp_path, rows, **settings)
    found = compute(params, params.read_records()).over_years
    assert found.why_no_lasting == NO_PART and found.lasting.empty and len(found.averages) == 40
    params = params_for(tmp_path, rows[rows["cohort"] != 2024], **(settings | {"focal_cohorts": [2019]}))
    found = compute(params, params.read_records()).over_years
    assert found.why_no_average == found.why_no_lasting == ONE_YEAR and found.averages.empty and found.lasting.empty


def test_limits_of_a_mean_are_integrated_as_those_of_the_years_are(study):
    params, results = study
    fit = va.fit_joint(params.read_records(), FOCAL, params.formula)
    cells = pd.DataFrame({"school": ["S0007"], "cohort": [2019]})
    found = over_years(Years(None, None, None, fit), FOCAL, cells, cells[:0], "integrated")
    want = va.average_va(fit).loc["S0007", ["lower", "upper"]].to_numpy(dtype=float)
    assert found.averages[["lower", "upper"]].to_numpy().ravel().tolist() == want.tolist()
    plugin = results.over_years.averages.set_index("school").loc["S0007", ["lower", "upper"]].to_numpy(dtype=float)
    assert np.ptp(want) > np.ptp(plugin), "the variances are not known"
