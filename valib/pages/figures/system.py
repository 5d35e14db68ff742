"""Figures of the system shift: by cohort, over the prior scores, and its bootstrap distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from valib.errors import ValibError
from valib.pages.figures import style as st


@st.styled
def shifts(table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points") -> Figure:
    """System shift by focal cohort with its interval, beside the shifts of the baseline cohorts themselves.

    table: columns cohort, shift, lower, upper, as of :func:`valib.shift_in_context` (index reset). role: "baseline"
    cohorts are grey; without it all are focal. year_lower, year_upper: limits of a further ordinary year, a thin line.
    leave_one_out: of a baseline cohort, its shift against the others, a ring.
    """
    st.require(table, ["cohort", "shift", "lower", "upper"], "shifts")
    table = table.sort_values("cohort")
    grey = table["role"].eq("baseline") if "role" in table.columns else pd.Series(False, table.index)
    fig, ax = st.canvas(3.5)
    st.cohort_axis(ax, table["cohort"], grey=False)
    ax.set_xlim(right=ax.get_xlim()[1] + 0.03 * np.ptp(ax.get_xlim()))
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    focal = table[~grey]
    _ordinary(ax, table[grey])
    cohort, shift = (focal[c].to_numpy(dtype=float) for c in ("cohort", "shift"))
    year = "year_lower" in focal.columns and focal["year_lower"].notna().any()
    if year:
        ax.vlines(cohort, focal["year_lower"], focal["year_upper"], color=st.BLUE, lw=0.9, zorder=2, gid="year")
    ax.vlines(cohort, focal["lower"], focal["upper"], color=st.BLUE, lw=3.2, zorder=3, gid="interval")
    ax.plot(cohort, shift, "o", color=st.BLUE, mec="white", mew=0.7, ms=7, zorder=4, ls="none", gid="shift")
    _values(ax, cohort, shift)
    thick = f"{st.percent(level)} interval over schools" + ("; thin line: of a further ordinary year" if year else "")
    dots = "Grey: each baseline cohort against the whole baseline (dot) and against the others (ring)."
    st.note(ax, f"Thick line: {thick}.", dots if grey.any() else "")
    ax.set(xlabel="Cohort (year of the test)", ylabel=f"System shift ({unit})")
    return fig


def _ordinary(ax: Axes, baseline: pd.DataFrame) -> None:
    """The baseline cohorts' own shifts: dots with intervals, and rings for those against the other cohorts."""
    years, ends = baseline["cohort"].to_numpy(dtype=float), baseline[["lower", "upper"]].to_numpy(dtype=float)
    ax.vlines(years, ends[:, 0], ends[:, 1], color=st.MUTED, lw=2.4, zorder=3, gid="baseline interval")
    ax.plot(
        years, baseline["shift"], "o", color=st.MUTED, mec="white", mew=0.7, ms=6, zorder=4, ls="none", gid="baseline"
    )
    if "leave_one_out" in baseline.columns:
        style = {"color": st.MUTED, "mfc": "none", "mew": 1.1, "ms": 7, "zorder": 4, "ls": "none"}
        ax.plot(years + 0.16, baseline["leave_one_out"], "o", gid="left out", **style)


def _values(ax: Axes, cohort: np.ndarray, shift: np.ndarray) -> None:
    """The shifts in figures beside their points, away from the nearer neighbour."""
    before, after = np.diff(cohort, prepend=-np.inf), np.diff(cohort, append=np.inf)
    for where, value, left in zip(cohort, shift, before > after, strict=True):
        ax.annotate(
            st.number(value, st.digits_for(shift), True),
            (where, value),
            (-8 if left else 8, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontweight="bold",
            zorder=3,
        )


@st.styled
def shift_over_prior(
    x: Any,
    shift: Any,
    lower: Any,
    upper: Any,
    prior_density: Any = None,
    *,
    level: float = 0.95,
    at: float | None = None,
    unit: str = "score points",
    label_x: str = "Prior score",
) -> Figure:
    """The system shift at each prior score, with its band, over the density of the prior scores.

    x, shift, lower, upper: (k,) arrays; prior_density: (k,) densities at x, or None. at: a prior score to
    mark (the baseline mean, where the shift splits into level and slope).
    """
    x, shift, lower, upper = (np.asarray(v, dtype=float) for v in (x, shift, lower, upper))
    fig, ax = st.canvas(3.5)
    if prior_density is not None:
        under = ax.twinx()
        under.fill_between(x, np.asarray(prior_density, dtype=float), color=st.FAINT, lw=0, gid="prior")
        under.set(ylim=(0, 4 * np.nanmax(prior_density)), yticks=[])
        under.spines["right"].set_visible(False)
        ax.set_zorder(under.get_zorder() + 1)
        ax.patch.set_visible(False)
        under.annotate(
            "prior scores",
            (x[np.nanargmax(prior_density)], 0),
            (-8, 5),
            textcoords="offset points",
            ha="right",
            fontsize=st.SMALL,
            color=st.MUTED,
        )
    ax.axhline(0, color=st.INK, lw=0.8)
    ax.fill_between(x, lower, upper, color=st.BLUE, alpha=0.22, lw=0, gid="band")
    ax.plot(x, shift, color=st.BLUE, lw=1.8, gid="shift")
    if at is not None:
        ax.axvline(at, color=st.MUTED, lw=0.8, ls=(0, (5, 2)))
        value = float(np.interp(at, x, shift))
        ax.plot([at], [value], "o", color=st.BLUE, mec="white", mew=0.7, ms=7)
        side = "right" if shift[-1] > shift[0] else "left"  # the side where the band falls away
        ax.annotate(
            f"{st.number(value, st.digits_for(shift), True)} at the baseline mean",
            (at, float(np.interp(at, x, upper))),
            (-6 if side == "right" else 6, 8),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontweight="bold",
            bbox=st.on_white(),
        )
    ax.set_xlim(x.min(), x.max())
    ax.set(xlabel=f"{label_x} ({unit})", ylabel=f"Shift from the benchmark ({unit})")
    st.note(ax, f"Band: {st.percent(level)}, at each prior score by itself.")
    return fig


@st.styled
def bootstrap_vs_analytic(
    draws: Any,
    analytic_mean: float,
    analytic_se: float,
    *,
    level: float = 0.95,
    unit: str = "score points",
    label: str = "System shift",
) -> Figure:
    """Histogram of bootstrap replicates of the shift, with the normal density of the analytic estimate on it.

    draws: (R,) replicates, at least two. Both standard errors and intervals (percentile; normal) are stated.
    """
    draws = np.asarray(draws, dtype=float)
    draws = draws[np.isfinite(draws)]
    if draws.size < 2 or not analytic_se > 0:
        raise ValibError("The figure bootstrap_vs_analytic needs two replicates and a positive standard error.")
    tail = (1 - level) / 2
    normal = analytic_mean + stats.norm.ppf([tail, 1 - tail]) * analytic_se
    spans = (np.quantile(draws, [tail, 1 - tail]), normal)
    grid = np.linspace(
        min(draws.min(), analytic_mean - 3.6 * analytic_se), max(draws.max(), analytic_mean + 3.6 * analytic_se), 300
    )
    density = stats.norm.pdf(grid, analytic_mean, analytic_se)
    fig, ax = st.canvas(3.5)
    bins = int(np.clip(np.sqrt(draws.size) * 1.3, 8, 50))
    sns.histplot(x=draws, bins=bins, stat="density", ax=ax, color=st.BLUE, alpha=0.35, edgecolor="white", linewidth=0.5)
    highest = max(bar.get_height() for bar in ax.patches)
    ax.plot(grid, density, color=st.VERMILLION, lw=1.8, ls=(0, (5, 2)), gid="normal")
    top = max(highest, density.max())
    looks = ((st.BLUE, "Bootstrap", "-", draws.std(ddof=1)), (st.VERMILLION, "Analytic", (0, (5, 2)), analytic_se))
    digits = st.digits_for(draws) + (analytic_se < 1)
    for (low, high), (colour, words, dash, se), y in zip(spans, looks, (1.12, 1.28), strict=True):
        ax.hlines(y * top, low, high, color=colour, lw=2, ls=dash, gid=f"interval {words}")
        limits = f"{st.number(low, digits, True)} to {st.number(high, digits, True)}"
        stated = f"{words}: SE {st.number(se, digits + 1)}, {st.percent(level)} {limits}"
        st.write(
            ax, stated, ((low + high) / 2, y * top), (0, 3), ha="center", va="bottom", color=colour, fontsize=st.SMALL
        )
    ax.set(ylim=(0, 1.45 * top), yticks=[], xlabel=f"{label} ({unit})", ylabel="Density")
    ax.spines["left"].set_visible(False)
    st.note(ax, f"{st.plural(draws.size, 'replicate')}.")
    return fig
