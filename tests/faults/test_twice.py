"""Two runs into one place at once: the second is refused in one sentence and touches nothing."""

from __future__ import annotations

import fcntl
import gc
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from commands import run
from conftest import simulate

from valib.errors import ParamsError
from valib.study import folder as folders
from valib.study.writing import claim, write_folder


@pytest.fixture
def here(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    simulate(rng, schools=8, size=(3, 9), cohorts=(2030, 2031, 2033)).drop(columns="u").to_csv("r.csv", index=False)
    values = {"data": "r.csv", "baseline_cohorts": [2030, 2031], "focal_cohorts": [2033], "further_formulas": []}
    Path("params.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    Path("out").mkdir()
    write_folder(Path("out"), "fit", {"fits.json": "earlier"})
    return tmp_path


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(11)


COMMANDS = {
    "book": ["book", "--quiet", "--out", "out"],
    "fit": ["fit", "--model", "relative", "--out", "out"],
    "simulate": ["simulate", "--scenarios", "drift", "--methods", "seed", "--replicates", "2", "--out", "out"],
    "baseline": ["baseline", "--out", "out/baseline.json"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_run_is_refused_and_touches_nothing(here, command):
    name = "baseline.json" if command == "baseline" else None
    with claim(Path("out"), name):
        before = sorted(os.listdir("out"))
        done = run(*COMMANDS[command])
        assert done.exit_code == 2
        assert "another run of valib is writing there" in done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("Error: --out is ")
        assert sorted(os.listdir("out")) == before and Path("out/fits.json").read_text() == "earlier"
    assert sorted(os.listdir("out")) == [".made-by-valib", "fits.json"], "the claim leaves nothing"


def test_two_baselines_of_different_names_may_be_made_at_once(here):
    with claim(Path("out"), "other.json"):
        assert run(*COMMANDS["baseline"]).exit_code == 0
        with pytest.raises(ParamsError, match="another run"), claim(Path("out")):
            pass
    assert sorted(os.listdir("out")) == [".made-by-valib", "baseline.json", "fits.json"]


def test_of_many_claims_at_once_one_is_granted(tmp_path):
    """Who made the folder takes it away again, so the lock must lie on the folder that is there now."""
    inside, most, granted, failures = 0, 0, 0, []
    guard, start = threading.Lock(), threading.Barrier(8)

    def hold() -> None:
        nonlocal inside, most, granted
        start.wait()
        for _ in range(60):
            try:
                with claim(tmp_path / "new"):
                    with guard:
                        inside, granted = inside + 1, granted + 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1
            except ParamsError:
                pass
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and most == 1 and granted >= 1 and not list(tmp_path.glob("new/*"))


def test_without_locks_the_run_goes_on(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    (tmp_path / ".valib-of a run elsewhere").mkdir()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with claim(tmp_path):
        write_folder(tmp_path, "fit", {"omega.csv": "new"})
    assert (tmp_path / "omega.csv").read_text() == "new"
    assert (tmp_path / ".valib-of a run elsewhere").is_dir(), "it may be at work: nobody can tell"


@contextmanager
def fails_at(monkeypatch, number: int, error: BaseException):
    """Let the rename of this number fail."""
    rename, count = os.rename, 0

    def fail(old, new):
        nonlocal count
        count += 1
        if count == number:
            raise error
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "rename", fail)
        yield


EARLIER = {"fits.json": "earlier", "shifts.csv": "earlier", "mine.txt": "mine"}
NEW = {"fits.json": "new", "school_effects.csv": "new", "fixed_effects.csv": "new"}
RENAMES = 7  # two earlier files and the list away, three new ones and the list in


def fill(folder: Path) -> None:
    """Let there be results of an earlier run, and a file of the user."""
    write_folder(folder, "fit", {name: text for name, text in EARLIER.items() if name != "mine.txt"})
    (folder / "mine.txt").write_text("mine")


def texts(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith(".")}


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
def test_a_rename_that_fails_puts_back_what_was_there(tmp_path, monkeypatch, number, error):
    fill(tmp_path)
    with fails_at(monkeypatch, number, error), pytest.raises(type(error)):
        write_folder(tmp_path, "fit", NEW)
    assert texts(tmp_path) == EARLIER and not list(tmp_path.glob(".valib-*"))
    write_folder(tmp_path, "fit", NEW)
    assert texts(tmp_path) == NEW | {"mine.txt": "mine"} and not list(tmp_path.glob(".valib-*"))


@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_a_run_killed_between_two_renames_is_undone_by_the_next(tmp_path, number):
    fill(tmp_path)
    child = os.fork()
    if not child:
        gc.disable()  # the threads of other tests did not come along
        rename, count = os.rename, 0

        def die(old, new):
            nonlocal count
            count += 1
            if count == number:
                os._exit(9)
            rename(old, new)

        folders.os.rename = die
        write_folder(tmp_path, "fit", NEW)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(tmp_path.glob(".valib-*"))
    with claim(tmp_path):
        assert texts(tmp_path) == EARLIER
    assert not list(tmp_path.glob(".valib-*"))
