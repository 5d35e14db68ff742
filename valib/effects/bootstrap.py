"""School bootstrap: resample whole schools with all their cohorts and refit; of the benchmark both steps, of the joint
model the whole of it.

With moments a replicate is a vector of school multiplicities; no student is touched, and all replicates are fitted at
once. Unlike the analytic errors it needs neither independent cohorts nor a model for the errors of b_B: where school
effects last from the baseline into the focal cohort, the errors of the two steps partly cancel, and it sees that.
Sources: Davison and Hinkley (1997, section 3.8) and Field and Welsh (2007), resampling of clusters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import BenchmarkError, ModelError
from ..models import blup as _blup
from ..models.blup import shrinkage
from ..models.estimators import benchmark_va, coefficients, optimise_residuals
from ..models.joint_fit import JointProblem
from ..models.joint_likelihood import JointMoments, stack_moments, within_by_school
from ..models.likelihood import compress
from ..models.measurement import error_vector, noise, remove_error
from ..models.mixed import COLLINEAR, unshift
from ..models.newton import minimise, minimise_all
from ..models.options import Estimator, Groups, Method, ShiftMode, Variances
from ..models.structures import correlation, make_structure
from ..records.prior_check import looks_standardised, score_moments
from ..sums.moments import Moments
from ..sums.students import Records, sum_students
from .baseline import STANDARDISED, Benchmark, check_choice
from .benchmark import SHIFTS, VARIANCES, fit_residuals
from .joint import JointFit, cohort_moments

BLOCK = 250  # replicates fitted at once, at most,
ENTRIES = 2_000_000  # and their numbers: both bound the memory
SAMPLES = 1000  # samples of many data sets fitted at once, at most
TRIES = 5  # draws for each replicate wanted of a joint model; a draw fails when a cohort has too few schools left


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

    def shift_table(self, equating_se: float | None = None) -> pd.DataFrame:
        """Standard error and percentile interval of the shift by cohort; an equating error widens both."""
        tail = (1 - self.level) / 2
        draws = self.shift
        se = np.sqrt(draws.var(ddof=1) + (equating_se or 0.0) ** 2)
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
        return np.asarray(self.squares / (self.count - 1))


def bootstrap_benchmark(
    records: Records,
    benchmark: Benchmark,
    cohorts: Iterable[int],
    *,
    seed: int | np.random.Generator,
    replicates: int = 200,
    shift: ShiftMode = "estimated",
    variances: Variances = "focal",
    method: Method = "ML",
    level: float = 0.95,
) -> BenchmarkBootstrap:
    """Bootstrap a fitted benchmark and the focal cohorts that are read against it, by resampling whole schools.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
        With the baseline cohorts (they are refitted) and the focal ones.
    benchmark : Benchmark
        Of which cohorts, estimator, groups, method and error_variance are used.
    cohorts : iterable of int
        The focal cohorts.
    seed : int or numpy.random.Generator
        Where the draws begin: the same seed gives the same result, byte for byte.
    replicates : int
        At least two.
    shift : {"estimated", "absorbed"}
        As for :func:`valib.fit_benchmark`.
    variances : {"focal", "baseline"}
        As for :func:`valib.fit_benchmark`.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.

    Returns
    -------
    BenchmarkBootstrap
        ``coefficients``, ``shift``, ``mean_effect``, ``tau2`` by replicate, ``school_effects`` with bootstrap errors, and
        ``shift_table()``.

    Raises
    ------
    BenchmarkError
        As :func:`valib.fit_baseline` and :func:`valib.fit_benchmark` do, and if a replicate cannot be estimated (too few
        schools).
    RecordsError, ModelError
        As those two do.

    Notes
    -----
    Schools are resampled with replacement from all schools of baseline or focal cohorts, each with all its cohorts, and
    both steps are refitted. Where school effects last from the baseline into the focal cohort, the errors of the two steps
    partly cancel, and this sees it. Sources: Davison and Hinkley (1997, section 3.8); Field and Welsh (2007).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> sample = va.bootstrap_benchmark(records, benchmark, [2024], seed=1, replicates=20)
    >>> sample.shift.shape
    (20, 1)
    >>> sample.shift_table().columns.tolist()
    ['mean', 'se', 'lower', 'upper']
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
    shift: ShiftMode = "estimated",
    variances: Variances = "focal",
    method: Method = "ML",
    level: float = 0.95,
) -> BenchmarkBootstrap:
    """The bootstrap from the sums by cell of baseline and focal cohorts under ``benchmark.state``.

    Replicates are fitted in blocks, and of a block only what the result holds is kept: memory grows neither with the
    replicates nor, beyond some cells, with the schools.
    """
    _check_options(shift, variances, replicates)
    rng, J = np.random.default_rng(seed), len(moments.schools)
    rows: list[list[np.ndarray]] = [[], [], [], []]
    spreads = [Spread() for _ in cohorts]
    block = max(2, min(BLOCK, ENTRIES // J))
    for start in range(0, replicates, block):
        weights = rng.multinomial(J, np.full(J, 1 / J), size=min(block, replicates - start))
        b, delta, tau2, va = refit_weighted(moments, benchmark, cohorts, weights, shift, variances, method)
        for column, part in zip(
            rows, (b[0], *(np.column_stack(v) for v in (delta, tau2, [v.mean(axis=1) for v in va]))), strict=True
        ):
            column.append(part)
        for spread, values in zip(spreads, va, strict=True):
            spread.add(values)
    index = pd.RangeIndex(replicates, name="replicate")
    coefficients, delta_all, tau2_all, mean = (np.concatenate(column) for column in rows)
    frame = pd.DataFrame(coefficients, index=index, columns=list(benchmark.coefficients.index))
    shifts, means, between = (
        pd.DataFrame(values, index=index, columns=list(cohorts)) for values in (delta_all, mean, tau2_all)
    )
    table = _school_table(moments, benchmark, cohorts, spreads, shift, variances, method, level)
    return BenchmarkBootstrap(cohorts, frame, shifts, means, between, table, replicates, level)


def _check_options(shift: ShiftMode, variances: Variances, replicates: int) -> None:
    check_choice(shift, SHIFTS, "shift")
    check_choice(variances, VARIANCES, "variances")
    if replicates < 2:
        raise BenchmarkError(f"A bootstrap needs at least two replicates, not {replicates}.")


def refit_weighted(
    moments: Moments,
    benchmark: Benchmark,
    cohorts: Sequence[int],
    weights: np.ndarray,
    shift: ShiftMode,
    variances: Variances,
    method: Method,
) -> list[list[np.ndarray]]:
    """One block of B replicates: lists over cohorts of b (B, p), delta (B,), tau2 (B,), VA (B, J_t).

    moments: of baseline and focal cohorts by cell; weights (B, J): school multiplicities. Of benchmark only cohorts,
    estimator, groups, method and error_variance are used.
    """
    base = moments.select(benchmark.cohorts)
    errors = error_vector(base, benchmark.error_variance)
    w = weights[None, :, np.searchsorted(moments.schools, base.schools)]
    b, tau2, sigma2 = _refit_baseline(
        base, w, benchmark.estimator, benchmark.groups, benchmark.method == "REML", errors
    )
    kept = (tau2, sigma2) if variances == "baseline" else None
    undo = unshift(moments)
    out: list[list[np.ndarray]] = [[b @ undo[:-1, :-1].T + undo[:-1, -1]], [], [], []]
    for cohort in cohorts:
        focal = moments.select([cohort])
        w = weights[None, :, np.searchsorted(moments.schools, focal.schools)]
        found = _refit_focal(focal, w, b, kept, shift, method == "REML")
        for place, value in zip(out[1:], found, strict=True):
            place.append(value[0])
    return out


def _refit_baseline(
    base: Moments, weights: np.ndarray, estimator: Estimator, groups: Groups, reml: bool, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """b (R B, p) in shifted columns, tau2 and sigma2 (R B,), in samples of R data sets; weights (R, B, J)."""
    data = compress(base.pool_cohorts() if groups == "school" else base, weights)
    check_determined(remove_error(data, errors).cross[:, :-1, :-1])
    found = coefficients(data, base.intercept, estimator, reml, errors)
    return found.b, found.mixed.tau2, found.mixed.sigma2 + noise(found.b, errors)


def _refit_focal(
    focal: Moments,
    weights: np.ndarray,
    b: np.ndarray,
    kept: tuple[np.ndarray, np.ndarray] | None,
    shift: ShiftMode,
    reml: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift (R, B), nan where absorbed, tau2 (R, B) and VA (R, B, J) of one cohort against the samples' b (R B, p)."""
    focal, (R, B) = focal.batch, weights.shape[:2]
    fit = optimise_residuals(compress(focal, weights), b, kept, focal.intercept if shift == "estimated" else None, reml)
    delta = (fit.at.b[:, 0] if shift == "estimated" else np.full(R * B, np.nan)).reshape(R, B)
    means = focal.sums / np.maximum(focal.n, 1)[..., None]
    rbar = means[:, None, :, -1] - b.reshape(R, B, -1) @ np.swapaxes(means[..., :-1], 1, 2)
    lam = shrinkage(focal.n[:, None], fit.theta.reshape(R, B, 1), 1.0)
    centre = np.nan_to_num(delta)[..., None]
    return delta, fit.tau2.reshape(R, B), centre + lam * (rbar - centre)


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


def _school_table(
    moments: Moments,
    benchmark: Benchmark,
    cohorts: Sequence[int],
    spreads: Sequence[Spread],
    shift: ShiftMode,
    variances: Variances,
    method: Method,
    level: float,
) -> pd.DataFrame:
    """Estimates on the data themselves with bootstrap errors, one row a cohort and school."""
    rows = []
    for cohort, spread in zip(cohorts, spreads, strict=True):
        focal = moments.select([cohort])
        fit = fit_residuals(focal, benchmark, shift, variances, method)
        b, V = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
        point, _ = benchmark_va(focal.n, focal.means, b, V, fit.tau2, fit.sigma2, shift)
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


def draw_weights(present: np.ndarray, draws: int, seeds: Sequence[np.random.SeedSequence]) -> np.ndarray:
    """(R, draws, J): how often each school stands in each sample; present (R, J): which schools there are.

    Every data set has a seed of its own, so that its samples are the same whatever the others are.
    """
    weights = np.zeros((len(present), draws, present.shape[1]))
    for part, here, seed in zip(weights, present, seeds, strict=True):
        J = int(here.sum())
        part[:, here] = np.random.default_rng(seed).multinomial(J, np.full(J, 1 / J), size=draws)
    return weights


def resample(
    base: Moments,
    focal: Moments,
    weights: np.ndarray,
    *,
    estimator: Estimator,
    groups: Groups,
    shift: ShiftMode,
    variances: Variances,
    reml: bool,
    errors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap of R data sets: shift (R, B) in every sample, nan where absorbed, and variance of schools' VA over
    samples (R, J).

    base, focal: moments of the same J schools; weights (R, B, J). errors (p,): error variances of the columns. A school
    without focal students has the variance 0. Raises BenchmarkError for a sample that leaves b undetermined.
    """
    R, B, J = weights.shape
    delta, spread = np.empty((R, B)), np.empty((R, J))
    step = max(1, SAMPLES // B)
    for first in range(0, R, step):
        at = slice(first, first + step)
        b, tau2, sigma2 = _refit_baseline(base.take(at), weights[at], estimator, groups, reml, errors)
        kept = (tau2, sigma2) if variances == "baseline" else None
        part = focal.take(at)
        delta[at], _, va = _refit_focal(part, weights[at], b, kept, shift, reml)
        spread[at] = np.where(part.n > 0, va.var(axis=1, ddof=1), 0.0)
    return delta, spread


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
    records: Records, fit: JointFit, *, seed: int | np.random.Generator, replicates: int = 200
) -> JointBootstrap:
    """Resample the schools of the records that a joint model was fitted to, and refit from its estimates.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
        Those that ``fit`` was fitted to.
    fit : JointFit
        The joint model.
    seed : int or numpy.random.Generator
        Where the draws begin: the same seed gives the same result, byte for byte.
    replicates : int
        Draws in which the model can be fitted.

    Returns
    -------
    JointBootstrap
        ``omega``, ``correlation``, ``sigma2``, ``coefficients`` by replicate, ``failed`` draws, and ``correlations()``.

    Raises
    ------
    ModelError
        Where most draws leave a cohort that cannot be fitted.

    Notes
    -----
    Whole schools are drawn with replacement, with all their cohorts. Sources: Davison and Hinkley (1997, section 3.8); Field
    and Welsh (2007).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> joint = va.fit_joint(records, [2023, 2024])
    >>> sample = va.bootstrap_joint(records, joint, seed=1, replicates=20)
    >>> sample.correlation.shape
    (20, 2, 2)
    """
    rng = np.random.default_rng(seed)
    parts, _ = cohort_moments(records, fit.cohorts, fit.state or fit.formula, by_cell=True)
    b = [fit.fixed_effects[c].to_numpy() for c in fit.cohorts]
    errors = [
        error_vector(m, fit.error_variance[c]) for m, c in zip(parts, fit.cohorts, strict=True) if fit.error_variance
    ]
    data = stack_moments(parts, b, errors)
    cells = within_by_school(parts, b, data, errors)
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
        problems = JointProblem(resample_joint(data, cells, np.array(chosen)), structure, common, fit.method == "REML")
        draws.append(_refit_joint(problems, x))
        tried, known = tried + len(chosen), known + len(draws[-1][0])
    omega, sigma2, coefficients = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    return JointBootstrap(fit.cohorts, omega, correlation(omega), sigma2, coefficients, tried - known, fit.level)


def _refit_joint(problems: JointProblem, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def resample_joint(data: JointMoments, cells: np.ndarray, chosen: np.ndarray) -> JointMoments:
    """The moments of R data sets of the schools chosen (R, J), each draw a school of its own.

    cells (J, Q, Q): within by school.
    """
    R, J = chosen.shape
    within = np.stack([np.tensordot(np.bincount(row, minlength=len(data.schools)), cells, axes=1) for row in chosen])
    same: dict[str, Any] = {
        name: np.broadcast_to(value, (R, *np.shape(value)))
        for name in ("offset", "back", "log_scale")
        for value in (getattr(data, name),)
    }
    return replace(data, schools=np.arange(J), n=data.n[chosen], z=data.z[chosen], within=within, **same)
