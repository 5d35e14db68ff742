"""The posterior of a joint model from which errors of measurement are taken off.

A residual y - x'b on record, about the corrected coefficients, is that of an ordinary joint model with nothing but a mean
in each cohort: it has the covariances Omega and the variances sigma2_t + b_t'F_t b_t. The posterior of that model
(:mod:`valib.models.joint_posterior`) integrates over them. The error of the slopes, of the covariance clustered by school,
moves the mean residuals of school j by L_j and, with H_j = Z'V^-1 Z, is added at every node as a normal error that all
schools share:

    means    l = (sum_j H_j)^-1 sum_j H_j L_j            effects    Omega H_j (L_j - l)

A benchmark's coefficients are treated in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from ..sums.arrays import FloatArray
from .joint_fit import MultivariateFit
from .joint_posterior import JointNodes, change_apart, integrate_joint, node_blocks, posterior_apart, precisions
from .mixture import Mixture


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedNodes(JointNodes):
    """Nodes of the residuals' model, and what m standard normal errors of the slopes among b (P,) do.

    loads (M, J, T, m), means (M, T, m): to the effects and to the intercepts, at every node; slopes (P, m): to the slopes. at:
    positions in b of the intercepts, which are the nodes' coefficients.
    """

    b: FloatArray = field(default_factory=lambda: np.empty(0))
    loads: FloatArray = field(default_factory=lambda: np.empty(0))
    means: FloatArray = field(default_factory=lambda: np.empty(0))
    slopes: FloatArray = field(default_factory=lambda: np.empty(0))
    at: np.ndarray = field(default_factory=lambda: np.empty(0))

    def contrast(self, c: FloatArray, schools: np.ndarray | None = None) -> Mixture:
        """As of JointNodes."""
        loads = self.loads if schools is None else self.loads[:, schools]
        return JointNodes.contrast(self, c, schools).widened(_sd(c @ loads))

    def combination(
        self, c: FloatArray, first: np.ndarray, second: np.ndarray | None = None, k: FloatArray | None = None
    ) -> Mixture:
        """As of JointNodes; k on the coefficients b."""
        loads = c @ (self.loads[:, first] - (0.0 if second is None else self.loads[:, second]))
        if k is None:
            return JointNodes.combination(self, c, first, second).widened(_sd(loads))
        loads = loads + (k[self.at] @ self.means + k @ self.slopes)[:, None]
        plain = JointNodes.combination(self, c, first, second, k[self.at]).widened(_sd(loads))
        return replace(plain, mean=plain.mean + k @ self.b)

    def draw(self, size: int, random: np.random.Generator, schools: np.ndarray) -> FloatArray:
        """As of JointNodes; the shared errors at their mean over the nodes."""
        plain = JointNodes.draw(self, size, random, schools)
        loads = np.tensordot(self.weight, self.loads[:, schools], axes=1)
        shared: FloatArray = np.einsum("jtm,dm->djt", loads, random.standard_normal((size, loads.shape[-1])))
        return plain + shared


def _sd(loads: FloatArray) -> FloatArray:
    """(1, J, M) standard deviations of sums of standard normal errors with loads (M, J, m)."""
    sd: FloatArray = np.sqrt((loads**2).sum(axis=-1)).T[None]
    return sd


def integrate_fit(fit: MultivariateFit) -> JointNodes:
    """The posterior of a fitted joint model. Raises ModelError as :func:`integrate_joint`."""
    off = fit.corrected
    if off is None:
        return integrate_joint(fit.data)
    nodes = integrate_joint(off.plain)
    sigma = (nodes.share[..., None] * nodes.sigma).sum(axis=1)
    M, m = len(sigma), off.loadings.shape[-1]
    loads, means = np.empty((M, *off.loadings.shape)), np.zeros((M, len(off.means), m))
    for rows in node_blocks(M, off.plain):
        H, L = precisions(off.plain, nodes.omega[rows]), off.loadings / sigma[rows, None, :, None]
        pulled = H @ L
        if len(off.means):
            mean = np.linalg.solve(H.sum(axis=1), pulled.sum(axis=1))
            pulled, means[rows] = pulled - H @ mean[:, None], mean * sigma[rows, :, None]
        loads[rows] = nodes.omega[rows, None] @ pulled * sigma[rows, None, :, None]
    own = {f.name: getattr(nodes, f.name) for f in fields(nodes)}
    return CorrectedNodes(**own, b=fit.coefficients, loads=loads, means=means, slopes=off.slopes, at=off.means)


def effects_apart(fit: MultivariateFit, t: int) -> Mixture:
    """u_jt of all schools, cohorts independent: (1, J). Raises ModelError where the posterior is improper."""
    off = fit.corrected
    return (
        posterior_apart(fit.data, t) if off is None else posterior_apart(off.plain, t, None, off.loadings)
    ).effects()


def fit_change_apart(fit: MultivariateFit, first: int, second: int, schools: np.ndarray) -> Mixture:
    """:func:`change_apart` of a fit."""
    off = fit.corrected
    if off is None:
        return change_apart(fit.data, first, second, schools)
    moved = (fit.sensitivity[schools, second] - fit.sensitivity[schools, first]) @ off.slopes
    return change_apart(off.plain, first, second, schools).widened(_sd(moved[None]))


def draw_apart(
    fit: MultivariateFit, cohorts: list[int], schools: np.ndarray, size: int, random: np.random.Generator
) -> FloatArray:
    """(size, J, m) draws of the effects in some cohorts (positions), cohorts independent."""
    off = fit.corrected
    data, loadings = (fit.data, None) if off is None else (off.plain, off.loadings)
    alone = {t: posterior_apart(data, t, schools, loadings).draw(size, random) for t in dict.fromkeys(cohorts)}
    return np.stack([alone[t] for t in cohorts], axis=-1)
