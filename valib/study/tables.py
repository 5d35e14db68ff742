"""Fits and simulations as tables and files: what `valib fit` and `valib simulate` write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..effects.average import average_va, lasting_va
from ..effects.differential import FIFTHS, fifths_at, reference_values, slope_test, va_at
from ..effects.multiplicity import adjusted, count_sides, false_discoveries, normal_tails, sides_at, sides_line
from ..effects.residual import BY_SCHOOL, residual_variances, variance_test
from ..effects.verdict import ABOVE, BELOW, SCHOOLS, shift_verdicts, sides
from ..errors import ModelError, ParamsError
from ..records.disclosure import few, shown, told_coverage, whole
from ..records.told import published
from .dictionary import HEADS, explained
from .writing import PLAIN, CsvForm, as_csv

if TYPE_CHECKING:
    from ..effects.cohort_fit import CohortFit
    from ..effects.joint import JointFit
    from ..models.options import Intervals
    from ..simulation.runs import MonteCarlo

PLUGIN = ["se_conditional", "se_comparative", "se_diagnostic"]  # errors that take the estimated variances as known
LIMITS = ["lower", "upper"]


def school_effects(fits: list, min_students: int = 1, fdr: float | None = None) -> tuple[pd.DataFrame, int]:
    """One row a school and fit, for a table that may be shown, and the number of rows held back.

    Parameters
    ----------
    fits : list of CohortFit
        Of any cohorts and models.
    min_students : int
        Schools with fewer students in the cohort are held back, for a tiny cell can show a student, and others with them so
        that theirs cannot be worked out (:mod:`valib.records.disclosure`).
    fdr : float, optional
        Adds ``side_fdr``: the sides at this false discovery rate (:func:`valib.false_discoveries`).

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
    ``effect_size`` is the effect divided by the standard deviation of the cohort's student scores. ``tested`` and
    ``linked_share`` are missing where they would tell of one to ``min_students`` - 1 students who are not linked, and where
    others' would follow from them. Schools with too small a linked share are held back too. Where the schools of a
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
        every = fit.school_effects
        table = told_coverage(every, shown(every, min_students), min_students).rename_axis("school").reset_index()
        table.insert(0, "cohort", fit.cohort)
        table.insert(0, "model", fit.model)
        if fit.singular:
            table[PLUGIN if fit.posterior is not None else [*PLUGIN, "se", *LIMITS]] = np.nan
            table["effect"] += 0.0  # of -0.0
            table["side"] = sides(table["lower"], table["upper"])
        if fdr is not None:
            apart = false_discoveries(fit, fdr, min_students)["side_fdr"]
            table["side_fdr"] = apart.reindex(table["school"]).to_numpy()
        table.insert(table.columns.get_loc("effect") + 1, "effect_size", table["effect"] / fit.student_sd)
        parts.append(table)
    told = pd.concat(parts, ignore_index=True)
    return told, rows - len(told)


def slope_tables(
    fits: list, min_students: int, names: Callable[[pd.DataFrame], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return va_at.csv and slopes.csv of fits with random slopes; none of others. names: adds schools' names.

    va_at.csv has a row for each school that may be shown and value of a column with a slope, the others at their mean; its
    values stand as text, so that they are those of the effects. slopes.csv: how slopes vary, the test of it, and the share
    of the schools shown that stand in another fifth at the highest value than at the lowest.
    """
    lines, spread = [], []
    for fit in (fit for fit in fits if fit.slopes is not None):
        table = slope_test(fit)
        mask = shown(fit.school_effects, min_students)
        may = fit.school_effects.index[mask]
        for column, values in reference_values(fit).items():
            part = va_at(fit, {column: values}).reset_index(column)
            part = part[part.index.isin(may)].reset_index()
            part.insert(1, "column", column)
            part.insert(2, "at", [f"{value:g}" for value in part.pop(column)])
            lines.append(part.assign(model=fit.model, cohort=fit.cohort))
            moved = np.nan
            if len(may) >= len(FIFTHS):
                fifths = fifths_at(fit, column, values[0], values[-1], min_students).to_numpy()
                moved = 1 - np.trace(fifths) / fifths.sum()
            row = {"model": fit.model, "cohort": fit.cohort, "column": column, **table.loc[column]}
            spread.append({**row, "changed_fifth": moved})
    if not spread:
        return {}
    effects = names(pd.concat(lines, ignore_index=True))
    first = ["model", "cohort", "school"]
    effects = effects[[*first, *(c for c in effects.columns if c not in first)]]
    return {"va_at.csv": effects, "slopes.csv": pd.DataFrame(spread)}


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


def side_lines(table: pd.DataFrame, level: float) -> list[str]:
    """Return a line on each cohort of a table of school effects: schools on each side, and how many by chance."""
    lines = []
    for cohort, part in table.groupby("cohort"):
        called = int(part["side_fdr"].isin([ABOVE, BELOW]).sum()) if "side_fdr" in part.columns else None
        lines.append(sides_line(int(cohort), count_sides(part["side"], level), level, called))
    return lines


def joint_effects(
    fit: JointFit, min_students: int = 1, intervals: Intervals = "integrated", fdr: float | None = None
) -> tuple[pd.DataFrame, int]:
    """Return one row a school and cohort in which it has students, and the number of rows held back.

    What :func:`school_effects` says holds here too, and a school that is held back in one cohort is in all. se, lower and
    upper are those of :meth:`~valib.effects.joint.JointFit.limits`; of a singular fit no error that takes its variances as
    known is told.
    Predictions for cohorts that a school is missing from are left out. fdr: as in :func:`school_effects`, by tail
    probabilities of the normal distribution with that se.
    """
    table = fit.school_effects.drop(columns=LIMITS).join(fit.limits(intervals))
    table = table.reset_index().sort_values(["cohort", "school"], ignore_index=True)
    table = table[table["n"] > 0]
    table.insert(0, "model", "joint")
    table.insert(1, "cohort", table.pop("cohort"))
    flat = fit.tau2.index[fit.tau2 <= 0] if fit.covariance == "independent" else fit.cohorts
    if fit.singular:
        table.loc[table["cohort"].isin(flat), PLUGIN] = np.nan
    table = table.drop(columns="side").assign(side=sides(table["lower"], table["upper"]))
    sd = table["cohort"].map(fit.student_sd)
    table.insert(table.columns.get_loc("effect") + 1, "effect_size", table["effect"] / sd)
    mask = whole(table.set_index(["cohort", "school"]), min_students).to_numpy()
    parts = [
        told_coverage(table.iloc[rows], mask[rows], min_students) for rows in table.groupby("cohort").indices.values()
    ]
    for part in parts if fdr is not None else ():
        p = normal_tails(part["effect"], part["se"].where(part["lower"].notna()))
        part["side_fdr"] = sides_at(part["effect"].to_numpy(), adjusted(p), fdr)
    return pd.concat(parts, ignore_index=True), int((~mask).sum())


def several_years(
    fit: JointFit, average: Sequence[int] | None, min_students: int = 1, intervals: Intervals = "integrated"
) -> dict[str, pd.DataFrame]:
    """Return averages.csv (of the cohorts named) and lasting.csv (of a fit with such a part).

    A school that is held back in one cohort of the fit is in neither: both are predicted from its students in all.
    """
    found = {}
    if average:
        found["averages.csv"] = average_va(fit, average, intervals=intervals)
        found["averages.csv"].insert(0, "averaged", ", ".join(str(c) for c in sorted(average)))
    if fit.covariance == "compound_symmetry":
        found["lasting.csv"] = lasting_va(fit)
    return {name: named_years(fit, table, min_students) for name, table in found.items()}


def named_years(fit: JointFit, table: pd.DataFrame, min_students: int) -> pd.DataFrame:
    """The rows of averages or lasting parts (index school) of schools held back in no cohort of the fit, with their side."""
    mask = whole(fit.school_effects[fit.school_effects["n"] > 0], min_students)
    told = table[table.index.isin(mask.index[mask].get_level_values("school"))].reset_index()
    told["side"] = sides(told["lower"], told["upper"])
    told.insert(0, "model", "joint")
    return told


def summaries(fits: list, min_students: int = 1, attrs: Mapping[str, Any] | None = None) -> list[dict]:
    """Return each fit in plain numbers; where fewer than ``min_students`` rows lack a covariate, that in words, and where so
    few of those tested are not linked, n_tested is None.

    attrs: of the records, for what is told of ``where`` and ``prior``.
    """
    told = [{"model": "joint", **fit.summary()} for fit in fits]  # the summary of a fit of one cohort names its model
    for one in told:
        if one.get("n_tested") is not None and 0 < one["n_tested"] - one["n_students"] < min_students:
            one["n_tested"] = None
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


def joint_tables(fit: JointFit, intervals: Intervals = "integrated") -> dict[str, pd.DataFrame]:
    """Return a joint fit's tables but school_effects.csv, by file name.

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
        "fixed_effects.csv": fixed.assign(se=np.sqrt(np.diag(fit.vcov))),
        "correlations.csv": fit.correlations(intervals),
        "omega.csv": omega,
    }


def simulation_files(run: MonteCarlo, form: CsvForm = PLAIN) -> dict[str, str | bytes]:
    """Return the files of a simulation by name: the measures, the scenarios' truth, and one row a replicate.

    They are exact: what is simulated is known, and a world after this study has rounded parameters.
    """
    tables = {"performance.csv": run.table, "scenarios.csv": run.scenarios.reset_index()}
    columns = {name: list(table.columns) for name, table in {**tables, "replicates.parquet": run.draws}.items()}
    name = "simulation_columns.csv"  # a fit may have left columns.csv in the same folder
    tables[name] = explained({**columns, name: HEADS})
    files: dict[str, str | bytes] = {name: as_csv(table, exact=True, form=form) for name, table in tables.items()}
    return files | {"replicates.parquet": run.draws.to_parquet(index=False)}


def residual_tables(
    fits: Sequence[CohortFit], min_students: int, names: Callable[[pd.DataFrame], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return the two tables of fits with unequal residual variances; none of others. names: adds schools' names.

    residual_sds.csv has a row for each school that may be shown, or for each group of students; variance_tests.csv one for
    each test. Raises ParamsError for a group of students that is too small to be shown.
    """
    sds, tests = [], []
    for fit in (fit for fit in fits if fit.unequal is not None):
        first = {"model": fit.model, "cohort": fit.cohort, "residual": fit.residual}
        table = residual_variances(fit)
        if fit.residual == BY_SCHOOL:
            part = names(
                table[np.asarray(shown(fit.school_effects, min_students))].reset_index().assign(cohort=fit.cohort)
            )
        else:
            _check_sizes(fit, table["n"], min_students)
            part = table.rename_axis("group").reset_index()
            part["group"] = [f"{value:g}" if isinstance(value, float) else str(value) for value in part["group"]]
        sds.append(part.assign(**first)[[*first, *(c for c in part.columns if c not in first)]])
        tests.append(_tests(fit).assign(**first)[[*first, "test", "statistic", "df", "p"]])
    both = {"residual_sds.csv": sds, "variance_tests.csv": tests}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in both.items() if parts}


def _tests(fit: CohortFit) -> pd.DataFrame:
    """The tests of one fit; without a statistic where none can be made."""
    try:
        return variance_test(fit).reset_index()
    except ModelError:  # the students of a school fit perfectly
        return pd.DataFrame({"test": ["Bartlett"], "statistic": [np.nan], "df": [fit.n_schools - 1], "p": [np.nan]})


def _check_sizes(fit: CohortFit, n: pd.Series, min_students: int) -> None:
    """Refuse a group of students that is smaller than what may be shown."""
    if (n < min_students).any():
        raise ParamsError(
            f"Cohort {fit.cohort} has {n.min()} students whose {fit.residual} is {n.idxmin()!r}, fewer than the {min_students} "
            "of whom figures may be shown: join them with another group, or leave residual out."
        )
