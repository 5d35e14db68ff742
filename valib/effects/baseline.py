"""What is typical: coefficients of the baseline cohorts, their clustered errors, and the artefact that keeps them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import BenchmarkError, ModelError
from ..files import write_file
from ..models.measurement import error_vector, fit_corrected
from ..models.mixed import MixedFit, fit_moments, unshift
from ..records.prior_check import looks_standardised, score_moments
from ..sums.algebra import outcome_of
from ..sums.design import FormulaState
from ..sums.moments import Moments
from ..sums.students import Records, Summed, in_several, require_cohorts, sum_students
from .findings import alike_scores, several_cohorts, tell

FORMAT = "valib-benchmark-1"
ESTIMATORS = ("mixed", "ols", "within")
GROUPS = ("school_cohort", "school")
CONSTANT_WITHIN = 1e-10  # share of a column's variation that lies within cells, below which it is constant there
STANDARDISED = (
    "The scores look standardised within each cohort (every cohort has the same mean and the same standard "
    "deviation), so no change of the system is left in them: a benchmark needs scores on one scale."
)


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """A fitted benchmark: all that is needed to score a later cohort without the baseline students.

    coefficients (p,) and vcov (p, p): b_B with its covariance clustered by school; vcov_model: the covariance the
    estimator's own model gives. tau2, sigma2 (score points squared): of the baseline mixed model with the same groups.
    sigma2 is of y - x'b as recorded: an error of measurement that was corrected for counts with b^2 s2m.
    column_means (p,): baseline means of the design columns. summaries: n, mean, sd of the score by cohort and of every
    numeric column of the formula. fingerprint: of the baseline rows used, the same for any order of them.
    error_variance: variance of the error of measurement that was taken off, by column; empty: of none.
    """

    state: FormulaState
    cohorts: tuple[int, ...]
    estimator: str
    groups: str
    method: str
    coefficients: pd.Series
    vcov: pd.DataFrame
    vcov_model: pd.DataFrame
    tau2: float
    sigma2: float
    n_students: int
    n_schools: int
    column_means: pd.Series
    summaries: Mapping[str, dict]
    fingerprint: str
    error_variance: Mapping[str, float] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.state.formula

    @property
    def outcome(self) -> str:
        """What is modelled, as the formula has it: ``score``, or arithmetic such as ``score - prior_score``."""
        return outcome_of(self.formula)

    @property
    def explaining(self) -> list[str]:
        """The numeric columns of the formula besides the score and the outcome."""
        return [c for c in self.summaries["columns"] if c not in ("score", self.outcome)]

    @property
    def se(self) -> pd.Series:
        """Standard errors of the coefficients, clustered by school."""
        return pd.Series(np.sqrt(np.diag(self.vcov)), index=self.coefficients.index, name="se")

    def to_json(self) -> dict:
        """The artefact as plain JSON types; floats survive exactly. A checksum tells a changed file."""
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
            "summaries": dict(self.summaries),
            "fingerprint": self.fingerprint,
        }
        if self.error_variance:
            content["error_variance"] = dict(self.error_variance)
        return content | {"checksum": _checksum(content)}

    def save(self, path: str | os.PathLike) -> Path:
        """Write the artefact as JSON, aside first and then renamed, so that an earlier file survives a failure."""
        path = Path(path)
        try:
            write_file(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise BenchmarkError(f"The benchmark cannot be written to '{path}': {error.strerror}.") from error
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Benchmark:
        """Read an artefact; BenchmarkError says what is wrong with a file that is not one."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
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
    def _from_json(cls, content: dict) -> Benchmark:
        state = FormulaState.from_json(content["design"])
        names = list(state.names)
        V, W = (np.array(content[k], dtype=np.float64) for k in ("vcov", "vcov_model"))
        numbers = np.array([content["tau2"], content["sigma2"], *content["coefficients"]], dtype=np.float64)
        if not V.shape == W.shape == (len(names), len(names)) or len(numbers) != len(names) + 2:
            raise ValueError("coefficients and covariance do not fit together")
        if not all(np.isfinite(x).all() for x in (numbers, V, W)):
            raise ValueError("a number is not finite")
        if content["tau2"] < 0 or content["sigma2"] <= 0 or np.linalg.eigvalsh(V).min() < -1e-8 * np.abs(V).max():
            raise ValueError("a variance is negative")
        known = (
            content["estimator"] in ESTIMATORS and content["groups"] in GROUPS and content["method"] in ("ML", "REML")
        )
        if not known or min(content["n_students"], content["n_schools"]) < 1:
            raise ValueError("estimator, groups, method or counts are not valib's")
        if not {"score_by_cohort", "columns"} <= set(content["summaries"]):
            raise ValueError("the summaries are not complete")
        if content["checksum"] != _checksum({k: v for k, v in content.items() if k != "checksum"}):
            raise ValueError("it was changed after it was written")
        return cls(
            state,
            tuple(int(c) for c in content["cohorts"]),
            content["estimator"],
            content["groups"],
            content["method"],
            pd.Series(content["coefficients"], index=names, name="coefficient", dtype=float),
            pd.DataFrame(V, index=names, columns=names),
            pd.DataFrame(W, index=names, columns=names),
            float(content["tau2"]),
            float(content["sigma2"]),
            int(content["n_students"]),
            int(content["n_schools"]),
            pd.Series(content["column_means"], index=names, dtype=float),
            content["summaries"],
            content["fingerprint"],
            {str(k): float(v) for k, v in content.get("error_variance", {}).items()},
        )


def fit_baseline(
    records: Records,
    cohorts: Iterable[int],
    formula: str = "score ~ prior_score",
    estimator: str = "mixed",
    groups: str = "school_cohort",
    method: str = "ML",
    error_variance: Mapping[str, float] | None = None,
) -> Benchmark:
    """Fit the benchmark: coefficients b_B of the baseline cohorts, with errors clustered by school.

    estimator "mixed" (random intercepts), "ols" (pooled least squares) or "within" (school x cohort fixed effects;
    the intercept is then the generalised least squares mean of what the slopes leave). groups: the random intercept
    of the mixed model is per "school_cohort" cell or per "school" (constant over the baseline cohorts).
    error_variance: variance of the error of measurement in a column, where known, for example
    ``{"prior_score": (1 - reliability) * variance}``; the coefficients are then those of true scores
    (:mod:`valib.models.measurement`).
    Covariance: J/(J-1) (N-1)/(N-p) times the sum over schools of outer products of influences (CR1; Liang and Zeger
    1986). Raises RecordsError, ModelError; BenchmarkError without an intercept or for standardised scores.
    """
    check_choice(estimator, ESTIMATORS, "estimator")
    check_choice(groups, GROUPS, "groups")
    cohorts = tuple(sorted(int(c) for c in cohorts))
    require_cohorts(records, cohorts)
    scores = score_moments(records, cohorts)
    if looks_standardised(scores):
        raise BenchmarkError(STANDARDISED)
    students = sum_students(records, cohorts, formula, by_cell=True, describe=True)
    tell([alike_scores(scores), several_cohorts(*in_several(records, cohorts))])
    return baseline_from_moments(students, cohorts, scores, estimator, groups, method, error_variance)


def baseline_from_moments(
    students: Summed,
    cohorts: tuple[int, ...],
    scores: Mapping[int, Mapping[str, float]],
    estimator: str = "mixed",
    groups: str = "school_cohort",
    method: str = "ML",
    error_variance: Mapping[str, float] | None = None,
) -> Benchmark:
    """The benchmark from the sums of the baseline's students by cell, with their description; see :func:`fit_baseline`.

    scores: n, mean and sd of the score by cohort (:func:`valib.records.prior_check.score_moments`).
    """
    cells, state = students.moments, students.state
    if cells.intercept is None:
        raise BenchmarkError(f"The formula {state.formula!r} has no intercept; a benchmark needs one.")
    grouped = cells.pool_cohorts() if groups == "school" else cells
    errors = error_vector(grouped, error_variance or {})
    mixed = fit_corrected(grouped, errors, method)
    b, influence, vcov_model = estimate(grouped, estimator, mixed, errors)
    vcov = clustered(influence, cells.n_students)
    names = list(state.names)
    means = pd.Series((cells.weight @ cells.sums / cells.n_students + cells.shift)[:-1], index=names)
    outcome = {
        "n": round(cells.n_students),
        "mean": float((cells.weight @ cells.sums / cells.n_students + cells.shift)[-1]),
        "sd": float(cells.response_sd),
    }
    columns = {**students.columns}
    columns.setdefault(cells.names[-1], outcome)
    summaries = {"score_by_cohort": {str(k): v for k, v in scores.items()}, "columns": columns}
    return Benchmark(
        state,
        cohorts,
        estimator,
        groups,
        method,
        pd.Series(b, index=names, name="coefficient"),
        pd.DataFrame(vcov, index=names, columns=names),
        pd.DataFrame(vcov_model, index=names, columns=names),
        float(mixed.tau2),
        float(mixed.sigma2 + errors @ b**2),
        round(cells.n_students),
        len(cells.schools),
        means,
        summaries,
        students.fingerprint,
        {k: float(v) for k, v in (error_variance or {}).items() if v},
    )


def clustered(influence: np.ndarray, n_students: float) -> np.ndarray:
    """(p, p): covariance of coefficients from the influences (J, p) of schools, CR1 (Liang and Zeger 1986)."""
    J, p = influence.shape
    return J / (J - 1) * (n_students - 1) / (n_students - p) * influence.T @ influence


def _checksum(content: dict) -> str:
    """SHA-256 of the artefact's content, the same however its JSON is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def estimate(
    moments: Moments, estimator: str, mixed: MixedFit, errors: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients b (p,), school influences (J, p) with b_hat - b = sum of them, and the model's covariance (p, p).

    One family: with A = sum_c (X'X - w_c s s') and likewise for X'y, w_c = 0 is least squares, theta/(1 + n theta) the
    mixed model and 1/n the within estimator. errors (p,): error variances to be taken off, n (1 - w_c) of them a cell.
    """
    n = moments.n
    w = {"ols": 0 * n, "mixed": mixed.theta / (1 + n * mixed.theta), "within": 1 / n}[estimator]
    cell = moments.cell_cross - w[:, None, None] * moments.sums[:, :, None] * moments.sums[:, None, :]
    p = moments.n_fixed
    if errors is not None:
        cell[:, np.arange(p), np.arange(p)] -= (n * (1 - w))[:, None] * errors
    M = cell.sum(axis=0)
    columns = [c for c in range(p) if not (estimator == "within" and c == moments.intercept)]
    if estimator == "within":
        _check_within(moments, M, columns)
    A_inverse = np.linalg.inv(M[np.ix_(columns, columns)])
    a = np.zeros(p + 1)
    a[-1], a[columns] = 1.0, -A_inverse @ M[columns, -1]
    influence = np.zeros((len(n), p))
    influence[:, columns] = (cell @ a)[:, columns] @ A_inverse
    rss, vcov = a @ M @ a, np.zeros((p, p))
    dof = {
        "ols": moments.n_students - p,
        "mixed": rss / mixed.sigma2,
        "within": moments.n_students - len(n) - len(columns),
    }[estimator]
    vcov[np.ix_(columns, columns)] = rss / dof * A_inverse
    if estimator == "within":
        _add_intercept(moments, a, influence, vcov, mixed.method)
    undo = unshift(moments)
    b = undo[:-1, :-1] @ -a[:-1] + undo[:-1, -1]
    by_school = np.zeros((len(moments.schools), p))
    np.add.at(by_school, moments.cell_school, influence @ undo[:-1, :-1].T)
    return b, by_school, undo[:-1, :-1] @ vcov @ undo[:-1, :-1].T


def _add_intercept(moments: Moments, a: np.ndarray, influence: np.ndarray, vcov: np.ndarray, method: str) -> None:
    """Within slopes: the intercept is the GLS mean of y - X b (slopes only) over cells; filled into a (p + 1,),
    influence (J, p) and vcov (p, p) in place."""
    i, n, ones = moments.intercept, moments.n, np.eye(len(a))[moments.intercept]
    residuals = moments.transform(np.column_stack([ones, a]), ("Intercept", "residual"))
    fit = fit_moments(residuals, method)
    weight = n / (1 + n * fit.theta)
    weight = weight / weight.sum()
    rbar, xbar = moments.sums @ a / n, moments.sums[:, :-1] / n[:, None]
    centre = weight @ xbar
    centre[i] = 0.0
    b0 = weight @ rbar
    influence[:, i] = weight * (rbar - b0) - influence @ centre
    vcov[i] = vcov[:, i] = -vcov @ centre
    vcov[i, i] = fit.vcov[0, 0] + centre @ vcov @ centre
    a[i] = -b0


def _check_within(moments: Moments, within: np.ndarray, columns: list[int]) -> None:
    total = moments.n_students * (moments.weight @ moments.sums / moments.n_students) ** 2
    spread = np.diag(moments.pooled()) - total
    constant = [moments.names[c] for c in columns if within[c, c] <= CONSTANT_WITHIN * spread[c]]
    if constant:
        raise ModelError(
            f"Column {', '.join(map(repr, constant))} does not vary within schools, so the 'within' "
            "estimator cannot give its coefficient: use 'mixed', or leave it out."
        )


def check_choice(value: str, allowed: tuple[str, ...], what: str) -> None:
    """Raise BenchmarkError, naming the choices, unless the value is one of them."""
    if value not in allowed:
        raise BenchmarkError(f"The {what} must be one of {', '.join(allowed)}, not {value!r}.")
