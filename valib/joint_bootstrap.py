"""School bootstrap of the joint model: resample whole schools with all their cohorts and refit.

Unlike the delta method it assumes neither normal effects nor many schools. With moments a replicate picks rows of the
school sums; no student is touched. Source: Davison and Hinkley (1997, section 3.8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from .covariance import correlation, make_structure
from .errors import ModelError
from .joint import JointFit, cohort_moments
from .multivariate import JointMoments, stack_moments, within_by_school
from .multivariate_fit import JointProblem
from .newton import minimise

TRIES = 5  # draws for each replicate wanted; a draw fails when a cohort is left with too few schools


@dataclass(frozen=True, slots=True, eq=False)
class JointBootstrap:
    """R replicates of a joint model of T cohorts.

    omega, correlation (R, T, T), sigma2 (R, T), coefficients (R, P). failed: draws in which the model could not be
    fitted, drawn again.
    """

    cohorts: tuple[int, ...]
    omega: np.ndarray
    correlation: np.ndarray
    sigma2: np.ndarray
    coefficients: np.ndarray
    failed: int
    level: float

    def correlations(self) -> pd.DataFrame:
        """One row a pair of cohorts: standard error and percentile interval of the correlation; replicates used.

        A replicate with a variance of 0 has no correlation and does not count.
        """
        t, s = np.triu_indices(len(self.cohorts), 1)
        draws, years, tail = self.correlation[:, t, s], np.asarray(self.cohorts), (1 - self.level) / 2
        lower, upper = np.nanquantile(draws, [tail, 1 - tail], axis=0)
        return pd.DataFrame({"cohort": years[t], "other": years[s], "se": np.nanstd(draws, axis=0, ddof=1),
                             "lower": lower, "upper": upper, "replicates": np.isfinite(draws).sum(axis=0)})


def bootstrap_joint(records: pd.DataFrame, fit: JointFit, *, seed: int | np.random.Generator,
                    replicates: int = 200) -> JointBootstrap:
    """Resample the schools of the records that ``fit`` was fitted to, and refit from its estimates.

    Raises ModelError where most draws leave a cohort that cannot be fitted.
    """
    rng = np.random.default_rng(seed)
    parts, _ = cohort_moments(records, fit.cohorts, fit.state or fit.formula, by_cell=True)
    b = [fit.fixed_effects[c].to_numpy() for c in fit.cohorts]
    data = stack_moments(parts, b)
    cells = within_by_school(parts, b, data)
    sigma2 = fit.sigma2.to_numpy()
    typical = sigma2 * (data.n > 0).sum(axis=0) / data.n.sum(axis=0)
    scale = np.sqrt(np.maximum(np.diag(fit.omega), 0.1 * typical))
    structure = make_structure(fit.covariance, data.cohorts, scale)
    common = fit.residual == "common"
    omega = 0.9 * fit.omega.to_numpy() + 0.1 * np.diag(scale**2)
    x = np.concatenate([structure.start(omega), np.log(sigma2[:1] if common else sigma2)])
    draws, failed = [], 0
    while len(draws) < replicates:
        if failed + len(draws) >= TRIES * replicates:
            raise ModelError(f"Of {failed + len(draws)} bootstrap draws {failed} left a cohort with too few schools.")
        chosen = rng.integers(0, len(data.schools), len(data.schools))
        try:
            end = minimise(JointProblem(resample(data, cells, chosen), structure, common, fit.method == "REML"), x)
        except np.linalg.LinAlgError:
            failed += 1
            continue
        drawn, s2 = end.problem.split(end.x)
        draws.append((drawn, correlation(drawn), s2, data.offset + data.back @ end.at.delta))
    stacked = [np.stack(values) for values in zip(*draws, strict=True)]
    return JointBootstrap(fit.cohorts, *stacked, failed, fit.level)


def resample(data: JointMoments, cells: np.ndarray, chosen: np.ndarray) -> JointMoments:
    """The moments with the schools chosen (J,), each draw a school of its own; cells (J, Q, Q): within by school."""
    count = np.bincount(chosen, minlength=len(data.schools))
    return replace(data, schools=np.arange(len(chosen)), n=data.n[chosen], z=data.z[chosen],
                   within=np.tensordot(count, cells, axes=1))
