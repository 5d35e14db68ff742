"""The numbers of the chapter on weak and strong students: schools and groups whose students vary more than others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...effects.cohort_fit import CohortFit
from ...effects.residual import residual_variances, variance_test
from ...errors import ModelError
from ...records.disclosure import shown
from .. import figures
from ..findings import Findings, Formats, formats
from ..prose import as_text

DOUBT = 0.05
FEW = 20  # schools below which the spread of variances is hardly known
A_TENTH = 0.1
QUARTERS = 4
NOTHING = "The records cannot bear residual variances of schools: too few schools have two students."


def attempt(fit: Callable[..., CohortFit], *given: Any, **named: Any) -> CohortFit | None:
    """A fit with unequal residual variances, or None where the records cannot bear one."""
    try:
        return fit(*given, **named)
    except ModelError:
        return None


def tests(fit: CohortFit | None, groups: Mapping[str, CohortFit | None], cohort: int) -> Findings:
    """Whether residual variances of schools, and of groups of students, differ."""
    found = Findings()
    if fit is None:
        found.say(f"{NOTHING} The rest of this section has nothing to show for them.")
        return found
    f, rows = formats(fit.student_sd), []
    table = residual_variances(fit)
    bartlett = None
    try:
        every = variance_test(fit)
        bartlett = every.loc["Bartlett"]
    except ModelError:  # the students of a school fit perfectly
        found.say("The students of one school have no residuals at all, so that Bartlett's test cannot be made.")
    if bartlett is not None:
        for name, row in every.iterrows():
            rows.append((f"schools: {name}", float(row["statistic"]), int(row["df"]), _p(float(row["p"]))))
    for column, one in groups.items():
        if one is not None:
            row = variance_test(one).iloc[0]
            rows.append((f"{column}: likelihood ratio", float(row["statistic"]), int(row["df"]), _p(float(row["p"]))))
    if rows:
        found.table(
            pd.DataFrame(rows, columns=["Test", "Statistic", "df", "p"]),
            "Tests of the hypothesis that residual variances are equal over schools, or over groups of students, cohort "
            "{glue:text}`cohort`.",
            "tab-variances",
            formats={"Statistic": ".1f", "df": "d"},
            index=False,
        )
    if bartlett is not None:
        _verdict(found, fit, table, float(bartlett["p"]), f)
    for column, one in groups.items():
        if one is not None:
            _group(found, column, one, f)
    return found


def _p(p: float) -> str:
    return "below 0.001" if p < 0.001 else as_text(p, ".3f")


def _verdict(found: Findings, fit: CohortFit, table: pd.DataFrame, p: float, f: Formats) -> None:
    """What the test of schools says."""
    common, spread = table.attrs["common"], table.attrs["spread"]
    low, high = (as_text(float(common * np.exp(k * spread)), f.plain) for k in (-1, 1))
    found.say(
        "{numref}`tab-variances` gives the tests. "
        f"The common residual standard deviation is {as_text(float(common), f.plain)} score points. The test rejects that all "
        f"schools have it: most schools lie between {low} and {high} by the estimated distribution.",
        when=p < DOUBT and spread > 0,
    )
    found.say(
        "By {numref}`tab-variances` the test rejects that all schools have one residual variance, although the model finds no "
        "spread of them: a few schools, or heavy tails, may be behind it.",
        when=p < DOUBT and spread == 0,
    )
    found.say(
        "By {numref}`tab-variances` the test does not reject that all schools have one residual standard deviation, "
        f"{as_text(float(common), f.plain)} score points. One variance is enough for what can be seen here.",
        when=p >= DOUBT,
    )
    found.say(
        f"There are {fit.n_schools} schools. With so few, the distribution of their variances is hardly known.",
        when=fit.n_schools < FEW,
    )


def _group(found: Findings, column: str, fit: CohortFit, f: Formats) -> None:
    """What the test of a group of students says."""
    table, p = residual_variances(fit), float(variance_test(fit)["p"].iloc[0])
    sizes = ", ".join(f"{as_text(float(sd), f.plain)} where it is {group}" for group, sd in table["sd"].items())
    told = "differ" if p < DOUBT else "are not told apart"
    found.say(f"The residual standard deviations by `{column}` {told}: {sizes}.")


def sds_figure(fit: CohortFit | None, min_students: int, level: float) -> Findings:
    """The residual standard deviations of the schools that may be shown."""
    found = Findings()
    if fit is None:
        found.figure("fig_residual_sds", figures.nothing(NOTHING))
        return found
    table = residual_variances(fit, level)
    part = table[np.asarray(shown(fit.school_effects, min_students))]
    if part.empty:
        found.figure("fig_residual_sds", figures.nothing("No school may be shown."))
        return found
    return found.figure("fig_residual_sds", figures.residual_sds(part, table.attrs["common"], level=level))


def consequences(fit: CohortFit | None, plain: CohortFit, min_students: int, seed: int) -> Findings:
    """What own variances change: intervals and the probability of the highest fifth, by quarters of the schools' SDs."""
    found = Findings()
    if fit is None:
        return found
    may = np.asarray(shown(fit.school_effects, min_students))
    if may.sum() < 2 * QUARTERS or plain.singular:
        found.say("Too few schools may be shown, or schools do not vary, so that nothing is compared.")
        return found
    sd = residual_variances(fit)["sd"][may]
    quarter = (sd.rank(method="first") - 1) * QUARTERS // len(sd)
    ends = [(one.school_effects["upper"] - one.school_effects["lower"])[may] for one in (plain, fit)]
    tops = [one.ranks(seed, min_students=min_students)["p_top_quintile"].reindex(sd.index) for one in (plain, fit)]
    rows = []
    for name, mask in (("smallest", quarter == 0), ("largest", quarter == QUARTERS - 1), ("all", quarter >= 0)):
        apart = (tops[1] - tops[0]).abs()[mask]
        rows.append((name, int(mask.sum()), sd[mask].mean(), ends[0][mask].mean(), ends[1][mask].mean(), apart.mean()))
    f = formats(fit.student_sd)
    heads = ["Quarter of the SDs", "Schools", "Mean SD", "Interval, one variance", "Interval, own variances"]
    heads.append("Mean change in P(highest fifth)")
    found.table(
        pd.DataFrame(rows, columns=heads),
        "What the schools' own residual variances change, cohort {glue:text}`cohort`: mean length of the {glue:text}`level` "
        "intervals (score points) with one variance for all and with own ones, and the mean change, up or down, of the "
        "probability to be in the highest fifth. The rows are the quarter of the schools shown with the smallest standard "
        "deviations, the quarter with the largest, and all.",
        "tab-own-variances",
        formats={heads[1]: "d", heads[2]: f.plain, heads[3]: f.plain, heads[4]: f.plain, heads[5]: ".3f"},
        index=False,
    )
    moved = int(((tops[1] - tops[0]).abs() > A_TENTH).sum())
    sides = int((plain.school_effects["side"][may] != fit.school_effects["side"][may]).sum())
    return found.say(
        "{numref}`tab-own-variances` compares the two kinds of fit. The schools' own variances change the probability to be in "
        f"the highest fifth by more than a tenth for {moved} of the {len(sd)} schools shown. For {sides} of them it "
        "changes whether the interval lies above zero, below it, or holds it."
    )
