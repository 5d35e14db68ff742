"""What misleads without a sound: one school written in two ways, codes for missing, tests linked to other students."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_account_parts import found, table, take

from valib.study.account.names import plain_code


def schools_renamed(rename, names=("0563", "0417", "0030", "0901"), n=40) -> pd.DataFrame:
    """A table whose school codes in 2016 are written by ``rename``."""
    frame = table({(name, cohort): n for name in names for cohort in (2015, 2016)})
    later = frame["cohort"] == 2016
    return frame.assign(school=frame["school"].where(~later, frame["school"].map(rename)))


WAYS = {
    "leading zeros lost": lambda code: code.lstrip("0"),
    "as a float": lambda code: f"{int(code)}.0",
    "with a decimal comma": lambda code: f"{code},0",
    "an apostrophe before": lambda code: f"'{code}",
    "a formula": lambda code: f'="{code}"',
    "a mark without width": lambda code: f"\u200b{code}",
    "wide digits": lambda code: "".join(chr(ord(c) + 0xFEE0) for c in code),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_school_in_two_ways_of_writing_is_told(way):
    (item,) = found(take(schools_renamed(WAYS[way])), "alike_schools")
    assert "or the like: 8 (" in item.text and "; and 1 more); 160 students stand under the rarer" in item.text


@pytest.mark.parametrize(
    ("names", "rename"),
    [
        (["St Mary", "St Jude", "Åby", "Örsta"], str.upper),
        (["St Mary", "St Jude", "A B", "C D"], lambda s: s.replace(" ", "  ")),
        (["École A", "École B", "École C", "École D"], lambda s: s.replace("É", "E\u0301")),
    ],
)
def test_names_in_two_ways_of_writing_are_told(names, rename):
    (item,) = found(take(schools_renamed(rename, names)), "alike_schools")
    assert "or the like: 8 (" in item.text and f"'{names[0]}' and '" in item.text


def test_some_schools_of_one_year_are_counted_exactly():
    frame = schools_renamed(lambda code: code)
    few = frame.index[(frame["school"] == "0563") & (frame["cohort"] == 2016)][:7]
    frame.loc[few, "school"] = "563"
    (item,) = found(take(frame), "alike_schools")
    assert "or the like: 2 ('0563' and '563'); 7 students stand under the rarer ways" in item.text


def test_codes_that_differ_are_not_alike():
    codes = ["1", "10", "100", "-1", "1.5", "1A", "A1", "A", "0", "St Mary", "St Marys", "1.2.0", "9e5", "Å", "A.0"]
    assert len({plain_code(code) for code in codes}) == len(codes)
    frame = table({(name, cohort): 30 for name in ["1", "10", "A1", "St Mary"] for cohort in (2015, 2016)})
    assert not {item.code for item in take(frame).findings} & {"alike_schools", "unknown_school", "cut_codes"}


@pytest.mark.parametrize("name", ["NA", "NULL", "unknown", "-9", "9999", "0", "None", "n/a", "#N/A", "."])
def test_a_code_that_may_stand_for_unknown_schools_is_told(name):
    cells = {(school, cohort): 30 for school in ["17", "18", "19", "20"] for cohort in (2015, 2016)}
    (item,) = found(take(table({**cells, (name, 2016): 90})), "unknown_school")
    assert item.text.startswith(f"School '{name}' has 90 students and may stand for an unknown school")
    (item,) = found(take(table({**cells, ("NA", 2016): 3})), "unknown_school")
    assert item.text.startswith("School 'NA' has fewer than 5 students")  # a small number is held back


def test_a_school_99_of_the_usual_size_is_a_school():
    cells = {(school, cohort): 30 for school in ["98", "99", "0", "20"] for cohort in (2015, 2016)}
    assert not found(take(table(cells)), "unknown_school")


@pytest.mark.parametrize("column", ["school", "student"])
def test_codes_that_a_spreadsheet_has_cut_are_told(column):
    frame = table({(school, cohort): 40 for school in "ABCD" for cohort in (2015, 2016)})
    assert not found(take(frame), "cut_codes")
    frame.loc[frame.index[:13], column] = ["1.23457E+11", "1,2E+10", "9E+99", *["4.5e+7"] * 10]
    (item,) = found(take(frame), "cut_codes")
    assert item.text.startswith(f"Column {column} has 13 rows with codes such as 1.23457E+11")


def test_one_code_for_unknown_students_is_no_copy():
    frame = table({(school, cohort): 100 for school in "ABCD" for cohort in (2015, 2016)})
    frame.loc[::20, "student"] = "0"
    said = take(frame)
    assert said.codes["most_rows"].tolist() == [20, 20]
    assert "one code has most of them and may stand for unknown students" in found(said, "duplicates")[0].text
    doubled = take(pd.concat([frame.assign(student=range(800))] * 2))
    assert doubled.codes["most_rows"].tolist() == [2, 2]
    assert "they are copies, the same in every column: remove the copies" in found(doubled, "duplicates")[0].text
    for refused in (said, doubled):
        assert "and a model would count them again" in refused.problems[0]


# Correlation of score and prior score


def four_cohorts() -> pd.DataFrame:
    return table({(school, t): 100 for school in "ABCD" for t in (2013, 2014, 2015, 2016)})


def test_the_correlation_is_that_of_pandas():
    frame = four_cohorts()
    frame.loc[::7, "prior_score"] = np.nan
    said = take(frame, baseline=(2013, 2014, 2015))
    expected = frame.groupby("cohort")[["score", "prior_score"]].apply(lambda part: part.corr().iloc[0, 1])
    assert said.linkage["correlation"].tolist() == pytest.approx(expected.tolist())
    assert not found(said, "correlation") and not found(said, "same_test")


def changed(frame: pd.DataFrame, cohort: int, prior) -> pd.DataFrame:
    where = frame["cohort"] == cohort
    return frame.assign(prior_score=frame["prior_score"].where(~where, prior))


def test_priors_of_other_students_are_told():
    frame = four_cohorts()
    other = np.random.default_rng(1).permutation(frame["prior_score"])
    (item,) = found(take(changed(frame, 2016, other), baseline=(2013, 2014, 2015)), "correlation")
    assert item.cohorts == (2016,) and "is under 0.3 (cohort 2016: " in item.text


def test_the_score_itself_as_prior_is_told():
    frame = four_cohorts()
    said = take(changed(frame, 2016, frame["score"]), baseline=(2013, 2014, 2015))
    (item,) = found(said, "same_test")
    assert item.cohorts == (2016,) and "(cohort 2016: 1.00): the two columns may hold the same test" in item.text


def test_a_correlation_that_leaves_the_baseline_is_told():
    frame = four_cohorts()
    noisy = frame["prior_score"] + np.random.default_rng(2).normal(0, 60, len(frame))
    said = take(changed(frame, 2016, noisy), baseline=(2013, 2014, 2015))
    (item,) = found(said, "correlation")
    usual = said.linkage.loc[[2013, 2014, 2015], "correlation"].median()
    assert item.cohorts == (2016,) and f"is over 0.15 from the baseline's {usual:.2f} (cohort 2016: " in item.text


# Codes for missing


def test_one_value_that_many_share_beyond_a_gap_is_a_code_and_no_ceiling():
    values = np.random.default_rng(3).normal(50, 8, 1000).round().clip(25, 75)
    frame = table({(school, cohort): 250 for school in "ABCD" for cohort in (2015, 2016)})
    for code, side in ((99, "above"), (0, "below")):
        marked = values.copy()
        marked[:25] = code
        frame.loc[frame["cohort"] == 2016, "score"] = marked
        said = take(frame)
        (item,) = found(said, "far_off")
        assert f"has 25 students of cohort 2016 at the value {code}, far {side} the next, " in item.text
        assert not found(said, "ceiling") and not found(said, "floor")
    frame.loc[frame["cohort"] == 2016, "score"] = np.where(values > 62, 66, values)  # full marks: many, and near
    assert not found(take(frame), "far_off") and found(take(frame), "ceiling")


COVARIATES = [  # values, the code among them
    ([0, 1] * 50 + [9] * 3, 9),
    ([*range(40)] * 3 + [99], 99),
    (list(np.linspace(-2, 2, 100)) + [999] * 4, 999),
    ([*range(5, 16)] * 10 + [-9] * 2, -9),
    ([0, 1, 2] * 30 + [-99], -99),
    ([1, 2, 3, 4, 5] * 20 + [88] * 2, 88),
]
PLAIN = [
    [-1, 1] * 50,
    [-1, 0, 1] * 30,
    [*range(10)] * 10,
    [0] * 99 + [1],
    [9] * 50 + [8] * 50,
    [99.0, 101.0] * 30,
    list(np.linspace(-3, 3, 100)),
    [*range(100)],
]


def test_the_covariates_are_6_with_codes_and_8_without():
    assert (len(COVARIATES), len(PLAIN)) == (6, 8)


@pytest.mark.parametrize(("values", "code"), COVARIATES)
def test_codes_for_missing_in_covariates_are_told(values, code):
    frame = table({(school, cohort): 100 for school in "ABCD" for cohort in (2015, 2016, 2017)})
    frame["x"] = np.resize(values, len(frame)).astype(float)
    said = take(frame, further_formulas=["score ~ prior_score + x"])
    (item,) = found(said, "covariate_code")
    rows = frame[(frame["x"] == code) & (frame["cohort"] < 2017)]  # 2017 is outside the study
    by_cohort = "; ".join(f"{t}: {n}" for t, n in rows.groupby("cohort").size().items())
    assert item.text == (
        f"Column x has {len(rows)} rows with {code}, far from its other values (cohort {by_cohort}): "
        "if it is a code for missing, leave it blank."
    )


@pytest.mark.parametrize("values", PLAIN)
def test_covariates_without_codes_are_not_suspected(values):
    frame = table({(school, cohort): 100 for school in "ABCD" for cohort in (2015, 2016)})
    frame["x"] = np.resize(values, len(frame)).astype(float)
    assert not found(take(frame, further_formulas=["score ~ prior_score + x"]), "covariate_code")
