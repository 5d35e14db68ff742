"""Formulas as text: what one may hold, its parts, and the columns it needs. Nothing in a formula is executed unread.

formulaic evaluates function calls of a formula as Python code, some of them while it parses. Here the text is taken
apart first, and every piece of code in it is checked by :mod:`valib.sums.formula_code`. A formula may come from
a parameters file or a saved benchmark.
"""

from __future__ import annotations

import math

from formulaic import Formula, SimpleFormula
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.algos.sanitize_tokens import sanitize_tokens
from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import ASTNode, Factor, Token

from ..errors import ModelError
from .formula_code import (
    ALLOWED,
    DEEPEST,
    LONGEST,
    MOST_FACTORS,
    MOST_TERMS,
    Refused,
    check_factor,
    first_line,
    shown,
    used_columns,
)


class _Sides(ValueError):
    """A formula without one response and one linear predictor."""


def parse(formula: str) -> Formula:
    """Parse a formula of one response and one linear predictor, or say in a sentence why it cannot be (ModelError)."""
    if not isinstance(formula, str):
        raise ModelError(f"A formula is text such as 'score ~ prior_score', not a {type(formula).__name__}.")
    try:
        _check_text(formula)
        for token in sanitize_tokens(tokenize(formula)):
            if token.kind is Token.Kind.PYTHON:
                check_factor(token.token)
        _check_terms(DefaultFormulaParser().get_ast(formula, context={}))
        parsed = Formula(formula)
        _check_sides(parsed)
    except Refused as refused:
        raise ModelError(f"The formula {shown(formula)} holds {refused}; {ALLOWED}.") from None
    except _Sides:
        raise ModelError(f"The formula {shown(formula)} must have one response and one linear predictor, "
                         "as in 'score ~ prior_score'.") from None
    except (FormulaicError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SyntaxError,
            TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(f"The formula {shown(formula)} cannot be read: write it as 'score ~ prior_score + ...' "
                         f"({first_line(error)}).") from error
    return parsed


def required_columns(formula: str) -> list[str]:
    """The columns of the records that a formula needs, in alphabetical order."""
    parsed = parse(formula)
    return sorted(columns_of(parsed.lhs) | columns_of(parsed.rhs))


def columns_of(side: SimpleFormula) -> set[str]:
    """The columns that one side of a parsed formula uses, as numbers or as categories."""
    found = factors(side)
    code = [text for text, factor in found.items() if factor.eval_method is Factor.EvalMethod.PYTHON]
    return found.keys() - set(code) | {column for text in code for column, _ in used_columns(text)}


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
    return total




def _check_sides(parsed: Formula) -> None:
    lhs, rhs = getattr(parsed, "lhs", None), getattr(parsed, "rhs", None)
    if not (isinstance(lhs, SimpleFormula) and isinstance(rhs, SimpleFormula) and len(list(lhs)) == 1):
        raise _Sides
    if any(len(term.factors) > MOST_FACTORS for side in (lhs, rhs) for term in side):
        raise Refused(f"an interaction of more than {MOST_FACTORS} factors")
