"""The studies of real data: their params files, and SGPdata's page on made-up records of the same shape."""

from __future__ import annotations

import re
import warnings

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from valib.pages import notebook as nb
from valib.study.params import load

STUDIES = ROOT / "studies"
PAGE = STUDIES / "sgpdata" / "pandemic.ipynb"
YEARS = {2018: 2016, 2019: 2017, 2021: 2019, 2023: 2021}  # of grade 5, and of the same students in grade 3


def made_up(rng: np.random.Generator, loss: float, schools: int = 40, size: int = 25) -> pd.DataFrame:
    """Records in the shape of sgpData_LONG_COVID, all codes text: two subjects, grades 3 and 5; 2021 is disturbed."""
    parts = []
    for cohort, before in YEARS.items():
        school = np.repeat(np.arange(schools), size)
        u = rng.normal(0, 8, schools)[school]
        prior = rng.normal(500, 30, len(school))
        score = 130 + 0.75 * prior + u + rng.normal(0, 18, len(school))
        for subject in ("ELA", "MATHEMATICS"):
            for year, grade, value in ((before, "3", prior), (cohort, "5", score)):
                part = {
                    "VALID_CASE": "VALID_CASE",
                    "CONTENT_AREA": subject,
                    "YEAR": str(year),
                    "ID": [f"{cohort}{k:05d}" for k in range(len(school))],
                    "GRADE": grade,
                    "SCALE_SCORE": value + loss * (year == 2021),
                    "SCALE_SCORE_without_COVID_IMPACT": value,
                    "SCHOOL_NUMBER": school + 1000,
                }
                parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the page's cells on made-up records in a folder with the data beside it; what they bring to the page."""

    def at(loss: float) -> tuple[dict[str, str], dict[str, pd.DataFrame], list[str]]:
        made_up(np.random.default_rng(20), loss).to_parquet(tmp_path / "d.parquet")
        values, tables, sentences = {}, {}, []

        def bring(found):
            values.update(found.values)
            tables.update(found.tables)
            sentences.extend(found.sentences)

        monkeypatch.chdir(tmp_path)
        for name in ("show", "keep"):
            monkeypatch.setattr(nb, name, bring)
        for name in ("show_warnings", "say"):
            monkeypatch.setattr(nb, name, lambda *a, **k: None)
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        notebook = nbformat.read(PAGE, as_version=4)
        space: dict = {}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), space)
                if "parameters" in cell.metadata.get("tags", []):
                    space["data"] = "d.parquet"
        return values, tables, sentences

    return at


def test_the_benchmark_gives_back_what_was_put_in_and_the_trap_is_told(run):
    """Weights of schools are equal here, so the shifts differ by what was put in but for the slope's part, a student's
    loss being the same for all: 1e-6 points of rounding for the outcome, and slope times loss for the prior."""
    loss = -7.0
    values, tables, sentences = run(loss)
    table = tables["tab-pandemic-known"].set_index("Cohort")
    np.testing.assert_allclose(table.loc[2021, ["Put into the scores", "into the prior scores"]], [loss, 0], atol=1e-9)
    np.testing.assert_allclose(table.loc[2023, ["Put into the scores", "into the prior scores"]], [0, loss], atol=1e-9)
    np.testing.assert_allclose(table["Difference"], table["Should be"], atol=1e-6)
    np.testing.assert_allclose(table.loc[2021, "Difference"], loss, atol=1e-6)
    assert 4.5 < table.loc[2023, "Difference"] < 6.0  # 0.75 times 7, the slope with its error (about 0.01)
    assert values["score_cohort"] == "2021" and values["prior_cohort"] == "2023"
    assert values["from_prior"].startswith("+5") and values["score_put_in"] == "\N{MINUS SIGN}7.0"
    assert any("gives back what was put in to less than one standard error" in s for s in sentences)
    assert any(s.startswith("From the published scores cohort 2023 has a shift of ") for s in sentences)


def test_without_a_disturbance_the_page_tells_of_none(run):
    values, tables, sentences = run(0.0)
    assert np.abs(tables["tab-pandemic-known"][["Difference", "Should be"]].to_numpy()).max() < 1e-9
    assert values["from_prior"] in ("0.0", "+0.0", "\N{MINUS SIGN}0.0")
    assert any(re.match(r"0 of 40 schools stand on another side .* correlation of 1\.00", s) for s in sentences)


def test_the_page_is_committed_without_outputs():
    cells = [c for c in nbformat.read(PAGE, as_version=4).cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in cells)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*/*.yml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_params_file_is_a_study(path):
    if path.name.startswith("_"):
        return
    study = load(path)
    assert study.title and (path.parent / "README.md").is_file()
    if study.data in ("exam", "chem97"):
        records = study.read_records()
        columns = {
            name for formula in (study.formula, *study.further_formulas) for name in re.findall(r"[a-z_]+", formula)
        }
        assert columns - {"poly", "score", "prior_score"} <= set(records.columns)
        assert set(records["cohort"]) == set(study.focal_cohorts) and not study.baseline_cohorts


def test_the_two_readings_of_sgpdata_differ_in_their_score_alone():
    published, without = (load(STUDIES / "sgpdata" / f"{n}.yml") for n in ("params", "undisturbed"))
    ours, theirs = published.model_dump(), without.model_dump()
    assert {name for name in ours if ours[name] != theirs[name]} == {"title", "columns"}
    assert {k for k in ours["columns"] if ours["columns"][k] != theirs["columns"][k]} == {"score"}
