"""Questions that `valib init` leaves in a params file: a value "?" with the question in the comment behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import ParamsError

QUESTION = "?"
_ASKED = re.compile(r"^\s*['\"]?([^:#]+?)['\"]?\s*:\s*['\"]\?['\"]\s*#\s*(.+?)\s*$")


def refuse_questions(values: dict[str, Any], file: Path, text: str) -> None:
    """Raise ParamsError, in its own words, for every value that is still a question mark; text: what the file holds."""
    columns = values.get("columns")
    inner = columns.items() if isinstance(columns, dict) else ()
    open_ones = [name for name, value in (*values.items(), *inner) if value == QUESTION]
    if not open_ones:
        return
    told = []
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := _ASKED.match(line)) and found[1] in open_ones:
            told.append(f"line {number}: {found[1]} is not answered: {found[2].removesuffix('.')}")
    told = told or [f"{name} is not answered" for name in open_ones]
    asked = "; ".join(told)
    end = "" if asked.endswith("?") else "."
    raise ParamsError(f"{file}, {asked}{end} Write the answer in place of the question mark.")
