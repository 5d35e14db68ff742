"""Schools that appear, vanish, miss a cohort or change size, and schools too small to be shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...names import by_cohort, counts, percent
from .coded import Ask, Coded, Finding
from .limits import COHORT_CHANGE, LISTED, NEW_TO_BASELINE, RECODED_SHARE, SIZE_CHANCE, SIZE_FACTOR, TINY_SHARE


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """School cohorts, ordered by school and then cohort: (C,) numbers of school and cohort, and students n."""

    school: np.ndarray
    cohort: np.ndarray
    n: np.ndarray

    @property
    def follows(self) -> np.ndarray:
        """(C,) whether the cell before is of the same school."""
        return np.concatenate([[False], self.school[1:] == self.school[:-1]])


def count_cells(coded: Coded) -> Cells:
    """Count the different students of each school and cohort."""
    T = len(coded.cohorts)
    cell = np.unique((coded.school * T + coded.cohort) * max(coded.students, 1) + coded.student) // max(
        coded.students, 1
    )
    key, n = np.unique(cell, return_counts=True)
    return Cells(key // T, key % T, n)


def sizes(cells: Cells, coded: Coded, min_students: int) -> pd.DataFrame:
    """Schools by cohort: smallest_school, median_school, largest_school (different students), tiny_schools (fewer than
    min_students of them), one_student_schools."""
    by = pd.Series(cells.n).groupby(cells.cohort)
    return pd.DataFrame(
        {
            "smallest_school": by.min().to_numpy(),
            "median_school": by.median().to_numpy(),
            "largest_school": by.max().to_numpy(),
            "tiny_schools": coded.per_cohort(cells.cohort[cells.n < min_students]),
            "one_student_schools": coded.per_cohort(cells.cohort[cells.n == 1]),
        }
    )


def changes(cells: Cells, coded: Coded, ask: Ask) -> pd.DataFrame:
    """What becomes of schools from cohort to cohort; one row a cohort but the first.

    Columns: previous (the cohort before it in the data), new (schools first seen), gone (schools last seen in the
    cohort before), missing (schools seen before and later, but not here), returned (schools seen before, but not in
    the cohort before), grown and shrunk (sizes apart by more than SIZE_FACTOR, and by more than chance),
    not_in_baseline (focal cohorts: share of students in schools that no baseline cohort has).
    """
    T, follows = len(coded.cohorts), cells.follows
    last = np.concatenate([~follows[1:], [True]])
    gap = np.concatenate([[0], np.diff(cells.cohort)]) - 1
    absent = follows & (gap > 0)
    edges = np.zeros(T + 1, dtype=np.int64)
    np.add.at(edges, cells.cohort[absent] - gap[absent], 1)
    np.add.at(edges, cells.cohort[absent], -1)
    grown, shrunk = _size_changes(cells)
    gone = cells.cohort[last] + 1
    table = pd.DataFrame(
        {
            "previous": np.concatenate([[0], coded.cohorts[:-1]]),
            "new": coded.per_cohort(cells.cohort[~follows]),
            "gone": coded.per_cohort(gone[gone < T]),
            "missing": np.cumsum(edges[:-1]),
            "returned": coded.per_cohort(cells.cohort[absent]),
            "grown": coded.per_cohort(cells.cohort[grown]),
            "shrunk": coded.per_cohort(cells.cohort[shrunk]),
        },
        index=coded.index,
    )
    table["not_in_baseline"] = _not_in_baseline(cells, coded, ask)
    return table.iloc[1:]


def _size_changes(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """(C,) whether a school is far larger, or far smaller, than in the cohort just before."""
    before = np.concatenate([[0], cells.n[:-1]])
    adjacent = cells.follows & (np.concatenate([[0], np.diff(cells.cohort)]) == 1)
    adjacent &= np.abs(cells.n - before) > SIZE_CHANCE * np.sqrt(cells.n + before)
    return adjacent & (cells.n > SIZE_FACTOR * before), adjacent & (before > SIZE_FACTOR * cells.n)


def _not_in_baseline(cells: Cells, coded: Coded, ask: Ask) -> np.ndarray:
    """(T,) share of the focal cohorts' students in schools without a baseline cohort; NaN elsewhere."""
    is_base = np.isin(coded.cohorts, ask.baseline)
    known = np.zeros(len(coded.schools), dtype=bool)
    known[cells.school[is_base[cells.cohort]]] = True
    every = np.bincount(cells.cohort, weights=cells.n, minlength=len(coded.cohorts))
    there = np.bincount(cells.cohort, weights=cells.n * known[cells.school], minlength=len(coded.cohorts))
    return np.where(np.isin(coded.cohorts, ask.focal) & known.any(), 1 - there / every, np.nan)


def presence(cells: Cells, coded: Coded, ask: Ask) -> dict[str, int]:
    """Count schools in both baseline and focal cohorts, in one of them only, and the students of the latter."""
    base, focal = (np.isin(coded.cohorts, group)[cells.cohort] for group in (ask.baseline, ask.focal))
    students = [
        np.bincount(cells.school, weights=cells.n * part, minlength=len(coded.schools)).astype(np.int64)
        for part in (base, focal)
    ]
    only_base, only_focal = (students[0] > 0) & (students[1] == 0), (students[1] > 0) & (students[0] == 0)
    return {
        "both": int(((students[0] > 0) & (students[1] > 0)).sum()),
        "baseline_only": int(only_base.sum()),
        "baseline_only_students": int(students[0][only_base].sum()),
        "focal_only": int(only_focal.sum()),
        "focal_only_students": int(students[1][only_focal].sum()),
    }


def listed(cells: Cells, coded: Coded) -> tuple[pd.DataFrame, int]:
    """The schools that change most in students, up to LISTED of them, and how many change at all.

    Columns: school, change ("new", "gone", "missing", "grown", "shrunk"), cohort (in which it is so), before, after
    (students; 0 where the school is absent; for a missed cohort those of the cohorts around it).
    """
    follows = cells.follows
    last = np.concatenate([~follows[1:], [True]]) & (cells.cohort < len(coded.cohorts) - 1)
    first = ~follows & (cells.cohort > 0)
    gap = np.concatenate([[0], np.diff(cells.cohort)]) - 1
    absent = follows & (gap > 0)
    before = np.concatenate([[0], cells.n[:-1]])
    grown, shrunk = _size_changes(cells)
    parts = []
    for change, which, cohort, was, now in (
        ("new", first, cells.cohort, np.zeros_like(cells.n), cells.n),
        ("gone", last, cells.cohort + 1, cells.n, np.zeros_like(cells.n)),
        ("missing", absent, cells.cohort - gap, before, cells.n),
        ("grown", grown, cells.cohort, before, cells.n),
        ("shrunk", shrunk, cells.cohort, before, cells.n),
    ):
        parts.append(
            pd.DataFrame(
                {
                    "school": cells.school[which],
                    "change": change,
                    "cohort": cohort[which],
                    "before": was[which],
                    "after": now[which],
                }
            )
        )
    every = pd.concat(parts, ignore_index=True)
    moved = (
        (every["before"] - every["after"])
        .abs()
        .where(every["change"] != "missing", every[["before", "after"]].min(axis=1))
    )
    most = every.loc[moved.sort_values(ascending=False, kind="stable").index[:LISTED]].reset_index(drop=True)
    most["school"] = coded.schools[most["school"].to_numpy(dtype=np.int64)]
    most["cohort"] = coded.cohorts[most["cohort"].to_numpy(dtype=np.int64)]
    return most, len(every)


def school_findings(table: pd.DataFrame, moves: pd.DataFrame, min_students: int) -> list[Finding]:
    """Warn of many tiny schools, of schools that change size, of new codes and of schools new to the baseline."""
    found = [
        _tiny(table, min_students),
        *_cohort_sizes(table, moves),
        _size_change(moves),
        _recoded(table, moves),
        _new_to_baseline(moves),
    ]
    return [item for item in found if item]


def _tiny(table: pd.DataFrame, min_students: int) -> Finding | None:
    """Warn of many schools that are too small to be shown."""
    study = table[table["role"] != ""]
    tiny = study[study["tiny_schools"] > TINY_SHARE * study["schools"]]
    if tiny.empty:
        return None
    told = by_cohort({t: f"{row.tiny_schools:,} of {row.schools:,}" for t, row in tiny.iterrows()})
    text = (
        f"Schools with fewer than {min_students} students are many ({told}): they enter the models but their effects are "
        "not shown, so report on larger units if they matter."
    )
    return Finding("tiny_schools", tuple(tiny.index), text)


def _size_change(moves: pd.DataFrame) -> Finding | None:
    """Warn of schools far larger or smaller than in the cohort before."""
    sized = moves["grown"] + moves["shrunk"]
    if not sized.any():
        return None
    text = (
        f"Schools more than {SIZE_FACTOR:g} times, or less than 1/{SIZE_FACTOR:g}, their size in the cohort before and "
        f"beyond chance: {int(sized.sum()):,} ({counts(sized)}): check for schools merged, split or recoded."
    )
    return Finding("size_changes", tuple(moves.index[sized > 0]), text)


def _recoded(table: pd.DataFrame, moves: pd.DataFrame) -> Finding | None:
    """Warn of many schools new and many gone at once."""
    earlier = table["schools"].reindex(moves["previous"]).to_numpy()
    recoded = moves[
        (moves["new"] > RECODED_SHARE * table["schools"].reindex(moves.index))
        & (moves["gone"] > RECODED_SHARE * earlier)
    ]
    if recoded.empty:
        return None
    told = by_cohort({t: f"{row['new']:,.0f} new, {row['gone']:,.0f} gone" for t, row in recoded.iterrows()})
    text = (
        f"Many schools are new and many gone at once ({told}): find out whether school codes were changed, and bring them "
        "to one coding."
    )
    return Finding("school_codes", tuple(recoded.index), text)


def _new_to_baseline(moves: pd.DataFrame) -> Finding | None:
    """Warn of many students in schools that no baseline cohort has."""
    fresh = moves[moves["not_in_baseline"] > NEW_TO_BASELINE]
    if fresh.empty:
        return None
    told = by_cohort({t: percent(share) for t, share in fresh["not_in_baseline"].items()})
    text = (
        f"Students in schools that the baseline does not have are over {NEW_TO_BASELINE:.0%} ({told}): the shift tells of "
        "other schools too, so compare with a fit of the schools in both."
    )
    return Finding("new_to_baseline", tuple(fresh.index), text)


def _cohort_sizes(table: pd.DataFrame, moves: pd.DataFrame) -> list[Finding]:
    """Warn of cohorts that have far more or fewer students than the cohort before."""
    now = table["students"].reindex(moves.index)
    before = pd.Series(table["students"].reindex(moves["previous"]).to_numpy(), index=moves.index)
    far = (now - before).abs() > COHORT_CHANGE * before
    odd = moves.index[far & ((now - before).abs() > SIZE_CHANCE * (now + before) ** 0.5)]
    if not len(odd):
        return []
    told = by_cohort({t: f"{now[t]:,} after {before[t]:,}" for t in odd})
    return [
        Finding(
            "cohort_sizes",
            tuple(odd),
            (
                f"Numbers of students are over {COHORT_CHANGE:.0%} from those of the cohort before ({told}): see whether part "
                "of the records is missing."
            ),
        )
    ]
