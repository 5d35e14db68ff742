"""Writing so that nothing is lost: aside first, then renamed into place. Locks are in :mod:`valib.study.folder`.

Everything that is not finished has a name beginning with ``.valib-``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import ParamsError

PREFIX = ".valib-"  # of every name that is not finished
UNUSABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)  # another place would do; a full disk or a broken one is no fault of the order


def real_place(path: str | os.PathLike) -> Path:
    """Where a file stands, links followed; ParamsError if that is there and no ordinary file, or below /proc."""
    link, place = Path(path), Path(os.path.realpath(path))
    for _ in range(40):  # /dev/stdout is a link into /proc, and may be sent to a file, which is the shell's
        if not link.is_symlink() or str(link).startswith("/proc/"):
            break
        link = link.parent / os.readlink(link)
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode) or str(link).startswith("/proc/"):
        kinds = {
            stat.S_IFDIR: "a folder",
            stat.S_IFIFO: "a pipe",
            stat.S_IFSOCK: "a socket",
            stat.S_IFLNK: "a circle of links",
        }
        what = "a stream" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "a device")
        raise ParamsError(f"{path} is {what}, expected a file or a name that is free.")
    return place


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it into place, so that an earlier one survives a failure.

    A link is followed and stays. The OSError that it may raise names the file.

    Raises ParamsError if the place is a device, a pipe or a folder: a rename would put a file where that was.
    """
    path = real_place(path)
    aside = path.with_name(f"{PREFIX}{secrets.token_hex(4)}-{path.name}")
    try:
        with told_of(path):
            aside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            sync(aside)
            os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Put a file's name into an OSError that has none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def reason(error: OSError) -> str:
    """Say in a few words what the system refused, and where: 'No space left on device (out/fits.json)'."""
    while isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        inner = str(error.args[0][0][-1])  # copytree gathers the errors of its files as text
        number = re.search(r"\[Errno (\d+)\]", inner)
        error = OSError(int(number[1]), inner, error.args[0][0][1]) if number else OSError(inner)
    what = os.strerror(error.errno) if error.errno else " ".join(str(error).split()) or type(error).__name__
    place = str(error.filename) if isinstance(error.filename, (str, os.PathLike)) else ""
    place = re.sub(rf"{re.escape(PREFIX)}[^/]*/?", "", place)
    return f"{what} ({place})" if place else what


def sync(path: Path) -> None:
    """Wait until the disk has a file, or every file of a folder."""
    for entry in path.rglob("*") if path.is_dir() else [path]:
        if entry.is_file() and not entry.is_symlink():
            handle = os.open(entry, os.O_RDONLY)
            try:
                with told_of(entry):
                    os.fsync(handle)
            finally:
                os.close(handle)
