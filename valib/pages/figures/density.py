"""Relative and benchmark value added side by side: the densities by cohort, and one against the other."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from valib.errors import ValibError
from valib.pages.figures import style as st


@st.styled
def va_density(
    frames: pd.DataFrame, *, min_n: int = 1, unit: str = "score points", label: str = "Value added"
) -> Figure:
    """Densities of relative and benchmark value added over schools, one row a cohort, with the mean of each.

    The means are over all schools: they are known (zero, and the shift), and show none by itself.

    frames: one row a school, cohort and model; columns cohort, model ("Relative", "Benchmark", in any case)
    and effect (and n when min_n > 1). Kernel densities are Gaussian with Scott's bandwidth; effects that do
    not vary are drawn as a spike.
    """
    st.require(frames, ["cohort", "model", "effect"], "va_density")
    frames = frames.assign(model=frames["model"].astype(str).str.capitalize())
    frames = frames.dropna(subset=["effect"])
    means = frames.groupby(["cohort", "model"])["effect"].mean()
    frames, left = st.suppress(frames, min_n, "va_density", "school-cohort cell")
    cohorts = sorted(frames["cohort"].unique())
    models = sorted(frames["model"].unique(), key=lambda m: (m != "Relative", m != "Benchmark", str(m)))
    pooled = frames["effect"].to_numpy(dtype=float)
    pad = 0.18 * np.ptp(pooled) or 1.0
    grid = np.linspace(pooled.min() - pad, pooled.max() + pad, 512)
    fig, axes = st.canvas(min(0.75 + 1.12 * len(cohorts), 8.4), rows=len(cohorts), sharex=True, squeeze=False)
    fig.get_layout_engine().set(hspace=0.0, h_pad=0.01)
    parts = {
        key: frames.loc[(frames["cohort"] == key[0]) & (frames["model"] == key[1]), "effect"]
        for key in itertools.product(cohorts, models)
    }
    curves = {
        key: (_density(effects, grid), float(means.get(key, np.nan)) if len(effects) else np.nan)
        for key, effects in parts.items()
    }
    peaks = {c: float(np.nanmax([curves[c, m][0].max() for m in models])) for c in cohorts}
    whole = all(len(parts[cohorts[0], m]) for m in models)  # then the first row names the models for all rows
    common = max(peaks.values()) <= 3 * min(peaks.values())
    for ax, cohort in zip(axes[:, 0], cohorts, strict=True):
        top = max(peaks.values()) if common else peaks[cohort]
        row = {m: curves[cohort, m] for m in models}
        _density_row(ax, grid, row, top, peaks[cohort], st.digits_for(pooled), not whole or cohort == cohorts[0])
        _name_row(ax, cohort, int(frames.loc[frames["cohort"] == cohort].groupby("model").size().max()))
    axes[-1, 0].spines["bottom"].set_visible(True)
    axes[-1, 0].tick_params(axis="x", bottom=True, labelbottom=True)
    axes[-1, 0].set_xlabel(f"{label} ({unit})")
    st.note(axes[0, 0], left, "" if common else "The rows have different vertical scales.")
    return fig


def _name_row(ax: Axes, cohort: object, schools: int) -> None:
    """A row's cohort and number of schools, at its left."""
    place = {"transform": ax.transAxes, "ha": "right"}
    ax.set_label(f"{cohort}")
    ax.text(-0.015, 0.55, f"{cohort}", va="bottom", fontweight="bold", fontsize=10, **place)
    ax.text(-0.015, 0.5, st.plural(schools, "school"), va="top", fontsize=st.SMALL, color=st.MUTED, **place)


def _density(effects: pd.Series, grid: np.ndarray) -> np.ndarray:
    """Kernel density on the grid; a narrow triangle when the effects (nearly) do not vary."""
    values = effects.to_numpy(dtype=float)
    if not values.size:
        return np.full_like(grid, np.nan)
    step = grid[1] - grid[0]
    if values.size < 2 or values.std() < 2 * step:
        return np.clip(1 - np.abs(grid - values.mean()) / (6 * step), 0, None) / (6 * step)
    return stats.gaussian_kde(values)(grid)


def _density_row(
    ax: Axes,
    grid: np.ndarray,
    curves: dict[str, tuple[np.ndarray, float]],
    top: float,
    peak: float,
    digits: int,
    named: bool,
) -> None:
    """One cohort: filled curves, and a stem at each mean with its value, written away from the other mean."""
    ax.axvline(0, ymax=1.04, color=st.INK, lw=0.8, zorder=1, clip_on=False)
    present = {m: c for m, c in curves.items() if np.isfinite(c[1])}
    means = [mean for _, mean in present.values()]
    for k, (model, (curve, mean)) in enumerate(curves.items()):
        if model not in present:
            continue
        colour, marker, line = st.look(k)
        ax.fill_between(grid, curve, color=colour, alpha=0.22, lw=0, zorder=2)
        ax.plot(
            grid, np.where(curve > 0.004 * top, curve, np.nan), color=colour, ls=line, lw=1.6, zorder=3, gid=str(model)
        )
        ax.plot([mean, mean], [0, peak * 1.13], color=colour, lw=0.9, zorder=3)
        ax.plot(
            [mean], [0], marker, color=colour, mec="white", mew=0.7, ms=7, zorder=5, clip_on=False, gid=f"mean {model}"
        )
        left = mean < np.mean(means) or (mean == np.mean(means) and k > 0)
        value = st.number(mean, digits, True)
        words = (f"{model} {value}" if left else f"{value} {model}") if named else value
        ax.annotate(
            words,
            (mean, peak * 1.13),
            (-4 if left else 4, 1),
            textcoords="offset points",
            color=colour,
            ha="right" if left else "left",
            va="center",
            fontweight="bold",
            fontsize=st.SMALL,
            bbox=st.on_white(0.6),
            zorder=2.5,
        )
    ax.set(ylim=(0, top * 1.36), yticks=[], xlim=(grid[0], grid[-1]))
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_color(st.PALE)
    ax.tick_params(axis="x", bottom=False)


@st.styled
def relative_vs_benchmark(frames: pd.DataFrame, *, min_n: int = 1, unit: str = "score points") -> Figure:
    """Benchmark against relative value added: a point a school and cohort, a line of slope one a cohort.

    frames: as for va_density, with column (or index) school. Each line stands at the mean difference of its
    cohort; at the right: cohort, that difference, and the correlation (Pearson) within the cohort.
    """
    frames = frames.reset_index() if "school" not in frames.columns else frames
    st.require(frames, ["school", "cohort", "model", "effect"], "relative_vs_benchmark")
    frames = frames.assign(model=frames["model"].astype(str).str.capitalize())
    frames, left = st.suppress(frames, min_n, "relative_vs_benchmark", "school-cohort cell")
    wide = frames.pivot(index=["cohort", "school"], columns="model", values="effect").dropna()
    if not {"Relative", "Benchmark"} <= set(wide.columns) or wide.empty:
        raise ValibError("The figure relative_vs_benchmark needs both models for the same schools.")
    fig, ax = st.canvas(4.4)
    ends = np.array([wide["Relative"].min(), wide["Relative"].max()])
    ends += np.array([-0.04, 0.04]) * (np.ptp(ends) or 1.0)
    ax.axhline(0, color=st.PALE, lw=0.7, zorder=0)
    ax.axvline(0, color=st.PALE, lw=0.7, zorder=0)
    tails = []
    points = {"mec": "white", "mew": 0.3, "alpha": 0.75, "ls": "none", "zorder": 3}
    points |= {"ms": 2 if len(wide) > st.RASTER_ABOVE * 4 else 3.6, "rasterized": len(wide) > st.RASTER_ABOVE}
    for k, (cohort, part) in enumerate(wide.groupby(level="cohort")):
        (colour, marker, line), a, b = st.look(k), part["Relative"].to_numpy(), part["Benchmark"].to_numpy()
        gap = float(np.mean(b - a))
        ax.plot(ends, ends + gap, color=colour, lw=0.9, ls=line, zorder=2, gid=f"slope one {cohort}")
        st.named(part.index.get_level_values("school"), *ax.plot(a, b, marker, color=colour, gid=str(cohort), **points))
        words = f"{cohort}:  {st.number(gap, st.digits_for(wide), True)},  {st.correlation(a, b)}"
        tails.append((ends[1] + gap, words, colour))
    ax.set_xlim(ends)
    height = float(np.ptp(ax.get_ylim()))
    for (end, words, colour), y in zip(tails, st.spread([t[0] for t in tails], 0.055 * height), strict=True):
        where = ("axes fraction", "data")
        ax.annotate(
            words,
            (1, end),
            (1.05, y),
            xycoords=where,
            textcoords=where,
            va="center",
            annotation_clip=False,
            arrowprops=st.leader(0.9, colour, relpos=(0, 0.5)),
        )
    ax.set(xlabel=f"Relative value added ({unit})", ylabel=f"Benchmark value added ({unit})")
    st.note(ax, "Lines: slope one at the mean difference of each cohort.", left)
    return fig
