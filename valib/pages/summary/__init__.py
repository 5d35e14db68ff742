"""One page about a study for who decides: what its published results say, how sure that is, and what they cannot say.

published tables -> content -> HTML and, by typst, PDF, one A4 side each
"""

from .content import content
from .render import as_html, as_pdf

__all__ = ["as_html", "as_pdf", "content"]
