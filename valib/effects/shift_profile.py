"""The system shift of students of a given profile, over the prior score, and what a changed prior test makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.estimators import school_variance
from ..models.measurement import check_reliability
from .baseline import Benchmark
from .benchmark import PRIOR, check_same_columns, linear_prior, prior_elsewhere
from .cohort_fit import CohortFit
from .shift import check_belongs


def shift_at(
    relative: CohortFit, benchmark: Benchmark, profile: pd.Series | np.ndarray, equating_se: float | None = None
) -> pd.DataFrame:
    """The shift of students of given profiles, delta_t(x) = x'(b_t - b_B), with its error.

    Parameters
    ----------
    relative : CohortFit
        The focal cohort's own model, same formula as the benchmark (fitted with ``benchmark.state`` where it has transforms
        that learn from the data, such as center).
    benchmark : Benchmark
        What is typical.
    profile : Series or ndarray, (p,) or (m, p)
        Design rows x.
    equating_se : float, optional
        Standard error of the equating of the two tests, in score points; None: not known, left out.
        Across a break of the scale it holds the link's error too (se_scale of :func:`valib.shift_parts`), and the relative
        model is that of the scores carried back (:func:`valib.carry_back`).

    Returns
    -------
    DataFrame
        One row a profile: ``shift``, ``se``, ``error``, ``lower``, ``upper``.

    Raises
    ------
    BenchmarkError
        When the columns of the two models do not mean the same.

    Notes
    -----
    With psi_tj and psi_Bj what school j adds to the coefficients of cohort and baseline (error "schools"; they need a
    fit with ``influences=True`` and a benchmark that carries them)::

        Var = J/(J-1) sum_j (x'(psi_tj - psi_Bj))^2 + s2_equating,   limits with t, J - 1 df

    Without them ("cautious") the two sets of coefficients are taken as independent,
    Var = x'(Var(b_t) + Var(b_B)) x + s2_equating.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> relative = va.fit_relative(records, 2024, influences=True)
    >>> va.shift_at(relative, benchmark, benchmark.column_means)[["shift", "error"]].round(1)
       shift    error
    0  -14.3  schools
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
    """Split delta_t at the focal mean into a level part and a slope part.

    Parameters
    ----------
    relative : CohortFit
        The focal cohort's own model, same formula as the benchmark.
    benchmark : Benchmark
        What is typical.
    equating_se : float, optional
        Standard error of the equating of the two tests, in score points; None: not known, left out.

    Returns
    -------
    DataFrame
        Rows level, slope, total; columns as of :func:`valib.shift_at`.

    Raises
    ------
    BenchmarkError
        When the columns of the two models do not mean the same.

    Notes
    -----
    level = xbar_B'(b_t - b_B), the shift for a student at the baseline means; slope = (xbar_t - xbar_B)'(b_t - b_B),
    what the change of intake makes of changed slopes; total = xbar_t'(b_t - b_B). The split depends on the centre:
    about another profile than the baseline means it comes out differently, the total does not.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> parts = va.split_shift(va.fit_relative(records, 2024), benchmark)
    >>> parts.loc[["level", "total"], "shift"].round(1).to_dict()
    {'level': -14.3, 'total': -14.3}
    """
    check_same_columns(relative, benchmark)
    moments = relative.own_moments
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
    """The shift over a grid of prior scores, the other columns at their baseline means.

    Parameters
    ----------
    relative : CohortFit
        The focal cohort's own model, same formula as the benchmark.
    benchmark : Benchmark
        What is typical.
    prior : ndarray (m,)
        Prior scores.
    equating_se : float, optional
        Standard error of the equating of the two tests, in score points; None: not known, left out.

    Returns
    -------
    DataFrame
        One row a prior score: ``prior`` and the columns of :func:`valib.shift_at`.

    Raises
    ------
    BenchmarkError
        When the columns of the two models do not mean the same.
    ModelError
        When the prior enters other than as the linear column ``prior_score`` (school means of it stay at the baseline
        mean): the curve would then not be a line in that one column.

    Notes
    -----
    delta_t(x) = x'(b_t - b_B) with the error of :func:`valib.shift_at`.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> va.shift_over_prior(va.fit_relative(records, 2024), benchmark, [300, 560])[["prior", "shift"]].round(1)
       prior  shift
    0  300.0  -14.3
    1  560.0  -14.3
    """
    check_same_columns(relative, benchmark)
    names = _linear_prior(benchmark, "shift over the prior")
    prior = np.asarray(prior, dtype=np.float64)
    profile = np.tile(benchmark.column_means.to_numpy(), (len(prior), 1))
    profile[:, names.index(PRIOR)] = prior
    return pd.DataFrame({"prior": prior}).join(shift_at(relative, benchmark, profile, equating_se))


def prior_sensitivity(
    fit: CohortFit,
    benchmark: Benchmark,
    mean_changes: Sequence[float] = (),
    reliabilities: Sequence[tuple[float, float]] = (),
) -> pd.DataFrame:
    """How much of a shift could be a changed prior test; one row a scenario (score points).

    Parameters
    ----------
    fit : CohortFit
        A benchmark fit.
    benchmark : Benchmark
        Its benchmark.
    mean_changes : sequence of float
        The prior test became easier by d points (scores d higher for the same knowledge).
    reliabilities : sequence of (float, float)
        Pairs (r_B, r_t) of the prior's reliability in the baseline and in the focal cohort, where it is measured as the
        slope is (within schools for the mixed and the within estimator).

    Returns
    -------
    DataFrame
        ``scenario``, ``artefact`` (what it adds to the shift), ``corrected`` (shift less artefact), ``low_prior``,
        ``high_prior`` (what it adds to a student one baseline SD below or above the focal mean prior).

    Raises
    ------
    BenchmarkError
        For a fit against another benchmark.
    ModelError
        When the prior is not one linear column of the formula, and for a reliability outside (0, 1].

    Notes
    -----
    An easier test adds -slope d to every student and to the shift (slope: with that of the school mean of the prior, if it
    is there). Errors of measurement with mean 0 flatten the line through the mean prior, slope = true slope times
    reliability, so a student with prior x is given::

        slope (1/r_B - 1) (mean_t - mean_B) + slope (r_t/r_B - 1) (x - mean_t)

    The second term is 0 on average over students: a change of reliability turns the shift over the prior and leaves
    the shift as it is. The first needs no change: with an unreliable prior, part of a changed intake counts as shift.

    Examples
    --------
    >>> import valib as va
    >>> records = va.load_records("demo")
    >>> benchmark = va.fit_baseline(records, [2015, 2016, 2017])
    >>> fit = va.fit_benchmark(records, 2024, benchmark)
    >>> va.prior_sensitivity(fit, benchmark, mean_changes=[5.0])[["artefact", "corrected"]].round(1)
       artefact  corrected
    0      -3.9      -10.4
    """
    check_belongs(fit, benchmark)
    _linear_prior(benchmark, "sensitivity to the prior")
    slope, sd = float(benchmark.coefficients[PRIOR]), float(benchmark.summaries["columns"][PRIOR]["sd"])
    moments = fit.own_moments
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


def _linear_prior(benchmark: Benchmark, what: str) -> list[str]:
    """The benchmark's columns, the prior among them as one linear column (and its school mean), or ModelError."""
    names = list(benchmark.coefficients.index)
    if not linear_prior(benchmark):
        others = prior_elsewhere(benchmark)
        raise ModelError(
            f"The {what} needs {PRIOR} as one linear column of the formula"
            + (f", but it also enters through {', '.join(map(repr, others))}." if others else ".")
        )
    return names
