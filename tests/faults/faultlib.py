"""What the tests of faults share: a study, a tiny book, valib in a process of its own, and who is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
from conftest import simulate

SECONDS = 10.0  # within which every process of a killed run must be gone; half a second on an idle machine
MARK = "FAULTS_RUN"  # variable by which the processes of a run are known, whoever their parent is
TINY = """import sys
from pathlib import Path
from valib.pages.build import assemble
sources = Path(sys.argv.pop(1))
assemble.bundle_root = lambda: sources
from valib.command.cli import main
main()
"""


def make_study(folder: Path) -> Path:
    """Write records and a params file; return the params file."""
    folder.mkdir(parents=True, exist_ok=True)
    records = simulate(np.random.default_rng(5), schools=12, size=(5, 15), cohorts=(2030, 2031, 2033))
    records.drop(columns="u").to_csv(folder / "records.csv", index=False)
    values = {
        "data": "records.csv",
        "baseline_cohorts": [2030, 2031],
        "focal_cohorts": [2033],
        "seed": 7,
        "further_formulas": [],
    }
    (folder / "study.yml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder / "study.yml"


def command_line(process: psutil.Process) -> str:
    """The command line of a process, empty if it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@dataclass(frozen=True)
class Run:
    """valib in a process and a session of its own."""

    process: subprocess.Popen
    mark: str

    def family(self) -> list[psutil.Process]:
        """Every live process of the run: known by a variable, so that none escapes by changing its parent."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_for(self, word: str, seconds: float = 60.0) -> None:
        """Wait until a process of the run has a word in its command line."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            if any(word in line for line in map(command_line, self.family())):
                return
            time.sleep(0.05)
        raise AssertionError(f"no {word} was seen")

    def left(self, seconds: float = SECONDS) -> list[str]:
        """The command lines of the processes still there after so many seconds; they are ended then."""
        end = time.monotonic() + seconds
        while (found := self.family()) and time.monotonic() < end:
            time.sleep(0.05)
        told = [command_line(p)[-200:] for p in found]
        for process in found:
            process.kill()
        return told

    def end(self, number: int, whole_group: bool = False) -> None:
        """Send a signal to the run, or to its process group as a terminal does."""
        (os.killpg if whole_group else os.kill)(self.process.pid, number)

    def said(self, seconds: float = 120.0) -> str:
        """Wait for the end; what stood on stderr."""
        return self.process.communicate(timeout=seconds)[1]


@contextmanager
def running(
    *arguments: str,
    sources: Path | None = None,
    cwd: Path | None = None,
    environment: dict | None = None,
    before: Callable[[], None] | None = None,
) -> Iterator[Run]:
    """Start `valib` with these arguments, of a tiny book if ``sources`` are given; end what is left of it."""
    head = [sys.executable, "-m", "valib"] if sources is None else [sys.executable, "-c", TINY, str(sources)]
    run = Run(
        subprocess.Popen(
            [*head, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=cwd,
            preexec_fn=before,
            env={**os.environ, **(environment or {}), MARK: (mark := uuid.uuid4().hex)},
        ),
        mark,
    )
    try:
        yield run
    finally:
        for process in run.family():
            process.send_signal(signal.SIGKILL)
        run.process.communicate()


def done(*arguments: str, **settings) -> tuple[int, str]:
    """Run `valib` to its end; its exit code and what stood on stderr. Nothing may be left of it."""
    with running(*arguments, **settings) as run:
        said = run.said()
        assert not run.left()
    return run.process.returncode, re.sub(r"^Reading .* \.\.\.\n", "", said)  # which a slow machine adds


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def result(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the list of what was made among them, but what is not finished."""
    return {n: content for n, content in contents(folder).items() if not n.startswith((".valib-", ".simulation/"))}


def one_sentence(said: str) -> bool:
    """Whether what stood on stderr is one line, without a traceback."""
    return said.count("\n") == 1 and said.endswith(".\n") and "Traceback" not in said and len(said) < 600
