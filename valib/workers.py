"""Worker processes that end with the run they work for."""

from __future__ import annotations

import os
import signal
import threading
import time

SECONDS = 0.5  # between two looks at the parent


def end_with(parent: int) -> None:
    """Let this worker process end as soon as its parent has ended, in whatever way; it leaves Ctrl-C to the parent.

    A pool's worker waits for its next task for ever, also when who gives the tasks was killed. To be called once in a
    worker, as the initializer of a pool, with the number of the process that made the pool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
