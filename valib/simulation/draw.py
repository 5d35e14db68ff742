"""Data-generating mechanisms: simulated worlds with known truth, drawn as sums per school and cohort.

For student i of school j in cohort t, the prior score x and the score y in points about their baseline means:

    x_ijt  = c_t + m_jt + within_sd z_ijt          true prior score; within_sd^2 = prior_sd^2 - intake_sd^2
    y_ijt  = delta_t + b_t x_ijt + s_j (x_ijt - c_t - m_jt) + u_jt + e_ijt + v_t + q_t
    u_jt   = tau a_jt,      a_jt stationary AR(1) over the calendar: Cov(a_jt, a_js) = rho^|t - s|
    m_jt   = intake_sd (k a_jt + sqrt(1 - k^2) z_j),    k = sorting

delta_t, c_t (a changed intake) and b_t - slope are those of the scenario in the focal cohort and 0 in the baseline;
q_t ~ N(0, equating_se^2) is one number for the whole focal cohort, v_t ~ N(0, cohort_sd^2) one for every cohort, which
its value added holds and the system's shift does not; s_j ~ N(0, slope_sd^2). A score beyond the floor or the ceiling is
recorded as the limit. What is recorded instead of x is
x + h_t + N(0, (1 / r_t - 1) prior_sd^2), with reliability r_t and h_t the points by which the prior test became easier.

The models see students only through sums, so that with normal students the sums themselves are drawn (normal means,
Wishart products about them); otherwise students are drawn and added. Both are the same world.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .worlds import Scenario

QUADRATURE = 40  # nodes of the normal integral that sets the share of missing students


@dataclass(frozen=True, slots=True, eq=False)
class Worlds:
    """R draws of a scenario: T cohorts (the focal one last), J schools, columns 1, prior score, score.

    n (R, T, J): students with a score. sums (R, T, J, 3) and cross (R, T, J, 3, 3): of the recorded columns, in points
    about the baseline's expectation. effects (R, T, J): u. va (R, J): true benchmark VA in the focal cohort, the mean
    over all of a school's students of what they gain on the line of typical years. intake (R, J): expected true prior score
    of the focal cohort.
    """

    n: np.ndarray
    sums: np.ndarray
    cross: np.ndarray
    effects: np.ndarray
    va: np.ndarray
    intake: np.ndarray


def draw(scenario: Scenario, rngs: list[np.random.Generator]) -> Worlds:
    """One world for each generator."""
    one = _draw_sums if scenario.is_normal else _draw_students
    drawn = [one(scenario, rng) for rng in rngs]
    return Worlds(*(np.stack([d[i] for d in drawn]) for i in range(6)))


def _schools(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, effects and expected true prior scores, each (T, J)."""
    J, T = s.n_schools, len(s.cohorts)
    if s.cells is None:
        n = np.tile(rng.integers(s.sizes[0], s.sizes[1] + 1, J), (T, 1))
    else:
        n = np.array(s.cells).T
    noise = _standard(s.school_df, rng, (T, J))
    a = noise.copy()
    order = np.argsort(s.cohorts)
    for before, t in zip(order[:-1], order[1:], strict=True):
        kept = s.rho ** (s.cohorts[t] - s.cohorts[before])
        a[t] = kept * a[before] + math.sqrt(1 - kept**2) * noise[t]
    own = rng.standard_normal(J)
    intake = s.intake_sd * (s.sorting * a + math.sqrt(1 - s.sorting**2) * own)
    intake[-1] += s.intake_change
    return n, s.tau * a, intake


def _years_and_slopes(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T, 1) v_t and (J,) s_j; without them no random number is taken."""
    T, J = len(s.cohorts), s.n_schools
    years = s.cohort_sd * rng.standard_normal((T, 1)) if s.cohort_sd else np.zeros((T, 1))
    return years, s.slope_sd * rng.standard_normal(J) if s.slope_sd else np.zeros(J)


def _by_cohort(s: Scenario, baseline: float, focal: float) -> np.ndarray:
    """(T, 1): one value for the baseline cohorts, another for the focal one."""
    return np.array([baseline] * len(s.baseline) + [focal])[:, None]


def _draw_sums(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One world without students: cell means, and Wishart products about them by Bartlett's decomposition."""
    n, effects, intake = _schools(s, rng)
    vx, error = s.prior_sd**2 - s.intake_sd**2, _by_cohort(s, *s.error_variances)
    years, apart = _years_and_slopes(s, rng)
    slope = _by_cohort(s, s.slope, s.slope + s.slope_change)
    root = np.sqrt(np.maximum(n, 1))
    z = rng.standard_normal((3, *n.shape)) / root
    true = intake + math.sqrt(vx) * z[0]
    x = true + np.sqrt(error) * z[1] + _by_cohort(s, 0.0, s.prior_easier)
    system = years + _by_cohort(s, 0.0, s.delta + s.equating_se * rng.standard_normal())
    own = apart * (true - intake)
    y = slope * true + own + effects + system + s.sigma * z[2]
    slope, l11 = slope + apart, np.sqrt(vx + error)
    l21 = np.divide(slope * vx, l11, out=np.zeros(n.shape), where=l11 > 0)
    l22 = np.sqrt(np.maximum(slope**2 * vx + s.sigma**2 - l21**2, 0.0))
    c1 = np.sqrt(2 * rng.standard_gamma(np.maximum(n - 1, 0) / 2))
    c2 = np.sqrt(2 * rng.standard_gamma(np.maximum(n - 2, 0) / 2))
    g = np.where(n > 1, rng.standard_normal(n.shape), 0.0)
    dx, dy1, dy2 = l11 * c1, l21 * c1 + l22 * g, l22 * c2
    sums = n[..., None] * np.stack([np.ones_like(x), x, y], axis=-1)
    cross = _products(n, x, y, n * x**2 + dx**2, n * x * y + dx * dy1, n * y**2 + dy1**2 + dy2**2)
    return n, sums, cross, effects, _true_va(s, effects[-1], true[-1]) + own[-1] + years[-1], intake[-1]


def _draw_students(s: Scenario, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One world from students, for what is not normal or not complete."""
    n, effects, intake = _schools(s, rng)
    T, J = n.shape
    years, apart = _years_and_slopes(s, rng)
    cell = np.repeat(np.arange(T * J), n.ravel())
    focal, school = cell >= (T - 1) * J, cell % J
    within = math.sqrt(s.prior_sd**2 - s.intake_sd**2)
    true = intake.ravel()[cell] + within * rng.standard_normal(len(cell))
    log_sd = s.hetero_school * rng.standard_normal(J)[school]
    if s.hetero_prior:
        log_sd = log_sd + s.hetero_prior * true / s.prior_sd
    shape = _standard(s.student_df, rng, len(cell))
    e = s.sigma * np.exp(log_sd - s.hetero_prior**2 - s.hetero_school**2) * shape
    system = s.delta + s.equating_se * rng.standard_normal()
    own = apart[school] * (true - intake.ravel()[cell])
    common = system * focal + years.ravel()[cell // J]
    y = (s.slope + s.slope_change * focal) * true + own + effects.ravel()[cell] + common + e
    if s.floor is not None or s.ceiling is not None:
        y = np.clip(y, s.floor, s.ceiling)
    error = np.sqrt(np.where(focal, s.error_variances[1], s.error_variances[0]))
    x = true + error * rng.standard_normal(len(cell)) + s.prior_easier * focal
    n_all, totals = n, np.bincount(cell, weights=true, minlength=T * J).reshape(T, J)[-1]
    means = np.divide(totals, n_all[-1], out=np.zeros(J), where=n_all[-1] > 0)
    va = _true_va(s, effects[-1], means) + apart * (means - np.where(n[-1] > 0, intake[-1], 0.0)) + years[-1]
    if s.missing:
        gone = rng.random(len(cell)) < _missing_chance(s, e / s.sigma)
        kept = ~(gone & (focal | s.missing_baseline))
        cell, x, y = cell[kept], x[kept], y[kept]

    def total(values):
        return np.bincount(cell, weights=values, minlength=T * J).reshape(T, J)

    n = np.bincount(cell, minlength=T * J).reshape(T, J)
    sx, sy = total(x), total(y)
    mean = [np.divide(v, n, out=np.zeros((T, J)), where=n > 0) for v in (sx, sy)]
    cross = _products(n, *mean, total(x * x), total(x * y), total(y * y))
    return n, np.stack([n.astype(float), sx, sy], axis=-1), cross, effects, va, intake[-1]


def _products(n, x, y, xx, xy, yy) -> np.ndarray:
    """(T, J, 3, 3) cross-products of the columns 1, x, y from cell means x, y and raw products."""
    cross = np.empty((*n.shape, 3, 3))
    cross[..., 0, 0], cross[..., 1, 1], cross[..., 2, 2] = n, xx, yy
    cross[..., 0, 1] = cross[..., 1, 0] = n * x
    cross[..., 0, 2] = cross[..., 2, 0] = n * y
    cross[..., 1, 2] = cross[..., 2, 1] = xy
    return cross


def _true_va(s: Scenario, u: np.ndarray, mean_prior: np.ndarray) -> np.ndarray:
    return s.delta + u + s.slope_change * mean_prior


def _standard(df: float | None, rng: np.random.Generator, shape) -> np.ndarray:
    """Draws with mean 0 and variance 1, normal or t."""
    if df is None:
        return rng.standard_normal(shape)
    return rng.standard_t(df, shape) * math.sqrt((df - 2) / df)


def _missing_chance(s: Scenario, residual: np.ndarray) -> np.ndarray:
    """Chance of each student to be missing: logistic in the residual, s.missing on average over normal ones."""
    return 1 / (1 + np.exp(-_missing_level(s.missing, s.missing_slope) - s.missing_slope * residual))


@lru_cache
def _missing_level(missing: float, slope: float) -> float:
    """Log-odds of an average student to be missing, so that the share ``missing`` of normal ones is."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        share = weights @ (1 / (1 + np.exp(-middle - slope * nodes))) / weights.sum()
        low, high = (middle, high) if share < missing else (low, middle)
    return low
