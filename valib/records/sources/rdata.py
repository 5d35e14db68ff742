"""Data frames as R saves them: .rda, .RData and .rds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
from pandas.arrays import BooleanArray, IntegerArray

from ...errors import RecordsError, ValibWarning
from ...names import LONGEST, readable
from .labelled import LabelledSource
from .limited import SHARE

if TYPE_CHECKING:
    from .robjects import RObject

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_IMAGE, IMAGE = re.compile(rb"RD[XAB][23]\n"), 5  # how save() begins, and how many bytes that is
_SINGLE = re.compile(rb"X\n\0\0\0[\x02\x03]|B\n[\x02\x03]\0\0\0")  # saveRDS()
_SINGLE_ASCII = re.compile(rb"A\n[23]\n")
_TIMES = {"Date": "D", "POSIXct": "s"}  # classes of days and seconds since 1970
LONGEST_RANGE = 10_000_000  # rows of a table that holds nothing but sequences of which only the ends are stored


def is_rdata(path: Path) -> bool:
    """Whether a file was written by R's save() or saveRDS(), compressed or not."""
    head = _head(path)
    return bool(_IMAGE.match(head) or _is_single(path, head))


def open_rdata(path: Path, table: str | None = None) -> LabelledSource:
    """Open a data frame (a tibble or data.table too) of an R file. Nothing in the file is run.

    Raises
    ------
    RecordsError
        If the file is damaged, or has no such data frame, or several and none is asked for.
    """
    from .robjects import LIST, parse

    single = _is_single(path, _head(path))
    try:
        tree, guessed = parse(_content(path, 0 if single else IMAGE))
        if single:
            frames = {path.stem: tree} if "data.frame" in tree.texts("class") else {}
            others = []
        else:
            objects = {name: value for name, value in (tree.value if tree.kind == LIST else ()) if name is not None}
            frames = {name: value for name, value in objects.items() if "data.frame" in value.texts("class")}
            others = [name for name in objects if name not in frames]
        chosen = _choose(path.name, frames, others, table)
        frame, labels = _convert(path.name, frames[chosen])
    except RecordsError:
        raise
    except Exception as error:  # a foreign format: whatever the parser stumbles over, the file cannot be read
        raise RecordsError(
            f"{path.name}: cannot be read as R data ({type(error).__name__}); save the data frame as CSV or Parquet."
        ) from error
    if guessed:
        warnings.warn(f"{path.name}: its text is read as WINDOWS-1252.", ValibWarning, stacklevel=2)
    return LabelledSource(path.name, tuple(frame.columns), frame=frame, path=path, labels=labels)


def _content(path: Path, skip: int) -> bytes:
    """All bytes behind the first few, uncompressed; not more than half of the free memory."""
    with open(path, "rb") as stream:
        opener = _OPENERS.get(stream.read(2), open)
    most = int(SHARE * psutil.virtual_memory().available)
    with opener(path, "rb") as stream:
        stream.read(skip)
        content = stream.read(most + 1)
    if len(content) > most:
        raise RecordsError(f"{path.name}: unpacked it is larger than the {most >> 20:,} MB of memory that may be used.")
    return content


def _head(path: Path) -> bytes:
    """The first bytes, uncompressed; empty if the file's compression is damaged."""
    with open(path, "rb") as stream:
        opener = _OPENERS.get(stream.read(2), open)
    try:
        with opener(path, "rb") as stream:
            return stream.read(8)
    except (OSError, EOFError, lzma.LZMAError):
        return b""


def _is_single(path: Path, head: bytes) -> bool:
    return bool(_SINGLE.match(head) or (path.suffix.lower() == ".rds" and _SINGLE_ASCII.match(head)))


def _choose(file: str, frames: dict[str, Any], others: list[str], table: str | None) -> str:
    """The data frame asked for, else the only one."""
    if not frames:
        held = f" (it holds {', '.join(others)})" if others else ""
        raise RecordsError(f"{file}: holds no data frame{held}.")
    there = ", ".join(frames)
    if table is not None and table not in frames:
        raise RecordsError(f"{file}: has no data frame '{table}'; its data frames are {there}.")
    if table is None and len(frames) > 1:
        raise RecordsError(f"{file}: holds {len(frames)} data frames; choose one of {there} by table.")
    return table or next(iter(frames))


def _convert(file: str, node: RObject) -> tuple[pd.DataFrame, dict[str, dict]]:
    """A data frame's columns, and the labels of their values; those that hold lists, matrices or data frames are left out,
    with a warning."""
    names = ["NA" if name is None else name for name in node.texts("names")]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise RecordsError(f"{file}: more than one column is named '{doubled[0]}'.")
    flat = {name: column for name, column in zip(names, node.value, strict=True) if _is_flat(column)}
    if nested := [name for name in names if name not in flat]:
        told = ", ".join(f"'{readable(name, LONGEST)}'" for name in nested)
        warnings.warn(
            f"{file}: left out is {told}, which holds lists, a matrix or a data frame and not one value a row.",
            ValibWarning,
            stacklevel=2,
        )
    rows = {len(column.value) for column in flat.values()}
    if len(rows) > 1:
        raise ValueError("columns of different lengths")
    if flat and all(isinstance(column.value, range) for column in flat.values()) and max(rows) > LONGEST_RANGE:
        raise ValueError("nothing but sequences")  # a few bytes, which would fill the memory
    frame = pd.DataFrame({name: _values(column) for name, column in flat.items()}, index=range(max(rows, default=0)))
    return frame, {name: labels for name, column in flat.items() if (labels := _labels(column))}


def _is_flat(column: RObject) -> bool:
    """Whether a column holds one value a row, as a matrix of one column does too."""
    from .robjects import INT, LGL, REAL, STR

    shape = column.attributes["dim"].value if "dim" in column.attributes else [1]
    return column.kind in (LGL, INT, REAL, STR) and len(shape) <= 2 and (len(shape) == 1 or shape[1] == 1)


def _values(column: RObject) -> Any:
    """The values of a column, by its class where that says more than how they are stored."""
    from .robjects import LGL, NA_INTEGER, REAL, STR

    kinds, values = column.texts("class"), column.value
    if column.kind == STR:
        return pd.array(values, dtype="str")
    values = np.asarray(values) if isinstance(values, range) else values
    if column.kind == REAL:
        if "integer64" in kinds:  # whole numbers in the bits of doubles, the smallest of them NA
            whole = values.view(np.int64)
            return IntegerArray(whole, whole == np.iinfo(np.int64).min)
        told, gone = values, np.isnan(values)
    elif column.kind == LGL:
        gone = values == NA_INTEGER
        return BooleanArray(values != 0, gone) if gone.any() else values != 0
    else:
        told, gone = values.astype(np.int64), values == NA_INTEGER
    if "factor" in kinds:
        levels = column.texts("levels")
        return _factor(np.where(gone, 0, told) - 1, levels)
    if unit := next((unit for kind, unit in _TIMES.items() if kind in kinds), None):
        return pd.to_datetime(np.where(gone, np.nan, told), unit=unit).to_numpy()
    gone = gone | _declared_missing(told, column)
    if column.kind == REAL:
        return np.where(gone, np.nan, told)
    return IntegerArray(told, gone) if gone.any() else told


def _factor(codes: np.ndarray, levels: list[str | None]) -> pd.Categorical:
    """A factor as a category with its levels in their order; a level NA is a missing value."""
    there = [level for level in levels if level is not None]
    place = {level: k for k, level in enumerate(there)}
    new = np.array([-1 if level is None else place[level] for level in levels] + [-1])
    return pd.Categorical.from_codes(new[codes], pd.Index(there, dtype="str"))


def _declared_missing(values: np.ndarray, column: RObject) -> np.ndarray:
    """Which values one of haven's SPSS columns declares as missing."""
    alone, between = (column.attributes.get(name) for name in ("na_values", "na_range"))
    gone = np.isin(values, alone.value) if alone is not None else np.zeros(len(values), bool)
    if between is not None:
        gone |= (values >= between.value[0]) & (values <= between.value[1])
    return gone


def _labels(column: RObject) -> dict[Any, str]:
    """The labels that haven's columns give to their values."""
    labels = column.attributes.get("labels")
    if labels is None or "haven_labelled" not in column.texts("class"):
        return {}
    values = labels.value.tolist() if isinstance(labels.value, np.ndarray) else labels.value.to_pylist()
    return {value: name for value, name in zip(values, labels.texts("names"), strict=True) if name is not None}
