"""The temporary folder of a run's own: text made plain, and what DuckDB writes when it does not fit into memory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

PREFIX = "valib-spill-"


class SpillFolder:
    """A fresh folder in the temporary directory, held by a lock beside it that ends with the process.

    Those that killed runs of this user have left, which nobody holds any more, are removed first. Where there are no
    locks nobody can tell, so the folder has another name and no later run removes it.
    """

    def __init__(self) -> None:
        above = Path(tempfile.gettempdir())
        for left in above.glob(f"{PREFIX}*.lock"):
            _remove(left.with_suffix(""), _hold(left))
        name = secrets.token_hex(8)
        self._lock = _hold(above / f"{PREFIX}{name}.lock")
        self.path = above / (f"{PREFIX}{name}" if self._lock is not None else f"valib-{name}")
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove the folder; once is enough."""
        if self._lock is None:
            shutil.rmtree(self.path, ignore_errors=True)
        _remove(self.path, self._lock)
        self._lock = None


def _hold(file: Path) -> FileLock | None:
    """A lock on a file of this user; None if another holds it, or where there are no locks."""
    lock = FileLock(file, blocking=False, fallback_to_soft=False, thread_local=False)
    with contextlib.suppress(OSError):  # Timeout is one
        if hasattr(os, "getuid") and os.path.lexists(file) and os.lstat(file).st_uid != os.getuid():
            return None
        lock.acquire()
        return lock
    return None


def _remove(folder: Path, lock: FileLock | None) -> None:
    """Remove a folder that is held, then the file of its lock, and give the lock back."""
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            os.unlink(lock.lock_file)
        lock.release()
