"""Random slopes against a benchmark: schools' lines about a baseline's coefficients, and a baseline with such slopes.

    baseline            y_ij = x_ij' b + z_ij' g_j + e_ij,   g_j ~ N(0, G)
    focal, estimated    r_ij = y_ij - x_ij' b_B = delta + z_ij' g_j + e_ij,   benchmark VA_j(z) = delta_hat + z' g_hat_j
    focal, absorbed     r_ij = z_ij' g_j + e_ij,                              benchmark VA_j(z) = z' g_hat_j

With V in units of sigma2, Lambda = G / sigma2, K_j = Z'V^-1 Z, U_j = Z'V^-1 X, the intercept first in z, so that
k_j = (K_j)_11 = 1'V^-1 1, and F F' = Var(b_B):

    delta_hat = sum_j 1'V^-1 r / sum_j k_j,    c = sum_j 1'V^-1 X / sum_j k_j
    error of VA_j(z) at known variances, e_1 = (1, 0, ..)':
      estimated  z'(G - Lambda K_j G) z + (z'(e_1 - Lambda K_j e_1))^2 Var(delta_hat)
                 + |z'(e_1 c' + Lambda (U_j - K_j e_1 c')) F|^2 + (z'e_1)^2 s2_equating
      absorbed   z'(G - Lambda K_j G) z + |z' Lambda U_j F|^2 + (z' Lambda K_j e_1)^2 s2_equating

which are the formulas of :func:`valib.models.estimators.benchmark_va` where z = 1. The slopes of all schools together are
not a parameter of the focal model: where the system's slope has moved since the baseline, that is left in the slopes of
schools, as an absorbed shift is left in their levels.

A baseline's errors are clustered by school: psi_j = A^-1 sum X'V^-1 (y - X b) over its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..sums.arrays import FloatArray
from ..sums.moments import Moments
from .blup import Blup, factor
from .estimators import Baseline, Shift, clustered, residual_moments
from .likelihood import compress, optimise
from .mixed import PERFECT, check_estimable, unshift
from .options import Method, ShiftMode
from .slopes import (
    SlopeProfile,
    SlopesFit,
    SlopeSums,
    covariance_errors,
    fit_slopes,
    profile_slopes,
    search,
    slope_sums,
    weigh,
)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The random part of a baseline: names of the q columns of z, the intercept first; centre (q,), the baseline means of
    the others (0 of the intercept); G (q, q): of the effects of the columns about them; sigma2."""

    random: tuple[str, ...]
    centre: FloatArray
    G: FloatArray
    sigma2: float


@dataclass(frozen=True, slots=True, eq=False)
class FocalSums:
    """Sums of a focal cohort: full, of [X, y]; own, of [1, r] or, where the shift is absorbed, of [r]."""

    full: SlopeSums
    own: SlopeSums
    shift: FloatArray  # (p,) of the columns of X
    intercept: int

    @property
    def size(self) -> float:
        """Score points in a unit of the scaled r."""
        return float(self.own.scale[-1])

    @property
    def turn(self) -> FloatArray:
        """(q, q): effects in score points, about the means of the columns, from those scaled."""
        return self.size * self.own.turn

    def of_columns(self, U: FloatArray) -> FloatArray:
        """(q, p, J): Z'V^-1 X of the columns of X as they are, from those scaled and shifted."""
        raw: FloatArray = U[:, :-1] * self.full.scale[:-1, None]
        return raw + raw[:, self.intercept][:, None] * self.shift[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkSlopes:
    """A focal cohort's fit against a benchmark: effects of ``fit`` are VA, the shift in the first; blup: at the means."""

    fit: SlopesFit
    sums: FocalSums
    blup: Blup
    shift: Shift | None
    links: FloatArray  # (J, q, m): what standard normal errors of links do to the effects


def focal_sums(moments: Moments, columns: Sequence[int], b: FloatArray, shift: ShiftMode) -> FocalSums:
    """Sums of r = y - X b (p,) and of the design; columns: positions in X of z, the intercept first."""
    full, one = slope_sums(moments, columns), columns[0]
    a = np.append(-b, 1.0)
    move = np.zeros((len(a), 2))
    move[one, 0] = full.scale[one]
    move[:, 1] = full.scale * a
    move[one, 1] += full.scale[one] * float(moments.shift @ a)
    move = move if shift == "estimated" else move[:, 1:]
    cross = move.T @ full.cross @ move
    scale = np.ones(move.shape[1])
    scale[-1] = np.sqrt(max(cross[-1, -1], np.finfo(float).tiny) / full.n.sum())
    W = np.einsum("rkj,km->rmj", full.W, move) / scale[:, None]
    own = replace(full, W=np.ascontiguousarray(W), cross=cross / scale[:, None] / scale, scale=scale)
    return FocalSums(full, own, moments.shift[:-1], one)


def fit_benchmark_slopes(
    moments: Moments,
    columns: Sequence[int],
    b: FloatArray,
    vcov: FloatArray,
    shift: ShiftMode = "estimated",
    method: Method = "ML",
    kept: Kept | None = None,
    scale_se: float = 0.0,
    moved: Sequence[tuple[Moments, float]] = (),
) -> BenchmarkSlopes:
    """Benchmark value added with slopes of schools, from the sums of one cohort by cell.

    Parameters
    ----------
    moments : Moments
        Of the benchmark's columns, with cross-products by cell.
    columns : sequence of int
        Positions in X of the columns with slopes, beside the intercept.
    b, vcov : ndarray (p,), (p, p)
        b_B and its covariance.
    shift : {"estimated", "absorbed"}
        Whether delta is a parameter.
    method : {"ML", "REML"}
        Of the likelihood of r.
    kept : Kept, optional
        Variances of the baseline that are carried over; by default those of r are estimated.
    scale_se : float
        Standard error of equating and ordinary years.
    moved : sequence of (Moments, float)
        The cohort's sums under a link moved by one of its errors, and the part of that error: its derivative is taken.

    Returns
    -------
    BenchmarkSlopes
        With effects, errors and the shift.

    Raises
    ------
    ModelError
        As :func:`valib.models.slopes.fit_slopes`.
    """
    if moments.intercept is None:
        raise ModelError("Random slopes are fitted beside a random intercept: the formula must have an intercept.")
    columns = (moments.intercept, *columns)
    sums, reml = focal_sums(moments, columns, b, shift), method == "REML"
    if kept is None:
        at, sigma2, G_se, sigma2_se, boundary = _estimated(moments, sums, b, reml)
    else:
        at = profile_slopes(sums.own, factor(_carried(sums.own, kept)), reml)
        sigma2, sigma2_se = kept.sigma2 / sums.size**2, float("nan")
        G_se, boundary = np.full((len(columns), len(columns)), np.nan), False
    known = at.Lambda, sigma2
    base = _effects(sums, at)
    links = [
        (_about(_moved_effects(other, columns, b, shift, sums, known), sums) - base) / step for other, step in moved
    ]
    loads = np.stack(links, axis=-1) if links else np.zeros((*base.shape, 0))
    return _told(moments, sums, at, sigma2, (G_se, sigma2_se, boundary), vcov, scale_se, loads, method, columns)


def _estimated(
    moments: Moments, sums: FocalSums, b: FloatArray, reml: bool
) -> tuple[SlopeProfile, float, FloatArray, float, bool]:
    """The optimum: profile, sigma2 (scaled), errors of the variances, and whether it lies on the boundary."""
    own, p = sums.own, sums.own.p
    if float(own.n.sum()) <= own.q * len(own.n):
        raise ModelError(
            f"There are {own.n.sum():.0f} students for {own.q} random effects in each of {len(own.n)} schools, too few for "
            "slopes of schools."
        )
    r = residual_moments(moments, b, p > 0)
    end = search(own, reml, float(np.sqrt(optimise(compress(r), reml).theta[0])))
    at = end.problem.value(end.x)
    if at.rss <= PERFECT * own.cross[-1, -1]:
        raise ModelError("The model fits the residuals perfectly: no variation is left within schools.")
    return at, at.rss / own.dof(reml), *covariance_errors(own, at, reml, sums.turn)


def _carried(sums: SlopeSums, kept: Kept) -> FloatArray:
    """Lambda (q, q) of the scaled columns from a baseline's G, about this cohort's means."""
    move = np.eye(sums.q)
    move[0, 1:] = (sums.centre - kept.centre)[1:]
    back = np.diag(1 / np.diag(sums.turn)) @ move
    Lambda: FloatArray = back @ kept.G @ back.T / kept.sigma2
    return Lambda


def _effects(sums: FocalSums, at: SlopeProfile) -> FloatArray:
    """(J, q): delta e_1 + g_hat_j about the means of the columns."""
    effects: FloatArray = np.einsum("ab,bc,cj->ja", sums.turn, at.Lambda, at.r)
    if sums.own.p:
        effects[:, 0] += at.b[0] * sums.size
    return effects


def _moved_effects(
    moments: Moments,
    columns: Sequence[int],
    b: FloatArray,
    shift: ShiftMode,
    about: FocalSums,
    known: tuple[FloatArray, float],
) -> tuple[FloatArray, FloatArray]:
    """Effects at the same variances under other sums, and the means about which they are."""
    sums = focal_sums(moments, columns, b, shift)
    Lambda, sigma2 = known
    kept = Kept((), about.own.centre, sigma2 * about.turn @ Lambda @ about.turn.T, sigma2 * about.size**2)
    return _effects(sums, profile_slopes(sums.own, factor(_carried(sums.own, kept)), False)), sums.own.centre


def _about(found: tuple[FloatArray, FloatArray], sums: FocalSums) -> FloatArray:
    """Effects about the means of ``sums``."""
    effects, centre = found[0].copy(), found[1]
    effects[:, 0] += effects[:, 1:] @ (sums.own.centre - centre)[1:]
    return effects


def _told(
    moments: Moments,
    sums: FocalSums,
    at: SlopeProfile,
    sigma2: float,
    errors: tuple[FloatArray, float, bool],
    vcov: FloatArray,
    scale_se: float,
    links: FloatArray,
    method: Method,
    columns: Sequence[int],
) -> BenchmarkSlopes:
    """Effects with their errors, in score points."""
    own, reml, turn = sums.own, method == "REML", sums.turn
    var, F = sigma2 * sums.size**2, factor(vcov)
    K = np.moveaxis(at.K, -1, 0)
    spread = at.Lambda - at.Lambda @ K @ at.Lambda
    conditional = sigma2 * turn @ spread @ turn.T
    conditional = (conditional + np.swapaxes(conditional, 1, 2)) / 2
    full = weigh(sums.full, factor(at.Lambda))[0]
    U, shrunk = sums.of_columns(full.U), own.turn @ at.Lambda
    reach, ones = shrunk @ np.moveaxis(U, -1, 0), shrunk @ K[:, :, 0, None]
    first = np.eye(own.q)[:, :1]
    shift, own_part = None, np.zeros((len(own.n), own.q, 0))
    if own.p:
        shift, c = _shift_of(sums, at, U, var, F, scale_se, links)
        own_part = (first - ones) * np.sqrt(float(shift.var_delta))
        apart, shared = (reach - ones * c) @ F, np.broadcast_to(first * scale_se, ones.shape)
        common = np.concatenate([own_part, first * (c @ F) + apart, shared, links], axis=2)
        noise = np.concatenate([apart, links], axis=2)[:, 0]
    else:
        common = noise = np.concatenate([reach @ F, ones * scale_se, links], axis=2)
        noise = noise[:, 0]
    G = sigma2 * turn @ at.Lambda @ turn.T
    names = tuple(moments.names[c] for c in columns)
    coefficients, V = (at.b * sums.size, var * at.A_inverse) if own.p else (np.zeros(0), np.zeros((0, 0)))
    fit = SlopesFit(
        ("Intercept",) * own.p, coefficients, V, names, own.centre, G, *errors[:1], var, errors[1],
        _loglik(sums, at, sigma2, reml), method, errors[2], moments.schools[moments.cell_school], moments.n,
        _effects(sums, at), conditional, common, own, at,
    )  # fmt: skip
    level = G[0, 0] - conditional[:, 0, 0] - ((ones[:, 0, 0] ** 2 * var / at.K[0, 0].sum()) if own.p else 0.0)
    blup = replace(fit.blup(), var_diagnostic=np.maximum(level + (noise**2).sum(axis=1), 0.0))
    return BenchmarkSlopes(fit, sums, blup, shift, links)


def _shift_of(
    sums: FocalSums, at: SlopeProfile, U: FloatArray, var: float, F: FloatArray, scale_se: float, links: FloatArray
) -> tuple[Shift, FloatArray]:
    """The shift with its errors, and c (p,), the weights of the coefficients in it."""
    k, r = at.K[0, 0], at.r[0] * sums.size
    total = k.sum()
    c = U[0].sum(axis=-1) / total
    delta, weight = float(at.b[0]) * sums.size, k / total
    K = np.moveaxis(at.K, -1, 0)
    D = np.moveaxis(sums.own.D, -1, 0)
    S = at.Lambda - at.Lambda @ K @ at.Lambda
    squares = (K - K @ S @ D)[:, 0, 0].sum()  # 1'V^-2 1
    scale = scale_se**2 + float(((weight @ links[:, 0]) ** 2).sum())
    typical = float(((c @ F) ** 2).sum())
    var_delta = var / total
    told = Shift(
        np.asarray(delta),
        np.asarray(var_delta),
        np.asarray(var * squares / total**2),
        np.asarray(scale),
        np.asarray(var_delta + typical + scale),
        c,
        r / total,
    )
    return told, c


def system_slopes(moments: Moments, fit: SlopesFit, b: FloatArray, vcov: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(q - 1,) how far the system's slopes have moved from the benchmark's, with their errors, at the fit's covariance.

    The coefficients d of r = z'd + z'g_j + e: d of a slope is b_t - b_B, and carries the error of b_B whole.
    """
    columns = np.zeros((len(b) + 1, len(fit.random) + 1))
    columns[list(fit.sums.columns), range(len(fit.random))] = 1.0
    columns[:, -1] = np.append(-b, 1.0)
    sums = slope_sums(moments.transform(columns, (*fit.random, "residual")), range(len(fit.random)))
    at = profile_slopes(sums, factor(fit.profile.Lambda), False)
    size = sums.scale[:-1] / sums.scale[-1]
    slopes = list(fit.sums.columns[1:])
    own = fit.sigma2 * np.diag(at.A_inverse) / sums.scale[:-1] ** 2
    return (at.b / size)[1:], np.sqrt(own[1:] + np.diag(vcov)[slopes])


def shift_centre(moments: Moments, fit: SlopesFit, b: FloatArray) -> FloatArray:
    """c (p,) of a fit with an estimated shift, from the sums it was made of: the weights of the coefficients in the shift."""
    sums = focal_sums(moments, fit.sums.columns, b, "estimated")
    U = sums.of_columns(weigh(sums.full, factor(fit.profile.Lambda))[0].U)
    c: FloatArray = U[0].sum(axis=-1) / fit.profile.K[0, 0].sum()
    return c


def _loglik(sums: FocalSums, at: SlopeProfile, sigma2: float, reml: bool) -> float:
    """Log-likelihood of r at the profile's Lambda and this sigma2 (scaled)."""
    dof, size = sums.own.dof(reml), sums.size
    return float(-0.5 * (dof * np.log(2 * np.pi * sigma2 * size**2) + at.penalty + at.rss / sigma2))


def fit_slope_baseline(moments: Moments, columns: Sequence[int], method: Method = "ML") -> tuple[SlopesFit, Baseline]:
    """The coefficients of a baseline whose schools have slopes, clustered by school; columns: as above."""
    check_estimable(moments)
    fit = fit_slopes(moments, columns, method)
    sums, at, size = fit.sums, fit.profile, fit.sums.scale[-1]
    assert moments.cell_cross is not None  # fit_slopes has looked
    a, p = np.append(-at.b, 1.0), sums.p
    K, D, W = (np.moveaxis(values, -1, 0) for values in (at.K, sums.D, sums.W))
    S = at.Lambda - at.Lambda @ K @ at.Lambda
    cells = moments.cell_cross / sums.scale[:, None] / sums.scale
    pulled = S @ (W @ a)[..., None]
    score = (cells @ a - (np.swapaxes(W, 1, 2) @ pulled)[..., 0])[:, :p]
    linear = unshift(moments)[:-1, :-1] * (size / sums.scale[:-1])
    influence = moments.by_school((score @ at.A_inverse)[None])[0] @ linear.T
    WX = W[:, :, :p]
    SW = S @ WX
    squares = cells[:, :p, :p] - 2 * np.swapaxes(WX, 1, 2) @ SW + np.swapaxes(SW, 1, 2) @ D @ SW
    inner = at.A_inverse @ squares.sum(axis=0) @ at.A_inverse
    students = fit.sigma2 / size**2 * linear @ inner @ linear.T
    there = np.array([len(moments.schools)])
    vcov = clustered(influence[None], np.array([fit.n.sum()]), there)
    one = np.array([1.0])
    return fit, Baseline(
        fit.coefficients[None], influence[None], vcov, fit.vcov[None], students[None], fit.tau2 * one, fit.sigma2 * one
    )
