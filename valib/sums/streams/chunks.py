"""Designs that SQL cannot make: their complete rows, batch by batch, through formulaic and added up."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from formulaic import Formula

from ...errors import ModelError
from ...records.sources.content import level_text
from ..algebra import outcome_of
from ..covariates import as_covariates, as_known, check_size
from ..design import FormulaState, check_known, make_cells, materialise, refuse_not_finite
from ..formula import KNOWN, LEARNING, factors, named_levels, shown
from ..moments import Moments, moments_from_arrays, near_mean
from .aggregate import Pass, years
from .columns import compared
from .layout import Engine
from .sql import Compiler, NotInSql


def learning_terms(parsed: Formula) -> list[str]:
    """The factors that learn their numbers from all students first, as ``center`` and splines do."""
    return _terms_with([name for name in LEARNING if name != "school_mean"], parsed)


def known_terms(parsed: Formula) -> list[str]:
    """The factors of a column that may be missing, whose rows a stream leaves out."""
    return _terms_with(KNOWN, parsed)


def _terms_with(functions: Collection[str], parsed: Formula) -> list[str]:
    return [text for text in factors(parsed.rhs) if re.search(rf"\b({'|'.join(functions)})\(", text)]


class Chunks:
    """The rows of a pass whose formula has no SQL. state: with what its transforms learned of other students, or None.

    A transform that learns from all students (``center``, ``scale``, ``poly``, splines) has no place in a stream unless
    it was learned before: ModelError names it.
    """

    def __init__(self, engine: Engine, found: Pass, text: str, state: FormulaState | None):
        self._engine, self._found, self._text, self._state = engine, found, text, state
        if state is None and (terms := learning_terms(found.parsed)):
            raise ModelError(
                f"The term {terms[0]} learns from all students, which a stream cannot: take "
                "--engine memory, or write it with numbers, such as I(prior_score - 500)."
            )
        if any("school_mean" in name for name in factors(found.parsed.rhs)):
            raise self._impossible()

    def sums(self, cohorts: Sequence[int], by_cell: bool) -> tuple[Moments, FormulaState]:
        """The moments of some cohorts' rows and the formula's state."""
        levels = self._levels(cohorts)
        state = self._state or FormulaState(self._text, (), {}, levels)
        for text, found in levels.items():
            known = {level_text(level): level for level in state.levels[text]}
            check_known(self._found.categories[text], {known.get(level_text(v), v) for v in found}, state.levels[text])
        total: Moments | None = None
        shift = None
        for rows in self._engine.batches(self._found.rows_query()):
            frame = self._found.frame(rows)
            frame = frame[frame["cohort"].isin(cohorts)].reset_index(drop=True)
            if not len(frame):
                continue
            covariates = as_known(as_covariates(frame, self._found.parsed), self._found.parsed, state.levels)
            y, X, learned = materialise(covariates, self._found.parsed, state, {}, self._text)
            self._check(learned, state)
            refuse_not_finite(np.isfinite(X).all(axis=0), bool(np.isfinite(y).all()), learned.names, self._text)
            check_size(X, y, learned.names)
            shift = near_mean(X, y, learned.names) if shift is None else shift
            cells = make_cells(frame["school"], frame["cohort"].astype(np.int64))
            part = moments_from_arrays(X, y, cells, learned.names, outcome_of(self._text), by_cell, shift)
            total, state = (
                part if total is None else total + part,
                FormulaState(self._text, learned.names, state.transform_state, state.levels),
            )
        assert total is not None  # the cohorts have rows
        return total, state

    def _compared(self, text: str) -> str:
        """The SQL of a comparison inside C()."""
        try:
            return Compiler(self._engine.sql, self._found.layout.numbers).factor(compared(text))
        except (NotInSql, SyntaxError):
            raise self._impossible() from None

    def _impossible(self) -> ModelError:
        return ModelError(
            f"The formula {shown(self._text)} has a term that a stream cannot make: take --engine memory."
        )

    def _check(self, learned: FormulaState, state: FormulaState) -> None:
        if state.names and learned.names != state.names:
            raise ModelError(
                f"The formula {shown(self._text)} gives other columns on these records than the benchmark has."
            )

    def _levels(self, cohorts: Sequence[int]) -> dict[str, list[Any]]:
        """The levels of every categorical factor among the complete rows of some cohorts, or those that it names."""
        found, out = self._found, {}
        for text, column in found.categories.items():
            if (named := named_levels(text)) is not None:
                out[text] = named
                continue
            if column in found.layout.columns:
                value = f"l.{found.layout.texts.get(column) or found.layout.numbers[column]}"
            elif self._state:
                continue
            else:
                value = self._compared(text)
            rows = self._engine.query(f"SELECT DISTINCT l.t, {value} FROM {found.relation} WHERE status = 0")
            values = rows.column(1).to_pandas()[np.isin(years(rows.column(0)), cohorts)]
            there = set(found.typed(column, values).tolist())
            out[text] = [level for level in found.levels[column] if level in there]
        return out
