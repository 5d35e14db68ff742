"""Records that stay where they are: everything a model asks of them, from one or two passes of an engine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from ..covariates import as_covariates, check_size
from ..design import FormulaState, check_known, refuse_not_finite, say_left_out
from ..errors import ModelError, RecordsError, ValibWarning
from ..formula import columns_of, parse
from ..formula_code import shown
from ..moments import Moments
from ..names import example
from ..records import CANONICAL, check_cohorts, resolve_names
from ..scale import ScaleBreak
from ..sources import MISSING, as_numbers
from ..summed import Summed, hash_rows
from .chunks import Chunks
from .dialect import DuckSql
from .expressions import NotInSql
from .layout import NUMBERS, Column, Layout
from .passes import Pass, run_pass
from .wide import category_columns, pick, structure

SAMPLE = 10_000      # rows that say what a covariate is, and about where its mean lies
MOST_LEVELS = 1_000  # of a categorical covariate
TRUE, FALSE = ("True", "TRUE", "true"), ("False", "FALSE", "false")  # in a text file


class Engine(Protocol):
    """What reads a source: DuckDB or Spark."""

    name: str
    names: list[str]
    columns: list[Column]
    table: str
    sql: DuckSql
    is_text: bool

    def query(self, sql: str) -> pa.Table: ...
    def put(self, name: str, table: pa.Table) -> str: ...
    def where(self, condition: str, column: str) -> tuple[int, str, str]: ...
    def batches(self, sql: str) -> object: ...
    def order(self, name: str) -> list[str] | None: ...


class StreamedRecords:
    """Student records that an engine reads; see :class:`valib.summed.Stream`.

    columns: this library's name -> the source's, as :func:`valib.read_records` takes them. formula, by_cell: what will
    be asked, so that the first pass, which also checks the records, is the only one. Raises as read_records does.
    """

    def __init__(self, engine: Engine, columns: Mapping[str, str] | None = None,
                 formula: str | FormulaState = "score ~ prior_score", by_cell: bool = False):
        self._engine, self._by_cell = engine, by_cell
        self._columns = self._canonical(dict(columns or {}))
        self._passes: dict[tuple, Pass] = {}
        self._words: set[str] = set()  # covariates of a text file that turned out not to be numbers
        text = formula.formula if isinstance(formula, FormulaState) else formula
        try:
            self._base = self._pass(text, by_cell)
        except ModelError as error:
            raise ModelError(f"{engine.name}: {error}") from error
        self.attrs = {"source": engine.name, **self._base.account()}
        self.cohorts = self._base.cohorts()

    def sum_students(self, cohorts: Sequence[int], formula: str | FormulaState, by_cell: bool = False,
                     links: Sequence[ScaleBreak] = (), describe: bool = False) -> Summed:
        """See :func:`valib.summed.sum_students`."""
        check_cohorts(cohorts, self.cohorts)
        state = formula if isinstance(formula, FormulaState) else None
        text = state.formula if state else formula
        found = self._pass(text, by_cell or self._by_cell, links, cohorts)
        left_out = self._left_out(found, cohorts)
        if found.wide is None:
            moments, state = Chunks(self._engine, found, text, state).sums(cohorts, by_cell)
        else:
            moments, state = self._designed(found, text, state, cohorts, by_cell)
        columns = found.describe(found.needed, cohorts) if describe else {}
        return Summed(moments, state, left_out, columns, self._fingerprint(found, cohorts) if describe else "")

    def describe_column(self, cohort: int, column: str, links: Sequence[ScaleBreak] = ()) -> tuple[float, float]:
        """See :func:`valib.summed.describe_column`."""
        check_cohorts([cohort], self.cohorts)
        key = self._key(links, [cohort])
        found = next((p for (_, k), p in self._passes.items() if k == key and column in p.numbers), None)
        found = found or self._pass(f"score ~ `{column}`", False, links, [cohort])
        return found.mean_and_sd(cohort, column)

    def close(self) -> None:
        """Let go of the source."""
        self._engine.close()

    def _canonical(self, mapping: dict[str, str]) -> dict[str, Column]:
        """The columns by their canonical names; refuses what read_records refuses."""
        engine = self._engine
        renamed = resolve_names(engine.name, engine.names, mapping)
        columns = {renamed.get(c.name, c.name): replace(c, name=renamed.get(c.name, c.name)) for c in engine.columns}
        if "cohort" not in columns:
            columns["cohort"] = Column("cohort", "0", "number", whole=True, original="cohort")
            warnings.warn(f"{engine.name}: no column for cohort, so all students are taken as one cohort, 0.",
                          ValibWarning, stacklevel=4)
        if missing := [c for c in CANONICAL if c not in columns]:
            raise RecordsError(f"{engine.name}: no column for {', '.join(missing)}; the columns there are "
                               f"{', '.join(engine.names)}.")
        return {name: columns[name] for name in (*CANONICAL, *(c for c in columns if c not in CANONICAL))}

    @staticmethod
    def _key(links: Sequence[ScaleBreak], cohorts: Sequence[int]) -> tuple:
        """What a pass over carried-back scores is known by; () for a pass over the scores as they are."""
        return (tuple(links), tuple(cohorts)) if links else ()

    def _pass(self, text: str, by_cell: bool, links: Sequence[ScaleBreak] = (), cohorts: Sequence[int] = ()) -> Pass:
        """The pass for a formula, from memory if it was made before."""
        key = text, self._key(links, cohorts)
        if key not in self._passes or (by_cell and not self._passes[key].has_cells_cross):
            carried: dict[str, tuple[float, float]] = {}
            for b in sorted(links, key=lambda b: b.cohort, reverse=True):
                a, s = carried.get(b.column, (0.0, 1.0))
                carried[b.column] = (b.link.intercept + b.link.slope * a, b.link.slope * s)
            only = int(cohorts[0]) if links else None
            self._passes[key] = self._make(text, by_cell, carried, only)
        return self._passes[key]

    def _make(self, text: str, by_cell: bool, links: dict[str, tuple[float, float]], only: int | None) -> Pass:
        parsed = parse(text)
        needed = sorted(columns_of(parsed.lhs) | columns_of(parsed.rhs))
        absent = [c for c in needed if c not in self._columns]
        if absent:
            raise ModelError(f"The formula {shown(text)} needs column {_quoted(absent)}, which the records do not have;"
                             f" they have {_quoted(list(self._columns))}.")
        kinds = self._kinds(needed, parsed)
        texts = tuple(c for c in needed if kinds[c] == "text")
        judged = {c: self._truth(self._columns[c]) for c in needed if kinds[c] == "truth" and self._columns[c].words}
        columns = {**self._columns, **judged}
        layout = Layout(self._engine.sql, columns, tuple(c for c in needed if kinds[c] != "text"), texts,
                        links, only)
        try:
            categories = category_columns(parsed, kinds)
            levels = {c: self._levels(columns[c], kinds[c]) for c in set(categories.values())}
        except NotInSql:
            categories, levels = None, {}
        found = run_pass(self._engine, layout, parsed, needed, categories, levels, by_cell, SAMPLE)
        self._refuse(found)
        if turned := found.unreadable | {c for c in judged if found.lacks(c)}:  # text after all
            self._words |= turned
            return self._make(text, by_cell, links, only)
        return found

    def _kinds(self, needed: list[str], parsed) -> dict[str, str]:
        """number, truth or text for every column of the formula, judged by its type or, in a text file, first rows."""
        sample = self._sample(needed)
        as_covariates(sample.dropna()[needed], parsed) if len(sample.dropna()) else None
        return {c: "text" if not pd.api.types.is_numeric_dtype(sample[c].dtype) else
                ("truth" if pd.api.types.is_bool_dtype(sample[c].dtype) else "number") for c in needed}

    def _sample(self, needed: list[str]) -> pd.DataFrame:
        """The first rows with the columns as read_records would give them."""
        columns = [self._columns[c] for c in needed]
        chosen = ", ".join(f"{c.sql} AS k{i}" for i, c in enumerate(columns))
        rows = self._engine.query(f"SELECT {chosen} FROM (SELECT * FROM {self._engine.table} LIMIT {SAMPLE}) AS first")
        frame = pd.DataFrame({c.name: rows.column(i).to_pandas() for i, c in enumerate(columns)})
        for c in columns:
            text = frame[c.name].str.replace(",", ".") if c.words and c.decimal == "," else frame[c.name]
            values, bad = as_numbers(text)
            judged = c.words and c.name not in self._words
            if c.name in (*NUMBERS, "cohort") or (judged and not bad.any()):
                frame[c.name] = values
            elif judged and frame[c.name].isin([*TRUE, *FALSE]).all():
                frame[c.name] = frame[c.name].isin(TRUE)
            elif c.words:
                frame[c.name] = frame[c.name].mask(frame[c.name].isin(MISSING))
        return frame

    def _truth(self, column: Column) -> Column:
        """A column of a text file with the words true and false, as 1 and 0; anything else is NULL."""
        listed, x = self._engine.sql.listed, column.sql
        return replace(column, sql=f"CASE WHEN {listed(x, TRUE)} THEN 1 WHEN {listed(x, FALSE)} THEN 0 END",
                       kind="truth", whole=True, words=False)

    def _levels(self, column: Column, kind: str) -> list:
        """Every level of a categorical column, as plain Python values in order."""
        name = column.name
        source = f"SELECT DISTINCT {column.sql} AS level FROM {self._engine.table} LIMIT {MOST_LEVELS + 2}"
        found = self._engine.query(source).column(0).to_pandas()
        if len(found) > MOST_LEVELS + 1:
            raise ModelError(f"Column '{name}' has more than {MOST_LEVELS:,} levels, too many for a category.")
        if column.words and kind == "text":
            found = found.mask(found.isin(MISSING))
        present = found.dropna()
        if kind == "text":
            kept = self._engine.order(column.original) or []
            return sorted(present.astype("str").tolist(), key=lambda v: (kept.index(v) if v in kept else len(kept), v))
        if kind == "truth":
            return sorted(bool(v) for v in present)
        values = as_numbers(present)[0]
        values = np.unique(values[~np.isnan(values)])
        whole = name == "cohort" or (len(present) == len(found) and (column.whole or (
            column.words and present.astype("str").str.strip().str.fullmatch(r"[+-]?\d+").all())))
        return [int(v) for v in values] if whole and name not in NUMBERS else [float(v) for v in values]

    def _refuse(self, found: Pass) -> None:
        """Raise RecordsError for what the canonical columns must not hold, or if no row is left."""
        told = []
        for test in sorted(found.faults, key=lambda test: CANONICAL.index(test.name)):
            column = self._columns[test.name]
            count, where, value = self._engine.where(test.sql, column.sql)
            known = "" if test.name == column.original else f" ({test.name})"
            first = example(value, count, int(found.n.sum()))
            rows = f"{count} rows do not" if count > 1 else "1 row does not"
            told.append(f"column '{column.original}'{known} {test.fault}, but {rows} ({where}{first})")
        if told:
            raise RecordsError(f"{self._engine.name}: {'; '.join(told)}.")
        if not found.n.sum():
            raise RecordsError(f"{self._engine.name}: holds no rows.")
        if not found.usable().any():
            left = "; ".join(f"{entry['rows']} with {entry['reason']}" for entry in found.account()["left_out"])
            raise RecordsError(f"{self._engine.name}: no row can be used ({left}).")

    def _left_out(self, found: Pass, cohorts: Sequence[int]) -> dict[str, int]:
        """Rows that lack a covariate, by column; said in a warning, and refused if none is left."""
        counts, dropped, total = found.lacking(cohorts)
        if counts:
            say_left_out(counts, dropped, total)
        return counts

    def _designed(self, found: Pass, text: str, state: FormulaState | None, cohorts: Sequence[int],
                  by_cell: bool) -> tuple[Moments, FormulaState]:
        """The moments of a design's columns, picked from the wide ones, and its state."""
        wide, sums = found.wide, found.moments.select(cohorts)
        position = found.positions
        total = sums.sums.sum(axis=0)
        there = {factor: [level for i, level in enumerate(levels) if total[position[((factor, i),)]] > 0]
                 for factor, levels in wide.levels.items()}
        if state is None:
            state = FormulaState(text, (), {}, there)
        for factor, levels in there.items():
            check_known(found.categories[factor], set(levels), state.levels[factor])
        names, keys = structure(found.parsed, state)
        if state.names and names != state.names:
            raise ModelError(f"The formula {shown(text)} gives the columns {_quoted(names)} on these records, but the "
                             f"benchmark has {_quoted(state.names)}.")
        back = {f: {i: wide.levels[f].index(level) for i, level in enumerate(levels) if level in wide.levels[f]}
                for f, levels in state.levels.items()}
        # a level of the state that is nowhere in the source has no wide column: position -1 is a column of zeros
        at = [position.get(tuple(sorted((f, back[f].get(i, -9) if i >= 0 else -1) for f, i in key)), found.zeros)
              for key, _ in keys]
        scale = np.array([s for _, s in keys] + [1.0])
        response = str(next(iter(text.split("~")))).strip()
        moments = pick(sums, np.array([*at, found.response]), scale, (*names, response), by_cell)
        n, mean = moments.n_students, moments.sums.sum(axis=0) / moments.n_students
        refuse_not_finite(np.isfinite(mean[:-1]), bool(np.isfinite(mean[-1])), names, text)
        square = np.diag(moments.pooled()) / n + moments.shift * (2 * mean + moments.shift)
        size = np.sqrt(np.maximum(square, 0.0))[None]
        check_size(size[:, :-1], size[:, -1], names)
        return moments, replace(state, names=names)

    def _fingerprint(self, found: Pass, cohorts: Sequence[int]) -> str:
        """The number of the rows used, as :func:`valib.summed.hash_rows` makes it."""
        total, batch = 0, self._engine.batches(found.rows_query())
        for rows in batch:
            frame = found.frame(rows)
            total += hash_rows(frame[frame["cohort"].isin(cohorts)], found.needed)
        return f"{total % 2**64:016x}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in list(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
