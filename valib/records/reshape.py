"""Wide records: one row a student with a column for each year, turned into one row for each student and cohort."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import LONGEST, readable
from .sources import Source

FORM = '{cohort: [2021, 2023], columns: {score: "read_{cohort}", prior_score: "read_{cohort-2}"}}'
ROW_NUMBER = "row_number"
_YEAR = re.compile(r"\{(cohort|yy)\s*(?:([+-])\s*(\d{1,2}))?\}")


def columns_by_cohort(reshape: Mapping) -> dict[str, dict[int, str]]:
    """Which of the source's columns holds what in which cohort: new name -> cohort -> column.

    ``reshape`` has the cohorts and, for each new column, a pattern or the columns one by one: see :data:`FORM`. In a pattern
    ``{cohort}`` stands for the year, ``{cohort-2}`` for two years before, ``{yy}`` and ``{yy-2}`` for their last two digits.

    Raises
    ------
    ValueError
        If it has another form, or a pattern holds no year; the text is what is expected.
    """
    if not isinstance(reshape, Mapping) or set(reshape) != {"cohort", "columns"}:
        raise ValueError(f"a mapping such as {FORM}")
    cohorts, columns = reshape["cohort"], reshape["columns"]
    whole = isinstance(cohorts, list) and all(isinstance(t, int) and not isinstance(t, bool) for t in cohorts)
    if not whole or not cohorts or len(set(cohorts)) < len(cohorts):
        raise ValueError(f"under cohort a list of cohorts, each once, as in {FORM}")
    if not isinstance(columns, Mapping) or not columns or "cohort" in columns:
        raise ValueError(f"under columns a pattern for each column but cohort, as in {FORM}")
    return {str(name): _columns(str(name), given, cohorts) for name, given in columns.items()}


def _columns(name: str, given: object, cohorts: Sequence[int]) -> dict[int, str]:
    if isinstance(given, Mapping):
        if set(given) != set(cohorts) or not all(isinstance(column, str) for column in given.values()):
            raise ValueError(f"under columns.{name} one column for each cohort: {', '.join(map(str, cohorts))}")
        return dict(given)
    if not isinstance(given, str) or not _YEAR.search(given):
        raise ValueError(f"under columns.{name} a name with {{cohort}} in it, such as read_{{cohort}}")
    return {cohort: _YEAR.sub(functools.partial(_year, cohort=cohort), given) for cohort in cohorts}


def _year(found: re.Match, cohort: int) -> str:
    year = cohort + int(f"{found[2]}{found[3]}" if found[2] else 0)
    return f"{year % 100:02d}" if found[1] == "yy" else str(year)


@dataclass(frozen=True, slots=True)
class Reshaped(Source):
    """A source with a row for each student and cohort, over one with a row for each student.

    Attributes
    ----------
    inner : the source as it is. parts : new name -> cohort -> its column there.
    at : rows of the source for each row that was read last, cohort by cohort; filled by `read`.
    """

    inner: Source | None = None
    parts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    at: list[np.ndarray] = field(default_factory=list)

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows, cohort by cohort; a student of whom a cohort's columns hold nothing has no row in it."""
        texts, figures = (
            [c for name in wanted for c in (self.parts[name].values() if name in self.parts else [name])]
            for wanted in (text_columns, [name for name in number_columns if name != "cohort"])
        )
        wide = self.inner.read(text_columns=dict.fromkeys(texts), number_columns=dict.fromkeys(figures))
        used = {column for part in self.parts.values() for column in part.values()}
        shared = [name for name in wide.columns if name not in used]
        frames, at = [], []
        for cohort in next(iter(self.parts.values())):
            own = pd.DataFrame({name: wide[part[cohort]] for name, part in self.parts.items()})
            there = np.flatnonzero(own.notna().any(axis=1))
            frames.append(pd.concat([wide[shared], own.assign(cohort=cohort)], axis=1).iloc[there])
            at.append(there)
        self.at[:] = at
        return pd.concat(frames, ignore_index=True)[list(self.columns)]

    def where(self, positions: Collection[int]) -> str:
        """Name the first few rows as the source counts them, each once."""
        rows = np.concatenate(self.at)[list(positions)] if self.at else positions
        return self.inner.where(sorted({int(row) for row in rows}))

    def written(self, position: int, name: str, value: object) -> object:
        """A value as the source writes it; see `Source.written`."""
        cohort = np.repeat(list(next(iter(self.parts.values()))), [len(rows) for rows in self.at])[position]
        if name == "cohort":
            return value
        own = self.parts[name][cohort] if name in self.parts else name
        return self.inner.written(np.concatenate(self.at)[position], own, value)


def parts_of_cohorts(
    source: str, there: Sequence[str], reshape: Mapping
) -> tuple[dict[str, dict[int, str]], list[str]]:
    """The columns by new name and cohort, and those of the columns ``there`` that all cohorts share.

    Raises
    ------
    RecordsError
        If a column that is named, or that a pattern makes, is not there, or a new name stands for another column.
    """
    try:
        parts = columns_by_cohort(reshape)
    except ValueError as error:
        raise RecordsError(f"{source}: reshape needs {error}.") from None
    used = [column for part in parts.values() for column in part.values()]
    absent = [column for column in dict.fromkeys(used) if column not in there]
    if absent:
        names = ", ".join(f"'{readable(name, LONGEST)}'" for name in absent)
        listed = ", ".join(readable(name, LONGEST) for name in there[:30])
        raise RecordsError(f"{source}: reshape names {names}, not among the columns {listed}.")
    shared = [name for name in there if name not in used]
    if clash := [name for name in (*parts, "cohort") if name in shared]:
        raise RecordsError(f"{source}: reshape makes a column '{clash[0]}', but there is one of that name already.")
    return parts, shared


def reshaped(source: Source, reshape: Mapping | None) -> Source:
    """The source with one row for each student and cohort; as it is where there is nothing to reshape.

    Raises
    ------
    RecordsError
        If a column that is named, or that a pattern makes, is not there, or a new name stands for another column.
    """
    if reshape is None:
        return source
    parts, shared = parts_of_cohorts(source.name, source.columns, reshape)
    frame = pd.DataFrame() if source.frame is not None and source.frame.empty else None
    return Reshaped(
        source.name,
        (*shared, *parts, "cohort"),
        frame=frame,
        path=source.path,
        dialect=source.dialect,
        inner=source,
        parts=parts,
    )


@dataclass(frozen=True, slots=True)
class Numbered(Source):
    """A source whose rows are students without a code: it has a column of their numbers, from 1."""

    inner: Source | None = None

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows, with their numbers."""
        frame = self.inner.read([name for name in text_columns if name != ROW_NUMBER], number_columns)
        return frame.assign(**{ROW_NUMBER: np.arange(1, len(frame) + 1)})

    def where(self, positions: Collection[int]) -> str:
        """Name the first few rows as the source counts them."""
        return self.inner.where(positions)

    def written(self, position: int, name: str, value: object) -> object:
        """A value as the source writes it; see `Source.written`."""
        return value if name == ROW_NUMBER else self.inner.written(position, name, value)


def numbered(source: Source, columns: Mapping[str, str]) -> Source:
    """The source with a column of row numbers, if that is to be the students' code and there is no such column."""
    if columns.get("student") != ROW_NUMBER or ROW_NUMBER in source.columns:
        return source
    return Numbered(
        source.name,
        (*source.columns, ROW_NUMBER),
        frame=source.frame,
        path=source.path,
        dialect=source.dialect,
        inner=source,
    )
