"""Measurement error in covariates whose reliability is known: a correction of the sums.

A recorded covariate x + m, Var(m) = s2m, adds s2m sum_j n_j (1 - w_j) to A[k, k] on average (m is independent of all
else), with w_j = theta / (1 + n_j theta) for the mixed model, 0 for least squares and 1/n_j within schools. The
correction takes it off. In the sums it is s2m n from the cross-product and s2m n_j from every s_j s_j', so that the
whole optimiser works on corrected sums as on others. With s2m = 0 nothing changes.

The school mean of such a covariate, over the n_j students of the cell, has an error of variance s2m / n_j that goes with
theirs: it adds s2m from every cell, and not from every student, to the cross-products of the mean with itself and with
the covariate, and s2m n_j to the same entries of s_j s_j'. Errors are thus two matrices (p, p): E1, of every student, and
E2, of every cell, with cross -= n E1 + C E2 and s_j s_j' -= n_j (E1 + E2).
Source: Fuller (1987, chapter 2); for multilevel models Goldstein (2011, chapter 14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.design import INTERCEPT
from ..sums.moments import Moments
from .likelihood import Compressed, compress
from .mixed import MixedFit, check_estimable, fit_compressed
from .options import Method

ROUNDING = 1e-13  # of the sums of squares of a column
CONSTANT = 1e-9  # share of a school mean's variation that rounding leaves within cells
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
    """(p,): error variances by column of X, from those by name; (2, p, p), E1 and E2, where a school mean has some too.

    Raises ModelError for a column that is not there, a negative variance, and a column with error that is also in a
    transform, an interaction or in the outcome, as in a gain score (the errors of the two are then not independent); for a
    school mean that is nearly all error, and one where the cells of a school are pooled.
    """
    p = moments.n_fixed
    out, means = np.zeros(p), np.zeros((p, p))
    for name, value in variances.items():
        if not (np.isfinite(value) and value >= 0):
            raise ModelError(f"The error variance of {name!r} must be zero or positive, not {value}.")
        k, m = _linear(moments, name, bool(value)), _mean_of(moments, name)
        out[k] = value
        if m is not None and value:
            _check_mean(moments, name, m, value)
            means[m, m] = means[k, m] = means[m, k] = value
    return np.stack([np.diag(out), means]) if means.any() else out


def student_and_cell(errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E1 and E2, each (..., p, p), of errors as :func:`error_vector` gives them, or of R data sets (R, p)."""
    if errors.ndim == 3:
        return errors[0], errors[1]
    student = errors[..., None] * np.eye(errors.shape[-1])
    return student, np.zeros_like(student)


def noise(b: FloatArray, errors: FloatArray) -> FloatArray:
    """(R,): b'(E1 + E2) b, n_j times the variance that errors of measurement add to the mean residual of a school."""
    E1, E2 = student_and_cell(errors)
    return np.asarray((b[..., None, :] @ (E1 + E2) @ b[..., None])[..., 0, 0])


def _mean_of(moments: Moments, name: str) -> int | None:
    """Position of the school mean of a column among those of X; None without one."""
    mean = f"school_mean({name})"
    return moments.names.index(mean) if mean in moments.names[:-1] else None


def _check_mean(moments: Moments, name: str, m: int, value: float) -> None:
    """Refuse a school mean that the correction would leave without variation, or that is not a mean over its cell."""
    if moments.cell_cross is None:
        raise ModelError(
            "Corrections of school means need the cross-products by school: compute them with by_cell=True."
        )
    n, column = moments.n, moments.sums[:, m]
    within = float((moments.cell_cross[:, m, m] - column**2 / n).sum())
    total = float(moments.weight @ column)
    recorded = float(moments.weight @ (column**2 / n)) - total**2 / moments.n_students
    if within > CONSTANT * recorded + ROUNDING * float(moments.cell_cross[:, m, m].sum()):
        raise ModelError(
            f"The school mean of {name!r} is not the same for all rows of a school over which effects are one, so that its "
            "error cannot be taken off: fit effects by school and cohort (groups='school_cohort')."
        )
    if recorded - value * float(moments.weight.sum()) < SMALLEST * recorded:
        raise ModelError(
            f"The error variance of {name!r} is nearly all of the variation of its school means: their coefficient cannot be "
            "corrected."
        )


def _linear(moments: Moments, name: str, with_error: bool = True) -> int:
    """Position of a column of X that is linear in ``name`` and, if it has error, the only one with it.

    Raises ModelError for another.
    """
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    others = [n for n in moments.names if n not in (name, f"school_mean({name})") and word.search(n)]
    if others and with_error and name != INTERCEPT:
        raise ModelError(
            f"The error in {name!r} is also in {', '.join(map(repr, others))}: only a linear column by itself, and its "
            "school mean, can be corrected."
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


def has_errors(variances: Mapping[str, float] | None, reliability: Mapping[str, Any] | None = None) -> bool:
    """Whether there is anything to take off: a variance that is not zero, a reliability that is not one."""
    return any((variances or {}).values()) or any(value != 1 for value in (reliability or {}).values())


def fit_corrected(moments: Moments, variances: FloatArray, method: Method = "ML") -> MixedFit:
    """:func:`valib.models.mixed.fit_moments` with the errors' expected excess removed; variances (p,) by column of X.

    tau2 and sigma2 are those given the true covariates. vcov and the errors of the variances are the model's, which do
    not know of the correction: take clustered ones for the coefficients.
    """
    check_estimable(moments)
    left = remove_error(compress(moments), variances)
    try:
        return fit_compressed(left, moments, method)
    except ModelError as error:
        raise ModelError(f"With errors of measurement taken off: {error}" if variances.any() else str(error)) from error


def remove_error(data: Compressed, variances: FloatArray) -> Compressed:
    """Compressed sums without what errors of measurement add to them on average.

    variances: (p,), by column of X, or (R, p), of every data set by itself; (2, p, p) with school means
    (:func:`error_vector`).
    Raises ModelError where less than a twentieth of a covariate's variation within cells would be left: the error
    would then be nearly all of what is recorded.
    """
    if not variances.any():
        return data
    (E1, E2), p = student_and_cell(variances), data.p
    s2m, cells = np.broadcast_to(np.diagonal(E1, axis1=-2, axis2=-1), (len(data.n), p)), data.counts.sum(axis=1)
    outer, cross = data.outer.copy(), data.cross.copy()
    outer[:, :, :p, :p] -= (data.counts * data.sizes)[..., None, None] * (E1 + E2).reshape(-1, 1, p, p)
    cross[:, :p, :p] -= data.n[:, None, None] * E1 + cells[:, None, None] * E2
    within = np.einsum("d,rdkk->rk", 1 / data.sizes, data.outer[:, :, :-1, :-1])
    recorded = np.einsum("rkk->rk", data.cross[:, :-1, :-1]) - within
    left = recorded - s2m * (data.n - cells)[:, None]
    if ((s2m > 0) & (left < SMALLEST * recorded)).any():
        raise ModelError(
            "The error variance of a covariate is nearly all of its variation within schools: its "
            "coefficient cannot be corrected."
        )
    return replace(data, outer=outer, cross=cross)
