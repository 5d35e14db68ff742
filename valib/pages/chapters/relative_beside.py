"""The relative model of chapter 2 beside others: by another package, and without small schools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...effects.relative import CohortFit, fit_relative
from ...sums.design import INTERCEPT
from ..findings import Findings, check
from ..prose import as_text


def beside_statsmodels(fit: CohortFit, other: Any) -> Findings:
    """The library's estimates beside those of statsmodels' MixedLM of the same students, and that they are the same."""
    effects = pd.Series({school: float(u.iloc[0]) for school, u in other.random_effects.items()})
    apart = effects.reindex(fit.school_effects.index) - fit.school_effects["effect"]
    rows = {
        "intercept": (fit.fixed_effects[INTERCEPT], other.fe_params["Intercept"]),
        "prior score": (fit.fixed_effects["prior_score"], other.fe_params["prior_score"]),
        "$\\hat\\tau^2$": (fit.tau2, float(other.cov_re.iloc[0, 0])),
        "$\\hat\\sigma^2$": (fit.sigma2, other.scale),
        "log-likelihood": (fit.loglik, other.llf),
    }
    for name, (ours, theirs) in rows.items():
        check(np.isclose(ours, theirs, rtol=1e-4, atol=1e-5), f"fit_relative = MixedLM: {name}")
    check(apart.abs().max() < 1e-3 * fit.tau2**0.5, "fit_relative = MixedLM: school effects")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["valib", "statsmodels"])
    return Findings().table(
        table.map(lambda x: as_text(x, ".5f")).rename_axis("estimate"),
        "The model with the prior score by this library and by statsmodels' `MixedLM`.",
        "tab-02-statsmodels",
        raw=True,
    )


def large_schools(exam: pd.DataFrame, both: Mapping[str, CohortFit]) -> Findings:
    """The London records without small schools (exercise)."""
    many = exam.groupby("school")["student"].transform("size") >= 40
    large = fit_relative(exam[many], formula="score ~ prior_score", method="REML")
    check(abs(large.school_effects["effect"].sum()) < 1e-8, "effects of the large schools sum to zero")
    found = Findings().record("large_schools", large.n_schools)
    found.record("large_tau", large.tau2**0.5, ".3f")
    return found.record("exam_tau_reml", both["REML"].tau2 ** 0.5, ".3f")
