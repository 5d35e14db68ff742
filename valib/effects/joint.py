"""The joint value-added model of several cohorts: one fit, every school in every cohort, with all its errors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError, ValibWarning
from ..models import blup as _blup
from ..models.joint_fit import MultivariateFit, fit_joint_moments
from ..models.joint_measurement import effects_apart, integrate_fit
from ..models.joint_posterior import JointNodes
from ..models.measurement import error_vector, has_errors, known_errors
from ..models.mixture import Mixture
from ..models.options import Covariance, Intervals, Method, Residual
from ..models.structures import STRUCTURES
from ..names import listed_cohorts
from ..records.coverage import LEAST, with_coverage
from ..sums.design import FormulaState
from ..sums.moments import Moments
from ..sums.students import Records, Summed, in_several, sum_students
from .display import Shown, Table, found, joint_rows, one_line
from .findings import Finding, integrated_or_told, of_correlation, repeated_rows, several_cohorts, singular_joint, tell
from .linkage import of_fit
from .long_records import of_long
from .measured import Reliability, with_columns
from .relative import check_intervals
from .verdict import sides

KNOWN_FROM = 300  # schools beyond which a fit that is not singular has plug-in intervals


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JointFit(Shown):
    """A fitted joint model of several cohorts. Score points; variances are score points squared.

    Attributes
    ----------
    cohorts : tuple of int
        In calendar order, T of them.
    formula, covariance, residual, method : str
        As they were given.
    fixed_effects, vcov : Series, DataFrame
        By cohort and term (index), and their covariance.
    omega, omega_se : DataFrame (T, T)
        Covariance of a school's effects over cohorts; standard errors by the delta method on the observed information,
        nan on a boundary.
    correlation, correlation_se : DataFrame (T, T)
        The same as correlations.
    sigma2, sigma2_se : Series (T,)
        Variance of students by cohort.
    loglik, n_parameters
        Of the likelihood, restricted for REML.
    n_students, n_schools : int
        What the model was fitted to.
    singular, converged : bool
        Whether Omega is (nearly) not of full rank; whether the search ended at a maximum.
    student_sd : Series (T,)
        Standard deviation of the outcome by cohort.
    level : float
        Coverage of the intervals.
    school_effects : DataFrame
        By school and cohort (index), every school in every cohort: ``n`` (0 where it has no students: the effect is
        then predicted from its other cohorts), ``effect``, ``reliability`` (1 - se_conditional^2 / omega_tt),
        ``se_conditional``, ``se_comparative``, ``se_diagnostic``, ``lower``, ``upper``, ``side``; beside n, ``tested`` and
        ``linked_share`` as in :class:`valib.CohortFit`; the interval uses se_comparative and
        takes the variances as known; on a boundary (singular) it is missing. :meth:`limits` integrates over them.
    left_out : mapping
        Rows dropped for a missing covariate, by cohort and column.
    arrays : MultivariateFit
        The fit as arrays, with the error covariances of all schools.
    state : FormulaState or None
        That of another design, where the formula was given as one; None where transforms and levels are each cohort's own.
    findings : tuple of Finding
        What would mislead in the fit.
    error_variance : mapping
        By cohort and column the variance of the error of measurement that was taken off; empty: of none. With some, sigma2 is
        of y - x'b as recorded, vcov is clustered by school, and loglik, that of the corrected sums, is of no use for comparing
        models.

    Notes
    -----
    The model is y_ijt = x_ijt' b_t + u_jt + e_ijt with Cov(u_jt, u_js) = Omega_ts and Var(e_ijt) = sigma2_t.
    Source: Leckie (2018).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2023, 2024])
    >>> joint.correlations()[["cohort", "other", "correlation", "schools"]].round(2)
       cohort  other  correlation  schools
    0    2023   2024         0.94      187
    """

    cohorts: tuple[int, ...]
    formula: str
    covariance: Covariance
    residual: Residual
    method: Method
    fixed_effects: pd.Series
    vcov: pd.DataFrame
    omega: pd.DataFrame
    omega_se: pd.DataFrame
    correlation: pd.DataFrame
    correlation_se: pd.DataFrame
    sigma2: pd.Series
    sigma2_se: pd.Series
    loglik: float
    n_parameters: int
    n_students: int
    n_schools: int
    singular: bool
    converged: bool
    student_sd: pd.Series
    level: float
    school_effects: pd.DataFrame
    left_out: Mapping[int, Mapping[str, int]]
    arrays: MultivariateFit = field(repr=False)
    state: FormulaState | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()
    error_variance: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 parameters."""
        return -2 * self.loglik + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """-2 log-likelihood + log(students) parameters."""
        return -2 * self.loglik + float(np.log(self.n_students)) * self.n_parameters

    @property
    def tau2(self) -> pd.Series:
        """Between-school variance by cohort, the diagonal of Omega."""
        return pd.Series(np.diag(self.omega), index=self.omega.index, name="tau2")

    @property
    def vpc(self) -> pd.Series:
        """Variance partition coefficient tau2 / (tau2 + sigma2) by cohort."""
        return (self.tau2 / (self.tau2 + self.sigma2)).rename("vpc")

    def error_covariance(self, school: str) -> pd.DataFrame:
        """(T, T): covariance of the prediction errors of one school over cohorts, estimated fixed effects included."""
        at = np.flatnonzero(self.arrays.data.schools == school)
        if not len(at):
            raise ModelError(f"There is no school {school!r} in the joint model.")
        S = self.arrays.sensitivity[at[0]]
        index = pd.Index(self.cohorts, name="cohort")
        return pd.DataFrame(self.arrays.conditional[at[0]] + S @ self.arrays.vcov @ S.T, index=index, columns=index)

    def limits(self, intervals: Intervals = "integrated") -> pd.DataFrame:
        """Interval of every school's effect in every cohort, by school and cohort: ``se``, ``lower``, ``upper``.

        Integrated over what is not known of variances and correlations, or plug-in as in ``school_effects``: also where
        :func:`valib.effects.joint.posterior_of` says that there is no posterior, or where its draws cannot be
        trusted. se: the standard deviation of what lower and upper are limits of.
        """
        check_intervals(intervals)
        plugin = self.school_effects[["se_comparative", "lower", "upper"]].rename(columns={"se_comparative": "se"})
        mixtures = _levels(self) if intervals == "integrated" else None
        if mixtures is None:
            return plugin.assign(se=plugin["se"].where(plugin["lower"].notna()))
        limits = [(m.sd()[0], *(x[0] for x in m.interval(self.level))) for m in mixtures]
        table = np.stack([np.column_stack(one) for one in limits], axis=1).reshape(len(plugin), 3)
        return pd.DataFrame(table, index=plugin.index, columns=plugin.columns)

    def correlations(self, intervals: Intervals = "integrated") -> pd.DataFrame:
        """One row a pair of cohorts: correlation, se, lower, upper (at the fit's level), shared schools.

        se and limits are the standard deviation and the quantiles of the posterior. Plug-in, or where
        :func:`valib.effects.joint.posterior_of` says that there is none, or none whose draws can be
        trusted, they come by the delta method on Fisher's scale, tanh(atanh r -+ z se / (1 - r^2)), nan where r
        is on a boundary. correlation is the maximum likelihood estimate.
        """
        check_intervals(intervals)
        r, error = self.correlation.to_numpy(), self.correlation_se.to_numpy()
        t, s = np.triu_indices(len(r), 1)
        se = error[t, s]
        lower, upper = _blup.correlation_interval(r[t, s], _blup.delta_error(r[t, s], se), self.level)
        nodes = posterior_of(self) if intervals == "integrated" else None
        if nodes is not None and nodes.trusted:
            told = [nodes.correlation(int(a), int(b), self.level)[1:] for a, b in zip(t, s, strict=True)]
            se, lower, upper = (np.array(part) for part in zip(*told, strict=True))
        years = np.asarray(self.cohorts)
        return pd.DataFrame(
            {
                "cohort": years[t],
                "other": years[s],
                "correlation": r[t, s],
                "se": se,
                "lower": lower,
                "upper": upper,
                "schools": self.arrays.data.shared[t, s],
            }
        )

    def summary(self) -> dict[str, Any]:
        """The fit in plain numbers, for tables and JSON (no school, no student)."""
        plain = {
            k: getattr(self, k)
            for k in (
                "formula",
                "covariance",
                "residual",
                "method",
                "loglik",
                "n_parameters",
                "aic",
                "bic",
                "n_students",
                "n_schools",
                "singular",
                "converged",
                "level",
            )
        }
        plain["cohorts"] = list(self.cohorts)
        plain["left_out"] = {str(k): dict(v) for k, v in self.left_out.items()}
        if self.error_variance:
            plain["errors_taken_off"] = sorted({name for known in self.error_variance.values() for name in known})
        plain["findings"] = [item.summary() for item in self.findings]
        errors = pd.Series(np.sqrt(np.diag(self.vcov)), self.fixed_effects.index)
        for name, values in (("fixed_effects", self.fixed_effects), ("fixed_effects_se", errors)):
            plain[name] = {str(c): {k: float(v) for k, v in b.droplevel(0).items()} for c, b in values.groupby(level=0)}
        for name in ("omega", "omega_se", "correlation", "correlation_se"):
            plain[name] = [[_finite(v) for v in row] for row in getattr(self, name).to_numpy()]
        for name in ("sigma2", "sigma2_se", "vpc", "student_sd"):
            plain[name] = {str(k): _finite(v) for k, v in getattr(self, name).items()}
        return plain

    def _table(self) -> Table:
        facts = [
            ("Formula", one_line(self.formula)),
            ("Method", self.method),
            ("Students", f"{self.n_students:,}"),
            ("Schools", f"{self.n_schools:,}"),
            ("Covariance of schools", self.covariance),
            ("Residual variance", self.residual),
            ("Log-likelihood", f"{self.loglik:.1f}"),
            ("Parameters", str(self.n_parameters)),
        ]
        errors = pd.Series(np.sqrt(np.diag(self.vcov)), index=self.fixed_effects.index)
        heads, rows = joint_rows(self.cohorts, self.fixed_effects, errors, self.tau2, self.sigma2, self.correlation)
        notes = [] if self.converged else ["The search for the maximum did not converge."]
        if taken := {name: None for known in self.error_variance.values() for name in known}:
            notes.append(f"Errors of measurement taken off: {one_line(', '.join(taken))}.")
        title = f"Joint value added, {listed_cohorts(self.cohorts)}"
        return Table(title, facts, heads, rows, [*notes, *found(self.findings)])

    def _line(self) -> str:
        counts = f"{self.n_students:,} students, {self.n_schools:,} schools"
        return f"{listed_cohorts(self.cohorts)}, {one_line(self.formula)}, {self.covariance}, {counts}"


def fit_joint(
    records: Records,
    cohorts: Iterable[int],
    formula: str | FormulaState = "score ~ prior_score",
    covariance: Covariance = "unstructured",
    residual: Residual = "by_cohort",
    method: Method = "ML",
    level: float = 0.95,
    error_variance: Mapping[str, float] | None = None,
    reliability: Reliability | None = None,
) -> JointFit:
    """Joint model of several cohorts: fixed effects of each cohort's own, school effects correlated over cohorts.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohorts : iterable of int
        Two or more. Schools may miss cohorts.
    formula : str or FormulaState
        Applied within each cohort (transforms and levels are the cohort's own); given the state of another design, such as
        ``benchmark.state``, they are that one's.
    covariance : str
        One of :data:`valib.models.structures.STRUCTURES`: "unstructured", "compound_symmetry", "ar1", "antedependence",
        "toeplitz", "independent".
    residual : {"by_cohort", "common"}
        A variance of students for every cohort, or one for all.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.
    error_variance : mapping of str to float, optional
        Variance of the error of measurement in a column, the same in every cohort, as for :func:`valib.fit_relative`.
    reliability : mapping of str to float or to mapping, optional
        As for :func:`valib.fit_relative`: the error variance of each cohort is (1 - reliability) times the variance of the
        column over its students, or the mean square of a column of standard errors among them.

    Returns
    -------
    JointFit
        With every school in every cohort.

    Raises
    ------
    RecordsError
        For absent cohorts.
    ModelError
        For what cannot be fitted; the cohort is named.

    Notes
    -----
    y_ijt = x_ijt' b_t + u_jt + e_ijt, Cov(u_jt, u_js) = Omega_ts. With covariance="independent" and
    residual="by_cohort" this is :func:`valib.fit_relative` for every cohort. Source: Leckie (2018). Errors of measurement of
    variance s2m_t in column k add s2m_t sum_i [V^-1]_ii over the students of cohort t to [X'V^-1 X]_kk on average; that is
    taken off wherever it stands (Fuller 1987; :mod:`valib.models.joint_likelihood`).

    Examples
    --------
    >>> import valib as va
    >>> joint = va.fit_joint(va.load_records("demo"), [2021, 2024])
    >>> round(float(joint.correlation.loc[2021, 2024]), 1)
    0.8
    """
    parts, students = cohort_moments(records, cohorts, formula, has_errors(error_variance, reliability))
    known = cohort_errors(records, students, formula, error_variance, reliability)
    fit = joint_from_moments(parts, formula, covariance, residual, method, level, students, known)
    found = [*of_correlation(records, fit.cohorts), several_cohorts(*in_several(records, fit.cohorts))]
    found += of_long(records, fit.cohorts, fit.formula)
    for cohort in fit.cohorts:
        table = pd.DataFrame(fit.school_effects.xs(cohort, level="cohort"))
        found += [repeated_rows(table, cohort), *of_fit(cohort, table, students[cohort].least)]
    if fit.singular:
        found.append(singular_joint(fit.cohorts))
    return replace(fit, findings=tell(found))


def fit_structures(
    records: Records,
    cohorts: Iterable[int],
    formula: str | FormulaState = "score ~ prior_score",
    covariances: Iterable[Covariance] = tuple(STRUCTURES),
    residual: Residual = "by_cohort",
    method: Method = "ML",
    level: float = 0.95,
    error_variance: Mapping[str, float] | None = None,
    reliability: Reliability | None = None,
) -> dict[str, JointFit]:
    """The same joint model under several covariance structures, from one pass over the students.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohorts : iterable of int
        Two or more.
    formula : str or FormulaState
        As for :func:`valib.fit_joint`.
    covariances : iterable of str
        The structures, by default all of :data:`valib.models.structures.STRUCTURES`.
    residual : {"by_cohort", "common"}
        As for :func:`valib.fit_joint`.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.
    error_variance, reliability : mapping, optional
        As for :func:`valib.fit_joint`.

    Returns
    -------
    dict of str to JointFit
        By structure.

    Raises
    ------
    RecordsError
        For absent cohorts.
    ModelError
        For what cannot be fitted; the cohort is named.

    Notes
    -----
    What :func:`valib.compare_joint` compares.

    Examples
    --------
    >>> import valib as va
    >>> structures = ["unstructured", "compound_symmetry"]
    >>> fits = va.fit_structures(va.load_records("demo"), [2023, 2024], covariances=structures)
    >>> {name: fit.n_parameters for name, fit in fits.items()}
    {'unstructured': 9, 'compound_symmetry': 8}
    """
    parts, students = cohort_moments(records, cohorts, formula, has_errors(error_variance, reliability))
    known = cohort_errors(records, students, formula, error_variance, reliability)
    return {c: joint_from_moments(parts, formula, c, residual, method, level, students, known) for c in covariances}


def cohort_moments(
    records: Records, cohorts: Iterable[int], formula: str | FormulaState, by_cell: bool = False
) -> tuple[list[Moments], dict[int, Summed]]:
    """Moments of each cohort alone, in calendar order, and all that is known of its students."""
    students = {c: sum_students(records, [c], formula, by_cell) for c in sorted({int(c) for c in cohorts})}
    return [one.moments for one in students.values()], students


def cohort_errors(
    records: Records,
    students: Mapping[int, Summed],
    formula: str | FormulaState,
    error_variance: Mapping[str, float] | None,
    reliability: Reliability | None,
) -> dict[int, dict[str, float]]:
    """Variances of the errors of measurement by cohort and column, zeros left out; empty where there are none.

    students: as :func:`cohort_moments` gives them. Raises ModelError as for :func:`valib.fit_relative`, naming the cohort.
    """
    found = {}
    for cohort, one in students.items() if error_variance or reliability else ():
        try:
            known = known_errors(one.moments, *with_columns(records, [cohort], formula, error_variance, reliability))
            error_vector(one.moments, known)
        except ModelError as error:
            raise ModelError(f"Cohort {cohort}: {error}") from error
        found[cohort] = {name: value for name, value in known.items() if value}
    return found if any(found.values()) else {}


def joint_from_moments(
    parts: list[Moments],
    formula: str | FormulaState,
    covariance: Covariance = "unstructured",
    residual: Residual = "by_cohort",
    method: Method = "ML",
    level: float = 0.95,
    students: Mapping[int, Summed] | None = None,
    error_variance: Mapping[int, Mapping[str, float]] | None = None,
) -> JointFit:
    """The joint model from the moments of single cohorts in calendar order, wherever they were computed.

    error_variance: of measurement, by cohort and column (then moments by cell).
    """
    known = dict(error_variance or {})
    errors = [error_vector(m, known[int(m.cohorts[0])]) for m in parts] if known else None
    fit = fit_joint_moments(parts, covariance, residual, method, errors)
    cohorts = pd.Index(fit.data.cohorts.astype(np.int64), name="cohort")
    terms = pd.MultiIndex.from_tuples(
        [(int(c), name) for c, names in zip(cohorts, fit.data.names, strict=True) for name in names],
        names=["cohort", "term"],
    )

    def square(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=cohorts, columns=cohorts)

    return JointFit(
        cohorts=tuple(cohorts.tolist()),
        formula=formula.formula if isinstance(formula, FormulaState) else formula,
        covariance=covariance,
        residual=residual,
        method=method,
        state=formula if isinstance(formula, FormulaState) else None,
        fixed_effects=pd.Series(fit.coefficients, index=terms, name="coefficient"),
        vcov=pd.DataFrame(fit.vcov, index=terms, columns=terms),
        omega=square(fit.omega),
        omega_se=square(fit.omega_se),
        correlation=square(fit.correlation),
        correlation_se=square(fit.correlation_se),
        sigma2=pd.Series(fit.sigma2, index=cohorts, name="sigma2"),
        sigma2_se=pd.Series(fit.sigma2_se, index=cohorts, name="sigma2_se"),
        loglik=fit.loglik,
        n_parameters=fit.n_parameters,
        n_students=round(fit.data.n_students),
        n_schools=len(fit.data.schools),
        singular=fit.singular,
        converged=fit.converged,
        student_sd=pd.Series([m.response_sd for m in parts], index=cohorts, name="student_sd"),
        level=level,
        school_effects=_effects_table(fit, level, students or {}),
        left_out={cohort: one.left_out for cohort, one in (students or {}).items()},
        arrays=fit,
        error_variance=known,
    )


def _effects_table(fit: MultivariateFit, level: float, students: Mapping[int, Summed]) -> pd.DataFrame:
    """``school_effects`` of a :class:`JointFit`: every school in every cohort. students: as cohort_moments gives them."""
    own, var = (np.einsum("jtt->jt", V).ravel() for V in (fit.conditional, fit.comparative))
    tau2 = np.broadcast_to(np.diag(fit.omega), fit.effects.shape).ravel()
    se, effect = np.sqrt(np.maximum(var, 0.0)), fit.effects.ravel()
    reliability = np.divide(tau2 - own, tau2, out=np.zeros_like(own), where=tau2 > 0)
    lower, upper = _blup.interval(effect, np.where(fit.singular, np.nan, se), level)
    index = pd.MultiIndex.from_product(
        [pd.Index(fit.data.schools, dtype="str"), pd.Index(fit.data.cohorts.astype(np.int64))],
        names=["school", "cohort"],
    )
    table = pd.DataFrame(
        {
            "n": fit.data.n.ravel().astype(np.int64),
            "effect": effect,
            "reliability": reliability,
            "se_conditional": np.sqrt(np.maximum(own, 0.0)),
            "se_comparative": se,
            "se_diagnostic": np.sqrt(np.maximum(tau2 - var, 0.0)),
            "lower": lower,
            "upper": upper,
        },
        index=index,
    )
    table["side"] = sides(table["lower"], table["upper"])
    extra, tested = ({c: getattr(one, name) for c, one in students.items()} for name in ("extra", "tested"))
    if any(map(len, extra.values())):
        more = pd.concat(extra, names=["cohort", "school"]).swaplevel()
        table.insert(1, "students", table["n"] - more.reindex(index, fill_value=0))
    known = bool(tested) and all(one is not None for one in tested.values())
    every = pd.concat(tested, names=["cohort", "school"]).swaplevel() if known else None
    return with_coverage(table, every, min((one.least for one in students.values()), default=LEAST))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def posterior_of(joint: JointFit) -> JointNodes | None:
    """The posterior of a joint fit; None where intervals take its variances as known.

    These are fits of another structure than an unstructured Omega with a residual variance for every cohort (independent
    cohorts need no joint posterior), for whose parameters there is no prior that all agree on, and fits of more than
    :data:`KNOWN_FROM` schools that are not singular: there both kinds agree. None with a warning where the posterior is
    improper; a warning, too, where the weights of its draws cannot be trusted.
    """
    if joint.covariance != "unstructured" or joint.residual != "by_cohort":
        return None
    if joint.n_schools > KNOWN_FROM and not joint.singular:
        return None
    return _posterior(joint.arrays)


def are_apart(joint: JointFit) -> bool:
    """Whether the cohorts of a fit are independent of each other, each with a posterior of its own."""
    return joint.covariance == "independent" and joint.residual == "by_cohort"


def _levels(joint: JointFit) -> list[Mixture] | None:
    """The posterior of the schools' effects in every cohort; None where the variances are taken as known."""
    T = len(joint.cohorts)
    if are_apart(joint):
        apart: list[Mixture] | None = integrated_or_told(
            lambda: [effects_apart(joint.arrays, t) for t in range(T)], stacklevel=3
        )
        return apart
    nodes = posterior_of(joint)
    return [nodes.contrast(c) for c in np.eye(T)] if nodes is not None and nodes.trusted else None


@lru_cache(maxsize=8)
def _posterior(arrays: MultivariateFit) -> JointNodes | None:
    nodes: JointNodes | None = integrated_or_told(lambda: integrate_fit(arrays))
    if nodes is not None and not nodes.trusted:
        warnings.warn(
            f"The draws from the posterior of the joint model stand for {nodes.effective:.0f} independent ones (Pareto "
            f"k {nodes.pareto_k:.2f}): limits of changes are rough. Fewer cohorts at a time give better ones.",
            ValibWarning,
            stacklevel=4,
        )
    return nodes
