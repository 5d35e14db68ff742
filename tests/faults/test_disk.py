"""Disks that are full, places that cannot be written to: one sentence, the earlier result whole, a rerun succeeds."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from faultlib import contents, done, make_study, one_sentence, result
from test_book import tiny_sources
from typer.testing import CliRunner

from valib.command import cli
from valib.effects.baseline import fit_baseline
from valib.errors import BenchmarkError
from valib.study.folder import digest

ROOT = os.getuid() == 0
COMMANDS = {
    "fit": ["fit", "--model", "relative"],
    "baseline": ["baseline"],
    "book": ["book", "--quiet"],
    "simulate": ["simulate", "--scenarios", "few-schools", "--methods", "seed", "--replicates", "100", "--jobs", "1"],
}
ROOM = {"fit": 200, "baseline": 1_000, "simulate": 4_000, "book": 600_000}  # bytes: less than the results need


def order(command: str, out: Path, study: Path) -> list[str]:
    target = out / "baseline.json" if command == "baseline" else out
    return [*COMMANDS[command], "--params", str(study), "--out", str(target)]


@pytest.fixture(scope="module")
def place():
    """A folder that other users may enter, with a study and the sources of a tiny book."""
    folder = Path(tempfile.mkdtemp(prefix="valib-faults-"))
    folder.chmod(0o755)
    make_study(folder / "study")
    tiny_sources(folder / "sources")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, 64 MB large."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    told = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mounted)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ROOT and shutil.which("mount")
        else None
    )
    if told is None or told.returncode:
        pytest.skip("only root may mount a small disk" if told is None else f"no mount here: {told.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        file.write(b"\0" * max(free - room, 0))
    return ballast


@pytest.mark.parametrize(
    "command", [c if c != "simulate" else pytest.param(c, marks=pytest.mark.long) for c in COMMANDS]
)
def test_a_full_disk(place, disk, command):
    sources = place / "sources" if command == "book" else None
    arguments = order(command, disk / "out", place / "study" / "study.yml")
    assert done(*arguments, sources=sources)[0] == 0
    before = result(disk / "out")
    ballast = fill(disk, {"fit": 0, "baseline": 0, "simulate": 0, "book": 2_000_000}[command])
    code, said = done(*arguments, sources=sources)
    assert code in (1, 2) and "No space left on device" in said, said
    assert one_sentence(said), said
    assert result(disk / "out") == before
    ballast.unlink()
    assert done(*arguments, sources=sources)[0] == 0
    assert set(result(disk / "out")) == set(before) and not list((disk / "out").glob(".valib-*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_may_not_grow(place, tmp_path, command):
    """A limit on the size of a file stands in for a full disk or a quota where none can be made."""
    sources = place / "sources" if command == "book" else None
    (tmp_path / "out" / "html").mkdir(parents=True)
    owners = {"fits.json": "fit", "performance.csv": "simulate", "baseline.json": "book", "html": "book"}
    made = {command: {} for command in owners.values()}
    for name in ("fits.json", "performance.csv", "baseline.json", "html/index.html"):
        (tmp_path / "out" / name).write_text("earlier")
    for name, owner in owners.items():
        made[owner][name] = digest(tmp_path / "out" / name)
    (tmp_path / "out" / ".made-by-valib").write_text(json.dumps(made))
    before = contents(tmp_path / "out")
    limit = ROOM[command]
    code, said = done(
        *order(command, tmp_path / "out", place / "study" / "study.yml"),
        sources=sources,
        environment={"PYTHONDONTWRITEBYTECODE": "1"},  # older Pythons leave half a .pyc on a full disk
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert code in (1, 2) and "File too large" in said and one_sentence(said), said
    assert contents(tmp_path / "out") == before


def a_file(root: Path) -> Path:
    (root / "there").write_text("mine")
    return root / "there"


def below_a_file(root: Path) -> Path:
    return a_file(root) / "out"


def read_only(root: Path) -> Path:
    (root / "out").mkdir(mode=0o555)
    return root / "out"


def below_a_read_only_folder(root: Path) -> Path:
    return read_only(root) / "further" / "down"


def behind_a_closed_door(root: Path) -> Path:
    (root / "closed").mkdir(mode=0o000)
    return root / "closed" / "out"


def a_name_too_long(root: Path) -> Path:
    return root / ("x" * 300)


PLACES = [a_file, below_a_file, read_only, below_a_read_only_folder, behind_a_closed_door, a_name_too_long]


@pytest.fixture(scope="module", params=COMMANDS)
def refusals(place, request):
    """By place: its folder, what lay there before and after, and what a user who is not root was told."""
    study, roots = place / "study" / "study.yml", {}
    for make in PLACES:
        root = Path(tempfile.mkdtemp(dir=place))
        root.chmod(0o777)
        roots[make] = root, make(root)
    before = {make: tree(root) for make, (root, _) in roots.items()}
    orders = {
        "warm": order(request.param, a_file(place), study),
        "commands": [order(request.param, out, study) for _, out in roots.values()],
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("somebody.py")), json.dumps(orders)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout.splitlines()[-1])
    return {
        make: (root, before[make], tree(root), answer)
        for (make, (root, _)), answer in zip(roots.items(), answers, strict=True)
    }


def tree(root: Path) -> list[str]:
    return sorted(str(p) for p in root.rglob("*"))


@pytest.mark.parametrize("make", PLACES, ids=lambda make: make.__name__)
def test_a_place_that_cannot_be_written_to(refusals, make):
    root, before, after, (code, said) = refusals[make]
    assert code == 2 and one_sentence(said) and str(root) in said, said
    assert after == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_disk(place, disk, command):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    arguments = order(command, disk / "out", place / "study" / "study.yml")
    done = CliRunner().invoke(cli.app, arguments, prog_name="valib")
    assert done.exit_code == 2 and one_sentence(done.stderr) and "may not be written to" in done.stderr


def test_the_library_says_so_too(place, disk):
    import pandas as pd

    from valib.pages import notebook as nb

    records = pd.read_csv(place / "study" / "records.csv")
    benchmark = fit_baseline(records, [2030, 2031])
    benchmark.save(disk / "b.json")
    earlier = (disk / "b.json").read_bytes()
    fill(disk, 0)
    with pytest.raises(BenchmarkError, match=r"cannot be written to '.*b\.json': No space left on device\.$"):
        benchmark.save(disk / "b.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(nb.RESULTS_FOLDER, str(disk))
        with pytest.raises(OSError, match="No space left on device") as caught:
            nb.save(pd.DataFrame({"a": range(5000)}), "b.csv")
    assert caught.value.filename == str(disk / "b.csv")
    assert sorted(os.listdir(disk)) == ["b.json", "ballast"] and (disk / "b.json").read_bytes() == earlier
