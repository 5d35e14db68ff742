"""Has the system moved, or the test, or the intake? The system shift with its errors, taken apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import BenchmarkError, ModelError
from ..models import blup as _blup
from ..models.estimators import benchmark_va, school_variance
from ..models.measurement import check_reliability
from ..records.reading import select
from ..sums.design import build_design
from ..sums.moments import compute_moments
from .baseline import Benchmark, contribution_variance
from .benchmark import PRIOR, check_same_columns, linear_prior, prior_part
from .change import CONTRAST, Present, change_in_va
from .joint import JointFit
from .relative import CohortFit

CONTEXT = [
    *("cohort", "role", "shift", "se", "lower", "upper", "own_shift", "leave_one_out", "wobble_sd"),
    *("year_lower", "year_upper", "break_even", "prior_part", "equating_se"),
]


def shift_parts(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """The system shift of each benchmark fit and the parts of its standard error, one row a cohort (score points).

    se: that of the fit, with its kind as error: "schools" or "cautious". se_students: for these very schools, students
    alone being drawn. The parts of the cautious error, which takes the schools of baseline and cohort as different ones:
    se_schools: sampling of schools and students in the focal cohort, sqrt(sigma2 / sum a_j); se_coefficients: error of
    the baseline coefficients, sqrt(xbar_w' Var(b_B) xbar_w), common to all cohorts; se_scale: equating, links and
    ordinary years; se_cautious: all three together. Where effects last, the first two partly cancel, so that se is
    smaller. share_coefficients: se_coefficients^2 / se_cautious^2. effect_size: shift over the focal student SD.
    Raises BenchmarkError for a fit whose shift was absorbed, or that is not against this benchmark.
    """
    rows = []
    for fit in fits:
        _belongs(fit, benchmark)
        if fit.shift is None:
            raise BenchmarkError(f"The shift of cohort {fit.cohort} was absorbed, not estimated: it has no parts.")
        a = _blup.precision(fit.moments.n, fit.theta)
        centre = a @ fit.moments.means[:, :-1] / a.sum()
        coefficients = centre @ benchmark.vcov.to_numpy() @ centre
        scale = _scale_var(fit, benchmark)
        cautious = fit.sigma2 / a.sum() + coefficients + scale
        lower, upper = fit.shift_interval
        rows.append(
            {
                "cohort": fit.cohort,
                "shift": fit.shift,
                "se": fit.shift_se,
                "error": fit.shift_error,
                "se_students": fit.shift_se_students,
                "se_schools": np.sqrt(fit.sigma2 / a.sum()),
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


def _links(fit: CohortFit) -> np.ndarray:
    """(m,) loadings of the shift on the errors of links, after those of delta_hat, b_B and equating."""
    return fit.common.mean(axis=0)[len(fit.fixed_effects) + 2 :]  # sum a_j (L_j - L_w) = 0, so the mean is that at L_w


def _year_var(fit: CohortFit) -> float:
    """Variance that ordinary years add to one cohort's mean."""
    return (fit.cohort_sd or 0.0) ** 2


def _scale_var(fit: CohortFit, benchmark: Benchmark) -> float:
    """What equating, links and ordinary years add to the variance of a shift."""
    years = _year_var(fit) * (1 + 1 / len(benchmark.cohorts))
    return float((fit.equating_se or 0.0) ** 2 + years + (_links(fit) ** 2).sum())


def shift_difference(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Difference of the system shifts of every two cohorts, the later less the earlier, with its error (score points).

    With d_jt = phi_jt - xbar_wt' psi_j what school j adds to the error of a shift (error "schools"):
    Var = J/(J-1) sum_j (d_jt - d_js)^2 + s2_eq,t + s2_eq,s + 2 cohort_sd^2, limits with t, J - 1 df. Where the
    benchmark does not carry the psi_j, the schools of the two cohorts are taken as independent ("cautious"):
    Var = Var(delta_t) + Var(delta_s) + (xbar_wt - xbar_ws)' Var(b_B) (xbar_wt - xbar_ws) + the same.
    Each cohort's equating error is its own; links of declared breaks that both cohorts cross are shared (both fits are
    to have been given the same breaks). Columns: first, second, difference, se, error, se_independent (nothing shared),
    lower, upper.
    """
    fits = sorted(fits, key=lambda f: f.cohort)
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
                error, df = "cautious", min(before.shift_df, after.shift_df)
                var = var + own + x @ benchmark.vcov.to_numpy() @ x
            difference, se = after.shift - before.shift, float(np.sqrt(var))
            lower, upper = _blup.interval(difference, se, before.level, df)
            rows.append(
                {
                    "first": before.cohort,
                    "second": after.cohort,
                    "difference": difference,
                    "se": se,
                    "error": error,
                    "se_independent": np.hypot(before.shift_se, after.shift_se),
                    "lower": lower,
                    "upper": upper,
                }
            )
    columns = ["first", "second", "difference", "se", "error", "se_independent", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def mean_change(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Change of the mean outcome since the baseline, split into intake and shift; one row a cohort (score points).

        ybar_t - ybar_B = (xbar_t - xbar_B)' b_B + delta_t + weighting,     means over students

    intake: what the changed covariates lead one to expect at the baseline's coefficients; shift: the fit's; weighting:
    the rest. The rest is 0 for least squares coefficients with the mean residual of the students as the shift (Oaxaca
    1973, Blinder 1973), and for the mixed model's when all means are weighted by a_j as the shift is; otherwise it is
    the difference of the two ways of weighting. se, error, lower, upper: of the shift, as its fit has them.
    Raises BenchmarkError as :func:`shift_parts`.
    """
    shifts = shift_parts(fits, benchmark)[["shift", "se", "error", "lower", "upper"]].to_dict("records")
    rows = []
    for fit, told in zip(fits, shifts, strict=True):
        means = fit.moments.n @ fit.moments.means / fit.moments.n.sum()
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


def shift_at(
    relative: CohortFit, benchmark: Benchmark, profile: pd.Series | np.ndarray, equating_se: float | None = None
) -> pd.DataFrame:
    """delta_t(x) = x'(b_t - b_B) with its error at design rows x: columns shift, se, error, lower, upper, one row a
    profile.

    relative: the focal cohort's own model, same formula as the benchmark (fitted with ``benchmark.state`` where it
    has transforms that learn from the data, such as center). profile (p,) or (m, p).
    With psi_tj and psi_Bj what school j adds to the coefficients of cohort and baseline (error "schools"; they need a
    fit with ``influences=True`` and a benchmark that carries them):
    Var = J/(J-1) sum_j (x'(psi_tj - psi_Bj))^2 + s2_equating, limits with t, J - 1 df. Without them ("cautious") the
    two sets of coefficients are taken as independent, Var = x'(Var(b_t) + Var(b_B)) x + s2_equating.
    Across a break of the scale the relative model is that of the scores carried back
    (:func:`valib.sums.equating.carry_back`),
    and equating_se holds the link's error too (se_scale of :func:`shift_parts`).
    """
    check_same_columns(relative, benchmark)
    x = np.atleast_2d(np.asarray(profile, dtype=np.float64))
    shift = x @ (relative.fixed_effects.to_numpy() - benchmark.coefficients.to_numpy())
    if relative.influence is not None and benchmark.influence is not None:
        added = (relative.influence.sub(benchmark.influence, fill_value=0.0)).to_numpy()
        error, df, V = "schools", len(added) - 1, school_variance(added, len(added))
    else:
        error, df, V = "cautious", relative.n_schools - 1, relative.vcov.to_numpy() + benchmark.vcov.to_numpy()
    se = np.sqrt(np.einsum("ij,jk,ik->i", x, V, x) + (equating_se or 0.0) ** 2)
    lower, upper = _blup.interval(shift, se, relative.level, df)
    return pd.DataFrame({"shift": shift, "se": se, "error": error, "lower": lower, "upper": upper})


def split_shift(relative: CohortFit, benchmark: Benchmark, equating_se: float | None = None) -> pd.DataFrame:
    """Split delta_t at the focal mean into a level part and a slope part; rows level, slope, total.

    level = xbar_B'(b_t - b_B), the shift for a student at the baseline means; slope = (xbar_t - xbar_B)'(b_t - b_B),
    what the change of intake makes of changed slopes; total = xbar_t'(b_t - b_B). The split depends on the centre:
    about another profile than the baseline means it comes out differently, the total does not.
    """
    check_same_columns(relative, benchmark)
    moments = relative.moments
    focal = (moments.n @ moments.means / moments.n.sum())[:-1]
    baseline = benchmark.column_means.to_numpy()
    parts = pd.concat(
        [
            shift_at(relative, benchmark, baseline, equating_se),
            shift_at(relative, benchmark, focal - baseline),
            shift_at(relative, benchmark, focal, equating_se),
        ],
        ignore_index=True,
    )
    return parts.set_index(pd.Index(["level", "slope", "total"], name="part"))


def shift_over_prior(
    relative: CohortFit, benchmark: Benchmark, prior: np.ndarray, equating_se: float | None = None
) -> pd.DataFrame:
    """delta_t over a grid of prior scores, the other columns at their baseline means; adds column ``prior``.

    Raises ModelError when the prior enters other than as the linear column ``prior_score`` (school means of it stay at
    the baseline mean): the curve would then not be a line in that one column.
    """
    check_same_columns(relative, benchmark)
    names = _linear_prior(benchmark, "shift over the prior")
    prior = np.asarray(prior, dtype=np.float64)
    profile = np.tile(benchmark.column_means.to_numpy(), (len(prior), 1))
    profile[:, names.index(PRIOR)] = prior
    return pd.DataFrame({"prior": prior}).join(shift_at(relative, benchmark, profile, equating_se))


def relative_to_school(
    records: pd.DataFrame, fit: CohortFit, benchmark: Benchmark, school: str, baseline_cohort: int
) -> pd.DataFrame:
    """Benchmark VA of every school in the fit's cohort less that of a named school in a baseline cohort.

    VA_jt - u_ks, with u_ks the reference school's effect in the baseline cohort (BLUP at the benchmark's variances).
    Both depend on the same b_B: with g_j the loading of VA_jt and lambda_k xbar_k that of u_ks, the error variance is
    tau2 (1 - lambda_j) + tau2_B (1 - lambda_k) + s2_equating + J/(J-1) sum_i ((1 - lambda_j) phi_it - h_j' psi_i)^2,
    h_j = g_j - lambda_k xbar_k, where the benchmark carries the psi_i (error "schools"), else with
    (1 - lambda_j)^2 Var(delta) + h_j' Var(b_B) h_j for the sum ("cautious"). Limits with t, J - 1 df.
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
    return pd.DataFrame(
        {"n": table["n"], "effect": effect, "se": np.sqrt(var), "error": error, "lower": lower, "upper": upper}
    )


def _common_variance(fit: CohortFit, benchmark: Benchmark, loading: np.ndarray) -> tuple[str, int, np.ndarray]:
    """(J,) variance that the errors of delta_hat and b_B make of VA_jt loaded on b_B by -loading (J, p); its kind, df."""
    keep = 1 - fit.school_effects["shrinkage"].to_numpy() if fit.shift is not None else np.zeros(len(loading))
    if benchmark.influence is None or (fit.shift is not None and fit.shift_influence is None):
        delta = fit.common[:, 0] ** 2 if fit.shift is not None else 0.0
        V = benchmark.vcov.to_numpy()
        return "cautious", fit.n_schools - 1, delta + np.einsum("ij,jk,ik->i", loading, V, loading)
    a = _blup.precision(fit.moments.n, fit.theta)
    residual = fit.moments.means @ np.append(-benchmark.coefficients.to_numpy(), 1.0)
    phi = pd.Series(a * (residual - (fit.shift or 0.0)) / a.sum(), index=fit.school_effects.index.astype("str"))
    schools = phi.index.union(benchmark.influence.index)
    psi = benchmark.influence.reindex(schools, fill_value=0.0).to_numpy()
    phi = phi.reindex(schools, fill_value=0.0).to_numpy()
    added = keep[:, None] * phi - loading @ psi.T
    J = len(schools)
    return "schools", J - 1, J / (J - 1) * (added**2).sum(axis=1)


def coefficient_loadings(fit: CohortFit) -> np.ndarray:
    """(J, p) rows c_j with c_j'(b_hat - b) the part of school j's benchmark VA that the coefficients move (up to sign).

    estimated: g_j = (1 - lambda_j) xbar_w + lambda_j xbar_j; absorbed: lambda_j xbar_j.
    """
    lam = fit.school_effects["shrinkage"].to_numpy()[:, None]
    xbar = fit.moments.means[:, :-1]
    if fit.shift_mode == "absorbed":
        return lam * xbar
    a = _blup.precision(fit.moments.n, fit.theta)
    return (1 - lam) * (a @ xbar / a.sum()) + lam * xbar


def prior_sensitivity(
    fit: CohortFit,
    benchmark: Benchmark,
    mean_changes: Sequence[float] = (),
    reliabilities: Sequence[tuple[float, float]] = (),
) -> pd.DataFrame:
    """How much of a shift could be a changed prior test; one row a scenario (score points).

    mean_changes: the prior test became easier by d points (scores d higher for the same knowledge): that adds
    -slope d to every student and to the shift (slope: with that of the school mean of the prior, if it is there).
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
    _linear_prior(benchmark, "sensitivity to the prior")
    slope, sd = float(benchmark.coefficients[PRIOR]), float(benchmark.summaries["columns"][PRIOR]["sd"])
    moments = fit.moments
    focal = float(moments.n @ moments.means[:, moments.names.index(PRIOR)] / moments.n.sum())
    apart = focal - float(benchmark.column_means[PRIOR])
    whole = slope + float(benchmark.coefficients.get(f"school_mean({PRIOR})", 0.0))
    rows = [(f"prior test easier by {d:+.1f} points", -whole * d, 0.0) for d in mean_changes]
    for before, after in reliabilities:
        check_reliability(before, after)
        rows.append(
            (
                f"reliability of the prior from {before:.2f} to {after:.2f}",
                slope * (1 / before - 1) * apart,
                slope * (after / before - 1) * sd,
            )
        )
    frame = pd.DataFrame(rows, columns=["scenario", "artefact", "turn"])
    shift = np.nan if fit.shift is None else fit.shift
    return pd.DataFrame(
        {
            "scenario": frame["scenario"],
            "artefact": frame["artefact"],
            "corrected": shift - frame["artefact"],
            "low_prior": frame["artefact"] - frame["turn"],
            "high_prior": frame["artefact"] + frame["turn"],
        }
    )


def system_change(
    joint: JointFit, first: int, second: int, profile: pd.Series, scale_se: float = 0.0
) -> dict[str, float]:
    """Change of the system between two cohorts for a student of the given profile: x'(b_t - b_s), no benchmark in it.

    profile (p,): a row of the design matrix, such as the benchmark's column_means (then fit with ``benchmark.state``
    where the formula has transforms that learn from the data). change, se, lower, upper, and
    se_independent, which ignores that the joint model's b_t and b_s are correlated through schools that last.
    scale_se: standard error of the link between the two cohorts' scales.
    """
    loading = _contrast(joint, first, second, profile)
    V = joint.vcov.to_numpy()
    apart = loading * (joint.vcov.index.get_level_values("cohort") == second)
    se = np.sqrt(loading @ V @ loading + scale_se**2)
    separate = apart @ V @ apart + (loading - apart) @ V @ (loading - apart)
    change = float(loading @ joint.fixed_effects.to_numpy())
    lower, upper = _blup.interval(change, se, joint.level, joint.n_schools - 1)
    return {
        "change": change,
        "se": float(se),
        "se_independent": float(np.sqrt(separate + scale_se**2)),
        "lower": float(lower),
        "upper": float(upper),
    }


def change_on_benchmark(
    joint: JointFit, first: int, second: int, profile: pd.Series, scale_se: float = 0.0
) -> pd.DataFrame:
    """Change of every school's value added on a fixed scale: (u_jt - u_js) + x'(b_t - b_s), schools in both cohorts.

    With c = (-1, 1) over the two cohorts, C_j the school's error covariance with known b, S_j = d u_hat_j / d b and k
    the loading of x'(b_t - b_s) on all coefficients, Var = c'C_j c + (S_j'c + k)' Var(b) (S_j'c + k) + scale_se^2.
    One row a school: n_first, n_second, change, se, lower, upper. Arguments as in :func:`system_change`.
    """
    k = _contrast(joint, first, second, profile)
    relative = change_in_va(joint, first, second, intervals="plugin")
    p = Present.of(joint, (first, second))
    loading = CONTRAST @ p.sensitivity + k
    known = CONTRAST @ p.conditional @ CONTRAST
    se = np.sqrt(known + np.einsum("jp,pq,jq->j", loading, p.vcov, loading) + scale_se**2)
    change = relative["change"] + k @ joint.fixed_effects.to_numpy()
    lower, upper = _blup.interval(change, se, joint.level, joint.n_schools - 1)
    return relative[["n_first", "n_second"]].assign(change=change, se=se, lower=lower, upper=upper)


def _contrast(joint: JointFit, first: int, second: int, profile: pd.Series) -> np.ndarray:
    """(P,) loading of x'(b_second - b_first) on the joint model's coefficients."""
    loading = pd.Series(0.0, index=joint.fixed_effects.index)
    for cohort, sign in ((first, -1.0), (second, 1.0)):
        if cohort not in joint.cohorts:
            raise ModelError(f"Cohort {cohort} is not in the joint fit; it has {list(joint.cohorts)}.")
        if list(joint.fixed_effects[cohort].index) != list(profile.index):
            raise ModelError(
                f"The profile has the columns {list(profile.index)}, the joint model of cohort {cohort} "
                f"has {list(joint.fixed_effects[cohort].index)}."
            )
        loading[cohort] += sign * profile.to_numpy()
    return loading.to_numpy()


def _linear_prior(benchmark: Benchmark, what: str) -> list[str]:
    """The benchmark's columns, the prior among them as one linear column (and its school mean), or ModelError."""
    names = list(benchmark.coefficients.index)
    if not linear_prior(names):
        others = [n for n in names if PRIOR in n and n not in (PRIOR, f"school_mean({PRIOR})")]
        raise ModelError(
            f"The {what} needs {PRIOR} as one linear column of the formula"
            + (f", but it also enters through {', '.join(map(repr, others))}." if others else ".")
        )
    return names


def _belongs(fit: CohortFit, benchmark: Benchmark) -> None:
    if fit.model != "benchmark" or not fit.fixed_effects.equals(benchmark.coefficients):
        raise BenchmarkError(f"The fit of cohort {fit.cohort} is not a fit against this benchmark.")


def shift_in_context(fits: Sequence[CohortFit], benchmark: Benchmark) -> pd.DataFrame:
    """Every shift beside what is not known of it; index cohort, baseline cohorts first (score points).

    role: "baseline" or "focal". shift, se, lower, upper: of a focal cohort those of its fit; of a baseline cohort its own
    shift against the benchmark that it is a part of. own_shift, leave_one_out: of a baseline cohort, against the
    benchmark and against that of the other baseline cohorts (nan where there is no other).
    wobble_sd: s_B, the standard deviation of the B baseline cohorts' own shifts (B - 1 df; nan for B = 1). Ordinary
    years differ that much, with their sampling, so that a further ordinary year would lie in
    year_lower, year_upper: shift -+ t_{B-1} s_B sqrt(1 + 1/B), for two cohorts a caution rather than an interval.
    break_even: sqrt((shift/q)^2 - se^2) / sqrt(1 + 1/B), q that of the shift's own interval: the standard deviation of
    ordinary years at which the shift would no longer be told apart (0: it is not as it stands). prior_part: what the
    change of the mean prior score would make of the shift, were all of it the prior test's
    (:func:`valib.effects.benchmark.prior_part`). equating_se: nan where it is not known; no interval then holds it.
    Raises BenchmarkError as :func:`shift_parts`.
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
        even = np.sqrt(max((fit.shift / q) ** 2 - fit.shift_se**2, 0.0)) / year
        values = (fit.shift, fit.shift_se, part["lower"], part["upper"], np.nan, np.nan, wobble)
        equating = np.nan if fit.equating_se is None else fit.equating_se
        year_limits = (fit.shift - half, fit.shift + half)
        rows.append((fit.cohort, "focal", *values, *year_limits, even, prior_part(fit, benchmark), equating))
    return pd.DataFrame(rows, columns=CONTEXT).set_index("cohort")
