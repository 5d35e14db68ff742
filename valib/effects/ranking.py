"""Ranks of schools with their uncertainty: never a bare rank.

The true effects, given the data, are drawn from their posterior (:mod:`valib.models.posterior`) or, with the variances
taken as known, as normal about the predictions with covariance D + F F' (own variances D, common loadings F; see
:mod:`valib.models.blup`). Ranks are counted in draws from it, so a rank carries the uncertainty of all
other schools too. Source: Goldstein and Spiegelhalter (1996); Laird and Louis (1989).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Rank statistics, arrays (J,); rank 1 is the highest effect.

    expected: mean rank. lower, upper: interval of the rank at the level asked for. p_bottom, p_top: probability of
    standing in the lowest and highest fifth of schools.
    """

    expected: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    p_bottom: np.ndarray
    p_top: np.ndarray


def draw_effects(
    effect: np.ndarray, own: np.ndarray, common: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """(draws, J) draws of the true effects: effect (J,), own variances (J,), common loadings (J, m)."""
    z = rng.standard_normal((draws, len(effect)))
    drawn: np.ndarray = effect + np.sqrt(own) * z + rng.standard_normal((draws, common.shape[1])) @ common.T
    return drawn


def rank_effects(
    effect: np.ndarray,
    own: np.ndarray,
    common: np.ndarray,
    seed: int | np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    block: int = 250,
) -> Ranks:
    """Rank statistics where the variances are taken as known: effects normal about ``effect``; see :func:`rank_draws`.

    Schools that cannot be told apart at all (school variance on its boundary 0) share all ranks evenly, whatever the
    order of the rows.
    """
    J = len(effect)
    alike = J and np.ptp(effect) == 0 and not np.any(own) and not np.ptp(common, axis=0).any()

    def draw(size: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random((size, J)) if alike else draw_effects(effect, own, common, size, rng)

    return rank_draws(draw, J, seed, draws, level, block)


def rank_draws(
    draw: Callable[[int, np.random.Generator], np.ndarray],
    J: int,
    seed: int | np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    block: int = 250,
) -> Ranks:
    """Rank statistics of J schools; draw(size, rng) gives (size, J) draws of their true effects.

    ``block`` draws are held at a time, so that memory is that of J x draws ranks of four bytes. A fifth is J // 5
    schools, at least one. Raises ModelError for fewer than two schools.
    """
    if J < 2:
        raise ModelError(f"Ranks need at least two schools; there are {J}.")
    rng = np.random.default_rng(seed)
    ranks = np.empty((draws, J), dtype=np.int32)
    for start in range(0, draws, block):
        drawn = draw(min(block, draws - start), rng)
        order = np.argsort(-drawn, axis=1, kind="stable")
        np.put_along_axis(ranks[start : start + block], order, np.arange(1, J + 1, dtype=np.int32)[None], axis=1)
    tail, fifth = (1 - level) / 2, max(1, J // 5)
    lower, upper = np.quantile(ranks, [tail, 1 - tail], axis=0, method="nearest")
    return Ranks(ranks.mean(axis=0), lower, upper, (ranks > J - fifth).mean(axis=0), (ranks <= fifth).mean(axis=0))
