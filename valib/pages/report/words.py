"""What intervals allow to be said of a school, as sentences for readers who know no statistics.

A sentence says "above" or "below" only if the whole interval lies on that side of zero; an interval that touches or
holds zero is "not distinguishable". Numbers come with their interval, rounded so that a bound never seems to be zero
when it is not. Text is MyST; cohorts are years, values are score points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...effects.verdict import SCHOOLS, UNCLEAR, YEAR, sides
from ..prose import as_text, in_words

BY = {SCHOOLS: ", over schools", YEAR: ", that of a further ordinary year"}
VARIANCES = {
    "integrated": "The intervals count that the variances are not known.",
    "plugin": "The intervals take the variances as known once estimated: with few schools they are too narrow.",
}
WITHOUT_EQUATING = "; how far the tests of the two times are on one scale is not known and not in it"
FINEST = 6  # decimals at most, for bounds next to zero

SINGULAR = (
    "the differences between schools are no larger than chance among students would make them, so nothing can "
    "be said about a single school"
)
PRIOR_MOVED = (
    "The earlier scores of that year are distributed differently from those of the baseline: part of the "
    "difference may come from the earlier test."
)
THE_YEAR, THE_BASELINE = "the average of the year", "what was typical of the baseline"
ONE_YEAR = "The school has a figure for one year only, so nothing can be said about change."
NO_BASELINE_YEAR = (
    "The comparison with the baseline needs no figure of the school for the baseline: it is with what "
    "was typical of all schools then."
)
NO_BASELINE = (
    "This study has no baseline years: the school is compared with the other schools of its year only, and what is said "
    "here of a baseline has no figures."
)
NO_FOCAL_YEAR = "The school has no figure for a year that is compared with the baseline."
JOINT = (
    "A change comes from a model of all years at once, which uses what the years of a school have in common. It "
    "is not the difference of two rows of a table below."
)
WHY_NOT_JOINT = {
    "not_fitted": "it could not be fitted to these records",
    "singular": "in these records its estimates lie on the edge of what is possible, and their errors are not known",
    "held_back": "it would give away the figure that is held back",
}
TWO_QUESTIONS = "These are answers to two questions."
OF_MEAN = "The mean is of these very years, with what was of one of them alone."
OF_LASTING = (
    "The lasting part is what all years of the school share, and what could be expected of a further one; it is drawn nearer "
    "to zero than a mean of the years, because less is known of it. It rests on a model in which any two years of a school "
    "are alike to the same degree, and its interval takes the variances as known."
)
OF_SYSTEM = "Each year is compared with its own average, so that no change of the whole system is in this."
NO_FIGURE = {
    "not_fitted": "it needs one model of these years, which could not be fitted to the records",
    "singular": "it needs one model of these years, whose estimates lie on the edge of what is possible in these records, so "
    "that errors are not known",
    "held_back": "it would give away the figure that is held back",
    "one_year": "the study has one such year only",
    "no_part": "in these records nothing of what schools are in one year is found again in another",
    "absent": "the school has no students in these years",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, in score points; nan where there is none."""

    value: float
    lower: float
    upper: float

    @property
    def side(self) -> str:
        """ "above", "below" or "unclear" as the interval lies to zero; "missing" if any of the three is not a number."""
        side = str(sides(self.lower, self.upper)) if math.isfinite(self.value) else ""
        return {"": "missing", UNCLEAR: "unclear"}.get(side, side)


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


def chance(p: float, short: bool = False) -> str:
    """A probability in per cent; never 0% or 100%, which draws cannot show. short: with signs, for a table."""
    less, more = ("< ", "> ") if short else ("less than ", "more than ")
    return f"{less}1%" if p < 0.01 else f"{more}99%" if p > 0.99 else f"{100 * p:.0f}%"


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
    if singular:
        return f"In {cohort} {SINGULAR}."
    if estimate.side == "missing":
        return _missing(cohort)
    if estimate.side == "unclear":
        return (
            f"In {cohort} the school's value added is **not distinguishable from the average** of the schools of "
            f"that year: {_figures(estimate, level, digits)}, which holds zero."
        )
    return (
        f"In {cohort} the school's value added is **{estimate.side} the average** of the schools of that year: "
        f"{_figures(estimate, level, digits)}."
    )


def benchmark(
    cohort: int, estimate: Estimate, baseline: Sequence[int], level: float, digits: int, singular: bool = False
) -> str:
    """How the school compares with what was typical of schools in the baseline cohorts."""
    if estimate.side == "missing":
        return _missing(cohort)
    typical = f"what was typical in {_years(baseline)}"
    opening = (
        f"In {cohort} {SINGULAR}; for all schools together, value added"
        if singular
        else (f"In {cohort} the school's value added")
    )
    if estimate.side == "unclear":
        return (
            f"{opening} is **not distinguishable from {typical}**: "
            f"{_figures(estimate, level, digits)}, which holds zero."
        )
    return f"{opening} is **{estimate.side} {typical}**: {_figures(estimate, level, digits)}."


def system(cohort: int, shift: Estimate, level: float, digits: int, by: str = "", equated: bool = True) -> str:
    """What of a benchmark figure is common to all schools; empty if the shift was not estimated.

    by: the name of the interval, as :mod:`valib.effects.verdict` has it. equated: whether an equating error is in it.
    """
    if shift.side == "missing":
        return ""
    figures = _figures(shift, level, digits) + BY.get(by, "") + ("" if equated else WITHOUT_EQUATING)
    if shift.side == "unclear":
        return (
            "The figure holds what is common to all schools, which cannot be told from nothing: for the average "
            f"school of {cohort}, results at the same earlier scores are not distinguishable from those of the "
            f"baseline ({figures})."
        )
    moved = {"above": "higher", "below": "lower"}[shift.side]
    return (
        f"The figure holds what is common to all schools: for the average school of {cohort}, results at the same "
        f"earlier scores were {moved} than in the baseline ({figures}). The comparison with the year's average "
        "leaves that out."
    )


def change(first: int, second: int, estimate: Estimate, level: float, digits: int, singular: Sequence[int] = ()) -> str:
    """How the school's standing among the schools of the year moved between two cohorts; singular: which are."""
    if flat := [c for c in (first, second) if c in singular]:
        return (
            f"Whether the school's standing changed from {first} to {second} cannot be said: in "
            f"{_years(flat)} the differences between schools are no larger than chance among "
            "students would make them."
        )
    if estimate.side == "missing":
        return f"Whether the school's standing changed from {first} to {second} cannot be said."
    if estimate.side == "unclear":
        return (
            f"From {first} to {second} **no change can be told from chance**: {_figures(estimate, level, digits)}, "
            "which holds zero. That is not evidence that nothing changed."
        )
    word = {"above": "rose", "below": "fell"}[estimate.side]
    return (
        f"From {first} to {second} its value added, compared with the average of each year, **{word}**: "
        f"{_figures(estimate, level, digits)}."
    )


def taken_off(reliability: Mapping[str, Any]) -> str:
    """Of which covariates errors of measurement are taken off, by what is known of them; empty if of none."""
    if not reliability:
        return ""
    known = [
        f"{name} (by a column of standard errors)" if isinstance(value, Mapping) else f"{name} (reliability {value:g})"
        for name, value in reliability.items()
    ]
    return f"Errors of measurement are taken off {in_words(known)}. "


def apart(why: str) -> str:
    """What a change is that does not come from the joint model; why: a key of WHY_NOT_JOINT."""
    return (
        "A change is here the difference of the figures of two years. A model of all years at once would tell "
        f"more, but {WHY_NOT_JOINT[why]}. The interval takes the errors of the two years as independent. Where "
        "schools tend to keep their standing, that makes it too wide rather than too narrow: a small change is "
        "missed, and chance is not taken for one more often than the level says."
    )


def mean(cohorts: Sequence[int], present: int, estimate: Estimate, level: float, digits: int) -> str:
    """The mean of a school's value added over named years; present: in how many of them it has students."""
    text = f"Over {_years(cohorts)}, the mean of the school's value added is {_to_average(estimate, level, digits)}"
    if present < len(cohorts):
        text += (
            f" It has students in {present} of these {len(cohorts)} years; the rest is predicted from its other years, and the "
            "interval counts that."
        )
    return text


def lasting(estimate: Estimate, level: float, digits: int) -> str:
    """The part of a school's value added that all its years share."""
    return f"The lasting part of the school's value added is {_to_average(estimate, level, digits)}"


def no_mean(why: str, cohorts: Sequence[int] = ()) -> str:
    """Why there is no mean over years; why: a key of NO_FIGURE."""
    of = f"the years {_years(cohorts)}" if len(cohorts) > 1 else "years"
    return f"No mean over {of} is given: {NO_FIGURE[why]}."


def no_lasting(why: str) -> str:
    """Why there is no lasting part; why: a key of NO_FIGURE."""
    return f"No lasting part is given: {NO_FIGURE[why]}."


def several_years(has_mean: bool, has_lasting: bool, fits_worse: float | None) -> str:
    """How the figures of several years that there are are to be read; fits_worse: p-value of the lasting part's model."""
    parts = [TWO_QUESTIONS] * (has_mean and has_lasting) + [OF_MEAN] * has_mean + [OF_LASTING] * has_lasting
    parts += [OF_SYSTEM] * (has_mean or has_lasting)
    if has_lasting and fits_worse is not None and fits_worse < 0.05:
        p = "p < 0.001" if fits_worse < 0.001 else f"p = {fits_worse:.3f}"
        parts.append(
            f"In these records a model that leaves every year and pair of years its own fits better ({p}), so that the lasting "
            "part is a simplification."
        )
    return " ".join(parts)


def _to_average(estimate: Estimate, level: float, digits: int) -> str:
    """Where a figure of several years lies, with its interval."""
    figures = _figures(estimate, level, digits)
    if estimate.side == "unclear":
        return f"**not distinguishable from the average** of schools: {figures}, which holds zero."
    return f"**{estimate.side} the average** of schools: {figures}."


def position(cohort: int, place: Place, level: float, singular: bool = False) -> str:
    """The school's place with its uncertainty; never a bare rank."""
    if singular:
        return (
            f"In {cohort} no place among the schools can be given: the differences between schools are no larger "
            "than chance among students would make them."
        )
    if not all(math.isfinite(x) for x in (place.expected, place.lower, place.upper, place.p_top, place.p_bottom)):
        return f"In {cohort} no place among the schools can be given."
    low, high = int(place.lower), int(place.upper)
    where = (
        f"between the **{ordinal(low)} and the {ordinal(high)} of {place.of:,} places**"
        if low < high
        else f"the **{ordinal(low)} of {place.of:,} places**"
    )
    return (
        f"In {cohort} the school stands {where} ({percent(level)} interval; 1st is the highest value added). The "
        f"probability that it belongs to the highest fifth is {chance(place.p_top)}, to the lowest fifth "
        f"{chance(place.p_bottom)}."
    )


def standing(cohort: int, above: tuple[float, float], baseline: Sequence[int], level: float) -> str:
    """Where the benchmark value added would have stood among the schools of the baseline; empty if not known.

    above: the interval of the share of those schools that lie below the school.
    """
    if not all(math.isfinite(share) for share in above):
        return ""
    low, high = (chance(share) for share in above)
    between = f"{low} of the schools" if low == high else f"between {low} and {high} of the schools"
    return (
        f"With its value added of {cohort} it would have stood above **{between}** of "
        f"{_years(baseline)} ({percent(level)} interval)."
    )


def years(estimates: Mapping[int, Estimate], singular: Sequence[int] = (), yardstick: str = THE_YEAR) -> str:
    """In which of the years shown the school was above or below the average school of the year, or the baseline."""
    told = {c: e.side for c, e in sorted(estimates.items()) if e.side != "missing" and c not in singular}
    if len(told) < 2:
        return ""
    parts = [
        f"{side} {yardstick} in {_which(cohorts, len(told))}"
        for side in ("above", "below")
        if (cohorts := [c for c in told if told[c] == side])
    ]
    unclear = [c for c in told if told[c] == "unclear"]
    if not parts:
        return f"In none of the {len(told)} years can it be distinguished from {yardstick}."
    text = f"Over the {len(told)} years with such a figure, it was {' and '.join(parts)}"
    if not unclear:
        return f"{text}."
    return f"{text}; in {_which(unclear, len(told))} it cannot be distinguished from it."


def by_chance(level: float, years: int) -> str:
    """How many exactly average schools are called above or below, in one year and in at least one of several.

    Effects are shrunk, so it is fewer than 1 - level in a year; the errors of different years are independent.
    """
    once = (
        f"Of schools that are exactly average, up to {round(100 * (1 - level), 6):g} in a hundred are called above "
        "or below the average in a year by chance alone"
    )
    if years < 2:
        return f"{once}; so a single year is a weak sign."
    ever = math.ceil(round(100 * (1 - level**years), 6))
    return f"{once}, and in one or more of {years} years up to {ever}; so one such year is a weak sign."


def share(value: float) -> str:
    """A share in per cent, never rounded to all: 98%."""
    return f"{100 * value:.0f}%" if value < 0.995 or value == 1 else "> 99%"


def coverage(years: Mapping[int, float]) -> str:
    """In which years few of the tested students are linked, by share; empty if in none."""
    if not years:
        return ""
    told = in_words([f"{cohort} ({share(value)})" for cohort, value in sorted(years.items())])
    return (
        f"Not all students with a result have an earlier score: in {told} of those tested are counted. The figures hold for "
        "these students; those who are missing may have done otherwise."
    )


def sides_by(fdr: float | None) -> str:
    """By what a school is called above or below, where that is not each interval by itself."""
    if fdr is None:
        return ""
    return f"Sides in tables: with a false discovery rate of {fdr:g} among the schools of a year. "


def gaps(
    held_back: Sequence[int], absent: Sequence[int], min_students: int, low: Sequence[int] = (), least: float = 0.5
) -> str:
    """Which years have no figure, and why; empty if all have one. low: those of low coverage."""
    parts = []
    if low:
        parts.append(
            f"No figure is shown for {_years(low)}: for less than {share(least)} of the students with a result an earlier "
            "score is known, and a figure of the others would not be that of the school."
        )
    if held_back:
        parts.append(
            f"No figure is shown for {_years(held_back)}: the school had fewer "
            f"than {min_students} students, or its figure would give away that of a school that is not shown."
        )
    if absent:
        parts.append(f"The records that can be used hold no student of this school in {_years(absent)}.")
    return " ".join(parts)


def alike(singular: Sequence[int], benchmark_singular: Sequence[int] = ()) -> str:
    """In which years no figure tells of a single school; empty if in none."""
    if not singular and not benchmark_singular:
        return ""
    same = "the differences between schools are no larger than chance among students would make them"
    parts = (
        [f"In {_years(singular)} {same}: by the comparison with the year there is no figure of a single school."]
        if singular
        else []
    )
    if benchmark_singular:
        parts.append(
            f"By the comparison with the baseline, the figure for {_years(benchmark_singular)} is that of all "
            "schools together, since they cannot be told apart."
        )
    return " ".join(parts)


def _missing(cohort: int) -> str:
    return f"For {cohort} there is no figure for this school."


def _years(cohorts: Sequence[int]) -> str:
    return in_words([str(c) for c in sorted(cohorts)])


def _which(cohorts: Sequence[int], of: int) -> str:
    return f"all {of}" if len(cohorts) == of else _years(cohorts)


def _figures(estimate: Estimate, level: float, digits: int) -> str:
    return (
        f"{points(estimate, digits)} score points, with a {percent(level)} interval from {interval(estimate, digits)}"
    )


def _rounded(value: float, digits: int, sign: bool = False) -> str:
    """A number with so many decimals, or with more where it would else read as zero."""
    while digits < FINEST and value != 0 and float(f"{value:.{digits}f}") == 0:
        digits += 1
    return as_text(float(value), f"{'+' if sign else ''}.{digits}f")
