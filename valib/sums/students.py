"""The students of some cohorts as the sums that a model needs, wherever their rows are.

Records are a DataFrame in memory (:func:`valib.read_records`) or a stream of :mod:`valib.sums.streams`, whose rows
stay on disk. Both answer the same questions; the models ask them here and do not know which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd

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
    formula, fingerprint a number of 16 hex digits that knows the rows and not their order.
    """

    moments: Moments
    state: FormulaState
    left_out: Mapping[str, int]
    columns: Mapping[str, dict] = field(default_factory=dict)
    fingerprint: str = ""


class Stream(Protocol):
    """Records whose rows are not in memory; the methods are this module's functions of the same name."""

    attrs: dict
    cohorts: list[int]

    def sum_students(
        self,
        cohorts: Sequence[int],
        formula: str | FormulaState,
        by_cell: bool,
        links: Sequence[ScaleBreak],
        describe: bool,
    ) -> Summed: ...

    def describe_column(self, cohort: int, column: str, links: Sequence[ScaleBreak]) -> tuple[float, float]: ...


Records = pd.DataFrame | Stream


def cohorts_of(records: Records) -> list[int]:
    """The cohorts of the records, in order."""
    return sorted(records["cohort"].unique().tolist()) if isinstance(records, pd.DataFrame) else records.cohorts


def require_cohorts(records: Records, cohorts: Iterable[int]) -> None:
    """Raise RecordsError for a cohort that the records do not have."""
    check_cohorts(list(cohorts), cohorts_of(records))


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
    Raises RecordsError for a cohort that is not there, ModelError for a formula that does not fit the records, and
    for sums that have lost their digits.
    """
    if isinstance(records, pd.DataFrame):
        design = build_design(to_old_scale(select(records, cohorts), links), formula)
        found = summed(design, by_cell, describe)
    else:
        found = records.sum_students(list(cohorts), formula, by_cell, links, describe)
    check_cancelled(found.moments)
    return found


def summed(design: Design, by_cell: bool = False, describe: bool = False) -> Summed:
    """The sums of the rows of a design."""
    moments = compute_moments(design, by_cell)
    if not describe:
        return Summed(moments, design.state, design.left_out)
    needed, data = required_columns(design.state.formula), design.data
    columns = {}
    for c in needed:
        if is_number(data[c]) and c != "cohort":
            values = data[c].astype(np.float64)
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


def hash_rows(data: pd.DataFrame, needed: Sequence[str]) -> int:
    """The sum, modulo 2^64, of row hashes over school, cohort and the columns needed: additive over parts of a table.

    Numbers are hashed as float64 and codes as text, so that the way a file stores them does not matter.
    """
    used = ["school", "cohort", *needed]
    plain = pd.DataFrame({c: data[c].astype(np.float64 if is_number(data[c]) else "str") for c in used})
    return int(np.add.reduce(pd.util.hash_pandas_object(plain, index=False).to_numpy(), dtype=np.uint64))
