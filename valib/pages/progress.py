"""What is being done and how long it took, on stderr: live in a terminal, one line a finished step in a log."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 2.0  # seconds of silence


class Progress:
    """Progress of named steps; safe to call from several threads.

    In a terminal all steps stand one below the other with a spinner; elsewhere each finished step is one line.
    """

    def __init__(self, shown: bool = True) -> None:
        from rich.console import Console

        self._shown = shown
        self._console = Console(stderr=True, highlight=False)
        self._live: Any = None
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        if self._shown and self._console.is_terminal:
            from rich.progress import Progress as Live
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

            spinner = SpinnerColumn(finished_text="\N{CHECK MARK}")
            text = TextColumn("{task.description}", markup=False)
            self._live = Live(spinner, text, TimeElapsedColumn(), console=self._console)
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live:
            self._live.stop()

    def start(self, step: str) -> None:
        """Say that a step has begun."""
        with self._lock:
            self._started[step] = time.perf_counter()
            if self._live:
                self._tasks[step] = self._live.add_task(step, total=1)

    def finish(self, step: str) -> float:
        """Say that a step has ended; return the seconds it took."""
        with self._lock:
            seconds = time.perf_counter() - self._started[step]
            if self._live:
                self._live.update(self._tasks[step], completed=1)
            elif self._shown:
                self._console.print(f"{step}: {seconds:.1f} s", markup=False, soft_wrap=True)
            return seconds

    def note(self, text: str) -> None:
        """Say something between the steps."""
        if self._shown:
            self._console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr where that is a terminal; what is yielded is told (done, in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def reading(name: str, shown: bool = True) -> Iterator[None]:
    """Say in one line that a source is read, where that takes longer than :data:`PATIENCE` seconds."""
    timer = threading.Timer(PATIENCE, lambda: Progress(shown).note(f"Reading {name} ..."))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
