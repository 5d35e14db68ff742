"""To how many digits a figure is published, so that what is left out of the tables cannot be solved for.

A fit is a handful of sums over all schools. Who knows the sums of the schools shown, or solves for them, can take them
off, and figures in full precision then give the sums of three schools held back exactly: there are more equations
(coefficients, variances, their errors, log-likelihood, of two or three models) than unknowns. Rounding puts a band
around each equation. How wide the bands must be was measured by the attacker of tests/privacy/attacker.py, who knows
every school shown and the sizes of those held back; SECURITY.md has the figures. Six significant digits everywhere leave
the mean score of a school held back within a point; the rules below leave it as open as it was without the tables. What
matters most are errors and shrinkage factors: each school has some, and the bands of many schools intersect.

The rules go by the name of a figure. They are those by which measurements are stated anyway, an error to two digits and
an estimate to the last place of its error (JCGM 100:2008, Guide to the Expression of Uncertainty in Measurement, 7.2.6).

- standard errors (``se``, ``se_...``, ``..._se``) and spreads of a few cohorts (:data:`SPREADS`): :data:`ERROR_DIGITS`
  significant digits;
- an estimate beside its error, and the limits of its interval: the last place of that error (in a table of schools, of
  the smallest error, so that a column has one number of decimals);
- shares and probabilities (:data:`SHARES`), effect sizes: :data:`SHARE_DECIMALS` decimals;
- log-likelihoods, information criteria and the statistics of tests between them: :data:`LIKELIHOOD_DECIMALS` decimals;
- standard deviations (``sd``, ``..._sd``) and the means beside them (``mean``, ``..._mean``): a unit between a
  three-hundredth and a three-thousandth of the standard deviation (:data:`SPREAD_PART`), for a mean near 0 has no
  significant digits to go by;
- counts, and what the study declares (:data:`DECLARED`): as they are;
- all else: :data:`DIGITS` significant digits.

The coefficients of a benchmark that is kept for later cohorts have :data:`KEPT_DIGITS` digits of their errors, so that
the value added of a later cohort is the same to a few thousandths of its error; their clustered covariance, which depends
on sums of squares within each school and gives nothing away, is exact. All of this is applied where files are written
(:mod:`valib.study.writing`, :meth:`valib.effects.baseline.Benchmark.save`); numbers in memory are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

ERROR_DIGITS = 2
DIGITS = 3
SHARE_DECIMALS = 2
LIKELIHOOD_DECIMALS = 1
SPREAD_PART = 300
KEPT_DIGITS = 4

SHARES = (
    "shrinkage",
    "reliability",
    "effect_size",
    "p_bottom_quintile",
    "p_top_quintile",
    "p_bottom",
    "p_top",
    "p",
    "changed_fifth",
)
LIKELIHOODS = ("loglik", "aic", "bic", "statistic")
DECLARED = ("level", "equating_se", "cohort_sd")
MAIN = (  # beside a plain "se"
    *("estimate", "effect", "shift", "covariance", "correlation", "change", "lower", "upper"),
    *("average", "lasting", "own_shift", "leave_one_out", "year_lower", "year_upper", "prior_part"),
    *("similar", "difference", "move"),
)
SPREADS = ("wobble_sd", "break_even")  # standard deviations of a few cohorts: two digits, as errors
ERRORS = ("se", "se_comparative", "shift_se")  # of these, the first that a table has

How = Callable[[np.ndarray, np.ndarray], np.ndarray]  # figures and their decimals, of one shape -> figures


def decimals(name: str, values: np.ndarray, errors: np.ndarray | None = None) -> np.ndarray:
    """Return to how many decimals figures of this name are published, of the shape of values; negative: tens, hundreds.

    errors: the standard errors (of means: the standard deviations) that stand beside them, of the same shape; where they
    are missing or 0 the figures count as having none.
    """
    if name in SHARES:
        return np.full(np.shape(values), SHARE_DECIMALS)
    if name in LIKELIHOODS:
        return np.full(np.shape(values), LIKELIHOOD_DECIMALS)
    if is_error(name) or name in SPREADS:
        return last_place(values, ERROR_DIGITS)
    if name == "sd" or name.endswith("_sd"):
        return unit_of(values)
    alone = last_place(values, DIGITS)
    if is_mean(name):
        alone = np.minimum(alone, DIGITS)
    if errors is None:
        return alone
    known = np.isfinite(errors) & (errors > 0)
    size = np.where(known, errors, 1.0)
    return np.where(known, unit_of(size) if is_mean(name) else last_place(size, ERROR_DIGITS), alone)


def is_error(name: str) -> bool:
    """Whether a figure of this name is a standard error."""
    return name == "se" or name.startswith("se_") or name.endswith("_se")


def is_mean(name: str) -> bool:
    """Whether a figure of this name is a mean over students."""
    return name in ("mean", "column_means") or name.endswith("_mean")


def beside(name: str, names: Iterable[str]) -> str | None:
    """Return which of the names is the error by which a figure is rounded, or the standard deviation, or None."""
    names = list(names)
    if is_mean(name):
        return next((n for n in names if n == name.removesuffix("mean") + "sd"), None)
    stem = name.removesuffix("_lower").removesuffix("_upper")
    if not is_error(name) and f"{stem}_se" in names:
        return f"{stem}_se"
    return next((e for e in ERRORS if e in names), None) if name in MAIN else None


def last_place(values: np.ndarray, digits: int) -> np.ndarray:
    """Return the decimals at which figures of so many significant digits end; 0 of what is 0 or missing."""
    size = np.abs(np.asarray(values, dtype=np.float64))
    known = np.isfinite(size) & (size > 0)
    exponent = np.floor(np.log10(np.where(known, size, 1.0)))
    exponent += np.round(size / 10.0**exponent, digits - 1) >= 10  # 9.96 to two digits is 10
    return np.where(known, digits - 1 - exponent, 0).astype(np.int64)


def unit_of(sd: np.ndarray) -> np.ndarray:
    """Return the decimals of standard deviations and of the means beside them."""
    size = np.where(np.isfinite(sd) & (np.asarray(sd) > 0), sd, 1.0)
    return (-np.floor(np.log10(size / SPREAD_PART))).astype(np.int64)


def round_to(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return values rounded each to its number of decimals."""
    pairs = zip(np.ravel(values).tolist(), np.ravel(places).tolist(), strict=True)
    return np.array([round(v, p) if np.isfinite(v) else v for v, p in pairs]).reshape(np.shape(values))


def published(content: Any, how: How = round_to) -> Any:
    """Return a table, or a summary in plain numbers (mappings, lists), as it may be published: its figures rounded."""
    if not isinstance(content, pd.DataFrame):
        return _plain("", content, None, how)
    numbers = [(str(c), _figures(column)) for c, column in content.items()]
    by_name = {name: values for name, values in numbers if values is not None}
    out = content.copy()
    for position, (name, values) in enumerate(numbers):
        if values is None or name in DECLARED:
            continue
        errors = by_name.get(beside(name, by_name))
        if errors is not None and "school" in content.columns and not is_mean(name):
            errors = np.where(errors > 0, errors[errors > 0].min(initial=np.inf), 0.0)  # all schools to one place
        out.isetitem(position, how(values, decimals(name, values, errors)))
    return out


def _figures(column: pd.Series) -> np.ndarray | None:
    """The numbers of a column, or None of one that holds no fractions."""
    return column.to_numpy(dtype=np.float64, na_value=np.nan) if pd.api.types.is_float_dtype(column.dtype) else None


def kept(content: Mapping[str, Any], how: How = round_to) -> dict[str, Any]:
    """Return the content of a benchmark's file as it may be published."""
    values, errors = np.array(content["coefficients"]), np.sqrt(np.diag(content["vcov"]))
    places = np.where(errors > 0, last_place(errors, KEPT_DIGITS), last_place(values, KEPT_DIGITS))
    rest = {key: _plain(key, value, None, how) for key, value in content.items() if key not in ("vcov", "design")}
    if "own_shifts" in content:
        rest["own_shifts"] = {cohort: _plain("", row, None, how) for cohort, row in content["own_shifts"].items()}
    return {**content, **rest, "coefficients": how(values, places).tolist()}


def kept_fit(content: Mapping[str, Any], how: How = round_to) -> dict[str, Any]:
    """Return a fit that is kept to score schools by (:mod:`valib.effects.late`) as it may be published.

    Coefficients and shift to :data:`KEPT_DIGITS` digits of their errors, variances as in the fit's own table, errors to two
    digits, correlations to two decimals, and a posterior on few nodes to three. The coefficients' covariance is left as it
    is in a benchmark fit, where it is clustered (see above) and another file's.
    """
    out, own = dict(content), content["model"] == "relative"
    b, se = np.array(content["coefficients"]), np.array(content["vcov"]["se"])
    out["coefficients"] = how(b, np.where(se > 0, last_place(se, KEPT_DIGITS), last_place(b, KEPT_DIGITS))).tolist()
    if own:
        out["vcov"] = _rounded_errors(content["vcov"], how)
    for name in ("tau2", "sigma2", "student_sd", "tau2_se", "sigma2_se", "shift_se"):
        out[name] = _plain(name, content[name], content.get(f"{name}_se"), how)
    if content["shift"] is not None:
        spread, error = np.array(content["shift_var"]), np.array(content["shift_se"])
        out["shift"] = float(how(np.array(content["shift"]), last_place(error, KEPT_DIGITS)))
        out["shift_var"] = float(how(spread, last_place(spread, DIGITS)))
        out["centre"] = _significant(content["centre"], DIGITS, how)
    if content["grid"] is not None:
        grid = content["grid"]
        weight = np.array(grid["weight"])
        out["grid"] = {**grid, "weight": how(weight, np.full(len(weight), 3)).tolist()}
        out["grid"] |= {name: _significant(grid[name], DIGITS, how) for name in ("phi", "s2")}
    return out


def _rounded_errors(content: Mapping[str, Any], how: How) -> dict[str, Any]:
    """Standard errors to two digits and their correlations to two decimals."""
    r = np.array(content["correlation"])
    places = np.where(r == 1, 15, SHARE_DECIMALS)
    return {"se": _significant(content["se"], ERROR_DIGITS, how), "correlation": how(r, places).tolist()}


def _significant(values: Any, digits: int, how: How) -> list[Any]:
    """Figures to so many significant digits."""
    array = np.array(values, dtype=np.float64)
    return list(how(array, last_place(array, digits)).tolist())


def _plain(name: str, content: Any, error: Any, how: How) -> Any:
    """Round what a mapping or list holds; error: what stands in the same place under the name of the error."""
    if isinstance(content, Mapping):
        if not name or {"mean", "sd"} <= set(content):  # figures by name
            others = {key: content.get(beside(str(key), content)) for key in content}
            return {key: _plain(str(key), value, others[key], how) for key, value in content.items()}
        errors = error if isinstance(error, Mapping) else {}  # one figure by cohort or by term
        return {key: _plain(name, value, errors.get(key), how) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        errors = error if isinstance(error, (list, tuple)) else [None] * len(content)
        return [_plain(name, value, other, how) for value, other in zip(content, errors, strict=True)]
    if not isinstance(content, float) or name in DECLARED:
        return content
    known = np.array(error) if isinstance(error, float) else None
    return float(how(np.array(content), decimals(name, np.array(content), known)))
