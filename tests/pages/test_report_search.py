"""The search field of the schools' tables, in a browser: the list of a report and the table of the book."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT, simulate
from test_report import params_for

import valib as va
from valib.pages import notebook as nb
from valib.pages.report.assemble import choose
from valib.pages.report.listing import in_order, row
from valib.pages.report.page import school_page
from valib.pages.report.render import write_index
from valib.pages.report.results import compute

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COHORTS = [2030, 2031, 2033]
NAMES = [
    "Grundschule Münster",
    "Ecole E\N{COMBINING ACUTE ACCENT}tienne",
    "GRUNDSCHULE NORD",
    "<b>& Co",
    "Straße (y.z)",
]
# What is typed, the cohort chosen (the book's table alone has a choice), and the schools that then stand.
TYPED = [
    ("", "", NAMES),
    ("grundschule", "", [NAMES[0], NAMES[2]]),
    ("munster", "", [NAMES[0]]),
    ("MÜNSTER ", "", [NAMES[0]]),
    ("étienne", "", [NAMES[1]]),
    ("(y.", "", [NAMES[4]]),
    ("<B>", "", [NAMES[3]]),
    ("strasse", "", [NAMES[4]]),
    ("nowhere", "", []),
    ("", "2033", NAMES),
    ("nord", "2031", [NAMES[2]]),
]
TYPING = """
window.addEventListener("load", function () {
  var said = [];
  document.querySelectorAll(".schools-filter").forEach(function (bar) {
    var search = bar.querySelector("input"), choice = bar.querySelector("select"), box = bar.nextElementSibling;
    TYPED.forEach(function (typed) {
      if (typed[1] && box.dataset.rows !== "rows") return;
      search.value = typed[0];
      search.dispatchEvent(new Event("input", {bubbles: true}));
      if (box.dataset.rows === "rows") { choice.value = typed[1]; choice.dispatchEvent(new Event("input", {bubbles: true})); }
      var rows = Array.from(box.querySelectorAll("tbody tr")).filter(function (row) { return row.offsetHeight > 0; });
      said.push({table: box.dataset.rows, typed: typed, count: bar.querySelector("span").textContent,
                 cells: rows.map(function (row) { return [row.cells[0].textContent, row.cells[1].textContent]; })});
    });
  });
  var head = document.querySelector('[data-sort] th:nth-child(4)');
  ["", "", ""].forEach(function () {
    said.push({table: "sorted", order: head.getAttribute("aria-sort"),
               values: Array.from(document.querySelectorAll("[data-sort] tbody tr")).map(function (row) {
                 return row.cells[3].dataset.value; })});
    head.querySelector("button").click();
  });
  var told = document.body.appendChild(document.createElement("pre"));
  told.id = "told";
  told.textContent = JSON.stringify(said);
});
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the browser shows after each typing, for both tables in one page."""
    tmp_path = tmp_path_factory.mktemp("search")
    records = simulate(np.random.default_rng(7), schools=5, size=(20, 30), cohorts=tuple(COHORTS))
    records["school"] = records["school"].map(dict(zip(sorted(records["school"].unique()), NAMES, strict=True)))
    params = params_for(tmp_path, records, baseline_cohorts=COHORTS[:1], focal_cohorts=COHORTS[1:])
    results = compute(params, params.read_records())
    files = choose(results, None, 5)
    rows = in_order([row(school_page(results, s), f) for s, f in files.items()], {f: s for s, f in files.items()})
    write_index(results, rows, tmp_path, False, ROOT / "chapters" / "_static" / "schools.js")
    listed = str(
        BeautifulSoup((tmp_path / "index.html").read_text("utf-8"), "html.parser").select_one(".schools-table")
    )
    reference = va.fit_baseline(records, COHORTS[:1])
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, **_: shown.append(data["text/html"]))
        nb.schools(
            [va.fit_relative(records, c) for c in COHORTS[1:]],
            [va.fit_benchmark(records, c, reference) for c in COHORTS[1:]],
            5,
        )
    style, script = ((ROOT / "chapters" / "_static" / name).as_uri() for name in ("book.css", "schools.js"))
    typing = TYPING.replace("TYPED", json.dumps(TYPED))
    page = tmp_path / "page.html"
    page.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><link rel="stylesheet" href="{style}">'
        f'<script src="{script}"></script><body>{listed}{shown[0]}<script>{typing}</script>'
    )
    order = [
        BROWSER,
        *"--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split(),
        *"--disable-component-update --virtual-time-budget=5000".split(),
        f"--user-data-dir={tmp_path / 'browser'}",
        "--dump-dom",
        page.as_uri(),
    ]
    try:
        done = subprocess.run(order, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError) as error:  # Ubuntu's is a stub without its snap
        pytest.skip(f"the browser {BROWSER} does not start here ({type(error).__name__})")
    return json.loads(BeautifulSoup(done.stdout, "html.parser").find(id="told").get_text())


@pytest.mark.skipif(not BROWSER, reason="Chromium is not installed")
def test_the_field_shows_the_schools_that_fit_and_no_other(told):
    tables = {"schools": 0, "rows": 0}
    for case in (case for case in told if case["table"] != "sorted"):
        tables[case["table"]] += 1
        words, cohort, fit = case["typed"]
        schools = [name for name, _ in case["cells"]]
        per_school = 1 if case["table"] == "schools" else 1 if cohort else 2
        assert sorted(schools) == sorted(fit * per_school), (words, cohort)
        assert not cohort or {year for _, year in case["cells"]} <= {cohort}
        assert case["count"] == f"{len(schools)} of {5 if case['table'] == 'schools' else 10} {case['table']}"
    assert tables == {"schools": 9, "rows": 11}


@pytest.mark.skipif(not BROWSER, reason="Chromium is not installed")
def test_the_head_of_a_column_sorts_up_and_then_down(told):
    first, up, down = ([float(v) for v in case["values"]] for case in told if case["table"] == "sorted")
    assert up == sorted(first) and down == sorted(first, reverse=True) and len(up) == 5
    assert [case["order"] for case in told if case["table"] == "sorted"] == [None, "ascending", "descending"]


def test_the_pages_of_book_and_report_take_one_script():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    scripts = {path.name for path in (ROOT / "chapters").glob("_*/*.js")}
    assert set(config["sphinx"]["config"]["html_js_files"]) == scripts and "schools.js" in scripts
