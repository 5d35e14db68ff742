"""Reports made whole: the notebooks in their kernel, the pages and PDFs, and what a failed run leaves."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from test_report import HOSTILE, PANEL, STUDY, panel, params_for
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.errors import ParamsError
from valib.pages import report
from valib.pages.build import BookError
from valib.pages.build.children import Children
from valib.pages.build.execute import hidden_texts, kernel_environment
from valib.pages.report.assemble import choose
from valib.pages.report.execute import run_schools
from valib.pages.report.render import make_pages
from valib.pages.report.results import SHOWN, compute
from valib.pages.report.staging import PAGES, stage
from valib.records.datasets import bundle_root

LATEX = shutil.which("latexmk") and shutil.which("xelatex")
LEAKS = ["left_over = 1", "assert 'left_over' not in globals(), 'the namespace of another school'"]


def executed(tmp_path: Path, params, sources: Path, schools: list[str] | None = None, jobs: int = 1) -> Path:
    """Stage and execute notebooks, without rendering; return their folder."""
    results = compute(params, params.read_records())
    files = choose(results, schools, params.min_students)
    work = tmp_path / "work"
    work.mkdir()
    stage(results, files, sources, work / "book", False)
    folder = work / "book" / PAGES
    results.save(folder / "study")
    seen = []
    with Children() as children:
        run_schools(
            {s: f"{n}.ipynb" for s, n in files.items()},
            folder,
            work,
            kernel_environment(work),
            hidden_texts(params, work),
            jobs,
            children,
            lambda done, total: seen.append((done, total)),
            print,
        )
    return folder


def sources_with(tmp_path: Path, *cells: str, tag: str = "remove-cell") -> Path:
    """The sources of the report with further code cells at the end of the school's notebook."""
    sources = tmp_path / "sources"
    shutil.copytree(bundle_root() / "chapters", sources / "chapters")
    shutil.copyfile(bundle_root() / "_config.yml", sources / "_config.yml")
    path = sources / "chapters" / "_report" / "school.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(cells):
        notebook.cells.append(nbformat.v4.new_code_cell(cell, metadata={"tags": [tag]}, id=f"more-{number}"))
    nbformat.write(notebook, path)
    return sources


def test_schools_share_a_kernel_but_no_name(tmp_path):
    sources = sources_with(tmp_path, LEAKS[1], LEAKS[0], "import os\nprint(os.getpid())")
    folder = executed(tmp_path, params_for(tmp_path, panel(4)), sources)
    notebooks = [nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb"))]
    assert len(notebooks) == 4
    kernels = {notebook.cells[-1].outputs[0].text for notebook in notebooks}
    assert len(kernels) == 1, "one warm kernel"
    text = "".join(nbformat.writes(notebook) for notebook in notebooks)
    assert str(tmp_path) not in text and not any("papermill" in notebook.metadata for notebook in notebooks)
    schools = [re.search(r'school = "(\w+)"', nbformat.writes(n).replace('\\"', '"')).group(1) for n in notebooks]
    for school, notebook in zip(schools, notebooks, strict=True):
        assert not [other for other in schools if other != school and other in nbformat.writes(notebook)]


def test_a_notebook_that_fails_ends_the_run_with_the_schools_name(tmp_path):
    sources = sources_with(tmp_path, "assert school != 'S003', 'not this one'")
    with pytest.raises(BookError, match="School 'S003': AssertionError: not this one"):
        executed(tmp_path, params_for(tmp_path, panel(4)), sources, jobs=2)


@pytest.mark.long
def test_a_kernel_that_dies_ends_the_run_with_the_schools_name(tmp_path):
    sources = sources_with(tmp_path, "import os\nif school == 'S002':\n    os._exit(1)")
    with pytest.raises(BookError, match="School 'S002': the kernel died"):
        executed(tmp_path, params_for(tmp_path, panel(4)), sources)


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        (
            "schools/grundschule-1a2b3c4d5e6f.ipynb:10002: WARNING: undefined label: 'nowhere'",
            "School 'Grundschule A&O': ",
        ),
        ("schools/0563.ipynb: ERROR: no", "School '0563': "),
        ("index.md:3: WARNING: no", ""),
        ("schools/0041.ipynb: WARNING: of no school of this run", ""),
    ],
)
def test_a_page_that_is_refused_names_its_school(tmp_path, monkeypatch, complaint, told):
    def refuse(*_):
        raise BookError(f"Jupyter Book refused the pages: {complaint}")

    monkeypatch.setattr("valib.pages.report.render.run_jupyter_book", refuse)
    files = {"0563": "0563", "Grundschule A&O": "grundschule-1a2b3c4d5e6f"}
    with Children() as children, pytest.raises(BookError) as error:
        make_pages(tmp_path, tmp_path, files, children)
    assert str(error.value) == f"{told}Jupyter Book refused the pages: {complaint}"


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
    study = ("--baseline-cohorts", "2015,2016", "--focal-cohorts", "2019,2024", "--quiet")
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
    result = report.build(params, out, pdf=bool(LATEX), jobs=2, progress=False)
    return params, out, result


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def cells_of(table) -> list[list[str]]:
    return [[cell.get_text(strip=True) for cell in row.find_all(["td", "th"])] for row in table.find_all("tr")]


@pytest.mark.long
def test_every_school_has_a_page_that_the_first_page_lists(built):
    _, out, result = built
    links = [a["href"] for a in soup(result.index).select(".schools-table a") if a["href"].endswith(".html")]
    assert sorted(links) == sorted(f"schools/{name}.html" for name in result.files.values())
    assert sorted(p.stem for p in (out / "html" / "schools").glob("*.html")) == sorted(result.files.values())
    assert "tiny" not in result.files and result.not_shown >= 1 and len(result.files) >= 10
    assert {p.name for p in out.iterdir() if p.name.startswith(".")} <= {".made-by-valib"}, "no working folder is left"


@pytest.mark.long
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
        for year, students, value, interval, other, its_interval in rows:
            if students in ("not shown", "no students"):
                assert {value, interval, other, its_interval} == {"\N{EN DASH}"}
                continue
            cohort = int(year.rstrip("*"))
            own = fits[cohort].school_effects.loc[school]
            assert int(students) == own["n"]
            assert value.replace(minus, "-") == f"{own['effect']:+.1f}"
            assert interval.replace(minus, "-") == f"{own['lower']:.1f} to {own['upper']:.1f}"
            if cohort in against:
                row = against[cohort].school_effects.loc[school]
                assert other.replace(minus, "-") == f"{row['effect']:+.1f}"
                assert its_interval.replace(minus, "-") == f"{row['lower']:.1f} to {row['upper']:.1f}"
            compared += 1
    assert compared >= 30


@pytest.mark.long
def test_a_page_is_about_one_school_and_shows_no_code(built):
    _, out, result = built
    for school, name in result.files.items():
        page = soup(out / "html" / "schools" / f"{name}.html")
        text = page.find("article").get_text(" ")
        shown = " ".join(school.split())
        assert shown in text or len(school) > 200
        others = [o for o in result.files if len(o) > 3 and o != school and " ".join(o.split()) in page.get_text(" ")]
        assert not others
        assert not page.select("article .cell_input, article .highlight")
        assert not [script for script in page.select("script") if "alert(" in script.get_text()]
        numbers = [n.get_text(strip=True) for n in page.select("article .caption-number")]
        assert [n for n in numbers if n.startswith("Fig")] == ["Fig. 1", "Fig. 2", "Fig. 3"]
        assert [n for n in numbers if n.startswith("Table")] == ["Table 1", "Table 2", "Table 3", "Table 4"]
        assert page.select(".bd-sidebar-primary a.reference") == [] and not page.select(".prev-next-area a")


@pytest.mark.long
def test_no_student_and_no_place_of_this_machine_is_in_what_is_given_away(built):
    _, out, _ = built
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        assert b"PLANTED" not in content and str(out.parent).encode() not in content, path


@pytest.mark.long
def test_the_table_is_that_of_the_pages_and_starts_no_formula(built):
    _, out, result = built
    text = result.table.read_text(encoding="utf-8")
    rows = pd.read_csv(result.table)
    assert len(rows) == 4 * len(result.files) and set(rows["file"]) == set(result.files.values())
    assert not re.search(r'(^|,)"?[=+@]', text, re.MULTILINE)
    assert rows.loc[rows["state"] != SHOWN, "relative"].isna().all()
    assert np.isfinite(rows.loc[rows["state"] == SHOWN, "relative"]).all()


@pytest.mark.long
@pytest.mark.skipif(not LATEX, reason="LaTeX is not installed")
def test_every_school_has_a_short_pdf(built):
    _, out, result = built
    made = sorted(p.stem for p in (out / "pdf").glob("*.pdf"))
    assert made == sorted(result.files.values())
    for path in (out / "pdf").glob("*.pdf"):
        pages = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
        assert 1 <= int(re.search(r"Pages:\s+(\d+)", pages).group(1)) <= 3


@pytest.mark.long
def test_a_run_that_fails_leaves_the_earlier_reports(built, tmp_path):
    params, out, result = built
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    school = next(iter(result.files))
    sources = sources_with(tmp_path, "nb.say('{numref}`nowhere`')", tag="remove-input")
    with pytest.raises(BookError, match=f"School '{re.escape(school)}': Jupyter Book refused"):
        report.build(params, out, schools=[school], progress=False, sources=sources)
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert (out / ".made-by-valib").is_file()


@pytest.mark.long
def test_one_school_of_the_demo_study(tmp_path):
    code, output = run("--school", "0531", "--quiet", "--out", str(tmp_path / "out"))
    assert code == 0 and "1 school" in output
    assert (tmp_path / "out" / "html" / "schools" / "0531.html").is_file()
