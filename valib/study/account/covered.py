"""Coverage of single schools: students tested and linked, which schools lack many, and where that is beyond chance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...effects.linkage import coverage, coverage_differs, differing
from ...records.coverage import CELL, FULL, ROUNDING, tested, unlinked
from .coded import Ask, Finding

COLUMNS = ["schools", "full", "under_warned", "under_least", "none", "differing"]


def parts(records: pd.DataFrame, ask: Ask) -> tuple[dict[str, pd.DataFrame], list[Finding]]:
    """The account's ``coverage`` and ``coverage_list``, and what would mislead in them."""
    tables = schools(records, ask)
    return {"coverage": by_cohort(tables, ask), "coverage_list": listed(tables, ask)}, findings(tables, ask)


def schools(records: pd.DataFrame, ask: Ask) -> dict[int, pd.DataFrame]:
    """The schools with a tested student in each of the study's cohorts, n (linked), tested, linked_share, differs; schools of
    which no student is linked too. Empty where the records do not know whom they lack."""
    linked = records.groupby(CELL, observed=True).size()
    every = tested(records.attrs, linked)
    known = unlinked(records.attrs)
    if every is None or known is None:
        return {}
    none = known.loc[known["linked"] == 0, "unlinked"]
    table = pd.DataFrame({"n": linked, "tested": every})
    table = pd.concat([table, pd.DataFrame({"n": 0, "tested": none[~none.index.isin(linked.index)]})])
    table.index.names = CELL
    table["linked_share"] = table["n"] / table["tested"]
    there = table.index.get_level_values("cohort")
    parts = {t: pd.DataFrame(table.xs(t, level="cohort")).sort_index() for t in sorted(ask.cohorts) if t in there}
    return {t: part.assign(differs=differing(part)) for t, part in parts.items()}


def by_cohort(tables: dict[int, pd.DataFrame], ask: Ask) -> pd.DataFrame:
    """The account's ``coverage``: counts of schools, index cohort."""
    rows = {
        t: {
            "role": ask.role(t),
            "schools": len(part),
            "full": int((part["n"] == part["tested"]).sum()),
            "under_warned": int((part["linked_share"] < FULL - ROUNDING).sum()),
            "under_least": int((part["linked_share"] < ask.min_linked_share - ROUNDING).sum()),
            "none": int((part["n"] == 0).sum()),
            "differing": int(part["differs"].sum()),
        }
        for t, part in tables.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["role", *COLUMNS])
    return table.rename_axis("cohort")


def listed(tables: dict[int, pd.DataFrame], ask: Ask) -> pd.DataFrame:
    """The account's ``coverage_list``: schools under FULL or differing, lowest share first."""
    parts = [
        part[(part["linked_share"] < FULL - ROUNDING) | part["differs"]]
        .rename_axis("school")
        .reset_index()
        .assign(cohort=t)
        for t, part in tables.items()
    ]
    names = ["school", "cohort", "tested", "linked", "linked_share", "differs"]
    if not parts:
        return pd.DataFrame(columns=names)
    table = pd.concat(parts, ignore_index=True).rename(columns={"n": "linked"})[names]
    return table.sort_values(["linked_share", "cohort", "school"], kind="stable", ignore_index=True)


def masked(table: pd.DataFrame, floor: int) -> pd.DataFrame:
    """The list with the numbers missing of schools where fewer than ``floor`` students, but some, are linked or are not."""
    linked = table["linked"].to_numpy(dtype=np.int64)
    few = [(0 < part) & (part < floor) for part in (linked, table["tested"].to_numpy(dtype=np.int64) - linked)]
    numbers = ["tested", "linked", "linked_share"]
    kinds = {name: "Float64" if name == "linked_share" else "Int64" for name in numbers}
    told = table.astype(kinds)
    told.loc[np.logical_or(*few), numbers] = pd.NA
    return told


def findings(tables: dict[int, pd.DataFrame], ask: Ask) -> list[Finding]:
    """Warn of schools of which few are linked, and of those whose linkage differs from their cohort's."""
    some = {t: part for t, part in tables.items() if part["n"].sum()}  # of which no prior is known: told by the linkage
    found = coverage(some, ask.min_linked_share, ask.min_students, every=True), coverage_differs(some, ask.min_students)
    return [item for item in found if item is not None]
