"""Output folders got from a stranger, shared with others or named wrongly: nothing of the user's is touched."""

from __future__ import annotations

import json
import os
import stat
import warnings
from pathlib import Path

import pytest
from commands import run
from faultlib import contents, make_study, one_sentence

from valib.errors import ParamsError, ValibWarning
from valib.files import write_file
from valib.study.folder import OUTPUTS, claim, digest
from valib.study.writing import write_folder

FIT = ["fit", "--model", "relative", "--params", "study.yml", "--out", "out"]
MINE = "a year of work\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A study, an output folder with a file of the user, and files of the user outside it."""
    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    for name in ("thesis.txt", "out/notes.txt"):
        Path(name).write_text(MINE)
    return tmp_path


def plant(journal: str, made: dict[str, str] | None = None, kept: dict[str, str] | None = None) -> None:
    """A hidden folder as an unfinished run leaves it, with what it made and what it was about to replace."""
    aside = Path("out/.valib-x")
    (aside / "replaced").mkdir(parents=True)
    (aside / "moving.json").write_text(journal)
    for folder, files in ((aside, made or {}), (aside / "replaced", kept or {})):
        for name, text in files.items():
            (folder / name).write_text(text)


DELETED, OVERWRITTEN = '"{0}": "{1}"', '"{0}": null'
ROUTES = ["../thesis.txt", "{root}/thesis.txt", "notes.txt", "./notes.txt", "../out/notes.txt", "link/thesis.txt", ".."]
JOURNALS = {f"{form[7:]} {route}": (form, route) for form in (DELETED, OVERWRITTEN) for route in ROUTES}
BROKEN = {
    "empty": "",
    "cut": '{"fits.json": "fi',
    "a list": "[1, 2]",
    "deep": "[" * 100_000,
    "not text": "\x00\ud7ff",
    "of numbers": '{"fits.json": 7}',
    "of no name": "{}",
    "a name in capitals": '{"FITS.JSON": null}',
}


@pytest.mark.parametrize("case", JOURNALS)
def test_a_journal_reaches_nothing_that_valib_has_not_made(here, case):
    form, route = JOURNALS[case]
    route = route.format(root=here)
    os.symlink("..", "out/link")
    plant("{" + form.format(route, "x") + "}", kept={"notes.txt": "theirs", "thesis.txt": "theirs"})
    done = run(*FIT)
    assert done.exit_code == 0, done.output
    assert Path("thesis.txt").read_text() == MINE and Path("out/notes.txt").read_text() == MINE
    assert "cannot be followed" in done.stderr and not list(Path("out").glob(".valib-*"))
    assert run(*FIT).stderr == "", "said once; the folder is free"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_journal_blocks_nothing_and_loses_nothing(here, case):
    plant(BROKEN[case], kept={"fits.json": "of last year"})
    done = run(*FIT)
    assert done.exit_code == 0 and "cannot be followed" in done.stderr, done.output
    (kept,) = Path("out").glob("left-by-valib-*/unfinished/replaced/fits.json")
    assert kept.read_text() == "of last year"


@pytest.mark.parametrize("form", [DELETED, OVERWRITTEN])
def test_a_journal_of_names_that_valib_makes_touches_no_file_of_the_user(here, form):
    """The user's own omega.csv is not as the journal has it, so it is neither taken out nor put under another."""
    Path("out/omega.csv").write_text(MINE)
    plant("{" + form.format("omega.csv", "0" * 64) + "}", kept={"omega.csv": "theirs"})
    assert run(*FIT).exit_code == 0
    assert Path("out/omega.csv").read_text() == MINE


@pytest.mark.parametrize("part", [".valib-x", ".valib-x/replaced", ".valib-x/moving.json", ".valib-lock"])
def test_links_among_what_is_unfinished_are_not_followed(here, part):
    Path("elsewhere/replaced").mkdir(parents=True)
    Path("elsewhere/moving.json").write_text('{"fits.json": null}')
    Path("elsewhere/replaced/fits.json").write_text(MINE)
    before = contents(Path("elsewhere"))
    place = Path("out", part)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(here / "elsewhere" / part.partition("/")[2])
    done = run(*FIT)
    assert done.exit_code == 0, done.output
    assert contents(Path("elsewhere")) == before


OTHERS = {name: command for command, names in OUTPUTS.items() for name in names}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_file_of_the_user_is_never_replaced(tmp_path, name):
    """Each command, over a file of the user under each of its names: refused, or not its business; never touched."""
    (tmp_path / name).write_text(MINE)
    for command, names in OUTPUTS.items():
        with claim(tmp_path):
            if name in names:
                with pytest.raises(ParamsError, match="there already and not from `valib"):
                    write_folder(tmp_path, command, {name: "new"})
            else:
                write_folder(tmp_path, command, {names[-1]: "new"})
        assert (tmp_path / name).read_text() == MINE


def test_what_the_user_has_changed_is_refused(here):
    assert run(*FIT).exit_code == 0 and run(*FIT).exit_code == 0
    Path("out/fits.json").write_text(MINE)
    before = contents(here / "out")
    done = run(*FIT)
    assert done.exit_code == 2 and one_sentence(done.stderr) and "changed since `valib fit` made it" in done.stderr
    assert contents(here / "out") == before


def test_two_commands_in_one_folder_keep_their_files(here):
    simulate = ["simulate", "--scenarios", "drift", "--methods", "seed", "--replicates", "2", "--quiet", "--out", "out"]
    Path("out/.simulation").mkdir()
    Path("out/.simulation/mine.parquet").write_text(MINE)
    assert run(*simulate).exit_code == 0
    made = {name: Path("out", name).read_bytes() for name in OUTPUTS["simulate"]}
    assert run(*FIT).exit_code == 0 and run(*simulate).exit_code == 0 and run(*FIT).exit_code == 0
    assert made == {name: Path("out", name).read_bytes() for name in OUTPUTS["simulate"]}
    assert Path("out/.simulation/mine.parquet").read_text() == MINE
    assert set(json.loads(Path("out/.made-by-valib").read_text())) == {"fit", "simulate"}


LISTS = {
    "another's name": {"fit": {"notes.txt": "{notes}"}},
    "a path": {"fit": {"../thesis.txt": "{notes}"}},
    "another command": {"rm": {"notes.txt": "{notes}"}},
    "of another command": {"simulate": {"fits.json": "{notes}"}},
    "another hash": {"fit": {"fits.json": "0"}},
    "no text": {"fit": {"fits.json": None}},
    "a list": ["fits.json"],
}


@pytest.mark.parametrize("case", LISTS)
def test_a_forged_list_gives_no_right_over_a_file(here, case):
    Path("out/fits.json").write_text(MINE)
    text = json.dumps(LISTS[case]).replace("{notes}", digest(Path("thesis.txt")))
    Path("out/.made-by-valib").write_text(text)
    done = run(*FIT)
    assert done.exit_code == 2 and one_sentence(done.stderr)
    assert {Path(name).read_text() for name in ("thesis.txt", "out/notes.txt", "out/fits.json")} == {MINE}


@pytest.mark.parametrize("kind", ["link", "folder", "link to a folder", "pipe"])
@pytest.mark.parametrize("name", ["fits.json", ".made-by-valib"])
def test_what_is_no_file_under_a_name_of_valib_is_refused(here, name, kind):
    place = Path("out", name)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
        (place / "mine").write_text(MINE)
    else:
        place.symlink_to(here / ("thesis.txt" if kind == "link" else "out"))
    before = os.lstat(place)
    done = run(*FIT)
    assert done.exit_code == 2 and one_sentence(done.stderr), done.output
    assert os.path.samestat(os.lstat(place), before) and Path("thesis.txt").read_text() == MINE


def test_a_hard_link_keeps_what_it_held(here):
    assert run(*FIT).exit_code == 0
    os.link("out/fits.json", "kept.json")
    before = Path("kept.json").read_bytes()
    assert run(*FIT, "--level", "0.5").exit_code == 0
    assert Path("kept.json").read_bytes() == before != Path("out/fits.json").read_bytes()


ORDERS = {
    "baseline": ["baseline", "--params", "study.yml", "--out"],
    "check": ["check", "--params", "study.yml", "--out"],
    "check --json": ["check", "--params", "study.yml", "--json", "--out"],
    "init": ["init", "records.csv", "--out"],
    "key": ["key", "my.key", "--lookup", "records.csv", "--out"],
    "fit": FIT[:-1],
    "simulate": ["simulate", "--replicates", "2", "--out"],
    "book": ["book", "--params", "study.yml", "--quiet", "--out"],
    "report": ["report", "--params", "study.yml", "--all", "--out"],
}


@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device", "link to itself", "stdout"])
@pytest.mark.parametrize("command", ORDERS)
def test_no_device_pipe_or_odd_link_is_replaced(here, command, kind):
    run("key", "my.key")
    place = Path("place")
    if kind == "device":
        try:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as the null device
        except PermissionError:
            place = Path(os.devnull)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"link to a device": os.devnull, "stdout": "/proc/self/fd/1"}.get(kind, "place"))
    before = os.lstat(place)
    done = run(*ORDERS[command], str(place))
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert os.path.samestat(os.lstat(place), before)


@pytest.mark.parametrize("command", ["baseline", "check", "check --json", "key"])
def test_a_link_to_a_file_is_written_through(here, command):
    run("key", "my.key")
    Path("real").mkdir()
    Path("real/file").write_text("earlier")
    Path("place").symlink_to("real/file")
    assert run(*ORDERS[command], "place").exit_code == 0
    assert Path("place").is_symlink() and Path("real/file").read_text() != "earlier"
    assert os.listdir("real") == ["file"]


def test_the_library_replaces_no_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParamsError, match="pipe, expected a file"):
        write_file(tmp_path / "pipe", "text")


def test_a_folder_of_another_user_is_not_followed(here, monkeypatch):
    Path("out/omega.csv").write_text(MINE)
    plant(json.dumps({"omega.csv": digest(Path("out/omega.csv"))}))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with claim(Path("out")):
            assert Path("out/omega.csv").read_text() == MINE
    assert [w.category for w in caught] == [ValibWarning]
