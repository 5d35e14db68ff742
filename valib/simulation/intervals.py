"""Every interval that valib publishes beside those of :mod:`valib.simulation.methods`, on many data sets at once.

Each takes the moments of the baseline and of the focal cohort and gives values by estimand
(:data:`valib.simulation.measures.VALUES`); they are the library's own formulas, which a test compares on one data set.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

from ..effects.change import change_in_va
from ..effects.joint import joint_from_moments
from ..effects.ranking import draw_effects, rank_draws
from ..errors import ValibWarning
from ..models.blup import factor, shrinkage
from ..models.estimators import Baseline, Predictions, optimise_residuals, relative_va, residuals, school_variance
from ..models.likelihood import compress, optimise
from ..models.posterior import Posterior, check_proper, integrate, posterior
from ..sums.moments import Moments
from .draw import Worlds
from .measures import calibration_values, scalar_values, school_values
from .worlds import Scenario

PRIOR_SDS = {"shift_low": -1.0, "shift_high": 1.0}  # where the shift over the prior is looked at


def relative_posterior(focal: Moments) -> Posterior | None:
    """Posterior of relative VA, the variances not known; None where some data set has an improper one."""
    data = compress(focal)
    if check_proper(data) is not None:
        return None
    return posterior(integrate(data), focal.n, focal.sums / np.maximum(focal.n, 1)[..., None])


def benchmark_posterior(focal: Moments, base: Baseline, shift: str, equating_se: float) -> Posterior | None:
    """Posterior of benchmark VA with the errors of b_B and of the equating; None where it is improper."""
    data = residuals(compress(focal), base.b, 0 if shift == "estimated" else None)
    if check_proper(data) is not None:
        return None
    means = focal.means
    rbar = means[..., -1] - (means[..., :-1] @ base.b[..., None])[..., 0]
    columns = [np.ones_like(rbar), rbar] if shift == "estimated" else [rbar]
    loadings = [means[..., :-1] @ factor(base.vcov), np.full((*focal.n.shape, 1), equating_se)]
    return posterior(
        integrate(data), focal.n, np.stack(columns, axis=-1), "benchmark", np.concatenate(loadings, axis=-1)
    )


def shifts(
    s: Scenario, cohorts: list[Moments], base: Baseline, found: Predictions, schools: np.ndarray, level: float
) -> dict[str, np.ndarray]:
    """The shift by its closed form and by the two-sample form, over the prior, and with ordinary years.

    cohorts: moments of each baseline cohort, last the focal one. found: the benchmark fit; base: its benchmark.
    """
    q, moved = stats.t.ppf(0.5 + level / 2, schools - 1), found.shift
    focal = (cohorts[-1].n > 0).sum(axis=1)
    own = stats.t.ppf(0.5 + level / 2, focal - 1)
    cautious = moved.var_delta + ((moved.centre[:, None] @ factor(base.vcov)) ** 2).sum(axis=(1, 2)) + moved.var_scale
    out = {
        "shift": scalar_values(moved.delta, s.shift, q * np.sqrt(moved.var)),
        "shift_cautious": scalar_values(moved.delta, s.shift, own * np.sqrt(cautious)),
    }
    data = compress(cohorts[-1])
    later = relative_va(cohorts[-1], optimise(data), False, influences=True)
    apart = later.influence - base.influence
    for name, sds in PRIOR_SDS.items():
        at = sds * s.prior_sd
        x = np.array([1.0, at])
        var = school_variance((apart @ x)[..., None], schools[:, None, None])[:, 0, 0] + moved.var_scale
        truth = s.delta + s.slope_change * at
        out[name] = scalar_values((later.b - base.b) @ x, truth, q * np.sqrt(var))
    own_shifts = [optimise_residuals(compress(one), base.b, None, 0, False).at.b[:, 0] for one in cohorts[:-1]]
    B = len(own_shifts)
    if B > 1:
        wobble = np.std(own_shifts, axis=0, ddof=1)
        half = stats.t.ppf(0.5 + level / 2, B - 1) * wobble * np.sqrt(1 + 1 / B)
        out["year"] = scalar_values(moved.delta, s.shift, half)
    return out


def to_a_school(
    w: Worlds, reference: Moments, focal: Moments, base: Baseline, found: Predictions, schools: np.ndarray, level: float
) -> np.ndarray:
    """(R, 8) of VA relative to the first school that stands in the last baseline cohort; that school itself is left out.

    VA_jt - u_ks; the variance is that of :func:`valib.effects.shift.relative_to_school`.
    """
    rows, k = np.arange(len(w.n)), np.argmax(w.n[:, -2] > 0, axis=1)
    mean = reference.means[rows, k]
    lam_k = shrinkage(reference.n[rows, k], base.tau2, base.sigma2)
    u_k = lam_k * (mean[:, -1] - (mean[:, :-1] * base.b).sum(axis=1))
    lam, moved = found.blup.shrinkage, found.shift
    g = (1 - lam)[..., None] * moved.centre[:, None] + lam[..., None] * focal.means[..., :-1]
    h = g - (lam_k[:, None] * mean[:, :-1])[:, None]
    added = (1 - lam)[..., None] * moved.influence[:, None] - h @ np.swapaxes(base.influence, 1, 2)
    J = schools[:, None]
    common = J / (J - 1) * (added**2).sum(axis=-1)
    var = found.blup.var_conditional + (base.tau2 * (1 - lam_k))[:, None] + common + moved.var_scale[:, None]
    here = w.n[:, -1] > 0
    here[rows, k] = False
    half = stats.t.ppf(0.5 + level / 2, J - 1) * np.sqrt(var)
    return school_values(found.blup.effect - u_k[:, None], w.va - w.effects[rows, -2, k][:, None], half, here)


def ranks(
    found: Predictions,
    post: Posterior | None,
    truth: np.ndarray,
    here: np.ndarray,
    draws: int,
    seeds: list,
    level: float,
) -> dict[str, np.ndarray]:
    """Intervals of ranks, and the probability of the top fifth as a forecast; post: None takes variances as known."""
    told = []
    for r, seed in enumerate(seeds):
        at = np.flatnonzero(here[r])

        def draw(size: int, rng: np.random.Generator, r=r, at=at) -> np.ndarray:
            if post is not None:
                return post.draw(size, rng, r)[:, at]
            b = found.blup
            return draw_effects(b.effect[r, at], b.var_conditional[r, at], b.common[r, at], size, rng)

        one = rank_draws(draw, len(at), np.random.default_rng(seed), draws, level)
        order = np.empty(len(at))
        order[np.argsort(-truth[r, at], kind="stable")] = np.arange(1, len(at) + 1)
        limits = tuple(v[None].astype(float) for v in (one.lower, one.upper))
        rank = school_values(one.expected[None], order[None], None, np.ones((1, len(at)), dtype=bool), limits)
        told.append((rank, calibration_values(one.p_top, order <= max(1, len(at) // 5))))
    return {
        name: np.concatenate(parts) for name, parts in zip(("rank", "top_fifth"), zip(*told, strict=True), strict=True)
    }


def changes(w: Worlds, pairs: list[tuple[Moments, Moments]], kind: str, level: float) -> dict[str, np.ndarray]:
    """Change of relative VA from the last baseline cohort to the focal one, by the joint model; "p_up" as a forecast.

    pairs: moments of the two cohorts of each data set. kind: "integrated" or "plugin". On a boundary the plug-in
    interval is missing, and the data set does not count.
    """
    told = []
    for r, parts in enumerate(pairs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValibWarning)
            order = sorted(parts, key=lambda one: one.cohorts[0])
            joint = joint_from_moments(order, "score ~ prior_score", level=level)
            table = change_in_va(joint, *(int(one.cohorts[0]) for one in parts), intervals=kind)
        at = table.index.to_numpy(dtype=np.int64)
        truth = w.effects[r, -1, at] - w.effects[r, -2, at]
        limits = tuple(table[c].to_numpy()[None] for c in ("lower", "upper"))
        there = np.ones((1, len(at)), dtype=bool)
        told.append(
            (
                school_values(table["change"].to_numpy()[None], truth[None], None, there, limits),
                calibration_values(table["p_up"].to_numpy(), truth > 0),
            )
        )
    return {
        name: np.concatenate(parts) for name, parts in zip(("change", "p_up"), zip(*told, strict=True), strict=True)
    }
