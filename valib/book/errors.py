"""What the book and the school pages raise when making them fails and the input is not to blame."""

from __future__ import annotations


class BookError(RuntimeError):
    """The book could not be made: a chapter failed, or a page or the PDF could not be rendered."""
