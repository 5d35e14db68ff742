"""Formulas as MathML in the pages: browsers set it themselves, so no script need be loaded and no formula is a tab stop."""

from __future__ import annotations

import functools
import html
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

if TYPE_CHECKING:
    from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
ALIGNED = re.compile(r"\\begin\{(?:align|gather|multline|equation|alignat|eqnarray)")


@functools.lru_cache(maxsize=4096)
def mathml(latex: str, block: bool = False) -> str:
    """A formula of LaTeX as MathML, which holds its source as an annotation.

    Raises ValueError with the place and the reason if the formula cannot be read.
    """
    converter = LatexToMathML(annotation=True, fancy_error=False)
    try:
        return converter.convert_with_local_state(latex.strip(), displaystyle=block)
    except LatexError as error:
        raise ValueError(f"{error} in the formula {latex.strip()!r}") from error


def in_lines(latex: str) -> str:
    """What stands in a block: lines that no environment gathers are set under each other, as Sphinx does it."""
    parts = [part.strip() for part in latex.split("\n\n") if part.strip()]
    if ALIGNED.search(latex):
        return latex
    if len(parts) > 1 or (r"\\" in latex and r"\begin" not in latex):
        return r"\begin{aligned}" + r"\\".join(parts) + r"\end{aligned}"
    return latex


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(f'<span class="math notranslate nohighlight">{_told(node.astext(), False, node)}</span>')
    raise nodes.SkipNode


def visit_displaymath(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own line, and its number."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f'<div class="formula">{_told(in_lines(node.astext()), True, node)}</div></div>\n')
    raise nodes.SkipNode


def _told(latex: str, block: bool, node: nodes.Node) -> str:
    """The MathML of a formula; one that cannot be read is a warning, and so stops the book."""
    try:
        return mathml(latex, block)
    except ValueError as error:
        LOGGER.warning("%s", error, location=node)
        return html.escape(latex)


def setup(app: Any) -> None:
    """Register the renderer with Sphinx; html_math_renderer names it."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
