"""The executed notebooks as pages, and as a PDF a school; every warning of Sphinx is an error."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ..book.children import Children
from ..book.errors import BookError
from ..book.latex import make_pdf
from ..book.render import run_jupyter_book
from ..book.surroundings import surroundings


def make_pages(book: Path, work: Path, children: Children) -> Path:
    """Render all pages to ``work/html``; return that folder. Raises BookError if Jupyter Book warns of anything."""
    rendered = work / "render-html"
    run_jupyter_book(book, rendered, "html", _environment(work), children)
    pages = (rendered / "_build" / "html").rename(work / "html")
    shutil.rmtree(rendered)  # it holds a copy of every figure
    return pages


def make_pdfs(book: Path, work: Path, files: Mapping[str, str], jobs: int, children: Children,
              done: Callable[[int, int], None]) -> Path:
    """Make the PDF of every school in ``work/pdf``; return that folder.

    files: the file name of every school. done: told (PDFs done, in all). Raises BookError naming the school if one
    fails.
    """
    environment = _environment(work)
    run_jupyter_book(book, work / "render-pdf", "latex", environment, children)
    latex, target = work / "render-pdf" / "_build" / "latex", work / "pdf"
    target.mkdir()
    count, lock = 0, threading.Lock()

    def one(school: str, name: str) -> None:
        nonlocal count
        try:
            made = make_pdf(latex, children, environment, name)
        except BookError as error:
            raise BookError(f"School '{school}': {error}") from error
        made.rename(target / f"{name}.pdf")
        with lock:
            count += 1
            done(count, len(files))

    children.all({school: functools.partial(one, school, name) for school, name in files.items()}, jobs)
    return target


def _environment(work: Path) -> dict[str, str]:
    return {**os.environ, **surroundings(work), "PYTHONUTF8": "1"}
