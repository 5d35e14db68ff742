"""Worlds of two cohorts whose schools have lines that change: intervals of changes and correlations, by a simulator of its own.

Nothing is shared with ``valib.simulation``. Scores are 110 + 0.8 prior + a_jc + b_jc (prior - 430) + e_ijc; (a_j1, b_j1, a_j2,
b_j2) are normal, the correlation of a_j1 and a_j2 and that of b_j1 and b_j2 is ``between``, that of a and b .2.

``python tests/coverage/slope_pairs.py`` measures what ``slope_pairs.json`` does not hold, in some five minutes of one core.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from stored import means, replicates_of, write_worlds

import valib as va

STORED = Path(__file__).resolve().parent / "slope_pairs.json"
SEED = 20261127
SIGMA = (45.0, 38.0)
VALUES = {"low": 355.0, "mean": 430.0, "high": 505.0}


@dataclass(frozen=True)
class World:
    """schools: J. size: least and most students. sd: of a_j and b_j. between: correlation of cohorts. replicates."""

    schools: int
    size: tuple[int, int]
    sd: tuple[float, float]
    between: float
    replicates: int


WORLDS = {
    "20 schools, 10-30 students": World(20, (10, 30), (15.0, 0.12), 0.7, 24),
    "20 schools, 40-80 students": World(20, (40, 80), (15.0, 0.12), 0.7, 60),
    "60 schools, 20-60 students": World(60, (20, 60), (15.0, 0.12), 0.5, 60),
}


def draw(world: World, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Records, the effects by school, and their covariance (a_1, b_1, a_2, b_2)."""
    r, w = np.array([[1, 0.2], [0.2, 1]]), world.between
    sd = np.array([*world.sd, *world.sd])
    G = np.block([[r, w * r], [w * r, r]]) * np.outer(sd, sd)
    names = [f"S{j:03d}" for j in range(world.schools)]
    g = rng.standard_normal((world.schools, 4)) @ np.linalg.cholesky(G).T
    rows = []
    for c in (0, 1):
        for j, name in enumerate(names):
            prior = 430 + 75 * rng.standard_normal(rng.integers(world.size[0], world.size[1] + 1))
            score = 110 + 0.8 * prior + g[j, 2 * c] + g[j, 2 * c + 1] * (prior - 430)
            score += SIGMA[c] * rng.standard_normal(len(prior))
            rows.append(pd.DataFrame({"school": name, "cohort": 2031 + c, "prior_score": prior, "score": score}))
    records = pd.concat(rows, ignore_index=True)
    return records.assign(student=np.char.mod("P%d", np.arange(len(records)))), pd.DataFrame(g, index=names), G


def replicate(world: World, rng: np.random.Generator) -> dict[str, float]:
    """Shares of schools whose change is covered, whether correlations are, and errors of estimates."""
    records, g, G = draw(world, rng)
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", va.ValibWarning)
        slopes = va.fit_joint_slopes(records, [2031, 2032])
        values = {"prior_score": list(VALUES.values())}
        for way in ("integrated", "plugin"):
            table = slopes.changes(2031, 2032, values, intervals=way)
            r = slopes.correlations(values, intervals=way).assign(name=[*VALUES, "slope"]).set_index("name")
            for name, value in VALUES.items():
                at = value - 430
                one, truth = table.xs(value, level="at").droplevel("column"), (g[2] - g[0]) + (g[3] - g[1]) * at
                if one["lower"].notna().all():
                    found[f"{way}, change at {name}"] = truth.between(one["lower"], one["upper"]).mean()
                z = np.array([1.0, at])
                size = np.sqrt(z @ G[:2, :2] @ z * (z @ G[2:, 2:] @ z))
                found |= _correlation(way, name, r.loc[name], z @ G[:2, 2:] @ z / size)
            found |= _correlation(way, "slope", r.loc["slope"], world.between)
    found["boundary"] = float(slopes.pair(2031, 2032).boundary)
    found["G"] = float(slopes.pair(2031, 2032).G[1, 1] / G[1, 1])
    found["sigma2"] = float(slopes.pair(2031, 2032).sigma2[1] / SIGMA[1] ** 2)
    return found


def _correlation(way: str, name: str, row: pd.Series, truth: float) -> dict[str, float]:
    """Whether an interval covers, where there is one, and the error of the estimate."""
    told = {f"error of r, {name}": row["correlation"] - truth} if way == "plugin" else {}
    if np.isfinite(row["lower"]):
        told[f"{way}, r, {name}"] = float(row["lower"] <= truth <= row["upper"])
    return told


def measure(name: str, replicates: int) -> dict[str, dict[str, float]]:
    """Means and Monte Carlo errors over replicates, each with a seed of its own; n: replicates in which there is one."""
    told = replicates_of(name, replicates, SEED, lambda rng: replicate(WORLDS[name], rng))
    n = told.notna().sum()
    found = means(told, n)
    return {k: {**found[k], "n": int(n[k])} for k in sorted(told)}


def main() -> None:
    """Measure every world that is not stored and write the result, world by world."""
    write_worlds(STORED, WORLDS, {"seed": SEED}, lambda name: measure(name, WORLDS[name].replicates))


if __name__ == "__main__":
    main()
