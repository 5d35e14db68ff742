"""Text in CSV files that a spreadsheet program shows and does not compute.

A spreadsheet takes a cell that begins with = + - or @ for a formula, which can read files and send them away. A text
cell that begins so gets an apostrophe before it, the mark by which spreadsheets themselves tell text.
"""

from __future__ import annotations

import re

import pandas as pd

_STARTS = "=+\\-@＝＋－＠﹢﹣﹦﹫⁺⁻⁼₊₋₌"
_BLANK = r"\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
# Where a cell begins, or would for a reader that splits at semicolons, tabs or line breaks in spite of the quotes.
_FORMULA = re.compile(rf"(?:^(?='*[\t\n])|(?:^|(?<=[;\t\n]))(?='*[{_BLANK}]*'*[{_STARTS}]))")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def safe_text(text: str) -> str:
    """Text for a cell: line breaks as LF, control characters replaced, an apostrophe before what begins a formula.

    A plain number such as -5 or +1.5e3 stays as it is. Text that begins with apostrophes before such a character gets
    one more, so that taking one off gives the text back.
    """
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub("'", text)


def safe_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every text in it, the column names included, made safe by :func:`safe_text`."""
    cells = [column if pd.api.types.is_numeric_dtype(column.dtype) else
             column.astype(object).map(_safe_cell, na_action="ignore") for _, column in table.items()]
    safe = pd.concat(cells, axis=1) if cells else table.copy()
    return safe.set_axis([_safe_cell(name) for name in table.columns], axis=1)


def _safe_cell(value: object) -> object:
    return safe_text(value) if isinstance(value, str) else value
