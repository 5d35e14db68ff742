"""What the PDF needs of Sphinx: its structure, columns of tables that fit the page, and a list of figures that can be read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from .letters import appendices
from .structure import StructuredTranslator

LONGTABLE = 30  # Sphinx sets a table of more rows as a longtable, whose columns do not break by themselves
TALLEST = 24.0  # lines of a table that need not break: a taller one would leave the page before it half empty
LINE = 86.0  # characters of small print that a line of the page holds
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")


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
        self.letter_appendices()
        root.insert(0, nodes.title("", self.config.html_title))
        root["ids"] = []
        begin = nodes.raw("", r"\setcounter{secnumdepth}{-1}", format="latex")
        end = nodes.raw("", r"\setcounter{secnumdepth}{1}", format="latex")
        for place, node in enumerate((begin, chapter, end), start=1):
            root.insert(place, node)

    def letter_appendices(self) -> None:
        """Number the appendices with letters."""
        first = appendices(Path(self.app.srcdir))[:1]
        for page in list(self.document.findall(addnodes.start_of_file)):
            if page["docname"] in first:
                page.parent.insert(page.parent.index(page), nodes.raw("", "\\appendix\n", format="latex"))


class Columns(SphinxPostTransform):
    """Set the columns of a table as they are in the pages: numbers flush right, and a long table no wider than the page."""

    default_priority = 6
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        """Put a column specification before each table that has none."""
        for table in list(self.document.findall(nodes.table)):
            body, place = table.next_node(nodes.tbody), table.parent.index(table)
            before = table.parent[place - 1] if place else None
            given = isinstance(before, addnodes.tabular_col_spec) or "colwidths-given" in table["classes"]
            if given or body is None or not body.children:
                continue
            right = ["text-right" in entry["classes"] for entry in body.children[0].children]
            spec = None
            if lines(table, len(right)) > TALLEST:
                table["classes"].append("longtable")
            if len(body.children) > LONGTABLE or "longtable" in table["classes"]:
                spec = long_columns(table, right)
            elif any(right):
                spec = "".join("R" if flush else "L" for flush in right)
            if spec:
                table.parent.insert(place, addnodes.tabular_col_spec(spec=spec))


def long_columns(table: nodes.table, right: list[bool]) -> str:
    """The columns of a long table, as wide as the line at most: each with what it needs and a share of the rest.

    A text needs its longest word, a column of numbers its longest entry and the longest word of its head; what is left of
    the line is shared by how much more they hold.
    """
    rows = [[entry.astext() for entry in row.children] for row in table.findall(nodes.row)]
    heads = len(list(table.next_node(nodes.thead).findall(nodes.row))) if table.next_node(nodes.thead) else 0
    widths, wanted = [], []
    for k, flush in enumerate(right):
        column = [row[k].replace("\n", " ") for row in rows if k < len(row)]
        pieces = [word for cell in column[: heads if flush else None] for word in cell.split()]
        pieces += column[heads:] if flush else []
        widths.append(min(max((1.15 * len(piece) + 3 for piece in pieces), default=4.0), 40.0))
        wanted.append(max(max((1.15 * len(cell) + 3 for cell in column), default=4.0) - widths[k], 0.0))
    spare = LINE - sum(widths)
    if sum(wanted) > 0 and spare > 0:
        share = min(spare / sum(wanted), 1.0)
        widths = [width + share * want for width, want in zip(widths, wanted, strict=True)]
    scale = min(LINE / sum(widths), 1.0) / LINE
    kinds = [r"\Z" if flush else r"\Y" for flush in right]  # flush right, flush left
    return "".join(f"{kind}{{{width * scale:.3f}}}" for kind, width in zip(kinds, widths, strict=True))


def lines(table: nodes.table, columns: int) -> float:
    """About how many lines a table takes whose columns share a line by what they hold, none less than ten characters."""
    rows = [[len(entry.astext()) for entry in row.children] for row in table.findall(nodes.row)]
    widest = [max((row[k] for row in rows if k < len(row)), default=1) for k in range(columns)]
    shares = [max(LINE * wide / sum(widest), min(wide, 10)) if sum(widest) > LINE else LINE for wide in widest]
    return sum(max(math.ceil(held / share) for held, share in zip(row, shares, strict=False)) for row in rows)


class Translator(StructuredTranslator):
    """LaTeX of Sphinx, with the first sentence of a figure's caption for the list of figures."""

    def visit_caption(self, node: nodes.Element) -> None:
        """Begin a caption."""
        super().visit_caption(node)
        if self.body[-1] == r"\caption{":
            self.body[-1] = rf"\caption[{{{self.first_sentence(node)}}}]{{"

    def first_sentence(self, node: nodes.Element) -> str:
        """The first sentence of a caption as LaTeX."""
        whole, self.body = self.body, []
        self.unmarked += 1
        for child in node.children:
            first, *more = SENTENCE.split(child.astext(), maxsplit=1) if isinstance(child, nodes.Text) else ("",)
            if more:
                self.body.append(self.encode(first))
                break
            child.walkabout(self)
        self.unmarked -= 1
        said, self.body = "".join(self.body), whole
        return " ".join(said.split())


def setup(app: Sphinx) -> None:
    """Register with Sphinx what the PDF needs."""
    app.add_post_transform(FrontMatter)
    app.add_post_transform(Columns)
    app.set_translator("latex", Translator, override=True)
