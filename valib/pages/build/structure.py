"""The structure of the PDF, as the sources have it: what LaTeX sets is marked with the number of its element.

A mark is a point in the content of a page: ``/vt12 MP`` where element 12 begins, ``/vt- MP`` where the innermost one ends.
LaTeX only carries them (``\\tagopen`` and ``\\tagclose`` in preamble.tex); :mod:`valib.pages.build.tagging` makes a tagged
PDF of them and of the tree that is written beside the LaTeX.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.builders.latex.nodes import math_reference
from sphinx.writers.latex import LaTeXTranslator

FILE = "structure.json"
CLOSE = r"\tagclose{}"
LABEL = r"\s*(?:\\label\{[^}]*\}\s*)?"
HOLDS_ALL = re.compile(LABEL + r"\\begin\{(\w+\*?)\}" + LABEL + r"(?:(?:\\!)?\\begin\{(split|aligned)\})?")
# What titlepage.tex and preamble.tex mark by themselves: title page, contents, list of figures and index.
FIXED = ("Document", "P", "TOC", "TOC", "Index")

HOLDERS: dict[type, str] = {  # which only hold others
    nodes.section: "Sect",
    nodes.figure: "Div",
    nodes.bullet_list: "L",
    nodes.enumerated_list: "L",
    nodes.definition_list: "L",
    nodes.field_list: "L",
    nodes.definition_list_item: "LI",
    nodes.field: "LI",
    nodes.list_item: "LI",
    nodes.definition: "LBody",
    nodes.field_body: "LBody",
    nodes.table: "Table",
    nodes.thead: "THead",
    nodes.tbody: "TBody",
    nodes.row: "TR",
    nodes.entry: "TD",
    nodes.block_quote: "BlockQuote",
    nodes.Admonition: "Div",
    addnodes.desc: "Div",
    addnodes.desc_signature: "P",
}
INSIDE: dict[type, str] = {  # with text, marked inside of the command that sets it
    nodes.paragraph: "P",
    nodes.term: "Lbl",
    nodes.field_name: "Lbl",
    nodes.rubric: "P",
    nodes.caption: "Caption",
    nodes.title: "P",
    addnodes.desc_parameter: "Span",
}
AROUND: dict[type, str] = {  # with text, marked before and after what sets it
    nodes.image: "Figure",
    nodes.math: "Formula",
    nodes.reference: "Link",
    addnodes.number_reference: "Link",
    math_reference: "Link",
    addnodes.desc_name: "Span",
    addnodes.desc_addname: "Span",
    addnodes.desc_annotation: "Span",
}
BY_COMMAND: dict[type, str] = {  # with text, marked line by line or as a formula
    nodes.literal_block: "Code",
    nodes.doctest_block: "Code",
    nodes.math_block: "Formula",
}
NUMBERED = {nodes.title, nodes.caption, *BY_COMMAND}  # whose commands mark a number or a line of their own
ROLES = {**HOLDERS, **INSIDE, **AROUND, **BY_COMMAND}


def role(node: nodes.Element) -> tuple[type | None, str]:
    """The kind of a node, one of those above, and its role in a PDF."""
    kind = next((kind for kind in type(node).__mro__ if kind in ROLES), None)
    if kind is nodes.title and isinstance(node.parent, nodes.table):
        return kind, "Caption"
    if kind is nodes.entry and isinstance(node.parent.parent, nodes.thead):
        return kind, "TH"
    return kind, ROLES.get(kind, "") if kind else ""


def mark_formula(formula: str, opened: str) -> str:
    """A displayed formula with a mark in it, within the innermost environment that holds it all."""
    begin = HOLDS_ALL.match(formula)
    if begin is None:
        return formula
    last = rf"\\end\{{{re.escape(begin[2] or begin[1])}\}}"
    end = re.compile(rf"((?:\s*\\\\)?\s*{last}(?!.*{last}))", re.DOTALL)
    held = end.sub(lambda match: CLOSE + match[1], formula[begin.end() :], count=1)
    return formula[: begin.end()] + opened + held


class StructuredTranslator(LaTeXTranslator):
    """LaTeX of Sphinx with the marks of its elements; ``tree`` has role, parent and attributes of each by number."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tree: list[dict[str, Any]] = [{"role": name, "parent": 0} for name in FIXED]
        self.within = [0]
        self.unmarked = 0

    def dispatch_visit(self, node: nodes.Node) -> None:
        """Visit a node; mark it where it has a role."""
        kind, name = role(node) if isinstance(node, nodes.Element) else (None, "")
        if self.unmarked or kind is None or (kind in AROUND and kind is not nodes.image and self.in_title):
            super().dispatch_visit(node)
            return
        mark = self.enter(node, kind, name)
        if kind in AROUND:
            self.body.append(mark)
        elif kind in NUMBERED and not isinstance(node.parent, nodes.Admonition):
            self.body.append(rf"\def\tagnumbered{{{self.within[-1]}}}")
        try:
            super().dispatch_visit(node)
        except nodes.SkipNode:
            self.leave(kind)
            raise
        if kind in INSIDE:
            self.body.append(mark)
        elif kind is nodes.Admonition:
            self.mark_label(node)

    def dispatch_departure(self, node: nodes.Node) -> None:
        """Depart from a node; end its mark."""
        kind = role(node)[0] if isinstance(node, nodes.Element) else None
        if self.unmarked or kind is None or (kind in AROUND and kind is not nodes.image and self.in_title):
            super().dispatch_departure(node)
            return
        if kind in INSIDE:
            self.body.append(CLOSE)
        super().dispatch_departure(node)
        self.leave(kind)

    def enter(self, node: nodes.Element, kind: type, name: str) -> str:
        """Begin an element; return its mark."""
        element: dict[str, Any] = {"role": name, "parent": self.within[-1]}
        if kind is nodes.title and isinstance(node.parent, nodes.section) and not self.this_is_the_title:
            element["role"] = f"H{min(max(self.sectionlevel, 1), 6)}"
        elif name == "Figure":
            element["alt"] = node.get("alt", "")
        elif name == "Formula":
            element["alt"] = " ".join(node.astext().split())
        elif name == "Link":
            element["alt"] = node.astext()
        elif kind in (nodes.bullet_list, nodes.enumerated_list):
            element["numbering"] = "Disc" if kind is nodes.bullet_list else "Decimal"
        self.tree.append(element)
        self.within.append(len(self.tree) - 1)
        return rf"\tagopen{{{self.within[-1]}}}"

    def mark_label(self, node: nodes.Element) -> None:
        """Mark the label that a warning or a note has of its kind."""
        labelled = re.match(r"(.*\{)(\w+:)\}$", self.body[-1], flags=re.DOTALL)
        if labelled:
            mark = self.enter(node, nodes.paragraph, "P")
            self.body[-1] = rf"{labelled[1]}{mark}{labelled[2]}{CLOSE}}}"
            self.leave(nodes.paragraph)

    def leave(self, kind: type) -> None:
        """End an element."""
        if kind in AROUND:
            self.body.append(CLOSE)
        self.within.pop()

    def visit_math_block(self, node: nodes.Element) -> None:
        """Set a formula, marked inside of its environment, where a mark parts neither lines nor pages."""
        try:
            super().visit_math_block(node)
        except nodes.SkipNode:
            if not self.unmarked:
                self.body[-1] = mark_formula(self.body[-1], rf"\tagopen{{{self.within[-1]}}}")
            raise

    def depart_document(self, node: nodes.Element) -> None:
        """Write the tree beside the LaTeX."""
        super().depart_document(node)
        Path(self.builder.outdir, FILE).write_text(json.dumps(self.tree), encoding="utf-8")
