"""The whole book and its PDF about records, columns, parameters and paths with hostile names: all of it is text."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from hostile_names import COLUMNS, COVARIATE, FILE, FOLDER, FOLLOWED, LEVELS, SCHOOLS, TITLE

from valib.names import LONGEST, readable
from valib.pages import build as book
from valib.study.params import Params

pytestmark = pytest.mark.long
OURS = {"toggleFullScreen()", "window.print()"}  # what the theme's own buttons do


def hostile_study(root, **settings) -> Params:
    """A study whose every text is hostile."""
    cohorts = (2030, 2031, 2033, 2034)
    records = simulate(
        np.random.default_rng(2030),
        schools=len(SCHOOLS),
        size=(6, 24),
        cohorts=cohorts,
        rho=0.6,
        shift={2033: -6.0, 2034: 9.0},
    ).drop(columns="u")
    names = dict(zip(sorted(records["school"].unique()), SCHOOLS, strict=True))
    records["school"] = records["school"].map(names)
    records[COVARIATE] = np.asarray(LEVELS, dtype=object)[np.arange(len(records)) % len(LEVELS)]
    folder = root / FOLDER
    folder.mkdir(parents=True)
    records.rename(columns=COLUMNS).to_parquet(folder / FILE)
    formula = f"score ~ prior_score + `{COVARIATE}`"
    return Params(
        title=TITLE,
        data=str(folder / FILE),
        columns=COLUMNS,
        baseline_cohorts=[2030, 2031],
        focal_cohorts=[2033, 2034],
        school=FOLLOWED,
        formula=formula,
        simulation_replicates=40,
        quantile_draws=60,
        bootstrap_replicates=60,
        further_formulas=[formula, "score ~ prior_score", "score ~ `no such | <b>`"],
        **settings,
    )


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    pdf = shutil.which("latexmk") is not None
    return book.build(hostile_study(root), root / FOLDER / "out", pdf=pdf, progress=False)


class Page(HTMLParser):
    """The text of a page, the elements that nobody but an attacker would have put there, and the cells of tables."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.bad, self.cells, self._open, self._skip = [], [], [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        handlers = [name for name, value in values.items() if name.startswith("on") and value not in OURS]
        hrefs = [v for k, v in values.items() if k in ("href", "src") and v and re.match(r"\s*(javascript|file):", v)]
        if handlers or hrefs or "evil" in "".join(v or "" for v in values.values() if tag in ("img", "iframe", "a")):
            self.bad.append((tag, attrs))
        if tag in ("iframe", "object", "embed", "base"):
            self.bad.append((tag, attrs))
        self._skip += tag in ("script", "style")
        self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if self._skip:
            if "alert(" in data and "DOCUMENTATION_OPTIONS" not in data:
                self.bad.append(("script", data[:200]))
            return
        self.text.append(data)
        if self.cells:
            self.cells[-1] += data


def pages(result) -> dict[str, Page]:
    return {path.stem: Page(path.read_text(encoding="utf-8")) for path in result.html.parent.rglob("*.html")}


def squeezed(text: str) -> str:
    """Without white space and with plain quotes, dashes and ellipses: what typography changes is not in question."""
    for fancy, plain in {"‘’": "'", "“”": '"'}.items():
        text = re.sub(f"[{fancy}]", plain, text)
    return re.sub(r"\s+", "", text.replace("…", "...").replace("–", "--").replace("—", "---"))


def test_how_many_names_are_tried():
    assert len(set(SCHOOLS)) == len(SCHOOLS) == 130 and len(LEVELS) == 5 and len(COLUMNS) == 5


def test_no_name_becomes_an_element_or_an_attribute(rendered):
    found = {name: page.bad for name, page in pages(rendered).items() if page.bad}
    assert not found


def test_no_template_is_expanded_and_no_file_read(rendered):
    for name, page in pages(rendered).items():
        text = "".join(page.text)
        assert "root:x:" not in text and "49" not in re.findall(r"Schools <script>.{0,60}", text), name
        for place in re.finditer(r"7\*7", text):
            assert re.search(r"\{\{? ?$|\{$|= ?$", text[: place.start()][-3:]), (name, text[place.start() - 20 :][:60])
    assert not list(rendered.html.parents[3].rglob("SENTINEL")) and not Path("SENTINEL").exists()


def test_every_school_large_enough_is_shown_by_its_readable_name(rendered):
    shown = {squeezed(cell) for cell in pages(rendered)["schools"].cells}
    effects = pd.read_csv(rendered.results / "benchmark_effects.csv", dtype={"school": "str"}, keep_default_na=False)
    schools = {re.sub(r"^'(?='*\s*[=+\-@\t\n])", "", name) for name in effects["school"]}
    assert len(schools) > 100
    for name in schools:
        assert squeezed(readable(name, LONGEST)) in shown, name


def test_the_followed_school_title_and_file_stand_in_the_prose(rendered):
    found = pages(rendered)
    assert squeezed(FOLLOWED) in squeezed("".join(found["04_benchmark"].text))
    assert squeezed(readable(TITLE)) in squeezed("".join(found["intro"].text))
    assert squeezed(readable(FILE)) in squeezed("".join(found["01_records"].text))


def test_no_character_of_a_page_turns_the_direction_or_breaks_a_table(rendered):
    marks = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
    paths = sorted((rendered.html.parent / "chapters").glob("*.html"))
    assert len(paths) > 10
    for path in paths:
        assert not marks.search(path.read_text(encoding="utf-8")), path.name


@pytest.mark.skipif(not shutil.which("pdftotext") or not shutil.which("latexmk"), reason="needs LaTeX and pdftotext")
def test_the_pdf_is_whole_and_shows_names_as_text(rendered):
    done = subprocess.run(["pdftotext", "-layout", rendered.pdf, "-"], capture_output=True, text=True, check=True)
    text = squeezed(done.stdout)
    assert squeezed(readable(TITLE))[:60] in text and squeezed(FOLLOWED) in text
    assert "root:x:" not in done.stdout and "References" in done.stdout
    assert squeezed("{{ 7*7 }}") in text
