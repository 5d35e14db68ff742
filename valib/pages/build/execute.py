"""Execute chapters in processes of their own, several at a time; stop at the first that fails."""

from __future__ import annotations

import builtins
import functools
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ... import errors
from ...errors import BookError
from ...records.datasets import bundle_root
from ..notebook import RECORDS_FILE, RESULTS_FOLDER, STAND_IN
from .chapter import REPORT, reached
from .children import surroundings
from .staging import stands_in

if TYPE_CHECKING:
    from ...study.params import Params
    from ..progress import Progress
    from .children import Children
    from .staging import Staged

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
FACTS = "VALIB_RUN_FACTS"  # what the run has found out before its last chapter
# Settings of the user that no kernel is given: the data's place, and what may hold passwords and keys.
WITHHELD = re.compile(
    r"^(PG.*|VALIB_.*|MPLBACKEND|MATPLOTLIBRC)$|PASS|SECRET|TOKEN|CREDENTIAL|_KEY$|^KEY|DATABASE"
    r"|DB_URL",
    re.IGNORECASE,
)


def run_chapters(
    book: Staged,
    names: Sequence[PurePosixPath],
    params: Params,
    work: Path,
    jobs: int,
    shown: Progress,
    children: Children,
) -> dict[str, float]:
    """Execute notebooks of a staged book in place; return the seconds of each, by the chapter's name.

    Raises ValibError if a chapter finds the input unusable, BookError if it fails for another reason; both name the
    chapter and the cell. The chapters still running are stopped then.
    """
    environment = kernel_environment(work)
    hidden = hidden_texts(params, work)

    def run(name: PurePosixPath) -> float:
        shown.start(name.name)
        own = environment | ({STAND_IN: "1"} if stands_in(name.name, params) else {})
        _run_one(book.folder / f"{name}.ipynb", work, own, hidden, children, shown)
        return shown.finish(name.name)

    return children.all({name.name: functools.partial(run, name) for name in names}, jobs)


def kernel_environment(work: Path) -> dict[str, str]:
    """Return the kernels' environment: one thread each, where the prepared records are and results go.

    None of the user's settings is in it: no path of the source, no password or key.
    """
    environment = {key: value for key, value in os.environ.items() if not WITHHELD.search(key)}
    environment |= (
        surroundings(work)
        | dict.fromkeys(ONE_THREAD, "1")
        | {
            RESULTS_FOLDER: str(work / "results"),
            FACTS: str(work / "facts.json"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTER_PLATFORM_DIRS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONHASHSEED": "0",
            RECORDS_FILE: str(work / "records.parquet"),
        }
    )
    return environment


def hidden_texts(params: Params, work: Path) -> dict[str, str]:
    """Return the folders of this machine that no output may name, each with what stands instead."""
    folders = [work, Path(sys.prefix), bundle_root(), Path(tempfile.gettempdir())]
    folders += [Path(params.data).parent] if Path(params.data).is_absolute() else []
    return {str(folder): "" for folder in folders if len(folder.parts) > 1} | {os.path.expanduser("~"): "~"}


def _run_one(
    path: Path, work: Path, environment: dict[str, str], hidden: dict[str, str], children: Children, shown: Progress
) -> None:
    """Execute one notebook in place in a process of its own."""
    folder = work / "run" / path.stem
    folder.mkdir(parents=True)
    order = {"notebook": str(path), "cwd": str(folder), "hidden": hidden}
    ended = children.run([sys.executable, "-m", "valib.pages.build.chapter", json.dumps(order)], folder, environment)
    if ended.late:
        raise BookError(f"{path.name}, {reached(path)}: stopped at {children.limit}")
    _, reported, told = ended.text.rpartition(REPORT)  # what kernels print before it is of no use to the reader
    if not reported:
        tail = ended.text.strip().splitlines()
        raise BookError(
            f"{path.name}, {reached(path)}: the process ended without a report (exit code {ended.code})"
            + (f": {tail[-1]}" if tail else "")
        )
    report = json.loads(told)
    for line in report["notes"]:
        shown.note(f"{path.stem}: {line}")
    if report["error"]:
        raise _failure(path.name, report["error"])


def _failure(chapter: str, error: dict[str, Any]) -> Exception:
    """Turn what a chapter reports into one sentence: input it cannot use, or a failure inside."""
    kind = getattr(errors, error["name"], None)
    if isinstance(kind, type) and issubclass(kind, errors.ValibError):
        return kind(f"{error['text']} (found by {chapter}, {error['where']})")
    system = getattr(builtins, error["name"], None)
    if isinstance(system, type) and issubclass(system, OSError):
        text = re.sub(r"^\[Errno \d+\] ", "", error["text"])
    else:
        text = f"{error['name']}: {error['text']}".removeprefix(": ")
    failure = BookError(f"{chapter}, {error['where']}: {text}")
    failure.add_note(error["traceback"])
    return failure
