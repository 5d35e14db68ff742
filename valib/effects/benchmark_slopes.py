"""Benchmark value added with slopes of schools, and the random part that a benchmark keeps for it."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BenchmarkError
from ..models.options import Intervals, Method, ShiftMode, Variances
from ..models.slope_benchmark import BenchmarkSlopes, Kept, fit_benchmark_slopes
from ..models.slope_benchmark_posterior import BenchmarkSlopePosterior, integrate_benchmark_slopes
from ..sums.moments import Moments
from ..sums.random_part import random_columns
from .baseline import Benchmark
from .findings import integrated_or_told


def random_of(benchmark: Benchmark, random: Sequence[str] | None, variances: Variances) -> list[str]:
    """The columns with slopes: those asked for, by default the benchmark's own.

    Raises BenchmarkError where variances are to be carried over that the benchmark does not have.
    """
    if random is None:
        return list(benchmark.random)
    names = benchmark.coefficients.index.tolist()
    asked = [names[k] for k in random_columns(names, random)]
    if variances == "baseline" and asked != list(benchmark.random):
        has = ", ".join(benchmark.random) or "none"
        raise BenchmarkError(
            f"The baseline was fitted with slopes of schools for {has}, so that it has no variances of slopes of "
            f"{', '.join(asked) or 'none'}: fit it with the same random part, or take variances: focal."
        )
    return asked


def fitted(
    moments: Moments,
    benchmark: Benchmark,
    random: Sequence[str],
    shift: ShiftMode,
    variances: Variances,
    method: Method,
    scale_se: float,
    moved: Sequence[tuple[Moments, float]] = (),
) -> BenchmarkSlopes:
    """The focal model of r with slopes, from the sums of the cohort by cell."""
    names = list(benchmark.coefficients.index)
    kept = None
    if variances == "baseline":
        covariance = benchmark.random_covariance
        assert covariance is not None  # random_of has looked
        centre = benchmark.column_means[list(covariance.index)].to_numpy(copy=True)
        centre[0] = 0.0
        kept = Kept(tuple(covariance.index), centre, covariance.to_numpy(), benchmark.sigma2)
    return fit_benchmark_slopes(
        moments,
        random_columns(names, random),
        benchmark.coefficients.to_numpy(),
        benchmark.vcov.to_numpy(),
        shift,
        method,
        kept,
        scale_se,
        moved,
    )


def integrated_slopes(
    found: BenchmarkSlopes, benchmark: Benchmark, scale_se: float, intervals: Intervals
) -> BenchmarkSlopePosterior | None:
    """The posterior of benchmark VA; None for plug-in intervals and, with a warning, where it cannot be had."""
    if intervals == "plugin":
        return None
    over: BenchmarkSlopePosterior | None = integrated_or_told(
        lambda: integrate_benchmark_slopes(found, benchmark.vcov.to_numpy(), scale_se)
    )
    return over
