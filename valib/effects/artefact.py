"""A kept benchmark that comes from elsewhere: whether all of it can be what a fit has written.

The checksum tells a file that was changed by accident. These checks tell one whose checksum fits: types, shapes, names
that agree with the formula, variances that can be variances, counts that agree, and coefficients that give the mean
of the outcome at the means of their columns. What is wrong and plausible no check can tell.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..models.options import Estimator, Groups
from ..sums.algebra import outcome_of
from ..sums.covariates import LIMITS
from ..sums.design import INTERCEPT, FormulaState, materialise
from ..sums.formula import categories_of, factors, parse, required_columns

FORMAT = "valib-benchmark-1"
OWN_SHIFT = ("shift", "se", "leave_one_out", "leave_one_out_se")
ESTIMATORS: tuple[Estimator, ...] = ("mixed", "ols", "within")
GROUPS: tuple[Groups, ...] = ("school_cohort", "school")
METHODS = ("ML", "REML")
NEEDED = (
    *("format", "design", "cohorts", "estimator", "groups", "method", "coefficients", "vcov", "vcov_model", "tau2"),
    *("sigma2", "n_students", "n_schools", "column_means", "summaries", "fingerprint", "checksum"),
)
EXTRA = (
    *("error_variance", "vcov_students", "own_shifts", "school_influences", "publication", "rows"),
    *("random", "random_covariance"),
)
ROUNDED = 0.01  # column means are published to three digits


def parsed(text: str) -> Any:
    """The content of a JSON file; ValueError where a number is not finite or an entry stands twice."""

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number[:20]} is no finite number")
        return value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("an entry stands twice")
        return dict(pairs)

    return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=once)


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of the artefact's content, the same however its JSON is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_blanks(summaries: Mapping[str, Any], blank: float | None = None) -> dict[str, Any]:
    """The summaries with a blank for the standard deviation of a cohort's only score, which is not known."""

    def filled(told: Mapping[str, Any]) -> dict[str, Any]:
        unknown = told["sd"] is None or math.isnan(told["sd"])
        return {**told, "sd": blank if unknown else told["sd"]}

    by_cohort = {cohort: filled(told) for cohort, told in summaries["score_by_cohort"].items()}
    return {**summaries, "score_by_cohort": by_cohort}


def check_content(content: dict[str, Any], state: FormulaState) -> None:
    """Raise ValueError, saying what is wrong, for content that no fit of this formula can have written."""
    _same_keys(content, NEEDED, "the file", EXTRA)
    if content["checksum"] != checksum({k: v for k, v in content.items() if k != "checksum"}):
        raise ValueError("it was changed after it was written")
    if not (content["estimator"] in ESTIMATORS and content["groups"] in GROUPS and content["method"] in METHODS):
        raise ValueError("estimator, groups or method is none of valib's")
    if not isinstance(content["fingerprint"], str) or not re.fullmatch(r"[0-9a-f]{8,64}", content["fingerprint"]):
        raise ValueError("the fingerprint of its rows is none")
    if not isinstance(content.get("publication", ""), str):
        raise ValueError("the note on publication is no text")
    cohorts = _whole(content["cohorts"], "the cohorts", least=None)
    if not len(cohorts) or sorted(set(cohorts)) != list(cohorts):
        raise ValueError("the cohorts are not in order, each once")
    students, schools = _whole([content["n_students"], content["n_schools"]], "the counts", least=2)
    if not students >= max(schools, len(state.names)):
        raise ValueError("there are fewer students than schools or coefficients")
    _check_summaries(content["summaries"], cohorts, students, state)
    _check_names(state, content["summaries"]["columns"])
    _check_coefficients(content, state)
    _check_extras(content, cohorts, schools, state)
    _check_spread(content, state)
    _check_variances(content, state)


def _check_coefficients(content: dict[str, Any], state: FormulaState) -> None:
    """Coefficients, covariances and variances, and that they fit the outcome's mean and spread."""
    p = len(state.names)
    b, means = (numbers(content[k], (p,), k.replace("_", " ")) for k in ("coefficients", "column_means"))
    V, _ = covariance(content["vcov"], p), covariance(content["vcov_model"], p, ROUNDED * p)
    tau2, sigma2 = numbers([content["tau2"], content["sigma2"]], (2,), "variances")
    if tau2 < 0 or sigma2 <= 0:
        raise ValueError("a variance is negative, or that of students is 0")
    if means[state.names.index(INTERCEPT)] != 1:
        raise ValueError("the mean of the intercept's column is not 1")
    outcome = content["summaries"]["columns"][outcome_of(state.formula)]
    sd, size = outcome["sd"], np.abs(means)
    if abs(means @ b - outcome["mean"]) > sd + ROUNDED * (size @ np.abs(b)):
        raise ValueError("the coefficients do not give the mean of the outcome at the means of their columns")
    if means @ V @ means > (10 * sd) ** 2 + ROUNDED * (size @ np.abs(V) @ size) or sigma2 > (10 * sd) ** 2:
        raise ValueError("its variances are far beyond the spread of the outcome")


def _check_summaries(summaries: Any, cohorts: np.ndarray, students: int, state: FormulaState) -> None:
    """n, mean and SD of the score by cohort and of every numeric column."""
    _same_keys(summaries, ("score_by_cohort", "columns"), "the summaries")
    by_cohort, columns = summaries["score_by_cohort"], summaries["columns"]
    _same_keys(by_cohort, map(str, cohorts), "the scores by cohort")
    outcome = outcome_of(state.formula)
    _same_keys(columns, (outcome,), "the summaries", (*required_columns(state.formula), "score"))
    for told in (*by_cohort.values(), *columns.values()):
        _same_keys(told, ("n", "mean", "sd"), "a summary")
        _whole([told["n"]], "a count", least=1)
        one = told["n"] == 1 and told["sd"] is None and told in by_cohort.values()
        mean, sd = numbers([told["mean"], 0 if one else told["sd"]], (2,), "a summary")
        if sd < 0:
            raise ValueError("a standard deviation is negative")
        if max(abs(mean), sd) > LIMITS[1]:
            raise ValueError("a mean or standard deviation is beyond what a model takes")
    if {told["n"] for told in columns.values()} != {students} or sum(t["n"] for t in by_cohort.values()) < students:
        raise ValueError("the counts of students do not agree")
    if "score" in columns:
        _check_cohorts(by_cohort.values(), columns["score"])


def _check_cohorts(by_cohort: Iterable[dict[str, float]], score: dict[str, float]) -> None:
    """That the scores of the model's students can be among those of the cohorts, some of which lack a covariate.

    Of a share f of values with mean m and standard deviation s the mean is within s sqrt((1 - f) / f) of m, and the
    standard deviation at most s / sqrt(f).
    """
    n, mean, sd = (np.array([told[k] or 0 for told in by_cohort], dtype=np.float64) for k in ("n", "mean", "sd"))
    centre = n @ mean / n.sum()
    spread = math.sqrt(n @ (sd**2 + (mean - centre) ** 2) / n.sum())
    share = score["n"] / n.sum()
    rounding = ROUNDED * (spread + np.abs(mean).max())
    far = abs(score["mean"] - centre) > spread * math.sqrt((1 - share) / share) + rounding
    if far or score["sd"] > spread / math.sqrt(share) + rounding:
        raise ValueError("the mean and spread of the score do not agree with those of its cohorts")


def _check_names(state: FormulaState, columns: Mapping[str, dict[str, Any]]) -> None:
    """That the formula gives these columns: it is applied to rows at the means, one for each level."""
    names = state.names
    if len(set(names)) < len(names) or INTERCEPT not in names:
        raise ValueError("the names of its columns are not unique, or the intercept is not among them")
    formula = parse(state.formula)
    levels = {}
    for name, factor in factors(formula.rhs).items():
        for column in categories_of(factor) if name in state.levels else ():
            levels[column] = state.levels[name]
    if not all(found and len(set(map(str, found))) == len(found) for found in levels.values()):
        raise ValueError("the levels of a column are none, or not unique")
    rows = max(map(len, levels.values()), default=1)
    data: dict[str, Any] = {}
    for column in required_columns(state.formula):
        if column in levels:
            data[column] = [levels[column][k % len(levels[column])] for k in range(rows)]
        elif column in columns:
            data[column] = np.full(rows, float(columns[column]["mean"]))
        else:
            raise ValueError("the summaries lack a column of its formula")
    context = {"school_mean": lambda x: x}
    if materialise(pd.DataFrame(data), formula, state, context, state.formula)[2].names != names:
        raise ValueError("the names of its columns are not those that its formula gives")


def _check_spread(content: dict[str, Any], state: FormulaState) -> None:
    """That means of columns are those of the summaries, and that covariates and residuals make up the outcome's spread."""
    told, bound = content["summaries"]["columns"], 0.0
    for name, b, mean in zip(state.names, content["coefficients"], content["column_means"], strict=True):
        inner = name.removeprefix("school_mean(").removesuffix(")") if name.startswith("school_mean(") else name
        if inner in told and (known := told[inner]):
            if abs(mean - known["mean"]) > ROUNDED * (abs(known["mean"]) + known["sd"]):
                raise ValueError("the mean of a column is not that of the summaries")
            bound += abs(b) * known["sd"]
        elif name != INTERCEPT:
            bound = math.inf  # a column whose spread the file does not tell
    for name, row in zip(content.get("random", ()), content.get("random_covariance", [0])[1:], strict=True):
        place = 1 + content["random"].index(name)
        bound += math.sqrt(max(row[place], 0)) * told[name]["sd"] if name in told else math.inf
    total, sd = content["tau2"] + content["sigma2"], told[outcome_of(state.formula)]["sd"]
    if total > (2 * sd) ** 2:
        raise ValueError("its variances are beyond the spread of the outcome")
    if sd > 3 * (
        bound + math.sqrt(total)
    ):  # one school in which the others do not lie can make that of the sample larger
        raise ValueError("its coefficients and variances are too small for the spread of the outcome")


def _check_variances(content: dict[str, Any], state: FormulaState) -> None:
    """Bounds for the model's own covariance, by the variances; see the comments.

    With weights W = (sigma2 I + tau2 ZZ')^-1 the covariance of the coefficients is (X'WX)^-1. As W is at most I / sigma2,
    the variance of a coefficient is at least sigma2 / (n s2), with s2 the variance of its column; that of a fitted value
    at least 1 / 1'W1, and at the means of the columns at most that of the mean outcome.
    """
    if content["estimator"] != "mixed" or content.get("error_variance"):
        return
    n, V, means = content["n_students"], np.array(content["vcov_model"]), np.array(content["column_means"])
    tau2, sigma2 = content["tau2"], content["sigma2"]
    told = content["summaries"]["columns"]
    for k, name in enumerate(state.names):
        if name in told and V[k, k] * n * (told[name]["sd"] * (1 + ROUNDED)) ** 2 * (1 + ROUNDED) < sigma2:
            raise ValueError("the model's errors of the coefficients are less than its variances allow")
    noise = ROUNDED * (np.abs(means) @ np.abs(V) @ np.abs(means))
    groups = min(n, content["n_schools"] * (len(content["cohorts"]) if content["groups"] == "school_cohort" else 1))
    fitted = means @ V @ means
    least, most = max(sigma2 / n, tau2 / groups), tau2 + sigma2 / n
    if (
        "random" in content
    ):  # schools may vary less elsewhere than at the means, and slopes add to the variance of a mean
        least, most = sigma2 / n, math.inf
    if fitted + noise < least or fitted - noise > most:
        raise ValueError("the model's errors of the coefficients do not agree with its variances")


def _check_extras(content: dict[str, Any], cohorts: np.ndarray, schools: int, state: FormulaState) -> None:
    """What only some benchmarks hold."""
    if "rows" in content:
        _same_keys(content["rows"], (), "the choice of rows", ("where", "prior"))
        if not content["rows"] or not all(isinstance(text, str) and text for text in content["rows"].values()):
            raise ValueError("the choice of rows: no text")
    spread = content["summaries"]["columns"][outcome_of(state.formula)]["sd"]
    if "own_shifts" in content:
        _same_keys(content["own_shifts"], map(str, cohorts), "the shifts of its own cohorts")
        for row in content["own_shifts"].values():
            _check_own_shift(row, spread)
    if "error_variance" in content:
        _same_keys(content["error_variance"], (), "the errors of measurement", required_columns(state.formula))
        values = list(content["error_variance"].values())
        if numbers(values, (len(values),), "the errors of measurement").min(initial=1) <= 0:
            raise ValueError("the variance of an error of measurement is not positive")
    if "random" in content or "random_covariance" in content:
        _check_random(content, state)
    if "vcov_students" in content:
        covariance(content["vcov_students"], len(state.names))
    if "school_influences" in content:
        _same_keys(content["school_influences"], ("schools", "values"), "the influences of schools")
        codes = content["school_influences"]["schools"]
        if not isinstance(codes, list) or not all(isinstance(c, str) for c in codes) or len(set(codes)) != schools:
            raise ValueError("the schools' influences are not those of its schools")
        numbers(content["school_influences"]["values"], (schools, len(state.names)), "the schools' influences")


def _check_random(content: dict[str, Any], state: FormulaState) -> None:
    """Slopes of schools: of columns of the formula, with the covariance of all random effects."""
    random, spread = content.get("random"), content.get("random_covariance")
    others = [name for name in state.names if name != INTERCEPT]
    if not isinstance(random, list) or not random or any(name not in others for name in random):
        raise ValueError("its slopes of schools are not of columns of its formula")
    if len(set(random)) < len(random) or content["estimator"] != "mixed" or content.get("error_variance"):
        raise ValueError("its slopes of schools are named twice, or its estimator has none")
    G = covariance(spread, len(random) + 1, ROUNDED * (len(random) + 1))
    if abs(G[0, 0] - content["tau2"]) > ROUNDED * content["tau2"]:
        raise ValueError("the variance of schools is not that of its random effects")
    outcome = content["summaries"]["columns"][outcome_of(state.formula)]["sd"]
    for name, variance in zip(random, np.diag(G)[1:], strict=True):
        known = content["summaries"]["columns"].get(name)
        if known and variance * known["sd"] ** 2 > (10 * outcome) ** 2:
            raise ValueError("the variance of its slopes is far beyond the spread of the outcome")


def _check_own_shift(row: Any, spread: float) -> None:
    """A shift and its error are known together, and not far beyond the spread of the outcome."""
    _same_keys(row, OWN_SHIFT, "the shift of a cohort")
    known = {k: float(numbers([v], (1,), "a shift")[0]) for k, v in row.items() if v is not None}
    for shift, se in (OWN_SHIFT[:2], OWN_SHIFT[2:]):
        if (shift in known) != (se in known):
            raise ValueError("a shift is known without its error, or the error without the shift")
        if known.get(se, 0) < 0:
            raise ValueError("the error of a shift is negative")
    # that against the other cohorts may lie far away: their covariates need not reach as far
    if max(abs(known.get("shift", 0)), known.get("se", 0) / 10) > 10 * spread:
        raise ValueError("the shift of a cohort is far beyond the spread of the outcome")


def numbers(values: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Plain numbers of JSON as an array of this shape; ValueError for texts, truth values, blanks and other shapes."""
    flat = values
    for _ in shape[1:]:
        flat = [v for row in flat for v in row] if isinstance(flat, list) else None
    if not isinstance(flat, list) or not all(type(v) in (int, float) for v in flat):
        raise ValueError(f"{what}: not all are numbers")
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{what}: as many finite numbers as the formula has columns are needed")
    return array


def covariance(values: Any, p: int, within: float = 1e-6) -> np.ndarray:
    """A covariance matrix (p, p); ValueError for what is not symmetric and positive semidefinite.

    within: how far the correlations may be from it, as one whose figures are rounded is.
    """
    V = numbers(values, (p, p), "a covariance")
    d = np.sqrt(np.maximum(np.diag(V), 0))
    scaled = V / np.outer(np.where(d > 0, d, 1), np.where(d > 0, d, 1))
    if (np.diag(V) < 0).any() or np.abs(scaled - scaled.T).max() > 1e-6 or np.linalg.eigvalsh(scaled).min() < -within:
        raise ValueError("a covariance is not symmetric and positive semidefinite: a variance is negative")
    return V


def _whole(values: Any, what: str, least: int | None) -> np.ndarray:
    """Whole numbers, none below ``least``."""
    if not isinstance(values, list) or not all(type(v) is int and abs(v) < 2**53 for v in values):
        raise ValueError(f"{what}: not all are whole numbers")
    if least is not None and min(values, default=least) < least:
        raise ValueError(f"{what}: one is less than {least}")
    return np.array(values, dtype=np.int64)


def _same_keys(content: Any, needed: Iterable[str], what: str, extra: Iterable[str] = ()) -> None:
    """Raise ValueError for an object that lacks an entry, or has one that is not valib's."""
    if not isinstance(content, dict):
        raise ValueError(f"{what}: no object with entries")
    needed = set(needed)
    if lacking := sorted(needed - set(content)):
        raise ValueError(f"{what}: without '{lacking[0]}'")
    if set(content) - needed - set(extra):
        raise ValueError(f"{what}: an entry is none of valib's")
