"""The relative value-added model of one cohort, and the result that every one-cohort model returns."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError, ValibWarning
from ..models import blup as _blup
from ..models.estimators import relative_va
from ..models.likelihood import compress
from ..models.measurement import error_vector, fit_corrected
from ..models.mixed import MixedFit, fit_moments
from ..models.options import Intervals, Method
from ..models.posterior import Posterior, integrate, posterior
from ..records.disclosure import counted, shown
from ..records.reading import select
from ..sums.design import Design, FormulaState, build_design
from ..sums.moments import Moments
from ..sums.students import Records, Summed, cohorts_of, sum_students, summed
from .findings import Finding, boundary, of_correlation, repeated_rows, tell
from .ranking import rank_draws, rank_effects

INTERVALS: tuple[Intervals, ...] = ("integrated", "plugin")


@dataclass(frozen=True, slots=True, eq=False)
class CohortFit:
    """One cohort's fitted value-added model. Score points throughout; variances are score points squared.

    model: "relative" or "benchmark". fixed_effects, vcov: estimated on this cohort, or the benchmark's.
    findings: what would mislead in it. school_effects: one row a school (index, sorted) with n (rows), students (only
    where some stand in several rows), effect, shrinkage, se_conditional, se_comparative, se_diagnostic, se, lower, upper;
    se is the standard deviation of what lower and upper are limits of. ``effect`` is the BLUP for a relative model and
    the benchmark VA for a benchmark model. intervals: "integrated" where lower and upper come from the posterior, the
    variances not known (:mod:`valib.models.posterior`), "plugin" where they are effect -+ z se_comparative, which takes
    the estimated variances as known, and missing where the effects are 0 on the boundary; posterior: that posterior, or
    None. tau2_se, sigma2_se: from the observed information (nan on the boundary or when the variances were carried over).
    shift, shift_se: the system shift, None unless it was estimated. shift_error: which error shift_se is, "schools"
    (the same schools take part in baseline and cohort, methods of :mod:`valib.effects.shift`) or "cautious" (the
    benchmark does not carry what its schools add, so the two are taken as independent); shift_df: degrees of freedom of
    its interval, schools less one. shift_se_students: the error for these very schools, students alone being drawn (nan
    where the benchmark does not know it). All of them with equating, links and cohort_sd. shift_influence: what each
    school adds to the error, or None.
    equating_se: None where the error of equating is not known, which is not 0. cohort_sd: standard deviation of
    ordinary years that was declared, or None.
    student_sd: standard deviation of the outcome over the cohort's students, the divisor of effect sizes.
    left_out: rows dropped for a missing covariate, by column. common: loadings of the errors that schools share.
    state: the design's state, so that other students can be scored. influence: of a relative fit, what each school adds
    to the coefficients; None unless it was asked for.
    """

    cohort: int | None
    model: str
    formula: str
    method: Method
    fixed_effects: pd.Series
    vcov: pd.DataFrame
    tau2: float
    sigma2: float
    tau2_se: float
    sigma2_se: float
    loglik: float
    singular: bool
    n_students: int
    n_schools: int
    student_sd: float
    level: float
    school_effects: pd.DataFrame
    common: np.ndarray = field(repr=False)
    left_out: Mapping[str, int]
    shift: float | None = None
    shift_se: float | None = None
    equating_se: float | None = 0.0
    coefficient_source: str = "focal"
    shift_mode: str | None = None
    variances_from: str = "focal"
    intervals: Intervals = "plugin"
    posterior: Posterior | None = field(default=None, repr=False)
    moments: Moments | None = field(default=None, repr=False)
    state: FormulaState | None = field(default=None, repr=False)
    shift_error: str | None = None
    shift_df: int | None = None
    shift_se_students: float | None = None
    shift_influence: pd.Series | None = field(default=None, repr=False)
    cohort_sd: float | None = None
    influence: pd.DataFrame | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()

    @property
    def theta(self) -> float:
        """tau2 / sigma2."""
        return self.tau2 / self.sigma2

    @property
    def vpc(self) -> float:
        """Variance partition coefficient tau2 / (tau2 + sigma2)."""
        return self.tau2 / (self.tau2 + self.sigma2)

    @property
    def own_moments(self) -> Moments:
        """The moments that were fitted; ModelError where the fit does not carry them."""
        if self.moments is None:
            raise ModelError(f"The fit of cohort {self.cohort} does not carry the sums that it was made of.")
        return self.moments

    @property
    def shift_interval(self) -> tuple[float, float] | None:
        """Interval of the system shift at the fit's level; None unless the shift was estimated."""
        if self.shift is None:
            return None
        lower, upper = _blup.interval(self.shift, self.shift_se, self.level, self.shift_df)
        return float(lower), float(upper)

    def ranks(self, seed: int | np.random.Generator, draws: int = 2000, min_students: int = 1) -> pd.DataFrame:
        """Expected rank, its interval, and the probabilities of the lowest and highest fifth (rank 1 is highest).

        They are places among the schools that may be shown with ``min_students`` (:mod:`valib.records.disclosure`),
        by default all: places among all schools would tell of those held back. With integrated intervals every draw
        begins with the variances.
        """
        mask = np.asarray(shown(counted(self.school_effects), min_students))
        table = self.school_effects[mask]
        if self.posterior is not None:
            drawn = self.posterior.draw
            r = rank_draws(lambda size, rng: drawn(size, rng)[:, mask], len(table), seed, draws, self.level)
        else:
            effect, own = table["effect"].to_numpy(), table["se_conditional"].to_numpy() ** 2
            r = rank_effects(effect, own, self.common[mask], seed, draws, self.level)
        return pd.DataFrame(
            {
                "n": table["n"],
                "effect": table["effect"],
                "expected_rank": r.expected,
                "rank_lower": r.lower,
                "rank_upper": r.upper,
                "p_bottom_quintile": r.p_bottom,
                "p_top_quintile": r.p_top,
            },
            index=table.index,
        )

    def summary(self) -> dict[str, Any]:
        """The fit in plain numbers, for tables and JSON (no school, no student)."""
        plain = {
            k: getattr(self, k)
            for k in (
                "cohort",
                "model",
                "formula",
                "method",
                "tau2",
                "tau2_se",
                "sigma2",
                "sigma2_se",
                "theta",
                "vpc",
                "loglik",
                "singular",
                "n_students",
                "n_schools",
                "student_sd",
                "level",
                "shift",
                "shift_se",
                "shift_error",
                "shift_se_students",
                "equating_se",
                "cohort_sd",
                "coefficient_source",
                "shift_mode",
                "variances_from",
                "intervals",
            )
        }
        plain["left_out"] = dict(self.left_out)
        plain["findings"] = [item.summary() for item in self.findings]
        plain["fixed_effects"] = {k: float(v) for k, v in self.fixed_effects.items()}
        errors = np.sqrt(np.diag(self.vcov))
        plain["fixed_effects_se"] = {k: float(v) for k, v in zip(self.fixed_effects.index, errors, strict=True)}
        return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in plain.items()}


def fit_relative(
    records: Records,
    cohort: int | None = None,
    formula: str | FormulaState = "score ~ prior_score",
    method: Method = "ML",
    level: float = 0.95,
    error_variance: Mapping[str, float] | None = None,
    intervals: Intervals = "integrated",
    influences: bool = False,
) -> CohortFit:
    """Relative value added of one cohort: y_ij = x_ij' b + u_j + e_ij, all of it estimated on that cohort.

    records: validated records (:func:`valib.read_records`); cohort: which one (may be left out when there is only
    one); formula: text, or the state of another design such as ``benchmark.state``, so that transforms and levels are
    the benchmark's and coefficients can be compared; method "ML" or "REML". Raises RecordsError for a cohort that is
    not there, ModelError for what cannot be fitted. With an intercept the effects sum to zero over schools exactly
    (the intercept's normal equation is sum_j a_j rbar_j = 0 and u_hat_j = theta a_j rbar_j): they rank schools, they
    cannot show a change common to all.
    error_variance: variance of the error of measurement in a column, where known, for example
    ``{"prior_score": (1 - reliability) * variance}``. The coefficients are then those of true scores, their covariance
    is clustered by school, sigma2 is of y - x'b as recorded, and the effects sum to zero only about.
    intervals: "integrated" over what is not known of the variances, or "plugin", which takes their estimates as known.
    Plug-in intervals stand, and the fit's ``intervals`` says so, where error_variance is given and, with a warning,
    where there are too few schools: fewer than two more than coefficients of school-level columns.
    influences: also find what each school adds to the coefficients, for the errors of :func:`valib.shift_at` and its
    like; the sums are then kept by school in full.
    """
    check_intervals(intervals)
    if cohort is None:
        cohorts = cohorts_of(records)
        if len(cohorts) != 1:
            raise ModelError(f"Name the cohort to fit: the records have {cohorts}.")
        cohort = cohorts[0]
    students = sum_students(records, [cohort], formula, by_cell=influences or _corrected(error_variance))
    fit = relative_from_moments(students, method, level, int(cohort), error_variance, intervals)
    return with_findings(fit, of_correlation(records, [cohort]))


def with_findings(fit: CohortFit, more: Iterable[Finding | None] = ()) -> CohortFit:
    """The fit with what would mislead in it, told as ValibWarning: of its students, then of itself."""
    found = [*more, repeated_rows(fit.school_effects, fit.cohort)]
    if fit.singular:
        found.append(boundary(fit.cohort, fit.shift is not None, fit.posterior is not None))
    return replace(fit, findings=tell(found, stacklevel=4))


def fit_mixed(
    data: pd.DataFrame,
    formula: str,
    groups: str,
    method: Method = "ML",
    level: float = 0.95,
    intervals: Intervals = "integrated",
) -> CohortFit:
    """The same model on any table, for example ``fit_mixed(sleepstudy, "Reaction ~ Days", "Subject")``.

    data: one row an observation; groups: the column of the random intercept.
    """
    check_intervals(intervals)
    return relative_from_design(build_design(data, formula, groups, cohort=None), method, level, None, None, intervals)


def relative_from_design(
    design: Design,
    method: Method,
    level: float,
    cohort: int | None,
    error_variance: Mapping[str, float] | None = None,
    intervals: Intervals = "integrated",
) -> CohortFit:
    """Fit the relative model to a design of one cohort."""
    return relative_from_moments(
        summed(design, by_cell=_corrected(error_variance)), method, level, cohort, error_variance, intervals
    )


def relative_from_moments(
    students: Summed,
    method: Method = "ML",
    level: float = 0.95,
    cohort: int | None = None,
    error_variance: Mapping[str, float] | None = None,
    intervals: Intervals = "integrated",
) -> CohortFit:
    """The relative model from the sums of one cohort, wherever they were computed; error_variance needs by_cell."""
    moments, errors = students.moments, None
    if error_variance is not None and _corrected(error_variance):
        errors = error_vector(moments, error_variance)
        fit = fit_corrected(moments, errors, method)
    else:
        fit = fit_moments(moments, method)
    found = relative_va(moments, fit.optimum, method == "REML", errors, moments.cell_cross is not None)
    if errors is not None:
        fit = replace(fit, vcov=found.vcov[0], sigma2=float(found.sigma2[0]), sigma2_se=float("nan"))
    over = integrated(moments, "plugin" if errors is not None else intervals)
    psi = None
    if found.influence is not None:
        index = pd.Index(moments.schools, dtype="str", name="school")
        psi = pd.DataFrame(found.influence[0], index=index, columns=list(fit.names))
    return assemble(fit, found.blup.take(0), students, level, over, cohort=cohort, model="relative", influence=psi)


def check_intervals(intervals: Intervals) -> None:
    """Refuse another word than those of :data:`INTERVALS`."""
    if intervals not in INTERVALS:
        raise ModelError(f"The intervals must be one of {', '.join(INTERVALS)}, not {intervals!r}.")


def integrated(
    moments: Moments, intervals: Intervals, target: str = "relative", loadings: np.ndarray | None = None
) -> Posterior | None:
    """The posterior of one cohort's effects from its moments; None for plug-in intervals.

    None with a warning where the posterior is improper. target, loadings (J, m): as in
    :func:`valib.models.posterior.posterior`.
    """
    if intervals == "plugin":
        return None
    try:
        nodes = integrate(compress(moments))
    except ModelError as error:
        warnings.warn(f"{error} The intervals take the estimated variances as known.", ValibWarning, stacklevel=4)
        return None
    means = moments.sums / moments.n[:, None]
    return posterior(nodes, moments.n[None], means[None], target, None if loadings is None else loadings[None])


def _corrected(error_variance: Mapping[str, float] | None) -> bool:
    return error_variance is not None and any(error_variance.values())


def assemble(
    fit: MixedFit,
    effects: _blup.Blup,
    students: Summed,
    level: float,
    over: Posterior | None = None,
    *,
    names: Iterable[str] | None = None,
    coefficients: np.ndarray | None = None,
    vcov: np.ndarray | None = None,
    **rest: Any,
) -> CohortFit:
    """Put arrays into the labelled result; coefficients and vcov default to the fit's own.

    over: the posterior whose limits are given; None gives those that take the variances as known.
    """
    names = list(fit.names if names is None else names)
    coefficients = fit.coefficients if coefficients is None else coefficients
    vcov = fit.vcov if vcov is None else vcov
    moments = students.moments
    return CohortFit(
        formula=students.state.formula,
        method=fit.method,
        fixed_effects=pd.Series(coefficients, index=names, name="coefficient"),
        vcov=pd.DataFrame(vcov, index=names, columns=names),
        tau2=fit.tau2,
        sigma2=fit.sigma2,
        tau2_se=fit.tau2_se,
        sigma2_se=fit.sigma2_se,
        loglik=fit.loglik,
        singular=fit.singular,
        n_students=fit.n_students,
        n_schools=fit.n_groups,
        student_sd=moments.response_sd,
        level=level,
        school_effects=effects_table(moments, effects, level, over, students.extra),
        intervals="plugin" if over is None else "integrated",
        posterior=over,
        common=effects.common,
        left_out=students.left_out,
        moments=moments,
        state=students.state,
        **rest,
    )


def effects_table(
    moments: Moments, effects: _blup.Blup, level: float, over: Posterior | None = None, extra: pd.Series | None = None
) -> pd.DataFrame:
    """``school_effects`` of a :class:`CohortFit`: one row a cell of the moments (one cohort), sorted by school.

    extra: rows beyond the first of a student, by school; where there are any, a column ``students`` counts students.
    """
    comparative = np.sqrt(effects.var_comparative)
    if over is None:
        se, (lower, upper) = comparative, _blup.interval(effects.effect, comparative, level)
    else:
        mixture = over.effects()
        se, (lower, upper) = mixture.sd()[0], (limit[0] for limit in mixture.interval(level))
    index = pd.Index(moments.schools[moments.cell_school], name="school", dtype="str")
    if over is None and not (
        effects.shrinkage.any() or effects.effect.any()
    ):  # the boundary: nothing is known of a school
        lower = upper = np.full(len(se), np.nan)
    table = pd.DataFrame(
        {
            "n": moments.n.astype(np.int64),
            "effect": effects.effect,
            "shrinkage": effects.shrinkage,
            "se_conditional": np.sqrt(effects.var_conditional),
            "se_comparative": comparative,
            "se_diagnostic": np.sqrt(effects.var_diagnostic),
            "se": se,
            "lower": lower,
            "upper": upper,
        },
        index=index,
    )
    if extra is not None and len(extra):
        table.insert(1, "students", (table["n"] - extra.reindex(index, fill_value=0)).clip(lower=1))
    return table


def fit_formulas(
    records: Records, cohort: int, formulas: Iterable[str], method: Method = "ML", level: float = 0.95
) -> tuple[dict[str, CohortFit], dict[str, str]]:
    """One cohort under several formulas: the fits by formula, and for those that cannot be fitted the reason."""
    fits, refused = {}, {}
    for formula in formulas:
        try:
            fits[formula] = fit_relative(records, cohort, formula, method, level)
        except ModelError as error:
            refused[formula] = str(error)
    return fits, refused


def school_residuals(fit: CohortFit) -> pd.DataFrame:
    """What the schools of a relative fit look like before shrinkage, for checks: index school, columns n, residual
    (rbar_j = ybar_j - xbar_j' b, score points) and standardised = rbar_j / sd(rbar_j), with

        Var(rbar_j) = tau2 + sigma2 / n_j - xbar_j' Var(b) xbar_j

    u_hat_j over its diagnostic standard error is the same number, but is 0 / 0 where the school variance is 0.
    Raises ModelError for a benchmark fit.
    """
    _check_relative(fit)
    n, means, b = fit.own_moments.n, fit.own_moments.means, fit.fixed_effects.to_numpy()
    residual = means[:, -1] - means[:, :-1] @ b
    common = ((means[:, :-1] @ _blup.factor(fit.vcov.to_numpy())) ** 2).sum(axis=1)
    var = fit.tau2 + fit.sigma2 / n - common
    standardised = residual / np.sqrt(np.where(var > 0, var, np.nan))
    return pd.DataFrame(
        {"n": n.astype(np.int64), "residual": residual, "standardised": standardised}, index=fit.school_effects.index
    )


def student_residuals(records: pd.DataFrame, fit: CohortFit) -> np.ndarray:
    """Student residuals y_ij - x_ij' b - u_hat_j of a relative fit, (N,) in score points, for checks.

    records: those the model was fitted to; the order is theirs, less rows that lack a covariate. Raises ModelError
    for a benchmark fit and for other records than the fit's.
    """
    cohort = _check_relative(fit)
    design = build_design(select(records, [cohort]), fit.state or fit.formula)
    effects = fit.school_effects["effect"]
    if (
        list(design.names) != list(fit.fixed_effects.index)
        or list(design.cells.schools) != list(effects.index)
        or len(design.y) != fit.n_students
    ):
        raise ModelError(f"These are not the records that the model of cohort {fit.cohort} was fitted to.")
    return np.asarray(design.y - design.X @ fit.fixed_effects.to_numpy() - effects.to_numpy()[design.cells.code])


def _check_relative(fit: CohortFit) -> int:
    if fit.model != "relative" or fit.cohort is None:
        raise ModelError("Residuals are those of a relative model of one cohort of records.")
    return fit.cohort
