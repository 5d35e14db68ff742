"""Coverage of the intervals of a shift in worlds of the independent simulator.

``python tests/coverage/shifts.py`` measures what ``shifts.json`` does not hold (all of it, where the file is away, in
eight minutes of one core); the test beside it reads the stored numbers and repeats a few replicates. Truths: without
shocks the shift that was drawn, the same in both focal cohorts and at every prior score; with shocks it is what the
interval of a further ordinary year is to cover.
"""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path

import numpy as np
from independent import World, coverage, draw
from scipy import stats

import valib as va

HERE = Path(__file__).resolve().parent
STORED = HERE / "shifts.json"
REPLICATES = 400
SEED = 20240623
PROFILE = [1.0, 400.0]  # a student 80 points below the mean prior score
WORLDS = {
    f"{schools} schools, rho {rho:g}": World(schools, (10, 30), 10.0, rho=rho)
    for schools in (10, 20, 40)
    for rho in (0.0, 0.7, 0.95)
} | {
    "20 schools, 3-12 students, a fifth of cells missing": World(20, (3, 12), 10.0, missing=0.2),
    "40 schools, sorting": World(40, (10, 60), 15.0, sorting=0.5),
    "40 schools, shocks, five baseline cohorts": World(40, (10, 30), 10.0, baseline=5, shock=3.0),
}
MORE = {"40 schools, sorting": 1000}  # replicates where 400 left a doubt


def replicate(world: World, rng: np.random.Generator) -> dict[str, bool]:
    """Whether each interval holds the truth in one panel."""
    panel, truth = draw(world, rng), world.shift
    benchmark = va.fit_baseline(panel.records, world.baseline_cohorts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", va.ValibWarning)  # of a prior that has moved by chance
        fits = [va.fit_benchmark(panel.records, c, benchmark, intervals="plugin") for c in world.focal_cohorts]
    relative = va.fit_relative(panel.records, fits[-1].cohort, benchmark.state, intervals="plugin", influences=True)
    parts, t = va.shift_parts(fits, benchmark).iloc[-1], stats.t.ppf(0.975, fits[-1].n_schools - 1)
    context = va.shift_in_context(fits, benchmark).loc[fits[-1].cohort]
    difference, at = va.shift_difference(fits, benchmark).iloc[0], va.shift_at(relative, benchmark, PROFILE).iloc[0]
    return {
        "schools": fits[-1].shift_interval[0] <= truth <= fits[-1].shift_interval[1],
        "cautious": abs(parts["shift"] - truth) <= t * parts["se_cautious"],
        "difference": difference["lower"] <= 0 <= difference["upper"],
        "at a low prior score": at["lower"] <= truth <= at["upper"],
        "a further ordinary year": context["year_lower"] <= truth <= context["year_upper"],
    }


def measure(name: str, replicates: int, first: int = 0) -> dict[str, dict[str, float]]:
    """Coverage in one world, from replicates first, first + 1, ...; each has a seed of its own."""
    seeds = ([SEED, zlib.crc32(name.encode()), first + r] for r in range(replicates))
    told = [replicate(WORLDS[name], np.random.default_rng(seed)) for seed in seeds]
    return {kind: coverage([one[kind] for one in told]) for kind in told[0]}


def together(stored: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    """Two sets of replicates as one: of hits and misses the share tells the variance."""
    n = stored["replicates"] + more["replicates"]
    share = sum(one["coverage"] * one["replicates"] for one in (stored, more)) / n
    return {"coverage": share, "mcse": float(np.sqrt(share * (1 - share) / (n - 1))), "replicates": n}


def main() -> None:
    """Measure what is not stored, world by world, and write the result."""
    results = json.loads(STORED.read_text(encoding="utf-8"))["worlds"] if STORED.exists() else {}
    for name in WORLDS:
        have = results.get(name, {})
        first = min((one["replicates"] for one in have.values()), default=0)
        lacking = MORE.get(name, REPLICATES) - first
        if lacking <= 0:
            continue  # a run that was stopped goes on
        found = measure(name, lacking, first)
        results[name] = {kind: together(have[kind], one) if have else one for kind, one in found.items()}
        print(name, {kind: round(one["coverage"], 3) for kind, one in results[name].items()}, flush=True)
        STORED.write_text(json.dumps({"seed": SEED, "worlds": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
