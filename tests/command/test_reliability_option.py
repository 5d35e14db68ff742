"""`--reliability` of `valib fit` and `valib baseline`: what it changes, what is told of it, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import said
from conftest import simulate

import valib as va
from valib.study.params import Params

STUDY = ("--baseline-cohorts", "2030", "--focal-cohorts", "2031")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    rows = simulate(np.random.default_rng(5), schools=12, size=(8, 15), cohorts=(2030, 2031), tau=30.0)
    rows.drop(columns="u").round(1).to_parquet(tmp_path / "two.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, code: int = 0) -> str:
    return " ".join(said(*words, code=code).split())


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_a_relative_fit_takes_the_errors_off_and_says_so(folder, engine):
    some = ("fit", "two.parquet", "--model", "relative", "--cohorts", "2031", "--no-figures", "--engine", engine)
    run(*some, "--reliability", "prior_score=0.9", "--exact", "--out", "off")
    want = va.fit_relative(va.read_records("two.parquet"), 2031, reliability={"prior_score": 0.9})
    effects = pd.read_csv(folder / "off" / "school_effects.csv", dtype={"school": str}).set_index("school")["effect"]
    assert effects.to_numpy() == pytest.approx(want.school_effects["effect"].loc[effects.index].to_numpy(), rel=1e-8)
    about = pd.read_csv(folder / "off" / "about.csv").set_index("setting")["value"]
    assert about["reliability"] == "prior_score 0.9"


def test_a_column_of_standard_errors(folder):
    rows = pd.read_parquet("two.parquet")
    rows.assign(prior_se=np.linspace(5, 25, len(rows))).to_parquet("two.parquet")
    some = ("fit", "two.parquet", "--model", "relative", "--cohorts", "2031", "--no-figures")
    run(*some, "--reliability", "prior_score=se:prior_se", "--exact", "--out", "off")
    want = va.fit_relative(va.read_records("two.parquet"), 2031, reliability={"prior_score": {"se": "prior_se"}})
    fixed = pd.read_csv(folder / "off" / "fixed_effects.csv")["estimate"]
    assert fixed.to_numpy() == pytest.approx(want.fixed_effects.to_numpy(), rel=1e-8)
    about = pd.read_csv(folder / "off" / "about.csv").set_index("setting")["value"]
    assert about["reliability"] == "prior_score by the standard errors in prior_se"


def test_a_baseline_keeps_it_and_another_run_takes_it_from_there(folder):
    told = run("baseline", "two.parquet", *STUDY, "--reliability", "prior_score=0.9", "--exact", "--out", "b.json")
    assert "errors of prior_score taken off" in told
    kept = va.Benchmark.load("b.json")
    records = va.read_records("two.parquet")
    variance = records.loc[records["cohort"] == 2030, "prior_score"].var()
    assert kept.error_variance == pytest.approx({"prior_score": 0.1 * variance})
    run("fit", "two.parquet", "--model", "benchmark", "--benchmark", "b.json", "--cohorts", "2031", "--out", "kept")
    fit = ("fit", "two.parquet", "--model", "benchmark", *STUDY)
    run(*fit, "--reliability", "prior_score=0.9", "--out", "whole")
    one, two = (pd.read_csv(folder / name / "school_effects.csv")["effect"] for name in ("kept", "whole"))
    assert one.to_numpy() == pytest.approx(two.to_numpy(), abs=0.2)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--model", "benchmark", "--benchmark", "b.json"), "--benchmark brings its own"),
        (("--like", "off"), "leave --reliability out"),
        (("--model", "relative", "--random", "prior_score"), "not offered with random slopes"),
        (("--model", "relative", "--formula", "score ~ bs(prior_score, df=4)"), "only a linear column by itself"),
    ],
)
def test_what_it_does_not_go_with(folder, more, part):
    assert part in run("fit", "two.parquet", *more, "--reliability", "prior_score=0.9", "--out", "no", code=2)
    assert not (folder / "no").exists()


@pytest.mark.parametrize(
    "text", ["prior_score", "prior_score=high", "prior_score=1.2", "prior_score=0.9,prior_score=1"]
)
def test_what_is_no_reliability(folder, text):
    told = run("fit", "two.parquet", "--model", "relative", "--reliability", text, "--out", "no", code=2)
    assert told.startswith("Error: reliability") and not (folder / "no").exists()


def test_a_joint_fit_takes_them_off(folder):
    some = ("fit", "two.parquet", "--model", "joint", "--cohorts", "2030,2031", "--no-figures")
    run(*some, "--reliability", "prior_score=0.9", "--exact", "--out", "off")
    want = va.fit_joint(va.read_records("two.parquet"), [2030, 2031], reliability={"prior_score": 0.9})
    fixed = pd.read_csv(folder / "off" / "fixed_effects.csv")["estimate"]
    assert fixed.to_numpy() == pytest.approx(want.fixed_effects.to_numpy(), rel=1e-8)
    told = json.loads((folder / "off" / "fits.json").read_text(encoding="utf-8"))
    assert "'errors_taken_off': ['prior_score']" in str(told)


def test_the_reports_take_them_off_and_say_so(folder):
    from valib.pages.report.results import compute
    from valib.pages.report.words import taken_off

    study = Params(data="two.parquet", baseline_cohorts=[2030], focal_cohorts=[2031], reliability={"prior_score": 0.9})
    records = study.read_records()
    found = compute(study, records)
    cells = found.cells.set_index(["cohort", "school"])["relative"]
    want = va.fit_relative(records, 2031, reliability={"prior_score": 0.9}).school_effects["effect"]
    assert cells[2031].to_numpy() == pytest.approx(want.loc[cells[2031].index].to_numpy(), rel=1e-9)
    joint = va.fit_joint(records, [2030, 2031], reliability={"prior_score": 0.9})
    moved = va.change_in_va(joint, 2030, 2031)["change"]
    told = found.changes.set_index("school")["change"]
    assert told.to_numpy() == pytest.approx(moved.loc[told.index].to_numpy(), rel=1e-6)
    assert taken_off(study.reliability) == "Errors of measurement are taken off prior_score (reliability 0.9). "
    assert taken_off({}) == ""
