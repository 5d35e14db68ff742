"""An expression for rows (:mod:`valib.records.where`) as a condition in SQL, with the same meaning and the same refusals."""

from __future__ import annotations

import ast

from ...names import CODES
from ...records.where import (
    MOST_LEVELS,
    calculation,
    check_comparison,
    column_of,
    literal_of,
    mixed,
    no_level,
    no_number,
    no_such_column,
)
from .layout import NUMBERS, Engine
from .sql import Compiler
from .values import Values

COMPARED = {ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


class Condition:
    """Turns an expression into SQL that is true or false of every row. names: the columns that it names."""

    def __init__(self, where: str, values: Values, engine: Engine):
        self._where, self._values, self._engine = where, values, engine
        self.names: set[str] = set()
        self._levels: list[tuple[str, str]] = []

    def sql(self, node: ast.expr) -> str:
        """A part of a checked expression."""
        if isinstance(node, ast.BoolOp):
            join = " AND " if isinstance(node.op, ast.And) else " OR "
            return f"({join.join(self.sql(value) for value in node.values)})"
        if isinstance(node, ast.UnaryOp):
            return f"(NOT {self.sql(node.operand)})"
        assert isinstance(node, ast.Compare)  # checked by parse_where
        parts = zip([node.left, *node.comparators], node.ops, node.comparators, strict=False)
        return f"({' AND '.join(self._compared(*part) for part in parts)})"

    def check_levels(self) -> None:
        """Raise RecordsError for a text that no row has in a column that is compared with it."""
        if not self._levels:
            return
        text, values, table = self._engine.sql.text, self._values, self._engine.table
        asked = ", ".join(
            f"max(CASE WHEN {values.text(name)} = {text(wanted)} THEN 1 ELSE 0 END)" for name, wanted in self._levels
        )
        found = self._engine.query(f"SELECT {asked} FROM {table}")
        for (name, wanted), there in zip(self._levels, found.columns, strict=True):
            if not there[0].as_py():
                x = values.text(name)
                few = f"SELECT DISTINCT {x} AS x FROM {table} WHERE {x} IS NOT NULL LIMIT {MOST_LEVELS + 1}"
                levels = [] if name in CODES else self._engine.query(few).column(0).to_pylist()
                raise no_level(name, wanted, levels, self._engine.name)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
        kind, x = self._value(left)
        if isinstance(op, (ast.Is, ast.IsNot)):
            return f"({x} IS {'NOT ' if isinstance(op, ast.IsNot) else ''}NULL)"
        if isinstance(op, (ast.In, ast.NotIn)):
            assert isinstance(right, (ast.List, ast.Tuple))
            within = " OR ".join(self._compared(left, ast.Eq(), element) for element in right.elts)
            return f"({within})" if isinstance(op, ast.In) else f"({x} IS NOT NULL AND NOT ({within}))"
        other, y = self._value(right)
        check_comparison((left, kind), op, (right, other), self._engine.name)
        if kind == "text":
            for column, literal in ((left, right), (right, left)):
                name, wanted = column_of(column), literal_of(literal)
                if name is not None and isinstance(wanted, str):
                    self._levels.append((name, wanted))
        return f"coalesce({x} {COMPARED[type(op)]} {y}, false)"

    def _value(self, node: ast.expr) -> tuple[str, str]:
        """The kind of a part ("number", "text", "true or false") and its SQL."""
        if (value := literal_of(node)) is not None:
            if isinstance(value, str):
                return "text", self._engine.sql.text(value)
            return ("true or false", str(int(value))) if isinstance(value, bool) else ("number", self._number(value))
        if (name := column_of(node)) is not None:
            return self._column(name)
        columns = self._columns(node)
        value = Compiler(self._engine.sql, columns).value(node)
        there = "".join(f"{x} IS NOT NULL AND " for x in dict.fromkeys(columns.values()))
        return "number", f"(CASE WHEN {there}{self._engine.sql.finite(value)} THEN {value} END)"

    def _number(self, value: float) -> str:
        return self._engine.sql.number(value)

    def _columns(self, node: ast.expr) -> dict[str, str]:
        """The columns that are calculated with."""
        found: dict[str, str] = {}
        for operand in calculation(node)[1]:
            if column_of(operand) is None and literal_of(operand) is None:
                found |= self._columns(operand)
                continue
            kind, x = self._value(operand)
            if kind != "number":
                raise no_number(node, self._engine.name)
            if (name := column_of(operand)) is not None:
                found[name] = x
        return found

    def _column(self, name: str) -> tuple[str, str]:
        there = self._values.names
        if name not in there:
            raise no_such_column(name, there, self._engine.name)
        self.names.add(name)
        if name in CODES:
            return "text", self._values.code(name)
        kind = "number" if name in (*NUMBERS, "cohort") else self._values.kind(name)
        if kind == "number":
            return "number", self._values.number(name)
        if kind == "truth":
            return "true or false", self._values.truth(name)
        if kind == "text":
            return "text", self._values.text(name)
        raise mixed(name, self._engine.name)
