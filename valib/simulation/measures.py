"""Performance measures of simulated estimates, each with its Monte Carlo standard error.

For R replicates with estimates e_r of truths t_r (which may differ between replicates) and errors d_r = e_r - t_r:

    bias      mean d                    Monte Carlo standard error  sqrt(sum (d - mean d)^2 / (R (R - 1)))
    emp_se    SD of d (R - 1)                                       emp_se / sqrt(2 (R - 1))
    rmse      sqrt(mean d^2)                                        SD of d^2 / sqrt(R) / (2 rmse), delta method
    coverage  share of intervals with t_r in them                   sqrt(coverage (1 - coverage) / R)

Source: Morris, White and Crowther (2019, table 6). Where an estimand has one value a school, a replicate gives means
over its schools; replicates are the independent units, and the standard error of every mean is that of R such values.

A probability P_j that schools are given of an outcome I_j (0 or 1) is calibrated if I_j happens as often as P_j says:
calibration = sum (P_j - m)(I_j - m) / sum (P_j - m)^2 over schools and replicates, m the mean of P in a replicate, is the
slope of the outcome on the probability, 1 if so and below 1 if probabilities are too sure of themselves (Cox 1958).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

VALUES = ("estimate", "truth", "error", "square", "covered", "width", "spearman", "misclassified")
SCHOOL_ESTIMANDS = ("va", "effect", "rank", "change", "to_a_school")  # one value a school
FORECASTS = ("top_fifth", "p_up")  # a probability a school, of what is true or not
KEYS = ["scenario", "method", "estimand"]


def scalar_values(
    estimate: np.ndarray,
    truth: float | np.ndarray,
    half_width: np.ndarray | None = None,
    limits: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """(R, 8), the columns VALUES: estimate (R,) of truth (a number or (R,)), its interval -+ half_width or limits."""
    out = np.full((len(estimate), len(VALUES)), np.nan)
    error = estimate - truth
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = estimate, truth, error, error**2
    if half_width is not None:
        limits = estimate - half_width, estimate + half_width
    if limits is not None:
        known = np.isfinite(limits[0]) & np.isfinite(limits[1])
        out[:, 4] = np.where(known, (limits[0] <= truth) & (truth <= limits[1]), np.nan)
        out[:, 5] = np.where(known, limits[1] - limits[0], np.nan)
    return out


def calibration_values(probability: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """(1, 8), the columns VALUES of one replicate: means over schools of P, of I, of (P - m)(I - P), of (P - m)^2."""
    out = np.full((1, len(VALUES)), np.nan)
    apart = probability - probability.mean()
    error = (apart * (outcome - probability)).mean()
    out[0, :4] = probability.mean(), np.mean(outcome), error, (apart**2).mean()
    return out


def school_values(
    estimate: np.ndarray,
    truth: np.ndarray,
    half_width: np.ndarray | None,
    here: np.ndarray,
    limits: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """(R, 8), the columns VALUES as means over schools: estimate, truth (R, J), the interval -+ half_width or limits
    (each (R, J)); here (R, J) who counts. A replicate whose limits are missing has no coverage.

    spearman: rank correlation of estimate and truth; 0 where the estimates do not vary. misclassified: share of schools
    whose estimate stands in another fifth than their truth.
    """
    J = here.sum(axis=1)

    def mean(values):
        return np.where(here, values, 0.0).sum(axis=1) / J

    error = estimate - truth
    lower, upper = (estimate - half_width, estimate + half_width) if limits is None else limits
    ranks = [_ranks(np.where(here, v, np.inf)) for v in (estimate, truth)]
    gap = np.where(here, ranks[0] - ranks[1], 0)
    flat = np.where(here, estimate, np.inf).min(axis=1) == np.where(here, estimate, -np.inf).max(axis=1)
    spearman = np.where(flat, 0.0, 1 - 6 * (gap**2).sum(axis=1) / (J * (J**2 - 1.0)))
    fifths = [5 * r // J[:, None] for r in ranks]
    return np.column_stack(
        [
            mean(estimate),
            mean(truth),
            mean(error),
            mean(error**2),
            mean(np.where(np.isnan(lower), np.nan, (lower <= truth) & (truth <= upper))),
            mean(upper - lower),
            spearman,
            mean(fifths[0] != fifths[1]),
        ]
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 0.. along the rows; ties in the order of the schools, which says nothing of their truth."""
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1, kind="stable")


def summarise(draws: pd.DataFrame) -> pd.DataFrame:
    """Measures of every scenario, method and estimand, from one row a replicate.

    draws: the columns scenario, method, estimand, replicate and VALUES. Returns one row a measure: scenario, method,
    estimand, measure, value, mcse, replicates (those in which the value is defined). Measures that do not apply to an
    estimand are left out.
    """
    parts = []
    for key, group in draws.groupby(KEYS, sort=False, observed=True):
        values = {name: group[name].to_numpy(dtype=np.float64) for name in VALUES}
        rows = calibration(values) if key[2] in FORECASTS else measures(values, key[2] in SCHOOL_ESTIMANDS)
        parts += [(*key, *row) for row in rows]
    return pd.DataFrame(parts, columns=[*KEYS, "measure", "value", "mcse", "replicates"])


def measures(values: dict[str, np.ndarray], by_school: bool) -> list[tuple[str, float, float, int]]:
    """(measure, value, Monte Carlo standard error, replicates) of one method and estimand; values (R,) by column."""
    out = [
        (name, *mean_and_error(values[column]))
        for name, column in (("mean", "estimate"), ("truth", "truth"), ("bias", "error"))
    ]
    error, square = (v[np.isfinite(v)] for v in (values["error"], values["square"]))
    R = len(error)
    if by_school:
        out.append(_pooled_se(error, square))
    else:
        spread = float(error.std(ddof=1)) if R > 1 else np.nan
        out.append(("emp_se", spread, spread / np.sqrt(2 * (R - 1)) if R > 1 else np.nan, R))
    mse, mse_error, _ = mean_and_error(square)
    rmse = float(np.sqrt(mse))
    out.append(("rmse", rmse, mse_error / (2 * rmse) if rmse > 0 else 0.0, R))
    share, share_error, n = mean_and_error(values["covered"])
    if not by_school and n:
        share_error = float(np.sqrt(share * (1 - share) / n))
    out.append(("coverage", share, share_error, n))
    out += [(name, *mean_and_error(values[name])) for name in ("width", "spearman", "misclassified")]
    return [row for row in out if row[3]]


def calibration(values: dict[str, np.ndarray]) -> list[tuple[str, float, float, int]]:
    """The same of a probability: mean, truth (how often it was so), and the slope, its error by the delta method."""
    out = [(name, *mean_and_error(values[column])) for name, column in (("mean", "estimate"), ("truth", "truth"))]
    known = np.isfinite(values["error"])
    error, square = values["error"][known], values["square"][known]
    if not square.sum() > 0:
        return out
    lack = error.sum() / square.sum()
    _, se, n = mean_and_error((error - lack * square) / square.mean())
    return [*out, ("calibration", float(1 + lack), se, n)]


def mean_and_error(values: np.ndarray) -> tuple[float, float, int]:
    """Mean of the defined values, its standard error SD / sqrt(R), and R; nan where undefined."""
    v = values[np.isfinite(values)]
    if not len(v):
        return np.nan, np.nan, 0
    return float(v.mean()), float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else np.nan, len(v)


def _pooled_se(error: np.ndarray, square: np.ndarray) -> tuple[str, float, float, int]:
    """SD of the errors of all schools and replicates: sqrt(mean d^2 - (mean d)^2), replicates as units."""
    bias = error.mean() if len(error) else np.nan
    parts = square - 2 * bias * error + bias**2  # mean over a replicate's schools of (d - bias)^2
    value, se, n = mean_and_error(parts)
    spread = float(np.sqrt(value))
    return "emp_se", spread, se / (2 * spread) if spread > 0 else 0.0, n
