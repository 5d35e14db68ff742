"""Lone scores far from all others, and what one student does to the effect of a school.

A score is judged beside the other score of its student, which tells an impossible one from that of an able or a weak
student: by the residuals of score on prior score and of prior score on score, and by the scores themselves. Of distances
r_1 > r_2 > ... from the median on one side, the first k (LONE_MOST at most) are lone where r_k lies beyond LONE_DISTANCE
robust SDs, the gap after it is wider than LONE_GAP of them, and with the means over i = 1 ... LONE_SPACINGS

    r_k - r_{k+1} > LONE_RATIO mean i (r_{k+i} - r_{k+1+i}),   log r_k - log r_{k+1} > LONE_LOG_RATIO mean i (log ... - log ...)

If a tail is exponential the normalised spacings i (r_i - r_{i+1}) are independent with its mean (Rényi 1953), and if it is
a power law those of the logarithms are (Hill 1975), so that the ratio is F(2, 2 m) of m = 30 spacings: it exceeds 12 once
in 24,000 exponential tails, 7 once in 550 tails of a power law, whatever its index. Normal tails are thinner than both.
A score written as a code for missing (0, 99, -9 and the like) that is the lowest or highest of its cohort needs less: it
is lone where few have it, one robust SD parts it from the next and three from the median.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd

from ...effects.relative import fit_relative
from ...errors import ValibError
from ...models.blup import shrinkage
from ...names import listed_cohorts as cohorts
from .coded import Ask, Coded, Finding
from .limits import (
    FAR_GAP,
    INFLUENCE,
    LONE_DISTANCE,
    LONE_FEWEST,
    LONE_GAP,
    LONE_LOG_RATIO,
    LONE_MOST,
    LONE_RATIO,
    LONE_SPACINGS,
    REPEATED_GAP,
    REPEATED_STUDENTS,
)
from .text import number, plain

_CODE = re.compile(r"-?0|-?9+|-[1-9]\d*")


def lone_above(values: np.ndarray) -> np.ndarray:
    """Positions of the values (N,) that stand alone above all others; none of fewer than LONE_FEWEST values."""
    middle, spread = _robust(values)
    if len(values) < LONE_FEWEST or not spread > 0:
        return np.array([], dtype=np.int64)
    order = np.argsort(values, kind="stable")[::-1][: LONE_MOST + LONE_SPACINGS + 1]
    r = np.maximum(values[order] - middle, np.finfo(float).tiny)
    gaps, logs = -np.diff(r), -np.diff(np.log(r))
    found = 0
    for k in range(1, LONE_MOST + 1):
        i = np.arange(1, len(gaps[k : k + LONE_SPACINGS]) + 1)
        usual, usual_log = (float((i * x[k : k + LONE_SPACINGS]).mean()) for x in (gaps, logs))
        wide = gaps[k - 1] > max(LONE_RATIO * usual, LONE_GAP * spread) and logs[k - 1] > LONE_LOG_RATIO * usual_log
        if wide and r[k - 1] > LONE_DISTANCE * spread:
            found = k
    return order[:found]


def lone_codes(values: np.ndarray) -> np.ndarray:
    """Positions of the values (N,) that are a code for missing at the end of the scale, far from all others."""
    (middle, spread), found = _robust(values), []
    levels = np.unique(values)
    if len(values) >= LONE_FEWEST and len(levels) > 2 and spread > 0:
        for end, following in ((levels[0], levels[1]), (levels[-1], levels[-2])):
            at = np.flatnonzero(values == end)
            apart = abs(end - following) > REPEATED_GAP * spread and abs(end - middle) > FAR_GAP * spread
            if len(at) < REPEATED_STUDENTS and apart and _CODE.fullmatch(plain(end).replace(",", "")):
                found += at.tolist()
    return np.array(found, dtype=np.int64)


def _robust(values: np.ndarray) -> tuple[float, float]:
    """Median and robust SD."""
    lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return float(middle), float((upper - lower) / 1.349)


def lone(score: np.ndarray, prior: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the students whose score, or prior score, is a lone one, by column."""
    found: dict[str, set[int]] = {"score": set(), "prior_score": set()}
    distance = {"score": _distance(score), "prior_score": _distance(prior)}
    for y, x in ((score, prior), (prior, score)):
        r = _residuals(y, x)
        for side in (r, -r):
            for i in lone_above(side).tolist():  # of the two scores the odd one is farther from the middle
                found[max(distance, key=lambda name: distance[name][i])].add(i)
    for name, values in (("score", score), ("prior_score", prior)):
        found[name] |= {*lone_above(values).tolist(), *lone_above(-values).tolist(), *lone_codes(values).tolist()}
    return {name: np.array(sorted(rows), dtype=np.int64) for name, rows in found.items()}


def _distance(values: np.ndarray) -> np.ndarray:
    """(N,) distances from the median in robust SDs."""
    middle, spread = _robust(values)
    return np.abs(values - middle) / max(spread, np.finfo(float).tiny)


def _residuals(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(N,) residuals of a least-squares line that leaves the farthest hundredth at either end of y aside."""
    low, high = np.quantile(y, [0.01, 0.99])
    inside = (y >= low) & (y <= high)
    centred = x - x[inside].mean()
    square = float(centred[inside] @ centred[inside])
    slope = float(centred[inside] @ (y[inside] - y[inside].mean())) / square if square > 0 else 0.0
    return y - y[inside].mean() - slope * centred


def lone_findings(coded: Coded, ask: Ask, odd: list[Finding]) -> list[Finding]:
    """Name lone scores in the study's cohorts, but for those among ``odd`` whose far values were told already."""
    out = []
    told = {(one.text.split()[1], t) for one in odd if one.code == "far_off" for t in one.cohorts}
    score, prior = (coded.data[name].to_numpy(dtype=np.float64) for name in ("score", "prior_score"))
    for t, cohort in enumerate(coded.cohorts.tolist()):
        rows = coded.rows(t)
        if not ask.role(cohort) or len(rows) < LONE_FEWEST or not np.isfinite([score[rows], prior[rows]]).all():
            continue
        for column, at in lone(score[rows], prior[rows]).items():
            if len(at) and (column, cohort) not in told:
                out.append(_finding(column, cohort, (score if column == "score" else prior)[rows], at))
    return out


def _finding(column: str, cohort: int, values: np.ndarray, at: np.ndarray) -> Finding:
    rest = np.delete(values, at)
    which = " and ".join(plain(value) for value in np.unique(values[at])[:3])
    students = f"{len(at)} student{'s' * (len(at) > 1)}"
    text = (
        f"Column {column} has {students} of cohort {cohort} at {which}, far from what the other score of the same student and "
        f"all other students (from {plain(rest.min())} to {plain(rest.max())}) let expect: one such score can move a school, so "
        "see whether it is real, and leave it blank if it is not."
    )
    return Finding("lone_score", (cohort,), text)


def influence(records: pd.DataFrame, ask: Ask) -> pd.DataFrame:
    """What the most influential student of a school does to its relative effect, by cohort: the school where it is most.

    With the coefficients and variances held, leaving student i out of school j moves its effect u_j = lambda(n) rbar by

        u_j - u_j(i) = lambda(n) rbar - lambda(n - 1) (n rbar - r_i) / (n - 1),      lambda(n) = n tau2 / (n tau2 + sigma2)

    Only schools with min_students students or more count. Index cohort; columns school, students, change (score points,
    the effect less that without the student), se (comparative error of the effect). Cohorts without a fit are not there.
    """
    rows = {}
    for cohort in ask.cohorts:
        one = records[records["cohort"] == cohort]
        with warnings.catch_warnings(action="ignore"):
            try:
                fit = fit_relative(one.reset_index(drop=True), cohort, "score ~ prior_score")
            except ValibError:
                continue
        effects, b = fit.school_effects, fit.fixed_effects.to_numpy()
        r = one["score"].to_numpy() - b[0] - b[1] * one["prior_score"].to_numpy()
        code, schools = pd.factorize(one["school"])
        n = np.bincount(code)[code].astype(np.float64)
        mean = (np.bincount(code, weights=r) / np.bincount(code))[code]
        without = np.where(n > 1, (n * mean - r) / np.maximum(n - 1, 1), 0.0)
        change = shrinkage(n, fit.tau2, fit.sigma2) * mean - shrinkage(n - 1, fit.tau2, fit.sigma2) * without
        change = np.where(n >= max(ask.min_students, 2), change, 0.0)
        i = int(np.abs(change).argmax())
        if change[i] != 0:
            school = schools[code[i]]
            rows[cohort] = (school, int(n[i]), float(change[i]), float(effects.loc[school, "se_comparative"]))
    names = ["school", "students", "change", "se"]
    return pd.DataFrame(rows.values(), columns=names, index=pd.Index(rows, name="cohort", dtype="int64"))


def influence_findings(table: pd.DataFrame) -> list[Finding]:
    """Warn where one student moves a school by more than INFLUENCE standard errors of its effect."""
    many = table[table["change"].abs() > INFLUENCE * table["se"]]
    if many.empty:
        return []
    told = ", ".join(f"{number(abs(row.change), 1)} points in cohort {t}" for t, row in many.iterrows())
    text = (
        f"One student moves the effect of a school by more than its standard error ({told}): look at that student's scores in "
        f"the school that the account names for {cohorts(many.index)}."
    )
    return [Finding("influence", tuple(int(t) for t in many.index), text)]
