"""Worker processes that end with the run they work for, and a thread that tells how far work has come."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

SECONDS = 0.5  # between two looks at the parent


def end_with(parent: int) -> None:
    """Let this worker process end as soon as its parent has ended, in whatever way.

    A pool's worker waits for its next task for ever, also when who gives the tasks was killed. To be called once in a
    worker, as the initializer of a pool, with the number of the process that made the pool.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Workers started meanwhile never hear of Ctrl-C, which a terminal sends to all: to answer it is the run's part.

    Processes inherit which signals are ignored. (They inherit a mask of signals too, but the trackers of shared memory
    that are started with a pool undo that.) Only the main thread can arrange this; in another nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def telling(tell: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call ``tell`` every so many seconds, from a thread, while the work inside goes on."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds):
            tell()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
