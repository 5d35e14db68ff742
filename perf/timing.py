"""Timing side by side: contenders are processes of their own that run in turn, A B A B, all with the same threads.

A contender is a command that reads its data, says "ready", and then runs once for every line it is sent, answering with
what the run took by its own clock and what it found. So start-up and the reading of data are never counted, a package
in R is timed as one in Python is, and the peak memory of a process is that of one contender.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
THREADS = os.cpu_count() or 1
ANSWER = "@"  # an answer's first character: packages may write other lines
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "formulaic", "statsmodels", "gpboost", "duckdb", "pyspark")
R_PACKAGES = ("lme4", "nlme")


@dataclass(slots=True)
class Timed:
    """Runs of one contender: seconds, what the last one found, and the peak of its memory while it ran (MiB).

    note: why there is no run.
    """

    seconds: list[float] = field(default_factory=list)
    found: dict = field(default_factory=dict)
    peak: float | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None


class Failed(RuntimeError):
    """A contender that ended; its last words."""


class Contender:
    """A process that runs something once a line; a context manager that ends it."""

    def __init__(self, command: Sequence[str | Path], threads: int = THREADS) -> None:
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [str(c) for c in command],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.reset = False

    def __enter__(self) -> Contender:
        self._answer()
        try:  # from here on the peak is that of the runs
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
            self.reset = True
        except OSError:
            self.reset = False
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()

    def run(self, what: str) -> dict:
        """Run once; the answer, with seconds."""
        try:
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def peak(self) -> float | None:
        """Most memory since it was ready, packages and data included, in MiB; None where the system does not tell."""
        if not self.reset:
            return None
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):  # it has ended
            return None

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line[1:])
        words = self.process.stderr.read().strip().splitlines()
        raise Failed(words[-1] if words else "no word")


def in_turn(contenders: dict[str, tuple[Contender, str]], rounds: int, budget: float) -> dict[str, Timed]:
    """Run contenders in turn, ``rounds`` times after a first run that warms up; each until its budget (s) is used.

    contenders: name -> process and what to tell it. A first run of more than a third of the budget is not repeated as
    a warm-up but counts. At least two runs count, unless one alone uses the budget up.
    """
    results, used = {name: Timed() for name in contenders}, dict.fromkeys(contenders, 0.0)
    for turn in range(rounds + 1):
        for name, (process, what) in contenders.items():
            kept = results[name]
            if kept.note or (used[name] > budget and kept.seconds):
                continue
            try:
                answer = process.run(what)
            except Failed as failure:
                kept.note = f"failed: {failure}"
                continue
            took = answer.pop("seconds")
            used[name] += took
            if turn or took > budget / 3:
                kept.seconds.append(took)
            kept.found = answer
    for name, (process, _) in contenders.items():
        results[name].peak = process.peak()
    return results


def clock(work: Callable[[], T]) -> tuple[float, T]:
    """Wall time of one call, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def serve(run: Callable[[str], tuple[float, dict]]) -> None:
    """Be a contender: say that all is ready, then run once a line of input and answer with seconds and what was found."""
    warnings.simplefilter("ignore")
    print(ANSWER + "{}", flush=True)
    for line in sys.stdin:
        seconds, found = run(line.strip())
        print("\n" + ANSWER + json.dumps({"seconds": seconds} | found), flush=True)


def machine() -> dict:
    """What the machine is, without its name."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        total = (
            next(
                int(line.split()[1])
                for line in Path("/proc/meminfo").read_text().splitlines()
                if line.startswith("MemTotal")
            )
            / 2**20
        )
    except (OSError, StopIteration):
        total = None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "memory_gib": total and round(total, 1),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Versions of all that is timed; what is not installed is left out."""
    import valib

    found = {"valib": valib.__version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for name in R_PACKAGES:
        asked = ["Rscript", "-e", f'cat(R.version$major, R.version$minor, as.character(packageVersion("{name}")))']
        try:
            done = subprocess.run(asked, capture_output=True, text=True)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            major, minor, package = done.stdout.split()
            found |= {"R": f"{major}.{minor}", name: package}
    return found
