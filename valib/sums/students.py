"""The students of some cohorts as the sums that a model needs, wherever their rows are.

Records are a DataFrame in memory (:func:`valib.read_records`) or a stream of :mod:`valib.sums.streams`, whose rows
stay on disk. Both answer the same questions; the models ask them here and do not know which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..records import coverage, repeats
from ..records.long import grade_column, grades, levels, moving_up
from ..records.reading import check_cohorts, select
from .covariates import is_number
from .design import Design, FormulaState, build_design, required_columns
from .equating import ScaleBreak, to_old_scale
from .moments import Moments, check_cancelled, compute_moments


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """What a model needs of its students.

    moments: of the columns [X, y]. state: the formula with what was learned of it. left_out: rows dropped for a missing
    covariate, by column. Where a description was asked for: columns holds n, mean and sd of every numeric column of the
    formula, fingerprint a number of 16 hex digits that knows the rows and not their order. extra: rows beyond the first
    of a student in a school, by school; empty where there are none. tested: students with an outcome score, by school;
    None where that is not known. least: share of them that must be linked for the school to be shown.
    """

    moments: Moments
    state: FormulaState
    left_out: Mapping[str, int]
    columns: Mapping[str, dict[str, float]] = field(default_factory=dict)
    fingerprint: str = ""
    extra: pd.Series = field(default_factory=lambda: pd.Series(dtype=np.int64))
    tested: pd.Series | None = None
    least: float = coverage.LEAST


class Stream(Protocol):
    """Records whose rows are not in memory; the methods are this module's functions of the same name."""

    attrs: dict[Any, Any]
    cohorts: list[int]
    columns: list[str]

    def sum_students(
        self,
        cohorts: Sequence[int],
        formula: str | FormulaState,
        by_cell: bool,
        links: Sequence[ScaleBreak],
        describe: bool,
    ) -> Summed: ...

    def describe_column(self, cohort: int, column: str, links: Sequence[ScaleBreak]) -> tuple[float, float]: ...

    def correlation(self, cohort: int) -> float: ...

    def in_several(self, cohorts: Sequence[int]) -> tuple[int, int, list[int], int]: ...

    def levels(self, cohorts: Sequence[int], column: str) -> dict[int, dict[str, int]]: ...

    def tested(self, cohorts: Sequence[int]) -> pd.Series | None: ...


Records = pd.DataFrame | Stream


def cohorts_of(records: Records) -> list[int]:
    """The cohorts of the records, in order."""
    return sorted(records["cohort"].unique().tolist()) if isinstance(records, pd.DataFrame) else records.cohorts


def require_cohorts(records: Records, cohorts: Iterable[int]) -> None:
    """Raise RecordsError for a cohort that the records do not have."""
    check_cohorts(list(cohorts), cohorts_of(records))


def only_cohort(records: Records) -> int:
    """The one cohort of the records. Raises ModelError, naming them, where there are several."""
    cohorts = cohorts_of(records)
    if len(cohorts) != 1:
        raise ModelError(f"Name the cohort to fit: the records have {cohorts}.")
    return cohorts[0]


def single_rows(records: pd.DataFrame, cohorts: Iterable[int]) -> tuple[pd.DataFrame, pd.Series]:
    """The rows of some cohorts, and those beyond the first of a student as :func:`valib.records.repeats.extra_rows` counts.

    Raises RecordsError for a cohort that is not there, and where too many students of a school are in several rows.
    """
    rows = select(records, cohorts)
    if len(extra := repeats.extra_rows(rows)):
        repeats.refuse(extra, rows.groupby("cohort").size(), lambda few: rows[rows["cohort"].isin(few)])
    return rows, extra


def sum_students(
    records: Records,
    cohorts: Iterable[int],
    formula: str | FormulaState,
    by_cell: bool = False,
    links: Sequence[ScaleBreak] = (),
    describe: bool = False,
) -> Summed:
    """The sums of some cohorts' students.

    formula: text, or the state learned on other students. by_cell: with cross-products by school and cohort. links:
    scale breaks over which the scores are first carried back (:func:`valib.sums.equating.to_old_scale`). describe:
    with the columns' summaries and the fingerprint.
    Raises RecordsError for a cohort that is not there and for students in several rows of their school
    (:mod:`valib.records.repeats`), ModelError for a formula that does not fit the records, and for sums that have lost
    their digits.
    """
    if isinstance(records, pd.DataFrame):
        rows, extra = single_rows(records, cohorts)
        found = summed(build_design(to_old_scale(rows, links), formula), by_cell, describe)
        tested = coverage.tested(records.attrs, _rows_by_cell(rows, found))
        found = replace(found, extra=extra.groupby(level="school").sum())
    else:
        found = records.sum_students(list(cohorts), formula, by_cell, links, describe)
        tested = records.tested(list(cohorts))
    check_cancelled(found.moments)
    by_school = None if tested is None else tested.groupby(level="school").sum()
    return replace(found, tested=by_school, least=coverage.least(records.attrs))


def _rows_by_cell(rows: pd.DataFrame, found: Summed) -> pd.Series:
    """Rows by (cohort, school): counted already where none lacked a covariate."""
    if found.left_out:
        return rows.groupby(coverage.CELL, observed=True).size()
    m = found.moments
    index = pd.MultiIndex.from_arrays([m.cohorts[m.cell_cohort], m.schools[m.cell_school]], names=coverage.CELL)
    return pd.Series(m.n.astype(np.int64), index=index)


def summed(design: Design, by_cell: bool = False, describe: bool = False) -> Summed:
    """The sums of the rows of a design."""
    moments = compute_moments(design, by_cell)
    if not describe:
        return Summed(moments, design.state, design.left_out)
    needed, data = required_columns(design.state.formula), design.data
    columns = {}
    for c in needed:
        if is_number(data[c]) and c != "cohort":
            values = pd.Series(data[c].to_numpy(dtype=np.float64, na_value=np.nan)).fillna(0.0)  # as if_known has it
            columns[c] = {"n": len(values), "mean": float(values.mean()), "sd": float(values.std(ddof=1))}
    return Summed(moments, design.state, design.left_out, columns, f"{hash_rows(data, needed):016x}")


def describe_column(
    records: Records, cohort: int, column: str, links: Sequence[ScaleBreak] = ()
) -> tuple[float, float]:
    """Mean and standard deviation of a column over the students of a cohort who have it."""
    if not isinstance(records, pd.DataFrame):
        return records.describe_column(cohort, column, links)
    values = to_old_scale(select(records, [cohort]), links)[column].dropna().to_numpy(dtype=np.float64)
    return float(np.mean(values)), float(np.std(values, ddof=1))


def correlation(records: Records, cohort: int) -> float:
    """The correlation of score and prior score over the students of a cohort; nan where one does not vary."""
    if not isinstance(records, pd.DataFrame):
        return records.correlation(cohort)
    if "prior_score" not in records.columns:
        return float("nan")
    both = records.loc[(records["cohort"] == cohort).to_numpy(), ["score", "prior_score"]].to_numpy(dtype=np.float64)
    with np.errstate(all="ignore"):
        z = both - both.mean(axis=0)
        return float((z[:, 0] @ z[:, 1]) / np.sqrt((z[:, 0] @ z[:, 0]) * (z[:, 1] @ z[:, 1])))


def levels_of(records: Records, cohorts: Sequence[int], column: str) -> dict[int, dict[str, int]]:
    """Rows by cohort and value of a column of grades or subjects; see :func:`valib.records.long.levels`."""
    if not isinstance(records, pd.DataFrame):
        return records.levels(cohorts, column)
    rows = records.loc[records["cohort"].isin(cohorts).to_numpy(), ["cohort", column]]
    return levels(rows["cohort"], rows[column])


def in_several(records: Records, cohorts: Sequence[int]) -> tuple[int, int, list[int], int]:
    """Student codes that stand in two or more of some cohorts: how many, of how many codes, in which cohorts they stand
    again, and how many of them move up a grade a year. Cohorts that the records do not have are passed over."""
    cohorts = sorted(set(cohorts) & set(cohorts_of(records)))
    if not isinstance(records, pd.DataFrame):
        return records.in_several(cohorts)
    if "student" not in records.columns:
        return 0, 0, [], 0
    rows = records.loc[records["cohort"].isin(cohorts).to_numpy(), ["cohort", "student"]]
    code, codes = pd.factorize(rows["student"])
    key = np.unique(code.astype(np.int64) * len(cohorts) + np.searchsorted(cohorts, rows["cohort"].to_numpy()))
    again = key[1:][key[1:] // len(cohorts) == key[:-1] // len(cohorts)]
    several = len(np.unique(again // len(cohorts)))
    up = 0
    if several and (grade := grade_column(records.columns)):
        known = grades(records.loc[rows.index, [grade]])
        up = moving_up(code, rows["cohort"].to_numpy(), known)
    return several, len(codes), [cohorts[t] for t in np.unique(again % len(cohorts))], up


def hash_rows(data: pd.DataFrame, needed: Sequence[str]) -> int:
    """The sum, modulo 2^64, of row hashes over school, cohort and the columns needed: additive over parts of a table.

    Numbers are hashed as float64 and codes as text, so that the way a file stores them does not matter.
    """
    used = ["school", "cohort", *needed]
    plain = pd.DataFrame({c: data[c].astype(np.float64 if is_number(data[c]) else "str") for c in used})
    return int(np.add.reduce(pd.util.hash_pandas_object(plain, index=False).to_numpy(), dtype=np.uint64))
