"""The environment of the processes that make a book: whatever they write for themselves goes into the work folder."""

from __future__ import annotations

import os
from pathlib import Path


def surroundings(work: Path) -> dict[str, str]:
    """Return the variables that send caches, settings and temporary files of every tool into ``work``.

    So the book needs no home folder that can be written to and no room elsewhere, no setting of the user changes a
    figure, and all of it goes with the work folder.
    """
    home = {} if Path(os.path.expanduser("~")).is_absolute() else {"HOME": "home"}
    names = {"TMPDIR": "tmp", "MPLCONFIGDIR": "matplotlib", "IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "jupyter",
             "JUPYTER_DATA_DIR": "jupyter", "JUPYTER_RUNTIME_DIR": "jupyter/runtime"} | home
    for name in names.values():
        (work / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {variable: str(work / name) for variable, name in names.items()}
