"""School bootstrap of the benchmark: resample whole schools with all their cohorts, refit both steps.

With moments a replicate is a vector of school multiplicities; no student is touched, and all replicates are fitted at
once. Unlike the analytic errors it needs neither independent cohorts nor a model for the errors of b_B: where school
effects last from the baseline into the focal cohort, the errors of the two steps partly cancel, and it sees that.
Sources: Davison and Hinkley (1997, section 3.8) and Field and Welsh (2007), resampling of clusters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..errors import BenchmarkError
from ..models import blup as _blup
from ..models.likelihood import Compressed, compress, maximise, profile
from ..models.measurement import error_vector, remove_error
from ..models.mixed import COLLINEAR, unshift
from ..records.prior_check import looks_standardised, score_moments
from ..sums.moments import Moments
from ..sums.students import Records, sum_students
from .baseline import STANDARDISED, Benchmark, check_choice
from .benchmark import SHIFTS, VARIANCES, fit_residuals, predict_benchmark

BLOCK = 250  # replicates fitted at once, at most,
ENTRIES = 2_000_000  # and their multiplicities of schools: both bound the memory


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


@dataclass(slots=True, eq=False)
class Spread:
    """Variance over replicates that come in blocks (Chan, Golub and LeVeque 1983); mean, squares: (J,)."""

    count: int = 0
    mean: np.ndarray | float = 0.0
    squares: np.ndarray | float = field(default=0.0, repr=False)

    def add(self, block: np.ndarray) -> None:
        """Take in the values (R, J) of R more replicates."""
        R, mean = len(block), block.mean(axis=0)
        change, total = mean - self.mean, self.count + R
        self.squares = self.squares + R * block.var(axis=0) + change**2 * (self.count * R / total)
        self.mean, self.count = self.mean + change * (R / total), total

    @property
    def variance(self) -> np.ndarray:
        """(J,) with divisor R - 1."""
        return self.squares / (self.count - 1)


def bootstrap_benchmark(
    records: Records,
    benchmark: Benchmark,
    cohorts: Iterable[int],
    *,
    seed: int | np.random.Generator,
    replicates: int = 200,
    shift: str = "estimated",
    variances: str = "focal",
    method: str = "ML",
    level: float = 0.95,
) -> BenchmarkBootstrap:
    """Bootstrap a fitted benchmark and the focal cohorts that are read against it.

    records: with the baseline cohorts (they are refitted) and the focal ``cohorts``; schools are resampled with
    replacement from all schools of either. seed: int or numpy Generator. Raises as fit_baseline and fit_benchmark do;
    BenchmarkError if a replicate cannot be estimated (too few schools).
    """
    cohorts = tuple(sorted(int(c) for c in cohorts))
    every = sorted({*benchmark.cohorts, *cohorts})
    _check_options(shift, variances, replicates)
    moments = sum_students(records, every, benchmark.state, by_cell=True).moments
    if looks_standardised(score_moments(records, every)):
        raise BenchmarkError(STANDARDISED)
    return bootstrap_from_moments(
        moments,
        benchmark,
        cohorts,
        seed=seed,
        replicates=replicates,
        shift=shift,
        variances=variances,
        method=method,
        level=level,
    )


def bootstrap_from_moments(
    moments: Moments,
    benchmark: Benchmark,
    cohorts: tuple[int, ...],
    *,
    seed: int | np.random.Generator,
    replicates: int = 200,
    shift: str = "estimated",
    variances: str = "focal",
    method: str = "ML",
    level: float = 0.95,
) -> BenchmarkBootstrap:
    """The bootstrap from the sums by cell of baseline and focal cohorts under ``benchmark.state``.

    Replicates are fitted in blocks, and of a block only what the result holds is kept: memory grows neither with the
    replicates nor, beyond some cells, with the schools.
    """
    _check_options(shift, variances, replicates)
    rng, J = np.random.default_rng(seed), len(moments.schools)
    rows = [[], [], [], []]
    spreads = [Spread() for _ in cohorts]
    block = max(2, min(BLOCK, ENTRIES // J))
    for start in range(0, replicates, block):
        weights = rng.multinomial(J, np.full(J, 1 / J), size=min(block, replicates - start))
        b, delta, tau2, va = refit_weighted(moments, benchmark, cohorts, weights, shift, variances, method)
        for kept, part in zip(
            rows, (b[0], *(np.column_stack(v) for v in (delta, tau2, [v.mean(axis=1) for v in va]))), strict=True
        ):
            kept.append(part)
        for spread, values in zip(spreads, va, strict=True):
            spread.add(values)
    index = pd.RangeIndex(replicates, name="replicate")
    b, delta, tau2, mean = (np.concatenate(kept) for kept in rows)
    frame = pd.DataFrame(b, index=index, columns=list(benchmark.coefficients.index))
    by_cohort = (pd.DataFrame(values, index=index, columns=list(cohorts)) for values in (delta, mean, tau2))
    table = _school_table(moments, benchmark, cohorts, spreads, shift, variances, method, level)
    return BenchmarkBootstrap(cohorts, frame, *by_cohort, table, replicates, level)


def _check_options(shift: str, variances: str, replicates: int) -> None:
    check_choice(shift, SHIFTS, "shift")
    check_choice(variances, VARIANCES, "variances")
    if replicates < 2:
        raise BenchmarkError(f"A bootstrap needs at least two replicates, not {replicates}.")


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
    check_determined(baseline.cross[:, :-1, :-1])
    b, base_tau2, base_sigma2 = baseline_estimates(
        baseline, moments.intercept, benchmark.estimator, benchmark.method == "REML"
    )
    base_sigma2 = base_sigma2 + b**2 @ errors
    undo = unshift(moments)
    out = [[b @ undo[:-1, :-1].T + undo[:-1, -1]], [], [], []]
    for cohort in cohorts:
        focal = moments.select([cohort])
        data = compress(focal, weights[:, np.searchsorted(moments.schools, focal.schools)])
        delta, theta, sigma2 = focal_estimates(
            data, b, base_tau2, base_sigma2, moments.intercept, shift, variances, reml
        )
        lam = focal.n * theta[:, None] / (1 + focal.n * theta[:, None])
        rbar = (focal.sums[:, -1] - b @ focal.sums[:, :-1].T) / focal.n
        centre = np.nan_to_num(delta)[:, None]
        for kept, value in zip(out[1:], (delta, theta * sigma2, centre + lam * (rbar - centre)), strict=True):
            kept.append(value)
    return out


def baseline_estimates(data: Compressed, intercept: int, estimator: str, reml: bool):
    """b (R, p) in shifted columns by the benchmark's estimator, and the mixed model's tau2, sigma2 (R,)."""
    theta = maximise(data, reml)
    at = profile(data, theta, reml)
    sigma2 = at.rss / (data.n - (data.p if reml else 0))
    if estimator == "mixed":
        b = at.b
    elif estimator == "ols":
        b = np.linalg.solve(data.cross[:, :-1, :-1], data.cross[:, :-1, -1:])[..., 0]
    else:
        b = _within(data, intercept, reml)
    return b, theta * sigma2, sigma2


def focal_estimates(
    focal: Compressed,
    b: np.ndarray,
    tau2: np.ndarray,
    sigma2: np.ndarray,
    intercept: int,
    shift: str,
    variances: str,
    reml: bool,
):
    """Shift (nan where absorbed), theta and sigma2, (R,) each, of focal cohorts against b (R, p) in shifted columns.

    tau2, sigma2 (R,): of the baseline, which are kept where the variances are the baseline's.
    """
    data = _residual_data(focal, b, shift, intercept)
    theta = maximise(data, reml) if variances == "focal" else tau2 / sigma2
    at = profile(data, theta, reml)
    if variances == "focal":
        sigma2 = at.rss / (data.n - (data.p if reml else 0))
    return at.b[:, 0] if data.p else np.full(len(theta), np.nan), theta, sigma2


def check_determined(cross: np.ndarray) -> None:
    """Refuse replicates whose schools leave the coefficients undetermined; cross (R, p, p) of the shifted columns."""
    size = np.sqrt(np.einsum("rii->ri", cross))
    if (size > 0).all():
        scaled = cross / (size[:, :, None] * size[:, None, :])
        if np.linalg.eigvalsh(scaled)[:, 0].min() > COLLINEAR:
            return
    raise BenchmarkError(
        "A bootstrap sample of schools leaves the coefficients undetermined: there are too few "
        "schools for this formula."
    )


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
    R, D, k, m = *data.outer.shape[:3], L.shape[-1]
    half = (data.outer.reshape(R, D * k, k) @ L).reshape(R, D, k, m)  # one product a data set, not one a size
    outer = (np.swapaxes(half, 2, 3).reshape(R, D * m, k) @ L).reshape(R, D, m, m)
    return Compressed(data.sizes, data.counts, outer, L.transpose(0, 2, 1) @ data.cross @ L, data.n)


def _school_table(moments, benchmark, cohorts, spreads, shift, variances, method, level) -> pd.DataFrame:
    """Estimates on the data themselves with bootstrap errors, one row a cohort and school."""
    rows = []
    for cohort, spread in zip(cohorts, spreads, strict=True):
        focal = moments.select([cohort])
        fit = fit_residuals(focal, benchmark, shift, variances, method)
        point, _ = predict_benchmark(
            focal, benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy(), fit.tau2, fit.sigma2, shift
        )
        se = np.sqrt(point.var_conditional + spread.variance)
        lower, upper = _blup.interval(point.effect, se, level)
        rows.append(
            pd.DataFrame(
                {
                    "cohort": cohort,
                    "school": focal.schools[focal.cell_school],
                    "n": focal.n.astype(int),
                    "effect": point.effect,
                    "se_analytic": np.sqrt(point.var_comparative),
                    "se_bootstrap": se,
                    "lower": lower,
                    "upper": upper,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)
