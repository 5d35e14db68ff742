"""Every column of every file that valib writes is explained, at one home."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.study.dictionary import COLUMNS, ELSEWHERE, FILES, explained, meaning

STUDY = ["--baseline-cohorts", "2015,2016", "--focal-cohorts", "2019,2021"]
RUNS = {
    "relative": ["fit", "my.csv", "--model", "relative", "--cohorts", "2019", "--random", "prior_score"],
    "spread": ["fit", "my.csv", "--model", "relative", "--cohorts", "2019", "--residual", "by_school"],
    "spreads": ["fit", "my.csv", "--model", "relative", "--cohorts", "2019", "--residual", "district"],
    "benchmark": ["fit", "my.csv", "--model", "benchmark", *STUDY, "--groups", "district", "--similar", "prior_score",
                  "--neighbours", "3", "--cap", "3"],
    "joint": ["fit", "my.csv", "--model", "joint", "--cohorts", "2019,2021", "--average", "2019,2021",
              "--covariance", "compound_symmetry"],
    "report": ["report", "my.csv", "--all", "--quiet", "--jobs", "1", *STUDY],
    "simulate": ["simulate", "--scenarios", "few-schools", "--methods", "seed", "--replicates", "2", "--quiet"],
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of each run, by name."""
    folder = tmp_path_factory.mktemp("written")
    records = simulate(np.random.default_rng(8), 25, (8, 20), (2015, 2016, 2019, 2021), rho=0.6).drop(columns="u")
    records["district"] = "D" + records["school"].str[-1].map(lambda digit: str(int(digit) % 2))
    records.assign(school_name="Ä " + records["school"]).to_csv(folder / "my.csv", index=False)
    for name, words in RUNS.items():
        words = [str(folder / word) if word == "my.csv" else word for word in words]
        more = ["--no-figures"] if words[0] == "fit" else []
        done = CliRunner().invoke(app, [*words, *more, "--out", str(folder / name)])
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_every_column_of_every_written_file_is_explained_beside_it(written, name):
    folder = written / name
    list_of = {"simulate": "simulation_columns.csv", "report": "report_columns.csv"}.get(RUNS[name][0], "columns.csv")
    told = pd.read_csv(folder / list_of, keep_default_na=False)
    assert told["meaning"].ne("").all(), told[told["meaning"] == ""]
    tables = {path.name for path in folder.iterdir() if path.suffix in (".csv", ".parquet")}
    assert set(told["file"]) == tables
    for file, part in told.groupby("file", sort=False):
        read = pd.read_parquet if file.endswith(".parquet") else pd.read_csv
        assert read(folder / file).columns.tolist() == part["column"].tolist()
    command = RUNS[name][0]
    assert tables <= set(FILES[command]) | {"about.csv", list_of}, "a file that the appendix does not list"


def test_what_is_explained_exists():
    """No meaning is kept for a column that nothing writes any more: each is of a file, or is looked up by name."""
    listed = {file for files in FILES.values() for file in files}
    assert {file for file, _ in ELSEWHERE} <= listed
    assert all(text and not text.endswith(".") for text, _ in [*COLUMNS.values(), *ELSEWHERE.values()])


def test_a_column_of_ones_own_has_no_meaning_and_an_outcome_its_own_unit():
    table = explained({"school_effects.csv": ["effect", "my_own"]}, "units of the outcome")
    assert table["unit"].tolist() == ["units of the outcome", ""] and table["meaning"].tolist()[1] == ""
    assert meaning("scenarios.csv", "tau") == ("SD of school effects and of students", "")
