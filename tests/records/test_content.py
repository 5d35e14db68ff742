"""What a column of text holds: numbers, numbers with odd values, codes, categories; the same from every source."""

from __future__ import annotations

import sqlite3
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, reference
from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import fit_benchmark
from valib.effects.relative import fit_relative
from valib.errors import ModelError, ValibError
from valib.records.reading import read_records
from valib.records.sources.content import classify, level_text, numbers_meant, odd_values
from valib.sums.streams import stream_records
from valib.sums.students import sum_students

CASES = ROOT / "tests" / "cases"
LME4 = reference("case9_outcomes")
STRAY, CODES, ORDER = (
    CASES / n for n in ("02-number-with-a-stray-mark", "05-zero-padded-category", "11-rda-factor-order")
)


def opened(path, engine, formula):
    return read_records(path) if engine == "memory" else stream_records(path, formula=formula)


def quietly(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **kwargs)


def told(path, engine, formula):
    """The names of a fit's columns, or the refusal."""
    try:
        records = opened(path, engine, formula)
        return quietly(sum_students, records, [2021], formula).moments.names[:-1]
    except ValibError as error:
        return str(error)


def students(n=120, **columns):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"student": [f"P{k:03d}" for k in range(n)], "school": [f"{k % 6:02d}" for k in range(n)]})
    prior = rng.normal(400, 40, n).round(1)
    frame = frame.assign(cohort=2021, score=(prior + rng.normal(60, 30, n)).round(1), prior_score=prior)
    return frame.assign(**{k: pd.Series(list(v) * n).iloc[:n] for k, v in columns.items()})


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
class TestCases:
    def test_a_clean_number_is_a_slope(self, engine):
        formula = "score ~ prior_score + p"
        fit = fit_relative(opened(STRAY / "clean.csv", engine, formula), 2021, formula)
        np.testing.assert_allclose(fit.fixed_effects, list(LME4["number"]["fixef"].values()), rtol=1e-6)
        assert fit.fixed_effects["p"] == pytest.approx(0.392703, abs=1e-6)

    @pytest.mark.parametrize(
        ("file", "odd"),
        [("records.csv", "(lines 9, 109, 209, 309 and 409; first: '-')"), ("percent.csv", "first: '42%'"),
        ("minus.csv", "first: '−8'")]
    )  # fmt: skip
    def test_odd_values_are_named_with_their_lines(self, engine, file, odd):
        said = told(STRAY / file, engine, "score ~ prior_score + p")
        assert said.startswith(f"{file}: column 'p' must hold numbers, but ") and odd in said and "write C(p)" in said
        assert len(told(STRAY / file, engine, "score ~ prior_score + C(p)")) > 40  # asked for, and given

    def test_a_kept_benchmark_names_the_new_code_alone(self, engine):
        formula = "score ~ prior_score + C(region)"
        benchmark = fit_baseline(opened(CODES / "base.csv", engine, formula), [2016, 2017], formula)
        assert benchmark.state.levels == {"C(region)": ["01", "02", "10"]}
        with pytest.raises(ModelError, match=r"has the level 'X9', which"):
            quietly(fit_benchmark, opened(CODES / "focal.csv", engine, formula), 2021, benchmark)


def test_the_order_of_an_r_factor_is_kept():
    records = read_records(ORDER / "c30.rda")
    fit = fit_relative(records, 2021, "score ~ prior_score + region")
    theirs = LME4["order"]["fixef"]
    assert list(fit.fixed_effects.index) == ["Intercept", "prior_score", "region[T.a]"]
    np.testing.assert_allclose(fit.fixed_effects, list(theirs.values()), rtol=1e-6)
    np.testing.assert_allclose(
        fit.school_effects["effect"], [LME4["order"]["effects"][s] for s in fit.school_effects.index], atol=1e-4
    )
    assert (
        "grade[T.high]" in fit_relative(records, 2021, "score ~ prior_score + grade").fixed_effects
    )  # ordered low < high


CODED = {"region": ["01", "02", "10"]}


def written(frame, kind, folder):
    """The same records in a source of some kind."""
    path = folder / f"r.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "category":
        path = folder / "c.parquet"
        frame.assign(region=frame.region.astype("category")).to_parquet(path)
    elif kind == "sqlite":
        with sqlite3.connect(path) as connection:
            frame.to_sql("r", connection, index=False)
        return f"sqlite:///{path}"
    elif kind == "frame":
        return frame
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "category", "sqlite", "frame"])
@pytest.mark.parametrize("term", ["C(region)", "region"])
def test_codes_keep_their_zeros_from_every_source(kind, term, tmp_path):
    """A benchmark from each source fits next year's CSV file, and a new code is named alone."""
    formula = f"score ~ prior_score + {term}"
    benchmark = fit_baseline(read_records(written(students(**CODED), kind, tmp_path)), [2021], formula)
    assert benchmark.state.levels == {term: ["01", "02", "10"]}
    for k, engine in enumerate(("memory", "duckdb")):
        later = students(**CODED)
        later.to_csv(tmp_path / "n.csv", index=False)
        fit = quietly(fit_benchmark, opened(tmp_path / "n.csv", engine, formula), 2021, benchmark)
        assert abs(fit.shift) < 1e-6
        later.loc[k, "region"] = "X9"
        later.to_csv(tmp_path / "x.csv", index=False)
        with pytest.raises(ModelError, match="has the level 'X9', which"):
            quietly(fit_benchmark, opened(tmp_path / "x.csv", engine, formula), 2021, benchmark)


def test_levels_without_zeros_are_one_whatever_their_type(tmp_path):
    """1 of a CSV file and "1" of a Parquet file are one level; 01 is another."""
    numbers, texts = students(region=["1", "2", "10"]), tmp_path / "t.parquet"
    numbers.to_csv(tmp_path / "n.csv", index=False)
    numbers.to_parquet(texts)
    formula = "score ~ prior_score + C(region)"
    for first, second in ((tmp_path / "n.csv", texts), (texts, tmp_path / "n.csv")):
        benchmark = fit_baseline(read_records(first), [2021], formula)
        for engine in ("memory", "duckdb"):
            assert abs(quietly(fit_benchmark, opened(second, engine, formula), 2021, benchmark).shift) < 1e-6
    students(region=["01", "02", "10"]).to_csv(tmp_path / "z.csv", index=False)
    with pytest.raises(ModelError, match="has the level '01', '02', which"):
        quietly(fit_benchmark, read_records(tmp_path / "z.csv"), 2021, benchmark)


MANY = [str(k) for k in range(10, 60)]
COLUMNS = {  # values in turn; what a CSV file's column is taken for, and what it is as text in Parquet
    "whole numbers": (MANY, "number", "refused"),
    "few whole numbers": (["1", "2", "3"], "number", "category"),
    "decimals": ([f"{k}.5" for k in MANY], "number", "refused"),
    "one mark": ([*MANY * 2, "-"], "refused", "refused"),
    "many suppressed": ([*MANY, *["*"] * 40], "refused", "refused"),
    "words among many numbers": ([*MANY, *["abs"] * 20], "refused", "refused"),
    "one word among few numbers": ([*"12345" * 19, "x"], "refused", "category"),
    "a tenth of words": ([*"123456789", "abs"], "refused", "category"),
    "letters and digits": (["A", "B", "1", "2"], "category", "category"),
    "a fifth of letters": (["K", "1", "2", "3", "4"], "category", "category"),
    "codes with zeros": (["01", "02", "10"], "category", "category"),
    "many codes with zeros": ([f"{k:03d}" for k in range(1, 60)], "refused", "category"),
    "a zero beside decimals": (["01", "1.5", "2.5"], "number", "category"),
    "names": (["north", "south"], "category", "category"),
    "bands": (["0-4", "5-9", "10+"], "category", "category"),
    "percentages": ([f"{k}%" for k in MANY], "refused", "refused"),
    "digits of another script": (["١٢", "13", "14"] * 4, "refused", "category"),
    "thousands": ([f"1 {k:03d}" for k in range(50)], "refused", "refused"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_rule_is_one_for_memory_and_streams(name, tmp_path):
    values, csv, parquet = COLUMNS[name]
    frame, formula = students(119, x=values), "score ~ prior_score + x"
    frame.to_csv(tmp_path / "r.csv", index=False)
    frame.assign(x=frame.x.astype("str")).to_parquet(tmp_path / "r.parquet")
    for path, expected in ((tmp_path / "r.csv", csv), (tmp_path / "r.parquet", parquet)):
        memory, stream = (told(path, engine, formula) for engine in ("memory", "duckdb"))
        assert memory == stream
        found = "refused" if isinstance(memory, str) else "number" if "x" in memory else "category"
        assert found == expected, (path.name, memory)
        assert found != "refused" or ("write C(x)" in memory and memory.startswith(path.name))


def test_an_odd_value_after_the_first_rows_and_in_another_cohort(tmp_path):
    frame = students(12_000, x=MANY)
    frame.loc[11_500, ["x", "cohort"]] = ["n.a.", 2019]
    frame.to_csv(tmp_path / "r.csv", index=False)
    memory, stream = (told(tmp_path / "r.csv", engine, "score ~ prior_score + x") for engine in ("memory", "duckdb"))
    assert memory == stream and "1 row does not (line 11502; first: 'n.a.')" in memory
    assert "x" not in told(tmp_path / "r.csv", "memory", "score ~ prior_score")  # unused, it disturbs nobody


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((t, "number") for t in ("0", "1", "-1.5", "+2", "1e5", ".5", "5.", "0.5", "00.5", "1,5")),
        *((t, "padded") for t in ("01", "007", "00")),
        *((t, "foreign") for t in ("45%", "−5", "1 234", "1,234.5", "1'234", "<5", "5+", "(5)", "$5", "１２", "١٢", "3-")),
        *((t, "mark") for t in ("-", "?", "..", "*", "—", "")),
        *((t, "word") for t in ("X9", "n.a.", "0-10", "2020-01-01", "12:30", "5 kg", "½", "A")),
    ],
)  # fmt: skip
def test_what_a_value_is(text, kind):
    assert classify(text) == kind


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["1", "2", "3.5", "17", "01", "x", "X9", "-", "45%", "NA", ""]), min_size=1, max_size=40),
    st.booleans(),
)
def test_the_positions_are_those_of_the_values_that_are_no_numbers(values, typed):
    """Every odd value is named and no other, whatever the order, and the judge of counts agrees with that of a column."""
    column = pd.Series(values, dtype="str").mask(lambda c: c == "")
    odd = odd_values(column, typed)
    kinds = [None if v in ("NA", "") else classify(v) for v in values]
    some = {
        k: pd.Series([v for v, kind in zip(values, kinds, strict=True) if kind == k], dtype=object)
        for k in set(kinds) - {None}
    }
    number, padded = (some.get(k, pd.Series(dtype=object)) for k in ("number", "padded"))
    others = pd.Series([v for k, s in some.items() if k not in ("number", "padded") for v in s], dtype=object)
    meant = numbers_meant(
        number.nunique(), len(number), padded.value_counts().to_dict(), others.value_counts().to_dict(), typed
    )
    assert (odd is not None) == meant
    if meant:
        assert odd.tolist() == [k for k, kind in enumerate(kinds) if kind not in (None, "number")]
    again = odd_values(column[::-1], typed)
    assert (again is None) == (odd is None) and (odd is None or len(again) == len(odd))


def test_a_level_by_its_text():
    assert [level_text(v) for v in (1, 1.0, "1", np.float64(2), "01", 1.5, True, "x")] == [
        "1",
        "1",
        "1",
        "2",
        "01",
        "1.5",
        "True",
        "x",
    ]
