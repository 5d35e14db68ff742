"""Do schools serve weak and strong students, or groups of students, alike? Value added from random slopes.

    y_ij = x_ij' b + z_ij' g_j + e_ij,   g_j ~ N(0, G),   VA_j(z) = z' g_j

z: the intercept and the columns whose coefficient varies over schools. Value added at two values, their difference and a
school's place among others all come from one model, so that groups are shrunk jointly and stand on one scale. Sources:
Goldstein (2011, chapter 2); Nuttall, Goldstein, Prosser and Rasbash (1989), who asked the question of schools first.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.estimators import residual_moments
from ..models.mixed import fit_moments
from ..models.options import ShiftMode
from ..models.slope_benchmark import fit_benchmark_slopes
from ..models.slope_posterior import SlopePosterior
from ..models.slopes import SlopesFit, fit_slopes, mixture_p
from ..records.disclosure import shown
from ..sums.arrays import FloatArray
from ..sums.design import FormulaState
from ..sums.moments import Moments
from .cohort_fit import CohortFit

FIFTHS = (1, 2, 3, 4, 5)


def va_at(fit: CohortFit, values: Mapping[str, Sequence[Any]] | None = None, **named: Sequence[Any]) -> pd.DataFrame:
    """Value added of every school at named values of the columns that have random slopes.

    Parameters
    ----------
    fit : CohortFit
        With random slopes, of :func:`valib.fit_relative` or :func:`valib.fit_benchmark`.
    values : mapping of str to sequence, optional
        By column, the values; for names that Python cannot take as arguments. Columns that are not named are at their mean.
    **named
        The same: ``prior_score=[400, 500]``, ``sex=["F", "M"]``. Several columns: every combination. Without any:
        a standard deviation below the mean of students, the mean, and one above; 0 and 1 of an indicator.

    Returns
    -------
    DataFrame
        Index school and the values, sorted: ``n``, ``effect``, ``se_conditional``, ``se_comparative``, ``se``, ``lower``,
        ``upper`` (score points).

    Raises
    ------
    ModelError
        For a fit without random slopes, a column without one, and a level that a category does not have.

    Notes
    -----
    effect is z'g_hat_j, the BLUP; of a benchmark fit with an estimated shift, delta_hat + z'g_hat_j.
    se_conditional takes b as known; se_comparative adds Var(b_hat); both take the variances
    as known. se, lower and upper are integrated over the variances where the fit's intervals are
    (:mod:`valib.models.slope_posterior`), else effect -+ q se_comparative. Where few students of a school are near a value,
    the value added there leans on the school's line and on the other schools, and the limits say how far.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), random=["prior_score"])
    >>> va.va_at(fit, prior_score=[-1, 1])[["effect", "se"]].head(2).round(3)
                        effect     se
    school prior_score
    1      -1             0.25  0.112
            1             0.50  0.115
    """
    slopes = _slopes(fit)
    wanted: Mapping[str, Sequence[Any]] = {**(values or {}), **named} or reference_values(fit)
    grid = list(itertools.product(*(list(v) for v in wanted.values())))
    z = np.stack([row_at(slopes, dict(zip(wanted, one, strict=True)), fit.state) for one in grid])
    labels = pd.Index(slopes.schools, dtype="str")
    parts = []
    for row, one in zip(z, grid, strict=True):
        part = _table(fit, slopes, row, labels)
        for name, value in zip(wanted, one, strict=True):
            part[name] = value
        parts.append(part)
    whole = pd.concat(parts).rename_axis("school").set_index(list(wanted), append=True)
    return whole.sort_index(level="school", sort_remaining=False, kind="stable")


def va_gap(fit: CohortFit, column: str, low: Any = 0.0, high: Any = 1.0) -> pd.DataFrame:
    """How much more a school adds at one value of a column than at another, beside what the system does.

    Parameters
    ----------
    fit : CohortFit
        With a random slope of the column.
    column : str
        The column, such as an indicator of a group of students.
    low, high : number or level
        The two values; by default those of an indicator.

    Returns
    -------
    DataFrame
        Index school: ``n``, ``low`` and ``high`` (value added at each), ``gap`` = high - low with ``se``, ``lower``,
        ``upper``; ``whole_gap``: the gap with the system's own added, score points between like students of this school.

    Raises
    ------
    ModelError
        As for :func:`valib.va_at`.

    Notes
    -----
    gap_j = (z_high - z_low)'g_hat_j; its error is smaller than that of two effects taken apart, as errors of both that are
    one cancel. Gaps are shrunk together with effects.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), random=["prior_score"])
    >>> va.va_gap(fit, "prior_score", -1, 1)[["gap", "se"]].head(2).round(3)
              gap     se
    school
    1       0.250  0.135
    10     -0.272  0.176
    """
    slopes = _slopes(fit)
    z = [row_at(slopes, {column: value}, fit.state) for value in (low, high)]
    labels = pd.Index(slopes.schools, dtype="str", name="school")
    table = _table(fit, slopes, z[1] - z[0], labels).rename(columns={"effect": "gap"})
    ends = [slopes.at(one[None])[0][:, 0] for one in z]
    table.insert(1, "low", ends[0])
    table.insert(2, "high", ends[1])
    table["whole_gap"] = table["gap"] + float((z[1] - z[0])[1:] @ fit.fixed_effects[list(slopes.random[1:])].to_numpy())
    return table.drop(columns=["se_conditional", "se_comparative"])


def slope_test(fit: CohortFit) -> pd.DataFrame:
    """Do the slopes of schools differ? A likelihood-ratio test of every random slope.

    Parameters
    ----------
    fit : CohortFit
        With random slopes.

    Returns
    -------
    DataFrame
        Index column: ``sd`` of the slope over schools, ``sd_se``, ``correlation`` with value added at the mean, the
        ``statistic`` (twice the log-likelihood less that of the model without the slope), and its ``p``.

    Raises
    ------
    ModelError
        For a fit without random slopes.

    Notes
    -----
    A variance of 0 lies on its boundary, so the statistic is not chi2: with q random effects it is, half and half, chi2
    with q - 1 and with q degrees of freedom; for one slope chi2_1 and chi2_2. Sources: Self and Liang (1987); Stram and Lee
    (1994). Of a benchmark fit, slopes are about the benchmark's, so that the test is also one of a system whose slope has
    moved; variances that were carried over have no test.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), random=["prior_score"])
    >>> va.slope_test(fit)[["sd", "statistic"]].round(2)
                   sd  statistic
    column
    prior_score  0.12      40.37
    """
    slopes = _slopes(fit)
    columns, rows = slopes.sums.columns[1:], []
    sd = np.sqrt(np.diag(slopes.G))
    for k, name in enumerate(slopes.random[1:], 1):
        rest = [c for c in columns if c != columns[k - 1]]
        statistic = np.nan if fit.variances_from == "baseline" else max(2 * (fit.loglik - _less(fit, rest)), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            error, correlation = slopes.G_se[k, k] / (2 * sd[k]), slopes.G[0, k] / (sd[0] * sd[k])
        p = np.nan if np.isnan(statistic) else mixture_p(statistic, len(sd))
        rows.append((name, sd[k], error, correlation, statistic, p))
    return pd.DataFrame(rows, columns=["column", "sd", "sd_se", "correlation", "statistic", "p"]).set_index("column")


def _less(fit: CohortFit, rest: Sequence[int]) -> float:
    """The log-likelihood of the fit's model with slopes of other columns alone, or none."""
    moments = fit.own_moments
    if fit.model == "relative":
        return (fit_slopes(moments, rest, fit.method) if rest else fit_moments(moments, fit.method)).loglik
    b, estimated = fit.fixed_effects.to_numpy(), fit.shift is not None
    if not rest:
        return fit_moments(residual_moments(moments, b, estimated), fit.method).loglik
    mode: ShiftMode = "estimated" if estimated else "absorbed"
    return fit_benchmark_slopes(moments, rest, b, fit.vcov.to_numpy(), mode, fit.method).fit.loglik


def fifths_at(fit: CohortFit, column: str, low: Any = None, high: Any = None, min_students: int = 1) -> pd.DataFrame:
    """How many schools stand in another fifth of the schools at one value of a column than at another.

    Parameters
    ----------
    fit : CohortFit
        With a random slope of the column.
    column : str
        The column.
    low, high : number or level, optional
        The two values; by default the outer ones of :func:`valib.va_at`.
    min_students : int
        Schools with fewer students are left out, as in :func:`valib.only_shown`.

    Returns
    -------
    DataFrame
        Counts of schools: rows the fifth at ``low``, columns that at ``high``; 5 holds the highest value added.

    Raises
    ------
    ModelError
        As for :func:`valib.va_at`, and for fewer than five schools.

    Notes
    -----
    Fifths of BLUPs, equal in size to a school. Schools off the diagonal changed; a part of them would by chance, since
    effects near a border are not known to be on either side.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), random=["prior_score"])
    >>> table = va.fifths_at(fit, "prior_score", -1, 1)
    >>> int(table.to_numpy().sum()), int(table.to_numpy().trace())
    (65, 33)
    """
    slopes = _slopes(fit)
    usual = reference_values(fit).get(column, [0.0, 1.0])
    ends = [usual[0] if low is None else low, usual[-1] if high is None else high]
    z = np.stack([row_at(slopes, {column: value}, fit.state) for value in ends])
    may = np.asarray(shown(fit.school_effects, min_students))
    if may.sum() < len(FIFTHS):
        raise ModelError(f"There are no fifths of {may.sum()} schools.")
    effects = slopes.at(z)[0][may]
    order = effects.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    fifth = order * len(FIFTHS) // len(effects) + 1
    table = pd.crosstab(fifth[:, 0], fifth[:, 1]).reindex(index=FIFTHS, columns=FIFTHS, fill_value=0)
    return table.rename_axis(index=f"fifth at {ends[0]}", columns=f"fifth at {ends[1]}")


def reference_values(fit: CohortFit) -> dict[str, list[float]]:
    """By column, the values at which value added is shown if none are named: mean and one standard deviation either side,
    to two digits of it; 0 and 1 of an indicator."""
    slopes = _slopes(fit)
    return usual_values(fit.own_moments, slopes.sums.columns[1:])


def usual_values(moments: Moments, columns: Sequence[int]) -> dict[str, list[float]]:
    """The same of some columns of moments, by their names."""
    n, found = float(moments.n.sum()), {}
    for c, name in ((c, moments.names[c]) for c in columns):
        shift, total = moments.shift[c], float(moments.sums[:, c].sum())
        square = float(moments.pooled()[c, c])
        mean = shift + total / n
        sd = float(np.sqrt(max(square / n - (total / n) ** 2, 0.0)))
        raw = square / n + 2 * shift * total / n + shift**2  # of an indicator, its mean
        if "[" in name or abs(raw - mean) < 1e-9 * max(raw, mean):
            found[name] = [0.0, 1.0]
        else:
            digits = 1 - int(np.floor(np.log10(sd)))
            found[name] = [float(round(mean + k * sd, digits)) + 0.0 for k in (-1, 0, 1)]
    return found


def _slopes(fit: CohortFit) -> SlopesFit:
    """The slopes of a fit; ModelError without any."""
    if fit.slopes is None:
        raise ModelError("The fit has no random slopes: name them, as in fit_relative(..., random=['prior_score']).")
    return fit.slopes


def row_at(slopes: SlopesFit, at: Mapping[str, Any], state: FormulaState | None) -> FloatArray:
    """z (q,) about the means, at values by column; those not named are at their mean. state: knows levels of categories."""
    z: FloatArray = np.eye(1, len(slopes.random))[0]
    levels = state.levels if state is not None else {}
    for name, value in at.items():
        if name in slopes.random[1:]:
            k = slopes.random.index(name)
            if not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
                raise ModelError(f"Value added at {name} = {value!r}: expected a number.")
            z[k] = float(value) - slopes.centre[k]
            continue
        columns = [k for k, column in enumerate(slopes.random) if column.startswith(f"{name}[")]
        if not columns:
            raise ModelError(f"{name!r} has no random slope; the fit has one of {', '.join(slopes.random[1:])}.")
        if name in levels and value not in levels[name]:
            there = ", ".join(map(repr, levels[name]))
            raise ModelError(f"{name!r} has no level {value!r}; it has {there}.")
        for k in columns:
            z[k] = float(slopes.random[k] in (f"{name}[T.{value}]", f"{name}[{value}]")) - slopes.centre[k]
    return z


def _table(fit: CohortFit, slopes: SlopesFit, z: FloatArray, labels: pd.Index) -> pd.DataFrame:
    """z'g_j of every school with its errors and limits; z (q,)."""
    effect, own, whole = (values[:, 0] for values in slopes.at(z[None]))
    comparative = np.sqrt(np.maximum(whole, 0.0))
    if isinstance(fit.posterior, SlopePosterior):  # of a benchmark fit too
        mixture = fit.posterior.at(z)
        se, (lower, upper) = mixture.sd()[0], (limit[0] for limit in mixture.interval(fit.level))
    else:
        se, (lower, upper) = comparative, _blup.interval(effect, comparative, fit.level)
        if not effect.any() and not own.any():  # the boundary: nothing is known of a school
            lower = upper = np.full(len(effect), np.nan)
    columns = {
        "n": slopes.n.astype(np.int64),
        "effect": effect,
        "se_conditional": np.sqrt(np.maximum(own, 0.0)),
        "se_comparative": comparative,
        "se": se,
        "lower": lower,
        "upper": upper,
    }
    return pd.DataFrame(columns, index=labels)
