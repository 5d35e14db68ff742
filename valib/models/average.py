"""A school over several cohorts of the joint model: its average over named cohorts, and the part of it that lasts.

Two estimands. The average is of the very cohorts named, what a school was in one of them included; the lasting part is
what all its cohorts have in common, those to come as well, and is defined by a model that has such a part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .joint_fit import MultivariateFit


@dataclass(frozen=True, slots=True, eq=False)
class SchoolPrediction:
    """One number a school, predicted from all its cohorts. Response units; the variances are their squares.

    value (J,): predicted. conditional (J,): variance of the prediction error with known coefficients. comparative (J,):
    with estimated ones, the one to report. variance: of the number predicted, over schools.
    """

    value: FloatArray
    conditional: FloatArray
    comparative: FloatArray
    variance: float

    @property
    def reliability(self) -> FloatArray:
        """(J,): 1 - conditional / variance; 0 where nothing varies."""
        if self.variance <= 0:
            return np.zeros_like(self.conditional)
        return 1 - self.conditional / self.variance


def predict_average(fit: MultivariateFit, weights: FloatArray) -> SchoolPrediction:
    """w'u_j of every school, weights w (T,) by cohort: w'u_hat_j with the error w'C_j w (Henderson 1975).

    With S_j = d u_hat_j / d b the comparative variance is w'C_j w + (S_j'w)' Var(b) (S_j'w).
    """
    known = np.einsum("t,jts,s->j", weights, fit.conditional, weights)
    shared = weights @ fit.sensitivity
    return SchoolPrediction(
        fit.effects @ weights, known, known + _quadratic(shared, fit.vcov), float(weights @ fit.omega @ weights)
    )


def predict_lasting(fit: MultivariateFit) -> SchoolPrediction:
    """l_j of u_jt = l_j + d_jt, l_j ~ N(0, a), d_jt ~ N(0, c): Omega = a 1 1' + c I, a compound symmetry.

    Given u_j the lasting part is normal with mean k sum_t u_jt, k = a / (c + T a), and variance a c / (c + T a); so
    l_hat_j = k 1'u_hat_j, with the error a c / (c + T a) + k^2 1'C_j 1. With one residual variance it is the school's
    effect of the nested model (1 | school) + (1 | school:cohort). Where the cohorts of a school do not covary, or
    negatively, the best such model has a = 0: then all is 0.

    Raises ModelError for a fit of another structure, which has no such part.
    """
    if fit.structure != "compound_symmetry":
        raise ModelError(
            f"A lasting part of a school is defined by covariance='compound_symmetry'; this fit is {fit.structure}."
        )
    T, a = len(fit.omega), float(fit.omega[0, 1])
    total = float(fit.omega[0, 0]) + (T - 1) * a
    if a <= 0:
        zero = np.zeros(len(fit.effects))
        return SchoolPrediction(zero, zero, zero, 0.0)
    given = predict_average(fit, np.full(T, a / total))
    rest = a * max(float(fit.omega[0, 0]) - a, 0.0) / total
    return SchoolPrediction(given.value, rest + given.conditional, rest + given.comparative, a)


def _quadratic(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """r' M r of each row r."""
    form: FloatArray = np.einsum("jp,pq,jq->j", rows, matrix, rows)
    return form
