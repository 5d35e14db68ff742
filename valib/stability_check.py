"""Before and after correlating school effects: which cohorts can be correlated, and do the ways give what they should?

The simulation draws from the joint model itself: school effects N(0, Omega), students N(0, sigma2_t), no covariates. It
needs no students, since the models see them only through their moments. Source for the design of such checks: Morris,
White and Crowther (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .blup import correlation_interval, delta_error, factor, predict
from .errors import ModelError
from .mixed import fit_moments
from .moments import Moments
from .multivariate_fit import MultivariateFit, fit_joint_moments
from .relative import CohortFit
from .stability import WAYS, TwoStep, expected_correlations, two_step_correlations

MIN_SHARED = 4  # schools two cohorts must share: Fisher's interval needs more than three
TRIES = 10      # draws for each replicate wanted; one fails when a cohort's between-school variance is estimated as 0


def usable_cohorts(fits: Sequence[CohortFit]) -> tuple[list[int], dict[int, str]]:
    """Cohorts whose school effects can be correlated with each other, and for the rest the reason why not.

    fits: one relative fit a cohort. Left out are cohorts whose between-school variance is 0 and, the worst first, those
    that share fewer than four schools with another. Raises ModelError where fewer than two remain.
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


def simulate_ways(omega: np.ndarray, sigma2: np.ndarray, n: np.ndarray, replicates: int,
                  seed: int | np.random.Generator, level: float = 0.95) -> pd.DataFrame:
    """Draw cohorts from a known joint model, correlate them in all six ways, compare with what is expected.

    omega (T, T), sigma2 (T,): the truth, score points squared; n (J, T): students, 0 where a school has none.
    One row a pair of cohorts (first, second: positions 0..T-1) and way: rho (true), expected
    (:func:`valib.stability.expected_correlations`), mean over replicates, mc_se of the mean, sd over replicates,
    coverage of rho by the way's interval (as :func:`valib.stability.correlations` gives it) with coverage_mc_se, and
    replicates. Maximum likelihood. An interval that cannot be given (a correlation of 1) does not cover. Draws in which
    a variance is estimated as 0 have no correlation and are drawn again; ModelError when nine in ten are so.
    """
    omega, sigma2, n = (np.asarray(a, dtype=np.float64) for a in (omega, sigma2, n))
    rng = np.random.default_rng(seed)
    root, drawn, failed = factor(omega), [], 0
    while len(drawn) < replicates:
        if failed + len(drawn) >= TRIES * replicates:
            raise ModelError(f"In {failed} of {failed + len(drawn)} draws a variance between schools was estimated "
                             "as 0.")
        parts = _draw(root, sigma2, n, rng)
        try:
            drawn.append(correlate_ways(two_step_moments(parts), fit_joint_moments(parts), level))
        except Undefined:
            failed += 1
    return _summary(np.stack(drawn), expected_correlations(n, omega, sigma2))


class Undefined(Exception):
    """A replicate with a between-school variance of 0."""


def _draw(root: np.ndarray, sigma2: np.ndarray, n: np.ndarray, rng: np.random.Generator) -> list[Moments]:
    """Moments of one draw of T intercept-only cohorts, without drawing students: cell sums, and the spread within."""
    effects = rng.standard_normal(n.shape) @ root.T
    parts = []
    for t in range(n.shape[1]):
        here = np.flatnonzero(n[:, t] > 0)
        size = n[here, t]
        mean = effects[here, t] + np.sqrt(sigma2[t] / size) * rng.standard_normal(len(here))
        within = sigma2[t] * rng.chisquare(size.sum() - len(here))
        total, square = size @ mean, size @ mean**2 + within
        parts.append(Moments(("Intercept", "score"), np.zeros(2), here, np.array([t]), np.arange(len(here)),
                             np.zeros(len(here), dtype=np.intp), size, np.column_stack([size, size * mean]),
                             np.array([[[size.sum(), total], [total, square]]]), None, np.ones(len(here))))
    return parts


def two_step_moments(parts: list[Moments]) -> TwoStep:
    """Separate models of the cohorts, from moments whose schools are numbered 0..J-1; Undefined where tau2 is 0."""
    fits = [fit_moments(m) for m in parts]
    if any(f.singular for f in fits):
        raise Undefined
    J, T = 1 + max(m.schools.max() for m in parts), len(parts)
    n, effects, shrinkage = np.zeros((J, T)), np.full((J, T), np.nan), np.full((J, T), np.nan)
    for t, (m, f) in enumerate(zip(parts, fits, strict=True)):
        blup = predict(m.n, m.means[:, -1] - m.means[:, :-1] @ f.coefficients, f.tau2, f.sigma2)
        n[m.schools, t], effects[m.schools, t], shrinkage[m.schools, t] = m.n, blup.effect, blup.shrinkage
    return TwoStep(np.arange(J), np.arange(T), n, effects, shrinkage, np.array([f.tau2 for f in fits]),
                   np.array([f.sigma2 for f in fits]))


def correlate_ways(data: TwoStep, joint: MultivariateFit, level: float) -> np.ndarray:
    """(pairs, 6, 3): estimate and the limits of its interval for every way; Undefined where the joint fit has none."""
    if not np.isfinite(joint.correlation).all():
        raise Undefined
    eb = np.full(data.n.shape, np.nan)
    eb[joint.data.schools] = joint.effects
    r = joint.correlation
    found = two_step_correlations(data, eb, level)
    found["joint_model"] = r, *correlation_interval(r, delta_error(r, joint.correlation_se), level)
    first, second = np.triu_indices(len(r), 1)
    return np.array([found[way] for way in WAYS])[:, :, first, second].transpose(2, 0, 1)


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
            rows.append({"first": t, "second": s, "way": way, "rho": rho, "expected": expected[way][t, s],
                         "mean": estimate.mean(), "mc_se": sd / np.sqrt(R), "sd": sd, "coverage": covered,
                         "coverage_mc_se": np.sqrt(covered * (1 - covered) / R), "replicates": R})
    return pd.DataFrame(rows)
