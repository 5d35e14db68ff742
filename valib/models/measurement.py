"""Measurement error in covariates whose reliability is known: a correction of the sums.

A recorded covariate x + m, Var(m) = s2m, adds s2m sum_j n_j (1 - w_j) to A[k, k] on average (m is independent of all
else), with w_j = theta / (1 + n_j theta) for the mixed model, 0 for least squares and 1/n_j within schools. The
correction takes it off. In the sums it is s2m n from the cross-product and s2m n_j from every s_j s_j', so that the
whole optimiser works on corrected sums as on others. With s2m = 0 nothing changes.
Source: Fuller (1987, chapter 2); for multilevel models Goldstein (2011, chapter 14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.design import INTERCEPT
from ..sums.moments import Moments
from .likelihood import Compressed, compress
from .mixed import MixedFit, check_estimable, fit_compressed
from .options import Method

SMALLEST = 0.05  # share of a covariate's variance within schools that must be left after the correction


def error_variance(reliability: float, variance: float) -> float:
    """s2m = (1 - reliability) variance, of a recorded covariate with this variance and reliability.

    Raises ModelError as :func:`check_reliability`.
    """
    check_reliability(reliability)
    return (1 - reliability) * variance


def check_reliability(*values: float) -> None:
    """Raise ModelError unless every value is a reliability: above 0 and not above 1."""
    for value in values:
        if isinstance(value, (str, bool)) or not 0 < value <= 1:
            raise ModelError(f"A reliability lies above 0 and not above 1; given was {value!r}.")


def error_vector(moments: Moments, variances: Mapping[str, float]) -> FloatArray:
    """(p,): error variances by column of X, from those by name.

    Raises ModelError for a column that is not there, a negative variance, and a column with error that is also in a
    transform, an interaction, a school mean or in the outcome, as in a gain score (the errors of the two are then not
    independent).
    """
    out = np.zeros(moments.n_fixed)
    for name, value in variances.items():
        if not (np.isfinite(value) and value >= 0):
            raise ModelError(f"The error variance of {name!r} must be zero or positive, not {value}.")
        out[_linear(moments, name, bool(value))] = value
    return out


def _linear(moments: Moments, name: str, with_error: bool = True) -> int:
    """Position of a column of X that is linear in ``name`` and, if it has error, the only one with it.

    Raises ModelError for another.
    """
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    others = [n for n in moments.names if n != name and word.search(n)]
    if others and with_error and name != INTERCEPT:
        raise ModelError(
            f"The error in {name!r} is also in {', '.join(map(repr, others))}: only a linear column "
            "by itself can be corrected."
        )
    if name not in moments.names[:-1] or name == INTERCEPT:
        raise ModelError(
            f"There is no column {name!r} whose error could be corrected; there are "
            f"{', '.join(map(repr, moments.names[:-1]))}."
        )
    return moments.names.index(name)


def known_errors(
    moments: Moments, variances: Mapping[str, float] | None, reliability: Mapping[str, float] | None
) -> dict[str, float]:
    """Error variances by column: those given, and those that reliabilities stand for.

    Of a column x with reliability r, over the N students of the moments whatever their school and cohort::

        s2m = (1 - r) sum_i (x_i - xbar)^2 / (N - 1)

    so that r is the share of the true scores' variance in the recorded one's among these very students. A reliability
    that a test's handbook gives for a population of another spread is to be turned into an error variance first.

    Raises ModelError as :func:`error_vector` and :func:`check_reliability`, and for a column that is in both.
    """
    found = dict(variances or {})
    for name, value in (reliability or {}).items():
        check_reliability(value)
        if name in found:
            raise ModelError(f"Both a reliability and an error variance are given for {name!r}: give one of them.")
        k = _linear(moments, name, value < 1)
        n = moments.n_students
        total = moments.weight @ moments.sums[:, k]
        found[name] = error_variance(value, float((moments.pooled()[k, k] - total**2 / n) / max(n - 1, 1)))
    return found


def has_errors(variances: Mapping[str, float] | None, reliability: Mapping[str, float] | None = None) -> bool:
    """Whether there is anything to take off: a variance that is not zero, a reliability that is not one."""
    return any((variances or {}).values()) or any(value != 1 for value in (reliability or {}).values())


def fit_corrected(moments: Moments, variances: FloatArray, method: Method = "ML") -> MixedFit:
    """:func:`valib.models.mixed.fit_moments` with the errors' expected excess removed; variances (p,) by column of X.

    tau2 and sigma2 are those given the true covariates. vcov and the errors of the variances are the model's, which do
    not know of the correction: take clustered ones for the coefficients.
    """
    check_estimable(moments)
    return fit_compressed(remove_error(compress(moments), variances), moments, method)


def remove_error(data: Compressed, variances: FloatArray) -> Compressed:
    """Compressed sums without what errors of measurement add to them on average.

    variances: (p,), by column of X, or (R, p), of every data set by itself.
    Raises ModelError where less than a twentieth of a covariate's variation within cells would be left: the error
    would then be nearly all of what is recorded.
    """
    s2m = np.zeros((len(data.n), data.p))
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
        raise ModelError(
            "The error variance of a covariate is nearly all of its variation within schools: its "
            "coefficient cannot be corrected."
        )
    return replace(data, outer=outer, cross=cross)
