"""The notebooks of all schools, executed by several workers at once; the first failure ends them all."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ... import errors
from ...errors import BookError
from ...workers import telling
from ..build.children import Children

MOST = 100  # schools that one worker process is given; it is under the time limit of a chapter
SECONDS = 0.3  # between two looks at how far the workers are


def run_schools(
    notebooks: Mapping[str, str],
    folder: Path,
    work: Path,
    environment: Mapping[str, str],
    hidden: Mapping[str, str],
    jobs: int,
    children: Children,
    done: Callable[[int, int], None],
    note: Callable[[str], None],
) -> None:
    """Execute a notebook for each school in place.

    notebooks: by school, the notebook's file name in ``folder``, which is also the kernels' working directory. hidden:
    texts that no output may hold, with what stands instead. done: told (schools done, in all) now and then; note: told
    what a notebook printed to stderr.
    Raises ValibError if a notebook finds its input unusable and BookError if it fails otherwise; both name the school.
    """
    pairs = list(notebooks.items())
    parts = max(min(jobs, len(pairs)), -(-len(pairs) // MOST))
    orders, reports = {}, []
    for number in range(parts):
        report = work / f"worker-{number}.report"
        order = {"notebooks": pairs[number::parts], "hidden": dict(hidden), "report": str(report)}
        path = work / f"worker-{number}.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        reports.append(report)
        orders[path.name] = functools.partial(_run, path, order, folder, environment, children)
    with telling(lambda: done(sum(len(_read(path)) for path in reports), len(pairs)), SECONDS):
        for told in children.all(orders, jobs).values():
            for line in told:
                for text in line["notes"]:
                    note(f"{line['school']}: {text}")


def _run(
    path: Path, order: dict[str, Any], folder: Path, environment: Mapping[str, str], children: Children
) -> list[dict[str, Any]]:
    """Let one worker do its part; return its report. Raises if it has not done all of it."""
    ended = children.run([sys.executable, "-m", "valib.pages.report.worker", str(path)], folder, environment)
    told = _read(Path(order["report"]))
    for line in told:
        if line["error"]:
            raise _failure(line["school"], line["error"])
    if len(told) < len(order["notebooks"]):
        school = order["notebooks"][len(told)][0]
        if ended.late:
            raise BookError(f"School '{school}': its page was not made, stopped at {children.limit}")
        tail = ended.text.strip().splitlines()[-1:]
        raise BookError(
            f"School '{school}': the process that made its page ended without a report (exit code "
            f"{ended.code}){''.join(f': {line}' for line in tail)}"
        )
    return told


def _read(report: Path) -> list[dict[str, Any]]:
    """The lines of a worker's report that are complete."""
    try:
        text = report.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].split("\n") if line]


def _failure(school: str, error: dict[str, str]) -> Exception:
    """Turn a notebook's error into one sentence that names the school."""
    kind = getattr(errors, error["name"], None)
    if isinstance(kind, type) and issubclass(kind, errors.ValibError):
        return kind(f"School '{school}': {error['text']}")
    text = f"{error['name']}: {error['text']}".removeprefix(": ")
    failure = BookError(f"School '{school}': {text}")
    failure.add_note(error["traceback"])
    return failure
