"""Extreme scores as a sensitivity: value added with scores capped at a stated distance, beside what it is without.

    r_i = y_i - x_i' b - shift      y*_i = x_i' b + shift + min(max(r_i, -c s), c s)      s = sqrt(tau2 + sigma2)

The distance is counted from the fitted line, school effects left aside, in standard deviations of what the line leaves.
From the line and not from a school's own level: the cap is then the same for students alike in their covariates, in
whatever school, and it rests on no school's effect, which in a small school one extreme score has made. In standard
deviations of residuals and not of scores: three standard deviations of scores are five of residuals where prior scores
explain two thirds of the variance, so that nothing would be capped, or, of another formula, much.
The cap is a question asked of a result, and never the result: an extreme score that is right belongs to its school.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..records.disclosure import counted, few, only_shown
from ..records.reading import select
from ..sums.design import Design, build_design
from ..sums.equating import ScaleBreak, crossed, to_old_scale
from ..sums.formula import is_in_points
from ..sums.students import Records, Summed, summed
from .baseline import Benchmark
from .benchmark import benchmark_from_moments
from .cohort_fit import CohortFit
from .relative import relative_from_moments
from .verdict import sides

AGREE = 1e-6  # of the standard deviation of scores: the fit made again gives the effects of the fit that was given


@dataclass(frozen=True, slots=True, eq=False)
class Capped:
    """Value added of one cohort without and with a cap on extreme scores. Score points.

    Attributes
    ----------
    cohort : int
        The cohort.
    distance, points : float
        How far from the fitted line scores were capped, in standard deviations of its residuals and in score points.
    n_capped, n_students : int
        Students whose score was moved, of how many.
    table : DataFrame
        One row a school that may be shown (index): ``n``, ``effect``, ``se``, ``lower``, ``upper``, ``side``, ``fifth`` without
        the cap; ``capped``, ``capped_se``, ``capped_lower``, ``capped_upper``, ``capped_side``, ``capped_fifth`` with it;
        ``move`` (capped - effect). side: "above", "below" or "not told apart" by the interval, "" where none is known;
        fifth: 1 is the lowest, among these schools.
    fit : CohortFit
        The fit to the capped scores.
    min_students : int
        Fewest students of a school in the table.

    Notes
    -----
    ``sentence`` says in one line what the cap does.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> capped = va.capped_va(exam, va.fit_relative(exam), distance=3)
    >>> capped.n_capped, capped.changed_side, capped.changed_fifth
    (11, 0, 0)
    """

    cohort: int
    distance: float
    points: float
    n_capped: int
    n_students: int
    table: pd.DataFrame
    fit: CohortFit
    min_students: int = 1

    @property
    def changed_side(self) -> int:
        """Schools of another side with the cap, of those whose side is known with and without it."""
        return int((self._known & (self.table["side"] != self.table["capped_side"])).sum())

    @property
    def _known(self) -> pd.Series:
        """Which schools have a side with and without the cap."""
        return (self.table["side"] != "") & (self.table["capped_side"] != "")

    @property
    def changed_fifth(self) -> int:
        """Schools in another fifth with the cap."""
        return int((self.table["fifth"] != self.table["capped_fifth"]).sum())

    @property
    def sentence(self) -> str:
        """What the cap does, in one sentence that may be published."""
        units = "points" if is_in_points(self.fit.formula) else "units of the outcome"
        head = (
            f"{self.cohort}: with scores capped {self.distance:g} residual SDs ({self.points:.3g} {units}) from the fitted "
            f"line ({few(self.n_capped, self.min_students)} of {self.n_students:,} students)"
        )
        if self.table.empty:
            return f"{head}, no school may be shown."
        move = self.table["move"]
        most = str(move.abs().idxmax())
        schools, known = len(self.table), int(self._known.sum())
        changed = f"{self.changed_side:,} of {known:,} schools change side" if known else "no school's side is known"
        return (
            f"{head}, {changed} and {self.changed_fifth:,} of {schools:,} change fifth; the "
            f"largest move is {move[most]:+.2g} {units} (school {most})."
        )


def capped_va(
    records: Records,
    fit: CohortFit,
    distance: float = 3.0,
    benchmark: Benchmark | None = None,
    scale_breaks: Sequence[ScaleBreak] = (),
    min_students: int = 1,
) -> Capped:
    """Value added with scores capped at a distance from the fitted line, beside what it is without: a sensitivity.

    Parameters
    ----------
    records : DataFrame
        Those the fit was made of, in memory.
    fit : CohortFit
        A relative or benchmark fit of one cohort.
    distance : float
        Of a capped score from the line, in standard deviations of the residuals.
    benchmark : Benchmark, optional
        That of a benchmark fit, which stays as it is.
    scale_breaks : sequence of ScaleBreak
        As they were given to the fit.
    min_students : int
        Fewest students of a school that may be shown.

    Returns
    -------
    Capped
        Both in one table, how many students were capped and how many schools change side or fifth.

    Raises
    ------
    ModelError
        For streamed records, a distance that is not positive, a benchmark fit without its benchmark, and other records or
        choices than the fit's.

    Notes
    -----
    The scores (the outcome of the formula) are capped once, about the line of the fit without a cap, and the model is fitted
    again with the same choices::

        r_i = y_i - x_i' b - shift      y*_i = x_i' b + shift + min(max(r_i, -c s), c s)      s = sqrt(tau2 + sigma2)

    The line leaves school effects aside, so that students alike in their covariates have the same cap in every school. It is
    the first step of Huber's (1964) estimator of location, from a fit that is not robust itself.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> capped = va.capped_va(exam, va.fit_relative(exam), distance=2.5)
    >>> capped.n_capped, round(float(capped.table["move"].abs().max()), 3)
    (60, 0.037)
    """
    fit.refuse_slopes("A cap is about the line of")
    design = _design(records, fit, distance, benchmark, scale_breaks)
    line = design.X @ fit.fixed_effects.to_numpy() + (fit.shift or 0.0)
    limit = float(distance * np.sqrt(fit.tau2 + fit.sigma2))
    residual = design.y - line
    moved = np.abs(residual) > limit
    capped = _fit_again(
        replace(design, y=np.where(moved, line + np.clip(residual, -limit, limit), design.y)), fit, benchmark
    )
    assert fit.cohort is not None  # asked for before
    table = _table(fit, capped, min_students)
    return Capped(fit.cohort, float(distance), limit, int(moved.sum()), len(moved), table, capped, min_students)


def _design(
    records: Records, fit: CohortFit, distance: float, benchmark: Benchmark | None, scale_breaks: Sequence[ScaleBreak]
) -> Design:
    """The fit's students; ModelError where the fit made again of them is another."""
    if not isinstance(records, pd.DataFrame):
        raise ModelError("A cap on scores needs the rows of the students, and streams give sums: take --engine memory.")
    if not (np.isfinite(distance) and distance > 0):
        raise ModelError(f"The distance at which scores are capped must be positive, not {distance}.")
    if fit.cohort is None or fit.state is None:
        raise ModelError("Scores are capped for a fit of one cohort of records.")
    fit.refuse_slopes("Scores are capped for")
    if (fit.model == "benchmark") != (benchmark is not None):
        raise ModelError(
            "Scores of a benchmark fit are capped with its benchmark, those of a relative fit without one."
        )
    links = crossed(scale_breaks, benchmark.cohorts, fit.cohort) if benchmark is not None else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit has said it
        design = build_design(to_old_scale(select(records, [fit.cohort]), links), fit.state)
        other = len(design.y) != fit.n_students or list(design.names) != list(fit.fixed_effects.index)
        again = fit if other else _fit_again(design, fit, benchmark)
    ours, theirs = again.school_effects["effect"], fit.school_effects["effect"]
    if other or list(ours.index) != list(theirs.index) or (ours - theirs).abs().max() > AGREE * fit.student_sd:
        raise ModelError(
            f"These are not the records, or not the choices, that the model of cohort {fit.cohort} was fitted to."
        )
    return design


def _fit_again(design: Design, fit: CohortFit, benchmark: Benchmark | None) -> CohortFit:
    """The fit's model, with its choices, of the rows of a design."""
    students, table = summed(design), fit.school_effects
    tested = None if table["tested"].isna().any() else table["tested"]
    extra = table["n"] - counted(table)
    students = replace(students, left_out=fit.left_out, extra=extra, tested=tested, least=fit.min_linked_share)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if benchmark is None:
            return relative_from_moments(students, fit.method, fit.level, fit.cohort, None, fit.intervals)
        return _benchmark_again(students, fit, benchmark)


def _benchmark_again(students: Summed, fit: CohortFit, benchmark: Benchmark) -> CohortFit:
    scale = fit.scale_loadings
    links = scale[:, 1:] if scale is not None and scale.shape[1] > 1 else None
    assert fit.cohort is not None and fit.shift_mode in ("estimated", "absorbed")
    return benchmark_from_moments(
        students,
        fit.cohort,
        benchmark,
        fit.shift_mode,  # type: ignore[arg-type]
        fit.variances_from,  # type: ignore[arg-type]
        fit.method,
        fit.equating_se,
        fit.level,
        links,
        fit.intervals,
        fit.cohort_sd,
    )


def _table(fit: CohortFit, capped: CohortFit, min_students: int) -> pd.DataFrame:
    """Both fits of the schools that may be shown."""
    ours, theirs = (only_shown(one.school_effects, min_students) for one in (fit, capped))
    out = ours[["n", "effect", "se", "lower", "upper"]].copy()
    out["side"], out["fifth"] = sides(ours["lower"], ours["upper"]), _fifths(ours["effect"])
    out["capped"] = theirs["effect"]
    for name in ("se", "lower", "upper"):
        out[f"capped_{name}"] = theirs[name]
    out["capped_side"] = sides(theirs["lower"], theirs["upper"])
    out["capped_fifth"] = _fifths(theirs["effect"])
    return out.assign(move=out["capped"] - out["effect"])


def _fifths(effect: pd.Series) -> np.ndarray:
    """1 (lowest) to 5; schools of the same effect share a place."""
    place = effect.round(9).rank().to_numpy(dtype=np.float64)
    return np.ceil(place * 5 / len(effect)).astype(np.int64)
