"""Are a later cohort's scores and prior scores comparable with the baseline's? Checks that warn or refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

SMD_LIMIT = 0.2  # standardised mean difference of the prior, beyond which a benchmark warns
VARIANCE_RATIO_LIMITS = (0.8, 1.25)
SAME_MOMENTS = 1e-3  # cohort means (in SD) and SDs (as a ratio) this close were made equal,
SAME_BY_CHANCE = 0.05  # and closer than this share of what sampling alone makes of two equal cohorts


@dataclass(frozen=True, slots=True)
class PriorCheck:
    """The prior score of a focal cohort beside the baseline's (score points, except smd and variance_ratio).

    smd: (focal mean - baseline mean) / baseline SD. variance_ratio: focal variance / baseline variance.
    ok: both within the limits of this module.
    """

    column: str
    cohort: int
    baseline_mean: float
    baseline_sd: float
    focal_mean: float
    focal_sd: float
    smd: float
    variance_ratio: float
    ok: bool

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        verdict = "stays within" if self.ok else "leaves"
        return (
            f"The distribution of {self.column} in cohort {self.cohort} {verdict} that of the baseline "
            f"(mean difference {self.smd:+.2f} SD, variance ratio {self.variance_ratio:.2f}; limits "
            f"{SMD_LIMIT:g} SD and {VARIANCE_RATIO_LIMITS[0]:g} to {VARIANCE_RATIO_LIMITS[1]:g})."
        )


def compare_prior(values: np.ndarray, column: str, cohort: int, baseline_mean: float, baseline_sd: float) -> PriorCheck:
    """Compare prior scores (N,) of a focal cohort with the baseline's mean and standard deviation."""
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    return prior_check(mean, sd, column, cohort, baseline_mean, baseline_sd)


def prior_check(
    mean: float, sd: float, column: str, cohort: int, baseline_mean: float, baseline_sd: float
) -> PriorCheck:
    """:func:`compare_prior` from the mean and standard deviation of the focal cohort's prior scores."""
    smd, ratio = (mean - baseline_mean) / baseline_sd, (sd / baseline_sd) ** 2
    ok = abs(smd) <= SMD_LIMIT and VARIANCE_RATIO_LIMITS[0] <= ratio <= VARIANCE_RATIO_LIMITS[1]
    return PriorCheck(column, int(cohort), baseline_mean, baseline_sd, mean, sd, smd, ratio, ok)


def score_moments(records: pd.DataFrame, cohorts: Iterable[int]) -> dict[int, dict[str, float]]:
    """n, mean and SD of the score by cohort: over all rows that had a score where the reader kept them, else these."""
    kept = records.attrs.get("score_by_cohort", {})
    out = {}
    for cohort in cohorts:
        if cohort in kept:
            out[int(cohort)] = dict(kept[cohort])
        else:
            score = records.loc[records["cohort"] == cohort, "score"]
            out[int(cohort)] = {"n": len(score), "mean": float(score.mean()), "sd": float(score.std(ddof=1))}
    return out


def looks_standardised(scores: Mapping[int, Mapping[str, float]]) -> bool:
    """Were the scores standardised within each cohort, so that no drift is left to find?

    scores: n, mean and sd by cohort (:func:`score_moments`). True when two or more cohorts share one mean and one SD
    far more closely than sampling allows: two cohorts of n students of one stable system differ by about
    sqrt(2 / n) SD, so the tolerance is the smaller of 0.001 and a twentieth of that.
    """
    if len(scores) < 2:
        return False
    mean = np.array([s["mean"] for s in scores.values()])
    sd = np.array([s["sd"] for s in scores.values()])
    if not (np.isfinite(mean).all() and np.isfinite(sd).all() and (sd > 0).all()):
        return False
    close = min(SAME_MOMENTS, SAME_BY_CHANCE * np.sqrt(2 / max(s["n"] for s in scores.values())))
    return bool(np.ptp(mean) < close * sd.mean() and sd.max() / sd.min() < 1 + close)
