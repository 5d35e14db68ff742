"""The book engine: what it stages, executes, refuses, leaves behind. Most tests use a book of three tiny pages."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pikepdf
import pytest
import yaml
from check_site import pdf_faults, read_faults, structure
from conftest import simulate
from hypothesis import given
from hypothesis import strategies as st

from valib.errors import ParamsError, RecordsError, ValibError
from valib.pages import build as book
from valib.pages.build.latex import PACKAGES, log_faults, make_pdf, need_latex
from valib.pages.build.staging import as_source, put_parameters, toc_files, with_values
from valib.pages.build.titlepage import tex, titlepage
from valib.records.datasets import bundle_root
from valib.study.folder import MARK as MADE
from valib.study.folder import OUTPUTS, digest
from valib.study.params import Params

TITLE = 'Growth in "A & B" <schools>_50% #1'
TOC = """format: jb-book
root: chapters/intro
parts:
- caption: Methods
  numbered: true
  chapters:
  - file: chapters/01_one
  - file: chapters/02_two
- caption: Literature
  chapters:
  - file: chapters/references
"""
SLIDES = """- session: One
  slides:
    - {title: The dots, figure: fig-dots}
    - {title: Not in this book, figure: fig-absent}
"""
INTRO = """# What is asked
The cohorts are {glue:text}`01_one.ipynb::focal:s` ({cite:p}`leckie2018`). See {doc}`02_two` and {numref}`tab-one`.

## Equation
The effect is {math}`u_j`, with α ≥ −1. See {numref}`fig-front`.

```{figure-from} dots
:doc: 01_one.ipynb
:name: fig-front
:alt: Two dots, seen from afar.

Dots of {glue:text}`01_one.ipynb::focal:s`.
```
"""
ONE = [
    "# One\n\nThe shift is {glue:text}`shift`.\n\n```{glue:figure} dots\n:name: fig-dots\n:alt: Two dots.\n\nDots.\n```",
    ("parameters", '# The study\ndata = "demo"  # a file\nfocal_cohorts = [2019]  # judged\nrounds = 3'),
    "import os, sys\nfrom valib.pages import notebook as nb\nimport valib as va\nimport pandas as pd",
    "study = nb.setup('01_one', data=data, focal_cohorts=focal_cohorts, baseline_cohorts=[2030, 2031])",
    "nb.record('shift', -13.4)\nnb.record('focal', focal_cohorts)",
    (
        "remove-input",
        "nb.table(pd.DataFrame({'School': [\"St. Mary's & Co_50%\"], 'Effect': [-1.25]}), "
        "'Effects', 'tab-one', formats='.2f')",
    ),
    (
        "remove-cell",
        "from valib.pages.figures.style import canvas\n"
        "fig, ax = canvas(2.0)\nax.plot([1, 2], 'o')\nnb.figure('dots', fig)",
    ),
    "nb.save(pd.DataFrame({'a': [1]}), 'effects.csv')\n"
    "nb.save(va.fit_baseline(study.records, [2030, 2031]), 'baseline.json')",
    "print(os.getcwd())\nprint(os.environ['VALIB_RECORDS'])\nprint('stray', 'on stderr', file=sys.stderr)",
    "'baseline_cohorts' in globals(), rounds, os.environ['OMP_NUM_THREADS']",
]
TWO = ["# Two\n\nSee {numref}`tab-one`.", ("parameters", "seed = 1"), "seed"]


def notebook(path: Path, cells: list) -> None:
    """Write a notebook: texts that begin with # and a blank are Markdown, a pair is a tag and code."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for cell in cells:
        tag, source = cell if isinstance(cell, tuple) else (None, cell)
        kind = nbformat.v4.new_markdown_cell if tag is None and source.startswith("# ") else nbformat.v4.new_code_cell
        made.cells.append(kind(source, metadata={"tags": [tag]} if tag else {}))
    nbformat.write(made, path)


@pytest.fixture
def tiny(tmp_path):
    """The sources of a tiny book, with the configuration, styles and preamble of the real one."""
    return tiny_sources(tmp_path / "the sources")


def tiny_sources(folder: Path) -> Path:
    root = bundle_root()
    (folder / "chapters").mkdir(parents=True)
    for name in ("_config.yml", "references.bib"):
        shutil.copyfile(root / name, folder / name)
    for name in ("_static", "_latex", "_templates"):
        shutil.copytree(root / "chapters" / name, folder / "chapters" / name)
    shutil.copyfile(root / "chapters" / "references.md", folder / "chapters" / "references.md")
    (folder / "_toc.yml").write_text(TOC, encoding="utf-8")
    (folder / "chapters" / "slides.yml").write_text(SLIDES, encoding="utf-8")
    (folder / "chapters" / "intro.md").write_text(INTRO, encoding="utf-8")
    notebook(folder / "chapters" / "01_one.ipynb", ONE)
    notebook(folder / "chapters" / "02_two.ipynb", TWO)
    return folder


def study(folder: Path, rng, **settings) -> Params:
    """A study of simulated records in a file whose folder nobody should read about."""
    folder.mkdir(parents=True, exist_ok=True)
    records = simulate(rng, cohorts=(2030, 2031, 2033))
    records.drop(columns="u").to_csv(folder / "our records.csv", index=False)
    values = {
        "title": TITLE,
        "data": str(folder / "our records.csv"),
        "baseline_cohorts": [2030, 2031],
        "focal_cohorts": [2033],
        "seed": 7,
        **settings,
    }
    return Params(**values)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def earlier(out: Path) -> dict[str, bytes]:
    """Put into ``out`` what an earlier run has left."""
    for name in ("html/index.html", "results/a.csv", "baseline.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("earlier")
    listed(out)
    return contents(out)


def listed(out: Path) -> None:
    """Write the list by which a run knows what an earlier one has made."""
    made = {name: digest(out / name) for name in OUTPUTS["book"] if (out / name).exists()}
    (out / MADE).write_text(json.dumps({"book": made}), encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A tiny book, rendered over what an earlier run and a killed one have left."""
    import numpy as np

    root = tmp_path_factory.mktemp("book")
    sources = tiny_sources(root / "the sources")
    before = contents(sources)
    out = root / "with blanks" / "out"
    earlier(out)
    (out / "valib.pdf").write_text("earlier")
    listed(out)
    (out / ".valib-left by a killed run" / "book").mkdir(parents=True)
    params = study(root / "home of jdoe", np.random.default_rng(1))
    result = book.build(params, out, progress=False, sources=sources)
    assert contents(sources) == before, "the sources were touched"
    return out, result


def page(out: Path, name: str) -> str:
    return re.sub(r"<[^>]+>", "", (out / "html" / "chapters" / f"{name}.html").read_text(encoding="utf-8"))


def executed(out: Path, name: str):
    return nbformat.read(out / "html" / "_sources" / "chapters" / f"{name}.ipynb", as_version=4)


def test_what_is_built(built):
    out, result = built
    assert result.html == out / "html" / "index.html" and result.html.is_file()
    assert result.pdf is None and not (out / "valib.pdf").exists(), "the PDF of an earlier study must not stay"
    assert (result.results / "effects.csv").read_text() == "a\n1\n" and not (result.results / "a.csv").exists()
    assert json.loads((out / "baseline.json").read_text())["cohorts"] == [2030, 2031]
    assert set(result.seconds) == {"01_one", "02_two", "pages"} and min(result.seconds.values()) > 0


def test_working_folders_go(built):
    out, _ = built
    assert not list(out.glob(".valib-*"))


def test_the_pages_show_the_parameters_in_force(built):
    out, _ = built
    shown = page(out, "01_one")
    assert "focal_cohorts = [2033]  # judged" in shown and "2019" not in shown
    assert "The shift is \N{MINUS SIGN}13.4." in shown
    assert "The cohorts are 2033" in page(out, "intro")


def test_only_declared_parameters_are_put_in(built):
    out, _ = built
    one, two = executed(out, "01_one"), executed(out, "02_two")
    assert one.cells[1].source == ONE[1][1].replace('"demo"', '"our records.csv"').replace("2019", "2033")
    assert one.cells[-1].outputs[0]["data"]["text/plain"] == "(False, 3, '1')"
    assert two.cells[1].source == "seed = 7" and two.cells[2].outputs[0]["data"]["text/plain"] == "7"
    tags = {tag for nb in (one, two) for cell in nb.cells for tag in cell.metadata.get("tags", [])}
    assert "injected-parameters" not in tags


def test_no_folder_of_this_machine_is_published(built):
    out, _ = built
    hidden = [b"jdoe", str(out).encode(), b".valib-", b"stray on stderr"]
    for name, content in contents(out).items():
        for text in hidden:
            assert text not in content, (name, text)
    assert "papermill" not in executed(out, "01_one").metadata


def test_the_pages_work_without_a_network(built):
    out, _ = built
    html = (out / "html" / "chapters" / "intro.html").read_text(encoding="utf-8")
    assert "<msub><mi>u</mi><mi>j</mi></msub>" in html, "browsers set the formula themselves"
    assert not (out / "html" / "_static" / "scripts" / "fontawesome.js").exists() and "fontawesome.js" not in html
    assert 'class="svg-inline--fa' in html
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]+"', html)


def test_a_figure_of_a_chapter_stands_on_the_first_page_too(built):
    """One file for both, with a caption and alt text of its own; what glue:text gives in the caption is there."""
    out, _ = built
    images = {}
    for name in ("intro", "01_one"):
        html = (out / "html" / "chapters" / f"{name}.html").read_text(encoding="utf-8")
        figure = html.partition("<figure")[2].partition("</figure>")[0]
        images[name] = re.search(r'<img[^>]* src="([^"]+)"', figure)[1]
        assert f'alt="{"Two dots, seen from afar." if name == "intro" else "Two dots."}"' in figure
        if name == "intro":
            assert "Dots of" in re.sub(r"<[^>]+>", "", figure) and ">2033<" in figure
    assert images["intro"] == images["01_one"]
    assert (out / "html" / "chapters" / images["intro"]).is_file()


def test_slides_lie_beside_the_pages_with_the_figures_of_the_book(built):
    out, _ = built
    slides = (out / "html" / "slides.html").read_text(encoding="utf-8")
    image = re.search(r'<img[^>]* src="([^"]+)"', slides)[1]
    assert (out / "html" / image).is_file() and 'alt="Two dots."' in slides and "Not in this book" not in slides
    assert "&lt;schools&gt;_50% #1" in slides and "<schools>" not in slides
    assert all(
        (out / "html" / file.partition("?")[0]).is_file() for file in re.findall(r'<script[^>]* src="([^"]+)"', slides)
    )


def test_titles_and_names_are_shown_as_they_are(built):
    out, _ = built
    raw = (out / "html" / "chapters" / "01_one.html").read_text(encoding="utf-8")
    assert "&lt;schools&gt;_50% #1" in raw and "<schools>" not in raw
    assert "St. Mary\N{RIGHT SINGLE QUOTATION MARK}s &amp; Co_50%" in raw
    assert "(Leckie, 2018)" in page(out, "intro")


def test_no_fault_is_on_the_pages(built):
    """But the finder of schools: this book has no page of schools, so it must not offer one."""
    out, _ = built
    assert not list(read_faults(out / "html"))
    assert "school-finder" not in (out / "html" / "chapters" / "intro.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("latexmk"), reason="needs LaTeX")
def test_the_pdf(tiny, tmp_path, rng, monkeypatch):
    logs = {}

    def keep_log(folder, *arguments, strict, name="valib"):
        assert not strict  # the names are a user's
        pdf = make_pdf(folder, *arguments, name=name)
        logs["log"] = (folder / f"{name}.log").read_text(errors="replace")
        logs["tex"] = re.sub(
            r"\\tag(?:open|close|numbered)\{\d*\}|\\def(?=\\tag)", "", (folder / f"{name}.tex").read_text()
        )
        return pdf

    monkeypatch.setattr("valib.pages.build.render.make_pdf", keep_log)
    result = book.build(study(tmp_path / "in", rng), tmp_path / "out", pdf=True, progress=False, sources=tiny)
    assert result.pdf.read_bytes().startswith(b"%PDF") and result.seconds["pdf"] > 0
    assert not log_faults(logs["log"])
    assert not re.search("undefined|Missing character", logs["log"])
    assert logs["tex"].index("{What is asked}") < logs["tex"].index(r"\chapter{One}")
    assert (
        r"\caption[{Dots of" in logs["tex"] and r"\listoffigures" in (tiny / "chapters/_latex/preamble.tex").read_text()
    )
    assert r"\section{Equation}" in logs["tex"] and r"\begin{tabulary}{\linewidth}[t]{RLR}" in logs["tex"]
    assert not list(pdf_faults(result.pdf))
    with pikepdf.open(result.pdf) as pdf:
        elements = list(structure(pdf.Root.StructTreeRoot.K))
        names = [name for name, _ in elements]
        assert {"H1", "H2", "P", "TOCI", "Table", "TH", "Caption", "Code"} <= set(names) and names.count("Link") > 5
        alts = {name: [str(one.Alt) for role, one in elements if role == name] for name in ("Figure", "Formula")}
        assert alts == {"Figure": ["Two dots, seen from afar.", "Two dots."], "Formula": ["u_j"]}
        assert {len(one.K) for name, one in elements if name == "TR"} == {3}
        marks = [mark for page in pdf.pages for mark in pikepdf.parse_content_stream(page, "MP")]
        assert not marks


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(5)


def refused(sources: Path, tmp_path: Path, rng, kind: type[Exception], **settings) -> str:
    """Build a book that must fail, over an earlier one that must survive; return what is said."""
    out = tmp_path / "out"
    before = earlier(out)
    with pytest.raises(kind) as caught:
        book.build(study(tmp_path / "in", rng, **settings), out, progress=False, sources=sources)
    assert contents(out) == before and not list(out.glob(".valib-*"))
    return str(caught.value)


def test_a_failing_chapter_is_named_with_its_cell(tiny, tmp_path, rng):
    notebook(tiny / "chapters" / "02_two.ipynb", ["# Two", "x = 1", "raise KeyError('no such\\nthing')", "x"])
    said = refused(tiny, tmp_path, rng, book.BookError)
    assert said == "02_two.ipynb, code cell 2: KeyError: 'no such\\nthing'"


def test_a_kernel_that_dies_is_named_too(tiny, tmp_path, rng):
    notebook(tiny / "chapters" / "02_two.ipynb", ["# Two", "import os; os._exit(3)"])
    said = refused(tiny, tmp_path, rng, book.BookError)
    assert said == "02_two.ipynb, code cell 1: the kernel died (out of memory, or ended by the code or from outside)"


def test_unusable_input_found_by_a_chapter_is_the_input_s_error(tiny, tmp_path, rng):
    code = "from valib.errors import RecordsError\nraise RecordsError('f.csv, column x: no numbers.')"
    notebook(tiny / "chapters" / "02_two.ipynb", ["# Two", code])
    said = refused(tiny, tmp_path, rng, RecordsError)
    assert said == "f.csv, column x: no numbers. (found by 02_two.ipynb, code cell 1)"


def test_a_number_that_was_not_recorded_stops_the_book(tiny, tmp_path, rng, capfd):
    notebook(tiny / "chapters" / "02_two.ipynb", ["# Two\n\n{glue:text}`absent` and {numref}`tab-one`", "1"])
    said = refused(tiny, tmp_path, rng, book.BookError)
    assert said.startswith("Jupyter Book refused the pages: ") and "absent" in said and str(tmp_path) not in said
    assert "absent" in capfd.readouterr().err


def test_a_page_that_is_not_there(tiny, tmp_path, rng):
    (tiny / "chapters" / "02_two.ipynb").unlink()
    assert "_toc.yml lists chapters/02_two" in refused(tiny, tmp_path, rng, book.BookError)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"focal_cohorts": [2044]}, "2044"),
        ({"formula": "score ~ prior_score + wealth"}, "wealth"),
        ({"scale_breaks": [{"cohort": 2032, "column": "score"}]}, "2032"),
    ],
)
def test_records_that_cannot_bear_the_study_are_refused_first(tiny, tmp_path, rng, settings, words):
    assert words in refused(tiny, tmp_path, rng, ValibError, **settings)


def test_a_refusal_leaves_no_folder_behind(tiny, tmp_path, rng):
    with pytest.raises(ValibError):
        book.build(study(tmp_path / "in", rng, focal_cohorts=[2044]), tmp_path / "a" / "b", sources=tiny)
    assert not (tmp_path / "a").exists()
    notebook(tiny / "chapters" / "02_two.ipynb", ["# Two", "1 / 0"])
    with pytest.raises(book.BookError):
        book.build(study(tmp_path / "in", rng), tmp_path / "a" / "b", progress=False, sources=tiny)
    assert not (tmp_path / "a").exists()


def test_a_folder_with_other_results_is_not_replaced(tiny, tmp_path, rng):
    (tmp_path / "out" / "results").mkdir(parents=True)
    (tmp_path / "out" / "results" / "mine.csv").write_text("years of work")
    with pytest.raises(ParamsError, match="name another folder"):
        book.build(study(tmp_path / "in", rng), tmp_path / "out", sources=tiny)
    assert (tmp_path / "out" / "results" / "mine.csv").read_text() == "years of work"


def test_missing_latex_is_told_before_any_work(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValibError, match="latexmk, xelatex.*apt-get install --no-install-recommends " + PACKAGES):
        book.build(study(tmp_path / "in", rng), tmp_path / "out", pdf=True)
    assert not (tmp_path / "out").exists()


def test_a_missing_latex_package_is_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr("valib.pages.build.latex._found", lambda file: file != "titlesec.sty")
    with pytest.raises(ValibError, match="and titlesec.sty cannot be found"):
        need_latex()


SOURCE = """# Käse
seed = 12345      # wide
data = "demo"   # the "file", é
columns: dict = {}
cohorts = [
    2019,  # first
    2021,
]
a, b = 1, 2
level = 0.95; school = None
other = data + "x"
"""


def test_values_are_put_in_and_comments_stay():
    values = {
        "data": 'Große "Schule".csv',
        "columns": {"school": "Schule"},
        "cohorts": [2019, 2021],
        "level": 0.9,
        "school": "0017",
        "a": 5,
        "seed": 7,
    }
    changed = with_values(SOURCE, values)
    assert changed.splitlines() == [
        "# Käse",
        "seed = 7          # wide",
        'data = "Große \\"Schule\\".csv"  # the "file", é',
        'columns: dict = {"school": "Schule"}',
        "cohorts = [",
        "    2019,  # first",
        "    2021,",
        "]",
        "a, b = 1, 2",
        'level = 0.9; school = "0017"',
        'other = data + "x"',
    ]


LEAVES = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(value=LEAVES | st.lists(LEAVES) | st.dictionaries(st.text(), st.text()))
def test_any_value_survives_as_source(value):
    names = {}
    exec(with_values("x = 0 # said", {"x": value}), names)  # noqa: S102
    assert names["x"] == value and as_source(value)


def test_a_parameter_that_equals_its_default_keeps_its_writing(tmp_path):
    source = "level = 9.5e-1\nformula = 'score ~ prior_score'"
    notebook(tmp_path / "a.ipynb", [("parameters", source)])
    put_parameters(tmp_path / "a.ipynb", Params())
    assert nbformat.read(tmp_path / "a.ipynb", as_version=4).cells[0].source == source


def test_the_title_page_prints_names_as_they_are():
    assert tex(r"a_b&c%$#{}~^\<") == (
        r"a\_b\&c\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}"
    )
    shown = titlepage(Params(title="50% & more", data="/home/jdoe/a_b.csv", equating_se=1.5))
    assert r"50\% \& more" in shown and r"a\_b.csv" in shown and "jdoe" not in shown and "1.5 score points" in shown


def test_the_files_of_a_table_of_contents_come_in_order():
    found = list(toc_files(yaml.safe_load(TOC)))
    assert found == ["chapters/intro", "chapters/01_one", "chapters/02_two", "chapters/references"]


def test_a_chapter_that_leaves_errors_of_measurement_in_is_given_them_to_say_so(tmp_path):
    study = Params(reliability={"prior_score": 0.9})
    for name, source in (("a", "level = 0.95"), ("b", "reliability = {}  # of covariates")):
        notebook(tmp_path / f"{name}.ipynb", [("parameters", source)])
        put_parameters(tmp_path / f"{name}.ipynb", study)
        cell = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4).cells[0].source
        assert cell.count('reliability = {"prior_score": 0.9}') == 1, cell
