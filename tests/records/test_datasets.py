"""The bundled data are the ones described: counts, columns, checksums, and a demo panel that can be made again."""

import hashlib
import json
import os
import subprocess
import sys
import warnings

import pandas as pd
import pytest

from valib.errors import RecordsError
from valib.records import datasets
from valib.records.datasets import bundle_root
from valib.records.reading import left_out, summarise

DATA = bundle_root() / "data"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", datasets.names())
def test_files_are_as_described(name):
    described, table = datasets.describe(name), datasets.load(name)
    assert sha256(datasets.bundle_path(name)) == described.sha256
    assert len(table) == described.rows
    assert list(table.columns) == list(described.columns)
    assert (table.dtypes[list(described.codes)] == "str").all()
    if described.schools:
        school = described.canonical.get("school", "school")
        assert table[school].nunique() == described.schools


def test_readme_is_written_from_the_registry():
    assert (DATA / "README.md").read_text(encoding="utf-8") == datasets.readme()


def test_make_demo_writes_the_same_bytes_again(tmp_path):
    command = [sys.executable, DATA / "make_demo.py", tmp_path]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(DATA.parent)})
    for name in ("demo.csv", "demo_truth.csv", "README.md"):
        assert sha256(tmp_path / name) == sha256(DATA / name)


@pytest.mark.parametrize(
    ("name", "students", "schools", "score_mean", "prior_mean"),
    # means of the published outcome and prior columns, computed by awk from the files
    [("exam", 4059, 65, -0.00011380542, 0.0018103538), ("chem97", 31022, 2410, 5.8125846, 0.0)],
)
def test_one_cohort_records_come_without_a_warning(name, students, schools, score_mean, prior_mean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = datasets.load_records(name)
    row = summarise(records).loc[0]
    assert (row["students"], row["schools"]) == (students, schools)
    assert row["score_mean"] == pytest.approx(score_mean, rel=1e-5)
    assert row["prior_mean"] == pytest.approx(prior_mean, rel=1e-5, abs=1e-9)
    assert records.attrs["source"] == f"{name}.csv"


def test_demo_panel_is_what_the_book_says():
    records = datasets.load_records("demo")
    table = summarise(records)
    assert table.index.tolist() == [2015, 2016, 2017, 2018, 2019, 2021, 2023, 2024]
    assert 45_000 <= len(records) <= 60_000
    assert table["schools"].between(185, 199).all()
    assert (table["smallest_school"] <= 6).all() and (table["largest_school"] >= 120).all()
    assert table["score_mean"].between(480, 515).all() and table["score_sd"].between(70, 80).all()
    assert table["prior_mean"].between(415, 435).all() and table["prior_sd"].between(70, 80).all()
    assert table["prior_mean"].idxmin() == 2023 and table["prior_sd"].idxmax() == 2023
    assert records["school"].str.len().eq(4).all() and records["school"].str.startswith("0").any()
    assert records["student"].is_unique
    lost = left_out(records).groupby("reason")["rows"].sum() / records.attrs["rows_read"]
    assert lost["no prior score"] == pytest.approx(0.03, abs=0.004)
    assert lost["no score"] == pytest.approx(0.01, abs=0.002)


def test_demo_has_a_counterpart_of_school_a():
    """The question's School A by its own recipe: relative value added -13, benchmarked -27.4 in 2024 (least squares on
    the baseline, offsets without an intercept, ML); the book follows it by its stated rule."""
    import valib as va
    from valib.effects.side_by_side import school_to_follow

    records = datasets.load_records("demo")
    fits = [va.fit_relative(records, cohort) for cohort in (2019, 2021, 2023, 2024)]
    school = school_to_follow(fits)
    benchmark = va.fit_baseline(records, [2015, 2016, 2017], estimator="ols")
    fixed = va.fit_benchmark(records, 2024, benchmark, shift="absorbed")
    assert round(fits[-1].school_effects["effect"][school]) == -13
    assert round(fixed.school_effects["effect"][school], 1) == -27.4


def test_ordinary_years_of_the_demo_differ():
    """Baseline cohorts against the pooled benchmark: by more than sampling and less than the shifts of later years."""
    truth = pd.read_csv(DATA / "demo_truth.csv").groupby("cohort")
    shock = truth["shock"].first()
    assert truth["shock"].nunique().eq(1).all()
    assert 0.5 < shock.std() < 3.0 and shock[[2015, 2016, 2017]].std() > 0.5


def test_lme4_values_are_those_of_the_reference():
    reference = json.loads((DATA.parent / "tests/reference/case1_sleepstudy.json").read_text())["REML"]["ranef"]
    table = datasets.load("sleepstudy_lme4")
    assert table["Subject"].tolist() == reference["group"]
    assert table["blup"].tolist() == reference["b"]
    assert table["var_conditional"].tolist() == reference["condvar"]


def test_unknown_names_and_tables_without_students_are_refused():
    with pytest.raises(RecordsError, match="named 'panel'; there are demo, exam, chem97, sleepstudy"):
        datasets.load("panel")
    with pytest.raises(RecordsError, match="no student records"):
        datasets.load_records("sleepstudy")
