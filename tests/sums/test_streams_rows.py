"""A stream's where, prior and reshape beside those of memory: same rows, counts, sums and refusals, on random long files."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valib.errors import RecordsError, ValibError
from valib.records.reading import read_records
from valib.records.sources.spill import SpillFolder
from valib.records.where import FUNCTIONS
from valib.sums import formula as formulas
from valib.sums.streams import choice, stream_records
from valib.sums.streams.duck import DuckEngine
from valib.sums.students import sum_students

WHERE = [
    None,
    "subject == 'reading'",
    "subject != 'reading' and grade >= 4",
    "subject == 'maths' and not grade == 4",
    "subject in ('maths', 'art') and (grade is missing or grade in (4, 5))",
    "Q('school') not in ('001', '004') and subject == 'maths'",
    "subject == 'maths' and flag == True and 2021 <= cohort < 2023",
    "subject == 'maths' and prior_score > 500",
    "subject == 'maths' and (score % 7 < 3 or -np.minimum(score, prior_score) // 3 < -170)",
    "subject == 'reading' and np.log(score - 480) > 1 and (grade - 4) ** 2 < 4 and 1 / (grade - 4) > 0",
    "subject == 'readin'",
    "subject == 3",
    "grade > '4'",
    "sex == 'f'",
    "subject < 'reading'",
    "grade == 99",
    "student == '9999'",
    "np.log(subject) > 1",
]
PRIORS = [
    {"years_before": 1, "match": ["subject"]},
    {"years_before": 2, "match": ["subject", "flag"]},
    {"years_before": 1, "column": "points", "match": ["subject"]},
    {"years_before": 1},
    {"years_before": 1, "match": ["topic"]},
    {"years_before": 1, "column": "subject"},
]


def long(seed: int, n: int = 120) -> pd.DataFrame:
    """One row a student, year and subject, with missing values of all kinds, rows twice, and codes with leading zeros."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [
            (f"{i:04d}", f"{i % 7:03d}", year, subject, 3.0 + year - 2021, i % 3 == 0)
            for year in (2021, 2022, 2023)
            for subject in ("reading", "maths", "art")
            for i in range(n)
        ],
        columns=["student", "school", "cohort", "subject", "grade", "flag"],
    )
    frame["score"] = rng.normal(500, 50, len(frame)).round(2)
    frame["points"] = rng.normal(10, 2, len(frame)).round(1)
    for name, share in {"score": 0.05, "grade": 0.1, "student": 0.02, "subject": 0.02, "points": 0.1}.items():
        frame[name] = frame[name].mask(rng.random(len(frame)) < share)
    again = frame[(rng.random(len(frame)) < 0.02) & (frame["cohort"] == 2021)]
    frame.loc[rng.random(len(frame)) < 0.1, "grade"] += 1
    return pd.concat([frame[rng.random(len(frame)) > 0.1], again], ignore_index=True)


def written(frame: pd.DataFrame, folder: Path, kind: str, name: str = "long") -> Path:
    file = folder / f"{name}.{kind}"
    frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file)
    return file


def outcome(read, cohorts=None):
    """What is told of records, and their sums; or the sentence of a refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            records = read()
            told = {name: records.attrs.get(name) for name in ("where", "prior", "left_out", "rows_read")}
        except ValibError as error:
            return str(error), None
        there = sorted(records["cohort"].unique()) if isinstance(records, pd.DataFrame) else records.cohorts
        try:
            return told, sum_students(records, cohorts or there, "score ~ prior_score", describe=True)
        except ValibError as error:
            return told, str(error)
        finally:
            if not isinstance(records, pd.DataFrame):
                records.close()


def same(memory, stream) -> None:
    assert memory[0] == stream[0]
    if isinstance(memory[1], (str, type(None))):
        assert memory[1] == stream[1]
        return
    ours, theirs = memory[1].moments, stream[1].moments
    np.testing.assert_allclose(ours.pooled(), theirs.reshift(ours.shift).pooled(), rtol=1e-10)
    assert list(ours.schools) == list(theirs.schools) and memory[1].fingerprint == stream[1].fingerprint


@pytest.mark.parametrize(("kind", "seed"), [("csv", 1), ("parquet", 2)])
def test_a_stream_takes_the_rows_and_prior_scores_that_memory_takes(kind, seed, tmp_path, monkeypatch):
    frame = long(seed)
    if seed == 2:  # school years, codes that were numbers once, each cohort linked by itself
        monkeypatch.setattr(choice, "MOST_JOINED", 0)
        frame["cohort"] = frame["cohort"].map(lambda year: f"{year - 1}/{year % 100}")
        frame["school"] = frame["school"].astype(float)
    file = written(frame, tmp_path, kind)
    told = []
    for number, where in enumerate(WHERE):
        prior = PRIORS[(number + seed) % len(PRIORS)] if number % 3 else PRIORS[0]
        choices = {"where": where, "prior": prior}
        memory = outcome(lambda c=choices: read_records(file, **c))
        same(memory, outcome(lambda c=choices: stream_records(file, **c)))
        told.append(memory[0])
    assert sum(isinstance(one, dict) and one["prior"]["ambiguous"] > 0 for one in told) > 1
    assert sum(isinstance(one, str) for one in told) > 5


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_where_alone_is_one_more_test_of_a_row_and_rows_left_out_are_still_checked(kind, tmp_path):
    frame = long(5).assign(prior_score=lambda d: d["score"] - 3)
    file = written(frame, tmp_path, kind)
    for where in WHERE[:7]:
        same(
            outcome(lambda w=where: read_records(file, where=w)), outcome(lambda w=where: stream_records(file, where=w))
        )
    frame.loc[frame.index[frame["subject"] == "art"][3], "score"] = np.inf
    file = written(frame, tmp_path, kind)
    for choices in ({"where": WHERE[1]}, {}):
        memory = outcome(lambda c=choices: read_records(file, **c))
        assert "finite numbers" in memory[0]
        same(memory, outcome(lambda c=choices: stream_records(file, **c)))
    frame = frame.drop(columns="prior_score")
    file, choices = written(frame, tmp_path, kind), {"where": WHERE[1], "prior": PRIORS[0]}
    same(outcome(lambda: read_records(file, **choices)), outcome(lambda: stream_records(file, **choices)))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_prior_scores_of_another_file_are_those_of_memory(kind, large, tmp_path, monkeypatch):
    monkeypatch.setattr("valib.sums.streams.engines.MOST_ROWS", 0)
    monkeypatch.setattr("valib.sums.streams.engines.SHARE", 1e9 if large else 16)
    frame = long(7)
    before = frame[frame["cohort"] == 2021].rename(columns={"student": "ID", "score": "POINTS"})
    now = written(frame[frame["cohort"] == 2022], tmp_path, kind)
    columns = {"student": "ID", "score": "POINTS"}
    for number, match in enumerate((["subject"], ["subject", "flag"], ["subject", "school"], [])):
        prior = {"file": str(written(before, tmp_path, kind, "before")), "columns": columns, "match": match}
        first = number + 2 * large + (kind == "parquet")  # so that every match meets every choice of rows in two cases
        for where in (WHERE[first % 4], WHERE[(first + 2) % 4]):
            choices = {"where": where, "prior": prior}
            memory = outcome(lambda c=choices: read_records(now, **c))
            same(memory, outcome(lambda c=choices: stream_records(now, **c)))
    prior["columns"] = {"student": "ID", "score": "nowhere"}
    same(outcome(lambda: read_records(now, prior=prior)), outcome(lambda: stream_records(now, prior=prior)))


def test_another_file_is_put_aside_as_long_as_the_stream_lives_and_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr("valib.sums.streams.engines.MOST_ROWS", 0)
    monkeypatch.setattr("valib.sums.streams.engines.SHARE", 1e9)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spill"))
    (tmp_path / "spill").mkdir()
    frame = long(8)
    before = frame[frame["cohort"] == 2021].rename(columns={"student": "ID", "score": "POINTS"})
    now = written(frame[frame["cohort"] == 2022], tmp_path, "csv")
    file = str(written(before, tmp_path, "csv", "before"))
    prior = {"file": file, "columns": {"student": "ID", "score": "POINTS"}, "match": ["subject"]}
    choices = {"where": WHERE[1], "prior": prior}
    stream = stream_records(now, **choices)
    gc.collect()
    aside = set((tmp_path / "spill").iterdir())
    SpillFolder().remove()  # what another run does first: it takes away what nobody holds
    assert len(aside) == 4 and set((tmp_path / "spill").iterdir()) == aside
    same(outcome(lambda: read_records(now, **choices)), outcome(lambda: stream))
    gc.collect()
    assert not list((tmp_path / "spill").iterdir())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_wide_records_are_reshaped_and_numbered_alike(kind, tmp_path):
    rng = np.random.default_rng(4)
    n = 300
    wide = pd.DataFrame({"school": [f"{i % 9:03d}" for i in range(n)], "sex": rng.choice(["f", "m"], n)})
    for year in (2019, 2021, 2023):
        wide[f"read_{year}"] = rng.normal(500, 50, n).round(1)
        wide.loc[rng.random(n) < 0.2, f"read_{year}"] = np.nan
    reshape = {"cohort": [2021, 2023], "columns": {"score": "read_{cohort}", "prior_score": "read_{cohort-2}"}}
    file = written(wide, tmp_path, kind)
    for more in ({}, {"where": "sex == 'f' and cohort == 2023"}):
        choices = {"columns": {"student": "row_number"}, "reshape": reshape, **more}
        same(outcome(lambda c=choices: read_records(file, **c)), outcome(lambda c=choices: stream_records(file, **c)))
    choices = {"columns": {"student": "row_number"}, "reshape": {**reshape, "columns": {"score": "red_{cohort}"}}}
    same(outcome(lambda: read_records(file, **choices)), outcome(lambda: stream_records(file, **choices)))
    wide = wide.assign(read_2019=wide["read_2019"].astype(object))
    wide.loc[3, "read_2019"] = "absent"
    with pytest.raises(RecordsError):
        stream_records(written(wide.astype({"read_2019": str}), tmp_path, kind), choices["columns"], reshape=reshape)


def test_a_year_that_is_zero_is_added_where_the_rows_lie(tmp_path):
    frame = long(6).assign(prior_score=1.0, cohort=lambda d: d["cohort"] - 2002.5)
    frame["prior_score"] += np.arange(len(frame))
    choices = {"year_zero": 2002.5, "where": "subject == 'art' and cohort > 2021"}
    for kind in ("csv", "parquet"):
        file = written(frame, tmp_path, kind)
        same(outcome(lambda f=file: read_records(f, **choices)), outcome(lambda f=file: stream_records(f, **choices)))


def test_the_functions_of_where_are_those_of_formulas_that_look_at_one_row():
    assert set(FUNCTIONS) == set(formulas.FUNCTIONS) - {*formulas.LEARNING, *formulas.KNOWN, "C"}  # it has: is missing
    for text in (
        "center(score) > 0",
        "score ** grade > 1",
        "np.log(score, 2) > 1",
        "school_mean(score) > 1",
        "exec('x')",
    ):
        with pytest.raises(RecordsError, match="not understood"):
            read_records(long(1), where=text, prior=PRIORS[0])


def put_aside(monkeypatch):
    """What the queries of a stream put aside were: whether each counts earlier rows."""
    asked, keep = [], DuckEngine.keep
    monkeypatch.setattr(DuckEngine, "keep", lambda self, q: asked.append("count(*) AS n" in q[-1]) or keep(self, q))
    return asked


@pytest.mark.parametrize(
    ("kind", "where"),
    [("csv", None), ("parquet", None), ("parquet", "grade == 5 or subject == 'art'"), ("parquet", "prior_score > 480")],
)
def test_earlier_rows_are_counted_only_where_a_key_may_have_two(kind, where, tmp_path, monkeypatch):
    """And what was put aside in vain, or to be joined, does not stay on the disk until the stream is closed."""
    decided_by_prior = where is not None and "prior" in where
    few = long(3, 40).drop_duplicates(["student", "subject", "cohort"])
    twice = pd.concat([few, few[(few["cohort"] == 2021) & (few["subject"] == "art")]])
    for frame, two in ((few, False), (twice, True)):
        file, asked = written(frame, tmp_path, kind), put_aside(monkeypatch)
        memory = read_records(file, prior=PRIORS[0], where=where)
        stream = stream_records(file, prior=PRIORS[0], where=where)
        assert stream.attrs["prior"] == memory.attrs["prior"] and stream.attrs.get("where") == memory.attrs.get("where")
        assert asked[kind == "csv" :] == ([True] if decided_by_prior else [False, True] if two else [False])
        assert len(list(stream._engine._spill.path.glob("kept-*.parquet"))) == 1
        stream.close()
        monkeypatch.undo()


@pytest.mark.parametrize(("most", "joins"), [(0, 3), (400, 2), (10_000, 1)])
def test_cohorts_are_linked_as_many_at_a_time_as_fit(most, joins, tmp_path, monkeypatch):
    frame = long(3)
    frame.loc[:4, "cohort"] = None
    file, queries, keep = written(frame, tmp_path, "parquet"), [], DuckEngine.keep
    monkeypatch.setattr(DuckEngine, "keep", lambda self, q: queries.append(len(q)) or keep(self, q))
    monkeypatch.setattr(choice, "MOST_JOINED", most)
    prior = {"years_before": 1, "match": "subject"}
    same(outcome(lambda: read_records(file, prior=prior)), outcome(lambda: stream_records(file, prior=prior)))
    assert set(queries) == {joins}
