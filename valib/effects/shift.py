"""Has the system moved, or the test, or the intake? The system shift with its errors, taken apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import BenchmarkError
from ..models import blup as _blup
from ..models.estimators import benchmark_va
from ..models.slope_benchmark import shift_centre
from ..records.coverage import sizes_of
from ..records.reading import select
from ..sums.design import build_design
from ..sums.moments import compute_moments
from .baseline import Benchmark, contribution_variance
from .benchmark import prior_part
from .cohort_fit import CohortFit

CONTEXT = [
    *("cohort", "role", "shift", "se", "lower", "upper", "own_shift", "leave_one_out", "wobble_sd"),
    *("year_lower", "year_upper", "break_even", "prior_part", "equating_se"),
]


def shift_parts(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """The system shift of each benchmark fit and the parts of its standard error, one row a cohort (score points).

    Parameters
    ----------
    fits : sequence of CohortFit
        Benchmark fits with an estimated shift.
    benchmark : Benchmark
        Theirs.

    Returns
    -------
    DataFrame
        ``cohort``, ``shift``, ``se``, ``error``, ``se_students``, ``se_schools``, ``se_coefficients``, ``se_scale``,
        ``se_cautious``, ``lower``, ``upper``, ``share_coefficients``, ``effect_size``.

    Raises
    ------
    BenchmarkError
        For a fit whose shift was absorbed, or that is not against this benchmark.

    Notes
    -----
    se: that of the fit, with its kind as error: "schools" or "cautious". se_students: for these very schools, students
    alone being drawn. The parts of the cautious error, which takes the schools of baseline and cohort as different ones:
    se_schools: sampling of schools and students in the focal cohort, sqrt(sigma2 / sum a_j); se_coefficients: error of
    the baseline coefficients, sqrt(xbar_w' Var(b_B) xbar_w), common to all cohorts; se_scale: equating, links and
    ordinary years; se_cautious: all three together. Where effects last, the first two partly cancel, so that se is
    smaller. share_coefficients: se_coefficients^2 / se_cautious^2. effect_size: shift over the focal student SD.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> va.shift_parts([va.fit_benchmark(records, 2024, benchmark)], benchmark)[["cohort", "shift"]].round(1)
       cohort  shift
    0    2024  -14.3
    """
    rows = []
    for fit in fits:
        check_belongs(fit, benchmark)
        if fit.shift is None or fit.shift_interval is None:
            raise BenchmarkError(f"The shift of cohort {fit.cohort} was absorbed, not estimated: it has no parts.")
        between, centre = _of_schools(fit, benchmark)
        coefficients = centre @ benchmark.vcov.to_numpy() @ centre
        scale = _scale_var(fit, benchmark)
        cautious = between + coefficients + scale
        lower, upper = fit.shift_interval
        rows.append(
            {
                "cohort": fit.cohort,
                "shift": fit.shift,
                "se": fit.shift_se,
                "error": fit.shift_error,
                "se_students": fit.shift_se_students,
                "se_schools": np.sqrt(between),
                "se_coefficients": np.sqrt(coefficients),
                "se_scale": np.sqrt(scale),
                "se_cautious": np.sqrt(cautious),
                "lower": lower,
                "upper": upper,
                "share_coefficients": coefficients / cautious,
                "effect_size": fit.shift / fit.student_sd,
            }
        )
    return pd.DataFrame(rows)


def _of_schools(fit: CohortFit, benchmark: Benchmark) -> tuple[float, np.ndarray]:
    """The variance of the shift with b_B known, and the weights (p,) of the coefficients in it."""
    if fit.slopes is not None:
        return float(fit.slopes.vcov[0, 0]), shift_centre(
            fit.own_moments, fit.slopes, benchmark.coefficients.to_numpy()
        )
    a = _blup.precision(fit.own_moments.n, fit.theta)
    return float(fit.sigma2 / a.sum()), a @ fit.own_moments.means[:, :-1] / a.sum()


def _links(fit: CohortFit) -> np.ndarray:
    """(m,) loadings of the shift on the errors of links, after those of delta_hat, b_B and equating."""
    if fit.common.shape[1] > len(fit.fixed_effects) + 2:  # sums of effects are not 0 then
        fit.refuse_slopes("The parts of a shift across a linked scale break are those of")
    return np.asarray(
        fit.common.mean(axis=0)[len(fit.fixed_effects) + 2 :]
    )  # sum a_j (L_j - L_w) = 0, so the mean is that at L_w


def _year_var(fit: CohortFit) -> float:
    """Variance that ordinary years add to one cohort's mean."""
    return (fit.cohort_sd or 0.0) ** 2


def _scale_var(fit: CohortFit, benchmark: Benchmark) -> float:
    """What equating, links and ordinary years add to the variance of a shift."""
    years = _year_var(fit) * (1 + 1 / len(benchmark.cohorts))
    return float((fit.equating_se or 0.0) ** 2 + years + (_links(fit) ** 2).sum())


def shift_difference(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Difference of the system shifts of every two cohorts, the later less the earlier, with its error (score points).

    Parameters
    ----------
    fits : sequence of CohortFit
        Benchmark fits with an estimated shift.
    benchmark : Benchmark
        Theirs.

    Returns
    -------
    DataFrame
        ``first``, ``second``, ``difference``, ``se``, ``error``, ``se_independent`` (nothing shared), ``lower``, ``upper``.

    Raises
    ------
    BenchmarkError
        As :func:`valib.shift_parts`.

    Notes
    -----
    With d_jt = phi_jt - xbar_wt' psi_j what school j adds to the error of a shift (error "schools")::

        Var = J/(J-1) sum_j (d_jt - d_js)^2 + s2_eq,t + s2_eq,s + 2 cohort_sd^2,   limits with t, J - 1 df

    Where the benchmark does not carry the psi_j, the schools of the two cohorts are taken as independent ("cautious")::

        Var = Var(delta_t) + Var(delta_s) + (xbar_wt - xbar_ws)' Var(b_B) (xbar_wt - xbar_ws) + the same

    Each cohort's equating error is its own; links of declared breaks that both cohorts cross are shared (both fits are
    to have been given the same breaks).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> fits = [va.fit_benchmark(records, c, benchmark) for c in (2021, 2024)]
    >>> va.shift_difference(fits, benchmark)[["first", "second", "difference"]].round(1)
       first  second  difference
    0   2021    2024        -7.2
    """
    fits = sorted(fits, key=lambda f: f.cohort or 0)
    parts = shift_parts(fits, benchmark)
    rows = []
    for s in range(len(fits)):
        for t in range(s + 1, len(fits)):
            before, after = fits[s], fits[t]
            L, L_before = _links(after).copy(), _links(before)
            L[: len(L_before)] -= L_before
            var = sum((f.equating_se or 0.0) ** 2 + _year_var(f) for f in (before, after)) + L @ L
            if before.shift_influence is not None and after.shift_influence is not None:
                added = after.shift_influence.sub(before.shift_influence, fill_value=0.0)
                error, df, var = "schools", len(added) - 1, var + contribution_variance(added)
            else:
                x = coefficient_loadings(after).mean(axis=0) - coefficient_loadings(before).mean(axis=0)
                own = parts["se_schools"][s] ** 2 + parts["se_schools"][t] ** 2
                error, df = "cautious", min(before.shift_df or 0, after.shift_df or 0)
                var = var + own + x @ benchmark.vcov.to_numpy() @ x
            difference, se = parts["shift"][t] - parts["shift"][s], float(np.sqrt(var))
            lower, upper = _blup.interval(difference, se, before.level, df)
            rows.append(
                {
                    "first": before.cohort,
                    "second": after.cohort,
                    "difference": difference,
                    "se": se,
                    "error": error,
                    "se_independent": np.hypot(parts["se"][s], parts["se"][t]),
                    "lower": lower,
                    "upper": upper,
                }
            )
    columns = ["first", "second", "difference", "se", "error", "se_independent", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def mean_change(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Change of the mean outcome since the baseline, split into intake and shift; one row a cohort (score points).

    Parameters
    ----------
    fits : sequence of CohortFit
        Benchmark fits with an estimated shift.
    benchmark : Benchmark
        Theirs.

    Returns
    -------
    DataFrame
        ``cohort``, ``change``, ``intake`` (what the changed covariates lead one to expect at the baseline's coefficients),
        ``shift`` (the fit's), ``weighting`` (the rest), and ``se``, ``error``, ``lower``, ``upper`` of the shift.

    Raises
    ------
    BenchmarkError
        As :func:`valib.shift_parts`.

    Notes
    -----
    Means are over students::

        ybar_t - ybar_B = (xbar_t - xbar_B)' b_B + delta_t + weighting

    The rest is 0 for least squares coefficients with the mean residual of the students as the shift (Oaxaca 1973, Blinder
    1973), and for the mixed model's when all means are weighted by a_j as the shift is; otherwise it is the difference of
    the two ways of weighting.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> table = va.mean_change([va.fit_benchmark(records, 2024, benchmark)], benchmark)
    >>> table[["cohort", "change", "intake", "shift"]].round(1)
       cohort  change  intake  shift
    0    2024   -13.8     0.9  -14.3
    """
    shifts = shift_parts(fits, benchmark)[["shift", "se", "error", "lower", "upper"]].to_dict("records")
    rows = []
    for fit, told in zip(fits, shifts, strict=True):
        moments = fit.own_moments
        means = moments.n @ moments.means / moments.n.sum()
        change = means[-1] - benchmark.summaries["columns"][benchmark.outcome]["mean"]
        intake = (means[:-1] - benchmark.column_means.to_numpy()) @ benchmark.coefficients.to_numpy()
        rows.append(
            {
                "cohort": fit.cohort,
                "change": change,
                "intake": intake,
                "shift": told["shift"],
                "weighting": change - intake - told["shift"],
                **{k: told[k] for k in ("se", "error", "lower", "upper")},
            }
        )
    return pd.DataFrame(rows)


def relative_to_school(
    records: pd.DataFrame, fit: CohortFit, benchmark: Benchmark, school: str, baseline_cohort: int
) -> pd.DataFrame:
    """Benchmark VA of every school in the fit's cohort less that of a named school in a baseline cohort.

    Parameters
    ----------
    records : DataFrame
        Checked student records with the baseline cohort.
    fit : CohortFit
        A benchmark fit of the focal cohort.
    benchmark : Benchmark
        Its benchmark.
    school : str
        The reference school k.
    baseline_cohort : int
        The cohort s in which it is the reference.

    Returns
    -------
    DataFrame
        One row a school: ``n``, ``effect``, ``se``, ``error``, ``lower``, ``upper`` (score points).

    Raises
    ------
    BenchmarkError
        For a cohort outside the baseline, a school without students in it, or a fit against another benchmark.

    Notes
    -----
    effect = VA_jt - u_ks, with u_ks the reference school's effect in the baseline cohort (BLUP at the benchmark's
    variances). Both depend on the same b_B: with g_j the loading of VA_jt and lambda_k xbar_k that of u_ks, and
    h_j = g_j - lambda_k xbar_k, the error variance is::

        tau2 (1 - lambda_j) + tau2_B (1 - lambda_k) + s2_equating + J/(J-1) sum_i ((1 - lambda_j) phi_it - h_j' psi_i)^2

    where the benchmark carries the psi_i (error "schools"), else with (1 - lambda_j)^2 Var(delta) + h_j' Var(b_B) h_j for
    the sum ("cautious"). Limits with t, J - 1 df. The two cohorts' prediction errors are taken as independent given b_B; for
    the school itself (j = k), whose effects are correlated over years, that is too wide: use the joint model.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> fit = va.fit_benchmark(records, 2024, benchmark)
    >>> va.relative_to_school(records, fit, benchmark, "0109", 2015)["effect"].round(1).loc[["0029", "0109"]].to_dict()
    {'0029': -6.3, '0109': 7.2}
    """
    check_belongs(fit, benchmark)
    fit.refuse_slopes("Value added relative to a school of a baseline cohort is that of")
    if baseline_cohort not in benchmark.cohorts:
        raise BenchmarkError(f"Cohort {baseline_cohort} is not in the baseline {list(benchmark.cohorts)}.")
    base = compute_moments(build_design(select(records, [baseline_cohort]), benchmark.state))
    labels = base.schools[base.cell_school].tolist()
    if school not in labels:
        raise BenchmarkError(f"School '{school}' has no students in cohort {baseline_cohort}.")
    b, V = benchmark.coefficients.to_numpy(), benchmark.vcov.to_numpy()
    known, _ = benchmark_va(base.n, base.means, b, V, benchmark.tau2, benchmark.sigma2, "absorbed")
    k = labels.index(school)
    reference = known.shrinkage[k] * base.means[k, :-1]
    apart = coefficient_loadings(fit) - reference
    error, df, common = _common_variance(fit, benchmark, apart)
    table = fit.school_effects
    scale = (fit.common[:, len(b) + (fit.shift is not None) :] ** 2).sum(axis=1)
    var = table["se_conditional"].to_numpy() ** 2 + known.var_conditional[k] + scale + common
    effect = table["effect"] - known.effect[k]
    lower, upper = _blup.interval(effect, np.sqrt(var), fit.level, df)
    return sizes_of(table).assign(effect=effect, se=np.sqrt(var), error=error, lower=lower, upper=upper)


def _common_variance(fit: CohortFit, benchmark: Benchmark, loading: np.ndarray) -> tuple[str, int, np.ndarray]:
    """(J,) variance that the errors of delta_hat and b_B make of VA_jt loaded on b_B by -loading (J, p); its kind, df."""
    keep = 1 - fit.school_effects["shrinkage"].to_numpy() if fit.shift is not None else np.zeros(len(loading))
    if benchmark.influence is None or (fit.shift is not None and fit.shift_influence is None):
        delta = fit.common[:, 0] ** 2 if fit.shift is not None else 0.0
        V = benchmark.vcov.to_numpy()
        return "cautious", fit.n_schools - 1, delta + np.einsum("ij,jk,ik->i", loading, V, loading)
    a = _blup.precision(fit.own_moments.n, fit.theta)
    residual = fit.own_moments.means @ np.append(-benchmark.coefficients.to_numpy(), 1.0)
    phi = pd.Series(a * (residual - (fit.shift or 0.0)) / a.sum(), index=fit.school_effects.index.astype("str"))
    schools = phi.index.union(benchmark.influence.index)
    psi = benchmark.influence.reindex(schools, fill_value=0.0).to_numpy()
    added = keep[:, None] * phi.reindex(schools, fill_value=0.0).to_numpy() - loading @ psi.T
    J = len(schools)
    return "schools", J - 1, J / (J - 1) * (added**2).sum(axis=1)


def coefficient_loadings(fit: CohortFit) -> np.ndarray:
    """(J, p) rows c_j with c_j'(b_hat - b) the part of school j's benchmark VA that the coefficients move (up to sign).

    estimated: g_j = (1 - lambda_j) xbar_w + lambda_j xbar_j; absorbed: lambda_j xbar_j.
    """
    fit.refuse_slopes("The mean of absorbed shifts is that of")
    lam = fit.school_effects["shrinkage"].to_numpy()[:, None]
    xbar = fit.own_moments.means[:, :-1]
    if fit.shift_mode == "absorbed":
        return np.asarray(lam * xbar)
    a = _blup.precision(fit.own_moments.n, fit.theta)
    return np.asarray((1 - lam) * (a @ xbar / a.sum()) + lam * xbar)


def check_belongs(fit: CohortFit, benchmark: Benchmark) -> None:
    """Raise BenchmarkError unless it is a fit against this very benchmark."""
    if fit.model != "benchmark" or not fit.fixed_effects.equals(benchmark.coefficients):
        raise BenchmarkError(f"The fit of cohort {fit.cohort} is not a fit against this benchmark.")


def shift_in_context(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Every shift beside what is not known of it; index cohort, baseline cohorts first (score points).

    Parameters
    ----------
    fits : sequence of CohortFit
        Benchmark fits with an estimated shift.
    benchmark : Benchmark
        Theirs.

    Returns
    -------
    DataFrame
        ``role`` ("baseline" or "focal"), ``shift``, ``se``, ``lower``, ``upper``, ``own_shift``, ``leave_one_out``,
        ``wobble_sd``, ``year_lower``, ``year_upper``, ``break_even``, ``prior_part``, ``equating_se``.

    Raises
    ------
    BenchmarkError
        As :func:`valib.shift_parts`.

    Notes
    -----
    shift, se, lower, upper: of a focal cohort those of its fit; of a baseline cohort its own shift against the benchmark that
    it is a part of. own_shift, leave_one_out: of a baseline cohort, against the benchmark and against that of the other
    baseline cohorts (nan where there is no other).

    wobble_sd: s_B, the standard deviation of the B baseline cohorts' own shifts (B - 1 df; nan for B = 1). Ordinary
    years differ that much, with their sampling, so that a further ordinary year would lie in
    year_lower, year_upper: shift -+ t_{B-1} s_B sqrt(1 + 1/B), for two cohorts a caution rather than an interval.

    break_even: sqrt((shift/q)^2 - se^2) / sqrt(1 + 1/B), q that of the shift's own interval: the standard deviation of
    ordinary years at which the shift would no longer be told apart (0: it is not as it stands). prior_part: what the
    change of the mean prior score would make of the shift, were all of it the prior test's
    (:func:`valib.effects.benchmark.prior_part`). equating_se: nan where it is not known; no interval then holds it.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> context = va.shift_in_context([va.fit_benchmark(records, 2024, benchmark)], benchmark)
    >>> context["role"].to_dict()
    {2015: 'baseline', 2016: 'baseline', 2017: 'baseline', 2024: 'focal'}
    """
    parts = shift_parts(fits, benchmark)
    B, own = len(benchmark.cohorts), benchmark.own_shifts
    shifts = np.array([own[c]["shift"] if c in own else np.nan for c in benchmark.cohorts])
    wobble = float(shifts.std(ddof=1)) if B > 1 else np.nan
    year = np.sqrt(1 + 1 / B)
    level = fits[0].level if len(fits) else 0.95
    rows = []
    for cohort in benchmark.cohorts:
        row = own.get(cohort, dict.fromkeys(("shift", "se", "leave_one_out"), np.nan))
        lower, upper = _blup.interval(row["shift"], row["se"], level, benchmark.n_schools - 1)
        values = (row["shift"], row["se"], lower, upper, row["shift"], row["leave_one_out"], wobble)
        rows.append((cohort, "baseline", *values, *[np.nan] * 5))
    for fit, part in zip(fits, parts.to_dict("records"), strict=True):
        half = _blup.quantile(level, B - 1) * wobble * year if B > 1 else np.nan
        q = _blup.quantile(fit.level, fit.shift_df)
        even = np.sqrt(max((part["shift"] / q) ** 2 - part["se"] ** 2, 0.0)) / year
        values = (part["shift"], part["se"], part["lower"], part["upper"], np.nan, np.nan, wobble)
        equating = np.nan if fit.equating_se is None else fit.equating_se
        year_limits = (part["shift"] - half, part["shift"] + half)
        rows.append((fit.cohort, "focal", *values, *year_limits, even, prior_part(fit, benchmark), equating))
    return pd.DataFrame(rows, columns=CONTEXT).set_index("cohort")
