"""The summary of a study: one side, the verdicts' words, for every kind of results."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from check_site import pdf_faults
from commands import run as valib
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.effects.verdict import shift_verdicts, sides
from valib.pages.summary import as_html, as_pdf, content
from valib.pages.summary.content import ALT
from valib.study.earlier import Results, read_results

PDFINFO = shutil.which("pdfinfo")
BASELINE = ["--baseline-cohorts", "2015,2016"]


def run(*words):
    return valib(*words, code=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results by name: benchmark and relative ones, of one cohort, of ten schools, with every school held back."""
    folder = tmp_path_factory.mktemp("summary")
    records = simulate(np.random.default_rng(2), 40, (12, 30), (2015, 2016, 2019, 2021), shift={2021: -400.0}).drop(
        columns="u"
    )
    records.to_csv(folder / "many.csv", index=False)
    ten = records[records["school"] < "S0010"]
    ten[ten["cohort"] == 2019].to_csv(folder / "ten.csv", index=False)
    fit = ["fit", folder / "many.csv", "--no-figures", "--model"]
    run(*fit, "benchmark", *BASELINE, "--out", folder / "benchmark")
    run(*fit, "benchmark", *BASELINE, "--decimal", ",", "--out", folder / "comma")
    run(*fit, "benchmark", *BASELINE, "--shift", "absorbed", "--out", folder / "absorbed")
    run(*fit, "relative", *BASELINE, "--out", folder / "relative")
    run(*fit, "relative", "--cohorts", "2021", "--out", folder / "one_cohort")
    run("fit", folder / "ten.csv", "--no-figures", "--model", "relative", "--out", folder / "ten")
    run(*fit, "relative", "--cohorts", "2021", "--min-students", "200", "--out", folder / "held_back")
    return folder


CASES = ["benchmark", "comma", "absorbed", "relative", "one_cohort", "ten", "held_back"]


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", BeautifulSoup(html, "html.parser").get_text(" "))


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_results_gives_one_side(folder, tmp_path, case):
    run("summary", folder / case, "--out", tmp_path)
    html, pdf = (tmp_path / "summary.html").read_text(encoding="utf-8"), (tmp_path / "summary.pdf").read_bytes()
    soup = BeautifulSoup(html, "html.parser")
    assert soup.html["lang"] == "en-GB" and [h.name for h in soup.select("h1, h2")] == ["h1"] + ["h2"] * 4
    assert soup.select_one('[role="img"]')["aria-label"] == ALT and all(t.caption for t in soup.select("table"))
    assert not re.search(r"\bnan\b|None", text_of(html)), text_of(html)
    assert not list(pdf_faults(tmp_path / "summary.pdf"))  # tagged, with title, language and alt texts
    if PDFINFO:
        (tmp_path / "s.pdf").write_bytes(pdf)
        told = subprocess.run([PDFINFO, tmp_path / "s.pdf"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"^Pages: +1$", told, re.MULTILINE) and re.search(r"^Tagged: +yes$", told, re.MULTILINE)


def test_the_words_are_those_of_the_verdict(folder):
    results = read_results(folder / "benchmark")
    text = text_of(as_html(content(results)))
    verdict = shift_verdicts(results.tables["shift_in_context.csv"].set_index("cohort")).loc[2021]
    assert (
        verdict["side"] == "below" and "The average school of 2021 lies below what was typical in 2015 and 2016" in text
    )
    assert "how far the tests of the two times are on one scale is not known" in text
    effects = results.tables["school_effects.csv"].query("cohort == 2021")
    told = pd.Series(sides(effects["lower"], effects["upper"])).value_counts()
    table = BeautifulSoup(as_html(content(results)), "html.parser").select_one("table")
    heads, *_, last = ([cell.get_text() for cell in row.select("th, td")] for row in table.select("tr"))
    row = dict(zip(heads, last, strict=True))
    assert row["Year"] == "2021" and row["Shift is"] == "below"
    for head, side in (("Above", "above"), ("Below", "below"), ("Not told apart", "not told apart")):
        assert row[head] == str(told.get(side, 0))
    assert text_of(as_html(content(read_results(folder / "comma")))) == text, "a decimal comma changes no word"


def test_what_relative_results_and_held_back_schools_cannot_say_is_said(folder):
    relative = text_of(as_html(content(read_results(folder / "relative"))))
    assert (
        "cannot show whether schools as a whole have become better or worse" in relative and "Shift is" not in relative
    )
    assert "The shift of the average school was not estimated" in text_of(
        as_html(content(read_results(folder / "absorbed")))
    )
    hidden = as_html(content(read_results(folder / "held_back")))
    assert "No school of 2021 may be shown: each has fewer than 200 students" in text_of(hidden)
    assert not re.search(r"S00\d\d", hidden)


def test_three_thousand_schools_with_long_names_fit_on_a_side(folder):
    """So do a long title, and twenty years."""
    few = read_results(folder / "benchmark")
    part = few.tables["school_effects.csv"].query("cohort == 2021")
    many = pd.concat([part] * 75, ignore_index=True)
    many["school"] = [f"{k:04d} Städtische Gesamtschule an der langen Straße {'W' * 60}" for k in range(len(many))]
    years = list(range(2002, 2022))
    effects = pd.concat([many.assign(cohort=year) for year in years], ignore_index=True)
    fits = [{**few.fits[-1], "cohort": year, "formula": "score ~ " + " + ".join(f"covariate_{k}" for k in range(60))}
            for year in years]  # fmt: skip
    context = few.tables["shift_in_context.csv"]
    base, last = context[context["role"] == "baseline"].assign(cohort=[1990, 1991]), context[context["cohort"] == 2021]
    context = pd.concat([base, *(last.assign(cohort=year) for year in years)], ignore_index=True)
    about = few.tables["about.csv"].copy()
    about.loc[about["setting"] == "title", "value"] = "Ein sehr langer Titel der Untersuchung " * 12
    about.loc[about["setting"] == "baseline", "value"] = ", ".join(map(str, range(1980, 2002)))
    parts = content(Results({"school_effects.csv": effects, "about.csv": about, "shift_in_context.csv": context}, fits))
    pdf = as_pdf(parts)
    assert pdf == as_pdf(parts) and b"/StructTreeRoot" in pdf
    if PDFINFO:
        told = subprocess.run([PDFINFO, "-"], input=pdf, capture_output=True, check=True).stdout.decode()
        assert re.search(r"^Pages: +1$", told, re.MULTILINE)


def test_a_study_is_fitted_and_summed_up_as_its_results_are(folder, tmp_path):
    study = {"data": str(folder / "many.csv"), "baseline_cohorts": [2015, 2016], "focal_cohorts": [2019, 2021]}
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
    run("summary", "--params", tmp_path / "study.yml", "--out", tmp_path / "a")
    run("summary", folder / "benchmark", "--out", tmp_path / "b")
    for name in ("summary.html", "summary.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_other_folders_are_refused_in_a_sentence(folder, tmp_path):
    for given, said in ((tmp_path, "has no school_effects.csv"), (folder / "none", "expected a folder that")):
        done = CliRunner().invoke(app, ["summary", str(given), "--out", str(tmp_path / "out")])
        assert done.exit_code == 2 and said in done.stderr, done.stderr
    run("fit", folder / "many.csv", *"--no-figures --model joint --cohorts 2019,2021 --out".split(), tmp_path / "joint")
    done = CliRunner().invoke(app, ["summary", str(tmp_path / "joint"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and "a joint model" in done.stderr and not (tmp_path / "out").exists()
