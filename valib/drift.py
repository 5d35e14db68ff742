"""Has the system moved, or the test, or the intake? The system shift with its errors, taken apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from . import blup as _blup
from .baseline import Benchmark
from .benchmark import predict_benchmark
from .design import build_design
from .errors import BenchmarkError, ModelError
from .moments import compute_moments
from .records import select
from .relative import CohortFit

PRIOR = "prior_score"


def shift_parts(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """The system shift of each benchmark fit and the parts of its standard error, one row a cohort (score points).

    se_schools: sampling of schools and students in the focal cohort, sqrt(sigma2 / sum a_j).
    se_coefficients: error of the baseline coefficients, sqrt(xbar_w' Var(b_B) xbar_w), common to all cohorts.
    se_scale: equating and links, what remains of se. share_coefficients: se_coefficients^2 / se^2.
    effect_size: shift over the focal student SD.
    Raises BenchmarkError for a fit whose shift was absorbed, or that is not against this benchmark.
    """
    rows = []
    for fit in fits:
        _belongs(fit, benchmark)
        if fit.shift is None:
            raise BenchmarkError(f"The shift of cohort {fit.cohort} was absorbed, not estimated: it has no parts.")
        a = fit.moments.n / (1 + fit.moments.n * fit.theta)
        centre = a @ fit.moments.means[:, :-1] / a.sum()
        schools = fit.sigma2 / a.sum()
        coefficients = centre @ benchmark.vcov.to_numpy() @ centre
        lower, upper = fit.shift_interval
        rows.append({"cohort": fit.cohort, "shift": fit.shift, "se": fit.shift_se, "se_schools": np.sqrt(schools),
                     "se_coefficients": np.sqrt(coefficients),
                     "se_scale": np.sqrt(max(fit.shift_se**2 - schools - coefficients, 0.0)), "lower": lower,
                     "upper": upper, "share_coefficients": coefficients / fit.shift_se**2,
                     "effect_size": fit.shift / fit.student_sd})
    return pd.DataFrame(rows)


def shift_at(relative: CohortFit, benchmark: Benchmark, profile: pd.Series | np.ndarray,
             equating_se: float = 0.0) -> pd.DataFrame:
    """delta_t(x) = x'(b_t - b_B) with its error at design rows x: columns shift, se, lower, upper, one row a profile.

    relative: the focal cohort's own model, same formula as the benchmark. profile (p,) or (m, p).
    Var = x'(Var(b_t) + Var(b_B)) x + s2_equating; the two sets of coefficients are taken as independent.
    Across a break of the scale the relative model is that of the scores carried back (:func:`valib.scale.carry_back`),
    and equating_se holds the link's error too (se_scale of :func:`shift_parts`).
    """
    _same_columns(relative, benchmark)
    x = np.atleast_2d(np.asarray(profile, dtype=np.float64))
    shift = x @ (relative.fixed_effects.to_numpy() - benchmark.coefficients.to_numpy())
    V = relative.vcov.to_numpy() + benchmark.vcov.to_numpy()
    se = np.sqrt(np.einsum("ij,jk,ik->i", x, V, x) + equating_se**2)
    lower, upper = _blup.interval(shift, se, relative.level)
    return pd.DataFrame({"shift": shift, "se": se, "lower": lower, "upper": upper})


def split_shift(relative: CohortFit, benchmark: Benchmark, equating_se: float = 0.0) -> pd.DataFrame:
    """Split delta_t at the focal mean into a level part and a slope part; rows level, slope, total.

    level = xbar_B'(b_t - b_B), the shift for a student at the baseline means; slope = (xbar_t - xbar_B)'(b_t - b_B),
    what the change of intake makes of changed slopes; total = xbar_t'(b_t - b_B). The split depends on the centre:
    about another profile than the baseline means it comes out differently, the total does not.
    """
    _same_columns(relative, benchmark)
    moments = relative.moments
    focal = (moments.n @ moments.means / moments.n.sum())[:-1]
    baseline = benchmark.column_means.to_numpy()
    parts = pd.concat([shift_at(relative, benchmark, baseline, equating_se),
                       shift_at(relative, benchmark, focal - baseline),
                       shift_at(relative, benchmark, focal, equating_se)], ignore_index=True)
    return parts.set_index(pd.Index(["level", "slope", "total"], name="part"))


def shift_over_prior(relative: CohortFit, benchmark: Benchmark, prior: np.ndarray,
                     equating_se: float = 0.0) -> pd.DataFrame:
    """delta_t over a grid of prior scores, the other columns at their baseline means; adds column ``prior``.

    Raises ModelError when the prior enters other than as the linear column ``prior_score`` (school means of it stay at
    the baseline mean): the curve would then not be a line in that one column.
    """
    _same_columns(relative, benchmark)
    names = list(benchmark.coefficients.index)
    inside = re.compile(rf"\b{PRIOR}\b")
    others = [n for n in names if inside.search(n) and n not in (PRIOR, f"school_mean({PRIOR})")]
    if PRIOR not in names or others:
        raise ModelError(f"The shift over the prior needs {PRIOR} as one linear column of the formula"
                         + (f", but it also enters through {', '.join(map(repr, others))}." if others else "."))
    prior = np.asarray(prior, dtype=np.float64)
    profile = np.tile(benchmark.column_means.to_numpy(), (len(prior), 1))
    profile[:, names.index(PRIOR)] = prior
    return pd.DataFrame({"prior": prior}).join(shift_at(relative, benchmark, profile, equating_se))


def relative_to_school(records: pd.DataFrame, fit: CohortFit, benchmark: Benchmark, school: str,
                       baseline_cohort: int) -> pd.DataFrame:
    """Benchmark VA of every school in the fit's cohort less that of a named school in a baseline cohort.

    VA_jt - u_ks, with u_ks the reference school's effect in the baseline cohort (BLUP at the benchmark's variances).
    Both depend on the same b_B: with g_j the loading of VA_jt and lambda_k xbar_k that of u_ks, the error variance is
    Var(VA_jt without b_B) + tau2_B (1 - lambda_k) + (g_j - lambda_k xbar_k)' Var(b_B) (g_j - lambda_k xbar_k).
    The two cohorts' prediction errors are taken as independent given b_B; for the school itself (j = k), whose effects
    are correlated over years, that is too wide: use the joint model. One row a school: n, effect, se, lower, upper.
    """
    _belongs(fit, benchmark)
    if baseline_cohort not in benchmark.cohorts:
        raise BenchmarkError(f"Cohort {baseline_cohort} is not in the baseline {list(benchmark.cohorts)}.")
    base = compute_moments(build_design(select(records, [baseline_cohort]), benchmark.state))
    labels = base.schools[base.cell_school].tolist()
    if school not in labels:
        raise BenchmarkError(f"School '{school}' has no students in cohort {baseline_cohort}.")
    b, V = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
    known, _ = predict_benchmark(base, b, V, benchmark.tau2, benchmark.sigma2, "absorbed")
    k = labels.index(school)
    reference = known.shrinkage[k] * base.means[k, :-1]
    own = coefficient_loadings(fit)
    table = fit.school_effects
    without = table["se_comparative"].to_numpy() ** 2 - np.einsum("ij,jk,ik->i", own, V, own)
    apart = own - reference
    var = without + known.var_conditional[k] + np.einsum("ij,jk,ik->i", apart, V, apart)
    effect = table["effect"] - known.effect[k]
    lower, upper = _blup.interval(effect, np.sqrt(var), fit.level)
    return pd.DataFrame({"n": table["n"], "effect": effect, "se": np.sqrt(var), "lower": lower, "upper": upper})


def coefficient_loadings(fit: CohortFit) -> np.ndarray:
    """(J, p) rows c_j with c_j'(b_hat - b) the part of school j's benchmark VA that the coefficients move (up to sign).

    estimated: g_j = (1 - lambda_j) xbar_w + lambda_j xbar_j; absorbed: lambda_j xbar_j.
    """
    lam = fit.school_effects["shrinkage"].to_numpy()[:, None]
    xbar = fit.moments.means[:, :-1]
    if fit.shift_mode == "absorbed":
        return lam * xbar
    a = fit.moments.n / (1 + fit.moments.n * fit.theta)
    return (1 - lam) * (a @ xbar / a.sum()) + lam * xbar


def prior_sensitivity(fit: CohortFit, benchmark: Benchmark, mean_changes: Sequence[float] = (),
                      reliabilities: Sequence[tuple[float, float]] = ()) -> pd.DataFrame:
    """How much of a shift could be a changed prior test; one row a scenario (score points).

    mean_changes: the prior test became easier by d points (scores d higher for the same knowledge): that adds
    -slope d to every student and to the shift.
    reliabilities: pairs (r_B, r_t) of the prior's reliability in the baseline and in the focal cohort, where it is
    measured as the slope is (within schools for the mixed and the within estimator). Errors of measurement with mean 0
    flatten the line through the mean prior, slope = true slope times reliability, so a student with prior x is given
        slope (1/r_B - 1) (mean_t - mean_B) + slope (r_t/r_B - 1) (x - mean_t)
    The second term is 0 on average over students: a change of reliability turns the shift over the prior and leaves
    the shift as it is. The first needs no change: with an unreliable prior, part of a changed intake counts as shift.
    Columns: scenario, artefact (what it adds to the shift), corrected (shift less artefact), low_prior, high_prior
    (what it adds to a student one baseline SD below or above the focal mean prior).
    """
    _belongs(fit, benchmark)
    if PRIOR not in benchmark.coefficients.index:
        raise ModelError(f"The sensitivity to the prior needs {PRIOR} as a linear column of the formula.")
    slope, sd = float(benchmark.coefficients[PRIOR]), float(benchmark.summaries["columns"][PRIOR]["sd"])
    moments = fit.moments
    focal = float(moments.n @ moments.means[:, moments.names.index(PRIOR)] / moments.n.sum())
    apart = focal - float(benchmark.column_means[PRIOR])
    rows = [(f"prior test easier by {d:+.1f} points", -slope * d, 0.0) for d in mean_changes]
    for before, after in reliabilities:
        if not (0 < before <= 1 and 0 < after <= 1):
            raise ModelError(f"A reliability lies above 0 and not above 1; given were {before} and {after}.")
        rows.append((f"reliability of the prior from {before:.2f} to {after:.2f}", slope * (1 / before - 1) * apart,
                     slope * (after / before - 1) * sd))
    frame = pd.DataFrame(rows, columns=["scenario", "artefact", "turn"])
    shift = np.nan if fit.shift is None else fit.shift
    return pd.DataFrame({"scenario": frame["scenario"], "artefact": frame["artefact"],
                         "corrected": shift - frame["artefact"], "low_prior": frame["artefact"] - frame["turn"],
                         "high_prior": frame["artefact"] + frame["turn"]})


def _belongs(fit: CohortFit, benchmark: Benchmark) -> None:
    if fit.model != "benchmark" or not fit.fixed_effects.equals(benchmark.coefficients):
        raise BenchmarkError(f"The fit of cohort {fit.cohort} is not a fit against this benchmark.")


def _same_columns(relative: CohortFit, benchmark: Benchmark) -> None:
    if relative.model != "relative" or list(relative.fixed_effects.index) != list(benchmark.coefficients.index):
        raise BenchmarkError("Comparing coefficients needs the focal cohort's relative model with the benchmark's "
                             "formula.")
