"""Inverses of many small symmetric positive definite matrices at once.

LAPACK is called matrix by matrix, which for two rows costs a hundred times the arithmetic. Gauss-Jordan elimination on
arrays that hold one entry of all matrices costs the arithmetic alone; positive definite matrices need no pivoting.
"""

from __future__ import annotations

import numpy as np

from ..sums.arrays import FloatArray

LARGEST = 8  # rows of a matrix, beyond which LAPACK is the faster


def invert(matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inverses (p, p, ...) of matrices (p, p, ...), their entries first, and the logarithms of their determinants.

    The logarithm is nan for a matrix that is not positive definite, the inverse infinite or nan for a singular one.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _eliminate(matrices) if len(matrices) <= LARGEST else _by_lapack(matrices)


def _eliminate(matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    out = np.array(matrices, dtype=np.float64, order="C")
    logdet = np.zeros(out.shape[2:])
    for c in range(len(out)):
        pivot, column = out[c, c].copy(), out[:, c].copy()
        row = out[c] / pivot
        for i in range(len(out)):
            out[i] -= column[i] * row
        out[c], out[:, c] = row, -column / pivot
        out[c, c] = 1 / pivot
        logdet += np.log(pivot)
    return out, logdet


def _by_lapack(matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    stacked = np.moveaxis(matrices, (0, 1), (-2, -1))
    sign, logdet = np.linalg.slogdet(stacked)
    inverse = np.full(stacked.shape, np.nan)
    inverse[sign != 0] = np.linalg.inv(stacked[sign != 0])
    return np.moveaxis(inverse, (-2, -1), (0, 1)), np.where(sign > 0, logdet, np.nan)
