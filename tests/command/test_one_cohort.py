"""A file with one cohort: every command gives what it can, and none names a year that the user did not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import said
from conftest import simulate

from valib.study.params import Params

pytestmark = pytest.mark.usefixtures("no_pictures")

DEMO = re.compile(rf"\b({'|'.join(map(str, [*Params().baseline_cohorts, *Params().focal_cohorts]))})\b")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    rows = simulate(np.random.default_rng(5), schools=12, size=(6, 15), cohorts=(2031,), tau=30.0).drop(columns="u")
    rows.round(1).to_csv(tmp_path / "one.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, code: int = 0) -> str:
    output = said(*arguments, code=code)
    assert not DEMO.search(re.sub(r"\d+\.\d+", "", output)), output
    return output


def test_init_check_and_relative_fit(folder):
    run("init", "one.csv")
    assert not DEMO.search((folder / "params.yml").read_text())
    for arguments in (("check",), ("check", "one.csv")):
        told = run(*arguments)
        assert "The relative models of this study can be fitted on these records. It names no baseline cohorts" in told
    run("fit", "--model", "relative", "--out", "fits")
    effects = pd.read_csv(folder / "fits" / "school_effects.csv")
    assert effects["cohort"].unique().tolist() == [2031] and len(effects) == 12


def test_without_a_params_file_cohorts_are_those_of_the_records(folder):
    told = run("check", "one.csv")
    assert "2031" in told
    run("fit", "one.csv", "--model", "relative", "--out", "fits")
    for arguments in (
        ("fit", "one.csv", "--model", "benchmark", "--out", "none"),
        ("baseline", "one.csv", "--out", "none.json"),
        ("simulate", "one.csv", "--scenarios", "this study", "--fast", "--out", "none"),
    ):
        told = run(*arguments, code=2)
        assert "the study names no baseline cohorts" in told and "the records hold cohort 2031" in told
    assert "A joint model needs at least two cohorts" in run("fit", "one.csv", "--model", "joint", "--out", "x", code=2)
    assert not (folder / "none.json").exists()


def test_a_bundled_cohort_needs_no_cohorts_either(tmp_path):
    run("fit", "exam", "--model", "relative", "--out", tmp_path)
    assert pd.read_csv(tmp_path / "school_effects.csv")["cohort"].unique().tolist() == [0]


@pytest.mark.slow
def test_school_pages(folder):
    run("report", "one.csv", "--school", "S0001", "--out", "pages", "--quiet")
    page = next((folder / "pages" / "html" / "schools").glob("*.html")).read_text(encoding="utf-8")
    assert "This study has no baseline years" in page and "<strong>Years:</strong> 2031" in page
    assert not DEMO.search(page)
    table = pd.read_csv(folder / "pages" / "report.csv")
    assert table["cohort"].tolist() == [2031] and table["benchmark"].isna().all() and table["relative"].notna().all()


@pytest.mark.long
def test_the_book_shows_what_can_be_shown(folder):
    run("book", "one.csv", "--out", "book", "--quiet")
    html = folder / "book" / "html"
    text = {p.stem: p.read_text(encoding="utf-8") for p in html.rglob("*.html")}
    assert "no baseline was named" in text["intro"]
    for chapter in ("04_benchmark", "06_shift"):
        assert "everything below is about the simulated demo panel" in text[chapter]
    assert "it means all cohorts of the study" in text["02_relative"].replace("\n", " ")
    effects = pd.read_csv(folder / "book" / "results" / "relative_effects.csv")
    assert effects["cohort"].unique().tolist() == [2031]
    saved = {p.name for p in (folder / "book" / "results").iterdir()}
    assert not saved & {"benchmark_effects.csv", "shifts.csv"} and not (folder / "book" / "baseline.json").exists()
