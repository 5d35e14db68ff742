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
from valib.pages.figures.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    SMALL,
    VERMILLION,
    canvas,
    cohort_axis,
    digits_for,
    note,
    number,
    on_white,
    percent,
    plural,
    require,
    styled,
    write,
)


@styled
def shifts(table: pd.DataFrame, *, level: float = 0.95, baseline: Any = None, unit: str = "score points") -> Figure:
    """System shift by focal cohort with its interval; inner ticks: for these very schools, students alone being drawn.

    table: columns cohort, shift, lower, upper. With se and se_students (standard errors) the inner interval has
    half-width (upper - lower)/2 se_students/se. baseline: cohorts of the benchmark, a bar at 0; better, a table such as
    that of :func:`valib.shift_in_context`, whose baseline rows are drawn as they came out, and in which the interval of
    a further ordinary year lies behind that of each shift.
    """
    require(table, ["cohort", "shift", "lower", "upper"], "shifts")
    table = table.sort_values("cohort")
    own = table[table["role"] == "baseline"] if "role" in table.columns else table.iloc[:0]
    table = table[table["role"] == "focal"] if "role" in table.columns else table
    baseline = own["cohort"] if len(own) else baseline
    cohort, shift, lower, upper = (table[c].to_numpy(dtype=float) for c in ("cohort", "shift", "lower", "upper"))
    years = np.asarray([] if baseline is None else list(baseline), dtype=float)
    fig, ax = canvas(3.5)
    cohort_axis(ax, np.concatenate([cohort, years]), grey=False)
    ax.set_xlim(right=ax.get_xlim()[1] + 0.03 * np.ptp(ax.get_xlim()))
    ax.axhline(0, color=INK, lw=0.8, zorder=1)
    if len(own):
        _own_shifts(ax, own)
    for k, year in enumerate([] if len(own) else years):
        ax.hlines(0, year - 0.5, year + 0.5, color=MUTED, lw=5, alpha=0.6, zorder=2, gid="baseline")
        if k == 0:
            ax.annotate("baseline", (year - 0.5, 0), (0, 6), textcoords="offset points", color=MUTED, fontsize=SMALL)
    ax.vlines(cohort, lower, upper, color=BLUE, lw=1.3, zorder=3, gid="interval")
    if {"year_lower", "year_upper"} <= set(table.columns):
        ax.vlines(cohort, table["year_lower"], table["year_upper"], color=BLUE, lw=6, alpha=0.2, zorder=2, gid="year")
    if {"se", "se_students"} <= set(table.columns):
        half = (upper - lower) / 2 * (table["se_students"] / table["se"]).to_numpy(dtype=float)
        ends, left, right = np.concatenate([shift - half, shift + half]), cohort - 0.11, cohort + 0.11
        ax.hlines(ends, np.tile(left, 2), np.tile(right, 2), color=BLUE, lw=1.6, zorder=3, gid="inner")
        note(ax, f"Line: {percent(level)} interval; ticks: for these very schools, students alone.")
    ax.plot(cohort, shift, "o", color=BLUE, mec="white", mew=0.7, ms=7, zorder=4, ls="none")
    before, after = np.diff(cohort, prepend=-np.inf), np.diff(cohort, append=np.inf)
    for where, value, left in zip(cohort, shift, before > after, strict=True):  # away from the nearer neighbour
        ax.annotate(
            number(value, digits_for(shift), True),
            (where, value),
            (-8 if left else 8, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontweight="bold",
            zorder=3,
        )
    ax.set(xlabel="Cohort (year of the test)", ylabel=f"System shift ({unit})")
    return fig


def _own_shifts(ax: Axes, own: pd.DataFrame) -> None:
    """The baseline cohorts' own shifts: what ordinary years look like."""
    ax.vlines(own["cohort"], own["lower"], own["upper"], color=MUTED, lw=1.0, zorder=2, gid="baseline interval")
    ax.plot(own["cohort"], own["shift"], "o", color=MUTED, mfc="white", ms=5, zorder=3, ls="none", gid="baseline")
    first = own.iloc[0]
    ax.annotate(
        "baseline",
        (first["cohort"], first["upper"]),
        (0, 5),
        textcoords="offset points",
        ha="center",
        color=MUTED,
        fontsize=SMALL,
    )


@styled
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
    fig, ax = canvas(3.5)
    if prior_density is not None:
        under = ax.twinx()
        under.fill_between(x, np.asarray(prior_density, dtype=float), color=FAINT, lw=0, gid="prior")
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
            fontsize=SMALL,
            color=MUTED,
        )
    ax.axhline(0, color=INK, lw=0.8)
    ax.fill_between(x, lower, upper, color=BLUE, alpha=0.22, lw=0, gid="band")
    ax.plot(x, shift, color=BLUE, lw=1.8, gid="shift")
    if at is not None:
        ax.axvline(at, color=MUTED, lw=0.8, ls=(0, (5, 2)))
        value = float(np.interp(at, x, shift))
        ax.plot([at], [value], "o", color=BLUE, mec="white", mew=0.7, ms=7)
        side = "right" if shift[-1] > shift[0] else "left"  # the side where the band falls away
        ax.annotate(
            f"{number(value, digits_for(shift), True)} at the baseline mean",
            (at, float(np.interp(at, x, upper))),
            (-6 if side == "right" else 6, 8),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontweight="bold",
            bbox=on_white(),
        )
    ax.set_xlim(x.min(), x.max())
    ax.set(xlabel=f"{label_x} ({unit})", ylabel=f"Shift from the benchmark ({unit})")
    note(ax, f"Band: {percent(level)}, at each prior score by itself.")
    return fig


@styled
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
    fig, ax = canvas(3.5)
    bins = int(np.clip(np.sqrt(draws.size) * 1.3, 8, 50))
    sns.histplot(x=draws, bins=bins, stat="density", ax=ax, color=BLUE, alpha=0.35, edgecolor="white", linewidth=0.5)
    highest = max(bar.get_height() for bar in ax.patches)
    ax.plot(grid, density, color=VERMILLION, lw=1.8, ls=(0, (5, 2)), gid="normal")
    top = max(highest, density.max())
    looks = ((BLUE, "Bootstrap", "-", draws.std(ddof=1)), (VERMILLION, "Analytic", (0, (5, 2)), analytic_se))
    digits = digits_for(draws) + (analytic_se < 1)
    for (low, high), (colour, words, dash, se), y in zip(spans, looks, (1.12, 1.28), strict=True):
        ax.hlines(y * top, low, high, color=colour, lw=2, ls=dash, gid=f"interval {words}")
        limits = f"{number(low, digits, True)} to {number(high, digits, True)}"
        stated = f"{words}: SE {number(se, digits + 1)}, {percent(level)} {limits}"
        write(ax, stated, ((low + high) / 2, y * top), (0, 3), ha="center", va="bottom", color=colour, fontsize=SMALL)
    ax.set(ylim=(0, 1.45 * top), yticks=[], xlabel=f"{label} ({unit})", ylabel="Density")
    ax.spines["left"].set_visible(False)
    note(ax, f"{plural(draws.size, 'replicate')}.")
    return fig
