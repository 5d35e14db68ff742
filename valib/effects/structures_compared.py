"""Covariance structures of the joint model side by side: likelihood ratio tests, AIC and BIC."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ModelError
from .joint import JointFit

NESTED = {  # covariance structure: those it is a special case of
    "independent": {"antedependence", "unstructured"},
    "compound_symmetry": {"toeplitz", "unstructured"},
    "ar1": {"antedependence", "unstructured"},
    "toeplitz": {"unstructured"},
    "antedependence": {"unstructured"},
    "unstructured": set(),
}


def compare_joint(fits: Iterable[JointFit]) -> pd.DataFrame:
    """One row a fit: parameters, log-likelihood, AIC, BIC, and the LR test against the largest fit it is nested in.

    Parameters
    ----------
    fits : iterable of JointFit
        Of one set of students, fixed effects and method, or their likelihoods cannot be compared.

    Returns
    -------
    DataFrame
        By covariance and residual (index): ``n_parameters``, ``loglik``, ``aic``, ``bic``, ``singular``, ``within`` (the
        larger model of the test), ``lr``, ``df``, ``p_value``, missing where a fit is nested in none.

    Raises
    ------
    ModelError
        If the fits are not of the same students, formula and method.

    Notes
    -----
    AIC = -2 log L + 2 k, BIC = -2 log L + k log(students), LR = 2 (log L_larger - log L) against chi-square. The p-value
    does not hold where the larger fit is singular.

    Examples
    --------
    >>> import valib as va
    >>> structures = ["unstructured", "compound_symmetry"]
    >>> fits = va.fit_structures(va.load_records("demo"), [2023, 2024], covariances=structures)
    >>> table = va.compare_joint(fits.values())
    >>> table[["n_parameters", "df"]].droplevel("residual")
                       n_parameters   df
    covariance
    unstructured                  9  NaN
    compound_symmetry             8  1.0
    """
    fits = list(fits)
    kinds = {(f.cohorts, f.formula, f.method, f.n_students, f.n_schools) for f in fits}
    if len(kinds) != 1:
        raise ModelError("Only joint models of the same students, formula and method can be compared.")
    if any(f.error_variance for f in fits):
        raise ModelError(
            "Joint models from which errors of measurement are taken off have no likelihood to be compared by: compare the "
            "structures without reliability."
        )
    rows = []
    for f in fits:
        larger = max((g for g in fits if _is_nested(f, g)), key=lambda g: g.n_parameters, default=None)
        row: dict[str, Any] = {
            "covariance": f.covariance,
            "residual": f.residual,
            "n_parameters": f.n_parameters,
            "loglik": f.loglik,
            "aic": f.aic,
            "bic": f.bic,
            "singular": f.singular,
            "within": None,
            "lr": np.nan,
            "df": np.nan,
            "p_value": np.nan,
        }
        if larger is not None:
            lr, df = max(0.0, 2 * (larger.loglik - f.loglik)), larger.n_parameters - f.n_parameters
            row |= {
                "within": f"{larger.covariance}, {larger.residual}",
                "lr": lr,
                "df": df,
                "p_value": float(stats.chi2.sf(lr, df)),
            }
        rows.append(row)
    return pd.DataFrame(rows).set_index(["covariance", "residual"])


def _is_nested(small: JointFit, large: JointFit) -> bool:
    """Whether small is a special case of large with fewer parameters."""
    larger = NESTED[small.covariance] | {small.covariance}
    if small.covariance == "ar1" and len(set(np.diff(small.cohorts))) == 1:
        larger = larger | {"toeplitz"}
    return (
        large.covariance in larger
        and (small.residual == large.residual or large.residual == "by_cohort")
        and large.n_parameters > small.n_parameters
    )
