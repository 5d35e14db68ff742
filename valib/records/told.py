"""What may be told of the rows that were chosen and of the linkage of prior scores: small counts are held back."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..names import CODES
from .disclosure import few_of_total
from .prior import OUTCOMES
from .where import column_of, parse_where

CODED = "an expression with codes"  # what is told of one that names students or schools


def told_where(where: Mapping[str, Any] | None, floor: int) -> dict[str, Any] | None:
    """The choice of rows; left_out is None where fewer than ``floor`` rows were left out."""
    if where is None:
        return None
    return {**where, "left_out": None if 0 < where["left_out"] < floor else where["left_out"]}


def without_codes(where: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The choice of rows without an expression that names a student or a school."""
    if where is None or where["expression"] == CODED:
        return None if where is None else dict(where)
    nodes = [node for node in ast.walk(parse_where(where["expression"])) if isinstance(node, ast.expr)]
    named = {column_of(node) for node in nodes} & set(CODES)
    return {**where, "expression": CODED if named else where["expression"]}


def told_linkage(linkage: Mapping[str, Any] | None, floor: int) -> dict[str, Any] | None:
    """The linkage of prior scores without counts of fewer than ``floor`` rows, nor what would give them away.

    Schools of fewer rows, and those that their total would give away, are left out. A cohort or school with one count of
    few has None for all three, and so has another one beside it unless schools are left out. With R_j the rows of a unit
    held back, which may be known, C_k the counts by outcome of all that are, and T their sum, nothing is known of a count
    but that it lies between max(0, R_j + C_k - T) and min(R_j, C_k): two values or more as long as there are two units
    (Fréchet), unless it is 0 or all of R_j, which is not few.
    """
    if linkage is None:
        return None
    told = {name: value for name, value in linkage.items() if name != "odd_steps"}
    for by in ("by_cohort", "by_school"):
        rows = linkage[by]
        counts = np.array([[row[name] for name in OUTCOMES] for row in rows], dtype=np.int64).reshape(-1, len(OUTCOMES))
        totals = counts.sum(axis=1)
        named = np.array([_is_told(text) for text in few_of_total(totals, floor)], dtype=bool)
        if by == "by_cohort":
            named[:] = True
        held = named & ((counts > 0) & (counts < floor)).any(axis=1)
        if held.sum() == 1 and named.all() and (others := np.flatnonzero(~held & (totals > 0))).size:
            held[others[np.argmin(totals[others])]] = True
        told[by] = [
            row | dict.fromkeys(OUTCOMES) if none else dict(row)
            for row, there, none in zip(rows, named, held, strict=True)
            if there
        ]
    steps = few_of_total([row["rows"] for row in linkage["grade_steps"]], floor)
    told["grade_steps"] = [
        {**row, "rows": row["rows"] if _is_told(text) else None}
        for row, text in zip(linkage["grade_steps"], steps, strict=True)
    ]
    for name in OUTCOMES:
        told[name] = None if 0 < linkage[name] < floor else linkage[name]
    return told


def _is_told(text: str) -> bool:
    """Whether :func:`valib.records.disclosure.few_of_total` tells a count."""
    return text.replace(",", "").isdigit()


def published(attrs: Mapping[str, Any], floor: int) -> dict[str, Any]:
    """What results tell of the choice of rows and of the linkage by cohort; nothing of schools."""
    told: dict[str, Any] = {}
    if where := without_codes(told_where(attrs.get("where"), floor)):
        told["where"] = where
    if linkage := told_linkage(attrs.get("prior"), floor):
        told["prior"] = {name: linkage[name] for name in ("from", "years_before", *OUTCOMES, "by_cohort")}
        if "grade_step" in linkage:
            hidden = {row["cohort"] for row in linkage["by_cohort"] if row["linked"] is None}
            steps = [row for row in attrs["prior"]["odd_steps"] if row["cohort"] not in hidden and _many(row, floor)]
            told["prior"] |= {"grade_step": linkage["grade_step"], "odd_steps": steps}
    return told


def _many(row: Mapping[str, int], floor: int) -> bool:
    """Whether neither the odd rows nor the others are few."""
    return not any(0 < n < floor for n in (row["odd"], row["rows"] - row["odd"]))


def rows_chosen(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Which rows of their source records are, in words that a later year's can be held against: ``where``, the expression
    without codes, and ``prior``, where prior scores are from. Nothing for what was not asked for."""
    told = {}
    if where := without_codes(attrs.get("where")):
        told["where"] = str(where["expression"])
    if prior := attrs.get("prior"):
        told["prior"] = "another file" if prior["years_before"] is None else str(prior["from"])
    return told
