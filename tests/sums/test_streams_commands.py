"""`valib fit` and `valib baseline`: the files of every engine are one, and odd files of text are read as in memory."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from commands import said
from conftest import ROOT
from test_streams import assert_same_sums, quietly, records

from valib.errors import RecordsError
from valib.records.reading import read_records
from valib.sums.streams import moments_from_source, stream_records
from valib.sums.students import sum_students

FORMULA = "score ~ prior_score + female + ses + school_mean(prior_score)"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo records as a text file and as a folder of Parquet parts, and a saved benchmark."""
    folder = tmp_path_factory.mktemp("demo")
    frame = pd.read_csv(ROOT / "data" / "demo.csv", dtype={"student_id": "str", "school_id": "str"})
    frame.to_csv(folder / "demo.csv", index=False)
    (folder / "parts").mkdir()
    for k in range(3):
        frame.iloc[k::3].to_parquet(folder / "parts" / f"{k}.parquet")
    return folder


COHORTS = ["--baseline-cohorts", "2015,2016,2017", "--focal-cohorts", "2019,2021,2023,2024"]


def run(*arguments, code: int = 0) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return said(*arguments, code=code)


def assert_same_files(ours, theirs) -> int:
    """Every CSV file of two folders has the same layout, texts and numbers; the count of numbers compared."""
    names = sorted(p.name for p in theirs.iterdir())
    assert sorted(p.name for p in ours.iterdir()) == names
    compared = 0
    for name in (n for n in names if n.endswith(".csv") and n != "about.csv"):  # which names the file
        a, b = (pd.read_csv(folder / name, dtype={"school": "str"}) for folder in (ours, theirs))
        assert (ours / name).read_text().split("\n")[0] == (theirs / name).read_text().split("\n")[0]
        pd.testing.assert_frame_equal(a, b, rtol=1e-9, atol=1e-8)
        compared += int(b.select_dtypes("number").notna().to_numpy().sum())
    return compared


@pytest.mark.parametrize("model", ["relative", "benchmark", "joint"])
def test_the_files_of_every_engine_are_one(demo, tmp_path, model):
    fit = ["--model", model, "--formula", FORMULA, *COHORTS, "--no-figures"]
    fit += ["--cohorts", "2019,2021"] if model == "joint" else []
    run("fit", demo / "demo.csv", *fit, "--engine", "memory", "--out", tmp_path / "memory")
    said = run("fit", demo / "demo.csv", *fit, "--engine", "duckdb", "--out", tmp_path / "duckdb")
    run("fit", demo / "parts", *fit, "--out", tmp_path / "parts")
    assert ("385 effects (joint)" if model == "joint" else "6 not shown") in said
    for engine in ("duckdb", "parts"):
        assert assert_same_files(tmp_path / engine, tmp_path / "memory") > 700


def test_a_saved_benchmark_serves_every_engine(demo, tmp_path):
    for engine in ("memory", "duckdb"):
        run("baseline", demo / "demo.csv", *COHORTS[:2], "--engine", engine, "--out", tmp_path / f"{engine}.json")
        run(
            "fit",
            demo / "demo.csv",
            *"--model benchmark --cohorts 2021 --engine".split(),
            engine,
            "--benchmark",
            tmp_path / f"{engine}.json",
            "--out",
            tmp_path / engine,
        )
    assert assert_same_files(tmp_path / "duckdb", tmp_path / "memory") > 700
    ours, theirs = (json.loads((tmp_path / f"{engine}.json").read_text()) for engine in ("duckdb", "memory"))
    assert ours["fingerprint"] == theirs["fingerprint"]
    np.testing.assert_allclose(ours["coefficients"], theirs["coefficients"], rtol=1e-9)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["demo", "--engine", "duckdb"], "bundled"),
        (["{csv}", "--engine", "polars"], "auto, memory, duckdb, spark"),
        (["{folder}/book.xlsx", "--engine", "duckdb"], "no such file"),
        (["sqlite:///{folder}/x.db", "--engine", "duckdb"], "x.db"),
        (["{csv}", "--engine", "duckdb", "--formula", "score ~ bs(prior_score, df=4)"], "learns from all students"),
    ],
)
def test_an_engine_that_does_not_fit_is_one_sentence(demo, tmp_path, arguments, told):
    filled = [a.format(csv=demo / "demo.csv", folder=demo) for a in arguments]
    said = run("fit", *filled, "--model", "relative", "--out", tmp_path / "out", code=2)
    assert told in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


HEAD = "student,school,cohort,score,prior_score,kind\n"
TEXTS = {
    "line breaks in quotation marks": HEAD + '1,a,2020,5,4,"x\ny"\n'
    '2,a,2020,6,7,"x\ny"\n3,b,2020,5,1,z\n4,b,2020,9,3,z\n',
    "blank lines": "\n" + HEAD + "1,a,2020,5,4,x\n\n2,a,2020,6,7,x\n3,b,2020,5,1,z\n\n\n4,b,2020,9,3,z\n",
    "short rows": HEAD + "1,a,2020,5,4,x\n2,a,2020,6,7,x\n3,b,2020,5,1,z\n4,b,2020\n5,b,2020,9,3,z\n6,b,2020,2,2,z\n",
    "spaces and words": HEAD + "1, a,2020, 5,4 ,x\n2,a ,2020,6,NA,x\n3,b,2020,null,1,z\n4,b,2020,9,3,z\n"
    "5,b,2020,1e1,3,x\n6,a,2020,+3,.5,z\n",
}


@pytest.mark.parametrize("text", TEXTS)
def test_odd_text_is_read_as_in_memory(tmp_path, text):
    (tmp_path / "t.csv").write_text(TEXTS[text])
    memory, formula = read_records(tmp_path / "t.csv"), "score ~ prior_score + kind"
    stream = stream_records(tmp_path / "t.csv", formula=formula)
    (theirs, _), (ours, _) = (quietly(sum_students, r, [2020], formula) for r in (memory, stream))
    assert_same_sums(ours, theirs, by_cell=False)
    assert stream.attrs["left_out"] == memory.attrs["left_out"] and stream.attrs["rows_read"] == len(memory) + sum(
        entry["rows"] for entry in memory.attrs["left_out"]
    )


def test_moments_of_any_source(demo):
    theirs, _ = quietly(moments_from_source, demo / "demo.csv", FORMULA, by_cell=True)
    ours, _ = quietly(moments_from_source, demo / "parts", FORMULA, by_cell=True)
    assert_same_sums(ours, theirs, by_cell=True)


def test_a_number_column_that_turns_to_text_late_is_a_category(tmp_path):
    frame = records(12_000).assign(band=lambda f: f.grade.astype(object).where(f.index < 10_010, "top"))
    frame.to_csv(tmp_path / "late.csv", index=False)
    formula = "score ~ prior_score + band"
    memory, stream = read_records(tmp_path / "late.csv"), stream_records(tmp_path / "late.csv", formula=formula)
    (theirs, _), (ours, _) = (quietly(sum_students, r, [2015, 2016, 2021], formula) for r in (memory, stream))
    assert ours.state.levels["band"] == ["3", "4", "5", "top"]
    assert_same_sums(ours, theirs, by_cell=False)


def test_codes_that_a_double_cannot_hold_are_refused(tmp_path):
    frame = records(50).dropna().assign(school=2.0**60)
    frame.to_parquet(tmp_path / "r.parquet")
    with pytest.raises(RecordsError) as theirs:
        read_records(tmp_path / "r.parquet")
    with pytest.raises(RecordsError) as ours:
        stream_records(tmp_path / "r.parquet")
    assert str(ours.value).replace(",", "") == str(theirs.value).replace(",", "")
