"""Many schools at once: how many stand on each side of 0, how many would by chance, and sides with few false ones.

With intervals of level 1 - a, each school of which the true value is 0 is called above or below with probability a at
most (an effect is drawn towards the average, so in truth with less). Of J schools none of which differs, J a are
therefore expected there at most, whether or not their errors hang together: an expectation adds up. Where many are
looked at, the share of false ones among those called is held instead: the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ModelError
from ..records.disclosure import shown
from .cohort_fit import CohortFit
from .verdict import ABOVE, BELOW, UNCLEAR


def tail_probabilities(fit: CohortFit) -> np.ndarray:
    """(J,) two-sided tail probability of each school, 2 min(P(VA < 0), P(VA > 0)), given the data.

    Integrated over what is not known of the variances where the fit's intervals are, else normal with se_comparative; nan
    where a school has neither, as on the boundary. An interval of level 1 - a leaves out 0 just where it is below a.
    """
    if fit.posterior is not None:
        below = fit.posterior.effects().cdf(0.0)[0]
        return np.asarray(2 * np.minimum(below, 1 - below))
    table = fit.school_effects
    return normal_tails(table["effect"], table["se_comparative"].where(table["lower"].notna()))


def normal_tails(effect: Any, se: Any) -> np.ndarray:
    """2 (1 - Phi(abs(effect) / se)); nan where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * stats.norm.sf(np.abs(np.asarray(effect)) / np.asarray(se)))


def adjusted(p: np.ndarray) -> np.ndarray:
    """Tail probabilities adjusted by Benjamini and Hochberg (1995); those that are nan stay so and do not count.

    q_(i) = min over k >= i of J p_(k) / k: the least rate at which school i is called.
    """
    p, known = np.asarray(p, dtype=np.float64), np.isfinite(p)
    q = np.full(len(p), np.nan)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def sides_at(effect: np.ndarray, q: np.ndarray, fdr: float) -> np.ndarray:
    """The side of each school where its adjusted tail probability is at most ``fdr``; "" where it is not known."""
    called = q <= fdr
    return np.select([~np.isfinite(q), called & (effect > 0), called & (effect < 0)], ["", ABOVE, BELOW], UNCLEAR)


def false_discoveries(fit: CohortFit, fdr: float = 0.05, min_students: int = 1) -> pd.DataFrame:
    """Schools above and below at a false discovery rate, instead of each by its own interval.

    Parameters
    ----------
    fit : CohortFit
        A relative or benchmark fit.
    fdr : float
        Share of false ones that is allowed, in expectation, among the schools called above or below.
    min_students : int
        Schools that may not be shown with it are left out and do not count: their tail probabilities would move the
        bound for the others.

    Returns
    -------
    DataFrame
        Index school: ``n``, ``effect``, ``side`` (by the interval), ``p`` (two-sided tail probability), ``q`` (adjusted),
        ``side_fdr``. All but n and effect are missing (sides: "") where no school can be told apart.

    Raises
    ------
    ModelError
        For a rate outside 0 to 1.

    Notes
    -----
    The step-up procedure of Benjamini and Hochberg (1995, Journal of the Royal Statistical Society B 57, 289-300) on
    p_j = 2 min(P(VA_j < 0), P(VA_j > 0)) given the data. Effects are shrunk, so that such a p_j is no smaller than one of a
    test of VA_j = 0 would be, and the rate is held on the safe side. It is proven for independent errors and for those that
    go up and down together (Benjamini and Yekutieli 2001). The errors of a benchmark that all schools share are of that kind
    where schools lie on one side of it.

    Examples
    --------
    >>> import valib as va
    >>> table = va.false_discoveries(va.fit_relative(va.load_records("exam")))
    >>> table["side"].ne("not told apart").sum(), table["side_fdr"].ne("not told apart").sum()
    (np.int64(28), np.int64(24))
    """
    check_rate(fdr)
    mask = shown(fit.school_effects, min_students)
    table = fit.school_effects.loc[mask, ["n", "effect", "side"]].copy()
    table["p"] = tail_probabilities(fit)[mask]
    table["q"] = adjusted(table["p"].to_numpy())
    table["side_fdr"] = sides_at(table["effect"].to_numpy(), table["q"].to_numpy(), fdr)
    return table


def check_rate(fdr: float) -> None:
    """Refuse a false discovery rate outside 0 to 1."""
    if not 0 < fdr < 1:
        raise ModelError(f"The false discovery rate must lie between 0 and 1, as 0.05 does, not {fdr}.")


def count_sides(sides: Sequence[str] | pd.Series, level: float) -> dict[str, Any]:
    """Schools with a side, those above, below and not told apart, their shares, and how many are expected above or below
    if no school differs: schools (1 - level)."""
    sides = pd.Series(list(sides), dtype="str")
    counts = {name: int((sides == side).sum()) for name, side in SIDES.items()}
    total = sum(counts.values())
    shares = {f"{name}_share": count / total if total else np.nan for name, count in counts.items()}
    return {"schools": total, **counts, **shares, "by_chance": total * (1 - level)}


SIDES = {"above": ABOVE, "below": BELOW, "unclear": UNCLEAR}


def side_counts(fits: Sequence[CohortFit], min_students: int = 1) -> pd.DataFrame:
    """How many schools stand above, below, and cannot be told apart, and how many would by chance.

    Parameters
    ----------
    fits : sequence of CohortFit
        Of any cohorts and models.
    min_students : int
        Schools that may not be shown with it are left out.

    Returns
    -------
    DataFrame
        One row a fit: ``model``, ``cohort``, ``schools``, ``above``, ``below``, ``unclear``, their shares ``above_share``,
        ``below_share``, ``unclear_share``, and ``by_chance``: schools expected above or below if none differed. Schools
        without an interval count nowhere.

    Raises
    ------
    KeyError
        For fits whose school_effects have no sides.

    Notes
    -----
    by_chance is J (1 - level): the intervals of J schools of which none differs miss 0 that often at most. It is about what
    the fit is held against: the average of its year, or the benchmark.

    Examples
    --------
    >>> import valib as va
    >>> table = va.side_counts([va.fit_relative(va.load_records("exam"))])
    >>> table[["schools", "above", "below", "unclear", "by_chance"]].iloc[0].round(2).to_dict()
    {'schools': 65.0, 'above': 14.0, 'below': 14.0, 'unclear': 37.0, 'by_chance': 3.25}
    """
    rows = []
    for fit in fits:
        told = fit.school_effects.loc[shown(fit.school_effects, min_students), "side"]
        rows.append({"model": fit.model, "cohort": fit.cohort, **count_sides(told, fit.level)})
    return pd.DataFrame(rows)


def sides_line(cohort: int, counts: dict[str, Any], level: float, fdr: int | None = None) -> str:
    """The counts of a cohort in a sentence; fdr: schools called above or below at the study's false discovery rate."""
    if not counts["schools"]:
        return f"{cohort}: no school has an interval of its own, so none is above or below."
    each = ", ".join(f"{counts[k]:,} {SIDES[k]} ({100 * counts[f'{k}_share']:.0f}%)" for k in SIDES)
    at = "" if fdr is None else f" With the false discovery rate held, {fdr:,} are above or below."
    return (
        f"{cohort}: of {counts['schools']:,} schools {each}; were none different, up to {counts['by_chance']:.1f} would be "
        f"above or below by chance (intervals of {100 * level:g}%).{at}"
    )
