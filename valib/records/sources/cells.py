"""Tables whose values come one by one with a type of their own: from a sheet, a database or R."""

from __future__ import annotations

import numbers
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from .source import Source
from .values import MISSING


@dataclass(frozen=True, slots=True)
class CellSource(Source):
    """A table in memory whose columns still have the types of where they are from."""

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. Columns of codes stay exact, the others get NumPy's types."""
        frame = self.frame.reset_index(drop=True)
        return pd.DataFrame(
            {name: _as_code(frame[name]) if name in text_columns else _as_plain(frame[name]) for name in frame.columns}
        )


def _as_code(column: pd.Series) -> pd.Series:
    """A database's UUIDs as text; any other column as it is."""
    if column.dtype == object and any(isinstance(value, uuid.UUID) for value in column):
        return column.map(str, na_action="ignore")
    return column


def _as_plain(column: pd.Series) -> pd.Series:
    """Numbers as int64, or float64 if some are missing or broken; text as ``str``; other values as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    kind = column.dtype
    if pd.api.types.is_bool_dtype(kind):
        return column.astype(object).where(column.notna(), None) if column.hasnans else column.astype(bool)
    if pd.api.types.is_extension_array_dtype(kind) and pd.api.types.is_numeric_dtype(kind):
        return column.astype("float64" if column.hasnans or kind.kind == "f" else "int64")
    if kind != object:
        return column.astype("str") if pd.api.types.is_string_dtype(kind) else column
    blank = column.isna() | column.map(lambda value: isinstance(value, str) and value.strip() in MISSING)
    told = column[~blank]
    if len(told) and all(isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool) for value in told):
        whole = all(isinstance(value, numbers.Integral) and abs(value) < 2**63 for value in told)
        return column.mask(blank).astype("float64") if blank.any() or not whole else column.astype("int64")
    return column.infer_objects()
