"""What the book needs of Sphinx beyond Jupyter Book.

MathJax beside the pages, round citations, the PDF's structure, and figures of one chapter on another page.
"""

from __future__ import annotations

import html
import importlib.util
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sphinxcontrib.bibtex.plugin
from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.ext.glue.utils import create_pending_glue_ref
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

LOGGER = logging.getLogger(__name__)
LONGTABLE = 30  # Sphinx sets a longer table as a longtable, which does not know the columns of tabulary
MATHJAX = "tex-svg-full.js"  # one file, no fonts to fetch: it works from file:// without a network


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


class FrontMatter(SphinxPostTransform):
    """In the PDF, make the root page a chapter without a number, and take the heading off the page of references.

    Sphinx would drop the root page's title and make chapters of its sections; and LaTeX gathers the references at the
    end, under a heading of its own.
    """

    default_priority = 5
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        """Rearrange the assembled document."""
        root = next((node for node in self.document.children if isinstance(node, nodes.section)), None)
        if root is None:
            return
        for page in list(self.document.findall(addnodes.start_of_file)):
            section = page.next_node(nodes.section)
            if page["docname"].endswith("/references") and section is not None:
                content = [child for child in section.children if not isinstance(child, nodes.title)]
                page.replace(section, nodes.compound("", *content))
        chapter = nodes.section("", ids=list(root["ids"]), names=list(root["names"]))
        for child in list(root.children):
            if not (isinstance(child, nodes.compound) and "toctree-wrapper" in child["classes"]):
                root.remove(child)
                chapter.append(child)
        root.insert(0, nodes.title("", self.config.html_title))
        root["ids"] = []
        begin = nodes.raw("", r"\setcounter{secnumdepth}{-1}", format="latex")
        end = nodes.raw("", r"\setcounter{secnumdepth}{1}", format="latex")
        for place, node in enumerate((begin, chapter, end), start=1):
            root.insert(place, node)


class NumberColumns(SphinxPostTransform):
    """In the PDF, set the columns of a Markdown table flush right that are flush right in the pages."""

    default_priority = 6
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        """Put a column specification before each table without one."""
        for table in list(self.document.findall(nodes.table)):
            body = table.next_node(nodes.tbody)
            if body is None or not body.children or "colwidths-given" in table["classes"]:
                continue
            right = ["text-right" in entry["classes"] for entry in body.children[0].children]
            if any(right):
                long = len(body.children) > LONGTABLE or "longtable" in table["classes"]
                text, number = (rf"\X{{1}}{{{len(right)}}}", "r") if long else ("L", "R")
                spec = "".join(number if flush else text for flush in right)
                table.parent.insert(table.parent.index(table), addnodes.tabular_col_spec(spec=spec))


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


def _escape_title(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The theme puts the book's title into the head of the search page as it stands: give it escaped there."""
    if page == "search":
        context["docstitle"] = html.escape(context["docstitle"])


def _copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax beside the pages, where mathjax_path names it."""
    if error or app.builder.format != "html":
        return
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    source = Path(package.origin).parent / "static" / "mathjax" / MATHJAX
    target = Path(app.outdir) / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target / MATHJAX)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    sphinxcontrib.bibtex.plugin.register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundReferenceStyle
    )
    app.add_directive("figure-from", FigureFrom)
    app.add_post_transform(PastedImages)
    app.add_post_transform(FrontMatter)
    app.add_post_transform(NumberColumns)
    app.connect("html-page-context", _escape_title)
    app.connect("build-finished", _copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
