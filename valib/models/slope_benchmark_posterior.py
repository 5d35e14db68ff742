"""The posterior of benchmark value added with slopes of schools, from draws of their covariance.

The draws are those of :mod:`valib.models.slope_posterior`. Of r = y - X b_B the posterior of (phi, R) is that of a model
with random slopes whose X is a column of ones, or nothing. At each draw, with S_j = (Lambda^-1 + D_j)^-1 and
W_j = Z'[X, 1, r], VA_j(z) = z'(e_1 delta + g_j) is

    t_nu, mean z'e_1 d + z'S_j (W_r - W_1 d), scale2 s2 (z'S_j z + (z'(e_1 - S_j W_1))^2 / sum_j k_j),   d = delta(Lambda)

and the errors of b_B, equating and links, which are normal whatever the variances, are added with the loadings of
:mod:`valib.models.slope_benchmark` at that draw (those of links at the optimum).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..sums.arrays import FloatArray
from .blup import factor
from .mixture import Mixture
from .slope_benchmark import BenchmarkSlopes, FocalSums
from .slope_posterior import SlopePosterior, blocks, inner, integrate_slopes


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkSlopePosterior(SlopePosterior):
    """Draws as there, of r; focal: the sums with X; F (p, m): a root of Var(b_B); scale_se; links (J, q, h)."""

    focal: FocalSums
    F: FloatArray
    scale_se: float
    links: FloatArray

    def at(self, z: FloatArray) -> Mixture:
        """VA_j(z) for z (q,) of the columns about their means, (1, J); a difference of two z is one as well."""
        J, M = len(self.sums.n), len(self.weight)
        mean, variance, common = np.empty((1, J, M)), np.empty((1, J, M)), np.empty((1, J, M))
        links = ((np.einsum("a,jah->jh", z, self.links)) ** 2).sum(axis=1)[:, None]
        for rows in blocks(M, self.sums):
            S = inner(self.sums, self.Lambda[rows])[0]
            reach = np.einsum("a,abgj->bgj", self.turn.T @ z, S)
            value, own, loads = self._parts(z, reach, S, rows)
            own = own + np.einsum("b,bgj->gj", self.turn.T @ z, reach)
            mean[0, :, rows], variance[0, :, rows] = value.T, (self.s2[rows, None] * own).T
            common[0, :, rows] = (loads**2).sum(axis=-1).T
        scale = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
        t = Mixture(self.weight[None], mean, scale, np.array([[[self.df]]]), np.array([np.inf]))
        return t.widened(np.sqrt(common + links))

    def _parts(
        self, z: FloatArray, reach: FloatArray, S: FloatArray, rows: slice
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means (G, J), variances over s2 that delta brings (G, J), and loadings (G, J, m + 1) on b_B and equating."""
        size, points = self.focal.size, reach / self.focal.size
        WX = self.focal.of_columns(self.focal.full.W)
        X = np.einsum("bgj,bpj->gjp", points, WX, optimize=True)
        r = np.einsum("bgj,bj->gj", reach, self.sums.W[:, -1])
        ones = np.einsum("bgj,bj->gj", points, self.sums.D[:, 0])
        if not self.sums.p:
            return r, np.zeros(r.shape), np.concatenate([X @ self.F, ones[..., None] * self.scale_se], axis=2)
        b, A_inverse = self.b[rows, 0, None], self.A_inverse[rows, 0, 0, None]
        c = self._centre(S, WX) * A_inverse
        free = z[0] - ones
        loads = X + free[..., None] * c[:, None]
        equating = np.full((*r.shape, 1), z[0] * self.scale_se)
        return r + free * size * b, (free * size) ** 2 * A_inverse, np.concatenate([loads @ self.F, equating], axis=2)

    def _centre(self, S: FloatArray, WX: FloatArray) -> FloatArray:
        """(G, p): sum_j 1'V^-1 X at every draw; S (q, q, G, J)."""
        pulled = np.einsum("aj,abgj->bgj", self.sums.D[0], S)
        total: FloatArray = WX[0].sum(axis=1) - np.einsum("bgj,bpj->gp", pulled, WX, optimize=True)
        return total

    def draw(self, size: int, random: np.random.Generator, z: FloatArray | None = None) -> FloatArray:
        """(size, J) draws of VA at the means; (size, J, m) for z (m, q), drawn together: the shared errors are one."""
        rows_of_z = np.eye(1, self.sums.q) if z is None else z
        at = np.sort(random.choice(len(self.weight), size=size, p=self.weight))
        sigma = np.sqrt(self.s2[at] * self.df / random.chisquare(self.df, size))
        errors = random.standard_normal((size, self.F.shape[1])) @ self.F.T / self.focal.size
        equating = random.standard_normal(size) * self.scale_se / self.focal.size
        linked = np.einsum("jah,gh->gja", self.links, random.standard_normal((size, self.links.shape[2])))
        J, q, WX = len(self.sums.n), self.sums.q, self.focal.of_columns(self.focal.full.W)
        drawn = np.empty((size, J, len(rows_of_z)))
        for rows in blocks(size, self.sums):
            chosen, s = at[rows], sigma[rows]
            S = inner(self.sums, self.Lambda[chosen])[0]
            delta = np.zeros(len(s))
            if self.sums.p:
                noise = random.standard_normal(len(s)) * np.sqrt(self.A_inverse[chosen, 0, 0])
                typical = (self._centre(S, WX) * errors[rows]).sum(axis=1) * self.A_inverse[chosen, 0, 0]
                delta = self.b[chosen, 0] + s * noise + typical + equating[rows]
            r = self.sums.W[:, -1].T + np.einsum("bpj,gp->gjb", WX, errors[rows], optimize=True)
            r = r + (equating[rows] - delta)[:, None, None] * self.sums.D[:, 0].T
            S = np.moveaxis(S, (0, 1), (2, 3))
            own = (factor(S) @ random.standard_normal((len(s), J, q, 1)))[..., 0]
            g = (S @ r[..., None])[..., 0] + s[:, None, None] * own
            g[..., 0] += delta[:, None]
            drawn[rows] = (g @ self.turn.T + linked[rows]) @ rows_of_z.T
        return drawn[..., 0] if z is None else drawn


def integrate_benchmark_slopes(
    found: BenchmarkSlopes, vcov: FloatArray, scale_se: float, random: int | np.random.Generator = 0
) -> BenchmarkSlopePosterior:
    """The posterior about a fit; ModelError as :func:`valib.models.slope_posterior.integrate_slopes`."""
    draws = integrate_slopes(found.fit, random)
    own = {f.name: getattr(draws, f.name) for f in fields(SlopePosterior)}
    return BenchmarkSlopePosterior(**own, focal=found.sums, F=factor(vcov), scale_se=scale_se, links=found.links)
