"""Designs that SQL cannot make: their complete rows, batch by batch, through formulaic and added up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from formulaic import Formula

from ..covariates import as_covariates, check_size
from ..design import FormulaState, make_cells, materialise, refuse_not_finite
from ..errors import ModelError
from ..formula import categories_of, factors
from ..formula_code import shown
from ..moments import Moments, moments_from_arrays, near_mean
from .passes import Pass, years

LEARNING = ("center", "scale", "standardize", "poly", "bs", "cr", "cs", "cc")


def learning_terms(parsed: Formula) -> list[str]:
    """The factors that learn their numbers from all students first, as ``center`` and splines do."""
    return [text for text in factors(parsed.rhs) if re.search(rf"\b({'|'.join(LEARNING)})\(", text)]


class Chunks:
    """The rows of a pass whose formula has no SQL. state: with what its transforms learned of other students, or None.

    A transform that learns from all students (``center``, ``scale``, ``poly``, splines) has no place in a stream unless
    it was learned before: ModelError names it.
    """

    def __init__(self, engine, found: Pass, text: str, state: FormulaState | None):
        self._engine, self._found, self._text, self._state = engine, found, text, state
        if state is None and (terms := learning_terms(found.parsed)):
            raise ModelError(f"The term {terms[0]} learns from all students, which a stream cannot: take "
                             "--engine memory, or write it with numbers, such as I(prior_score - 500).")
        if any("school_mean" in name for name in factors(found.parsed.rhs)):
            raise ModelError(f"The formula {shown(text)} has a term beside school_mean() that a stream cannot make: "
                             "take --engine memory.")

    def sums(self, cohorts: Sequence[int], by_cell: bool) -> tuple[Moments, FormulaState]:
        """The moments of some cohorts' rows and the formula's state."""
        state = self._state or FormulaState(self._text, (), {}, self._levels(cohorts))
        total, shift = None, None
        for rows in self._engine.batches(self._found.rows_query()):
            frame = self._found.frame(rows)
            frame = frame[frame["cohort"].isin(cohorts)].reset_index(drop=True)
            if not len(frame):
                continue
            covariates = as_covariates(frame, self._found.parsed)
            y, X, learned = materialise(covariates, self._found.parsed, state, {"np": np}, self._text)
            self._check(learned, state)
            refuse_not_finite(np.isfinite(X).all(axis=0), bool(np.isfinite(y).all()), learned.names, self._text)
            check_size(X, y, learned.names)
            shift = near_mean(X, y, learned.names) if shift is None else shift
            cells = make_cells(frame["school"], frame["cohort"].astype(np.int64))
            response = self._text.split("~")[0].strip()
            part = moments_from_arrays(X, y, cells, learned.names, response, by_cell, shift)
            total, state = part if total is None else total + part, FormulaState(
                self._text, learned.names, state.transform_state, state.levels)
        return total, state

    def _check(self, learned: FormulaState, state: FormulaState) -> None:
        if state.names and learned.names != state.names:
            raise ModelError(f"The formula {shown(self._text)} gives other columns on these records than the benchmark "
                             "has.")

    def _levels(self, cohorts: Sequence[int]) -> dict[str, list]:
        """The levels of every categorical factor among the complete rows of some cohorts."""
        found, out = self._found, {}
        for text, factor in factors(found.parsed.rhs).items():
            for column in categories_of(factor):
                if not text.startswith("C(") and column not in found.layout.texts:
                    continue
                alias = found.layout.texts.get(column) or found.layout.numbers[column]
                rows = self._engine.query(f"SELECT DISTINCT l.t, l.{alias} FROM {found.relation} WHERE status = 0")
                there = rows.column(1).to_pandas()[np.isin(years(rows.column(0)), cohorts)]
                kept = self._engine.order(found.layout.columns[column].original) or []
                levels = sorted(pd.unique(there).tolist(), key=lambda v: (kept.index(v) if v in kept else len(kept), v))
                whole = column == "cohort" or found.layout.columns[column].whole
                out[text] = [int(v) for v in levels] if whole and alias.startswith("v") else levels
        return out
