"""The numbers of the chapter on stability that are about the change of single schools."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...effects.joint import JointFit, fit_joint
from ...effects.relative import CohortFit
from ...effects.stability import TwoStep
from .. import figures
from ..findings import Findings, check, formats
from ..prose import as_text, escape


def changes(
    change: pd.DataFrame, named: pd.DataFrame, start: int, second: int, stand_in: bool, level: float, min_students: int
) -> Findings:
    """Who changed, and the table of schools shown for the results."""
    found = Findings().save(
        named.reset_index().assign(cohort=start, other=second), "change_in_va.csv", when=not stand_in
    )
    found.record("change_schools", len(change))
    found.record("up", int((change["lower"] > 0).sum()))
    found.record("down", int((change["upper"] < 0).sum()))
    found.record("sure_up", int((change["p_up"] > 0.9).sum()))
    found.record("sure_down", int((change["p_up"] < 0.1).sum()))
    return found.figure("change", figures.change_in_va(change, level=level, min_n=min_students))


def settled(joint: JointFit, settled: JointFit) -> Findings:
    """Which model the changes come from."""
    found = Findings().say(
        "The unstructured $\\boldsymbol\\Omega$ is singular, so this section uses the joint model with a single variance "
        "and a single correlation instead (compound symmetry). Its errors take these two numbers as known, so with few schools "
        "they are too small. Where correlations fade with time, its intervals between distant years are too narrow. "
        "The pages about single schools fit the two years by themselves instead; where schools tend to keep their "
        "standing, those intervals are rather too wide.",
        when=joint.singular and not settled.singular,
    )
    return found.say(
        ":::{warning}\nThe estimated $\\boldsymbol\\Omega$ is singular, also with a single variance and a single "
        "correlation. Errors and probabilities that take it as known cannot be trusted and are left out. Those that "
        "are printed average over what is not known, and so they are wide.\n:::",
        when=settled.singular,
    )


def spread_of_changes(
    fits: Sequence[CohortFit],
    cohorts: Sequence[int],
    separate: TwoStep,
    settled: JointFit,
    changes: Mapping[int, pd.DataFrame],
) -> Findings:
    """How much changes vary: predicted jointly, separately, and in truth as estimated.

    changes: tables of :func:`valib.change_in_va` up to the last cohort, by first cohort.
    """
    E, second = formats(*(f.student_sd for f in fits)).fine, cohorts[-1]
    w, rows = settled.omega, []
    for a, frame in changes.items():
        apart = separate.effects[:, -1] - separate.effects[:, cohorts.index(a)]
        true = max(w.loc[a, a] + w.loc[second, second] - 2 * w.loc[a, second], 0.0) ** 0.5
        rows.append(
            {
                "From cohort": str(a),
                "Joint model": frame["change"].std(),
                "Separate": np.nanstd(apart, ddof=1),
                "True (estimated)": true,
                "SE": frame["se"].median(),
                "SE if independent": frame["se_independent"].median(),
            }
        )
    shown = pd.DataFrame(rows)
    return Findings().table(
        shown,
        "Changes of relative value added up to cohort {glue:text}`second`, in score points: standard deviation over "
        "schools of the changes predicted by the joint model, of the differences of separate predictions, and of the "
        "true changes as the joint model estimates it; median standard error of a change, correct and if the errors "
        "of the two cohorts were independent.",
        "tab-05-changes",
        index=False,
        formats=dict.fromkeys(shown.columns[1:], E),
    )


def movers(fits: Sequence[CohortFit], named: pd.DataFrame) -> Findings:
    """Schools with the largest rises and falls."""
    S = formats(*(f.student_sd for f in fits)).signed
    some = min(5, len(named) // 2)
    shown = pd.concat([named.head(some), named.tail(some)]).reset_index()
    shown = shown[["school", "n_first", "n_second", "change", "lower", "upper", "p_up"]]
    shown["p_up"] = [
        "over\u00a00.99" if v > 0.99 else "under\u00a00.01" if v < 0.01 else as_text(float(v), ".2f")
        for v in shown["p_up"]
    ]
    shown["school"] = [escape(v) for v in shown["school"]]
    shown.columns = ["School", "First $n$", "Last $n$", "Change", "Lower", "Upper", "P(up)"]
    return Findings().table(
        shown,
        "Schools with the largest rises and falls in relative value added from cohort {glue:text}`start` to cohort "
        "{glue:text}`second` (score points, {glue:text}`level` limits). $n$: "
        "students in the first and the last cohort; P(up): probability that the effect is higher in the last.",
        "tab-05-movers",
        index=False,
        raw=True,
        formats={"Change": S, "Lower": S, "Upper": S},
    )


def which(
    fits: Sequence[CohortFit],
    ranked: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    better: Sequence[Mapping[str, float]],
) -> Findings:
    """Whether one school improved more than another.

    ranked: names of schools; pairs: places in it; better: what :func:`valib.which_improved` says of each pair.
    """
    _, S, E, _ = formats(*(f.student_sd for f in fits))
    shown = pd.DataFrame(
        [
            {
                "School": ranked[a],
                "against": ranked[b],
                "Difference": one["difference"],
                "SE": one["se"],
                "Probability": one["probability"],
            }
            for (a, b), one in zip(pairs, better, strict=True)
        ]
    )
    found = Findings().say("There are too few schools of some size for such a comparison.", when=not pairs)
    if pairs:
        found.table(
            shown,
            "Did the first school improve more than the second from cohort {glue:text}`start` to cohort "
            "{glue:text}`second`? Difference of their changes (score points) and the probability that it is above "
            "zero.",
            "tab-05-which",
            index=False,
            formats={"Difference": S, "SE": E, "Probability": ".2f"},
        )
        found.say(
            "The last column of {numref}`tab-05-which` is the answer to print: the probability, given the data, that the first "
            "school improved more."
        )
    return found


def fifths(transitions: pd.DataFrame | None, first: int, second: int, stand_in: bool, level: float) -> Findings:
    """Where the schools of each fifth stand in the next cohort; None with too few schools."""
    if transitions is None:
        return Findings()
    found = Findings().save(
        transitions.assign(cohort=first, other=second), "quintile_transitions.csv", when=not stand_in
    )
    found.figure("fifths", figures.quintile_transitions(transitions, first=first, second=second, level=level))
    diagonal = transitions[transitions["from"] == transitions["to"]].set_index("from")
    for k, key in [(1, "bottom"), (5, "top")]:
        for c in ("share", "lower", "upper", "plugin"):
            found.record(f"{key}_{c}", diagonal.loc[k, c], ".0%")
    found.record("stay_share", diagonal["share"].mean(), ".0%")
    return found.record("stay_plugin", diagonal["plugin"].mean(), ".0%")


def fifths_in_words(transitions: pd.DataFrame | None, schools: int) -> Findings:
    """The place of the figure of fifths, and what it shows."""
    enough = transitions is not None
    found = Findings().say(
        "```{glue:figure} fifths\n:name: fig-05-fifths\n:alt: Five by five table; each row gives where the schools of "
        "one fifth of the first cohort stand in the second, in per cent with intervals.\n\nWhere the schools of each "
        "fifth of cohort {glue:text}`first` stand in cohort {glue:text}`second`, in per cent of the row, with "
        "{glue:text}`level` limits.\n```",
        when=enough,
    )
    found.say(
        "Of the top fifth in cohort {glue:text}`first`, {glue:text}`top_share` are in the top fifth of cohort "
        "{glue:text}`second` (from {glue:text}`top_lower` to {glue:text}`top_upper`); counted from the predictions "
        "themselves it would be {glue:text}`top_plugin` ({numref}`fig-05-fifths`). Of the bottom fifth "
        "{glue:text}`bottom_share` stay (from {glue:text}`bottom_lower` to {glue:text}`bottom_upper`; from predictions "
        "{glue:text}`bottom_plugin`). Over all fifths {glue:text}`stay_share` of the schools stay in theirs, against "
        "{glue:text}`stay_plugin` from predictions. If the effects of the two cohorts had nothing to do with each other, a "
        "fifth of each row would stay.",
        when=enough,
    )
    found.say("A fifth holds fewer than five schools here; such a table says little.", when=enough and schools < 25)
    return found.say("There are too few schools for a table of fifths.", when=not enough)


def moved_scores(records: pd.DataFrame, joint: JointFit, model: str, method: str) -> Findings:
    """The exercise with ten points more for all students of the last cohort: the largest change of a correlation."""
    found, cohorts = Findings(), list(joint.cohorts)
    moved = records.copy()
    moved.loc[moved["cohort"] == cohorts[-1], "score"] += 10
    moved.attrs.clear()
    with warnings.catch_warnings(action="ignore"):  # the chapter has said what there is to say of these cohorts
        again = fit_joint(moved, cohorts, model, method=method)
    apart = float((again.correlation - joint.correlation).abs().max().max())
    # nan where effects do not vary; a flat likelihood stops the optimiser a little earlier or later
    check(not apart > 0.05, "a constant added to a cohort changes no correlation")
    found.record("moved_difference", apart, ".4f")
    return found
