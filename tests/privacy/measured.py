"""The table of SECURITY.md, measured on the demo: how far the schools held back stay open at each number of digits.

    python tests/privacy/measured.py

prints the table's rows; `test_measured.py` compares them with the page.
"""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from attacker import FARTHEST, World, benchmark, cohort_of, held_back, relative

import valib as va

COHORTS, BASELINE = (2023, 2024), (2015, 2016, 2017)
DIGITS = (12, 10, 8, 6, 5, 4, None)


def extents(digits: int | None) -> list[tuple[float, float]]:
    """The least and the largest extent of a mean prior score or mean score (points) of the demo's schools held back.

    To who knows every school shown and all sizes: from the relative model alone, and from both models.
    """
    records, found = va.load_records("demo"), {1: [], 2: []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = va.fit_baseline(records, BASELINE)
        for cohort in COHORTS:
            known = {cohort: cohort_of(records, cohort, held_back(records, [cohort], 5)[cohort])}
            models = [relative([cohort]), benchmark([cohort], base)]
            for some in found:
                found[some] += World(known, models[:some], digits).extent(know_sizes=True).tolist()
    return [(min(values), max(values)) for values in found.values()]


def cell(least: float, most: float) -> str:
    """A range to one digit, the lower end rounded down and the upper up; what reaches the end of the search is open."""
    low = _digit(least, math.floor)
    return f"more than {low}" if most > 0.99 * 2 * FARTHEST and least > 500 else f"{low} to {_digit(most, math.ceil)}"


def _digit(value: float, towards) -> str:
    size = 10.0 ** math.floor(math.log10(value))
    text = f"{towards(value / size - 1e-9 if towards is math.ceil else value / size) * size:.7f}"
    return text.rstrip("0").rstrip(".").removeprefix("0") or "0"


def row(digits: int | None) -> str:
    """A line of the table."""
    name = "as valib publishes" if digits is None else f"{digits} significant digits" if digits == 12 else str(digits)
    return f"| {name} | {' | '.join(cell(*pair) for pair in extents(digits))} |"


if __name__ == "__main__":
    print("\n".join(map(row, DIGITS)))
