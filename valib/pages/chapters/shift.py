"""The numbers of the chapter on what a shift of the system is made of, and what else could have made it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.baseline import Benchmark
from ...effects.benchmark import fit_benchmark
from ...effects.findings import REPEATED_SHARE
from ...effects.relative import CohortFit
from ...effects.shift_profile import prior_sensitivity, shift_at
from ...models.blup import interval, quantile
from ...records.prior_check import PriorCheck
from ...sums.equating import Link, ScaleBreak
from .. import figures
from ..figures.style import percent
from ..findings import Findings, check, formats
from ..prose import as_text, direction


def _turned(relative: CohortFit, benchmark: Benchmark) -> pd.Series:
    """The slope of the prior score less the benchmark's, as the shift of a row with the prior alone: shift, se, limits."""
    return shift_at(relative, benchmark, (benchmark.coefficients.index == "prior_score").astype(float)).iloc[0]


def repeated(records: pd.DataFrame, cohorts: Sequence[int]) -> Findings:
    """A first warning where most student codes stand in several cohorts."""
    codes = records[records["cohort"].isin(cohorts)].groupby("student")["cohort"].nunique()
    return Findings().say(
        "In these records most student codes occur in more than one cohort: if they are the same students, what "
        "follows is about growth from one stage to the next, and {ref}`not about improvement <sec-06-pupils>`.",
        when=(codes > 1).mean() > 0.5,
    )


def study_names(
    baseline: Sequence[int], focal: Sequence[int], level: float, min_students: int, equating_se: float | None
) -> Findings:
    """Cohorts, level and parameters as the prose names them."""
    found = Findings()
    for key, cohorts in [("baseline_cohorts", baseline), ("focal_cohorts", focal)]:
        found.record(key, cohorts)
    found.record("last_cohort", focal[-1], "d")
    found.record("before_cohort", baseline[-1], "d")
    found.record("level", percent(level))
    found.record("min_students", min_students)
    return found.record("equating_se", "not known" if equating_se is None else float(equating_se), "g")


def positive(relative: Sequence[CohortFit], positive: pd.DataFrame) -> Findings:
    """Shares of schools above zero, relative and against the benchmark."""
    check(
        all(abs(f.school_effects["effect"].mean()) < 1e-6 * f.student_sd for f in relative),
        "relative value added has mean zero in every cohort",
    )
    found = Findings().table(
        positive,
        "Share of schools above zero, relative to their own cohort and against the benchmark, and share of "
        "schools whose {glue:text}`level` interval of benchmark value added lies wholly above or below zero.",
        "tab-06-positive",
        formats=".0%",
        index=False,
    )
    for key, column in [
        ("share_relative", 2),
        ("share_benchmark", 3),
        ("share_clear_above", 4),
        ("share_clear_below", 5),
    ]:
        found.record(key, float(positive.iloc[-1, column]), ".0%")
    return found


def splits(
    relative: Sequence[CohortFit], benchmark: Benchmark, parts: pd.DataFrame, splits: pd.DataFrame, level: float
) -> Findings:
    """The shift parted into level and slope."""
    E = formats(*(f.student_sd for f in relative)).fine
    found = Findings().figure("split", figures.shift_split(splits.reset_index(), level=level))
    totals = splits.xs("total", level="part")["shift"].to_numpy()
    found.record("split_gap", float(np.abs(totals - parts["shift"]).max()), E)
    check(np.allclose(splits["shift"].unstack()[["level", "slope"]].sum(axis=1), totals), "level and slope add up")
    return found


def centres(fits: Sequence[CohortFit], parted: Sequence[np.ndarray]) -> Findings:
    """Level and slope about two centres; parted: the two parts, an entry a centre."""
    S = formats(*(f.student_sd for f in fits)).signed
    centres = pd.DataFrame(
        {
            "Centre": ["baseline means", "all covariates zero"][: len(parted[0])],
            "Level": parted[0],
            "Slope": parted[1],
            "Total": parted[0] + parted[1],
        }
    )
    check(np.ptp(centres["Total"]) < 1e-6 * fits[-1].student_sd, "the total does not depend on the centre")
    return Findings().table(
        centres,
        "Level and slope part of the shift of cohort {glue:text}`last_cohort` about two centres (score points).",
        "tab-06-centres",
        formats={"Level": S, "Slope": S, "Total": S},
        index=False,
    )


def curve(
    relative: Sequence[CohortFit], benchmark: Benchmark, curve: pd.DataFrame | None, prior: pd.Series, level: float
) -> Findings:
    """The shift at each prior score, with the density of the prior scores; nothing without a curve."""
    P, S, _, _ = formats(*(f.student_sd for f in relative))
    if curve is None:
        return Findings()
    grid = curve["prior"].to_numpy()
    low, high, density = grid[0], grid[-1], stats.gaussian_kde(prior)(grid)
    at = min(max(float(benchmark.column_means["prior_score"]), low), high)
    found = Findings().figure(
        "curve",
        figures.shift_over_prior(
            curve["prior"],
            curve["shift"],
            curve["lower"],
            curve["upper"],
            density,
            level=level,
            at=at if at == benchmark.column_means["prior_score"] else None,
        ),
    )
    turned = _turned(relative[-1], benchmark)
    return found.record_all(
        ("turned", turned["shift"], "+.3f"),
        ("turned_se", turned["se"], ".3f"),
        ("low_prior", low, P),
        ("high_prior", high, P),
        ("shift_low", curve["shift"].iloc[0], S),
        ("shift_high", curve["shift"].iloc[-1], S),
    )


def curve_in_words(
    relative: Sequence[CohortFit], benchmark: Benchmark, curve: pd.DataFrame | None, level: float
) -> Findings:
    """Whether the shift depends on the prior score by more than chance."""
    if curve is None:
        return Findings()
    found = Findings().say(
        "```{glue:figure} curve\n:name: fig-06-prior\n:alt: The shift of the last focal cohort as a line over the "
        "prior score, with a band, above the density of the prior scores.\n\nThe shift of cohort "
        "{glue:text}`last_cohort` for students with each prior score, over the range that holds all but the outer\n2% "
        "at either end; other covariates at their baseline means. Below: the density of the prior scores.\n```"
    )
    turned = _turned(relative[-1], benchmark)
    lower, upper = interval(turned["shift"], turned["se"], level, relative[-1].n_schools - 1)
    clear = lower > 0 or upper < 0
    word = "That is more than chance explains" if clear else "That is within what chance allows"
    return found.say(
        "In {numref}`fig-06-prior` the shift runs from {glue:text}`shift_low` at a prior score of "
        "{glue:text}`low_prior` to {glue:text}`shift_high` at {glue:text}`high_prior`. The slope differs from the "
        "benchmark's by {glue:text}`turned`, with a standard error of {glue:text}`turned_se`. "
        + word
        + ": the shift "
        + (
            "depends on the prior score, and one number for all students leaves something out."
            if clear
            else "may be the same at every prior score."
        )
    )


def intake(fits: Sequence[CohortFit], change: pd.DataFrame) -> Findings:
    """The change of the mean score, and what it is made of."""
    S = formats(*(f.student_sd for f in fits)).signed
    change = change[["cohort", "change", "intake", "shift", "weighting"]]
    check(np.allclose(change[["intake", "shift", "weighting"]].sum(axis=1), change["change"]), "the parts add up")
    found = Findings().table(
        change.set_axis(["Cohort", "Change of the mean score", "Intake", "Shift", "Weighting"], axis=1),
        "Change of the mean score since the baseline, and what it is made of (score points).",
        "tab-06-intake",
        formats=dict.fromkeys(["Change of the mean score", "Intake", "Shift", "Weighting"], S),
        index=False,
    )
    for key in ("change", "intake", "weighting"):
        found.record(f"mean_{key}", float(change[key].iloc[-1]), S)
    return found


def movements(fits: Sequence[CohortFit], change: pd.DataFrame, context: pd.DataFrame, level: float) -> Findings:
    """The figure of the change of the mean score, its parts, and what the prior test alone would make of the shift.

    change: of :func:`valib.mean_change`; context: of :func:`valib.shift_in_context`.
    """
    part = context.loc[context["role"] == "focal", "prior_part"].reindex([f.cohort for f in fits])
    return Findings().figure(
        "movements", figures.mean_change(change.assign(prior_part=part.to_numpy(dtype=float)), level=level)
    )


def easier_prior(
    records: pd.DataFrame, fit: CohortFit, benchmark: Benchmark, breaks: Sequence[ScaleBreak], report: Mapping[str, Any]
) -> Findings:
    """The exercise of a prior test that was two points too easy, by its formula and by a declared break.

    breaks, report: the study's breaks and the options of the fit.
    """
    _, S, E, _ = formats(fit.student_sd)
    found = Findings()
    plain = benchmark.state.formula.replace(" ", "") == "score~prior_score"
    if not plain or any(b.column == "prior_score" for b in breaks):
        found.record("easier_answer", "The formula or the breaks of this copy add further terms to the first form.")
        return found
    easier = ScaleBreak(fit.cohort, "prior_score", Link(intercept=-2.0, intercept_se=1.0))
    with warnings.catch_warnings(action="ignore"):  # the chapter has said what there is to say of this cohort
        again = fit_benchmark(records, fit.cohort, benchmark, **report, scale_breaks=[*breaks, easier])
    by_hand = fit.shift + 2 * float(benchmark.coefficients["prior_score"])
    check(abs(again.shift - by_hand) < 1e-6 * fit.student_sd, "a link of the prior moves the shift by its slope")
    return found.record(
        "easier_answer",
        f"For these records both give a shift of {as_text(by_hand, S)} points, and the second gives it a standard error of "
        f"{as_text(again.shift_se, E)}.",
    )


def prior(
    fits: Sequence[CohortFit], parts: pd.DataFrame, checks: Sequence[PriorCheck], if_test: pd.DataFrame | None
) -> Findings:
    """What the shifts would contain if the prior test, not the students, had changed; checks is empty without a prior.

    if_test: rows of :func:`valib.prior_sensitivity` for the change of each cohort's prior mean.
    """
    S = formats(*(f.student_sd for f in fits)).signed
    found = Findings()
    if not checks:
        return found
    shown = pd.DataFrame(
        {
            "Cohort": [f.cohort for f in fits],
            "Prior mean less baseline": [c.focal_mean - c.baseline_mean for c in checks],
            "in SD": [c.smd for c in checks],
            "Variance ratio": [c.variance_ratio for c in checks],
            "Adds to the shift": if_test["artefact"].array,
            "Shift": parts["shift"].array,
            "Shift without it": if_test["corrected"].array,
        }
    )
    return found.table(
        shown,
        "The prior score of each focal cohort beside the baseline's, and what the shift would contain *if the whole "
        "change of the prior mean came from the prior test* and none of it from the students (score points).",
        "tab-06-prior",
        index=False,
        formats=dict.fromkeys(["Prior mean less baseline", "Adds to the shift", "Shift", "Shift without it"], S)
        | {"in SD": "+.2f", "Variance ratio": ".2f"},
    )


def prior_in_words(fits: Sequence[CohortFit], benchmark: Benchmark, checks: Sequence[PriorCheck]) -> Findings:
    """How far the last prior test would have to be off to make the whole shift; checks is empty without a prior."""
    P, S, _, D = formats(*(f.student_sd for f in fits))
    found = Findings()
    if not checks:
        found.record("prior_answer", "not worked out for this formula")
        return found
    moved = checks[-1].focal_mean - checks[-1].baseline_mean
    per_point = -float(prior_sensitivity(fits[-1], benchmark, mean_changes=[1.0])["artefact"].iloc[0])
    needed = -fits[-1].shift / per_point
    found.record_all(
        ("needed", abs(needed), P),
        ("needed_sd", abs(needed) / checks[-1].baseline_sd, ".2f"),
        ("prior_moved", moved, D),
        ("per_point", per_point, ".2f"),
        ("true_intake", moved - needed, S),
    )
    found.record("needed_word", direction(needed, "easier", "harder", "different"))
    found.say(
        "{numref}`tab-06-prior` works this out for the change of the prior mean that these records show. A point of the prior "
        "is worth {glue:text}`per_point` points of the shift. To make the whole shift of cohort "
        "{glue:text}`last_cohort`, its prior test would have had to be {glue:text}`needed` points "
        "{glue:text}`needed_word` than that of the baseline, {glue:text}`needed_sd` standard deviations. The prior "
        "mean in fact differs from the baseline's by {glue:text}`prior_moved` points; both could be true only if the "
        "students themselves differed from those of the baseline by {glue:text}`true_intake` points on the baseline's "
        "scale."
    )
    return found.record(
        "prior_answer",
        "the shift vanishes if the last one was {} points {}".format(
            as_text(abs(needed), P), direction(needed, "easier", "harder", "off")
        ),
    )


def demo_prior(is_demo: bool) -> Findings:
    """What to look at in the demo panel."""
    return Findings().say(
        "In the demo panel the 2023 cohort is the example. Its prior test was sat in 2021, a disturbed year, and its prior "
        "mean is the lowest. Either students knew less at that time, or the sitting differed. In the first case the "
        "difference is intake, and the shift stands. In the second case the shift is that of the last column of "
        "{numref}`tab-06-prior`. (The panel is simulated and its truth is on file, but this chapter does not use it, because "
        "with real records there is none to look up.)",
        when=is_demo,
    )


def reliability(
    fits: Sequence[CohortFit], scenarios: Sequence[tuple[float, float]], reliability: pd.DataFrame | None
) -> Findings:
    """What an unreliable prior adds to the last shift, by assumed reliabilities of baseline and focal prior."""
    if reliability is None:
        return Findings()
    P, S, E, D = formats(*(f.student_sd for f in fits))
    shown = pd.DataFrame({"Baseline": [a for a, _ in scenarios], "Focal": [b for _, b in scenarios]}).join(
        reliability[["artefact", "corrected", "low_prior", "high_prior"]]
    )
    shown.columns = ["Baseline", "Focal", "Adds to the shift", "Shift without it", "Low prior", "High prior"]
    found = Findings().table(
        shown,
        "What an unreliable prior adds to the shift of cohort {glue:text}`last_cohort`, and to students one standard "
        "deviation below and above the mean prior score (score points). First columns: assumed reliabilities.",
        "tab-06-reliability",
        index=False,
        formats={"Baseline": ".2f", "Focal": ".2f"}
        | dict.fromkeys(["Adds to the shift", "Low prior", "High prior"], D)
        | {"Shift without it": S},
    )
    check(np.ptp(reliability["artefact"].iloc[:2]) < 1e-9, "the focal reliability does not enter the mean")
    return found.say("{numref}`tab-06-reliability` shows what both terms come to in these records.")


def _hold_links(fit: CohortFit, linked: Sequence[CohortFit], errors: Sequence[tuple[float, float]]) -> None:
    """Hold that identity links leave the shift as it is, and that their errors are added by their squares."""
    sd = fit.student_sd
    check(all(abs(f.shift - fit.shift) < 1e-6 * sd for f in linked), "the identity link leaves the shift as it is")
    level_alone = [(f, at_mean) for f, (at_mean, slope) in zip(linked, errors, strict=True) if slope == 0]
    check(
        all(abs(f.shift_se - np.hypot(fit.shift_se, at_mean)) < 1e-4 * sd for f, at_mean in level_alone),
        "the link's error is added by its square",
    )


def links(fits: Sequence[CohortFit], linked: Sequence[CohortFit], errors: Sequence[tuple[float, float]]) -> Findings:
    """The last shift across a declared break, by the errors of its link (at the mean, of the slope)."""
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    _hold_links(fits[-1], linked, errors)
    known = fits[-1].school_effects["se_comparative"] ** 2
    own = [np.sqrt((f.school_effects["se_comparative"] ** 2 - known).clip(lower=0)) for f in linked]
    shown = pd.DataFrame(
        [
            {
                "Error at the mean": s_c,
                "Error of the slope": s_b,
                "Shift": f.shift,
                "SE": f.shift_se,
                "Lower": f.shift_interval[0],
                "Upper": f.shift_interval[1],
                "In a school, at most": part.max(),
            }
            for f, (s_c, s_b), part in zip(linked, errors, own, strict=True)
        ]
    )
    return Findings().table(
        shown,
        "The shift of cohort {glue:text}`last_cohort` across a declared break with an identity link, by the standard "
        "errors of the link (score points), with {glue:text}`level` limits. Last column: the largest part of a "
        "school's standard error that is the link's.",
        "tab-06-links",
        index=False,
        formats={
            "Error at the mean": E,
            "Error of the slope": ".2f",
            "Shift": S,
            "SE": E,
            "Lower": S,
            "Upper": S,
            "In a school, at most": E,
        },
    )


def link_needed(fits: Sequence[CohortFit], level: float) -> Findings:
    """How large an error of the link would have to be for the shift's interval to reach zero."""
    E, z = formats(*(f.student_sd for f in fits)).fine, quantile(level, fits[-1].shift_df)
    room = (fits[-1].shift / z) ** 2 - fits[-1].shift_se ** 2
    found = Findings().record("link_needed", float(max(room, 0) ** 0.5), E)
    found.say(
        "The shift stays where it is, since the link is the identity; its error grows by the rule of squares, "
        "$\\sqrt{\\mathrm{SE}^2 + s_{\\text{level}}^2}$. An error of the link of {glue:text}`link_needed` points would be "
        "enough for the interval of this shift to reach zero.",
        when=room > 0,
    )
    return found.say(
        "The shift stays where it is, since the link is the identity; its error grows by the rule of squares, "
        "$\\sqrt{\\mathrm{SE}^2 + s_{\\text{level}}^2}$. The interval of this shift includes zero even without such an error.",
        when=room <= 0,
    )


def same_students(again: float) -> Findings:
    """How many student codes stand in several cohorts, and what follows; again is their share."""
    found = Findings().record("again", again, ".0%" if again >= 0.005 or again == 0 else ".1%")
    found.say(
        "No student code of these records occurs in more than one cohort of the study, as it should be.",
        when=again == 0,
    )
    found.say(
        "Of the student codes in these records, {glue:text}`again` occur in more than one cohort. So few may be "
        "students who repeated a year; they do no harm worth counting.",
        when=0 < again <= REPEATED_SHARE,
    )
    return found.say(
        ":::{warning}\nOf the student codes in these records, {glue:text}`again` occur in more than one cohort. If the "
        "codes are merely used again each year, nothing follows. If they are the same students, the errors, which take "
        "cohorts as different students, do not hold, nor does the joint model, whose student residuals are independent "
        "between cohorts. What the shifts mean depends on who comes back. Where one group is followed, they are "
        "differences between its stages and must not be called improvement or decline of the system. Where schools test "
        "several grades each year and students come back a grade higher, one regression is fitted to several grades, and "
        "a shift mixes the years with the grades: make one study for each grade, or give the formula the grade and its "
        "interactions with the prior score.\n:::",
        when=again > REPEATED_SHARE,
    )
