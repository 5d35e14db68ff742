"""Runs that are killed or interrupted: the earlier result stays whole, no process is left, a rerun succeeds."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from faultlib import contents, done, make_study, one_sentence, result, running
from test_book import tiny_sources

STAGES = ["valib.pages.build.chapter", "ipykernel", "jupyter_book"]  # a process with this in its command line runs
MOMENTS = 4  # further kills, at moments drawn over the length of a whole run
INTERRUPTS = {
    "Ctrl-C": (signal.SIGINT, True),
    "SIGTERM": (signal.SIGTERM, False),
    "a closed terminal": (signal.SIGHUP, True),
}
CHUNKS = 24
SIMULATION = [
    *"simulate --scenarios few-schools,drift --methods seed,default --jobs 2 --replicates".split(),
    str(CHUNKS // 2 * 50),
]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A finished tiny book, its command, and the seconds it took."""
    root = tmp_path_factory.mktemp("kill")
    sources, study = tiny_sources(root / "sources"), make_study(root / "study")
    order = ["book", "--params", str(study), "--out", str(root / "out"), "--quiet"]
    started = time.monotonic()
    code, said = done(*order, sources=sources)
    assert code == 0, said
    return order, sources, root / "out", time.monotonic() - started


def killed(
    order: list[str], sources: Path | None, moment: float | str, number: int = signal.SIGKILL, whole_group: bool = False
) -> tuple[int, str, list[str]]:
    """Start a run and end it at a moment (seconds, or a word of a command line); exit code, stderr, what is left."""
    with running(*order, sources=sources) as run:
        if isinstance(moment, str):
            run.wait_for(moment)
        else:
            time.sleep(moment)
        run.end(number, whole_group)
        left = run.left()
        said = run.said(10)
    code = run.process.returncode  # Python ends by SIGINT itself if that came while a library evaluated code
    return 130 if code == -signal.SIGINT else code, said, left


def test_a_book_killed_at_each_stage(book):
    survive(book, STAGES)


@pytest.mark.long
def test_a_book_killed_at_moments_by_chance(book):
    drawn = random.Random(20150512)
    survive(book, [drawn.uniform(0.1, 0.95) * book[-1] for _ in range(MOMENTS)])


def killed_alive(order: list[str], sources: Path | None, moment: float | str, out: Path) -> None:
    """Kill a run: earlier result whole, no process left. One that ended first is tried again, killed earlier."""
    while True:
        before = result(out)
        code, said, left = killed(order, sources, moment)
        assert not left, (moment, left)
        if code == 0 and not isinstance(moment, str):
            moment *= 0.7
            continue
        assert code == -signal.SIGKILL, (moment, said)
        assert result(out) == before, moment
        return


def survive(book, moments: list) -> None:
    """Kill the run at each moment; what it left is there; then run it to its end: all that is cleared up."""
    order, sources, out, _ = book
    before, cluttered = result(out), False
    for moment in moments:
        killed_alive(order, sources, moment, out)
        cluttered |= bool(list(out.glob(".valib-*")))
    assert cluttered, "a killed run cannot clear up: else the last line shows nothing"
    assert done(*order, sources=sources)[0] == 0
    assert not list(out.glob(".valib-*")) and set(result(out)) == set(before)


@pytest.mark.parametrize(
    "way", [way if way == "Ctrl-C" else pytest.param(way, marks=pytest.mark.long) for way in INTERRUPTS]
)
def test_an_interrupted_book(book, way):
    order, sources, out, _ = book
    before = result(out)
    code, said, left = killed(order, sources, "ipykernel", *INTERRUPTS[way])
    assert (code, left) == (130, []) and one_sentence(said) and said.startswith("Interrupted: "), said
    assert contents(out) == before


def test_a_killed_fit(tmp_path):
    study = make_study(tmp_path)
    order = [
        *"fit --model joint --params".split(),
        str(study),
        *"--cohorts 2030,2031,2033 --out".split(),
        str(tmp_path / "out"),
    ]
    started = time.monotonic()
    assert done(*order)[0] == 0
    seconds, before = time.monotonic() - started, result(tmp_path / "out")
    for part in (0.3, 0.7, 0.95):
        killed_alive(order, None, part * seconds, tmp_path / "out")
        assert result(tmp_path / "out") == before
    (tmp_path / "out" / ".valib-left").mkdir(exist_ok=True)
    assert done(*order)[0] == 0 and contents(tmp_path / "out") == before


def wait_for_chunk(run, out: Path, known: set) -> None:
    """Wait until a simulation has kept one more chunk."""
    end = time.monotonic() + 120
    while run.process.poll() is None and time.monotonic() < end:
        if set(out.glob(".simulation/*.parquet")) - known:
            return
        time.sleep(0.01)
    raise AssertionError("no chunk was kept")


@pytest.mark.long
def test_a_killed_simulation_goes_on_and_ends_in_the_same_bytes(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert done(*SIMULATION, "--out", str(whole))[0] == 0
    kept = set()
    for _ in range(3):
        with running(*SIMULATION, "--out", str(broken)) as run:
            wait_for_chunk(run, broken, kept)
            run.end(signal.SIGKILL)
            assert not run.left()
        assert kept <= set((broken / ".simulation").glob("*.parquet")), "finished chunks stay"
        kept = set((broken / ".simulation").glob("*.parquet"))
    assert 1 <= len(kept) < CHUNKS, "killed in the middle"
    assert done(*SIMULATION, "--out", str(broken))[0] == 0
    assert contents(broken) == contents(whole)


def test_an_interrupted_simulation(tmp_path):
    out = tmp_path / "out"
    with running(*SIMULATION[:-1], "4000", "--out", str(out)) as run:
        wait_for_chunk(run, out, set())
        run.end(signal.SIGINT, whole_group=True)
        left, said = run.left(), run.said(10)
    code = abs(run.process.returncode) % 128  # Python may end by SIGINT itself
    assert (code, left) == (2, []) and one_sentence(said) and said.startswith("Interrupted: "), said


@pytest.mark.long
def test_the_killed_book_of_the_demo_study(tmp_path):
    """Among the kernels of the real book: nothing of a killed run lives on."""
    (tmp_path / "out" / "html").mkdir(parents=True)
    for moment in (15.0, 30.0):
        killed_alive(["book", "--out", str(tmp_path / "out"), "--quiet"], None, moment, tmp_path / "out")
