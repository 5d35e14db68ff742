"""Measurement error in covariates whose reliability is known: a correction of the sums.

A recorded covariate x + m, Var(m) = s2m, adds s2m sum_j n_j (1 - w_j) to A[k, k] on average (m is independent of all
else), with w_j = theta / (1 + n_j theta) for the mixed model, 0 for least squares and 1/n_j within schools. The
correction takes it off. In the sums it is s2m n from the cross-product and s2m n_j from every s_j s_j', so that the
whole optimiser works on corrected sums as on others. With s2m = 0 nothing changes.
Source: Fuller (1987, chapter 2); for multilevel models Goldstein (2011, chapter 14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .errors import ModelError
from .mixed import Compressed

SMALLEST = 0.05  # share of a covariate's variance within schools that must be left after the correction


def error_variance(reliability: float, variance: float) -> float:
    """s2m = (1 - reliability) variance, of a recorded covariate with this variance and reliability."""
    if not 0 < reliability <= 1:
        raise ModelError(f"A reliability lies above 0 and not above 1; given was {reliability}.")
    return (1 - reliability) * variance


def remove_error(data: Compressed, variances: Mapping[int, float] | np.ndarray) -> Compressed:
    """Compressed sums without what errors of measurement add to them on average.

    variances: error variance by position of the covariate; or (R, p) and (p,), one for every data set and column.
    Raises ModelError where less than a twentieth of a covariate's variation within cells would be left: the error
    would then be nearly all of what is recorded.
    """
    s2m = np.zeros((len(data.n), data.p))
    if isinstance(variances, Mapping):
        for k, value in variances.items():
            s2m[:, k] = value
    else:
        s2m[:] = variances
    if not s2m.any():
        return data
    k = np.arange(data.p)
    outer, cross = data.outer.copy(), data.cross.copy()
    outer[:, :, k, k] -= s2m[:, None] * (data.counts * data.sizes)[..., None]
    cross[:, k, k] -= s2m * data.n[:, None]
    within = np.einsum("d,rdkk->rk", 1 / data.sizes, data.outer[:, :, :-1, :-1])
    recorded = np.einsum("rkk->rk", data.cross[:, :-1, :-1]) - within
    left = recorded - s2m * (data.n - data.counts.sum(axis=1))[:, None]
    if ((s2m > 0) & (left < SMALLEST * recorded)).any():
        raise ModelError("The error variance of a covariate is nearly all of its variation within schools: its "
                         "coefficient cannot be corrected.")
    return replace(data, outer=outer, cross=cross)
