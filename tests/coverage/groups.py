"""Coverage of the intervals of groups of schools in worlds of the independent simulator.

``python tests/coverage/groups.py`` measures what ``groups.json`` does not hold, in some five minutes of one core. Schools
belong to a group by their number, so that groups hold schools as they are drawn. Truths: the mean of the effects of the
group's very schools (relative and benchmark), and the shift of the system that the group's schools are drawn from.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from independent import World, coverage, draw

import valib as va

STORED = Path(__file__).resolve().parent / "groups.json"
REPLICATES = 600
SEED = 20251126
WORLDS = {  # name -> world, number of groups
    "12 schools, 3-12 students, tau 10, 3 groups": (World(12, (3, 12), 10.0), 3),
    "20 schools, 3-12 students, tau 15, 4 groups": (World(20, (3, 12), 15.0), 4),
    "20 schools, 10-30 students, tau 8, 2 groups": (World(20, (10, 30), 8.0), 2),
    "40 schools, 3-12 students, tau 10, 4 groups": (World(40, (3, 12), 10.0), 4),
}


def replicate(name: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Which groups' intervals hold the truth in one panel, by what they are intervals of."""
    world, count = WORLDS[name]
    panel = draw(world, rng)
    cohort = world.focal_cohorts[-1]
    benchmark = va.fit_baseline(panel.records, world.baseline_cohorts)
    group = {school: str(k % count) for k, school in enumerate(panel.effects.index)}
    hits = {}
    for kind, fit, value in (
        ("relative", va.fit_relative(panel.records, cohort), panel.effects[cohort]),
        ("benchmark", va.fit_benchmark(panel.records, cohort, benchmark), panel.value_added(cohort)),
    ):
        for weights in ("equal", "students"):
            w = fit.school_effects["n"] * 1.0 if weights == "students" else fit.school_effects["n"] * 0 + 1.0
            value_by = (w * value[w.index]).groupby(group).sum() / w.groupby(group).sum()
            for intervals in ("integrated", "plugin"):
                found = va.group_va(fit, group, weights, benchmark if kind == "benchmark" else None, intervals)
                truth = value_by[found.index]
                told = f"{kind}, {weights}" + ("" if intervals == "integrated" else ", plugin")
                hits[told] = truth.between(found["lower"], found["upper"]).to_numpy()
        if kind == "benchmark":
            hits["shift"] = ((found["shift_lower"] <= -14.0) & (found["shift_upper"] >= -14.0)).to_numpy()
            alone = va.group_va(fit, group)
            hits["shift, cautious"] = ((alone["shift_lower"] <= -14.0) & (alone["shift_upper"] >= -14.0)).to_numpy()
    return hits


def measure(name: str, replicates: int) -> dict[str, dict[str, float]]:
    """Coverage in one world; each replicate has a seed of its own."""
    told = [replicate(name, np.random.default_rng([SEED, zlib.crc32(name.encode()), r])) for r in range(replicates)]
    return {kind: coverage([one[kind] for one in told]) for kind in told[0]}


def main() -> None:
    """Measure every world that is not stored and write the result, world by world."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {"seed": SEED, "worlds": {}}
    for name in WORLDS:
        if name not in stored["worlds"]:
            stored["worlds"][name] = measure(name, REPLICATES)
            print(name, {k: round(v["coverage"], 3) for k, v in stored["worlds"][name].items()}, flush=True)
            STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
