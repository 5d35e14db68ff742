"""Schools' names beside their codes: the latest cohort's, where a study maps a column ``school_name``."""

from __future__ import annotations

import pandas as pd

SCHOOL_NAME = "school_name"


def school_names(records: object) -> dict[str, str]:
    """School -> its name, of the latest cohort in which it has one; of several in that cohort the one of most students.

    Empty where the records have no column ``school_name``, or are streamed.
    """
    if not isinstance(records, pd.DataFrame) or SCHOOL_NAME not in records.columns:
        return {}
    told = records[["school", "cohort", SCHOOL_NAME]].dropna()
    told = told.assign(**{SCHOOL_NAME: told[SCHOOL_NAME].astype(str).str.split().str.join(" ")})
    counted = told[told[SCHOOL_NAME] != ""].groupby(["school", "cohort", SCHOOL_NAME]).size().reset_index(name="n")
    order = counted.sort_values(["school", "cohort", "n", SCHOOL_NAME], ascending=[True, True, True, False])
    return dict(order.groupby("school")[SCHOOL_NAME].last())


def with_names(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """The table with a column ``school_name`` after ``school``; as it is where there are no names or no schools."""
    if not names or "school" not in table.columns or SCHOOL_NAME in table.columns:
        return table
    table = table.copy()
    table.insert(table.columns.get_loc("school") + 1, SCHOOL_NAME, table["school"].map(names).astype("str"))
    return table
