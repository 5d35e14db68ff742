"""The folder to which DuckDB writes what does not fit into memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "valib-spill-"


class SpillFolder:
    """A fresh folder in the temporary directory, held by a lock that ends with the process.

    Those that killed runs of this user have left, which nobody holds any more, are removed first.
    """

    def __init__(self):
        above = Path(tempfile.gettempdir())
        for left in above.glob(f"{PREFIX}*"):
            handle = _hold(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
        made = Path(tempfile.mkdtemp(prefix="valib-"))
        self._handle = _hold(made)
        self.path = made.rename(made.with_name(PREFIX + made.name)) if self._handle is not None else made

    def remove(self) -> None:
        """Remove the folder; once is enough."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _hold(folder: Path) -> int | None:
    """A descriptor with the lock of a folder of this user; None if another holds it, or where there are no locks."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):
            if os.fstat(handle).st_uid == os.getuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
        os.close(handle)
    return None
