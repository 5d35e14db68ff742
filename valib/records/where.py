"""Which rows of a source are records: an expression over its columns, read as a syntax tree and never executed.

A comparison with a missing value is false, whichever way it goes; ``x is missing`` asks for one. ``not`` turns what it
stands before, so ``not grade == 5`` keeps rows without a grade, and ``grade != 5`` does not.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import CODES, LONGEST, readable
from .sources import as_codes, as_numbers

LONGEST_TEXT = 2000  # characters of an expression
DEEPEST = 100  # parts inside each other
SHOWN, MOST_LEVELS = 10, 50  # values that a refusal names; of a column that has no more than so many
LARGEST_POWER = 10
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
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
SIGNS: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
# Those of the language of formulas that look at one row: what learns from all students says nothing about which are there.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("log", "log2", "log10", "exp")},
    "I": lambda x: x,
    **{
        f"np.{name}": getattr(np, name)
        for name in ("abs", "exp", "log", "log10", "log1p", "log2", "maximum", "minimum", "sqrt")
    },
}
MAY = (
    "it may hold columns, numbers, texts in quotes, comparisons, in, and, or, not, is missing, + - * / // % **, and the "
    f"functions {', '.join(FUNCTIONS)}"
)


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
        raise no_row_chosen(where, source)
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
                    if literal_of(value) is None:
                        raise _refuse(value, where)
            else:
                _check_value(right, where)
    else:
        raise _refuse(node, where)


def _check_value(node: ast.expr, where: str) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        power = literal_of(node.right) if isinstance(node.op, ast.Pow) else 0.0
        if not isinstance(power, float) or abs(power) > LARGEST_POWER:
            raise _refuse(node, where)
        _check_value(node.left, where)
        _check_value(node.right, where)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS and literal_of(node) is None:
        _check_value(node.operand, where)
    elif isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in FUNCTIONS:
        if node.keywords or len(node.args) != (2 if name in ("np.maximum", "np.minimum") else 1):
            raise _refuse(node, where)
        for value in node.args:
            _check_value(value, where)
    elif column_of(node) is None and literal_of(node) is None:
        raise _refuse(node, where)


def column_of(node: ast.expr) -> str | None:
    """The column that a node names, as it stands or in Q('...')."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Q":
        name = literal_of(node.args[0]) if len(node.args) == 1 and not node.keywords else None
        return name if isinstance(name, str) else None
    return None


def literal_of(node: ast.expr) -> str | float | bool | None:
    """The text, number or truth that a node is; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = literal_of(node.operand)
        if isinstance(value, (str, bool)) or value is None:
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, int, float)):
        return None
    if isinstance(node.value, (str, bool)):
        return node.value
    return float(node.value) if abs(node.value) <= 1e15 else None


def calculation(node: ast.expr) -> tuple[Callable[..., Any], list[ast.expr]]:
    """What is calculated, and of what."""
    if isinstance(node, ast.BinOp):
        return ARITHMETIC[type(node.op)], [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return SIGNS[type(node.op)], [node.operand]
    assert isinstance(node, ast.Call)  # checked by parse_where
    return FUNCTIONS[ast.unparse(node.func)], node.args


def check_comparison(left: tuple[ast.expr, str], op: ast.cmpop, right: tuple[ast.expr, str], source: str) -> None:
    """Refuse a comparison of two kinds, or of an order that texts do not have. left, right: parts with their kinds."""
    (first, kind), (second, other) = left, right
    if kind != other:
        said = f"compares {_shown(ast.unparse(first))} ({kind}) with {_shown(ast.unparse(second))} ({other})"
        raise RecordsError(f"{source}: where {said}; texts stand in quotes and numbers do not.")
    if kind != "number" and not isinstance(op, (ast.Eq, ast.NotEq)):
        raise RecordsError(f"{source}: where asks for the order of {_shown(ast.unparse(first))}, which holds {kind}.")


def no_number(node: ast.expr, source: str) -> RecordsError:
    """The error where something else than numbers is calculated with."""
    return RecordsError(f"{source}: where calculates with what is no number: {_shown(ast.unparse(node))}.")


def no_such_column(name: str, columns: Iterable, source: str) -> RecordsError:
    """The error for a column that is not there."""
    there = ", ".join(readable(c, LONGEST) for c in list(columns)[:30])
    return RecordsError(
        f"{source}: where needs column '{readable(name, LONGEST)}', which is not among the columns {there}."
    )


def mixed(name: str, source: str) -> RecordsError:
    """The error for a column that holds neither texts nor numbers."""
    return RecordsError(
        f"{source}: where needs column '{readable(name, LONGEST)}', which holds neither texts only nor numbers only."
    )


def no_level(name: str, wanted: str, levels: Collection[str], source: str) -> RecordsError:
    """The error for a text that no row has in a column; the values of codes, and of columns of many, are not told."""
    said = f"{source}: no row has {readable(name, LONGEST)} == '{readable(wanted, LONGEST)}'"
    if name in CODES or len(levels) > MOST_LEVELS:
        return RecordsError(f"{said}.")
    listed = [readable(level, LONGEST) for level in sorted(levels)]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return RecordsError(f"{said}; the values are {', '.join(listed[:SHOWN])}{more}.")


def no_row_chosen(where: str, source: str) -> RecordsError:
    """The error where no row is left."""
    return RecordsError(f"{source}: no row is left by where {_shown(where)}.")


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
        check_comparison((left, kind), op, (right, other), self._source)
        if kind == "text":
            for column, literal in ((left, right), (right, left)):
                self._check_level(column, literal)
        both = np.broadcast_to(there & also, len(self._frame))
        return both & np.broadcast_to(COMPARED[type(op)](values, compared), len(self._frame)).astype(bool)

    def _value(self, node: ast.expr) -> tuple[str, Any, Any]:
        """The kind of a part ("number", "text", "true or false"), its values, and where they are not missing."""
        if (value := literal_of(node)) is not None:
            kind = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "number"
            return kind, value, np.True_
        if (name := column_of(node)) is not None:
            return self._read(name)
        made, operands = calculation(node)
        parts = [self._value(operand) for operand in operands]
        if any(kind != "number" for kind, _, _ in parts):
            raise no_number(node, self._source)
        with np.errstate(all="ignore"):
            values = made(*(np.asarray(part[1], dtype=np.float64) for part in parts))
        return "number", values, functools.reduce(operator.and_, [part[2] for part in parts]) & np.isfinite(values)

    def _read(self, name: str) -> tuple[str, Any, Any]:
        if name not in self._frame.columns:
            raise no_such_column(name, self._frame.columns, self._source)
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
            raise mixed(name, self._source)
        return "text", column.astype(object).where(there, "").to_numpy(dtype=object), there

    def _check_level(self, column: ast.expr, literal: ast.expr) -> None:
        """Refuse a text that no row has in a column; the values of codes are not told."""
        name, wanted = column_of(column), literal_of(literal)
        if name is None or not isinstance(wanted, str):
            return
        _, values, there = self._read(name)
        levels = set(values[there])
        if wanted in levels:
            return
        raise no_level(name, wanted, levels, self._source)
