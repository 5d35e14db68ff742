"""Parquet files whose statistics are false: the rows count, in memory and streamed, not what the footer says of them."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from valib.records.reading import read_records
from valib.sums.streams import moments_from_source, stream_records
from valib.sums.streams.duck import DuckEngine

NULLS = [3, 7, 9, 20, 30]


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    prior = rng.normal(500, 60, 60).round(1)
    return pd.DataFrame(
        {
            "student": [f"P{k:04d}" for k in range(60)],
            "school": [f"{k:03d}" for k in rng.integers(0, 6, 60)],
            "cohort": rng.choice([2016, 2019], 60),
            "score": (prior + rng.normal(0, 30, 60)).round(1),
            "prior_score": prior,
        }
    )


def falsified(path: Path, frame: pd.DataFrame, column: str, **said: object) -> Path:
    """The table as Parquet whose footer says something else of a column: min, max (of equal length) or null_count."""
    frame.to_parquet(path, index=False, row_group_size=10 if len(said) > 1 else None)
    raw, meta = path.read_bytes(), pq.read_metadata(path)
    length = int.from_bytes(raw[-8:-4], "little")
    body, footer = raw[: -8 - length], raw[-8 - length : -8]
    groups = [meta.row_group(k).column(meta.schema.names.index(column)).statistics for k in range(meta.num_row_groups)]
    true = footer
    for what, value in said.items():
        for old, new in {pair for group in groups for pair in _coded(what, getattr(group, what), value)}:
            footer = footer.replace(old, new)
    assert footer != true and len(footer) == len(true)
    path.write_bytes(body + footer + raw[-8:])
    return path


def _coded(what: str, old: object, new: object) -> list[tuple[bytes, bytes]]:
    """Two values as the footer has them; a count in its field of Thrift's compact form, with or without one before it."""
    if what == "null_count":
        return [tuple(first + bytes([2 * n]) + b"\x28" for n in (old, new)) for first in (b"\x16", b"\x36")]
    kind = {str: str.encode, float: struct.Struct("<d").pack, int: struct.Struct("<q").pack}[type(new)]
    return [(kind(old), kind(new))]


BOUNDS = [
    ("cohort", "min", 1),
    ("cohort", "min", 2018),
    ("cohort", "max", 2017),
    ("cohort", "max", 2**40),
    ("score", "min", 499.0),
    ("score", "max", 501.0),
    ("score", "max", 1e9),
    ("prior_score", "min", 1e9),
    ("prior_score", "max", float("nan")),
    ("school", "min", "004"),
    ("school", "max", "001"),
]
COUNTS = [(column, new) for column in ("cohort", "score", "prior_score", "school") for new in (0, 1, 40)]


def sums(found) -> tuple:
    assert found.n_students > 40
    mean = found.sums.sum(axis=0) / found.n_students + found.shift
    return found.n_students, list(found.schools), [float(f"{m:.10g}") for m in mean]


def test_false_statistics_change_no_number(tmp_path):
    """Before, 2 of these 23 gave other numbers than memory, 2 were refused and 2 ended in no sentence."""
    counts = Counter()
    lacking = {c: table() for c in ("cohort", "score", "prior_score", "school")}
    for column, frame in lacking.items():
        frame[column] = frame[column].astype("Int64") if column == "cohort" else frame[column]
        frame.loc[NULLS, column] = None
    files = [falsified(tmp_path / f"{k}.parquet", table(), c, **{w: v}) for k, (c, w, v) in enumerate(BOUNDS)]
    files += [falsified(tmp_path / f"n{k}.parquet", lacking[c], c, null_count=new) for k, (c, new) in enumerate(COUNTS)]
    for path in files:
        memory, streamed = (sums(moments_from_source(path, engine=engine).moments) for engine in ("memory", "duckdb"))
        assert memory == streamed, path.name
        counts["equal"] += 1
    assert counts == {"equal": len(BOUNDS) + len(COUNTS)} == {"equal": 23}


def test_a_group_of_rows_is_not_passed_over_for_what_is_said_of_it(tmp_path):
    """One cohort of a file whose groups of rows claim other years, and the place of a row that is at fault."""
    frame = table().sort_values("cohort", ignore_index=True)
    path = falsified(tmp_path / "a.parquet", frame, "cohort", min=1, max=2)
    assert (read_records(path)["cohort"] == 2016).sum() == (frame["cohort"] == 2016).sum() > 10
    with DuckEngineAt(path) as engine:
        column = f"c{list(frame).index('cohort')}"
        count, where, value = engine.where(f"{column} = 2016", column)
        assert count == (frame["cohort"] == 2016).sum() and value == "2016" and where.startswith("row")
    assert stream_records(path).cohorts == [2016, 2019]


class DuckEngineAt:
    def __init__(self, path: Path):
        self.engine = DuckEngine(path)

    def __enter__(self) -> DuckEngine:
        return self.engine

    def __exit__(self, *_: object) -> None:
        self.engine.close()


@pytest.mark.parametrize("column", ["score", "prior_score"])
def test_the_fits_are_those_of_the_rows(tmp_path, column):
    frame = table()
    frame.loc[NULLS, column] = None
    path = falsified(tmp_path / "a.parquet", frame, column, null_count=0)
    found = moments_from_source(path, cohorts=[2016, 2019], engine="duckdb").moments
    kept = frame.dropna()
    assert found.n_students == len(kept) == 55
    mean = found.sums.sum(axis=0) / found.n_students + found.shift
    np.testing.assert_allclose(mean[1:], kept[["prior_score", "score"]].mean(), rtol=1e-12)  # sums in another order
