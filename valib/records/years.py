"""Cohorts written as school years, such as 2018/19: which year they stand for."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError, ValibWarning
from ..names import LONGEST, readable
from .sources import MISSING
from .sources.content import as_text

MUST = "must hold school years such as 2018/19"
MARKS = "-/_\u2013"
SHAPE = "[12][0-9]{3} ?[/_\u2013-] ?([0-9]{2}|[0-9]{4})"  # read alike by Python, RE2 (DuckDB) and Java (Spark)
_FORM = "columns: {cohort: {column: year, year: start}}, with year: start or year: end"


def split_columns(columns: Mapping[str, Any] | None) -> tuple[dict[str, str], str | None]:
    """The mapping of columns with a name for each, and which year of a school year is the cohort, if that is said.

    Raises
    ------
    RecordsError
        If a column is mapped to anything but a name, and is no cohort with its ``column`` and ``year``.
    """
    plain, year = dict(columns or {}), None
    for name, given in plain.items():
        if not isinstance(given, Mapping):
            continue
        said = given.get("year")
        if name != "cohort" or set(given) != {"column", "year"} or said not in ("start", "end"):
            raise RecordsError(
                f"The column mapping of '{readable(name, LONGEST)}' must be a name or, for cohorts, {_FORM}."
            )
        plain[name], year = given["column"], said
    return plain, year


def starts_of(column: pd.Series, asked: bool = False) -> np.ndarray | None:
    """The years in which school years begin; NaN where there is none, -1 where a value is no school year.

    None if the column holds other cohorts: unless school years are asked for, half of its values must look like them.
    """
    if not asked and (pd.api.types.is_numeric_dtype(column.dtype) or not len(column)):
        return None
    try:
        keys, levels = pd.factorize(as_text(column).str.strip())
    except (TypeError, ValueError):  # half a surrogate pair: the check of the column says so
        return None
    there = np.array([level not in MISSING for level in levels] + [False])[keys]
    looks = np.array([re.fullmatch(SHAPE, level) is not None for level in levels] + [False])[keys]
    if not asked and (not looks.any() or 2 * looks.sum() < there.sum()):
        return None
    starts = np.array([*(_start(level) for level in levels), np.nan])[keys]
    return np.where(there, starts, np.nan)


def _start(text: str) -> float:
    if re.fullmatch(SHAPE, text):
        first, second = int(text[:4]), re.split(f"[{MARKS}]", text)[1].strip()
        if int(second) == (first + 1 if len(second) == 4 else (first + 1) % 100):
            return first
    return -1.0


def say_years(source: str, column: str, year: str | None) -> int:
    """What to add to the year in which a school year begins; a warning says so unless it was asked for."""
    if year is None:
        warnings.warn(
            f"{source}: column '{readable(column, LONGEST)}' holds school years; the cohort is the year in which each ends,"
            " 2019 for 2018/19.",
            ValibWarning,
            stacklevel=4,
        )
    return 0 if year == "start" else 1
