"""What code in a formula may hold: columns, numbers, arithmetic and a fixed list of functions.

A factor such as ``poly(prior_score, 2)`` is Python code that formulaic evaluates. :func:`check_factor` reads its syntax
tree first and lets through only what :data:`FUNCTIONS` and the arithmetic of columns and numbers need.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator

from formulaic.utils.code import sanitize_variable_names

LONGEST = 2000          # characters of a formula
LONGEST_TEXT = 200      # characters of a level or a column's name in quotes
DEEPEST = 12            # brackets inside brackets
MOST_TERMS = 150        # terms after a * b and (a + b) ** 2 are multiplied out
LARGEST_POWER = 10      # x ** 10; the degree of a polynomial and the df of a spline: twice that
MOST_KNOTS = 100
MOST_FACTORS = 5        # of an interaction

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
NUMPY = ("abs", "exp", "log", "log10", "log1p", "log2", "maximum", "minimum", "sqrt")
CONTRASTS = ("treatment", "sum", "helmert", "poly", "diff", "SAS")
PATSY_CONTRASTS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
_SPLINE = {"df": "count", "knots": "numbers", "lower_bound": "number", "upper_bound": "number"}
# Arguments after the first, in order, with the kind of value that each takes.
FUNCTIONS: dict[str, dict[str, str]] = {
    "log": {}, "log2": {}, "log10": {}, "exp": {}, "I": {}, "school_mean": {}, "center": {},
    "scale": {"center": "number", "scale": "number", "ddof": "number"},
    "standardize": {"center": "number", "rescale": "number", "ddof": "number"},
    "poly": {"degree": "count", "raw": "flag"},
    "bs": {"df": "count", "knots": "numbers", "degree": "count", "include_intercept": "flag", "lower_bound": "number",
           "upper_bound": "number", "extrapolation": "word"},
    "cr": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "cs": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "cc": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "C": {"contrasts": "contrast", "levels": "levels", "spans_intercept": "flag"},
    **{f"np.{name}": {"other": "value"} if name in ("maximum", "minimum") else {} for name in NUMPY},
}  # fmt: skip
CURVES = ("poly", "bs", "cr", "cs", "cc")  # functions that give several columns
WORDS = ("raise", "clip", "na", "zero", "extend", "center")
ALLOWED = ("a formula may hold columns, numbers, + - * / ** and the functions "
           + ", ".join([*(f for f in FUNCTIONS if f != "C"), "Q('column')", "C(column)"]))


class Refused(ValueError):
    """What a formula may not hold, in a few words."""


def used_columns(code: str) -> Iterator[tuple[str, bool]]:
    """Columns in a factor's code, each with whether it is used as a category (inside ``C``)."""
    tree, names = tree_of(code)
    top = tree.body
    category = isinstance(top, ast.Call) and _called(top) == "C"
    for node, called in _values(top):
        if called == "Q":
            yield node.value, category
        elif isinstance(node, ast.Name):
            yield names.get(node.id, node.id), category and not isinstance(top.args[0], ast.Compare)


def spread(code: str) -> int | None:
    """How many columns a factor's code gives at most; None for a category, whose levels the data tell."""
    tree, _ = tree_of(code)
    if isinstance(tree.body, ast.Call) and _called(tree.body) == "C":
        return 2 if isinstance(tree.body.args[0], ast.Compare) else None
    widths = [1]
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and _called(n) in CURVES):
        values = [*call.args[1:], *(k.value for k in call.keywords)]
        counts = [int(v.value) for v in values if isinstance(v, ast.Constant) and isinstance(v.value, int)]
        knots = [len(v.elts) for v in values if isinstance(v, (ast.List, ast.Tuple))]
        widths.append(4 + sum(knots) + max((abs(c) for c in counts if abs(c) <= 2 * LARGEST_POWER), default=0))
    return max(widths)


def named_levels(code: str) -> list | None:
    """The levels that ``C(column, levels=[...])`` names; None for any other factor."""
    call = tree_of(code)[0].body
    if not (isinstance(call, ast.Call) and _called(call) == "C"):
        return None
    given = [*call.args[2:3], *(k.value for k in call.keywords if k.arg == "levels")]
    return list(ast.literal_eval(given[0])) if given else None


def shown(formula: str) -> str:
    """A formula in quotes for a sentence, its first 120 characters."""
    return repr(formula if len(formula) <= 120 else formula[:117] + "...")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, at most 200 characters, without its full stop."""
    said = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return said if len(said) <= 200 else said[:197] + "..."


def tree_of(code: str) -> tuple[ast.Expression, dict[str, str]]:
    """The syntax tree of a factor, and the columns that stand in it for names quoted in backticks."""
    names: dict[str, str] = {}
    return ast.parse(sanitize_variable_names(code, {}, names), mode="eval"), names


def check_factor(code: str) -> None:
    """Refuse a piece of code that holds anything else than a formula may."""
    tree, names = tree_of(code)
    for alias, name in names.items():
        if set(name) & set("\"'\\`") or len(name) > LONGEST_TEXT or not (alias.isidentifier() and alias.isprintable()):
            raise Refused(f"the column name {shown(name)} inside a function; rename the column")
    node = tree.body
    if isinstance(node, ast.Call) and _called(node) == "C":
        first = node.args[0] if node.args else None
        quoted = isinstance(first, ast.Call) and _called(first) == "Q"
        if not (quoted or isinstance(first, (ast.Name, ast.Compare))):
            raise Refused("C() of something else than a column or a comparison")
        _check_arguments(node, FUNCTIONS["C"])
        node = first
    _check_value(node)


def _check_value(node: ast.AST) -> None:
    """Refuse what is neither a column nor a number nor arithmetic or a function of them."""
    if isinstance(node, ast.Name):
        if node.id.startswith("_") and not node.id.strip("_") or "__" in node.id:
            raise Refused(f"the name {node.id!r}")
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
        if isinstance(node.op, ast.Pow):
            _check_power(node)
        else:
            _check_value(node.right)
        _check_value(node.left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        _check_value(node.operand)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], COMPARISONS):
        _check_value(node.left)
        if not _is_text(node.comparators[0]):
            _check_value(node.comparators[0])
    elif isinstance(node, ast.Call):
        _check_call(node)
    elif not _is_number(node):
        raise Refused(_what(node))


def _check_call(node: ast.Call) -> None:
    """Refuse a call of a function that is not of the list, or with other arguments than it takes."""
    name = _called(node)
    if name == "Q":
        if len(node.args) != 1 or node.keywords or not _is_text(node.args[0]) or set(node.args[0].value) & set("\"'"):
            raise Refused("Q() of something else than a column's name in quotes")
        return
    if name == "C":
        raise Refused("C() inside a function or arithmetic")
    if name not in FUNCTIONS:
        raise Refused(f"the function {name}()" if name else _what(node.func))
    if not node.args:
        raise Refused(f"{name}() without a column")
    _check_value(node.args[0])
    _check_arguments(node, FUNCTIONS[name])


def _check_arguments(node: ast.Call, takes: dict[str, str]) -> None:
    """Refuse arguments (after the first) that a function of the list does not take, or of another kind."""
    given = list(zip(takes, node.args[1:], strict=False)) + [(k.arg, k.value) for k in node.keywords]
    if len(node.args) - 1 > len(takes) or any(takes.get(k.arg, "value") == "value" for k in node.keywords):
        raise Refused(f"arguments that {_called(node)}() does not take")
    for name, value in given:
        if not KINDS[takes[name]](value):
            raise Refused(f"{name}={shown(ast.unparse(value))} in {_called(node)}()")


def _check_power(node: ast.BinOp) -> None:
    right = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not (_is_number(right) and abs(right.value) <= LARGEST_POWER):
        raise Refused(f"a power that is not a number up to {LARGEST_POWER}")
    if not any(isinstance(n, (ast.Name, ast.Call)) for n in ast.walk(node.left)):
        raise Refused("a power of a number")


def _is_number(node: ast.AST) -> bool:
    node = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)) else node
    return (isinstance(node, ast.Constant) and type(node.value) in (int, float) and math.isfinite(node.value)
            and abs(node.value) <= 1e15)


def _is_text(node: ast.AST) -> bool:
    return (isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) <= LONGEST_TEXT
            and node.value.isprintable() and not set(node.value) & set("\\`") and not {"'", '"'} <= set(node.value))


def _is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _is_list(node: ast.AST, of: Callable[[ast.AST], bool], most: int) -> bool:
    return isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) <= most and all(map(of, node.elts))


def _is_level(node: ast.AST) -> bool:
    return _is_text(node) or _is_number(node) or _is_flag(node)


def _is_contrast(node: ast.AST) -> bool:
    """contr.sum, contr.treatment('north'), Treatment('north'), Sum."""
    if isinstance(node, ast.Call):
        values = [*node.args, *(k.value for k in node.keywords if k.arg in ("base", "reference"))]
        return (len(values) == len(node.args) + len(node.keywords) <= 1 and _is_contrast(node.func)
                and all(map(_is_level, values)))
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "contr" and node.attr in CONTRASTS
    return isinstance(node, ast.Name) and node.id in PATSY_CONTRASTS


KINDS: dict[str, Callable[[ast.AST], bool]] = {
    "number": lambda node: _is_number(node) or _is_flag(node),
    "count": lambda node: _is_number(node) and isinstance(node, ast.Constant) and isinstance(node.value, int)
    and 0 <= node.value <= 2 * LARGEST_POWER,
    "flag": _is_flag,
    "numbers": lambda node: _is_list(node, _is_number, MOST_KNOTS),
    "levels": lambda node: _is_list(node, _is_level, LONGEST),
    "contrast": _is_contrast,
    "word": lambda node: _is_text(node) and node.value in WORDS,
    "value": lambda node: _check_value(node) is None,
}


def _called(node: ast.Call) -> str | None:
    """The name of the function called: f or np.f; None for anything else."""
    f = node.func
    if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "np":
        return f"np.{f.attr}"
    return f.id if isinstance(f, ast.Name) else None


def _values(node: ast.AST) -> Iterator[tuple[ast.AST, str | None]]:
    """Names and the texts inside Q() that a factor uses as values: not functions, contrasts, levels."""
    if isinstance(node, ast.Call):
        name = _called(node)
        if name == "Q":
            yield node.args[0], "Q"
        else:
            for argument in node.args[:2] if name in ("np.maximum", "np.minimum") else node.args[:1]:
                yield from _values(argument)
    elif isinstance(node, ast.Name):
        yield node, None
    else:
        for child in ast.iter_child_nodes(node):
            yield from _values(child)


def _what(node: ast.AST) -> str:
    """What a node of the syntax tree is, in words."""
    names = {ast.Attribute: "the attribute", ast.Subscript: "the part", ast.Constant: "the value"}
    return f"{names.get(type(node), 'the code')} {shown(ast.unparse(node))}"
