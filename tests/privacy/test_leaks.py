"""No student in what the commands write or say. The whole book is searched in tests/test_real_book.py."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from leaks import MARK, RARE, places, plant, search
from matplotlib.figure import Figure
from typer.testing import CliRunner

from valib.command.cli import app

COHORTS = ["--baseline-cohorts", "2030,2031", "--focal-cohorts", "2033"]
COMMANDS = {
    "check": ["check"],
    "check-json": ["check", "--json"],
    "relative": ["fit", "--model", "relative", "--formula", "score ~ prior_score + ses", "--out", "relative"],
    "benchmark": ["fit", "--model", "benchmark", "--out", "benchmark"],
    "joint": ["fit", "--model", "joint", "--cohorts", "2031,2033", "--out", "joint"],
    "several": [
        *["fit", "--model", "joint", "--cohorts", "2031,2033", "--average", "2031,2033"],
        *["--covariance", "compound_symmetry", "--out", "several"],
    ],
    "baseline": ["baseline", "--out", "baseline.json"],
    "simulate": [
        "simulate",
        "--scenarios",
        "this study",
        *"--methods seed,default --replicates 3 --jobs 1 --quiet --out simulation".split(),
    ],
}


@pytest.fixture(scope="module")
def records():
    frame = simulate(np.random.default_rng(11), schools=25, size=(2, 40), cohorts=(2030, 2031, 2033), rho=0.5)
    frame = plant(frame.drop(columns="u"))
    frame.loc[frame.index[40:43], "prior_score"] = np.nan  # left out
    frame.loc[frame.index[50], "student"] = frame["student"].iloc[51]  # twice in a cohort
    frame.loc[frame.index[60], "student"] = frame["student"].iloc[-60]  # and in two schools
    return frame


@pytest.fixture(scope="module")
def said(records, tmp_path_factory):
    """The folder in which every command has run; what each said lies there as text."""
    folder = tmp_path_factory.mktemp("commands")
    records.to_csv(folder.parent / "extract.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, (command, *words) in COMMANDS.items():
            done = CliRunner().invoke(app, [command, str(folder.parent / "extract.csv"), *COHORTS, *words])
            assert done.exit_code == 0, done.output
            Path(f"{name}.txt").write_text(done.output, encoding="utf-8")
    return folder


def test_no_command_writes_or_says_a_student(said, records, record_property):
    files, found = search(said, [MARK, *RARE])
    record_property("files searched", files)
    record_property("codes planted", 3 * len(records) + len(RARE))
    assert records["student"].str.startswith(MARK).all() and len(records) > 1000
    assert files >= len(COMMANDS) + 15, "too few files were searched"
    assert not found


def test_results_hold_no_path_and_no_user(said):
    results = [path for path in said.rglob("*") if path.is_file() and path.suffix != ".txt"]
    assert len(results) >= 15
    for path in results:
        folder = path.parent if path.parent != said else said
        assert not search(folder, [*places(), str(said)])[1]


def test_no_small_cell_and_none_that_gives_it_away_is_written(said, records):
    sizes = records.dropna(subset=["prior_score"]).groupby(["cohort", "school"]).size()
    small = sizes[sizes < 5]
    assert len(small) > 3
    for model in ("relative", "benchmark", "joint"):
        written = pd.read_csv(said / model / "school_effects.csv", dtype={"school": "str"})
        told = set(zip(written["cohort"], written["school"], strict=True))
        assert not told & set(small.index)
        for cohort, part in sizes.groupby(level="cohort"):
            held = [key for key in part.index if key not in told]
            if cohort in set(written["cohort"]) and part.min() < 5:
                assert len(held) >= 3 and part[held].sum() >= 5
                assert abs(written.loc[written["cohort"] == cohort, "effect"].sum()) > 1e-6


def test_a_school_held_back_in_one_cohort_is_in_no_table_of_several_years(said, records):
    sizes = records.dropna(subset=["prior_score"]).groupby(["cohort", "school"]).size()
    small = {school for cohort, school in sizes[sizes < 5].index if cohort in (2031, 2033)}
    shown = set(pd.read_csv(said / "several" / "school_effects.csv", dtype={"school": "str"})["school"])
    for name in ("averages.csv", "lasting.csv"):
        told = pd.read_csv(said / "several" / name, dtype={"school": "str"})["school"]
        assert small and not small & set(told) and set(told) == shown and len(told) == len(shown)


def test_an_error_about_the_records_shows_no_student(records, tmp_path):
    broken = {
        "score": records.assign(score=records["score"].astype("object").where(records.index != 7, "absent")),
        "cohort": records.assign(cohort=records["cohort"].astype("object").where(records.index != 7, "next year")),
        "infinite": records.assign(score=records["score"].where(records.index != 7, np.inf)),
        "none": records.assign(prior_score=np.nan),
        "column": records.drop(columns="school"),
        "missing cohort": records[records["cohort"] != 2033],
    }
    for name, frame in broken.items():
        frame.to_csv(tmp_path / "broken.csv", index=False)
        done = CliRunner().invoke(
            app, ["fit", str(tmp_path / "broken.csv"), *COHORTS, "--model", "relative", "--out", str(tmp_path / "out")]
        )
        assert done.exit_code == 2, name
        assert MARK not in done.output.lower() and not any(word in done.output for word in RARE), done.output
    assert len(broken) == 6


WRONG = [(name, other) for name in ("score", "prior_score", "cohort") for other in ("Code", "Surname", "Mail")]


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_an_error_about_a_column_taken_for_another_shows_nothing_of_it(engine, records, tmp_path):
    records.rename(
        columns={"student": "Code", "school": "Unit", "cohort": "Year", "score": "Y5", "prior_score": "Y3"}
    ).to_csv(tmp_path / "extract.csv", index=False)
    right = {"student": "Code", "school": "Unit", "cohort": "Year", "score": "Y5", "prior_score": "Y3"}
    for name, other in WRONG:
        columns = right | {"student": "Surname" if other == "Code" else "Code", name: other}
        words = [word for pair in columns.items() for word in ("--column", "=".join(pair))]
        done = CliRunner().invoke(
            app,
            [
                "fit",
                str(tmp_path / "extract.csv"),
                *COHORTS,
                "--model",
                "relative",
                *words,
                "--engine",
                engine,
                "--out",
                str(tmp_path / "out"),
            ],
        )
        assert done.exit_code == 2 and f"({name}) must hold" in done.stderr, done.output
        assert MARK not in done.output.lower()
    assert len(WRONG) == 9


def test_the_search_finds_one_code_wherever_it_is_hidden(tmp_path):
    """The test of the tests: one planted code in each kind of file is found; without it nothing is."""
    code, clean = MARK + "000123", "nothing"
    kinds = 0
    for word, folder in ((code, tmp_path / "with"), (clean, tmp_path / "without")):
        (folder / word).mkdir(parents=True)
        (folder / word / "page.html").write_text("<p>page</p>", encoding="utf-8")
        (folder / "notebook.ipynb").write_text(json.dumps({"metadata": {"x": word}}), encoding="utf-8")
        (folder / "log.gz").write_bytes(gzip.compress(word.encode()))
        with zipfile.ZipFile(folder / "book.xlsx", "w") as archive:
            archive.writestr("inner.gz", gzip.compress(word.encode()))
        pd.DataFrame({"a": [word]}).to_parquet(folder / "rows.parquet")
        meta = pd.DataFrame({"a": [1]})
        meta.attrs["source"] = word
        meta.to_parquet(folder / "attrs.parquet")
        Figure().savefig(folder / "picture.png", metadata={"Author": word})
        figure = Figure()
        figure.text(0.5, 0.5, "x")
        figure.savefig(folder / "figure.pdf", metadata={"Author": word})
        figure.savefig(folder / "figure.svg", metadata={"Title": word})
        header = b"# Sphinx inventory version 2\n# Project: x\n# Version: \n# zlib\n"
        (folder / "objects.inv").write_bytes(header + zlib.compress(f"{word} std:label 1 x -\n".encode()))
        files, found = search(folder, [MARK])
        kinds = len({line.split(" (")[0].split("/")[-1] for line in found}) if word == code else kinds
        assert files == 10 and (not found if word == clean else True)
    assert kinds == 10, "a kind of file in which nothing is found"
