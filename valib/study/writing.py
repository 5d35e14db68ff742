"""How results become files: as CSV or JSON text, written aside and renamed into place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ParamsError
from ..files import real_place, told_of
from ..records.precision import published
from .folder import NOT_FOR_PUBLICATION, OUTPUTS, claim, move_into_place, refuse_foreign, work_folder

_STARTS = "=+\\-@＝＋－＠﹢﹣﹦﹫⁺⁻⁼₊₋₌"
_BLANK = r"\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
# Where a cell begins, or would for a reader that splits at semicolons, tabs or line breaks in spite of the quotes.
_FORMULA = re.compile(rf"(?:^(?='*[\t\n])|(?:^|(?<=[;\t\n]))(?='*[{_BLANK}]*'*[{_STARTS}]))")
_KEPT_OFF = re.compile(_FORMULA.pattern + "'")  # the apostrophes that safe_text has put there
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def safe_text(text: str) -> str:
    """Text for a cell: line breaks as LF, control characters replaced, an apostrophe before what begins a formula.

    A plain number such as -5 or +1.5e3 stays as it is. Text that begins with apostrophes before such a character gets
    one more, so that taking one off gives the text back.
    """
    text = clean_text(text)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub("'", text)


def read_back(text: str) -> str:
    """The text of one line, such as a code, that :func:`safe_text` made this of by an apostrophe before a formula."""
    return text if _NUMBER.fullmatch(text) else _KEPT_OFF.sub("", text)


def clean_text(text: str) -> str:
    """Text for the cell of a workbook, in which no text is a formula: line breaks as LF, control characters replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def safe_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every text in it, the column names included, made safe by :func:`safe_text`."""
    cells = [
        column
        if pd.api.types.is_numeric_dtype(column.dtype)
        else column.astype(object).map(_safe_cell, na_action="ignore")
        for _, column in table.items()
    ]
    safe = pd.concat(cells, axis=1) if cells else table.copy()
    return safe.set_axis([_safe_cell(name) for name in table.columns], axis=1)


def _safe_cell(value: object) -> object:
    return safe_text(value) if isinstance(value, str) else value


__all__ = [
    "NOT_FOR_PUBLICATION",
    "OUTPUTS",
    "WHY_NOT",
    "CsvForm",
    "as_csv",
    "as_json",
    "check_apart",
    "check_file",
    "check_folder",
    "claim",
    "plain",
    "refuse_foreign",
    "work_folder",
    "write_folder",
]

WHY_NOT = (
    "The figures in this folder are exact. With those of a second model the figures of the schools held back can be\n"
    "worked out from them, so they are not for publication. Without --exact, figures are rounded so that this fails.\n"
)


def plain(value: Any) -> Any:
    """Turn numpy scalars, tuples and missing numbers into what JSON can hold."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def as_json(content: Any, exact: bool = False) -> str:
    """Return content as indented JSON text, numbers as they may be published, or exact."""
    told = plain(content)
    return json.dumps(told if exact else published(told), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How CSV files are written. decimal: the sign in numbers; with a comma, fields are divided by semicolons. mark:
    whether a byte-order mark stands first, by which Excel tells UTF-8; a decimal comma brings it along.
    """

    decimal: str = "."
    mark: bool = False


PLAIN = CsvForm()


def as_csv(table: pd.DataFrame, exact: bool = False, form: CsvForm = PLAIN) -> str:
    """Return a table as CSV text, numbers as they may be published, or exact; missing ones are empty fields.

    What may be published is said by :mod:`valib.records.precision`. No text in it starts a formula when a spreadsheet
    opens the file: see :mod:`valib.study.writing`.
    """
    comma = form.decimal == ","
    text = safe_table(table if exact else published(table)).to_csv(
        index=False, lineterminator="\n", sep=";" if comma else ",", decimal=form.decimal
    )
    return "\ufeff" * (comma or form.mark) + text


def check_folder(folder: Path) -> None:
    """Raise ParamsError if results cannot go to this folder; to be asked before anything is computed."""
    part = next(part for part in (folder, *folder.absolute().parents) if os.path.lexists(part))
    if not part.is_dir():
        raise ParamsError(f"--out is {folder}, but {part} is a file, expected a folder.")
    if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
        raise ParamsError(f"--out is {folder}, but the folder {part} may not be written to.")


def check_file(path: Path) -> None:
    """Raise ParamsError if a result cannot be written to this file, or it is a device or a pipe."""
    if path.is_dir():
        raise ParamsError(f"--out is {path}, which is a folder, expected a file.")
    try:
        place = real_place(path)
    except ParamsError as error:
        raise ParamsError(f"--out: {error}") from None
    check_folder(place.parent)


def check_apart(out: Path, targets: Iterable[Path], sources: Iterable[Path]) -> None:
    """Raise ParamsError if a result would go over what the study is read from, or among the parts of its records.

    out: as it was given. targets: files and folders that the run replaces. sources: those that it reads.
    """
    read = [source.resolve() for source in sources if source.exists()]
    for target in targets:
        place = target.resolve()
        for source in read:
            if source.is_relative_to(place) or (target.exists() and target.samefile(source)):
                raise ParamsError(
                    f"--out is {out}, but {source} is read for the study and would be replaced: name another place."
                )
            if place.is_relative_to(source):
                raise ParamsError(f"--out is {out}, which lies among the records in {source}: name a place outside.")


def write_folder(folder: Path, command: str, contents: Mapping[str, str | bytes]) -> None:
    """Write a command's files into a claimed folder: aside first, then all of them renamed into place, or none.

    contents: by name; a name such as figures/shifts.svg lies in a folder, which is replaced whole.
    What an earlier run of the command left and this one does not make is removed, so that the folder never mixes two
    runs. If writing fails, the earlier files stay as they were.
    """
    with work_folder(folder) as aside:
        for name, content in contents.items():
            with told_of(folder / name):
                (aside / name).parent.mkdir(exist_ok=True)
                (aside / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        move_into_place(command, dict.fromkeys(name.partition("/")[0] for name in contents), folder, aside)
