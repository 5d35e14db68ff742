"""Worker processes that end with the run they work for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

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
    """Workers started meanwhile never see Ctrl-C, which a terminal sends to all: the run itself answers it, afterwards.

    Processes inherit the mask of the thread that starts them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
