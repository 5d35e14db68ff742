"""Factors of a formula as SQL on doubles.

What is covered: columns, numbers, ``+ - * / // % **``, comparisons, ``I``, ``log`` ``log2`` ``log10`` ``exp``, the
``np.`` functions of the formula language and ``school_mean``. What is not raises :class:`NotInSql`: transforms that
learn from all students (``center``, ``scale``, ``poly``, ``bs`` and the other splines) and contrasts other than the
treatment coding.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..formula_code import tree_of
from .sql import DuckSql

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARED = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "<>"}
_NAN = "CAST('NaN' AS DOUBLE)"


class NotInSql(ValueError):
    """A factor of a formula that has no SQL; its text."""


@dataclass
class Compiler:
    """Turns factors into SQL. numbers: the SQL of every column that holds numbers, by name.

    means: the SQL of what ``school_mean`` was asked of, in the order of the columns m0, m1, ... that stand for it.
    """

    sql: DuckSql
    numbers: Mapping[str, str]
    means: list[str] = field(default_factory=list)

    def factor(self, code: str) -> str:
        """The SQL of one factor. Raises NotInSql."""
        tree, self._names = tree_of(code)
        try:
            return self._value(tree.body)
        except NotInSql:
            raise NotInSql(code) from None

    def _value(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return self._column(self._names.get(node.id, node.id))
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return self.sql.number(node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
            return f"({'-' if isinstance(node.op, ast.USub) else '+'}{self._value(node.operand)})"
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._comparison(node.left, node.ops[0], node.comparators[0])
        if isinstance(node, ast.Call):
            return self._call(node)
        raise NotInSql

    def _column(self, name: str) -> str:
        if name not in self.numbers:
            raise NotInSql
        return self.numbers[name]

    def _comparison(self, first: ast.AST, sign: ast.AST, second: ast.AST) -> str:
        left, right = self._value(first), self._value(second)
        undefined = self._undefined((first, left), (second, right))
        # SQL takes NaN for the largest number; here, as in NumPy, it compares false with everything
        what = f"WHEN {undefined} THEN {int(isinstance(sign, ast.NotEq))}e0 " if undefined else ""
        return f"(CASE {what}WHEN {left} {_COMPARED[type(sign)]} {right} THEN 1e0 ELSE 0e0 END)"

    @staticmethod
    def _undefined(*values: tuple[ast.AST, str]) -> str:
        """Whether any of some values is NaN; "" if none can be, as columns and numbers of complete rows cannot."""
        return " OR ".join(f"isnan({x})" for node, x in values if not isinstance(node, (ast.Name, ast.Constant)))

    def _arithmetic(self, node: ast.BinOp) -> str:
        left, right, kind = self._value(node.left), self._value(node.right), type(node.op)
        if kind in _SIGNS:
            return f"({left} {_SIGNS[kind]} {right})"
        if kind is ast.Pow:
            whole = node.right.value if isinstance(node.right, ast.Constant) else None
            return f"({left} * {left})" if whole == 2 else f"power({left}, {right})"
        if kind is ast.Div:
            return f"(CASE WHEN {right} <> 0 THEN {left} / {right} ELSE {_NAN} END)"
        cut = f"({left} % {right})"  # with the sign of the dividend; NumPy's has that of the divisor
        rest = f"(CASE WHEN {cut} <> 0 AND ({cut} < 0) <> ({right} < 0) THEN {cut} + {right} ELSE {cut} END)"
        whole = f"CAST(floor(({left} - {rest}) / {right} + 0.5e0) AS DOUBLE)"
        return f"(CASE WHEN {right} <> 0 THEN {whole if kind is ast.FloorDiv else rest} ELSE {_NAN} END)"

    def _call(self, node: ast.Call) -> str:
        name = ast.unparse(node.func).removeprefix("np.")
        if name == "Q":
            return self._column(node.args[0].value)
        if node.keywords or len(node.args) != (2 if name in ("maximum", "minimum") else 1):
            raise NotInSql
        x = self._value(node.args[0])
        if name == "school_mean":
            if "m.m" in x:  # a mean of means
                raise NotInSql
            if x not in self.means:
                self.means.append(x)
            return f"m.m{self.means.index(x)}"
        if name in ("maximum", "minimum"):
            other, which = self._value(node.args[1]), "greatest" if name == "maximum" else "least"
            undefined = self._undefined((node.args[0], x), (node.args[1], other))
            return f"(CASE WHEN {undefined or 'false'} THEN {_NAN} ELSE {which}({x}, {other}) END)"
        simple = {"I": x, "exp": f"exp({x})", "abs": f"abs({x})",
                  "sqrt": f"(CASE WHEN {x} >= 0 THEN sqrt({x}) ELSE {_NAN} END)"}
        if name in simple:
            return simple[name]
        if name == "log1p":  # exact for small x too
            return (f"(CASE WHEN 1 + {x} = 1 THEN {x} WHEN {x} > -1 THEN ln(1 + {x}) * ({x} / ((1 + {x}) - 1)) "
                    f"ELSE {_NAN} END)")
        if name in ("log", "log2", "log10"):
            return f"(CASE WHEN {x} > 0 THEN {'ln' if name == 'log' else name}({x}) ELSE {_NAN} END)"
        raise NotInSql
