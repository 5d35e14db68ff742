"""Groups of schools: which group each school belongs to, and which groups may be shown.

What is published of a cohort besides groups are its total and the figures of the schools shown
(:mod:`valib.records.disclosure`). The mean of a group less its schools shown is a sum over its schools held back; so is
the total less all groups shown. The groups shown therefore part the schools held back into blocks, one a group and one of
those in no group shown, and of every block the sum is known. The rule: a block is empty, or holds as many schools
(:data:`valib.records.disclosure.HIDDEN`) and students (``min_students``) as one sum may be known of.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RecordsError, ValibWarning
from ..names import LONGEST, readable
from .disclosure import HIDDEN

MIN_SCHOOLS = 3  # of a group that is shown, unless the study says otherwise


def school_groups(records: Any, column: str, cohort: int) -> pd.Series:
    """The group of every school of a cohort, such as its district, from a column of the records.

    Parameters
    ----------
    records : DataFrame
        Checked student records, in memory.
    column : str
        The column that holds the group of the student's school.
    cohort : int
        The cohort.

    Returns
    -------
    Series of str
        Index school; schools that lack the group are left out, and a warning says how many.

    Raises
    ------
    RecordsError
        For streamed records, a column or cohort that is not there, and a school whose students have different groups, or
        of whom some have none; names the schools.

    Notes
    -----
    A school may belong to different groups in different cohorts, and to one only in each.

    Examples
    --------
    >>> import valib as va
    >>> groups = va.school_groups(va.load_records("exam"), "type", 0)
    >>> groups.value_counts().to_dict()
    {'Mxd': 35, 'Sngl': 30}
    """
    if not isinstance(records, pd.DataFrame):
        raise RecordsError(f"Groups by '{column}' need the rows of the records in memory: take --engine memory.")
    name = records.attrs.get("source", "The records")
    if column not in records.columns:
        raise RecordsError(
            f"{name}: has no column '{column}' for groups of schools; there are {list(records.columns)}."
        )
    rows = records.loc[(records["cohort"] == cohort).to_numpy(), ["school", column]]
    if rows.empty:
        raise RecordsError(f"{name}: has no students of cohort {cohort} to group.")
    label = rows[column].map(_text, na_action="ignore").astype("str").replace("", np.nan)
    by_school = label.groupby(rows["school"].astype("str"), sort=True)
    kinds, there, size = by_school.nunique(), by_school.count(), by_school.size()
    mixed = size.index[(kinds > 1) | ((there > 0) & (there < size))]
    if len(mixed):
        told = ", ".join(readable(school, LONGEST) for school in mixed[:3])
        more = f" and {len(mixed) - 3:,} more" if len(mixed) > 3 else ""
        raise RecordsError(
            f"{name}: column '{column}' is not one group for each school in cohort {cohort}: students of school "
            f"{told}{more} have several "
            "values, or some have none."
        )
    if lacking := int((there == 0).sum()):
        schools = f"{lacking:,} school{'s' if lacking > 1 else ''}"
        warnings.warn(
            f"{name}: {schools} of cohort {cohort} without '{column}': in no group.", ValibWarning, stacklevel=2
        )
    return by_school.first().dropna().rename_axis("school").rename(column)


def _text(value: Any) -> str:
    """A group's label: whole numbers without a decimal point, text without blanks around it."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value).strip()


def shown_groups(
    sizes: pd.Series, shown: np.ndarray, groups: pd.Series, min_students: int, min_schools: int = MIN_SCHOOLS
) -> pd.Series:
    """Which groups of one cohort may be shown, by label.

    sizes: students by school, all schools of the cohort; shown (J,): which of these are; groups: label by school.
    Held back are groups of fewer than ``min_schools`` schools, those whose block of schools held back has too few schools
    or students, and of the others with such a block the smallest until the rest of all is a block too.
    """
    group = groups.reindex(sizes.index)
    held = pd.DataFrame({"group": group, "n": sizes.where(~shown, 0).to_numpy(), "held": ~np.asarray(shown)})
    held.loc[sizes.to_numpy() == 0, "held"] = False
    by_group = held.groupby("group")[["n", "held"]].sum()
    mask = (group.value_counts().reindex(by_group.index) >= min_schools) & _is_block(by_group, min_students)
    total = held[["n", "held"]].sum()
    order = group.to_frame("group").assign(n=sizes).groupby("group")["n"].sum().sort_values(kind="stable").index
    for label in order[(by_group["held"] > 0).reindex(order)]:
        rest = total - by_group[mask][["n", "held"]].sum()
        if _is_block(rest.to_frame().T, min_students).all():
            break
        mask[label] = False
    return mask.astype(bool)


def _is_block(held: pd.DataFrame, min_students: int) -> pd.Series:
    """Whether the sum over schools held back may be known: there are none, or enough."""
    return (held["held"] == 0) | ((held["held"] >= HIDDEN) & (held["n"] >= min_students))
