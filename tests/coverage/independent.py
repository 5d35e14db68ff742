"""An independent simulator: panels of schools drawn with NumPy alone.

Nothing here is shared with ``valib.simulation``: what is drawn is written out student by student, so that the coverage
of a published interval does not rest on the code that is examined. The only thing the library sees is a table of
students. Scores are points of a test whose students have a standard deviation of about 70.

    prior_ijt = 480 + m_jt + 20 a_j + 60 z_ijt                   m_jt = sorting u_jt
    score_ijt = 110 + 0.8 prior_ijt + shift_t + shock_t + u_jt + sigma e_ijt
    u_jt = tau (sqrt(rho) l_j + sqrt(1 - rho) s_jt)               a, z, e, l, s standard normal

shift_t is ``shift`` in the focal cohorts and 0 in the baseline; shock_t ~ N(0, shock^2) in every cohort. Truths: the
school effect u_jt (relative value added); shift_t + shock_t + u_jt (benchmark value added, against the baseline that
is expected over its shocks and schools); u_jt - u_js (change).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

FIRST = 2010  # the first baseline cohort
SURE = 0.9  # a probability from which, or from one less which, something is held to be so, or not to be so


@dataclass(frozen=True)
class World:
    """What panels are drawn from.

    schools: J. size: least and most students of a school in a cohort, drawn evenly. tau, sigma: standard deviations of
    school effects and of students, score points. rho: correlation of a school's effects between any two cohorts.
    baseline, focal: numbers of cohorts, one a year. shift: of the focal cohorts. shock: standard deviation of what is
    common to all schools of a cohort. sorting: points of intake for every point of effect. missing: share of
    school-by-cohort cells without students. slope_change: added to the slope of the prior in the focal cohorts.
    """

    schools: int
    size: tuple[int, int]
    tau: float
    sigma: float = 45.0
    rho: float = 0.7
    baseline: int = 3
    focal: int = 2
    shift: float = -14.0
    shock: float = 0.0
    sorting: float = 0.0
    missing: float = 0.0
    slope_change: float = 0.0

    @property
    def baseline_cohorts(self) -> list[int]:
        return list(range(FIRST, FIRST + self.baseline))

    @property
    def focal_cohorts(self) -> list[int]:
        return list(range(FIRST + self.baseline, FIRST + self.baseline + self.focal))


@dataclass(frozen=True)
class Panel:
    """One draw. records: one row a student. effects: u, by school and cohort. shift, shock: by cohort."""

    records: pd.DataFrame
    effects: pd.DataFrame
    shift: pd.Series
    shock: pd.Series

    def value_added(self, cohort: int) -> pd.Series:
        """True benchmark value added by school."""
        return self.effects[cohort] + self.shift[cohort] + self.shock[cohort]


def draw(world: World, rng: np.random.Generator) -> Panel:
    """Draw a panel; every school keeps at least one cell, every cohort at least two schools."""
    J, cohorts = world.schools, world.baseline_cohorts + world.focal_cohorts
    T = len(cohorts)
    lasting, passing = rng.standard_normal((J, 1)), rng.standard_normal((J, T))
    u = world.tau * (np.sqrt(world.rho) * lasting + np.sqrt(1 - world.rho) * passing)
    shift = np.where(np.arange(T) < world.baseline, 0.0, world.shift)
    shock = world.shock * rng.standard_normal(T)
    slope = np.where(np.arange(T) < world.baseline, 0.8, 0.8 + world.slope_change)
    n = rng.integers(world.size[0], world.size[1] + 1, (J, T))
    gone = rng.random((J, T)) < world.missing
    gone[:2] = False
    n = np.where(gone & ~gone.all(axis=1, keepdims=True), 0, n)
    school, cohort = (np.repeat(index.ravel(), n.ravel()) for index in np.indices((J, T)))
    N = len(school)
    intake = 480 + world.sorting * u + 20 * rng.standard_normal((J, 1))
    prior = intake[school, cohort] + 60 * rng.standard_normal(N)
    common = 110 + shift + shock
    score = common[cohort] + slope[cohort] * prior + u[school, cohort] + world.sigma * rng.standard_normal(N)
    names = np.array([f"S{j:04d}" for j in range(J)])
    records = pd.DataFrame(
        {
            "school": names[school],
            "student": [f"P{i}" for i in range(N)],
            "cohort": np.asarray(cohorts)[cohort],
            "score": score,
            "prior_score": prior,
        }
    )
    return Panel(
        records,
        pd.DataFrame(u, index=names, columns=cohorts),
        pd.Series(shift, index=cohorts),
        pd.Series(shock, index=cohorts),
    )


def coverage(hits: list[np.ndarray]) -> dict[str, float]:
    """Mean coverage and its Monte Carlo error from the hits of every replicate (schools of one are not independent)."""
    shares = np.array([np.mean(h) for h in hits])
    return {
        "coverage": float(shares.mean()),
        "mcse": float(shares.std(ddof=1) / np.sqrt(len(shares))),
        "replicates": len(shares),
    }


def calibration(told: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Whether probabilities are what they say, from (probability, outcome) of the schools of every replicate.

    slope: of the outcome on the probability within replicates, 1 if it is calibrated. stated, right: mean probability
    of what was held to be so, or not to be so, nine times in ten or more, and how often that was right; not there where
    nothing was. Errors by the delta method, replicates being the units (schools of one are not independent).
    """
    probability, outcome = ([np.asarray(one[k], dtype=float) for one in told] for k in (0, 1))
    sure = [np.maximum(p, 1 - p) >= SURE for p in probability]
    pairs = list(zip(probability, outcome, sure, strict=True))
    square = [((p - p.mean()) ** 2).mean() for p in probability]
    both = [((p - p.mean()) * (i - i.mean())).mean() for p, i, _ in pairs]
    stated = [np.maximum(p, 1 - p)[s].sum() for p, _, s in pairs]
    right = [((p > 0.5) == (i > 0.5))[s].sum() for p, i, s in pairs]
    count = [s.sum() for s in sure]
    found = {"replicates": len(told), "statements": int(np.sum(count))}
    for name, part, whole in (("slope", both, square), ("stated", stated, count), ("right", right, count)):
        top, bottom = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
        if bottom.sum() > 0:
            ratio = top.sum() / bottom.sum()
            error = (top - ratio * bottom).std(ddof=1) / np.sqrt(len(told)) / bottom.mean()
            found |= {name: float(ratio), f"{name}_mcse": float(error)}
    return found
