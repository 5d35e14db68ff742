"""The book from files as they come: `valib init`, `valib check`, `valib book`, with nothing done by hand between them.

One shape has its book rendered; of the others a chapter or two run, with the very parameters and records that the book
gives them. That the numbers are those of a table prepared by hand to 1e-9 is shown of `valib fit --exact` in test_shapes.py;
the book's files hold them rounded.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from chapter_code import run_chapter
from commands import run as valib
from shapes import SHAPES

from valib.effects.relative import fit_relative
from valib.errors import ParamsError, ValibWarning
from valib.pages.build.assemble import shown_cohorts
from valib.pages.build.staging import prepare_records
from valib.records.reading import read_records
from valib.study.params import load


def run(*words):
    return valib(*words, code=0)


def by_hand():
    """The rows of the study that is built, prepared without valib."""
    table = SHAPES["state_long"]()
    table = table[table["CONTENT_AREA"] == "READING"].assign(cohort=lambda t: t["YEAR"].str[-4:].astype(int))
    rows = table[["ID", "cohort", "GRADE", "SCHOOL_NUMBER", "SCALE_SCORE"]]
    rows = rows.set_axis(["student", "cohort", "grade", "school", "score"], axis=1)
    before = rows[["student", "cohort", "score"]].assign(cohort=rows["cohort"] + 1)
    before = before.rename(columns={"score": "prior_score"}).drop_duplicates(["student", "cohort"], keep=False)
    return rows[rows["grade"] == 5].merge(before, on=["student", "cohort"], how="left")


@pytest.mark.long
def test_a_book_is_made_of_a_file_as_it_comes(tmp_path):
    shape, study = "state_long", "reading_grade_5"
    SHAPES[shape]().to_csv(tmp_path / "records.csv", index=False)
    run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml")
    params = tmp_path / "study" / f"{study}.yml"
    run("check", "--params", params)
    with params.open("a", encoding="utf-8") as file:  # fewer draws, so that the test is quicker
        file.write("simulation_replicates: 40\nbootstrap_replicates: 40\nquantile_draws: 60\n")
    run("book", "--params", params, "--out", tmp_path / "book", "--quiet")
    assert (tmp_path / "book" / "html" / "index.html").is_file()
    same_effects(tmp_path / "book" / "results", read_records(by_hand()))


def same_effects(results, records):
    """The relative effects that are written are those of the records, to the last digit that is shown."""
    effects = pd.read_csv(results / "relative_effects.csv", dtype=str, keep_default_na=False)
    for cohort, own in effects[effects["effect"] != ""].groupby("cohort"):
        fit = fit_relative(records, int(cohort)).school_effects.loc[own["school"]]
        half = [0.5 * 10.0 ** -len(shown.partition(".")[2]) for shown in own["effect"]]
        assert (np.abs(own["effect"].astype(float).to_numpy() - fit["effect"]) <= np.array(half) + 1e-9).all()
        assert len(own) > 10


ANSWERS = {"student": "row_number", "school": "second", "year_zero": "2000.5"}
OTHERS = {
    "dutch": "study/lang.yml",
    "state_wide": "study/grade_5.yml",
    "read_wide": "study.yml",
    "lagged": "study/math_grade_4.yml",
    "tennessee": "study/read_stage_3.yml",
    "scottish": "study.yml",
    "panel_at_zero": "study/math_grade_3.yml",
}


def proposed(tmp_path, shape):
    """The study that init writes, its questions answered."""
    SHAPES[shape]().to_csv(tmp_path / "records.csv", index=False)
    run("init", tmp_path / "records.csv", "--out", tmp_path / "study.yml")
    file = tmp_path / OTHERS[shape]
    text = file.read_text(encoding="utf-8")
    for name, answer in ANSWERS.items():
        text = re.sub(rf'{name}: "\?".*', f"{name}: {answer}", text)
    file.write_text(text, encoding="utf-8")
    run("check", "--params", file)
    return load(file)


@pytest.mark.long
@pytest.mark.parametrize("shape", OTHERS)
def test_chapters_of_every_other_shape_run(tmp_path, monkeypatch, shape):
    params = proposed(tmp_path, shape)
    records = params.read_records()
    study = shown_cohorts(params.settled(records["cohort"].unique()), records, not params.focal_cohorts)
    monkeypatch.setenv("VALIB_RECORDS", str(prepare_records(study, tmp_path, records)))
    monkeypatch.setenv("VALIB_RESULTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = study.model_copy(update={"bootstrap_replicates": 20}).model_dump()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for chapter in ("02_relative", *(["04_benchmark"] if shape == "read_wide" else [])):
            run_chapter(chapter, given)
    same_effects(tmp_path, records)


def test_a_cohort_of_which_no_school_may_be_shown_is_left_out_of_the_book(tmp_path):
    """As grade 3 of the panel has a cohort of 44 students in 19 schools, and the figures would be empty."""
    params = proposed(tmp_path, "panel_at_zero")
    records = params.read_records()
    settled = params.settled(records["cohort"].unique())
    assert settled.focal_cohorts == [2001, 2002]
    with pytest.warns(ValibWarning, match="of cohort 2002 no school may be shown.*the book leaves them out"):
        assert shown_cohorts(settled, records, True).focal_cohorts == [2001]
    with pytest.raises(ParamsError, match="cohort 2002 no school .* leave such cohorts out of focal_cohorts"):
        shown_cohorts(settled, records, False)
    large = settled.model_copy(update={"min_students": 1000})
    with pytest.raises(ParamsError, match="cohorts 2001, 2002"):
        shown_cohorts(large, records, True)
    assert shown_cohorts(settled.model_copy(update={"min_students": 1}), records, True).focal_cohorts == [2001, 2002]
