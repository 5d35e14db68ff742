"""Fits side by side: recipes for one school, what each makes of the spread and the mean.

Nothing is estimated here that another module does not estimate; the functions line results up for a reader.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError, RecordsError, ValibError, ValibWarning
from ..models.options import Estimator, Groups, Method
from ..records.disclosure import only_shown
from ..records.prior_check import PriorCheck
from .artefact import ESTIMATORS
from .baseline import Benchmark, fit_baseline
from .benchmark import fit_benchmark
from .cohort_fit import CohortFit
from .measured import Reliability


def fit_estimators(
    records: pd.DataFrame,
    cohorts: Iterable[int],
    formula: str = "score ~ prior_score",
    groups: Groups = "school_cohort",
    method: Method = "ML",
    reliability: Reliability | None = None,
) -> tuple[dict[str, Benchmark], dict[str, str]]:
    """The benchmark by each estimator.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    cohorts : iterable of int
        The baseline.
    formula : str
        What is typical.
    groups : {"school_cohort", "school"}
        As for :func:`valib.fit_baseline`.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    reliability : mapping, optional
        As for :func:`valib.fit_baseline`.

    Returns
    -------
    tuple of dict, dict
        Benchmarks by estimator, and for those that cannot be had from this formula the reason.

    Raises
    ------
    RecordsError
        For absent cohorts.
    BenchmarkError
        As :func:`valib.fit_baseline`, where it concerns all of them.

    Notes
    -----
    "mixed", "ols" and "within" of :func:`valib.fit_baseline`.

    Examples
    --------
    >>> import valib as va
    >>> benchmarks, refused = va.fit_estimators(va.load_records("demo"), [2015, 2016])
    >>> {name: round(float(b.coefficients["prior_score"]), 2) for name, b in benchmarks.items()}
    {'mixed': 0.77, 'ols': 0.8, 'within': 0.76}
    """
    fits: dict[str, Benchmark] = {}
    refused: dict[str, str] = {}
    for estimator in ESTIMATORS:
        try:
            fits[estimator] = fit_baseline(
                records, cohorts, formula, estimator, groups, method, reliability=reliability
            )
        except ModelError as error:
            refused[estimator] = str(error)
    return fits, refused


def school_to_follow(
    fits: Sequence[CohortFit], min_students: int = 5, school: str | None = None, share: float = 0.2
) -> str:
    """The school followed through the recipes: the one named, else the one nearest a quantile of the last fit.

    Parameters
    ----------
    fits : sequence of CohortFit
        Relative fits in the order of their cohorts.
    min_students : int
        Fewest students of a school that may be shown.
    school : str, optional
        The school wanted.
    share : float
        The quantile.

    Returns
    -------
    str
        The school.

    Raises
    ------
    RecordsError
        For a named school that is absent from the last cohort or may not be shown there, and when none may.

    Notes
    -----
    The rule: among the schools that may be shown in every cohort (in the last one, if none may in all; see
    :mod:`valib.records.disclosure`), the school whose effect in the last cohort is nearest to the ``share`` quantile of all
    schools' effects there; of equals the first by name.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> va.school_to_follow([va.fit_relative(records, c) for c in (2023, 2024)])
    '8083'
    """
    last = fits[-1].school_effects
    large = [set(only_shown(fit.school_effects, min_students).index) for fit in fits]
    if school is not None:
        if school not in large[-1]:
            raise RecordsError(
                f"School {school!r} cannot be shown in cohort {fits[-1].cohort}: it is not there, has "
                f"fewer than {min_students} students, or hides a school that has."
            )
        return school
    candidates = sorted(set.intersection(*large) or large[-1])
    if not candidates:
        raise RecordsError(f"No school that may be shown has {min_students} students in cohort {fits[-1].cohort}.")
    effect = last.loc[candidates, "effect"]
    return str((effect - last["effect"].quantile(share)).abs().idxmin())


def follow_school(fits: Mapping[str, CohortFit], school: str) -> pd.DataFrame:
    """One school under several fits, one row each.

    Parameters
    ----------
    fits : mapping of str to CohortFit
        Fits by the name of their recipe.
    school : str
        The school; a fit without it is left out.

    Returns
    -------
    DataFrame
        ``recipe``, ``residual``, ``shrinkage``, ``effect``, ``se``, ``lower``, ``upper``.

    Notes
    -----
    residual: the mean residual rbar_j = ybar_j - xbar_j' b before shrinking (score points).

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016])
    >>> fits = {"relative": va.fit_relative(records, 2024), "benchmark": va.fit_benchmark(records, 2024, benchmark)}
    >>> va.follow_school(fits, "8083")[["recipe", "effect", "shrinkage"]].round(1)
          recipe  effect  shrinkage
    0   relative   -13.0        0.8
    1  benchmark   -27.6        0.8
    """
    rows = []
    for name, fit in fits.items():
        if school in fit.school_effects.index:
            row = fit.school_effects.loc[school]
            at = fit.school_effects.index.get_loc(school)
            means = fit.own_moments.means[at]
            rows.append(
                {
                    "recipe": name,
                    "residual": float(means[-1] - means[:-1] @ fit.fixed_effects.to_numpy()),
                    "shrinkage": row["shrinkage"],
                    "effect": row["effect"],
                    "se": row["se_comparative"],
                    "lower": row["lower"],
                    "upper": row["upper"],
                }
            )
    return pd.DataFrame(rows, columns=["recipe", "residual", "shrinkage", "effect", "se", "lower", "upper"])


def spread_of_va(fits: Mapping[str, Sequence[CohortFit]]) -> pd.DataFrame:
    """What each recipe makes of the schools of a cohort, one row a cohort and recipe.

    Parameters
    ----------
    fits : mapping of str to sequence of CohortFit
        Fits of several cohorts by the name of their recipe.

    Returns
    -------
    DataFrame
        ``cohort``, ``recipe``, ``sd``, ``mean``, ``shrinkage``, ``shift`` (nan where absorbed).

    Notes
    -----
    sd: the between-school standard deviation tau that the recipe shrinks with; mean: the plain mean over schools of
    their value added; shrinkage: the mean of lambda_j; shift: the estimated system shift.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("demo"), 2024)
    >>> va.spread_of_va({"relative": [fit]})[["cohort", "recipe", "sd"]].round(1)
       cohort    recipe    sd
    0    2024  relative  16.5
    """
    return pd.DataFrame(
        [
            {
                "cohort": fit.cohort,
                "recipe": name,
                "sd": np.sqrt(fit.tau2),
                "mean": fit.school_effects["effect"].mean(),
                "shrinkage": fit.school_effects["shrinkage"].mean(),
                "shift": np.nan if fit.shift is None else fit.shift,
            }
            for name, several in fits.items()
            for fit in several
        ]
    )


def mean_va_error(fit: CohortFit) -> tuple[float, float]:
    """Prediction error of the plain mean over the schools of a fit, as if their errors were independent and as it is.

    Parameters
    ----------
    fit : CohortFit
        Of J schools.

    Returns
    -------
    tuple of float, float
        As if independent, and as it is (score points).

    Notes
    -----
    As if independent: root of sum_j Var_j / J^2; as it is: root of sum_j own_j / J^2 + sum over the shared errors of
    (mean_j F_j)^2, where F_j are the loadings on the errors that schools share.

    Examples
    --------
    >>> import valib as va
    >>> apart, together = va.mean_va_error(va.fit_relative(va.load_records("exam")))
    >>> apart > 0
    True
    """
    var = fit.school_effects["se_comparative"].to_numpy() ** 2
    own = fit.school_effects["se_conditional"].to_numpy() ** 2
    shared = (fit.common.mean(axis=0) ** 2).sum()
    return float(np.sqrt(var.sum()) / len(var)), float(np.sqrt(own.sum() / len(own) ** 2 + shared))


def agreement_by_cohort(relative: Sequence[CohortFit], benchmark: Sequence[CohortFit]) -> pd.DataFrame:
    """Relative and benchmark value added of the same schools by cohort: correlation, mean and SD of the difference.

    Parameters
    ----------
    relative, benchmark : sequence of CohortFit
        Fits of the same cohorts, in the same order.

    Returns
    -------
    DataFrame
        ``cohort``, ``schools``, ``correlation``, ``mean_difference``, ``sd_difference``.

    Raises
    ------
    ValueError
        For sequences of different length.

    Notes
    -----
    The difference is benchmark less relative, in score points, over schools in both.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016])
    >>> va.agreement_by_cohort([va.fit_relative(records, 2024)], [va.fit_benchmark(records, 2024, benchmark)]).round(1)
       cohort  schools  correlation  mean_difference  sd_difference
    0    2024      188          1.0            -14.8            0.1
    """
    rows = []
    for r, b in zip(relative, benchmark, strict=True):
        both = pd.concat([r.school_effects["effect"], b.school_effects["effect"]], axis=1, join="inner").to_numpy()
        difference = both[:, 1] - both[:, 0]
        correlation = np.corrcoef(both.T)[0, 1] if (np.ptp(both, axis=0) > 0).all() else np.nan
        rows.append(
            {
                "cohort": r.cohort,
                "schools": len(both),
                "correlation": correlation,
                "mean_difference": difference.mean(),
                "sd_difference": difference.std(ddof=1),
            }
        )
    return pd.DataFrame(rows)


def prior_table(checks: Sequence[PriorCheck]) -> pd.DataFrame:
    """Checks of the prior as a table: the baseline first, then one row a focal cohort."""
    first = checks[0]
    rows = [
        {
            "cohort": "baseline",
            "mean": first.baseline_mean,
            "sd": first.baseline_sd,
            "smd": np.nan,
            "variance_ratio": np.nan,
            "ok": True,
        }
    ]
    rows += [
        {
            "cohort": str(c.cohort),
            "mean": c.focal_mean,
            "sd": c.focal_sd,
            "smd": c.smd,
            "variance_ratio": c.variance_ratio,
            "ok": c.ok,
        }
        for c in checks
    ]
    return pd.DataFrame(rows)


def shift_sensitivity(
    records: pd.DataFrame,
    cohort: int,
    baseline: Sequence[int],
    formulas: Sequence[str],
    estimator: Estimator = "mixed",
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The shift of one cohort when one choice at a time is changed.

    Parameters
    ----------
    records : DataFrame
        Checked student records.
    cohort : int
        The focal cohort.
    baseline : sequence of int
        The baseline cohorts.
    formulas : sequence of str
        The study's, then the further ones.
    estimator : {"mixed", "ols", "within"}
        The study's.
    **options
        As for :func:`valib.fit_benchmark`: variances, method, equating_se, level.

    Returns
    -------
    tuple of DataFrame, dict
        One row a variant (``choice``, ``value``, ``shift``, ``se``, ``lower``, ``upper``), the first the first formula as it
        stands; and, for variants that cannot be fitted, the reason.

    Raises
    ------
    RecordsError
        For absent cohorts.

    Notes
    -----
    Besides the formulas each other estimator and, if there are several, each baseline cohort alone. Warnings about the prior
    are not repeated for the variants.

    Examples
    --------
    >>> import valib as va
    >>> table, refused = va.shift_sensitivity(va.load_records("demo"), 2024, [2015, 2016], ["score ~ prior_score"])
    >>> table[["choice", "shift"]].round(1).tail(2)
                choice  shift
    3  baseline cohort  -14.7
    4  baseline cohort  -14.9
    """
    variants = [("as in this chapter", formulas[0], formulas[0], baseline, estimator)]
    variants += [("formula", f, f, baseline, estimator) for f in formulas[1:]]
    variants += [("estimator", e, formulas[0], baseline, e) for e in ESTIMATORS if e != estimator]
    if len(baseline) > 1:
        variants += [("baseline cohort", str(c), formulas[0], [c], estimator) for c in baseline]
    rows, refused = [], {}
    for choice, value, formula, cohorts, used in variants:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ValibWarning)
                benchmark = fit_baseline(records, cohorts, formula, used, method=options.get("method", "ML"))
                fit = fit_benchmark(records, cohort, benchmark, shift="estimated", **options)
        except ValibError as error:
            refused[value] = str(error)
            continue
        assert fit.shift_interval is not None  # it was estimated
        lower, upper = fit.shift_interval
        rows.append(
            {"choice": choice, "value": value, "shift": fit.shift, "se": fit.shift_se, "lower": lower, "upper": upper}
        )
    return pd.DataFrame(rows), refused
