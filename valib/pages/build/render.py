"""Jupyter Book on the executed chapters: pages, and LaTeX for the PDF. Every warning is an error."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from ...errors import BookError
from ..progress import Progress
from .children import Children, surroundings
from .latex import make_pdf

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
STRICT = ("-W", "-n", "--keep-going")
WARNING = re.compile(r"^.*(?:WARNING|ERROR|CRITICAL|Traceback|Error:).*$", re.MULTILINE)
DISK = [os.strerror(n) for n in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def render(
    book: Path, work: Path, pdf: bool, jobs: int, shown: Progress, children: Children, strict: bool
) -> dict[str, float]:
    """Render a staged and executed book to ``work/html``, and to ``work/valib.pdf``; return the seconds of each.

    strict: as in :func:`valib.pages.build.latex.make_pdf`. Raises BookError if Jupyter Book warns of anything, LaTeX fails,
    or one of them passes the time limit.
    """
    environment = {**os.environ, **surroundings(work), "PYTHONUTF8": "1"}
    steps: dict[str, Callable[..., None]] = {"pages": _pages}
    if pdf:
        steps["pdf"] = functools.partial(_pdf, strict=strict)

    def take(name: str) -> float:
        shown.start(name)
        steps[name](book, work, environment, children)
        return shown.finish(name)

    return children.all({name: functools.partial(take, name) for name in steps}, jobs)


def _pages(book: Path, work: Path, environment: dict[str, str], children: Children) -> None:
    run_jupyter_book(book, work / "render-html", "html", environment, children)
    (work / "render-html" / "_build" / "html").rename(work / "html")


def _pdf(book: Path, work: Path, environment: dict[str, str], children: Children, strict: bool) -> None:
    run_jupyter_book(book, work / "render-pdf", "latex", environment, children)
    folder = work / "render-pdf" / "_build" / "latex"
    make_pdf(folder, children, environment, strict=strict).rename(work / "valib.pdf")


def run_jupyter_book(book: Path, target: Path, builder: str, environment: dict[str, str], children: Children) -> None:
    """Run Jupyter Book; raise BookError with its warnings if there are any."""
    order = [sys.executable, "-c", JUPYTER_BOOK, "build", str(book), "--path-output", str(target), *STRICT]
    order += ["--builder", builder]
    ended = children.run(order, book, environment)
    what = "the pages" if builder == "html" else "the PDF"
    if ended.late:
        raise BookError(f"Jupyter Book had not made {what}: stopped at {children.limit}")
    if ended.code == 0:
        return
    log = COLOUR.sub("", ended.text).replace(f"{book}/", "")
    if refused := next((reason for reason in DISK if reason in log), None):
        raise BookError(f"Jupyter Book could not write {what}: {refused}")
    told = list(dict.fromkeys(line.strip() for line in WARNING.findall(log)))
    print("\n".join(told or log.strip().splitlines()[-30:]), file=sys.stderr)
    failure = BookError(f"Jupyter Book refused {what}: {told[0] if told else 'see above'}")
    failure.add_note(log)
    raise failure
