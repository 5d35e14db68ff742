"""Formulas as text: what one may hold, its parts, and the columns it needs. Nothing in a formula is executed unread.

formulaic evaluates function calls of a formula as Python code, some of them while it parses. Here the text is taken
apart first, and every piece of code in it is checked by :mod:`valib.sums.formula`. A formula may come from
a parameters file or a saved benchmark.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from typing import Any

from formulaic import Formula, SimpleFormula
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.algos.sanitize_tokens import sanitize_tokens
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import ASTNode, Factor, Token
from formulaic.utils.code import sanitize_variable_names

from ..errors import ModelError
from .algebra import Misread, check_right, with_arithmetic

LONGEST = 2000  # characters of a formula
LONGEST_TEXT = 200  # characters of a level or a column's name in quotes
DEEPEST = 12  # brackets inside brackets
MOST_TERMS = 150  # terms after a * b and (a + b) ** 2 are multiplied out
LARGEST_POWER = 10  # x ** 10; the degree of a polynomial and the df of a spline: twice that
MOST_KNOTS = 100
MOST_FACTORS = 5  # of an interaction

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
NUMPY = ("abs", "exp", "log", "log10", "log1p", "log2", "maximum", "minimum", "sqrt")
CONTRASTS = ("treatment", "sum", "helmert", "poly", "diff", "SAS")
PATSY_CONTRASTS = ("Treatment", "Sum", "Helmert", "Poly", "Diff")
_SPLINE = {"df": "count", "knots": "numbers", "lower_bound": "number", "upper_bound": "number"}
# Arguments after the first, in order, with the kind of value that each takes.
FUNCTIONS: dict[str, dict[str, str]] = {
    "log": {},
    "log2": {},
    "log10": {},
    "exp": {},
    "I": {},
    "school_mean": {},
    "known": {},
    "if_known": {},
    "center": {},
    "scale": {"center": "number", "scale": "number", "ddof": "number"},
    "standardize": {"center": "number", "rescale": "number", "ddof": "number"},
    "poly": {"degree": "count", "raw": "flag"},
    "bs": {
        "df": "count",
        "knots": "numbers",
        "degree": "count",
        "include_intercept": "flag",
        "lower_bound": "number",
        "upper_bound": "number",
        "extrapolation": "word",
    },
    "cr": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "cs": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "cc": {**_SPLINE, "constraints": "word", "extrapolation": "word"},
    "C": {"contrasts": "contrast", "levels": "levels", "spans_intercept": "flag"},
    **{f"np.{name}": {"other": "value"} if name in ("maximum", "minimum") else {} for name in NUMPY},
}
LEARNING = ("center", "scale", "standardize", "poly", "bs", "cr", "cs", "cc", "school_mean")  # from the students
KNOWN = ("known", "if_known")  # of a column that may be missing
CURVES = ("poly", "bs", "cr", "cs", "cc")  # functions that give several columns
WORDS = ("raise", "clip", "na", "zero", "extend", "center")
ALLOWED = "a formula may hold columns, numbers, + - * / ** and the functions " + ", ".join(
    [*(f for f in FUNCTIONS if f != "C"), "Q('column')", "C(column)"]
)


class Refused(ValueError):
    """What a formula may not hold, in a few words."""


def used_columns(code: str, needed: bool = False) -> Iterator[tuple[str, bool]]:
    """Columns in a factor's code, each with whether it is used as a category (inside ``C``).

    needed: only those that may not be missing, which are all that stand outside ``known`` and ``if_known``.
    """
    tree, names = tree_of(code)
    top = tree.body
    category = isinstance(top, ast.Call) and _called(top) == "C"
    for node, called in _values(top, () if needed else KNOWN):
        if called == "Q":
            yield str(value_of(node)), category
        elif isinstance(node, ast.Name):
            compared = isinstance(top, ast.Call) and isinstance(top.args[0], ast.Compare)
            yield names.get(node.id, node.id), category and not compared


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


def named_levels(code: str) -> list[Any] | None:
    """The levels that ``C(column, levels=[...])`` names; None for any other factor."""
    call = tree_of(code)[0].body
    if not (isinstance(call, ast.Call) and _called(call) == "C"):
        return None
    given = [*call.args[2:3], *(k.value for k in call.keywords if k.arg == "levels")]
    return list(ast.literal_eval(given[0])) if given else None


def value_of(node: ast.AST) -> Any:
    """The value of a constant."""
    if not isinstance(node, ast.Constant):
        raise Refused(_what(node))
    return node.value


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
        if first is None or not (quoted or isinstance(first, (ast.Name, ast.Compare))):
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
        if (
            len(node.args) != 1
            or node.keywords
            or not _is_text(node.args[0])
            or set(str(value_of(node.args[0]))) & set("\"'")
        ):
            raise Refused("Q() of something else than a column's name in quotes")
        return
    if name == "C":
        raise Refused("C() inside a function or arithmetic")
    if name not in FUNCTIONS:
        raise Refused(f"the function {name}()" if name else _what(node.func))
    if not node.args:
        raise Refused(f"{name}() without a column")
    first = node.args[0]
    if name in KNOWN and not (isinstance(first, ast.Name) or (isinstance(first, ast.Call) and _called(first) == "Q")):
        raise Refused(f"{name}() of something else than a column")
    _check_value(first)
    _check_arguments(node, FUNCTIONS[name])


def _check_arguments(node: ast.Call, takes: dict[str, str]) -> None:
    """Refuse arguments (after the first) that a function of the list does not take, or of another kind."""
    given = list(zip(takes, node.args[1:], strict=False)) + [(str(k.arg), k.value) for k in node.keywords]
    if len(node.args) - 1 > len(takes) or any(takes.get(str(k.arg), "value") == "value" for k in node.keywords):
        raise Refused(f"arguments that {_called(node)}() does not take")
    for name, value in given:
        if not KINDS[takes[name]](value):
            raise Refused(f"{name}={shown(ast.unparse(value))} in {_called(node)}()")


def _check_power(node: ast.BinOp) -> None:
    right = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not (_is_number(right) and abs(value_of(right)) <= LARGEST_POWER):
        raise Refused(f"a power that is not a number up to {LARGEST_POWER}")
    if not any(isinstance(n, (ast.Name, ast.Call)) for n in ast.walk(node.left)):
        raise Refused("a power of a number")


def _is_number(node: ast.AST) -> bool:
    node = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)) else node
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
        and math.isfinite(node.value)
        and abs(node.value) <= 1e15
    )


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) <= LONGEST_TEXT
        and node.value.isprintable()
        and not set(node.value) & set("\\`")
        and not {"'", '"'} <= set(node.value)
    )


def _is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _is_list(node: ast.AST, of: Callable[[ast.AST], bool], most: int) -> bool:
    return isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) <= most and all(map(of, node.elts))


def _is_level(node: ast.AST) -> bool:
    return _is_text(node) or _is_number(node) or _is_flag(node)


def _is_value(node: ast.AST) -> bool:
    """True, or Refused is raised."""
    _check_value(node)
    return True


def _is_contrast(node: ast.AST) -> bool:
    """contr.sum, contr.treatment('north'), Treatment('north'), Sum."""
    if isinstance(node, ast.Call):
        values = [*node.args, *(k.value for k in node.keywords if k.arg in ("base", "reference"))]
        return (
            len(values) == len(node.args) + len(node.keywords) <= 1
            and _is_contrast(node.func)
            and all(map(_is_level, values))
        )
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "contr" and node.attr in CONTRASTS
    return isinstance(node, ast.Name) and node.id in PATSY_CONTRASTS


KINDS: dict[str, Callable[[ast.AST], bool]] = {
    "number": lambda node: _is_number(node) or _is_flag(node),
    "count": lambda node: (
        _is_number(node)
        and isinstance(node, ast.Constant)
        and isinstance(node.value, int)
        and 0 <= node.value <= 2 * LARGEST_POWER
    ),
    "flag": _is_flag,
    "numbers": lambda node: _is_list(node, _is_number, MOST_KNOTS),
    "levels": lambda node: _is_list(node, _is_level, LONGEST),
    "contrast": _is_contrast,
    "word": lambda node: _is_text(node) and value_of(node) in WORDS,
    "value": _is_value,
}


def _called(node: ast.Call) -> str | None:
    """The name of the function called: f or np.f; None for anything else."""
    f = node.func
    if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id == "np":
        return f"np.{f.attr}"
    return f.id if isinstance(f, ast.Name) else None


def _values(node: ast.AST, known: tuple[str, ...] = KNOWN) -> Iterator[tuple[ast.AST, str | None]]:
    """Names and the texts inside Q() that a factor uses as values: not functions, contrasts, levels.

    known: of the functions ``known`` and ``if_known`` those that are looked into.
    """
    if isinstance(node, ast.Call):
        name = _called(node)
        if name == "Q":
            yield node.args[0], "Q"
        elif name not in KNOWN or name in known:
            for argument in node.args[:2] if name in ("np.maximum", "np.minimum") else node.args[:1]:
                yield from _values(argument, known)
    elif isinstance(node, ast.Name):
        yield node, None
    else:
        for child in ast.iter_child_nodes(node):
            yield from _values(child, known)


def _what(node: ast.AST) -> str:
    """What a node of the syntax tree is, in words."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        return f"the code {shown(ast.unparse(node))} (a power is written **)"
    names = {ast.Attribute: "the attribute", ast.Subscript: "the part", ast.Constant: "the value"}
    return f"{names.get(type(node), 'the code')} {shown(ast.unparse(node))}"


class _Sides(ValueError):
    """A formula without one response and one linear predictor."""


def parse(formula: str) -> Formula:
    """Parse a formula of one response and one linear predictor, or say in a sentence why it cannot be (ModelError)."""
    if not isinstance(formula, str):
        raise ModelError(f"A formula is text such as 'score ~ prior_score', not a {type(formula).__name__}.")
    try:
        _check_text(formula)
        parsed = _parsed(with_arithmetic(formula))
    except Misread as misread:
        raise ModelError(f"The formula {shown(formula)} {misread}.") from None
    except Refused as refused:
        raise ModelError(f"The formula {shown(formula)} holds {refused}; {ALLOWED}.") from None
    except _Sides:
        raise ModelError(
            f"The formula {shown(formula)} must have one response and one linear predictor, "
            "as in 'score ~ prior_score'."
        ) from None
    except (
        FormulaicError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        SyntaxError,
        TypeError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise ModelError(
            f"The formula {shown(formula)} cannot be read: write it as 'score ~ prior_score + ...' "
            f"({first_line(error)})."
        ) from error
    return parsed


def _parsed(formula: str) -> Formula:
    """A formula whose left side is one column or one piece of code, checked and then parsed."""
    for token in sanitize_tokens(tokenize(formula)):
        if token.kind is Token.Kind.PYTHON:
            check_factor(token.token)
            if not any(used_columns(token.token)):
                raise Misread(f"has {shown(token.token)}, which holds no column: leave it out")
        elif token.kind is Token.Kind.NAME and token.token == "Intercept":
            raise Misread("has the column 'Intercept', which is what the intercept is called: rename the column")
        elif token.token == ".":
            raise Misread("has '.' for all columns: name those that are meant")
    tree = DefaultFormulaParser().get_ast(formula, context={})
    _check_terms(tree)
    check_right(tree)
    parsed = Formula(formula)
    _check_sides(parsed)
    if not factors(parsed.lhs):
        raise _Sides
    for code, factor in factors(parsed.lhs).items():
        if factor.eval_method is Factor.EvalMethod.PYTHON:
            _check_outcome(code)
    return parsed


def _check_outcome(code: str) -> None:
    """Refuse an outcome that is not arithmetic with fixed numbers.

    One that learns its numbers from the students it is applied to would be another outcome in every cohort.
    """
    for node in ast.walk(tree_of(code)[0]):
        name = _called(node) if isinstance(node, ast.Call) else None
        if name == "C" or isinstance(node, ast.Compare):
            raise Misread("has categories left of ~, where the outcome must be a number")
        if name in KNOWN:
            raise Misread(f"has {name}() left of ~, where every student has an outcome")
        if name in LEARNING:
            raise Misread(
                f"has {name}() left of ~, which takes its numbers from the students at hand and so makes another "
                "outcome of every cohort: write them out, as in score - 500"
            )


def is_in_points(formula: str) -> bool:
    """Whether the outcome is in score points: the score itself, or the score plus or minus what does not hold it."""
    (outcome,) = factors(parse(formula).lhs)
    tree, names = tree_of(f"`{outcome}`" if outcome == "score" else outcome)
    return _slope(tree.body, names) == 1


def _slope(node: ast.AST, names: dict[str, str]) -> int | None:
    """By how much a sum changes when the score rises by 1; None for what is no sum."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        left, right = _slope(node.left, names), _slope(node.right, names)
        if left is None or right is None:
            return None
        return left + right if isinstance(node.op, ast.Add) else left - right
    if isinstance(node, ast.UnaryOp):
        slope = _slope(node.operand, names)
        return slope if slope is None or isinstance(node.op, ast.UAdd) else -slope
    if isinstance(node, ast.Call) and _called(node) == "I":
        return _slope(node.args[0], names)
    used = [names.get(n.id, n.id) if isinstance(n, ast.Name) else value_of(n) for n, _ in _values(node)]
    if isinstance(node, ast.Name) or (isinstance(node, ast.Call) and _called(node) == "Q"):
        return int(used == ["score"])
    return None if "score" in used else 0


def required_columns(formula: str, never_missing: bool = False) -> list[str]:
    """The columns of the records that a formula needs, in alphabetical order; never_missing: without which a student is left
    out."""
    parsed = parse(formula)
    return sorted(columns_of(parsed.lhs) | columns_of(parsed.rhs, never_missing))


def columns_of(side: SimpleFormula, needed: bool = False) -> set[str]:
    """The columns that one side of a parsed formula uses, as numbers or as categories; needed: that may not be missing."""
    found = factors(side)
    code = [text for text, factor in found.items() if factor.eval_method is Factor.EvalMethod.PYTHON]
    return found.keys() - set(code) | {column for text in code for column, _ in used_columns(text, needed)}


def factors(side: SimpleFormula) -> dict[str, Factor]:
    """The distinct factors of one side of a parsed formula by their text, numbers left out."""
    return {str(f.expr): f for term in side for f in term.factors if f.eval_method is not Factor.EvalMethod.LITERAL}


def categories_of(factor: Factor) -> set[str]:
    """The column that a factor takes as a category: the one named, or that inside C()."""
    if factor.eval_method is not Factor.EvalMethod.PYTHON:
        return {str(factor.expr)}
    return {name for name, category in used_columns(str(factor.expr)) if category}


def _check_text(formula: str) -> None:
    """Bounds that hold before anything reads the text: length, depth of brackets, signs, control characters."""
    if len(formula) > LONGEST:
        raise Refused(f"{len(formula)} characters, and {LONGEST:,} are the most")
    if odd := sorted({c for c in formula if not (c.isprintable() or c in " \t\r\n")}):
        raise Refused(f"the control character U+{ord(odd[0]):04X}")
    depth = 0
    for character in formula:
        depth += (character in "([{") - (character in ")]}")
        if depth > DEEPEST:
            raise Refused(f"more than {DEEPEST} brackets inside one another")


def _check_terms(node: ASTNode | Token | None, most_signs: int = 2 * MOST_TERMS) -> int:
    """An upper bound of the number of terms that operators multiply out to; refuses too many before it is done."""
    if not isinstance(node, ASTNode):
        return 1
    if most_signs <= 0:
        raise Refused(f"more than {MOST_TERMS} terms")
    symbol, arguments = node.operator.symbol, list(node.args)
    if symbol in ("**", "^"):
        power = str(arguments[1])
        if not (power.isdecimal() and 1 <= int(power[:9]) <= MOST_FACTORS):
            raise Refused(f"a power of terms other than 1 to {MOST_FACTORS}")
        arguments.pop()
    counts = [_check_terms(argument, most_signs - 1) for argument in arguments]
    if symbol in ("**", "^"):
        total = counts[0] ** int(power)
    elif symbol in (":", "*", "/", "in"):
        total = math.prod(counts) + (0 if symbol == ":" else sum(counts))
    else:
        total = sum(counts)
    if total > MOST_TERMS:
        raise Refused(f"more than {MOST_TERMS} terms")
    return int(total)


def _check_sides(parsed: Formula) -> None:
    lhs, rhs = getattr(parsed, "lhs", None), getattr(parsed, "rhs", None)
    if not (isinstance(lhs, SimpleFormula) and isinstance(rhs, SimpleFormula) and len(list(lhs)) == 1):
        raise _Sides
    if any(len(term.factors) > MOST_FACTORS for side in (lhs, rhs) for term in side):
        raise Refused(f"an interaction of more than {MOST_FACTORS} factors")
