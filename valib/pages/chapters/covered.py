"""What the stored runs of the independent simulator say of intervals, probabilities and priors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ...records.datasets import bundle_root
from ...simulation.verdicts import Z, judge
from ...sums.arrays import FloatArray
from ..findings import Findings, check
from ..prose import in_words

FOLDER = Path("tests") / "coverage"
LEAST, MOST = 0.925, 0.97  # of a nominal 95 percent: what the intervals are held to
RELIABILITIES = (0.5, 0.7, 0.8, 0.9)  # of a mean residual, for coverage given the effect
FLAT = {"tau": "flat on tau", "rho": "flat on tau and rho"}  # the library's priors
PRIORS = {
    "flat on tau": r"flat on $\tau$",
    "flat on the reliability": "flat on the reliability",
    "DuMouchel": r"falling in $\tau$ (DuMouchel)",
    "flat on tau and rho": r"flat on $\tau$'s and $\rho$",
    "flat on tau and arcsin rho": r"flat on $\arcsin\rho$",
    "flat on tau and Fisher's z, nearly": "flat on Fisher's $z$, nearly",
    "flat on the SDs of mean and change": "flat on SDs of mean and change",
}


def _stored(name: str) -> dict[str, dict[str, Any]]:
    worlds: dict[str, dict[str, Any]] = json.loads((bundle_root() / FOLDER / name).read_text(encoding="utf-8"))[
        "worlds"
    ]
    return worlds


def changes_covered() -> Findings:
    """Coverage of the change in value added and of ranks, from the stored run of the independent simulator (95 percent)."""
    worlds = _stored("intervals.json")
    kinds = {"change": "change in VA", "relative": "relative VA", "benchmark": "benchmark VA", "rank": "rank"}
    rows = {
        name: {
            label: str(judge(one["coverage"], one["mcse"], one["replicates"]))
            for kind, label in kinds.items()
            if (one := world.get(kind))
        }
        for name, world in worlds.items()
        if "change" in world
    }
    levels = [one["replicates"] for world in worlds.values() for kind, one in world.items() if kind in kinds]
    found = Findings().record("stored_replicates", min(levels))
    return found.table(
        pd.DataFrame.from_dict(rows, orient="index").rename_axis("World"),
        "Coverage of the change in value added, of its levels, and of ranks by relative value added, in worlds of the "
        "simulator of the library's tests: integrated intervals, 95% claimed. Effects of two years have a correlation of .7 "
        "where no other is named. Ranks are whole numbers, and an interval of them holds more than it claims.",
        "tab-10-changes",
        raw=True,
    )


def _with_error(one: Mapping[str, Any], name: str, spec: str) -> str:
    return f"{one[name]:{spec}} ({one[f'{name}_mcse']:{spec}})" if name in one else ""


def chances() -> Findings:
    """Whether what is said to be likely happens as often as that, from the same run."""
    found, worlds = Findings(), _stored("intervals.json")
    kinds = {"top fifth": "top fifth", "p_up": "rose"}
    rows, wrong = {}, []
    for name, world in worlds.items():
        if "p_up" not in world:
            continue
        rows[name] = {}
        for kind, label in kinds.items():
            one = world[kind]
            rows[name][f"{label}: slope"] = _with_error(one, "slope", ".2f")
            rows[name][f"{label}: said"] = f"{one['stated']:.1%}" if "stated" in one else ""
            rows[name][f"{label}: right"] = _with_error(one, "right", ".1%")
        if (rose := world["p_up"])["right"] + Z * rose["right_mcse"] < rose["stated"]:
            wrong.append((rose["right"], rose["stated"], name, rose["statements"], rose["replicates"]))
    found.table(
        pd.DataFrame.from_dict(rows, orient="index").rename_axis("World"),
        "Probabilities against what happened: that a school is in the top fifth, and that its value added rose. Slope: of "
        "what happens on the probability, 1 if it is right on the whole, less if probabilities are too far apart. Said and "
        "right: of all that was held to be so, or not to be so, with at least 90%, the mean of what was said and the share "
        "that was right (Monte Carlo standard errors in brackets).",
        "tab-10-chances",
        raw=True,
    )
    if wrong:
        right, said, name, n, replicates = min(wrong)
        found.say(
            f"In {len(wrong)} of {len(rows)} worlds, fewer of the changes that were stated with at least 90% had the stated "
            f"direction than the probability says. The fewest did in *{name}*, where {right:.0%} had it and {said:.0%} was "
            f"stated. Such statements are few ({n} there, over the schools of {replicates} data sets). Where schools hardly "
            "change, the statements are made only when chance has spread the schools, and then they are often wrong. A "
            "probability is right as often as it says on average over worlds that are as likely as the priors have them; in "
            "one world it need not be."
        )
    return found


def priors_compared() -> Findings:
    """What other priors would do, from the stored brute-force run; which worlds are covered too widely, and why."""
    found, worlds = Findings(), _stored("priors.json")
    parts = {"tau": list(PRIORS)[:3], "rho": list(PRIORS)[3:]}
    for key, names in parts.items():
        shown = {name: world for name, world in worlds.items() if FLAT[key] in world}
        rows = {
            name: {
                PRIORS[p]: f"{world[p]['coverage']:.1%} ({world[p]['mcse']:.1%}), {world[p]['width']:.2f}"
                for p in names
            }
            for name, world in shown.items()
        }
        what = "a school's value added" if key == "tau" else "a change in value added"
        found.table(
            pd.DataFrame.from_dict(rows, orient="index").rename_axis("World"),
            f"Coverage of 95% intervals of {what} under several priors (Monte Carlo standard errors in brackets), and their "
            "mean width as a share of that of the interval without any shrinkage, all means and $\\sigma$ known, which "
            "covers 95% in every world.",
            f"tab-10-priors-{key}",
            raw=True,
        )
        most = {p: max(w[p]["coverage"] for w in shown.values()) for p in names}
        least = {p: min(w[p]["coverage"] for w in shown.values()) for p in names}
        found.record_all(
            (f"prior_{key}_most", most[FLAT[key]], ".1%"),
            (f"prior_{key}_least", least[FLAT[key]], ".1%"),
            (f"prior_{key}_width", max(w[FLAT[key]]["width"] for w in shown.values()), ".0%"),
            (f"prior_{key}_narrow", min(w[FLAT[key]]["width"] for w in shown.values()), ".0%"),
        )
        others = [p for p in names if p != FLAT[key] and least[p] < least[FLAT[key]] - 0.005]
        told = [f"{p}: {least[p]:.1%} to {most[p]:.1%}" for p in others]
        found.record(f"prior_{key}_others", in_words(told) if told else "none")
    return found


def conditional(level: float) -> Findings:
    """How often a school's interval covers, given its effect and the reliability of its mean: eq-10-conditional."""
    z, found = stats.norm.ppf((1 + level) / 2), Findings()

    def covers(effect: FloatArray | float, reliability: float) -> FloatArray:
        """effect: in standard deviations of effects."""
        off, sd = np.asarray(effect) * (1 - reliability) ** 0.5, reliability**0.5
        covered: FloatArray = stats.norm.cdf((z + off) / sd) - stats.norm.cdf((off - z) / sd)
        return covered

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    for reliability in RELIABILITIES:
        mean = float(weights @ covers(nodes, reliability)) / (2 * np.pi) ** 0.5
        check(abs(mean - level) < 1e-3, "over all schools the interval covers as often as it claims")
    rows = {f"{one:g}": {f"effect {k} SD": float(covers(k, one)) for k in range(4)} for one in RELIABILITIES}
    found.table(
        pd.DataFrame.from_dict(rows, orient="index").rename_axis("Shrinkage factor"),
        "How often the {glue:text}`level` interval of a school covers, by the school's effect (in standard deviations between "
        "schools) and its shrinkage factor, which is the reliability of its mean residual; variances and coefficients known.",
        "tab-10-conditional",
        formats=".1%",
    )
    return found
