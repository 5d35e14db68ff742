"""Declared breaks of a test's scale, and the links that carry scores across them.

A benchmark holds only while the scale of its tests holds. A study declares where a scale was reset; a benchmark is not
applied across a break unless a link is given, old = intercept + slope new, with the errors of its two numbers. A link's
error is the same for every student of a cohort, so no number of students or schools averages it out.
Source: Kolen and Brennan (2014) on linking and its standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import BenchmarkError
from ..records.reading import select
from .arrays import FloatArray

COLUMNS = ("score", "prior_score")
STRICT = {"extra": "forbid", "strict": False}  # how pydantic reads these classes from a params file


@dataclass(frozen=True, slots=True)
class Link:
    """How scores of a new scale are carried to the old one: old = intercept + slope new, with the errors of both numbers.

    Parameters
    ----------
    slope : float
        Old points per new point; positive.
    intercept : float
        In points of the old scale.
    slope_se, intercept_se : float
        Standard errors of the two.
    covariance : float
        Covariance of their errors.

    Raises
    ------
    BenchmarkError
        For a slope that is not positive, a negative standard error, or a covariance that two such errors cannot have.

    Notes
    -----
    The error is the same for every student of a cohort, so no number of students or schools averages it out. Source: Kolen
    and Brennan (2014) on linking and its standard errors.

    Examples
    --------
    >>> import valib as va
    >>> link = va.Link(slope=0.98, intercept=12.0, slope_se=0.01, intercept_se=1.5)
    >>> link.slope
    0.98
    """

    __pydantic_config__ = STRICT

    slope: float = 1.0
    intercept: float = 0.0
    slope_se: float = 0.0
    intercept_se: float = 0.0
    covariance: float = 0.0

    def __post_init__(self) -> None:
        numbers = [self.slope, self.intercept, self.slope_se, self.intercept_se, self.covariance]
        if not np.isfinite(numbers).all() or self.slope <= 0 or min(self.slope_se, self.intercept_se) < 0:
            raise BenchmarkError("A link needs a positive slope and standard errors that are zero or positive.")
        if abs(self.covariance) > self.slope_se * self.intercept_se * (1 + 1e-12):
            raise BenchmarkError("A link's covariance is larger than its two standard errors allow.")

    @property
    def factor(self) -> FloatArray:
        """(2, 2) F with F F' the covariance of (intercept, slope)."""
        V = np.array([[self.intercept_se**2, self.covariance], [self.covariance, self.slope_se**2]])
        values, vectors = np.linalg.eigh(V)
        factor: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))
        return factor


@dataclass(frozen=True, slots=True)
class ScaleBreak:
    """The scale of a test changes with a cohort, the first on the new scale; a link leads back to the old one.

    Parameters
    ----------
    cohort : int
        The first cohort whose score, or prior score, is on the new scale.
    column : {"score", "prior_score"}
        Whose scale it is.
    link : Link, optional
        The way back to the old scale. Without one nothing is compared across the break.

    Raises
    ------
    BenchmarkError
        For another column.

    Notes
    -----
    A prior score is sat years before the outcome: its break is declared for the first cohort whose prior score is on
    the new scale. :func:`valib.fit_benchmark` refuses a break without a link between baseline and focal cohort.

    Examples
    --------
    >>> import valib as va
    >>> va.ScaleBreak(2021, "score", va.Link(intercept=10.0, intercept_se=2.0)).column
    'score'
    """

    __pydantic_config__ = STRICT

    cohort: int
    column: str = "score"
    link: Link | None = None

    def __post_init__(self) -> None:
        if self.column not in COLUMNS:
            raise BenchmarkError(f"A scale break concerns {' or '.join(COLUMNS)}, not {self.column!r}.")

    @property
    def linked(self) -> Link:
        """The link of a break that has one, as all have that ``crossed`` lets through."""
        if self.link is None:
            raise BenchmarkError(f"The scale of {self.column} changes with cohort {self.cohort}, and there is no link.")
        return self.link


def check_baseline(breaks: Sequence[ScaleBreak], baseline: Sequence[int]) -> None:
    """Raise BenchmarkError when a scale changes between two baseline cohorts."""
    if not baseline:
        return
    first, last = min(baseline), max(baseline)
    inside = [b for b in breaks if first < b.cohort <= last]
    if inside:
        raise BenchmarkError(
            f"The scale of {inside[0].column} changes with cohort {inside[0].cohort}, inside the "
            f"baseline {first} to {last}: choose baseline cohorts on one side of it."
        )


def crossed(breaks: Sequence[ScaleBreak], baseline: Sequence[int], cohort: int) -> list[ScaleBreak]:
    """The breaks between the baseline cohorts and a focal cohort, all of them linked, or BenchmarkError."""
    if not baseline:
        return []
    check_baseline(breaks, baseline)
    first, last = min(baseline), max(baseline)
    between = [b for b in breaks if last < b.cohort <= cohort or cohort < b.cohort <= first]
    for b in between:
        if b.link is None or cohort < first:
            raise BenchmarkError(
                f"The scale of {b.column} changes with cohort {b.cohort}, between the baseline {first} to {last} and "
                f"cohort {cohort}: a benchmark across it needs a link (slope, intercept and their errors)"
                + (", and a link leads to later cohorts only." if b.link else ".")
            )
    return sorted(between, key=lambda b: b.cohort)


def carry_back(
    records: pd.DataFrame, breaks: Sequence[ScaleBreak], baseline: Sequence[int], cohort: int
) -> pd.DataFrame:
    """The records of one cohort on the scale of the baseline: what :func:`valib.fit_benchmark` fits.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    breaks : sequence of ScaleBreak
        Every declared change of a scale; those between baseline and cohort must have a link.
    baseline : sequence of int
        The baseline cohorts.
    cohort : int
        The cohort to carry back.

    Returns
    -------
    DataFrame
        The rows of that cohort, with score and prior score as they would be on the baseline's scale.

    Raises
    ------
    BenchmarkError
        For a break without a link, a break inside the baseline, and a linked break to an earlier cohort.
    RecordsError
        If the cohort is not in the records.

    Notes
    -----
    Of several breaks the latest is undone first: ``old = intercept + slope new`` for each. For models that are compared
    with a benchmark, such as a relative model across a break.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> breaks = [va.ScaleBreak(2021, link=va.Link(intercept=10.0, intercept_se=2.0))]
    >>> moved = va.carry_back(records, breaks, baseline=[2015, 2016], cohort=2024)
    >>> round(float(moved["score"].mean() - records.query("cohort == 2024")["score"].mean()), 6)
    10.0
    """
    return to_old_scale(select(records, [cohort]), crossed(breaks, baseline, cohort))


def on_one_scale(
    records: pd.DataFrame, breaks: Sequence[ScaleBreak], baseline: Sequence[int], cohorts: Sequence[int]
) -> tuple[pd.DataFrame, list[ScaleBreak]]:
    """Records with the given later cohorts carried back to the baseline's scale, and what is left of the breaks.

    What is left are links that change nothing and keep the errors: a link old = a + s new of errors (da, ds) moves a
    score y that was already carried back by S da - ds A / s + (ds / s) y, where y = A + S s new is the whole way back
    from the link's own scale. Benchmark fits of these records with these breaks equal those of the records as they
    were. Raises as ``crossed``.
    """
    if not breaks or not baseline:
        return records, list(breaks)
    moved = records.copy()
    scores = dict(records.attrs.get("score_by_cohort", {}))
    for cohort in cohorts:
        rows = (moved["cohort"] == cohort).to_numpy()
        for b in reversed(crossed(breaks, baseline, cohort)):
            moved.loc[rows, b.column] = b.linked.intercept + b.linked.slope * moved.loc[rows, b.column]
            if b.column == "score" and cohort in scores:
                old = scores[cohort]
                scores[cohort] = old | {
                    "mean": b.linked.intercept + b.linked.slope * old["mean"],
                    "sd": b.linked.slope * old["sd"],
                }
    if scores:
        moved.attrs["score_by_cohort"] = scores
    last, end = max(baseline), max(cohorts, default=max(baseline))
    later = [b for b in breaks if b.link is not None and b.cohort > last]
    return moved, [_error_only(b, breaks, last) if b.cohort <= end else b for b in later]


def _error_only(b: ScaleBreak, breaks: Sequence[ScaleBreak], last: int) -> ScaleBreak:
    """The break with its link's errors as they stand for scores already carried back to the scale of cohort ``last``."""
    S, A, s = 1.0, 0.0, b.linked.slope
    between = [e for e in breaks if e.column == b.column and last < e.cohort < b.cohort]
    for e in sorted(between, key=lambda e: e.cohort):
        A, S = A + S * e.linked.intercept, S * e.linked.slope
    A = A + S * b.linked.intercept
    va, vs, c = b.linked.intercept_se**2, b.linked.slope_se**2, b.linked.covariance
    var = max(S**2 * va + (A / s) ** 2 * vs - 2 * S * A / s * c, 0.0)
    return ScaleBreak(
        b.cohort, b.column, Link(1.0, 0.0, np.sqrt(vs) / s, float(np.sqrt(var)), float(S / s * c - A * vs / s**2))
    )


def to_old_scale(data: pd.DataFrame, breaks: Sequence[ScaleBreak]) -> pd.DataFrame:
    """The rows of one cohort with its scores carried back over linked breaks, the latest break first."""
    if not breaks:
        return data
    moved = data.copy()
    for b in sorted(breaks, key=lambda b: b.cohort, reverse=True):
        moved[b.column] = b.linked.intercept + b.linked.slope * moved[b.column]
    return moved


def perturbed(breaks: Sequence[ScaleBreak]) -> list[tuple[list[ScaleBreak], float]]:
    """One pair for each error direction of each link: the breaks with that link moved along it, and the step.

    The change of a mean residual divided by the step is its loading on that standard normal error.
    """
    out = []
    for i, b in enumerate(breaks):
        for intercept, slope in b.linked.factor.T:
            if intercept == 0 and slope == 0:
                continue
            moved = Link(b.linked.slope + STEP * slope, b.linked.intercept + STEP * intercept)
            out.append(([*breaks[:i], ScaleBreak(b.cohort, b.column, moved), *breaks[i + 1 :]], STEP))
    return out


STEP = 1e-3  # of a standard error; the residual is linear in the link, or as good as
