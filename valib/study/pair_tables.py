"""Random slopes of pairs of cohorts as tables: what `valib fit --model joint --random` writes beside a joint model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from ..records.disclosure import shown_in_all

if TYPE_CHECKING:
    from ..effects.slope_pairs import JointSlopes
    from ..models.options import Intervals

FILES = ("change_at.csv", "slope_correlations.csv", "slope_covariances.csv")


def pair_tables(
    slopes: JointSlopes,
    sizes: pd.DataFrame,
    min_students: int,
    intervals: Intervals,
    names: Callable[[pd.DataFrame], pd.DataFrame],
) -> dict[str, pd.DataFrame]:
    """Return the files :data:`FILES`. sizes: ``school_effects`` of the joint model of all these cohorts; names: adds schools'.

    change_at.csv has the schools that are held back in no cohort of the model and have students in both of the pair; values
    stand as text.
    """
    parts = []
    for first, second in slopes.pairs:
        may = shown_in_all(sizes, min_students, (first, second))
        table = slopes.changes(first, second, intervals=intervals).reset_index()
        table = table[table["school"].isin(may.index[may])].drop(columns=["va_first", "va_second"])
        parts.append(table.assign(at=[f"{value:g}" for value in table["at"]], first=first, second=second))
    changes, correlations = pd.concat(parts, ignore_index=True), slopes.correlations(intervals=intervals)
    heads = ["first", "second", "school", "column", "at"]
    changes = names(changes[[*heads, *changes.columns.difference(heads, sort=False)]])
    correlations["at"] = [f"{value:g}" if value == value else "" for value in correlations["at"]]
    return dict(zip(FILES, (changes, correlations, slopes.covariances()), strict=True))
