"""Numbers, names and parameters as they stand in the prose and the tables of chapters and school pages (MyST)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..names import LONGEST, readable
from ..records.precision import ERROR_DIGITS, last_place
from ..sums.equating import ScaleBreak

MINUS = "\N{MINUS SIGN}"
AS_ERROR = "~"  # at the end of a format: no more digits than an error is published to
FIGURES = re.compile(rf"(?:[\d.,;:%()\[\]\s+±–-]|{MINUS}|\bto\b)*")
PUNCTUATION = re.compile(r"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])")


def as_text(value: Any, spec: str | None = None) -> str:
    """A value as it stands in prose: typographic minus, thousands separators, lists in words.

    spec: a format of Python, or one that ends in :data:`AS_ERROR`, as ".2f~": at most two decimals, and of these no more
    than a standard error is published to (:mod:`valib.records.precision`).
    """
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return in_words([as_text(v, spec or ("g" if isinstance(v, float) else "d")) for v in value])
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not available"
    if spec is None:
        spec = ",d" if isinstance(value, int) else ".1f"
    if spec.endswith(AS_ERROR):
        places = min(_decimals_of(spec), int(last_place(value, ERROR_DIGITS))) if value else _decimals_of(spec)
        value, spec = round(value, places), f".{max(places, 0)}f"
    text = format(value, spec)
    if float(re.sub(r"[,%]", "", text) or 0) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def _decimals_of(spec: str) -> int:
    """The decimals of a format such as "+.2f~"."""
    return int(spec.partition(".")[2].rstrip("f" + AS_ERROR))


def in_words(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else "none"


def estimate(value: float, se: float, spec: str | None = None) -> str:
    """An estimate with its standard error in brackets: "0.563 (0.012)"."""
    return f"{to_error(value, se, spec)} ({as_text(float(se), spec)})"


def to_error(value: float, se: float, spec: str | None) -> str:
    """An estimate; where the format ends in :data:`AS_ERROR` it ends in the last place of its error."""
    value = float(value)
    if spec and spec.endswith(AS_ERROR):
        places = min(_decimals_of(spec), int(last_place(se, ERROR_DIGITS))) if se > 0 else _decimals_of(spec)
        value, spec = round(value, places), f".{max(places, 0)}f"
    return as_text(value, spec)


def simulated(
    run: Any, rows: Mapping[str, tuple[str, str]], columns: Mapping[str, tuple[str, str, str]]
) -> pd.DataFrame:
    """Measures of a Monte Carlo run as text, each with its Monte Carlo standard error in brackets; empty if not run.

    rows: (scenario, method) by row label. columns: (estimand, measure, format) by column label.
    """
    t = run.table.set_index(["scenario", "method", "estimand", "measure"])[["value", "mcse"]]

    def cell(key: tuple[str, ...], spec: str) -> str:
        if key not in t.index:
            return ""
        value, plain = float(t.at[key, "value"]), spec.lstrip("+")
        shown = as_text(value, spec if float(format(value, plain)) else plain)
        return f"{shown} ({as_text(float(t.at[key, 'mcse']), plain)})"

    cells = {label: [cell((*row, e, m), spec) for row in rows.values()] for label, (e, m, spec) in columns.items()}
    return pd.DataFrame(cells, index=list(rows))


def direction(
    x: float, up: str = "rose", down: str = "fell", none: str = "did not move", tolerance: float = 0.0
) -> str:
    """The word for the sign of x; ``none`` when abs(x) <= tolerance."""
    return none if abs(x) <= tolerance else up if x > 0 else down


def escape(name: Any) -> str:
    """Text of the records (a school's name) so that MyST, HTML and LaTeX show it and do nothing with it."""
    return PUNCTUATION.sub(r"\\\1", readable(name))


def code(text: str) -> str:
    """A formula as MyST: in typewriter where nothing in it could end that, else escaped like any other text."""
    text = readable(text, 300)
    return escape(text) if set(text) & set("`|{$\\") else f"`{text}`"


def name(value: Any) -> str:
    """A school's name for :func:`record`: one line, 40 characters at most; recorded text stays text."""
    return readable(value, 40)


def in_figures(cells: Sequence[str]) -> bool:
    """Whether cells of a table that are text hold nothing but numbers: intervals, estimates with errors; codes do not count."""
    plain = [cell.replace("\\", "") for cell in cells if cell]
    return any(not cell.isdigit() and re.search(r"\d", cell) for cell in plain) and all(map(FIGURES.fullmatch, plain))


def cell_text(value: Any, spec: str | None) -> str:
    """A value as it stands in a table's cell; text is escaped, what is missing is an empty cell."""
    if isinstance(value, str):
        return escape(readable(value, LONGEST)) if value else ""
    if pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return as_text(value, spec)


def parameter_text(value: Any) -> str:
    """A parameter's value as MyST for a table cell."""
    if isinstance(value, str):
        return code(value) if "~" in value else escape(readable(value, 200))
    if isinstance(value, ScaleBreak):
        return escape(f"{value.column} from cohort {value.cohort}, " + ("linked" if value.link else "not linked"))
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, ScaleBreak)):
        return "; ".join(parameter_text(v) for v in value)
    if isinstance(value, Mapping):
        return escape(readable(", ".join(f"{k}: {v}" for k, v in value.items()), 300)) if value else "as they are named"
    if isinstance(value, (list, tuple)):
        return as_text(value)
    return "by rule" if value is None else as_text(value, "g" if isinstance(value, float) else "d")
