"""What may be told of the rows that were chosen and of the linkage of prior scores: small counts are held back."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ..names import CODES
from .disclosure import few_of_total
from .prior import OUTCOMES
from .where import column_of, parse_where


def told_where(where: Mapping[str, Any] | None, floor: int) -> dict[str, Any] | None:
    """The choice of rows; left_out is None where fewer than ``floor`` rows were left out."""
    if where is None:
        return None
    return {**where, "left_out": None if 0 < where["left_out"] < floor else where["left_out"]}


def without_codes(where: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The choice of rows without an expression that names a student or a school."""
    if where is None:
        return None
    nodes = [node for node in ast.walk(parse_where(where["expression"])) if isinstance(node, ast.expr)]
    named = {column_of(node) for node in nodes} & set(CODES)
    return {**where, "expression": "an expression with codes" if named else where["expression"]}


def told_linkage(linkage: Mapping[str, Any] | None, floor: int) -> dict[str, Any] | None:
    """The linkage of prior scores: None for a count of fewer than ``floor`` rows, and for one beside it that the total
    would give away; schools of fewer rows are left out."""
    if linkage is None:
        return None
    told = {name: value for name, value in linkage.items() if name != "odd_steps"}
    for by in ("by_cohort", "by_school"):
        rows = [dict(row) for row in linkage[by]]
        whole = few_of_total([sum(row[name] for name in OUTCOMES) for row in rows], floor)
        for name in OUTCOMES:
            for row, text, all_rows in zip(rows, few_of_total([row[name] for row in rows], floor), whole, strict=True):
                row[name] = row[name] if text.replace(",", "").isdigit() else None
                row["held_back"] = not all_rows.replace(",", "").isdigit()
        for row in rows:  # the rows of a cohort or school are known: one count held back is the rest of them
            if sum(row[name] is None for name in OUTCOMES) == 1:
                rest = [name for name in OUTCOMES if row[name] is not None]
                row[min(rest, key=lambda name, row=row: (row[name] == 0, row[name]))] = None
        told[by] = [
            {key: value for key, value in row.items() if key != "held_back"}
            for row in rows
            if not row["held_back"] or by == "by_cohort"
        ]
    steps = few_of_total([row["rows"] for row in linkage["grade_steps"]], floor)
    told["grade_steps"] = [
        {**row, "rows": row["rows"] if text.replace(",", "").isdigit() else None}
        for row, text in zip(linkage["grade_steps"], steps, strict=True)
    ]
    for name in OUTCOMES:
        told[name] = None if 0 < linkage[name] < floor else linkage[name]
    return told


def published(attrs: Mapping[str, Any], floor: int) -> dict[str, Any]:
    """What results tell of the choice of rows and of the linkage by cohort; nothing of schools."""
    told: dict[str, Any] = {}
    if where := without_codes(told_where(attrs.get("where"), floor)):
        told["where"] = where
    if linkage := told_linkage(attrs.get("prior"), floor):
        told["prior"] = {name: linkage[name] for name in ("from", *OUTCOMES, "by_cohort")}
    return told
