"""The covariates of the study's formulas: what is missing, what does not vary, what the baseline has not seen."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ...errors import ModelError
from ...names import by_cohort, counts, percent
from ...names import listed_cohorts as cohorts
from ...records.reading import CANONICAL
from ...sums.formula import required_columns
from .coded import Ask, Coded, Finding
from .limits import FAR_GAP, MANY_LEVELS, MISSING_SHARE, MOST_LEVELS
from .text import LONGEST_NAME, plain, printable

_NINES = re.compile(r"9+|8{2,}|7{2,}")
_NEGATIVE = re.compile(r"-([1-9]|9+|8+|7+)")
_NAMES = ("rows", "missing", "share", "levels", "unseen", "not_finite", "constant")


def needed(formula: str, never_missing: bool = False) -> list[str]:
    """The covariates that a formula needs; none if it cannot be read. never_missing: those without which a student is left
    out."""
    try:
        return [name for name in required_columns(formula, never_missing) if name not in CANONICAL]
    except ModelError:
        return []


def describe(coded: Coded, ask: Ask) -> pd.DataFrame:
    """Describe the covariates of the study's formulas that the records have, index (column, cohort).

    Columns: rows, missing (counts), share (missing / rows), levels (distinct values of a categorical covariate, NA for
    a number), unseen (rows with levels that no baseline cohort has), not_finite (infinite values), constant (one value
    only).
    """
    formulas = [ask.formula, *ask.further_formulas]
    columns = dict.fromkeys(name for formula in formulas for name in needed(formula))
    parts = {
        name: _describe(coded.data[name], coded, ask, _is_category(name, coded.data[name], formulas))
        for name in columns
        if name in coded.data.columns
    }
    if not parts:
        index = pd.MultiIndex.from_arrays([[], []], names=["column", "cohort"])
        return pd.DataFrame(columns=list(_NAMES), index=index)
    return pd.concat(parts, names=["column"])


def _is_category(name: str, column: pd.Series, formulas: list[str]) -> bool:
    """Whether the models take a column as a grouping: it is no number, or stands in C()."""
    number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    return not number or any(re.search(rf"\bC\(\s*`?{re.escape(name)}`?\s*[,)]", text) for text in formulas)


def _describe(column: pd.Series, coded: Coded, ask: Ask, category: bool) -> pd.DataFrame:
    """Describe one covariate by cohort."""
    gone = column.isna().to_numpy(dtype=bool)
    rows = np.diff(coded.bounds)
    table = pd.DataFrame({"rows": rows, "missing": coded.per_cohort(coded.cohort[gone])}, index=coded.index)
    table["share"] = table["missing"] / rows
    if category:
        levels, unseen = _levels(column, gone, coded, ask)
        return table.assign(levels=pd.array(levels, dtype="Int64"), unseen=unseen, not_finite=0, constant=levels == 1)
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    by_cohort_of = pd.Series(values).groupby(coded.cohort)
    same = (by_cohort_of.min() == by_cohort_of.max()).to_numpy()
    infinite = coded.per_cohort(coded.cohort[np.isinf(values)])
    return table.assign(
        levels=pd.array([pd.NA] * len(rows), dtype="Int64"), unseen=0, not_finite=infinite, constant=same
    )


def _levels(column: pd.Series, gone: np.ndarray, coded: Coded, ask: Ask) -> tuple[np.ndarray, np.ndarray]:
    """(T,) distinct values of a categorical covariate, and rows with values that the baseline does not have."""
    try:
        code, names = pd.factorize(column)
    except TypeError:  # lists and the like, which cannot be hashed
        code, names = pd.factorize(column.astype(str))
    code, cohort, T = code[~gone].astype(np.int64), coded.cohort[~gone], len(coded.cohorts)
    pairs = pd.unique(code * T + cohort)
    levels = np.bincount(pairs % T, minlength=T)
    in_base = np.isin(coded.cohorts, ask.baseline or ask.focal)
    seen = np.zeros(len(names), dtype=bool)
    seen[pairs[in_base[pairs % T]] // T] = True
    return levels, np.bincount(cohort[~seen[code]], minlength=T)


def judge(table: pd.DataFrame, columns: list[str], ask: Ask) -> tuple[list[Finding], list[str]]:
    """Warn of what would mislead in the covariates of the formulas; say what would stop a fit of the study's own.

    Returns findings, and problems (of the columns of ``ask.formula``). ``columns``: all columns of the records.
    """
    found, problems = [], []
    own = needed(ask.formula)
    lost = {c for f in (ask.formula, *ask.further_formulas) for c in needed(f, never_missing=True)}
    for formula in ask.further_formulas:
        if lacking := [name for name in needed(formula) if name not in columns]:
            found.append(
                Finding(
                    "further_formula",
                    (),
                    (
                        f"The further formula '{formula}' needs {', '.join(lacking)}, not among the columns of the data, and "
                        "is left out: take it out of further_formulas."
                    ),
                )
            )
    for name in table.index.get_level_values("column").unique():
        here = table.loc[name]
        here = here[here.index.isin(ask.cohorts)]
        shown = printable(name, LONGEST_NAME)
        if name in own:
            problems += _stops(shown, here, ask, "the formula")
        else:
            found += [Finding("covariate", (), text) for text in _stops(shown, here, ask, "further_formulas")]
        found += _misleads(shown, here, name not in lost)
    return found, problems


def _stops(name: str, here: pd.DataFrame, ask: Ask, where: str) -> list[str]:
    """Say what in a covariate of ``where``, the formula or the further ones, stops a fit."""
    said, focal = [], here[here.index.isin(ask.focal)]
    if len(void := here.index[here["missing"] == here["rows"]]):
        said.append(f"Column {name} is missing for all students of {cohorts(void)}: leave it out of {where}.")
    if (bad := here[here["not_finite"] > 0]).size:
        said.append(
            f"Column {name} is infinite in {int(bad['not_finite'].sum()):,} rows of {cohorts(bad.index)}: "
            "leave these blank."
        )
    if (new := focal[focal["unseen"] > 0]).size:
        told = by_cohort({t: f"{int(rows):,}" for t, rows in new["unseen"].items()})
        said.append(
            f"Column {name} of {where} has values that the baseline does not have (rows in them: {told}): join "
            "levels, or choose a baseline that has them."
        )
    if len(same := focal.index[focal["constant"]]):
        said.append(f"Column {name} has the same value for all students of {cohorts(same)}: leave it out of {where}.")
    if (many := _most_levels(here)) > MOST_LEVELS:
        said.append(
            f"Column {name} is no number and has up to {many:,} different values in a cohort: leave it out of "
            f"{where}, or bring it to a few groups."
        )
    return said


def _misleads(name: str, here: pd.DataFrame, line: bool) -> list[Finding]:
    """Warn of missing values and of many levels in a covariate. line: who lacks it has a line of their own."""
    found = []
    what = (
        "the formula gives these a line of their own, so see that they are like others with the same scores."
        if line
        else "models with it leave them out, so compare with a model without it, or with one that gives them a line of "
        "their own (known and if_known in a formula)."
    )
    part = here[(here["share"] > MISSING_SHARE) & (here["missing"] < here["rows"])]
    if len(part):
        told = by_cohort({t: percent(share) for t, share in part["share"].items()})
        found.append(
            Finding(
                "covariate_missing",
                tuple(part.index),
                (f"Column {name} is missing for more than {MISSING_SHARE:.0%} of the students ({told}): {what}"),
            )
        )
    many = _most_levels(here)
    if MANY_LEVELS < many <= MOST_LEVELS:
        found.append(
            Finding(
                "levels",
                (),
                (
                    f"Column {name} has up to {many:,} different values in a cohort, each a column of the model: if it is a "
                    "number write it as one, else bring it to a few groups."
                ),
            )
        )
    return found


def odd_codes(coded: Coded, ask: Ask) -> list[Finding]:
    """Warn of values of the covariates that look like codes for missing: 9 beside 0 and 1, or -99 beside ages."""
    found, formulas = [], [ask.formula, *ask.further_formulas]
    inside = np.isin(coded.cohorts, ask.cohorts)[coded.cohort]
    for name in dict.fromkeys(name for formula in formulas for name in needed(formula)):
        column = coded.data[name] if name in coded.data.columns else pd.Series(dtype=object)
        if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            continue
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        for odd in _far_codes(*np.unique(values[inside & np.isfinite(values)], return_counts=True)):
            rows = coded.per_cohort(coded.cohort[inside & (values == odd)])
            found.append(
                Finding(
                    "covariate_code",
                    tuple(rows.index[rows > 0]),
                    (
                        f"Column {printable(name, LONGEST_NAME)} has {int(rows.sum()):,} rows with {plain(odd)}, far from its "
                        f"other values ({counts(rows)}): if it is a code for missing, leave it blank."
                    ),
                )
            )
    return found


def _far_codes(values: np.ndarray, n: np.ndarray) -> list[float]:
    """The lowest and highest of ascending values if they are written as codes and lie far from the n at the others."""
    found = []
    if len(values) < 3:
        return found
    for end, is_code in ((-1, _NINES.fullmatch), (0, _NEGATIVE.fullmatch)):
        rest, weight = np.delete(values, end), np.delete(n, end)
        if not is_code(plain(values[end]).replace(",", "")) or (end == 0 and rest[0] < 0):
            continue
        mean = np.average(rest, weights=weight)
        spread = np.sqrt(np.average((rest - mean) ** 2, weights=weight))
        if abs(values[end] - rest[end]) > FAR_GAP * spread:
            found.append(float(values[end]))
    return found


def _most_levels(here: pd.DataFrame) -> int:
    """Return the largest number of levels in a cohort; 0 for a number."""
    return int(here["levels"].fillna(0).max()) if len(here) else 0
