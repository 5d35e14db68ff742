"""What a simulated coverage says, beside its own Monte Carlo error: no sentence is to rest on noise.

A coverage is judged as equivalent to its level, not as "not significantly different" from it, which few replicates would
always make true: its Monte Carlo interval must lie inside level -+ MARGIN. Source: Morris, White and Crowther (2019) for
the errors; Wilson (1927) for the interval of a share, which has a width at 0 and 1 as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 0.01  # an interval with a level of 95 percent is to cover 94 to 96
Z = 1.959963984540054  # of the Monte Carlo interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind: "holds" (lower and upper inside level -+ margin), "below", "above" (outside by at least ``by``), or "open":
    the replicates are too few to say. lower, upper: the Monte Carlo interval of the coverage.
    """

    kind: str
    coverage: float
    lower: float
    upper: float
    level: float
    by: float

    def __str__(self) -> str:
        """In words: the coverage, and what may be said of it."""
        low, high = (f"{100 * x:.1f}" for x in (self.lower, self.upper))
        if self.kind == "open":
            return f"{self.coverage:.1%} (not settled: {low} to {high}%)"
        words = {"holds": "as it claims", "below": "too low by at least", "above": "too high by at least"}[self.kind]
        return (
            f"{self.coverage:.1%} ({words})"
            if self.kind == "holds"
            else (f"{self.coverage:.1%} ({words} {100 * self.by:.1f} points)")
        )


def judge(coverage: float, mcse: float, replicates: int, level: float = 0.95, margin: float = MARGIN) -> Verdict:
    """The verdict on a coverage with its Monte Carlo standard error.

    The interval is Wilson's, with as many independent trials as the error says, coverage (1 - coverage) / mcse^2 (schools
    of one replicate are not independent), or as there are replicates where the error is 0. "below" and "above" need the
    whole interval beyond level -+ margin; ``by`` is its distance from the level.
    """
    trials = coverage * (1 - coverage) / mcse**2 if mcse > 0 else float(replicates)
    middle = (coverage + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * np.sqrt(coverage * (1 - coverage) / trials + Z**2 / (4 * trials**2)) / (1 + Z**2 / trials)
    lower, upper = float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
    low, high = level - margin, level + margin
    if low <= lower and upper <= high:
        kind, by = "holds", 0.0
    elif upper < low:
        kind, by = "below", level - upper
    elif lower > high:
        kind, by = "above", lower - level
    else:
        kind, by = "open", 0.0
    return Verdict(kind, coverage, lower, upper, level, by)


def nearer(one: tuple[float, float], other: tuple[float, float], level: float) -> int:
    """Which of two coverages (value, Monte Carlo standard error) is nearer to the level: -1 the first, 1 the second, 0
    where the difference of their distances is within 1.96 Monte Carlo errors, the two taken as independent (of the same
    data sets they are not, which makes this cautious).
    """
    gap = abs(one[0] - level) - abs(other[0] - level)
    return 0 if abs(gap) <= Z * np.hypot(one[1], other[1]) else int(np.sign(gap))
