"""The book about one study: its chapters executed on the study's records, then rendered as pages and as PDF.

    sources (never touched) -> staged copy -> executed chapters -> Jupyter Book -> moved into place

Everything is made in a working folder inside the target and moved into place when all of it has succeeded.
"""

from ...errors import BookError
from .assemble import BookResult, build

__all__ = ["BookError", "BookResult", "build"]
