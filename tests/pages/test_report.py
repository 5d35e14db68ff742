"""Reports about single schools: what is computed, chosen, named and shown, and what survives a failure."""

from __future__ import annotations

import dataclasses
import re
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

import valib as va
from valib.errors import ValibError
from valib.pages import report
from valib.pages.figures import school_intake, school_place, school_va
from valib.pages.report import words
from valib.pages.report.assemble import changes_table, choose, table
from valib.pages.report.content import content, spans
from valib.pages.report.listing import in_order, row, slugs
from valib.pages.report.render import as_html, as_pdf, write_index
from valib.pages.report.results import ABSENT, HELD_BACK, SHOWN, StudyResults, compute
from valib.records.disclosure import shown
from valib.study.params import Params

PANEL = ROOT / "tests" / "reference" / "data" / "panel_sim.csv"
STUDY = {"baseline_cohorts": [2015, 2016], "focal_cohorts": [2019, 2024], "min_students": 5}
HOSTILE = [
    "<script>alert(1)</script>",
    "../../etc/passwd",
    r"\input{/etc/passwd} $x_1$",
    "{glue:text}`level`",
    "*#|_`~",
    "=1+1",
    "Caf\N{LATIN SMALL LETTER E WITH ACUTE} 100%",
    "{{ jinja }}",
    "a" * 300,
    "s001",
    "S001",
    "con",
    "-",
]


def panel(schools: int = 12) -> pd.DataFrame:
    """The first schools of the simulated panel, as a file of student records would have them."""
    rows = pd.read_csv(PANEL, dtype={"school_id": "str", "student_id": "str"})
    return rows[rows["school_id"].isin(sorted(rows["school_id"].unique())[:schools])]


def params_for(tmp_path: Path, rows: pd.DataFrame, **settings) -> Params:
    file = tmp_path / "records.csv"
    rows.to_csv(file, index=False)
    return Params(data=str(file), **(STUDY | settings))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twelve schools, one too small in a cohort and one too small in all; S001 misses none."""
    rows = panel()
    few = [("S002", [2016]), ("S003", [2015, 2016, 2019, 2024])]
    for school, cohorts in few:
        for cohort in cohorts:
            mine = rows.index[(rows["school_id"] == school) & (rows["year"] == cohort)]
            rows = rows.drop(mine[3:])
    params = params_for(tmp_path_factory.mktemp("small"), rows)
    return params, compute(params, params.read_records())


def a_school(results: StudyResults, whole: bool = True) -> str:
    """A school that is shown in all cohorts, or in some but not in all."""
    share = (results.cells["state"] == SHOWN).groupby(results.cells["school"]).mean()
    return share.index[share == 1 if whole else (share > 0) & (share < 1)][0]


# What is computed


def test_the_results_are_those_of_the_fits(study):
    params, results = study
    records = params.read_records()
    benchmark = va.fit_baseline(records, [2015, 2016], params.formula)
    for cohort in (2015, 2016, 2019, 2024):
        own = va.fit_relative(records, cohort, params.formula)
        ranks = own.ranks(seed=params.seed, min_students=params.min_students)
        cells = results.cells[(results.cells["cohort"] == cohort) & (results.cells["state"] == SHOWN)]
        cells = cells.set_index("school")
        assert len(cells) > 5
        want = own.school_effects.loc[cells.index]
        np.testing.assert_array_equal(
            cells[["relative", "relative_lower", "relative_upper", "n"]], want[["effect", "lower", "upper", "n"]]
        )
        np.testing.assert_array_equal(
            cells[["expected_rank", "rank_lower", "p_top"]],
            ranks.loc[cells.index, ["expected_rank", "rank_lower", "p_top_quintile"]],
        )
        if cohort < 2019:
            assert cells["benchmark"].isna().all()
            continue
        against = va.fit_benchmark(records, cohort, benchmark)
        np.testing.assert_array_equal(
            cells[["benchmark", "benchmark_upper"]], against.school_effects.loc[cells.index, ["effect", "upper"]]
        )
        ranks = against.ranks(seed=params.seed, min_students=params.min_students)
        np.testing.assert_array_equal(
            cells[["benchmark_rank", "benchmark_rank_upper"]], ranks.loc[cells.index, ["expected_rank", "rank_upper"]]
        )
        above = [statistics.NormalDist(0, benchmark.tau2**0.5).cdf(v) for v in cells["benchmark_lower"]]
        np.testing.assert_allclose(cells["above_lower"], above, rtol=1e-8)  # of tails, by two libraries
        assert results.cohorts.at[cohort, "shift"] == against.shift
        told = va.shift_verdicts(va.shift_in_context([against], benchmark)).loc[cohort]
        assert results.cohorts.loc[cohort, ["shift_lower", "shift_upper", "shift_by"]].tolist() == [
            *told[["lower", "upper", "interval"]]
        ]


def test_cells_that_may_not_be_shown_hold_nothing(study):
    params, results = study
    records = params.read_records()
    states = {}
    for cohort, cells in results.cells.groupby("cohort"):
        sizes = records[records["cohort"] == cohort].groupby("school").size()
        may = pd.Series(shown(sizes, 5, sizes.index), sizes.index).reindex(cells["school"]).fillna(False)
        np.testing.assert_array_equal(cells["state"] == SHOWN, may)
        states[cohort] = cells["state"].value_counts().to_dict()
    hidden = results.cells[results.cells["state"] != SHOWN]
    assert hidden.drop(columns=["school", "cohort", "state", "low_coverage"], errors="ignore").isna().all(axis=None)
    assert states[2016][HELD_BACK] >= 3 and results.cells["state"].eq(ABSENT).any()
    held = set(hidden["school"] + hidden["cohort"].astype(str))
    assert not held & set(results.changes["school"] + results.changes["first"].astype(str))


def test_what_valib_warns_of_stands_on_the_page(study):
    params, _ = study
    records = params.read_records()
    late = records["cohort"] == 2024
    moved = records.assign(prior_score=records["prior_score"] + 80.0 * late)
    with pytest.warns(va.errors.ValibWarning, match="a shift may come from the prior test"):
        results = compute(params, moved)
    page = report.school_page(results, a_school(results))
    assert words.PRIOR_MOVED in page.in_short()[1]
    assert any("a shift may come from the prior test" in text for text in page.warnings())
    others = report.school_page(study[1], a_school(study[1])).warnings()
    assert len(others) == 2 and all("schools" in text and "fewer than 20" in text for text in others)


def test_the_page_says_on_which_scale_its_figures_are(study, tmp_path):
    link = {"slope": 1.1, "intercept": -20.0, "slope_se": 0.01, "intercept_se": 2.0}
    params = params_for(tmp_path, panel(), equating_se=2.5, scale_breaks=[{"cohort": 2019, "link": link}])
    results = compute(params, params.read_records())
    told = report.school_page(results, a_school(results)).settings()
    assert "equating: 2.5. Carried back over a link, whose error the intervals hold: score from 2019 on." in told
    records = params.read_records()
    benchmark = va.fit_benchmark(
        records,
        2024,
        va.fit_baseline(records, [2015, 2016], params.formula),
        equating_se=2.5,
        scale_breaks=params.scale_breaks,
    )
    cells = results.cells[(results.cells["cohort"] == 2024) & (results.cells["state"] == SHOWN)].set_index("school")
    np.testing.assert_allclose(cells["benchmark_se"], benchmark.school_effects.loc[cells.index, "se"], rtol=1e-8)
    plain = report.school_page(study[1], a_school(study[1])).settings()
    assert "equating: not known, so the intervals take the tests of all years to be on one scale. Smallest" in plain
    assert plain.endswith("The intervals count that the variances are not known.")


def test_one_focal_cohort_and_one_school_cohort(tmp_path):
    rows = panel()
    rows = rows[(rows["school_id"] != "S004") | (rows["year"] == 2016)]
    params = params_for(tmp_path, rows, baseline_cohorts=[2015, 2016], focal_cohorts=[2024])
    page = report.school_page(compute(params, params.read_records()), "S004")
    assert page.last == 2016 and page.change() == [words.ONE_YEAR] and page.about_change() == ""
    assert page.in_short()[1] == words.NO_FOCAL_YEAR and len(page.in_short()) == 4
    assert page.value_added_table()["Students"].tolist() == [
        "no students",
        page.intake_table()["Students"][0],
        "no students",
    ]
    assert "hold no student of this school in 2015 and 2024" in page.over_the_years()


def test_a_school_that_is_new_since_the_baseline_is_compared_with_it(tmp_path):
    rows = panel()
    params = params_for(tmp_path, rows[(rows["school_id"] != "S004") | (rows["year"] > 2016)])
    page = report.school_page(compute(params, params.read_records()), "S004")
    assert "what was typical in 2015 and 2016" in page.in_short()[1] and "score points" in page.in_short()[1]
    assert page.over_the_years().endswith(words.NO_BASELINE_YEAR)
    other = report.school_page(compute(params, params.read_records()), "S001")
    assert words.NO_BASELINE_YEAR not in other.over_the_years()


def test_a_flat_cohort_says_nothing_of_single_schools(tmp_path):
    rows = panel(30).assign(score=lambda f: f["prior_score"] + np.random.default_rng(1).normal(0, 10, len(f)))
    params = params_for(tmp_path, rows)
    results = compute(params, params.read_records())
    flat = results.cohorts.index[results.cohorts["singular"].astype(bool)]
    assert 2024 in flat
    page = report.school_page(results, results.cells.query("cohort == 2024 and state == 'shown'")["school"].iloc[0])
    assert "nothing can be said about a single school" in page.in_short()[0]
    assert not [year for year in page.place_table()["Year"] if int(year.rstrip("*")) in flat]
    table, minus = page.value_added_table(), "\N{EN DASH}"
    at_2024 = table[table["Year"] == "2024"].iloc[0].tolist()
    assert at_2024[2:4] == [minus, minus], "no interval of width zero"
    assert "by the comparison with the year there is no figure of a single school" in page.over_the_years()
    cells = results.cells[results.cells["cohort"].isin(flat) & (results.cells["state"] == SHOWN)]
    assert cells[["relative", "relative_se", "relative_lower", "expected_rank", "p_top"]].isna().all(axis=None)
    assert cells["reliability"].eq(0).all()
    assert school_place(page.cells).count("no figure") >= len(flat)


# Which schools, under which names


def test_schools_are_chosen_by_their_code(study):
    results = study[1]
    may, held_back = results.schools_shown(), set(results.schools()) - set(results.schools_shown())
    assert list(choose(results, None, 5)) == may
    assert list(choose(results, [may[3], may[0], may[3]], 5)) == [may[3], may[0]]
    assert "S003" in held_back
    with pytest.raises(ValibError, match="School 'S003' has no page: .* fewer than 5 students"):
        choose(results, [a_school(results), "S003"], 5)


@pytest.mark.parametrize(("given", "near"), [("S01", "S01"), ("s011", "S01"), ("S0055", "S005"), ("zzz", None)])
def test_an_unknown_school_is_told_with_those_like_it(study, given, near):
    with pytest.raises(ValibError, match=f"School '{given}' is in none of the study's cohorts") as error:
        choose(study[1], [given], 5)
    assert f"Near it: {near}" in str(error.value) if near else "Near it" not in str(error.value)


def test_a_study_without_a_school_to_show_is_refused(study):
    params, _ = study
    results = compute(params.model_copy(update={"min_students": 500}), params.read_records())
    with pytest.raises(ValibError, match="No school of the study may be shown with min_students 500"):
        choose(results, None, 500)


def test_file_names_are_safe_and_distinct():
    names = slugs(HOSTILE)
    assert len(HOSTILE) == 13 and len(set(names.values())) == 13
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and len(name) <= 53 for name in names.values())
    assert "con" not in names.values() and "s001" not in names.values()
    assert slugs(["0563", "School-7"]) == {"0563": "0563", "School-7": "school-7"}


def test_a_code_that_looks_like_another_ones_file_name_gets_a_name_of_its_own():
    taken = slugs(["a b"])["a b"]
    names = slugs(["a b", taken, taken.upper()])
    assert len(set(names.values())) == 3


# What a page shows


def test_the_table_has_a_row_a_school_and_cohort(study):
    results = study[1]
    files = choose(results, None, 5)
    rows = table(results, files)
    assert len(rows) == 4 * len(files) and rows["file"].notna().all()
    assert set(rows.loc[rows["state"] != SHOWN, "n"].dropna()) == set()
    assert rows.groupby("cohort")["role"].first().tolist() == ["baseline", "baseline", "focal", "focal"]


def test_the_table_of_changes_has_those_of_the_schools_with_a_page(study):
    results = study[1]
    school = a_school(results)
    rows = changes_table(results, {school: "its-file"})
    assert set(rows["school"]) == {school} and set(rows["file"]) == {"its-file"}
    assert len(rows) == (results.changes["school"] == school).sum() > 0
    page = report.school_page(results, school)
    last = rows[rows["second"] == page.last].iloc[-1]
    assert words.points(words.Estimate(last["change"], last["lower"], last["upper"]), page.digits) in page.change()[-1]


def test_figures_take_years_without_a_figure(study):
    page = report.school_page(study[1], a_school(study[1], whole=False))
    missing = len(page.cells) - len(page.shown)
    assert missing
    focal = page.cells[page.cells["role"] == "focal"]
    figure = school_va(page.cells)
    told = [page.estimate(c, "relative").side for c in page.shown.index]
    told += [page.estimate(c, "benchmark").side for c in focal.index[focal["state"] == SHOWN]]
    for side in ("above", "below", "unclear"):
        assert figure.count(f'class="{side}"') == told.count(side)
    assert figure.count('class="interval"') == len(told)
    assert figure.count("no figure") == missing + (focal["state"] != SHOWN).sum()
    assert figure.count('class="shift"') == (focal["state"] == SHOWN).sum()
    place, intake = school_place(page.cells), school_intake(page.cells)
    assert place.count("no figure") == missing and place.count('class="interval"') == len(page.shown)
    assert intake.count('class="unclear"') == 2 * len(page.shown) and "nan" not in figure + place + intake


def test_a_figure_puts_values_where_its_axis_says(study):
    page = report.school_page(study[1], a_school(study[1]))
    figure = school_va(page.cells)
    ticks = re.findall(r'<text x="53.0" y="([\d.]+)" [^>]*>([^<]+)<', figure)
    at, value = (np.array([float(t[k].replace("\N{MINUS SIGN}", "-")) for t in ticks]) for k in (0, 1))
    slope, start = np.polyfit(at - 3.5, value, 1)
    ends = re.findall(r'class="interval" d="M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)"', figure)
    drawn = start + slope * np.array(ends, dtype=float)[: len(page.cells)]
    step = abs(slope) * 0.1  # a tenth of a unit of the figure, to which coordinates are rounded
    np.testing.assert_allclose(drawn, page.cells[["relative_lower", "relative_upper"]], atol=step)
    decimals = [number for text in re.findall(r' d="([^"]+)"', figure) for number in re.findall(r"\.\d+", text)]
    assert decimals and all(len(number) == 2 for number in decimals), "no figure holds a value in full precision"


def test_figures_refuse_tables_that_lack_columns():
    for draw in (school_va, school_place, school_intake):
        with pytest.raises(ValibError, match="needs the column"):
            draw(pd.DataFrame({"cohort": [2015]}))


def test_the_words_of_a_page_have_no_numbers_of_their_own():
    from valib.pages.report import content as module

    texts = [t for t in vars(module).values() if isinstance(t, str)] + [*module.CANNOT, *module.TABLES.values()]
    own = " ".join(text for text in texts if text != module.__file__)
    assert not re.search(r"\b(19|20)\d\d\b|\d\.\d|\d%", own) and "**Who.**" in own


def test_marks_become_spans_and_escaped_ones_do_not():
    assert spans(r"a **b** *c* `d ~ e` \*f\* <g>") == [
        ("text", "a "),
        ("strong", "b"),
        ("text", " "),
        ("em", "c"),
        ("text", " "),
        ("code", "d ~ e"),
        ("text", " *f* <g>"),
    ]
    assert spans("") == [] and spans("2 * 3") == [("text", "2 * 3")]


def test_the_list_of_schools_is_in_the_order_of_their_letters(study, tmp_path):
    results = study[1]
    named = dict(zip(results.schools_shown(), ["Zug", "Öhringen", "Ulm", "Ärztehausen", "aachen"], strict=False))
    cells = results.cells.assign(school=results.cells["school"].replace(named))
    renamed = dataclasses.replace(results, cells=cells)
    files = {f"f{k}": name for k, name in enumerate(named.values())}
    rows = in_order([row(report.school_page(renamed, name), file) for file, name in files.items()], files)
    write_index(renamed, rows, tmp_path, True, ROOT / "chapters" / "_static" / "schools.js")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'schools/f\d.html">([^<]+)<', text) == ["aachen", "Ärztehausen", "Öhringen", "Ulm", "Zug"]
    assert re.findall(r"pdf/(f\d)\.pdf", text) == ["f4", "f3", "f1", "f2", "f0"]
    sides = {"above": "above", "below": "below", "unclear": "not told apart"}
    for one in rows:
        page = report.school_page(renamed, files[one["file"]])
        assert one["side"] == sides[page.estimate(page.last, "relative").side]


def test_a_name_without_a_break_fits_the_title():
    shown_name = report.page.shown_name
    assert len(shown_name("a" * 300)) == 40 and shown_name("Primary School of Here") == "Primary School of Here"
    assert len(shown_name("Saint Mary " * 30)) <= 100 and shown_name("\N{ZERO WIDTH SPACE}")


@pytest.mark.parametrize("school", HOSTILE)
def test_a_name_is_text_on_every_form_of_the_page(study, school):
    results = study[1]
    one = a_school(results)
    cells = results.cells[results.cells["school"] == one].assign(school=school)
    parts = content(report.school_page(dataclasses.replace(results, cells=cells), school))
    page = BeautifulSoup(as_html(parts), "html.parser")
    title = f"Value added: {report.page.shown_name(school)}"
    assert page.title.get_text() == page.h1.get_text() == title
    assert page.html["lang"] == "en-GB" and not page.find("script")
    assert all(figure.find(role="img")["aria-label"] for figure in page.find_all("figure"))
    assert all(table.caption and table.thead.find("th", scope="col") for table in page.find_all("table"))
    assert [h.name for h in page.find_all(["h1", "h2", "h3"])] == ["h1", *["h2"] * 7]
    made = as_pdf(parts)
    assert made == as_pdf(parts), "byte for byte"
    assert b"/MarkInfo" in made and b"/Lang" in made and b"pdfuaid" in made
