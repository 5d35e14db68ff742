"""Records that stay where they are: everything a model asks of them, from one or two passes of an engine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula

from ...errors import ModelError, RecordsError, ValibWarning
from ...records.prior import prior_of
from ...records.reading import CANONICAL, CHECKS, check_cohorts, fault, no_column, no_row_left, resolve_names
from ...records.reshape import ROW_NUMBER
from ...records.sources.content import level_text
from ...records.years import split_columns
from ..algebra import outcome_of
from ..covariates import LIMITS, check_size
from ..design import FormulaState, check_known, refuse_not_finite, say_left_out
from ..equating import ScaleBreak
from ..formula import columns_of, parse, shown
from ..moments import Moments
from ..students import Summed, hash_rows
from .aggregate import Pass, run_pass, years
from .choice import Choice
from .chunks import Chunks, known_terms
from .columns import category_columns, pick, structure
from .judge import SAMPLE, Judge, check_line_breaks, with_stripped, with_years
from .layout import JOINED, LINKED, Column, Engine, Layout, Test, number_sql
from .repeated import Repeated
from .values import Values
from .wide import number_rows, reshape_rows, with_joined


class StreamedRecords:
    """Student records that an engine reads; see :class:`valib.sums.students.Stream`.

    columns: this library's name -> the source's, as :func:`valib.read_records` takes them. formula, by_cell: what will
    be asked, so that the first pass, which also checks the records, is the only one. where, prior, reshape, year_zero: as
    read_records takes them. Raises as read_records does.
    """

    def __init__(
        self,
        engine: Engine,
        columns: Mapping[str, Any] | None = None,
        formula: str | FormulaState = "score ~ prior_score",
        by_cell: bool = False,
        where: str | None = None,
        prior: Mapping[str, Any] | None = None,
        reshape: Mapping[str, Any] | None = None,
        year_zero: float | None = None,
    ):
        self._engine, self._by_cell, self._checked = engine, by_cell, not engine.is_text
        wanted, mapping = None if prior is None else prior_of(prior), split_columns(columns)
        self._shape(mapping[0], reshape, wanted is not None)
        self._judge = Judge(engine, self._canonical(*mapping, wanted is not None, year_zero))
        check_line_breaks(engine, [self._judge.columns[c].original for c in ("student", "school")])
        self._choice = Choice(engine, self._judge, where, wanted)
        self._passes: dict[tuple[Any, ...], Pass] = {}
        text = formula.formula if isinstance(formula, FormulaState) else formula
        try:
            self._base = self._pass(text, by_cell)
        except ModelError as error:
            named = str(error).startswith(f"{engine.name}: ")
            raise ModelError(str(error) if named else f"{engine.name}: {error}") from error
        self.attrs = {"source": engine.name, **self._base.account(), **self._choice.account(self._base)}
        self.cohorts = self._base.cohorts()
        self._repeated = Repeated(engine, self._base.layout, self._choice.every_column)
        self._values = Values(engine.sql, self._judge)
        self.columns = list(self._judge.columns)

    def sum_students(
        self,
        cohorts: Sequence[int],
        formula: str | FormulaState,
        by_cell: bool = False,
        links: Sequence[ScaleBreak] = (),
        describe: bool = False,
    ) -> Summed:
        """See :func:`valib.sums.students.sum_students`."""
        check_cohorts(cohorts, self.cohorts)
        state = formula if isinstance(formula, FormulaState) else None
        text = formula.formula if isinstance(formula, FormulaState) else formula
        extra = self._repeated.of(cohorts)
        found = self._pass(text, by_cell or self._by_cell, links, cohorts)
        left_out = self._left_out(found, cohorts)
        if found.wide is None:
            moments, state = Chunks(self._engine, found, text, state).sums(cohorts, by_cell)
        else:
            moments, state = self._designed(found, text, state, cohorts, by_cell)
        columns = found.describe(found.needed, cohorts) if describe else {}
        fingerprint = self._fingerprint(found, cohorts) if describe else ""
        return Summed(moments, state, left_out, columns, fingerprint, extra)

    def describe_column(self, cohort: int, column: str, links: Sequence[ScaleBreak] = ()) -> tuple[float, float]:
        """See :func:`valib.sums.students.describe_column`."""
        check_cohorts([cohort], self.cohorts)
        key = self._key(links, [cohort])
        found = next((p for (_, k), p in self._passes.items() if k == key and column in p.numbers), None)
        found = found or self._pass(f"score ~ `{column}`", False, links, [cohort])
        return found.mean_and_sd(cohort, column)

    def correlation(self, cohort: int) -> float:
        """See :func:`valib.sums.students.correlation`."""
        return self._repeated.correlation(cohort)

    def tested(self, cohorts: Sequence[int]) -> pd.Series:
        """Students with an outcome score, index (cohort, school)."""
        return self._repeated.tested(cohorts)

    def in_several(self, cohorts: Sequence[int]) -> tuple[int, int, list[int], int]:
        """See :func:`valib.sums.students.in_several`."""
        return self._repeated.in_several(cohorts, self._values.grade())

    def levels(self, cohorts: Sequence[int], column: str) -> dict[int, dict[str, int]]:
        """See :func:`valib.sums.students.levels_of`."""
        return self._repeated.levels(cohorts, self._values.as_text(column))

    def close(self) -> None:
        """Let go of the source."""
        self._engine.close()

    def _shape(self, mapping: dict[str, str], reshape: Mapping[str, Any] | None, joined: bool) -> None:
        """Have the engine number its rows, turn wide ones into a row a cohort, and make room for prior scores."""
        engine = self._engine
        if mapping.get("student") == ROW_NUMBER and ROW_NUMBER not in engine.names:
            number_rows(engine)
        if reshape is not None:
            reshape_rows(engine, reshape, mapping)
        if joined:
            with_joined(engine)

    def _canonical(
        self, mapping: dict[str, str], year: str | None, joined: bool, year_zero: float | None
    ) -> dict[str, Column]:
        """The columns by their canonical names; refuses what read_records refuses."""
        engine = self._engine
        renamed = resolve_names(engine.name, engine.names, mapping)
        columns = {renamed.get(c.name, c.name): replace(c, name=renamed.get(c.name, c.name)) for c in engine.columns}
        if joined:
            if LINKED in columns:
                raise RecordsError(
                    f"{engine.name}: has a column for prior_score, and prior asks for another: take one of them."
                )
            columns[LINKED] = Column(LINKED, JOINED, "number", original=LINKED)
        if year_zero is not None and "cohort" in columns and columns["cohort"].kind in ("number", "text"):
            value = number_sql(engine.sql, columns["cohort"])
            columns["cohort"] = replace(
                columns["cohort"],
                sql=f"({value} + {engine.sql.number(year_zero)})",
                kind="number",
                whole=False,
                words=False,
            )
        if "cohort" not in columns:
            columns["cohort"] = Column("cohort", "0", "number", whole=True, original="cohort")
            warnings.warn(
                f"{engine.name}: no column for cohort, so all students are taken as one cohort, 0.",
                ValibWarning,
                stacklevel=4,
            )
        if missing := [c for c in CANONICAL if c not in columns]:
            raise no_column(engine.name, missing, engine.names)
        columns["school"] = with_stripped(engine, columns["school"])
        columns["cohort"] = with_years(engine, columns["cohort"], year)
        return {name: columns[name] for name in (*CANONICAL, *(c for c in columns if c not in CANONICAL))}

    @staticmethod
    def _key(links: Sequence[ScaleBreak], cohorts: Sequence[int]) -> tuple[Any, ...]:
        """What a pass over carried-back scores is known by; () for a pass over the scores as they are."""
        return (tuple(links), tuple(cohorts)) if links else ()

    def _pass(self, text: str, by_cell: bool, links: Sequence[ScaleBreak] = (), cohorts: Sequence[int] = ()) -> Pass:
        """The pass for a formula, from memory if it was made before."""
        key = text, self._key(links, cohorts)
        if key not in self._passes or (by_cell and not self._passes[key].has_cells_cross):
            carried: dict[str, tuple[float, float]] = {}
            for b in sorted(links, key=lambda b: b.cohort, reverse=True):
                a, s = carried.get(b.column, (0.0, 1.0))
                carried[b.column] = (b.linked.intercept + b.linked.slope * a, b.linked.slope * s)
            only = int(cohorts[0]) if links else None
            self._passes[key] = self._make(text, by_cell, carried, only)
        return self._passes[key]

    def _make(self, text: str, by_cell: bool, links: dict[str, tuple[float, float]], only: int | None) -> Pass:
        parsed = parse(text)
        needed = self._needed(parsed, text)
        kinds = self._judge.kinds(needed, parsed)
        texts = tuple(c for c in needed if kinds[c] == "text")
        columns = dict(self._judge.columns)
        for c in needed:
            if kinds[c] == "category":
                columns[c] = replace(columns[c], kind="category")
            elif kinds[c] == "truth" and columns[c].words:
                columns[c] = self._judge.truth(columns[c])
        layout = Layout(
            self._engine.sql,
            columns,
            tuple(c for c in needed if kinds[c] != "text"),
            texts,
            links,
            only,
            self._engine.short,
            self._choice.kept,
        )
        layout.source = self._choice.source(layout)
        categories = category_columns(parsed, kinds)
        levels = {
            c: [False, True] if c not in columns else self._judge.levels(columns[c], kinds[c], layout)
            for c in set(categories.values())
        }
        found = run_pass(self._engine, layout, parsed, needed, categories, levels, by_cell, SAMPLE)
        if self._judge.learned(found):
            return self._make(text, by_cell, links, only)
        if found.short and not self._checked:
            self._engine.tell_short()
        self._checked = True
        self._refuse(found)
        if turned := found.unreadable:  # text after all
            self._judge.turn(turned)
            return self._make(text, by_cell, links, only)
        return found

    def _needed(self, parsed: Formula, text: str) -> list[str]:
        """The columns of a formula; refuses one that is not there, or that a stream has no sums of."""
        needed = sorted(columns_of(parsed.lhs) | columns_of(parsed.rhs))
        absent = [c for c in needed if c not in self._judge.columns]
        if absent:
            raise ModelError(
                f"The formula {shown(text)} needs column {_quoted(absent)}, which the records do not have;"
                f" they have {_quoted(list(self._judge.columns))}."
            )
        if terms := known_terms(parsed):
            raise ModelError(
                f"The formula {shown(text)} has the term {terms[0]}, whose rows a stream leaves out: take --engine memory."
            )
        if codes := sorted(code_columns(parsed)):
            raise ModelError(
                f"The formula {shown(text)} has the codes of column '{codes[0]}' for a covariate, which a "
                "stream cannot: take --engine memory."
            )
        return needed

    def _refuse(self, found: Pass) -> None:
        """Raise RecordsError for what the canonical columns must not hold, or if no row is left."""
        told = []
        faults: dict[tuple[str, str], list[str]] = {}
        for test in sorted(found.faults, key=_in_order):
            faults.setdefault((test.name, test.fault), []).append(f"({test.sql})")
        for (name, must), conditions in faults.items():
            column = self._judge.columns[name]
            count, where, value = self._engine.where(" OR ".join(conditions), column.sql)
            told.append(fault(column.original, name, must, count, self._choice.rows(found), where, value))
        if told:
            raise RecordsError(f"{self._engine.name}: {'; '.join(told)}.")
        if not self._choice.rows(found):
            raise RecordsError(f"{self._engine.name}: holds no rows.")
        self._choice.check(found)
        if not found.usable().any():
            raise no_row_left(self._engine.name, found.account()["left_out"])

    def _left_out(self, found: Pass, cohorts: Sequence[int]) -> dict[str, int]:
        """Rows that lack a covariate, by column; said in a warning, and refused if none is left."""
        counts, dropped, total = found.lacking(cohorts)
        if counts:
            say_left_out(counts, dropped, total)
        return counts

    def _designed(
        self, found: Pass, text: str, state: FormulaState | None, cohorts: Sequence[int], by_cell: bool
    ) -> tuple[Moments, FormulaState]:
        """The moments of a design's columns, picked from the wide ones, and its state."""
        wide, sums = found.wide, found.select(cohorts)
        assert wide is not None  # else the rows come in chunks
        position = found.positions
        total = sums.sums.sum(axis=0)
        held = {
            factor: [level for i, level in enumerate(levels) if total[position[((factor, i),)]] > 0]
            for factor, levels in wide.levels.items()
        }
        if state is None:
            state = FormulaState(text, (), {}, held)
        known = {f: {level_text(v): v for v in levels} for f, levels in state.levels.items()}
        held, own = (
            {f: [known[f].get(level_text(v), v) for v in levels] for f, levels in by.items()}
            for by in (held, wide.levels)
        )
        for factor, levels in held.items():
            check_known(found.categories[factor], set(levels), state.levels[factor])
        names, keys = structure(found.parsed, state)
        if state.names and names != state.names:
            raise ModelError(
                f"The formula {shown(text)} gives the columns {_quoted(names)} on these records, but the "
                f"benchmark has {_quoted(state.names)}."
            )
        back = {
            f: {i: own[f].index(level) for i, level in enumerate(levels) if level in own[f]}
            for f, levels in state.levels.items()
        }
        # a level of the state that is nowhere in the source has no wide column: position -1 is a column of zeros
        at = [
            position.get(tuple(sorted((f, back[f].get(i, -9) if i >= 0 else -1) for f, i in key)), found.zeros)
            for key, _ in keys
        ]
        scale = np.array([s for _, s in keys] + [1.0])
        moments = pick(sums, np.array([*at, found.response]), scale, (*names, outcome_of(text)), by_cell)
        self._check_sizes(found, moments, at, text, cohorts)
        return moments, replace(state, names=names)

    def _check_sizes(self, found: Pass, moments: Moments, at: Sequence[int], text: str, cohorts: Sequence[int]) -> None:
        """Refuse columns that memory refuses: not finite, or of a size that squares cannot hold.

        The sums bound the largest number of a column; where the bound is not enough, the rows are asked.
        at: where the columns of the moments but the response are among the wide ones.
        """
        wide = found.wide
        assert wide is not None
        n, mean = moments.n_students, moments.sums.sum(axis=0) / moments.n_students
        with np.errstate(invalid="ignore", over="ignore"):
            square = np.diag(moments.pooled()) / n + moments.shift * (2 * mean + moments.shift)
            size = np.sqrt(np.maximum(square, 0.0))
        sqls = {found.positions[key]: sql for key, sql in wide.sqls.items()}
        for k, position in enumerate([*at, found.response]):
            sql = wide.response if position == found.response else sqls.get(position)
            if sql and not (LIMITS[0] <= size[k] and size[k] * np.sqrt(n) <= LIMITS[1]):
                rows = self._engine.query(
                    f"SELECT l.t, max(abs({sql})) FROM {found.relation} WHERE status = 0 GROUP BY l.t"
                )
                largest = rows.column(1).to_numpy()[np.isin(years(rows.column(0)), cohorts)].max()
                size[k] = (
                    max(largest, size[k]) if np.isfinite(size[k]) else largest
                )  # false statistics of a damaged file
        finite = np.isfinite(size)
        refuse_not_finite(finite[:-1], bool(finite[-1]), moments.names[:-1], text)
        check_size(size[None, :-1], size[None, -1], moments.names[:-1])

    def _fingerprint(self, found: Pass, cohorts: Sequence[int]) -> str:
        """The number of the rows used, as :func:`valib.sums.students.hash_rows` makes it."""
        total, batch = 0, self._engine.batches(found.rows_query())
        for rows in batch:
            frame = found.frame(rows)
            total += hash_rows(frame[frame["cohort"].isin(cohorts)], found.needed)
        return f"{total % 2**64:016x}"


def code_columns(parsed: Formula) -> set[str]:
    """The columns of codes that a formula has among its covariates."""
    return (columns_of(parsed.lhs) | columns_of(parsed.rhs)) & {"school", "student"}


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in list(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _in_order(test: Test) -> tuple[int, int]:
    """Where memory tells this fault among all: by columns, then by what they must hold."""
    told = list(CHECKS[test.name])
    return CANONICAL.index(test.name), told.index(test.fault) if test.fault in told else len(told)
