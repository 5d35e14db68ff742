"""What the columns of a stream hold as numbers, texts and codes in SQL, with NULL for what is missing."""

from __future__ import annotations

from ...names import CODES
from ...records.long import grade_column
from .judge import Judge
from .layout import number_sql
from .sql import DuckSql

NO_NUMBER = "CAST(NULL AS DOUBLE)"


class Values:
    """The columns of a judge by name; a column's kind is told by all its rows the first time that it is asked for."""

    def __init__(self, sql: DuckSql, judge: Judge):
        self._sql, self._judge = sql, judge
        self._kinds: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The columns there are, in the order of the source."""
        place = {name: k for k, name in enumerate(self._judge.engine.names)}
        columns = self._judge.columns
        return sorted(columns, key=lambda name: place.get(columns[name].original, len(place)))

    def kind(self, name: str) -> str:
        """ "number", "truth", "text", or "" for what is none of them."""
        if name not in self._kinds:
            self._kinds[name] = self._judge.settled(name)
        return self._kinds[name]

    def number(self, name: str) -> str:
        """A column as doubles: NULL where it is missing or no number."""
        self.kind(name)
        column = self._judge.columns[name]
        if column.kind not in ("number", "text"):
            return NO_NUMBER
        x = number_sql(self._sql, column)
        return x if column.whole else f"(CASE WHEN NOT isnan({x}) THEN {x} END)"

    def grade(self) -> str:
        """The grades of rows as numbers."""
        name = grade_column(self._judge.columns)
        return NO_NUMBER if name is None else self.number(name)

    def present(self, name: str) -> str:
        """Whether a column of numbers holds anything."""
        column = self._judge.columns[name]
        if column.kind == "text":
            return f"({column.sql} IS NOT NULL AND NOT {self._sql.listed(self._sql.trimmed(column.sql))})"
        return f"({column.sql} IS NOT NULL)"

    def text(self, name: str) -> str:
        """A column of text; of a text file, words such as NA are missing."""
        column = self._judge.columns[name]
        if name in CODES:
            return self.code(name)
        return f"(CASE WHEN NOT {self._sql.listed(column.sql)} THEN {column.sql} END)" if column.words else column.sql

    def truth(self, name: str) -> str:
        """A column of true and false, as 1 and 0."""
        column = self._judge.columns[name]
        if column.words:
            return self._judge.truth(column).sql
        return f"(CASE WHEN {column.sql} THEN 1 WHEN NOT {column.sql} THEN 0 END)"

    def code(self, name: str) -> str:
        """A column of codes as the text that memory makes of them; blank is missing."""
        column, sql = self._judge.columns[name], self._sql
        if column.kind != "number":
            x = sql.trimmed(f"CAST({column.sql} AS STRING)")
            shorter = f"substr({x}, 1, length({x}) - 2)" if column.stripped else x
            return f"(CASE WHEN {x} <> '' THEN {shorter} END)"
        return self._whole_text(column.sql, column.whole)

    def key(self, name: str) -> str:
        """A column of codes as values that can be compared with one another."""
        column = self._judge.columns[name]
        if column.kind != "number":
            return self.code(name)
        return (
            column.sql if column.whole else f"(CASE WHEN NOT isnan(CAST({column.sql} AS DOUBLE)) THEN {column.sql} END)"
        )

    def raw(self, name: str) -> str:
        """A column as values that can be compared with one another: numbers, truths or texts."""
        if name in CODES:
            column = self._judge.columns[name]
            return f"(CASE WHEN {column.sql} <> '' THEN {column.sql} END)" if column.words else self.key(name)
        return {"number": self.number, "truth": self.truth, "text": self.text}.get(self.kind(name), self._other)(name)

    def as_text(self, name: str) -> str:
        """A column as text, its numbers without a decimal point where they are whole."""
        kind = self.kind(name)
        if kind == "number":
            return self._whole_text(self.number(name), whole=False)
        if kind == "truth":
            x = self.truth(name)
            return f"(CASE {x} WHEN 1 THEN 'True' WHEN 0 THEN 'False' END)"
        return self.raw(name) if kind == "text" else self._other(name)

    def _whole_text(self, x: str, whole: bool) -> str:
        if whole:
            return f"CAST({x} AS STRING)"
        double = f"CAST({x} AS DOUBLE)"
        small = f"abs({double}) < {self._sql.number(2**53)} AND {double} = floor({double})"
        return (
            f"(CASE WHEN isnan({double}) THEN NULL WHEN {small} THEN CAST(CAST({x} AS BIGINT) AS STRING) "
            f"ELSE CAST({x} AS STRING) END)"
        )

    def _other(self, name: str) -> str:
        return f"CAST({self._judge.columns[name].sql} AS STRING)"
