"""What reads for more than two seconds says so once, on stderr, unless it is to be quiet."""

import json
import time

import pandas as pd
import pytest
from commands import run

import valib as va
from valib.pages import progress
from valib.records import reading
from valib.records.sources import opening

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """Records in several formats, of which every one takes longer to open than valib is silent."""
    records = va.load_records("demo")
    pd.DataFrame(records).to_csv(tmp_path / "slow.csv", index=False)
    pd.DataFrame(records).to_parquet(tmp_path / "slow.parquet")
    open_file = opening._open_file

    def late(*arguments):
        time.sleep(0.3)
        return open_file(*arguments)

    monkeypatch.setattr(opening, "_open_file", late)
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    return tmp_path


@pytest.mark.parametrize("name", ["slow.csv", "slow.parquet"])
def test_slow_reading_is_told_once(slow, name):
    said = "Reading " + name + " ..."
    checked = run("check", slow / name)
    fitted = run("fit", slow / name, "--model", "relative", "--engine", "memory", "--out", slow / "out")
    begun = run("init", slow / name, "--out", slow / "study.yml")
    for done in (checked, fitted, begun):
        assert done.exit_code == 0, done.output
        assert done.stderr.splitlines().count(said) == 1 and said not in done.stdout


def test_what_is_piped_stays_quiet(slow):
    done = run("check", slow / "slow.csv", "--json")
    assert json.loads(done.stdout) and "Reading" not in done.stderr


def test_quick_reading_is_not_told(tmp_path, capsys):
    with progress.reading("a.csv"):
        reading.read_records(va.load_records("exam"))
    time.sleep(0.05)
    assert capsys.readouterr().err == ""
