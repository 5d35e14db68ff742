"""The random part of a model: which columns of a formula have a slope of every school.

It is given by names, or stands in the formula as R writes it: ``score ~ prior_score + (1 + prior_score | school)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ModelError
from .design import FormulaState
from .formula import shown

_QUOTED = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"")  # a name or text, in which a bar is a bar
_BAR = re.compile(r"\s*\+\s*\(([^()|]*(?:\([^()|]*\)[^()|]*)*)\|([^()|]*)\)")


def random_part(
    formula: str | FormulaState, random: Sequence[str] | None = None, groups: str = "school"
) -> tuple[str | FormulaState, list[str]]:
    """The formula without its random part, and the columns of that part: of the text, then of ``random``.

    Raises ModelError for a part of other groups, without an intercept, and with nothing but one.
    """
    if isinstance(random, str):
        random = [random]
    columns = list(random or ())
    if isinstance(formula, str) and "|" in _QUOTED.sub("", formula):
        parts = _BAR.findall(formula)
        if not parts or "|" in _QUOTED.sub("", _BAR.sub("", formula)):
            raise ModelError(
                f"The random part of {shown(formula)} cannot be read: write it as 'score ~ prior_score + (1 + prior_score | "
                f"{groups})'."
            )
        for terms, group in parts:
            columns += _terms(formula, terms, group.strip(), groups)
        formula = _BAR.sub("", formula)
    return formula, list(dict.fromkeys(columns))


def _terms(formula: str, terms: str, group: str, groups: str) -> list[str]:
    """The columns of one random part."""
    if group != groups:
        raise ModelError(f"The random part of {shown(formula)} is by {group!r}, expected {groups!r}.")
    names = [term.strip() for term in terms.split("+")]
    if "0" in names or any(name.startswith("-") for name in names) or "" in names:
        raise ModelError(
            f"The random part of {shown(formula)} must have an intercept, as in (1 + prior_score | {groups})."
        )
    return [name for name in names if name != "1"]


def random_columns(names: Sequence[str], random: Sequence[str]) -> list[int]:
    """Positions among the columns ``names`` of a design of those that ``random`` names: a column, or the indicators of a
    category's levels. Raises ModelError for a name that is none of the formula's."""
    at = []
    for wanted in random:
        found = [k for k, name in enumerate(names) if name == wanted or name.startswith(f"{wanted}[")]
        if not found or wanted == "Intercept":
            there = ", ".join(repr(name) for name in names if name != "Intercept")
            raise ModelError(
                f"The random slope of {wanted!r} has no column: the columns of the formula are {there or 'none'}, and a "
                "slope of schools varies about one of them."
            )
        at += found
    return list(dict.fromkeys(at))
