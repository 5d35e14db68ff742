"""Coverage of the intervals of quantile value added, by a simulator of its own.

Truth: in school j the p-quantile of y given x is x'b + u_j + Q_p(e); the marginal one is x'b + Q_p(u + e), found from
400,000 draws where it has no closed form. ``python tests/coverage/quantiles.py`` measures
what quantiles.json does not hold (all of it, where the file is away, in some half hour).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import valib as va

TAU, SIGMA, REPLICATES = 15.0, 45.0, 200
WORLDS = [  # errors, schools, students
    ("normal", 40, (10, 40)),
    ("skew", 40, (10, 40)),
    ("laplace", 40, (10, 40)),
    ("normal", 20, (3, 12)),
]


def errors(kind: str, p: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """n errors whose p-quantile is 0."""
    if kind == "normal":
        return SIGMA * (rng.standard_normal(n) - stats.norm.ppf(p))
    if kind == "skew":
        return SIGMA / np.sqrt(2) * (rng.gamma(2, 1, n) - stats.gamma.ppf(p, 2))
    low = rng.random(n) < p
    return np.where(low, -rng.exponential(13.5 / (1 - p), n), rng.exponential(13.5 / p, n))


def covered(kind: str, schools: int, size: tuple[int, int], p: float) -> dict[str, object]:
    """Shares of schools whose interval holds the truth, over replicates, and the larger Monte Carlo error."""
    rng = np.random.default_rng(20261126)
    big = errors(kind, p, 400_000, rng) + rng.normal(0, TAU, 400_000)
    m, found = np.quantile(big, p), []
    for r in range(REPLICATES):
        school = np.repeat(np.arange(schools), rng.integers(size[0], size[1] + 1, schools))
        u, x = rng.normal(0, TAU, schools), rng.normal(430, 75, len(school))
        y = 120 + 0.8 * x + u[school] + errors(kind, p, len(school), rng)
        data = pd.DataFrame({"school": np.char.mod("%03d", school), "cohort": 2019, "score": y, "prior_score": x})
        row = []
        for way in ("calibrated", "laplace"):
            fit = va.fit_quantile(data, quantile=p, errors=way, draws=200, warmup=150, seed=r).school_effects
            truth = (u - m)[fit.index.astype(int)]
            row.append(((fit["lower"] <= truth) & (truth <= fit["upper"])).mean())
        found.append(row)
    share, se = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(REPLICATES)
    told = {"calibrated": round(share[0], 4), "laplace": round(share[1], 4), "mcse": round(se.max(), 4)}
    return {"errors": kind, "schools": schools, "students": list(size), "quantile": p, "replicates": REPLICATES, **told}


if __name__ == "__main__":
    stored = Path(__file__).with_suffix(".json")
    rows = json.loads(stored.read_text())["worlds"] if stored.exists() else []
    there = {(row["errors"], row["schools"], tuple(row["students"]), row["quantile"]) for row in rows}
    for world in WORLDS:
        for p in (0.25, 0.5, 0.75):
            if (*world, p) not in there:
                rows.append(covered(*world, p))
                text = ",\n    ".join(json.dumps(row) for row in rows)
                stored.write_text('{\n  "worlds": [\n    ' + text + "\n  ]\n}\n")
