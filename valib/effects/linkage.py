"""Which schools' students are linked less than others': what a fit and `valib check` tell an analyst of coverage.

Chance. Given a cohort's m tested students of whom k are linked, and linking that has nothing to do with schools, the linked
of a school of m_j are hypergeometric. Its two-sided p is twice the smaller tail (1 at most), and a school is named where
J p is below :data:`FAMILY`, J the schools of the cohort (Bonferroni): of cohorts whose schools do not differ at most one
in twenty names any, however many schools they have.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from ..names import by_cohort, percent, readable
from ..records.coverage import FULL, ROUNDING
from .findings import Finding

FAMILY = 0.05  # probability of naming any school of a cohort where none differs
NEAR = 1.5  # standard deviations: nearer to its cohort's share no school has a p below FAMILY, and none is looked for
NAMED = 8  # schools by name


def linkage_p(linked: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """(J,) two-sided exact p of each school's linked among its tested, given the totals of the cohort.

    p_j = min(1, 2 min(P(K <= linked_j), P(K >= linked_j))), K hypergeometric. 1 where all or none of the cohort are linked.
    Source: Fisher's exact test of a school against the others.
    """
    k, m = (np.asarray(v, dtype=np.int64) for v in (linked, tested))
    return _exact(k, m, int(k.sum()), int(m.sum()))


def _exact(k: np.ndarray, m: np.ndarray, linked: int, tested: int) -> np.ndarray:
    of = stats.hypergeom(tested, linked, m)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(of.cdf(k), of.sf(k - 1))))


def differing(table: pd.DataFrame) -> np.ndarray:
    """(J,) which schools' linkage differs from their cohort's beyond chance; table: columns n (linked), tested."""
    differs = np.zeros(len(table), dtype=bool)
    if table["tested"].isna().any() or not len(table):
        return differs
    k, m = (table[name].to_numpy().astype(np.int64) for name in ("n", "tested"))
    share = k.sum() / m.sum()
    far = np.flatnonzero((k - m * share) ** 2 > NEAR**2 * m * share * (1 - share))
    differs[far] = len(table) * _exact(k[far], m[far], int(k.sum()), int(m.sum())) < FAMILY
    return differs


def coverage(tables: Mapping[int, pd.DataFrame], least: float, floor: int = 1, every: bool = False) -> Finding | None:
    """Schools of which few tested students are linked, by cohort (columns n, tested, linked_share; index school).

    Told are schools below ``least``, which are held back, and those below :data:`FULL` where the cohort is so as a whole or
    ``every`` asks for them, if ``floor`` students or more are not linked: in a small school one or two bring it there by
    chance. Of schools with fewer than ``floor`` tested students the share is not said.
    """
    named, counted = {}, {}
    for cohort, table in tables.items():
        share, whole = table["linked_share"], table["n"].sum() / table["tested"].sum()
        low = table[share < least - ROUNDING]
        some = (share < FULL - ROUNDING) & (table["tested"] - table["n"] >= floor)
        under = table[some | (share < least - ROUNDING)] if every or whole < FULL else low
        if len(under):
            named[cohort] = _listed(under, floor)
            held = f", {len(low):,} of them under {100 * least:g}% and held back" if len(low) else ""
            counted[cohort] = f"{len(under):,} of {len(table):,}{held}"
    if not named:
        return None
    head = f"In some schools under {FULL:.0%} of the tested students are linked, and value added is that of the linked alone"
    tail = "find out who is missing and whether codes fail to match"
    return Finding(
        "coverage",
        tuple(named),
        f"{head} ({by_cohort({c: f'{counted[c]}, {named[c]}' for c in named})}): {tail}.",
        f"{head} ({by_cohort(counted)}).",
    )


def coverage_differs(tables: Mapping[int, pd.DataFrame], floor: int = 1) -> Finding | None:
    """Schools whose linkage differs from their cohort's beyond chance, by cohort; see :func:`differing`."""
    found = {cohort: table[mask] for cohort, table in tables.items() if (mask := differing(table)).any()}
    if not found:
        return None
    whole = {c: percent(tables[c]["n"].sum() / tables[c]["tested"].sum()) for c in found}
    names = {c: f"{whole[c]} in all, {_listed(part, floor)}" for c, part in found.items()}
    counted = {c: f"{len(part):,} of {len(tables[c]):,}" for c, part in found.items()}
    head = "The linked share of some schools differs from their cohort's by more than chance"
    how = f"exact test, {FAMILY:.0%} for all schools of a cohort together"
    return Finding(
        "coverage_differs",
        tuple(found),
        f"{head} ({by_cohort(names)}; {how}): look at how codes were matched there and at who was not tested before.",
        f"{head} ({by_cohort(counted)}; {how}).",
    )


def _listed(table: pd.DataFrame, floor: int) -> str:
    """Schools by share, lowest first, with it where it does not tell of few students."""
    table = table.sort_values("linked_share", kind="stable")
    told = [
        readable(str(school), 40) + (f" ({percent(share)})" if tested >= floor else "")
        for school, share, tested in zip(table.index, table["linked_share"], table["tested"], strict=True)
    ]
    return ", ".join(told[:NAMED]) + (f" and {len(told) - NAMED:,} more" if len(told) > NAMED else "")


def of_fit(cohort: int | None, table: pd.DataFrame, least: float) -> list[Finding | None]:
    """What a fit says of its schools' coverage; table: its school_effects (rows without students do not count)."""
    table = table[table["n"] > 0]
    if cohort is None or "tested" not in table.columns or table["tested"].isna().any():
        return []
    return [coverage({int(cohort): table}, least), coverage_differs({int(cohort): table})]
