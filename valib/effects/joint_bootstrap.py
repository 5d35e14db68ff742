"""School bootstrap of the joint model: resample whole schools with all their cohorts and refit.

Unlike the delta method it assumes neither normal effects nor many schools. With moments a replicate picks rows of the
school sums; no student is touched. Source: Davison and Hinkley (1997, section 3.8).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models.joint_fit import JointProblem
from ..models.joint_likelihood import JointMoments, stack_moments, within_by_school
from ..models.newton import minimise, minimise_all
from ..models.structures import correlation, make_structure
from .joint import JointFit, cohort_moments

ENTRIES = 2_000_000  # numbers of the replicates fitted at once, which bound the memory
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
        return pd.DataFrame(
            {
                "cohort": years[t],
                "other": years[s],
                "se": np.nanstd(draws, axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "replicates": np.isfinite(draws).sum(axis=0),
            }
        )


def bootstrap_joint(
    records: pd.DataFrame, fit: JointFit, *, seed: int | np.random.Generator, replicates: int = 200
) -> JointBootstrap:
    """Resample the schools of the records that ``fit`` was fitted to, and refit from its estimates.

    Raises ModelError where most draws leave a cohort that cannot be fitted.
    """
    rng = np.random.default_rng(seed)
    parts, *_ = cohort_moments(records, fit.cohorts, fit.state or fit.formula, by_cell=True)
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
    draws, tried, known = [], 0, 0
    block = max(1, ENTRIES // (data.z.size * len(fit.cohorts)))
    while known < replicates:
        if tried >= TRIES * replicates:
            raise ModelError(f"Of {tried} bootstrap draws {tried - known} left a cohort with too few schools.")
        chosen = [rng.integers(0, len(data.schools), len(data.schools)) for _ in range(min(block, replicates - known))]
        problems = JointProblem(resample(data, cells, np.array(chosen)), structure, common, fit.method == "REML")
        draws.append(_refit(problems, x))
        tried, known = tried + len(chosen), known + len(draws[-1][0])
    omega, sigma2, coefficients = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    return JointBootstrap(fit.cohorts, omega, correlation(omega), sigma2, coefficients, tried - known, fit.level)


def _refit(problems: JointProblem, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """omega, sigma2 and coefficients at the minima of R problems, but for those that cannot be fitted.

    Most are found together; a search that has to turn is made by itself.
    """
    x, there = minimise_all(problems, np.tile(start, (len(problems.data.n), 1)))
    for row in np.flatnonzero(~there):
        with suppress(np.linalg.LinAlgError):
            x[row], there[row] = minimise(problems.take(row), start).x, True
    problems, x = problems.take(there), x[there]
    if not len(x):
        return (*problems.split(x), problems.data.offset)
    data = problems.data
    return *problems.split(x), data.offset + (data.back @ problems.value(x).delta[..., None])[..., 0]


def resample(data: JointMoments, cells: np.ndarray, chosen: np.ndarray) -> JointMoments:
    """The moments of R data sets of the schools chosen (R, J), each draw a school of its own.

    cells (J, Q, Q): within by school.
    """
    R, J = chosen.shape
    within = np.stack([np.tensordot(np.bincount(row, minlength=len(data.schools)), cells, axes=1) for row in chosen])
    same = {
        name: np.broadcast_to(value, (R, *np.shape(value)))
        for name in ("offset", "back", "log_scale")
        for value in (getattr(data, name),)
    }
    return replace(data, schools=np.arange(J), n=data.n[chosen], z=data.z[chosen], within=within, **same)
