"""School bootstrap of the benchmark: resample whole schools with all their cohorts, refit both steps.

With moments a replicate is a vector of school multiplicities; no student is touched, and all replicates are fitted at
once. Unlike the analytic errors it needs neither independent cohorts nor a model for the errors of b_B: where school
effects last from the baseline into the focal cohort, the errors of the two steps partly cancel, and it sees that.
Sources: Davison and Hinkley (1997, section 3.8) and Field and Welsh (2007), resampling of clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import blup as _blup
from .baseline import STANDARDISED, Benchmark, _check_choice
from .benchmark import SHIFTS, VARIANCES, fit_residuals, predict_benchmark
from .comparability import looks_standardised, score_moments
from .design import build_design
from .errors import BenchmarkError
from .measurement import error_vector, remove_error
from .mixed import COLLINEAR, Compressed, compress, maximise, profile, unshift
from .moments import Moments, compute_moments
from .records import select

BLOCK = 250  # replicates fitted at once; bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkBootstrap:
    """R bootstrap replicates of a benchmark and its T focal cohorts (score points).

    coefficients (R, p): b_B. shift (R, T): delta_hat (nan where the shift is absorbed). mean_effect (R, T): mean
    benchmark VA over schools. tau2 (R, T): between-school variance. school_effects: one row a cohort and school with
    effect (the estimate on the data themselves), se_bootstrap (spread over replicates and the prediction error with
    known coefficients), lower, upper.
    """

    cohorts: tuple[int, ...]
    coefficients: pd.DataFrame
    shift: pd.DataFrame
    mean_effect: pd.DataFrame
    tau2: pd.DataFrame
    school_effects: pd.DataFrame
    replicates: int
    level: float

    def shift_table(self, equating_se: float = 0.0) -> pd.DataFrame:
        """Standard error and percentile interval of the shift by cohort; an equating error widens both."""
        tail = (1 - self.level) / 2
        draws = self.shift
        se = np.sqrt(draws.var(ddof=1) + equating_se**2)
        widen = np.divide(se, draws.std(ddof=1))
        lower = draws.mean() + widen * (draws.quantile(tail) - draws.mean())
        upper = draws.mean() + widen * (draws.quantile(1 - tail) - draws.mean())
        return pd.DataFrame({"mean": draws.mean(), "se": se, "lower": lower, "upper": upper}).rename_axis("cohort")


def bootstrap_benchmark(records: pd.DataFrame, benchmark: Benchmark, cohorts, *, seed: int | np.random.Generator,
                        replicates: int = 200, shift: str = "estimated", variances: str = "focal",
                        method: str = "ML", level: float = 0.95) -> BenchmarkBootstrap:
    """Bootstrap a fitted benchmark and the focal cohorts that are read against it.

    records: with the baseline cohorts (they are refitted) and the focal ``cohorts``; schools are resampled with
    replacement from all schools of either. seed: int or numpy Generator. Raises as fit_baseline and fit_benchmark do;
    BenchmarkError if a replicate cannot be estimated (too few schools).
    """
    _check_choice(shift, SHIFTS, "shift")
    _check_choice(variances, VARIANCES, "variances")
    if replicates < 2:
        raise BenchmarkError(f"A bootstrap needs at least two replicates, not {replicates}.")
    cohorts = tuple(sorted(int(c) for c in cohorts))
    data = select(records, sorted({*benchmark.cohorts, *cohorts}))
    if looks_standardised(score_moments(records, sorted({*benchmark.cohorts, *cohorts}))):
        raise BenchmarkError(STANDARDISED)
    moments = compute_moments(build_design(data, benchmark.state), by_cell=True)
    rng = np.random.default_rng(seed)
    J = len(moments.schools)
    weights = rng.multinomial(J, np.full(J, 1 / J), size=replicates).astype(np.float64)
    parts = [refit_weighted(moments, benchmark, cohorts, weights[i:i + BLOCK], shift, variances, method)
             for i in range(0, replicates, BLOCK)]
    b, delta, tau2, va = ([np.concatenate([part[i][k] for part in parts]) for k in range(len(parts[0][i]))]
                          for i in range(4))
    index = pd.RangeIndex(replicates, name="replicate")
    names = list(benchmark.coefficients.index)
    return BenchmarkBootstrap(
        cohorts, pd.DataFrame(b[0], index=index, columns=names), _frame(delta, cohorts, index),
        _frame([v.mean(axis=1) for v in va], cohorts, index), _frame(tau2, cohorts, index),
        _school_table(moments, benchmark, cohorts, va, shift, variances, method, level), replicates, level)


def refit_weighted(moments: Moments, benchmark: Benchmark, cohorts, weights, shift, variances, method):
    """One block of R replicates: lists over cohorts of b (R, p), delta (R,), tau2 (R,), VA (R, J_t).

    moments: of baseline and focal cohorts by cell; weights (R, J): school multiplicities. Of benchmark only cohorts,
    estimator, groups, method and error_variance are used.
    """
    reml = method == "REML"
    base = moments.select(benchmark.cohorts)
    w = weights[:, np.searchsorted(moments.schools, base.schools)]
    grouped = base.pool_cohorts() if benchmark.groups == "school" else base
    errors = error_vector(grouped, benchmark.error_variance)
    baseline = remove_error(compress(grouped, w), errors)
    _check_determined(baseline.cross[:, :-1, :-1])
    b, base_tau2, base_sigma2 = _baseline_coefficients(baseline, grouped, benchmark)
    base_sigma2 = base_sigma2 + b**2 @ errors
    undo = unshift(moments)
    out = [[b @ undo[:-1, :-1].T + undo[:-1, -1]], [], [], []]
    for cohort in cohorts:
        focal = moments.select([cohort])
        data = _residual_data(compress(focal, weights[:, np.searchsorted(moments.schools, focal.schools)]), b, shift,
                              moments.intercept)
        if variances == "focal":
            theta = maximise(data, reml)
        else:
            theta = base_tau2 / base_sigma2
        at = profile(data, theta, reml)
        sigma2 = at.rss / (data.n - (data.p if reml else 0)) if variances == "focal" else base_sigma2
        delta = at.b[:, 0] if data.p else np.full(len(theta), np.nan)
        lam = focal.n * theta[:, None] / (1 + focal.n * theta[:, None])
        rbar = (focal.sums[:, -1] - b @ focal.sums[:, :-1].T) / focal.n
        centre = np.nan_to_num(delta)[:, None]
        for kept, value in zip(out[1:], (delta, theta * sigma2, centre + lam * (rbar - centre)), strict=True):
            kept.append(value)
    return out


def _baseline_coefficients(data: Compressed, moments: Moments, benchmark: Benchmark):
    """b (R, p) in shifted columns by the benchmark's estimator, and the mixed model's tau2, sigma2 (R,)."""
    reml = benchmark.method == "REML"
    theta = maximise(data, reml)
    at = profile(data, theta, reml)
    sigma2 = at.rss / (data.n - (data.p if reml else 0))
    if benchmark.estimator == "mixed":
        b = at.b
    elif benchmark.estimator == "ols":
        b = np.linalg.solve(data.cross[:, :-1, :-1], data.cross[:, :-1, -1:])[..., 0]
    else:
        b = _within(data, moments.intercept, reml)
    return b, theta * sigma2, sigma2


def _check_determined(cross: np.ndarray) -> None:
    """Refuse replicates whose schools leave the coefficients undetermined; cross (R, p, p) of the shifted columns."""
    size = np.sqrt(np.einsum("rii->ri", cross))
    if (size > 0).all():
        scaled = cross / (size[:, :, None] * size[:, None, :])
        if np.linalg.eigvalsh(scaled)[:, 0].min() > COLLINEAR:
            return
    raise BenchmarkError("A bootstrap sample of schools leaves the coefficients undetermined: there are too few "
                         "schools for this formula.")


def _within(data: Compressed, intercept: int, reml: bool) -> np.ndarray:
    """Within slopes (R, p - 1) and the generalised least squares intercept of what they leave."""
    k = data.cross.shape[-1]
    M = data.cross - np.einsum("d,rdij->rij", 1 / data.sizes, data.outer)
    columns = [c for c in range(k - 1) if c != intercept]
    b = np.zeros((len(M), k - 1))
    b[:, columns] = np.linalg.solve(M[:, columns][:, :, columns], M[:, columns, -1:])[..., 0]
    left = _residual_data(data, b, "estimated", intercept)
    b[:, intercept] = profile(left, maximise(left, reml), reml).b[:, 0]
    return b


def _residual_data(data: Compressed, b: np.ndarray, shift: str, intercept: int) -> Compressed:
    """Compressed moments of r = y - X b with b (R, p) of its own in every replicate, ones before it if estimated."""
    L = np.concatenate([-b, np.ones((len(b), 1))], axis=1)[:, :, None]
    if shift == "estimated":
        ones = np.zeros_like(L)
        ones[:, intercept] = 1.0
        L = np.concatenate([ones, L], axis=2)
    Lt = L.transpose(0, 2, 1)
    return Compressed(data.sizes, data.counts, Lt[:, None] @ data.outer @ L[:, None], Lt @ data.cross @ L, data.n)


def _school_table(moments, benchmark, cohorts, va, shift, variances, method, level) -> pd.DataFrame:
    """Estimates on the data themselves with bootstrap errors, one row a cohort and school."""
    rows = []
    for k, cohort in enumerate(cohorts):
        focal = moments.select([cohort])
        fit = fit_residuals(focal, benchmark, shift, variances, method)
        point, _ = predict_benchmark(focal, benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy(), fit.tau2,
                                     fit.sigma2, shift)
        se = np.sqrt(point.var_conditional + va[k].var(axis=0, ddof=1))
        lower, upper = _blup.interval(point.effect, se, level)
        rows.append(pd.DataFrame({"cohort": cohort, "school": focal.schools[focal.cell_school],
                                  "n": focal.n.astype(int), "effect": point.effect,
                                  "se_analytic": np.sqrt(point.var_comparative), "se_bootstrap": se,
                                  "lower": lower, "upper": upper}))
    return pd.concat(rows, ignore_index=True)


def _frame(values, cohorts, index) -> pd.DataFrame:
    return pd.DataFrame(np.column_stack(values), index=index, columns=list(cohorts))
