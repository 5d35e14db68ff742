"""An output folder: one run at a time, results moved in all together or not at all, and a list of what was made.

Names that begin with ``.valib-`` are of what is not finished; the next run that holds the folder clears them. The file
``.made-by-valib`` lists what each command has made, with its SHA-256: nothing else is replaced or removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import ParamsError, ValibWarning
from ..files import PREFIX, sync, write_file

NOT_FOR_PUBLICATION = "NOT_FOR_PUBLICATION.txt"  # beside exact results
FITS = (
    *("school_effects.csv", "fixed_effects.csv", "shifts.csv", "shift_in_context.csv", "correlations.csv", "omega.csv"),
    *(
        "averages.csv",
        "lasting.csv",
        "va_at.csv",
        "slopes.csv",
        "change_at.csv",
        "slope_correlations.csv",
        "slope_covariances.csv",
        "residual_sds.csv",
        "variance_tests.csv",
        "groups.csv",
        "similar.csv",
        "capped.csv",
        "quantile_effects.csv",
        "quantiles.csv",
    ),
    *("fits.json", "scoring.json"),
)
BESIDE = ("about.csv", "columns.csv")  # how the results were made, and what their columns mean
REPORTED = (  # names of its own beside those of a fit, so that one folder may hold both
    *("report.csv", "changes.csv", "report_averages.csv", "report_lasting.csv"),
    *("report_about.csv", "report_columns.csv", "report.xlsx"),
)
OUTPUTS = {  # all that a command may make in its output folder
    "fit": (*FITS, *BESIDE, "results.xlsx", "figures", NOT_FOR_PUBLICATION),
    "simulate": ("performance.csv", "scenarios.csv", "replicates.parquet", "simulation_columns.csv"),
    "book": ("html", "results", "baseline.json", "valib.pdf"),
    "report": ("html", "pdf", *REPORTED),
    "summary": ("summary.html", "summary.pdf"),
}
MARK = ".made-by-valib"
JOURNAL, REPLACED, LOCK = "moving.json", "replaced", f"{PREFIX}lock"
LARGEST = 1 << 20  # bytes of a list or a journal
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # as some network file systems answer
MOMENT = 0.2  # seconds that another run may need to look for locks


@contextlib.contextmanager
def claim(folder: Path, name: str | None = None) -> Iterator[None]:
    """Hold a folder, or one file in it, for this run alone; make the folder if it is missing.

    The lock ends with the process. Who claims a file shares the folder with those who claim others. A folder that was
    not there is removed again if it got nothing. Where the file system has no locks the run goes on without one.

    Raises ParamsError if another run holds the folder or the file; nothing is touched then.
    """
    folder = Path(folder)
    lock, missing = _enter(folder)
    try:
        if name is None:
            for other in folder.glob(f"{LOCK}-*") if lock is not None else ():
                _release(_lock(other, folder), other)
            if lock is not None:
                _clear(folder)
            yield
        else:
            token = folder / f"{LOCK}-{name}"
            held = _lock(token, folder / name)
            lock = _release(lock, folder / LOCK)
            try:
                _clear_strays(folder, name, held)
                yield
            finally:
                _release(held, token)
    finally:
        _release(lock, folder / LOCK)
        for part in missing:
            with contextlib.suppress(OSError):  # it holds something, or another run has removed it
                part.rmdir()


@contextlib.contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Give a fresh hidden folder inside a claimed one and remove it afterwards."""
    aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield aside
    finally:
        if not (aside / JOURNAL).exists():  # else it holds what an earlier run has left, and that is not back in place
            shutil.rmtree(aside, ignore_errors=True)


def refuse_foreign(folder: Path, command: str, names: Iterable[str]) -> None:
    """Raise ParamsError if what stands in a folder under one of these names is not what ``command`` has made there.

    Empty folders may be filled. What the command has made and this run does not make again must be unchanged too.
    """
    made = _made(folder)
    own = made.get(command, {})
    mark = folder / MARK
    if os.path.lexists(mark) and not _is_file(mark):
        raise ParamsError(f"--out is {folder}, but {mark} is no file of valib's: name another folder.")
    for name in dict.fromkeys((*names, *own)):
        path = folder / name
        if not os.path.lexists(path) or _is_empty(path) or (name in own and digest(path) == own[name]):
            continue
        if name in own:
            raise ParamsError(
                f"--out is {folder}, but {path} has been changed since `valib {command}` made it: "
                "move it away, or name another folder."
            )
        raise ParamsError(
            f"--out is {folder}, but {path} is there already and not from `valib {command}`: name another folder."
        )


def move_into_place(command: str, finished: Iterable[str], folder: Path, aside: Path) -> None:
    """Rename files and folders made in ``aside``, a work folder of ``folder``, into it; all of them or none.

    What an earlier run of the command left and this one does not make is removed, so that the folder never mixes two
    runs; nothing else is touched. If a rename fails, what was there is put back; if the process is killed meanwhile,
    the next claim does that.

    Raises ParamsError as :func:`refuse_foreign` does.
    """
    finished = list(finished)
    refuse_foreign(folder, command, finished)
    made = _made(folder)
    journal: dict[str, str | None] = dict.fromkeys(made.get(command, ()))
    journal |= {name: digest(aside / name) for name in finished}
    listed = made | {command: {name: journal[name] for name in finished}}
    write_file(aside / MARK, json.dumps(listed, indent=1) + "\n")
    journal[MARK] = digest(aside / MARK)
    for name in (*finished, MARK):
        sync(aside / name)
    (aside / REPLACED).mkdir()
    write_file(aside / JOURNAL, json.dumps(journal))
    try:
        for name, new in journal.items():
            if os.path.lexists(folder / name):
                os.rename(folder / name, aside / REPLACED / name)
            if new is not None:
                os.rename(aside / name, folder / name)
    except BaseException:
        _put_back(folder, aside, journal)
        raise
    (aside / JOURNAL).unlink()


def digest(path: Path) -> str | None:
    """SHA-256 of a file, or of the names and files of a folder; None for what is neither or holds something else."""
    if _is_file(path):
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if path.is_symlink() or not path.is_dir():
        return None
    total = hashlib.sha256()
    for entry in sorted(path.iterdir()):
        inner = digest(entry)
        if inner is None:
            return None
        kind = "folder" if entry.is_dir() else "file"
        total.update(b"%s %s %s\0" % (kind.encode(), inner.encode(), os.fsencode(entry.name)))
    return total.hexdigest()


def _is_file(path: Path) -> bool:
    """Whether this is an ordinary file and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_empty(path: Path) -> bool:
    """Whether this is a folder with nothing in it, or nothing but the empty mark of an earlier version."""
    if path.is_symlink() or not path.is_dir():
        return False
    return all(p.name.startswith(MARK) and _is_file(p) and not p.stat().st_size for p in path.iterdir())


def _read_json(path: Path) -> dict:
    """The object in a small JSON file; an empty one if there is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if _is_file(path) and path.stat().st_size <= LARGEST:
            content = json.loads(path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def _made(folder: Path) -> dict[str, dict[str, str]]:
    """What each command has made in a folder: names of its own outputs with their digest; other entries do not count."""
    found = {}
    for command, names in _read_json(folder / MARK).items():
        if command in OUTPUTS and isinstance(names, dict):
            found[command] = {n: d for n, d in names.items() if n in OUTPUTS[command] and isinstance(d, str)}
    return found


def _enter(folder: Path) -> tuple[FileLock | None, list[Path]]:
    """Make a folder and lock it; the lock, None where there are none, and what was made of its path."""
    for attempt in range(100):  # the run before may remove the folder between any two of these steps
        missing = [part for part in (folder, *folder.parents) if not part.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _lock(folder / LOCK, folder), missing
        except (FileNotFoundError, FileExistsError):
            if attempt == 99 or _is_no_folder(folder):
                raise
    raise AssertionError  # not reached


def _is_no_folder(path: Path) -> bool:
    """Whether something else than a folder lies there, asked once: another run may take the folder away meanwhile."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _lock(path: Path, named: Path) -> FileLock | None:
    """Lock a hidden file; None where there are no locks. Raises ParamsError if another run holds it."""
    if path.is_symlink():  # never made by valib; the link alone is removed
        path.unlink(missing_ok=True)
    lock = FileLock(path, fallback_to_soft=False, thread_local=False)
    try:
        lock.acquire(timeout=MOMENT, poll_interval=MOMENT / 10)
    except Timeout:
        raise ParamsError(
            f"--out is {named}, but another run of valib is writing there: wait until it has ended, or name another "
            "place."
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return lock


def _release(lock: FileLock | None, path: Path) -> None:
    """Remove a lock's file and give the lock back; who waits for it sees that the file is gone and makes a new one."""
    if lock is not None:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()


def _clear_strays(folder: Path, name: str, held: FileLock | None) -> None:
    """Remove what killed runs have left of one file."""
    stray = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{8}}-{re.escape(name)}")
    for entry in folder.iterdir():
        if held is not None and stray.fullmatch(entry.name) and (_is_file(entry) or entry.is_symlink()):
            entry.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what killed runs have left; first put back what one of them was about to replace.

    A journal that no run of this user has written is not followed: its folder gets a plain name and stays.
    """
    for entry in folder.glob(f"{PREFIX}*"):
        if entry.name == LOCK:
            continue
        if entry.is_symlink() or not entry.is_dir():
            entry.unlink(missing_ok=True)
        elif not os.path.lexists(entry / JOURNAL) or _put_back(folder, entry, _journal(entry)):
            shutil.rmtree(entry, ignore_errors=True)
        else:
            kept = Path(tempfile.mkdtemp(prefix="left-by-valib-", dir=folder))
            os.rename(entry, kept / "unfinished")
            warnings.warn(
                f"{folder} held what an unfinished run left, with a list that cannot be followed: it was moved to {kept}.",
                ValibWarning,
                stacklevel=2,
            )


def _journal(aside: Path) -> dict[str, str | None]:
    """What a killed run was moving; empty if the list is broken, names what no command makes, or is another user's."""
    journal = _read_json(aside / JOURNAL)
    known = {MARK}.union(*OUTPUTS.values())
    own = not hasattr(os, "getuid") or os.lstat(aside).st_uid == os.getuid() == os.lstat(aside / JOURNAL).st_uid
    plain = all(name in known and (new is None or isinstance(new, str)) for name, new in journal.items())
    replaced = aside / REPLACED
    return journal if own and plain and replaced.is_dir() and not replaced.is_symlink() else {}


def _put_back(folder: Path, aside: Path, journal: Mapping[str, str | None]) -> bool:
    """Undo a move that did not end: out with what is new, back with what was there; False if that is not sure.

    Only what is exactly as the run made it is taken out, and nothing is put over what stands in the folder.
    """
    moved = [n for n, new in journal.items() if new and not os.path.lexists(aside / n) and os.path.lexists(folder / n)]
    back = [n for n in journal if os.path.lexists(aside / REPLACED / n)]
    blocked = [n for n in back if os.path.lexists(folder / n) and n not in moved]
    if not journal or blocked or any(digest(folder / n) != journal[n] for n in moved):
        return False
    for name in moved:
        os.rename(folder / name, aside / name)
    for name in back:
        os.rename(aside / REPLACED / name, folder / name)
    (aside / JOURNAL).unlink()
    return True
