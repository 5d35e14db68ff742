"""What other priors would do to the coverage of integrated intervals, by brute force.

``python tests/coverage/priors.py`` measures what ``priors.json`` does not hold (all of it, where the file is away, in ten
minutes of one core). Nothing is shared with the library: school means are drawn, and the posterior is summed over a wide
grid of all variances and correlations at once, sigma known, so that the coverage of an interval is that of its prior and
of no approximation. What is found for the priors of the library is therefore a check of the library, too.

    ybar_jt = mu_t + u_jt + e_jt,   e_jt ~ N(0, sigma^2 / n_jt),   mu_t flat,   u_jt as in independent.py

In worlds of one cohort the intervals are those of u_j, in worlds of two those of u_j2 - u_j1. For each prior: coverage of the
interval of 95 percent, and its mean width over that of the interval without any pooling, whose coverage is 95 percent in
every world: the school's own mean (or the difference of its two) -+ 1.96 standard errors, mu known.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.special import ndtr

STORED = Path(__file__).resolve().parent / "priors.json"
REPLICATES = 400
SEED = 20240702
SIGMA = 45.0
Z = 1.959963984540054
SIZES = {"3-12 students": (3, 12), "10-30 students": (10, 30)}
ONE = {
    f"{J} schools, {size}, tau {tau:g}": (J, SIZES[size], tau)
    for J in (10, 20, 40)
    for size in SIZES
    for tau in (5.0, 8.0, 15.0)
}
TWO = {
    f"{J} schools, 10-30 students, tau {tau:g}, rho {rho:g}": (J, SIZES["10-30 students"], tau, rho)
    for J in (10, 20)
    for tau, rho in ((10.0, 0.0), (10.0, 0.7), (15.0, 0.7), (10.0, 0.95))
}
# Of tau, in units of k = sigma / sqrt(mean n), where reliability is a half.
OF_TAU = {
    "flat on tau": lambda x: np.zeros_like(x),
    "flat on the reliability": lambda x: np.log(2 * x) - 2 * np.log1p(x**2),
    "DuMouchel": lambda x: -2 * np.log1p(x),
    "falling as tau^(-1/2)": lambda x: -0.5 * np.log(x),
}
# Of two cohorts' Omega, over the prior that is flat on the standard deviations of mean and change and their correlation,
# whose density in Omega is 1 / (v_mean v_change).
OF_OMEGA = {
    "flat on tau and rho": lambda o: -np.log(o["first"] * o["second"]),
    "flat on tau and arcsin rho": lambda o: -np.log(o["first"] * o["second"]) - 0.5 * np.log(o["left"]),
    "flat on tau and Fisher's z, nearly": lambda o: -np.log(o["first"] * o["second"]) - 0.9 * np.log(o["left"]),
    "flat on the SDs of mean and change": lambda o: -np.log(o["mean"] * o["change"]),
}


def quantiles(weight: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(2, J) limits of the mixtures of normals (M, J) with weights (M,), by halving."""
    keep = weight > 2e-6
    weight, mean, sd = weight[keep] / weight[keep].sum(), mean[keep], sd[keep]
    found = []
    for p in (0.025, 0.975):
        low, high = (mean - 4 * sd).min(axis=0), (mean + 4 * sd).max(axis=0)
        for _ in range(17):
            middle = (low + high) / 2
            less = weight @ ndtr((middle - mean) / sd) < p
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        found.append(middle)
    return np.array(found)


def told(log_density: np.ndarray, mean: np.ndarray, sd: np.ndarray, truth: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """(2,): share of the J intervals that hold the truth, and their mean width over that of the unpooled ones."""
    weight = np.exp(log_density - log_density.max())
    lower, upper = quantiles(weight / weight.sum(), mean, sd)
    return np.array([((lower <= truth) & (truth <= upper)).mean(), (upper - lower).mean() / (2 * Z * raw).mean()])


def one_cohort(J: int, size: tuple[int, int], tau: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One replicate, by prior of tau."""
    n = rng.integers(size[0], size[1] + 1, J)
    u, error = tau * rng.standard_normal(J), SIGMA**2 / n
    y = u + np.sqrt(error) * rng.standard_normal(J)
    k = SIGMA / np.sqrt(np.mean(n))
    log_x = np.linspace(np.log(1e-3), np.log(30), 160)
    grid = (k * np.exp(log_x))[:, None]
    precision = 1 / (grid**2 + error)
    total = precision.sum(axis=1)
    mu = (precision @ y) / total
    left = y - mu[:, None]
    density = 0.5 * (np.log(precision).sum(axis=1) - np.log(total) - (precision * left**2).sum(axis=1))
    share = grid**2 * precision
    sd = np.sqrt(share * error + share**2 / total[:, None])
    return {
        name: told(density + log_x + prior(np.exp(log_x)), share * left, sd, u, np.sqrt(error))
        for name, prior in OF_TAU.items()
    }


def omegas() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Log weights (M,) in Omega, and its parts by name: nodes of the SDs of mean and change and of arcsin of their
    correlation."""
    logs = np.linspace(np.log(0.05), np.log(150), 28), np.linspace(np.log(0.05), np.log(220), 32)
    x, gauss = leggauss(11)
    m, d, a = (part.ravel() for part in np.meshgrid(np.exp(logs[0]), np.exp(logs[1]), np.pi / 2 * x, indexing="ij"))
    rule = np.broadcast_to(gauss, (28, 32, 11)).ravel()
    r, mean, change = np.sin(a), m**2, d**2
    both, shared = mean + change / 4, m * d * r
    first, second, cross = both - shared, both + shared, mean - change / 4
    parts = {"first": first, "second": second, "cross": cross, "mean": mean, "change": change}
    parts["left"] = np.maximum(mean * change * np.cos(a) ** 2 / (first * second), 1e-300)  # 1 - rho^2
    # d(v_mean, v_change, cov) = 4 m d * m d cos a * d(m, d, a); d m = m d(log m)
    return np.log(rule * np.cos(a)) + 3 * np.log(m * d), parts


def two_cohorts(
    J: int, size: tuple[int, int], tau: float, rho: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One replicate, by prior of Omega."""
    n = rng.integers(size[0], size[1] + 1, (J, 2))
    lasting, passing = rng.standard_normal((J, 1)), rng.standard_normal((J, 2))
    u, error = tau * (np.sqrt(rho) * lasting + np.sqrt(1 - rho) * passing), SIGMA**2 / n
    y = u + np.sqrt(error) * rng.standard_normal((J, 2))
    density, mean, sd = of_change(y, error)
    raw, truth = np.sqrt(error.sum(axis=1)), u[:, 1] - u[:, 0]
    return {name: told(density + prior(GRID[1]), mean, sd, truth, raw) for name, prior in OF_OMEGA.items()}


def of_change(y: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log density (M,) of the grid but for the prior; mean and SD (M, J) of the changes at its nodes.

    y (J, 2): means of schools, of error variances error (J, 2).
    """
    rule, o = GRID
    a, b, c = o["first"][:, None] + error[:, 0], o["second"][:, None] + error[:, 1], o["cross"][:, None]
    det = a * b - c**2
    P = np.stack([np.stack([b, -c * np.ones_like(b)]), np.stack([-c * np.ones_like(a), a])]) / det  # (2, 2, M, J)
    A = P.sum(axis=-1)
    A_det = A[0, 0] * A[1, 1] - A[0, 1] ** 2
    A_inverse = np.array([[A[1, 1], -A[0, 1]], [-A[0, 1], A[0, 0]]]) / A_det
    mu = np.einsum("tsm,srmj,jr->tm", A_inverse, P, y)
    left = y.T[:, None] - mu[..., None]
    weighted = np.einsum("tsmj,smj->tmj", P, left)
    density = -0.5 * (np.log(det).sum(axis=1) + np.log(A_det) + (left * weighted).sum(axis=(0, 2)))
    covariance = np.stack([o["cross"] - o["first"], o["second"] - o["cross"]])[..., None]  # of the change with u
    load = np.einsum("tmj,tsmj->smj", covariance * np.ones_like(left), P)
    variance = o["change"][:, None] - (load * covariance).sum(axis=0)
    variance = variance + np.einsum("tmj,tsm,smj->mj", load, A_inverse, load)
    return density + rule, (covariance * weighted).sum(axis=0), np.sqrt(np.maximum(variance, 1e-12))


def limits_of_change(y: np.ndarray, error: np.ndarray) -> np.ndarray:
    """(2, J) limits of the changes under the library's priors."""
    density, mean, sd = of_change(y, error)
    log = density + OF_OMEGA["flat on tau and rho"](GRID[1])
    weight = np.exp(log - log.max())
    return quantiles(weight / weight.sum(), mean, sd)


GRID = omegas()


def measure(name: str, replicates: int) -> dict[str, dict[str, float]]:
    """Coverage, its Monte Carlo error and the relative width by prior, in one world."""
    one, world = (one_cohort, ONE[name]) if name in ONE else (two_cohorts, TWO[name])
    runs = [one(*world, np.random.default_rng([SEED, zlib.crc32(name.encode()), r])) for r in range(replicates)]
    found = {}
    for prior in runs[0]:
        cover, width = np.array([run[prior] for run in runs]).T
        error = cover.std(ddof=1) / np.sqrt(replicates)
        found[prior] = {"coverage": float(cover.mean()), "mcse": float(error), "width": float(width.mean())}
    return found


def main() -> None:
    """Measure every world that is not stored and write the result, world by world."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))["worlds"] if STORED.exists() else {}
    for name in (*ONE, *TWO):
        if name not in stored:
            stored[name] = measure(name, REPLICATES)
            print(
                name, {k: (round(v["coverage"], 3), round(v["width"], 2)) for k, v in stored[name].items()}, flush=True
            )
            told = {"seed": SEED, "replicates": REPLICATES, "worlds": stored}
            STORED.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
