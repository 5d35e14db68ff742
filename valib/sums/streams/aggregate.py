"""One pass over a source: sums of the wide columns by school and cohort, and of every row's status by cohort."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from formulaic import Formula

from ...records.reading import ODD, code_labels
from ...records.sources import as_numbers
from ..design import INTERCEPT
from ..moments import Moments, sum_by
from .columns import Key, Wide, widen
from .layout import MARKED, REASONS, Layout, Test
from .sql import NotInSql

MOST_COLUMNS = 120  # of a design that SQL sums; a wider one is summed from its rows


@dataclass(eq=False)
class Pass:
    """What a pass found.

    G groups of rows, each of one cohort (nan: missing) and status: cohort (G,), status (G,), n (G,), and over the K
    columns sums (G, K) and squares (G, K) about shift (K,). numbers: which of the K a numeric column is. moments: of
    the intercept, the wide columns, the response and a column of zeros, by cell; positions: where a product is in them.
    categories: the categorical factors with their columns; levels: those of every such column, in order.
    wide, moments: None where the formula's columns cannot be made in SQL. short: rows with too few fields.
    """

    parsed: Formula
    needed: list[str]
    layout: Layout
    categories: Mapping[str, str]
    levels: Mapping[str, list]
    cohort: np.ndarray
    status: np.ndarray
    n: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    shift: np.ndarray
    numbers: dict[str, int]
    wide: Wide | None
    moments: Moments | None = None
    relation: str = ""
    short: int = 0
    positions: dict[Key, int] = field(default_factory=dict)

    @property
    def has_cells_cross(self) -> bool:
        """Whether cross-products by cell were kept, or cannot be."""
        return self.moments is None or self.moments.cell_cross is not None

    @property
    def response(self) -> int:
        """Position of the response in the moments."""
        return len(self.positions)

    @property
    def zeros(self) -> int:
        """Position of the column of zeros in the moments."""
        return len(self.positions) + 1

    @property
    def faults(self) -> list[Test]:
        """What canonical columns must not hold and do."""
        return [test for test in self._failed() if test.name in REASONS]

    @property
    def unreadable(self) -> set[str]:
        """Covariates taken for numbers that hold something else."""
        return {test.name for test in self._failed() if test.name not in REASONS}

    @property
    def marked(self) -> set[str]:
        """Columns whose first rows left the decimal mark open and that hold one."""
        return {test.name for test in self._failed() if test.fault == MARKED}

    def _failed(self) -> list[Test]:
        held = np.bitwise_or.reduce(self.status) if len(self.status) else 0
        return [test for i, test in enumerate(self.layout.tests) if test.fault and held >> i & 1]

    def _lacks(self, *names: str) -> np.ndarray:
        """(G,): whether the rows of a group lack any of some columns."""
        return (self.status & self.layout.lacking(lambda test: test.name in names and not test.fault)) != 0

    def usable(self) -> np.ndarray:
        """(G,): whether the rows lack nothing but covariates."""
        return ~self._lacks(*REASONS) & (self.n > 0)

    def cohorts(self) -> list[int]:
        """The cohorts with usable rows, in order."""
        return sorted({int(t) for t in self.cohort[self.usable()]})

    def account(self) -> dict:
        """rows_read, left_out and score_by_cohort, as :func:`valib.read_records` keeps them."""
        counted: dict[tuple, int] = {}
        for t, status, n in zip(self.cohort, self.status, self.n, strict=True):
            reason = next(
                (
                    r
                    for r in REASONS
                    if status & self.layout.lacking(lambda test, r=r: test.name == r and not test.fault)
                ),
                None,
            )
            if reason:
                key = (np.isnan(t), 0 if np.isnan(t) else int(t), f"no {reason.replace('_', ' ')}")
                counted[key] = counted.get(key, 0) + int(n)
        scored = ~self._lacks("cohort", "score")
        years = np.unique(self.cohort[scored])
        return {
            "rows_read": int(self.n.sum()),
            "left_out": [
                {"cohort": None if unknown else t, "reason": reason, "rows": n}
                for (unknown, t, reason), n in sorted(counted.items())
            ],
            "score_by_cohort": {int(t): self._summary(scored & (self.cohort == t), "score") for t in years},
        }

    def lacking(self, cohorts: Sequence[int]) -> tuple[dict[str, int], int, int]:
        """Usable rows of some cohorts: those that lack a covariate by column, those that lack any, and all."""
        rows = self.usable() & np.isin(self.cohort, cohorts)
        counts = {c: int(self.n[rows & self._lacks(c)].sum()) for c in self.needed}
        return (
            {c: n for c, n in counts.items() if n},
            int(self.n[rows & self._lacks(*self.needed)].sum()),
            int(self.n[rows].sum()),
        )

    def mean_and_sd(self, cohort: int, column: str) -> tuple[float, float]:
        """Of a numeric column over the usable rows of a cohort that have it."""
        found = self._summary(self.usable() & ~self._lacks(column) & (self.cohort == cohort), column)
        return found["mean"], found["sd"]

    def describe(self, needed: Sequence[str], cohorts: Sequence[int]) -> dict[str, dict]:
        """n, mean and sd of the numeric columns over the rows that enter a model of some cohorts."""
        rows = (self.status == 0) & np.isin(self.cohort, cohorts)
        return {
            c: self._summary(rows, c)
            for c in needed
            if c in self.numbers and c != "cohort" and self.layout.columns[c].kind != "category"
        }

    def _summary(self, groups: np.ndarray, column: str) -> dict:
        k = self.numbers[column]
        n, total = self.n[groups].sum(), self.sums[groups, k].sum()
        square = self.squares[groups, k].sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "n": int(n),
                "mean": float(self.shift[k] + total / n),
                "sd": float(np.sqrt(max(square - total**2 / n, 0.0) / (n - 1))),
            }

    def rows_query(self) -> str:
        """SQL of the complete rows: school, cohort, then every column that the formula needs."""
        chosen = [self.layout.numbers.get(c) or self.layout.texts[c] for c in self.needed]
        return f"SELECT l.s, l.t, {', '.join(f'l.{c}' for c in chosen)} FROM {self.relation} WHERE status = 0"

    def frame(self, rows: pa.RecordBatch) -> pd.DataFrame:
        """Rows of :meth:`rows_query` with their columns named."""
        frame = pd.DataFrame({"school": labels(self.layout, rows.column(0)), "cohort": years(rows.column(1))})
        for i, name in enumerate(self.needed):
            if name not in frame:
                frame[name] = self.typed(name, rows.column(2 + i).to_pandas())
        frame.attrs[ODD] = dict.fromkeys(self.needed, "")  # the columns were judged before
        return frame

    def typed(self, name: str, values: pd.Series) -> pd.Series:
        """Values of a column, those of a category that SQL has as doubles in the type that memory gives them."""
        levels = self.levels.get(name)
        if not levels or name not in self.layout.numbers:
            return values
        ordered = sorted(levels)
        typed = pd.Series(np.array(ordered)[np.searchsorted(np.array(ordered, dtype=np.float64), values)])
        return typed.astype("category") if self.layout.columns[name].kind == "category" else typed


def run_pass(
    engine,
    layout: Layout,
    parsed: Formula,
    needed: list[str],
    categories: Mapping[str, str],
    levels: Mapping[str, list],
    by_cell: bool,
    sample: int,
) -> Pass:
    """Sum a formula's columns."""
    wide = _wide(engine, layout, parsed, categories, levels)
    columns = [*wide.sqls.values(), wide.response] if wide else []
    width = len(columns)
    columns += [x for x in map("({})".format, layout.numbers.values()) if x not in columns]
    numbers = {name: columns.index(f"({alias})") for name, alias in layout.numbers.items()}
    joined = _means(engine, layout, wide.means) if wide and wide.means else ""
    relation = f"({layout.rows(engine.table)}) AS l{joined}"
    first = f"({layout.rows(f'(SELECT * FROM {engine.table} LIMIT {sample}) AS first')}) AS l{joined}"
    plain = [all(level >= 0 for _, level in key) for key in wide.sqls] if wide else []
    shift = _shift(engine, columns, first, plain)
    short = ", l.short" if engine.short else ""
    shifted = f"SELECT l.s, l.t, l.status{short}, {_shifted(engine, columns, shift)} FROM {relation}"
    pairs = list(itertools.combinations_with_replacement(range(width), 2))
    pairs += [(k, k) for k in range(width, len(columns))]
    sums = [f"sum(z{k})" for k in range(len(columns))]
    products = [f"sum(z{a} * z{b})" for a, b in pairs]
    whole = engine.is_text and wide is not None
    school = "CASE WHEN status = 0 THEN s END, " if whole else ""
    asked = [*sums, *products, *(["sum(CASE WHEN short THEN 1 ELSE 0 END)"] if short else [])]
    groups = engine.query(
        f"SELECT {school}t, status, count(*), {', '.join(asked)} FROM ({shifted}) AS z GROUP BY {school}t, status"
    )
    start = int(whole)
    S, P = _matrix(groups, start + 3, len(sums)), _matrix(groups, start + 3 + len(sums), len(products))
    squares = np.column_stack([P[:, pairs.index((k, k))] for k in range(len(columns))])
    found = Pass(
        parsed,
        needed,
        layout,
        categories,
        levels,
        years(groups.column(start)),
        groups.column(start + 1).to_numpy().astype(np.int64),
        groups.column(start + 2).to_numpy(),
        S,
        squares,
        shift,
        numbers,
        wide,
        relation=relation,
        short=int(_matrix(groups, -1, 1).sum()) if short else 0,
    )
    if wide is None or found.faults or found.unreadable or not (found.status == 0).any():
        return found
    if whole:
        cells = groups.filter(pa.array(found.status == 0))
    else:
        cells = engine.query(
            f"SELECT s, t, status, count(*), {', '.join(sums + (products if by_cell else []))} "
            f"FROM ({shifted}) AS z WHERE status = 0 GROUP BY s, t, status"
        )
    found.positions = {key: k + 1 for k, key in enumerate(wide.sqls)}
    found.positions[()] = 0
    found.moments = _moments(found, cells, P[:, : len(pairs)], width, by_cell)
    return found


def _wide(
    engine, layout: Layout, parsed: Formula, categories: Mapping[str, str], levels: Mapping[str, list]
) -> Wide | None:
    """The wide columns, or None where SQL cannot make them or there would be too many."""
    try:
        wide = widen(parsed, categories, levels, engine.sql, layout.numbers, layout.texts)
    except NotInSql:
        return None
    return wide if len(wide.sqls) < MOST_COLUMNS else None


def _shifted(engine, columns: Sequence[str], shift: np.ndarray) -> str:
    return ", ".join(
        f"{x} - {engine.sql.number(s)} AS z{k}" if s else f"{x} AS z{k}"
        for k, (x, s) in enumerate(zip(columns, shift, strict=True))
    )


def _shift(engine, columns: Sequence[str], first: str, plain: Sequence[bool]) -> np.ndarray:
    """(K,): near the column means, from the first rows that have a column; 0 for indicators of levels."""
    averages = ", ".join(f"avg(CASE WHEN {engine.sql.finite(x)} THEN {x} END)" for x in columns)
    found = _matrix(engine.query(f"SELECT {averages} FROM {first}"), 0, len(columns))[0]
    found[: len(plain)][np.array(plain, dtype=bool)] = 0.0
    return np.where(np.isfinite(found), found, 0.0)


def _means(engine, layout: Layout, means: Sequence[str]) -> str:
    """A first grouped pass: the means of some expressions by school and cohort, as a table to be joined."""
    averages = ", ".join(f"avg({x})" for x in means)
    found = engine.query(
        f"SELECT s, t, count(*), {averages} FROM ({layout.rows(engine.table)}) AS l WHERE status = 0 GROUP BY s, t"
    )
    cell = pd.MultiIndex.from_arrays([labels(layout, found.column(0)), years(found.column(1))]).factorize()[0]
    n, values = found.column(2).to_numpy(), _matrix(found, 3, len(means))
    size = int(cell.max()) + 1 if len(cell) else 0
    pooled = (sum_by(cell, values * n[:, None], size) / sum_by(cell, n[:, None], size))[cell] if size else values
    table = pa.table({"s": found.column(0), "t": found.column(1), **{f"m{k}": pooled[:, k] for k in range(len(means))}})
    name = engine.put("means", table)
    return f" LEFT JOIN {name} AS m ON l.s = m.s AND l.t = m.t"


def _moments(found: Pass, cells: pa.Table, products: np.ndarray, width: int, by_cell: bool) -> Moments:
    """The moments by cell of [1, wide columns, response, 0]; raw codes that are one label are merged."""
    at, schools = pd.factorize(labels(found.layout, cells.column(0)), sort=True)
    t, cohorts = pd.factorize(years(cells.column(1)).astype(np.int64), sort=True)
    used, code = np.unique(at * len(cohorts) + t, return_inverse=True)
    n = cells.column(3).to_numpy().astype(np.float64)
    K, whole = width + 2, len(found.shift)
    sums = np.column_stack([n, _matrix(cells, 4, whole)[:, :width], np.zeros(len(n))])
    complete = found.status == 0
    group = np.searchsorted(cohorts, found.cohort[complete].astype(np.int64))
    cross = sum_by(group, _square(found.n[complete], found.sums[complete, :width], products[complete]), len(cohorts))
    cell_cross = None
    if by_cell:
        own = _square(n, sums[:, 1:-1], _matrix(cells, 4 + whole, products.shape[1]))
        cell_cross = sum_by(code, own, len(used))
    shift = np.concatenate([[0.0], found.shift[:width], [0.0]])
    names = (INTERCEPT, *(f"z{k}" for k in range(width)), "zero")
    assert len(names) == K
    return Moments(
        names,
        shift,
        np.asarray(schools, dtype=object),
        np.asarray(cohorts),
        used // len(cohorts),
        used % len(cohorts),
        sum_by(code, n[:, None], len(used))[:, 0],
        sum_by(code, sums, len(used)),
        cross,
        cell_cross,
        np.ones(len(used)),
    )


def _square(n: np.ndarray, sums: np.ndarray, products: np.ndarray) -> np.ndarray:
    """(G, K, K) cross-products of [1, z, 0] from counts, sums (G, m) and the upper triangle of z'z in rows."""
    G, m = sums.shape
    out = np.zeros((G, m + 2, m + 2))
    out[:, 0, 0] = n
    out[:, 0, 1:-1] = out[:, 1:-1, 0] = sums
    for k, (a, b) in enumerate(itertools.combinations_with_replacement(range(m), 2)):
        out[:, a + 1, b + 1] = out[:, b + 1, a + 1] = products[:, k]
    return out


def _matrix(table: pa.Table, start: int, count: int) -> np.ndarray:
    """Some columns of a result as doubles, nan where NULL."""
    out = np.empty((table.num_rows, count))
    for k in range(count):
        out[:, k] = table.column(start + k).to_numpy()
    return out


def labels(layout: Layout, codes: pa.ChunkedArray | pa.Array) -> pd.Series:
    """School codes as the text that read_records makes of them."""
    return code_labels(codes.to_pandas(), layout.columns["school"].stripped)


def years(cohorts: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Cohorts as doubles, nan where missing."""
    return as_numbers(cohorts.to_pandas())[0]
