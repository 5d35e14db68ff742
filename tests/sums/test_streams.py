"""Streams and memory give one set of numbers: moments, accounts, errors and fits of the DuckDB engine."""

from __future__ import annotations

import gzip
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valib.effects.baseline import fit_baseline
from valib.effects.benchmark import check_prior, fit_benchmark
from valib.effects.joint import fit_joint
from valib.effects.relative import fit_relative
from valib.errors import ModelError, RecordsError, ValibError, ValibWarning
from valib.records.reading import read_records
from valib.sums.design import FormulaState
from valib.sums.equating import Link, ScaleBreak
from valib.sums.streams import choose_engine, stream_records
from valib.sums.students import describe_column, sum_students

CLOSE = 1e-9
FORMULAS = [
    "score ~ prior_score",
    "score ~ prior_score + ses + female",
    "score ~ prior_score * C(region) + C(grade)",
    "score ~ 0 + region + prior_score",
    "score ~ region:flag + C(grade):region + ses",
    "score ~ prior_score + school_mean(prior_score) + school_mean(ses):region",
    "score ~ I(prior_score - school_mean(prior_score)) + np.log(prior_score) + prior_score:ses + I(ses ** 3)",
    "score ~ np.maximum(ses, 0) + I(prior_score > 480) + I(prior_score / 2):ses + np.sqrt(prior_score) - 1",
    "score ~ np.log1p(np.exp(ses)) + I(prior_score // 50) + I(grade % 2) + np.abs(ses) + C(cohort)",
]


def records(n: int = 4_000, seed: int = 3) -> pd.DataFrame:
    """Three cohorts with covariates of every kind; some rows lack something; codes that lose zeros if one lets them."""
    rng = np.random.default_rng(seed)
    school = rng.integers(0, 60, n)
    frame = pd.DataFrame(
        {
            "student": [f"{k:06d}" for k in range(n)],
            "school": [f"{k:04d}" for k in school],
            "cohort": rng.choice([2015, 2016, 2021], n),
            "prior_score": rng.normal(480, 60, n).round(1),
            "ses": rng.normal(size=n).round(3),
            "female": rng.integers(0, 2, n),
            "grade": rng.integers(3, 6, n),
            "region": rng.choice(["north", "o'south", 'w"est; DROP TABLE source'], n),
            "flag": rng.random(n) < 0.4,
        }
    )
    frame["score"] = (
        100
        + 0.8 * frame.prior_score
        + 3 * frame.female
        + 5 * frame.ses
        + 9 * (frame.region == "north")
        + rng.normal(0, 12, 60)[school]
        + rng.normal(0, 40, n)
    ).round(1)
    frame["ses"] = frame["ses"].mask(rng.random(n) < 0.03)
    frame["region"] = frame["region"].mask(rng.random(n) < 0.02)
    frame["score"] = frame["score"].mask(rng.random(n) < 0.02)
    frame["prior_score"] = frame["prior_score"].mask(rng.random(n) < 0.03)
    frame["school"] = frame["school"].mask(rng.random(n) < 0.005)
    return frame


def write(frame: pd.DataFrame, folder: Path, how: str) -> Path:
    """The frame as one of the sources that can be streamed."""
    path = folder / f"records.{how}"
    if how == "parts":
        path.mkdir()
        for k in range(5):
            frame.iloc[k::5].to_parquet(path / f"part-{k}[1]*.parquet")
        frame.iloc[:0].to_parquet(path / "part-9.parquet")
    elif how == "hive":
        frame.to_parquet(path, partition_cols=["cohort"])
    elif how == "parquet":
        frame.to_parquet(path)
    elif how == "csv.gz":
        with gzip.open(path, "wt", encoding="utf-8") as stream:
            frame.to_csv(stream, index=False)
    elif how == "semicolon":
        frame.to_csv(path, index=False, sep=";", decimal=",")
    else:
        frame.to_csv(path, index=False)
    return path


KINDS = ["parquet", "parts", "hive", "csv", "csv.gz", "semicolon"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {how: write(records(), folder, how) for how in KINDS}


def quietly(function, *args, **rest):
    """The result, and the sentences of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = function(*args, **rest)
    return found, sorted(str(w.message) for w in caught if issubclass(w.category, ValibWarning))


def assert_same_sums(ours, theirs, by_cell: bool) -> None:
    assert ours.state.to_json() == theirs.state.to_json()
    assert dict(ours.left_out) == dict(theirs.left_out)
    a, b = ours.moments, theirs.moments
    assert a.names == b.names and a.schools.tolist() == b.schools.tolist() and a.cohorts.tolist() == b.cohorts.tolist()
    assert (a.cell_school == b.cell_school).all() and (a.cell_cohort == b.cell_cohort).all() and (a.n == b.n).all()
    a = a.reshift(b.shift)
    scale = np.sqrt(np.einsum("tkk->k", b.cross) / b.n_students)
    np.testing.assert_allclose(a.sums, b.sums, rtol=CLOSE, atol=CLOSE * (scale * b.n[:, None]).max())
    np.testing.assert_allclose(a.cross, b.cross, rtol=CLOSE, atol=1e-12 * np.outer(scale, scale).max() * b.n_students)
    assert (a.cell_cross is None) <= (not by_cell)
    if by_cell:
        np.testing.assert_allclose(
            a.cell_cross, b.cell_cross, rtol=CLOSE, atol=1e-12 * np.outer(scale, scale).max() * b.n_students
        )


class TestSums:
    @pytest.mark.parametrize("formula", FORMULAS)
    @pytest.mark.parametrize("how", ["parquet", "csv"])
    def test_every_formula_gives_the_sums_of_memory(self, sources, how, formula):
        memory = read_records(sources[how])
        stream = stream_records(sources[how], formula=formula)
        for cohorts in ([2015, 2016], [2021]):
            (theirs, said), (ours, also) = (quietly(sum_students, r, cohorts, formula) for r in (memory, stream))
            assert_same_sums(ours, theirs, by_cell=False)
            assert also == said

    @pytest.mark.parametrize("how", KINDS)
    def test_every_source_gives_the_sums_and_the_account_of_memory(self, sources, how):
        formula = "score ~ prior_score * region + school_mean(prior_score) + ses"
        memory = read_records(sources[how])
        stream = stream_records(sources[how], formula=formula, by_cell=True)
        (theirs, _), (ours, _) = (
            quietly(sum_students, r, [2015, 2021], formula, by_cell=True, describe=True) for r in (memory, stream)
        )
        assert_same_sums(ours, theirs, by_cell=True)
        assert ours.fingerprint == theirs.fingerprint
        assert list(ours.columns) == list(theirs.columns)
        for name, found in theirs.columns.items():
            assert ours.columns[name] == pytest.approx(found, rel=CLOSE)
        assert stream.attrs["left_out"] == memory.attrs["left_out"]
        assert stream.attrs["rows_read"] == memory.attrs["rows_read"]
        for cohort, scores in memory.attrs["score_by_cohort"].items():
            assert stream.attrs["score_by_cohort"][cohort] == pytest.approx(scores, rel=CLOSE)

    def test_a_state_of_other_students_is_applied(self, sources):
        formula = "score ~ prior_score * region + C(grade)"
        memory, stream = read_records(sources["parts"]), stream_records(sources["parts"], formula=formula)
        state = quietly(sum_students, memory, [2015], formula)[0].state
        (theirs, _), (ours, _) = (quietly(sum_students, r, [2021], state) for r in (memory, stream))
        assert_same_sums(ours, theirs, by_cell=False)
        fewer = FormulaState(state.formula, state.names, {}, {**state.levels, "C(grade)": [3, 4]})
        told = [_refusal(sum_students, r, [2021], fewer) for r in (memory, stream)]
        assert told[0] == told[1] and "the level '5'" in told[1]

    def test_levels_are_those_of_the_cohort(self, tmp_path):
        frame = records(1500)
        frame.loc[(frame.cohort == 2015) & (frame.region == "north"), "region"] = "o'south"
        frame.to_parquet(tmp_path / "r.parquet")
        memory, stream = (
            read_records(tmp_path / "r.parquet"),
            stream_records(tmp_path / "r.parquet", formula="score ~ region:ses + region"),
        )
        for cohort, levels in ((2015, 2), (2021, 3)):
            (theirs, _), (ours, _) = (
                quietly(sum_students, r, [cohort], "score ~ region:ses + region") for r in (memory, stream)
            )
            assert len(ours.state.levels["region"]) == levels
            assert_same_sums(ours, theirs, by_cell=False)

    @pytest.mark.parametrize("how", ["parquet", "parts"])
    def test_a_category_keeps_the_order_of_its_file(self, tmp_path, how):
        order = ['w"est; DROP TABLE source', "north", "o'south", "never seen"]
        path, formula = (
            write(records().assign(region=lambda f: pd.Categorical(f.region, order)), tmp_path, how),
            "score ~ prior_score * region",
        )
        memory, stream = read_records(path), stream_records(path, formula=formula)
        (theirs, _), (ours, _) = (quietly(sum_students, r, [2015, 2016], formula) for r in (memory, stream))
        assert ours.state.levels["region"] == order[:3]
        assert_same_sums(ours, theirs, by_cell=False)

    def test_scores_carried_back_over_a_link(self, sources):
        links = [
            ScaleBreak(2016, "score", Link(1.1, -20.0)),
            ScaleBreak(2021, "score", Link(0.9, 15.0)),
            ScaleBreak(2021, "prior_score", Link(1.05, 3.0)),
        ]
        memory, stream = read_records(sources["parquet"]), stream_records(sources["parquet"])
        (theirs, _), (ours, _) = (
            quietly(sum_students, r, [2021], "score ~ prior_score", links=links) for r in (memory, stream)
        )
        assert_same_sums(ours, theirs, by_cell=False)
        assert describe_column(stream, 2021, "prior_score", links) == pytest.approx(
            describe_column(memory, 2021, "prior_score", links), rel=CLOSE
        )

    def test_transforms_of_a_known_state_go_through_formulaic_in_batches(self, sources):
        formula = "score ~ poly(prior_score, 2) + center(ses):region"
        memory = read_records(sources["parts"])
        stream = stream_records(sources["parts"], formula=formula)
        state = quietly(sum_students, memory, [2015, 2016], formula)[0].state
        (theirs, _), (ours, _) = (quietly(sum_students, r, [2021], state) for r in (memory, stream))
        assert_same_sums(ours, theirs, by_cell=False)
        told = _refusal(sum_students, stream, [2021], formula)
        assert "learns from all students" in told and "--engine memory" in told

    def test_contrasts_go_through_formulaic_in_batches(self, sources):
        formula = "score ~ prior_score + C(region, contr.sum)"
        memory, stream = read_records(sources["csv"]), stream_records(sources["csv"], formula=formula)
        (theirs, _), (ours, _) = (
            quietly(sum_students, r, [2016, 2021], formula, by_cell=True) for r in (memory, stream)
        )
        assert_same_sums(ours, theirs, by_cell=True)


CODES = {
    "integers": [1, 2, 10, 1],
    "floats": [1.0, 2.0, 10.0, 1.0],
    "halves": [1.5, 2.0, 10.0, 1.5],
    "zeros": ["01", "1", "010", "01"],
    "spaces": [" 01", "01 ", "1", "\u00a001"],
    "NA": ["NA", "null", "1", "NA"],
    "letters": ["é", "École; --", "'", '"'],
    "blank": ["", " ", "1", "2"],
}


class TestCodes:
    @pytest.mark.parametrize("kind", CODES)
    @pytest.mark.parametrize("how", ["parquet", "csv"])
    def test_labels_are_those_of_memory(self, tmp_path, kind, how):
        frame = pd.DataFrame(
            {
                "student": range(40),
                "school": CODES[kind] * 10,
                "cohort": 2020.0,
                "score": np.arange(40.0),
                "prior_score": np.arange(40.0) ** 1.5,
            }
        )
        path = write(frame, tmp_path, how)
        memory, stream = read_records(path), stream_records(path)
        theirs, ours = (
            sum_students(r, [2020], "score ~ prior_score + school_mean(prior_score)") for r in (memory, stream)
        )
        assert_same_sums(ours, theirs, by_cell=False)
        assert stream.attrs["left_out"] == memory.attrs["left_out"]

    def test_names_of_columns_are_never_sql(self, tmp_path):
        columns = {"ses": 'ses"; DROP TABLE source; --', "school": "Sch'ool"}
        records(800).rename(columns={**columns, "region": "a b"}).to_parquet(tmp_path / "r.parquet")
        formula = "score ~ prior_score + ses + `a b`"
        memory = read_records(tmp_path / "r.parquet", columns)
        stream = stream_records(tmp_path / "r.parquet", columns, formula=formula)
        (theirs, _), (ours, _) = (quietly(sum_students, r, [2021], formula) for r in (memory, stream))
        assert_same_sums(ours, theirs, by_cell=False)


def _refusal(function, *args, **rest) -> str:
    with warnings.catch_warnings(), pytest.raises(ValibError) as error:
        warnings.simplefilter("ignore")
        function(*args, **rest)
    return str(error.value)


FAULTS = {
    "text in the score": lambda f: f.assign(score=f.score.astype(object).where(f.index != 7, "absent")),
    "infinite score": lambda f: f.assign(score=f.score.where(f.index != 7, np.inf)),
    "cohort with a fraction": lambda f: f.assign(cohort=f.cohort.where(~f.index.isin([3, 9]), 2020.5)),
    "no prior score": lambda f: f.drop(columns="prior_score"),
    "no score at all": lambda f: f.assign(score=np.nan),
    "no rows": lambda f: f.iloc[:0],
}


class TestRefusals:
    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("how", ["parquet", "csv"])
    def test_records_are_refused_in_the_same_sentence(self, tmp_path, fault, how):
        frame = FAULTS[fault](records(300))
        if how == "parquet" and frame["score"].dtype == object:
            frame["score"] = frame["score"].astype("str")
        path = write(frame, tmp_path, how)
        assert _refusal(stream_records, path) == _refusal(read_records, path)

    def test_the_part_and_its_row_are_named(self, tmp_path):
        frame = records(100)
        frame.to_parquet(tmp_path / "a.parquet")
        frame.assign(score=frame.score.where(frame.index != 41, -np.inf)).to_parquet(tmp_path / "b.parquet")
        assert "'b.parquet' row 42; first: '-inf'" in _refusal(stream_records, tmp_path)

    @pytest.mark.parametrize(
        "formula",
        ["score ~ prior_score + nothere", "score ~ np.log(ses)", "score ~ I(region * 2)", "score ~ when + prior_score"],
    )
    def test_formulas_are_refused_in_the_same_sentence(self, tmp_path, formula):
        frame = records(600).dropna().assign(when=pd.Timestamp("2020-02-01"))
        frame.to_parquet(tmp_path / "r.parquet")

        def streamed():
            sum_students(stream_records(tmp_path / "r.parquet", formula=formula), [2021], formula)

        theirs = _refusal(sum_students, read_records(tmp_path / "r.parquet"), [2021], formula)
        assert re.sub(r"first: [^)]*", "", theirs) in re.sub(r"first: [^)]*", "", _refusal(streamed))

    def test_a_source_that_cannot_be_streamed(self, tmp_path):
        with pytest.raises(RecordsError, match="--engine memory"):
            stream_records(Path(__file__).parents[1] / "data" / "schools.xls")
        with pytest.raises(RecordsError, match="without Parquet files"):
            (tmp_path / "empty").mkdir()
            stream_records(tmp_path / "empty")
        with pytest.raises(RecordsError, match="no such file"):
            stream_records(tmp_path / "nowhere.parquet")

    def test_a_cohort_that_is_not_there(self, sources):
        memory, stream = read_records(sources["csv"]), stream_records(sources["csv"])
        assert _refusal(fit_relative, stream, 1999) == _refusal(fit_relative, memory, 1999)


class TestFits:
    def test_fits_are_those_of_memory(self, sources):
        formula = "score ~ prior_score + region + school_mean(prior_score)"
        memory = read_records(sources["parts"])
        stream = stream_records(sources["parts"], formula=formula, by_cell=True)
        found = [quietly(self._fits, r, formula)[0] for r in (memory, stream)]
        for theirs, ours in zip(*found, strict=True):
            pd.testing.assert_frame_equal(ours.school_effects, theirs.school_effects, rtol=CLOSE, atol=1e-7)
            np.testing.assert_allclose(ours.fixed_effects, theirs.fixed_effects, rtol=CLOSE)
            assert ours.loglik == pytest.approx(theirs.loglik, rel=CLOSE)

    @staticmethod
    def _fits(r, formula):
        benchmark = fit_baseline(r, [2015, 2016], formula)
        check_prior(r, 2021, benchmark)
        breaks = [ScaleBreak(2021, "score", Link(0.98, 9.0, 0.01, 3.0, -0.02))]
        return (
            fit_relative(r, 2021, formula),
            fit_benchmark(r, 2021, benchmark),
            fit_benchmark(r, 2021, benchmark, scale_breaks=breaks),
            fit_joint(r, [2015, 2016, 2021], formula),
        )

    def test_the_artefact_of_a_baseline_is_that_of_memory(self, sources):
        memory, stream = read_records(sources["csv"]), stream_records(sources["csv"], by_cell=True)
        theirs, ours = (fit_baseline(r, [2015, 2016]).to_json() for r in (memory, stream))
        assert ours["fingerprint"] == theirs["fingerprint"] and ours["design"] == theirs["design"]
        assert ours["coefficients"] == pytest.approx(theirs["coefficients"], rel=CLOSE)
        np.testing.assert_allclose(ours["vcov"], theirs["vcov"], rtol=1e-8)


class TestChoice:
    def test_small_files_are_read_and_folders_streamed(self, sources):
        assert choose_engine(sources["csv"]) == choose_engine(sources["parquet"]) == "memory"
        assert choose_engine(sources["parts"]) == "duckdb"
        assert choose_engine(sources["csv"], "duckdb") == "duckdb"

    def test_large_files_are_streamed(self, sources, monkeypatch):
        import valib.sums.streams.engines as engines

        monkeypatch.setattr(engines, "MOST_ROWS", 1000)
        assert choose_engine(sources["parquet"]) == "duckdb"
        monkeypatch.setattr(engines, "SHARE", 1 << 40)
        assert choose_engine(sources["csv"]) == "duckdb"

    @pytest.mark.parametrize("name", ["schools.rda", "schools.rds", "schools.xls"])
    def test_large_files_that_are_not_streamed_are_read(self, monkeypatch, name):
        import valib.sums.streams.engines as engines

        monkeypatch.setattr(engines, "SHARE", 1 << 40)
        folder = Path(__file__).parents[1] / "data"
        assert (folder / name).is_file() and choose_engine(folder / name) == "memory"

    def test_an_unknown_engine(self, sources):
        with pytest.raises(RecordsError, match="auto, memory, duckdb, spark"):
            choose_engine(sources["csv"], "pandas")

    def test_a_model_error_keeps_its_kind(self, sources):
        with pytest.raises(ModelError, match="records.csv"):
            stream_records(sources["csv"], formula="score ~ nowhere")
