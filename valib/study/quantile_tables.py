"""Value added at quantiles as tables: what `valib fit --model quantile` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..effects.verdict import sides
from ..records.coverage import with_coverage
from ..records.disclosure import shown, told_coverage
from ..sums.students import Summed, sum_students

if TYPE_CHECKING:
    from ..effects.quantiles import QuantileFit
    from ..sums.students import Records

MODELS = {False: "quantile", True: "quantile-benchmark"}  # by whether a baseline is behind it


def quantile_tables(
    records: Records, fits: list[QuantileFit], min_students: int = 1
) -> tuple[dict[str, pd.DataFrame], int]:
    """The tables of fits of one cohort each, by file name, and the number of rows held back.

    quantile_effects.csv: one row a school that may be shown, cohort and quantile (:mod:`valib.records.disclosure`, as the
    other tables of schools). quantiles.csv: one row a cohort and quantile, with what the chains say of themselves.
    fixed_effects.csv: coefficients of the conditional quantile, the benchmark's where there is one.
    """
    sums = {fit.cohorts: sum_students(records, fit.cohorts, fit.state) for fit in fits}
    parts = [_effects(fit, sums[fit.cohorts], min_students) for fit in fits]
    rows = sum(fit.n_schools for fit in fits)
    effects = pd.concat(parts, ignore_index=True)
    told = pd.DataFrame([_told(fit) for fit in fits])
    return {
        "quantile_effects.csv": effects,
        "quantiles.csv": told.dropna(axis=1, how="all"),
        "fixed_effects.csv": pd.concat([_fixed(fit) for fit in fits], ignore_index=True),
    }, rows - len(effects)


def _first(fit: QuantileFit) -> dict[str, Any]:
    """What every table begins with."""
    return {"model": MODELS[fit.shift is not None], "cohort": fit.cohorts[0], "quantile": fit.quantile}


def _effects(fit: QuantileFit, students: Summed, min_students: int) -> pd.DataFrame:
    """The schools of a fit that may be shown."""
    every = fit.school_effects.copy()
    if len(students.extra):
        extra = students.extra.reindex(every.index, fill_value=0)
        every.insert(1, "students", (every["n"] - extra).clip(lower=1))
    every = with_coverage(every, students.tested, students.least)
    table = told_coverage(every, shown(every, min_students), min_students).rename_axis("school").reset_index()
    table["side"] = sides(table["lower"], table["upper"])
    table.insert(table.columns.get_loc("effect") + 1, "effect_size", table["effect"] / students.moments.response_sd)
    for place, (name, value) in enumerate(_first(fit).items()):
        table.insert(place, name, value)
    return table


def _told(fit: QuantileFit) -> dict[str, Any]:
    """A fit in one row: spread, shift and diagnostics, the worst of all quantities."""
    lower, upper = fit.shift_interval or (np.nan, np.nan)
    worst = fit.diagnostics
    return {
        **_first(fit),
        "school_sd": fit.school_sd,
        "shift": np.nan if fit.shift is None else fit.shift,
        "se": np.nan if fit.shift_se is None else fit.shift_se,
        "lower": lower,
        "upper": upper,
        "n_students": fit.n_students,
        "n_schools": fit.n_schools,
        "rhat": float(worst["rhat"].max()),
        "ess_bulk": float(worst["ess_bulk"].min()),
        "ess_tail": float(worst["ess_tail"].min()),
        "converged": fit.converged,
    }


def _fixed(fit: QuantileFit) -> pd.DataFrame:
    """The coefficients of a fit with their posterior standard deviations."""
    errors = np.sqrt(np.diag(fit.vcov))
    table = pd.DataFrame(
        {"term": list(fit.fixed_effects.index), "estimate": fit.fixed_effects.to_numpy(), "se": errors}
    )
    for place, (name, value) in enumerate(_first(fit).items()):
        table.insert(place, name, value)
    return table


def quantile_summaries(fits: list[QuantileFit], findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each fit in plain numbers (no school, no student), with what the chains have against it."""
    told = []
    for fit in fits:
        row = {key: None if isinstance(v, float) and np.isnan(v) else v for key, v in _told(fit).items()}
        own = [one for one in findings if one["quantile"] == fit.quantile and fit.cohorts[0] in one["cohorts"]]
        told.append({**row, "formula": fit.formula, "errors": fit.errors, "level": fit.level, "findings": own})
    return told


def not_converged(fits: list[QuantileFit]) -> list[dict[str, Any]]:
    """A finding on each fit whose chains cannot be read."""
    return [
        {
            "code": "chains",
            "cohorts": list(fit.cohorts),
            "quantile": fit.quantile,
            "text": f"The chains of quantile {fit.quantile:g} of cohort {fit.cohorts[0]} have not met well enough to be read "
            "(R-hat above 1.05 or fewer than 100 effective draws): take more, with --quantile-draws or quantile_draws.",
        }
        for fit in fits
        if not fit.converged
    ]
