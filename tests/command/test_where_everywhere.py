"""`where` means the same to every command that reads records: the rows that a file cut by hand holds."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from conftest import simulate
from typer.main import get_command

import valib as va
from valib.command.cli import app

pytestmark = pytest.mark.usefixtures("no_pictures")

WHERE = "subject == 'maths' and grade == 5"
COHORTS = ("--baseline-cohorts", "2030,2031", "--focal-cohorts", "2033")
ORDERS = {
    "check": (*COHORTS, "--json", "--out", "{out}.json"),
    "fit": ("--model", "relative", "--intervals", "plugin", *COHORTS, "--out", "{out}"),
    "baseline": (*COHORTS, "--out", "{out}.json"),
    "report": ("--school", "S0003", *COHORTS, "--out", "{out}"),
    "simulate": ("--scenarios", "this study", "--methods", "seed", "--replicates", "2", *COHORTS, "--out", "{out}"),
    "key": ("--out", "{out}.csv"),
    "book": (*COHORTS, "--out", "{out}"),
}
WITHOUT = {"init", "summary"}  # the first looks at all rows, the other has no DATA: its params file says which


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """both.csv, of which the rows that count are cut.csv; and a key."""
    place = tmp_path_factory.mktemp("where")
    rows = simulate(np.random.default_rng(5), schools=12, size=(6, 15), cohorts=(2030, 2031, 2033)).drop(columns="u")
    others = [rows.assign(subject=s, grade=g, score=rows["score"] * 0.3) for s, g in (("maths", 4), ("art", 5))]
    own = rows.assign(subject="maths", grade=5)
    rng = np.random.default_rng(6)
    own.to_csv(place / "cut.csv", index=False)
    mixed = pd.concat([own, *others], ignore_index=True)
    places = rng.permutation(len(mixed))
    places[np.sort(rng.choice(len(mixed), len(own), replace=False))] = -1  # the rows that count keep their order
    order, others_left = np.full(len(mixed), -1), iter(range(len(own), len(mixed)))
    kept = iter(range(len(own)))
    for at, value in enumerate(places):
        order[at] = next(kept) if value < 0 else next(others_left)
    mixed.iloc[order].to_csv(place / "both.csv", index=False)
    assert run("key", place / "key").exit_code == 0
    return place


def order(command: str, data: Path, out: Path, *more) -> list:
    words = [word.replace("{out}", str(out)) for word in ORDERS[command]]
    lead = [data.parent / "key", "--lookup", data] if command == "key" else [data]
    return [command, *lead, *more, *words]


def files(out: Path) -> dict[str, str]:
    """What a command has written, by name, but for the names of files and what it says of the choice itself."""
    found = [path for path in (out, *out.parent.glob(f"{out.name}*"), *out.rglob("*")) if path.is_file()]
    texts = {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in found
        if path.suffix in (".csv", ".json")
    }
    for name in ("about.csv", "report_about.csv", "fits.json"):
        texts.pop(name, None)
    return {name.replace(out.name, "out"): text.replace("both.csv", "cut.csv") for name, text in texts.items()}


def without_choice(text: str) -> object:
    content = json.loads(text)
    for name in ("where", "rows", "checksum"):
        content.pop(name, None)
    return content


@pytest.mark.parametrize("command", [name for name in ORDERS if name != "book"])
def test_every_command_reads_the_rows_of_a_file_cut_by_hand(folder, tmp_path, command):
    chosen = run(*order(command, folder / "both.csv", tmp_path / "chosen", "--where", WHERE))
    by_hand = run(*order(command, folder / "cut.csv", tmp_path / "by_hand"))
    assert chosen.exit_code == by_hand.exit_code == 0, chosen.output + by_hand.output
    ours, theirs = files(tmp_path / "chosen"), files(tmp_path / "by_hand")
    assert set(ours) == set(theirs) and ours
    for name, text in ours.items():
        if name.endswith(".json"):
            assert without_choice(text) == without_choice(theirs[name]), name
        else:
            assert text == theirs[name], name


def test_a_summary_reads_the_rows_that_its_params_file_names(folder, tmp_path):
    told = {}
    for name, where in (("both", f'where: "{WHERE}"\n'), ("cut", "")):
        params = folder / f"{name}.yml"
        params.write_text(f"data: {name}.csv\nbaseline_cohorts: [2030, 2031]\nfocal_cohorts: [2033]\n{where}")
        done = run("summary", "--params", params, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
        told[name] = re.sub(r"both\.csv|cut\.csv", "", (tmp_path / name / "summary.html").read_text(encoding="utf-8"))
    assert told["both"] == told["cut"]


@pytest.mark.parametrize("command", ORDERS)
def test_every_command_refuses_an_expression_that_leaves_no_row(folder, tmp_path, command):
    done = run(*order(command, folder / "both.csv", tmp_path / "out", "--where", "grade == 4 and subject == 'art'"))
    assert done.exit_code == 2 and "no row is left by where" in done.stderr, done.output
    assert not list(tmp_path.glob("out/*"))


def test_every_command_that_takes_records_takes_where():
    commands = get_command(app).commands
    assert set(commands) == set(ORDERS) | WITHOUT
    for name, command in commands.items():
        there = {parameter.name for parameter in command.params}
        assert {"where", "prior"} <= there or name in WITHOUT, name
        assert name in ORDERS or name == "init" or "data" not in there, name


def long(folder: Path) -> Path:
    """A long file, with grades 4 and 5 and a year's prior scores in it."""
    rows = simulate(np.random.default_rng(7), schools=12, size=(20, 30), cohorts=(2030, 2031, 2033)).drop(columns="u")
    rows = pd.concat([rows.assign(grade=g) for g in (4, 5)], ignore_index=True)
    rows.loc[rows["grade"] == 4, "student"] = "x" + rows["student"]
    rows.to_csv(folder / "long.csv", index=False)
    return folder / "long.csv"


@pytest.mark.parametrize("read", [va.read_records, va.stream_records])
def test_a_kept_benchmark_tells_of_rows_that_are_chosen_otherwise(tmp_path, read):
    data, kept = long(tmp_path), tmp_path / "b.json"

    def others_told(where):
        found = va.fit_benchmark(read(data, where=where), 2033, va.Benchmark.load(kept), intervals="plugin").findings
        return [item.text for item in found if item.code == "other_rows"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        va.fit_baseline(read(data, where="grade == 5"), [2030, 2031]).save(kept)
        assert json.loads(kept.read_text())["rows"] == {"where": "grade == 5"}
        assert others_told("grade == 5") == []
        for where, told in (("grade == 4", "grade == 4"), (None, "no expression")):
            (text,) = others_told(where)
            assert f"than those of the benchmark (where: grade == 5 in the benchmark, {told} here)" in text
        school = pd.read_csv(data, dtype=str)["school"].iat[0]
        va.fit_baseline(read(data, where=f"school != '{school}' and grade == 5"), [2030, 2031]).save(kept)
    assert json.loads(kept.read_text())["rows"] == {"where": "an expression with codes"}
    assert school not in kept.read_text()


def test_late_students_are_told_of_rows_that_are_chosen_otherwise(tmp_path):
    data = long(tmp_path)
    fit = ("fit", data, "--model", "relative", "--intervals", "plugin", "--cohorts", "2033")
    assert run(*fit, "--where", "grade == 5", "--out", tmp_path / "fit").exit_code == 0
    like = ("fit", data, "--like", tmp_path / "fit", "--cohorts", "2033")
    assert "chosen otherwise" not in run(*like, "--where", "grade == 5", "--out", tmp_path / "same").output
    assert (
        "grade == 5 in the fit, grade == 4 here"
        in run(*like, "--where", "grade == 4", "--out", tmp_path / "late").output
    )


def test_where_prior_scores_are_from_is_kept_with_a_benchmark(tmp_path):
    rows = pd.read_csv(long(tmp_path), dtype={"student": str, "school": str}).query("grade == 5").drop(columns="grade")
    now = rows.drop(columns="prior_score")
    before = rows.assign(score=rows["prior_score"])[["student", "score"]]
    before.to_csv(tmp_path / "before.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linked = va.read_records(now, prior={"file": str(tmp_path / "before.csv")})
        benchmark = va.fit_baseline(linked, [2030, 2031])
        benchmark.save(tmp_path / "b.json")
        loaded = va.Benchmark.load(tmp_path / "b.json")
    assert benchmark.rows == loaded.rows == {"prior": "another file"}
    codes = [item.code for item in va.fit_benchmark(linked, 2033, loaded).findings]
    assert "other_rows" not in codes
    with pytest.warns(va.ValibWarning, match="prior: another file in the benchmark, a column of the records here"):
        va.fit_benchmark(va.read_records(rows), 2033, loaded)
    content = json.loads((tmp_path / "b.json").read_text())
    for rows_told in ({}, {"where": 3}, {"who": "x"}, "x"):
        with pytest.raises(va.BenchmarkError, match="choice of rows"):
            damaged = {k: v for k, v in content.items() if k != "checksum"} | {"rows": rows_told}
            (tmp_path / "d.json").write_text(json.dumps(damaged | {"checksum": va_checksum(damaged)}))
            va.Benchmark.load(tmp_path / "d.json")


def va_checksum(content: dict) -> str:
    from valib.effects.artefact import checksum

    return checksum(content)
