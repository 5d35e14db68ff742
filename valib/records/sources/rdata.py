"""Data frames as R saves them: .rda, .RData and .rds."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from pandas.arrays import IntegerArray

from ...errors import RecordsError, ValibWarning
from ...names import LONGEST, readable
from .source import CellSource

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_IMAGE = re.compile(rb"RD[XA][23]\n")  # save()
_SINGLE = re.compile(rb"X\n\0\0\0")  # saveRDS()
_SINGLE_ASCII = re.compile(rb"A\n[23]\n")


def is_rdata(path: Path) -> bool:
    """Whether a file was written by R's save() or saveRDS(), compressed or not."""
    head = _head(path)
    return bool(_IMAGE.match(head) or _is_single(path, head))


def open_rdata(path: Path, table: str | None = None) -> CellSource:
    """Open a data frame (a tibble or data.table too) of an R file; factors become text. Nothing in the file is run.

    Raises
    ------
    RecordsError
        If the file is damaged, or has no such data frame, or several and none is asked for.
    """
    single = _is_single(path, _head(path))
    try:
        from rdata.parser import parse_file

        tree = parse_file(path, extension=".rds" if single else ".rda").object
        if single:
            frames = {path.stem: tree} if "data.frame" in _classes(tree) else {}
            others = []
        else:
            objects = dict(_pairs(tree))
            frames = {name: value for name, value in objects.items() if "data.frame" in _classes(value)}
            others = [name for name in objects if name not in frames]
        chosen = _choose(path.name, frames, others, table)
        frame = _convert(path.name, frames[chosen])
    except RecordsError:
        raise
    except Exception as error:  # a foreign format: whatever the parser stumbles over, the file cannot be read
        raise RecordsError(
            f"{path.name}: cannot be read as R data ({type(error).__name__}); save the data frame as CSV or Parquet."
        ) from error
    return CellSource(path.name, tuple(str(name) for name in frame.columns), frame=frame, path=path)


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


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of one of R's linked lists."""
    while node is not None and node.info.type.name == "LIST":
        tag = node.tag.referenced_object or node.tag
        value, rest = node.value
        yield tag.value.value.decode("utf-8", "replace"), value
        node = rest


def _classes(node: Any) -> list[str]:
    """The class attribute of an R object."""
    named = dict(_pairs(node.attributes)).get("class")
    return [] if named is None else [text.value.decode("utf-8", "replace") for text in named.value]


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


def _convert(file: str, node: Any) -> pd.DataFrame:
    """A data frame's columns; those that hold lists, matrices or data frames are left out, with a warning."""
    from rdata.conversion import DEFAULT_CLASS_MAP, convert

    names = _names(node)
    if doubled := [name for name in names if names.count(name) > 1]:
        raise RecordsError(f"{file}: more than one column is named '{doubled[0]}'.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a column of another class is taken by its plain values
        columns = dict(convert(node, constructor_dict={**DEFAULT_CLASS_MAP, **_CLASSES}) or {})
    columns = {name: _one_column(values) for name, values in columns.items()}
    if nested := [name for name, values in columns.items() if values is None]:
        told = ", ".join(f"'{readable(name, LONGEST)}'" for name in nested)
        warnings.warn(
            f"{file}: left out is {told}, which holds lists, a matrix or a data frame and not one value a row.",
            ValibWarning,
            stacklevel=2,
        )
    kept = {name: values for name, values in columns.items() if values is not None}
    rows = len(next(iter(kept.values()))) if kept else 0
    return DEFAULT_CLASS_MAP["data.frame"](kept, {"row.names": range(rows)})


def _names(node: Any) -> list[str]:
    """The names attribute of an R object."""
    named = dict(_pairs(node.attributes)).get("names")
    return [] if named is None else [text.value.decode("utf-8", "replace") for text in named.value]


def _one_column(values: Any) -> Any:
    """Values of a column, those of a matrix of one column too; None if a row has no single value."""
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values if isinstance(values, (np.ndarray, ExtensionArray)) and values.ndim == 1 else None


def _times(values: np.ndarray, unit: str) -> np.ndarray:
    """Days or seconds since 1970 as dates."""
    return pd.to_datetime(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan), unit=unit).to_numpy()


def _whole64(values: np.ndarray) -> ExtensionArray:
    """The whole numbers of bit64, which stand in the bits of doubles; the smallest of them is NA."""
    whole = np.ascontiguousarray(np.ma.getdata(values), dtype=np.float64).view(np.int64)
    return IntegerArray(whole, whole == np.iinfo(np.int64).min)


def _user_missing(values: np.ndarray, attributes: Mapping[str, Any]) -> Any:
    """Values of haven's SPSS columns, those declared missing there as missing."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "if":
        return values
    told = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    gone = np.isin(told, np.ma.filled(np.ma.asarray(attributes.get("na_values", []), dtype=float), np.nan))
    if (ends := attributes.get("na_range")) is not None:
        gone |= (told >= ends[0]) & (told <= ends[1])
    return np.where(gone, np.nan, told)


_CLASSES = {
    "data.frame": lambda columns, _: columns,
    "Date": lambda values, _: _times(values, "D"),
    "POSIXct": lambda values, _: _times(values, "s"),
    "integer64": lambda values, _: _whole64(values),
    "haven_labelled_spss": _user_missing,
}
