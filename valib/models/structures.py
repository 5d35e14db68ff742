"""Structures of Omega, the covariance of a school's effects over T cohorts.

Every structure is a smooth map from m unbounded parameters psi to a positive semi-definite Omega: standard deviations
enter by their squares (of either sign), correlations as sines. So the boundary (a variance of 0, a correlation of 1)
lies at finite psi, is reached without a bound, and nothing stops an optimiser from passing through it.

    unstructured         Omega = L L', L lower triangular                          m = T (T + 1) / 2
    independent          diagonal                                                  m = T
    compound_symmetry    omega ((1 - rho) I + rho 1 1'), rho >= -1 / (T - 1)       m = 2
    ar1                  omega rho^|t - s|, |t - s| in calendar years              m = 2
    toeplitz             omega r_|k|, k the distance in cohorts                    m = T
    antedependence       omega_t omega_s prod rho_k, first order, heterogeneous    m = 2 T - 1

Sources: Pinheiro and Bates (1996) for unbounded parameters; Barndorff-Nielsen and Schou (1973) for partial
autocorrelations; Zimmerman and Nunez-Anton (2010) for antedependence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import lapack

from ..errors import ModelError
from ..sums.arrays import FloatArray
from .options import Covariance

Build = Callable[[Any, "Structure"], Any]  # real or, for the complex step, complex psi (..., m) to Omega (..., T, T)
Begin = Callable[[FloatArray, "Structure"], FloatArray]
STEP = 1e-100  # of the complex step: its derivative is exact to rounding
DIFFERENCE = 1e-5  # of the central difference of those derivatives; its error is about 1e-10
LARGEST_START = 0.95  # correlation of a start


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One structure for T cohorts. scale (..., T): standard deviations near the truth, the unit of the parameters.

    distance (T, T): whole calendar years between cohorts. order (T,): the order in which the Cholesky factor of an
    unstructured Omega takes the cohorts. size: the number m of parameters.
    """

    name: Covariance
    scale: FloatArray
    distance: np.ndarray
    order: np.ndarray
    size: int
    build: Build
    begin: Begin

    def omega(self, psi: FloatArray) -> FloatArray:
        """Omega (..., T, T) at psi (..., m)."""
        omega: FloatArray = self.build(psi, self) * self.unit
        return omega

    def start(self, omega: FloatArray) -> FloatArray:
        """psi (m,) whose Omega is near a positive definite omega (T, T); unstructured: (..., m), (..., T, T)."""
        return self.begin(omega / self.unit, self)

    @property
    def unit(self) -> FloatArray:
        """(..., T, T): products of the scales."""
        return self.scale[..., :, None] * self.scale[..., None, :]

    def jacobian(self, psi: FloatArray) -> FloatArray:
        """dOmega/dpsi_k, (..., m, T, T) at psi (..., m), by the complex step."""
        return self._slopes(psi) * self.unit[..., None, :, :]

    def _slopes(self, psi: FloatArray) -> FloatArray:
        slopes: FloatArray = self.build(psi[..., None, :] + 1j * STEP * np.eye(self.size), self).imag / STEP
        return slopes

    def curvature(self, psi: FloatArray, weight: FloatArray) -> FloatArray:
        """sum_ts weight_ts d2 Omega_ts / dpsi dpsi', (..., m, m), for symmetric weight (..., T, T)."""
        weight = weight * self.unit
        if self.name == "unstructured":  # quadratic in L: entries of one column share a weight
            rows, columns = np.tril_indices(len(self.order))
            at = self.order[rows]
            return np.asarray(2 * weight[..., at[:, None], at] * (columns[:, None] == columns), dtype=np.float64)
        moved = psi[..., None, None, :] + DIFFERENCE * np.stack([np.eye(self.size), -np.eye(self.size)])
        bend = np.einsum("...xkmts,...ts->...xkm", self._slopes(moved), weight)
        bend = (bend[..., 0, :, :] - bend[..., 1, :, :]) / (2 * DIFFERENCE)
        curvature: FloatArray = (bend + np.swapaxes(bend, -1, -2)) / 2
        return curvature


def make_structure(name: Covariance, cohorts: np.ndarray, scale: FloatArray) -> Structure:
    """The structure of a name for T cohorts (calendar years); scale (..., T) as in :class:`Structure`."""
    if name not in STRUCTURES:
        raise ModelError(f"The covariance must be one of {', '.join(STRUCTURES)}, not {name!r}.")
    T, years = len(cohorts), np.asarray(cohorts, dtype=np.int64)
    build, begin, size, homogeneous = STRUCTURES[name]
    scale = np.asarray(scale, dtype=np.float64)
    if homogeneous:
        scale = np.broadcast_to(np.sqrt(np.mean(scale**2, axis=-1, keepdims=True)), scale.shape)
    return Structure(name, scale, np.abs(years[:, None] - years), np.arange(T), size(T), build, begin)


def pivot(structure: Structure, omega: FloatArray) -> tuple[Structure, FloatArray]:
    """An unstructured Omega with its cohorts reordered so that small pivots come last, and psi of omega (T, T).

    A pivot that vanishes before the last one leaves the rest of its column undetermined, and an optimiser crawls.
    """
    T = len(omega)
    factor, order, rank, _ = lapack.dpstrf(omega / (structure.scale[:, None] * structure.scale), lower=1)
    factor[:, rank:] = 0.0
    return replace(structure, order=order[:T] - 1), factor[np.tril_indices(T)]


def correlation(omega: FloatArray) -> FloatArray:
    """Correlation matrices of omega (..., T, T); nan beside a variance of 0."""
    sd = np.sqrt(np.diagonal(omega, axis1=-2, axis2=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = omega / (sd[..., :, None] * sd[..., None, :])
    return np.where(np.eye(sd.shape[-1], dtype=bool) & (sd > 0)[..., None, :], 1.0, r)


def _lower(psi: Any, s: Structure) -> Any:
    L = np.zeros((*psi.shape[:-1], len(s.order), len(s.order)), dtype=psi.dtype)
    L[(..., *np.tril_indices(len(s.order)))] = psi
    back = np.argsort(s.order)
    return (L @ np.swapaxes(L, -1, -2))[..., back[:, None], back]


def _start_lower(omega: FloatArray, s: Structure) -> FloatArray:
    root = np.linalg.cholesky(omega[..., s.order[:, None], s.order])
    return np.asarray(root[(..., *np.tril_indices(len(s.order)))], dtype=np.float64)


def _diagonal(psi: Any, s: Structure) -> Any:
    return psi[..., :, None] ** 2 * np.eye(len(s.order))


def _start_diagonal(omega: FloatArray, s: Structure) -> FloatArray:
    return np.sqrt(np.diag(omega))


def _compound(psi: Any, s: Structure) -> Any:
    T = len(s.order)
    even = np.full((T, T), 1 / T)
    a, b = psi[..., 0, None, None] ** 2, psi[..., 1, None, None] ** 2
    return a * (np.eye(T) - even) + b * even


def _start_compound(omega: FloatArray, s: Structure) -> FloatArray:
    T = len(omega)
    r = correlation(omega)[np.triu_indices(T, 1)].mean().clip(-0.9 / (T - 1), LARGEST_START)
    w = np.diag(omega).mean()
    return np.sqrt([w * (1 - r), w * (1 + (T - 1) * r)])


def _ar1(psi: Any, s: Structure) -> Any:
    rho = np.sin(psi[..., 1])
    R = np.empty((*psi.shape[:-1], *s.distance.shape), dtype=psi.dtype)
    for d in np.unique(s.distance):
        R[..., s.distance == d] = _power(rho, int(d))[..., None]
    return psi[..., 0, None, None] ** 2 * R


def _start_ar1(omega: FloatArray, s: Structure) -> FloatArray:
    r = np.diag(correlation(omega), 1)
    size = np.abs(r).clip(0.02, LARGEST_START) ** (1 / np.diag(s.distance, 1))
    return np.array([np.sqrt(np.diag(omega).mean()), np.arcsin(np.sign(r.mean()) * size.mean())])


def _power(x: Any, d: int) -> Any:
    """x^d by squaring: unlike exp(d log x) it keeps the complex step for negative x."""
    out = np.ones_like(x)
    while d:
        out = out * x if d & 1 else out
        x, d = x * x, d >> 1
    return out


def _toeplitz(psi: Any, s: Structure) -> Any:
    """Autocorrelations r_k from partial ones by the Durbin-Levinson recursion."""
    T = len(s.order)
    partial = np.sin(psi[..., 1:])
    r, left = [np.ones_like(psi[..., 0])], np.ones_like(psi[..., 0])
    phi: list[Any] = []
    for k in range(T - 1):
        last = partial[..., k]
        r.append(last * left + sum(p * r[k - i] for i, p in enumerate(phi)))
        phi = [p - last * q for p, q in zip(phi, reversed(phi), strict=True)] + [last]
        left = left * (1 - last**2)
    lag = np.abs(np.arange(T)[:, None] - np.arange(T))
    return psi[..., 0, None, None] ** 2 * np.stack(r, axis=-1)[..., lag]


def _start_toeplitz(omega: FloatArray, s: Structure) -> FloatArray:
    psi = np.zeros(s.size)
    psi[0] = np.sqrt(np.diag(omega).mean())
    psi[1] = np.arcsin(np.diag(correlation(omega), 1).mean().clip(-LARGEST_START, LARGEST_START))
    return psi


def _antedependence(psi: Any, s: Structure) -> Any:
    T = len(s.order)
    sd, rho = psi[..., :T], np.sin(psi[..., T:])
    R = np.ones((*psi.shape[:-1], T, T), dtype=psi.dtype)
    for t in range(T):
        for u in range(t + 1, T):
            R[..., t, u] = R[..., u, t] = R[..., t, u - 1] * rho[..., u - 1]
    return sd[..., :, None] * sd[..., None, :] * R


def _start_antedependence(omega: FloatArray, s: Structure) -> FloatArray:
    r = np.diag(correlation(omega), 1).clip(-LARGEST_START, LARGEST_START)
    return np.concatenate([np.sqrt(np.diag(omega)), np.arcsin(r)])


# name: (build, start, number of parameters, one variance for all cohorts)
STRUCTURES: dict[Covariance, tuple[Build, Begin, Callable[[int], int], bool]] = {
    "unstructured": (_lower, _start_lower, lambda T: T * (T + 1) // 2, False),
    "compound_symmetry": (_compound, _start_compound, lambda T: 2, True),
    "ar1": (_ar1, _start_ar1, lambda T: 2, True),
    "antedependence": (_antedependence, _start_antedependence, lambda T: 2 * T - 1, False),
    "toeplitz": (_toeplitz, _start_toeplitz, lambda T: T, True),
    "independent": (_diagonal, _start_diagonal, lambda T: T, False),
}
