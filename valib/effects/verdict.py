"""The verdict on a shift or on a school, in words: above, below, or not told apart from what it is held against.

One rule for book, report and command line: an interval that holds the reference tells nothing apart, and of several
intervals for one number the widest that is known decides, and is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

ABOVE, BELOW, UNCLEAR = "above", "below", "not told apart"
SCHOOLS, YEAR = "schools", "a further ordinary year"


@dataclass(frozen=True, slots=True)
class Verdict:
    """side: one of :data:`ABOVE`, :data:`BELOW`, :data:`UNCLEAR`, or "" where no interval is known. interval: the name
    of the one that decided, with its limits.
    """

    side: str
    interval: str
    lower: float
    upper: float


def sides(lower: Any, upper: Any, reference: float = 0.0) -> np.ndarray:
    """The side of each interval (one a school, say) as text; "" where a limit is not known."""
    lower, upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    known = np.isfinite(lower) & np.isfinite(upper)
    return np.select([~known, lower > reference, upper < reference], ["", ABOVE, BELOW], UNCLEAR)


def verdict(intervals: Mapping[str, tuple[float, float]], reference: float = 0.0) -> Verdict:
    """The verdict on one number from its intervals by name; those with a limit that is nan are not known."""
    known = {name: limits for name, limits in intervals.items() if np.isfinite(limits).all()}
    if not known:
        return Verdict("", "", np.nan, np.nan)
    name = max(known, key=lambda k: known[k][1] - known[k][0])
    lower, upper = (float(v) for v in known[name])
    return Verdict(str(sides(lower, upper, reference)), name, lower, upper)


def shift_verdicts(context: pd.DataFrame) -> pd.DataFrame:
    """The verdict on every focal shift: above 0, below 0, or not told apart.

    Parameters
    ----------
    context : DataFrame
        Of :func:`valib.shift_in_context`.

    Returns
    -------
    DataFrame
        By cohort (index): ``side``, ``interval`` (which one decided), ``lower``, ``upper``.

    Raises
    ------
    KeyError
        For a table without the columns of :func:`valib.shift_in_context`.

    Notes
    -----
    The intervals are that of the shift itself and that of a further ordinary year, where it is known. The widest decides.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> context = va.shift_in_context([va.fit_benchmark(records, 2024, benchmark)], benchmark)
    >>> va.shift_verdicts(context).index.tolist()
    [2024]
    """
    focal = context[context["role"] == "focal"]
    found = [
        verdict({SCHOOLS: (row["lower"], row["upper"]), YEAR: (row["year_lower"], row["year_upper"])})
        for row in focal.to_dict("records")
    ]
    rows = [(v.side, v.interval, v.lower, v.upper) for v in found]
    return pd.DataFrame(rows, index=focal.index, columns=["side", "interval", "lower", "upper"])
