"""The numbers of the chapter of simulation checks: what each recipe does in worlds whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...simulation.runs import MonteCarlo
from ...simulation.verdicts import nearer
from ...simulation.worlds import Scenario, scenario
from .. import figures
from ..figures.style import percent
from ..findings import Findings, check
from ..prose import as_text, direction, in_words, simulated

MAIN = {"question": "question", "answer": "answer", "estimated": "estimated"}
FOUR = {"OLS": "OLS", "estimated": "mixed", "within": "within", "school mean": "mixed, school mean"}
SORTED = ("sorting", "drift and sorting", "sorting and error")
KINDS = {
    "b known": "coefficients as known",
    "estimated": "full, analytic",
    "bootstrap": "bootstrap of schools",
    "equating": "full, with equating error",
}


def told_coverage(run: MonteCarlo, world: str, method: str, estimand: str, level: float) -> str:
    """Coverage in words: what its Monte Carlo interval allows to say (:func:`valib.simulation.verdicts.judge`)."""
    return str(run.judge(world, method, estimand, level))


def _interval_pairs(run: MonteCarlo) -> list[tuple[str, str]]:
    """The worlds and kinds of intervals that are compared, as far as they were run."""
    there = set(
        zip(run.table["scenario"], run.table["method"], run.table["estimand"], run.table["measure"], strict=True)
    )
    worlds = ("plain", "serial", "equating error")
    return [(s, k) for s in worlds for k in KINDS if (s, k, "shift", "width") in there]


def plain_world(plain: Mapping[str, Any]) -> Findings:
    """The parameters of the plain world."""
    fixed = {
        "schools": "schools",
        "sizes": "students of a school, lowest and highest",
        "slope": "$b$",
        "tau": r"$\tau$",
        "sigma": r"$\sigma$",
        "prior_sd": "SD of true prior scores",
        "intake_sd": r"$\sigma_{\bar x}$, of it between schools",
        "rho": r"$\rho$",
        "sorting": r"$\rho_{xu}$, correlation of intake and effect",
        "delta": r"$\delta$, shift of the system",
        "reliability": "reliability of the prior",
    }
    rows = [(text, " to ".join(map(str, plain[k])) if k == "sizes" else f"{plain[k]:g}") for k, text in fixed.items()]
    return Findings().table(
        pd.DataFrame(rows, columns=["Parameter", "Value in the plain world"]),
        "The plain world: its parameters, which are its truth. SDs and the shift are in score points.",
        "tab-10-plain",
        index=False,
        raw=True,
    )


def worlds_table(worlds: Sequence[Scenario]) -> Findings:
    """The simulated worlds, and in what they differ from the plain one, which is the first."""
    plain = worlds[0].parameters()
    skip = {"name", "about", "shift"}
    changed = [
        ", ".join(
            f"{k} {' to '.join(map(str, v)) if k == 'sizes' else as_text(v, 'g')}".replace("_", " ")
            for k, v in w.parameters().items()
            if k not in skip and v is not True and v != plain[k]
        )
        for w in worlds
    ]
    return Findings().table(
        pd.DataFrame(
            {
                "World": [w.name for w in worlds],
                "What happens": [w.about for w in worlds],
                "Parameters that differ from plain": changed,
                "True shift": [w.shift for w in worlds],
            }
        ),
        "The simulated worlds and their true parameters (score points). The true shift is what the focal cohort's "
        "students gain on the baseline's line.",
        "tab-10-worlds",
        index=False,
        raw=True,
        formats={"True shift": ".1f"},
    )


def run_values(run: MonteCarlo, worlds: Sequence[Scenario], level: float) -> Findings:
    """Sizes of the run, and its table for the results folder."""
    found = Findings().save(run.table, "simulation.csv")
    found.record("level", percent(level))
    found.record("replicates", run.replicates)
    found.record("schools", worlds[0].schools)
    used = run.table.set_index(["scenario", "method", "estimand", "measure"])["replicates"]
    found.record("boot_replicates", int(used["plain", "bootstrap", "shift", "coverage"]))
    found.record("rho_replicates", int(used["serial", "joint_model", "rho", "bias"]))
    key = ("plain", "estimated", "shift", "coverage")
    return found.record("plain_mcse", 100 * run.mcse(*key), ".1f")


def drift_figure(run: MonteCarlo, worlds: Sequence[Scenario], drifts: Sequence[str]) -> Findings:
    """Mean and SD of value added by the true shift: simulated, and by the formulas of the text."""
    deltas = {x.name: x.delta for x in worlds if x.name in drifts}
    found = Findings().record_all(
        ("front_truth", deltas["drift"], "+.1f"),
        ("front_sd", worlds[0].tau, ".1f"),
        ("front_estimated", run.get("drift", "estimated", "shift", "mean"), "+.1f"),
        ("front_question", run.get("drift", "question", "mean_va", "mean"), "+.1f"),
        ("front_question_sd", run.get("drift", "question", "tau", "mean"), ".1f"),
        ("front_answer", run.get("drift", "answer", "mean_va", "mean"), "+.1f"),
    )
    panels = {"mean_va": "mean", "tau": "sd"}
    marks = figures.measured(run, "mean", list(panels), {k: k for k in deltas}, MAIN, panels)
    d, n, w = np.linspace(min(deltas.values()), 0, 60), np.arange(10, 61)[:, None], worlds[0]
    check(w.sizes == (10, 60), "the formula uses the sizes of the plain world")
    own = {"question": w.tau**2 + d**2, "answer": w.tau**2 + 0 * d}
    mean = {k: d * (n * t / (n * t + w.sigma**2)).mean(axis=0) for k, t in own.items()} | {"truth": d}
    sd = {k: np.sqrt(t) for k, t in own.items()} | {"truth": w.tau + 0 * d}
    lines = [
        pd.DataFrame({"panel": p, "series": k, "x": d, "value": v})
        for p, s in (("mean", mean), ("sd", sd))
        for k, v in s.items()
    ]
    labels = {"mean": "Mean value added (score points)", "sd": "SD between schools (score points)"}
    return found.figure(
        "fig_drift",
        figures.over_parameter(
            marks.assign(x=marks["x"].map(deltas)),
            pd.concat(lines),
            label_x="True shift (score points)",
            labels_y=labels,
        ),
    )


def drift(run: MonteCarlo, world: Scenario) -> Findings:
    """The recipes where the system shifts, in the world *drift*; world is the plain one."""
    value, error = run.get, run.mcse
    table = simulated(
        run,
        {k: ("drift", k) for k in (*MAIN, "relative")},
        {
            "Mean VA": ("mean_va", "mean", "+.2f"),
            "Bias of VA": ("va", "bias", "+.2f"),
            "Shift": ("shift", "mean", "+.2f"),
            "SD between schools": ("tau", "mean", ".2f"),
            "Coverage, schools": ("va", "coverage", ".3f"),
            "In a wrong fifth": ("va", "misclassified", ".3f"),
        },
    )
    found = Findings().table(
        table.rename_axis("Recipe"),
        "The world *drift* (score points; Monte Carlo standard errors in brackets). Relative "
        "value added has mean zero by construction and no shift.",
        "tab-10-drift",
        raw=True,
    )
    b, se = value("drift", "estimated", "shift", "bias"), error("drift", "estimated", "shift", "bias")
    t = {k: value("drift", k, "mean_va", "mean") for k in MAIN}
    s = {k: value("drift", k, "tau", "mean") for k in MAIN}
    word = direction(
        b, "misses it upwards by more than", "misses it downwards by more than", "finds it within", tolerance=1.96 * se
    )
    found.say(
        f"{{numref}}`tab-10-drift` gives the world *drift*, where the true shift is "
        f"{as_text(scenario('drift').delta, '+.1f')} points and the true SD between schools "
        f"{world.tau:.1f}. The question's recipe reports a mean of {as_text(t['question'], '+.1f')} and an SD of "
        f"{s['question']:.1f}, the answer's a mean of {as_text(t['answer'], '+.1f')}. The estimated shift is "
        f"{as_text(value('drift', 'estimated', 'shift', 'mean'), '+.1f')}: it {word} its Monte Carlo error."
    )
    return found.say(
        "**Act on it:** report the shift as a parameter with its interval. Do not read a change of the system off the "
        "mean of value added from a model without an intercept, nor a wider spread between schools as growing "
        "inequality."
    )


def sorting_figure(run: MonteCarlo, worlds: Sequence[Scenario], sorts: Sequence[str]) -> Findings:
    """Slope and gradient by the strength of sorting: simulated, and by the formula of the text."""
    w = worlds[0]
    strength = {x.name: x.sorting for x in worlds if x.name in sorts[:3]}
    panels = {"slope": "slope", "gradient": "gradient"}
    marks = figures.measured(run, "mean", list(panels), {k: k for k in strength}, FOUR, panels)
    k = np.linspace(0, max(strength.values()), 30)
    lines = [
        pd.DataFrame({"panel": p, "series": name, "x": k, "value": v})
        for p, name, v in (
            ("slope", "OLS", w.slope + k * w.tau * w.intake_sd / w.prior_sd**2),
            ("slope", "truth", w.slope + 0 * k),
            ("gradient", "truth", 0 * k),
        )
    ]
    return Findings().figure(
        "fig_sorting",
        figures.over_parameter(
            marks.assign(x=marks["x"].map(strength)),
            pd.concat(lines),
            label_x="Correlation of intake and effect",
            labels_y={"slope": "Estimated slope", "gradient": "Gradient of errors on intake"},
        ),
    )


def sorting_table(run: MonteCarlo) -> Findings:
    """The estimators under sorted intakes, without and with a shift of the system."""
    table = simulated(
        run,
        {f"{v}, *{s}*": (s, k) for s in SORTED for k, v in FOUR.items()},
        {
            "Slope": ("slope", "mean", ".3f"),
            "Bias of shift": ("shift", "bias", "+.2f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "SD between schools": ("tau", "mean", ".2f"),
            "Gradient": ("gradient", "mean", "+.3f"),
            "Coverage, schools": ("va", "coverage", ".3f"),
        },
    )
    return Findings().table(
        table.rename_axis("Estimator, world"),
        "Sorting of intakes: alone, with a shift and an intake that is better than the baseline's, and with a prior score of "
        "reliability .85 and an intake that is weaker (true slope .8; Monte Carlo standard errors in brackets).",
        "tab-10-sorting",
        raw=True,
    )


def sorting(run: MonteCarlo, world: Scenario) -> Findings:
    """The same in words; world is the plain one, whose slope is the truth."""
    value, error = run.get, run.mcse
    b = {k: value("drift and sorting", k, "shift", "bias") for k in FOUR}
    off = [FOUR[k] for k in FOUR if abs(b[k]) > 1.96 * error("drift and sorting", k, "shift", "bias")]
    found = Findings().say(
        f"With strong sorting the OLS slope is {value('sorting', 'OLS', 'slope', 'mean'):.3f} and the mixed one "
        f"{value('sorting', 'estimated', 'slope', 'mean'):.3f}; the truth is {world.slope:g}. A wrong slope does "
        f"little to the shift as long as the intake stays as it was. When it improves, the shift by OLS is off by "
        f"{as_text(b['OLS'], '+.2f')} points, by the mixed model {as_text(b['estimated'], '+.2f')}, by the within "
        f"estimator {as_text(b['within'], '+.2f')}. "
        + (
            "Outside Monte Carlo error of zero: " + in_words(off) + "."
            if off
            else "All are within Monte Carlo error of zero."
        )
    )
    found.say(_with_error(run))
    found.say(
        "With the school mean in the model, what goes together with the intake is no longer counted as value added. "
        "That is another estimand, and measured against the one of this chapter it is off."
    )
    return found.say(
        "**Act on it:** take the coefficients from the mixed model, or from within schools if intakes and effects "
        "plainly go together. Compare the two slopes, and do not use OLS where they differ. None of the estimators makes the "
        "ratings fair by intake, so look at the gradient before you compare schools of unlike intakes."
    )


def _with_error(run: MonteCarlo) -> str:
    """OLS, mixed and within where intakes are sorted and the prior has an error: slopes, shifts, gradients, as measured."""
    names, world = {"OLS": "OLS", "estimated": "the mixed model", "within": "the within estimator"}, SORTED[-1]
    bias = {k: (run.get(world, k, "shift", "bias"), run.mcse(world, k, "shift", "bias")) for k in names}
    best = min(bias, key=lambda k: abs(bias[k][0]))
    beaten = [k for k in names if k != best and nearer(bias[best], bias[k], 0.0) == -1]
    told = [f"{as_text(b, '+.2f')} by {names[k]}" for k, (b, _) in bias.items()]
    slopes = [f"{run.get(world, k, 'slope', 'mean'):.3f} by {words}" for k, words in names.items()]
    end = (
        f"Nearest to the truth is the shift by {names[best]}"
        if len(beaten) == len(names) - 1
        else "Within Monte Carlo error no estimator is nearer to the truth than both others"
    )
    gradients = [f"{as_text(run.get(world, k, 'gradient', 'mean'), '+.3f')} by {words}" for k, words in names.items()]
    return (
        f"In *{world}* the slope is {in_words(slopes)}, and the bias of the shift is {in_words(told)}. {end}. The gradient of "
        f"the schools' errors on their intake is {in_words(gradients)}. Sorting and error move the slope in opposite "
        "directions, so an estimator that keeps the one may gain from the other. This is no reason to prefer it, because with "
        "another reliability or another sorting the balance changes. The remedy is to correct for the reliability, as in (d)."
    )


def intervals_figure(run: MonteCarlo, level: float) -> Findings:
    """Coverage of intervals with and without the benchmark's error, and what the text says of their widths."""
    value = run.get
    cover = figures.measured(
        run,
        "coverage",
        ["va", "shift"],
        {k: k for k in ("plain", "serial", "equating error")},
        KINDS,
        {"va": "Schools", "shift": "System"},
    )
    found = Findings().figure("fig_cover", figures.coverage(cover, level=level))
    wide = {
        (s, k, e): value(s, k, e, "width")
        for s in ("plain", "serial")
        for k in ("b known", "estimated", "bootstrap")
        for e in ("va", "shift")
    }
    check(
        wide["plain", "estimated", "va"] < 1.03 * wide["plain", "b known", "va"]
        and wide["plain", "estimated", "shift"] > 1.1 * wide["plain", "b known", "shift"],
        "the benchmark's error is small beside a school's and not small beside the system's",
    )
    check(
        all(wide["serial", k, "shift"] < 0.9 * wide["plain", k, "shift"] for k in ("bootstrap", "estimated")),
        "both intervals of the shift know of lasting effects",
    )

    return found


def intervals(run: MonteCarlo) -> Findings:
    """Coverage and width of intervals of schools and of the shift."""
    pairs = _interval_pairs(run)
    table = simulated(
        run,
        {f"{KINDS[k]}, *{s}*": (s, k) for s, k in pairs},
        {
            "Coverage, schools": ("va", "coverage", ".3f"),
            "Width, schools": ("va", "width", ".1f"),
            "Coverage, shift": ("shift", "coverage", ".3f"),
            "Width, shift": ("shift", "width", ".2f"),
            "Empirical SE, shift": ("shift", "emp_se", ".2f"),
        },
    )
    return Findings().table(
        table.rename_axis("Interval, world"),
        "Coverage and mean width of {glue:text}`level` intervals (score points; Monte "
        "Carlo standard errors in brackets). An interval of the right width is about twice "
        "1.96 empirical SEs wide at the 95% level.",
        "tab-10-coverage",
        raw=True,
    )


def intervals_in_words(run: MonteCarlo, level: float, draws: int) -> Findings:
    """Which intervals keep their level; draws: samples of the bootstrap."""
    told = {(*pair, e): told_coverage(run, *pair, e, level) for pair in _interval_pairs(run) for e in ("va", "shift")}
    lv = percent(level)
    found = Findings().say(
        f"In the plain world the full intervals cover {told['plain', 'estimated', 'va']} for schools and "
        f"{told['plain', 'estimated', 'shift']} for the shift. With the coefficients taken as known they cover "
        f"{told['plain', 'b known', 'va']} and {told['plain', 'b known', 'shift']}. The error of the benchmark is small "
        "beside that of one school, and it is a good part of that of the system."
    )
    found.say(
        f"With lasting effects the analytic interval of the shift covers {told['serial', 'estimated', 'shift']} and "
        f"the bootstrap {told['serial', 'bootstrap', 'shift']}. The same schools carry their effects from the "
        "baseline into the focal cohort, so the errors of the two cancel in part. Both intervals allow for it, because both "
        "take together what a school adds to the two errors. With an "
        f"equating error it covers {told['equating error', 'estimated', 'shift']} if the error is left out and "
        f"{told['equating error', 'equating', 'shift']} if its size is known and included."
    )
    B, tail = draws, (1 - level) / 2
    found.say(
        f"The bootstrap has only {B} samples of schools for each data set here, and its limits are quantiles of them. "
        f"That alone brings a nominal {lv} down to about {1 - 2 * (1 + (B - 1) * tail) / (B + 1):.1%}. On one data set, "
        f"take many more."
    )
    return found.say(
        "**Act on it:** publish full intervals for schools and for the shift, and include the published equating error. Use "
        "the bootstrap as a check of the shift's error and not as a result."
    )


def published(run: MonteCarlo, level: float) -> Findings:
    """Coverage of the intervals of schools and of shifts that are published."""
    worlds, rows = list(run.scenarios.index), {}
    there = set(zip(run.table["scenario"], run.table["method"], run.table["estimand"], strict=True))
    for label, (m, e) in PUBLISHED.items():
        rows[label] = [told_coverage(run, w, m, e, level) if (w, m, e) in there else "" for w in worlds]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[f"*{w}*" for w in worlds])
    return Findings().table(
        table.rename_axis("Interval of"),
        "Coverage of the intervals that are published, {glue:text}`level` claimed; those of changes and of ranks are in "
        "{numref}`tab-10-changes`.",
        "tab-10-published",
        raw=True,
    )


PUBLISHED = {
    "benchmark VA, integrated": ("integrated", "va"),
    "benchmark VA, variances as known": ("estimated", "va"),
    "relative VA, integrated": ("relative", "effect"),
    "relative VA, variances as known": ("relative, plug-in", "effect"),
    "VA relative to a school": ("to a school", "to_a_school"),
    "shift, closed form": ("shift", "shift"),
    "shift, two-sample form": ("shift", "shift_cautious"),
    "shift one SD below the mean prior": ("shift", "shift_low"),
    "shift one SD above it": ("shift", "shift_high"),
    "shift with a further ordinary year": ("shift", "year"),
}


def answer(run: MonteCarlo) -> Findings:
    """The answer of the chapter."""
    value, error = run.get, run.mcse
    b, se = value("drift", "estimated", "shift", "bias"), error("drift", "estimated", "shift", "bias")
    left = {k: value("drift", k, "mean_va", "bias") / scenario("drift").delta for k in ("question", "answer")}
    return Findings().say(
        "Where its model holds, benchmark value added with an estimated shift does what it says: under a drift its "
        "bias is "
        f"{as_text(b, '+.2f')} points ({direction(abs(b), 'more', 'more', 'no more', 1.96 * se)} than Monte Carlo "
        f"error explains), and its intervals cover as in {{numref}}`tab-10-coverage`. Of a shift of that size, the "
        f"mean of value added loses {-left['question']:.0%} under the question's recipe and {-left['answer']:.0%} "
        f"under the answer's."
    )
