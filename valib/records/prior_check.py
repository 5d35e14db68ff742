"""Are a later cohort's scores and prior scores comparable with the baseline's? Checks that warn or refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtr

SMD_LIMIT = 0.2  # standardised mean difference of the prior, beyond which a benchmark warns
VARIANCE_RATIO_LIMITS = (0.8, 1.25)
# Means and SDs by cohort that sampling alone would bring so close this seldom: once in a million stable pairs of cohorts
# for both, once in ten thousand where they are 0 and 1 besides, as scores on a scale of their own hardly are (rounded to
# two decimals, z-scores are no closer than 0.003); asked about once in a thousand.
REFUSED = 1e-3
REFUSED_AS_Z = 0.01
DOUBTFUL = 0.03
Z_SCORE = 0.05  # of mean 0 and SD 1


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


def score_moments(records: Any, cohorts: Iterable[int]) -> dict[int, dict[str, float]]:
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
    """Were the scores standardised within each cohort, beyond doubt, so that no drift is left to find?

    Parameters
    ----------
    scores : mapping of int to mapping
        By cohort: ``n``, ``mean`` and ``sd`` of the score.

    Returns
    -------
    bool
        Whether the cohorts' means and SDs are closer to each other than sampling alone would bring them.

    Raises
    ------
    KeyError
        If n, mean or sd of a cohort is missing.

    Notes
    -----
    For T cohorts of n_t students of one stable system with mean mu and standard deviation s::

        sum_t n_t (m_t - mbar)^2 / s^2     and     sum_t 2 n_t (log s_t - mean log s)^2

    are independent chi-square variables with T - 1 degrees of freedom, as the mean and the SD of a normal sample are. Both
    lower tails must be below 0.001, or below 0.01 where the means are 0 and the SDs 1 besides. Of stable pairs of cohorts
    that is one in a million, and one in ten thousand, by chance.

    Examples
    --------
    >>> import valib as va
    >>> made = {2015: {"n": 5000, "mean": 0.0, "sd": 1.0}, 2016: {"n": 5000, "mean": 0.0, "sd": 1.0}}
    >>> va.looks_standardised(made)
    True
    >>> ordinary = {2015: {"n": 5000, "mean": 501.6, "sd": 75.5}, 2016: {"n": 5000, "mean": 503.1, "sd": 76.0}}
    >>> va.looks_standardised(ordinary)
    False
    """
    by_mean, by_sd = alike(scores)
    is_z = all(abs(s["mean"]) < Z_SCORE and abs(s["sd"] - 1) < Z_SCORE for s in scores.values())
    return max(by_mean, by_sd) < (REFUSED_AS_Z if is_z else REFUSED)


def may_be_standardised(scores: Mapping[int, Mapping[str, float]]) -> bool:
    """Are the cohorts' means and SDs so close that one asks whether they were made equal? See :func:`alike`."""
    return max(alike(scores)) < DOUBTFUL


def alike(scores: Mapping[int, Mapping[str, float]]) -> tuple[float, float]:
    """How likely cohorts of one stable system have means, and SDs, no further apart than these: two chances.

    Of T cohorts of n_t students with the same true mean mu and SD s, and nearly normal scores,

        sum_t n_t (m_t - mbar)^2 / s^2     and     sum_t 2 n_t (log s_t - mean log s)^2

    with n-weighted means are chi-square with T - 1 degrees of freedom and independent (the mean and the SD of a normal
    sample are). The chances are the lower tails. Two ordinary cohorts that differ by sampling alone therefore have both
    below p once in 1 / p^2 pairs; cohorts that differ in truth, by their schools or years, still more seldom. Schools
    that stay take a part of the sampling error of the difference away, which raises this some twofold.
    Returns (1, 1) for one cohort, and where a mean or an SD is not finite.
    """
    n, mean, sd = (np.array([s[name] for s in scores.values()], dtype=np.float64) for name in ("n", "mean", "sd"))
    if len(n) < 2 or not (np.isfinite(mean).all() and np.isfinite(sd).all() and (sd > 0).all()):
        return 1.0, 1.0
    scale, logs = float(np.average(sd, weights=n)), np.log(sd)
    apart = float(n @ (mean - np.average(mean, weights=n)) ** 2) / scale**2
    spread = float(2 * n @ (logs - np.average(logs, weights=n)) ** 2)
    return float(chdtr(len(n) - 1, apart)), float(chdtr(len(n) - 1, spread))
