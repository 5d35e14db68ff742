"""What the book needs of Sphinx beyond Jupyter Book.

Light pages without MathJax, round citations, and figures of one chapter on another page.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sphinxcontrib.bibtex.plugin
from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.ext.glue.utils import create_pending_glue_ref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

from . import beneath, letters, lists, mathml, print_layout
from .slim import slim

LOGGER = logging.getLogger(__name__)
DESCRIPTION = "Value added of schools, relative to their own year and against a benchmark of earlier years."


def _round() -> BracketStyle:
    return BracketStyle(left="(", right=")")


@dataclass
class RoundReferenceStyle(AuthorYearReferenceStyle):
    """Author and year in round brackets."""

    bracket_parenthetical: BracketStyle = field(default_factory=_round)
    bracket_textual: BracketStyle = field(default_factory=_round)
    bracket_author: BracketStyle = field(default_factory=_round)
    bracket_label: BracketStyle = field(default_factory=_round)
    bracket_year: BracketStyle = field(default_factory=_round)


class FigureFrom(SphinxDirective):
    """A figure that another chapter has recorded, with number, caption and alt text of its own.

    The directive ``glue:figure`` of MyST-NB knows its own page's figures only, and ``glue`` with ``doc`` gives an image
    without any of these.
    """

    required_arguments = 1  # the key
    has_content = True
    option_spec = dict.fromkeys(("doc", "name", "alt"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        """Return the figure with a place for the image, which is known when all pages have been read."""
        source, line = self.get_source_info()
        image = create_pending_glue_ref(self.state.document, source, line, self.options["doc"], self.arguments[0])
        caption = nodes.caption("", "", *self.parse_inline(" ".join(self.content))[0])
        figure = nodes.figure("", image, caption, pasted_alt=self.options["alt"])
        for node in (figure, caption):
            self.set_source_info(node)
        self.add_name(figure)
        return [figure]


class PastedImages(SphinxPostTransform):
    """Give a figure of another chapter its alt text, and the file that the chapter's own copy uses, in pages and PDF."""

    default_priority = 6  # after MyST-NB has put the image in, with a path that is right in the pages only

    def run(self, **_: Any) -> None:
        """Complete the image of every such figure."""
        files = {Path(name).name: name for name in self.env.images}
        for figure in self.document.findall(nodes.figure):
            image = figure.next_node(nodes.image)
            if "pasted_alt" not in figure or image is None:
                continue
            image["alt"] = figure["pasted_alt"]
            file = files.get(Path(image["uri"]).name)
            if file is None:
                LOGGER.warning("The chapter that records this figure does not show it.", location=figure)
                continue
            if self.app.builder.format == "html":  # a reader with a small screen opens it by itself
                figure.replace(image, nodes.reference("", "", image.deepcopy(), refuri=image["uri"]))
                image = figure.next_node(nodes.image)
            image["uri"], image["candidates"] = file, {"*": file}


class OneOfEachId(SphinxPostTransform):
    """In the pages, take off the id that sphinx-exercise gives to every exercise alike."""

    default_priority = 900
    builders = ("html",)

    def run(self, **_: Any) -> None:
        """Remove the ids that are not one element's own."""
        for section in self.document.findall(nodes.section):
            section["ids"] = [one for one in section["ids"] if one not in ("exercise-content", "solution-content")]


def _escape_title(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The theme puts the book's title into the head of the search page as it stands: give it escaped there."""
    if page == "search":
        context["docstitle"] = html.escape(context["docstitle"])


def _leave_out(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out the scripts of Thebe, which runs cells on a server: the pages need none, and it is loaded twice."""
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, ()) if "thebe" not in _content(file).lower()]


def _for_links(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Tell those who show a link to a page what it is: title, description, and a picture where the pages have an address."""
    about = {"og:type": "book", "og:site_name": app.config.html_title, "og:description": DESCRIPTION}
    about["og:title"] = re.sub(r"<[^>]*>", "", context.get("title") or app.config.html_title)
    if app.config.html_baseurl:
        about["og:image"] = f"{app.config.html_baseurl.rstrip('/')}/_static/social.png"
    tags = [f'<meta property="{name}" content="{html.escape(text)}">' for name, text in about.items()]
    tags.append(f'<meta name="description" content="{html.escape(DESCRIPTION)}">')
    context["metatags"] = "\n".join([context.get("metatags") or "", *tags])


def _content(file: Any) -> str:
    """The name of a script or style sheet, and what stands in it."""
    return f"{file} {getattr(file, 'filename', '')} {getattr(file, 'attributes', {}).get('body', '')}"


def _slim(app: Sphinx, error: Exception | None) -> None:
    """Make the pages light when all are written."""
    if not error and app.builder.format == "html":
        slim(Path(app.outdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    sphinxcontrib.bibtex.plugin.register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundReferenceStyle
    )
    app.add_directive("figure-from", FigureFrom)
    app.add_post_transform(PastedImages)
    print_layout.setup(app)
    letters.setup(app)
    app.add_post_transform(OneOfEachId)
    mathml.setup(app)
    beneath.setup(app)
    lists.setup(app)
    app.connect("html-page-context", _escape_title)
    app.connect("html-page-context", _for_links)
    app.connect("html-page-context", _leave_out, priority=900)
    app.connect("build-finished", _slim, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
