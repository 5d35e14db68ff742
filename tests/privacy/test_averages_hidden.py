"""Averages over years beside the years: they would give away a school held back in one of them, so it is in none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from test_attacker import MINIMUM, system

import valib as va
from valib.records.disclosure import cells
from valib.records.precision import published
from valib.study.tables import several_years

YEARS = [2015, 2016, 2018]
TARGET = "S0000"  # one student in 2018


def solved(average: float, years: pd.DataFrame, joint: va.JointFit) -> float:
    """The mean residual of 2018 of a school whose average is known, beside its published effects of the other years.

    The average is w' Omega (Omega + D)^-1 rbar, D = sigma2_t / n_t, rbar_t = effect / shrinkage of the year's own model:
    one linear equation in the one rbar_t that is not known.
    """
    omega, sigma2 = joint.omega.to_numpy(), joint.sigma2.to_numpy()
    rbar, n = years["effect"] / years["shrinkage"], np.array([*years["n"], 1.0])
    load = np.full(3, 1 / 3) @ omega @ np.linalg.inv(omega + np.diag(sigma2 / n))
    return float((average - load[:2] @ rbar) / load[2])


def test_an_average_would_give_the_hidden_year_away_and_no_table_has_it():
    """The test that can fail: with its average, as rounded as others are, the one student is known to a few points."""
    records = system("one student, 30 schools")
    joint = va.fit_joint(records, YEARS, covariance="compound_symmetry")
    assert not joint.singular
    fits = {c: va.fit_relative(records, c) for c in YEARS}
    own = [published(fits[c].school_effects.reset_index()).set_index("school").loc[TARGET] for c in YEARS[:2]]
    every = published(va.average_va(joint).reset_index()).set_index("school")
    last = fits[2018].school_effects.loc[TARGET]
    truth = last["effect"] / last["shrinkage"]
    assert last["n"] == 1
    learned = solved(every.loc[TARGET, "average"], pd.DataFrame(own), joint)
    spread = np.sqrt(fits[2018].sigma2 + fits[2018].tau2)
    assert abs(learned - truth) < 0.2 * spread, "the attack works"
    assert not cells(va.cell_sizes(records), MINIMUM)[2018, TARGET]
    for table in several_years(joint, YEARS, MINIMUM).values():
        assert TARGET not in set(table["school"]) and len(table) == 27
