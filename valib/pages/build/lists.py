"""The page of figures and tables, which the pages have as the PDF has its list of figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from sphinx.application import Sphinx

from .print_layout import SENTENCE
from .staging import toc_files

NAME, TITLE = "figures-tables", "Figures and tables"
CAPTION = re.compile(
    r'<span class="caption-number">(Fig\.|Table) ([\w.]+) ?</span>'
    r'<span class="caption-text">(.*?)</span><a class="headerlink" href="#([^"]+)"',
    re.DOTALL,
)
PARAMETERS = "Parameters of this chapter."
NOT_HERE = re.compile(r'</?a\b[^>]*>| id="[^"]*"')  # of a caption: its links, and ids, which are one page's


class Listed(NamedTuple):
    """A figure or table: what it is, its number, the first sentence of its caption (HTML) and its id."""

    kind: str
    number: str
    caption: str
    anchor: str


def listed(body: str) -> list[Listed]:
    """The numbered figures and tables of a page, in order, without the tables of a chapter's parameters."""
    return [
        Listed(kind, number, SENTENCE.split(NOT_HERE.sub("", " ".join(caption.split())))[0], anchor)
        for kind, number, caption, anchor in CAPTION.findall(body)
        if caption != PARAMETERS
    ]


def setup(app: Sphinx) -> None:
    """Note the captions while pages are written, and write the page of them at the end."""
    found: dict[str, list[Listed]] = {}

    def note(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
        if rows := listed(context.get("body") or ""):
            found[name] = rows

    def page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
        toc = yaml.safe_load((Path(app.srcdir) / "_toc.yml").read_text(encoding="utf-8"))
        parts = [f"<h1>{TITLE}</h1>"]
        for kind, heading in (("Fig.", "Figures"), ("Table", "Tables")):
            rows = []
            for name in toc_files(toc):
                place = app.builder.get_relative_uri(NAME, name)
                for one in (row for row in found.get(name, ()) if row.kind == kind):
                    link = f'<a href="{place}#{one.anchor}">{one.kind} {one.number}</a>'
                    rows.append(f"<li>{link} {one.caption}</li>")
            listing = f'<ul class="listed">{"".join(rows)}</ul>'
            parts.append(f'<section id="{heading.lower()}"><h2>{heading}</h2>{listing}</section>')
        yield NAME, {"title": TITLE, "body": "".join(parts)}, "page.html"

    app.connect("html-page-context", note)
    app.connect("html-collect-pages", page)
