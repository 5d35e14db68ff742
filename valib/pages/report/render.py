"""The executed notebooks as pages, and as a PDF a school; every warning of Sphinx is an error."""

from __future__ import annotations

import functools
import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ...errors import BookError
from ..build.children import Children, surroundings
from ..build.latex import make_pdf
from ..build.render import run_jupyter_book
from .staging import PAGES


def make_pages(book: Path, work: Path, files: Mapping[str, str], children: Children) -> Path:
    """Render all pages to ``work/html``; return that folder.

    files: the file name of every school. Raises BookError, with the school's name, if Jupyter Book warns of anything.
    """
    rendered = work / "render-html"
    _render(book, rendered, "html", work, files, children)
    pages = (rendered / "_build" / "html").rename(work / "html")
    shutil.rmtree(rendered)  # it holds a copy of every figure
    return pages


def make_pdfs(
    book: Path, work: Path, files: Mapping[str, str], jobs: int, children: Children, done: Callable[[int, int], None]
) -> Path:
    """Make the PDF of every school in ``work/pdf``; return that folder.

    files: the file name of every school. done: told (PDFs done, in all). Raises BookError naming the school if one
    fails.
    """
    environment = _environment(work)
    _render(book, work / "render-pdf", "latex", work, files, children)
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


def _render(book: Path, target: Path, builder: str, work: Path, files: Mapping[str, str], children: Children) -> None:
    """Run Jupyter Book; its complaint about a page comes with the school's name."""
    try:
        run_jupyter_book(book, target, builder, _environment(work), children)
    except BookError as error:
        page = re.search(rf"\b{PAGES}/([a-z0-9-]+)\.ipynb", str(error))
        school = next((school for school, name in files.items() if page and name == page[1]), None)
        if school is None:
            raise
        raise BookError(f"School '{school}': {error}") from error


def _environment(work: Path) -> dict[str, str]:
    return {**os.environ, **surroundings(work), "PYTHONUTF8": "1"}
