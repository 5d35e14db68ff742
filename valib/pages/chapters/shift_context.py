"""The shift of the system beside all that is not known of it: errors, ordinary years, prior test, scale; in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.relative import CohortFit
from ...effects.verdict import SCHOOLS, UNCLEAR, YEAR, Verdict, shift_verdicts, verdict
from ...models.blup import quantile
from ..findings import Findings, check, formats
from ..prose import as_text


def told(v: Verdict, name: str = "zero") -> str:
    """A verdict as the end of a sentence: "above zero, by the interval over schools"."""
    by = {SCHOOLS: "the interval over schools", YEAR: "the interval of a further ordinary year"}.get(v.interval, "")
    return f"{v.side} from {name}, by {by}" if v.side == UNCLEAR else f"{v.side} {name}, by {by}"


def parts(fits: Sequence[CohortFit], parts: pd.DataFrame) -> Findings:
    """The shift of each cohort with its error, and the parts of the cautious one."""
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    check(
        np.allclose((parts[["se_schools", "se_coefficients", "se_scale"]] ** 2).sum(axis=1), parts["se_cautious"] ** 2),
        "the squares of the parts add up",
    )
    columns_shown = {
        "cohort": "Cohort",
        "shift": "Shift",
        "se": "SE",
        "se_students": "SE, students only",
        "se_cautious": "Cautious SE",
        "se_schools": "of schools",
        "se_coefficients": "of coefficients",
        "se_scale": "of the scale",
    }
    known = [f.equating_se is not None or s > 0 for f, s in zip(fits, parts["se_scale"], strict=True)]
    parts = parts.assign(se_scale=parts["se_scale"].where(known))
    found = Findings().table(
        parts[list(columns_shown)].rename(columns=columns_shown),
        "System shift of each focal cohort and its standard error (score points). Students only: for these very "
        "schools. The cautious error takes the schools of the baseline and of the cohort as different ones; the "
        "squares of its parts, in the last columns, add up to its square." + _without(fits),
        "tab-06-parts",
        index=False,
        formats={"Shift": S} | dict.fromkeys(list(columns_shown.values())[2:], E),
    )
    found.say(
        "The file of this benchmark does not carry what each school adds to its coefficients, so the errors of this "
        "chapter are the cautious ones.",
        when=(parts["error"] == "cautious").any(),
    )
    return found.save(parts, "shift_parts.csv")


def last_shift(fits: Sequence[CohortFit], parts: pd.DataFrame, context: pd.DataFrame) -> Findings:
    """The last shift in numbers; context: the table of :func:`valib.shift_in_context`."""
    P, S, E, _ = formats(*(f.student_sd for f in fits))
    found, row = Findings(), parts.iloc[-1]
    found.record_all(
        ("last_shift", row["shift"], S),
        ("last_se", row["se"], E),
        ("last_students_se", row["se_students"], E),
        ("last_cautious_se", row["se_cautious"], E),
        ("last_lower", row["lower"], S),
        ("last_upper", row["upper"], S),
        ("last_share", row["share_coefficients"], ".0%"),
        ("last_abs", abs(row["shift"]), P),
    )
    found.record("last_verdict", told(Verdict(*shift_verdicts(context).iloc[-1])))
    return found


def which_is_wider(context: pd.DataFrame) -> str:
    """Which of its two intervals decides on each focal shift, and why that of a year can be the narrower one."""
    focal = context[context["role"] == "focal"]
    if focal["year_lower"].isna().all():
        return "From one baseline cohort only the interval over schools is known, and it decides."
    year, schools = focal["year_upper"] - focal["year_lower"], focal["upper"] - focal["lower"]
    narrow = [int(c) for c in focal.index[year < schools]]
    if not narrow:
        every = "In every cohort of this copy" if len(focal) > 1 else "In this copy"
        return f"{every} the interval of a further ordinary year is wider than that over schools, and decides."
    B = int((context["role"] == "baseline").sum())
    where = "cohort" if len(narrow) == 1 else "cohorts"
    return (
        f"In {where} {as_text(narrow)} the interval of a further ordinary year is narrower than that over schools: the own "
        f"shifts of the {B} baseline cohorts lie closer together than samples of schools as a rule do, which {B} values can "
        "do by chance. That does not make the shift surer than its schools do: the verdict goes by the wider interval, "
        "there that over schools."
    )


def ordinary(fits: Sequence[CohortFit], context: pd.DataFrame) -> Findings:
    """The baseline cohorts' own shifts, and what they say of ordinary years."""
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    own = context[context["role"] == "baseline"].reset_index()
    B, found = len(own), Findings()
    found.say(
        "The baseline is one cohort, so these records say nothing about how ordinary years differ. Every interval of a shift "
        "is that over schools alone, and a verdict by it says nothing about the year.",
        when=B == 1,
    )
    if B == 1:
        return found
    found.table(
        own[["cohort", "own_shift", "se", "leave_one_out"]].set_axis(
            ["Cohort", "Own shift", "SE", "Against the others"], axis=1
        ),
        "The shift of each baseline cohort against the whole baseline, with its standard error over schools, and against "
        "a benchmark of the other baseline cohorts (score points).",
        "tab-06-ordinary",
        index=False,
        formats={"Own shift": S, "SE": E, "Against the others": S},
    )
    found.record_all(("n_baseline", B, None), ("wobble", float(context["wobble_sd"].iloc[-1]), E))
    found.say(
        "{numref}`tab-06-ordinary` sets each baseline cohort against the whole baseline. These own shifts of the "
        "{glue:text}`n_baseline` baseline cohorts have a standard deviation of {glue:text}`wobble` points"
        + (
            ". Two years hardly determine a standard deviation, so the interval made of it is a caution and no more."
            if B == 2
            else ". Part of it is sampling, and part comes from the years themselves."
        )
    )
    return found


def context(fits: Sequence[CohortFit], context: pd.DataFrame) -> Findings:
    """Every focal shift beside what is not known of it."""
    _, S, E, D = formats(*(f.student_sd for f in fits))
    found, focal, verdicts = Findings(), context[context["role"] == "focal"], shift_verdicts(context)
    shown = pd.DataFrame(
        {
            "Cohort": focal.index,
            "Shift": focal["shift"].array,
            "Lower": verdicts["lower"].array,
            "Upper": verdicts["upper"].array,
            "Widest known interval": verdicts["interval"].array,
            "Verdict": verdicts["side"].array,
            "Break-even wobble": focal["break_even"].array,
            "If the prior test alone": focal["prior_part"].array,
        }
    )
    found.table(
        shown,
        "The shifts in context (score points): limits and verdict of the widest interval that is known, the standard "
        "deviation of ordinary years at which the shift could no longer be told apart, and what the change of the mean "
        "prior score would add to the shift if all of it were the prior test's." + _without(fits),
        "tab-06-context",
        index=False,
        formats={"Shift": S, "Lower": S, "Upper": S, "Break-even wobble": E, "If the prior test alone": D},
    )
    found.say(which_is_wider(context))
    found.save(context.reset_index(), "shift_in_context.csv")
    large = [f.cohort for f, part in zip(fits, focal["prior_part"], strict=True) if abs(part) > f.shift_se]
    found.say(
        f"In {'cohort' if len(large) == 1 else 'cohorts'} {as_text(large)} the part that the prior test alone would make is "
        "larger than the standard error of the shift. There the prior test, its sitting and the intake have to be looked "
        "at before the shift is published.",
        when=large,
    )
    return found


def _without(fits: Sequence[CohortFit]) -> str:
    """What a caption says of equating."""
    return " Without equating error, which is not known." if any(f.equating_se is None for f in fits) else ""


def scale(equating_se: float | None) -> Findings:
    """What the part of the scale is in this copy."""
    found = Findings().say(
        "Every error of this chapter is without equating error. The parameters of this copy give none. This means that it is "
        "not known, not that there is none, because no student record holds evidence of it. "
        "{numref}`tab-04-equating` shows what errors of 2% and 5% of the students' standard deviation would do.",
        when=equating_se is None,
    )
    found.say(
        "The parameters of this copy say that equating has no error. That is an assumption, not a finding: no student "
        "record holds evidence of it.",
        when=equating_se == 0,
    )
    return found.say(
        "The part of the scale is the equating error of {glue:text}`equating_se` points in the parameters of this "
        "copy.",
        when=bool(equating_se),
    )


def differences(fits: Sequence[CohortFit], differences: pd.DataFrame, context: pd.DataFrame) -> Findings:
    """Differences between the shifts of successive focal cohorts, and the last of them in words.

    context: the table of :func:`valib.shift_in_context`; two ordinary years differ by t s_B sqrt 2.
    """
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    found = Findings()
    if len(fits) == 1:
        found.say("These records have one focal cohort, so there is no second shift to compare it with.")
        return found
    steps = [(a.cohort, b.cohort) for a, b in zip(fits[:-1], fits[1:], strict=True)]
    shown = differences.set_index(["first", "second"]).loc[steps].reset_index()
    shown.insert(0, "Cohorts", [f"{a} to {b}" for a, b in steps])
    B, wobble = int((context["role"] == "baseline").sum()), float(context["wobble_sd"].iloc[-1])
    half = quantile(fits[0].level, B - 1) * wobble * 2**0.5 if B > 1 else float("nan")
    shown = shown.assign(year_lower=shown["difference"] - half, year_upper=shown["difference"] + half)
    names = {
        "Cohorts": "Cohorts",
        "difference": "Difference",
        "se": "SE",
        "lower": "Lower",
        "upper": "Upper",
        **({"year_lower": "Two ordinary years: from", "year_upper": "to"} if B > 1 else {}),
        "se_independent": "SE if nothing were shared",
    }
    shown = shown[list(names)].rename(columns=names)
    found.table(
        shown,
        "Differences between the shifts of successive focal cohorts, with {glue:text}`level` limits (score points)."
        + _without(fits),
        "tab-06-differences",
        index=False,
        formats={c: E if c.startswith("SE") else S for c in shown.columns[1:]},
    )
    _last_difference(found, shown.iloc[-1], steps[-1], half, (S, E))
    return found


def _last_difference(
    found: Findings, step: pd.Series, cohorts: tuple[int, int], half: float, formats: tuple[str, str]
) -> None:
    """The last difference in words; half: half the width of the interval of two ordinary years, nan if not known."""
    S, E = formats
    limits = {SCHOOLS: (step["Lower"], step["Upper"]), YEAR: (step["Difference"] - half, step["Difference"] + half)}
    v = verdict(limits)
    found.record_all(
        ("step", step["Difference"], S),
        ("step_se", step["SE"], E),
        ("step_lower", v.lower, S),
        ("step_upper", v.upper, S),
        ("step_naive", step.iloc[-1], E),
    )
    by = "schools" if v.interval == SCHOOLS else "two ordinary years"
    found.say(
        f"From cohort {cohorts[0]} to cohort {cohorts[1]} ({{numref}}`tab-06-differences`) the shift changed by "
        "{glue:text}`step` points, with a standard error of {glue:text}`step_se`; two shifts that shared nothing would "
        f"give {{glue:text}}`step_naive`. By the widest interval that is known, that of {by}, from "
        "{glue:text}`step_lower` to {glue:text}`step_upper`, the difference is "
        + (f"{v.side} from zero." if v.side == UNCLEAR else f"{v.side} zero.")
    )
