"""Several studies on one page a school: each says what it would say alone, and holds back what it would hold back alone."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from commands import run as valib
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.pages.report.several import NOTHING

COHORTS = {"reading": (2015, 2016, 2019), "maths": (2016, 2017, 2021)}
HELD, ABSENT = "S0003", "S0004"  # in maths: two students in every cohort; in no row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Reading and maths of the same schools, alone and together; names differ between them."""
    folder = tmp_path_factory.mktemp("several")
    for k, (name, cohorts) in enumerate(COHORTS.items()):
        records = simulate(np.random.default_rng(k), 20, (10, 20), cohorts).drop(columns="u")
        place = records.groupby(["cohort", "school"]).cumcount()
        records["district"] = "District " + records["school"].str[-1].map(lambda digit: str(int(digit) % 2))
        records["school_name"] = f"{name.upper()} " + records["school"]
        if name == "maths":
            records = records[((records["school"] != HELD) | (place < 2)) & (records["school"] != ABSENT)]
        records.to_csv(folder / f"{name}.csv", index=False)
        study = {"title": f"The {name}", "data": f"{name}.csv", "columns": {"school_name": "school_name"}, "groups": "district",
                 "baseline_cohorts": list(cohorts[:2]), "focal_cohorts": [cohorts[2]]}  # fmt: skip
        (folder / f"{name}.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
        run("report", "--params", folder / f"{name}.yml", "--all", "--quiet", "--jobs", "1", "--out", folder / name)
    both = f"{folder / 'reading.yml'},{folder / 'maths.yml'}"
    run("report", "--studies", both, "--all", "--pdf", "--excel", "--quiet", "--jobs", "1", "--out", folder / "both")
    return folder


def run(*words):
    return valib(*words, code=0)


def page(folder, school: str) -> BeautifulSoup:
    text = (folder / "both" / "html" / "schools" / f"{school.lower()}.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser")


def test_a_page_has_a_part_for_each_study_and_one_index(folder):
    soup = page(folder, "S0007")
    assert [h.get_text() for h in soup.select("h2")] == ["The reading", "The maths"]
    assert len(soup.select("h1")) == 1 and len(soup.select("h3")) == 14 and len(soup.select("figure")) == 6
    index = BeautifulSoup((folder / "both" / "html" / "index.html").read_text(encoding="utf-8"), "html.parser")
    listed = [[c.get_text() for c in row.select("th, td")] for row in index.select("tbody tr")]
    assert len(listed) == 20 + 20 - len(hidden(folder)) - 1
    at = {cell.get_text(): k for k, cell in enumerate(index.select("thead th"))}
    assert {row[at["Study"]] for row in listed} == {"The reading", "The maths"}
    assert {row[at["Group"]] for row in listed} == {"District 0", "District 1"}
    chosen = index.select_one(".schools-table")["data-choice"].split(",")
    assert chosen == [str(at[name]) for name in ("Side", "Group", "Study")]
    assert len(list((folder / "both" / "pdf").iterdir())) == 20
    assert (folder / "both" / "report.xlsx").exists()


def hidden(folder) -> set[str]:
    """The schools that maths alone has no page of, but those without students in it."""
    alone = set(pd.read_csv(folder / "maths" / "report.csv")["school"])
    return {f"S{k:04d}" for k in range(20)} - alone - {ABSENT}


def test_each_study_says_and_holds_back_what_it_does_alone(folder):
    """The attack: rows, states, figures and changes of a study beside another are those of the study by itself."""
    for name in ("report.csv", "changes.csv"):
        both = pd.read_csv(folder / "both" / name)
        for study in COHORTS:
            alone = pd.read_csv(folder / study / name)
            ours = both[both["study"] == f"The {study}"].drop(columns="study").reset_index(drop=True)
            ours = ours[ours["school"].isin(set(alone["school"]))].reset_index(drop=True)
            drop = ["school_name"]  # of the latest study
            pd.testing.assert_frame_equal(ours.drop(columns=drop), alone.drop(columns=drop), check_dtype=False)
    told = pd.read_csv(folder / "both" / "report.csv")
    maths = told[told["study"] == "The maths"]
    assert HELD in hidden(folder)
    assert not set(maths["school"]) & ({ABSENT} | hidden(folder)), "no row tells of a school that maths cannot show"


def test_a_school_held_back_and_one_that_took_no_part_read_alike(folder):
    """Or the page of the other subject would tell which schools are small in this one."""
    parts = []
    for school in (HELD, ABSENT):
        text = str(page(folder, school))
        part = text[text.index("<h2>The maths</h2>") :]
        parts.append(re.sub(school, "", part))
        assert NOTHING in part and "figure>" not in part and "table>" not in part
    assert parts[0] == parts[1]


def test_the_latest_name_stands_everywhere_it_may(folder):
    told = pd.read_csv(folder / "both" / "report.csv").set_index("school")["school_name"]
    assert set(told["S0007"]) == {"MATHS S0007"}
    assert set(told[[HELD]]) == {f"READING {HELD}"}, "a study that may not show a school does not name it either"
    assert page(folder, "S0007").h1.get_text() == "Value added: S0007, MATHS S0007"


def test_one_school_and_what_cannot_be(folder, tmp_path):
    both = f"{folder / 'reading.yml'},{folder / 'maths.yml'}"
    run("report", "--studies", both, "--school", ABSENT, "--quiet", "--out", tmp_path / "one")
    assert set(pd.read_csv(tmp_path / "one" / "report.csv")["study"]) == {"The reading"}
    for words, said in (
        (["--studies", folder / "reading.yml", "--all"], "expected two or more"),
        (["--studies", both, "--all", "--params", folder / "maths.yml"], "leave --params out"),
        (["--studies", f"{folder / 'maths.yml'},{folder / 'maths.yml'}", "--all"], "two studies have the title"),
    ):
        done = CliRunner().invoke(app, ["report", *map(str, words), "--out", str(tmp_path / "no")])
        assert done.exit_code == 2 and said in done.stderr, done.stderr
