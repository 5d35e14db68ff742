"""The numbers of the chapter on how systems measure: what each would print for the study in hand."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.average import average_va
from ...effects.baseline import fit_baseline
from ...effects.benchmark import fit_benchmark
from ...effects.joint import fit_joint
from ...effects.relative import fit_relative
from ...errors import ModelError
from ...records.disclosure import only_shown
from .. import figures
from ..findings import Findings, check, formats
from ..prose import as_text

GROUPS = 20  # of prior attainment
ROWS = {
    "raw": "Mean score",
    "groups": "Prior-attainment groups of the year",
    "relative": "Relative VA",
    "standardised": "Relative VA of scores standardised within the year",
    "benchmark": "Benchmark VA",
    "average": "Average of three cohorts",
}


def prior_groups(rows: pd.DataFrame, groups: int = GROUPS) -> pd.Series:
    """By school: the mean of each student's score less that of all students of the cohort with like prior scores.

    Students are cut into groups of like size by their prior score. Nothing is shrunk.
    """
    group = pd.qcut(rows["prior_score"].rank(method="first"), min(groups, len(rows)), labels=False)
    apart = rows["score"] - rows["score"].groupby(group).transform("mean")
    mean: pd.Series = apart.groupby(rows["school"]).mean()
    return mean


def measures(
    records: pd.DataFrame,
    baseline: Sequence[int],
    cohort: int,
    formula: str,
    min_students: int,
    earlier: Sequence[int] = (),
    method: str = "ML",
) -> pd.DataFrame:
    """Every measure of :data:`ROWS` by school (score points), for the schools that may be shown in the cohort.

    earlier: cohorts before it for the average, of which the last two are used; without two there is no average.
    """
    rows = records[records["cohort"] == cohort]
    relative = fit_relative(records, cohort, formula, method)  # type: ignore[arg-type]
    score = rows["score"]
    own = rows.assign(score=(score - score.mean()) / score.std(), prior_score=_standardised(rows["prior_score"]))
    found = {
        "raw": score.groupby(rows["school"]).mean() - score.mean(),
        "groups": prior_groups(rows),
        "relative": relative.school_effects["effect"],
        "standardised": _effects_of(own, cohort, formula) * score.std(),
        "benchmark": fit_benchmark(
            records,
            cohort,
            fit_baseline(records, baseline, formula, method=method),
            method=method,  # type: ignore[arg-type]
        ).school_effects["effect"],
    }
    if len(earlier) >= 2:
        try:
            joint = fit_joint(records, [*earlier[-2:], cohort], formula, method=method)  # type: ignore[arg-type]
            found["average"] = average_va(joint, intervals="plugin")["average"]
        except ModelError:  # schools do not vary in one of them
            pass
    table = pd.DataFrame(found)
    shown = only_shown(relative.school_effects, min_students).index
    return table.loc[table.index.intersection(shown)]


def _standardised(x: pd.Series) -> pd.Series:
    z: pd.Series = (x - x.mean()) / x.std()
    return z


def _effects_of(rows: pd.DataFrame, cohort: int, formula: str) -> pd.Series:
    effect: pd.Series = fit_relative(rows, cohort, formula, intervals="plugin").school_effects["effect"]
    return effect


def side_by_side(table: pd.DataFrame, records: pd.DataFrame, cohort: int) -> Findings:
    """Mean, spread and agreement of the measures, as a table and in words."""
    f = formats(float(records.loc[records["cohort"] == cohort, "score"].std()))
    rows = [
        (ROWS[name], table[name].mean(), table[name].std(), table[name].corr(table["benchmark"]))
        for name in ROWS
        if name in table
    ]
    found = Findings().table(
        pd.DataFrame(
            rows, columns=["Measure", "Mean over schools", "SD over schools", "Correlation with benchmark VA"]
        ),
        "What each measure gives for the schools of cohort {glue:text}`cohort` that may be shown (score points).",
        "tab-practice-measures",
        formats={"Mean over schools": f.signed, "SD over schools": f.plain, "Correlation with benchmark VA": ".2f"},
        index=False,
    )
    zero = [name for name in ("groups", "relative", "standardised") if name in table]
    near = max(abs(float(table[name].mean())) for name in zero)
    return found.say(
        f"The benchmark's mean is {as_text(float(table['benchmark'].mean()), f.signed)} points. No measure that takes its zero "
        f"from the year itself has a mean further from zero than {as_text(near, f.plain)}: what is not exactly zero comes from "
        "the weighting of schools and from the schools that are held back."
    )


def study_names(cohort: int, baseline: Sequence[int]) -> Findings:
    """Cohorts as the prose names them."""
    found = Findings().record("cohort", cohort, "d")
    return found.record("baseline_cohorts", list(baseline))


def rank_moves(table: pd.DataFrame) -> Findings:
    """How the choice of measure moves schools between fifths."""
    fifth = {name: np.ceil(table[name].rank(pct=True) * 5) for name in ("raw", "groups", "relative") if name in table}
    other = float((fifth["raw"] != fifth["relative"]).mean())
    near = float((fifth["groups"] != fifth["relative"]).mean())
    return Findings().record_all(("moved_raw", other, ".0%"), ("moved_groups", near, ".0%"))


def measures_figure(table: pd.DataFrame) -> Findings:
    """The schools under every measure."""
    named = table.rename(columns=ROWS)
    return Findings().figure("fig_measures", figures.measures_beside(named, marked=ROWS["benchmark"]))


def two_means(records: pd.DataFrame, baseline: Sequence[int], cohort: int, formula: str, method: str) -> Findings:
    """The exercise that sets the mean of relative value added beside that of benchmark value added."""
    with warnings.catch_warnings(action="ignore"):  # other chapters say what there is to say of these fits
        relative = fit_relative(records, cohort, formula, method)
        against = fit_benchmark(records, cohort, fit_baseline(records, baseline, formula, method=method), method=method)
    S = formats(relative.student_sd).signed
    mean = float(relative.school_effects["effect"].mean())
    check(abs(mean) < 1e-6 * relative.student_sd, "relative value added has mean zero")
    found = Findings().record("solved_relative", abs(mean), S.lstrip("+"))
    return found.record("solved_benchmark", float(against.school_effects["effect"].mean()), S)
