"""Worlds of unequal residual variances of schools: intervals, shrunken variances and tests, by a simulator of its own.

Nothing is shared with ``valib.simulation``. Scores are 110 + 0.8 prior + u_j + e_ij, u_j ~ N(0, tau^2), e_ij ~ N(0, sigma_j^2),
sigma_j = 45 exp(spread z_j): variances are lognormal, which is not the distribution that the model takes them to have.

``python tests/coverage/residuals.py`` measures what ``residuals.json`` does not hold, in some four minutes of one core.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from stored import means, replicates_of, write_worlds

import valib as va

STORED = Path(__file__).resolve().parent / "residuals.json"
SEED, SIGMA, REPLICATES = 20261126, 45.0, 100


@dataclass(frozen=True)
class World:
    """schools: J. size: least and most students. tau: SD of effects. spread: SD of log sigma_j."""

    schools: int
    size: tuple[int, int]
    tau: float
    spread: float


WORLDS = {
    "40 schools, 10-40 students, spread .3": World(40, (10, 40), 15.0, 0.3),
    "100 schools, 10-40 students, spread .3": World(100, (10, 40), 15.0, 0.3),
    "20 schools, 3-12 students, spread .3": World(20, (3, 12), 15.0, 0.3),
    "20 schools, 3-12 students, equal": World(20, (3, 12), 15.0, 0.0),
}


def draw(world: World, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of one cohort, and u and sigma by school."""
    J = world.schools
    n = rng.integers(world.size[0], world.size[1] + 1, J)
    u, sigma = world.tau * rng.standard_normal(J), SIGMA * np.exp(world.spread * rng.standard_normal(J))
    school = np.repeat(np.arange(J), n)
    prior = 430 + 75 * rng.standard_normal(len(school))
    score = 110 + 0.8 * prior + u[school] + sigma[school] * rng.standard_normal(len(school))
    names = np.array([f"S{j:03d}" for j in range(J)])
    student = np.char.mod("P%d", np.arange(len(school)))
    table = {"school": names[school], "student": student, "cohort": 2031, "score": score, "prior_score": prior}
    return pd.DataFrame(table), pd.DataFrame({"u": u, "sigma": sigma}, index=names)


def replicate(world: World, rng: np.random.Generator) -> dict[str, float]:
    """Shares of schools covered, of all and of the quarters of the smallest and largest sigma_j; mean squares; tests."""
    records, truth = draw(world, rng)
    few = truth["sigma"].rank(method="first") <= len(truth) / 4
    many = truth["sigma"].rank(method="first") > 3 * len(truth) / 4
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", va.ValibWarning)
        for way in ("common", "by_school"):
            fit = va.fit_relative(records, 2031, residual=None if way == "common" else way)
            table = fit.school_effects
            hit = truth["u"].between(table["lower"], table["upper"])
            found |= {f"{way}, all": hit.mean(), f"{way}, small": hit[few].mean(), f"{way}, large": hit[many].mean()}
            found[f"{way}, mse"] = ((table["effect"] - truth["u"]) ** 2).mean()
            found[f"{way}, width"] = (table["upper"] - table["lower"]).mean()
        sds, tests = va.residual_variances(fit), va.variance_test(fit)
    log = np.log(truth["sigma"])
    found["sigma_j, shrunken"] = ((np.log(sds["sd"]) - log) ** 2).mean()
    found["sigma_j, own"] = ((np.log(sds["own_sd"]) - log) ** 2).mean()
    found["sigma_j, common"] = ((np.log(np.sqrt(sds["own_sd"].pow(2).mean())) - log) ** 2).mean()
    found["sigma_j, covered"] = truth["sigma"].between(sds["lower"], sds["upper"]).mean()
    found["spread"] = sds.attrs["spread"]
    found["common sd"] = sds.attrs["common"]
    found["Bartlett rejects"] = float(tests.loc["Bartlett", "p"] < 0.05)
    found["ratio rejects"] = float(tests.loc["likelihood ratio", "p"] < 0.05)
    return found


def measure(name: str, replicates: int) -> dict[str, dict[str, float]]:
    """Means and Monte Carlo errors over replicates, each with a seed of its own."""
    return means(replicates_of(name, replicates, SEED, lambda rng: replicate(WORLDS[name], rng)), replicates)


def main() -> None:
    """Measure every world that is not stored and write the result, world by world."""
    write_worlds(STORED, WORLDS, {"seed": SEED, "replicates": REPLICATES}, lambda name: measure(name, REPLICATES))


if __name__ == "__main__":
    main()
