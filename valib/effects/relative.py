"""The relative value-added model of one cohort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.estimators import relative_va, residual_moments
from ..models.likelihood import compress
from ..models.measurement import error_vector, fit_corrected, has_errors, known_errors
from ..models.mixed import MixedFit, fit_moments, unshift
from ..models.options import Intervals, Method
from ..models.posterior import Posterior, integrate, posterior
from ..models.slope_posterior import SlopePosterior, integrate_slopes
from ..models.slopes import SlopesFit, fit_slopes
from ..models.unequal_posterior import UnequalPosterior, integrate_unequal
from ..records.coverage import with_coverage
from ..records.reading import select
from ..sums.design import Design, FormulaState, build_design, required_columns
from ..sums.moments import Moments
from ..sums.random_part import random_columns, random_part
from ..sums.students import Records, Summed, only_cohort, sum_students, summed
from .cohort_fit import CohortFit
from .findings import Finding, boundary, integrated_or_told, of_correlation, repeated_rows, slope_boundary, tell
from .linkage import of_fit
from .long_records import of_long
from .measured import Reliability, with_columns
from .residual import Unequal, fit_unequal
from .verdict import sides

INTERVALS: tuple[Intervals, ...] = ("integrated", "plugin")


def fit_relative(
    records: Records,
    cohort: int | None = None,
    formula: str | FormulaState = "score ~ prior_score",
    method: Method = "ML",
    level: float = 0.95,
    error_variance: Mapping[str, float] | None = None,
    intervals: Intervals = "integrated",
    influences: bool = False,
    random: Sequence[str] | None = None,
    reliability: Reliability | None = None,
    residual: str | None = None,
) -> CohortFit:
    """Relative value added of one cohort: all of the model is estimated on that cohort.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohort : int, optional
        Which one; may be left out when there is only one.
    formula : str or FormulaState
        Text, or the state of another design such as ``benchmark.state``, so that transforms and levels are the
        benchmark's and coefficients can be compared.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.
    error_variance : mapping of str to float, optional
        Variance of the error of measurement in a column, where known, for example
        ``{"prior_score": (1 - reliability) * variance}``. The coefficients are then those of true scores, their covariance
        is clustered by school, and sigma2 is of y - x'b as recorded; the intercept is fitted at it, so that the effects sum
        to zero.
    intervals : {"integrated", "plugin"}
        Integrated over what is not known of the variances, or taking their estimates as known. Plug-in intervals stand with
        a warning, and the fit's ``intervals`` says so, where there are too few schools: fewer than two more than
        coefficients of school-level columns.
    influences : bool
        Also find what each school adds to the coefficients, for the errors of :func:`valib.shift_at` and its like; the sums
        are then kept by school in full.
    random : sequence of str, optional
        Columns of the formula whose coefficient varies over schools (random slopes), beside the intercept. The formula may
        say the same: ``"score ~ prior_score + (1 + prior_score | school)"``. ``effect`` is then value added at the mean of
        each; :func:`valib.va_at` gives it elsewhere.
    reliability : mapping of str to float or to mapping, optional
        Reliability of a column, above 0 and not above 1, in place of the variance of its error: that is then
        (1 - reliability) times the variance of the column over the students of the fit, for example
        ``{"prior_score": 0.9}``. Or the column of its standard errors of measurement, a number for each student, as in
        ``{"prior_score": {"se": "prior_se"}}``: the variance is then the mean of their squares. The school mean of such a
        column in the formula is corrected too.
    residual : str, optional
        Residual variances that are not equal. ``"by_school"``: each school has its own, shrunk towards the common one.
        The name of a column of students, such as ``"female"``: each of its groups has its own. ``"exp(prior_score)"``: the
        variance follows a numeric column, of records in memory. ``sigma2`` is then their mean over students, of schools
        the common one;
        :func:`valib.residual_variances` has them all, :func:`valib.variance_test` asks whether they differ.

    Returns
    -------
    CohortFit
        Coefficients, variances, school effects with all their errors.

    Raises
    ------
    RecordsError
        For a cohort that is not there.
    ModelError
        For what cannot be fitted, and for several cohorts of which none is named.

    Notes
    -----
    With a_j = n_j / (1 + n_j theta), theta = tau2 / sigma2, and rbar_j the mean residual of school j::

        y_ij = x_ij' b + u_j + e_ij        u_hat_j = theta a_j rbar_j

    With an intercept the effects sum to zero over schools exactly (the intercept's normal equation is
    sum_j a_j rbar_j = 0): they rank schools, they cannot show a change common to all. Source: Goldstein (1997).

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("demo"), 2024)
    >>> fit.school_effects[["n", "effect", "shrinkage"]].head(2).round(2)
             n  effect  shrinkage
    school
    0029    11   -9.81       0.61
    0109    50    3.69       0.88
    """
    check_intervals(intervals)
    formula, random = random_part(formula, random)
    if random and (influences or has_errors(error_variance, reliability)):
        raise ModelError("Influences and corrections for errors of measurement are not offered with random slopes.")
    if residual is not None and (random or influences or has_errors(error_variance, reliability)):
        raise ModelError(
            "Random slopes, influences and corrections for errors of measurement are not offered with unequal residual "
            "variances."
        )
    if cohort is None:
        cohort = only_cohort(records)
    if residual is not None:
        unequal = fit_unequal(records, int(cohort), formula, residual, method)
        fit = relative_with_residual(*unequal, residual, level, int(cohort), intervals)
        return with_findings(fit, of_correlation(records, [cohort]))
    by_cell = influences or has_errors(error_variance, reliability) or bool(random)
    error_variance, reliability = with_columns(records, [cohort], formula, error_variance, reliability)
    students = sum_students(records, [cohort], formula, by_cell=by_cell)
    if random:
        fit = relative_with_slopes(students, random, method, level, int(cohort), intervals)
    else:
        fit = relative_from_moments(students, method, level, int(cohort), error_variance, intervals, reliability)
    return with_findings(fit, [*of_correlation(records, [cohort]), *of_long(records, [cohort], fit.formula)])


def with_findings(fit: CohortFit, more: Iterable[Finding | None] = ()) -> CohortFit:
    """The fit with what would mislead in it, told as ValibWarning: of its students, then of itself."""
    found = [*more, repeated_rows(fit.school_effects, fit.cohort)]
    found += of_fit(fit.cohort, fit.school_effects, fit.min_linked_share)
    if fit.slopes is not None:
        found.append(slope_boundary(fit.cohort, fit.slopes.random, fit.slopes.G))
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
    random: Sequence[str] | None = None,
) -> CohortFit:
    """The random-intercept model on any table, with the groups of one column.

    Parameters
    ----------
    data : DataFrame
        One row an observation.
    formula : str
        For example ``"Reaction ~ Days"``.
    groups : str
        The column of the random intercept.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.
    intervals : {"integrated", "plugin"}
        As for :func:`valib.fit_relative`.
    random : sequence of str, optional
        As for :func:`valib.fit_relative`.

    Returns
    -------
    CohortFit
        With ``cohort`` None.

    Raises
    ------
    ModelError
        For what cannot be fitted, or a column that is not there.

    Notes
    -----
    The same model and predictor as :func:`valib.fit_relative`. Source: Bates et al. (2015), whose lme4 gives the numbers of
    the example.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_mixed(va.load("sleepstudy"), "Reaction ~ Days", "Subject", method="REML")
    >>> round(fit.tau2 ** 0.5, 2), round(fit.sigma2 ** 0.5, 2)
    (37.12, 30.99)
    """
    check_intervals(intervals)
    fixed, random = random_part(formula, random, groups)
    design = build_design(data, fixed, groups, cohort=None)
    if random:
        return with_findings(relative_with_slopes(summed(design, by_cell=True), random, method, level, None, intervals))
    return relative_from_design(design, method, level, None, None, intervals)


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
        summed(design, by_cell=has_errors(error_variance)), method, level, cohort, error_variance, intervals
    )


def relative_from_moments(
    students: Summed,
    method: Method = "ML",
    level: float = 0.95,
    cohort: int | None = None,
    error_variance: Mapping[str, float] | None = None,
    intervals: Intervals = "integrated",
    reliability: Mapping[str, float] | None = None,
) -> CohortFit:
    """The relative model from the sums of one cohort, wherever they were computed; corrections need by_cell."""
    moments, errors = students.moments, None
    known = known_errors(moments, error_variance, reliability)
    if has_errors(known):
        errors = error_vector(moments, known)
        fit = fit_corrected(moments, errors, method)
    else:
        fit = fit_moments(moments, method)
    found = relative_va(moments, fit.optimum, method == "REML", errors, moments.cell_cross is not None)
    if errors is not None:
        own = {"coefficients": found.b[0], "vcov": found.vcov[0], "sigma2": float(found.sigma2[0])}
        fit = replace(fit, **own, sigma2_se=float("nan"))
    over = (
        integrated(moments, intervals) if errors is None else _corrected(moments, found.b[0], found.vcov[0], intervals)
    )
    psi = None
    if found.influence is not None:
        index = pd.Index(moments.schools, dtype="str", name="school")
        psi = pd.DataFrame(found.influence[0], index=index, columns=list(fit.names))
    return assemble(fit, found.blup.take(0), students, level, over, cohort=cohort, model="relative", influence=psi)


def relative_with_slopes(
    students: Summed,
    random: Sequence[str],
    method: Method = "ML",
    level: float = 0.95,
    cohort: int | None = None,
    intervals: Intervals = "integrated",
) -> CohortFit:
    """The relative model with random slopes, from sums with cross-products by cell."""
    moments = students.moments
    fit = fit_slopes(moments, random_columns(moments.names[:-1], random), method)
    over = None if intervals == "plugin" else integrated_or_told(lambda: integrate_slopes(fit))
    return assemble(fit, fit.blup(), students, level, over, cohort=cohort, model="relative", slopes=fit)


def relative_with_residual(
    students: Summed, fit: Unequal, residual: str, level: float, cohort: int, intervals: Intervals
) -> CohortFit:
    """The relative model with unequal residual variances, labelled; students: their sums by school."""
    over = None if intervals == "plugin" else integrated_or_told(lambda: integrate_unequal(fit))
    told: dict[str, Any] = {"cohort": cohort, "model": "relative", "residual": residual, "unequal": fit}
    return assemble(fit, fit.effects, students, level, over, **told)


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
    nodes = integrated_or_told(lambda: integrate(compress(moments)))
    if nodes is None:
        return None
    means = moments.sums / moments.n[:, None]
    return posterior(nodes, moments.n[None], means[None], target, None if loadings is None else loadings[None])


def _corrected(moments: Moments, b: np.ndarray, vcov: np.ndarray, intervals: Intervals) -> Posterior | None:
    """As :func:`integrated`, of a fit from which errors of measurement are taken off.

    A residual about the corrected b (p,) is that of a model with a mean alone, whose posterior has the variances. At each node
    b is then as vcov (p, p) has its slopes, the intercept following the mean residual, on the (shifted) columns.
    """
    ones, means = moments.intercept, moments.sums / moments.n[:, None]
    plain = residual_moments(moments, b, ones is not None)
    nodes = None if intervals == "plugin" else integrated_or_told(lambda: integrate(compress(plain)))
    if nodes is None:
        return None
    U, p = unshift(moments), len(b)
    back = np.linalg.inv(U[:-1, :-1])
    V, slopes = back @ vcov @ back.T, [k for k in range(p) if k != ones]
    loads = np.zeros((len(nodes.phi[0]), p, len(slopes)))
    loads[:, slopes] = F = _blup.factor(V[np.ix_(slopes, slopes)])
    if ones is not None:
        a = _blup.precision(moments.n, nodes.theta[0][:, None])
        loads[:, ones] = -(a @ means[:, slopes] / a.sum(axis=1, keepdims=True)) @ F
    A = loads @ np.swapaxes(loads, 1, 2) / nodes.s2[0][:, None, None] + 1e-14 * np.diag(np.diag(V)) / nodes.s2.max()
    at = np.tile(back @ (b - U[:-1, -1]), (len(A), 1))
    if ones is not None:
        A[:, ones, ones] += nodes.A_inverse[0, :, 0, 0] * nodes.turn[0, 0, 0] ** 2
        at[:, ones] += nodes.b[0, :, 0] * nodes.turn[0, 0, 0]
    nodes = replace(nodes, b=at[None], A_inverse=A[None], turn=np.eye(p)[None])
    return posterior(nodes, moments.n[None], means[None])


def assemble(
    fit: MixedFit | SlopesFit | Unequal,
    effects: _blup.Blup,
    students: Summed,
    level: float,
    over: Posterior | SlopePosterior | UnequalPosterior | None = None,
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
        school_effects=effects_table(moments, effects, level, over, students),
        intervals="plugin" if over is None else "integrated",
        posterior=over,
        common=effects.common,
        left_out=students.left_out,
        min_linked_share=students.least,
        moments=moments,
        state=students.state,
        **rest,
    )


def effects_table(
    moments: Moments,
    effects: _blup.Blup,
    level: float,
    over: Posterior | SlopePosterior | UnequalPosterior | None,
    students: Summed,
) -> pd.DataFrame:
    """``school_effects`` of a :class:`CohortFit`: one row a cell of the moments (one cohort), sorted by school.

    Where rows are of students already there, a column ``students`` counts students.
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
    table["side"] = sides(table["lower"], table["upper"])
    if len(students.extra):
        table.insert(1, "students", (table["n"] - students.extra.reindex(index, fill_value=0)).clip(lower=1))
    return with_coverage(table, students.tested, students.least)


def fit_formulas(
    records: Records,
    cohort: int,
    formulas: Iterable[str],
    method: Method = "ML",
    level: float = 0.95,
    reliability: Reliability | None = None,
) -> tuple[dict[str, CohortFit], dict[str, str]]:
    """One cohort under several formulas.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohort : int
        The cohort.
    formulas : iterable of str
        The models.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.
    reliability : mapping, optional
        As for :func:`valib.fit_relative`, of those of its columns that a formula has.

    Returns
    -------
    tuple of dict, dict
        The fits by formula, and for those that cannot be fitted the reason.

    Raises
    ------
    RecordsError
        For a cohort that is not there.

    Notes
    -----
    Each is :func:`valib.fit_relative`.

    Examples
    --------
    >>> import valib as va
    >>> fits, refused = va.fit_formulas(va.load_records("exam"), 0, ["score ~ prior_score", "score ~ nothing"])
    >>> list(fits), list(refused)
    (['score ~ prior_score'], ['score ~ nothing'])
    """
    fits, refused = {}, {}
    for formula in formulas:
        try:
            known = {k: v for k, v in (reliability or {}).items() if k in required_columns(formula)}
            fits[formula] = fit_relative(records, cohort, formula, method, level, reliability=known)
        except ModelError as error:
            refused[formula] = str(error)
    return fits, refused


def school_residuals(fit: CohortFit) -> pd.DataFrame:
    """What the schools of a relative fit look like before shrinkage, for checks.

    Parameters
    ----------
    fit : CohortFit
        A relative fit.

    Returns
    -------
    DataFrame
        Index school: ``n``, ``residual`` (score points), ``standardised``.

    Raises
    ------
    ModelError
        For a benchmark fit.

    Notes
    -----
    residual is rbar_j = ybar_j - xbar_j' b; standardised is rbar_j / sd(rbar_j), with::

        Var(rbar_j) = tau2 + sigma2 / n_j - xbar_j' Var(b) xbar_j

    u_hat_j over its diagnostic standard error is the same number, but is 0 / 0 where the school variance is 0.

    Examples
    --------
    >>> import valib as va
    >>> va.school_residuals(va.fit_relative(va.load_records("exam"))).head(2).round(2)
             n  residual  standardised
    school
    1       73      0.41          1.29
    10      50     -0.38         -1.19
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
    """Student residuals of a relative fit, for checks.

    Parameters
    ----------
    records : DataFrame
        Those the model was fitted to.
    fit : CohortFit
        A relative fit.

    Returns
    -------
    ndarray (N,)
        Score points; the order is that of the records, less rows that lack a covariate.

    Raises
    ------
    ModelError
        For a benchmark fit and for other records than the fit's.

    Notes
    -----
    y_ij - x_ij' b - u_hat_j.

    Examples
    --------
    >>> import valib as va
    >>> exam = va.load_records("exam")
    >>> va.student_residuals(exam, va.fit_relative(exam)).shape
    (4059,)
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
    fit.refuse_slopes("Residuals are those of")
    return fit.cohort
