"""Students in several rows: refused as a rule, told as slips, counted once where schools are held back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from commands import said as run
from conftest import ROOT, simulate

import valib as va
from valib.errors import RecordsError
from valib.records import disclosure, repeats
from valib.study.account import check_records
from valib.sums.streams import stream_records

pytestmark = pytest.mark.usefixtures("no_pictures")

CASE = ROOT / "tests" / "cases" / "06-two-subjects-a-student"


def people(n: int = 400, schools: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return simulate(rng, schools=schools, size=(n // schools, n // schools), cohorts=(2021,)).drop(columns="u")


def two_subjects(frame: pd.DataFrame) -> pd.DataFrame:
    other = frame.assign(subject="reading", score=frame["score"] + 3)
    return pd.concat([frame.assign(subject="maths"), other], ignore_index=True)


@pytest.mark.parametrize("engine", ["memory", "duckdb", pytest.param("spark", marks=pytest.mark.long)])
def test_two_subjects_a_student_are_refused_and_the_subject_is_named(tmp_path, engine):
    """Issue: every fit doubled n in silence, and the account said that different rows were copies."""
    told = run(
        *("fit", CASE / "records.csv", "--params", CASE / "study.yml", "--model", "relative", "--cohorts", "2021"),
        *("--engine", engine, "--out", tmp_path),
        code=2,
    )
    assert "101 of 202 rows of cohort 2021 are of students who stand in their school and cohort already" in told
    assert "told apart by column 'subject'" in told and "copies" not in told
    assert not list(tmp_path.iterdir())
    maths = ("fit", CASE / "maths.csv", "--params", CASE / "study.yml", "--model", "relative", "--cohorts", "2021")
    run(*maths, "--engine", engine, "--exact", "--out", tmp_path)
    first = pd.read_csv(tmp_path / "school_effects.csv", dtype={"school": "str"}).set_index("school").loc["0100"]
    assert first["n"] == 10 and first["shrinkage"] == pytest.approx(0.618, abs=5e-4)


@pytest.mark.parametrize("model", ["benchmark", "joint"])
def test_every_model_refuses(tmp_path, model):
    told = run("fit", CASE / "records.csv", "--params", CASE / "study.yml", "--model", model, "--out", tmp_path, code=2)
    assert "told apart by column 'subject'" in told


def test_the_account_says_what_the_rows_are():
    said = check_records(va.read_records(CASE / "records.csv"), (2016, 2017), (2019, 2021))
    (item,) = [one for one in said.findings if one.code == "duplicates"]
    assert ": 417 (cohort " in item.text and "told apart by column 'subject'" in item.text
    assert "copies" not in item.text and "told apart by column 'subject'" in said.problems[0]
    maths = check_records(va.read_records(CASE / "maths.csv"), (2016, 2017), (2019, 2021))
    assert not maths.problems and not [one for one in maths.findings if one.code == "duplicates"]


def test_copies_codes_for_nobody_and_rows_that_nothing_tells_apart():
    frame = people()
    for rows, told in [
        (pd.concat([frame, frame]), "they are copies, the same in every column: remove the copies"),
        (frame.assign(student="0"), "one code has most of them and may stand for unknown students"),
        (pd.concat([frame, frame.assign(score=lambda d: d.score + 1)]), "they differ (in 'score'): find out"),
        (pd.concat([two_subjects(frame), frame.assign(subject="maths")]), "400 more are copies"),
    ]:
        with pytest.raises(RecordsError, match="would count them again") as error:
            va.fit_relative(rows.reset_index(drop=True), 2021)
        assert told in str(error.value)


def test_the_share_that_is_refused():
    """One row is a slip however few there are; else more than one row in a hundred are refused."""
    frame = people()
    for count, refused in [(1, False), (4, False), (5, True)]:
        rows = pd.concat([frame, frame.head(count).assign(score=500.0)], ignore_index=True)
        extra = repeats.extra_rows(rows)
        assert extra.sum() == count
        assert bool(repeats.too_many(extra, rows.groupby("cohort").size())) is refused
    few = frame.head(10)
    assert not repeats.too_many(repeats.extra_rows(pd.concat([few, few.head(1)])), pd.Series({2021: 11}))


def test_codes_numbered_within_schools_are_no_repeats():
    frame = people()
    numbered = frame.assign(student=frame.groupby("school").cumcount().astype("str"))
    assert repeats.extra_rows(numbered).empty
    pd.testing.assert_frame_equal(
        va.fit_relative(numbered, 2021).school_effects, va.fit_relative(frame, 2021).school_effects
    )


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_three_students_in_six_rows_are_held_back(tmp_path, engine):
    """A school of 3 students and 2 subjects, among schools of one row a student, passed min_students 5."""
    frame = people(800).assign(school=lambda d: d["school"].str.replace("S", "K"))
    small = two_subjects(frame.head(3).assign(school="tiny", student=["x", "y", "z"]))
    rows = pd.concat([frame.iloc[3:].assign(subject="maths"), small])
    rows.to_csv(tmp_path / "records.csv", index=False)
    told = run(
        *("fit", tmp_path / "records.csv", "--params", tmp_path / "none.yml", "--model", "relative"),
        *("--engine", engine, "--out", tmp_path / "out"),
        code=2,
    )
    assert "none.yml" in told
    (tmp_path / "none.yml").write_text("data: records.csv\n")
    told = run(
        *(
            "fit",
            "--params",
            tmp_path / "none.yml",
            *"--model relative --engine".split(),
            engine,
            "--out",
            tmp_path / "out",
        )
    )
    shown = pd.read_csv(tmp_path / "out" / "school_effects.csv")["school"].tolist()
    assert "tiny" not in shown and len(shown) == 8 - 2  # and the next two, that it cannot be worked out
    (fit,) = json.loads((tmp_path / "out" / "fits.json").read_text())
    assert [one["code"] for one in fit["findings"]] == ["duplicates"]
    assert "In 1 school of cohort 2021 more than 10% of the rows are of students who stand there already" in told


def test_sizes_count_students_in_memory_and_in_a_stream(tmp_path):
    frame = people(800)
    rows = pd.concat([frame, frame.head(2).assign(score=500.0)], ignore_index=True)
    rows.to_parquet(tmp_path / "records.parquet")
    for records in (va.read_records(rows), stream_records(tmp_path / "records.parquet")):
        table = va.fit_relative(records, 2021).school_effects
        assert (table["n"] - table["students"]).tolist() == [2] + [0] * 7
    assert disclosure.cell_sizes(rows).tolist() == [100] * 8
    joint = pd.concat([rows, frame.assign(cohort=2022, student="n" + frame["student"], score=frame["score"] + 1)])
    effects = va.fit_joint(
        va.read_records(joint), [2021, 2022], "score ~ prior_score", "compound_symmetry"
    ).school_effects
    assert (effects["n"] - effects["students"]).sum() == 2


def test_what_a_stream_says_of_students_is_what_memory_says(tmp_path, small):
    from valib.sums.students import correlation, in_several

    rows = small.drop(columns="u").copy()
    rows.loc[rows.index[-40:], "student"] = rows["student"].iloc[:40].to_numpy()
    rows.to_csv(tmp_path / "records.csv", index=False)
    memory, stream = va.read_records(rows), stream_records(tmp_path / "records.csv")
    assert in_several(memory, [2015, 2016, 2021]) == in_several(stream, [2015, 2016, 2021])
    assert in_several(memory, [2015, 2016, 2021])[0] == 40
    assert correlation(stream, 2021) == pytest.approx(correlation(memory, 2021), rel=1e-12)
    expected = np.corrcoef(*rows.loc[rows["cohort"] == 2021, ["score", "prior_score"]].to_numpy().T)[0, 1]
    assert correlation(memory, 2021) == pytest.approx(expected, rel=1e-12)
