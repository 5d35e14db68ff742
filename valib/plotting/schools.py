"""Figures of schools: ranked effects, shrinkage, ranks, two sets of effects, one school under several recipes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from valib.errors import ValibError
from valib.plotting.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    PALE,
    RASTER_ABOVE,
    SMALL,
    VERMILLION,
    canvas,
    digits_for,
    log_axis,
    note,
    number,
    percent,
    plural,
    require,
    safe_name,
    styled,
    suppress,
)


@styled
def caterpillar(school_effects: pd.DataFrame, level: float = 0.95, highlight: str | Sequence[str] | None = None,
                label_extremes: int = 0, *, overlap: Any = None, shift: float | None = None, min_n: int = 1,
                unit: str = "score points", label: str = "Value added") -> Figure:  # fmt: skip
    """School effects in order, each with its interval (columns effect, lower, upper; n when min_n > 1).

    level: what lower and upper cover, for the small print. highlight: school name(s) to mark. label_extremes: so many
    schools named at either end. overlap: half-widths of overlap intervals (Goldstein and Healy 1995), one for each
    row, drawn thick. shift: the system shift of a benchmark fit, a dashed line.
    """
    require(school_effects, ["effect", "lower", "upper"], "caterpillar")
    frame = school_effects.assign(overlap=np.nan if overlap is None else np.asarray(overlap, dtype=float))
    frame, left = suppress(frame, min_n, "caterpillar")
    frame = frame.sort_values("effect", kind="stable")
    rank = np.arange(1, len(frame) + 1)
    fig, ax = canvas(4.1)
    ax.axhline(0, color=INK, lw=0.8, zorder=1)
    sides = np.where(frame["upper"] < 0, -1, np.where(frame["lower"] > 0, 1, 0))
    for side, colour, marker in ((0, PALE, "o"), (-1, VERMILLION, "v"), (1, BLUE, "^")):
        _intervals(ax, rank[sides == side], frame[sides == side], colour, marker, len(frame))
    if overlap is not None:
        ax.vlines(rank, frame["effect"] - frame["overlap"], frame["effect"] + frame["overlap"], color=INK, alpha=0.45,
                  lw=float(np.clip(500 / len(frame), 0.4, 2.6)), gid="overlap", rasterized=len(frame) > RASTER_ABOVE)  # fmt: skip
    if shift is not None:
        ax.axhline(shift, color=MUTED, lw=1, ls=(0, (5, 2)), zorder=1)
        ax.annotate(f"system shift {number(shift, digits_for(frame['effect']), True)}", (1, shift), (-2, 3), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", va="bottom", fontsize=SMALL, color=MUTED)  # fmt: skip
    _name_extremes(ax, frame, rank, label_extremes)
    _name_highlights(ax, frame, rank, highlight)
    ax.set_xlim(0.5 - 0.01 * len(frame), len(frame) * 1.01 + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set(xlabel="Schools, from lowest to highest value added", ylabel=f"{label} ({unit})")
    below, across, above = (int((sides == s).sum()) for s in (-1, 0, 1))
    thick = " Thick: overlap intervals for comparing two schools." if overlap is not None else ""
    note(ax, f"{percent(level)} intervals: {below:,} below 0 (▼), {across:,} across it (●), {above:,} above it (▲).{thick}", left)
    return fig


def _intervals(ax: Axes, x: np.ndarray, frame: pd.DataFrame, colour: str, marker: str, total: int) -> None:
    many = total > RASTER_ABOVE
    ax.vlines(x, frame["lower"], frame["upper"], color=colour, lw=float(np.clip(160 / total, 0.25, 1.1)),
              alpha=0.75, rasterized=many, gid="interval")  # fmt: skip
    ax.plot(x, frame["effect"], marker, color=colour, ms=float(np.clip(600 / total, 1.2, 4.2)), mew=0, ls="none",
            rasterized=many, zorder=3)  # fmt: skip


def _name_extremes(ax: Axes, frame: pd.DataFrame, rank: np.ndarray, count: int) -> None:
    """Names of the lowest schools under the intervals, of the highest over them, each with a thin leader."""
    count = min(count, len(frame) // 2)
    if count <= 0:
        return
    low, high = float(frame["lower"].min()), float(frame["upper"].max())
    step = 0.055 * (high - low)
    ax.set_ylim(low - step * (count + 1.2), high + step * (count + 1.2))
    for k in range(count):
        for i, column, x, y, ha in ((k, "lower", 0.07 + 0.05 * k, low - step * (count - k + 0.3), "left"),
                                    (-1 - k, "upper", 0.93 - 0.05 * k, high + step * (count - k + 0.3), "right")):  # fmt: skip
            ax.annotate(f"{safe_name(frame.index[i])}", (rank[i], frame[column].iloc[i]), (x, y),
                        textcoords=("axes fraction", "data"), ha=ha, va="center", fontsize=SMALL,
                        arrowprops={"arrowstyle": "-", "lw": 0.6, "color": PALE, "shrinkA": 1, "shrinkB": 1})  # fmt: skip


def _name_highlights(ax: Axes, frame: pd.DataFrame, rank: np.ndarray, highlight: str | Sequence[str] | None,
                     form: str | None = None) -> None:  # fmt: skip
    """Mark schools and write name and value where the S of the ranked points leaves room."""
    names = [highlight] if isinstance(highlight, str) else list(highlight or [])
    stacked = {"upper": 0, "lower": 0}
    for name in (n for n in names if n in frame.index):
        i = int(frame.index.get_loc(name))
        row = frame.iloc[i]
        ax.vlines([rank[i]], [row["lower"]], [row["upper"]], color=INK, lw=1.6, zorder=4, gid="highlight")
        ax.plot([rank[i]], [row["effect"]], "o", color=ORANGE, mec=INK, mew=0.9, ms=6, zorder=5)
        room = "upper" if rank[i] <= len(frame) / 2 else "lower"
        y = 0.84 - 0.09 * stacked[room] if room == "upper" else 0.16 + 0.09 * stacked[room]
        x = float(np.clip(rank[i] / len(frame), 0.03, 0.97))
        stacked[room] += 1
        value = form.format(row["effect"]) if form else number(row["effect"], digits_for(frame["effect"]), True)
        ax.annotate(f"{safe_name(name)}: {value}", (rank[i], row[room]), (x, y), textcoords="axes fraction", va="center",
                    ha="left" if room == "upper" else "right", fontweight="bold", zorder=6,
                    bbox={"fc": "white", "ec": "none", "pad": 1, "alpha": 0.85},
                    arrowprops={"arrowstyle": "-", "lw": 0.8, "color": INK, "shrinkA": 0, "shrinkB": 1})  # fmt: skip


@styled
def shrinkage(school_effects: pd.DataFrame, raw: Any, *, centre: float = 0.0, min_n: int = 1,
              unit: str = "score points") -> Figure:  # fmt: skip
    """Left: each school's raw mean residual (ring) and its BLUP (dot) against n. Right: the shrinkage factor lambda(n).

    school_effects: columns n, effect, shrinkage; raw: mean residual of each row (a Series is matched by school).
    centre: where effects shrink to (0, or the system shift). The curve is n theta/(1 + n theta) through the factors.
    """
    require(school_effects, ["n", "effect", "shrinkage"], "shrinkage")
    raw = raw.reindex(school_effects.index) if isinstance(raw, pd.Series) else np.asarray(raw, dtype=float)
    frame, left = suppress(school_effects.assign(raw=raw), min_n, "shrinkage")
    frame = frame.sort_values("n", kind="stable")
    n, factor = frame["n"].to_numpy(dtype=float), frame["shrinkage"].to_numpy(dtype=float)
    many = len(frame) > RASTER_ABOVE
    fig, (ax, curve) = canvas(3.4, columns=2, width_ratios=[1.45, 1])
    ax.axhline(centre, color=INK, lw=0.8, zorder=1)
    ax.vlines(n, frame["raw"], frame["effect"], color=PALE, lw=0.25 if many else 0.6, rasterized=many, gid="pull")
    ax.plot(n, frame["raw"], "o", mfc="white", mec=VERMILLION, mew=0.8, ms=2.2 if many else 3.8, rasterized=many)
    ax.plot(n, frame["effect"], "o", color=BLUE, mec="white", mew=0.3, ms=2.2 if many else 4, rasterized=many)
    theta = float(np.median(factor / (n * np.clip(1 - factor, 1e-12, None))))
    grid = np.geomspace(n.min(), max(n.max(), n.min() * 1.01), 200)
    curve.plot(grid, grid * theta / (1 + grid * theta), color=INK, lw=1.2, gid="curve")
    curve.plot(n, factor, "o", color=BLUE, mec="white", mew=0.3, ms=3.4, rasterized=many)
    curve.set(ylim=(0, 1.02), ylabel="Shrinkage factor (reliability)", xlabel="Students (log scale)")
    ax.set(ylabel=f"Value added ({unit})", xlabel="Students (log scale)")
    for axes in (ax, curve):
        log_axis(axes)
    ax.plot([], [], "o", mfc="white", mec=VERMILLION, mew=0.8, ms=3.8, label="raw mean residual")
    ax.plot([], [], "o", color=BLUE, ms=4, label="BLUP")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, handletextpad=0.1, columnspacing=1.2, borderpad=0)
    if left:
        fig.text(1, 0, left, gid="note", fontsize=SMALL, color=MUTED, ha="right")
        fig.get_layout_engine().set(rect=(0, 0.06, 1, 0.94))
    return fig


@styled
def rank_intervals(ranks: pd.DataFrame, highlight: str | Sequence[str] | None = None, *, level: float = 0.95,
                   min_n: int = 1) -> Figure:  # fmt: skip
    """Expected rank of each school (1 = highest value added) with its interval, in order of expected rank.

    ranks: index school, columns expected_rank, rank_lower, rank_upper (and n when min_n > 1).
    """
    require(ranks, ["expected_rank", "rank_lower", "rank_upper"], "rank_intervals")
    total = len(ranks)
    frame, left = suppress(ranks, min_n, "rank_intervals")
    frame = frame.sort_values("expected_rank", ascending=False, kind="stable")
    frame = frame[["expected_rank", "rank_lower", "rank_upper"]].set_axis(["effect", "lower", "upper"], axis=1)
    position = np.arange(1, len(frame) + 1)
    fig, ax = canvas(3.9)
    _intervals(ax, position, frame, BLUE, "o", len(frame))
    ax.set_ylim(total + 0.03 * total + 0.5, 1 - 0.03 * total - 0.5)
    ax.set_yticks(_rank_ticks(total))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    turned = frame.set_axis(["effect", "upper", "lower"], axis=1)  # rank 1 is on top: the lower rank is the upper end
    _name_highlights(ax, turned, position, highlight, "expected rank {:.0f}")
    ax.set(xlabel="Schools, from lowest to highest expected rank", ylabel="Rank (1 = highest value added)")
    width = float((frame["upper"] - frame["lower"]).median())
    note(ax, f"{percent(level)} intervals; half of the schools have one wider than {width:,.0f} of {plural(total, 'place')}.", left)
    return fig


def _rank_ticks(total: int) -> list[int]:
    inner = MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]).tick_values(1, total)
    return [1, *[int(t) for t in inner if 1 + 0.06 * total < t < total * 0.94], total] if total > 1 else [1]


@styled
def type_ab(effects_a: Any, effects_b: Any, label_x: str, label_y: str, *, highlight: str | Sequence[str] | None = None,
            min_n: int = 1, unit: str = "score points") -> Figure:  # fmt: skip
    """Two sets of effects of the same schools, the identity line, and their correlation (Pearson).

    effects_a, effects_b: school_effects tables (column effect), Series by school, or arrays of one length. Tables and
    Series are matched by school; only schools in both are drawn.
    """
    frame, left = suppress(_paired(effects_a, effects_b), min_n, "type_ab")
    a, b = frame["a"].to_numpy(dtype=float), frame["b"].to_numpy(dtype=float)
    fig, ax = canvas(4.3, width=4.7)
    span = max(np.ptp(a), np.ptp(b), 1e-9) / 2 * 1.12
    ends = np.array([min(a.min(), b.min()) - span * 0.1, max(a.max(), b.max()) + span * 0.1])
    ax.plot(ends, ends, color=INK, lw=0.9, ls=(0, (5, 2)), zorder=1, gid="identity")
    ax.plot(a, b, "o", color=BLUE, mec="white", mew=0.4, ms=2.5 if len(a) > RASTER_ABOVE else 4.5, ls="none", alpha=0.8,
            rasterized=len(a) > RASTER_ABOVE)  # fmt: skip
    ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{label_x} ({unit})", ylabel=f"{label_y} ({unit})")
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    for name in [highlight] if isinstance(highlight, str) else list(highlight or []):
        if name in frame.index:
            x, y = frame.loc[name, ["a", "b"]]
            ax.plot([x], [y], "o", color=ORANGE, mec=INK, mew=0.9, ms=6.5, zorder=4)
            right = x > ends.mean()
            ax.annotate(safe_name(name), (x, y), (-9 if right else 9, 0), textcoords="offset points", va="center",
                        ha="right" if right else "left", fontweight="bold", zorder=5,
                        bbox={"fc": "white", "ec": "none", "pad": 1, "alpha": 0.85})  # fmt: skip
    varies = len(a) > 1 and np.std(a) > 0 and np.std(b) > 0
    said = f"r = {number(np.corrcoef(a, b)[0, 1], 3)}" if varies else "no correlation: one set does not vary"
    note(ax, f"{said}; {plural(len(a), 'school')}; dashed: equal value added", left)
    return fig


def _paired(effects_a: Any, effects_b: Any) -> pd.DataFrame:
    """Columns a, b (and n, the smaller, when both are tables with n), rows the schools in both."""
    parts = []
    for name, effects in (("a", effects_a), ("b", effects_b)):
        if isinstance(effects, pd.DataFrame):
            require(effects, ["effect"], "type_ab")
            effects = effects.rename(columns={"effect": name, "n": f"n_{name}"}).filter([name, f"n_{name}"])
        parts.append(effects if isinstance(effects, pd.DataFrame) else pd.Series(effects, name=name, dtype=float).to_frame())
    if not any(isinstance(e, (pd.DataFrame, pd.Series)) for e in (effects_a, effects_b)) and len(parts[0]) != len(parts[1]):
        raise ValibError(f"The figure type_ab got {len(parts[0])} and {len(parts[1])} effects.")
    frame = pd.concat(parts, axis=1, join="inner").dropna(subset=["a", "b"])
    if frame.empty:
        raise ValibError("The figure type_ab got no school with both effects.")
    if {"n_a", "n_b"} <= set(frame.columns):
        frame["n"] = frame[["n_a", "n_b"]].min(axis=1)
    return frame


@styled
def byhand_blup(table: pd.DataFrame, *, highlight: object = None, level: float = 0.95, unit: str = "ms",
                noun: str = "Subject") -> Figure:  # fmt: skip
    """For each subject an arrow from the raw mean residual (ring) to the BLUP (dot), and the BLUP's limits.

    table: columns subject (or the index), raw, blup, lower, upper.
    """
    table = table if "subject" in table.columns else table.rename_axis("subject").reset_index()
    require(table, ["subject", "raw", "blup", "lower", "upper"], "byhand_blup")
    table = table.sort_values("raw", kind="stable")
    rows = np.arange(len(table))
    fig, ax = canvas(1.2 + 0.205 * len(table))
    ax.axvline(0, color=INK, lw=0.8, zorder=1)
    ax.hlines(rows, table["lower"], table["upper"], color=BLUE, lw=2.6, alpha=0.35, gid="interval")
    for row, start, end in zip(rows, table["raw"], table["blup"], strict=True):
        ax.annotate("", (end, row), (start, row), arrowprops={"arrowstyle": "-|>,head_width=0.16,head_length=0.3",
                    "color": MUTED, "lw": 0.9, "shrinkA": 2.5, "shrinkB": 2.2})  # fmt: skip
    ax.plot(table["raw"], rows, "o", mfc="white", mec=VERMILLION, mew=1, ms=4.8, label="raw mean residual")
    ax.plot(table["blup"], rows, "o", color=BLUE, ms=4.8, label=f"BLUP with {percent(level)} limits")
    labels = ax.set_yticks(rows, [safe_name(s, 24) for s in table["subject"]]) and ax.get_yticklabels()
    for text, subject in zip(labels, table["subject"], strict=True):
        if str(subject) == str(highlight):
            text.set_fontweight("bold")
            ax.axhspan(*(rows[table["subject"] == subject][0] + np.array([-0.5, 0.5])), color=FAINT, lw=0, zorder=0)
    ax.set_ylim(-0.8, len(table) - 0.2)
    ax.set(xlabel=f"Deviation from the fixed part ({unit})", ylabel=noun)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=2, handletextpad=0.2, borderpad=0)
    return fig


@styled
def recipes(table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points", label: str = "Value added") -> Figure:
    """One school under each recipe: estimate and interval, the values written at the right, a line at 0.

    table: columns recipe, effect, lower, upper, drawn in the order given, the first on top.
    """
    require(table, ["recipe", "effect", "lower", "upper"], "recipes")
    rows = np.arange(len(table))
    digits = digits_for(table[["lower", "upper"]])
    names = ["\n".join(textwrap.wrap(safe_name(r, 80), 30)) for r in table["recipe"]]
    lines = np.array([n.count("\n") + 1 for n in names])
    fig, ax = canvas(1.05 + float(np.maximum(0.3, 0.15 * lines + 0.1).sum()))
    ax.axvline(0, color=INK, lw=0.8, zorder=1)
    ax.hlines(rows, table["lower"], table["upper"], color=BLUE, lw=1.6, gid="interval")
    ax.plot(table["effect"], rows, "o", color=BLUE, mec="white", mew=0.6, ms=6.5)
    ax.set_yticks(rows, names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(table) - 0.4, -0.6)
    for row, *values in zip(rows, table["effect"], table["lower"], table["upper"], strict=True):
        effect, low, high = (number(v, digits, True) for v in values)
        ax.text(1.03, row, f"{effect}  [{low}, {high}]", transform=ax.get_yaxis_transform(), va="center")
    ax.text(1.03, 1, f"estimate [{percent(level)}]", transform=ax.transAxes, va="bottom", fontsize=SMALL, color=MUTED)
    ax.set_xlabel(f"{label} ({unit})")
    return fig
