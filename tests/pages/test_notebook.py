"""What chapters use: numbers as text, tables, figures, claims, results, and what a name may hold."""

from __future__ import annotations

import base64
import html
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

import valib as va
from valib.errors import ParamsError, RecordsError, ValibError, ValibWarning
from valib.names import readable
from valib.pages import notebook as nb
from valib.pages.findings import Findings

NASTY = [
    "St. Mary's & Co_50%",
    "00417",
    "a|b",
    "*x* `y` $z$ ~w~",
    "<script>alert(1)</script>",
    "[l](http://m.n) {{x}}",
    "1. first",
    "# head",
    "{glue:text}`k`",
    "\\alpha {math}`x`",
    "-- — …",
    ":::{note}",
    "&amp; &lt;",
]


@pytest.fixture(autouse=True)
def shell():
    """A shell, so that what is displayed can be caught as a notebook would keep it."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.fixture
def records():
    """Two baseline cohorts and a focal one, of 12 schools."""
    return simulate(np.random.default_rng(7), schools=12, size=(3, 30), cohorts=(2030, 2031, 2033))


def shown(call, *args, **kwargs) -> list:
    """The outputs of a call, as a notebook keeps them."""
    with capture_output() as caught:
        call(*args, **kwargs)
    return caught.outputs


def markdown_cells(text: str) -> list[list[str]]:
    """The cells of the first Markdown table in a text, as a reader sees them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    page = MarkdownIt("commonmark").enable("table").render("\n".join(lines))
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1234567, None, "1,234,567"),
        (-3, None, "−3"),
        (2019, "d", "2019"),
        (np.int64(5), None, "5"),
        (-13.94, None, "−13.9"),
        (np.float64(-13.96), ".1f", "−14.0"),
        (2.345, "+.2f", "+2.35"),
        (-0.04, ".1f", "0.0"),
        (0.95, ".0%", "95%"),
        (float("nan"), ".1f", "not available"),
        (None, None, "not available"),
        ("rose", None, "rose"),
        ([2015, 2016, 2017], None, "2015, 2016 and 2017"),
        ([2019], None, "2019"),
        ([], None, "none"),
        (1e-7, ".1e", "1.0e−07"),
    ],
)
def test_numbers_in_prose(value, spec, text):
    assert nb.as_text(value, spec) == text


def test_an_estimate_with_its_standard_error():
    assert nb.estimate(-13.96, np.float64(2.04), ".1f") == "−14.0 (2.0)"
    assert nb.estimate(0.0, float("nan"), ".2f") == "0.00 (not available)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.09, "1.1"), (0.714, "0.71"), (34.8, "35"), (116.2, "120"), (0.0961, "0.10"), (0.0, "0.00"), (9.96, "10"),
     (0.004, "0.00"), (float("nan"), "not available")],
)  # fmt: skip
def test_an_error_has_the_digits_that_tables_publish(value, text):
    assert nb.as_text(value, ".2f~") == text
    found = Findings()
    found.record("shift_se", value, ".2f")
    assert found.values["shift_se"] == text
    found.table(pd.DataFrame({"Cohort": [2033], "SE": [value]}), "", "tab", formats=".2f")
    assert found.shown[0].formats["SE"] == ".2f~" and "Cohort" not in found.shown[0].formats


def test_an_estimate_ends_where_its_error_does():
    assert nb.estimate(1931.32, 33.6, ".1f~") == "1931 (34)" and nb.estimate(1931.32, 116.0, ".1f~") == "1930 (120)"
    assert nb.estimate(169.056, 3.416, ".3f~") == "169.1 (3.4)" and nb.estimate(0.0, 0.0, ".1f~") == "0.0 (0.0)"


@pytest.mark.parametrize("value", [-13.94, "St. Mary's & Co_50%", "00417", "'quoted' \"twice\"", [2015, 2016]])
def test_a_recorded_value_is_what_the_page_pastes(value):
    """myst-nb evaluates the glued text as a Python literal; what comes out must be the text that was meant."""
    from myst_nb.core.variables import format_plain_text

    (output,) = shown(nb.record, "key", value)
    scrap = output.metadata["scrapbook"]
    assert scrap["name"] == "key"
    assert format_plain_text(output.data[scrap["mime_prefix"] + "text/plain"], "s") == nb.as_text(value)


@pytest.mark.parametrize(("x", "word"), [(1.0, "rose"), (-1.0, "fell"), (0.0, "did not move"), (0.4, "did not move")])
def test_direction(x, word):
    assert nb.direction(x, tolerance=0.5) == word


def test_a_claim_that_does_not_hold_stops_the_chapter():
    nb.check(np.bool_(True), "never said")
    with pytest.raises(AssertionError, match="does not hold: BLUPs are centred"):
        nb.check(np.bool_(False), "BLUPs are centred")


def test_a_table_shows_what_the_frame_holds():
    frame = pd.DataFrame(
        {
            "School": NASTY,
            "Cohort": 2019,
            "Students": 1200,
            "Effect": [-1.25, np.nan, *[0.004] * 11],
            "Kept": [True, False] + [True] * 11,
        }
    )
    (output,) = shown(nb.table, frame, "Effects, $\\tau^2$", "tab-x", formats={"Effect": ".2f"}, index=False)
    text = output.data["text/markdown"]
    head, first, second, *_ = cells = markdown_cells(text)
    assert head == ["School", "Cohort", "Students", "Effect", "Kept"]
    assert [row[0] for row in cells[1:]] == NASTY
    assert first[1:] == ["2019", "1,200", "−1.25", "yes"] and second[1:] == ["2019", "1,200", "", "no"]
    assert text.startswith("::::{table} Effects, $\\tau^2$\n:name: tab-x\n") and text.endswith("\n::::")
    assert "| :-- | --: | --: | --: | :-- |" in text


@pytest.mark.parametrize(
    ("column", "mark"),
    [
        (["0.95 (0.01)", "−1.20 (0.13)", ""], "--:"),
        (["−3.2 to 4.5", "1.0 to 2.0", "–"], "--:"),
        (["95.1% (0.2%), 0.83", "not settled: 94% to 96%", ""], ":--"),
        (["0531", "1200", "0417"], ":--"),  # codes
        (["", "", ""], ":--"),
    ],
)
def test_numbers_that_are_text_stand_flush_right_and_codes_do_not(column, mark):
    (output,) = shown(nb.table, pd.DataFrame({"School": ["a", "b", "c"], "x": column}), "c", "t", index=False)
    assert f"| :-- | {mark} |" in output.data["text/markdown"]


def test_the_index_is_a_column_unless_told_otherwise():
    frame = pd.DataFrame({"n": [3, 4]}, index=pd.Index(["a_b", "c"], name="School"))
    (output,) = shown(nb.table, frame, "c", "t")
    assert markdown_cells(output.data["text/markdown"]) == [["School", "n"], ["a_b", "3"], ["c", "4"]]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1))
def test_any_name_survives_markdown(name):
    seen = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(nb.escape(name))
    text = html.unescape(re.sub(r"^<p>|</p>\n?$", "", seen)) if seen else ""
    assert text.split() == readable(name).split()


def test_a_figure_is_shown_and_glued_as_pixels_and_as_vectors():
    """Shown: a downloaded notebook has its figures; the pages hide the cell by its tag."""
    from valib.pages.figures import shifts

    fig = shifts(pd.DataFrame({"cohort": [2030, 2031], "shift": [1.0, 2.0], "lower": [0.0, 1.0], "upper": [2.0, 3.0]}))
    assert isinstance(fig, Figure)
    (output,) = shown(nb.figure, "fig", fig)
    assert output.metadata["scrapbook"] == {"name": "fig", "mime_prefix": ""}
    png, pdf = (output.data[kind] for kind in ("image/png", "application/pdf"))
    as_bytes = [base64.b64decode(d) if isinstance(d, str) else d for d in (png, pdf)]
    assert as_bytes[0].startswith(b"\x89PNG") and as_bytes[1].startswith(b"%PDF")


def test_a_sentence_that_does_not_hold_is_not_said():
    assert shown(nb.say, "It fell.", when=False) == []
    (output,) = shown(nb.say, "It **fell**.")
    assert output.data["text/markdown"] == "It **fell**."


def test_setup_reads_the_records_from_the_folder_that_the_engine_names(records, tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    (tmp_path / "here").mkdir()
    records.to_csv(tmp_path / "far" / "my.csv", index=False)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(nb.DATA_FOLDER, str(tmp_path / "far"))
    with warnings.catch_warnings():
        study = nb.setup("x", data="my.csv", baseline_cohorts=[2031, 2030], focal_cohorts=[2033])
    assert (study.baseline, study.focal, study.is_demo) == ([2030, 2031], [2033], False)
    assert len(study.records) == len(records) and study.records.attrs["source"] == "my.csv"
    usable, left_out = study.formulas()
    assert usable == ["score ~ prior_score", "score ~ prior_score + school_mean(prior_score)"]
    assert left_out == ["score ~ prior_score + female + ses + school_mean(prior_score)"]


def test_setup_refuses_cohorts_that_are_not_there_and_parameters_that_cannot_be():
    with warnings.catch_warnings():
        with pytest.raises(RecordsError, match="2044"):
            nb.setup("x", focal_cohorts=[2044])
        with pytest.raises(ParamsError, match="level"):
            nb.setup("x", level=95)


@pytest.mark.parametrize(("focal", "demo"), [([2024, 2023, 2021, 2019], True), ([2019, 2021], False)])
def test_only_the_demo_study_itself_is_the_demo(focal, demo):
    with warnings.catch_warnings():
        assert nb.setup("x", focal_cohorts=focal).is_demo is demo


def test_the_parameters_in_words():
    with warnings.catch_warnings():
        study = nb.setup("x", equating_se=1.5)
    (output,) = shown(nb.parameters, study, "data", "seed", "equating_se", "focal_cohorts", "formula", "school")
    rows = markdown_cells(output.data["text/markdown"])
    assert [row[1] for row in rows[1:]] == [
        "demo",
        "20150512",
        "1.5",
        "2019, 2021, 2023 and 2024",
        "<code>score ~ prior_score</code>",
        "by rule",
    ]


def test_errors_that_are_not_known_are_said_to_be():
    with warnings.catch_warnings():
        study = nb.setup("x", equating_se=None, cohort_sd=None)
    (output,) = shown(nb.parameters, study, "equating_se", "cohort_sd")
    assert [row[1] for row in markdown_cells(output.data["text/markdown"])[1:]] == ["not known", "not known"]


def test_declared_breaks_in_words():
    with warnings.catch_warnings():
        study = nb.setup(
            "x",
            scale_breaks=[
                {"cohort": 2023, "link": {"slope": 1.1}},
                {"cohort": 2024, "column": "prior_score", "link": {"intercept_se": 2.0}},
            ],
        )
        plain = nb.setup("x")
    assert nb.parameter_text(plain.params.scale_breaks) == "none"
    text = nb.parameter_text(study.params.scale_breaks).replace("\\", "")
    assert text == "score from cohort 2023, linked; prior_score from cohort 2024, linked"


def test_warnings_are_shown_once_and_escaped():
    with warnings.catch_warnings():
        nb.setup("x")
        warnings.warn("Of an earlier chapter.", ValibWarning, stacklevel=1)
        nb.setup("y")
        for text in ("Cohort 2 is small*.", "Cohort 2 is small*.", "Another."):
            warnings.warn(text, ValibWarning, stacklevel=1)
        (output,) = shown(nb.show_warnings)
    assert output.data["text/markdown"] == ":::{warning}\n- Cohort 2 is small\\*\\.\n- Another\\.\n:::"


def test_results_are_written_where_the_engine_says_and_never_with_students(tmp_path, monkeypatch, records):
    monkeypatch.setenv(nb.RESULTS_FOLDER, str(tmp_path / "results"))
    nb.save(pd.DataFrame({"school": ["00417"], "effect": [0.1 + 0.2]}), "effects.csv")
    nb.save(va.fit_baseline(records, [2030, 2031]), "baseline.json")
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["baseline.json", "effects.csv"]
    assert (tmp_path / "results" / "effects.csv").read_text() == "school,effect\n00417,0.3\n"
    assert json.loads((tmp_path / "results" / "baseline.json").read_text())["cohorts"] == [2030, 2031]
    with pytest.raises(ValibError, match="students.csv has a column student"):
        nb.save(records[["student", "score"]], "students.csv")
    with pytest.raises(ValibError, match="student"):
        nb.save(records.set_index("student")[["score"]], "students.csv")
    assert not (tmp_path / "results" / "students.csv").exists()


def test_the_table_of_schools_holds_every_school_large_enough_and_no_other(records):
    name = "<b>St. Mary's</b> & Co"
    records["school"] = records["school"].replace({"S0000": name})
    relative = va.fit_relative(records, 2033)
    benchmark = va.fit_benchmark(records, 2033, va.fit_baseline(records, [2030, 2031]))
    least = int(relative.school_effects["n"].median())
    (output,) = shown(nb.schools, [relative], [benchmark], least)
    page = output.data["text/html"]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", page, re.DOTALL)]
    expected = relative.school_effects.query("n >= @least")
    assert 0 < len(expected) < 12
    assert [html.unescape(row[0]) for row in rows] == list(expected.index)
    assert "<b>" not in page
    last, school = rows[-1], expected.index[-1]
    va_row = benchmark.school_effects.loc[school]
    numbers = [expected.loc[school, "effect"], va_row["effect"], va_row["lower"], va_row["upper"]]
    assert last[1:] == ["2033", str(expected.loc[school, "n"]), *(nb.as_text(float(x)) for x in numbers)]
    assert f"{len(expected)} rows" in output.data["text/markdown"]


def test_a_declared_break_carries_the_records_to_one_scale_and_keeps_the_error():
    link = {"slope": 1.1, "intercept": -20.0, "slope_se": 0.01, "intercept_se": 2.0}
    with warnings.catch_warnings():
        study, plain = nb.setup("x", scale_breaks=[{"cohort": 2023, "link": link}]), nb.setup("x")
    for cohort, slope, intercept in ((2021, 1.0, 0.0), (2024, 1.1, -20.0)):
        was, now = (s.records.loc[s.records["cohort"] == cohort, "score"] for s in (plain, study))
        np.testing.assert_allclose(now, intercept + slope * was, rtol=1e-12)
    benchmark = va.fit_baseline(plain.records, plain.baseline)
    direct = va.fit_benchmark(plain.records, 2024, benchmark, scale_breaks=study.params.scale_breaks)
    carried = va.fit_benchmark(study.records, 2024, benchmark, scale_breaks=study.scale_breaks)
    np.testing.assert_allclose([carried.shift, carried.shift_se], [direct.shift, direct.shift_se], rtol=1e-7)
    assert carried.shift_se > 2 * va.fit_benchmark(study.records, 2024, benchmark).shift_se


def test_a_declared_break_without_a_link_is_refused():
    with pytest.raises(va.BenchmarkError, match="changes with cohort 2023"):
        nb.setup("x", scale_breaks=[{"cohort": 2023}])


def test_a_chapter_says_whether_errors_of_measurement_are_taken_off(monkeypatch):
    """It declares reliability, and its models take them off; or it does not, and the study's stands in the notebook."""
    known = {"reliability": {"prior_score": 0.9}}
    with warnings.catch_warnings():
        off = shown(nb.setup, "x", **known)
        monkeypatch.setattr(nb, "_in_notebook", lambda: known)
        left, plain = shown(nb.setup, "x"), shown(nb.setup, "x", reliability={})
    assert "taken off `prior_score`" in off[0].data["text/markdown"]
    assert "This chapter does not" in left[0].data["text/markdown"] and plain == []
    assert nb.parameter_text(known["reliability"]).replace("\\", "") == "prior_score: 0.9"
