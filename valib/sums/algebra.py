"""Where a formula is arithmetic and where it is algebra of terms, and what algebra would drop without a word.

Left of ``~`` a formula is arithmetic, as in R: ``score - prior_score ~ 1`` models the difference. Right of it, ``+``,
``-``, ``:``, ``*`` and ``**`` add, remove and cross terms (Wilkinson and Rogers 1973), so that ``prior_score - 400``
would remove a term that is not there, and ``x ** 2`` is ``x``. What would vanish so is refused with the form that says
what is meant: arithmetic stands in ``I()``. The two operators that programs read differently, ``/`` and ``%in%``, are
refused too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from formulaic.parser.algos.tokenize import tokenize
from formulaic.parser.types import ASTNode, Token

SIGNS = "+-*/^"  # of arithmetic, left of ~
ONE = frozenset([("1", False)])  # the intercept as a term of :func:`_terms`
Terms = frozenset[frozenset[tuple[str, bool]]]  # each the set of its factors: (text, whether it is a column or code)


class Misread(ValueError):
    """What a formula has that would be read otherwise than it is written, and what to write."""


def outcome_of(formula: str) -> str:
    """What stands left of ``~``, as it is written, a column by its name; the whole text where there is no ``~``."""
    tilde = _tilde(formula)
    left = list(tokenize(formula[:tilde]))
    if len(left) == 1 and left[0].kind is Token.Kind.NAME:
        return str(left[0].token)
    return " ".join(formula[:tilde].split())


def with_arithmetic(formula: str) -> str:
    """The formula as formulaic must read it: arithmetic on the left as one ``I()``, a column named `1` as ``Q('1')``.

    A left side that is one column or one call stays as it is. Raises Misread for a sign that is none of arithmetic.
    """
    tilde = _tilde(formula)
    left = [token for token in tokenize(formula) if token.source_start < tilde]
    plain = [_as_python(token, formula) for token in left if token.kind is not Token.Kind.CONTEXT]
    right = "".join(_rewritten(formula, tilde))
    braces = any(formula[token.source_start] == "{" for token in left)
    if not plain or (len(plain) == 1 and not braces):
        return f"{''.join(plain)} {right}"
    depths = list(
        accumulate((token.token in "([") - (token.token in ")]") for token in left if token.kind is Token.Kind.CONTEXT)
    )
    if depths and (min(depths) < 0 or depths[-1]):
        raise Misread("has brackets left of ~ that do not pair: close every one that is opened")
    return f"I({' '.join(_as_python(token, formula) for token in left)}) {right}"


def check_right(node: ASTNode | Token | None) -> None:
    """Refuse (Misread) what the right side of a formula, as formulaic reads it, would drop in silence.

    node: the syntax tree of the whole formula or of that side.
    """
    if isinstance(node, ASTNode) and node.operator.symbol == "~":
        check_right(node.args[-1])
    elif isinstance(node, ASTNode) and node.operator.symbol == "|":
        for part in node.args:
            check_right(part)
    elif node is not None:
        _terms(node, spine=True)


def _tilde(formula: str) -> int:
    """Where the ``~`` of a formula stands, none inside quotation marks or calls; its length if there is none."""
    for token in tokenize(formula):
        if token.kind is Token.Kind.OPERATOR and "~" in token.token:
            return formula.index("~", token.source_start)
    return len(formula)


def _rewritten(formula: str, start: int) -> Iterator[str]:
    """The text from a place on, piece by piece, with Q('1') for a column that is called 1."""
    for token in tokenize(formula):
        if token.kind is Token.Kind.NAME and token.token == "1" and token.source_start >= start:
            yield formula[start : token.source_start] + "Q('1')"
            start = token.source_start + len("`1`")
    yield formula[start:]


def _as_python(token: Token, formula: str) -> str:
    """A token of the left side as Python writes it: ** for ^, brackets for braces, odd names in backticks."""
    text, first = token.token, formula[token.source_start]
    if token.kind is Token.Kind.OPERATOR:
        text = "".join(text.partition("~")[0].split())
        if set(text) - set(SIGNS):
            raise Misread(f"has '{text}' left of ~, which is no sign of arithmetic: write one of + - * / **")
        return text.replace("^", "**")
    if token.kind is Token.Kind.NAME:
        return "Q('1')" if text == "1" else text if text.isidentifier() and first != "`" else f"`{text}`"
    return f"({text})" if first == "{" else text


def _terms(node: ASTNode | Token, spine: bool = False) -> Terms:
    """The terms of a part of the right side; spine: whether the part begins with the intercept that is always there."""
    if not isinstance(node, ASTNode):
        return frozenset([frozenset([(node.token, node.kind is not Token.Kind.VALUE)])])
    symbol, arguments = node.operator.symbol, list(node.args)
    if symbol == "-":
        return _difference(arguments, spine)
    if symbol == "+":
        return _sum(arguments, spine)
    if symbol in ("**", "^"):
        return _power(node, arguments)
    if symbol in (":", "*"):
        return _product(node, symbol, arguments)
    if symbol in ("/", "in"):
        first, second = map(_text, arguments)
        if symbol == "/":
            raise _misread(
                node, "nests terms and does not divide", f"{_form(node)} for a ratio, or {first} + {first}:{second}"
            )
        raise _misread(node, "programs read differently", f"{second} + {first}:{second}")
    return frozenset().union(*map(_terms, arguments))


def _sum(arguments: list[Any], spine: bool) -> Terms:
    """The terms of a sum; of numbers it may have 1."""
    for k, argument in enumerate(arguments):
        if _is_number(argument) and argument.token != "1":
            column = next((found for j, a in enumerate(arguments) if j != k and (found := _last(a))), "column")
            raise Misread(
                f"has {argument.token} for a term right of ~, where a number is none: write I({column} + "
                f"{argument.token}) for arithmetic"
            )
    return frozenset().union(*(_terms(argument, spine and k == 0) for k, argument in enumerate(arguments)))


def _difference(arguments: list[Any], spine: bool) -> Terms:
    """The terms of a difference; refuses to remove what is not there. The intercept may be removed twice."""
    if len(arguments) > 1 and all(map(_is_number, arguments)) and arguments[0].token not in ("0", "1"):
        raise Misread(f"has {arguments[0].token} for a term right of ~, where a number is none: name a column")
    removed = arguments[-1]
    if len(arguments) == 1 and _is_number(removed):
        raise Misread("has 0 or - 1 inside brackets, where it removes nothing: write it outside of them")
    there = _terms(arguments[0], spine) if len(arguments) > 1 else frozenset()
    gone = _terms(removed)
    if lost := sorted(_joined(term) for term in gone - there - ({ONE} if spine else set())):
        first = _last(arguments[0]) if len(arguments) > 1 else ""
        form = f"I({first} - {_bracketed(removed, True)})" if first else f"I(-{_bracketed(removed, True)})"
        piece = f"{first} - {_bracketed(removed)}".strip()
        raise Misread(
            f"has '{_short(piece)}' right of ~, which would remove the term '{_short(lost[0])}', and there is none: "
            f"write {_short(form)} for arithmetic"
        )
    return there - gone


def _power(node: ASTNode, arguments: list[Any]) -> Terms:
    """The terms of a power, which crosses several terms with each other; refuses one of a single term."""
    base = _terms(arguments[0])
    if len(base) < 2:
        raise _misread(node, "is the term itself", f"{_form(node)} for the power")
    _refuse_numbers(node, base)
    return frozenset(
        a | b for a in base for b in base
    )  # higher powers have larger terms besides, which nothing removes


def _product(node: ASTNode, symbol: str, arguments: list[Any]) -> Terms:
    """The terms of an interaction or a crossing; refuses a term crossed with itself."""
    a, b = map(_terms, arguments)
    _refuse_numbers(node, a | b)
    for one, other in ((a, b), (b, a)):
        if len(one) == 1 and any(next(iter(one)) <= term for term in other):
            raise _misread(node, "crosses a term with itself", f"{_form(node)} for the product")
    crossed = frozenset(x | y for x in a for y in b)
    return crossed | a | b if symbol == "*" else crossed


def _refuse_numbers(node: ASTNode, terms: Terms) -> None:
    """Refuse numbers among the terms of a product or a power."""
    if any(not column for term in terms for _, column in term):
        raise _misread(node, "has a number where terms stand", f"{_form(node)} for arithmetic")


def _misread(node: ASTNode, why: str, form: str) -> Misread:
    return Misread(f"has '{_short(_text(node))}' right of ~, which {why}: write {_short(form)}")


def _is_number(node: ASTNode | Token) -> bool:
    return not isinstance(node, ASTNode) and node.kind is Token.Kind.VALUE and node.token[:1] not in "\"'"


def _last(node: ASTNode | Token) -> str:
    """The last term that was added in a part, as arithmetic; "" where it is the intercept."""
    while isinstance(node, ASTNode) and node.operator.symbol in ("+", "-"):
        node = node.args[-1] if node.operator.symbol == "+" else node.args[0]
    return "" if _is_number(node) else _bracketed(node, True)


def _text(node: ASTNode | Token, arithmetic: bool = False) -> str:
    """A part of a formula as it may be written; arithmetic: as it is written inside I()."""
    if not isinstance(node, ASTNode):
        odd = node.kind is Token.Kind.NAME and not node.token.isidentifier()
        return f"`{node.token}`" if odd else node.token
    symbol = node.operator.symbol
    symbol = {":": "*", "^": "**"}.get(symbol, symbol) if arithmetic else {"in": "%in%"}.get(symbol, symbol)
    parts = [_bracketed(argument, arithmetic) for argument in node.args]
    return f"{symbol}{parts[0]}" if len(parts) == 1 else (":" if symbol == ":" else f" {symbol} ").join(parts)


def _bracketed(node: ASTNode | Token, arithmetic: bool = False) -> str:
    return f"({_text(node, arithmetic)})" if isinstance(node, ASTNode) else _text(node)


def _form(node: ASTNode) -> str:
    return f"I({_text(node, arithmetic=True)})"


def _joined(term: frozenset[tuple[str, bool]]) -> str:
    return ":".join(sorted(text for text, _ in term))


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
