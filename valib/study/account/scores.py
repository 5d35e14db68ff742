"""Scores by cohort: their range, floor and ceiling, piles, values far off, and cohorts on another scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...effects.findings import is_other_scale, other_scale
from ...names import percent
from . import limits as at
from .coded import Ask, Coded, Finding
from .text import plain

COLUMNS = ("score", "prior_score")
_NAMES = ("mean", "sd", "min", "p1", "median", "p99", "max", "values", "at_min", "at_max")


def describe(coded: Coded, ask: Ask) -> tuple[pd.DataFrame, list[Finding]]:
    """Describe score and prior score of each cohort, index (column, cohort), and warn of floor, ceiling and piles.

    Columns: mean, sd, min, p1, median, p99, max (score points), values (distinct ones), at_min, at_max (shares of the
    students at the lowest and the highest value).
    """
    rows, index, found = [], [], []
    for column in COLUMNS:
        every = coded.data[column].to_numpy(dtype=np.float64)
        for t, cohort in enumerate(coded.cohorts.tolist()):
            ordered = np.sort(every[coded.rows(t)])
            starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
            values, n = ordered[starts], np.diff(np.append(starts, len(ordered)))
            rows.append(_row(ordered, values, n))
            index.append((column, cohort))
            if ask.role(cohort):
                found += _oddities(column, cohort, ordered, values, n)
    table = pd.DataFrame(rows, columns=list(_NAMES), index=pd.MultiIndex.from_tuples(index, names=["column", "cohort"]))
    return table, found + scale_findings(table, ask) + _z_scores(table, ask)


def _row(ordered: np.ndarray, values: np.ndarray, n: np.ndarray) -> tuple[float, ...]:
    """Return one row of the table of scores."""
    mean, sd = ordered.mean(), ordered.std(ddof=1) if len(ordered) > 1 else np.nan
    p1, median, p99 = np.quantile(ordered, [0.01, 0.5, 0.99])
    return mean, sd, ordered[0], p1, median, p99, ordered[-1], len(values), n[0] / n.sum(), n[-1] / n.sum()


def _oddities(column: str, cohort: int, ordered: np.ndarray, values: np.ndarray, n: np.ndarray) -> Iterator[Finding]:
    """Yield what is odd about the values of one column and cohort; values ascending, n students at each."""
    if len(values) < 2:
        return
    share = n / n.sum()
    far = _far_off(ordered, values, n)
    yield from (_far_finding(column, cohort, side, k, values, n) for side, k in far.items())
    if len(values) < at.FEW_VALUES:
        if column == "score":
            yield Finding(
                "few_values",
                (cohort,),
                (
                    f"Column score takes {len(values)} values only in cohort {cohort} ({percent(share[0])} of students at "
                    f"the lowest, {percent(share[-1])} at the highest): residuals are far from normal, so read intervals "
                    "as rough."
                ),
            )
        return
    for k, name, beyond in ((0, "lowest", "below"), (len(values) - 1, "highest", "above")):
        if beyond not in far and (share[k] >= at.EXTREME_SHARE or _is_pile(n, k)):
            yield Finding(
                "floor" if k == 0 else "ceiling",
                (cohort,),
                (
                    f"Column {column} has {percent(share[k])} of the students of cohort {cohort} at its {name} value, "
                    f"{plain(values[k])}: differences {beyond} it cannot be seen, so do not read the effects of schools "
                    "with many such students."
                ),
            )
    inside = [k for k in np.flatnonzero(share[1:-1] >= at.HEAP_SHARE) + 1 if _is_pile(n, k)]
    for k in inside[:3]:
        yield Finding(
            "pile",
            (cohort,),
            (
                f"Column {column} has {percent(share[k])} of the students of cohort {cohort} at the one value "
                f"{plain(values[k])}, far more than at values near it: if it stands for a missing or an imputed score, "
                "leave it blank."
            ),
        )


def _is_pile(n: np.ndarray, k: int) -> bool:
    """Whether value k has far more students than any of the values next to it."""
    near = np.concatenate([n[max(k - at.HEAP_NEIGHBOURS, 0) : k], n[k + 1 : k + 1 + at.HEAP_NEIGHBOURS]])
    return n[k] >= max(at.HEAP_STUDENTS, at.HEAP_SHARE * n.sum()) and n[k] >= at.HEAP_FACTOR * near.max()


def _far_off(ordered: np.ndarray, values: np.ndarray, n: np.ndarray) -> dict[str, int]:
    """Find values that a wide gap parts from the others: "below", "above" -> number of the value next to the gap."""
    lower, middle, upper = np.quantile(ordered, [0.25, 0.5, 0.75])
    spread = (upper - lower) / 1.349
    gaps, far = np.diff(values), {}
    if spread > 0:
        wide = gaps > at.FAR_GAP * spread
        if len(above := np.flatnonzero(wide & (values[:-1] >= middle))):
            far["above"] = int(above[0])
        if len(below := np.flatnonzero(wide & (values[1:] <= middle))):
            far["below"] = int(below[-1])
        for side, end, following, gap in (("below", 0, 1, 0), ("above", -1, -2, -1)):
            if (
                side not in far
                and len(values) >= at.FEW_VALUES
                and gaps[gap] > at.REPEATED_GAP * spread
                and n[end] >= max(at.REPEATED_STUDENTS, at.REPEATED_FACTOR * n[following])
            ):
                far[side] = 0 if side == "below" else len(values) - 2
    return far


def _far_finding(column: str, cohort: int, side: str, k: int, values: np.ndarray, n: np.ndarray) -> Finding:
    """Tell the values beyond the gap after value k."""
    far, near = (slice(k + 1, None), values[k]) if side == "above" else (slice(None, k + 1), values[k + 1])
    count = int(n[far].sum())
    which = (
        f"the value {plain(values[far][0])}"
        if len(values[far]) == 1
        else f"values from {plain(values[far][0])} to {plain(values[far][-1])}"
    )
    return Finding(
        "far_off",
        (cohort,),
        (
            f"Column {column} has {count:,} {'student' if count == 1 else 'students'} of cohort {cohort} at {which}, far "
            f"{side} the next, {plain(near)}: if it is a code for missing or a slip, leave it blank."
        ),
    )


def scale_findings(table: pd.DataFrame, ask: Ask) -> list[Finding]:
    """Warn of cohorts whose mean or SD is far from that of the baseline: its medians, or of two cohorts the other.

    Prior scores of focal cohorts are judged, more narrowly, by :func:`valib.study.account.study.compare_priors`.
    """
    found = []
    for column, asked in (("score", ask.cohorts), ("prior_score", ask.baseline)):
        here = table.loc[column]
        base = here[here.index.isin(ask.baseline)]
        declared = [b.cohort for b in ask.scale_breaks if b.column == column]
        judged = [
            t for t in here.index[here.index.isin(asked)] if not any(max(ask.baseline) < b <= t for b in declared)
        ]
        odd = {}
        for t in judged:
            others = base if len(base) > 2 else base.drop(t, errors="ignore")
            mean, sd = here.loc[t, ["mean", "sd"]]
            if is_other_scale(mean, sd, others["mean"].to_numpy(), others["sd"].to_numpy()):
                odd[t] = (mean, sd)
        if item := other_scale(column, odd, base["mean"].to_numpy(), base["sd"].to_numpy()):
            found.append(item)
    return found


def _z_scores(table: pd.DataFrame, ask: Ask) -> list[Finding]:
    """Warn of columns that look like z-scores of each cohort."""
    found = []
    for column in COLUMNS:
        here = table.loc[column]
        here = here[here.index.isin(ask.cohorts)]
        if len(here) > 1 and (here["mean"].abs() < at.Z_SCORE).all() and ((here["sd"] - 1).abs() < at.Z_SCORE).all():
            lost = "no shift is left to find" if column == "score" else "changes of intake are out of sight"
            found.append(
                Finding(
                    "z_scores",
                    tuple(here.index),
                    (
                        f"Column {column} has mean 0 and SD 1 in every cohort of the study, within {at.Z_SCORE:g}: if it was "
                        f"standardised within cohorts, {lost}, so use scores on one scale."
                    ),
                )
            )
    return found
