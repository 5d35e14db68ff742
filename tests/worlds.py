"""A simulated world as the library's moments, for one-by-one fits."""

from __future__ import annotations

import numpy as np

from valib.sums.moments import Moments


def moments_of(s, worlds, r: int) -> Moments:
    """World r of a scenario, cell by cell; schools without any student are gone."""
    cohort, school = np.nonzero(worlds.n[r])
    order = np.argsort(s.cohorts)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    used, code = np.unique(school, return_inverse=True)
    return Moments(
        ("Intercept", "prior_score", "score"),
        np.zeros(3),
        used,
        np.array(s.cohorts)[order],
        code,
        rank[cohort],
        worlds.n[r][cohort, school].astype(np.float64),
        worlds.sums[r][cohort, school],
        worlds.cross[r].sum(axis=1)[order],
        worlds.cross[r][cohort, school],
        np.ones(len(cohort)),
    )
