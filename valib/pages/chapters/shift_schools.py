"""The numbers of the chapter on the shift that are about schools: one school as the reference, and how schools changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...effects.baseline import Benchmark
from ...effects.joint import JointFit
from ...effects.relative import CohortFit
from ...effects.verdict import ABOVE, BELOW, UNCLEAR, sides
from ...records import disclosure
from .. import prose
from ..findings import Findings, check, formats
from ..prose import as_text, escape


def against(fits: Sequence[CohortFit], against: Mapping[str, pd.DataFrame], min_students: int) -> Findings:
    """Value added less that of one school in the last baseline cohort.

    against: tables of :func:`valib.relative_to_school` by reference, the one with the most students first.
    """
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    found = Findings().say(
        "No school can be shown in both cohorts, so neither can this form of value added.", when=not against
    )
    reference = next(iter(against), None)
    if reference is None:
        return found
    one, plain = against[reference], fits[-1].school_effects
    ordered = disclosure.only_shown(plain, min_students).sort_values("effect").index
    rows = list(dict.fromkeys([*ordered[np.linspace(0, len(ordered) - 1, 5).round().astype(int)], reference]))
    shown = pd.DataFrame(
        {
            "School": [f"{r} (the reference)" if r == reference else r for r in rows],
            "Benchmark VA": plain.loc[rows, "effect"].array,
            "SE": plain.loc[rows, "se_comparative"].array,
            "Less the reference": one.loc[rows, "effect"].array,
            "SE ": one.loc[rows, "se"].array,
            "Lower": one.loc[rows, "lower"].array,
            "Upper": one.loc[rows, "upper"].array,
        }
    )
    saved = disclosure.only_shown(one, min_students).assign(reference=reference)
    found.save(saved.reset_index(), "relative_to_school.csv")
    return found.table(
        shown,
        "Benchmark value added of some schools in cohort {glue:text}`last_cohort` (the lowest, the quartiles, the "
        "highest, and the reference), and the same less school {glue:text}`reference` in cohort "
        "{glue:text}`before_cohort`, with {glue:text}`level` limits (score points).",
        "tab-06-school",
        index=False,
        formats=dict.fromkeys(["Benchmark VA", "Less the reference", "Lower", "Upper"], S) | {"SE": E, "SE ": E},
    )


def reference(
    fits: Sequence[CohortFit],
    benchmark: Benchmark,
    parts: pd.DataFrame,
    against: Mapping[str, pd.DataFrame],
    shared: pd.Series,
) -> Findings:
    """The reference in numbers, and the error that it brings; shared: students of the references, as in against."""
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    found = Findings()
    if not against:
        return found
    name, one = next(iter(against.items()))
    plain, n = fits[-1].school_effects, int(shared.iloc[0])
    school_se = float((benchmark.tau2 * benchmark.sigma2 / (n * benchmark.tau2 + benchmark.sigma2)) ** 0.5)
    found.record_all(
        ("reference", prose.name(name), None),
        ("school_n", n, None),
        ("school_se", school_se, E),
        ("coefficients_se", float(parts["se_coefficients"].iloc[-1]), E),
        ("school_effect", float((plain["effect"] - one["effect"]).iloc[0]), S),
        ("median_plain", float(plain["se_comparative"].median()), E),
        ("median_against", float(one["se"].median()), E),
    )
    check(np.ptp(plain["effect"] - one["effect"]) < 1e-9 * fits[-1].student_sd, "one number is taken from every school")
    return found.say(
        "{numref}`tab-06-school` shows some schools. The same number, {glue:text}`school_effect`, is taken from the value of "
        "every school. It is the predicted effect "
        "of school {glue:text}`reference` in cohort {glue:text}`before_cohort` ({glue:text}`school_n` students). The "
        "order of schools is therefore that of benchmark value added, and only the zero has moved. The reference school "
        "adds an error of {glue:text}`school_se` points to the place of the zero, while the coefficients contribute "
        "{glue:text}`coefficients_se` to the error of the shift. The median standard error of a school goes from "
        "{glue:text}`median_plain` to {glue:text}`median_against`. All schools share the error of the reference, as they "
        "share that of the coefficients, so averaging over schools does not remove it."
        + (
            " This is the reference with the most students; a smaller one has a larger error."
            if len(shared) > 1 and benchmark.tau2 > 0
            else ""
        )
    )


def choice_of_reference(
    fits: Sequence[CohortFit], benchmark: Benchmark, against: Mapping[str, pd.DataFrame]
) -> Findings:
    """What the choice of the reference does to the mean over schools."""
    S = formats(*(f.student_sd for f in fits)).signed
    found = Findings()
    if not against:
        return found
    one, plain = next(iter(against.values())), fits[-1].school_effects
    means = pd.Series({k: t["effect"].mean() for k, t in against.items()})
    found.record("mean_least", float(means.min()), S)
    found.record("mean_most", float(means.max()), S)
    found.say(
        f"The choice of the reference matters too. With each of the {len(means)} largest eligible schools in turn, the mean "
        "over schools in cohort {glue:text}`last_cohort` runs from {glue:text}`mean_least` to {glue:text}`mean_most`. One "
        "school is a poor yardstick for a system, because its effect in one cohort is its own and is known with error.",
        when=len(means) > 1 and benchmark.tau2 > 0,
    )
    found.say(
        "In these records the choice of the reference makes no difference, since the baseline model finds none "
        "between schools.",
        when=len(means) > 1 and benchmark.tau2 == 0,
    )
    return found.say(
        "The formulation works, but the typical school of the baseline does the same service "
        + ("with less error, and " if plain["se_comparative"].median() < one["se"].median() else "")
        + "without making one school the measure of all the others."
    )


def no_changes(joint: JointFit | None, why: Exception | None, changed: bool) -> Findings:
    """Why the changes of schools are not shown, or by which structure they are had."""
    found = Findings().say(
        "The joint model of these cohorts cannot be had"
        + (
            f". {escape(why)}"
            if why
            else ": the estimated covariance of school effects over cohorts is on the boundary of what a "
            "covariance can be, with a correlation of one or a variance of zero, under both structures that were tried."
        )
        + " The changes of schools are not shown: their errors would not be known.",
        when=joint is None,
    )
    found.say(
        "No school has students in both cohorts, so there are no changes to show.",
        when=joint is not None and not changed,
    )
    return found.say(
        "The covariance matrix with a parameter for each pair of cohorts is not of full rank on these records, so one "
        "with a single variance and a single correlation is used (compound symmetry).",
        when=changed and joint.covariance != "unstructured",
    )


def changes(
    fits: Sequence[CohortFit], joint: JointFit | None, changes: Mapping[tuple[int, int], pd.DataFrame], changed: bool
) -> Findings:
    """Changes of schools between pairs of cohorts: correlation, errors, and how many are clear."""
    if not changed:
        return Findings()
    E = formats(*(f.student_sd for f in fits)).fine
    table = pd.DataFrame(
        [
            {
                "Cohorts": f"{a} to {b}",
                "Schools": len(c),
                "Correlation": joint.correlation.loc[a, b],
                "SE": c["se"].median(),
                "SE if independent": c["se_independent"].median(),
                "Up": (c["lower"] > 0).mean(),
                "Down": (c["upper"] < 0).mean(),
            }
            for (a, b), c in changes.items()
            if len(c)
        ]
    )
    found = Findings().table(
        table,
        "Change of schools' relative value added between two cohorts: estimated correlation of their effects, median "
        "standard error of a change from the joint model and if the cohorts were independent (score points), and "
        "share of schools whose {glue:text}`level` interval lies wholly above or below zero.",
        "tab-06-change",
        index=False,
        formats={"Correlation": ".2f", "SE": E, "SE if independent": E, "Up": ".0%", "Down": ".0%"},
    )
    return found.say(
        "{numref}`tab-06-change` sets the standard error of a change beside the one that would hold if the two cohorts were "
        "independent. The two differ as far as effects last."
    )


def cross_verdicts(frame: pd.DataFrame, fixed: pd.DataFrame) -> pd.DataFrame:
    """Schools by where their interval lies, -1 below zero, 0 across it, 1 above: rows of frame, columns of fixed."""
    code = {BELOW: -1, UNCLEAR: 0, ABOVE: 1, "": 0}
    told = [pd.Series([code[s] for s in sides(t["lower"], t["upper"])], index=t.index) for t in (frame, fixed)]
    return pd.crosstab(*told).reindex(index=[-1, 0, 1], columns=[-1, 0, 1], fill_value=0)


def verdicts(frame: pd.DataFrame, fixed: pd.DataFrame | None) -> Findings:
    """Schools by what is said of their change: among contemporaries (frame), and on the benchmark's scale (fixed).

    fixed is None without changes to show.
    """
    found = Findings()
    if fixed is None:
        found.record("change_answer", "not shown for these records")
        return found
    cross, names = cross_verdicts(frame, fixed), ["down", "not clear", "up"]
    shown = (
        cross.set_axis([f"fixed scale: {w}" for w in names], axis=1).set_axis(names).rename_axis("Among contemporaries")
    )
    found.table(
        shown,
        "Schools by what their {glue:text}`level` interval says of their change from cohort "
        "{glue:text}`before_cohort` to cohort {glue:text}`last_cohort`: rows, relative value added; columns, on the "
        "benchmark's scale.",
        "tab-06-flips",
    )
    flips = int(cross.to_numpy().sum() - np.trace(cross.to_numpy()))
    return found.record("change_answer", f"there the conclusion differs for {flips} of {len(fixed)} schools")


def verdicts_in_words(
    fits: Sequence[CohortFit], frame: pd.DataFrame, fixed: pd.DataFrame | None, system: Mapping[str, float] | None
) -> Findings:
    """The same in words, with the change of the system itself."""
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    found = Findings()
    if fixed is None:
        return found
    cross = cross_verdicts(frame, fixed)
    flips = int(cross.to_numpy().sum() - np.trace(cross.to_numpy()))
    found.record_all(
        ("system", system["change"], S),
        ("system_se", system["se"], E),
        ("flips", flips, None),
        ("system_naive", system["se_independent"], E),
        ("change_schools", len(fixed), None),
        ("up_relative", float((frame["lower"] > 0).mean()), ".0%"),
        ("down_relative", float((frame["upper"] < 0).mean()), ".0%"),
        ("up_fixed", float((fixed["lower"] > 0).mean()), ".0%"),
        ("down_fixed", float((fixed["upper"] < 0).mean()), ".0%"),
    )
    found.say(
        "From cohort {glue:text}`before_cohort` to cohort {glue:text}`last_cohort` the system changed by "
        "{glue:text}`system` points for a student at the baseline means, with a standard error of "
        "{glue:text}`system_se` (it would be {glue:text}`system_naive` without the covariance of the two cohorts' "
        "coefficients, which schools that last produce). Among their contemporaries {glue:text}`up_relative` of the "
        "{glue:text}`change_schools` schools went up by more than their interval allows for and "
        "{glue:text}`down_relative` went down; on the fixed scale it is {glue:text}`up_fixed` and "
        "{glue:text}`down_fixed`. The conclusion differs for {glue:text}`flips` schools ({numref}`tab-06-flips`)."
    )
    both = int(cross.loc[1, -1] + cross.loc[-1, 1])
    return found.say(
        "For none of them does it turn into its opposite."
        if both == 0
        else f"For {both} of them it turns into its opposite.",
        when=flips > 0,
    )


def school_answer(fits: Sequence[CohortFit], against: Mapping[str, pd.DataFrame]) -> Findings:
    """The answer on the form against one school."""
    E, plain = formats(*(f.student_sd for f in fits)).fine, fits[-1].school_effects
    one = next(iter(against.values()), None)
    return Findings().record(
        "school_answer",
        "the median standard error of a school goes from {} to {}".format(
            as_text(float(plain["se_comparative"].median()), E), as_text(float(one["se"].median()), E)
        )
        if against
        else "not shown for these records",
    )
