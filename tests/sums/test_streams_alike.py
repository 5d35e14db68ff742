"""Streams and memory on awkward records: column types, levels, sizes and refusals, by name and by seeded draws."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_streams import _refusal, assert_same_sums, quietly, records, write

from valib.errors import ModelError, RecordsError, ValibError
from valib.records.reading import read_records
from valib.records.sources.spill import SpillFolder
from valib.sums.design import make_cells
from valib.sums.moments import moments_from_arrays
from valib.sums.streams import can_stream, stream_records
from valib.sums.streams.duck import DuckEngine
from valib.sums.students import sum_students


def awkward(n: int = 400, seed: int = 5) -> pd.DataFrame:
    """Records with the columns that files hold and a clean table does not."""
    rng, frame = np.random.default_rng(seed), records(n, seed)
    return frame.assign(
        amount=[Decimal(int(v)) / 10 for v in rng.integers(0, 900, n)],
        number=rng.integers(0, 5, n) * 10**17 + 1,
        band=pd.Categorical(frame.grade, [5, 3, 4]),
        flag=frame.flag.astype(object).mask(rng.random(n) < 0.1),
        dosage=rng.integers(1, 4, n) / 2,
        wide=frame.ses * 1e12,
    )


def both(path, formula, cohorts=(2015, 2021), **rest):
    """(result or refusal, warnings) of memory, then of a stream."""

    def asked(opened):
        try:
            return quietly(lambda: sum_students(opened(), list(cohorts), formula, **rest))
        except ValibError as error:
            return re.sub(r"^[\w.]*: ", "", str(error)), None

    return asked(lambda: read_records(path)), asked(lambda: stream_records(path, formula=formula))


def assert_alike(path, formula, cohorts=(2015, 2021), **rest):
    """Memory and a stream sum alike, or refuse in one sentence; returns what memory did."""
    (theirs, said), (ours, also) = both(path, formula, cohorts, **rest)
    if isinstance(theirs, str) or isinstance(ours, str):
        assert ours == theirs or "--engine memory" in ours and not can_stream(formula)
    else:
        assert also == said
        assert_same_sums(ours, theirs, by_cell=False)
        assert ours.fingerprint == theirs.fingerprint and list(ours.columns) == list(theirs.columns)
    return theirs


@pytest.fixture(scope="module", params=["parquet", "semicolon"])
def file(request, tmp_path_factory):
    return write(awkward(), tmp_path_factory.mktemp("awkward"), request.param)


ALIKE = {
    "decimals": "score ~ prior_score + amount",
    "true and false with blanks": "score ~ prior_score + flag",
    "their category": "score ~ C(flag) + prior_score",
    "a category of whole numbers": "score ~ prior_score + band",
    "a category of decimal numbers": "score ~ prior_score + C(dosage)",
    "a comparison as a category": "score ~ C(ses > 0) * region",
    "levels by name": "score ~ C(grade, levels=[3, 4, 5])",
    "a comparison of what is undefined": "score ~ I(np.log(ses) > 0) + I(np.log(ses) != 0) + C(np.log(ses) > -1)",
    "remainders of large numbers": "score ~ I(wide % -0.7) + I(wide // 3.7) + I(-ses % 0.7) + I(ses // -0.7)",
    "contrasts of every kind of category": "score ~ C(grade, contr.sum) + C(dosage, contr.sum) + C(flag, contr.sum)",
    "a quoted column as a category": "score ~ C(Q('grade')) + prior_score",
    "the same beside contrasts": "score ~ C(Q('grade')) + C(region, contr.sum)",
}
REFUSED = {
    "a level that is not named": ("score ~ C(grade, levels=[3, 4])", "level '5'"),
    "the least of what is undefined": ("score ~ np.minimum(np.log(ses), 0)", "not finite"),
    "a division by nought": ("score ~ I(prior_score / female) + I(ses // 0)", "not finite"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_sums_are_those_of_memory(file, case):
    assert assert_alike(file, ALIKE[case], describe=True).moments.n_students > 150


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_those_of_memory(file, case):
    formula, told = REFUSED[case]
    assert told in assert_alike(file, formula)


def test_cohorts_with_a_decimal_comma(tmp_path):
    path = write(awkward().assign(cohort=lambda f: f.cohort.astype(float)), tmp_path, "semicolon")
    found = assert_alike(path, "score ~ prior_score + C(cohort)")
    assert "2015,0" in path.read_text() and found.moments.cohorts.tolist() == [2015, 2021]


@pytest.mark.parametrize("value", [2e30, -3e31, 1e160, 1e-31, 1e-200, np.inf])
def test_sizes_are_refused_in_the_same_sentence(tmp_path, value):
    frame = records(3000).assign(odd=lambda f: np.where(f.index == 1234, value, 0.0), cohort=2015)
    frame.dropna().to_parquet(tmp_path / "r.parquet")
    told = assert_alike(tmp_path / "r.parquet", "score ~ prior_score + odd", [2015])
    assert ("not finite" if np.isinf(value) else "numbers of a size that squares cannot hold") in told


def test_what_only_memory_can_do_is_said_and_auto_takes_memory(file):
    assert not can_stream("score ~ prior_score + C(school)") and can_stream("score ~ C(ses > 0) + school_mean(ses)")
    assert not can_stream("score ~ school_mean(ses) + C(region, contr.sum)")
    assert not can_stream("score ~ prior_score * known(ses) + if_known(ses)")
    assert "--engine memory" in _refusal(stream_records, file, formula="score ~ C(school)")
    assert "known(ses)" in _refusal(stream_records, file, formula="score ~ prior_score * known(ses) + if_known(ses)")
    assert "2^53" in _refusal(stream_records, file, formula="score ~ C(number)")


def test_a_state_refuses_a_level_it_has_not_seen_in_batches(tmp_path):
    formula = "score ~ prior_score + C(region, contr.sum)"
    frame = records(400).query("cohort != 2016")
    frame.loc[(frame.cohort == 2015) & (frame.region == "north"), "region"] = "o'south"
    frame.to_parquet(tmp_path / "r.parquet")
    state = quietly(sum_students, read_records(tmp_path / "r.parquet"), [2015], formula)[0].state
    found = [
        _refusal(lambda r=r: sum_students(r, [2021], state))
        for r in (read_records(tmp_path / "r.parquet"), stream_records(tmp_path / "r.parquet", formula=formula))
    ]
    assert found[0] == found[1] and "'north'" in found[1]


def test_a_cohort_without_a_complete_row(tmp_path):
    records(400).assign(ses=lambda f: f.ses.mask(f.cohort == 2015)).to_parquet(tmp_path / "r.parquet")
    found = assert_alike(tmp_path / "r.parquet", "score ~ prior_score + ses")
    assert found.moments.cohorts.tolist() == [2021]


def test_sums_keep_their_digits_far_from_nought(tmp_path):
    """Scores near 1e9 with a spread of 0.1; the first rows, which tell a stream where the mean lies, lack a covariate.

    The reference is the exact sum of the differences from 1e9 (math.fsum). A double near 1e9 is 1.2e-7 wide; the
    differences are exact numbers, so only the adding of some hundred of them errs: far less than 1e-12 each.
    """
    rng = np.random.default_rng(2)
    n = 12_000
    frame = pd.DataFrame(
        {
            "student": range(n),
            "school": rng.integers(0, 40, n),
            "cohort": 2020,
            "score": 1e9 + rng.normal(0, 0.1, n),
            "prior_score": 1e9 + rng.normal(0, 0.1, n),
            "ses": np.where(np.arange(n) < 10_500, np.nan, 1.0),
        }
    )
    frame.to_parquet(tmp_path / "r.parquet")
    exact = frame.iloc[10_500:].groupby("school")["score"].apply(lambda x: math.fsum(x - 1e9)).to_numpy()
    for opened in (
        read_records(tmp_path / "r.parquet"),
        stream_records(tmp_path / "r.parquet", formula="score ~ prior_score + ses"),
    ):
        moments = quietly(sum_students, opened, [2020], "score ~ prior_score + ses")[0].moments
        by_name = np.argsort(moments.schools.astype(int))
        sums = (moments.sums[:, -1] + moments.n * (moments.shift[-1] - 1e9))[by_name]
        np.testing.assert_allclose(sums, exact, rtol=0, atol=len(frame) / 40 * 2e-7)
        spread = np.diag(moments.pooled())[-1] - moments.sums[:, -1].sum() ** 2 / moments.n_students
        assert spread == pytest.approx(((frame.score[10_500:] - frame.score[10_500:].mean()) ** 2).sum(), rel=1e-8)


@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_of_rows_in_blocks(order):
    """More rows than a block, and more cells than rows in one: against sums in exact arithmetic of whole numbers."""
    rng = np.random.default_rng(4)
    X = np.asarray(np.column_stack([np.ones(150_000), rng.integers(0, 1000, 150_000)]), order=order, dtype=np.float64)
    y, school = rng.integers(0, 1000, 150_000).astype(np.float64), pd.Series(rng.integers(0, 90_000, 150_000))
    found = moments_from_arrays(X, y, make_cells(school), ("Intercept", "x"))
    exact = pd.DataFrame({"x": X[:, 1], "y": y}).groupby(school.to_numpy()).sum()
    np.testing.assert_allclose((found.means * found.n[:, None])[:, 1:], exact.to_numpy(), rtol=1e-12, atol=1e-9)
    assert (found.sums[:, 0] == found.n).all()


def test_a_part_and_its_row_are_named_in_memory_and_in_a_stream(tmp_path):
    frame = records(60).dropna(subset="cohort").assign(score=lambda f: f.score.where(f.index != 41, np.inf))
    frame.to_parquet(tmp_path / "hive", partition_cols=["cohort"])
    told = [re.sub(r"^.*\(", "", _refusal(f, tmp_path / "hive")) for f in (read_records, stream_records)]
    assert told[0] == told[1] and re.match(r"'cohort=20\d\d/[\w-]+\.parquet' row \d+; first: 'inf'\)", told[0])


def test_ctrl_c_ends_a_query_that_would_run_for_hours(tmp_path, monkeypatch):
    """The signal is sent once DuckDB is at work on a product of 10^14 rows, as its progress tells."""
    monkeypatch.setattr("valib.sums.streams.duck.SECONDS", 0.05)
    write(awkward(40), tmp_path, "parquet")
    sent: list[int] = []

    def interrupt(done: int, of: int) -> None:
        if not sent:
            sent.append(of)
            os.kill(os.getpid(), signal.SIGINT)

    engine = DuckEngine(tmp_path / "records.parquet", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs do not hear it
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.query("SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b")
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent and engine.query("SELECT 1").num_rows == 1
    engine.close()


def test_what_is_refused_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spill"))
    (tmp_path / "spill").mkdir()
    write(awkward(40), tmp_path, "parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is all there is PAR1")
    for name, formula, kind in (
        ("records.parquet", "score ~ nowhere", ModelError),
        ("broken.parquet", "score ~ prior_score", RecordsError),
    ):
        with pytest.raises(kind):
            stream_records(tmp_path / name, formula=formula)
        assert not list((tmp_path / "spill").iterdir())


def test_what_a_killed_run_has_spilled_is_cleared_by_the_next(tmp_path, monkeypatch):
    """A run that holds its folder keeps it; that of a run ended by kill -9 goes with the next."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = SpillFolder()
    left = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
        stdout=subprocess.PIPE,
        check=False,
    )
    killed = Path(left.stdout.strip())
    assert left.returncode == -signal.SIGKILL and (killed / "block").exists()
    fresh = SpillFolder()
    assert not killed.exists() and held.path.is_dir() and fresh.path.is_dir()
    for folder in (held, fresh, held):
        folder.remove()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal
from valib.records.sources.spill import SpillFolder
folder = SpillFolder().path
(folder / "block").write_bytes(b"spilled")
print(folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
EVERYWHERE = {"score": "string", "prior_score": "string", "cohort": "string", "female": "bool"}
IN_A_PART = {"ses": "float", "grade": "int8", "dosage": "float"}
TERMS = [
    "prior_score",
    "ses",
    "female",
    "flag",
    "amount",
    "I(ses ** 2)",
    "log(prior_score)",
    "school_mean(ses)",
    "school_mean(prior_score)",
    "I(prior_score - school_mean(prior_score))",
    "ses:prior_score",
    "I(grade == 3)",
    "region",
    "C(region)",
    "C(grade)",
    "band",
    "C(flag)",
    "C(ses > 0)",
    "region:C(grade)",
    "C(dosage):ses",
    "region * prior_score",
    "C(region, contr.sum)",
    "np.maximum(ses, 0)",
    "C(cohort)",
    "school_mean(flag)",
]


def drawn(seed: int, folder):
    """A folder of Parquet parts, each with types and an order of columns of its own, and a formula."""
    rng = np.random.default_rng(seed)
    frame, parts = awkward(int(rng.choice([30, 150, 500])), seed), int(rng.integers(1, 4))
    frame = frame.sort_values(str(rng.choice(["cohort", "school", "student"])))
    everywhere = {name: kind for name, kind in EVERYWHERE.items() if rng.random() < 0.2}
    for k in range(parts):
        table = pa.Table.from_pandas(frame.iloc[k::parts], preserve_index=False)
        for name, kind in (everywhere | {n: kind for n, kind in IN_A_PART.items() if rng.random() < 0.4}).items():
            table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
        pq.write_table(table.select(rng.permutation(table.column_names).tolist()), folder / f"{k}.parquet")
    return "score ~ " + " + ".join(rng.choice(TERMS, int(rng.integers(1, 4)), replace=False)) + " + 0" * (seed % 6 == 0)


def test_draws_of_files_and_formulas(tmp_path):
    outcomes = {"summed": 0, "refused": 0}
    for seed in range(24):
        (tmp_path / str(seed)).mkdir()
        formula = drawn(seed, tmp_path / str(seed))
        found = assert_alike(tmp_path / str(seed), formula, describe=bool(seed % 2))
        outcomes["refused" if isinstance(found, str) else "summed"] += 1
    print(outcomes)
    assert sum(outcomes.values()) == 24 and outcomes["summed"] >= 18
