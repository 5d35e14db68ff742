"""Workbooks: .xlsx, .xls and .ods."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import RecordsError, ValibWarning
from .limited import Unread, read_limited
from .source import CellSource
from .text import ROWS, header_at


def open_workbook(path: Path, table: str | None = None) -> CellSource:
    """Open a sheet of a workbook; its first row that is not blank is the header, or the first below its titles.

    Codes that the sheet holds as text keep their leading zeros; rows are counted as the sheet counts them.

    Raises
    ------
    RecordsError
        If the file is no workbook, has no such sheet, or the sheet is empty.
    """
    cells, sheet = _cells(path, table)
    cells = cells.where(cells.map(lambda value: not isinstance(value, str) or value.strip() != ""), None)
    filled = cells[cells.notna().any(axis=1)]
    if filled.empty:
        raise RecordsError(f"{path.name}: the sheet '{sheet}' is empty.")
    at = header_at(filled.head(ROWS).notna().sum(axis=1).tolist())
    if at:
        warnings.warn(
            f"{path.name}: row {filled.index[at] + 1} is taken as the header, as what stands above it has far"
            " fewer cells.",
            ValibWarning,
            stacklevel=2,
        )
    first, rows = filled.iloc[at], filled.iloc[at + 1 :]
    kept = first.notna() | rows.notna().any()
    header = first[kept]
    names = [str(value).strip() if pd.notna(value) else f"Unnamed: {k}" for k, value in enumerate(header)]
    frame = rows.loc[:, kept].set_axis(names, axis=1)
    return CellSource(path.name, tuple(names), frame=frame, path=path, numbers=np.asarray(rows.index) + 1)


def _cells(path: Path, table: str | None) -> tuple[pd.DataFrame, str]:
    """All cells of the sheet asked for, else of the first, and its name; read in a process with limits."""
    try:
        answer = read_limited(path, "sheet", table or "", str(int(table is not None)))
    except Unread as error:
        raise RecordsError(
            f"{path.name}: is a workbook or an archive that cannot be read ({error}); save the table as CSV or Parquet."
        ) from error
    sheet = _sheet(path.name, answer["names"], table)
    return pd.DataFrame([[_plain(value) for value in row] for row in answer["rows"]], dtype=object), sheet


def _plain(value: object) -> object:
    """A cell's value, a whole number as int and a day as a datetime."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    is_day = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    return datetime.datetime(value.year, value.month, value.day) if is_day else value


def _sheet(name: str, sheets: list[str], table: str | None) -> str:
    """The sheet asked for, else the first; a warning says which of several was taken."""
    if table is not None and table not in sheets:
        raise RecordsError(f"{name}: has no sheet '{table}'; its sheets are {', '.join(sheets)}.")
    if not sheets:
        raise RecordsError(f"{name}: has no sheet with cells.")
    if table is None and len(sheets) > 1:
        warnings.warn(
            f"{name}: has {len(sheets)} sheets; the first, '{sheets[0]}', is read. Choose another by table.",
            ValibWarning,
            stacklevel=2,
        )
    return table or sheets[0]
