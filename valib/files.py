"""Writing so that nothing is lost: one run a folder, aside first, then renamed into place.

Everything that is not finished has a name beginning with ``.valib-``. What a killed run has left under such a name is
cleared by the next run that holds the folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
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
JOURNAL, REPLACED = "moving.json", "replaced"


@contextlib.contextmanager
def claim(folder: Path, name: str | None = None) -> Iterator[None]:
    """Hold a folder, or one file in it, for this run alone; make the folder if it is missing.

    The lock lies on the folder itself, so that it dies with the process and leaves nothing behind. Who claims a file
    shares the folder with those who claim others. A folder that was not there is removed again if it got nothing.
    Where the file system has no locks the run goes on without one.

    Raises ParamsError if another run holds the folder or the file; nothing is touched then.
    """
    folder = Path(folder)
    handle, missing = _locked(folder, fcntl.LOCK_EX if name is None else fcntl.LOCK_SH, folder)
    try:
        if name is None:
            if handle is not None:
                _clear(folder)
            yield
        else:
            with _claim_name(folder, name):
                yield
    finally:
        for part in missing:
            with contextlib.suppress(OSError):  # it holds something, or another run has removed it
                part.rmdir()
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Give a fresh hidden folder inside a claimed one and remove it afterwards."""
    aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield aside
    finally:
        if not (aside / JOURNAL).exists():  # else it holds what an earlier run has left, and that is not back in place
            shutil.rmtree(aside, ignore_errors=True)


def move_into_place(finished: Mapping[str, Path | None], folder: Path, aside: Path) -> None:
    """Rename files and folders made in ``aside``, a work folder of ``folder``, into it; all of them or none.

    finished: what is to stand in the folder by name; None for what an earlier run may have left and this one does not
    make. If a rename fails, what was there is put back; if the process is killed meanwhile, the next claim does that.
    """
    for made in finished.values():
        if made is not None:
            _sync(made)
    (aside / REPLACED).mkdir()
    journal = {name: made and str(made.relative_to(aside)) for name, made in finished.items()}
    write_file(aside / JOURNAL, json.dumps(journal))
    try:
        for name, made in finished.items():
            if os.path.lexists(folder / name):
                os.rename(folder / name, aside / REPLACED / name)
            if made is not None:
                os.rename(made, folder / name)
    except BaseException:
        _put_back(folder, aside)
        raise
    (aside / JOURNAL).unlink()


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it into place, so that an earlier one survives a failure.

    The OSError that it may raise names the file.
    """
    aside = path.with_name(f"{PREFIX}{secrets.token_hex(4)}-{path.name}")
    try:
        with told_of(path):
            aside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            _sync(aside)
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


def _locked(path: Path, how: int, named: Path) -> tuple[int | None, list[Path]]:
    """Return a descriptor of a folder with a lock on it, None where there are no locks; and what was made of its path."""
    for attempt in range(100):  # the run before may remove the folder between any two of these steps
        missing = [part for part in (path, *path.parents) if not part.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, FileExistsError):
            if attempt == 99 or (path.exists() and not path.is_dir()):
                raise
            continue
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            if _same(handle, path):
                return handle, missing
        except BlockingIOError:
            os.close(handle)
            break
        except OSError:
            os.close(handle)
            return None, missing
        os.close(handle)
    raise ParamsError(
        f"--out is {named}, but another run of valib is writing there: wait until it has ended, or name another place."
    )


def _same(handle: int, path: Path) -> bool:
    """Whether a descriptor and a path are the same folder still."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


@contextlib.contextmanager
def _claim_name(folder: Path, name: str) -> Iterator[None]:
    """Hold one file's name in a folder: a hidden folder with a lock on it, removed at the end."""
    token = folder / f"{PREFIX}{name}"
    handle, _ = _locked(token, fcntl.LOCK_EX, folder / name)
    try:
        stray = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{8}}-{re.escape(name)}")
        for entry in folder.iterdir():
            if handle is not None and stray.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            token.rmdir()
        if handle is not None:
            os.close(handle)


def _clear(folder: Path) -> None:
    """Remove what killed runs have left; first put back what one of them was about to replace."""
    for entry in folder.glob(f"{PREFIX}*"):
        if (entry / JOURNAL).is_file():
            _put_back(folder, entry)
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _put_back(folder: Path, aside: Path) -> None:
    """Undo a move that did not end: out with what is new, back with what was there."""
    for name, made in json.loads((aside / JOURNAL).read_text(encoding="utf-8")).items():
        if made is not None and not os.path.lexists(aside / made) and os.path.lexists(folder / name):
            os.rename(folder / name, aside / made)
        if os.path.lexists(aside / REPLACED / name):
            os.rename(aside / REPLACED / name, folder / name)
    (aside / JOURNAL).unlink()


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or every file of a folder."""
    for entry in path.rglob("*") if path.is_dir() else [path]:
        if entry.is_file() and not entry.is_symlink():
            handle = os.open(entry, os.O_RDONLY)
            try:
                with told_of(entry):
                    os.fsync(handle)
            finally:
                os.close(handle)


SPILL = "valib-spill-"


class SpillFolder:
    """A fresh folder in the temporary directory, held by a lock that ends with the process.

    Those that killed runs of this user have left, which nobody holds any more, are removed first.
    """

    def __init__(self):
        above = Path(tempfile.gettempdir())
        for left in above.glob(f"{SPILL}*"):
            handle = _hold(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
        made = Path(tempfile.mkdtemp(prefix="valib-"))
        self._handle = _hold(made)
        self.path = made.rename(made.with_name(SPILL + made.name)) if self._handle is not None else made

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
