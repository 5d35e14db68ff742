"""Do schools that serve weak students well in one cohort do so in another? Random slopes of cohorts, pair by pair.

Every pair of cohorts has a model of its own (:mod:`valib.models.slope_pairs`), in which a school has an intercept and slopes
in both. What a pair identifies is told: covariances, the correlation of value added at named values between the cohorts, and
the change of every school there. Sources: Fieuws and Verbeke (2006) for pairs; Leckie (2018) for the model of intercepts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ModelError
from ..models import blup as _blup
from ..models.options import Intervals, Method
from ..models.slope_pairs import PairFit, fit_alone, join
from ..models.slope_pairs_posterior import PairPosterior, integrate_pair
from ..names import listed_cohorts
from ..sums.arrays import FloatArray
from ..sums.design import FormulaState
from ..sums.random_part import random_columns, random_part
from ..sums.students import Records
from .differential import row_at, usual_values
from .display import Shown, Table, found, one_line
from .findings import Finding, integrated_or_told, pair_boundary, tell
from .joint import KNOWN_FROM, cohort_moments
from .relative import check_intervals

Values = Mapping[str, Sequence[Any]]
SLOPE = "slope"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JointSlopes(Shown):
    """Random slopes of several cohorts, fitted pair by pair. Score points; variances are score points squared.

    Attributes
    ----------
    cohorts : tuple of int
        In calendar order.
    formula, method : str
        As they were given.
    random : tuple of str
        The columns with slopes.
    level : float
        Coverage of the intervals.
    values : dict of str to list
        By column, the values at which results are told where none are named: a standard deviation below the mean of all
        students, the mean, and one above; 0 and 1 of an indicator.
    pairs : dict of (int, int) to PairFit
        The fits as arrays, by their cohorts.
    states : dict of int to FormulaState
        What the formula learned in each cohort.
    findings : tuple of Finding
        What would mislead in the fits.

    Notes
    -----
    The model of a pair is y_ijc = x_ijc' b_c + z_ijc' g_jc + e_ijc, (g_js, g_jt) ~ N(0, G), e_ijc ~ N(0, sigma2_c). With T
    cohorts and q random effects in each, G of all of them would have qT (qT + 1) / 2 entries; pairs give the same
    covariances without loss of consistency (Fieuws and Verbeke 2006). The variances of a cohort differ a little between its
    pairs.

    Examples
    --------
    >>> import valib as va
    >>> slopes = va.fit_joint_slopes(va.load_records("demo"), [2023, 2024])
    >>> list(slopes.pairs), slopes.values
    ([(2023, 2024)], {'prior_score': [352.0, 428.0, 505.0]})
    """

    cohorts: tuple[int, ...]
    formula: str
    random: tuple[str, ...]
    method: Method
    level: float
    values: dict[str, list[float]]
    pairs: dict[tuple[int, int], PairFit] = field(repr=False)
    states: dict[int, FormulaState] = field(repr=False)
    findings: tuple[Finding, ...] = ()

    def pair(self, first: int, second: int) -> PairFit:
        """The fit of two cohorts, the earlier first; ModelError for others than there are."""
        if (first, second) not in self.pairs:
            there = ", ".join(f"{s} and {t}" for s, t in self.pairs)
            raise ModelError(f"There is no pair of cohorts {first} and {second}; there are {there}.")
        return self.pairs[first, second]

    def covariances(self) -> pd.DataFrame:
        """One row an entry of every pair's G on and above the diagonal: ``first``, ``second`` (the pair), ``cohort``, ``term``,
        ``other``, ``other_term``, ``covariance``, ``se`` (nan on a boundary). Effects are about each cohort's means of the
        columns, so that the intercept is value added there."""
        rows = []
        for (s, t), fit in self.pairs.items():
            terms = [(c, name) for c in (s, t) for name in fit.random]
            for i, j in zip(*np.triu_indices(len(terms)), strict=True):
                rows.append((s, t, *terms[i], *terms[j], fit.G[i, j], fit.G_se[i, j]))
        heads = ["first", "second", "cohort", "term", "other", "other_term", "covariance", "se"]
        return pd.DataFrame(rows, columns=heads)

    def correlations(self, values: Values | None = None, intervals: Intervals = "integrated") -> pd.DataFrame:
        """Correlations over schools between two cohorts: one row a pair, column and value, and one for its slopes.

        Columns ``first``, ``second``, ``column``, ``of`` ("value added" or "slope"), ``at``, ``correlation``, ``se``,
        ``lower``, ``upper``, ``schools`` (in both cohorts). values: by column, the others at the mean of each cohort.
        correlation is the maximum likelihood estimate, nan where a variance is 0; se and limits are of the posterior or,
        plug-in and where :func:`valib.effects.slope_pairs.posterior_of` has none, by the delta method on Fisher's scale, nan
        on a boundary.
        """
        check_intervals(intervals)
        rows = []
        for (s, t), fit in self.pairs.items():
            over = posterior_of(fit) if intervals == "integrated" else None
            shared = int((fit.n > 0).all(axis=1).sum())
            for column, of, at, (first, second) in self._rows(fit, values):
                r, se = fit.correlation(first, second)
                error = _blup.delta_error(np.array(r), np.array(se))
                lower, upper = map(float, _blup.correlation_interval(np.array(r), error, self.level))
                if over is not None:
                    se, lower, upper = over.correlation(first, second, self.level)
                rows.append((s, t, column, of, at, r, se, lower, upper, shared))
        heads = ["first", "second", "column", "of", "at", "correlation", "se", "lower", "upper", "schools"]
        return pd.DataFrame(rows, columns=heads)

    def changes(
        self, first: int, second: int, values: Values | None = None, intervals: Intervals = "integrated"
    ) -> pd.DataFrame:
        """Change of every school's value added between two cohorts at values of a column, for schools in both.

        Index school, column and at: ``n_first``, ``n_second``, ``va_first``, ``va_second``, ``change``, ``se``, ``lower``,
        ``upper``, ``p_up`` (the probability that it went up). se: the standard deviation of what lower and upper are limits
        of, from the joint posterior of the school's effects in both cohorts; plug-in, the prediction error with known
        variances, nan on a boundary. values, intervals: as for :meth:`correlations`.
        """
        check_intervals(intervals)
        fit = self.pair(first, second)
        over = posterior_of(fit) if intervals == "integrated" else None
        here, parts = (fit.n > 0).all(axis=1), []
        for column, of, at, z in self._rows(fit, values):
            if of != SLOPE:
                part = _change(fit, over, *z, self.level)[here]
                parts.append(part.assign(column=column, at=at))
        table: pd.DataFrame = pd.concat(parts).set_index(["column", "at"], append=True)
        table = table.sort_index(level="school", sort_remaining=False, kind="stable")
        table.attrs["intervals"] = "plugin" if over is None else "integrated"
        return table

    def _rows(
        self, fit: PairFit, values: Values | None
    ) -> Iterable[tuple[str, str, Any, tuple[FloatArray, FloatArray]]]:
        """Column, what, value, and the weights (2q,) of the effects in either cohort."""
        q, zero = len(fit.random), np.zeros(len(fit.random))
        for column, places in (self.values if values is None else values).items():
            for value in places:
                z = [
                    row_at(one, {column: value}, self.states[c]) for one, c in zip(fit.alone, fit.cohorts, strict=True)
                ]
                yield column, "value added", value, (np.append(z[0], zero), np.append(zero, z[1]))
            if column in fit.random[1:]:
                e = np.eye(2 * q)[[fit.random.index(column), q + fit.random.index(column)]]
                yield column, SLOPE, np.nan, (e[0], e[1])

    def summary(self) -> dict[str, Any]:
        """The fits in plain numbers, for JSON (no school, no student)."""
        pairs = [
            {
                "cohorts": list(pair),
                "loglik": fit.loglik,
                "n_parameters": fit.n_parameters,
                "n_schools": len(fit.schools),
                "sigma2": dict(zip(map(str, pair), map(float, fit.sigma2), strict=True)),
                "singular": fit.boundary,
                "converged": fit.converged,
            }
            for pair, fit in self.pairs.items()
        ]
        told = {k: getattr(self, k) for k in ("formula", "method", "level", "values")}
        told |= {"cohorts": list(self.cohorts), "random": list(self.random)}
        return {
            "model": "joint slopes",
            "left_out": {},
            **told,
            "pairs": pairs,
            "findings": [item.summary() for item in self.findings],
        }

    def _table(self) -> Table:
        facts = [
            ("Formula", one_line(self.formula)),
            ("Method", self.method),
            ("Slopes of schools", ", ".join(self.random)),
        ]
        facts += [("Pairs of cohorts", str(len(self.pairs)))]
        column = next(iter(self.values))
        table = self.correlations({column: self.values[column]}, "plugin")
        heads = [
            "pair",
            *(f"r at {v:g}" for v in self.values[column]),
            "r of slopes",
            "SD slopes",
            "Schools",
            "Log-lik.",
        ]
        rows = []
        for pair, part in table.groupby(["first", "second"], sort=False):
            fit = self.pairs[pair]  # type: ignore[index]
            sd = np.sqrt(np.diag(fit.G))[[fit.random.index(column), len(fit.random) + fit.random.index(column)]]
            r = [f"{value:.2f}" if np.isfinite(value) else "" for value in part["correlation"]]
            rows.append(
                [
                    f"{pair[0]}, {pair[1]}",
                    *r,
                    f"{sd[0]:.3g}, {sd[1]:.3g}",
                    f"{part['schools'].iloc[0]:,}",
                    f"{fit.loglik:.1f}",
                ]
            )
        notes = [f"r: correlation of value added between the cohorts at values of {one_line(column)}."]
        notes += [f"The search of {s} and {t} did not converge." for (s, t), f in self.pairs.items() if not f.converged]
        return Table(
            f"Random slopes, {listed_cohorts(self.cohorts)}", facts, heads, rows, [*notes, *found(self.findings)]
        )

    def _line(self) -> str:
        return f"{listed_cohorts(self.cohorts)}, {one_line(self.formula)}, slopes of {', '.join(self.random)}"


def fit_joint_slopes(
    records: Records,
    cohorts: Iterable[int],
    formula: str | FormulaState = "score ~ prior_score",
    random: Sequence[str] = (),
    method: Method = "ML",
    level: float = 0.95,
) -> JointSlopes:
    """Random slopes of several cohorts at once, for every pair of them.

    Parameters
    ----------
    records : DataFrame or stream
        Checked student records, from :func:`valib.read_records` or :func:`valib.stream_records`.
    cohorts : iterable of int
        Two or more. Schools may miss cohorts.
    formula : str or FormulaState
        As for :func:`valib.fit_joint`; it may have a random part, ``(1 + prior_score | school)``.
    random : sequence of str
        Columns of the formula whose coefficient varies over schools; by default those of the formula's random part, or the
        prior score.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    level : float
        Coverage of the intervals.

    Returns
    -------
    JointSlopes
        With a fit for every pair.

    Raises
    ------
    RecordsError
        For absent cohorts.
    ModelError
        For fewer than two cohorts, what cannot be fitted (the cohort is named), and two cohorts that share no school.

    Notes
    -----
    y_ijc = x_ijc' b_c + z_ijc' g_jc + e_ijc, (g_js, g_jt) ~ N(0, G): coefficients and residual variance of each cohort are
    free, as in :func:`valib.fit_joint`, which is this without slopes. Residuals of students are independent: a student
    stands in one cohort. Source: Fieuws and Verbeke (2006).

    Examples
    --------
    >>> import valib as va
    >>> slopes = va.fit_joint_slopes(va.load_records("demo"), [2023, 2024])
    >>> table = slopes.correlations({"prior_score": [370, 520]}, intervals="plugin")
    >>> table[["of", "at", "correlation"]].head(2).round(2)
                of     at  correlation
    0  value added  370.0         0.98
    1  value added  520.0         0.86
    """
    formula, names = random_part(formula, random)
    parts, students = cohort_moments(records, cohorts, formula, by_cell=True)
    if len(parts) < 2:
        raise ModelError("A pair needs two cohorts.")
    columns = [random_columns(m.names[:-1], names or ["prior_score"]) for m in parts]
    alone = [fit_alone(m, c, method) for m, c in zip(parts, columns, strict=True)]
    years = tuple(students)
    pairs = {
        (years[a], years[b]): join([parts[a], parts[b]], [alone[a], alone[b]], method)
        for a, b in itertools.combinations(range(len(years)), 2)
    }
    finding = pair_boundary([pair for pair, fit in pairs.items() if fit.boundary])
    return JointSlopes(
        years,
        formula.formula if isinstance(formula, FormulaState) else formula,
        alone[0].random[1:],
        method,
        level,
        usual_values(reduce(add, parts), columns[0]),
        pairs,
        {c: one.state for c, one in students.items()},
        tell([finding]),
    )


def posterior_of(fit: PairFit) -> PairPosterior | None:
    """The posterior of a pair; None where intervals take its variances as known: beyond
    :data:`valib.effects.joint.KNOWN_FROM` schools unless the fit is singular, and, with a warning, where there is none."""
    return None if len(fit.schools) > KNOWN_FROM and not fit.boundary else _posterior(fit)


@lru_cache(maxsize=32)
def _posterior(fit: PairFit) -> PairPosterior | None:
    over: PairPosterior | None = integrated_or_told(lambda: integrate_pair(fit))
    return over


def _change(
    fit: PairFit, over: PairPosterior | None, first: FloatArray, second: FloatArray, level: float
) -> pd.DataFrame:
    """Value added in both cohorts and its change, of all schools; first, second (2q,)."""
    change, variance = fit.at(second - first)
    se = np.full(len(change), np.nan) if fit.boundary else np.sqrt(np.maximum(variance, 0.0))
    lower, upper = _blup.interval(change, se, level)
    p_up = stats.norm.cdf(change / np.where(se > 0, se, np.nan))
    if over is not None:
        mixture = over.at(second - first)
        se, p_up, (lower, upper) = mixture.sd()[0], mixture.above()[0], (x[0] for x in mixture.interval(level))
    n = fit.n.astype(np.int64)
    columns = {
        "n_first": n[:, 0],
        "n_second": n[:, 1],
        "va_first": fit.effects @ first,
        "va_second": fit.effects @ second,
        "change": change,
        "se": se,
        "lower": lower,
        "upper": upper,
        "p_up": p_up,
    }
    return pd.DataFrame(columns, index=pd.Index(fit.schools, name="school", dtype="str"))
