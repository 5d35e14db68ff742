"""Fits and simulations as tables and files: what `valib fit` and `valib simulate` write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..effects.average import average_va, lasting_va
from ..effects.verdict import SCHOOLS, shift_verdicts
from ..records.disclosure import counted, few, only_shown, whole
from ..records.told import published
from .writing import as_csv, as_json

if TYPE_CHECKING:
    from ..effects.joint import JointFit
    from ..models.options import Intervals
    from ..simulation.runs import MonteCarlo

PLUGIN = ["se_conditional", "se_comparative", "se_diagnostic"]  # errors that take the estimated variances as known
LIMITS = ["lower", "upper"]


def school_effects(fits: list, min_students: int = 1) -> tuple[pd.DataFrame, int]:
    """One row a school and fit, for a table that may be shown, and the number of rows held back.

    Parameters
    ----------
    fits : list of CohortFit
        Of any cohorts and models.
    min_students : int
        Schools with fewer students in the cohort are held back, for a tiny cell can show a student, and others with them so
        that theirs cannot be worked out (:mod:`valib.records.disclosure`).

    Returns
    -------
    tuple of DataFrame, int
        ``model``, ``cohort``, ``school`` and the columns of ``school_effects`` with ``effect_size``; rows held back.

    Raises
    ------
    ValueError
        Without a fit.

    Notes
    -----
    ``effect_size`` is the effect divided by the standard deviation of the cohort's student scores. Where the schools of a
    cohort cannot be told apart (a singular fit), no school has an error that takes this as known, nor limits made of one.

    Examples
    --------
    >>> import valib as va
    >>> table, held_back = va.school_effects([va.fit_relative(va.load_records("exam"))], min_students=10)
    >>> len(table), held_back
    (62, 3)
    """
    parts, rows = [], 0
    for fit in fits:
        rows += len(fit.school_effects)
        table = only_shown(fit.school_effects, min_students).rename_axis("school").reset_index()
        table.insert(0, "cohort", fit.cohort)
        table.insert(0, "model", fit.model)
        if fit.singular:
            table[PLUGIN if fit.posterior is not None else [*PLUGIN, "se", *LIMITS]] = np.nan
            table["effect"] += 0.0  # of -0.0
        table.insert(table.columns.get_loc("effect") + 1, "effect_size", table["effect"] / fit.student_sd)
        parts.append(table)
    shown = pd.concat(parts, ignore_index=True)
    return shown, rows - len(shown)


def fixed_effects(fits: list) -> pd.DataFrame:
    """Return one row a coefficient and fit, with its standard error.

    The rows of a benchmark fit are the benchmark's coefficients: the same for every focal cohort.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "model": fit.model,
                    "cohort": fit.cohort,
                    "term": list(fit.fixed_effects.index),
                    "estimate": fit.fixed_effects.to_numpy(),
                    "se": np.sqrt(np.diag(fit.vcov)),
                }
            )
            for fit in fits
        ],
        ignore_index=True,
    )


def shifts(fits: list) -> pd.DataFrame:
    """Return one row a cohort: its shift against the baseline, its standard error and interval.

    ``error`` is the kind of the standard error, "schools" or "cautious"; ``se_students`` that for these very schools.
    ``equating_se`` is empty where it is not known: no interval then holds it.

    ``effect_size`` is the shift divided by the standard deviation of the cohort's student scores.
    """
    rows = []
    for fit in fits:
        lower, upper = fit.shift_interval
        rows.append(
            {
                "cohort": fit.cohort,
                "shift": fit.shift,
                "se": fit.shift_se,
                "error": fit.shift_error,
                "se_students": fit.shift_se_students,
                "lower": lower,
                "upper": upper,
                "effect_size": fit.shift / fit.student_sd,
                "equating_se": fit.equating_se,
                "level": fit.level,
                "n_students": fit.n_students,
                "n_schools": fit.n_schools,
            }
        )
    return pd.DataFrame(rows)


def shift_lines(context: pd.DataFrame, fits: list) -> list[str]:
    """Return a line on each focal shift: which side of zero it lies by the widest interval that is known."""
    verdicts, known = shift_verdicts(context), {fit.cohort: fit.equating_se is not None for fit in fits}
    lines = []
    for cohort, v in verdicts.iterrows():
        by = "interval over schools" if v["interval"] == SCHOOLS else f"interval of {v['interval']}"
        without = "" if known[cohort] else ", without equating error"
        shift = context.loc[cohort, "shift"]
        lines.append(
            f"{cohort}: shift {shift:+.1f}, {v['lower']:.1f} to {v['upper']:.1f} ({by}{without}): {v['side']}."
        )
    return lines


def joint_effects(fit: JointFit, min_students: int = 1) -> tuple[pd.DataFrame, int]:
    """Return one row a school and cohort in which it has students, and the number of rows held back.

    What :func:`school_effects` says holds here too, and a school that is held back in one cohort is in all.
    Predictions for cohorts that a school is missing from are left out.
    """
    table = fit.school_effects.reset_index().sort_values(["cohort", "school"], ignore_index=True)
    table = table[table["n"] > 0]
    table.insert(0, "model", "joint")
    table.insert(1, "cohort", table.pop("cohort"))
    flat = fit.tau2.index[fit.tau2 <= 0]
    table.loc[table["cohort"].isin(flat), [*PLUGIN, *LIMITS]] = np.nan
    sd = table["cohort"].map(fit.student_sd)
    table.insert(table.columns.get_loc("effect") + 1, "effect_size", table["effect"] / sd)
    mask = whole(counted(table.set_index(["cohort", "school"])), min_students).to_numpy()
    return table[mask].reset_index(drop=True), int((~mask).sum())


def several_years(
    fit: JointFit,
    average: Sequence[int] | None,
    min_students: int = 1,
    intervals: Intervals = "integrated",
    exact: bool = False,
) -> dict[str, str]:
    """Return averages.csv (of the cohorts named) and lasting.csv (of a fit with such a part), as text.

    A school that is held back in one cohort of the fit is in neither: both are predicted from its students in all.
    """
    found = {}
    if average:
        found["averages.csv"] = average_va(fit, average, intervals=intervals)
        found["averages.csv"].insert(0, "averaged", ", ".join(str(c) for c in sorted(average)))
    if fit.covariance == "compound_symmetry":
        found["lasting.csv"] = lasting_va(fit)
    mask = whole(counted(fit.school_effects[fit.school_effects["n"] > 0]), min_students)
    shown = mask.index[mask].get_level_values("school")
    files = {}
    for name, table in found.items():
        table = table[table.index.isin(shown)].reset_index()
        table.insert(0, "model", "joint")
        files[name] = as_csv(table, exact)
    return files


def summaries(fits: list, min_students: int = 1, attrs: Mapping[str, Any] | None = None) -> list[dict]:
    """Return each fit in plain numbers; where fewer than ``min_students`` rows lack a covariate, that in words.

    attrs: of the records, for what is told of ``where`` and ``prior``.
    """
    told = [{"model": "joint", **fit.summary()} for fit in fits]  # the summary of a fit of one cohort names its model
    chosen = published(attrs or {}, min_students)
    return [{**one, "left_out": _few(one["left_out"], min_students), **chosen} for one in told]


def _few(counts: dict, min_students: int) -> dict:
    """Return counts of students, by column or by cohort and column, the small ones as text."""
    return {
        key: _few(value, min_students)
        if isinstance(value, dict)
        else value
        if value >= min_students
        else few(value, min_students)
        for key, value in counts.items()
    }


def joint_files(
    fit: JointFit, min_students: int = 1, exact: bool = False, attrs: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the text of a joint fit's files but school_effects.csv.

    omega.csv has a row for each variance (cohort = other) and each covariance of the school effects.
    """
    fixed = fit.fixed_effects.rename("estimate").reset_index()
    fixed.insert(0, "model", "joint")
    t, s = np.triu_indices(len(fit.cohorts))
    years = np.asarray(fit.cohorts)
    omega = pd.DataFrame(
        {
            "cohort": years[t],
            "other": years[s],
            "covariance": fit.omega.to_numpy()[t, s],
            "se": fit.omega_se.to_numpy()[t, s],
        }
    )
    return {
        "fixed_effects.csv": as_csv(fixed.assign(se=np.sqrt(np.diag(fit.vcov))), exact),
        "correlations.csv": as_csv(fit.correlations(), exact),
        "omega.csv": as_csv(omega, exact),
        "fits.json": as_json(summaries([fit], min_students, attrs), exact),
    }


def simulation_files(run: MonteCarlo) -> dict[str, str | bytes]:
    """Return the files of a simulation by name: the measures, the scenarios' truth, and one row a replicate.

    They are exact: what is simulated is known, and a world after this study has rounded parameters.
    """
    return {
        "performance.csv": as_csv(run.table, exact=True),
        "scenarios.csv": as_csv(run.scenarios.reset_index(), exact=True),
        "replicates.parquet": run.draws.to_parquet(index=False),
    }
