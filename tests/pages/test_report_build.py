"""Reports made whole: the notebooks in their kernel, the pages and PDFs, and what a failed run leaves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from check_site import pdf_faults
from test_report import HOSTILE, PANEL, STUDY, panel, params_for
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.errors import ParamsError
from valib.pages import report
from valib.pages.build import BookError
from valib.pages.report.results import SHOWN

PDFINFO = shutil.which("pdfinfo")


def failing(monkeypatch, *schools: str) -> None:
    """Let the pages of these schools fail, in this process."""
    monkeypatch.setattr("valib.pages.report.render.CHUNK", 1000)  # one task, which no worker is started for

    def page(results, school):
        assert school not in schools, f"not {school}"
        return report.school_page(results, school)

    monkeypatch.setattr("valib.pages.report.several.school_page", page)


def test_a_page_that_fails_is_named_and_the_others_are_kept_aside(tmp_path, monkeypatch):
    failing(monkeypatch, "S003")
    out = tmp_path / "out"
    with pytest.raises(BookError, match="School 'S003': not S003. Nothing in .* was replaced; the other pages are in"):
        report.build(params_for(tmp_path, panel(4)), out, progress=False, pdf=True)
    (kept,) = out.iterdir()
    assert kept.name.startswith("left-by-valib-")
    assert sorted(p.stem for p in (kept / "html" / "schools").iterdir()) == ["s001", "s002", "s004"]
    assert sorted(p.stem for p in (kept / "pdf").iterdir()) == ["s001", "s002", "s004"]


def test_workers_and_one_process_make_the_same_files(tmp_path, monkeypatch):
    params, made = params_for(tmp_path, panel(6), intervals="plugin"), []
    for jobs, chunk in ((1, 1000), (2, 2)):
        monkeypatch.setattr("valib.pages.report.render.CHUNK", chunk)
        out = tmp_path / f"out-{jobs}"
        report.build(params, out, progress=False, pdf=True, jobs=jobs)
        made.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert made[0] == made[1] and len(made[0]) >= 16


# Refused before anything is made


def run(*order: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *order])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ((), "Name the schools: --school ID"),
        (("--all", "--school", "S001"), "not both"),
        (("--school", "S0055"), "School 'S0055' is in none of the study's cohorts. Near it: S0"),
        (("--school", "S001", "--school", "nowhere"), "School 'nowhere' is in none of the study's cohorts."),
        (("--school", "S001", "--min-students", "4000"), "School 'S001' has no page"),
        (("--all", "--min-students", "4000"), "No school of the study may be shown with min_students 4000"),
    ],
)
def test_unusable_orders_are_one_sentence_and_exit_code_2(tmp_path, order, told):
    out = tmp_path / "out"
    study = ("--baseline-cohorts", "2015,2016", "--focal-cohorts", "2019,2024", "--intervals", "plugin", "--quiet")
    code, output = run(str(PANEL), *order, *study, "--out", str(out))
    assert code == 2 and told in " ".join(output.split()) and not out.exists()


def test_help_has_examples():
    code, output = run("--help")
    assert code == 0 and output.count("valib report ") >= 3 and "--school" in output


def test_a_folder_that_is_not_from_a_report_is_left_alone(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "mine.html").write_text("mine")
    with pytest.raises(ParamsError, match="not from `valib report`"):
        report.build(params_for(tmp_path, panel(4)), tmp_path, progress=False)
    assert (tmp_path / "html" / "mine.html").read_text() == "mine"


# Whole reports


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Twelve schools with hostile names, one too small in a cohort, one absent from a cohort, one too small in all."""
    tmp_path = tmp_path_factory.mktemp("built")
    rows = panel(15)
    names = dict(zip(sorted(rows["school_id"].unique()), [*HOSTILE, "tiny", "gap"], strict=True))
    rows = rows.assign(school_id=rows["school_id"].map(names), student_id="PLANTED" + rows["student_id"])
    for school, cohort in [("tiny", c) for c in rows["year"].unique()] + [("*#|_`~", 2024)]:
        rows = rows.drop(rows.index[(rows["school_id"] == school) & (rows["year"] == cohort)][3:])
    rows = rows[(rows["school_id"] != "gap") | (rows["year"] != 2016)]
    params = params_for(tmp_path, rows, title="Growth & <b>more</b> 50%_$x$")
    out = tmp_path / "out"
    result = report.build(params, out, pdf=True, jobs=2, progress=False)
    return params, out, result


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def cells_of(table) -> list[list[str]]:
    return [[cell.get_text(strip=True) for cell in row.find_all(["td", "th"])] for row in table.find_all("tr")]


def test_every_school_has_a_page_that_the_first_page_lists(built):
    _, out, result = built
    links = [a["href"] for a in soup(result.index).select(".schools-table a") if a["href"].endswith(".html")]
    assert sorted(links) == sorted(f"schools/{name}.html" for name in result.files.values())
    assert sorted(p.stem for p in (out / "html" / "schools").glob("*.html")) == sorted(result.files.values())
    assert "tiny" not in result.files and result.not_shown >= 1 and len(result.files) >= 10
    assert {p.name for p in out.iterdir() if p.name.startswith(".")} <= {".made-by-valib"}, "no working folder is left"


def test_the_pages_numbers_are_the_fits(built):
    params, out, result = built
    records = params.read_records()
    minus = "\N{MINUS SIGN}"
    reference = va.fit_baseline(records, STUDY["baseline_cohorts"], params.formula)
    fits = {c: va.fit_relative(records, c, params.formula) for c in (2015, 2016, 2019, 2024)}
    against = {c: va.fit_benchmark(records, c, reference) for c in STUDY["focal_cohorts"]}
    compared = 0
    for school, name in result.files.items():
        rows = cells_of(soup(out / "html" / "schools" / f"{name}.html").select("table")[0])[1:]
        assert [int(row[0].rstrip("*")) for row in rows] == [2015, 2016, 2019, 2024]
        for year, students, value, interval, side, other, its_interval, its_side in rows:
            if students in ("not shown", "no students"):
                assert {value, interval, side, other, its_interval, its_side} == {"\N{EN DASH}"}
                continue
            cohort = int(year.rstrip("*"))
            own = fits[cohort].school_effects.loc[school]
            assert int(students) == own["n"]
            assert value.replace(minus, "-") == f"{own['effect']:+.1f}"
            assert interval.replace(minus, "-") == f"{own['lower']:.1f} to {own['upper']:.1f}"
            assert side == own["side"]
            if cohort in against:
                row = against[cohort].school_effects.loc[school]
                assert other.replace(minus, "-") == f"{row['effect']:+.1f}"
                assert its_interval.replace(minus, "-") == f"{row['lower']:.1f} to {row['upper']:.1f}"
            compared += 1
    assert compared >= 30


def test_a_page_is_about_one_school_and_shows_no_code(built):
    _, out, result = built
    for school, name in result.files.items():
        page = soup(out / "html" / "schools" / f"{name}.html")
        text = page.find("main").get_text(" ")
        shown = " ".join(school.split())
        assert shown in text or len(school) > 200
        others = [o for o in result.files if len(o) > 3 and o != school and " ".join(o.split()) in page.get_text(" ")]
        assert not others
        assert not [script for script in page.select("script") if "alert(" in script.get_text()]
        numbers = [n.get_text(strip=True) for n in page.select(".number")]
        assert [n for n in numbers if n.startswith("Fig")] == ["Figure 1.", "Figure 2.", "Figure 3."]
        assert [n for n in numbers if n.startswith("Table")] == ["Table 1.", "Table 2.", "Table 3.", "Table 4."]
        assert [a["href"] for a in page.select("a")] == ["../index.html"]


def test_no_student_and_no_place_of_this_machine_is_in_what_is_given_away(built):
    _, out, _ = built
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        assert b"PLANTED" not in content and str(out.parent).encode() not in content, path


def test_the_table_is_that_of_the_pages_and_starts_no_formula(built):
    _, out, result = built
    text = result.table.read_text(encoding="utf-8")
    rows = pd.read_csv(result.table)
    assert len(rows) == 4 * len(result.files) and set(rows["file"]) == set(result.files.values())
    assert not re.search(r'(^|,)"?[=+@]', text, re.MULTILINE)
    assert rows.loc[rows["state"] != SHOWN, "relative"].isna().all()
    assert np.isfinite(rows.loc[rows["state"] == SHOWN, "relative"]).all()


@pytest.mark.skipif(not PDFINFO, reason="pdfinfo is not installed")
def test_every_school_has_a_short_pdf(built):
    _, out, result = built
    made = sorted(p.stem for p in (out / "pdf").glob("*.pdf"))
    assert made == sorted(result.files.values())
    for path in (out / "pdf").glob("*.pdf"):
        assert not list(pdf_faults(path))  # tagged, with title, language and alt texts
        pages = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
        assert 1 <= int(re.search(r"Pages:\s+(\d+)", pages).group(1)) <= 3


def test_a_run_that_fails_leaves_the_earlier_reports(built, monkeypatch):
    params, out, result = built
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    school = next(iter(result.files))
    failing(monkeypatch, school)
    with pytest.raises(BookError, match=f"School '{re.escape(school)}': not"):
        report.build(params, out, schools=[school], progress=False)
    after = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert {name: after[name] for name in before} == before
    assert {name.parts[0][:14] for name in set(after) - set(before)} <= {"left-by-valib-"}


def test_one_school_of_the_demo_study(tmp_path):
    code, output = run("--school", "0531", "--quiet", "--out", str(tmp_path / "out"))
    assert code == 0 and "1 school" in output
    assert (tmp_path / "out" / "html" / "schools" / "0531.html").is_file()
