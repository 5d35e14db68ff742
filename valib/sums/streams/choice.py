"""Which rows of a source a stream takes, and their prior scores, found where the rows lie.

An expression for rows is a condition in SQL and one more test of every row: a row that it leaves out is still checked, as
in memory, and counted apart. Prior scores are a join, made once: the rows that are kept, with what the join found, are put
aside in a file of the engine's own, and every later pass reads that.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import RecordsError
from ...records.long import grade_column, grades, level_text, subject_column
from ...records.prior import OUTCOMES, Prior, linkage, need, not_finite
from ...records.reading import other_file, resolve_names
from ...records.sources import as_numbers
from ...records.where import no_row_chosen, parse_where
from .aggregate import Pass, labels, years
from .condition import Condition
from .engines import choose_engine
from .judge import Judge, with_stripped
from .layout import LINKED, ODD, Column, Engine, Layout
from .values import Values

MOST_JOINED = 8_000_000  # earlier rows that are joined at once; of more, some cohorts are joined at a time,
MOST_COHORTS = 60  # unless there are more than so many


class Choice:
    """The rows that ``where`` keeps of a judge's columns, with their prior scores out of all rows.

    kept: the condition for them, "" for all. Raises RecordsError as :func:`valib.read_records`.
    """

    def __init__(self, engine: Engine, judge: Judge, where: str | None, prior: Prior | None):
        self._engine, self._judge, self._where, self._prior = engine, judge, where, prior
        self._values = Values(engine.sql, judge)
        self._made: tuple[frozenset[str], frozenset[str], str] | None = None
        self._all_rows = 0
        self._keys: list[str] = []
        self._score_sql = ""
        self._told: dict[str, Any] | None = None
        self._earlier = self._find_earlier(prior) if prior else ""
        self._condition, self._asked = "", set[str]()
        if where is not None:
            condition = Condition(where, self._values, engine)
            self._condition, self._asked = condition.sql(parse_where(where)), condition.names
            condition.check_levels()
        self.kept = "" if where is None else "kept" if prior else self._condition

    def source(self, layout: Layout) -> str:
        """The rows for a layout's passes."""
        if self._prior is None:
            return self._engine.table
        columns = [layout.columns[name] for name in (*layout.numbers, *layout.texts)]
        return self._linked_rows(layout, columns)

    def every_column(self, layout: Layout) -> str:
        """The same rows with all columns of the source."""
        if self._prior is None:
            return self._engine.table
        return self._linked_rows(layout, list(layout.columns.values()))

    def rows(self, found: Pass) -> int:
        """How many rows the source has, by a pass over them."""
        return self._all_rows if self._prior else int(found.n.sum())

    def check(self, found: Pass) -> None:
        """Raise RecordsError if no row is left, or most earlier rows are ambiguous."""
        if self._where is not None and not found.n[found.kept].sum():
            raise no_row_chosen(self._where, self._engine.name)
        if self._prior is not None and self._told is None:
            self._told = self._counts(found.layout)

    def account(self, found: Pass) -> dict[str, Any]:
        """What is told of the choice: ``where`` and ``prior``, as :func:`valib.read_records` keeps them."""
        told: dict[str, Any] = {}
        if self._prior is not None:
            told["prior"] = self._told
        if self._where is not None:
            rows = self.rows(found)
            left_out = rows - int(found.n[found.kept].sum())
            told["where"] = {"expression": self._where, "rows": rows, "left_out": left_out}
        return told

    def _counts(self, layout: Layout) -> dict[str, Any]:
        assert self._prior is not None
        kept = f" WHERE {self.kept}" if self.kept else ""
        found = self._engine.query(
            f"SELECT s, t, outcome, step, count(*) FROM ({layout.rows('outcome, step')}{kept}) AS l "
            "GROUP BY s, t, outcome, step"
        )
        counted = found.to_pandas()
        counted.columns = ["school", "cohort", "outcome", "step", "rows"]
        counted["school"], counted["cohort"] = labels(layout, found.column(0)), years(found.column(1))
        counted["outcome"] = np.array(OUTCOMES)[counted["outcome"].to_numpy(dtype=int)]
        counted["step"] = counted["step"].astype(np.float64)
        by = ["cohort", "school", "outcome", "step"]  # two raw codes may be one label
        return linkage(self._prior, counted.groupby(by, dropna=False)["rows"].sum().reset_index(), self._engine.name)

    def _find_earlier(self, prior: Prior) -> str:
        """The table of earlier rows: a row for each key k0, k1, ...: how many (n), the score (y), the grade (g)."""
        need(self._values.names, prior.match, self._engine.name)
        if prior.file is not None:
            return self._other_file(prior)
        values = self._values
        self._keys = [values.key("student"), *(values.raw(name) for name in prior.match)]
        need(self._values.names, [prior.column], self._engine.name)
        self._score_sql = self._score(self._engine, self._judge, prior.column)
        return ""

    def _score(self, engine: Engine, judge: Judge, name: str) -> str:
        """The column of prior scores in SQL; RecordsError where it holds anything but finite numbers."""
        values = Values(engine.sql, judge)
        kind = values.kind(name)
        x, column = values.number(name), judge.columns[name]
        finite = f"(CASE WHEN {engine.sql.finite(x)} THEN {x} END)"
        if (name == "score" and judge is self._judge) or name == LINKED:  # the check of the column says so
            return finite
        there = values.present(name) if kind == "number" else f"{column.sql} IS NOT NULL"
        odd = f"{there} AND {finite} IS NULL" + ("" if column.kind == "text" else f" AND NOT isnan({x})")
        if kind == "truth" or column.kind is None:
            odd = there
        elif kind == "text":
            odd = f"{values.text(name)} IS NOT NULL AND {finite} IS NULL"
        if engine.query(f"SELECT count(*) FROM {engine.table} WHERE {odd}").column(0)[0].as_py():
            raise not_finite(name, engine.name)
        return finite

    def _other_file(self, prior: Prior) -> str:
        if choose_engine(prior.file) == "memory":
            return self._small_file(prior)
        other = type(self._engine)(prior.file)  # type: ignore[call-arg]
        self._engine.hold(other)
        try:
            names = resolve_names(other.name, other.names, dict(prior.columns or {}))
            columns = {names.get(c.name, c.name): c for c in other.columns}
            need(columns, ["student", "score", *prior.match], other.name)
            placed = {"prior_score": "CAST(NULL AS DOUBLE)", "cohort": "0"}
            columns |= {k: Column(k, v, "number", whole=k == "cohort", original=k) for k, v in placed.items()}
            judge = Judge(other, {name: _renamed(column, name) for name, column in columns.items()})
            if columns["student"].kind not in ("text", "number"):
                raise RecordsError(f"{other.name}: column 'student' must hold codes (text or numbers).")
            judge.columns["student"] = with_stripped(other, judge.columns["student"])
            theirs, keys = Values(other.sql, judge), []
            for name in prior.match:
                both = self._values.kind(name) == theirs.kind(name) == "number"
                self._keys.append(self._values.number(name) if both else self._values.as_text(name))
                keys.append(theirs.number(name) if both else theirs.as_text(name))
            self._code_key()
            score = self._score(other, judge, "score")
            return other.keep(
                [f"SELECT * FROM {_earlier_rows(other.table, [theirs.code('student'), *keys], score, theirs.grade())}"]
            )
        finally:
            other.release()

    def _code_key(self) -> None:
        """The key of the student's code as text, the same in every file."""
        self._judge.columns["student"] = with_stripped(self._engine, self._judge.columns["student"])
        self._keys.insert(0, self._values.code("student"))

    def _small_file(self, prior: Prior) -> str:
        """Another file that is read into memory."""
        found = other_file(prior)
        assert found is not None
        frame, codes, name = found
        scores, bad = as_numbers(frame["score"])
        if bad.any() or np.isinf(scores).any():
            raise not_finite("score", name)
        made: dict[str, Any] = {"k0": codes.astype(object).where(codes.notna(), None)}
        for number, column in enumerate(prior.match, start=1):
            theirs, both = frame[column], self._values.kind(column) == "number"
            both = both and theirs.dtype.kind in "iuf"
            self._keys.append(self._values.number(column) if both else self._values.as_text(column))
            texts = theirs.astype(object).map(level_text, na_action="ignore")
            made[f"k{number}"] = as_numbers(theirs)[0] if both else texts.where(texts.notna(), None)
        self._code_key()
        kinds = [pa.float64() if getattr(v, "dtype", None) == np.float64 else pa.string() for v in made.values()]
        arrays = [pa.array(v, kind, from_pandas=True) for v, kind in zip(made.values(), kinds, strict=True)]
        arrays += [pa.array(v, pa.float64(), from_pandas=True) for v in (scores, grades(frame))]
        table = self._engine.put("earlier_file", pa.table(arrays, names=[*made, "y", "g"]))
        return _earlier_rows(table, list(made), "y", "g")

    def _linked_rows(self, layout: Layout, columns: list[Column]) -> str:
        """The rows with what is linked to them, made anew where they lack a column or a check."""
        base = [*(column.sql for column in self._engine.columns), ODD]
        asked = [layout.columns[name] for name in ("student", "school", "cohort", "score")] + columns
        # Every fit is asked whether grades and subjects are mixed.
        known = (grade_column(layout.columns), subject_column(layout.columns))
        asked += [layout.columns[name] for name in {*self._asked, *known} if name]
        used = {word for column in asked for word in re.findall(r"\bc[0-9]+\b", column.sql)}
        used |= set(re.findall(rf"\b(?:c[0-9]+|{ODD})\b", layout.short))
        needed = frozenset(name for name in base if name in used)
        odd = frozenset(f"({test.sql})" for test in layout.tests if test.fault and test.name != LINKED)
        if self._made and needed <= self._made[0] and odd <= self._made[1]:
            return self._made[2]
        self._all_rows = self._all_rows or self._count(self._engine.table)
        bad = " OR ".join([*sorted(odd), *([layout.short] if layout.short else [])])
        table = self._engine.table
        if self._engine.is_text and not self._earlier:  # each join would cut the text anew
            more = set(re.findall(r"\bc[0-9]+\b", " ".join([*self._keys, self._score_sql, self._values.grade()])))
            table = self._engine.keep([f"SELECT {', '.join(sorted(needed | more))} FROM {table}"])
        self._made = needed, odd, self._kept(sorted(needed), f"coalesce({bad or 'false'}, false)", table)
        if table != self._engine.table:
            self._engine.forget(table)
        return self._made[2]

    def _kept(self, columns: list[str], bad: str, table: str) -> str:
        """The rows of a table with what is linked to them, put aside; bad: the condition of those checked all the same.

        Counting the earlier rows of a key costs more than the join. It is spared where the rows that are joined without
        it are as many as they should be: then no key has two. How many that is cannot be known where what is linked decides.
        """
        if self._earlier or LINKED in self._asked:
            return self._engine.keep(self._joins(columns, bad, table, table))
        rows, total = table, self._all_rows
        if self._where is not None:
            rows = f"(SELECT * FROM {table} WHERE {self._condition} OR {bad})"
            total = self._count(rows)
        kept = self._engine.keep(self._joins(columns, bad, rows, table, counted=False))
        if self._count(kept) == total:
            return kept
        self._engine.forget(kept)
        return self._engine.keep(self._joins(columns, bad, rows, table))

    def _count(self, table: str) -> int:
        return int(self._engine.query(f"SELECT count(*) FROM {table}").column(0)[0].as_py())

    def _joins(self, columns: list[str], bad: str, rows: str, table: str, counted: bool = True) -> list[str]:
        """Rows with what is linked to them out of a table, in one query or several.

        counted: with the earlier rows of each key counted, of which two are ambiguous.
        """
        if self._earlier:
            return [self._join(columns, bad, rows, self._earlier, self._keys)]
        assert self._prior is not None and self._prior.years_before is not None
        cohort, before = self._values.number("cohort"), self._prior.years_before
        keys = [*self._keys, f"({cohort} - {self._engine.sql.number(before)})"]
        joins = []
        for own, theirs in self._at_once(table, cohort, before):
            left, right = (f"(SELECT * FROM {t} WHERE {c})" if c else t for t, c in ((rows, own), (table, theirs)))
            earlier = _earlier_rows(right, [*self._keys, cohort], self._score_sql, self._values.grade(), counted)
            joins.append(self._join(columns, bad, left, earlier, keys))
        return joins

    def _at_once(self, table: str, cohort: str, before: int) -> list[tuple[str, str]]:
        """Conditions of the rows that are joined at once, so that it fits into the memory, and of the earlier rows; "" for all.

        Each join reads the whole table twice, so they are as few as can be.
        """
        asked = f"SELECT {cohort} AS t, count(*) AS n FROM {table} GROUP BY {cohort} LIMIT {MOST_COHORTS + 1}"
        n = (
            dict(zip(*self._engine.query(asked).to_pydict().values(), strict=True))
            if self._all_rows > MOST_JOINED
            else {}
        )
        if not 0 < len(n) <= MOST_COHORTS:
            return [("", "")]
        groups: list[list[float]] = [[]]
        size = 0
        for t in sorted(t for t in n if t is not None):
            if groups[-1] and size + n.get(t - before, 0) > MOST_JOINED:
                groups.append([])
                size = 0
            groups[-1].append(t)
            size += n.get(t - before, 0)
        column = self._judge.columns["cohort"]
        year, number = (column.sql, lambda t: str(int(t))) if column.whole else (cohort, self._engine.sql.number)
        own, theirs = ([f"{year} IN ({', '.join(number(t - k) for t in g)})" for g in groups] for k in (0, before))
        own[-1] += f" OR {year} IS NULL"
        return list(zip(own, theirs, strict=True)) if len(groups) > 1 else [("", "")]

    def _join(self, columns: list[str], bad: str, table: str, earlier: str, keys: list[str]) -> str:
        """SQL of the rows with their ``prior``, the ``outcome`` (a position in OUTCOMES) and the grades moved up."""
        named = ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))
        more = f", {bad} AS bad" if self._where is not None else ""
        left = f"(SELECT {', '.join(columns)}, {named}, {self._values.grade()} AS g{more} FROM {table}) AS l"
        on = " AND ".join(f"l.k{i} = r.k{i}" for i in range(len(keys)))
        one = "r.n = 1 AND r.y IS NOT NULL"
        joined = (
            f"SELECT {', '.join(f'l.{c}' for c in [*columns, *(['bad'] if more else [])])}, "
            f"CASE WHEN r.n = 1 THEN r.y END AS prior, CASE WHEN r.n > 1 THEN 2 WHEN {one} THEN 0 ELSE 1 END AS outcome, "
            f"CASE WHEN {one} THEN l.g - r.g END AS step FROM {left} LEFT JOIN {earlier} AS r ON {on}"
        )
        if not more:
            return joined
        listed = ", ".join([*columns, "prior", "outcome", "step"])
        return f"SELECT {listed}, {self._condition} AS kept FROM ({joined}) AS j WHERE {self._condition} OR bad"


def _earlier_rows(table: str, keys: list[str], score: str, grade: str, counted: bool = True) -> str:
    """Rows by key, in SQL, how often it stands there (n) counted, or taken as one; a key with a missing part links nothing."""
    named = ", ".join(f"{key} AS k{i}" for i, key in enumerate(keys))
    rows = f"(SELECT {named}, {score} AS y, {grade} AS g{'' if counted else ', 1 AS n'} FROM {table})"
    if not counted:
        return rows
    listed = ", ".join(f"k{i}" for i in range(len(keys)))
    whole = " AND ".join(f"k{i} IS NOT NULL" for i in range(len(keys)))
    return (
        f"(SELECT {listed}, count(*) AS n, max(y) AS y, max(g) AS g FROM {rows} AS e WHERE {whole} GROUP BY {listed})"
    )


def _renamed(column: Column, name: str) -> Column:
    return replace(column, name=name)
