"""What the reports need of Sphinx beyond Jupyter Book: figures and tables numbered by page, and a PDF a page."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from ..build.sphinx_extension import NumberColumns
from ..build.titlepage import tex
from .staging import PAGES


def _number_by_page(app: Sphinx, env: BuildEnvironment) -> None:
    """Let figures and tables count from 1 on every page: each is read by itself."""
    for kinds in env.toc_fignumbers.values():
        for labels in kinds.values():
            for number, label in enumerate(labels, start=1):
                labels[label] = (number,)


def _document_by_page(app: Sphinx, env: BuildEnvironment) -> None:
    """Make a LaTeX document of every school's page; Jupyter Book would make one of all."""
    pages = sorted(name for name in env.found_docs if name.startswith(f"{PAGES}/"))
    app.config.latex_documents = [
        (
            name,
            f"{name.removeprefix(f'{PAGES}/')}.tex",
            tex(env.titles[name].astext()),
            tex(app.config.project),
            "howto",
            False,
        )
        for name in pages
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_post_transform(NumberColumns)
    app.connect("env-check-consistency", _number_by_page)
    app.connect("env-check-consistency", _document_by_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
