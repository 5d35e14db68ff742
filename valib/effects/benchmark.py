"""Benchmark value added: a later cohort read against what was typical in the baseline cohorts.

    r_ij = y_ij - x_ij' b_B
    estimated shift:  r_ij = delta + u_j + e_ij,   benchmark VA_j = delta_hat + u_hat_j
    absorbed shift:   r_ij = u_j + e_ij,           benchmark VA_j = u_hat_j

The errors of b_B and of equating are common to all schools of the cohort; they enter every interval.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import BenchmarkError, ValibWarning
from ..models import blup as _blup
from ..models.estimators import Shift, benchmark_va, residual_moments
from ..models.likelihood import compress
from ..models.mixed import MixedFit, fit_compressed, fit_moments, loglik_at
from ..models.options import Intervals, Method, ShiftMode, Variances
from ..models.posterior import Posterior
from ..models.slope_benchmark import system_slopes
from ..models.slope_posterior import SlopePosterior
from ..models.slopes import SlopesFit
from ..records.coverage import sizes_of
from ..records.prior_check import PriorCheck, looks_standardised, prior_check, score_moments
from ..records.told import rows_chosen
from ..sums.equating import ScaleBreak, crossed, perturbed
from ..sums.moments import Moments
from ..sums.students import Records, Summed, describe_column, in_several, sum_students
from . import findings
from .baseline import STANDARDISED, Benchmark, check_choice, contribution_variance, contributions
from .benchmark_slopes import fitted as slopes_against
from .benchmark_slopes import integrated_slopes, random_of
from .cohort_fit import CohortFit
from .long_records import of_long, other_rows
from .relative import assemble, check_intervals, integrated, with_findings

PRIOR = "prior_score"
SHIFTS: tuple[ShiftMode, ...] = ("estimated", "absorbed")
VARIANCES: tuple[Variances, ...] = ("focal", "baseline")


def fit_benchmark(
    records: Records,
    cohort: int,
    benchmark: Benchmark,
    shift: ShiftMode = "estimated",
    variances: Variances = "focal",
    method: Method = "ML",
    equating_se: float | None = None,
    level: float = 0.95,
    scale_breaks: Sequence[ScaleBreak] = (),
    intervals: Intervals = "integrated",
    cohort_sd: float | None = None,
    random: Sequence[str] | None = None,
) -> CohortFit:
    """Benchmark value added of one focal cohort.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohort : int
        The focal cohort.
    benchmark : Benchmark
        What is typical.
    shift : {"estimated", "absorbed"}
        Whether the system shift is a parameter, or left in the school effects.
    variances : {"focal", "baseline"}
        By ML or REML on the residuals r, or carried over from the baseline.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    equating_se : float, optional
        Standard error of the link between the baseline's and the cohort's test scale, in score points; the same error for
        every student of the cohort. None: not known, so that it is left out of the errors and said to be (0 says that there
        is none).
    level : float
        Coverage of the intervals.
    scale_breaks : sequence of ScaleBreak
        Declared changes of a test's scale; one between baseline and cohort is refused without a link, and a link's error
        enters the shift and every benchmark VA.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of the focal variances, or taking their estimates as known, as it is where the
        variances are carried over from the baseline.
    cohort_sd : float, optional
        Standard deviation of ordinary years, score points, where it is known: what is common to all schools of a cohort and
        comes and goes. It adds cohort_sd^2 (1 + 1/B) to the variance of the shift and of every benchmark VA, B the number of
        baseline cohorts.
    random : sequence of str, optional
        Columns of the formula whose coefficient varies over schools, as for :func:`valib.fit_relative`; by default those of
        the benchmark, and an empty list is none. With ``variances="baseline"`` they must be the benchmark's.

    Returns
    -------
    CohortFit
        With ``shift``, its errors, and benchmark VA as ``effect``.

    Raises
    ------
    RecordsError
        For an absent cohort.
    ModelError
        For columns or levels that do not fit the benchmark.
    BenchmarkError
        For scores standardised within cohort, for a break without a link, and for a choice that does not exist.

    Notes
    -----
    ::

        r_ij = y_ij - x_ij' b_B
        estimated shift:  r_ij = delta + u_j + e_ij,   benchmark VA_j = delta_hat + u_hat_j
        absorbed shift:   r_ij = u_j + e_ij,           benchmark VA_j = u_hat_j

    The errors of b_B and of equating are common to all schools of the cohort; they enter every interval. Warns of what would
    mislead (:mod:`valib.effects.findings`), and when the cohort is itself part of the baseline (the coefficient error is then
    not independent of the cohort, and the intervals are too wide).

    With slopes of schools, r_ij = delta + z_ij' g_j + e_ij and VA_j(z) = delta_hat + z' g_hat_j
    (:mod:`valib.models.slope_benchmark`): ``effect`` is that at the focal mean of each column, :func:`valib.va_at` has it
    elsewhere, and a change of the system's own slope since the baseline is left in the slopes of schools.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> fit = va.fit_benchmark(records, 2024, benchmark)
    >>> round(fit.shift, 1)
    -14.3
    """
    check_intervals(intervals)
    check_choice(shift, SHIFTS, "shift")
    check_choice(variances, VARIANCES, "variances")
    for what, value in (("equating standard error", equating_se), ("standard deviation of ordinary years", cohort_sd)):
        if value is not None and not (np.isfinite(value) and value >= 0):
            raise BenchmarkError(f"The {what} must be zero or positive, not {value}.")
    links, slopes = crossed(scale_breaks, benchmark.cohorts, int(cohort)), random_of(benchmark, random, variances)
    _check_scale(records, int(cohort), benchmark)
    students = sum_students(records, [cohort], benchmark.state, by_cell=bool(slopes), links=links)
    moved = [
        (sum_students(records, [cohort], benchmark.state, by_cell=bool(slopes), links=other).moments, step)
        for other, step in perturbed(links)
    ]
    fit = benchmark_from_moments(
        students,
        int(cohort),
        benchmark,
        shift,
        variances,
        method,
        equating_se,
        level,
        _link_loadings(moved, students.moments, benchmark),
        intervals,
        cohort_sd,
        slopes,
        moved,
    )
    found = _findings(records, int(cohort), benchmark, links)
    if shift == "estimated":
        found.append(findings.few_schools(int(cohort), fit.n_schools))
    if fit.slopes is not None:
        b, vcov = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
        moves = system_slopes(fit.own_moments, fit.slopes, b, vcov)
        found.append(findings.slopes_moved(int(cohort), fit.slopes.random[1:], *moves))
    return with_findings(fit, [*found, findings.prior_shift({int(cohort): prior_of_shift(fit, benchmark)})])


def benchmark_from_moments(
    students: Summed,
    cohort: int,
    benchmark: Benchmark,
    shift: ShiftMode = "estimated",
    variances: Variances = "focal",
    method: Method = "ML",
    equating_se: float | None = None,
    level: float = 0.95,
    link_loadings: np.ndarray | None = None,
    intervals: Intervals = "integrated",
    cohort_sd: float | None = None,
    random: Sequence[str] = (),
    moved: Sequence[tuple[Moments, float]] = (),
) -> CohortFit:
    """Benchmark value added from the sums of the focal cohort under ``benchmark.state``; see :func:`fit_benchmark`.

    link_loadings (J, m): what m standard normal errors of a scale link do to the schools' mean residuals. random: columns
    with slopes of schools; moved: for those, the sums under each error of a link, and its size.
    """
    moments = students.moments
    scale_se = float(np.hypot(equating_se or 0.0, (cohort_sd or 0.0) * np.sqrt(1 + 1 / len(benchmark.cohorts))))
    rest: dict[str, Any] = {}
    fit: MixedFit | SlopesFit
    over: Posterior | SlopePosterior | None
    if random:
        found = slopes_against(moments, benchmark, random, shift, variances, method, scale_se, moved)
        over = integrated_slopes(found, benchmark, scale_se, intervals if variances == "focal" else "plugin")
        fit, effects, system, rest = found.fit, found.blup, found.shift, {"slopes": found.fit}
    else:
        fit = plain = fit_residuals(moments, benchmark, shift, variances, method)
        effects, system = _effects(plain, moments, benchmark, shift, scale_se, link_loadings)
        over = benchmark_posterior(
            moments, benchmark, shift, scale_se, link_loadings, intervals if variances == "focal" else "plugin"
        )
    return assemble(
        fit,
        effects,
        students,
        level,
        over,
        names=benchmark.coefficients.index,
        coefficients=benchmark.coefficients.to_numpy(),
        vcov=benchmark.vcov.to_numpy(),
        cohort=cohort,
        model="benchmark",
        scale_loadings=_scale_loadings(moments, scale_se, link_loadings),
        equating_se=None if equating_se is None else float(equating_se),
        cohort_sd=None if cohort_sd is None else float(cohort_sd),
        **({} if system is None else _shift_errors(system, moments, benchmark)),
        coefficient_source=benchmark.estimator,
        shift_mode=shift,
        variances_from=variances,
        **rest,
    )


def _effects(
    fit: MixedFit,
    moments: Moments,
    benchmark: Benchmark,
    shift: ShiftMode,
    scale_se: float,
    link_loadings: np.ndarray | None,
) -> tuple[_blup.Blup, Shift | None]:
    """Benchmark VA and the shift from a fitted random-intercept model of r."""
    b, vcov = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
    return benchmark_va(moments.n, moments.means, b, vcov, fit.tau2, fit.sigma2, shift, scale_se, link_loadings)


def _shift_errors(moved: Shift, moments: Moments, benchmark: Benchmark) -> dict[str, Any]:
    """The shift's fields of a :class:`CohortFit`: by school where the benchmark knows what its schools add to b_B, else
    the two-sample form."""
    added, var, schools = None, moved.var, len(moments.schools)
    if benchmark.influence is not None:
        labels = moments.schools[moments.cell_school]
        added = contributions(moved, labels, benchmark.influence.index.to_numpy(), benchmark.influence.to_numpy())
        var, schools = contribution_variance(added) + moved.var_scale, len(added)
    students = np.nan
    if benchmark.vcov_students is not None:
        typical = moved.centre @ benchmark.vcov_students.to_numpy() @ moved.centre
        students = float(np.sqrt(moved.var_students + typical + moved.var_scale))
    return {
        "shift": float(moved.delta),
        "shift_se": float(np.sqrt(var)),
        "shift_error": "cautious" if added is None else "schools",
        "shift_df": schools - 1,
        "shift_se_students": students,
        "shift_influence": added,
    }


def benchmark_posterior(
    moments: Moments,
    benchmark: Benchmark,
    shift: ShiftMode,
    equating_se: float,
    link_loadings: np.ndarray | None,
    intervals: Intervals = "integrated",
) -> Posterior | None:
    """Posterior of benchmark VA: that of r_ij, with the errors of b_B, equating and links normal at every node."""
    b, F = benchmark.coefficients.to_numpy(), _blup.factor(benchmark.vcov.to_numpy())
    loadings = np.hstack([moments.means[:, :-1] @ F, _scale_loadings(moments, equating_se, link_loadings)])
    return integrated(residual_moments(moments, b, shift == "estimated"), intervals, "benchmark", loadings)


def _scale_loadings(moments: Moments, scale_se: float, link_loadings: np.ndarray | None) -> np.ndarray:
    """(J, m): what standard normal errors of equating, and of links, do to the schools' mean residuals."""
    own = np.full((len(moments.n), 1), scale_se)
    return own if link_loadings is None else np.hstack([own, link_loadings])


def fit_residuals(
    moments: Moments, benchmark: Benchmark, shift: ShiftMode, variances: Variances, method: Method
) -> MixedFit:
    """The random-intercept model of r; its only coefficient, if any, is the system shift delta."""
    r = residual_moments(moments, benchmark.coefficients.to_numpy(), shift == "estimated")
    if variances == "focal":
        return fit_moments(r, method)
    theta, nan = benchmark.tau2 / benchmark.sigma2, float("nan")
    if shift == "absorbed":  # nothing is left to estimate, so that one school of one student will do
        held = fit_compressed(compress(r), r, method, theta)
    else:
        held = fit_moments(r, method, theta=theta)
    return replace(
        held,
        tau2=benchmark.tau2,
        sigma2=benchmark.sigma2,
        tau2_se=nan,
        sigma2_se=nan,
        vcov=held.vcov * benchmark.sigma2 / held.sigma2,
        singular=benchmark.tau2 == 0,
        loglik=loglik_at(r, benchmark.tau2, benchmark.sigma2, method),
    )


def _link_loadings(moved: Sequence[tuple[Moments, float]], moments: Moments, benchmark: Benchmark) -> np.ndarray | None:
    """(J, m) change of each school's mean residual per standard normal error of the links crossed."""
    b = np.append(-benchmark.coefficients.to_numpy(), 1.0)
    columns = [(other.means - moments.means) @ b / step for other, step in moved]
    return np.column_stack(columns) if columns else None


def population_mean_va(
    relative: CohortFit,
    benchmark: Benchmark,
    reference: pd.Series | None = None,
    equating_se: float | None = None,
    intervals: Intervals = "integrated",
) -> pd.DataFrame:
    """Relative VA with the change of the population mean added: u_hat_j + x_ref' b_t - x_ref' b_B.

    Parameters
    ----------
    relative : CohortFit
        The focal cohort's own model, with the benchmark's formula.
    benchmark : Benchmark
        What is typical.
    reference : Series (p,), optional
        The profile x_ref as a row of the design matrix, by default the baseline means of its columns.
    equating_se : float, optional
        Standard error of the equating of the two tests, in score points; None: not known, left out.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of the focal variances, where the relative fit is; or taking them as known.

    Returns
    -------
    DataFrame
        One row a school: ``n``, ``effect``, ``se``, ``lower``, ``upper`` (score points). Plug-in errors of a fit without
        variance between schools are missing.

    Raises
    ------
    BenchmarkError
        When the columns of the two do not mean the same, or the profile lacks one.

    Notes
    -----
    Error variance at given variances, with F the focal coefficients' Var(b_t)::

        tau2 (1 - lambda_j) + (x_ref - lambda_j xbar_j)' F (x_ref - lambda_j xbar_j) + x_ref' Var(b_B) x_ref + s2_equating

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> va.population_mean_va(va.fit_relative(records, 2024), benchmark)[["n", "effect"]].head(2).round(1)
             n  effect
    school
    0029    11   -24.1
    0109    50   -10.6
    """
    check_same_columns(relative, benchmark)
    profile = (benchmark.column_means if reference is None else reference).reindex(benchmark.coefficients.index)
    if profile.isna().any():
        raise BenchmarkError(f"The reference profile lacks {', '.join(map(repr, profile.index[profile.isna()]))}.")
    x = profile.to_numpy(dtype=np.float64)
    table = relative.school_effects
    move = float(x @ relative.fixed_effects.to_numpy() - x @ benchmark.coefficients.to_numpy())
    loading = x - table["shrinkage"].to_numpy()[:, None] * relative.own_moments.means[:, :-1]
    common = (loading @ _blup.factor(relative.vcov.to_numpy())) ** 2
    var = (
        table["se_conditional"].to_numpy() ** 2
        + common.sum(axis=1)
        + x @ benchmark.vcov.to_numpy() @ x
        + (equating_se or 0.0) ** 2
    )
    effect = table["effect"] + move
    se = np.sqrt(var if relative.tau2 > 0 else np.full(len(var), np.nan))
    lower, upper = _blup.interval(effect, se, relative.level)
    check_intervals(intervals)
    if intervals == "integrated" and isinstance(relative.posterior, Posterior):
        shift, common = relative.own_moments.shift, x @ benchmark.vcov.to_numpy() @ x + (equating_se or 0.0) ** 2
        over = relative.posterior.at_profile((x - shift[:-1])[None], common)
        away = shift[-1] - float(x @ benchmark.coefficients.to_numpy())
        se, (lower, upper) = over.sd()[0], (limit[0] + away for limit in over.interval(relative.level))
    return sizes_of(table).assign(effect=effect, se=se, lower=lower, upper=upper)


def check_same_columns(relative: CohortFit, benchmark: Benchmark) -> None:
    """Refuse to compare coefficients of columns that do not mean the same: other terms, centres or levels."""
    if relative.model != "relative" or list(relative.fixed_effects.index) != list(benchmark.coefficients.index):
        raise BenchmarkError(
            f"The {relative.model} model has the columns {list(relative.fixed_effects.index)}, the "
            f"benchmark has {list(benchmark.coefficients.index)}: comparing coefficients needs the "
            "focal cohort's relative model with the benchmark's formula."
        )
    relative.refuse_slopes("The change of the population mean is that of")
    assert relative.state is not None  # a fit to records has it
    ours, theirs = (s.to_json() for s in (relative.state, benchmark.state))
    if (ours["transform_state"], ours["levels"]) != (theirs["transform_state"], theirs["levels"]):
        raise BenchmarkError(
            "The relative model has centres, scales or levels of its own, so its coefficients do not "
            "mean the same as the benchmark's: fit it with benchmark.state as its formula."
        )


def check_prior(records: Records, cohort: int, benchmark: Benchmark, links: Sequence[ScaleBreak] = ()) -> PriorCheck:
    """Compare the prior score of a focal cohort, carried back over links, with the baseline's in the benchmark.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohort : int
        The focal cohort.
    benchmark : Benchmark
        Which knows mean and SD of its baseline's prior score.
    links : sequence of ScaleBreak
        Linked breaks between baseline and cohort.

    Returns
    -------
    PriorCheck
        ``smd``, ``variance_ratio``, ``ok``, and the finding as a ``sentence``.

    Raises
    ------
    BenchmarkError
        When the benchmark's formula has no numeric prior score.
    RecordsError
        For an absent cohort.

    Notes
    -----
    smd = (focal mean - baseline mean) / baseline SD, within 0.2; variance ratio within 0.8 and 1.25.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> check = va.check_prior(records, 2024, va.fit_baseline(records, [2015, 2016, 2017]))
    >>> round(check.smd, 2), check.ok
    (0.02, True)
    """
    columns, there = benchmark.summaries["columns"], benchmark.explaining
    column = "prior_score" if "prior_score" in there else next(iter(there), None)
    if column is None:
        raise BenchmarkError("The benchmark's formula has no numeric prior score to check.")
    mean, sd = describe_column(records, cohort, column, links)
    return prior_check(mean, sd, column, cohort, columns[column]["mean"], columns[column]["sd"])


def _check_scale(records: Records, cohort: int, benchmark: Benchmark) -> None:
    scores = {int(k): v for k, v in benchmark.summaries["score_by_cohort"].items()}
    if looks_standardised(scores | score_moments(records, [cohort])) and set(scores) != {cohort}:
        raise BenchmarkError(STANDARDISED)


def prior_part(fit: CohortFit, benchmark: Benchmark) -> float:
    """What the change of the mean prior score would make of the shift, were all of it the prior test's: minus the
    slope (with that of the school mean of the prior, if it is there) times the focal less the baseline mean.

    nan where the prior score is not one linear column of the formula, and where the shift was absorbed.
    """
    names = list(benchmark.coefficients.index)
    if fit.shift is None or not linear_prior(benchmark):
        return float("nan")
    slope = float(benchmark.coefficients[PRIOR] + benchmark.coefficients.get(f"school_mean({PRIOR})", 0.0))
    moments, at = fit.own_moments, names.index(PRIOR)
    focal = float(moments.n @ moments.means[:, at] / moments.n.sum())
    return -slope * (focal - float(benchmark.column_means[PRIOR]))


def prior_elsewhere(benchmark: Benchmark) -> list[str]:
    """Where the prior enters besides its linear column and its school mean: other columns of the formula, the outcome."""
    inside = re.compile(rf"\b{PRIOR}\b")
    names = [n for n in benchmark.coefficients.index if n not in (PRIOR, f"school_mean({PRIOR})")]
    return [n for n in (*names, benchmark.outcome) if inside.search(n)]


def linear_prior(benchmark: Benchmark) -> bool:
    """Whether the prior is one linear column, its school mean apart, and no part of the outcome."""
    return PRIOR in benchmark.coefficients.index and not prior_elsewhere(benchmark)


def prior_of_shift(fit: CohortFit, benchmark: Benchmark) -> tuple[float, float, float]:
    """:func:`prior_part`, with the shift and its standard error; nan where the shift was absorbed."""
    if fit.shift is None or fit.shift_se is None:
        return prior_part(fit, benchmark), np.nan, np.nan
    return prior_part(fit, benchmark), fit.shift, fit.shift_se


def _findings(
    records: Records, cohort: int, benchmark: Benchmark, links: Sequence[ScaleBreak]
) -> list[findings.Finding | None]:
    """What would mislead in the students of a focal cohort, beside a baseline."""
    if cohort in benchmark.cohorts:
        warnings.warn(
            f"Cohort {cohort} is part of the baseline, so the benchmark's error is not independent of it "
            "and the intervals of its schools are too wide.",
            ValibWarning,
            stacklevel=3,
        )
    found = [*findings.of_correlation(records, [cohort]), *of_long(records, [cohort], benchmark.formula)]
    found.append(other_rows(cohort, benchmark.rows, rows_chosen(records.attrs)))
    scores = benchmark.summaries["score_by_cohort"].values()
    means, sds = (np.array([one[name] for one in scores], dtype=np.float64) for name in ("mean", "sd"))
    own = score_moments(records, [cohort])[cohort]
    found.append(
        findings.alike_scores(
            {int(t): one for t, one in benchmark.summaries["score_by_cohort"].items()} | {cohort: own}
        )
    )
    linked = any(b.column == "score" for b in links)
    if not linked and findings.is_other_scale(own["mean"], own["sd"], means, sds):
        found.append(findings.other_scale("score", {cohort: (own["mean"], own["sd"])}, means, sds))
    if benchmark.explaining and own["n"] > 1:
        found.append(findings.prior_drift({cohort: check_prior(records, cohort, benchmark, links)}))
    if cohort not in benchmark.cohorts:
        found.append(findings.several_cohorts(*in_several(records, [*benchmark.cohorts, cohort])))
    return found
