"""Coverage of the intervals of schools in worlds of the independent simulator.

``python tests/coverage/intervals.py`` measures what ``intervals.json`` does not hold (all of it, where the file is away, in
half an hour of one core); with ``level`` or ``change`` as an argument a part of that. The test beside it reads the
stored numbers and repeats a few replicates.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from independent import World, coverage, draw

import valib as va

HERE = Path(__file__).resolve().parent
STORED = HERE / "intervals.json"
REPLICATES = 400
SEED = 20240611
Z = 1.959963984540054  # of a normal interval of 95 percent
WORLDS = {
    f"{schools} schools, {size[0]}-{size[1]} students, tau {tau:g}": World(schools, size, tau)
    for schools in (10, 20, 40)
    for size in ((3, 12), (10, 30))
    for tau in (5.0, 8.0, 10.0, 15.0)
} | {
    "10 schools, 10-60 students, tau 15": World(10, (10, 60), 15.0),
    "20 schools, 3-12 students, tau 10, rho 0": World(20, (3, 12), 10.0, rho=0.0),
    "20 schools, 10-30 students, tau 10, rho 0": World(20, (10, 30), 10.0, rho=0.0),
    "20 schools, 10-30 students, tau 10, rho 0.95": World(20, (10, 30), 10.0, rho=0.95),
    "40 schools, 10-60 students, tau 15, sorting": World(40, (10, 60), 15.0, sorting=0.5),
    "100 schools, 10-60 students, tau 15": World(100, (10, 60), 15.0),
}
CHANGES = (  # a tenth of a second to a second each: fewer worlds
    "10 schools, 3-12 students, tau 15",
    "10 schools, 10-30 students, tau 8",
    "20 schools, 3-12 students, tau 10, rho 0",
    "20 schools, 10-30 students, tau 10, rho 0.95",
    "40 schools, 10-30 students, tau 8",
)


def replicate(world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Which schools' intervals hold the truth in one panel, by kind of value added; "plugin": those that take the
    estimated variances as known."""
    panel = draw(world, rng)
    cohort = world.focal_cohorts[-1]
    benchmark = va.fit_baseline(panel.records, world.baseline_cohorts)
    fits = {
        "relative": (va.fit_relative(panel.records, cohort), panel.effects[cohort]),
        "benchmark": (va.fit_benchmark(panel.records, cohort, benchmark), panel.value_added(cohort)),
    }
    hits = {}
    for kind, (fit, truth) in fits.items():
        table = fit.school_effects
        truth, half = truth[table.index], Z * table["se_comparative"]
        hits[kind] = truth.between(table["lower"], table["upper"]).to_numpy()
        hits[f"{kind}, plugin"] = (np.abs(truth - table["effect"]) <= half).to_numpy()
    return hits


def replicate_change(world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same for the change of the focal cohorts' relative value added; a plug-in interval that is missing, as on a
    boundary, holds nothing."""
    panel = draw(world, rng)
    first, second = world.focal_cohorts
    joint = va.fit_joint(panel.records, [first, second])
    hits = {}
    for kind, intervals in (("change", "integrated"), ("change, plugin", "plugin")):
        table = va.change_in_va(joint, first, second, intervals=intervals)
        truth = (panel.effects[second] - panel.effects[first])[table.index]
        hits[kind] = truth.between(table["lower"], table["upper"]).to_numpy()
    return hits


def measure(name: str, replicates: int, first: int = 0, replicate=replicate) -> dict[str, dict[str, float]]:
    """Coverage in one world, from replicates first, first + 1, ...; each has a seed of its own."""
    seeds = ([SEED, zlib.crc32(name.encode()), first + r] for r in range(replicates))
    told = [replicate(WORLDS[name], np.random.default_rng(seed)) for seed in seeds]
    return {kind: coverage([one[kind] for one in told]) for kind in told[0]}


def main(kinds: list[str]) -> None:
    """Measure every world that is not stored and write the result, world by world; kinds: "level", "change" or both."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {"seed": SEED, "worlds": {}}
    for kind, names, one in (("level", WORLDS, replicate), ("change", CHANGES, replicate_change)):
        for name in names if kind in kinds else ():
            if ("relative" if kind == "level" else kind) in stored["worlds"].get(name, {}):
                continue  # a run that was stopped goes on
            stored["worlds"].setdefault(name, {}).update(measure(name, REPLICATES, replicate=one))
            print(name, {k: round(v["coverage"], 3) for k, v in stored["worlds"][name].items()}, flush=True)
            STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or ["level", "change"])
