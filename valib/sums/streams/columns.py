"""The columns that a stream sums for a formula, and the designs that are taken from the sums.

Which levels a categorical covariate has is known of some cohorts only after the pass, so the pass sums every term with
every level (:class:`Wide`); the columns of a design, with its reference levels left out, are then picked by position.
Which columns those are, their names and their order, formulaic says itself: it is run on a few made-up rows.
"""

from __future__ import annotations

import ast
import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.parser.types import Factor, Term

from ..design import INTERCEPT, FormulaState
from ..formula import categories_of, factors, tree_of
from ..moments import Moments
from .sql import Compiler, DuckSql, NotInSql

Key = tuple[tuple[str, int], ...]  # factors of a product, each with the position of its level (-1: a number)


@dataclass(frozen=True, slots=True, eq=False)
class Wide:
    """sqls: the SQL of every wide column by the key of its product. levels: of every categorical factor, all of them.

    response: the SQL of the response. means: the SQL of what ``school_mean`` was asked of.
    """

    sqls: dict[Key, str]
    levels: dict[str, list[Any]]
    response: str
    means: list[str]


def category_columns(parsed: Formula, kinds: Mapping[str, str | None]) -> dict[str, str]:
    """The categorical factors of a parsed formula with their columns, a comparison inside C() with itself."""
    found = {}
    for text, factor in factors(parsed.rhs).items():
        if factor.eval_method is not Factor.EvalMethod.PYTHON:
            if kinds[text] in ("text", "category"):
                found[text] = text
        elif text.startswith("C("):
            found[text] = next(iter(categories_of(factor)), text)
    return found


def plainly_coded(text: str, column: str) -> bool:
    """Whether a categorical factor is coded by treatment, its first level being the reference."""
    return text == column or bool(compared(text)) or text in (f"C({c})" for c in _written(column))


def coded_apart(parsed: Formula) -> list[str]:
    """The factors C() of a formula that are not coded by treatment: with contrasts or levels of their own."""
    return [
        text
        for text, factor in factors(parsed.rhs).items()
        if text.startswith("C(") and not plainly_coded(text, next(iter(categories_of(factor)), text))
    ]


def compared(text: str) -> str:
    """The comparison that a factor takes as a category, as in C(ses > 0); "" for any other factor."""
    call = tree_of(text)[0].body if text.startswith("C(") else None
    if not isinstance(call, ast.Call) or len(call.args) != 1 or call.keywords:
        return ""
    return text[2:-1] if isinstance(call.args[0], ast.Compare) else ""


def _written(column: str) -> tuple[str, ...]:
    return column, f"`{column}`", f"Q('{column}')", f'Q("{column}")'


def widen(
    parsed: Formula,
    categories: Mapping[str, str],
    levels: Mapping[str, list[Any]],
    sql: DuckSql,
    numbers: Mapping[str, str],
    texts: Mapping[str, str],
) -> Wide:
    """The wide columns of a formula.

    categories: categorical factor -> its column. levels: of each such column, every level in the source.
    numbers, texts: the SQL of the columns that are numbers and text. Raises NotInSql, for contrasts above all.
    """
    if coded := [text for text, column in categories.items() if not plainly_coded(text, column)]:
        raise NotInSql(coded[0])
    compiler = Compiler(sql, numbers)
    codes = {text: _code(text, factor) for side in (parsed.lhs, parsed.rhs) for text, factor in factors(side).items()}

    def columns(text: str) -> list[tuple[int, str]]:
        if text not in categories:
            return [(-1, compiler.factor(codes[text]))]
        name = categories[text]
        if compared(text):
            return [
                (i, f"{compiler.factor(compared(text))} = {sql.number(level)}") for i, level in enumerate(levels[name])
            ]
        return [
            (i, f"{numbers[name]} = {sql.number(level)}" if name in numbers else f"{texts[name]} = {sql.text(level)}")
            for i, level in enumerate(levels[name])
        ]

    sqls: dict[Key, str] = {}
    response = next(iter(parsed.lhs)).factors
    for named in [*([text] for text in categories), *(_factors(term) for term in parsed.rhs)]:
        for chosen in itertools.product(*(columns(text) for text in named)) if named else ():
            key = tuple(sorted((text, level) for text, (level, _) in zip(named, chosen, strict=True)))
            sqls[key] = _product([x for level, x in chosen if level < 0], [x for level, x in chosen if level >= 0])
    y = _product([compiler.factor(codes[str(f.expr)]) for f in response], [])
    return Wide(sqls, {text: list(levels[name]) for text, name in categories.items()}, y, compiler.means)


def _code(text: str, factor: Factor) -> str:
    return text if factor.eval_method is Factor.EvalMethod.PYTHON else f"`{text}`"


def _factors(term: Term) -> list[str]:
    return [str(f.expr) for f in term.factors if f.eval_method is not Factor.EvalMethod.LITERAL]


def _product(numbers: list[str], conditions: list[str]) -> str:
    value = " * ".join(numbers) or "1e0"
    return f"(CASE WHEN {' AND '.join(conditions)} THEN {value} ELSE 0e0 END)" if conditions else f"({value})"


def structure(parsed: Formula, state: FormulaState) -> tuple[tuple[str, ...], list[tuple[Key, float]]]:
    """The names of a design's columns, and for each the product it is with its scale (an empty key: the intercept).

    state: the levels of every categorical factor; its names are not read.
    """
    encoders = {k: (Factor.Kind.CATEGORICAL, {"categories": list(v)}) for k, v in state.levels.items()}
    rows = 2 * max([1, *map(len, state.levels.values())])
    data = {
        c: pd.Series([1.0, 2.0] * (rows // 2))
        for side in (parsed.lhs, parsed.rhs)
        for f in factors(side).values()
        for c in _columns(f)
    }
    for text, factor in factors(parsed.rhs).items():
        for column in categories_of(factor) if text in state.levels else ():
            data[column] = pd.Series((list(state.levels[text]) * rows)[:rows])
    context = {"school_mean": lambda x: x, "np": np}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a made-up row need not be of the one level that a comparison has
        spec = (
            ModelSpec.from_spec(parsed.rhs, output="numpy", encoder_state=encoders)
            .get_model_matrix(pd.DataFrame(data), context=context)
            .model_spec
        )
    keys = []
    for encoded in spec.structure:
        for scoped in encoded.scoped_terms:
            choices = [
                [(text, i) for i in range(int(f.reduced), len(state.levels[text]))]
                if text in state.levels
                else [(text, -1)]
                for f in scoped.factors
                for text in [str(f.factor.expr)]
            ]
            keys += [(tuple(sorted(chosen)), float(scoped.scale)) for chosen in itertools.product(*reversed(choices))]
    return tuple(spec.column_names), keys


def _columns(factor: Factor) -> set[str]:
    from ..formula import used_columns

    text = str(factor.expr)
    return {c for c, _ in used_columns(text)} if factor.eval_method is Factor.EvalMethod.PYTHON else {text}


def pick(moments: Moments, positions: np.ndarray, scale: np.ndarray, names: tuple[str, ...], by_cell: bool) -> Moments:
    """The moments of some columns, each times a number; without an intercept they are shifted back to 0."""
    cell = None
    if by_cell and moments.cell_cross is not None:
        cell = moments.cell_cross[:, positions[:, None], positions] * np.outer(scale, scale)
    picked = replace(
        moments,
        names=names,
        shift=moments.shift[positions] * scale,
        sums=moments.sums[:, positions] * scale,
        cross=moments.cross[:, positions[:, None], positions] * np.outer(scale, scale),
        cell_cross=cell,
    )
    return picked if INTERCEPT in names else picked.reshift(np.zeros(len(names)))
