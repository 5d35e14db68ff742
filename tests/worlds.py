"""Simulated worlds of the tests: one as the library's moments, for one-by-one fits, and one whose prior is in error."""

from __future__ import annotations

import numpy as np

import valib as va
from valib.simulation.panel import PanelDesign, simulate_panel
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


def in_error(cohorts, schools: int, seed: int):
    """Records whose prior has reliability .8; intakes go with school effects (rho), and in 2019 all priors lie lower."""
    design = PanelDesign(
        cohorts=cohorts,
        schools=schools,
        size=30,
        rho=0.5,
        reliability=0.8,
        prior_sd=75,
        intake_sd=25,
        drift={2019: -6.0},
        prior_shift={2019: -20.0},
    )
    return va.read_records(simulate_panel(design, seed).records)
