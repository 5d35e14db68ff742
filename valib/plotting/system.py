"""Figures of the whole system: relative and benchmark value added side by side, and the shift between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from valib.errors import ValibError
from valib.plotting.style import (
    BLUE,
    COLOURS,
    FAINT,
    INK,
    LINES,
    MARKERS,
    MUTED,
    PALE,
    RASTER_ABOVE,
    SMALL,
    VERMILLION,
    break_at_gaps,
    canvas,
    cohort_axis,
    digits_for,
    note,
    number,
    percent,
    plural,
    require,
    spread,
    styled,
    suppress,
)


@styled
def va_density(frames: pd.DataFrame, *, min_n: int = 1, unit: str = "score points", label: str = "Value added") -> Figure:
    """Densities of relative and benchmark value added over schools, one row a cohort, with the mean of each.

    frames: one row a school, cohort and model; columns cohort, model ("Relative", "Benchmark"), effect (and n when
    min_n > 1). Kernel densities (Gaussian, Scott's bandwidth); effects that do not vary are drawn as a spike.
    """
    require(frames, ["cohort", "model", "effect"], "va_density")
    frames, left = suppress(frames.dropna(subset=["effect"]), min_n, "va_density", "estimate")
    cohorts = sorted(frames["cohort"].unique())
    models = sorted(frames["model"].unique(), key=lambda m: (m != "Relative", m != "Benchmark", str(m)))
    pooled = frames["effect"].to_numpy(dtype=float)
    pad = 0.12 * np.ptp(pooled) or 1.0
    grid = np.linspace(pooled.min() - pad, pooled.max() + pad, 512)
    fig, axes = canvas(min(0.75 + 1.12 * len(cohorts), 8.4), rows=len(cohorts), sharex=True, squeeze=False)
    fig.get_layout_engine().set(hspace=0.0, h_pad=0.02)
    curves = {(c, m): _density(frames.loc[(frames["cohort"] == c) & (frames["model"] == m), "effect"], grid)
              for c in cohorts for m in models}  # fmt: skip
    peaks = {c: max(curves[c, m][0].max() for m in models) for c in cohorts}
    common = max(peaks.values()) <= 3 * min(peaks.values())
    for ax, cohort in zip(axes[:, 0], cohorts, strict=True):
        top = max(peaks.values()) if common else peaks[cohort]
        _density_row(ax, grid, {m: curves[cohort, m] for m in models}, top, peaks[cohort], digits_for(pooled), cohort == cohorts[0])
        schools = int(frames.loc[frames["cohort"] == cohort].groupby("model").size().max())
        ax.text(-0.015, 0.55, f"{cohort}", transform=ax.transAxes, ha="right", va="bottom", fontweight="bold", fontsize=10)
        ax.text(-0.015, 0.5, plural(schools, "school"), transform=ax.transAxes, ha="right", va="top", fontsize=SMALL, color=MUTED)
    axes[-1, 0].spines["bottom"].set_visible(True)
    axes[-1, 0].tick_params(axis="x", bottom=True, labelbottom=True)
    axes[-1, 0].set_xlabel(f"{label} ({unit})")
    note(axes[0, 0], left, "" if common else "The rows have different vertical scales.")
    return fig


def _density(effects: pd.Series, grid: np.ndarray) -> tuple[np.ndarray, float]:
    """Kernel density on the grid and the mean; a triangle two grid steps wide when the effects (nearly) do not vary."""
    values = effects.to_numpy(dtype=float)
    if not values.size:
        return np.full_like(grid, np.nan), np.nan
    step = grid[1] - grid[0]
    if values.size < 2 or values.std() < 2 * step:
        return np.clip(1 - np.abs(grid - values.mean()) / (6 * step), 0, None) / (6 * step), float(values.mean())
    return stats.gaussian_kde(values)(grid), float(values.mean())


def _density_row(ax: Axes, grid: np.ndarray, curves: dict[str, tuple[np.ndarray, float]], top: float, peak: float,
                 digits: int, named: bool) -> None:  # fmt: skip
    """One cohort: filled curves, a stem at each mean up to its value, written on the side away from the other mean."""
    ax.axvline(0, color=INK, lw=0.8, zorder=1)
    present = {m: c for m, c in curves.items() if np.isfinite(c[1])}
    means = [mean for _, mean in present.values()]
    for k, (model, (curve, mean)) in enumerate(present.items()):
        colour = COLOURS[k % len(COLOURS)]
        ax.fill_between(grid, curve, color=colour, alpha=0.22, lw=0, zorder=2)
        ax.plot(grid, curve, color=colour, ls=LINES[k % len(LINES)], lw=1.6, zorder=3, gid=str(model))
        ax.plot([mean, mean], [0, peak * 1.13], color=colour, lw=0.9, zorder=3)
        ax.plot([mean], [0], MARKERS[k % len(MARKERS)], color=colour, mec="white", mew=0.7, ms=7, zorder=5, clip_on=False,
                gid=f"mean {model}")  # fmt: skip
        left = mean < np.mean(means) or (mean == np.mean(means) and k > 0)
        value = number(mean, digits, True)
        words = (f"{model} {value}" if left else f"{value} {model}") if named else value
        ax.annotate(words, (mean, peak * 1.13), (-4 if left else 4, 1), textcoords="offset points", color=colour,
                    ha="right" if left else "left", va="center", fontweight="bold", fontsize=SMALL)  # fmt: skip
    ax.set(ylim=(0, top * 1.36), yticks=[], xlim=(grid[0], grid[-1]))
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_color(PALE)
    ax.tick_params(axis="x", bottom=False)


@styled
def shifts(table: pd.DataFrame, *, level: float = 0.95, baseline: Any = None, unit: str = "score points") -> Figure:
    """System shift by focal cohort with its interval; the cap inside leaves out the error of the coefficients.

    table: columns cohort, shift, lower, upper; with se and se_coefficients (standard errors: total, and its part from
    the estimated benchmark coefficients) the inner interval has half-width (upper - lower)/2 sqrt(1 - (part/total)^2).
    baseline: cohorts of the benchmark, drawn as a bar at 0. No line joins cohorts across a missing year.
    """
    require(table, ["cohort", "shift", "lower", "upper"], "shifts")
    table = table.sort_values("cohort")
    cohort, shift, lower, upper = (table[c].to_numpy(dtype=float) for c in ("cohort", "shift", "lower", "upper"))
    years = np.asarray([] if baseline is None else list(baseline), dtype=float)
    fig, ax = canvas(3.5)
    cohort_axis(ax, np.concatenate([cohort, years]))
    ax.axhline(0, color=INK, lw=0.8, zorder=1)
    for k, year in enumerate(years):
        ax.hlines(0, year - 0.5, year + 0.5, color=MUTED, lw=5, alpha=0.6, zorder=2, gid="baseline")
        if k == 0:
            ax.annotate("baseline", (year - 0.5, 0), (0, 6), textcoords="offset points", color=MUTED, fontsize=SMALL)
    x, y = break_at_gaps(cohort, shift)
    ax.plot(x, y, color=BLUE, lw=0.9, alpha=0.6, zorder=2)
    ax.vlines(cohort, lower, upper, color=BLUE, lw=1.3, zorder=3, gid="interval")
    if {"se", "se_coefficients"} <= set(table.columns):
        part = (table["se_coefficients"] / table["se"]).to_numpy(dtype=float)
        half = (upper - lower) / 2 * np.sqrt(np.clip(1 - part**2, 0, None))
        ax.hlines(np.concatenate([shift - half, shift + half]), np.tile(cohort - 0.11, 2), np.tile(cohort + 0.11, 2),
                  color=BLUE, lw=1.6, zorder=3, gid="inner")  # fmt: skip
        note(ax, f"Line: {percent(level)} interval; ticks: the same without the error of the benchmark coefficients.")
    ax.plot(cohort, shift, "o", color=BLUE, mec="white", mew=0.7, ms=7, zorder=4, ls="none")
    for where, value in zip(cohort, shift, strict=True):
        ax.annotate(number(value, digits_for(shift), True), (where, value), (8, 0), textcoords="offset points", va="center",
                    fontweight="bold", bbox={"fc": "white", "ec": "none", "pad": 0.8, "alpha": 0.8}, zorder=3)  # fmt: skip
    ax.set(xlabel="Cohort (year of the test)", ylabel=f"System shift ({unit})")
    return fig


@styled
def shift_over_prior(x: Any, shift: Any, lower: Any, upper: Any, prior_density: Any = None, *, level: float = 0.95,
                     at: float | None = None, unit: str = "score points", label_x: str = "Prior score") -> Figure:  # fmt: skip
    """The system shift at each prior score, with its band, over the density of the prior scores.

    x, shift, lower, upper: (k,) arrays; prior_density: (k,) densities at x, or None. at: a prior score to mark (the
    baseline mean, where the shift splits into level and slope).
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
        under.annotate("prior scores", (x[np.nanargmax(prior_density)], 0), (0, 5), textcoords="offset points", ha="center",
                       fontsize=SMALL, color=MUTED)  # fmt: skip
    ax.axhline(0, color=INK, lw=0.8)
    ax.fill_between(x, lower, upper, color=BLUE, alpha=0.22, lw=0, gid="band")
    ax.plot(x, shift, color=BLUE, lw=1.8, gid="shift")
    if at is not None:
        ax.axvline(at, color=MUTED, lw=0.8, ls=(0, (5, 2)))
        value = float(np.interp(at, x, shift))
        ax.plot([at], [value], "o", color=BLUE, mec="white", mew=0.7, ms=7)
        ax.annotate(f"{number(value, digits_for(shift), True)} at the baseline mean", (at, value), (8, 10),
                    textcoords="offset points", va="bottom", fontweight="bold",
                    bbox={"fc": "white", "ec": "none", "pad": 1, "alpha": 0.8})  # fmt: skip
    ax.set_xlim(x.min(), x.max())
    ax.set(xlabel=f"{label_x} ({unit})", ylabel=f"Shift from the benchmark ({unit})")
    note(ax, f"Band: {percent(level)}, at each prior score by itself.")
    return fig


@styled
def relative_vs_benchmark(frames: pd.DataFrame, *, min_n: int = 1, unit: str = "score points") -> Figure:
    """Benchmark against relative value added, one point a school and cohort, a line of slope one for each cohort.

    frames: as for va_density, with column (or index) school. Each line stands at the mean difference of its cohort;
    at the right: cohort, that difference, and the correlation (Pearson) within the cohort.
    """
    frames = frames.reset_index() if "school" not in frames.columns else frames
    require(frames, ["school", "cohort", "model", "effect"], "relative_vs_benchmark")
    frames, left = suppress(frames, min_n, "relative_vs_benchmark", "estimate")
    wide = frames.pivot(index=["cohort", "school"], columns="model", values="effect").dropna()
    if not {"Relative", "Benchmark"} <= set(wide.columns) or wide.empty:
        raise ValibError("The figure relative_vs_benchmark needs both models, Relative and Benchmark, for the same schools.")
    fig, ax = canvas(4.4)
    ends = np.array([wide["Relative"].min(), wide["Relative"].max()])
    ends += np.array([-0.04, 0.04]) * (np.ptp(ends) or 1.0)
    ax.axhline(0, color=PALE, lw=0.7, zorder=0)
    ax.axvline(0, color=PALE, lw=0.7, zorder=0)
    tails = []
    for k, (cohort, part) in enumerate(wide.groupby(level="cohort")):
        colour, a, b = COLOURS[k % len(COLOURS)], part["Relative"].to_numpy(), part["Benchmark"].to_numpy()
        gap = float(np.mean(b - a))
        ax.plot(ends, ends + gap, color=colour, lw=0.9, ls=LINES[k % len(LINES)], zorder=2, gid=f"slope one {cohort}")
        ax.plot(a, b, MARKERS[k % len(MARKERS)], color=colour, mec="white", mew=0.3, alpha=0.75, ls="none", zorder=3,
                ms=2 if len(wide) > RASTER_ABOVE * 4 else 3.6, rasterized=len(wide) > RASTER_ABOVE)  # fmt: skip
        varies = len(a) > 1 and a.std() > 0 and b.std() > 0
        r = f"r = {number(np.corrcoef(a, b)[0, 1], 3)}" if varies else "r not defined"
        tails.append((ends[1] + gap, f"{cohort}:  {number(gap, digits_for(wide), True)},  {r}", colour))
    ax.set_xlim(ends)
    height = float(np.ptp(ax.get_ylim()))
    for (end, words, colour), y in zip(tails, spread([t[0] for t in tails], 0.055 * height), strict=True):
        ax.annotate(words, (1, end), (1.05, y), xycoords=("axes fraction", "data"), textcoords=("axes fraction", "data"),
                    color=colour, va="center", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "lw": 0.6, "color": colour, "shrinkA": 1, "shrinkB": 1})  # fmt: skip
    ax.set(xlabel=f"Relative value added ({unit})", ylabel=f"Benchmark value added ({unit})")
    note(ax, "Lines: slope one at the mean difference of each cohort.", left)
    return fig


@styled
def bootstrap_vs_analytic(draws: Any, analytic_mean: float, analytic_se: float, *, level: float = 0.95,
                          unit: str = "score points", label: str = "System shift") -> Figure:  # fmt: skip
    """Histogram of bootstrap replicates of the shift, with the normal density of the analytic estimate on it.

    draws: (R,) replicates, at least two; both standard errors and intervals (percentile; normal) are written out.
    """
    draws = np.asarray(draws, dtype=float)
    draws = draws[np.isfinite(draws)]
    if draws.size < 2 or not analytic_se > 0:
        raise ValibError("The figure bootstrap_vs_analytic needs two replicates and a positive standard error.")
    tail = (1 - level) / 2
    spans = (np.quantile(draws, [tail, 1 - tail]), analytic_mean + stats.norm.ppf([tail, 1 - tail]) * analytic_se)
    grid = np.linspace(min(draws.min(), analytic_mean - 3.6 * analytic_se), max(draws.max(), analytic_mean + 3.6 * analytic_se), 300)
    density = stats.norm.pdf(grid, analytic_mean, analytic_se)
    fig, ax = canvas(3.5)
    bins = int(np.clip(np.sqrt(draws.size) * 1.3, 8, 50))
    heights, _, _ = ax.hist(draws, bins=bins, density=True, color=BLUE, alpha=0.35, edgecolor="white", lw=0.5)
    ax.plot(grid, density, color=VERMILLION, lw=1.8, ls=(0, (5, 2)), gid="normal")
    top = max(heights.max(), density.max())
    looks = ((BLUE, "Bootstrap", "-", draws.std(ddof=1)), (VERMILLION, "Analytic", (0, (5, 2)), analytic_se))
    digits = digits_for(draws) + (analytic_se < 1)
    for (low, high), (colour, words, dash, se), y in zip(spans, looks, (1.12, 1.28), strict=True):
        ax.hlines(y * top, low, high, color=colour, lw=2, ls=dash, gid=f"interval {words}")
        ax.annotate(f"{words}: SE {number(se, digits + 1)}, {percent(level)} {number(low, digits, True)} to {number(high, digits, True)}",
                    ((low + high) / 2, y * top), (0, 3), textcoords="offset points", ha="center", va="bottom", color=colour,
                    fontsize=SMALL)  # fmt: skip
    ax.set(ylim=(0, 1.45 * top), yticks=[], xlabel=f"{label} ({unit})", ylabel="Density")
    ax.spines["left"].set_visible(False)
    note(ax, f"{plural(draws.size, 'replicate')}.")
    return fig
