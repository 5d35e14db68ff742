"""One cohort: the random-intercept model by maximum likelihood or REML, from moments.

The model and its likelihood are those of :mod:`valib.models.likelihood`; here one data set is checked and fitted,
and the shift of its moments is undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .likelihood import THETA_RANGE, Compressed, Optimum, Profile, compress, optimise, profile
from .options import Method

COLLINEAR = 1e-9  # smallest share of a column's variation that the other columns leave unexplained
PERFECT = 1e-13  # residual variation as a share of the response's, below which the fit is perfect


@dataclass(frozen=True, slots=True, eq=False)
class MixedFit:
    """A fitted random-intercept model, about the moments' shift undone.

    coefficients (p,), vcov (p, p) = sigma2 A^-1; tau2, sigma2 (score points squared) and their standard errors from
    the observed information; theta = tau2/sigma2; loglik the full Gaussian (or restricted) log-likelihood;
    singular: theta is on its boundary 0. optimum: the same as a batch of one, of the shifted columns.
    """

    names: tuple[str, ...]
    coefficients: FloatArray
    vcov: FloatArray
    tau2: float
    sigma2: float
    tau2_se: float
    sigma2_se: float
    theta: float
    loglik: float
    method: Method
    singular: bool
    n_students: int
    n_groups: int
    optimum: Optimum = field(repr=False)


def fit_moments(moments: Moments, method: Method = "ML", theta: float | None = None) -> MixedFit:
    """Fit the random-intercept model to moments (cells are the groups).

    Parameters
    ----------
    moments : Moments
        Of :func:`valib.compute_moments`.
    method : {"ML", "REML"}
        Maximum likelihood, or restricted maximum likelihood.
    theta : float, optional
        Hold the variance ratio tau2 / sigma2 instead of estimating it (sigma2 is still profiled).

    Returns
    -------
    MixedFit
        ``coefficients``, ``vcov``, ``tau2``, ``sigma2`` and their errors, ``loglik``, ``singular``.

    Raises
    ------
    ModelError
        For fewer than two groups, groups of one student only, constant or collinear columns (named), a response without
        variation, and a perfect fit.

    Notes
    -----
    y_ij = x_ij' b + u_j + e_ij. The likelihood is profiled over b and sigma2 and maximised over theta alone; see
    :mod:`valib.models.likelihood`. Source: Goldstein (1997).

    Examples
    --------
    >>> import valib as va
    >>> moments = va.compute_moments(va.build_design(va.load_records("exam"), "score ~ prior_score"))
    >>> va.fit_moments(moments).coefficients.round(3).tolist()
    [0.002, 0.563]
    """
    check_estimable(moments)
    return fit_compressed(compress(moments), moments, method, theta)


def fit_compressed(data: Compressed, moments: Moments, method: Method = "ML", theta: float | None = None) -> MixedFit:
    """The fit of :func:`fit_moments` from compressed sums of these moments, whatever was taken off them."""
    reml = _is_reml(method)
    _check_fit(profile(data, np.zeros(1), reml).rss[0], moments, 0.0)
    best = optimise(data, reml, None if theta is None else np.array([float(theta)]))
    at, chosen, sigma2 = best.at, best.theta[0], best.sigma2[0]
    _check_fit(at.rss[0], moments, chosen)
    dof = data.n[0] - (data.p if reml else 0)
    undo = unshift(moments)
    b = undo[:-1, :-1] @ at.b[0] + undo[:-1, -1]
    vcov = undo[:-1, :-1] @ best.vcov[0] @ undo[:-1, :-1].T
    errors = variance_errors(at, chosen, sigma2, dof)
    tau2, loglik = chosen * sigma2, -0.5 * (at.deviance[0] + dof * (1 + np.log(2 * np.pi / dof)))
    return MixedFit(
        moments.names[:-1],
        b,
        vcov,
        float(tau2),
        float(sigma2),
        *errors,
        float(chosen),
        float(loglik),
        method,
        bool(chosen == 0),
        round(data.n[0]),
        round(float(data.counts.sum())),
        best,
    )


def loglik_at(moments: Moments, tau2: float, sigma2: float, method: Method = "ML") -> float:
    """Log-likelihood at given variances, the fixed effects (if any) at their generalised least squares values."""
    reml = _is_reml(method)
    data = compress(moments)
    at = profile(data, np.array([tau2 / sigma2]), reml)
    dof = data.n[0] - (data.p if reml else 0)
    penalty = at.deviance[0] - dof * np.log(at.rss[0])
    return float(-0.5 * (dof * np.log(2 * np.pi * sigma2) + penalty + at.rss[0] / sigma2))


def variance_errors(at: Profile, theta: float, sigma2: float, dof: float) -> tuple[float, float]:
    """Standard errors of tau2 and sigma2 from the observed information, the fixed effects profiled out.

    Half the Hessian of h(tau2, sigma2) = dof log sigma2 + rss(theta)/sigma2 + penalty(theta), theta = tau2/sigma2.
    On the boundary theta = 0 the curvature says nothing about tau2: its standard error is nan.
    """
    s = sigma2
    F1, F2, R, R1, R2 = at.penalty1[0], at.penalty2[0], at.rss[0], at.rss1[0], at.rss2[0]
    tt = (F2 + R2 / s) / s**2
    ts = -(F2 * theta + F1) / s**2 - (R2 * theta + 2 * R1) / s**3
    ss = (-dof + F2 * theta**2 + 2 * F1 * theta) / s**2 + (R2 * theta**2 + 4 * R1 * theta + 2 * R) / s**3
    if theta == 0.0:
        return float("nan"), float(np.sqrt(2 / ss)) if ss > 0 else float("nan")
    det = tt * ss - ts**2
    if det <= 0 or tt <= 0:
        return float("nan"), float("nan")
    return float(np.sqrt(2 * ss / det)), float(np.sqrt(2 * tt / det))


def unshift(moments: Moments) -> FloatArray:
    """(k, k) affine map from coefficients of shifted columns to those of the columns themselves.

    In [b, 1] coordinates: slopes are unchanged, the intercept becomes b0 + shift_y - sum_k shift_k b_k.
    """
    undo = np.eye(len(moments.names))
    if moments.shift.any():
        undo[moments.names.index("Intercept"), :-1] -= moments.shift[:-1]
        undo[moments.names.index("Intercept"), -1] += moments.shift[-1]
    return undo


def check_estimable(moments: Moments) -> None:
    """Refuse what no random-intercept model can be fitted to; one sentence, columns named."""
    if len(moments.schools) < 2 or len(moments.n) < 2:
        raise ModelError(f"A value-added model needs at least two schools; the records have {len(moments.schools)}.")
    if moments.n.max() < 2:
        raise ModelError("Every school has one student only, so school and student variation cannot be told apart.")
    if moments.n_students <= moments.n_fixed + 1:
        raise ModelError(f"There are {moments.n_students:.0f} students for {moments.n_fixed} fixed effects.")
    spread = _about_mean(moments)
    scale = np.maximum(np.abs(moments.means).max(axis=0), 1e-300) ** 2 * moments.n_students
    if spread[-1, -1] <= 1e-20 * scale[-1]:
        raise ModelError(f"All values of {moments.names[-1]} are equal: there is nothing to model.")
    check_columns(moments, spread, scale)


def check_columns(moments: Moments, spread: FloatArray, scale: FloatArray) -> None:
    """Name the columns of X that are constant or a linear combination of others."""
    columns = [c for c in range(moments.n_fixed) if c != moments.intercept]
    constant = [moments.names[c] for c in columns if spread[c, c] <= 1e-20 * scale[c]]
    if constant:
        raise ModelError(
            f"Column {', '.join(map(repr, constant))} is constant, so its coefficient cannot be estimated."
        )
    size = np.sqrt(np.diag(spread)[columns])
    if not columns:
        return
    values, vectors = np.linalg.eigh(spread[np.ix_(columns, columns)] / np.outer(size, size))
    if values[0] < COLLINEAR:
        involved = [moments.names[c] for c, x in zip(columns, np.abs(vectors[:, 0]), strict=True) if x > 1e-4]
        raise ModelError(
            f"The columns {', '.join(map(repr, involved))} are collinear: each is a linear combination "
            "of the others, so leave one out of the formula."
        )


def _about_mean(moments: Moments) -> FloatArray:
    """Cross-product of the columns about their means (about 0 without an intercept)."""
    if moments.intercept is None:
        return moments.reshift(np.zeros_like(moments.shift)).pooled()
    total = moments.weight @ moments.sums
    spread: FloatArray = moments.pooled() - np.outer(total, total) / moments.n_students
    return spread


def _check_fit(rss: float, moments: Moments, theta: float) -> None:
    if rss <= PERFECT * max(_about_mean(moments)[-1, -1], 1e-300) or theta >= 0.5 * THETA_RANGE[1]:
        raise ModelError(f"The model fits {moments.names[-1]} perfectly: no variation is left within schools.")


def _is_reml(method: Method) -> bool:
    if method not in ("ML", "REML"):
        raise ModelError(f"The method must be 'ML' or 'REML', not {method!r}.")
    return method == "REML"
