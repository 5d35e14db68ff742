"""Columns as numbers or as codes, whatever type the source gave them."""

from __future__ import annotations

import numbers
from decimal import Decimal

import numpy as np
import pandas as pd

EXACT, LONGEST_CODE = 2.0**53, 1e40  # codes that are floating-point numbers, and other numbers, lie below these
# What a blank value looks like in a text file, outside the columns of codes (where only an empty field is missing).
MISSING = ("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NV", "NaN", "nan", "NULL", "null", ".")


def _plain(column: pd.Series, exact: bool = False) -> pd.Series:
    """A categorical column as its categories' own type; an object column of one type as that type.

    exact: not where whole numbers would become floating-point ones for the sake of a missing value.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.hasnans else object)
    if column.dtype != object:
        return column
    inferred = column.infer_objects()
    return column if exact and pd.api.types.is_float_dtype(inferred.dtype) and inferred.hasnans else inferred


def as_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """float64 values (NaN where missing or not a number) and a mask of the values that are not numbers."""
    column = _plain(column)
    present = column.notna().to_numpy(dtype=bool)
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) and not (
        pd.api.types.is_bool_dtype(kind) or pd.api.types.is_complex_dtype(kind)
    ):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(column), dtype=bool)
    if kind == object:
        readable = np.array([isinstance(value, (str, numbers.Number)) and not isinstance(value, (bool, complex))
                             for value in column], dtype=bool)  # fmt: skip
    else:
        readable = np.full(len(column), pd.api.types.is_string_dtype(kind))  # not dates, durations, true and false
    text = column.astype(object).where(readable & present, None).astype("str").str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    blank = text.isin(MISSING).to_numpy(dtype=bool)
    return values, present & ~(readable & (blank | ~np.isnan(values)))


def as_codes(column: pd.Series) -> pd.Series:
    """Text codes (dtype ``str``), stripped; blank is missing. The column must have passed `can_be_codes`."""
    column = _plain(column, exact=True)
    if pd.api.types.is_float_dtype(column.dtype):
        whole = column.isna() | (column == np.floor(column))
        column = column.astype("Int64") if whole.all() else column.astype(object)
    if column.dtype == object:
        column = column.map(_code_text, na_action="ignore")
    codes = column.astype("str").str.strip()
    return codes.mask(codes == "") if (codes == "").any() else codes


def _code_text(value) -> str:
    if not isinstance(value, str) and value == int(value):
        return str(int(value))  # 1.0 is school "1"
    return str(value)


def can_be_codes(column: pd.Series) -> np.ndarray:
    """Mask of the values that are text or numbers that are exact, or missing.

    A floating-point number of 2^53 or more stands for several whole numbers, so it is no code.
    """
    column = _plain(column, exact=True)
    kind = column.dtype
    missing = column.isna().to_numpy(dtype=bool)
    if kind == object:
        return missing | np.fromiter(map(_is_code, column), dtype=bool, count=len(column))
    if pd.api.types.is_float_dtype(kind):
        return missing | (np.abs(column.to_numpy(dtype=np.float64, na_value=np.nan)) < EXACT)
    return missing | (pd.api.types.is_string_dtype(kind) or pd.api.types.is_integer_dtype(kind))


def _is_code(value) -> bool:
    if isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool):
        return abs(value) < (EXACT if isinstance(value, (float, np.floating)) else LONGEST_CODE)
    return isinstance(value, str)
