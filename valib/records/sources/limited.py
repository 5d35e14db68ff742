"""Files of foreign formats, read by ``cells.py`` in a process with limits of time and memory."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

SECONDS, SECONDS_A_MEGABYTE = 20, 20  # of the processor, for reading a file: some twenty times what one needs
SHARE = 0.5  # of the free memory
TOO_LONG = -getattr(signal, "SIGXCPU", signal.SIGTERM)  # how a process ends that has used its seconds
NO_MEMORY = -signal.SIGABRT  # how a reader in Rust ends that gets no memory
KILLED = -getattr(signal, "SIGKILL", 9)


class Unread(Exception):
    """A file that could not be read; its text says why."""


def read_limited(path: Path, *what: str) -> dict[str, Any]:
    """The answer of ``cells.py``; what: its arguments after the limits. Raises Unread."""
    seconds = int(SECONDS + SECONDS_A_MEGABYTE * path.stat().st_size / 1e6)
    memory = int(SHARE * psutil.virtual_memory().available)
    reader = [sys.executable, "-P", str(Path(__file__).with_name("cells.py")), str(path), str(seconds), str(memory)]
    try:
        ended = subprocess.run([*reader, *what], capture_output=True, timeout=3 * seconds, check=False)
        said, code = ended.stdout, ended.returncode
    except subprocess.TimeoutExpired:
        said, code = b"", TOO_LONG
    if code in (TOO_LONG, KILLED):
        raise Unread(f"not read after {seconds} seconds, far longer than a file of its size needs")
    if code < 0 and code != NO_MEMORY:
        raise Unread("its reader broke down")
    if code:
        raise Unread(f"it asks for more than the {memory >> 20:,} MB of memory that may be used")
    answer: dict[str, Any] = pickle.loads(said)
    if "problem" in answer:
        raise Unread(next(iter(answer["problem"].splitlines()), "damaged").rstrip("."))
    return answer
