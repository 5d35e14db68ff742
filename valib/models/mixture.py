"""Finite mixtures of t (or normal) distributions for many schools at once: the form of every posterior that
:mod:`valib.models.posterior` and :mod:`valib.models.joint_posterior` compute.

    F_j(x) = sum_m w_m T_df((x - mean_jm) / scale_jm)

The nodes m are common to the schools of a data set, and so are their weights unless they are given by school. Quantiles
are found for all schools at once by Newton steps on the probit scale, Phi^-1(F(x)) = Phi^-1(p), on which a mixture is
nearly a straight line; a step that leaves the bracket is replaced by halving. Source of the t distribution function for
df >= 30: Hill (1970, Communications of the ACM 13, 617-619), whose error is below 2e-12 there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from ..errors import ModelError
from ..sums.arrays import FloatArray

HILL = 30.0  # degrees of freedom from which Hill's expansion is used
NORMAL = 1e12  # degrees of freedom that stand for the normal distribution
CLOSE = 1e-8  # of the distribution function, as a share of the tail: the Newton step from there is the last one
MAX_STEPS = 200  # only heavy tails at the limit of propriety need more than ten
BLOCK = 65_536  # components held at a time, so that they stay in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Mixtures of R data sets of J schools over M nodes.

    weight (R, M), or (R, J, M) by school, sums to 1; mean, scale (R, J, M), scale > 0; df: degrees of freedom,
    broadcastable to (R, J, M), inf for normal components. order (R,): moments of this order and above do not exist (inf: all
    exist).
    """

    weight: FloatArray
    mean: FloatArray
    scale: FloatArray
    df: FloatArray
    order: np.ndarray

    def _weighted(self, values: FloatArray) -> FloatArray:
        """(R, J): values (R, J, M) added up by their weights."""
        if self.weight.ndim == 3:
            return np.asarray(np.einsum("rjm,rjm->rj", values, self.weight))
        return np.asarray((values @ self.weight[..., None])[..., 0])

    def expectation(self) -> FloatArray:
        """(R, J) means; nan where the mean does not exist."""
        mean = self._weighted(self.mean)
        return np.where(self.order[:, None] > 1, mean, np.nan)

    def sd(self) -> FloatArray:
        """(R, J) standard deviations; inf where the variance does not exist."""
        with np.errstate(divide="ignore", invalid="ignore"):
            own = self.scale**2 * np.where(self.df > 2, self.df / (self.df - 2), np.inf)
            own = np.where(np.isinf(self.df), self.scale**2, own)
        centre = self._weighted(self.mean)
        variance = self._weighted(own + (self.mean - centre[..., None]) ** 2)
        return np.where(self.order[:, None] > 2, np.sqrt(variance), np.inf)

    def cdf(self, x: FloatArray | float) -> FloatArray:
        """(R, J) probability of a value of at most x, x broadcastable to (R, J)."""
        x = np.broadcast_to(np.asarray(x, dtype=np.float64), self.mean.shape[:2])
        F = _distribution((x[..., None] - self.mean) / self.scale, np.broadcast_to(self.df, self.mean.shape))[0]
        return self._weighted(F)

    def above(self, x: FloatArray | float = 0.0) -> FloatArray:
        """(R, J) probability of a value above x."""
        return 1.0 - self.cdf(x)

    def widened(self, sd: FloatArray | float) -> Mixture:
        """With an independent normal error of standard deviation sd (as ``mean``, or one for all) added: normal components
        exactly, t's by the t of the same variance and fourth moment (above four degrees of freedom; their error is of
        order 1 / df^2)."""
        if not np.any(sd):
            return self
        df = np.maximum(np.broadcast_to(self.df, self.mean.shape), 4.0 + 1e-6)
        finite = np.isfinite(df)
        own = self.scale**2 * np.where(finite, df / np.where(finite, df - 2, 1.0), 1.0)
        variance = own + np.square(sd)
        matched = np.where(finite, 4 + (df - 4) * (variance / own) ** 2, np.inf)
        ratio = np.where(finite, (matched - 2) / np.where(finite, matched, 1.0), 1.0)
        return replace(self, scale=np.sqrt(variance * ratio), df=matched)

    def quantile(self, p: float) -> FloatArray:
        """(R, J) quantiles at the probability 0 < p < 1, right to about 1e-12 in probability."""
        if not 0 < p < 1:
            raise ModelError(f"A probability must lie between 0 and 1, not {p}.")
        R, J, M = self.mean.shape
        mean, scale = self.mean.reshape(-1, M), self.scale.reshape(-1, M)
        weight = self.weight
        if weight.ndim == 3 or R > 1:
            weight = np.broadcast_to(weight if weight.ndim == 3 else weight[:, None], (R, J, M)).reshape(-1, M)
        df = np.broadcast_to(self.df, (R, J, M)).reshape(-1, M) if np.size(self.df) > 1 else self.df.reshape(1, 1)
        out, step = np.empty(R * J), max(1, BLOCK // M)
        for first in range(0, R * J, step):
            rows = slice(first, first + step)
            w, m, s, d = (a if len(a) == 1 else a[rows] for a in (weight, mean, scale, df))
            out[rows] = _solve(w, m, s, d, p)
        return out.reshape(R, J)

    def interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """(R, J) limits of the central interval with probability ``level``."""
        if not 0 < level < 1:
            raise ModelError(f"The level of an interval must lie between 0 and 1, as 0.95 does, not {level}.")
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)


def _solve(weight: FloatArray, mean: FloatArray, scale: FloatArray, df: FloatArray, p: float) -> FloatArray:
    """Quantiles (n,) of n mixtures; arrays (n, M) or, where the same for all, (1, M) and (1, 1)."""
    target = special.ndtri(p)
    x = (weight * (mean + target * scale)).sum(axis=1)
    out, rows = np.empty(len(x)), np.arange(len(x))
    low, high, stride = np.full(len(x), -np.inf), np.full(len(x), np.inf), scale.min(axis=1)
    for _ in range(MAX_STEPS):
        F, f = _distribution((x[:, None] - mean) / scale, df)
        F, f = (weight * F).sum(axis=1), (weight * f / scale).sum(axis=1)
        low, high = np.where(F < p, x, low), np.where(F >= p, x, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            g = special.ndtri(F)
            new = x - (g - target) * np.exp(-0.5 * g * g) / np.sqrt(2 * np.pi) / f
            halved = np.where(np.isinf(low), high - stride, np.where(np.isinf(high), low + stride, (low + high) / 2))
        new = np.where(((new > low) & (new < high)) | (new == x), new, halved)
        stride = 2 * stride
        out[rows] = new
        going = (np.abs(F - p) > CLOSE * min(p, 1 - p)) & (new != x)
        if not going.any():
            return out
        rows, x, low, high, stride = rows[going], new[going], low[going], high[going], stride[going]
        if not going.all():
            weight, mean, scale, df = (
                a if len(a) == 1 and len(going) > 1 else a[going] for a in (weight, mean, scale, df)
            )
    return out


def _distribution(z: FloatArray, df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distribution function and density (the latter to 1e-6) of t at z, df broadcastable to z."""
    if np.isinf(df).all():
        return special.ndtr(z), np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    df = np.minimum(df, NORMAL)
    square = np.log1p(z * z / df)
    density = np.exp(-0.5 * (df + 1) * square) * (1 - 0.25 / df) / np.sqrt(2 * np.pi)
    a = df - 0.5
    square, b = a * square, 48 * a * a
    bend = (((-0.4 * square - 3.3) * square - 24) * square - 85.5) / (0.8 * square * square + 100 + b)
    F = special.ndtr(np.copysign(np.sqrt(square), z) * (1 + (bend + square + 3) / b))
    if df.min() < HILL:
        few = np.broadcast_to(df < HILL, z.shape)
        nu = np.broadcast_to(df, z.shape)[few]
        F[few] = special.stdtr(nu, z[few])
        density[few] *= special.poch(nu / 2, 0.5) / np.sqrt(nu / 2) / (1 - 0.25 / nu)
    return F, density
