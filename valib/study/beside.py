"""What `valib fit` writes beside the effects of schools, where a study asks for it: groups, similar schools, a cap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..effects.cap import capped_va
from ..effects.groups import group_va, similar_schools
from ..names import about
from ..records.disclosure import counted, shown
from ..records.groups import school_groups, shown_groups

if TYPE_CHECKING:
    from ..effects.baseline import Benchmark
    from ..effects.cohort_fit import CohortFit
    from .params import Params

FILES = {"groups": "groups.csv", "similar": "similar.csv", "cap": "capped.csv"}  # parameter -> what it writes


def beside(
    study: Params, records: Any, fits: Sequence[CohortFit], benchmark: Benchmark | None
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables that the study asks for, by file, and a line on each fit's cap and on groups held back."""
    tables: dict[str, list[pd.DataFrame]] = {}
    said: list[str] = []
    for fit in fits:
        assert fit.cohort is not None  # fits of records
        with about(records, [fit.cohort]):
            found = {}
            if study.groups is not None:
                found["groups"], held_back = _groups(study, records, fit, benchmark)
                if held_back:
                    said.append(
                        f"{fit.cohort}: {held_back:,} group{'s' if held_back > 1 else ''} not shown: fewer than "
                        f"{study.min_schools} schools, or giving away a school that is not shown."
                    )
            if study.similar:
                found["similar"] = _similar(study, records, fit)
            if study.cap is not None:
                capped = capped_va(records, fit, study.cap, benchmark, study.scale_breaks, study.min_students)
                found["cap"] = capped.table.reset_index()
                said.append(capped.sentence)
        for name, table in found.items():
            table.insert(0, "cohort", fit.cohort)
            table.insert(0, "model", fit.model)
            tables.setdefault(FILES[name], []).append(table)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}, said


def _groups(study: Params, records: Any, fit: CohortFit, benchmark: Benchmark | None) -> tuple[pd.DataFrame, int]:
    """The groups of a fit that may be shown, and the number of others."""
    assert study.groups is not None and fit.cohort is not None
    groups = school_groups(records, study.groups, fit.cohort)
    table = group_va(fit, groups, study.group_weights, benchmark, study.intervals)
    sizes = counted(fit.school_effects)
    mask = shown_groups(
        sizes, shown(fit.school_effects, study.min_students), groups, study.min_students, study.min_schools
    )
    kept = table[mask.reindex(table.index).to_numpy(dtype=bool)].reset_index()
    kept.insert(0, "groups", study.groups)
    return kept, len(table) - len(kept)


def _similar(study: Params, records: Any, fit: CohortFit) -> pd.DataFrame:
    """Every school that may be shown beside those like it; how far they lie apart is the analyst's to see."""
    table = similar_schools(records, fit, study.similar, study.neighbours, study.min_students, study.intervals)
    return table.drop(columns="distance").reset_index()
