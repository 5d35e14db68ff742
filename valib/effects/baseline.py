"""What is typical: coefficients of the baseline cohorts, their clustered errors, and the artefact that keeps them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import BenchmarkError, ModelError
from ..files import write_file
from ..models.estimators import (
    Baseline,
    Shift,
    benchmark_va,
    check_within,
    fit_baselines,
    residual_moments,
    school_variance,
)
from ..models.likelihood import compress, optimise
from ..models.measurement import error_vector, fit_corrected, has_errors, known_errors
from ..models.mixed import check_estimable
from ..models.options import Estimator, Groups, Method
from ..models.slope_benchmark import fit_benchmark_slopes, fit_slope_baseline
from ..models.slopes import SlopesFit
from ..names import listed_cohorts
from ..records.precision import kept
from ..records.prior_check import looks_standardised, score_moments
from ..records.told import rows_chosen
from ..sums.algebra import outcome_of
from ..sums.design import INTERCEPT, FormulaState
from ..sums.moments import Moments
from ..sums.random_part import random_columns, random_part
from ..sums.students import Records, Summed, in_several, require_cohorts, sum_students
from .artefact import ESTIMATORS, FORMAT, GROUPS, OWN_SHIFT, check_content, checksum, parsed, with_blanks
from .display import Shown, Table, coefficient_rows, one_line, standard_deviation
from .findings import alike_scores, several_cohorts, tell
from .long_records import of_long
from .measured import Reliability, with_columns

COLUMNS = ("", "estimate", "std. error")  # of the table in print
STANDARDISED = (
    "The scores look standardised within each cohort (every cohort has the same mean and the same standard "
    "deviation), so no change of the system is left in them: a benchmark needs scores on one scale."
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Benchmark(Shown):
    """A fitted benchmark: all that is needed to score a later cohort without the baseline students.

    Attributes
    ----------
    state : FormulaState
        The formula with what was learned of it.
    cohorts : tuple of int
        The baseline.
    estimator, groups, method : str
        As they were given to :func:`valib.fit_baseline`.
    coefficients, vcov : Series (p,), DataFrame (p, p)
        b_B with its covariance clustered by school.
    vcov_model : DataFrame (p, p)
        The covariance the estimator's own model gives.
    tau2, sigma2 : float
        Score points squared, of the baseline mixed model with the same groups. sigma2 is of y - x'b as recorded: an error
        of measurement that was corrected for counts with b^2 s2m.
    n_students, n_schools : int
        Of the baseline.
    column_means : Series (p,)
        Baseline means of the design columns.
    summaries : mapping
        n, mean, sd of the score by cohort and of every numeric column of the formula.
    fingerprint : str
        Of the baseline rows used, the same for any order of them.
    error_variance : mapping of str to float
        Variance of the error of measurement that was taken off, by column; empty: of none.
    vcov_students : DataFrame (p, p) or None
        Of b_B over students of these very schools.
    influence : DataFrame or None
        What each school (index) adds to b_B - its expectation, one column a coefficient; in memory from
        :func:`valib.fit_baseline`, in a file only on request; None where it is not known.
    own_shifts : mapping of int to mapping
        By baseline cohort, its shift against this benchmark and against that of the other cohorts (``shift``, ``se``,
        ``leave_one_out``, ``leave_one_out_se``; nan where it cannot be estimated).
    random : tuple of str
        Columns with slopes of schools; tau2 is then the variance at the baseline mean of each.
    random_covariance : DataFrame (q, q) or None
        Of the random effects, intercept first, about the baseline means of the columns; None without slopes.
    rows : mapping of str to str
        Which rows of their source the baseline's students are, where that was chosen: ``where``, the expression, and
        ``prior``, where prior scores are from.

    Notes
    -----
    ``save`` writes it as JSON and ``load`` reads it. ``print(benchmark)`` shows a table of it. Source of the clustered
    covariance: Liang and Zeger (1986).

    Examples
    --------
    >>> import valib as va
    >>> benchmark = va.fit_baseline(va.load_records("demo"), [2015, 2016, 2017])
    >>> benchmark.se.round(3).to_dict()
    {'Intercept': 2.398, 'prior_score': 0.005}
    """

    state: FormulaState
    cohorts: tuple[int, ...]
    estimator: Estimator
    groups: Groups
    method: Method
    coefficients: pd.Series
    vcov: pd.DataFrame
    vcov_model: pd.DataFrame
    tau2: float
    sigma2: float
    n_students: int
    n_schools: int
    column_means: pd.Series
    summaries: Mapping[str, dict[str, Any]]
    fingerprint: str
    error_variance: Mapping[str, float] = field(default_factory=dict)
    vcov_students: pd.DataFrame | None = field(default=None, repr=False)
    influence: pd.DataFrame | None = field(default=None, repr=False)
    own_shifts: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    random: tuple[str, ...] = ()
    random_covariance: pd.DataFrame | None = field(default=None, repr=False)
    rows: Mapping[str, str] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.state.formula

    @property
    def outcome(self) -> str:
        """What is modelled as the formula has it, ``score`` or arithmetic such as ``score - prior_score``."""
        return outcome_of(self.formula)

    @property
    def explaining(self) -> list[str]:
        """The numeric columns of the formula besides the score and the outcome."""
        return [c for c in self.summaries["columns"] if c not in ("score", self.outcome)]

    @property
    def se(self) -> pd.Series:
        """Standard errors of the coefficients, clustered by school."""
        return pd.Series(np.sqrt(np.diag(self.vcov)), index=self.coefficients.index, name="se")

    def _table(self) -> Table:
        facts = [
            ("Formula", one_line(self.formula)),
            ("Method", self.method if self.estimator == "mixed" else f"{self.method} (variances)"),
            ("Students", f"{self.n_students:,}"),
            ("Schools", f"{self.n_schools:,}"),
            ("Estimator", self.estimator),
            ("Random intercepts", "school and cohort" if self.groups == "school_cohort" else "school"),
        ]
        rows = coefficient_rows(zip(self.coefficients.index, self.coefficients, self.se, strict=True))
        rows.append(standard_deviation("SD of schools" + (" at the mean" if self.random else ""), self.tau2))
        if (spread := self.random_covariance) is not None:
            slopes = zip(self.random, np.diag(spread)[1:], strict=True)
            rows += [standard_deviation(f"SD of slopes of {name}", float(value)) for name, value in slopes]
        rows.append(standard_deviation("SD of residuals", self.sigma2))
        notes = ["Standard errors are clustered by school."]
        if self.error_variance:
            notes.append(f"Errors of measurement taken off: {one_line(', '.join(self.error_variance))}.")
        return Table(f"Benchmark, baseline {listed_cohorts(self.cohorts)}", facts, COLUMNS, rows, notes)

    def _line(self) -> str:
        counts = f"{self.n_students:,} students, {self.n_schools:,} schools"
        return f"{listed_cohorts(self.cohorts)}, {one_line(self.formula)}, {self.estimator}, {counts}"

    def to_json(self, influences: bool = False) -> dict[str, Any]:
        """The artefact as plain JSON types, exact. A checksum tells a changed file.

        influences: with those of the schools, by their codes (or pseudonyms, where the records have those).
        """
        if influences and self.influence is None:
            raise BenchmarkError("This benchmark does not know what its schools add to the coefficients.")
        content = {
            "format": FORMAT,
            "design": self.state.to_json(),
            "cohorts": list(self.cohorts),
            "estimator": self.estimator,
            "groups": self.groups,
            "method": self.method,
            "coefficients": self.coefficients.tolist(),
            "vcov": self.vcov.to_numpy().tolist(),
            "vcov_model": self.vcov_model.to_numpy().tolist(),
            "tau2": self.tau2,
            "sigma2": self.sigma2,
            "n_students": self.n_students,
            "n_schools": self.n_schools,
            "column_means": self.column_means.tolist(),
            "summaries": with_blanks(self.summaries),
            "fingerprint": self.fingerprint,
        }
        if self.error_variance:
            content["error_variance"] = dict(self.error_variance)
        if self.rows:
            content["rows"] = dict(self.rows)
        if self.vcov_students is not None:
            content["vcov_students"] = self.vcov_students.to_numpy().tolist()
        if self.own_shifts:
            content["own_shifts"] = {
                str(c): {k: v if np.isfinite(v) else None for k, v in row.items()} for c, row in self.own_shifts.items()
            }
        if self.random_covariance is not None:
            content["random"] = list(self.random)
            content["random_covariance"] = self.random_covariance.to_numpy().tolist()
        if influences and self.influence is not None:
            content["school_influences"] = {
                "schools": self.influence.index.tolist(),
                "values": self.influence.to_numpy().tolist(),
            }
        return content | {"checksum": checksum(content)}

    def save(self, path: str | os.PathLike[str], exact: bool = False, influences: bool = False) -> Path:
        """Write the artefact as JSON, aside first and then renamed, so that an earlier file survives a failure.

        Its figures are as they may be published (:func:`valib.records.precision.kept`): a later cohort's value added
        differs from that of this benchmark by a few thousandths of its error. exact: in full precision, for the analyst;
        floats then survive exactly, and the file says that it is not for publication. influences: also with what each
        school adds to the coefficients, by its code, from which a later cohort of the same schools gets the right error
        of its shift; such a file is exact and not for publication (SECURITY.md says what it tells of schools).
        """
        path, content = Path(path), self.to_json(influences)
        del content["checksum"]
        why = "exact, with every school" if influences else "exact"
        private = exact or influences
        if not private:  # rounded it is worth nothing, and exact it gives equations to who solves for a school
            content.pop("vcov_students", None)
        content = content | {"publication": f"not for publication: {why}"} if private else kept(content)
        content["checksum"] = checksum(content)
        try:
            write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise BenchmarkError(f"The benchmark cannot be written to '{path}': {error.strerror}.") from error
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Benchmark:
        """Read an artefact; BenchmarkError says what is wrong with a file that is not one."""
        try:
            content = parsed(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise BenchmarkError(f"The benchmark '{path}' cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise BenchmarkError(f"The benchmark '{path}' is not a JSON file ({error}).") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BenchmarkError(f"The file '{path}' is not a benchmark of this version of valib ({FORMAT}).")
        try:
            return cls._from_json(content)
        except ModelError as error:
            raise BenchmarkError(f"The benchmark '{path}' cannot be used: {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise BenchmarkError(f"The benchmark '{path}' is damaged ({type(error).__name__}: {error}).") from error

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> Benchmark:
        state = FormulaState.from_json(content["design"])
        check_content(content, state)
        names = list(state.names)
        return cls(
            state,
            tuple(int(c) for c in content["cohorts"]),
            content["estimator"],
            content["groups"],
            content["method"],
            pd.Series(content["coefficients"], index=names, name="coefficient", dtype=float),
            _square(content["vcov"], names),
            _square(content["vcov_model"], names),
            float(content["tau2"]),
            float(content["sigma2"]),
            int(content["n_students"]),
            int(content["n_schools"]),
            pd.Series(content["column_means"], index=names, dtype=float),
            with_blanks(content["summaries"], math.nan),
            content["fingerprint"],
            {str(k): float(v) for k, v in content.get("error_variance", {}).items()},
            _square(content["vcov_students"], names) if "vcov_students" in content else None,
            _influence(content.get("school_influences"), names),
            {
                int(c): {k: np.nan if row[k] is None else float(row[k]) for k in OWN_SHIFT}
                for c, row in content.get("own_shifts", {}).items()
            },
            tuple(content.get("random", ())),
            _square(content["random_covariance"], [INTERCEPT, *content["random"]]) if "random" in content else None,
            dict(content.get("rows", {})),
        )


def fit_baseline(
    records: Records,
    cohorts: Iterable[int],
    formula: str = "score ~ prior_score",
    estimator: Estimator = "mixed",
    groups: Groups = "school_cohort",
    method: Method = "ML",
    error_variance: Mapping[str, float] | None = None,
    reliability: Reliability | None = None,
    random: Sequence[str] | None = None,
) -> Benchmark:
    """Fit the benchmark: coefficients b_B of the baseline cohorts, with errors clustered by school.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohorts : iterable of int
        The baseline cohorts.
    formula : str
        What is typical, with an intercept.
    estimator : {"mixed", "ols", "within"}
        Random intercepts; pooled least squares; school x cohort fixed effects (the intercept is then the generalised least
        squares mean of what the slopes leave).
    groups : {"school_cohort", "school"}
        Whether the random intercept of the mixed model is per cell or per school (constant over the baseline cohorts).
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    error_variance : mapping of str to float, optional
        Variance of the error of measurement in a column, where known, for example
        ``{"prior_score": (1 - reliability) * variance}``; the coefficients are then those of true scores
        (:mod:`valib.models.measurement`).
    reliability : mapping of str to float or to mapping, optional
        Reliability of a column, above 0 and not above 1, in place of the variance of its error: that is then
        (1 - reliability) times the variance of the column over all students of the baseline cohorts. Or the column of its
        standard errors of measurement, as for :func:`valib.fit_relative`.
    random : sequence of str, optional
        Columns of the formula whose coefficient varies over schools (by ``groups``: over schools in each cohort), beside the
        intercept, for the estimator "mixed"; the formula may say the same, as for :func:`valib.fit_relative`. The benchmark
        keeps their covariance.

    Returns
    -------
    Benchmark
        To be saved, or given to :func:`valib.fit_benchmark`.

    Raises
    ------
    RecordsError
        For absent cohorts.
    ModelError
        For what cannot be fitted.
    BenchmarkError
        Without an intercept, for standardised scores, and for a choice that does not exist.

    Notes
    -----
    With J schools, N students, p columns and psi_j what school j adds to b_B - E(b_B)::

        Var(b_B) = J/(J-1) (N-1)/(N-p) sum_j psi_j psi_j'

    (CR1; Liang and Zeger 1986).

    Examples
    --------
    >>> import valib as va
    >>> benchmark = va.fit_baseline(va.load_records("demo"), [2015, 2016, 2017])
    >>> benchmark.coefficients.round(2).to_dict()
    {'Intercept': 167.21, 'prior_score': 0.78}
    """
    check_choice(estimator, ESTIMATORS, "estimator")
    check_choice(groups, GROUPS, "groups")
    fixed, random = random_part(formula, random)
    if random and (estimator != "mixed" or has_errors(error_variance, reliability)):
        raise ModelError(
            "Slopes of schools are those of the estimator 'mixed', without corrections for errors of measurement: leave the "
            "random part out, or these."
        )
    cohorts = tuple(sorted(int(c) for c in cohorts))
    require_cohorts(records, cohorts)
    scores = score_moments(records, cohorts)
    if looks_standardised(scores):
        raise BenchmarkError(STANDARDISED)
    error_variance, reliability = with_columns(records, cohorts, fixed, error_variance, reliability)
    students = sum_students(records, cohorts, fixed, by_cell=True, describe=True)
    tell(
        [
            alike_scores(scores),
            several_cohorts(*in_several(records, cohorts)),
            *of_long(records, cohorts, students.state.formula),
        ]
    )
    fit = baseline_from_moments(
        students, cohorts, scores, estimator, groups, method, error_variance, reliability, random
    )
    return replace(fit, rows=rows_chosen(records.attrs))


def baseline_from_moments(
    students: Summed,
    cohorts: tuple[int, ...],
    scores: Mapping[int, Mapping[str, float]],
    estimator: Estimator = "mixed",
    groups: Groups = "school_cohort",
    method: Method = "ML",
    error_variance: Mapping[str, float] | None = None,
    reliability: Mapping[str, float] | None = None,
    random: Sequence[str] = (),
) -> Benchmark:
    """The benchmark from the sums of the baseline's students by cell, with their description; see :func:`fit_baseline`.

    scores: n, mean and sd of the score by cohort (:func:`valib.records.prior_check.score_moments`).
    """
    cells, state = students.moments, students.state
    if cells.intercept is None:
        raise BenchmarkError(f"The formula {state.formula!r} has no intercept; a benchmark needs one.")
    grouped = cells.pool_cohorts() if groups == "school" else cells
    errors = error_vector(grouped, known := known_errors(cells, error_variance, reliability))
    sloped = random_columns(state.names, random)
    slopes, found = _coefficients(grouped, estimator, method, errors, sloped, state.formula)
    names = list(state.names)
    means = cells.weight @ cells.sums / cells.n_students + cells.shift
    outcome = {"n": round(cells.n_students), "mean": float(means[-1]), "sd": float(cells.response_sd)}
    columns: dict[str, Any] = {**students.columns}
    columns.setdefault(cells.names[-1], outcome)
    return Benchmark(
        state,
        cohorts,
        estimator,
        groups,
        method,
        pd.Series(found.b[0], index=names, name="coefficient"),
        pd.DataFrame(found.vcov[0], index=names, columns=names),
        pd.DataFrame(found.vcov_model[0], index=names, columns=names),
        float(found.tau2[0]),
        float(found.sigma2[0]),
        round(cells.n_students),
        len(cells.schools),
        pd.Series(means[:-1], index=names),
        {"score_by_cohort": {str(k): v for k, v in scores.items()}, "columns": columns},
        students.fingerprint,
        {k: float(v) for k, v in known.items() if v},
        pd.DataFrame(found.vcov_students[0], index=names, columns=names),
        pd.DataFrame(found.influence[0], index=pd.Index(cells.schools, dtype="str"), columns=names),
        {c: _own_shift(cells, c, found, estimator, groups, method, errors, sloped) for c in cohorts},
        () if slopes is None else slopes.random[1:],
        None if slopes is None else pd.DataFrame(slopes.G, index=slopes.random, columns=slopes.random),
    )


def _coefficients(
    grouped: Moments, estimator: Estimator, method: Method, errors: np.ndarray, sloped: Sequence[int], formula: str
) -> tuple[SlopesFit | None, Baseline]:
    """The baseline's coefficients, and its model with slopes of schools where it has some."""
    slopes = None
    if sloped:
        slopes, found = fit_slope_baseline(grouped, sloped, method)
    else:
        mixed = fit_corrected(grouped, errors, method)
        if estimator == "within":
            check_within(grouped)
        found = fit_baselines(grouped, estimator, reml=method == "REML", errors=errors, theta=mixed.optimum.theta)
    own = np.diag(found.vcov_model[0])
    if not (np.isfinite(found.b[0]).all() and np.isfinite(found.vcov[0]).all() and (own >= 0).all()):
        raise BenchmarkError(
            f"The baseline has too few students or schools for the formula {formula!r} and the estimator {estimator}."
        )
    return slopes, found


def _own_shift(
    cells: Moments,
    cohort: int,
    found: Baseline,
    estimator: Estimator,
    groups: Groups,
    method: Method,
    errors: np.ndarray,
    columns: Sequence[int] = (),
) -> dict[str, float]:
    """The shift of a baseline cohort against its own benchmark, and against that of the other cohorts.

    nan for what cannot be estimated, such as a benchmark of the other cohorts where there are none.
    """
    focal, told = cells.select([cohort]), []
    for others in (None, [c for c in cells.cohorts.tolist() if c != cohort]):
        delta = se = np.nan
        with suppress(ModelError, np.linalg.LinAlgError):
            base, typical = cells, found
            if others is not None:
                base = cells.select(others)
                grouped = base.pool_cohorts() if groups == "school" else base
                typical = _typical(grouped, estimator, method, errors, columns)
            moved = _shift_against(focal, typical, method, columns)
            added = contributions(moved, focal.schools[focal.cell_school], base.schools, typical.influence[0])
            delta, se = float(moved.delta), float(np.sqrt(contribution_variance(added)))
        told += [delta, se]
    return dict(zip(OWN_SHIFT, told, strict=True))


def _typical(
    grouped: Moments, estimator: Estimator, method: Method, errors: np.ndarray, columns: Sequence[int]
) -> Baseline:
    """The coefficients of some cohorts of the baseline."""
    if columns:
        return fit_slope_baseline(grouped, columns, method)[1]
    check_estimable(grouped)
    if estimator == "within":
        check_within(grouped)
    return fit_baselines(grouped, estimator, reml=method == "REML", errors=errors)


def _shift_against(focal: Moments, typical: Baseline, method: Method, columns: Sequence[int]) -> Shift:
    """The shift of a cohort against coefficients."""
    if columns:
        moved = fit_benchmark_slopes(focal, columns, typical.b[0], typical.vcov[0], "estimated", method).shift
    else:
        residual = residual_moments(focal, typical.b[0], True)
        check_estimable(residual)
        fit = optimise(compress(residual), method == "REML")
        _, moved = benchmark_va(
            focal.n, focal.means, typical.b[0], typical.vcov[0], fit.tau2[0], fit.sigma2[0], "estimated"
        )
    assert moved is not None  # a shift was estimated
    return moved


def contributions(moved: Shift, focal: np.ndarray, schools: np.ndarray, influence: np.ndarray) -> pd.Series:
    """What each school adds to the error of a shift, phi_j - xbar_w' psi_j; a school absent from one side has 0 there.

    focal: the schools' codes in the cohort, in the order of ``moved``; schools (J,), influence (J, p): the baseline's.
    """
    own = pd.Series(moved.influence, index=pd.Index(focal, dtype="str"))
    typical = pd.Series(influence @ moved.centre, index=pd.Index(schools, dtype="str"))
    return own.sub(typical, fill_value=0.0).rename_axis("school")


def contribution_variance(added: pd.Series) -> float:
    """J/(J-1) sum_j d_j^2 of the J schools' contributions."""
    return float(school_variance(added.to_numpy()[:, None], len(added))[0, 0])


def _square(values: list[Any], names: list[str]) -> pd.DataFrame:
    """A covariance matrix of the coefficients from an artefact."""
    return pd.DataFrame(values, index=names, columns=names, dtype=np.float64)


def _influence(content: Mapping[str, Any] | None, names: list[str]) -> pd.DataFrame | None:
    """The schools' influences from an artefact."""
    if content is None:
        return None
    index = pd.Index(content["schools"], dtype="str")
    return pd.DataFrame(content["values"], index=index, columns=names, dtype=np.float64)


def check_choice(value: str, allowed: tuple[str, ...], what: str) -> None:
    """Raise BenchmarkError, naming the choices, unless the value is one of them."""
    if value not in allowed:
        raise BenchmarkError(f"The {what} must be one of {', '.join(allowed)}, not {value!r}.")
