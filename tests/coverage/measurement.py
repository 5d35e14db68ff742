"""Worlds whose prior scores have errors of measurement: coverage of corrected fits, by the independent simulator.

The true prior is that of :mod:`independent`; the recorded one has an error of standard deviation 30 more, which a fit takes
off. A second world lets the true mean of a school's students count beside their own scores (``between``).

``python tests/coverage/measurement.py`` measures what ``measurement.json`` does not hold, in some two minutes of one core.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from independent import World, draw
from stored import means, replicates_of, write_worlds

import valib as va

STORED = Path(__file__).resolve().parent / "measurement.json"
SEED, REPLICATES, ERROR, BETWEEN = 20261126, 60, 30.0, 0.3
MEAN = " + school_mean(prior_score)"
WORLDS = {
    "12 schools of 8-25": (World(12, (8, 25), 15.0, baseline=1), ""),
    "30 schools of 10-30": (World(30, (10, 30), 15.0, baseline=1), ""),
    "20 schools of 10-30, with their means": (World(20, (10, 30), 15.0, baseline=1), MEAN),
}


def replicate(world: World, more: str, rng: np.random.Generator) -> dict[str, float]:
    """Shares of schools, changes, correlations and slopes covered; the estimates themselves."""
    panel = draw(world, rng)
    records, cohorts = panel.records, world.focal_cohorts
    if more:
        mean = records.groupby(["school", "cohort"])["prior_score"].transform("mean")
        records = records.assign(score=records["score"] + BETWEEN * mean)
    records = records.assign(prior_score=records["prior_score"] + ERROR * rng.standard_normal(len(records)))
    u, found = panel.effects, {}
    fixed = {"formula": "score ~ prior_score" + more, "error_variance": {"prior_score": ERROR**2}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", va.ValibWarning)
        for kind in ("integrated", "plugin"):
            table = va.fit_relative(records, cohorts[0], intervals=kind, **fixed).school_effects
            found[f"relative, {kind}"] = (
                u[cohorts[0]].reindex(table.index).between(table["lower"], table["upper"]).mean()
            )
        joint = va.fit_joint(records, cohorts, **fixed)
        limits, change, r = joint.limits(), va.change_in_va(joint, *cohorts), joint.correlations().iloc[0]
    true = u.stack().reindex(limits.index)
    found["joint, effects"] = true.between(limits["lower"], limits["upper"]).mean()
    moved = (u[cohorts[1]] - u[cohorts[0]]).reindex(change.index)
    found["joint, changes"] = moved.between(change["lower"], change["upper"]).mean()
    found["joint, correlation"] = float(r["lower"] <= world.rho <= r["upper"])
    slope, error = joint.fixed_effects.iloc[1], np.sqrt(joint.vcov.iloc[1, 1])
    found |= {"slope": slope, "slope, covered": float(abs(slope - 0.8) < 1.96 * error)}
    found |= {"tau2": joint.tau2.iloc[0], "covariance": joint.omega.iloc[0, 1], "sigma2": joint.sigma2.iloc[0]}
    return found | ({"mean": joint.fixed_effects.iloc[2]} if more else {})


def measure(name: str, replicates: int) -> dict[str, dict[str, float]]:
    """Means and Monte Carlo errors over replicates, each with a seed of its own."""
    return means(replicates_of(name, replicates, SEED, lambda rng: replicate(*WORLDS[name], rng)), replicates)


def main() -> None:
    """Measure every world that is not stored and write the result, world by world."""
    write_worlds(STORED, WORLDS, {"seed": SEED, "replicates": REPLICATES}, lambda name: measure(name, REPLICATES))


if __name__ == "__main__":
    main()
