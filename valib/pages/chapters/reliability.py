"""What errors of measurement in the prior score would do to a study's benchmark: a line of the chapter on benchmarks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...effects.baseline import Benchmark, fit_baseline
from ...effects.benchmark import fit_benchmark
from ...effects.cohort_fit import CohortFit
from ...errors import ModelError, ValibWarning
from ..findings import Findings, formats
from ..prose import escape

PRIOR = "prior_score"


def if_reliability_were(
    records: pd.DataFrame, benchmark: Benchmark, fit: CohortFit, reliability: float = 0.9, **settings: Any
) -> Findings:
    """Slope, shift and correlation of value added with intake as they are, and with the prior's errors taken off.

    fit: of the last focal cohort against ``benchmark``; settings: those of :func:`valib.fit_benchmark` by which it was made.
    A study whose formula allows no correction gets the reason in place of the table. What the study itself takes off is
    put back first.
    """
    found = Findings()
    how = (benchmark.cohorts, benchmark.formula, benchmark.estimator, benchmark.groups, benchmark.method)
    try:
        corrected = fit_baseline(records, *how, reliability={PRIOR: reliability})
    except ModelError as error:
        found.say(
            f"What a reliability of {reliability:g} would do cannot be said of this formula. {escape(str(error))}"
        )
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)  # told of the fit as recorded
        again = fit_benchmark(records, fit.cohort, corrected, **settings)
        if benchmark.error_variance:
            benchmark = fit_baseline(records, *how)
            fit = fit_benchmark(records, fit.cohort, benchmark, **settings)
    rows = {"as recorded": _row(benchmark, fit), "errors taken off": _row(corrected, again)}
    caption = (
        f"What a reliability of {reliability:g} of `{PRIOR}` would change: slope of the benchmark, shift of cohort "
        f"{fit.cohort} in score points, and correlation over schools of its value added with the mean `{PRIOR}`"
    )
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("prior score").reset_index()
    points = formats(np.sqrt(benchmark.sigma2)).fine_signed
    return found.table(
        table,
        caption,
        "tab-04-reliability",
        formats={"slope": ".3f", "shift": points, "correlation": "+.2f"},
        index=False,
    )


def _row(benchmark: Benchmark, fit: CohortFit) -> Mapping[str, float]:
    moments = fit.moments
    intake = moments.means[:, moments.names.index(PRIOR)]
    effect = fit.school_effects["effect"].loc[list(moments.schools[moments.cell_school])]
    constant = len(effect) < 3 or np.ptp(intake) == 0 or np.ptp(effect) == 0
    return {
        "slope": float(benchmark.coefficients[PRIOR]),
        "shift": np.nan if fit.shift is None else float(fit.shift),
        "correlation": np.nan if constant else float(np.corrcoef(intake, effect)[0, 1]),
    }
