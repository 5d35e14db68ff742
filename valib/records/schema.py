"""What the columns of student records may hold in a source, before conversion, and what in a table does not."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from .sources import all_grouped, as_numbers, can_be_codes, may_be_grouped

PYSPARK = {"category": FutureWarning, "message": "PySpark"}  # pandera imports it where it is installed, and it warns
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", **PYSPARK)
    import pandera.pandas as pa


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """Every value that the schema refuses, one a row: column, check (in words), failure_case, index; none if all fit.

    index is missing where a check could not be made of a column as a whole.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", **PYSPARK)
            SCHEMA.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return errors.failure_cases
    return pd.DataFrame(columns=["column", "check", "failure_case", "index"])


def _are_codes(column: pd.Series) -> pd.Series:
    return pd.Series(can_be_codes(column), index=column.index)


def _are_numbers(column: pd.Series) -> pd.Series:
    return pd.Series(~as_numbers(column)[1], index=column.index)


def _are_without_groups(column: pd.Series) -> pd.Series:
    """False for texts with points that may stand between thousands: 1.234 beside 999."""
    if not pd.api.types.is_numeric_dtype(column.dtype) and may_be_grouped(values := as_numbers(column)[0]):
        marked = column.astype(str).str.contains(".", regex=False) & ~np.isnan(values)
        if all_grouped(column[marked].astype(str), "."):
            return ~marked
    return pd.Series(True, index=column.index)


def _are_finite(column: pd.Series) -> pd.Series:
    return pd.Series(~np.isinf(as_numbers(column)[0]), index=column.index)


def _are_years(column: pd.Series) -> pd.Series:
    values, bad = as_numbers(column)
    whole = np.isnan(values) | ((values == np.floor(values)) & (np.abs(values) < 2.0**53))
    return pd.Series(whole & ~bad, index=column.index)


_CODES = pa.Column(nullable=True, checks=pa.Check(_are_codes, error="must hold codes (text or numbers)"))
_SCORES = pa.Column(
    nullable=True,
    checks=[
        pa.Check(_are_numbers, error="must hold numbers"),
        pa.Check(_are_without_groups, error="must hold numbers without points between thousands"),
        pa.Check(_are_finite, error="must hold finite numbers"),
    ],
)
# What the canonical columns may hold in a source, before conversion; other columns are not looked at.
SCHEMA = pa.DataFrameSchema(
    {
        "student": _CODES,
        "school": _CODES,
        "cohort": pa.Column(nullable=True, checks=pa.Check(_are_years, error="must hold whole numbers")),
        "score": _SCORES,
        "prior_score": _SCORES,
    }
)
