"""Errors of measurement that the records hold: a column of standard errors, one for each student."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from ..errors import ModelError, RowsLeftOut
from ..sums.design import FormulaState
from ..sums.students import Records, sum_students

Reliability = Mapping[str, float | Mapping[str, str]]  # by covariate, a number or {"se": column}


def with_columns(
    records: Records,
    cohorts: Iterable[int],
    formula: str | FormulaState,
    error_variance: Mapping[str, float] | None,
    reliability: Reliability | None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Error variances and reliabilities by covariate, those that stand in a column of standard errors among the first.

    The variance of a column's errors is the mean of the squared standard errors over the students of the fit (Fuller 1987,
    section 3.1): for least squares what each student's own would give, for other estimators too where errors do not go
    with the sizes of schools.

    Raises ModelError for a column that is not there, is no number, or has negative ones, and for a variance given twice.
    """
    known, plain = dict(error_variance or {}), {}
    for name, value in (reliability or {}).items():
        if not isinstance(value, Mapping):
            plain[name] = value
            continue
        if set(value) != {"se"} or not isinstance(value["se"], str):
            raise ModelError(
                f"The reliability of {name!r} is {dict(value)!r}, expected a number or {{'se': column}}, the column of its "
                "standard errors of measurement."
            )
        if name in known:
            raise ModelError(f"Both standard errors and an error variance are given for {name!r}: give one of them.")
        known[name] = _mean_square(records, cohorts, formula, name, value["se"])
    return known, plain


def _mean_square(
    records: Records, cohorts: Iterable[int], formula: str | FormulaState, name: str, column: str
) -> float:
    """The mean of a column's squares over the rows that a formula uses."""
    text = formula.formula if isinstance(formula, FormulaState) else formula
    quoted = column if column.isidentifier() else f"`{column}`"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RowsLeftOut)  # the fit says it
            # the root is there for the check that it is finite: no standard error is negative
            moments = sum_students(records, cohorts, f"{quoted} ~ {text.partition('~')[2]} + np.sqrt({quoted})").moments
    except ModelError as error:
        raise ModelError(f"The standard errors of {name!r} in column {column!r} cannot be used: {error}") from error
    n, shift = moments.n_students, float(moments.shift[-1])
    total = float(moments.weight @ moments.sums[:, -1])
    return float(float(moments.pooled()[-1, -1]) + 2 * shift * total + n * shift**2) / float(n)
