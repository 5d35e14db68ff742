"""What would mislead in a fit: the same sentences for the account of records (`valib check`) and for the fits themselves.

Each function takes plain numbers and returns the :class:`Finding` they give rise to, or None. The fits tell theirs as
ValibWarning and keep them (``findings`` of a fit, and of fits.json).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError, SchoolsNamed, ValibWarning
from ..names import by_cohort, listed_cohorts, percent
from ..records.prior_check import SMD_LIMIT, VARIANCE_RATIO_LIMITS, PriorCheck, looks_standardised, may_be_standardised
from ..records.repeats import SCHOOL_SHARE
from ..sums.students import Records, correlation

# Score and prior score of the same students correlate by 0.5 to 0.9; by less than CORRELATION_LOW they may be linked
# wrongly, by more than CORRELATION_HIGH they may be one test.
CORRELATION_LOW = 0.3
CORRELATION_HIGH = 0.98
# Grade repetition runs at a per cent or two; less does not matter to models that take each row as a student. Above one
# in five they are no longer repeaters or slips: the records follow students, or codes are used again.
REPEATED_SHARE = 0.01
REUSED_SHARE = 0.20
# School systems move by a tenth of an SD in a year, and spreads by a few per cent: this is another scale.
SCALE_MEAN = 1.0
SCALE_SD = 1.5
FEW_SCHOOLS = 20  # of which a shift is no system's
FEWEST = 10  # students whose number is told
SLOPE_MOVED = 2.576  # standard errors: one system in a hundred, by chance
NO_SLOPE = 1e-6  # standard deviation of a slope, of the largest of the random part, that is none
EXACT = 1e-7  # smallest eigenvalue of correlations that are exact


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would mislead: a stable code, the cohorts concerned, and a sentence with what to do.

    public: what of it may be published, where the text names schools for the analyst.
    """

    code: str
    cohorts: tuple[int, ...]
    text: str
    public: str = ""

    @property
    def published(self) -> str:
        """The sentence as results may hold it."""
        return self.public or self.text

    def summary(self) -> dict[str, Any]:
        """The finding in plain values, for JSON."""
        return {"code": self.code, "cohorts": list(self.cohorts), "text": self.published}


def tell(found: Iterable[Finding | None], stacklevel: int = 3) -> tuple[Finding, ...]:
    """Warn of each finding; return those that there are."""
    there = tuple(item for item in found if item is not None)
    for item in there:
        warnings.warn(
            SchoolsNamed(item.text, item.public) if item.public else ValibWarning(item.text), stacklevel=stacklevel
        )
    return there


def integrated_or_told(integrate: Callable[[], Any], stacklevel: int = 4) -> Any:
    """A posterior; None with a warning where it is improper. stacklevel: as seen from the function that calls this one."""
    try:
        return integrate()
    except ModelError as error:
        said = f"{error} The intervals take the estimated variances as known."
        warnings.warn(said, ValibWarning, stacklevel=stacklevel + 1)
        return None


def of_correlation(records: Records, cohorts: Iterable[int]) -> list[Finding | None]:
    """What the correlation of score and prior score in some cohorts gives rise to."""
    r = {int(t): correlation(records, int(t)) for t in cohorts}
    return [low_correlation(r), same_test(r)]


def low_correlation(r: Mapping[int, float]) -> Finding | None:
    """Cohorts whose score and prior score hardly go together. r: correlation by cohort."""
    return _correlation(
        "correlation",
        {t: value for t, value in r.items() if value < CORRELATION_LOW},
        f"under {CORRELATION_LOW:g}",
        "students may be linked to the prior scores of others, so look into how codes were matched",
    )


def same_test(r: Mapping[int, float]) -> Finding | None:
    """Cohorts whose score and prior score are nearly the same. r: correlation by cohort."""
    return _correlation(
        "same_test",
        {t: value for t, value in r.items() if value > CORRELATION_HIGH},
        f"over {CORRELATION_HIGH:g}",
        "the two columns may hold the same test, so look into where they come from",
    )


def _correlation(code: str, r: Mapping[int, float], told: str, meaning: str) -> Finding | None:
    if not r:
        return None
    values = by_cohort({t: f"{round(value, 2) + 0.0:.2f}" for t, value in r.items()})
    return Finding(code, tuple(r), f"The correlation of score and prior score is {told} ({values}): {meaning}.")


def several_cohorts(several: int, students: int, where: Iterable[int], moving_up: int = 0) -> Finding | None:
    """Student codes in two or more cohorts. several of students (counts of codes); where: cohorts of codes seen before;
    moving_up: how many of them are in a grade as much higher as years have gone by."""
    if several <= REPEATED_SHARE * students:
        return None
    where, share = tuple(where), several / students
    meaning = (
        f"{percent(moving_up / several)} of them move up a grade a year, so that later cohorts are the earlier ones grown "
        "older, and the models take cohorts as different students: make one study a grade (where: grade == 5), to which "
        "prior: {years_before: 1} still links the year before"
        if moving_up > several / 2
        else "the records follow students over the years, or codes are used again; the models take cohorts as different "
        "students, so choose cohorts that share none, and where each year has several grades make one study a grade"
        if share > REUSED_SHARE
        else "repeaters, or codes used again; each row counts as a student of its own, so keep one row a student"
    )
    count = f"{several:,}" if several >= FEWEST else f"fewer than {FEWEST}"
    told = f"{count} ({percent(share)}; seen before in {listed_cohorts(where)})"
    return Finding("several_cohorts", where, f"Student codes that stand in more than one cohort: {told}: {meaning}.")


def repeated_rows(effects: pd.DataFrame, cohort: int | None) -> Finding | None:
    """Schools of a fit in which more than SCHOOL_SHARE of the rows are of students already there.

    effects: columns n, and students where some stand in several rows.
    """
    if "students" not in effects.columns:
        return None
    many = effects["n"] - effects["students"] > SCHOOL_SHARE * effects["n"]
    if not many.any():
        return None
    schools = f"{int(many.sum()):,} school{'s' if many.sum() > 1 else ''}"
    text = (
        f"In {schools} of cohort {cohort} more than {SCHOOL_SHARE:.0%} of the rows are of students who stand there already, "
        "so that errors are too small: keep one row a student."
    )
    return Finding("duplicates", () if cohort is None else (int(cohort),), text)


def is_other_scale(mean: float, sd: float, means: np.ndarray, sds: np.ndarray) -> bool:
    """Whether a cohort's mean or SD is far from the median mean and SD of other cohorts."""
    if not len(means):
        return False
    usual, spread = float(np.median(means)), float(np.median(sds))
    if not (np.isfinite(usual) and spread > 0 and sd > 0):
        return False
    return bool(abs(mean - usual) > SCALE_MEAN * spread or not 1 / SCALE_SD <= sd / spread <= SCALE_SD)


def other_scale(
    column: str, odd: Mapping[int, tuple[float, float]], means: np.ndarray, sds: np.ndarray
) -> Finding | None:
    """Cohorts (mean and SD in ``odd``) that look as if on another scale than a baseline with these means and SDs."""
    if not odd:
        return None
    told = by_cohort({t: _mean_and_sd(mean, sd) for t, (mean, sd) in odd.items()})
    text = (
        f"Column {column} looks as if on another scale than in other baseline cohorts ({told}; baseline: "
        f"{_mean_and_sd(np.median(means), np.median(sds))}): if so, declare scale_breaks with a link, or leave the "
        "cohort out."
    )
    return Finding("scale", tuple(odd), text)


def prior_shift(parts: Mapping[int, tuple[float, float, float]]) -> Finding | None:
    """Cohorts in which the change of the mean prior score, were it the prior test's, would make more of the shift than
    one of its errors. parts: by cohort, that part, the shift and its standard error; nan where there is none.
    """
    moved = {t: values for t, values in parts.items() if abs(values[0]) > values[2]}
    if not moved:
        return None
    told = by_cohort({t: f"{part:+.1f} of {shift:+.1f} points, SE {se:.1f}" for t, (part, shift, se) in moved.items()})
    text = (
        f"The change of the mean prior_score alone would make a good part of the shift if it were the prior test's ({told}): "
        "see whether the prior test, its sitting or the intake has changed before the shift is told."
    )
    return Finding("prior_shift", tuple(moved), text)


def prior_drift(checks: Mapping[int, PriorCheck]) -> Finding | None:
    """Cohorts whose prior scores leave the baseline's distribution, as their checks say."""
    moved = {cohort: item for cohort, item in checks.items() if not item.ok}
    if not moved:
        return None
    told = by_cohort(
        {t: f"mean {item.smd:+.2f} SD, variance ratio {item.variance_ratio:.2f}" for t, item in moved.items()}
    )
    low, high = VARIANCE_RATIO_LIMITS
    text = (
        f"The distribution of {next(iter(moved.values())).column} leaves that of the baseline ({told}; limits {SMD_LIMIT:g} SD "
        f"and {low:g} to {high:g}): a shift may come from the prior test, so look into its scale and its sitting."
    )
    return Finding("prior_drift", tuple(moved), text)


def alike_scores(scores: Mapping[int, Mapping[str, float]]) -> Finding | None:
    """Cohorts whose scores have means and SDs closer than chance: perhaps standardised. scores: n, mean and sd by cohort."""
    if not may_be_standardised(scores) or looks_standardised(scores):
        return None
    text = (
        f"Column score has nearly the same mean and SD in {listed_cohorts(scores)}, closer than sampling brings about once in "
        "a thousand: if it was standardised within cohorts, no shift is left to find, so use scores on one scale."
    )
    return Finding("alike_scores", tuple(int(t) for t in scores), text)


def boundary(cohort: int | None, shift: bool = False, integrated: bool = False) -> Finding:
    """A fit whose schools do not differ: the estimated variance between schools is zero. shift: one was estimated;
    integrated: the intervals allow for what is not known of the variance."""
    of = "" if cohort is None else f" of cohort {cohort}"
    every = "the effect of each is the shift, which has its interval" if shift else "all effects are 0"
    limits = (
        "each interval shows how far a school may still lie" if integrated else "no school has an interval of its own"
    )
    text = (
        f"The schools{of} cannot be told apart: the variance between schools is estimated as zero (a boundary, or singular, "
        f"fit), so nothing can be said about a single school; {every}, and {limits}."
    )
    return Finding("boundary", () if cohort is None else (int(cohort),), text)


def slope_boundary(cohort: int | None, names: Sequence[str], G: np.ndarray) -> Finding | None:
    """Random slopes that are estimated not to vary, or to follow exactly from a school's level. names, G: of the random
    effects about the means, the intercept first."""
    of, sd = "" if cohort is None else f" of cohort {cohort}", np.sqrt(np.diag(G))
    flat = [name for name, one in zip(names[1:], sd[1:], strict=True) if one <= NO_SLOPE * max(sd.max(), 1e-300)]
    if flat:
        text = (
            f"The schools{of} are not told apart in their slopes of {', '.join(flat)}: the variance is estimated as zero (a "
            "boundary, or singular, fit), so that value added comes out the same for all its values."
        )
        return Finding("boundary", () if cohort is None else (int(cohort),), text)
    if np.linalg.eigvalsh(G / np.outer(np.maximum(sd, 1e-300), np.maximum(sd, 1e-300)))[0] > EXACT or not sd.all():
        return None
    text = (
        f"The slopes of the schools{of} are estimated to follow exactly from each other or from value added at the mean (a "
        "correlation of -1 or 1, a boundary, or singular, fit): there are too few students to tell them apart."
    )
    return Finding("boundary", () if cohort is None else (int(cohort),), text)


def pair_boundary(pairs: Sequence[tuple[int, int]]) -> Finding | None:
    """Pairs of cohorts whose schools' intercepts and slopes have a covariance on its boundary."""
    if not pairs:
        return None
    text = (
        f"In the pairs of cohorts {', '.join(f'{s} and {t}' for s, t in pairs)} a variance of schools' slopes or levels "
        "is estimated as zero, or some follow exactly from others (a perfect correlation; a boundary, or singular, fit): "
        "errors of their covariances are not known, and correlations and changes of single schools have limits only where "
        "intervals are integrated."
    )
    return Finding("singular", tuple(sorted({c for pair in pairs for c in pair})), text)


def slopes_moved(cohort: int, names: Sequence[str], moved: np.ndarray, se: np.ndarray) -> Finding | None:
    """The system's slopes are others than the benchmark's, about which those of schools are taken to lie."""
    told = [
        f"{name} by {d:+.2g} (standard error {e:.2g})"
        for name, d, e in zip(names, moved, se, strict=True)
        if abs(d) > SLOPE_MOVED * e
    ]
    if not told:
        return None
    text = (
        f"The system's slope in cohort {cohort} has moved from the benchmark's: of {', '.join(told)}. Slopes of schools are "
        "about the benchmark's, so that this move is left in them and in their variance; value added far from the mean is "
        "drawn towards the old slope."
    )
    return Finding("slope_moved", (int(cohort),), text)


def singular_joint(cohorts: Iterable[int]) -> Finding:
    """A joint model whose covariance of school effects lies on its boundary."""
    text = (
        "The school effects of a cohort do not vary, or those of several vary together exactly: the errors of their "
        "covariances are not known, and changes of single schools have limits only where intervals are integrated."
    )
    return Finding("singular", tuple(cohorts), text)


def few_schools(cohort: int, schools: int) -> Finding | None:
    """A shift that is estimated from fewer than FEW_SCHOOLS schools."""
    if schools >= FEW_SCHOOLS:
        return None
    text = (
        f"The shift of cohort {cohort} is estimated from {schools:,} schools, fewer than {FEW_SCHOOLS}: it says more of these "
        "schools than of a system, and their value added leans on it; a few schools are better scored like a fit of all "
        "(`valib fit --like`), or with shift: absorbed and variances: baseline."
    )
    return Finding("few_schools", (int(cohort),), text)


def _mean_and_sd(mean: float, sd: float) -> str:
    """Both to three digits of the standard deviation at most, as summaries are published."""
    places = min(2, 2 - int(np.floor(np.log10(sd)))) if np.isfinite(sd) and sd > 0 else 2
    if max(abs(mean), sd) >= 1e9:
        return f"mean {mean:.1e}, SD {sd:.1e}"
    mean, sd = (round(float(value), places) + 0.0 for value in (mean, sd))
    return f"mean {mean:,.{max(places, 0)}f}, SD {sd:,.{max(places, 0)}f}"
