"""Where the files live that come with valib: the demo study, the data and the book's sources."""

from __future__ import annotations

from pathlib import Path

from ..errors import ValibError

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_root() -> Path:
    """Return the folder that holds params.yml, data/, chapters/ and _toc.yml.

    An installed wheel carries them in ``valib/_bundle``; a checkout of the repository has them at its top.

    Raises
    ------
    ValibError
        If neither folder has them (a damaged installation).
    """
    for folder in (_PACKAGE / "_bundle", _PACKAGE.parent):
        if (folder / "params.yml").is_file() and (folder / "data").is_dir():
            return folder
    raise ValibError("The files that come with valib (params.yml, data/, chapters/) are missing: reinstall valib.")
