"""`valib init` on the shapes in which records come: the study that it writes is the one prepared by hand."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from shapes import SHAPES
from typer.testing import CliRunner

from valib.command.cli import app
from valib.effects.relative import fit_relative
from valib.errors import ParamsError, RecordsError
from valib.records.reading import left_out, read_records
from valib.records.school_names import school_names
from valib.study.params import load
from valib.study.proposal import propose_all

pytestmark = pytest.mark.usefixtures("no_pictures")

SAME = {"rtol": 1e-9, "atol": 1e-9}  # one computation over the same rows


def run(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code in (0, 2), done.output
    return done


def proposed(tmp_path, shape):
    """The studies that init writes, by name, and the records."""
    table = SHAPES[shape]()
    table.to_csv(tmp_path / "records.csv", index=False)
    assert run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml").exit_code == 0
    folder = tmp_path / "study"
    files = sorted(folder.glob("*.yml")) if folder.is_dir() else [tmp_path / "study.yml"]
    return {file.stem: file for file in files}, table


def written(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def answer(file, **answers):
    text = file.read_text(encoding="utf-8")
    for name, value in answers.items():
        text, done = re.subn(rf'{name}: "\?".*', f"{name}: {value}", text)
        assert done == 1, name
    file.write_text(text, encoding="utf-8")


def same_fits(file, by_hand, tmp_path):
    """The effects that `valib fit` writes are those of a table prepared by hand; the check passes."""
    assert run("check", "--params", file).exit_code == 0
    out = tmp_path / f"out_{file.stem}"
    done = run("fit", "--params", file, "--model", "relative", "--exact", "--out", out)
    assert done.exit_code == 0, done.output
    effects = pd.read_csv(out / "school_effects.csv", dtype={"school": str})
    records = read_records(by_hand)
    for cohort, own in effects.groupby("cohort"):
        fit = fit_relative(records, int(cohort)).school_effects.loc[own["school"]]
        np.testing.assert_allclose(own["effect"], fit["effect"], **SAME)
        np.testing.assert_allclose(own["se"], fit["se"], **SAME)
    assert len(effects) > 10
    return effects


def test_a_column_for_each_year_is_reshaped(tmp_path):
    files, table = proposed(tmp_path, "read_wide")
    study = written(files["study"])
    assert study["reshape"] == {
        "cohort": [2019, 2021, 2023],
        "columns": {"score": "read_{cohort}", "prior_score": "read_{cohort-2}"},
    }
    by_hand = pd.concat(
        table[["pupil", "school"]]
        .rename(columns={"pupil": "student"})
        .assign(cohort=t, score=table[f"read_{t}"], prior_score=table[f"read_{t - 2}"])
        for t in (2021, 2023)
    )
    effects = same_fits(files["study"], by_hand, tmp_path)
    assert set(effects["cohort"]) == {2021, 2023}


def test_pre_and_post_tests_are_pairs(tmp_path):
    files, table = proposed(tmp_path, "dutch")
    assert set(files) == {"lang", "arit"}
    assert written(files["lang"])["columns"] | {"iq_verb": 0} == {
        "student": "pupilNR",
        "school": "schoolNR",
        "score": "langPOST",
        "prior_score": "langPRET",
        "iq_verb": 0,
    }
    for name, file in files.items():
        by_hand = table[["pupilNR", "schoolNR", f"{name}POST", f"{name}PRET"]]
        by_hand = by_hand.set_axis(["student", "school", "score", "prior_score"], axis=1).assign(cohort=0)
        same_fits(file, by_hand, tmp_path)


def test_each_stage_has_its_own_school_and_the_test_before(tmp_path):
    files, table = proposed(tmp_path, "tennessee")
    assert set(files) == {f"{s}_stage_{k}" for s in ("read", "math") for k in (1, 2, 3)}
    assert written(files["read_stage_1"])["columns"]["prior_score"] == "readk"
    for name in ("read_stage_3", "math_stage_2"):
        subject, _, stage = name.split("_")
        columns = {
            "school": f"schoolid{stage}",
            "score": f"{subject}{stage}",
            "prior_score": f"{subject}{int(stage) - 1}",
        }
        assert written(files[name])["columns"] == {"student": "?", **columns}
        told = run("check", "--params", files[name])
        assert told.exit_code == 2 and "is every row another student?" in told.stderr
        answer(files[name], student="row_number")
        by_hand = pd.DataFrame({role: table[c] for role, c in columns.items()}).assign(
            cohort=0, student=range(len(table))
        )
        same_fits(files[name], by_hand, tmp_path)


def test_two_kinds_of_school_are_a_question(tmp_path):
    files, table = proposed(tmp_path, "scottish")
    told = run("fit", "--params", files["study"], "--model", "relative", "--out", tmp_path / "x")
    assert told.exit_code == 2 and "school in which the outcome test was sat? One of: primary, second" in told.stderr
    answer(files["study"], student="row_number", school="second")
    by_hand = table[["second", "attain", "verbal"]].set_axis(["school", "score", "prior_score"], axis=1)
    same_fits(files["study"], by_hand.assign(cohort=0, student=range(len(table))), tmp_path)


def test_a_long_file_is_linked_to_the_year_before(tmp_path):
    files, _ = proposed(tmp_path, "state_long")
    assert set(files) == {f"{s}_grade_{g}" for s in ("mathematics", "reading") for g in (4, 5, 6)}
    study = written(files["reading_grade_5"])
    assert study["where"] == "CONTENT_AREA == 'READING' and GRADE == 5"
    assert study["prior"] == {"years_before": 1, "column": "score", "match": ["CONTENT_AREA"]}
    assert study["columns"] == {
        "student": "ID",
        "school": "SCHOOL_NUMBER",
        "cohort": "YEAR",
        "score": "SCALE_SCORE",
        "school_name": "SCHOOL_NAME",
    }
    assert study["title"] == "School value added in reading, grade 5"
    assert study["baseline_cohorts"] + study["focal_cohorts"] == [2022, 2023, 2024]
    assert "LAST" not in files["reading_grade_5"].read_text(encoding="utf-8")


def test_a_wide_file_with_grades_is_a_study_of_each_grade(tmp_path):
    files, _ = proposed(tmp_path, "state_wide")
    study = written(files["grade_5"])
    assert study["where"] == "grade == 5" and study["reshape"]["columns"] == {
        "score": "SS_{cohort}",
        "prior_score": "SS_{cohort-1}",
        "grade": "GRADE_{cohort}",
    }


def test_a_wide_file_without_a_school_asks_for_it(tmp_path):
    table = SHAPES["state_wide"]()
    table.drop(columns="SCHOOL_NUMBER").to_csv(tmp_path / "records.csv", index=False)
    done = run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml")
    assert done.exit_code == 0 and "school: not found; fill it in" in done.stderr
    file = tmp_path / "study" / "grade_5.yml"
    assert written(file)["columns"]["school"] == "?"
    told = run("check", "--params", file)
    assert told.exit_code == 2
    assert told.stderr.endswith(
        "school is not answered: which column holds the school? Write the answer in place of the question mark.\n"
    )
    table.rename(columns={"SCHOOL_NUMBER": "place"}).to_csv(tmp_path / "records.csv", index=False)
    answer(file, school="place")
    grade = table["GRADE_2024"] == 5
    by_hand = table.loc[grade, ["ID", "SCHOOL_NUMBER", "SS_2024", "SS_2023"]]
    by_hand = by_hand.set_axis(["student", "school", "score", "prior_score"], axis=1).assign(cohort=2024)
    assert set(same_fits(file, by_hand, tmp_path)["cohort"]) == {2024}


def test_the_shortest_lag_is_the_prior_and_an_error_of_measurement_is_none(tmp_path):
    files, _ = proposed(tmp_path, "lagged")
    assert set(files) == {f"{s}_grade_{g}" for s in ("math", "read") for g in (4, 5)}
    for name, file in files.items():
        study = written(file)
        assert study["columns"]["score"] == name[:4] and study["columns"]["prior_score"] == f"{name[:4]}_lag1"
        assert "csem" not in file.read_text(encoding="utf-8") and study["where"] == f"grade == {name[-1]}"


def test_years_that_count_from_elsewhere_are_a_question(tmp_path):
    files, _ = proposed(tmp_path, "panel_at_zero")
    study = written(files["math_grade_3"])
    assert study["year_zero"] == "?" and study["prior"] == {"years_before": 1, "column": "score"}
    assert "focal_cohorts" not in study and study["where"] == "grade == 3"


def test_year_zero_makes_calendar_years():
    table = pd.DataFrame(
        {
            "student": list("abcd"),
            "school": list("xxyy"),
            "year": [-1.5, -0.5, -0.5, -1.5],
            "score": 1.0,
            "prior_score": 2.0,
        }
    )
    assert read_records(table, year_zero=2000.5)["cohort"].tolist() == [1999, 2000, 2000, 1999]
    with pytest.raises(RecordsError, match="whole numbers"):
        read_records(table, year_zero=2000)


def test_no_prior_is_a_grade_an_error_or_the_score_itself():
    rng = np.random.default_rng(3)
    n = 400
    before = rng.normal(size=n)
    score = before + 0.5 * rng.normal(size=n)
    table = pd.DataFrame(
        {
            "student": [f"s{k}" for k in range(n)],
            "school": [f"c{k}" for k in rng.integers(0, 20, n)],
            "score": score,
            "score_csem": 0.2 + 0.1 * score,
            "percentile": score.argsort().argsort() / 4.0,
            "grade": np.clip((score * 2 + 8).round(), 1, 15),
            "scaled": 500 + 100 * score + 0.01 * rng.normal(size=n),
            "first": before,
        }
    )
    found = next(iter(propose_all(table).values()))
    assert found.params["columns"].get("prior_score") == "first"
    two = next(iter(propose_all(table.assign(later=before + 0.2 * rng.normal(size=n))).values()))
    assert "prior_score" not in two.params["columns"] and "first, later" in two.questions["prior_score"]


def test_a_reshape_by_name_is_that_by_pattern_and_rows_are_told_as_they_lie(tmp_path):
    table = SHAPES["read_wide"]().rename(columns={"pupil": "student"})
    pattern = {"cohort": [2019, 2021], "columns": {"score": "read_{cohort}", "prior_score": "read_{cohort-2}"}}
    one_by_one = {
        "cohort": [2019, 2021],
        "columns": {
            "score": {2019: "read_2019", 2021: "read_2021"},
            "prior_score": {2019: "read_2017", 2021: "read_2019"},
        },
    }
    pd.testing.assert_frame_equal(read_records(table, reshape=pattern), read_records(table, reshape=one_by_one))
    table.loc[:4, ["read_2017", "read_2019"]] = np.nan  # five students who were not there in 2019
    records = read_records(table, reshape=pattern)
    assert (records["cohort"] == 2019).sum() == len(table) - 5
    assert left_out(records).to_dict("records") == [{"cohort": 2021, "reason": "no prior score", "rows": 5}]
    odd = table.astype({"read_2021": object})
    odd.loc[7, "read_2021"] = "absent"
    odd.to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(RecordsError, match=r"score.*line 9"):
        read_records(tmp_path / "odd.csv", reshape=pattern)


@pytest.mark.parametrize(
    ("reshape", "told"),
    [
        ({"cohort": [2021]}, "a mapping such as"),
        ({"cohort": [], "columns": {"score": "read_{cohort}"}}, "a list of cohorts"),
        ({"cohort": [2021, 2021], "columns": {"score": "read_{cohort}"}}, "each once"),
        ({"cohort": [2021], "columns": {"score": "read_2021"}}, r"columns\.score a name with \{cohort\}"),
        ({"cohort": [2021], "columns": {"score": {2019: "read_2019"}}}, "one column for each cohort: 2021"),
        ({"cohort": [2021], "columns": {"cohort": "read_{cohort}"}}, "each column but cohort"),
        ({"cohort": [2022], "columns": {"score": "read_{cohort}"}}, "'read_2022', not among the columns"),
        ({"cohort": [2021], "columns": {"girl": "read_{cohort}"}}, "a column 'girl', but there is one of that name"),
    ],
)
def test_a_reshape_that_cannot_be_meant_is_refused(reshape, told):
    with pytest.raises(RecordsError, match=told):
        read_records(SHAPES["read_wide"](), {"student": "pupil"}, reshape=reshape)
    if "among" not in told and "girl" not in told:
        with pytest.raises(ParamsError, match=told):
            load(None, reshape=reshape)


def test_two_digits_of_a_year_are_years():
    reshape = {"cohort": [2021], "columns": {"score": "r{yy}", "prior_score": "r{yy-2}"}}
    table = pd.DataFrame({"student": ["a"], "school": ["x"], "r19": [1.0], "r21": [2.0]})
    assert read_records(table, reshape=reshape)[["score", "prior_score", "cohort"]].values.tolist() == [
        [2.0, 1.0, 2021.0]
    ]


def test_a_school_has_its_latest_name_beside_its_code(tmp_path):
    rng = np.random.default_rng(5)
    n = 400
    table = pd.DataFrame(
        {
            "student": range(n),
            "school": rng.integers(0, 10, n),
            "cohort": rng.integers(2021, 2023, n),
            "prior_score": rng.normal(size=n),
        }
    )
    table["score"] = table["prior_score"] + rng.normal(size=n)
    latest = np.where(table["cohort"] == 2021, "=Old & Sons", "New,  Hall")
    table["name"] = np.where(table["school"] == 0, latest, "<b>" + table["school"].astype(str) + "</b>")
    table.to_csv(tmp_path / "a.csv", index=False)
    assert school_names(read_records(table, {"school_name": "name"}))["0"] == "New, Hall"
    (tmp_path / "s.yml").write_text("data: a.csv\ncolumns: {school_name: name}\n")
    fit = ("fit", "--params", tmp_path / "s.yml", "--model", "relative")
    assert run(*fit, "--out", tmp_path / "out").exit_code == 0
    effects = pd.read_csv(tmp_path / "out" / "school_effects.csv", dtype=str)
    assert list(effects.columns[:4]) == ["model", "cohort", "school", "school_name"]
    assert set(effects.loc[effects["school"] == "0", "school_name"]) == {"New, Hall"}
    assert run("key", tmp_path / "key").exit_code == 0
    assert run(*fit, "--out", tmp_path / "hidden", "--pseudonyms", tmp_path / "key").exit_code == 0
    text = (tmp_path / "hidden" / "school_effects.csv").read_text()
    assert "Hall" not in text and "school_name" not in text


def test_names_of_schools_held_back_are_in_no_results_of_the_pages():
    from valib.pages.report.page import school_page, shown_name
    from valib.pages.report.results import compute
    from valib.study.params import Params

    rng = np.random.default_rng(6)
    n = 400
    table = pd.DataFrame({"student": range(n), "school": rng.integers(0, 10, n).astype(str), "cohort": 2024})
    table.loc[:2, "school"] = "tiny"
    table["prior_score"] = rng.normal(size=n)
    table["score"] = table["prior_score"] + rng.normal(size=n)
    table["school_name"] = "The <i>" + table["school"] + "</i>"
    params = Params(data="a.csv", focal_cohorts=[2024], further_formulas=[])
    results = compute(params, read_records(table))
    assert results.study["names"]["3"] == "The <i>3</i>" and "tiny" not in results.study["names"]
    assert set(results.study["names"]) == set(results.schools_shown())
    assert shown_name("3", results.study["names"]) == "3, The <i>3</i>"
    assert "The <i>3" not in school_page(results, "3").opening() and "The " in school_page(results, "3").opening()


def test_a_wide_file_with_grades_is_fitted_as_by_hand(tmp_path):
    files, table = proposed(tmp_path, "state_wide")
    parts = [
        table[["ID", "SCHOOL_NUMBER", f"SS_{t}", f"SS_{t - 1}"]][table[f"GRADE_{t}"] == 5]
        .set_axis(["student", "school", "score", "prior_score"], axis=1)
        .assign(cohort=t)
        for t in (2023, 2024, 2025)
    ]
    same_fits(files["grade_5"], pd.concat(parts), tmp_path)


def test_lags_by_grade_are_fitted_as_by_hand(tmp_path):
    files, table = proposed(tmp_path, "lagged")
    by_hand = table[table["grade"] == 4][["stuid", "schoolid", "year", "math", "math_lag1"]]
    by_hand = by_hand.set_axis(["student", "school", "cohort", "score", "prior_score"], axis=1)
    same_fits(files["math_grade_4"], by_hand, tmp_path)


def test_a_panel_from_year_zero_is_fitted_as_by_hand(tmp_path):
    files, table = proposed(tmp_path, "panel_at_zero")
    answer(files["math_grade_3"], year_zero=2000.5)
    before = table[["childid", "year", "math"]].assign(year=table["year"] + 1).rename(columns={"math": "prior_score"})
    by_hand = table.merge(before, on=["childid", "year"])
    by_hand = by_hand[by_hand["grade"] == 3].assign(cohort=lambda f: f["year"] + 2000.5)
    by_hand = by_hand.rename(columns={"childid": "student", "schoolid": "school", "math": "score"})
    same_fits(files["math_grade_3"], by_hand[["student", "school", "cohort", "score", "prior_score"]], tmp_path)


def test_a_long_file_is_fitted_as_by_hand(tmp_path):
    table = SHAPES["state_long"]()
    table.to_csv(tmp_path / "records.csv", index=False)
    table["YEAR"] = table["YEAR"].str[-4:].astype(int)  # the year in which the school year ends
    assert run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml").exit_code == 0
    own = table[table["CONTENT_AREA"] == "READING"][["ID", "SCHOOL_NUMBER", "YEAR", "SCALE_SCORE", "GRADE"]]
    before = (
        own[["ID", "YEAR", "SCALE_SCORE"]].assign(YEAR=own["YEAR"] + 1).rename(columns={"SCALE_SCORE": "prior_score"})
    )
    by_hand = own.merge(before, on=["ID", "YEAR"]).query("GRADE == 5").drop(columns="GRADE")
    names = {"ID": "student", "SCHOOL_NUMBER": "school", "YEAR": "cohort", "SCALE_SCORE": "score"}
    effects = same_fits(tmp_path / "study" / "reading_grade_5.yml", by_hand.rename(columns=names), tmp_path)
    assert effects["school_name"].str.startswith("School ").all()
