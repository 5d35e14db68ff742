"""One pass over a source: sums of the wide columns by school and cohort, and of every row's status by cohort."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from formulaic import Formula

from ...records.reading import code_labels
from ...records.sources import as_numbers
from ...records.sources.content import ODD
from ..design import INTERCEPT
from ..moments import Moments, has_cancelled, sum_by
from .columns import Key, Wide, widen
from .layout import LEFT_OUT, MARKED, REASONS, Engine, Layout, Test
from .sql import NotInSql

FAR = 1e-4  # of a sum of squares about the shift, what must be left about the mean, or the pass is made again
FEW_PAIRS = 10  # products that are summed by school and cohort in one pass; more take another, by cohort alone
MOST_COLUMNS = 120  # of a design that SQL sums; a wider one is summed from its rows


@dataclass(eq=False)
class Pass:
    """What a pass found.

    G groups of rows, each of one cohort (nan: missing) and status: cohort (G,), status (G,), n (G,), and over the K
    columns sums (G, K) and squares (G, K) about shift (G, K). numbers: which of the K a numeric column is. moments: of
    the intercept, the wide columns, the response and a column of zeros, by cell and for each cohort about a shift of
    its own; positions: where a product is in them.
    categories: the categorical factors with their columns; levels: those of every such column, in order.
    wide, moments: None where the formula's columns cannot be made in SQL. short: rows with too few fields.
    """

    parsed: Formula
    needed: list[str]
    layout: Layout
    categories: Mapping[str, str]
    levels: Mapping[str, list[Any]]
    cohort: np.ndarray
    status: np.ndarray
    n: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    shift: np.ndarray
    numbers: dict[str, int]
    wide: Wide | None
    moments: dict[int, Moments] = field(default_factory=dict)
    relation: str = ""
    short: int = 0
    positions: dict[Key, int] = field(default_factory=dict)

    @property
    def has_cells_cross(self) -> bool:
        """Whether cross-products by cell were kept, or cannot be."""
        return all(m.cell_cross is not None for m in self.moments.values())

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
        return np.asarray((self.status & self.layout.lacking(lambda test: test.name in names and not test.fault)) != 0)

    @property
    def kept(self) -> np.ndarray:
        """(G,): whether the rows of a group count, and are not left out by an expression."""
        return ~self._lacks(LEFT_OUT)

    def usable(self) -> np.ndarray:
        """(G,): whether the rows lack nothing but covariates."""
        return ~self._lacks(*REASONS, LEFT_OUT) & (self.n > 0)

    def cohorts(self) -> list[int]:
        """The cohorts with usable rows, in order."""
        return sorted({int(t) for t in self.cohort[self.usable()]})

    def account(self) -> dict[str, Any]:
        """rows_read, left_out and score_by_cohort, as :func:`valib.read_records` keeps them."""
        counted: dict[tuple[bool, int, str], int] = {}
        lacks = {r: self.layout.lacking(partial(_lacks, r)) for r in REASONS}
        kept = self.kept
        for t, status, n in zip(self.cohort[kept], self.status[kept], self.n[kept], strict=True):
            reason = next((r for r, bits in lacks.items() if status & bits), None)
            if reason:
                key = (bool(np.isnan(t)), 0 if np.isnan(t) else int(t), f"no {reason.replace('_', ' ')}")
                counted[key] = counted.get(key, 0) + int(n)
        scored = ~self._lacks("cohort", "score", LEFT_OUT)
        years = np.unique(self.cohort[scored])
        return {
            "rows_read": int(self.n[kept].sum()),
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

    def describe(self, needed: Sequence[str], cohorts: Sequence[int]) -> dict[str, dict[str, float]]:
        """n, mean and sd of the numeric columns over the rows that enter a model of some cohorts."""
        rows = (self.status == 0) & np.isin(self.cohort, cohorts)
        return {
            c: self._summary(rows, c)
            for c in needed
            if c in self.numbers and c != "cohort" and self.layout.columns[c].kind != "category"
        }

    def select(self, cohorts: Sequence[int]) -> Moments:
        """The moments of some cohorts that have any."""
        return reduce(add, (self.moments[t] for t in cohorts if t in self.moments))

    def _summary(self, groups: np.ndarray, column: str) -> dict[str, float]:
        k = self.numbers[column]
        n, sums, shift = self.n[groups], self.sums[groups, k], self.shift[groups, k]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = (n * shift + sums).sum() / n.sum()
            d = shift - mean
            square = (self.squares[groups, k] + 2 * d * sums + n * d**2).sum()
            return {"n": int(n.sum()), "mean": float(mean), "sd": float(np.sqrt(max(square, 0.0) / (n.sum() - 1)))}

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


@dataclass(eq=False, slots=True)
class Sums:
    """The queries of a pass: K ``columns``, the first ``width`` those of the design; ``pairs`` whose products are
    summed; ``relation``: the rows with all of them; ``plain`` (K,): which are indicators, whose sums are exact."""

    engine: Engine
    columns: list[str]
    width: int
    pairs: list[tuple[int, int]]
    relation: str
    plain: np.ndarray

    def shifted(self, shift: np.ndarray, own: Mapping[int, np.ndarray]) -> str:
        """The rows about shift (K,), those of some cohorts about their own."""
        short = ", l.short" if self.engine.short else ""
        at = [np.array([shift[k], *(own[t][k] for t in own)]) for k in range(len(self.columns))]
        moved = [
            f"{x} - {self._of_cohort(a, list(own))}" if a.any() else x for x, a in zip(self.columns, at, strict=True)
        ]
        listed = ", ".join(f"{x} AS z{k}" for k, x in enumerate(moved))
        return f"SELECT l.s, l.t, l.status{short}, {listed} FROM {self.relation}"

    def _of_cohort(self, values: np.ndarray, cohorts: list[int]) -> str:
        number = self.engine.sql.number
        if not cohorts:
            return number(values[0])
        cases = " ".join(f"WHEN {number(t)} THEN {number(v)}" for t, v in zip(cohorts, values[1:], strict=True))
        return f"(CASE CAST(l.t AS DOUBLE) {cases} ELSE {number(values[0])} END)"

    def query(self, shifted: str, keys: str, products: bool, where: str = "") -> pa.Table:
        """Counts and sums by some keys."""
        asked = [f"sum(z{k})" for k in range(len(self.columns))]
        asked += [f"sum(z{a} * z{b})" for a, b in self.pairs] if products else []
        asked += ["sum(CASE WHEN short THEN 1 ELSE 0 END)"] if self.engine.short and not where else []
        named = keys.replace("whole", "CASE WHEN status = 0 THEN s END")
        return self.engine.query(
            f"SELECT {named}, count(*), {', '.join(asked)} FROM ({shifted}) AS z{where} GROUP BY {named}"
        )


def run_pass(
    engine: Engine,
    layout: Layout,
    parsed: Formula,
    needed: list[str],
    categories: Mapping[str, str],
    levels: Mapping[str, list[Any]],
    by_cell: bool,
    sample: int,
) -> Pass:
    """Sum a formula's columns, and again about the means of cohorts for which a shift was so far away that digits of
    their sums of squares have cancelled."""
    wide = _wide(engine, layout, parsed, categories, levels)
    columns = [*wide.sqls.values(), wide.response] if wide else []
    width = len(columns)
    columns += [x for x in map("({})".format, layout.numbers.values()) if x not in columns]
    numbers = {name: columns.index(f"({alias})") for name, alias in layout.numbers.items()}
    joined = _means(engine, layout, wide.means) if wide and wide.means else ""
    relation = f"({layout.rows()}) AS l{joined}"
    few = f"(SELECT * FROM {layout.source} LIMIT {sample}) AS first"
    first = f"({layout.rows(source=few)}) AS l{joined}"
    plain = np.zeros(len(columns), dtype=bool)
    if wide:
        plain[: len(wide.sqls)] = [all(level >= 0 for _, level in key) for key in wide.sqls]
    shift = np.where(plain, 0.0, _shift(engine, columns, first))
    pairs = list(itertools.combinations_with_replacement(range(width), 2))
    pairs += [(k, k) for k in range(width, len(columns))]
    queries = Sums(engine, columns, width, pairs, relation, plain)
    found = Pass(parsed, needed, layout, categories, levels, *_nothing(len(columns)), numbers, wide, {}, relation)
    _fill(found, queries, shift, {}, by_cell)
    if own := _too_far(found, plain):
        _fill(found, queries, shift, own, by_cell)
    return found


def _lacks(reason: str, test: Test) -> bool:
    return test.name == reason and not test.fault


def _nothing(K: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """cohort, status, n, sums, squares and shift of no groups."""
    return np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, K)), np.zeros((0, K)), np.zeros((0, K))


def _too_far(found: Pass, plain: np.ndarray) -> dict[int, np.ndarray]:
    """The means (K,) of the cohorts whose complete rows lie so far from the shift that squares lost digits."""
    own = {}
    for t in np.unique(found.cohort[found.status == 0]).tolist():
        at = (found.status == 0) & (found.cohort == t)
        n, sums, squares = found.n[at].sum(), found.sums[at].sum(0), found.squares[at].sum(0)
        lost = ~plain & has_cancelled(n, sums, squares, found.shift[at][0], FAR)
        if lost.any():
            own[int(t)] = found.shift[at][0] + np.where(lost, sums / n, 0.0)
    return own


def _fill(found: Pass, queries: Sums, shift: np.ndarray, own: Mapping[int, np.ndarray], by_cell: bool) -> None:
    """Ask for the sums about a shift."""
    engine, wide, K = queries.engine, found.wide, len(shift)
    whole = wide is not None and (engine.is_text or len(queries.pairs) <= FEW_PAIRS)
    shifted = queries.shifted(shift, own)
    groups = queries.query(shifted, "whole, t, status" if whole else "t, status", True)
    start = int(whole)
    products = _matrix(groups, start + 3 + K, len(queries.pairs))
    found.cohort = years(groups.column(start))
    found.status = groups.column(start + 1).to_numpy().astype(np.int64)
    found.n = groups.column(start + 2).to_numpy()
    found.sums = _matrix(groups, start + 3, K)
    found.squares = np.column_stack([products[:, queries.pairs.index((k, k))] for k in range(K)])
    found.shift = np.array([own.get(t, shift) for t in found.cohort]).reshape(len(found.cohort), K)
    found.short = int(_matrix(groups, -1, 1).sum()) if engine.short else 0
    if wide is None or found.faults or found.unreadable or not (found.status == 0).any():
        return
    if whole:
        cells = groups.filter(pa.array(found.status == 0))
    else:
        cells = queries.query(shifted, "s, t, status", by_cell, " WHERE status = 0")
    found.positions = {key: k + 1 for k, key in enumerate(wide.sqls)}
    found.positions[()] = 0
    width = queries.width
    total = _moments(found, cells, products[:, : width * (width + 1) // 2], width, by_cell)
    found.moments = {
        t: replace(total.select([t]), shift=np.array([0.0, *own.get(t, shift)[:width], 0.0]))
        for t in total.cohorts.tolist()
    }


def _wide(
    engine: Engine, layout: Layout, parsed: Formula, categories: Mapping[str, str], levels: Mapping[str, list[Any]]
) -> Wide | None:
    """The wide columns, or None where SQL cannot make them or there would be too many."""
    try:
        wide = widen(parsed, categories, levels, engine.sql, layout.numbers, layout.texts)
    except NotInSql:
        return None
    return wide if len(wide.sqls) < MOST_COLUMNS else None


def _shift(engine: Engine, columns: Sequence[str], first: str) -> np.ndarray:
    """(K,): the medians of the first rows that have a column, which no single number moves."""
    medians = ", ".join(f"median(CASE WHEN {engine.sql.finite(x)} THEN {x} END)" for x in columns)
    found = _matrix(engine.query(f"SELECT {medians} FROM {first}"), 0, len(columns))[0]
    return np.where(np.isfinite(found), found, 0.0)


def _means(engine: Engine, layout: Layout, means: Sequence[str]) -> str:
    """A first grouped pass: the means of some expressions by school and cohort, as a table to be joined."""
    averages = ", ".join(f"avg({x})" for x in means)
    found = engine.query(
        f"SELECT s, t, count(*), {averages} FROM ({layout.rows()}) AS l WHERE status = 0 GROUP BY s, t"
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
    K, whole = width + 2, found.sums.shape[1]
    sums = np.column_stack([n, _matrix(cells, 4, whole)[:, :width], np.zeros(len(n))])
    complete = found.status == 0
    group = np.searchsorted(cohorts, found.cohort[complete].astype(np.int64))
    cross = sum_by(group, _square(found.n[complete], found.sums[complete, :width], products[complete]), len(cohorts))
    cell_cross = None
    if by_cell:
        own = _square(n, sums[:, 1:-1], _matrix(cells, 4 + whole, products.shape[1]))
        cell_cross = sum_by(code, own, len(used))
    names = (INTERCEPT, *(f"z{k}" for k in range(width)), "zero")
    assert len(names) == K
    return Moments(
        names,
        np.zeros(K),
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
