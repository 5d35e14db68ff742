"""SQL as the engines write it: values in quotes, and the few functions that differ between DuckDB and Spark.

Columns are renamed by position (c0, c1, ...) before any SQL names them, so that no column's name is ever part of it;
levels are the only text of the data that is, as escaped literals.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...records.sources import MISSING
from ...records.sources.plain import SPACES
from ..formula import tree_of, value_of

LARGEST = 1.7976931348623157e308


class DuckSql:
    """The SQL of DuckDB."""

    def text(self, value: str) -> str:
        """A text literal."""
        return "'" + value.replace("'", "''") + "'"

    def number(self, value: float) -> str:
        """A double literal, exact to the last digit."""
        return f"CAST('{float(value)!r}' AS DOUBLE)"

    def trimmed(self, x: str) -> str:
        """Text without the white space around it; the test before it costs a twentieth of looking for any of them."""
        bare = f"strlen({x}) = length({x}) AND {x} >= '!' AND {x}[-1] >= '!'"  # in ASCII, white space comes before it
        return f"(CASE WHEN {bare} THEN {x} ELSE trim({x}, {self.text(SPACES)}) END)"

    def is_number_text(self, x: str) -> str:
        """Whether text has none of the spellings that this engine casts to a number and pandas does not."""
        return f"NOT (contains({x}, '_') OR contains({x}, '+-'))"

    def read_number(self, x: str, decimal: str) -> str:
        """Text as a double; NULL where it is none."""
        plain = f"replace({x}, ',', '.')" if decimal == "," else x
        doubtful = f" AND NOT contains({x}, '.')" if decimal == "," else ""
        return f"CASE WHEN {self.is_number_text(x)}{doubtful} THEN {self._cast(plain)} END"

    def _cast(self, x: str) -> str:
        """Text as a double, with white space around it that the engine does not know as such too."""
        return f"coalesce(TRY_CAST({x} AS DOUBLE), TRY_CAST({self.trimmed(x)} AS DOUBLE))"

    def hashed(self, x: str) -> str:
        """A hash of 64 bits of a value, for counting different ones."""
        return f"hash({x})"

    def row_number(self) -> str:
        """Another whole number for each row."""
        return "row_number() OVER ()"

    def listed(self, x: str, words: tuple[str, ...] = MISSING) -> str:
        """Whether text is one of some words."""
        return f"{x} IN ({', '.join(map(self.text, words))})"

    def marked(self, x: str) -> str:
        """Whether text has a mark that may be a decimal one."""
        return f"(contains({x}, '.') OR contains({x}, ','))"

    def matches(self, x: str, pattern: str) -> str:
        """Whether all of a text fits a regular expression."""
        return f"regexp_full_match({x}, {self.text(pattern)})"

    def finite(self, x: str) -> str:
        """Whether a double is there and finite; NULL or false otherwise."""
        return f"{x} BETWEEN {self.number(-LARGEST)} AND {self.number(LARGEST)}"

    def infinite(self, x: str) -> str:
        """Whether a double is infinite."""
        return f"(NOT isnan({x}) AND ({x} > {self.number(LARGEST)} OR {x} < {self.number(-LARGEST)}))"


class SparkSql(DuckSql):
    """The SQL of Spark."""

    def row_number(self) -> str:
        """Another whole number for each row."""
        return "monotonically_increasing_id()"

    def text(self, value: str) -> str:
        """A text literal: everything but letters, digits and spaces as an escape, so that nothing is substituted."""
        return "'" + "".join(c if c.isascii() and (c.isalnum() or c == " ") else _escaped(c) for c in value) + "'"

    def trimmed(self, x: str) -> str:
        """Text without the white space around it."""
        return f"trim(BOTH {self.text(SPACES)} FROM {x})"

    def hashed(self, x: str) -> str:
        """A hash of 64 bits of a value, for counting different ones."""
        return f"xxhash64({x})"

    def matches(self, x: str, pattern: str) -> str:
        """Whether all of a text fits a regular expression."""
        return f"({x} RLIKE {self.text(f'^(?:{pattern})$')})"

    def is_number_text(self, x: str) -> str:
        """Whether text has none of the spellings that this engine casts to a number and pandas does not."""
        return f"NOT ({x} RLIKE '[_dDfFxX]' AND NOT lower({x}) RLIKE 'inf')"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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

    def value(self, node: ast.AST) -> str:
        """The SQL of a part of an expression whose names are those of columns."""
        self._names = {}
        return self._value(node)

    def _value(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return self._column(self._names.get(node.id, node.id))
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
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

    def _comparison(self, first: ast.AST, sign: ast.cmpop, second: ast.AST) -> str:
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
            return self._column(str(value_of(node.args[0])))
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
        simple = {
            "I": x,
            "exp": f"exp({x})",
            "abs": f"abs({x})",
            "sqrt": f"(CASE WHEN {x} >= 0 THEN sqrt({x}) ELSE {_NAN} END)",
        }
        if name in simple:
            return simple[name]
        if name == "log1p":  # exact for small x too
            return (
                f"(CASE WHEN 1 + {x} = 1 THEN {x} WHEN {x} > -1 THEN ln(1 + {x}) * ({x} / ((1 + {x}) - 1)) "
                f"ELSE {_NAN} END)"
            )
        if name in ("log", "log2", "log10"):
            return f"(CASE WHEN {x} > 0 THEN {'ln' if name == 'log' else name}({x}) ELSE {_NAN} END)"
        raise NotInSql
