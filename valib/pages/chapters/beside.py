"""The numbers of the chapter on practice that are about groups of schools, and about schools beside schools like them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...effects.baseline import Benchmark
from ...effects.cohort_fit import CohortFit
from ...errors import ModelError, RecordsError
from ...study.beside import beside
from ...study.params import Params
from ..findings import Findings, formats
from ..prose import as_text, code, escape, in_words

WEIGHTS = {"equal": "every school counts alike", "students": "a school counts as its students are many"}


def tables(params: Params, records: pd.DataFrame, fit: CohortFit, benchmark: Benchmark) -> dict[str, pd.DataFrame]:
    """groups.csv and similar.csv of the schools and groups that may be shown, as far as the study asks for them.

    A table that the records cannot bear is left out.
    """
    found: dict[str, pd.DataFrame] = {}
    for asked in ({"groups": params.groups}, {"similar": params.similar}):
        alone = params.model_copy(update={"groups": None, "similar": [], "cap": None, **asked})
        try:
            found |= beside(alone, records, [fit], benchmark)[0]
        except (
            ModelError,
            RecordsError,
        ):  # it may name schools that are not shown: `valib fit` tells it to the analyst
            pass
    return found


def not_there(params: Params, found: Mapping[str, pd.DataFrame]) -> Findings:
    """What of this section the study does not ask for, or its records cannot bear."""
    lacking = [
        words
        for name, words in (
            ("groups", "`groups`, a column that is the same for all students of a school, such as a district"),
            ("similar", "`similar`, the covariates in which schools are to be alike"),
        )
        if not getattr(params, name)
    ]
    told = Findings().say(
        f"The study of this copy does not name {' nor '.join(lacking)}. Where it does, this section has the tables.",
        when=lacking,
    )
    unable = [name for name in ("groups", "similar") if getattr(params, name) and f"{name}.csv" not in found]
    return told.say(
        f"The records of this chapter do not bear {in_words([code(name) for name in unable])}. Where they are the study's own, "
        "`valib fit` with the same parameters says why.",
        when=unable,
    )


def groups(params: Params, found: Mapping[str, pd.DataFrame], fit: CohortFit) -> Findings:
    """The groups that may be shown: mean value added and shift, each with its interval."""
    told = Findings()
    table = found.get("groups.csv")
    if table is None:
        return told
    told.save(table, "groups.csv")
    told.say(
        f"No group of `{params.groups}` may be shown: each has fewer than {params.min_schools} schools, or would give away a "
        "school that is not shown.",
        when=table.empty,
    )
    if table.empty:
        return told
    F = formats(fit.student_sd)
    shown = table.rename(
        columns={
            "group": "Group",
            "schools": "Schools",
            "n": "Students",
            "effect": "Mean VA",
            "lower": "Lower",
            "upper": "Upper",
            "shift": "Shift",
            "shift_lower": "from",
            "shift_upper": "to",
        }
    )[["Group", "Schools", "Students", "Mean VA", "Lower", "Upper", "Shift", "from", "to"]]
    shown["Group"] = [escape(name) for name in shown["Group"]]
    return told.table(
        shown,
        f"Benchmark value added of groups by {code(str(params.groups))} in cohort {{glue:text}}`cohort`: mean over the schools "
        f"of the group ({WEIGHTS[params.group_weights]}) and shift of the group as a system of its own, each with its "
        f"{as_text(100 * fit.level, 'g')}% interval (score points).",
        "tab-11-groups",
        index=False,
        raw=True,
        formats=dict.fromkeys(["Mean VA", "Lower", "Upper", "Shift", "from", "to"], F.signed),
    )


def similar(params: Params, found: Mapping[str, pd.DataFrame]) -> Findings:
    """How many schools differ from those like them, of the schools that may be shown."""
    told = Findings()
    table = found.get("similar.csv")
    if table is None:
        return told
    told.save(table, "similar.csv")
    above, below = int((table["lower"] > 0).sum()), int((table["upper"] < 0).sum())
    return told.say(
        f"Set beside the {params.neighbours} schools most like it in {in_words([code(name) for name in params.similar])}, the "
        f"interval of the difference lies above zero for {above} and below zero for {below} of {len(table):,} schools."
    )
