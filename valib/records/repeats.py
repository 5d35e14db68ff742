"""Students who stand in several rows of their school and cohort: copies of a row, several outcomes, or a code for nobody.

The models take every row as a student of its own, so that two rows a student make errors too small and shrinkage too
weak, and a school of few students looks like one of many. A handful of such rows are slips and are told; a share of
more than :data:`MOST_SHARE` is refused. Codes are compared within a school, for they may be numbered there: the same
code in two schools is for the account (:mod:`valib.study.account`) to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..errors import RecordsError
from ..names import LONGEST, readable

MOST_SHARE = 0.01  # of a cohort's rows; `Exam` has 4 in 4,059
SLIP = 1  # row more than students, which is no rule of a file however small
SCHOOL_SHARE = 0.1  # of a school's rows, beyond which its shrinkage and errors are off by enough to be told
MANY_ROWS = 5  # of one code in a cohort are no several outcomes: the code stands for an unknown student
FEW_LEVELS = 30  # of a column that tells outcomes apart; more are hardly subjects or grades
NEARLY_ALL = 0.9  # students whose rows a column must tell apart
CELL = ["cohort", "school"]
KEY = ["cohort", "school", "student"]


def extra_rows(records: pd.DataFrame) -> pd.Series:
    """Rows beyond the first of a student in a school and cohort, index (cohort, school); only where there are any.

    Records without a column ``student`` have none that could be told.
    """
    if "student" not in records.columns:
        return pd.Series(dtype=np.int64, index=pd.MultiIndex.from_arrays([[], []], names=CELL))
    again = records.duplicated(KEY)
    return records.loc[again, CELL].groupby(CELL, observed=True).size().astype(np.int64)


def too_many(extra: pd.Series, rows: pd.Series) -> list[int]:
    """The cohorts in which repeated rows are refused. extra: see :func:`extra_rows`; rows: of each cohort, by cohort."""
    by_cohort = extra.groupby(level="cohort").sum()
    share = by_cohort / rows.reindex(by_cohort.index)
    return [int(cohort) for cohort in by_cohort.index[(by_cohort > SLIP) & (share > MOST_SHARE)]]


def refuse(extra: pd.Series, rows: pd.Series, of: Callable[[list[int]], pd.DataFrame]) -> None:
    """Raise RecordsError where students are counted several times; ``of`` gives the rows of some cohorts (or a part)."""
    if len(extra) and (cohorts := too_many(extra, rows)):
        raise RecordsError(sentence(int(extra.loc[cohorts].sum()), int(rows.loc[cohorts].sum()), cohorts, of(cohorts)))


def sentence(extra: int, rows: int, cohorts: Sequence[int], records: pd.DataFrame) -> str:
    """Say how many rows repeat a student, what they are, and what to do.

    extra, rows: of the cohorts. records: the rows that repeat one another, or more.
    """
    where = f"cohort{'s' * (len(cohorts) > 1)} {', '.join(map(str, cohorts[:8]))}{', ...' if len(cohorts) > 8 else ''}"
    told = f"{extra:,} of {rows:,} rows of {where} are of students who stand in their school and cohort already"
    return f"{told}, and a model would count them again: {nature(records)}."


def nature(records: pd.DataFrame) -> str:
    """What repeated rows are, and what to do: copies, several outcomes told apart by a column, or no code at all."""
    rows = records[records.duplicated(KEY, keep=False)]
    by_code = rows[rows.duplicated(KEY)].groupby(["cohort", "student"], observed=True).size()
    most = by_code.groupby(level="cohort").max()
    if len(most) and most.max() > MANY_ROWS and 2 * most.sum() > by_code.sum():
        return (
            "one code has most of them and may stand for unknown students: leave it blank, or give every student a code"
        )
    differing = rows[~_plain(rows).duplicated()]
    copies = len(rows) - len(differing)
    differing = differing[differing.duplicated(KEY, keep=False)]
    if differing.empty:
        return "they are copies, the same in every column: remove the copies"
    also = f" ({copies:,} more are copies, the same in every column: remove them)" if copies else ""
    if apart := telling(differing):
        return (
            f"they differ, as several outcomes of one student do, told apart by column '{readable(apart, LONGEST)}' it "
            f"seems: make one study for each value of it, with its rows alone{also}"
        )
    columns = [c for c in rows.columns if c not in KEY and _varies(differing, c)]
    named = ", ".join(f"'{readable(c, LONGEST)}'" for c in columns[:4]) + (", ..." if len(columns) > 4 else "")
    return f"they differ (in {named}): find out what each row is, and keep one a student{also}"


def telling(rows: pd.DataFrame) -> str | None:
    """The column of few values that differs between the rows of nearly every repeated student, the one of fewest."""
    found = {}
    for name in rows.columns:
        if name in (*KEY, "score", "prior_score"):
            continue
        values = _plain(rows[[name]])[name]
        levels = values.nunique()
        grouped = values.groupby([rows[k] for k in KEY], observed=True)
        if 1 < levels <= FEW_LEVELS and (grouped.nunique() == grouped.size()).mean() >= NEARLY_ALL:
            found[name] = levels
    return min(found, key=found.get) if found else None


def _varies(rows: pd.DataFrame, name: str) -> bool:
    values = _plain(rows[[name]])[name]
    return bool((values.groupby([rows[k] for k in KEY], observed=True).nunique(dropna=False) > 1).any())


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose values can be compared: lists and the like as text."""
    return rows.apply(lambda column: column.astype("str") if column.dtype == object else column)
