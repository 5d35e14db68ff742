"""Measurements: contenders take turns, a row knows its target, and the appendix says what the file holds."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valib.errors import ValibError
from valib.pages import figures as plotting
from valib.pages import speed

PERF = Path(__file__).resolve().parents[2] / "perf"
pytestmark = pytest.mark.skipif(not (PERF / "run.py").is_file(), reason="perf/ is not part of a wheel")

CONTENDER = """
import json, os, sys
print('chatter'); print('@{}', flush=True)
for k, line in enumerate(sys.stdin):
    with open(sys.argv[1], 'a') as log: log.write(line.strip())
    if line.strip() == 'F': sys.exit('out of paper')
    print("chatter")
    print("@" + json.dumps({"seconds": float(k + 1), "threads": os.environ["OMP_NUM_THREADS"]}), flush=True)
"""


@pytest.fixture
def perf(monkeypatch):
    monkeypatch.syspath_prepend(str(PERF))
    import cases
    import rows
    import timing

    return {"cases": cases, "rows": rows, "timing": timing}


def timed(perf, *seconds, **found):
    return perf["timing"].Timed(list(seconds), found)


def test_contenders_take_turns_with_the_same_threads_and_the_first_run_warms_up(perf, tmp_path):
    timing, log = perf["timing"], tmp_path / "log"
    command = [sys.executable, "-c", CONTENDER, log]
    with timing.Contender(command, threads=3) as a, timing.Contender(command, threads=3) as b:
        results = timing.in_turn({"a": (a, "A"), "b": (b, "B")}, rounds=3, budget=100)
    assert log.read_text() == "ABABABAB"
    assert [r.seconds for r in results.values()] == [[2.0, 3.0, 4.0]] * 2
    assert {r.found["threads"] for r in results.values()} == {"3"}


def test_a_long_first_run_counts_and_a_budget_ends_the_runs(perf, tmp_path):
    timing = perf["timing"]
    with timing.Contender([sys.executable, "-c", CONTENDER, tmp_path / "log"]) as one:
        results = timing.in_turn({"one": (one, "A")}, rounds=9, budget=2.5)
    assert results["one"].seconds == [1.0, 2.0]


def test_a_contender_that_fails_leaves_a_note_and_the_others_go_on(perf, tmp_path):
    timing, log = perf["timing"], tmp_path / "log"
    command = [sys.executable, "-c", CONTENDER, log]
    with timing.Contender(command) as a, timing.Contender(command) as b:
        results = timing.in_turn({"a": (a, "F"), "b": (b, "B")}, rounds=2, budget=100)
    assert results["a"].note == "failed: out of paper" and results["a"].seconds == []
    assert results["b"].seconds == [2.0, 3.0]


def test_a_row_knows_its_ratio_its_target_and_how_far_the_fits_are_apart(perf):
    row, PASSES = perf["rows"].row, perf["rows"].PASSES
    ours = timed(perf, 1.0, 2.0, 3.0, loglik=-10.0, tau2=4.0, sigma2=9.0, coefficients=[1.0], errors=[1.0, 2.0, 0.5])
    other = timed(perf, 20.0, 40.0, 90.0, loglik=-10.5, tau2=4.5, sigma2=9.0, coefficients=[1.5])
    r = row("relative", "x", "valib", ours, "lme4", other, at_least=20)
    assert r["ratio"] == {"median": 20.0, "low": 20.0, "high": 30.0} and r["met"] is True
    assert (r["loglik"], r["estimates"]) == (-0.5, 1.0)  # the coefficient: half a point, which is one standard error
    assert row("relative", "x", "valib", ours, "lme4", other, at_least=20.1)["met"] is False
    assert row("sums", "x", "valib", other, "X'X", ours, ratio_of=PASSES, at_most=20)["met"] is True
    assert row("joint", "x", "fit", ours, seconds_at_most=1.9)["met"] is False
    absent = row("relative", "x", "valib", ours, "lme4", None, at_least=60, note="not installed")
    assert absent["met"] is None and absent["ratio"] is None


def test_what_would_take_too_long_is_said_from_growth_and_not_run(perf):
    too_long = perf["cases"].too_long
    assert too_long([], 10**6, 1.0) == ""
    assert too_long([(60_000, 2.0), (600_000, 20.0)], 6_000_000, 201.0) == ""
    assert too_long([(60_000, 2.0), (600_000, 20.0)], 6_000_000, 199.0) == "not run: would take about 3 minutes"
    assert too_long([(60_000, 1.0), (600_000, 100.0)], 6_000_000, 199.0) == "not run: would take about 3 hours"
    assert too_long([(60_000, 20.0), (600_000, 20.0)], 6_000_000, 199.0).endswith("3 minutes")  # never below linear


def test_numbers_reach_r_as_they_are(perf, tmp_path):
    import data

    records = data.one_cohort(50, 5, 2)
    columns = data.write_for_r(records, tmp_path / "r.bin")
    values = np.fromfile(tmp_path / "r.bin").reshape(len(columns), -1)
    assert columns[-1] == "school" and "student" not in columns
    for name, column in zip(columns[:-1], values, strict=False):
        np.testing.assert_array_equal(column, records[name])
    assert (pd.factorize(records["school"], sort=True)[0] + 1 == values[-1]).all()


def result_file(perf, folder: Path) -> Path:
    ours = timed(perf, 0.04, 0.05, 0.06, loglik=-10.0, tau2=4.0, sigma2=9.0, coefficients=[1.0], errors=[1.0, 2.0, 0.5])
    lme4 = timed(perf, 4.0, 5.0, 6.0, loglik=-10.0, tau2=4.0, sigma2=9.0, coefficients=[1.0])
    row, PASSES = perf["rows"].row, perf["rows"].PASSES
    rows = [
        row("relative", "600,000 students", "valib", ours, "lme4", lme4, at_least=60),
        row(
            "relative",
            "600,000 students",
            "valib",
            ours,
            "MixedLM",
            None,
            at_least=200,
            note="not run: would take about 3 hours",
        ),
        row(
            "sums",
            "600,000 students",
            "sums of arrays",
            timed(perf, 0.6),
            "one pass of X'X",
            timed(perf, 0.1),
            ratio_of=PASSES,
            at_most=5,
        ),
        row("joint", "3,000 schools", "unstructured fit", timed(perf, 0.125), seconds_at_most=1.0),
    ]
    sizes = {"students": 600_000, "schools": 3_000, "covariates": 5, "cohorts": 1}
    grown = [
        {
            "along": along,
            **sizes,
            along: value,
            "median": value / 1e6,
            "low": value / 2e6,
            "high": value / 5e5,
            "runs": 3,
            "memory_mib": value / 1e4,
        }
        for along, values in {"students": (60_000, 600_000), "schools": (30, 300)}.items()
        for value in values
    ]
    content = {
        "format": speed.FORMAT,
        "date": "2030-01-31",
        "machine": {"cpu": "x"},
        "versions": {"valib": "1"},
        "minutes": 1.5,
        "rows": rows,
        "growth": grown,
    }
    file = folder / "performance.json"
    file.write_text(json.dumps(content))
    return file


def test_the_tables_and_the_verdicts_say_what_the_file_holds(perf, tmp_path):
    result = speed.load(result_file(perf, tmp_path))
    relative = speed.comparisons(result, "relative")
    assert relative["valib (s)"].tolist() == ["0.05 (0.04 to 0.06)"] * 2
    assert relative["Other (s)"].tolist() == ["5 (4 to 6)", "not run: would take about 3 hours"]
    assert relative["Ratio"].tolist() == ["100", ""]
    assert relative["Target"].tolist() == ["at least 60: met", "at least 200: not checked"]
    assert speed.comparisons(result, "sums")["Ratio"].tolist() == ["6 times the other"]
    assert speed.verdicts(result) == [
        "Relative fit (600,000 students): 100 times as fast as lme4. The target is at least 60: met.",
        "Relative fit (600,000 students): the target could not be checked, because MixedLM was not measured.",
        "Sums of students (600,000 students): 6 times one pass of X'X. The target is at most 5: not met.",
        "Joint fit (3,000 schools): 0.125 seconds for the unstructured fit. The target is at most 1 seconds: met.",
    ]
    assert speed.agreement(result)[["Beside", "Log-likelihood", "Estimates (SE)"]].to_numpy().tolist() == [
        ["lme4", "+0.0e+00", "0e+00"]
    ]


def test_growth_is_drawn_as_measured(perf, tmp_path):
    table = speed.growth(speed.load(result_file(perf, tmp_path)))
    fig = plotting.scaling(table)
    assert [ax.get_xlabel() for ax in fig.axes[2:]] == ["Students", "Schools"]
    for name, column in (("seconds", "seconds"), ("memory_mib", "memory_mib")):
        (line,) = fig.findobj(lambda a, gid=f"{name} Students": a.get_gid() == gid)
        np.testing.assert_allclose(line.get_xdata(), [60_000, 600_000])
        np.testing.assert_allclose(line.get_ydata(), table.loc[table["along"] == "Students", column])


@pytest.mark.parametrize("spoil", ["format", "rows", "machine", "a row", "a point", "no JSON", "no file"])
def test_a_file_that_holds_something_else_is_refused_in_a_sentence(perf, tmp_path, spoil):
    file = result_file(perf, tmp_path)
    content = copy.deepcopy(json.loads(file.read_text()))
    if spoil in content:
        content[spoil] = None
    elif spoil == "a row":
        del content["rows"][1]["met"]
    elif spoil == "a point":
        del content["growth"][0]["runs"]
    file.write_text("{" if spoil == "no JSON" else json.dumps(content))
    if spoil == "no file":
        file.unlink()
    with pytest.raises(ValibError, match=r"^performance\.json: .*\.$"):
        speed.load(file)


def test_the_measurements_that_come_with_valib_can_be_read():
    result = speed.load()
    assert {"relative", "sums", "joint", "bootstrap"} <= {row["case"] for row in result["rows"]}
    assert all(math.isfinite(v) and v > 0 for v in speed.growth(result)["seconds"])
    assert len(speed.verdicts(result)) >= 4 and "host" not in json.dumps(result["machine"])


@pytest.mark.long
def test_the_command_measures_small_records_and_writes_what_the_appendix_reads(tmp_path):
    out = tmp_path / "deep" / "quick.json"
    done = subprocess.run(
        [sys.executable, PERF / "run.py", "--quick", "--only", "relative", "--students", "1000", "--out", out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = speed.load(out)
    ours = [row for row in result["rows"] if row["case"] == "relative"]
    assert {row["other"] for row in ours} >= {"statsmodels MixedLM", "lme4 (lmer)", "GPBoost (fit alone)"}
    assert all(row["estimates"] < 0.1 and abs(row["loglik"]) < 1e-2 for row in ours if row["loglik"] is not None)
    assert "MixedLM" in done.stdout and list(out.parent.iterdir()) == [out]
