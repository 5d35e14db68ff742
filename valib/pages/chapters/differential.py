"""The numbers of the chapter on weak and strong students: random slopes and gaps between groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ...effects.cohort_fit import CohortFit
from ...effects.differential import FIFTHS, fifths_at, reference_values, slope_test, va_at, va_gap
from ...effects.relative import fit_relative
from ...effects.slope_pairs import SLOPE, JointSlopes
from ...errors import ModelError
from ...records.datasets import load_records
from ...records.disclosure import shown, shown_in_all
from .. import figures
from ..figures.style import percent
from ..findings import Findings, Formats, check, formats
from ..prose import as_text, in_words

FEW = 20  # schools below which slopes are hardly known
STEEPEST = 2
DOUBT = 0.05
Fit = TypeVar("Fit")


def slope_columns(formula: str, random: Sequence[str]) -> list[str]:
    """The columns that have slopes in this chapter: those of the study, or the prior score where it names none."""
    return list(random) or (["prior_score"] if "prior_score" in formula else [])


def usable_groups(records: pd.DataFrame, cohort: int, subgroups: Sequence[str]) -> list[str]:
    """The subgroups whose indicator the cohort's records hold: 0 and 1, and both."""
    rows = records[records["cohort"] == cohort]
    return [c for c in subgroups if c in rows and set(pd.unique(rows[c].dropna())) == {0, 1}]


def attempt(fit: Callable[..., Fit], *given: Any, **named: Any) -> Fit | None:
    """A fit with random slopes, or None where the records cannot bear one: too few students, or no column."""
    if not named.get("random"):
        return None
    try:
        return fit(*given, **named)
    except ModelError:
        return None


def with_column(formula: str, column: str) -> str:
    """The formula, with a column where it lacks it."""
    return formula if re.search(rf"\b{re.escape(column)}\b", formula) else f"{formula} + {column}"


def pairs(fit: JointSlopes | None, sizes: pd.Series, min_students: int) -> Findings:
    """The last two cohorts together: how value added at named values and slopes correlate, and who has changed there.

    sizes: students by cohort and school, of :func:`valib.cell_sizes`.
    """
    found = Findings()
    if fit is None:
        found.say(
            "A comparison of lines between cohorts needs two focal cohorts that share schools and can bear slopes of them. "
            "These records do not have them, so that this section has nothing to show."
        )
        return found
    first, second = fit.cohorts
    column, values = next(iter(fit.values.items()))
    table = fit.correlations({column: values})
    at = [*(as_text(float(v), "g") for v in values), *(["slopes"] if len(table) > len(values) else [])]
    shown_table = pd.DataFrame({"At": at, **{k.capitalize(): table[k] for k in ("correlation", "lower", "upper")}})
    found.table(
        shown_table,
        f"Correlation over schools between cohorts {first} and {second}: of value added at values of `{column}`, and of the "
        "slopes, with {glue:text}`level` limits.",
        "tab-pairs",
        formats={"Correlation": ".2f", "Lower": ".2f", "Upper": ".2f"},
        index=False,
    )
    _steepness(found, table[table["of"] == SLOPE], fit.cohorts)
    may = shown_in_all(sizes, min_students, fit.cohorts)
    changes = fit.changes(first, second, {column: [values[0], values[-1]]}).reset_index()
    changes = changes[changes["school"].isin(may.index[may])]
    clear = (changes["lower"] > 0) | (changes["upper"] < 0)
    low, high = (int(clear[changes["at"] == value].sum()) for value in (values[0], values[-1]))
    found.say(
        f"Of {changes['school'].nunique()} schools shown in both cohorts, {low} have a change of value added at {at[0]} whose "
        f"{{glue:text}}`level` interval excludes 0, and {high} have one at {at[len(values) - 1]}.",
        when=bool(changes["lower"].notna().any()),
    )
    return found


def _steepness(found: Findings, slopes: pd.DataFrame, cohorts: Sequence[int]) -> None:
    """Whether steep lines stay steep; slopes: the row of correlations, none where the column has no slope of its own."""
    if not len(slopes):
        return
    slope, (first, second) = slopes.iloc[0], cohorts
    steep = f"a school whose line is steep in {first} has a steep line in {second}"
    found.say(
        "In {numref}`tab-pairs` the interval of the correlation of slopes holds 0, so these cohorts do not show that "
        f"{steep}.",
        when=bool(slope["lower"] <= 0 <= slope["upper"]),
    )
    found.say(f"In {{numref}}`tab-pairs` {steep}, as a rule.", when=bool(slope["lower"] > 0))
    found.say(
        f"By {{numref}}`tab-pairs` a school whose line is steep in {first} has, as a rule, a flat line in {second}.",
        when=bool(slope["upper"] < 0),
    )
    found.say(
        "{numref}`tab-pairs` has no limits of the correlation of slopes, because its variances are too little known.",
        when=bool(np.isnan(slope["lower"])),
    )


def study_names(cohort: int, columns: Sequence[str], level: float) -> Findings:
    """What the prose calls the cohort, the columns and the level."""
    found = Findings().record("cohort", cohort, "d")
    found.record("columns", in_words(list(columns)))
    return found.record("level", percent(level))


def _slopes(found: Findings, table: pd.DataFrame, one: pd.Series, f: Formats) -> None:
    """The table of slopes; one: a step of each column."""
    shown_table = pd.DataFrame(
        {
            "Column": list(table.index),
            "SD of slopes": (table["sd"] * one).to_numpy(),
            "SE": (table["sd_se"] * one).to_numpy(),
            "Correlation with VA at the mean": table["correlation"].to_numpy(),
            "Likelihood ratio": table["statistic"].to_numpy(),
            "p": ["below 0.001" if p < 0.001 else as_text(float(p), ".3f") for p in table["p"]],
        }
    )
    found.table(
        shown_table,
        "Slopes of schools in cohort {glue:text}`cohort`: their standard deviation (score points for a step of one standard "
        "deviation of the column, or from 0 to 1 of an indicator), and the test of the hypothesis that all schools have the "
        "same slope.",
        "tab-slopes",
        formats={
            "SD of slopes": f.fine.rstrip("~"),
            "SE": f.fine,
            "Correlation with VA at the mean": ".2f",
            "Likelihood ratio": ".1f",
        },
        index=False,
    )


def spread(fit: CohortFit | None, plain: CohortFit) -> Findings:
    """How slopes vary over schools, and whether they do; what cannot be shown."""
    found = Findings()
    if fit is None:
        found.say(
            "No column of these records can be given slopes of schools: the model has no prior score, or too few students "
            "a school. The rest of this chapter has nothing to show for them."
        )
        found.record("front_slopes", "These records cannot give schools slopes of their own.")
        return found
    f, table = formats(plain.student_sd), slope_test(fit)
    ranges = reference_values(fit)
    one = pd.Series({c: (values[-1] - values[0]) / (len(values) - 1) for c, values in ranges.items()})
    _slopes(found, table, one, f)
    for column, row in table.iterrows():
        size = as_text(float(row["sd"] * one[column]), f.fine.rstrip("~"))
        level = as_text(float(np.sqrt(fit.tau2)), f.plain)
        if column == table.index[0]:
            test = "rejects" if row["p"] < DOUBT else "does not reject"
            found.record(
                "front_slopes",
                f"In these records schools differ in the slope of {column} by a standard deviation of {size} score points (for "
                f"a step of one standard deviation, or from 0 to 1), beside {level} between schools at the mean; the test "
                f"{test} that all slopes are equal.",
            )
        found.say(
            f"By {{numref}}`tab-slopes`, schools differ in the slope of `{column}`, and the test rejects that they do not. One "
            "number for each school hides something.",
            when=row["p"] < DOUBT,
        )
        found.say(
            f"{{numref}}`tab-slopes` does not show that schools differ in the slope of `{column}`, because the test does not "
            "reject that all slopes are equal. One number for each school is enough for what can be seen here.",
            when=row["p"] >= DOUBT,
        )
    return found.say(
        f"There are {fit.n_schools} schools. With so few, a slope must differ greatly between schools to be seen, so a test "
        "that does not reject says little.",
        when=fit.n_schools < FEW,
    )


def lines(fit: CohortFit | None, min_students: int) -> Findings:
    """The figure of lines, and how many schools stand in another fifth for weak than for strong students."""
    found = Findings()
    if fit is None:
        found.figure("fig_lines", figures.nothing("No slopes of schools can be shown for these records."))
        return found
    column = next(iter(reference_values(fit)))
    table = _shown(fit, va_at(fit, {column: reference_values(fit)[column]}), min_students)
    wide = table["effect"].unstack(level=1)
    steep = (wide.iloc[:, -1] - wide.iloc[:, 0]).abs().sort_values(ascending=False, kind="stable").index[:STEEPEST]
    return found.figure("fig_lines", figures.school_lines(table, highlight=list(steep), label=column))


def changes(fit: CohortFit | None, min_students: int) -> Findings:
    """The table of fifths and its sentence."""
    found = Findings()
    if fit is None:
        return found
    column, values = next(iter(reference_values(fit).items()))
    try:
        table = fifths_at(fit, column, values[0], values[-1], min_students)
    except ModelError:
        found.say("There are fewer than five schools, so that they have no fifths.")
        return found
    counts = table.to_numpy()
    check(counts.sum() <= fit.n_schools, "every school stands once in the table of fifths")
    low, high = (as_text(float(v), "g") for v in (values[0], values[-1]))
    frame = pd.DataFrame(counts, columns=[str(k) for k in FIFTHS])
    frame.insert(0, f"Fifth at {low}", [str(k) for k in FIFTHS])
    found.table(
        frame,
        f"Schools of cohort {{glue:text}}`cohort` by their fifth at a low value of `{column}` ({low}, rows) and at a high one "
        f"({high}, columns). The fifth holds the highest value added.",
        "tab-fifths",
        formats="d",
        index=False,
    )
    moved = int(counts.sum() - np.trace(counts))
    return found.say(
        f"In {{numref}}`tab-fifths` {moved} of {int(counts.sum())} schools stand in another fifth at {high} than at {low} of "
        f"`{column}`. Some of these changes are chance, because predictions near the border of a fifth may belong on either "
        "side."
    )


def groups(every: Mapping[str, CohortFit | None], min_students: int) -> Findings:
    """Value added of groups: how much gaps vary, by group, and how many schools have one off the system's."""
    found, fits = Findings(), {column: fit for column, fit in every.items() if fit is not None}
    if not fits:
        found.say("The records hold no indicator of a group that the study names, so that no gaps can be shown.")
        return found
    rows, f = [], formats(*(fit.student_sd for fit in fits.values()))
    for column, fit in fits.items():
        test, gaps = slope_test(fit).loc[column], _shown(fit, va_gap(fit, column), min_students)
        clear = int(((gaps["lower"] > 0) | (gaps["upper"] < 0)).sum())
        b, se = fit.fixed_effects[column], float(np.sqrt(fit.vcov.loc[column, column]))
        rows.append((column, b, se, test["sd"], float(test["p"]), clear, len(gaps)))
    heads = [
        "Group",
        "Gap of the system",
        "SE",
        "SD of schools' gaps",
        "p",
        "Schools off the system's gap",
        "Schools shown",
    ]
    found.table(
        pd.DataFrame(rows, columns=heads),
        "Gaps between students in a group and others with the same covariates, cohort {glue:text}`cohort` (score points): that "
        "of the system, how schools differ in it, the test that they do not, and the schools whose {glue:text}`level` interval "
        "lies off the system's gap.",
        "tab-groups",
        formats={heads[1]: f.fine_signed, heads[2]: f.fine, heads[3]: f.fine.rstrip("~"), heads[4]: ".3f"},
        index=False,
    )
    found.say("{numref}`tab-groups` gives the gap of the system for each group, and how much schools differ in it.")
    return found


def gap_figure(every: Mapping[str, CohortFit | None], min_students: int, level: float) -> Findings:
    """The gaps of the first group."""
    found, fits = Findings(), {column: fit for column, fit in every.items() if fit is not None}
    if not fits:
        found.figure("fig_gaps", figures.nothing("No gaps of schools can be shown for these records."))
    for column, fit in list(fits.items())[:1]:
        gaps = _shown(fit, va_gap(fit, column), min_students)
        found.figure("fig_gaps", figures.school_gaps(gaps, level=level, label=f"Gap, {column}"))
    return found


def _shown(fit: CohortFit, table: pd.DataFrame, min_students: int) -> pd.DataFrame:
    """The rows of schools that may be shown."""
    may = fit.school_effects.index[np.asarray(shown(fit.school_effects, min_students))]
    return table[table.index.get_level_values("school").isin(may)]


def exam_slopes() -> Findings:
    """The exercise on the bundled Exam records: how slopes of the prior score differ between 65 schools."""
    found, row = Findings(), slope_test(fit_relative(load_records("exam"), random=["prior_score"])).loc["prior_score"]
    found.record_all(("exam_sd", row["sd"], ".2f"), ("exam_statistic", row["statistic"], ".1f"))
    found.record("exam_p", "below 0.001" if row["p"] < 0.001 else as_text(float(row["p"]), ".3f"))
    return found
