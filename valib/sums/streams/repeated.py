"""Students of a stream by school and cohort, those who stand in several rows and those not linked: counted where the
rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from ...records import repeats
from ...records.long import MOST
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
        return f"({self._layout.rows(self._hashed)}) AS l"

    @property
    def _hashed(self) -> str:
        return f"{self._layout.sql.hashed(self._student)} AS p"

    @cached_property
    def _correlations(self) -> dict[int, float]:
        x, y = (self._layout.numbers[name] for name in ("prior_score", "score"))
        found = self._engine.query(f"SELECT t, corr({x}, {y}) FROM {self._coded} WHERE status = 0 GROUP BY t")
        r = found.column(1).to_pandas().to_numpy(dtype=np.float64)
        return dict(zip(years(found.column(0)).astype(np.int64).tolist(), r.tolist(), strict=True))

    def correlation(self, cohort: int) -> float:
        """Of score and prior score over the rows of a cohort; nan where one does not vary."""
        return self._correlations.get(cohort, float("nan"))

    def in_several(self, cohorts: Sequence[int], grade: str) -> tuple[int, int, list[int], int]:
        """See :func:`valib.sums.students.in_several`. grade: the SQL of a row's grade."""
        cast = "CAST(t AS DOUBLE)"
        rows = f"({self._layout.rows(f'{self._hashed}, {grade} AS g')}) AS l"
        chosen = f"{rows} WHERE status = 0 AND {cast} IN ({self._asked(cohorts)})"
        since = f"min(g) - {cast} AS low, max(g) - {cast} AS high, count(*) - count(g) AS unknown"
        each = f"(SELECT p, {cast} AS y, {since} FROM {chosen} GROUP BY p, {cast}) AS e"
        up = "CASE WHEN count(*) > 1 AND sum(unknown) = 0 AND min(low) = max(high) THEN 1 ELSE 0 END"
        first = f"(SELECT p, count(*) AS k, min(y) AS y, {up} AS up FROM {each} GROUP BY p) AS f"
        found = self._engine.query(
            f"SELECT y, count(*), sum(CASE WHEN k > 1 THEN 1 ELSE 0 END), sum(up) FROM {first} GROUP BY y"
        )
        counts = self._engine.query(f"SELECT y, count(*) FROM {each} GROUP BY y")
        total, several, moving = (int(sum(found.column(k).to_pylist())) for k in (1, 2, 3))
        new = dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))
        here = dict(zip(counts.column(0).to_pylist(), counts.column(1).to_pylist(), strict=True))
        return several, total, [int(t) for t in sorted(here) if here[t] > new.get(t, 0)], moving

    def levels(self, cohorts: Sequence[int], value: str) -> dict[int, dict[str, int]]:
        """See :func:`valib.sums.students.levels_of`. value: the SQL of the column, as text."""
        rows = f"({self._layout.rows(f'{value} AS v')}) AS l WHERE status = 0 AND v IS NOT NULL"
        asked = f"CAST(t AS DOUBLE) IN ({self._asked(cohorts)})"
        most = MOST * len(cohorts)  # groups that so few values can have
        found = self._engine.query(f"SELECT t, v, count(*) FROM {rows} AND {asked} GROUP BY t, v LIMIT {most + 1}")
        values, counts = (found.column(k).to_pylist() for k in (1, 2))
        if len(values) > most or len(set(values)) > MOST:
            return {}
        told: dict[int, dict[str, int]] = {}
        for t, value, n in zip(years(found.column(0)).tolist(), values, counts, strict=True):
            told.setdefault(int(t), {})[value] = n
        return told

    def _asked(self, cohorts: Sequence[int]) -> str:
        return ", ".join(self._layout.sql.number(t) for t in cohorts)

    def _examples(self, cohorts: list[int]) -> pd.DataFrame:
        """Some of the repeated rows, with all their columns under the library's names."""
        layout, columns = self._layout, list(self._layout.columns.values())
        values = ", ".join(f"{column.sql} AS x{k}" for k, column in enumerate(columns))
        rows = f"({layout.rows(f'{self._student} AS p, {values}', self._every_column(layout))})"
        again = (
            f"SELECT s, t, p FROM {rows} AS l WHERE status = 0 AND CAST(t AS DOUBLE) IN ({self._asked(cohorts)}) "
            f"GROUP BY s, t, p HAVING count(*) > 1 LIMIT {FEW // 4}"
        )
        found = self._engine.query(
            f"SELECT l.s, l.t, l.p, {', '.join(f'l.x{k}' for k in range(len(columns)))} FROM {rows} AS l "
            f"JOIN ({again}) AS d ON l.s = d.s AND l.t = d.t AND l.p = d.p WHERE l.status = 0 LIMIT {FEW}"
        )
        table: pd.DataFrame = found.to_pandas()
        table.columns = ["_s", "_t", "_p", *(column.name for column in columns)]
        return table
