"""The numbers of the lecturer's page: what is known of the last cohort, and a report with faults and their mending."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...effects.cohort_fit import CohortFit
from ...effects.verdict import SCHOOLS, shift_verdicts
from ...records.disclosure import only_shown
from ..figures.style import percent
from ..findings import Findings, check, formats
from ..prose import as_text, name
from .advice import sentences

YARDSTICK = 1.0  # standard deviations of students' scores by which every score is raised, to try a correlation


def known(fit: CohortFit, context: pd.DataFrame, level: float) -> Findings:
    """What is known of the last cohort's shift, as a table, and the sentence that it supports."""
    found, f = Findings(), formats(fit.student_sd)
    row = context.loc[fit.cohort]
    baseline = context[context["role"] == "baseline"]
    year = (
        _limits(row["year_lower"], row["year_upper"], f.signed)
        if np.isfinite(row["year_lower"])
        else "not known from one baseline cohort"
    )
    equating = "not known" if fit.equating_se is None else f"{as_text(fit.equating_se, f.plain)} points, counted"
    facts = [
        ("Students, schools", f"{as_text(fit.n_students)}, {as_text(fit.n_schools)}"),
        ("Baseline cohorts", ", ".join(map(str, baseline.index))),
        ("Shift", as_text(float(row["shift"]), f.signed)),
        (f"{percent(level)} interval over schools", _limits(row["lower"], row["upper"], f.signed)),
        (f"{percent(level)} interval of a further ordinary year", year),
        ("Standard deviation of students' scores", as_text(fit.student_sd, f.plain)),
        ("Standard error of equating", equating),
    ]
    found.table(
        pd.DataFrame(facts, columns=["What", "Here"]),
        f"What is known of the shift of cohort {fit.cohort}, in score points.",
        "tab-teaching-known",
        index=False,
    )
    return found


def names(fit: CohortFit, context: pd.DataFrame, level: float) -> Findings:
    """The cohort, and the sentence that its numbers support, for a folded solution."""
    found = Findings().record("cohort", str(fit.cohort))
    found.record("level", percent(level))
    return found.record("sentence", sentences(fit, context, level).sentences[0].removeprefix("> "))


def _limits(lower: float, upper: float, spec: str) -> str:
    return f"{as_text(float(lower), spec)} to {as_text(float(upper), spec)}"


def raised(records: pd.DataFrame, fit: CohortFit) -> pd.DataFrame:
    """The records with every score of the fit's cohort raised by :data:`YARDSTICK` standard deviations of the scores."""
    there = records["cohort"] == fit.cohort
    higher = records.assign(score=records["score"].astype(float) + np.where(there, YARDSTICK * fit.student_sd, 0.0))
    higher.attrs = dict(records.attrs)
    return higher


def wrong_report(
    relative: CohortFit, fit: CohortFit, moved: CohortFit, ranks: pd.DataFrame, context: pd.DataFrame, min_students: int
) -> Findings:
    """The values of a report whose claims do not hold, and of what mends each.

    relative, fit: the cohort against its own year and against the benchmark. moved: as fit, with every score of the
    cohort raised (:func:`raised`). ranks: of the relative fit, among the schools that may be shown.
    """
    found, f = Findings(), formats(fit.student_sd)
    effects, own = fit.school_effects["effect"], relative.school_effects["effect"]
    shift = float(context.loc[fit.cohort, "shift"])
    found.record("shift", shift, f.signed)
    found.record("se_naive", float(effects.std() / len(effects) ** 0.5), f.fine)
    side, interval, lower, upper = shift_verdicts(context).loc[fit.cohort]
    found.record("interval", _limits(lower, upper, f.signed))
    found.record("counted", "schools" if interval == SCHOOLS else "ordinary years")
    found.record("verdict", "cannot be told apart from no shift" if side == "not told apart" else f"lies {side} zero")
    found.record("schools", len(effects))
    for key, table in (("off", fit.school_effects), ("off_relative", relative.school_effects)):
        found.record(key, int(((table["lower"] > 0) | (table["upper"] < 0)).sum()))
    found.record("below", int((own < 0).sum()))
    best = only_shown(relative.school_effects, min_students)["effect"].idxmax()
    found.record("best", name(best))
    low, high = ranks.loc[best, ["rank_lower", "rank_upper"]]
    found.record("best_ranks", f"{as_text(int(low))} to {as_text(int(high))}")
    found.record("ranked", len(ranks))
    found.record("best_top", float(ranks.loc[best, "p_top_quintile"]), ".0%")
    before, after = (_correlation(own, other) for other in (effects, moved.school_effects["effect"]))
    plain = fit.formula.partition("~")[0].strip() == "score"  # of a logarithm, say, a constant is no shift
    same = np.isclose(before, after, atol=1e-6, equal_nan=True)
    check(same or not plain, "raising every score changes no correlation")
    found.record("correlation", before, ".3f")
    found.record("correlation_raised", after, ".3f")
    found.record("raised", YARDSTICK * fit.student_sd, f.plain)
    return found


def _correlation(a: pd.Series, b: pd.Series) -> float:
    """Of two sets of effects; NaN where one of them does not vary."""
    both = pd.concat([a, b], axis=1)
    return float(both.corr().iloc[0, 1]) if (both.std() > 0).all() else float("nan")
