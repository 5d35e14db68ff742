"""Records that change while a stream of them is added up: no result mixes two versions."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from faultlib import contents, make_study, one_sentence
from typer.testing import CliRunner

from valib.command import cli
from valib.effects import baseline, relative

pytestmark = pytest.mark.usefixtures("no_pictures")


def grow(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(path.read_text(encoding="utf-8").splitlines()[-1] + "\n")


def replace(path: Path) -> None:
    other = path.with_name("other.csv")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def another_part(path: Path) -> None:
    others(pd.read_parquet(path / "a.parquet")).to_parquet(path / "b.parquet")


def others(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows of other students."""
    return frame.assign(
        **{c: "x" + frame[c].astype(str) for c in frame if "student" in c.lower() or "pupil" in c.lower()}
    )


def part_gone(path: Path) -> None:
    (path / "b.parquet").unlink()


CHANGES = [
    ("records.csv", grow),
    ("records.csv", replace),
    ("records.csv", Path.unlink),
    ("parts", another_part),
    ("parts", part_gone),
]
COMMANDS = {
    "fit": (relative, "fit_relative", ["fit", "--model", "relative", "--out", "out"]),
    "baseline": (baseline, "fit_baseline", ["baseline", "--out", "out/b.json"]),
}


def change_after_fit(patch, command, change) -> None:
    """Have a file change as soon as the command's fit has read it."""
    module, name, _ = COMMANDS[command]
    fit = getattr(module, name)

    def fit_then_change(*arguments, **settings):
        fitted = fit(*arguments, **settings)
        change()
        return fitted

    patch.setattr(module, name, fit_then_change)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("data", "change"), CHANGES, ids=lambda value: getattr(value, "__name__", value))
def test_records_that_change_while_they_are_read(tmp_path, monkeypatch, data, change, command):
    make_study(tmp_path)
    (tmp_path / "parts").mkdir()
    for part in ("a", "b") if change is part_gone else ("a",):
        frame = pd.read_csv(tmp_path / "records.csv")
        (frame if part == "a" else others(frame)).to_parquet(tmp_path / "parts" / f"{part}.parquet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    order = COMMANDS[command][-1]
    words = [order[0], data, "--params", "study.yml", *order[1:]]
    with monkeypatch.context() as patch:
        change_after_fit(patch, command, lambda: change(tmp_path / data))
        done = CliRunner().invoke(cli.app, [*words, "--engine", "duckdb"], prog_name="valib")
    assert done.exit_code == 2 and "changed while" in done.stderr, done.output
    assert one_sentence(done.stderr.replace("Reading", "")) and not contents(tmp_path / "out")
    if (tmp_path / data).exists():
        again = CliRunner().invoke(cli.app, [*words, "--engine", "duckdb"], prog_name="valib")
        assert again.exit_code == 0, again.output


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("change", [grow, replace, Path.unlink])
def test_a_file_of_prior_scores_that_changes_while_it_is_read(tmp_path, monkeypatch, change, command):
    params = make_study(tmp_path)
    records = pd.read_csv(tmp_path / "records.csv", dtype={"student": str, "school": str})
    before = records[["student", "prior_score"]].rename(columns={"prior_score": "score"})
    before.to_csv(tmp_path / "before.csv", index=False)
    records.drop(columns="prior_score").to_csv(tmp_path / "records.csv", index=False)
    params.write_text(params.read_text() + "prior: {file: before.csv}\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    change_after_fit(monkeypatch, command, lambda: change(tmp_path / "before.csv"))
    order = COMMANDS[command][-1]
    words = [order[0], "--params", "study.yml", *order[1:], "--engine", "duckdb"]
    done = CliRunner().invoke(cli.app, words, prog_name="valib")
    assert done.exit_code == 2 and "changed while" in done.stderr, done.output
    assert not contents(tmp_path / "out")
