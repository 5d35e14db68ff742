"""`valib simulate`: files, exit codes, and taking up an interrupted run."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from commands import run

from valib.records.datasets import load_records
from valib.simulation import runs as montecarlo
from valib.simulation.calibrate import calibrate
from valib.study.folder import digest

COMMAND = ["simulate", "--scenarios", "few-schools,drift", "--methods", "seed,default b known", "--jobs", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_has_examples_and_every_name_is_listed():
    assert "valib simulate --fast --out" in run("simulate", "--help").stdout
    listed = run("simulate", "--list").stdout
    assert all(name in listed for name in [*montecarlo.SCENARIOS, *montecarlo.METHODS, "this study"])


def test_the_files_are_the_library_s_results(here):
    result = run(*COMMAND, "--replicates", "60", "--seed", "3", "--level", "0.9", "--out", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out: 2 scenarios, 2 methods, 60 data sets each.\n"
    expected = montecarlo.simulate(
        ["few schools", "drift"], ["seed", "default (b known)"], replicates=60, seed=3, level=0.9
    )
    table = pd.read_csv("out/performance.csv")
    pd.testing.assert_frame_equal(table, expected.table, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet("out/replicates.parquet"), expected.draws, check_dtype=False)
    truth = pd.read_csv("out/scenarios.csv").set_index("scenario")
    assert truth.loc["drift", "delta"] == -14 and truth.loc["few schools", "schools"] == 15
    made = [".made-by-valib", "performance.csv", "replicates.parquet", "scenarios.csv", "simulation_columns.csv"]
    assert sorted(p.name for p in Path("out").iterdir()) == made


def test_the_study_in_hand(here):
    result = run(
        *"simulate demo --scenarios".split(),
        "this study",
        *"--methods default --replicates 2 --jobs 1 --reliability 0.9 --out out".split(),
    )
    assert result.exit_code == 0, result.output
    world = calibrate(load_records("demo"), [2015, 2016, 2017], 2024, reliability=0.9)
    truth = pd.read_csv("out/scenarios.csv").iloc[0]
    assert truth["scenario"] == "this study" and truth["focal"] == 2024
    assert truth["tau"] == pytest.approx(world.tau) and truth["cells"] == sum(map(sum, world.cells))


def test_an_interrupted_run_keeps_earlier_results_and_takes_up_where_it_stopped(here, monkeypatch):
    Path("out").mkdir()
    earlier = Path("out/performance.csv")
    earlier.write_text("earlier\n")
    Path("out/.made-by-valib").write_text(json.dumps({"simulate": {earlier.name: digest(earlier)}}))
    settings = [*COMMAND, "--replicates", "120", "--out", "out"]
    compute, computed = montecarlo._compute, []

    def stop_after_three(*arguments):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(arguments[2])
        return compute(*arguments)

    monkeypatch.setattr(montecarlo, "_compute", stop_after_three)
    assert run(*settings).exit_code != 0
    assert Path("out/performance.csv").read_text() == "earlier\n"
    monkeypatch.setattr(montecarlo, "_compute", lambda *a: computed.append(a[2]) or compute(*a))
    assert run(*settings).exit_code == 0
    assert computed == [0, 50, 100, 0, 50, 100]  # six chunks, none of them twice
    whole = montecarlo.simulate(["few schools", "drift"], ["seed", "default (b known)"], replicates=120, seed=20150512)
    pd.testing.assert_frame_equal(pd.read_csv("out/performance.csv"), whole.table, check_dtype=False)
    assert not Path("out/.simulation").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--scenarios", "nope"], "--scenarios names 'nope'"),
        (["--methods", "seed,"], "--methods names ''"),
        (["--fast", "--replicates", "9"], "--fast"),
        (["demo", "--scenarios", "plain"], "leaves out"),
        (["--scenarios", "plain,plain"], "twice"),
        (["--scenarios", "this study", "--reliability", "1.5"], "reliability"),
        (["--scenarios", "this study", "--baseline-cohorts", "1999"], "1999"),
    ],
)
def test_unusable_input_ends_with_code_2_and_one_sentence(here, arguments, part):
    result = run("simulate", *arguments, "--out", "out")
    assert result.exit_code == 2
    assert part in result.stderr and result.stderr.count("\n") == 1
    assert not Path("out").exists()


def test_too_few_replicates_end_with_code_2(here):
    assert run("simulate", "--replicates", "1", "--out", "out").exit_code == 2
