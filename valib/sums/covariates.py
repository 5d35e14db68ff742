"""The columns a formula uses, made ready for it: numbers as float64, categories without empty levels, nothing else.

A column used as a number is taken as float64, so that small integer types cannot overflow; text is a category. What is
neither is refused in one sentence, and so is a design wider than :data:`WIDEST` columns, before any of it is made.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, SimpleFormula
from formulaic.parser.types import Factor

from ..errors import ModelError
from ..names import example
from ..records.reading import complaint, is_text
from ..records.sources.content import ODD, as_text, level_text, odd_values
from .formula import categories_of, factors, named_levels, spread, used_columns

WIDEST = 1000  # columns of a fixed-effects matrix
LARGEST = 500_000_000  # its entries (4 GB)
LIMITS = (1e-30, 1e30)  # size of the largest number of a column: its powers must stay within floating point
_NUMBER_TEXT = r"[-+]?\d*[.,]?\d+"
_KINDS = {
    "integer": "number",
    "floating": "number",
    "decimal": "number",
    "mixed-integer-float": "number",
    "string": "text",
    "boolean": "truth",
}


def as_covariates(data: pd.DataFrame, parsed: Formula) -> pd.DataFrame:
    """The columns that a parsed formula uses, in the types it needs; ``data`` (no row missing one) is not changed.

    Raises ModelError naming a column that is neither numbers nor text, that is text where numbers are needed, or that
    is text where numbers are meant (:mod:`valib.records.sources.content`), with the rows of what is none.
    """
    numbers, categories, plain = uses(parsed)
    told = data.attrs.get(ODD, {})
    return pd.DataFrame(
        {
            c: _as_covariate(data[c], c in numbers, c in categories, told.get(c))
            for c in sorted(numbers | categories | plain)
        },
        index=data.index,
        copy=False,
    )


def as_known(covariates: pd.DataFrame, parsed: Formula, levels: dict[str, list[Any]]) -> pd.DataFrame:
    """Categories with the levels as they are known: 1, 1.0 and "1" are one level, "01" is another.

    levels: of categorical factors, by factor. Columns that are used as numbers too stay as they are.
    """
    out = covariates
    for name, factor in factors(parsed.rhs).items():
        for column in categories_of(factor) if name in levels else ():
            if column not in covariates or column in uses(parsed)[0]:
                continue
            known, found = {level_text(level): level for level in levels[name]}, pd.unique(covariates[column])
            if not set(found) - set(levels[name]):
                continue
            mapped = {v: known.get(level_text(v), v) for v in found}
            out = out.assign(**{column: covariates[column].astype(object).map(mapped)})
    return out


def check_width(covariates: pd.DataFrame, side: SimpleFormula, levels: dict[str, list[Any]] | None = None) -> None:
    """Raise ModelError if the fixed-effects matrix would have too many columns or entries.

    levels: the categories of categorical factors where they are known already, by factor.
    """
    widths, widest, largest = {}, ("", 1), 0
    for name, factor in factors(side).items():
        widths[name], column = _width(factor, covariates, (levels or {}).get(name))
        widest = max(widest, (column, widths[name]), key=lambda pair: pair[1])
    for term in side:
        largest += math.prod(widths.get(str(f.expr), 1) for f in term.factors)
    most = min(WIDEST, max(LARGEST // max(len(covariates), 1), 1))
    if largest > most:
        cause = f"column '{widest[0]}' has {widest[1]:,} levels" if widest[0] else "its terms multiply out"
        raise ModelError(
            f"The formula makes {largest:,} columns of fixed effects for {len(covariates):,} students, "
            f"and {most:,} are the most ({WIDEST:,} columns, {LARGEST:,} entries): {cause}; group the "
            "levels, or store numbers as numbers."
        )


def check_named(covariates: pd.DataFrame, side: SimpleFormula) -> None:
    """Raise ModelError for a level that ``C(column, levels=[...])`` leaves out: it would count as the first level."""
    for name, factor in factors(side).items():
        named = named_levels(name) if factor.eval_method is Factor.EvalMethod.PYTHON else None
        if named is None:
            continue
        for column, _ in used_columns(name):
            held = covariates[column].dropna().unique().tolist()
            if lost := sorted({str(v) for v in held if v not in named}):
                raise ModelError(
                    f"Column '{column}' has the level '{lost[0]}', which {name} does not name: name it, "
                    "or leave its rows out."
                )


def check_size(X: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> None:
    """Raise ModelError for a column whose largest number is beyond what squares and their inverses can hold."""
    for name, column in [("The response", y), *((f"Column '{n}'", X[:, k]) for k, n in enumerate(names))]:
        size = max(abs(float(column.max())), abs(float(column.min()))) if len(column) else 0.0
        if size and not LIMITS[0] <= size <= LIMITS[1]:
            raise ModelError(
                f"{name} has numbers of a size that squares cannot hold, and a model takes sizes between "
                f"{LIMITS[0]:g} and {LIMITS[1]:g}: use another unit."
            )


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers, or true and false, rather than text or categories."""
    return _kind(column) in ("number", "truth")


def uses(parsed: Formula) -> tuple[set[str], set[str], set[str]]:
    """Columns used as numbers, as categories (inside C), and as whatever they are."""
    numbers: set[str] = set()
    categories: set[str] = set()
    plain: set[str] = set()
    for factor in [*factors(parsed.lhs).values(), *factors(parsed.rhs).values()]:
        if factor.eval_method is not Factor.EvalMethod.PYTHON:
            plain.add(str(factor.expr))
            continue
        for column, category in used_columns(str(factor.expr)):
            (categories if category else numbers).add(column)
    return numbers, categories, plain


def _as_covariate(column: pd.Series, as_number: bool, as_category: bool, told: str | None) -> pd.Series:
    """told: what the reader of the records says of the column; None if it did not see it."""
    kind = _kind(column)
    if kind is None:
        raise ModelError(f"Column '{column.name}' holds {_said(column)}, where a formula needs numbers or text.")
    if kind == "category" and not as_number:
        return _as_category(column.cat.remove_unused_categories())
    if kind in ("text", "category"):
        if kind == "text" and not (as_category and not as_number):
            _refuse_odd(column, told)
        if as_number:
            raise ModelError(
                f"Column '{column.name}' holds text{_first(column)}, where the formula needs numbers{_hint(column)}."
            )
        return column if (column.map(type) == str).all() and column.dtype == object else as_text(column)
    return _as_number(column, kind, as_category)


def _refuse_odd(column: pd.Series, told: str | None) -> None:
    """Raise ModelError for a column of text that is meant to hold numbers."""
    if told is None:
        odd = odd_values(column, typed=column.dtype != object)
        if odd is not None:
            first = column.iloc[odd[0]] if len(odd) else column.iloc[0]
            said = complaint(
                str(column.name), str(column.name), len(odd), len(column), _places(column.index[odd]), first
            )
            told = said.replace("column", "Column", 1)
    if told:
        raise ModelError(
            f"{told}: store them as numbers, or write C({_written(str(column.name))}) if they are categories."
        )


def _places(labels: pd.Index) -> str:
    """The first few rows of a DataFrame by their labels."""
    shown = ", ".join(map(str, labels[:5]))
    return f"rows {shown}" + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _written(name: str) -> str:
    return "Q('1')" if name == "1" else name if str(name).isidentifier() else f"`{name}`"


def _as_number(column: pd.Series, kind: str, as_category: bool) -> pd.Series:
    """A column of numbers, or of true and false, as float64; as it is for a category."""
    dtype = column.dtype
    if kind == "truth" and dtype == object:  # true, false and a blank, which only known() and if_known() are given
        column = column.astype("boolean") if column.isna().any() else column.astype(bool)
        dtype = column.dtype
    if dtype == np.float64 or (as_category and dtype != object):
        return column
    try:
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)
    except (OverflowError, ArithmeticError) as error:
        raise ModelError(f"Column '{column.name}' holds numbers too large for arithmetic.") from error


def _as_category(column: pd.Series) -> pd.Series:
    levels = pd.Series(column.cat.categories, name=column.name)
    if _kind(levels) not in ("text", "number", "truth") or (levels.dtype == object and _kind(levels) == "number"):
        raise ModelError(f"Column '{column.name}' has for categories {_said(levels)}, where a formula needs text.")
    return column


def _kind(column: pd.Series) -> str | None:
    """number, truth, text, category, or None for what a formula cannot use."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_bool_dtype(dtype):
        return "truth"
    if pd.api.types.is_numeric_dtype(dtype):
        return None if pd.api.types.is_complex_dtype(dtype) else "number"
    if dtype == object:
        known = _KINDS.get(pd.api.types.infer_dtype(column, skipna=True))
        return known or ("text" if is_text(column) else None)
    return "text" if pd.api.types.is_string_dtype(dtype) else None


def _width(factor: Factor, covariates: pd.DataFrame, levels: list[Any] | None) -> tuple[int, str]:
    """How many columns a factor gives at most, and the column whose levels they are ('' if of none)."""
    name, column = str(factor.expr), str(factor.expr)
    if factor.eval_method is Factor.EvalMethod.PYTHON:
        if (known := spread(name)) is not None:
            return known, ""
        column = next(c for c, _ in used_columns(name))
    elif pd.api.types.is_numeric_dtype(covariates[column].dtype):
        return 1, ""
    return len(levels) if levels is not None else int(covariates[column].nunique()), column


def _hint(column: pd.Series) -> str:
    text = column.iloc[:100].astype("str").str.strip()
    return "; store them as numbers, with a decimal point" if text.str.fullmatch(_NUMBER_TEXT).all() else ""


def _first(column: pd.Series) -> str:
    return f" ({said[2:]})" if (said := example(column.iloc[0], 1, len(column), str(column.name))) else ""


def _said(column: pd.Series) -> str:
    """The kind of a column's values in a few words."""
    if column.dtype != object:
        return f"values of the type {column.dtype}"
    kinds = sorted({type(value).__name__ for value in column.iloc[:10_000]})
    return f"values of the type {kinds[0]}" if len(kinds) == 1 else f"values of several types ({', '.join(kinds[:5])})"
