"""Before and after correlating school effects: which cohorts can be correlated, and do the ways give what they should?

The simulation draws from the joint model itself: school effects N(0, Omega), students N(0, sigma2_t), no covariates. It
needs no students, since the models see them only through their moments. Source for the design of such checks: Morris,
White and Crowther (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..effects.relative import CohortFit
from ..effects.stability import WAYS, correlate_all, expected_correlations
from ..errors import ModelError
from ..models.blup import factor

MIN_SHARED = 4  # schools two cohorts must share: Fisher's interval needs more than three
BLOCK = 50  # draws fitted at once
TRIES = 10  # draws for each replicate wanted; one fails when a cohort's between-school variance is estimated as 0


def usable_cohorts(fits: Sequence[CohortFit]) -> tuple[list[int], dict[int, str]]:
    """Cohorts whose school effects can be correlated with each other, and for the rest the reason why not.

    Parameters
    ----------
    fits : sequence of CohortFit
        One relative fit a cohort.

    Returns
    -------
    tuple of list of int, dict of int to str
        The cohorts, and the reasons by cohort left out.

    Raises
    ------
    ModelError
        Where fewer than two cohorts remain.

    Notes
    -----
    Left out are cohorts whose between-school variance is 0 and, the worst first, those that share fewer than four schools
    with another.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> va.usable_cohorts([va.fit_relative(records, c) for c in (2023, 2024)])
    ([2023, 2024], {})
    """
    reasons = {f.cohort: "the estimated variance between schools is zero" for f in fits if f.singular}
    kept = {f.cohort: set(f.school_effects.index) for f in fits if not f.singular}
    while kept:
        few = {c: sum(len(own & other) < MIN_SHARED for d, other in kept.items() if d != c) for c, own in kept.items()}
        worst = max(kept, key=lambda c: (few[c], -len(kept[c])))
        if not few[worst]:
            break
        reasons[worst] = f"it shares fewer than {MIN_SHARED} schools with another cohort"
        del kept[worst]
    if len(kept) < 2:
        why = "; ".join(f"cohort {c}: {reason}" for c, reason in sorted(reasons.items()))
        raise ModelError(f"Correlations need the school effects of two cohorts. Left out: {why or 'none'}.")
    return sorted(kept), dict(sorted(reasons.items()))


def simulate_ways(
    omega: np.ndarray,
    sigma2: np.ndarray,
    n: np.ndarray,
    replicates: int,
    seed: int | np.random.Generator,
    level: float = 0.95,
) -> pd.DataFrame:
    """Draw cohorts from a known joint model, correlate them in all six ways, compare with what is expected.

    Parameters
    ----------
    omega : ndarray (T, T)
        True covariance of a school's effects, score points squared.
    sigma2 : ndarray (T,)
        True variance of students.
    n : ndarray (J, T)
        Students, 0 where a school has none.
    replicates : int
        Draws.
    seed : int or numpy.random.Generator
        Where the draws begin: the same seed gives the same result, byte for byte.
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row a pair of cohorts (``first``, ``second``: positions 0..T-1) and ``way``: ``rho`` (true), ``expected``,
        ``mean`` over replicates, ``mc_se`` of the mean, ``sd`` over replicates, ``coverage`` of rho by the way's interval
        with ``coverage_mc_se``, and ``replicates``.

    Raises
    ------
    ModelError
        When in nine of ten draws a variance is estimated as 0.

    Notes
    -----
    Maximum likelihood. Expected values are those of :func:`valib.expected_correlations`, intervals those of
    :func:`valib.correlations`. An interval that cannot be given (a correlation of 1) does not cover. Draws in which a
    variance is estimated as 0 have no correlation and are drawn again.

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> omega = np.array([[225.0, 180.0], [180.0, 225.0]])
    >>> table = va.simulate_ways(omega, np.array([2025.0, 2025.0]), np.full((60, 2), 30), replicates=50, seed=1)
    >>> table.loc[table["way"] == "eb", ["rho", "expected"]].round(2)
       rho  expected
    0  0.8      0.62
    """
    omega, sigma2, n = (np.asarray(a, dtype=np.float64) for a in (omega, sigma2, n))
    rng = np.random.default_rng(seed)
    root, cohorts = factor(omega), np.arange(len(sigma2))
    drawn, tried, known = [], 0, 0
    while known < replicates:
        if tried >= TRIES * replicates:
            raise ModelError(f"In {tried - known} of {tried} draws a variance between schools was estimated as 0.")
        count = min(replicates - known, BLOCK)
        draws = [_draw(root, sigma2, n, rng) for _ in range(count)]
        sums, cross = (np.stack(part) for part in zip(*draws, strict=True))
        found = correlate_all(cohorts, np.broadcast_to(n.T, (count, *n.T.shape)), sums, cross, level)
        drawn.append(found[np.isfinite(found[:, :, WAYS.index("joint_model"), 0]).all(axis=1)])
        tried, known = tried + count, known + len(drawn[-1])
    return _summary(np.concatenate(drawn), expected_correlations(n, omega, sigma2))


def _draw(
    root: np.ndarray, sigma2: np.ndarray, n: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One draw of T cohorts with the columns 1 and score: sums by cell (T, J, 2), cross-products (T, 2, 2).

    No student is drawn: the means of the cells, and the squares within a cohort's cells together.
    """
    effects = rng.standard_normal(n.shape) @ root.T
    T = n.shape[1]
    sums, cross = np.zeros((T, len(n), 2)), np.empty((T, 2, 2))
    for t in range(T):
        here = np.flatnonzero(n[:, t] > 0)
        size = n[here, t]
        mean = effects[here, t] + np.sqrt(sigma2[t] / size) * rng.standard_normal(len(here))
        within = sigma2[t] * rng.chisquare(size.sum() - len(here))
        total = size @ mean
        sums[t, here] = np.column_stack([size, size * mean])
        cross[t] = [[size.sum(), total], [total, size @ mean**2 + within]]
    return sums, cross


def _summary(drawn: np.ndarray, expected: dict[str, np.ndarray]) -> pd.DataFrame:
    """drawn (replicates, pairs, ways, 3) as the table of :func:`simulate_ways`."""
    R, T = len(drawn), len(expected["joint_model"])
    rows = []
    for pair, (t, s) in enumerate(zip(*np.triu_indices(T, 1), strict=True)):
        rho = expected["joint_model"][t, s]
        for k, way in enumerate(WAYS):
            estimate, lower, upper = drawn[:, pair, k].T
            covered = ((lower <= rho) & (rho <= upper)).mean()
            sd = estimate.std(ddof=1)
            rows.append(
                {
                    "first": t,
                    "second": s,
                    "way": way,
                    "rho": rho,
                    "expected": expected[way][t, s],
                    "mean": estimate.mean(),
                    "mc_se": sd / np.sqrt(R),
                    "sd": sd,
                    "coverage": covered,
                    "coverage_mc_se": np.sqrt(covered * (1 - covered) / R),
                    "replicates": R,
                }
            )
    return pd.DataFrame(rows)
