"""Files of Stata, SPSS and SAS: .dta, .sav, .zsav, .por, .sas7bdat and .xpt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import RecordsError, ValibWarning
from ...names import readable
from .limited import Unread, read_limited
from .source import EXACT, CellSource

_SAS = bytes(12) + bytes.fromhex("c2ea8160b31411cfbd92080009c7318c181f1011")
_KINDS = {  # how the files begin, what they are, and pyreadstat's reader
    re.compile(rb"<stata_dta>|[\x68-\x73][\x01\x02]\x01"): ("Stata", "read_dta"),
    re.compile(rb"\$FL[23]"): ("SPSS", "read_sav"),
    re.compile(rb"(?s).{0,400}SPSS PORT FILE"): ("portable SPSS", "read_por"),
    re.compile(re.escape(_SAS)): ("SAS", "read_sas7bdat"),
    re.compile(rb"HEADER RECORD\*{7}LIB(RARY|V8)"): ("SAS transport", "read_xport"),
}


def labelled_kind(path: Path) -> tuple[str, str] | None:
    """Whose file this is, and the name of its reader; None for any other."""
    with open(path, "rb") as stream:
        start = stream.read(512)
    return next((kind for begins, kind in _KINDS.items() if begins.match(start)), None)


def open_labelled(path: Path, kind: tuple[str, str]) -> LabelledSource:
    """Open a file of Stata, SPSS or SAS.

    What the file declares as missing is missing, as are its blank texts. A column whose values all have labels is a
    category of them in the order of its values; codes, scores and cohorts stay the values themselves.

    Raises
    ------
    RecordsError
        If the file is damaged.
    """
    name, reader = kind
    try:
        answer = read_limited(path, reader)
    except Unread as error:
        raise RecordsError(
            f"{path.name}: is a file of {name} that cannot be read ({readable(str(error), 200)}); save the table as CSV or"
            " Parquet."
        ) from error
    if answer["encoding"]:
        warnings.warn(f"{path.name}: its text is read as {answer['encoding']}.", ValibWarning, stacklevel=2)
    frame = answer["frame"]
    columns = {name: _plain(frame[name]) for name in frame.columns}
    return LabelledSource(
        path.name, tuple(columns), frame=pd.DataFrame(columns, index=frame.index), path=path, labels=answer["labels"]
    )


@dataclass(frozen=True, slots=True)
class LabelledSource(CellSource):
    """A table whose values may have labels: column -> value -> label."""

    labels: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows, with labels in place of values besides the columns that are asked for; see `Source.read`."""
        frame = CellSource.read(self, text_columns, number_columns)
        for name in set(self.labels).intersection(frame.columns).difference(text_columns, number_columns):
            frame[name] = _with_labels(frame[name], self.labels[name])
        return frame


def _plain(column: pd.Series) -> pd.Series:
    """Texts without the blanks that fill them up, whole numbers as integers, days as dates."""
    if pd.api.types.is_float_dtype(column.dtype):
        whole = len(column) and np.isfinite(column).all() and (column == np.floor(column)).all()
        return column.astype("int64") if whole and column.abs().max() < EXACT else column
    if (
        pd.api.types.is_string_dtype(column.dtype)
        and column.map(lambda v: isinstance(v, str), na_action="ignore").all()
    ):
        texts = column.astype("str").str.rstrip(" ")
        return texts.mask(texts == "")
    if column.dtype == object:
        try:
            return pd.to_datetime(column)
        except (TypeError, ValueError):  # hours, or mixed
            return column
    return column


def _with_labels(column: pd.Series, labels: Mapping[Any, str]) -> pd.Series:
    """The labels of a column's values as a category; the values themselves if one has no label of its own."""
    present = column.dropna().unique()
    names = [labels[value] for value in sorted(present) if value in labels]
    if not len(present) or len(names) < len(present) or len({name.strip() for name in names}) < len(names):
        return column
    levels = pd.CategoricalDtype([name.strip() for name in names])
    return column.map(labels, na_action="ignore").astype("str").str.strip().astype(levels)
