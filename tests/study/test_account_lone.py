"""Lone scores and the most influential student: the impossible one is named, ordinary scores are not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import REFERENCE, read_table, simulate

import valib as va
from valib.records.datasets import load_records
from valib.records.reading import read_records
from valib.study.account import check_records
from valib.study.account.coded import Ask
from valib.study.account.lone import influence, lone, lone_above, lone_codes
from valib.study.writing import as_json

COHORT = 1500  # students of a simulated cohort
DRAWS = 300  # of cohorts; a share of 0.01 has a Monte Carlo error of 0.006


def ask(cohorts, min_students: int = 5) -> Ask:
    return Ask((), tuple(cohorts), "score ~ prior_score", (), min_students, ())


def alone(frame: pd.DataFrame) -> bool:
    found = lone(frame["score"].to_numpy(dtype=float), frame["prior_score"].to_numpy(dtype=float))
    return any(len(rows) for rows in found.values())


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two cohorts of 400 students with scores from some 200 to 800."""
    rows = simulate(np.random.default_rng(11), schools=20, size=(20, 20), cohorts=(2019, 2021)).drop(columns="u")
    return rows.assign(score=rows["score"].round(), prior_score=rows["prior_score"].round())


@pytest.mark.parametrize("column", ["score", "prior_score"])
@pytest.mark.parametrize("value", [0.0, 9999.0])
def test_one_impossible_score_is_named(frame, column, value):
    """Issue: a 0 among scores of 208 to 790 moved a school by 18 points, and no check saw it."""
    rows = frame.copy()
    rows.loc[500, column] = value
    said = check_records(read_records(rows), (2019,), (2021,))
    told = [item for item in said.findings if item.code in ("lone_score", "far_off")]
    assert [item.cohorts for item in told] == [(2021,)]
    shown = "9,999" if value else "0"
    assert (
        told[0].text.startswith(f"Column {column} has 1 student of cohort 2021 at ")
        and f" {shown}, far " in told[0].text
    )
    assert rows.loc[500, "student"] not in as_json(said.to_dict())


def test_a_score_that_is_no_code_is_told_in_a_large_cohort_by_the_other_score():
    """The best prior score with a weak outcome: each is ordinary by itself, together they are not."""
    rows = simulate(np.random.default_rng(12), schools=60, size=(100, 100), cohorts=(2021,), sigma=30.0)
    score, prior = rows["score"].to_numpy().copy(), rows["prior_score"].to_numpy()
    assert not alone(rows)
    best = int(np.argmax(prior))
    score[best] = 250.0
    assert {name: at.tolist() for name, at in lone(score, prior).items() if len(at)} in (
        {"score": [best]},
        {"prior_score": [best]},
    )


def test_ordinary_records_have_no_lone_score(panel):
    for name in ("demo", "exam", "chem97"):
        for _, cohort in load_records(name).groupby("cohort"):
            assert not alone(cohort)
    columns = {"student_id": "student", "school_id": "school", "year": "cohort"}
    for rows in (panel, read_table(REFERENCE / "data" / "egsingle_cohorts.csv").rename(columns=columns)):
        for _, cohort in rows.dropna(subset=["score", "prior_score"]).groupby("cohort"):
            assert not alone(cohort)


@pytest.mark.parametrize(
    ("tails", "most"),
    [
        ("normal", 0.004),
        ("laplace", 0.004),
        ("t5", 0.02),  # excess kurtosis 6; measured 0.002
        ("t3", 0.05),  # no fourth moment; measured 0.012
    ],
)
def test_false_alarms(tails, most):
    """Share of cohorts of 1,500 in which an ordinary score is called lone, with scores and priors of these tails."""
    rng = np.random.default_rng(13)
    draw = {
        "normal": rng.standard_normal,
        "laplace": lambda n: rng.laplace(size=n),
        "t5": lambda n: rng.standard_t(5, n),
        "t3": lambda n: rng.standard_t(3, n),
    }[tails]
    told = 0
    for _ in range(DRAWS):
        prior = 500 + 80 * draw(COHORT)
        told += alone(pd.DataFrame({"score": 110 + 0.8 * prior + 45 * draw(COHORT), "prior_score": prior}))
    assert told / DRAWS <= most


def test_the_end_of_a_scale_is_no_code():
    """Marks of 0 to 20 with one 0 beside a 1, and scores in SDs with zeros in their middle."""
    rng = np.random.default_rng(14)
    marks = np.append(rng.binomial(20, 0.5, 500), [0, 1, 2, 3]).astype(float)
    assert not len(lone_codes(marks)) and not len(lone_codes(np.append(rng.normal(size=500), 0.0)))
    assert lone_codes(np.append(rng.normal(500, 90, 500).clip(260), 0.0)).tolist() == [500]
    assert not len(lone_above(np.append(rng.normal(size=30), 50.0)))  # of so few no tail can be told


def test_the_influence_of_a_student_is_that_of_leaving_the_student_out(frame):
    """With coefficients and variances held: the effect of the school from its moments without each student in turn."""
    one = read_records(frame[frame["cohort"] == 2021])
    fit = va.fit_relative(one, 2021, intervals="plugin")
    row = influence(one, ask([2021])).loc[2021]
    residual = one["score"] - fit.fixed_effects.iloc[0] - fit.fixed_effects.iloc[1] * one["prior_score"]
    theta, changes = fit.tau2 / fit.sigma2, {}
    for school, r in residual.groupby(one["school"]):
        whole = r.sum() * theta / (1 + len(r) * theta)
        assert whole == pytest.approx(fit.school_effects.at[school, "effect"], abs=1e-8)
        changes[school] = max((whole - (r.sum() - x) * theta / (1 + (len(r) - 1) * theta) for x in r), key=abs)
    worst = max(changes, key=lambda school: abs(changes[school]))
    assert row["school"] == worst and row["change"] == pytest.approx(changes[worst], rel=1e-9)
    assert row["students"] == 20 and row["se"] == pytest.approx(fit.school_effects.at[worst, "se_comparative"])


def test_a_student_who_moves_a_school_far_is_told_and_small_schools_are_not_named(frame):
    rows = frame.copy()
    rows.loc[500, "score"] = -2000.0
    said = check_records(read_records(rows), (2019,), (2021,))
    (item,) = [one for one in said.findings if one.code == "influence"]
    assert item.cohorts == (2021,) and "points in cohort 2021" in item.text
    content = json.loads(as_json(said.to_dict()))
    assert [row["school"] for row in content["influence"] if row["cohort"] == 2021] == [rows.loc[500, "school"]]
    assert check_records(read_records(rows), (2019,), (2021,), min_students=21).influence.empty
