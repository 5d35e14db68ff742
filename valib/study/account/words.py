"""How the account puts numbers, cohorts and names from the data into words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

LONGEST_NAME = 40  # characters of a name from the data
_SHOWN = 8         # cohorts that a sentence names before it only counts


def cohorts(names: Iterable[int]) -> str:
    """Return 'cohort 2015' or 'cohorts 2015, 2016', after eight of them 'and 4 more'."""
    every = [str(name) for name in names]
    return f"cohort{'s' if len(every) != 1 else ''} {_cut(every)}"


def by_cohort(values: Mapping[int, str]) -> str:
    """Return 'cohort 2015: 3; 2016: 4', after eight cohorts 'and 4 more'."""
    return "cohort " + _cut([f"{cohort}: {value}" for cohort, value in values.items()], "; ")


def counts(values: Mapping[int, int]) -> str:
    """Return the counts that are not zero as :func:`by_cohort` does."""
    return by_cohort({cohort: f"{int(count):,}" for cohort, count in values.items() if count})


def number(value: float, decimals: int = 2) -> str:
    """Return a number with thousands separators; huge ones with four digits; what is missing as a dash."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3e}" if abs(value) >= 1e9 else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def plain(value: float) -> str:
    """Return a number with the digits it has, up to six: 999, 4.5, -0.125."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.6g}"


def percent(share: float | None) -> str:
    """Return a share as per cent with one decimal; never rounded to nothing or to all."""
    if share is None or not math.isfinite(share):
        return "-"
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def decimals(spread: float) -> int:
    """Return how many decimals show three digits of a spread."""
    if not (math.isfinite(spread) and spread > 0):
        return 2
    return min(max(2 - math.floor(math.log10(spread)), 0), 6)


def printable(text: object, longest: int | None = None) -> str:
    """Return text from the data on one line: control and direction characters as '?', cut where it is long."""
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(text))
    return shown if longest is None or len(shown) <= longest else f"{shown[:longest - 3]}..."


def _cut(parts: list[str], between: str = ", ") -> str:
    more = len(parts) - _SHOWN
    return between.join(parts[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
