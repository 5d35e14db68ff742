"""Which rows of a source are records: an expression over its columns, read as a syntax tree and never executed.

A comparison with a missing value is false, whichever way it goes; ``x is missing`` asks for one. ``not`` turns what it
stands before, so ``not grade == 5`` keeps rows without a grade, and ``grade != 5`` does not.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import CODES, LONGEST, readable
from .sources import as_codes, as_numbers

LONGEST_TEXT = 2000  # characters of an expression
DEEPEST = 100  # parts inside each other
SHOWN = 10  # values that a refusal names
MAY = "it may hold columns, numbers, texts in quotes, comparisons, in, and, or, not, is missing and + - * /"
NUMBERS = ("cohort", "score", "prior_score")
COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def parse_where(where: str) -> ast.expr:
    """The syntax tree of an expression, its form checked; RecordsError in one sentence for what it may not hold."""
    if not isinstance(where, str) or not where.strip():
        raise RecordsError("where is empty or no text, expected an expression such as \"subject == 'reading'\".")
    try:
        tree = ast.parse(where.strip(), mode="eval").body if len(where) <= LONGEST_TEXT else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or _depth(tree) > DEEPEST:
        raise RecordsError(f"where cannot be read: {_shown(where)}; {MAY}.")
    _check_truth(tree, where)
    return tree


def select_rows(frame: pd.DataFrame, where: str, source: str) -> np.ndarray:
    """Mask of the rows for which an expression is true; canonical columns are codes and numbers as records have them.

    Raises RecordsError for a column that is not there, a text compared to numbers, a level that no row has, or if no
    row is left.
    """
    kept = _Rows(frame, where, source).truth(parse_where(where))
    if not kept.any():
        raise RecordsError(f"{source}: no row is left by where {_shown(where)}.")
    return kept


def _shown(text: object) -> str:
    return readable(text, 120)


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def _refuse(node: ast.AST, where: str) -> RecordsError:
    return RecordsError(f"where holds {_shown(ast.unparse(node))}, which is not understood; {MAY}.")


def _check_truth(node: ast.expr, where: str) -> None:
    """Refuse what is neither true nor false of a row."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_truth(value, where)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_truth(node.operand, where)
    elif isinstance(node, ast.Compare):
        _check_value(node.left, where)
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.Is, ast.IsNot)):
                if not (len(node.ops) == 1 and isinstance(right, ast.Name) and right.id == "missing"):
                    raise _refuse(node, where)
            elif isinstance(op, (ast.In, ast.NotIn)):
                if not (len(node.ops) == 1 and isinstance(right, (ast.List, ast.Tuple)) and right.elts):
                    raise _refuse(node, where)
                for value in right.elts:
                    if _literal(value) is None:
                        raise _refuse(value, where)
            else:
                _check_value(right, where)
    else:
        raise _refuse(node, where)


def _check_value(node: ast.expr, where: str) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        _check_value(node.left, where)
        _check_value(node.right, where)
    elif _column(node) is None and _literal(node) is None:
        raise _refuse(node, where)


def _column(node: ast.expr) -> str | None:
    """The column that a node names, as it stands or in Q('...')."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Q":
        name = _literal(node.args[0]) if len(node.args) == 1 and not node.keywords else None
        return name if isinstance(name, str) else None
    return None


def _literal(node: ast.expr) -> str | float | bool | None:
    """The text, number or truth that a node is; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _literal(node.operand)
        if isinstance(value, (str, bool)) or value is None:
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, int, float)):
        return None
    if isinstance(node.value, (str, bool)):
        return node.value
    return float(node.value) if abs(node.value) <= 1e15 else None


class _Rows:
    """The rows of a table, asked about parts of an expression."""

    def __init__(self, frame: pd.DataFrame, where: str, source: str):
        self._frame, self._where, self._source = frame, where, source

    def truth(self, node: ast.expr) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce([self.truth(value) for value in node.values])
        if isinstance(node, ast.UnaryOp):
            return ~self.truth(node.operand)
        assert isinstance(node, ast.Compare)  # checked by parse_where
        found = np.ones(len(self._frame), dtype=bool)
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            found &= self._compared(left, op, right)
        return found

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> np.ndarray:
        kind, values, there = self._value(left)
        if isinstance(op, (ast.Is, ast.IsNot)):
            return np.broadcast_to(~there if isinstance(op, ast.Is) else there, len(self._frame)).copy()
        if isinstance(op, (ast.In, ast.NotIn)):
            assert isinstance(right, (ast.List, ast.Tuple))
            within = np.zeros(len(self._frame), dtype=bool)
            for element in right.elts:
                within |= self._compared(left, ast.Eq(), element)
            return there & (within if isinstance(op, ast.In) else ~within)
        other, compared, also = self._value(right)
        if kind != other:
            said = f"compares {_shown(ast.unparse(left))} ({kind}) with {_shown(ast.unparse(right))} ({other})"
            raise RecordsError(f"{self._source}: where {said}; texts stand in quotes and numbers do not.")
        if kind != "number" and not isinstance(op, (ast.Eq, ast.NotEq)):
            raise RecordsError(
                f"{self._source}: where asks for the order of {_shown(ast.unparse(left))}, which holds {kind}."
            )
        if kind == "text":
            for column, literal in ((left, right), (right, left)):
                self._check_level(column, literal)
        both = np.broadcast_to(there & also, len(self._frame))
        return both & np.broadcast_to(COMPARED[type(op)](values, compared), len(self._frame)).astype(bool)

    def _value(self, node: ast.expr) -> tuple[str, Any, Any]:
        """The kind of a part ("number", "text", "true or false"), its values, and where they are not missing."""
        if (value := _literal(node)) is not None:
            kind = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "number"
            return kind, value, np.True_
        if (name := _column(node)) is not None:
            return self._read(name)
        assert isinstance(node, ast.BinOp)
        parts = [self._value(node.left), self._value(node.right)]
        if any(kind != "number" for kind, _, _ in parts):
            raise RecordsError(f"{self._source}: where calculates with what is no number: {_shown(ast.unparse(node))}.")
        with np.errstate(all="ignore"):
            values = ARITHMETIC[type(node.op)](np.asarray(parts[0][1]), np.asarray(parts[1][1]))
        return "number", values, parts[0][2] & parts[1][2] & np.isfinite(values)

    def _read(self, name: str) -> tuple[str, Any, Any]:
        if name not in self._frame.columns:
            there = ", ".join(readable(c, LONGEST) for c in list(self._frame.columns)[:30])
            raise RecordsError(
                f"{self._source}: where needs column '{readable(name, LONGEST)}', which is not among the columns {there}."
            )
        column = self._frame[name]
        if name in CODES:
            column = as_codes(column)
        elif name in NUMBERS or (
            pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
        ):
            values, _ = as_numbers(column)
            return "number", values, ~np.isnan(values)
        there = column.notna().to_numpy(dtype=bool)
        found = {type(value) for value in column[there].unique()}
        if found and found <= {bool, np.bool_}:
            return "true or false", np.array([value is not pd.NA and value == True for value in column]), there  # noqa: E712
        if isinstance(column.dtype, pd.CategoricalDtype) and found and str not in found:
            values, bad = as_numbers(column)
            if not bad.any():
                return "number", values, ~np.isnan(values)
        if found - {str}:
            raise RecordsError(
                f"{self._source}: where needs column '{readable(name, LONGEST)}', which holds neither texts only nor "
                "numbers only."
            )
        return "text", column.astype(object).where(there, "").to_numpy(dtype=object), there

    def _check_level(self, column: ast.expr, literal: ast.expr) -> None:
        """Refuse a text that no row has in a column; the values of codes are not told."""
        name, wanted = _column(column), _literal(literal)
        if name is None or not isinstance(wanted, str):
            return
        _, values, there = self._read(name)
        levels = set(values[there])
        if wanted in levels:
            return
        said = f"{self._source}: no row has {readable(name, LONGEST)} == '{readable(wanted, LONGEST)}'"
        if name in CODES or len(levels) > 50:
            raise RecordsError(f"{said}.")
        listed = [readable(level, LONGEST) for level in sorted(levels)]
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise RecordsError(f"{said}; the values are {', '.join(listed[:SHOWN])}{more}.")
