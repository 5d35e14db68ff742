"""Results as one workbook for Excel and LibreOffice: a sheet a table, numbers as numbers, and text that stays text.

Every cell is written by its kind: a number with the decimals to which it is published, a text as text, also one that looks
like a formula, a number or a date (school "=1+1", "-2", "0531"). Such a text has the mark that spreadsheets give to text
typed behind an apostrophe, so that it stays text when the cell is edited. The same tables give the same bytes.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ParamsError
from ..records.precision import DECLARED, published
from .writing import clean_text, safe_text

SHEETS = {  # by file; in this order, others after them, and the last three at the end
    "school_effects.csv": "schools",
    "report.csv": "schools",
    "changes.csv": "changes",
    "shifts.csv": "shifts",
    "shift_in_context.csv": "shifts in context",
    "groups.csv": "groups",
    "similar.csv": "similar schools",
    "capped.csv": "capped scores",
    "va_at.csv": "value added at values",
    "slopes.csv": "slopes",
    "change_at.csv": "changes at values",
    "slope_correlations.csv": "correlations at values",
    "slope_covariances.csv": "covariances of slopes",
    "residual_sds.csv": "residual SDs",
    "variance_tests.csv": "tests of variances",
    "averages.csv": "averages",
    "report_averages.csv": "averages",
    "lasting.csv": "lasting",
    "report_lasting.csv": "lasting",
    "correlations.csv": "correlations",
    "omega.csv": "variances",
    "fixed_effects.csv": "coefficients",
    "columns.csv": "what columns mean",
    "report_columns.csv": "what columns mean",
    "about.csv": "how it was made",
    "report_about.csv": "how it was made",
}
LAST = ("what columns mean", "how it was made")  # sheets
MADE = datetime.datetime(2000, 1, 1)  # the date in the file, always the same
LABELS = ("cohort", "other", "first", "second")  # whole numbers that are years, without a sign between thousands
DECIMALS = 10  # at most
WIDEST, NARROWEST = 60, 7  # of a column, in letters
MOST_ROWS, LONGEST = 1_048_575, 32_767  # rows below the header, and letters of a cell


def as_workbook(tables: Mapping[str, pd.DataFrame], title: str) -> bytes:
    """The tables (by file name, as they may be published) as an XLSX file.

    Raises ParamsError for a table or a text that no sheet can hold.
    """
    import xlsxwriter

    stream = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = xlsxwriter.Workbook(stream, options)
    book.set_properties({"title": clean_text(title)[:255], "created": MADE})
    formats = _Formats(book)
    for name in _ordered(tables):
        table = _by_sheet(tables[name]) if _sheet(name) == LAST[0] else tables[name]
        _fill(book.add_worksheet(_sheet(name)), table, formats, name)
    book.close()
    return stream.getvalue()


def _sheet(name: str) -> str:
    return SHEETS.get(name) or Path(name).stem[:31]


def _by_sheet(columns: pd.DataFrame) -> pd.DataFrame:
    """columns.csv with the sheets for the files."""
    return columns.assign(file=columns["file"].map(_sheet)).rename(columns={"file": "sheet"})


def _ordered(names: Any) -> list[str]:
    known = [name for name in SHEETS if name in names]
    others = [name for name in names if name not in SHEETS]
    return sorted([*known, *others], key=lambda name: LAST.index(_sheet(name)) if _sheet(name) in LAST else -1)


class _Formats:
    """The formats of cells, each made once."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._made: dict[tuple, Any] = {}

    def __call__(self, **look: Any) -> Any:
        key = tuple(sorted(look.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format({"valign": "top", **look})
        return self._made[key]

    def number(self, decimals: int) -> Any:
        """A number with so many decimals."""
        return self(num_format="0." + "0" * decimals if decimals > 0 else "0")

    def text(self, text: str, wrap: bool) -> Any:
        """A text; one that a spreadsheet would take for something else is marked as typed behind an apostrophe."""
        look: dict[str, Any] = {"num_format": "@", "text_wrap": wrap, "indent": 1}  # numbers end where it begins
        return self(**look, quote_prefix=True) if safe_text(text) != text or text[:1] in "+-" else self(**look)


def _fill(sheet: Any, table: pd.DataFrame, formats: _Formats, name: str) -> None:
    """Header, cells, and how the sheet is seen and printed."""
    if len(table) > MOST_ROWS:
        raise ParamsError(f"{name} has {len(table):,} rows, more than a sheet of a workbook holds: leave --excel out.")
    head = {"bold": True, "bottom": 1, "bg_color": "#DCE6F1", "text_wrap": True}
    places = published(table.reset_index(drop=True), how=lambda _, places: places)
    places = places.assign(
        **dict.fromkeys(set(DECLARED) & set(table.columns), np.nan)
    )  # to be seen as they were declared
    for k, (column, cells) in enumerate(table.items()):
        numeric = pd.api.types.is_numeric_dtype(cells.dtype)
        sheet.write_string(
            0,
            k,
            clean_text(str(column)),
            formats(**head, **({"align": "right"} if numeric else {"align": "left", "indent": 1})),
        )
        texts = _column(sheet, k, cells, places.iloc[:, k], formats, name)
        longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
        sheet.set_column(k, k, min(max(len(str(column)) + 3, longest + 2, NARROWEST), WIDEST))
    columns = max(len(table.columns), 1)
    sheet.freeze_panes(1, _kept_in_view(table))
    sheet.autofilter(0, 0, max(len(table), 1), columns - 1)
    sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{len(table) + 1}"})
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)


def _kept_in_view(table: pd.DataFrame) -> int:
    """How many columns stay when a wide table is moved: up to the school's code and name."""
    found = [k for k, column in enumerate(table.columns) if column in ("school", "school_name") and k < 5]
    return max(found) + 1 if found else 0


def _column(sheet: Any, k: int, cells: pd.Series, places: pd.Series, formats: _Formats, name: str) -> list[str]:
    """Write the cells of a column; return them as the texts that are seen, for the width."""
    seen = []
    whole = formats(num_format="0" if cells.name in LABELS else "#,##0")
    fraction = pd.api.types.is_float_dtype(cells.dtype)
    for row, (value, decimals) in enumerate(zip(cells, places, strict=True), start=1):
        if pd.isna(value):
            continue
        if isinstance(value, (bool, np.bool_)):
            sheet.write_boolean(row, k, bool(value), formats())
            seen.append(str(value))
        elif isinstance(value, (int, float, np.number)):
            digits = _places(float(value), decimals) if fraction else 0
            sheet.write_number(row, k, value, formats.number(digits) if fraction else whole)
            seen.append(f"{value:,.{digits}f}")
        else:
            seen.append(_text(sheet, row, k, str(value), formats, name))
    return seen


def _places(value: float, decimals: float) -> int:
    """Decimals of a number: those to which it is published, or all that it has where it was declared, such as a level."""
    if pd.isna(decimals):
        decimals = len(f"{value:.{DECIMALS}f}".rstrip("0").partition(".")[2])
    return min(max(int(decimals), 0), DECIMALS)


def _text(sheet: Any, row: int, k: int, value: str, formats: _Formats, name: str) -> str:
    text = clean_text(value)
    if len(text) > LONGEST:
        raise ParamsError(f"{name}, row {row}: a text of {len(text):,} letters, more than a cell holds.")
    if text:
        if len(text) > WIDEST:
            sheet.set_row(row, 15 * min(-(-len(text) // WIDEST) + 1, 27))
        sheet.write_string(row, k, text, formats.text(text, len(text) > WIDEST))
    return text
