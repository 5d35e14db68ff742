"""Coverage of the intervals of schools, and calibration of probabilities, in worlds of the independent simulator.

``python tests/coverage/intervals.py`` measures what ``intervals.json`` does not hold (all of it, where the file is away, in
an hour of one core); with ``level``, ``ranks`` or ``change`` as an argument a part of that. The test beside it reads the
stored numbers and repeats a few replicates.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from independent import World, calibration, coverage, draw

import valib as va
from valib.effects.change import draw_joint

HERE = Path(__file__).resolve().parent
STORED = HERE / "intervals.json"
REPLICATES = 400
SEED = 20240611
DRAWS = 500  # for ranks and fifths
Z = 1.959963984540054  # of a normal interval of 95 percent
WORLDS = {
    f"{schools} schools, {size[0]}-{size[1]} students, tau {tau:g}": World(schools, size, tau)
    for schools in (10, 20, 40)
    for size in ((3, 12), (10, 30))
    for tau in (5.0, 8.0, 10.0, 15.0)
} | {
    "10 schools, 10-60 students, tau 15": World(10, (10, 60), 15.0),
    "20 schools, 3-12 students, tau 10, rho 0": World(20, (3, 12), 10.0, rho=0.0),
    **{
        f"{schools} schools, 10-30 students, tau 10, rho {rho:g}": World(schools, (10, 30), 10.0, rho=rho)
        for schools in (10, 20, 40)
        for rho in (0.0, 0.95)
    },
    "40 schools, 10-60 students, tau 15, sorting": World(40, (10, 60), 15.0, sorting=0.5),
    "100 schools, 10-60 students, tau 15": World(100, (10, 60), 15.0),
}
CHANGES = (  # half a second each, or more: fewer worlds
    "10 schools, 3-12 students, tau 15",
    "10 schools, 10-30 students, tau 8",
    "20 schools, 3-12 students, tau 10, rho 0",
    "20 schools, 10-30 students, tau 10, rho 0.95",
    "40 schools, 10-30 students, tau 8",
    "10 schools, 10-30 students, tau 10, rho 0",
    "40 schools, 10-30 students, tau 10, rho 0",
)
Told = np.ndarray | tuple[np.ndarray, np.ndarray]  # hits, or probabilities and outcomes, by school


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


def replicate_change(world: World, rng: np.random.Generator) -> dict[str, Told]:
    """The same for the change of the focal cohorts' relative value added; a plug-in interval that is missing, as on a
    boundary, holds nothing. "p_up": the probability that it is above zero; "fifth up": that the school stands in a
    higher fifth than before. Plug-in probabilities count where they are known."""
    panel = draw(world, rng)
    first, second = world.focal_cohorts
    joint = va.fit_joint(panel.records, [first, second])
    seed = rng.integers(2**32)
    told: dict[str, Told] = {}
    for end, intervals in (("", "integrated"), (", plugin", "plugin")):
        table = va.change_in_va(joint, first, second, intervals=intervals)
        before, after = (panel.effects[c][table.index] for c in (first, second))
        change = after - before
        told[f"change{end}"] = change.between(table["lower"], table["upper"]).to_numpy()
        if table["p_up"].notna().all():
            told[f"p_up{end}"] = table["p_up"].to_numpy(), change.to_numpy() > 0
    drawn = draw_joint(joint, [first, second], int(seed), DRAWS)
    rose = np.diff(fifths(drawn), axis=-1)[..., 0] > 0
    truth = fifths(panel.effects[[first, second]].to_numpy()[None])[0]
    told["fifth up"] = rose.mean(axis=0), truth[:, 1] > truth[:, 0]
    return told


def replicate_ranks(world: World, rng: np.random.Generator) -> dict[str, Told]:
    """Which intervals of ranks by relative value added hold the true rank; "top fifth": the probability of it."""
    panel = draw(world, rng)
    cohort, seed = world.focal_cohorts[-1], int(rng.integers(2**32))
    told: dict[str, Told] = {}
    for end, intervals in (("", "integrated"), (", plugin", "plugin")):
        table = va.fit_relative(panel.records, cohort, intervals=intervals).ranks(seed, DRAWS)
        rank = panel.effects[cohort][table.index].rank(ascending=False)
        told[f"rank{end}"] = rank.between(table["rank_lower"], table["rank_upper"]).to_numpy()
        told[f"top fifth{end}"] = table["p_top_quintile"].to_numpy(), rank.to_numpy() <= len(rank) // 5
    return told


def fifths(effects: np.ndarray) -> np.ndarray:
    """Fifth, 0 the lowest, of each of the schools (second axis)."""
    return np.argsort(np.argsort(effects, axis=1), axis=1) * 5 // effects.shape[1]


def measure(name: str, replicates: int, first: int = 0, replicate=replicate) -> dict[str, dict[str, float]]:
    """Coverage and calibration in one world, from replicates first, first + 1, ...; each has a seed of its own."""
    seeds = ([SEED, zlib.crc32(name.encode()), first + r] for r in range(replicates))
    told = [replicate(WORLDS[name], np.random.default_rng(seed)) for seed in seeds]
    found = {}
    for kind in dict.fromkeys(k for one in told for k in one):
        known = [one[kind] for one in told if kind in one]
        found[kind] = (calibration if isinstance(known[0], tuple) else coverage)(known)
    return found


def main(parts: list[str]) -> None:
    """Measure every world that is not stored and write the result, world by world; parts: some of :data:`PARTS`."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {"seed": SEED, "worlds": {}}
    for part in parts:
        names, one, kind = PARTS[part]
        for name in names:
            if kind in stored["worlds"].get(name, {}):
                continue  # a run that was stopped goes on
            stored["worlds"].setdefault(name, {}).update(measure(name, REPLICATES, replicate=one))
            print(name, sorted(stored["worlds"][name].items()), flush=True)
            STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


PARTS = {  # the worlds, what is done in each, and what tells that it was
    "level": (WORLDS, replicate, "relative"),
    "ranks": (CHANGES, replicate_ranks, "rank"),
    "change": (CHANGES, replicate_change, "p_up"),
}


if __name__ == "__main__":
    main(sys.argv[1:] or list(PARTS))
