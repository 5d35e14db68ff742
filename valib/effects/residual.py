"""Do students vary alike in all groups and schools? Residual variances that are not equal, and the test of it.

    y_ij = x_ij' b + u_j + e_ij,   Var(e_ij) = sigma2_k (a group of students), sigma2_j (a school), or sigma2 exp(2 delta v_ij)

A school whose students vary less is known better from as many students: its BLUP is shrunk less, and its interval is
shorter. The models are :mod:`valib.models.residual_variance` and :mod:`valib.models.school_variance`.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ..errors import ModelError
from ..models import blup as _blup
from ..models.options import Method
from ..models.residual_variance import GroupVariances, fit_exponential, fit_groups
from ..models.school_variance import SchoolVariances, fit_schools
from ..models.school_variance import variance_test as _bartlett
from ..sums.arrays import FloatArray
from ..sums.covariates import is_number
from ..sums.design import FormulaState
from ..sums.student_groups import rows_with, sum_groups
from ..sums.students import Records, Summed, sum_students
from .cohort_fit import CohortFit

Unequal = GroupVariances | SchoolVariances
BY_SCHOOL = "by_school"
_EXP = re.compile(r"exp\(\s*`?(.+?)`?\s*\)")


def fit_unequal(
    records: Records, cohort: int, formula: str | FormulaState, residual: str, method: Method
) -> tuple[Summed, Unequal]:
    """The students' sums by school and the fitted model; residual as for :func:`valib.fit_relative`."""
    if residual == BY_SCHOOL:
        students = sum_students(records, [cohort], formula, by_cell=True)
        return students, fit_schools(students.moments, method)
    if (along := _EXP.fullmatch(residual)) is not None:
        if not isinstance(records, pd.DataFrame):
            raise ModelError(f"The residual variance {residual!r} needs the students' rows: take --engine memory.")
        design, students = rows_with(records, cohort, formula, along[1])
        if not is_number(design.data[along[1]]):
            raise ModelError(f"The residual variance {residual!r} needs a numeric column.")
        v = design.data[along[1]].to_numpy(dtype=np.float64)
        if not np.isfinite(v).all():
            raise ModelError(f"The residual variance {residual!r} needs finite numbers.")
        return students, fit_exponential(design.X, design.y, design.cells, design.names, v, method)
    found = sum_groups(records, cohort, formula, residual)
    return found.students, fit_groups(found.moments, found.groups, method)


def residual_variances(fit: CohortFit, level: float | None = None) -> pd.DataFrame:
    """The residual standard deviations of a fit in which they are not equal.

    Parameters
    ----------
    fit : CohortFit
        Of :func:`valib.fit_relative` with ``residual``.
    level : float, optional
        Of the limits; by default the fit's.

    Returns
    -------
    DataFrame
        By school: index school, ``n``, ``own_sd`` (of its students alone), ``sd`` (shrunken), ``lower``, ``upper``. By group of
        students: index group, ``n``, ``sd``, ``se``, ``lower``, ``upper``. Of a variance that follows a column: the same at its
        mean and one standard deviation either side. Score points; ``attrs["common"]`` is the common standard deviation of
        schools, ``attrs["spread"]`` the standard deviation of their logarithms.

    Raises
    ------
    ModelError
        For a fit with one residual variance, and a level out of range.

    Notes
    -----
    By school sigma2_j ~ nu s2 / chi2_nu, with nu and s2 by marginal maximum likelihood; sd_j = 1 / sqrt(E[1 / sigma2_j | y]),
    about the root of (nu s2 + W_j) / (nu + n_j - 1), W_j the school's residual sum of squares: the school's own variance and
    the common one, weighted by their degrees of freedom. The limits are of the school's posterior with nu and s2 held. By
    group: maximum likelihood (or REML), limits from the logarithm. Source: Smyth (2004) for the shrinkage.

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), residual="by_school")
    >>> va.residual_variances(fit)[["n", "own_sd", "sd"]].head(2).round(3)
             n  own_sd     sd
    school
    1       73   0.840  0.802
    10      50   0.652  0.693
    """
    level = fit.level if level is None else level
    z, unequal = _blup.quantile(level), _unequal(fit)
    if isinstance(unequal, SchoolVariances):
        lower, upper = unequal.interval(level)
        index = pd.Index(unequal.schools, dtype="str", name="school")
        columns = {
            "n": unequal.n.astype(np.int64),
            "own_sd": unequal.own_sd,
            "sd": unequal.sd,
            "lower": lower,
            "upper": upper,
        }
        table = pd.DataFrame(columns, index=index)
        table.attrs = {"common": unequal.s, "spread": unequal.spread}
        return table
    sd, log_se, n = unequal.sd, np.sqrt(np.diag(unequal.log_sd_vcov)), unequal.n
    index = pd.Index(unequal.groups, name=fit.residual)
    if (slope := unequal.slope) is not None:
        steps: FloatArray = np.array([-1.0, 0.0, 1.0]) * slope.spread
        index = pd.Index(slope.centre + steps, name=fit.residual)
        sd, log_se = sd * np.exp(slope.delta * steps), np.sqrt(log_se**2 + (steps * slope.delta_se) ** 2)
        n = np.repeat(n, 3)
    limits = {"lower": sd * np.exp(-z * log_se), "upper": sd * np.exp(z * log_se)}
    return pd.DataFrame({"n": n.astype(np.int64), "sd": sd, "se": sd * log_se, **limits}, index=index)


def variance_test(fit: CohortFit) -> pd.DataFrame:
    """Are the residual variances equal? The tests of a fit in which they need not be.

    Parameters
    ----------
    fit : CohortFit
        Of :func:`valib.fit_relative` with ``residual``.

    Returns
    -------
    DataFrame
        Index test: ``statistic``, ``df``, ``p``. By school "Bartlett" and "likelihood ratio"; by group of students or along a
        column the latter.

    Raises
    ------
    ModelError
        For a fit with one residual variance; by school, where the students of one fit perfectly, or fewer than two schools
        have two students.

    Notes
    -----
    The null hypothesis: all schools (groups) have one residual variance, given the fixed effects and whatever the schools'
    effects. Bartlett's statistic compares the schools' variances within, b being estimated within schools, on
    d_j = n_j - 1 - tr(A^-1 X_j'X_j) degrees of freedom; schools of one student do not enter. Its chi2 distribution (df:
    schools less one) fails where schools are small, so that p comes from the exact first three cumulants of the statistic
    under the null. The likelihood ratio by school tests that the spread of the variances is 0, a boundary: half chi2 with 0
    and half with 1 degree of freedom; by group it is chi2. All take residuals as normal: heavy tails raise every statistic, so
    that a small p may speak of tails and not of schools. Sources: Bartlett (1937); Self and Liang (1987).

    Examples
    --------
    >>> import valib as va
    >>> fit = va.fit_relative(va.load_records("exam"), residual="by_school")
    >>> va.variance_test(fit)[["statistic", "df"]].round(1)
                      statistic  df
    test
    Bartlett              148.1  64
    likelihood ratio       32.3   1
    """
    unequal, rows = _unequal(fit), []
    if isinstance(unequal, SchoolVariances):
        found = _bartlett(unequal.sums)
        rows = [("Bartlett", found.statistic, found.df, found.p), ("likelihood ratio", unequal.statistic, 1, unequal.p)]
    else:
        rows = [("likelihood ratio", unequal.statistic, unequal.df, unequal.p)]
    return pd.DataFrame(rows, columns=["test", "statistic", "df", "p"]).set_index("test")


def _unequal(fit: CohortFit) -> Unequal:
    """The model of a fit; ModelError where it has one residual variance."""
    if fit.unequal is None:
        raise ModelError(
            "The fit has one residual variance: ask for others, as in fit_relative(..., residual='by_school')."
        )
    return fit.unequal
