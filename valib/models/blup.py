"""Best linear unbiased prediction of school effects: arrays in, arrays out.

    u_hat_j = lambda_j rbar_j,   lambda_j = n_j theta / (1 + n_j theta),   rbar_j = ybar_j - xbar_j' b

Every error variance is the sum of an independent part per school and a part common to schools that comes from
estimated coefficients: Var = own_j + F_j F_j', with F (J, m) a matrix of loadings on m standard normal errors. The
common part is what makes the errors of two schools correlated, and what averaging over schools does not remove.

Sources: Henderson (1975); Goldstein (2011, section 2.8) for comparative and diagnostic errors; Goldstein and Healy
(1995) for overlap intervals; Fisher (1921) for those of correlations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import optimize, stats

from ..errors import ModelError
from ..sums.arrays import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Blup:
    """Predicted school effects, all arrays (J,) in the units of the outcome (variances: squared).

    effect: u_hat. shrinkage: lambda (the reliability). residual: rbar, the mean residual before shrinking.
    var_conditional: tau2 (1 - lambda), b known. var_comparative: prediction error variance with b estimated, the one
    to report. var_diagnostic: sampling variance of u_hat, for standardising it.
    common (J, m): loadings of the prediction error on the errors that schools share. Those of R data sets have R in
    front.
    """

    effect: FloatArray
    shrinkage: FloatArray
    residual: FloatArray
    var_conditional: FloatArray
    var_comparative: FloatArray
    var_diagnostic: FloatArray
    common: FloatArray

    def take(self, row: int) -> Blup:
        """That of one of R data sets."""
        return Blup(*(getattr(self, f.name)[row] for f in fields(self)))


def shrinkage(n: FloatArray, tau2: float | FloatArray, sigma2: float | FloatArray) -> FloatArray:
    """The shrinkage factor lambda_j, the reliability of a school's mean residual.

    Parameters
    ----------
    n : ndarray
        Students.
    tau2, sigma2 : float or ndarray
        Variances; shapes that broadcast.

    Returns
    -------
    ndarray
        Between 0 and 1.

    Notes
    -----
    lambda_j = n_j tau2 / (n_j tau2 + sigma2).

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> va.shrinkage(np.array([10, 100]), 225.0, 2025.0).round(2)
    array([0.53, 0.92])
    """
    n = np.asarray(n, dtype=np.float64)
    return n * tau2 / (n * tau2 + sigma2)


def precision(n: FloatArray, theta: float | FloatArray) -> FloatArray:
    """a_j = n_j / (1 + n_j theta), sigma2 over the variance of a school's mean residual; shapes that broadcast."""
    return n / (1 + n * theta)


def predict_blup(
    n: FloatArray,
    residual: FloatArray,
    tau2: float | FloatArray,
    sigma2: float | FloatArray,
    xbar: FloatArray | None = None,
    vcov: FloatArray | None = None,
) -> Blup:
    """BLUP of school effects from mean residuals, where b was estimated on the same students.

    Parameters
    ----------
    n : ndarray (J,)
        Students.
    residual : ndarray (J,)
        Mean residuals rbar_j.
    tau2, sigma2 : float
        Variances, tau2 >= 0 and sigma2 > 0.
    xbar : ndarray (J, p), optional
        School means of X.
    vcov : ndarray (p, p), optional
        Var(b_hat). It and xbar, or neither (b known: the three errors need no correction).

    Returns
    -------
    Blup
        ``effect``, ``shrinkage``, ``var_conditional``, ``var_comparative``, ``var_diagnostic``, all (J,).

    Raises
    ------
    ModelError
        For variances out of range.

    Notes
    -----
    u_hat_j = lambda_j rbar_j. A school without students (n = 0, unseen at fitting) gets effect 0 with variance tau2; its
    residual is ignored. Of R data sets, all arguments with R in front, tau2 and sigma2 (R, 1). Sources: Robinson (1991);
    Goldstein (1997) for the three variances.

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> found = va.predict_blup(np.array([10, 100]), np.array([5.0, 5.0]), tau2=225.0, sigma2=2025.0)
    >>> found.effect.round(2)
    array([2.63, 4.59])
    """
    if np.any(np.asarray(tau2) < 0) or np.any(np.asarray(sigma2) <= 0):
        raise ModelError(f"The variances must satisfy tau2 >= 0 and sigma2 > 0, not {tau2} and {sigma2}.")
    n = np.asarray(n, dtype=np.float64)
    lam = shrinkage(n, tau2, sigma2)
    residual = np.where(n > 0, residual, 0.0)
    own = tau2 * (1 - lam)
    if xbar is None or vcov is None:
        common = np.zeros((*n.shape, 0))
    else:
        common = lam[..., None] * (np.where(n[..., None] > 0, xbar, 0.0) @ factor(vcov))
    shared = (common**2).sum(axis=-1)
    return Blup(lam * residual, lam, residual, own, own + shared, np.maximum(lam * tau2 - shared, 0.0), common)


def factor(vcov: FloatArray) -> FloatArray:
    """Matrices F (..., p, p) with F F' = vcov (..., p, p), positive semi-definite, singular ones included."""
    values, vectors = np.linalg.eigh((vcov + np.swapaxes(vcov, -1, -2)) / 2)
    root: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return root


def interval(effect: Any, se: Any, level: float = 0.95, df: float | None = None) -> tuple[Any, Any]:
    """Interval effect -+ q se with coverage ``level``, q of the normal or of the t with df degrees of freedom.

    ModelError unless 0 < level < 1.
    """
    q = quantile(level, df)
    return effect - q * se, effect + q * se


def correlation_interval(r: FloatArray, se: FloatArray, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Interval tanh(atanh r -+ z se) of correlations r with coverage ``level``: it stays inside (-1, 1).

    r and se of any one shape. se: standard error of atanh r, from :func:`delta_error` or :func:`fisher_error`. nan
    where r is not inside (-1, 1) or se is not known. Source: Fisher (1921). Raises ModelError unless 0 < level < 1.
    """
    centre, half = np.arctanh(np.where(np.abs(r) < 1, r, np.nan)), quantile(level) * se
    return np.tanh(centre - half), np.tanh(centre + half)


def delta_error(r: FloatArray, se: FloatArray) -> FloatArray:
    """Standard error se / (1 - r^2) of atanh r, from that of r (delta method); nan where r is not inside (-1, 1)."""
    transformed: FloatArray = se / (1 - np.where(np.abs(r) < 1, r, np.nan) ** 2)
    return transformed


def fisher_error(pairs: np.ndarray) -> FloatArray:
    """Standard error 1 / sqrt(n - 3) of atanh r, r a Pearson correlation of n pairs; nan for fewer than four."""
    se: FloatArray = 1 / np.sqrt(np.where(np.asarray(pairs) > 3, pairs, np.nan) - 3)
    return se


def quantile(level: float, df: float | None = None) -> float:
    """q such that an interval -+ q has coverage ``level``, normal or with df degrees of freedom of a t."""
    if not 0 < level < 1:
        raise ModelError(f"The level of an interval must lie between 0 and 1, as 0.95 does, not {level}.")
    return float(stats.norm.ppf(0.5 + level / 2) if df is None else stats.t.ppf(0.5 + level / 2, df))


def overlap_multiplier(se: FloatArray, level: float = 0.95, largest: int = 400) -> float:
    """z* such that intervals -+ z* se overlap with the average error of a pairwise comparison at its nominal level.

    Parameters
    ----------
    se : ndarray (J,)
        Standard errors of at least two schools, all positive, taken as independent.
    level : float
        Coverage of the intervals.
    largest : int
        Beyond so many schools the pairs are taken between that many quantiles of se, which changes z* in the fourth digit
        at most.

    Returns
    -------
    float
        z*; 1.39 for equal se at 5%.

    Raises
    ------
    ModelError
        For fewer than two schools, and for a se that is not positive.

    Notes
    -----
    Two schools are called different when their intervals do not overlap, that is when the estimates differ by more than
    z* (se_i + se_j); z* solves::

        mean over pairs of 2 Phi(-z* (se_i + se_j) / sqrt(se_i^2 + se_j^2)) = 1 - level

    Source: Goldstein and Healy (1995).

    Examples
    --------
    >>> import numpy as np
    >>> import valib as va
    >>> round(va.overlap_multiplier(np.ones(10)), 2)
    1.39
    """
    se = np.sort(np.asarray(se, dtype=np.float64))
    if len(se) < 2 or se[0] <= 0:
        raise ModelError("Overlap intervals need at least two schools with positive standard errors.")
    if len(se) > largest:
        se = np.quantile(se, (np.arange(largest) + 0.5) / largest)
    i, j = np.triu_indices(len(se), 1)
    ratio = (se[i] + se[j]) / np.hypot(se[i], se[j])

    def excess(z: float) -> float:
        return float(2 * stats.norm.sf(z * ratio).mean() - (1 - level))

    return float(optimize.brentq(excess, 0.0, 10.0, xtol=1e-12))
