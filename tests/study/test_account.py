"""The account of records: counts by hand, and a sentence for what would mislead or fail."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import simulate

from valib.effects.baseline import STANDARDISED
from valib.records.reading import read_records
from valib.study.account import check_records
from valib.study.writing import as_json
from valib.sums.equating import Link, ScaleBreak

COHORTS = (2015, 2016, 2019, 2021)
BASELINE, FOCAL = (2015, 2016), (2019, 2021)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return simulate(np.random.default_rng(20), schools=12, size=(6, 20), cohorts=COHORTS).drop(columns="u")


def account(frame, **changed):
    settings = {"baseline_cohorts": BASELINE, "focal_cohorts": FOCAL} | changed
    return check_records(read_records(frame), **settings)


def test_clean_records_have_no_warning_and_no_problem(frame):
    said = account(frame)
    assert (said.warnings, said.problems) == ((), ())
    assert said.rows_read == said.rows_used == said.students == len(frame)
    assert said.schools == 12
    assert said.cohorts["role"].tolist() == ["baseline", "baseline", "focal", "focal"]
    assert said.cohorts["students"].tolist() == [int((frame["cohort"] == t).sum()) for t in COHORTS]


def test_a_prior_is_compared_on_the_scale_of_the_baseline(frame):
    """The focal prior scores on a new scale: carried back they agree with the baseline's, as they are they do not."""
    plain, moved = account(frame), frame.copy()
    moved.loc[moved.cohort == 2021, "prior_score"] = (moved.prior_score[moved.cohort == 2021] + 80) / 1.25
    breaks = [ScaleBreak(2020, "prior_score", Link(1.25, -80.0))]
    said = account(moved, scale_breaks=breaks)
    pd.testing.assert_frame_equal(said.prior, plain.prior)
    assert not said.problems and len(said.warnings) == 1
    assert said.warnings[0].startswith("The scale of prior_score changes with cohort 2020: cohort 2021 carried back by")
    assert not account(moved).prior.loc[2021, "ok"]
    unlinked = account(moved, scale_breaks=[ScaleBreak(2020, "prior_score")])
    assert not unlinked.prior.loc[2021, "ok"] and "needs a link" in unlinked.problems[0]


def test_breaks_that_the_study_does_not_cross_are_not_mentioned(frame):
    said = account(frame, scale_breaks=[ScaleBreak(2012), ScaleBreak(2015), ScaleBreak(2022, "prior_score")])
    assert (said.warnings, said.problems) == ((), ())


def test_a_cohort_outside_the_study_has_no_role(frame):
    said = account(frame, focal_cohorts=(2021,))
    assert said.cohorts.loc[2019, "role"] == ""
    assert said.prior.index.tolist() == [2021]


def test_the_prior_is_compared_in_baseline_sds(frame):
    moved = frame.copy()
    moved.loc[moved["cohort"] == 2021, "prior_score"] += 40.0
    said = account(moved)
    typical = moved.loc[moved["cohort"] <= 2016, "prior_score"]
    focal = moved.loc[moved["cohort"] == 2021, "prior_score"]
    assert said.prior.loc[2021, "smd"] == pytest.approx((focal.mean() - typical.mean()) / typical.std())
    assert said.prior["ok"].tolist() == [True, False]
    assert [item.code for item in said.findings] == ["prior_drift", "prior_shift"]
    assert (
        f"prior_score leaves that of the baseline (cohort 2021: mean {said.prior.loc[2021, 'smd']:+.2f} SD"
        in (said.warnings[0])
    )


def test_left_out_rows_repeated_students_and_tiny_schools_are_counted(frame):
    rows = frame.copy()
    rows.loc[[0, 1], "score"] = np.nan
    rows.loc[2, "prior_score"] = np.nan
    rows.loc[[11, 40], "student"] = rows.loc[10, "student"]
    assert rows.loc[[10, 11, 40], "school"].tolist() == ["S0000", "S0000", "S0003"]
    school = rows.loc[rows["cohort"] == 2021, "school"].iloc[0]
    drop = rows.index[(rows["cohort"] == 2021) & (rows["school"] == school)][3:]
    said = account(rows.drop(index=drop))
    assert said.rows_read - said.rows_used == 3
    assert said.left_out.to_dict("list") == {
        "cohort": [2015, 2015],
        "reason": ["no prior score", "no score"],
        "rows": [1, 2],
    }
    assert said.cohorts["duplicates"].tolist() == [2, 0, 0, 0]
    assert said.cohorts["tiny_schools"].tolist() == [0, 0, 0, 1]
    assert [item.code for item in said.findings] == ["duplicates", "two_schools"]
    twice, other = said.warnings
    assert twice.startswith(
        "Rows whose student code already stands in the school and cohort: 1 (cohort 2015: 1); each "
    )
    assert "they differ (in " in twice and "copies" not in twice
    assert other.startswith("Rows whose student code stands in another school of the cohort too: 1 (cohort 2015: 1); ")
    assert said.problems == ()  # one row is a slip


def test_what_would_stop_a_fit_is_a_problem(frame):
    constant = frame.assign(prior_score=frame["prior_score"].where(frame["cohort"] != 2019, 480.0))
    equal = frame.assign(score=frame["score"].where(frame["cohort"] != 2021, 500.0))
    alone = frame.loc[(frame["cohort"] != 2016) | (frame["school"] == "S0003")]
    cases = [
        (account(frame, focal_cohorts=(2019, 2030)), "names cohort 2030, not in the data; the data hold cohorts 2015"),
        (account(frame, formula="score ~ prior_score + sex"), "needs sex, not among the columns"),
        (account(constant), "Column prior_score has the same value for all students of cohort 2019"),
        (account(equal), "Column score has the same value for all students of cohort 2021"),
        (account(alone), "One school only in cohort 2016;"),
        (account(frame.assign(twin=frame["prior_score"] * 2), formula="score ~ prior_score + twin"), "twin"),
    ]
    for said, part in cases:
        assert len(said.problems) == 1 and part in said.problems[0]


def test_scores_standardised_within_cohorts_are_a_problem(frame):
    by_cohort = frame.groupby("cohort")["score"]
    same = frame.assign(score=(frame["score"] - by_cohort.transform("mean")) / by_cohort.transform("std"))
    assert account(same).problems == (STANDARDISED,)


def test_the_account_survives_as_json(frame):
    rows = frame.copy()
    rows["cohort"] = rows["cohort"].astype(float)
    rows.loc[0, "cohort"] = np.nan
    content = json.loads(as_json(account(rows).to_dict()))
    assert content["left_out"] == [{"cohort": None, "reason": "no cohort", "rows": 1}]
    assert [row["cohort"] for row in content["cohorts"]] == list(COHORTS)
    assert content["prior"][1]["ok"] is True
