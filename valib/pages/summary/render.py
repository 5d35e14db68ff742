"""The summary as HTML and as PDF, one A4 side each: the print is as large as fits on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import BookError
from ..report.render import compiler, templates

SIZES = (9.5, 9.0, 8.5, 8.0, 7.5, 7.0)  # points, the largest that fits is taken


def as_html(parts: Mapping[str, Any]) -> str:
    """The page, to be read on a screen or printed, with its style inside: one file that can be sent."""
    return templates().get_template("summary.html").render(parts) + "\n"


def as_pdf(parts: Mapping[str, Any]) -> bytes:
    """The page to print, tagged (PDF/UA-1), without a date in the file, so that it is always the same.

    Raises BookError if even the smallest print does not fit on a side.
    """
    given = {"page": json.dumps(parts, ensure_ascii=False)}
    for size in SIZES:
        inputs = given | {"size": f"{size}pt"}
        pages = compiler("summary.typ").compile(format="svg", sys_inputs=inputs)
        if not isinstance(pages, list) or len(pages) == 1:
            made: bytes = compiler("summary.typ").compile(
                format="pdf", sys_inputs=inputs, pdf_standards="ua-1", timestamp=0
            )
            return made
    raise BookError("The summary does not fit on one side.")
