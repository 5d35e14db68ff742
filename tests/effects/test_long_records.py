"""Long records: grades and subjects that share a regression, students who come back a grade later, grades of prior scores.

That `valib check` and the fits say one sentence of them is in test_findings.py.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.effects.findings import several_cohorts
from valib.effects.long_records import mixed, of_linkage
from valib.records.long import MOST, grade_column, moving_up, subject_column
from valib.study.account import check_records
from valib.sums.students import in_several, levels_of


def long(students: int = 240, seed: int = 1) -> pd.DataFrame:
    """Students of two grades followed over three years, in one subject."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(500, 50, students)
    rows = [
        (f"{i:04d}", f"{i % 8:02d}", 2021 + t, 3 + i % 2 + t, ability[i] + 20 * t + 20 * rng.normal())
        for t in range(3)
        for i in range(students)
    ]
    return pd.DataFrame(rows, columns=["student", "school", "cohort", "grade", "score"])


def records(rows: pd.DataFrame, engine: str, folder, **choices):
    """The same records in memory or streamed from a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if engine == "memory":
            return va.read_records(rows, **choices)
        rows.to_csv(folder / "long.csv", index=False)
        return va.stream_records(folder / "long.csv", **choices)


ENGINES = pytest.mark.parametrize("engine", ["memory", "stream"])


@pytest.mark.parametrize(
    ("names", "grade", "subject"),
    [
        (["Grade", "SCORE"], "Grade", None),
        (["GRADE_LEVEL", "grade", "Content_Area"], "grade", "Content_Area"),
        (["Klassenstufe", "Fach"], "Klassenstufe", "Fach"),
        (["matière", "Año", "grade_mean", "upgrade", 3], None, "matière"),
    ],
)
def test_columns_of_grades_and_subjects_are_known_by_whole_names(names, grade, subject):
    assert (grade_column(names), subject_column(names)) == (grade, subject)


@ENGINES
def test_shares_of_grades_are_counted_and_told(engine, tmp_path):
    rows = long().assign(prior_score=lambda f: f["score"] + np.arange(len(f)) % 7)
    rows = rows[~((rows["cohort"] == 2021) & (rows["grade"] == 4) & (rows.index % 10 > 1))]  # 120 of grade 3, 24 of 4
    rows = rows[~((rows["cohort"] == 2023) & (rows["grade"] == 6) & (rows.index % 40 > 1))]  # 120 of grade 5, 6 of 6
    found = records(rows, engine, tmp_path)
    assert levels_of(found, [2021, 2023], "grade") == {2021: {"3": 120, "4": 24}, 2023: {"5": 120, "6": 6}}
    (item,) = mixed(found, [2021, 2023], "score ~ prior_score")
    assert item.cohorts == (2021,)  # 6 of 126 is no twentieth
    assert "by column grade (cohort 2021: 3 83%, 4 17%)" in item.text and "where: grade == 3" in item.text
    for formula in ("score ~ prior_score + C(grade)", "score ~ prior_score * grade"):
        assert mixed(found, [2021, 2023], formula) == []
    one = records(rows, engine, tmp_path, where="grade == 5")
    assert mixed(one, [2022, 2023], "score ~ prior_score") == [None]


def test_a_column_of_many_values_holds_no_grades(tmp_path):
    rows = long().assign(prior_score=lambda f: f["score"] + np.arange(len(f)) % 7)
    for engine in ("memory", "stream"):
        for values, told in ((MOST, 1), (MOST + 1, 0)):
            marks = records(rows.assign(grade=np.arange(len(rows)) % values), engine, tmp_path)
            assert len([item for item in mixed(marks, [2021, 2022], "score ~ prior_score") if item]) == told


def by_hand(rows: pd.DataFrame, cohorts: list[int]) -> int:
    """Students whose grade less cohort is known and the same in all rows, of two cohorts or more."""
    moving = 0
    for _, own in rows[rows["cohort"].isin(cohorts)].groupby("student"):
        since = (own["grade"] - own["cohort"]).tolist()
        moving += own["cohort"].nunique() > 1 and not np.isnan(since).any() and len(set(since)) == 1
    return moving


@ENGINES
def test_students_who_move_up_a_grade_a_year_are_counted(engine, tmp_path):
    rng = np.random.default_rng(2)
    rows = long().assign(prior_score=lambda f: f["score"] + np.arange(len(f)) % 7)
    rows["grade"] = rows["grade"].astype(float) - (rng.random(len(rows)) < 0.05)
    rows.loc[rng.random(len(rows)) < 0.05, "grade"] = np.nan
    rows = rows[rng.random(len(rows)) < 0.6]
    found = records(rows, engine, tmp_path)
    for cohorts in ([2021, 2022, 2023], [2021, 2023]):
        told = in_several(found, cohorts)
        assert told[3] == by_hand(rows, cohorts) and 0 < told[3] < told[0]
    assert in_several(records(rows.drop(columns="grade"), engine, tmp_path), [2021, 2022])[3] == 0


def test_grades_of_few_students_are_not_named():
    rows = long(1000).assign(prior_score=lambda f: f["score"] + np.arange(len(f)) % 7).query("cohort == 2021")
    rows.loc[rows.index[1:6:2], "grade"] = 9
    (item,) = [one for one in mixed(va.read_records(rows), [2021], "score ~ prior_score") if one]
    assert "(cohort 2021: 3 50%, 4 50%, others)" in item.text


def test_moving_up_is_said_where_most_do():
    assert moving_up(np.array([1, 1, 2, 2, 3]), np.array([1, 2, 1, 2, 1]), np.array([4.0, 5, 4, 4, 4])) == 1
    assert "75.0% of them move up a grade a year" in several_cohorts(400, 1000, [2022], 300).text
    for up in (0, 200):
        assert "codes are used again" in several_cohorts(400, 1000, [2022], up).text


@ENGINES
def test_the_grade_of_earlier_rows_is_said_and_checked(engine, tmp_path):
    """Two years before, a tenth of 2023's students were but one grade lower, for they repeated one."""
    rows = long().rename(columns={"grade": "GRADE"})
    slow = rows["student"].isin([f"{i:04d}" for i in range(24)])
    rows.loc[slow & (rows["cohort"] > 2021), "GRADE"] -= 1
    found = records(rows, engine, tmp_path, prior={"years_before": 2})
    told = found.attrs["prior"]
    assert told["grade_steps"] == [{"step": 1.0, "rows": 24}, {"step": 2.0, "rows": 216}]
    assert told["grade_step"] == 2.0 and told["odd_steps"] == [{"cohort": 2023, "odd": 24, "rows": 240}]
    (item,) = [one for one in of_linkage(told, [2023]) if one]
    assert (
        item.code == "grade_steps"
        and "not 2 below for more than 5% of the linked rows (cohort 2023: 10.0%)" in item.text
    )
    assert [one for one in of_linkage(told, [2022]) if one] == []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert item in va.fit_relative(found, 2023).findings
    assert item.text in [str(one.message) for one in caught]
    one = records(rows, engine, tmp_path, prior={"years_before": 1})  # of 2022 a tenth stayed; in 2023 all have moved
    assert [row["odd"] for row in one.attrs["prior"]["odd_steps"]] == [24, 0]
    few = records(rows[~slow | (rows["student"] < "0012")], engine, tmp_path, prior={"years_before": 2})
    assert few.attrs["prior"]["odd_steps"] == [{"cohort": 2023, "odd": 12, "rows": 228}] and [
        one for one in of_linkage(few.attrs["prior"], [2023]) if one
    ]
    none = records(rows[~slow | (rows["student"] < "0010")], engine, tmp_path, prior={"years_before": 2})
    assert not any(of_linkage(none.attrs["prior"], [2023]))  # 10 of 226


@ENGINES
def test_of_another_file_the_grade_that_most_have_is_expected(engine, tmp_path):
    rows = long()
    before = rows[rows["cohort"] == 2021].assign(grade=lambda f: f["grade"] - (f["student"] < "0030"))
    before.to_csv(tmp_path / "before.csv", index=False)
    prior = {"file": str(tmp_path / "before.csv")}
    found = records(rows[rows["cohort"] == 2023], engine, tmp_path, prior=prior)
    assert found.attrs["prior"]["grade_step"] == 2.0 and found.attrs["prior"]["odd_steps"] == [
        {"cohort": 2023, "odd": 30, "rows": 240}
    ]


@ENGINES
def test_rows_with_two_earlier_rows_are_told_where_they_are_many(engine, tmp_path):
    rows = long()
    again = rows[(rows["cohort"] == 2022) & (rows["student"] < "0012")]
    found = records(pd.concat([rows, again]), engine, tmp_path, prior={"years_before": 1}, where="cohort == 2023")
    (item,) = [one for one in of_linkage(found.attrs["prior"], [2023]) if one]
    assert item.code == "ambiguous_prior" and "(cohort 2023: 5.0%)" in item.text


def test_check_tells_of_the_grades_and_publishes_no_counts_of_them():
    rows = long()
    rows.loc[rows["student"] < "0024", "grade"] = 4
    found = va.read_records(rows, prior={"years_before": 1})
    account = check_records(found, [2022], [2023])
    codes = [item.code for item in account.findings]
    assert {"grade_steps", "mixed_grades", "several_cohorts"} <= set(codes)
    assert "odd_steps" not in account.to_dict()["prior_linkage"]
    broken = check_records(found, [2022], [2023], formula="score ~ (")
    assert broken.problems and "mixed_grades" not in [item.code for item in broken.findings]
