"""The sums of one cohort's students by school and by group of students, in memory and streamed.

A stream has no rows at hand. There the group k of a student is taken into the formula, once with every column of X and once
with the outcome: of d_k x, d_k y and x, y the cross-products hold sum d_k x x', sum d_k x y and sum d_k y^2 of every group, as
d_k^2 = d_k, and those of the first group are what is left of all students.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError
from .arrays import FloatArray
from .design import INTERCEPT, ONES, Design, FormulaState, build_design, make_cells, say_left_out
from .formula import factors, parse, shown
from .moments import Moments, check_cancelled, moments_from_arrays
from .students import Records, Summed, single_rows, sum_students

MOST = 30  # groups of students
CODES = ("school", "student", "cohort")


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """students: the sums by school, of students whose group is known. moments: by school and group, which stand where
    cohorts do, 0 .. K - 1. groups: K labels."""

    students: Summed
    moments: Moments
    groups: tuple[Any, ...]


def sum_groups(records: Records, cohort: int, formula: str | FormulaState, column: str) -> Grouped:
    """The sums of one cohort by school and by the values of a column.

    Students of whom the column is missing are left out and counted. Raises ModelError for a column that is not there, holds
    one value or more than thirty; and as :func:`valib.sums.students.sum_students`.
    """
    if isinstance(records, pd.DataFrame):
        design, students, code, groups = rows_by(records, cohort, formula, column)
        cells = make_cells(design.data["school"], pd.Series(code))
        response = students.moments.names[-1]
        return Grouped(students, moments_from_arrays(design.X, design.y, cells, design.names, response), groups)
    return _streamed(records, cohort, formula, column)


def rows_by(
    records: pd.DataFrame, cohort: int, formula: str | FormulaState, column: str
) -> tuple[Design, Summed, np.ndarray, tuple[Any, ...]]:
    """The design of one cohort's rows of which a column is known, their sums, and the code (N,) and labels of its values."""
    design, students = rows_with(records, cohort, formula, column)
    code, labels = pd.factorize(design.data[column], sort=True)
    groups = tuple(v.item() if hasattr(v, "item") else v for v in labels)
    _check(column, groups)
    return design, students, code, groups


def rows_with(records: pd.DataFrame, cohort: int, formula: str | FormulaState, column: str) -> tuple[Design, Summed]:
    """The design of one cohort's rows of which a column is known, and their sums; the others are told as left out."""
    _check_there(column, list(records.columns))
    rows, _ = single_rows(records, [cohort])
    missing = rows[column].isna()
    if missing.any():
        say_left_out({column: int(missing.sum())}, int(missing.sum()), len(rows))
        records = records[~(missing.reindex(records.index, fill_value=False))]
    students = sum_students(records, [cohort], formula)
    design = build_design(rows[~missing], students.state)
    lacking = {column: int(missing.sum())} if missing.any() else {}
    return design, replace(students, left_out={**students.left_out, **lacking})


def _check_there(column: str, names: Sequence[Any]) -> None:
    """Refuse a column that is not there, or is no group of students."""
    if column not in names or column in CODES:
        there = ", ".join(repr(str(c)) for c in names if c not in CODES)
        raise ModelError(
            f"Residual variances by {column!r}: they need a column that groups students{f' ({there})' if there else ''}; "
            "those of schools are asked for by 'by_school'."
        )


def _check(column: str, groups: tuple[Any, ...]) -> None:
    """Refuse one group, and more than make sense."""
    if not 2 <= len(groups) <= MOST:
        raise ModelError(
            f"Residual variances by {column!r}: the column has {len(groups)} value{'s' * (len(groups) != 1)}, expected 2 to "
            f"{MOST} groups of students; for a score, ask for 'exp({column})'."
        )


def _streamed(records: Any, cohort: int, formula: str | FormulaState, column: str) -> Grouped:
    """From the sums of a formula that holds the groups."""
    if column in CODES:
        _check_there(column, ())
    text = formula.formula if isinstance(formula, FormulaState) else formula
    parsed = parse(text)
    group = next((g for g in (f"C(`{column}`)", f"C(Q('{column}'))") if g not in factors(parsed.rhs)), "")
    plain = any(str(term) == ONES for term in parsed.rhs)  # with an intercept
    if not group or not plain or (isinstance(formula, FormulaState) and formula.transform_state):
        raise _impossible(text, column)
    left, right = (side.strip() for side in text.split("~", 1))
    outcome = left if re.fullmatch(r"\w+|`[^`]*`", left) else f"I({left})"
    found = sum_students(records, [cohort], f"{left} ~ {right} + {group} + ({right} + {outcome}):{group}")
    levels = found.state.levels.get(group, [])
    _check(column, tuple(levels))
    names = tuple(name for name in found.moments.names[:-1] if group not in name)
    own = {k: v for k, v in found.state.levels.items() if k in factors(parsed.rhs)}
    base = [*(found.moments.names.index(name) for name in names), len(found.moments.names) - 1]
    whole = _picked(found.moments, base)
    try:
        by_group = _by_group(found.moments, whole, group, levels, outcome)
    except ValueError:
        raise _impossible(text, column) from None
    check_cancelled(by_group)
    return Grouped(replace(found, moments=whole, state=FormulaState(text, names, {}, own)), by_group, tuple(levels))


def _impossible(text: str, column: str) -> ModelError:
    return ModelError(
        f"Residual variances by {column!r} with the formula {shown(text)} need the students' rows, which a stream has not: "
        "take --engine memory."
    )


def _picked(moments: Moments, at: list[int]) -> Moments:
    """The moments of some columns, those of cells without cross-products."""
    return replace(
        moments,
        names=tuple(moments.names[c] for c in at),
        shift=moments.shift[at],
        sums=moments.sums[:, at],
        cross=moments.cross[:, at][:, :, at],
        cell_cross=None,
    )


def _by_group(every: Moments, whole: Moments, group: str, levels: list[Any], outcome: str) -> Moments:
    """The moments by school and group from those of a formula that holds the groups; ValueError where it lacks a column.

    Of group k the columns d_k x and d_k y stand in ``every``; the first group is what the others leave of ``whole``.
    """
    plain, names = every.reshift(np.zeros(len(every.names))), list(every.names)
    base = [names.index(name) for name in whole.names[:-1]] + [len(names) - 1]
    cross, J, k = plain.pooled(), len(plain.n), len(base)
    n, sums = np.empty((J, len(levels))), np.empty((J, len(levels), k))
    by_group: FloatArray = np.empty((len(levels), k, k))
    for g, level in enumerate(levels[1:], 1):
        at = [_find(names, name, group, level) for name in whole.names[:-1]]
        at.append(_find(names, outcome, group, level))
        n[:, g], sums[:, g] = plain.sums[:, at[0]], plain.sums[:, at]
        by_group[g] = cross[np.ix_(at, base)]
    n[:, 0] = plain.n - n[:, 1:].sum(axis=1)
    sums[:, 0] = plain.sums[:, base] - sums[:, 1:].sum(axis=1)
    by_group[0] = cross[np.ix_(base, base)] - by_group[1:].sum(axis=0)
    school, cohort = np.nonzero(np.round(n) > 0)
    found = replace(
        whole,
        shift=np.zeros(k),
        cohorts=np.arange(len(levels)),
        cell_school=plain.cell_school[school],
        cell_cohort=cohort,
        n=np.round(n)[school, cohort],
        sums=sums[school, cohort],
        cross=(by_group + np.swapaxes(by_group, 1, 2)) / 2,
        weight=np.ones(len(school)),
    )
    return found.reshift(whole.shift)


def _find(names: list[str], name: str, group: str, level: Any) -> int:
    """Where the product of a column and the indicator of a level stands."""
    before = "" if name == INTERCEPT else f"{name}:"
    for told in (f"{before}{group}[T.{level}]", f"{before}{group}[{level}]"):
        if told in names:
            return names.index(told)
    raise ValueError(name)
