"""The numbers of the chapters, beside values computed another way, on records of other years and other names."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, simulate

import valib as va
from valib.pages.chapters import benchmark, records, relative, shift, shift_schools, stability
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
    assert relative.pairs(fit, None, None, 0.95, 1).values["z_pair"] == "not available"


def test_the_shift_and_its_parts(fits, typical):
    parts = va.shift_parts(fits, typical)
    table = shift.parts(fits, parts).tables["tab-05-parts"]
    np.testing.assert_allclose(table["Shift"], [f.shift for f in fits], rtol=1e-12)
    np.testing.assert_allclose(table["SE"], [f.shift_se for f in fits], rtol=1e-12)
    values = shift.last_shift(fits, parts, BASELINE, 0.95).values
    assert values["last_direction"] == "below" and values["last_verdict"] == "excludes"


def test_one_focal_cohort_has_no_difference(fits, typical):
    found = shift.differences(fits[:1], va.shift_difference(fits, typical))
    assert found.tables == {} and "one focal cohort" in found.sentences[0]
    both = shift.differences(fits, va.shift_difference(fits, typical))
    step = both.tables["tab-05-differences"]["Difference"].iloc[-1]
    assert step == pytest.approx(fits[1].shift - fits[0].shift, rel=1e-9) and "fell" in both.sentences[0]


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


@pytest.mark.long
@pytest.mark.parametrize("path", sorted((ROOT / "chapters").glob("0*.ipynb")), ids=lambda p: p.stem)
def test_visible_cells_run_as_they_are_read(path, tmp_path, monkeypatch):
    monkeypatch.setenv("VALIB_RESULTS", str(tmp_path))
    names: dict = {}
    for text, tags in cells(path.stem):
        if not HIDDEN & tags:
            exec(compile(text, path.name, "exec"), names)  # noqa: S102
        if "parameters" in tags:
            names |= {"bootstrap_replicates": "5", "simulation_replicates": "20", "focal_cohorts": "[2021, 2024]"}
    assert names["study"].focal == [2021, 2024]


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
