"""Which school cells may be shown: small cells are held back, and so many more that none follows by subtraction.

Held back are, in each cohort, the schools with fewer than ``min_students`` students and those of which fewer than the
study's ``min_linked_share`` of the tested students are linked (primary suppression; :mod:`valib.records.coverage`) and,
where there is one, the next smallest schools until :data:`HIDDEN` are held back and together they have ``min_students``
students (complementary suppression). The cells that are not shown are then protected against a reader of all tables:

Why one is not enough. A cohort's number of students is published, and with an intercept the effects of a cohort sum to
zero (to J times the shift, against a benchmark). The one school that is left out has the rest of both.

Why two are not enough. At the maximum of the likelihood the published between-school variance obeys
J tau2 = sum_j (u_j^2 + own error variance_j), and error variances depend on n_j alone. Sum and sum of squares of two
unknown effects give both, up to which is whose. Of three and more, all that these equations leave is a circle or a
sphere: the deviations of the hidden effects from their mean may be rotated at will. The same holds for several cohorts
at once, where sums and products over schools are known: of a model of several cohorts a school is held back in all.

Places are counted among the schools shown: in draws that a reader can repeat, those among all would fit one point of
the circle only.

What is not protected. (1) The sum and the spread of the hidden effects, and hence bounds for each. (2) The sum of
their sizes; where the smallest school shown is no larger than one held back with it, a size may follow exactly from
the sum and this rule. (3) Anything from a reader who has the figures of a hidden school already, such as that school
itself. (4) Each covariate that is constant within schools, or a school mean, gives one equation more to a reader who
knows its values in the hidden schools. (5) Two runs whose records differ by one student, set side by side.

Source: Hundepool et al. (2012), Statistical Disclosure Control, chapter 4, for primary and complementary suppression.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ..errors import RowsLeftOut, SchoolsNamed
from .coverage import CELL, LOW, few_unlinked, least, tested

HIDDEN = 3  # cells held back in a cohort if any is


def shown(n: Any, min_students: int, labels: Iterable[Any] | None = None, low: Any = None) -> np.ndarray:
    """Return which schools of one cohort may be shown, (J,) of bool.

    n: (J,) students, a Series by school or an array, or a table with the columns of :func:`valib.records.coverage.sizes_of`;
    schools without students count as absent and are not shown. low (J,): which are held back for their coverage.
    Of schools of one size the first by label is held back first: ``labels``, or the index of n, or the position.
    With too few schools to hold back as many as needed, none is shown.
    """
    if isinstance(n, pd.DataFrame):
        n, low = counted(n), n[LOW] if LOW in n.columns and low is None else low
    sizes = np.asarray(n, dtype=np.int64)
    if labels is None:
        labels = n.index if isinstance(n, pd.Series) else [""] * len(sizes)
    present = sizes > 0
    primary = present & (sizes < min_students)
    if low is not None:
        primary |= present & np.asarray(low, dtype=bool)
    if not primary.any():
        return present
    order = np.lexsort(([str(label) for label in labels], sizes, ~primary))
    order = order[present[order]]
    together = np.cumsum(sizes[order])
    enough = (np.arange(1, len(order) + 1) >= max(HIDDEN, primary.sum())) & (together >= min_students)
    hidden = int(enough.argmax()) + 1 if enough.any() else len(order)
    mask = present.copy()
    mask[order[:hidden]] = False
    return mask


def cells(sizes: pd.Series | pd.DataFrame, min_students: int) -> pd.Series:
    """Return which cells may be shown; ``sizes``: students, index with levels cohort and school; absent: 0 or no row.

    sizes may be a table, as for :func:`shown`. Each cohort by itself: a cohort's totals are published, those of a school
    over its cohorts are not.
    """
    low = _low(sizes).reorder_levels(CELL)
    sizes = (counted(sizes) if isinstance(sizes, pd.DataFrame) else sizes).reorder_levels(CELL)
    parts = [
        pd.Series(shown(part, min_students, part.index.get_level_values(1), low[part.index]), part.index, dtype=bool)
        for _, part in sizes.groupby(level="cohort", sort=False)
    ]
    return pd.concat(parts).reindex(sizes.index) if parts else sizes.astype(bool)


def _low(sizes: pd.Series | pd.DataFrame) -> pd.Series:
    """Which cells are of too low a coverage: as the table says, or the Series of :func:`valib.cell_sizes`."""
    if isinstance(sizes, pd.DataFrame) and LOW in sizes.columns:
        return sizes[LOW].astype(bool)
    keys = sizes.index.reorder_levels(CELL)
    return pd.Series(keys.isin([tuple(key) for key in sizes.attrs.get(LOW, ())]), index=sizes.index)


def cell_sizes(records: pd.DataFrame) -> pd.Series:
    """The different students of each school and cohort in records.

    Parameters
    ----------
    records : DataFrame
        Checked student records.

    Returns
    -------
    Series
        Index (cohort, school). ``attrs`` names the cells in which too few of the tested students are linked.

    Raises
    ------
    KeyError
        For a table without the columns cohort and school.

    Notes
    -----
    Rows are counted where there is no column of students.

    Examples
    --------
    >>> import valib as va
    >>> va.cell_sizes(va.load_records("demo")).loc[2024].head(2).to_dict()
    {'0029': 11, '0109': 50}
    """
    cells = records.groupby(CELL, observed=True)
    rows = cells.size()
    sizes = cells["student"].nunique() if "student" in records.columns else rows
    every = tested(records.attrs, rows)
    if every is not None:
        sizes.attrs[LOW] = [list(key) for key in rows.index[rows < least(records.attrs) * every - 1e-9]]
    return sizes


def counted(table: pd.DataFrame) -> pd.Series:
    """Return the students of each row of a table of schools: its column students, where rows n are not all students."""
    return table["students" if "students" in table.columns else "n"]


def whole(sizes: pd.Series | pd.DataFrame, min_students: int) -> pd.Series:
    """Return which cells may be shown of a model of several cohorts at once: those of schools with no cell held back.

    sizes: as for :func:`cells`, of all schools and cohorts of the model. Such a model predicts a school's effect in one
    cohort from its students in all, so that beside the prediction from that cohort alone it gives away the others.
    """
    mask = cells(sizes, min_students)
    sizes = (counted(sizes) if isinstance(sizes, pd.DataFrame) else sizes).reorder_levels(CELL)
    held = (sizes > 0) & ~mask
    return mask & ~held.groupby(level="school").transform("any")


def shown_in_all(sizes: pd.Series | pd.DataFrame, min_students: int, cohorts: Iterable[int]) -> pd.Series:
    """Which schools may be shown in what compares cohorts.

    Parameters
    ----------
    sizes : Series or DataFrame
        Students by cohort and school (index), of every cohort of the model: :func:`valib.cell_sizes`, or the model's
        ``school_effects``.
    min_students : int
        Fewest students of a school that may be shown.
    cohorts : iterable of int
        Those that are compared.

    Returns
    -------
    Series of bool
        Index: the schools in all of these cohorts.

    Raises
    ------
    KeyError
        For a cohort without schools.

    Notes
    -----
    A change between two cohorts, beside the effect in one, gives the effect in the other; so it may be shown only where both
    may, and all that the model predicts them from.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo").query("cohort in (2023, 2024)")
    >>> va.shown_in_all(va.cell_sizes(records), 5, [2023, 2024]).dtype
    dtype('bool')
    """
    n = counted(sizes) if isinstance(sizes, pd.DataFrame) else sizes
    wide = whole(sizes[n > 0], min_students).unstack("cohort")[list(cohorts)]
    return wide[wide.notna().all(axis=1)].all(axis=1).astype(bool)


def only_shown(table: pd.DataFrame, min_students: int) -> pd.DataFrame:
    """The rows of a cohort's schools that may be shown.

    Parameters
    ----------
    table : DataFrame
        Index school, column n (and students, where rows are not all students, and low_coverage, where there is such a
        school: see :class:`valib.CohortFit`), all schools of the cohort.
    min_students : int
        Fewest students of a school that may be shown.

    Returns
    -------
    DataFrame
        Those rows.

    Raises
    ------
    KeyError
        For a table without n.

    Notes
    -----
    Where a school is held back, three or more are, since totals, the zero sum of effects and the equation of the variance
    give one or two away.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"))
    >>> len(va.only_shown(fit.school_effects, 10)), fit.n_schools
    (62, 65)
    """
    return table[shown(table, min_students)]


def told_coverage(table: pd.DataFrame, shown: np.ndarray, min_students: int) -> pd.DataFrame:
    """The rows of a cohort's table that are shown, tested and linked_share missing where they would tell of few students
    (:func:`valib.records.coverage.few_unlinked`), and without the column of what is held back for low coverage.
    """
    told = table[shown].drop(columns=LOW, errors="ignore")
    mask = few_unlinked(table, shown, min_students)[np.asarray(shown, dtype=bool)]
    if mask.any():
        told["tested"] = told["tested"].astype("Int64").mask(mask)
        told["linked_share"] = told["linked_share"].mask(mask)
    return told


def few(count: int, min_students: int) -> str:
    """Return a count of students as text: "fewer than 5" for 1 to 4, which could be told from one another."""
    return f"fewer than {min_students}" if 0 < count < min_students else f"{count:,d}"


def public(warning: Warning | str, min_students: int) -> str:
    """Return a warning as a page may hold it: counts of few students in words, no school by name."""
    if isinstance(warning, SchoolsNamed):
        return warning.public
    if not isinstance(warning, RowsLeftOut):
        return str(warning)
    dropped = few(warning.dropped, min_students)
    return warning.told(dropped[0].upper() + dropped[1:], few_of_total(warning.counts.values(), min_students))


def few_of_total(counts: Iterable[int], min_students: int) -> list[str]:
    """Return counts of students as text where their total is published too.

    Where one is small, the next smallest is masked with it ("not shown"), or the total would give the small one away:
    until two are masked and hold ``min_students`` students together.
    """
    values = np.asarray(list(counts), dtype=np.int64)
    texts = [few(int(value), min_students) for value in values]
    small = (values > 0) & (values < min_students)
    order = [j for j in np.argsort(values, kind="stable") if values[j] > 0]
    masked = int(small.sum())
    while 0 < masked < len(order) and (masked < 2 or values[order[:masked]].sum() < min_students):
        texts[order[masked]] = "not shown"
        masked += 1
    return texts
