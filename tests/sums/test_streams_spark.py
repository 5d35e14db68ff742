"""Spark in local mode, with a real JVM: the same sums, accounts, refusals and fits as in memory."""

from __future__ import annotations

import importlib.util
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from test_streams import FORMULAS, assert_same_sums, quietly, records, write
from test_streams_rows import PRIORS, WHERE, long, outcome, written
from test_streams_rows import same as same_rows
from test_streams_texts import CASES, assert_alike

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.joint import fit_joint
from valib.effects.relative import fit_relative
from valib.errors import RecordsError
from valib.records.reading import read_records
from valib.sums.streams import choose_engine, stream_records
from valib.sums.students import sum_students

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="PySpark is not installed"),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]


@pytest.fixture(scope="module")
def session():
    from pyspark.sql import SparkSession

    from valib.sums.streams.spark import _begin

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = _begin(SparkSession.builder)
        begun.conf.set("spark.sql.shuffle.partitions", "2")
        yield begun
        begun.stop()


@pytest.fixture(scope="module")
def frame(session, tmp_path_factory):
    """A Spark DataFrame of the records, in four partitions."""
    path = tmp_path_factory.mktemp("spark") / "records.parquet"
    records().to_parquet(path)
    return session.read.parquet(str(path)).repartition(4).cache()


def same(stream, memory, formula, by_cell=False):
    for cohorts in ([2015, 2016], [2021]):
        (theirs, said), (ours, also) = (quietly(sum_students, r, cohorts, formula, by_cell) for r in (memory, stream))
        assert_same_sums(ours, theirs, by_cell)
        assert also == said


@pytest.mark.parametrize(
    "formula", [FORMULAS[8], "score ~ prior_score * C(region) + school_mean(ses):region + C(grade)"]
)
def test_a_dataframe_gives_the_sums_of_memory(frame, formula):
    assert choose_engine(frame) == "spark"
    same(stream_records(frame, formula=formula), read_records(records()), formula)


@pytest.mark.parametrize("how", ["hive", "semicolon"])
def test_files_give_the_sums_and_the_account_of_memory(session, tmp_path, how):
    path, formula = write(records(), tmp_path, how), "score ~ prior_score * region + flag"
    memory, stream = read_records(path), stream_records(path, engine="spark", formula=formula, by_cell=True)
    same(stream, memory, formula, by_cell=True)
    assert stream.attrs["left_out"] == memory.attrs["left_out"]
    assert stream.attrs["rows_read"] == memory.attrs["rows_read"]


@pytest.mark.parametrize("form", ["{0}/{2:02d}", "{0}_{1}"])
def test_school_years_are_the_cohorts_of_memory(session, tmp_path, form):
    table = records()
    years = [form.format(t - 1, t, t % 100) for t in table["cohort"]]
    table.assign(cohort=years).to_csv(path := tmp_path / "records.csv", index=False)
    memory, said = quietly(read_records, path)
    stream, also = quietly(stream_records, path, engine="spark")
    assert sorted(memory["cohort"].unique()) == sorted(table["cohort"].unique()) and also == said
    same(stream, memory, "score ~ prior_score")


IN_SPARK = [
    "a score with points between thousands",
    "short rows",
    "a long row",
    "lines of spaces",
    "such codes after the first rows",
    "another field that swallows rows",
]


@pytest.mark.parametrize("case", IN_SPARK)
def test_odd_texts_are_read_as_in_memory(session, tmp_path, monkeypatch, case):
    """As by DuckDB, but that Spark does not number rows."""
    text, expected = CASES[case]
    path = tmp_path / "records.csv"
    path.write_text(text, newline="")
    monkeypatch.setattr("valib.records.sources.source.Source.where", lambda *_: "Spark does not number rows")
    assert_alike(path, "spark", expected.split(" (line")[0])


def test_fits_and_the_baseline_are_those_of_memory(frame):
    memory, stream = read_records(records()), stream_records(frame, by_cell=True)
    theirs, ours = (fit_baseline(r, [2015, 2016]) for r in (memory, stream))
    assert ours.fingerprint == theirs.fingerprint
    for fit in (lambda r, b: fit_relative(r, 2021), lambda r, b: fit_benchmark(r, 2021, b)):
        pd.testing.assert_frame_equal(
            fit(stream, ours).school_effects, fit(memory, theirs).school_effects, rtol=1e-9, atol=1e-7
        )


def test_what_is_refused(session, frame):
    from pyspark.sql import functions as f

    with pytest.raises(RecordsError, match="must hold finite numbers, but 1 row does not .*Infinity"):
        stream_records(
            frame.withColumn("score", f.when(f.col("student") == "000007", float("inf")).otherwise(f.col("score")))
        )
    with pytest.raises(RecordsError, match="no column for prior_score"):
        stream_records(frame.drop("prior_score"))
    with pytest.raises(RecordsError, match="holds no rows"):
        stream_records(frame.limit(0))


def test_columns_that_differ_in_capitals_only_are_refused(session, tmp_path):
    records().assign(Score=1.0).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(RecordsError, match="column 'Score' differs from another in capital letters only"):
        stream_records(tmp_path / "x.parquet", engine="spark")


def test_levels_are_never_sql(session):
    hostile = ["${spark.app.name}", "\\", "'; DROP VIEW x; --", "\u00e9\U0001f600", "a`b"]
    rng = np.random.default_rng(1)
    rows = records(500).assign(**{"a`b ${x}": rng.choice(hostile, 500)})
    formula = "score ~ prior_score + kind"
    mapping = {"kind": "a`b ${x}"}
    stream = stream_records(
        session.createDataFrame(
            rows[["student", "school", "cohort", "score", "prior_score", "a`b ${x}"]].astype({"school": object})
        ),
        mapping,
        formula=formula,
    )
    same(stream, read_records(rows, mapping), formula)


@pytest.mark.parametrize(("kind", "where", "prior"), [("csv", 1, 0), ("parquet", 9, 2)])
def test_rows_and_earlier_rows_are_those_of_memory(session, tmp_path, kind, where, prior):
    file = written(long(1), tmp_path, kind)
    choices = {"where": WHERE[where], "prior": PRIORS[prior]}
    memory = outcome(lambda: read_records(file, **choices))
    assert memory[0]["prior"]["linked"]
    same_rows(memory, outcome(lambda: stream_records(file, engine="spark", **choices)))


@pytest.mark.parametrize("large", [False, True])
def test_another_files_scores_are_those_of_memory(session, tmp_path, monkeypatch, large):
    """The other file is read into memory, or by Spark too."""
    monkeypatch.setattr("valib.sums.streams.engines.MOST_ROWS", 0)
    monkeypatch.setattr("valib.sums.streams.engines.SHARE", 1e9 if large else 16)
    frame = long(7)
    before = frame[frame["cohort"] == 2021].rename(columns={"student": "ID", "score": "POINTS"})
    now = written(frame[frame["cohort"] == 2022], tmp_path, "parquet")
    file = str(written(before, tmp_path, "csv", "before"))
    prior = {"file": file, "columns": {"student": "ID", "score": "POINTS"}, "match": ["subject"]}
    memory = outcome(lambda: read_records(now, where=WHERE[1], prior=prior))
    same_rows(memory, outcome(lambda: stream_records(now, engine="spark", where=WHERE[1], prior=prior)))


def test_wide_records_and_their_students_without_codes_are_those_of_memory(session, tmp_path):
    rng = np.random.default_rng(4)
    wide = pd.DataFrame({"school": [f"{i % 9:03d}" for i in range(300)], "sex": rng.choice(["f", "m"], 300)})
    for year in (2019, 2021, 2023):
        wide[f"read_{year}"] = np.where(rng.random(300) < 0.2, np.nan, rng.normal(500, 50, 300).round(1))
    reshape = {"cohort": [2021, 2023], "columns": {"score": "read_{cohort}", "prior_score": "read_{cohort-2}"}}
    choices = {"columns": {"student": "row_number"}, "reshape": reshape, "where": "sex == 'f'"}
    file = written(wide, tmp_path, "csv")
    memory = outcome(lambda: read_records(file, **choices))
    same_rows(memory, outcome(lambda: stream_records(file, engine="spark", **choices)))


def test_fits_tell_of_grades_and_of_students_who_move_up(session, tmp_path):
    frame = long(3).assign(prior_score=lambda f: f["points"] * 40)
    frame = frame[frame["subject"] == "maths"].drop_duplicates(["student", "cohort"])
    file = written(frame, tmp_path, "parquet")
    told = []
    for one in (read_records(file), stream_records(file, engine="spark")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told.append([item.text for item in fit_joint(one, [2021, 2022]).findings])
    assert told[0] == told[1]
    assert any("move up a grade" in text for text in told[0]) and any("several grades" in text for text in told[0])
