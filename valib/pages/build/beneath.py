"""What stands beneath a figure of the pages: its numbers as a CSV, and the code that draws it, folded.

An executed chapter carries both beside each picture (:func:`valib.pages.notebook.figure`). A
picture's file is named by its content, so a page's pictures tell to which figure they belong, pasted ones included.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from sphinx.application import Sphinx

FOLDER = "_figures"
FIGURE = re.compile(r'<figure\b.*?src="[^"]*?([0-9a-f]{64})\.png".*?(?=</figcaption>|</figure>)', re.DOTALL)


class Beneath(NamedTuple):
    """The name of a figure's file, its table as CSV text, and the code: of the cell, and of the drawing function."""

    name: str
    csv: str
    code: str


def of_chapters(folder: Path) -> dict[str, Beneath]:
    """What belongs to the pictures of the executed chapters of a folder, by the hash that names a picture's file."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                about, key = output.get("metadata", {}), output.get("metadata", {}).get("scrapbook", {}).get("name", "")
                if "beneath" in about and "image/png" in output.data:
                    numbers, drawing = about["beneath"]["csv"], about["beneath"]["code"]
                    code = f"# in this chapter\n{cell.source}\n\n# what draws it\n{drawing}"
                    name = f"{path.stem}-{key.removeprefix('fig_')}.csv"
                    digest = hashlib.sha256(b64decode(output.data["image/png"])).hexdigest()
                    found.setdefault(digest, Beneath(name, numbers, code))
    return found


def added(body: str, known: dict[str, Beneath], place: str, highlight: Callable[[str], str]) -> str:
    """The body of a page with both beneath every figure of ``known``; place: the folder of the files, from the page."""

    def more(figure: re.Match[str]) -> str:
        if figure[1] not in known:
            return figure[0]
        one = known[figure[1]]
        link = f'<a href="{place}/{one.name}" download>Numbers (CSV)</a>' if one.csv else ""
        fold = f"<details><summary>Code</summary>{highlight(one.code)}</details>"
        return f'{figure[0]}<div class="beneath">{link}{fold}</div>'

    return FIGURE.sub(more, body)


def setup(app: Sphinx) -> None:
    """Add to the pages what their figures have beneath them, and write the files."""
    known: dict[str, Beneath] = {}

    def read(app: Sphinx) -> None:
        known.update(of_chapters(Path(app.srcdir) / "chapters"))

    def page(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
        if "body" in context:

            def highlight(code: str) -> str:
                return str(app.builder.highlighter.highlight_block(code, "python")) if code else ""

            context["body"] = added(context["body"], known, context["pathto"](FOLDER, 1), highlight)

    def write(app: Sphinx, error: Exception | None) -> None:
        if error or app.builder.format != "html":
            return
        folder = Path(app.outdir) / FOLDER
        folder.mkdir(exist_ok=True)
        for one in known.values():
            if one.csv:
                (folder / one.name).write_text(one.csv, encoding="utf-8", newline="")

    app.connect("builder-inited", read)
    app.connect("html-page-context", page)
    app.connect("build-finished", write)
