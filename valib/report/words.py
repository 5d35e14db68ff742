"""What intervals allow to be said of a school, as sentences for readers who know no statistics.

A sentence says "above" or "below" only if the whole interval lies on that side of zero; an interval that touches or
holds zero is "not distinguishable". Numbers come with their interval, rounded so that a bound never seems to be zero
when it is not. Text is MyST; cohorts are years, values are score points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..prose import as_text, in_words

FINEST = 6  # decimals at most, for bounds next to zero

SINGULAR = ("the differences between schools are no larger than chance among students would make them, so nothing can "
            "be said about a single school")
PRIOR_MOVED = ("The earlier scores of that year are distributed differently from those of the baseline: part of the "
               "difference may come from the earlier test.")
WHY_NO_CHANGE = {
    "one_cohort": "The school has a figure for one year only, so nothing can be said about change.",
    "not_fitted": "A change between years needs a model of all years at once, which could not be fitted to these "
                  "records; so nothing can be said about change.",
    "singular": "A change between years needs a model of all years at once. In these records its estimates lie on the "
                "edge of what is possible and their errors are not known; so nothing can be said about change.",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, in score points; nan where there is none."""

    value: float
    lower: float
    upper: float

    @property
    def side(self) -> str:
        """"above", "below" or "unclear" as the interval lies to zero; "missing" if any of the three is not a number."""
        if not all(math.isfinite(x) for x in (self.value, self.lower, self.upper)):
            return "missing"
        return "above" if self.lower > 0 else "below" if self.upper < 0 else "unclear"


@dataclass(frozen=True, slots=True)
class Place:
    """A school's place among ``of`` schools of a cohort: expected place (1 is the highest value added), interval,
    and the probabilities of the highest and the lowest fifth."""

    expected: float
    lower: float
    upper: float
    p_top: float
    p_bottom: float
    of: int


def percent(level: float) -> str:
    """0.95 as "95%", 0.995 as "99.5%"."""
    return f"{round(100 * level, 6):g}%"


def chance(p: float) -> str:
    """A probability in per cent; never 0% or 100%, which draws cannot show."""
    return "less than 1%" if p < 0.01 else "more than 99%" if p > 0.99 else f"{100 * p:.0f}%"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def points(estimate: Estimate, digits: int) -> str:
    """The value with its sign: +8.1."""
    return _rounded(estimate.value, digits, sign=True)


def interval(estimate: Estimate, digits: int) -> str:
    """The interval: 2.3 to 13.9."""
    return f"{_rounded(estimate.lower, digits)} to {_rounded(estimate.upper, digits)}"


def relative(cohort: int, estimate: Estimate, level: float, digits: int, singular: bool = False) -> str:
    """How the school compares with the average school of the same year."""
    if estimate.side == "missing":
        return _missing(cohort)
    if singular:
        return f"In {cohort} {SINGULAR}."
    if estimate.side == "unclear":
        return (f"In {cohort} the school's value added is **not distinguishable from the average** of the schools of "
                f"that year: {_figures(estimate, level, digits)}, which holds zero.")
    return (f"In {cohort} the school's value added is **{estimate.side} the average** of the schools of that year: "
            f"{_figures(estimate, level, digits)}.")


def benchmark(cohort: int, estimate: Estimate, baseline: Sequence[int], level: float, digits: int,
              singular: bool = False) -> str:
    """How the school compares with what was typical of schools in the baseline cohorts."""
    if estimate.side == "missing":
        return _missing(cohort)
    typical = f"what was typical in {in_words([str(c) for c in sorted(baseline)])}"
    opening = f"In {cohort} {SINGULAR}; for all schools together, value added" if singular else (
        f"In {cohort} the school's value added")
    if estimate.side == "unclear":
        return (f"{opening} is **not distinguishable from {typical}**: "
                f"{_figures(estimate, level, digits)}, which holds zero.")
    return f"{opening} is **{estimate.side} {typical}**: {_figures(estimate, level, digits)}."


def system(cohort: int, shift: Estimate, level: float, digits: int) -> str:
    """What of a benchmark figure is common to all schools; empty if the shift was not estimated."""
    if shift.side == "missing":
        return ""
    moved = {"above": "were higher than in the baseline", "below": "were lower than in the baseline",
             "unclear": "cannot be told from those of the baseline"}[shift.side]
    return (f"Part of this is common to all schools: for the average school of {cohort}, results at the same earlier "
            f"scores {moved} ({_figures(shift, level, digits)}). The comparison with the year's average leaves that "
            "out.")


def change(first: int, second: int, estimate: Estimate, level: float, digits: int) -> str:
    """How the school's standing among the schools of the year moved between two cohorts."""
    if estimate.side == "missing":
        return f"Whether the school's standing changed from {first} to {second} cannot be said."
    if estimate.side == "unclear":
        return (f"From {first} to {second} **no change can be told from chance**: {_figures(estimate, level, digits)}, "
                "which holds zero. That is not evidence that nothing changed.")
    word = {"above": "rose", "below": "fell"}[estimate.side]
    return (f"From {first} to {second} its value added, compared with the average of each year, **{word}**: "
            f"{_figures(estimate, level, digits)}.")


def position(cohort: int, place: Place, level: float, singular: bool = False) -> str:
    """The school's place with its uncertainty; never a bare rank."""
    if not all(math.isfinite(x) for x in (place.expected, place.lower, place.upper, place.p_top, place.p_bottom)):
        return f"In {cohort} no place among the schools can be given."
    if singular:
        return (f"In {cohort} no place among the schools can be given: the differences between schools are no larger "
                "than chance among students would make them.")
    low, high = int(place.lower), int(place.upper)
    where = (f"between the **{ordinal(low)} and the {ordinal(high)} of {place.of:,} places**" if low < high
             else f"the **{ordinal(low)} of {place.of:,} places**")
    return (f"In {cohort} the school stands {where} ({percent(level)} interval; 1st is the highest value added). The "
            f"probability that it belongs to the highest fifth is {chance(place.p_top)}, to the lowest fifth "
            f"{chance(place.p_bottom)}.")


def years(estimates: Mapping[int, Estimate], singular: Sequence[int] = ()) -> str:
    """In which of the years shown the school was above or below the average school of the year."""
    told = {c: e.side for c, e in sorted(estimates.items()) if e.side != "missing" and c not in singular}
    if len(told) < 2:
        return ""
    parts = [f"{side} the average of the year in {_which(cohorts, len(told))}" for side in ("above", "below")
             if (cohorts := [c for c in told if told[c] == side])]
    unclear = [c for c in told if told[c] == "unclear"]
    if not parts:
        return f"In none of the {len(told)} years can it be distinguished from the average of the year."
    text = f"Over the {len(told)} years with a figure, it was {' and '.join(parts)}"
    if not unclear:
        return f"{text}."
    return f"{text}; in {_which(unclear, len(told))} it cannot be distinguished from the average."


def gaps(held_back: Sequence[int], absent: Sequence[int], min_students: int) -> str:
    """Which years have no figure, and why; empty if all have one."""
    parts = []
    if held_back:
        parts.append(f"No figure is shown for {in_words([str(c) for c in sorted(held_back)])}: the school had fewer "
                     f"than {min_students} students, or its figure would give away that of a school with so few.")
    if absent:
        parts.append("The records that can be used hold no student of this school in "
                     f"{in_words([str(c) for c in sorted(absent)])}.")
    return " ".join(parts)


def _missing(cohort: int) -> str:
    return f"For {cohort} there is no figure for this school."


def _which(cohorts: Sequence[int], of: int) -> str:
    return f"all {of}" if len(cohorts) == of else in_words([str(c) for c in cohorts])


def _figures(estimate: Estimate, level: float, digits: int) -> str:
    return (f"{points(estimate, digits)} score points, with a {percent(level)} interval from "
            f"{interval(estimate, digits)}")


def _rounded(value: float, digits: int, sign: bool = False) -> str:
    """A number with so many decimals, or with more where it would else read as zero."""
    while digits < FINEST and value != 0 and float(f"{value:.{digits}f}") == 0:
        digits += 1
    return as_text(float(value), f"{'+' if sign else ''}.{digits}f")
