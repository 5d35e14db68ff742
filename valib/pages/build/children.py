"""The processes that make a book: each under a guard that ends it with the run, or when its time is over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TIME_LIMIT = 30.0  # minutes that one chapter, the pages or the PDF may take


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code, what it printed, and whether its time was over."""

    code: int
    text: str
    late: bool


class Children:
    """The processes of one run; ``with Children(minutes) as children``: at the end none of them is left.

    Safe to call from several threads. After :meth:`stop` nothing more is started.
    """

    def __init__(self, minutes: float = TIME_LIMIT) -> None:
        self.minutes = minutes
        self._pipes: set[int] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def limit(self) -> str:
        """The time limit in words."""
        return f"the time limit of {self.minutes:g} minute{'s' * (self.minutes != 1)} (--time-limit)"

    def run(self, order: list[str], cwd: Path, environment: Mapping[str, str] | None = None) -> Ended:
        """Run a command under a guard until it ends; its output and errors are one text."""
        from .guard import LATE  # not above: the guard, run as a module, must be the first to import itself

        guarded = [sys.executable, "-m", f"{__package__}.guard", str(60 * self.minutes), *order]
        theirs, ours = os.pipe()
        try:
            with self._lock:
                if self._stopped:
                    os.close(ours)
                    return Ended(1, "stopped", False)
                self._pipes.add(ours)
            process = subprocess.Popen(
                guarded,
                cwd=cwd,
                env=environment,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        with process:
            text = process.stdout.read()
        self._close(ours)
        return Ended(process.returncode, text, process.returncode == LATE)

    def all(self, steps: Mapping[str, Callable[[], T]], jobs: int) -> dict[str, T]:
        """Take steps, several at a time, and return what each gives; at the first that fails, stop the others."""
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            tasks = {name: pool.submit(step) for name, step in steps.items()}
            try:
                wait(tasks.values(), return_when=FIRST_EXCEPTION)
                failures = [e for t in tasks.values() if t.done() and not t.cancelled() and (e := t.exception())]
                if failures:
                    raise failures[0]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.stop()
                raise
        return {name: task.result() for name, task in tasks.items()}

    def stop(self) -> None:
        """End every process that runs, and start no other."""
        with self._lock:
            self._stopped = True
            pipes = set(self._pipes)
        for pipe in pipes:
            self._close(pipe)

    def _close(self, pipe: int) -> None:
        """Let go of a guard."""
        with self._lock:
            if pipe in self._pipes:
                self._pipes.remove(pipe)
                os.close(pipe)


def surroundings(work: Path) -> dict[str, str]:
    """Return the variables that send caches, settings and temporary files of every tool into ``work``.

    So the book needs no home folder that can be written to and no room elsewhere, no setting of the user changes a
    figure, and all of it goes with the work folder.
    """
    home = {} if Path(os.path.expanduser("~")).is_absolute() else {"HOME": "home"}
    names = {
        "TMPDIR": "tmp",
        "MPLCONFIGDIR": "matplotlib",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "jupyter",
        "JUPYTER_DATA_DIR": "jupyter",
        "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    } | home
    for name in names.values():
        (work / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {variable: str(work / name) for variable, name in names.items()}
