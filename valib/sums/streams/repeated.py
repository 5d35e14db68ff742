"""Students of a stream by school and cohort, those who stand in several rows and those not linked: counted where the
rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from ...records import repeats
from .aggregate import labels, years
from .layout import REASONS, Engine, Layout

FEW = 2000  # rows that show what repeated rows are


class Repeated:
    """The rows of an engine under a layout. They are counted once, for all cohorts, when they are first asked for.

    every_column: gives the layout's rows with all columns of the source.
    """

    def __init__(self, engine: Engine, layout: Layout, every_column: Callable[[Layout], str]):
        self._engine, self._layout, self._every_column = engine, layout, every_column
        column = layout.columns["student"]
        self._student = layout.sql.trimmed(column.sql) if column.kind == "text" else column.sql

    def of(self, cohorts: Sequence[int]) -> pd.Series:
        """Rows beyond the first of a student, by school; RecordsError where they are more than slips."""
        cells = self._cells[self._cells.index.get_level_values("cohort").isin(cohorts)]
        extra = cells["extra"][cells["extra"] > 0]
        repeats.refuse(extra, cells["n"].groupby(level="cohort").sum(), self._examples)
        return extra.groupby(level="school").sum()

    @cached_property
    def _counted(self) -> pd.DataFrame:
        """n, extra (rows beyond the first of a student), linked and tested of every cell, index (cohort, school)."""
        found = self._engine.query(
            f"SELECT s, t, status, count(*), count(DISTINCT p) FROM {self._coded} GROUP BY s, t, status"
        )
        n, status = (found.column(k).to_numpy().astype(np.int64) for k in (3, 2))
        lacking = self._layout.lacking
        tested = (status & lacking(lambda test: test.name in ("cohort", "school", "score"))) == 0
        linked = (status & lacking(lambda test: test.name in REASONS)) == 0
        found, n, status, linked = found.filter(tested), n[tested], status[tested], linked[tested]
        table = pd.DataFrame(
            {
                "cohort": years(found.column(1)).astype(np.int64),
                "school": labels(self._layout, found.column(0)),
                "n": np.where(status == 0, n, 0),
                "extra": np.where(status == 0, n - found.column(4).to_numpy(), 0),
                "linked": np.where(linked, n, 0),
                "tested": n,
            }
        )
        return table.groupby(["cohort", "school"]).sum()

    @property
    def _cells(self) -> pd.DataFrame:
        """The cells with rows that are complete."""
        return self._counted[self._counted["n"] > 0]

    def tested(self, cohorts: Sequence[int]) -> pd.Series:
        """Students with an outcome score, index (cohort, school)."""
        return self._counted.loc[self._counted.index.get_level_values("cohort").isin(cohorts), "tested"]

    @property
    def _coded(self) -> str:
        """The rows with a number for the student's code."""
        code = f"{self._layout.sql.hashed(self._student)} AS p"
        return f"({self._layout.rows(code)}) AS l"

    @cached_property
    def _correlations(self) -> dict[int, float]:
        x, y = (self._layout.numbers[name] for name in ("prior_score", "score"))
        found = self._engine.query(f"SELECT t, corr({x}, {y}) FROM {self._coded} WHERE status = 0 GROUP BY t")
        r = found.column(1).to_pandas().to_numpy(dtype=np.float64)
        return dict(zip(years(found.column(0)).astype(np.int64).tolist(), r.tolist(), strict=True))

    def correlation(self, cohort: int) -> float:
        """Of score and prior score over the rows of a cohort; nan where one does not vary."""
        return self._correlations.get(cohort, float("nan"))

    def in_several(self, cohorts: Sequence[int]) -> tuple[int, int, list[int]]:
        """See :func:`valib.sums.students.in_several`."""
        number = self._layout.sql.number
        asked = ", ".join(number(t) for t in cohorts)
        cast = "CAST(t AS DOUBLE)"
        each = f"(SELECT DISTINCT p, {cast} AS y FROM {self._coded} WHERE status = 0 AND {cast} IN ({asked})) AS e"
        first = f"(SELECT p, count(*) AS k, min(y) AS y FROM {each} GROUP BY p) AS f"
        found = self._engine.query(
            f"SELECT y, count(*), sum(CASE WHEN k > 1 THEN 1 ELSE 0 END) FROM {first} GROUP BY y"
        )
        counts = self._engine.query(f"SELECT y, count(*) FROM {each} GROUP BY y")
        total, several = (int(sum(found.column(k).to_pylist())) for k in (1, 2))
        new = dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))
        here = dict(zip(counts.column(0).to_pylist(), counts.column(1).to_pylist(), strict=True))
        return several, total, [int(t) for t in sorted(here) if here[t] > new.get(t, 0)]

    def _examples(self, cohorts: list[int]) -> pd.DataFrame:
        """Some of the repeated rows, with all their columns under the library's names."""
        layout, columns = self._layout, list(self._layout.columns.values())
        values = ", ".join(f"{column.sql} AS x{k}" for k, column in enumerate(columns))
        rows = f"({layout.rows(f'{self._student} AS p, {values}', self._every_column(layout))})"
        years_asked = ", ".join(layout.sql.number(cohort) for cohort in cohorts)
        again = (
            f"SELECT s, t, p FROM {rows} AS l WHERE status = 0 AND CAST(t AS DOUBLE) IN ({years_asked}) "
            f"GROUP BY s, t, p HAVING count(*) > 1 LIMIT {FEW // 4}"
        )
        found = self._engine.query(
            f"SELECT l.s, l.t, l.p, {', '.join(f'l.x{k}' for k in range(len(columns)))} FROM {rows} AS l "
            f"JOIN ({again}) AS d ON l.s = d.s AND l.t = d.t AND l.p = d.p WHERE l.status = 0 LIMIT {FEW}"
        )
        table: pd.DataFrame = found.to_pandas()
        table.columns = ["_s", "_t", "_p", *(column.name for column in columns)]
        return table
