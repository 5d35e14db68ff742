"""The numbers of the chapters, beside values computed another way, on records of other years and other names."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, simulate
from scipy import stats

import valib as va
from valib.effects.verdict import verdict
from valib.pages.chapters import (
    benchmark,
    benchmark_choices,
    records,
    relative,
    shift,
    shift_context,
    shift_schools,
    stability,
)
from valib.pages.findings import Findings, check
from valib.pages.notebook import keep, show
from valib.pages.prose import as_text

BASELINE, FOCAL = [2031], [2034, 2035]
HIDDEN = {"remove-cell", "remove-input"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    raw = simulate(np.random.default_rng(5), schools=20, size=(4, 30), cohorts=(2031, 2034, 2035), shift={2035: -20.0})
    return va.read_records(raw.assign(school="Ward " + raw["school"]))


@pytest.fixture(scope="module")
def typical(rows):
    return va.fit_baseline(rows, BASELINE)


@pytest.fixture(scope="module")
def fits(rows, typical):
    return [va.fit_benchmark(rows, t, typical) for t in FOCAL]


def test_sizes_of_cells_are_counted(rows):
    found = records.sizes(rows, va.summarise(rows), 10)
    counts = sorted(rows.value_counts(["cohort", "school"]), reverse=True)
    assert found.values["cells"] == str(len(counts))
    assert found.values["cells_small"] == str(sum(n < 10 for n in counts))
    assert found.values["median_cell"] == f"{np.median(counts):.0f}"
    assert found.values["top_tenth"] == f"{sum(counts[: len(counts) // 10]) / sum(counts):.0%}"


def test_years_without_a_cohort_are_told(rows):
    found = records.gaps(va.summarise(rows), BASELINE, FOCAL[:1], False)
    assert found.values["missing"] == "2032 and 2033" and found.values["idle"] == "2035"
    assert len(found.sentences) == 2
    assert records.gaps(va.summarise(rows), BASELINE, FOCAL, False).values["idle"] == "none"


def test_rows_are_used_or_left_out():
    lost = pd.DataFrame({"cohort": [2031], "reason": ["no score"], "rows": [3]})
    assert records.rows(lost, 103, 100).values["share_lost"] == "2.9%"
    with pytest.raises(AssertionError, match="every row is used"):
        records.rows(lost, 104, 100)


def test_the_last_cohort_in_numbers(rows):
    fit = va.fit_relative(rows, 2035)
    values = relative.last_cohort(fit, 1).values
    effects = fit.school_effects
    assert values["below"] == str(sum(effects["upper"] < 0)) and values["above"] == str(sum(effects["lower"] > 0))
    assert int(values["below"]) + int(values["above"]) + int(values["across"]) == fit.n_schools
    assert values["vpc"] == f"{fit.tau2 / (fit.tau2 + fit.sigma2):.1%}"
    assert values["lowest"] == as_text(float(effects["effect"].min()), ".1f")


def test_zero_variance_between_schools_is_said():
    raw = simulate(np.random.default_rng(0), schools=8, size=(5, 9), cohorts=(2031,), tau=0.0)
    flat = raw.assign(score=raw["score"] - raw.groupby("school")["score"].transform("mean") + 100)
    fit = va.fit_relative(va.read_records(flat), 2031, "score ~ 1")
    assert fit.singular
    (sentence,) = relative.variances([fit]).sentences
    assert "In cohort 2031 the school variance is estimated as exactly zero" in sentence
    assert "how far a school may still lie" in sentence
    known = va.fit_relative(va.read_records(flat), 2031, "score ~ 1", intervals="plugin")
    assert "take the variance of zero as known" in relative.variances([known]).sentences[0]
    assert relative.pairs(fit, None, None, 0.95, 1).values["z_pair"] == "not available"


def test_the_shift_and_its_parts(fits, typical):
    parts, context = va.shift_parts(fits, typical), va.shift_in_context(fits, typical)
    table = shift_context.parts(fits, parts).tables["tab-06-parts"]
    np.testing.assert_allclose(table["Shift"], [f.shift for f in fits], rtol=1e-12)
    np.testing.assert_allclose(table["SE"], [f.shift_se for f in fits], rtol=1e-12)
    np.testing.assert_allclose(table["SE, students only"], [f.shift_se_students for f in fits], rtol=1e-12)
    assert table["of the scale"].isna().all(), "an equating error that is not known is no zero"
    values = shift_context.last_shift(fits, parts, context).values
    assert values["last_verdict"] == "below zero, by the interval over schools"
    wrong = parts.assign(se_cautious=parts["se"])
    with pytest.raises(AssertionError, match="squares of the parts"):
        shift_context.parts(fits, wrong)


def test_one_baseline_cohort_tells_nothing_of_ordinary_years(fits, typical):
    context = va.shift_in_context(fits, typical)
    found = shift_context.ordinary(fits, context)
    assert found.tables == {} and "say nothing about how ordinary years differ" in found.sentences[0]
    assert set(shift_context.context(fits, context).tables["tab-06-context"]["Widest known interval"]) == {"schools"}


def test_one_focal_cohort_has_no_difference(fits, typical):
    context = va.shift_in_context(fits, typical)
    found = shift_context.differences(fits[:1], va.shift_difference(fits, typical), context)
    assert found.tables == {} and "one focal cohort" in found.sentences[0]
    both = shift_context.differences(fits, va.shift_difference(fits, typical), context)
    table = both.tables["tab-06-differences"]
    step = table["Difference"].iloc[-1]
    assert step == pytest.approx(fits[1].shift - fits[0].shift, rel=1e-9)
    assert "that of schools" in both.sentences[0] and both.sentences[0].endswith("the difference is below zero.")
    assert not any("ordinary" in column for column in table.columns)


@pytest.fixture(scope="module")
def wide() -> tuple:
    """Three baseline cohorts that differ by whole points, a focal one near them, and one far off."""
    moved = {2031: -6.0, 2033: 6.0, 2034: 9.0, 2035: -60.0}
    raw = simulate(np.random.default_rng(6), schools=40, size=(20, 40), cohorts=range(2031, 2036), shift=moved, rho=0.9)
    rows = va.read_records(raw)
    typical = va.fit_baseline(rows, [2031, 2032, 2033])
    fits = [va.fit_benchmark(rows, t, typical) for t in (2034, 2035)]
    return rows, typical, fits, va.shift_in_context(fits, typical)


def test_a_verdict_is_by_the_widest_known_interval(wide):
    _, typical, fits, context = wide
    assert fits[0].shift_interval[0] > 0, "clear by the interval over schools alone"
    table = shift_context.context(fits, context).tables["tab-06-context"]
    assert table["Verdict"].tolist() == ["not told apart", "below"]
    assert set(table["Widest known interval"]) == {"a further ordinary year"}
    own = [typical.own_shifts[c]["shift"] for c in typical.cohorts]
    half = stats.t.ppf(0.975, 2) * np.std(own, ddof=1) * (4 / 3) ** 0.5
    np.testing.assert_allclose(table["Lower"], [f.shift - half for f in fits])
    values = shift_context.last_shift(fits[:1], va.shift_parts(fits[:1], typical), context.drop(index=2035)).values
    assert values["last_verdict"] == "not told apart from zero, by the interval of a further ordinary year"
    assert values["last_lower"] == as_text(fits[0].shift_interval[0], "+.1f")
    found = shift_context.ordinary(fits, context)
    np.testing.assert_allclose(found.tables["tab-06-ordinary"]["Own shift"], own)
    assert found.values["wobble"] == as_text(np.std(own, ddof=1), ".2f~")


def test_a_difference_of_shifts_is_held_against_two_ordinary_years(wide):
    _, typical, fits, context = wide
    found = shift_context.differences(fits, va.shift_difference(fits, typical), context)
    (row,) = found.tables["tab-06-differences"].to_dict("records")
    half = stats.t.ppf(0.975, 2) * float(context["wobble_sd"].iloc[0]) * 2**0.5
    assert row["to"] - row["Difference"] == pytest.approx(half)
    assert "that of two ordinary years" in found.sentences[0]


def test_the_front_page_tells_every_shift_and_what_is_not_known(wide):
    rows, typical, fits, context = wide
    sd = fits[-1].student_sd
    what_if = {s: va.fit_benchmark(rows, 2035, typical, equating_se=s * sd) for s in (0.0, 0.02, 0.05)}
    values = {
        k: v.replace("\N{NO-BREAK SPACE}", " ") for k, v in benchmark.front_page(fits, context, what_if).values.items()
    }
    shifts = [as_text(f.shift, "+.1f") for f in fits]
    assert values["front_shift"] == f"2034: {shifts[0]}; 2035: {shifts[1]}"
    assert values["front_verdict"] == "2034: not told apart; 2035: below (each by that of a further ordinary year)"
    mixed = context.copy()
    mixed.loc[2035, ["year_lower", "year_upper"]] = np.nan
    two = benchmark.front_page(fits, mixed, what_if).values["front_verdict"]
    assert (
        two.replace("\N{NO-BREAK SPACE}", " ")
        == "2034: not told apart (by that of a further ordinary year); 2035: below (by that over schools)"
    )
    told = values["front_told"]
    assert told.startswith("By the widest interval that is known, ") and "this shift lies below zero; " in told
    assert told.endswith("of all focal cohorts, 2035 lies below the baseline and 2034 cannot be told apart from it.")
    assert values["front_without"] == "without equating error, which is not known"
    low, high = (as_text(v, "+.1f") for v in what_if[0.05].shift_interval)
    assert values["front_equating"].endswith(f"5% of the SD of students: {low} to {high}")
    assert values["front_equating"].startswith("2% of") and values["front_own"].count("(") == 3
    known = [va.fit_benchmark(rows, t, typical, equating_se=0.0) for t in (2034, 2035)]
    counted = benchmark.front_page(known, va.shift_in_context(known, typical), what_if).values
    assert counted["front_without"] == "equating error counted"


@pytest.mark.parametrize(
    ("limits", "end"),
    [
        ({2034: (-2.0, 1.0)}, "known, from \N{MINUS SIGN}2.0 to +1.0, this shift cannot be told apart from zero."),
        ({2034: (1.0, 2.0)}, "known, from +1.0 to +2.0, this shift lies above zero."),
        ({2034: (np.nan, np.nan)}, "No interval of this shift is known, so its direction cannot be told."),
        (
            {2033: (1.0, 2.0), 2034: (1.0, 2.0), 2035: (-2.0, -1.0)},
            "below zero; of all focal cohorts, 2033 and 2034 lie above the baseline and 2035 lies below it.",
        ),
        (
            {2033: (-1.0, 2.0), 2034: (-1.0, 2.0)},
            "from zero; of all focal cohorts, 2033 and 2034 cannot be told apart from the baseline.",
        ),
        ({2033: (np.nan, np.nan), 2034: (1.0, 2.0)}, "above zero; of all focal cohorts, 2034 lies above the baseline."),
    ],
)
def test_the_front_page_says_a_direction_only_where_an_interval_does(limits, end):
    """front_told on verdicts of one cohort and of several, of one kind and mixed, with an interval that is not known."""
    table = pd.DataFrame([asdict(verdict({"schools": pair})) for pair in limits.values()], index=list(limits))
    assert benchmark.front_told(table, "+.1f").endswith(end)


def test_equating_that_is_not_known_is_no_zero():
    unknown, none, some = (shift_context.scale(e).sentences for e in (None, 0.0, 1.5))
    assert len(unknown) == len(none) == len(some) == 1
    assert "without equating error" in unknown[0] and "assumption" in none[0] and "is the equating error" in some[0]


def test_whether_the_slopes_are_those_of_the_baseline(rows, typical):
    """One slope: its F is the squared t of the shift's slope, which the library computes apart."""
    free = va.fit_relative(rows, 2035, typical.state, influences=True)
    changes = free.fixed_effects - typical.coefficients
    one = va.shift_at(free, typical, np.array([0.0, 1.0])).iloc[0]
    schools = len(free.influence.index.union(typical.influence.index))
    found = benchmark_choices.same_coefficients(changes, [10.0, (one["shift"] / one["se"]) ** 2], schools, 7.0, 0.95)
    table = found.tables["tab-04-test"].set_index("Held equal")
    p = 2 * stats.t.sf(abs(one["shift"] / one["se"]), schools - 1)
    assert table.loc["all but the intercept", "p-value"] == (f"{p:.3f}" if p >= 0.001 else "below 0.001")
    assert table["p-value"].iloc[0] == f"{np.exp(-3.5):.3f}"  # chi-squared of 2 degrees of freedom
    assert ("do not differ" in found.sentences[0]) == (p > 0.05)
    again = benchmark_choices.same_coefficients(changes, [10.0, 400.0], schools, 7.0, 0.95)
    assert "by more than chance" in again.sentences[0] and "do not" not in again.sentences[0]


def test_a_benchmark_from_its_file_gives_the_cautious_error(wide, tmp_path):
    rows, typical, fits, _ = wide
    path = typical.save(tmp_path / "baseline.json")
    carried = va.fit_benchmark(rows, 2035, va.Benchmark.load(path))
    found = benchmark_choices.artefact(path, carried, fits[1])
    assert found.values["carried_se"] == as_text(carried.shift_se, ".2f~") and carried.shift_error == "cautious"
    assert set(found.tables["tab-04-artefact"]["Entry"]) == {f"`{k}`" for k in json.loads(path.read_text())}
    with pytest.raises(AssertionError, match="a tenth of their error"):
        benchmark_choices.artefact(path, carried, fits[0])


def test_the_bootstrap_is_a_check_of_the_error(wide):
    _, typical, fits, _ = wide
    parts = va.shift_parts(fits, typical)

    class Drawn:
        replicates = 200

    same = benchmark_choices.bootstrap_in_words(parts, Drawn, pd.DataFrame({"se": parts["se"] * 1.1})).sentences[0]
    other = benchmark_choices.bootstrap_in_words(parts, Drawn, pd.DataFrame({"se": parts["se"] * 1.2})).sentences[0]
    assert "the check finds nothing" in same and "In cohorts 2034 and 2035 it differs" in other


def test_plug_in_limits_are_shown_beside_the_integrated_ones():
    exam = va.load_records("exam")
    few = exam[exam["school"].isin(sorted(exam["school"].unique())[:10])]
    fits = {("ten", k): va.fit_relative(few, intervals=k) for k in ("plugin", "integrated")}
    (row,) = relative.two_intervals(fits).tables["tab-02-intervals"].to_dict("records")
    effects = fits["ten", "plugin"].school_effects
    assert row["Plug-in"] == pytest.approx(float(np.median(2 * stats.norm.ppf(0.975) * effects["se_comparative"])))
    assert row["Integrated"] > 1.1 * row["Plug-in"]


def test_without_a_prior_or_schools_nothing_is_claimed(fits, typical):
    assert shift.prior(fits, pd.DataFrame(), [], None).shown == []
    assert shift.prior_in_words(fits, typical, []).values == {"prior_answer": "not worked out for this formula"}
    assert "No school can be shown" in shift_schools.against(fits, {}, 5).sentences[0]


def test_verdicts_are_counted():
    sides = {-1: (-3.0, -1.0), 0: (-1.0, 1.0), 1: (1.0, 3.0)}
    frame = pd.DataFrame([sides[k] for k in (1, 1, 0, -1)], columns=["lower", "upper"], index=list("abcd"))
    fixed = pd.DataFrame([sides[k] for k in (1, -1, -1, -1)], columns=["lower", "upper"], index=list("abcd"))
    cross = shift_schools.cross_verdicts(frame, fixed)
    assert cross.loc[1, -1] == 1 and cross.loc[0, -1] == 1 and cross.to_numpy().sum() == 4
    assert shift_schools.verdicts(frame, fixed).values["change_answer"].endswith("for 2 of 4 schools")


def test_the_slope_that_is_followed(rows, typical):
    assert benchmark.slope_name(typical) == "prior_score"
    assert benchmark.slope_name(va.fit_baseline(rows, BASELINE, "score ~ center(prior_score)")) == "center(prior_score)"


def test_most_student_codes_in_several_cohorts_are_warned_of(rows):
    again = pd.concat([rows, rows[rows["cohort"] == 2034].assign(cohort=2035)], ignore_index=True)
    assert stability.same_students(rows, [2034, 2035]).sentences == []
    assert "warning" in stability.same_students(again, [2034, 2035]).sentences[0]


def test_findings_go_where_they_are_seen():
    found = Findings()
    found.figure("f", object())
    with pytest.raises(ValueError, match="Figures are kept"):
        show(found)
    said = Findings()
    said.say("x")
    said.say("y", when=False)
    assert said.sentences == ["x"]
    with pytest.raises(ValueError, match="shown, not kept"):
        keep(said)
    with pytest.raises(AssertionError, match="does not hold: never"):
        check(np.bool_(False), "never")


def cells(name: str) -> list[tuple[str, set[str]]]:
    notebook = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), set(cell["metadata"].get("tags", []))) for cell in code]


@pytest.mark.parametrize("path", sorted((ROOT / "chapters").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_hidden_cell_calls_and_does_not_compute(path):
    for text, tags in cells(path.stem):
        assert "nb.show(" not in text or "remove-input" in tags, text
        assert "nb.keep(" not in text or "remove-cell" in tags, text


def solutions(path: Path) -> list[str]:
    """The Python that stands in a chapter's solutions."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    prose = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    folded = [s for text in prose for s in re.findall(r"^````\{solution\}.*?^````$", text, re.MULTILINE | re.DOTALL)]
    return [code for text in folded for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.long
@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "chapters").glob("0*.ipynb")) + sorted((ROOT / "chapters").glob("1*.ipynb")),
    ids=lambda p: p.stem,
)
def test_visible_cells_and_solutions_run_as_they_are_read(path, tmp_path, monkeypatch):
    monkeypatch.setenv("VALIB_RESULTS", str(tmp_path))
    names: dict = {}
    for text, tags in cells(path.stem):
        if not HIDDEN & tags:
            exec(compile(text, path.name, "exec"), names)  # noqa: S102
        if "parameters" in tags:
            names |= {"bootstrap_replicates": "5", "simulation_replicates": "20", "focal_cohorts": "[2021, 2024]"}
            names |= {"quantile_draws": "60"}
    assert names["study"].focal == [2021, 2024]
    for text in solutions(path):
        exec(compile(text, path.name, "exec"), names)  # noqa: S102


@pytest.mark.long
@pytest.mark.parametrize("value", ["[2024]", "2024"])
def test_papermill_runs_a_chapter_with_new_years(value, tmp_path):
    import papermill
    from papermill.cli import _resolve_type

    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        ROOT / "chapters" / "schools.ipynb",
        out,
        {"focal_cohorts": _resolve_type(value)},
        cwd=tmp_path,
        progress_bar=False,
    )
    assert out.is_file()


def test_rows_and_linkage_that_a_study_chose_are_shown(rows):
    from valib.pages.chapters import appendices

    chosen = rows.copy()
    chosen.attrs = {
        "where": {"expression": "grade == 5", "rows": 100, "left_out": None},
        "prior": {
            "from": "1 year before",
            "by_cohort": [{"cohort": 2034, "linked": 90, "unlinked": 12, "ambiguous": 0}],
        },
    }
    found = appendices.chosen(chosen)
    assert found.tables["tab-build-where"]["Left out"].tolist() == ["not shown"]
    assert found.tables["tab-build-linkage"]["Linked"].tolist() == ["90"]
    assert not appendices.chosen(rows.assign()).tables or "prior" in rows.attrs or "where" in rows.attrs
