"""Jupyter Book on the executed chapters: pages, and LaTeX for the PDF. Every warning is an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .latex import make_pdf
from .progress import Progress

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
STRICT = ("-W", "-n", "--keep-going")
WARNING = re.compile(r"^.*(?:WARNING|ERROR|CRITICAL|Traceback|Error:).*$", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def render(book: Path, work: Path, pdf: bool, jobs: int, shown: Progress) -> dict[str, float]:
    """Render a staged and executed book to ``work/html``, and to ``work/valib.pdf``; return the seconds of each.

    Raises BookError if Jupyter Book warns of anything or LaTeX fails.
    """
    steps = [_pages, _pdf] if pdf else [_pages]
    with ThreadPoolExecutor(min(max(jobs, 1), len(steps))) as pool:
        tasks = [pool.submit(step, book, work, shown) for step in steps]
        return dict(task.result() for task in tasks)


def _pages(book: Path, work: Path, shown: Progress) -> tuple[str, float]:
    shown.start("pages")
    _jupyter_book(book, work / "render-html", "html")
    (work / "render-html" / "_build" / "html").rename(work / "html")
    return "pages", shown.finish("pages")


def _pdf(book: Path, work: Path, shown: Progress) -> tuple[str, float]:
    shown.start("pdf")
    _jupyter_book(book, work / "render-pdf", "latex")
    make_pdf(work / "render-pdf" / "_build" / "latex").rename(work / "valib.pdf")
    return "pdf", shown.finish("pdf")


def _jupyter_book(book: Path, target: Path, builder: str) -> None:
    """Run Jupyter Book; raise BookError with its warnings if there are any."""
    from .assemble import BookError

    order = [sys.executable, "-c", JUPYTER_BOOK, "build", str(book), "--path-output", str(target), *STRICT]
    order += ["--builder", builder]
    done = subprocess.run(order, cwd=book, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False, env={**os.environ, "PYTHONUTF8": "1"})
    if done.returncode == 0:
        return
    log = COLOUR.sub("", done.stdout).replace(f"{book}/", "")
    told = list(dict.fromkeys(line.strip() for line in WARNING.findall(log)))
    print("\n".join(told or log.strip().splitlines()[-30:]), file=sys.stderr)
    failure = BookError(f"Jupyter Book refused the {'pages' if builder == 'html' else 'PDF'}: "
                        f"{told[0] if told else 'see above'}")
    failure.add_note(log)
    raise failure
