"""What stands on the summary of a study, from published results: texts, one figure, two short tables.

Whether a shift or a school is above or below is said by :mod:`valib.effects.verdict` alone, and in its words.
"""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pandas as pd

from ...effects.verdict import ABOVE, BELOW, UNCLEAR, shift_verdicts, sides
from ...errors import ParamsError
from ...names import readable
from ...study.earlier import Results
from ..figures.style import digits_for, plural
from ..figures.summary import summary as figure
from ..prose import as_text, code, escape, in_words
from ..report import words
from ..report.content import CANNOT, spans
from ..report.words import Estimate

MOST_YEARS, MOST_NAMED, MOST_BASELINE = (
    6,
    4,
    8,
)  # cohorts in the table, schools named at either end, years in a sentence
LONGEST_TITLE, LONGEST_NAME, LONGEST_TERM = 110, 38, 150  # letters
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
ALT = "Panels by cohort: the shift of the average school with its interval, and the spread of the schools' value added."
FIGURE = {
    True: "Left: the average school of each year against the baseline; thick lines: {level} intervals over schools, thin: of "
    "a further ordinary year, grey: baseline years. Right: the schools shown; dark: the middle half, light: nine in ten.",
    False: "Value added of the schools shown, against the average school of their year. Dark: the middle half; light: nine "
    "in ten; line: the school in the middle.",
}
RELATIVE = (
    "These results compare schools with the other schools of their year, so they average zero in every year and cannot "
    "show whether schools as a whole have become better or worse. That needs baseline years."
)
ABSORBED = "The shift of the average school was not estimated, so nothing is said of the system as a whole."
NOT_KNOWN = {
    "equating_se": "how far the tests of the two times are on one scale is not known and in no interval",
    "year": "what an ordinary year alone would do cannot be judged from so few baseline years",
}
NO_SCHOOL = (
    "No school of {cohort} may be shown: each has fewer than {least} students, or its figure would give away that of a "
    "school with so few."
)


def content(results: Results) -> dict[str, Any]:
    """The title and the parts of the summary of results (JSON).

    Raises ParamsError for results of a model of several cohorts at once, and for those without a fit.
    """
    told = results.about
    if told["model"] not in ("relative", "benchmark"):
        raise ParamsError(
            f"These are results of a {told['model']} model: a summary takes those of --model relative or benchmark."
        )
    if not results.fits:
        raise ParamsError("These results have no fit in fits.json, so there is nothing to sum up.")
    fits = sorted(results.fits, key=lambda fit: fit["cohort"])
    context = results.tables.get("shift_in_context.csv")
    by_cohort = _by_cohort(results, fits, context)
    last, level = by_cohort.iloc[-1], float(fits[-1]["level"])
    percent = words.percent(level)
    drawn = figure(context, by_cohort.reset_index()[["cohort", *QUANTILES]])
    parts = [
        _text(_opening(told)),
        _heading("The system"),
        _text(_system(context, by_cohort, told, level)),
        {"kind": "figure", "svg": drawn, "alt": ALT, "caption": FIGURE[context is not None].format(level=percent)},
        _table("By cohort", *_cohort_rows(by_cohort, context is not None, percent)),
        _heading("The schools"),
        _text(_spread(last, fits[-1])),
        _text(_standing_out(last, told, level)),
        *_named(results, last, percent),
        _heading("What this cannot say"),
        {"kind": "list", "items": [spans(CANNOT[k]) for k in (0, 1, 2, 5)]},
        _heading("How it was made"),
        _text(_made(told, fits[-1])),
    ]
    title = readable(told["title"], LONGEST_TITLE)
    return {"title": title, "parts": [part for part in parts if part]}


def _by_cohort(results: Results, fits: list[dict[str, Any]], context: pd.DataFrame | None) -> pd.DataFrame:
    """One row a cohort: sizes, schools by side, quantiles of those shown, and the shift with its verdict."""
    effects = results.tables["school_effects.csv"]
    verdicts = shift_verdicts(context.set_index("cohort")) if context is not None else None
    rows = []
    for fit in fits:
        own = effects[effects["cohort"] == fit["cohort"]]
        flat = bool(fit["singular"]) or not len(own)
        told = sides(own["lower"], own["upper"]) if not flat else np.array([])
        row = {"cohort": fit["cohort"], "students": fit["n_students"], "schools": fit["n_schools"], "shown": len(own)}
        row |= {"singular": bool(fit["singular"]), "student_sd": fit["student_sd"]}
        row |= {side: int((told == side).sum()) for side in (ABOVE, BELOW, UNCLEAR)}
        row |= {q: math.nan if flat else own["effect"].quantile(p) for q, p in QUANTILES.items()}
        row["linked_share"] = _linked(fit)
        if verdicts is not None and context is not None:
            one = verdicts.loc[fit["cohort"]]
            row["shift"] = float(context.set_index("cohort").loc[fit["cohort"], "shift"])
            row |= {"side": one["side"], "lower": one["lower"], "upper": one["upper"], "by": one["interval"]}
        rows.append(row)
    return pd.DataFrame(rows).set_index("cohort")


def _linked(fit: dict[str, Any]) -> float:
    """The share of students tested who are linked to all that the model needs; nan where it is not known."""
    return fit["n_students"] / fit["n_tested"] if fit.get("n_tested") else math.nan


def _opening(told: dict[str, str]) -> str:
    today = datetime.date.today()
    against = (
        f"what was typical in {_few_years(told['baseline'])}" if told.get("baseline") else "the others of its year"
    )
    return (
        f"How far did students come at each school, compared with students elsewhere who had the same earlier scores? "
        f"This difference is the school's *value added*, here against {against}, in score points. Records: "
        f"{escape(readable(told['records'], 80))}. **Made on** {today.day} {today:%B %Y}."
    )


def _system(context: pd.DataFrame | None, by_cohort: pd.DataFrame, told: dict[str, str], level: float) -> str:
    """The shift of the last cohort by the verdict, and what is not known of it."""
    if context is None:
        return ABSORBED if told["model"] == "benchmark" else RELATIVE
    row, cohort = by_cohort.iloc[-1], int(by_cohort.index[-1])
    digits = _digits(by_cohort)
    estimate = Estimate(float(row["shift"]), float(row["lower"]), float(row["upper"]))
    figures = (
        f"{words.points(estimate, digits)} score points, {words.percent(level)} interval from "
        f"{words.interval(estimate, digits)}{words.BY.get(row['by'], '')}"
    )
    typical = f"what was typical in {_few_years(told['baseline'])}"
    said = {
        UNCLEAR: f"The average school of {cohort} is **not told apart** from {typical} ({figures}), which is not evidence "
        "that nothing changed.",
        "": f"For {cohort} no shift of the average school can be told.",
    }.get(row["side"], f"The average school of {cohort} lies **{row['side']}** {typical} ({figures}).")
    own = context.set_index("cohort").loc[cohort]
    unknown = [NOT_KNOWN["equating_se"]] if pd.isna(own["equating_se"]) else []
    unknown += [NOT_KNOWN["year"]] if pd.isna(own["year_lower"]) else []
    text = f"{said} **Not known:** {'; '.join(unknown)}." if unknown else said
    part = Estimate(float(own["prior_part"]), math.nan, math.nan)
    if math.isfinite(part.value):
        text += (
            f" A change of the earlier test alone could have made {words.points(part, digits)} points of it, if its mean "
            "changed for no other reason."
        )
    return text


def _spread(last: pd.Series, fit: dict[str, Any]) -> str:
    """How far the schools of the last cohort lie apart."""
    cohort = last.name
    if last["singular"]:
        return f"In {cohort} {words.SINGULAR}."
    if not last["shown"]:
        return ""
    digits = digits_for(last["student_sd"])
    half, most = (_interval(last[a], last[b], digits) for a, b in (("q25", "q75"), ("q05", "q95")))
    return (
        f"In {cohort} the middle half of the {last['shown']:,} schools shown have a value added from {half} points, nine "
        f"in ten from {most}. Of the differences between students that the model leaves, "
        f"{words.percent(round(float(fit['vpc']), 2))} lie between schools."
    )


def _standing_out(last: pd.Series, told: dict[str, str], level: float) -> str:
    """How many schools are above and below in the last cohort, and how many would be by chance."""
    cohort, least = last.name, told["min_students"]
    if not last["shown"]:
        return NO_SCHOOL.format(cohort=cohort, least=least)
    if last["singular"]:
        return ""
    held = last["schools"] - last["shown"]
    text = (
        f"By its whole {words.percent(level)} interval, {plural(last[ABOVE], 'school')} of {last['shown']:,} "
        f"{'is' if last[ABOVE] == 1 else 'are'} above and {last[BELOW]:,} below the yardstick; {last[UNCLEAR]:,} cannot be "
        f"told apart from it. {words.by_chance(level, 1)}."
    ).replace("..", ".")
    if held:
        be = "is" if held == 1 else "are"
        text += f" {plural(held, 'school')} {be} not shown: fewer than {least} students, or hiding one that has."
    return text


def _named(results: Results, last: pd.Series, percent: str) -> list[dict[str, Any]]:
    """A few schools of the last cohort at either end whose whole interval lies on that side."""
    effects = results.tables["school_effects.csv"]
    own = effects[effects["cohort"] == last.name]
    if last["singular"] or not last[ABOVE] + last[BELOW]:
        return []
    side = sides(own["lower"], own["upper"])
    digits = digits_for(last["student_sd"])
    high = own[side == ABOVE].sort_values(["effect", "school"], ascending=[False, True]).head(MOST_NAMED)
    low = own[side == BELOW].sort_values(["effect", "school"]).head(MOST_NAMED)
    rows = []
    for row in [*high.to_dict("records"), *low.to_dict("records")[::-1]]:
        estimate = Estimate(row["effect"], row["lower"], row["upper"])
        name = str(row["school"]) + (f", {row['school_name']}" if row.get("school_name") else "")
        students = as_text(int(row["n"]))
        figures = [words.points(estimate, digits), words.interval(estimate, digits)]
        rows.append([readable(name, LONGEST_NAME), students, *figures, str(sides(row["lower"], row["upper"]))])
    caption = (
        f"Schools of {last.name} at the ends among those told apart, at most {MOST_NAMED} at each. Where intervals overlap, "
        "their order says little."
    )
    return [_table(caption, ["School", "Students", "Value added", f"{percent} interval", "Side"], rows)]


def _cohort_rows(by_cohort: pd.DataFrame, shifted: bool, percent: str) -> tuple[list[str], list[list[str]]]:
    """Heads and one row a cohort, the last ones of many."""
    linked = by_cohort["linked_share"].notna().any()
    heads = ["Year", "Students", "Schools", "Not shown", *["Linked"] * bool(linked), "Above", "Below", "Not told apart"]
    heads += ["Shift", f"{percent} interval", "Shift is"] if shifted else []
    rows = []
    for cohort, row in by_cohort.tail(MOST_YEARS).iterrows():
        told = [str(cohort), as_text(int(row["students"])), as_text(int(row["schools"]))]
        told.append(as_text(int(row["schools"] - row["shown"])))
        if linked:
            told.append("\N{EN DASH}" if pd.isna(row["linked_share"]) else words.percent(round(row["linked_share"], 2)))
        none = row["singular"] or not row["shown"]
        told += ["\N{EN DASH}" if none else as_text(int(row[side])) for side in (ABOVE, BELOW, UNCLEAR)]
        if shifted:
            digits = _digits(by_cohort)
            estimate = Estimate(row["shift"], row["lower"], row["upper"])
            told += [words.points(estimate, digits), words.interval(estimate, digits), row["side"] or "\N{EN DASH}"]
        rows.append(told)
    return heads, rows


def _made(told: dict[str, str], fit: dict[str, Any]) -> str:
    """The model and its settings in short."""
    formula = code(readable(fit["formula"], LONGEST_TERM))
    parts = [f"{fit['method']}, {told['intervals']} intervals"]
    if told.get("baseline"):
        equating = f"standard error of equating {told['equating_se']}"
        parts.append(f"baseline coefficients {told['estimator']}, shift {told['shift']}, {equating}")
    parts.append(f"smallest school shown {told['min_students']} students; {told['digits']}; valib {told['valib']}")
    return f"Model {formula}, random intercept for schools, {escape('; '.join(parts))}."


def _digits(by_cohort: pd.DataFrame) -> int:
    return digits_for(by_cohort["student_sd"])


def _interval(low: float, high: float, digits: int) -> str:
    return words.interval(Estimate(low, low, high), digits)


def _few_years(text: str) -> str:
    """Cohorts as they stand in about.csv, in words; of many the first and the last."""
    years = text.split(", ")
    return (
        in_words(years)
        if len(years) <= MOST_BASELINE
        else f"{plural(len(years), 'year')} from {years[0]} to {years[-1]}"
    )


def _heading(text: str) -> dict[str, Any]:
    return {"kind": "heading", "text": text}


def _text(text: str) -> dict[str, Any] | None:
    return {"kind": "text", "text": spans(text)} if text else None


def _table(caption: str, columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"kind": "table", "caption": caption, "columns": columns, "rows": rows}
