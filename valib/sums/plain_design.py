"""The design of a formula of plain numbers, straight from its columns.

Most value-added formulas hold an intercept, numeric columns and school means of such columns. formulaic would copy
these columns side by side and learn nothing; here they are written into the matrix at once. Any other formula is left
to formulaic, and both give the same numbers under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from formulaic import Formula
from formulaic.parser.types import Factor, Term

ONES = "1"  # the intercept as formulaic writes the term
_SCHOOL_MEAN = re.compile(r"school_mean\((\w+)\)")


def plain_matrix(covariates: pd.DataFrame, parsed: Formula, school_mean: Callable[[np.ndarray], np.ndarray],
                 intercept: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]] | None:
    """y (N,), X (N, p) by column, and the names of its columns; None where the formula holds anything else.

    covariates: the columns that the parsed formula uses, none missing. school_mean: its function of that name.
    intercept: the name of the column of ones.
    """
    sources = [_source(term, covariates) for term in (*parsed.lhs, *parsed.rhs)]
    names = tuple(intercept if str(term) == ONES else str(term) for term in parsed.rhs)
    if None in sources or sources[0] == (ONES, False) or len(set(names)) < len(names):
        return None
    columns = [covariates[name].to_numpy() if name != ONES else None for name, _ in sources]
    X = np.empty((len(covariates), len(names)), order="F")
    for k, (column, (_, is_mean)) in enumerate(zip(columns[1:], sources[1:], strict=True)):
        X[:, k] = 1.0 if column is None else school_mean(column) if is_mean else column
    return columns[0], X, names


def _source(term: Term, covariates: pd.DataFrame) -> tuple[str, bool] | None:
    """The float64 column that a term shows, and whether as its school mean; ONES for the intercept."""
    if str(term) == ONES:
        return ONES, False
    if len(term.factors) != 1:
        return None
    (factor,) = term.factors
    text = str(factor.expr)
    mean = _SCHOOL_MEAN.fullmatch(text) if factor.eval_method is Factor.EvalMethod.PYTHON else None
    name = mean.group(1) if mean else text if factor.eval_method is Factor.EvalMethod.LOOKUP else None
    return (name, mean is not None) if name in covariates and covariates[name].dtype == np.float64 else None
