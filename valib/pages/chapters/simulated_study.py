"""The numbers of the simulation that is calibrated to the study's own records."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...errors import ValibError
from ...simulation.calibrate import calibrate
from ...simulation.methods import Method
from ...simulation.runs import MonteCarlo, simulate
from ...simulation.verdicts import nearer
from ...simulation.worlds import Scenario, combine
from .. import figures
from ..findings import Findings, formats
from ..notebook import Study
from ..prose import as_text, in_words, simulated
from .simulation import told_coverage

OWN = (("this analysis", "va"), ("its shift", "shift"), ("bootstrap", "shift"))


def made_like(world: Scenario, refusal: str | None, last: int, baseline: Sequence[int], formula: str) -> Findings:
    """What the world made like the records is, and is not.

    refusal: why the records could not be used, None if they were.
    """
    found = Findings().record("last", last, "d")
    found.record("calibrated_baseline", baseline)
    found.say(
        "These records could not be used for it ("
        + str(refusal)
        + "). What follows is the plain world instead and says nothing "
        "about them.",
        when=refusal is not None,
    )
    found.say(
        "The between-school SD is estimated at zero or nearly so. In this world schools hardly differ, ranks and fifths are "
        "chance, sorting cannot be seen, and only the results on the shift mean anything.",
        when=world.tau < 0.1 * world.sigma,
    )
    return found.say(
        "The simulated model has the prior score alone, `score ~ prior_score`; the study's formula has more.",
        when=formula.replace(" ", "") != "score~prior_score",
    )


def world(world: Scenario) -> Findings:
    """The parameters of the world made like the records."""
    F = formats(world.sigma).plain
    shown = {
        "Schools": world.n_schools,
        "Slope $b$": f"{world.slope:.3f}",
        r"$\tau$": as_text(world.tau, F),
        r"$\sigma$": as_text(world.sigma, F),
        "True shift": as_text(world.shift, "+" + F),
        r"$\rho$, one year": f"{world.rho:.2f}",
        r"$\rho_{xu}$, correlation of intake and effect": as_text(world.sorting, ".2f"),
        "SD of prior scores": as_text(world.prior_sd, F),
        "of it, between schools": as_text(world.intake_sd, F),
    }
    return Findings().table(
        pd.DataFrame({"Parameter": shown.keys(), "Value": [str(v) for v in shown.values()]}),
        "The calibrated world: cohort {glue:text}`last` against {glue:text}`calibrated_baseline` (score points).",
        "tab-10-world",
        index=False,
        raw=True,
    )


def figure(mine: MonteCarlo, ours: Sequence[Scenario], level: float) -> Findings:
    """Coverage of this analysis in worlds made like its records; the table of the run for the results folder."""
    found = Findings().save(mine.table, "simulation_calibrated.csv")
    names = {x.name: x.name for x in ours}
    both = [
        figures.measured(
            mine, "coverage", ["va"], names, {"this analysis": "analytic", "bootstrap": "bootstrap"}, {"va": "Schools"}
        ),
        figures.measured(
            mine, "coverage", ["shift"], names, {"its shift": "analytic", "bootstrap": "bootstrap"}, {"shift": "System"}
        ),
    ]
    return found.figure("fig_mine", figures.coverage(pd.concat(both, ignore_index=True), level=level))


def table(mine: MonteCarlo, ours: Sequence[Scenario]) -> Findings:
    """This analysis in worlds made like its records."""
    world, names = ours[0], [x.name for x in ours]
    D = formats(world.sigma).fine_signed.lstrip("+")
    rows = {x: (x, "this analysis") for x in names} | {
        f"{m}, *{world.name}*": (world.name, m) for m in ("question", "answer")
    }
    table = simulated(
        mine,
        rows,
        {
            "Bias of mean VA": ("mean_va", "bias", "+" + D),
            "Coverage, schools": ("va", "coverage", ".3f"),
            "Rank correlation": ("va", "spearman", ".3f"),
            "In a wrong fifth": ("va", "misclassified", ".3f"),
        },
    )
    extra = simulated(
        mine,
        {x: (x, "its shift") for x in names},
        {"Bias of shift": ("shift", "bias", "+" + D), "Coverage, shift": ("shift", "coverage", ".3f")},
    )
    return Findings().table(
        table.join(extra).fillna("").rename_axis("World"),
        "This analysis in worlds made like its records (score points; Monte "
        "Carlo standard errors in brackets); the last rows give the two other recipes.",
        "tab-10-calibrated",
        raw=True,
    )


def told(mine: MonteCarlo, ours: Sequence[Scenario], level: float) -> Findings:
    """What the intervals of this analysis hold in its own world."""
    world = ours[0]
    own, D = world.name, formats(world.sigma).fine_signed.lstrip("+")
    told = [told_coverage(mine, own, m, e, level) for m, e in OWN]
    wrong = f"{mine.get(own, 'this analysis', 'va', 'misclassified'):.0%}"
    spread = mine.get(own, "its shift", "shift", "emp_se")
    return Findings().say(
        f"If the world is {own}, the intervals of this analysis hold a school's true value added in {told[0]} of "
        f"cases and the true shift in {told[1]}; by the bootstrap of schools the latter is {told[2]}. The shift "
        f"varies from one sample to the next with a standard deviation of {as_text(spread, D)} score points. {wrong} "
        f"of schools are placed in another fifth than their true one."
    )


def and_others(mine: MonteCarlo, ours: Sequence[Scenario], level: float) -> Findings:
    """Which interval of the shift is nearer to its level, and which changed worlds move the shift off its truth."""
    names, own = [x.name for x in ours], ours[0].name
    spread = mine.get(own, "its shift", "shift", "emp_se")
    bad = [
        x
        for x in names[1:]
        if abs(mine.get(x, "its shift", "shift", "bias"))
        > max(1.96 * mine.mcse(x, "its shift", "shift", "bias"), spread / 2)
    ]
    told = [(mine.get(own, m, e, "coverage"), mine.mcse(own, m, e, "coverage")) for m, e in OWN[1:]]
    word = {
        -1: "the analytic interval comes",
        0: "neither the analytic interval nor the bootstrap",
        1: "the bootstrap comes",
    }
    close = nearer(*told, level)
    found = Findings().say(
        f"For the shift of these records {word[close]} "
        + (
            "nearer to the nominal level."
            if close
            else "can be said to come nearer to the nominal level: their coverages "
            "differ by no more than Monte Carlo error."
        )
    )
    return found.say(
        "Of the changed worlds, "
        + (
            in_words([f"*{x}*" for x in bad]) + " moved the estimated shift off its truth by more than half of "
            "that standard deviation. Against these only knowledge from outside the records helps."
            if bad
            else "none moved the estimated shift off its truth by more than half of that standard deviation."
        )
    )


def weaker(methods: Sequence[Method], replicates: int, seed: int) -> Findings:
    """The exercise of a very weak shift: what each recipe's mean value added is."""
    found, world = Findings(), combine("very weak drift", delta=-2.0)
    results = simulate([world], methods, replicates=replicates, seed=seed)
    means = [
        (
            m.name,
            results.get(world.name, m.name, "mean_va", "mean"),
            results.mcse(world.name, m.name, "mean_va", "mean"),
        )
        for m in methods
    ]
    found.record("weak_truth", world.delta, "+.1f")
    found.record("weak_means", in_words([f"{as_text(one, '+.2f')} ({se:.2f}) by *{name}*" for name, one, se in means]))
    return found


def reliable(study: Study, methods: Sequence[Method], replicates: int, seed: int) -> Findings:
    """The exercise of a stated reliability: bias of the shift in a world made like the records, without and with correction."""
    found = Findings()
    try:
        world = calibrate(study.records, study.baseline, study.focal[-1], reliability=0.9)
    except ValibError:
        found.record("reliable_answer", "These records could not be used for it.")
        return found
    results = simulate([world], methods, replicates=replicates, seed=seed)
    D = formats(world.sigma).fine_signed
    told = [
        f"{as_text(results.get(world.name, m.name, 'shift', 'bias'), D)} by *{m.name}* (Monte Carlo standard error "
        f"{as_text(results.mcse(world.name, m.name, 'shift', 'bias'), D.lstrip('+'))})"
        for m in methods
    ]
    return found.record("reliable_answer", f"The bias of the shift is {in_words(told)}.")
