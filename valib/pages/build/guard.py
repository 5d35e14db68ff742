"""Run a command and end all that comes of it: ``python -m valib.pages.build.guard SECONDS COMMAND ...``.

The guard's standard input is a pipe whose other end the run of valib holds. The system closes that end when the run
ends in whatever way, SIGKILL included; no handler in the run itself could promise that. Then, or when the time is
over, or when the command has ended, the guard kills every process that descends from it.

Descendants are found by walking the tree: Jupyter starts kernels in sessions of their own, which a signal to a process
group would miss. On Linux the guard adopts processes whose parent has died (as a "subreaper"), so that the walk finds
those too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import psutil

LATE = 124  # exit code when the time is over, as of the program `timeout`
PR_SET_CHILD_SUBREAPER = 36
TRACKER = "resource_tracker"  # of joblib and multiprocessing: ends by itself and takes shared memory with it
PATIENCE = 2.0  # seconds that trackers are given for it


def main(seconds: float, order: list[str]) -> int:
    """Run the command for so many seconds at most; return its exit code, or :data:`LATE`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(order, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        code = LATE
    end_tree()
    return code


def end_tree() -> None:
    """Kill every descendant of this process; trackers of shared memory get a moment to clear up."""
    trackers: set[psutil.Process] = set()
    end = time.monotonic() + 5 * PATIENCE
    while (found := set(psutil.Process().children(recursive=True)) - trackers) and time.monotonic() < end:
        for process in found:
            try:
                if TRACKER in " ".join(process.cmdline()):
                    trackers.add(process)
                else:
                    process.kill()
            except psutil.Error:  # it has ended meanwhile
                pass
        psutil.wait_procs(found - trackers, timeout=PATIENCE)
    _, alive = psutil.wait_procs(trackers, timeout=PATIENCE)
    for process in alive:
        process.kill()


def _end_with_the_run() -> None:
    """Wait until the pipe closes, then end everything."""
    while os.read(0, 1):
        pass
    end_tree()
    os._exit(1)


if __name__ == "__main__":
    code = main(float(sys.argv[1]), sys.argv[2:])
    os._exit(code if code >= 0 else 128 - code)
