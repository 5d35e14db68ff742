"""A result that would go over what the study is read from: refused before anything is computed, and nothing touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from faultlib import contents, make_study, one_sentence
from typer.testing import CliRunner

from valib.command import cli
from valib.study.folder import digest, move_into_place, work_folder

FIT, SIMULATE = ["fit", "--model", "relative"], ["simulate", "--replicates", "20", "--quiet"]
OVER = {  # the source that would be lost, and the command; STUDY stands for --params study.yml
    "records, baseline": ("records.csv", ["baseline", "STUDY", "--out", "records.csv"]),
    "params, baseline": ("study.yml", ["baseline", "STUDY", "--out", "study.yml"]),
    "records by another path": ("records.csv", ["baseline", "STUDY", "--out", "link/records.csv"]),
    "records, check": ("records.csv", ["check", "STUDY", "--out", "records.csv"]),
    "params, check": ("study.yml", ["check", "STUDY", "--out", "study.yml"]),
    "records, fit": ("fits.json", [*FIT, "fits.json", "STUDY", "--out", "."]),
    "records that fit would clear": ("shifts.csv", [*FIT, "shifts.csv", "STUDY", "--out", "."]),
    "records, simulate": ("performance.csv", [*SIMULATE, "performance.csv", "STUDY", "--out", "."]),
    "params, fit": ("fits.json", [*FIT, "records.csv", "--params", "fits.json", "--out", "."]),
    "benchmark, fit": ("fits.json", ["fit", "STUDY", "--model", "benchmark", "--benchmark", "fits.json", "--out", "."]),
    "records, lookup": ("records.csv", ["key", "my.key", "--lookup", "records.csv", "--out", "records.csv"]),
    "key, lookup": ("my.key", ["key", "my.key", "--lookup", "records.csv", "--out", "my.key"]),
    "parts, fit": ("parts/a.parquet", [*FIT, "parts", "STUDY", "--out", "parts"]),
    "parts, fit below": ("parts/a.parquet", [*FIT, "parts", "STUDY", "--out", "parts/results"]),
    "parts, simulate": ("parts/a.parquet", [*SIMULATE, "parts", "STUDY", "--out", "parts/new"]),
    "parts, baseline": ("parts/a.parquet", ["baseline", "parts", "STUDY", "--out", "parts/b.parquet"]),
    "parts, book": ("parts/a.parquet", ["book", "parts", "STUDY", "--out", "parts"]),
    "parts, report": ("parts/a.parquet", ["report", "parts", "STUDY", "--all", "--out", "parts/report"]),
    "records, book": ("baseline.json", ["book", "baseline.json", "STUDY", "--out", "."]),
    "records among the book's results": ("results/r.csv", ["book", "results/r.csv", "STUDY", "--out", "."]),
    "params among the pages": ("html/s.yml", ["report", "--all", "--params", "html/s.yml", "--out", "."]),
    "records, report": ("report.csv", ["report", "report.csv", "STUDY", "--all", "--out", "."]),
    "a benchmark of last year, book": ("baseline.json", ["book", "STUDY", "--out", "."]),
    "a PDF from elsewhere, book": ("valib.pdf", ["book", "STUDY", "--out", "."]),
    "a table from elsewhere, report": ("report.csv", ["report", "STUDY", "--all", "--out", "."]),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    os.symlink(".", "link")
    assert CliRunner().invoke(cli.app, ["key", "my.key"]).exit_code == 0
    return tmp_path


def put(source: str, kind: str) -> None:
    """Let there be a source of this name: records, or a params file."""
    path = Path(source)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pd.read_csv("records.csv").to_parquet(path)
    elif not path.exists():
        path.write_bytes(Path("study.yml" if kind == "params" else "records.csv").read_bytes())


@pytest.mark.parametrize("case", OVER)
def test_no_result_goes_over_what_the_study_is_read_from(here, case):
    source, order = OVER[case]
    put(source, case.partition(" ")[0].strip(","))
    if source.startswith(("results/", "html/")):  # of an earlier run, so the folder may be replaced
        name = source.partition("/")[0]
        Path(".made-by-valib").write_text(json.dumps({order[0]: {name: digest(Path(name))}}))
    before = contents(here)
    words = [word for part in order for word in (("--params", "study.yml") if part == "STUDY" else (part,))]
    done = CliRunner().invoke(cli.app, words, prog_name="valib")
    assert done.exit_code == 2 and one_sentence(done.stderr), done.output
    assert "--out is" in done.stderr and "name" in done.stderr
    assert contents(here) == before


def test_what_a_run_killed_between_two_renames_has_left_is_its_own(here):
    """baseline.json is in its place and what it replaced waits aside: it is not taken for another's."""
    for text in ("earlier", "new"):
        Path("made").mkdir(exist_ok=True)
        Path("made/baseline.json").write_text(text)
        if text == "earlier":
            Path("out").mkdir()
            with work_folder(here / "out") as aside:
                os.rename("made/baseline.json", aside / "baseline.json")
                move_into_place("book", ["baseline.json"], here / "out", aside)
    before = contents(here / "out")
    aside = here / "out" / ".valib-killed"
    (aside / "replaced").mkdir(parents=True)
    (aside / "moving.json").write_text(json.dumps({"baseline.json": digest(Path("made/baseline.json"))}))
    os.rename("out/baseline.json", aside / "replaced" / "baseline.json")
    os.rename("made/baseline.json", "out/baseline.json")
    done = CliRunner().invoke(cli.app, ["book", "no.csv", "--params", "study.yml", "--quiet", "--out", "out"])
    assert done.exit_code == 2 and "no.csv: there is no such file" in done.stderr
    assert contents(here / "out") == before and before["baseline.json"] == b"earlier"


def test_how_many_were_tried():
    assert len(OVER) == 25
