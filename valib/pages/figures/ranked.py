"""Figures of schools in order: effects with their intervals, ranks with theirs, changes with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from valib.pages.figures import style as st
from valib.records.disclosure import shown

SIDES = {0: (st.MUTED, "o"), -1: (st.VERMILLION, "v"), 1: (st.BLUE, "^")}  # colour and mark, in the order of drawing


@st.styled
def caterpillar(
    school_effects: pd.DataFrame,
    level: float = 0.95,
    highlight: str | Sequence[str] | None = None,
    label_extremes: int = 0,
    *,
    overlap: Any = None,
    shift: float | None = None,
    min_n: int = 1,
    unit: str = "score points",
    label: str = "Value added",
    left_out: str = "",
) -> Figure:
    """School effects in order, each with its interval (columns effect, lower, upper; n when min_n > 1).

    level: what lower and upper cover, for the small print. highlight: school name(s) to mark; one that is
    held back by min_n is not named. label_extremes: so many schools named at either end. overlap: half-widths
    of overlap intervals (Goldstein and Healy 1995), one for each row, drawn thick. shift: the system shift of
    a benchmark fit, a dashed line. left_out: a sentence on schools that the table lacks already.
    """
    st.require(school_effects, ["effect", "lower", "upper"], "caterpillar")
    frame = school_effects.assign(overlap=np.nan if overlap is None else np.asarray(overlap, dtype=float))
    frame, left = st.suppress(frame, min_n, "caterpillar")
    frame = frame.sort_values("effect", kind="stable")
    rank = np.arange(1, len(frame) + 1)
    fig, ax = st.canvas(4.1)
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    sides = _sides(frame)
    for side, (colour, marker) in SIDES.items():
        part = frame[sides == side]
        _intervals(ax, rank[sides == side], part, colour, marker, len(frame))
        if overlap is not None:
            thick = ax.vlines(
                rank[sides == side],
                part["effect"] - part["overlap"],
                part["effect"] + part["overlap"],
                color=colour,
                alpha=0.55,
                lw=float(np.clip(330 / len(frame), 0.5, 3)),
                gid="overlap",
                rasterized=len(frame) > st.RASTER_ABOVE,
            )
            st.named(part.index, thick)
    if shift is not None:
        ax.axhline(shift, color=st.MUTED, lw=1, ls=(0, (5, 2)), zorder=1, gid="shift")
        words = f"shift\n{st.number(shift, st.digits_for(frame['effect']), True)}"
        st.write(ax, words, (1, shift), (3, 0), xycoords=("axes fraction", "data"), fontsize=st.SMALL, color=st.MUTED)
    _name_extremes(ax, frame, rank, label_extremes)
    _name_highlights(ax, frame, rank, highlight)
    ax.set_xlim(0.5 - 0.01 * len(frame), len(frame) * 1.01 + 0.5)
    _rank_ticks(ax.xaxis, len(frame))
    ax.set(xlabel="Schools, from lowest to highest value added", ylabel=f"{label} ({unit})")
    thick = " Thick: overlap intervals for comparing two schools." if overlap is not None else ""
    st.note(ax, f"{st.percent(level)} intervals: {_counted(sides)}{thick}", left or left_out)
    return fig


def _sides(frame: pd.DataFrame) -> np.ndarray:
    """(rows,): -1 where the whole interval lies below 0, 1 where above, 0 where it holds 0."""
    return np.where(frame["upper"] < 0, -1, np.where(frame["lower"] > 0, 1, 0))


def _counted(sides: np.ndarray) -> str:
    below, across, above = (int((sides == s).sum()) for s in (-1, 0, 1))
    return f"{below:,} below 0 (▼), {across:,} across it (●), {above:,} above it (▲)."


def _intervals(ax: Axes, x: np.ndarray, frame: pd.DataFrame, colour: str, marker: str, total: int) -> None:
    many = total > st.RASTER_ABOVE
    st.named(
        frame.index,
        ax.vlines(
            x,
            frame["lower"],
            frame["upper"],
            color=colour,
            lw=float(np.clip(160 / total, 0.25, 1.1)),
            alpha=0.5,
            rasterized=many,
            gid="interval",
        ),
        *ax.plot(
            x,
            frame["effect"],
            marker,
            gid="estimate",
            color=colour,
            ms=float(np.clip(600 / total, 1.2, 4.2)),
            mew=0,
            ls="none",
            rasterized=many,
            zorder=3,
        ),
    )


def _name_extremes(ax: Axes, frame: pd.DataFrame, rank: np.ndarray, count: int) -> None:
    """Names of the lowest schools under the intervals, of the highest over them, each with a thin leader."""
    count = min(count, len(frame) // 2)
    if count <= 0:
        return
    low, high = float(frame["lower"].min()), float(frame["upper"].max())
    step = 0.055 * (high - low)
    ax.set_ylim(low - step * (count + 1.2), high + step * (count + 1.2))
    ends = (
        ("lower", np.arange(count), 0.08, low - step * count, "left"),
        ("upper", np.arange(-count, 0), 0.92, high + step * 1.3, "right"),
    )
    for column, places, x, start, side in ends:
        places = places[np.argsort(frame[column].to_numpy()[places], kind="stable")]  # no leaders cross
        for k, i in enumerate(places):
            end, place = (rank[i], frame[column].iloc[i]), (x, start + step * (k - 0.3))
            line = st.leader(0.6, st.PALE, relpos=(0 if side == "left" else 1, 0.5))
            ax.annotate(
                st.safe_name(frame.index[i]),
                end,
                place,
                textcoords=("axes fraction", "data"),
                ha=side,
                va="center",
                fontsize=st.SMALL,
                arrowprops=line,
            )


def _name_highlights(
    ax: Axes, frame: pd.DataFrame, rank: np.ndarray, highlight: str | Sequence[str] | None, form: str | None = None
) -> None:
    """Mark schools and write name and value where the S of the ranked points leaves room."""
    names = [highlight] if isinstance(highlight, str) else list(highlight or [])
    stacked = {"upper": 0, "lower": 0}
    for name in (n for n in names if n in frame.index):
        i = int(frame.index.get_loc(name))
        row = frame.iloc[i]
        ax.vlines([rank[i]], [row["lower"]], [row["upper"]], color=st.INK, lw=1.6, zorder=4, gid="highlight")
        ax.plot([rank[i]], [row["effect"]], "o", color=st.ORANGE, mec=st.INK, mew=0.9, ms=6, zorder=5)
        room = "upper" if rank[i] <= len(frame) / 2 else "lower"
        y = 0.84 - 0.09 * stacked[room] if room == "upper" else 0.16 + 0.09 * stacked[room]
        x = float(np.clip(rank[i] / len(frame), 0.03, 0.97))
        stacked[room] += 1
        value = row["effect"]
        value = form.format(value) if form else st.number(value, st.digits_for(frame["effect"]), True)
        ax.annotate(
            f"{st.safe_name(name)}: {value}",
            (rank[i], row[room]),
            (x, y),
            textcoords="axes fraction",
            va="center",
            ha="left" if room == "upper" else "right",
            fontweight="bold",
            zorder=6,
            bbox=st.on_white(),
            arrowprops=st.leader(0.8, st.INK),
        )


@st.styled
def change_in_va(
    frame: pd.DataFrame,
    highlight: str | Sequence[str] | None = None,
    *,
    level: float = 0.95,
    min_n: int = 1,
    unit: str = "score points",
) -> Figure:
    """Changes of school effects between two cohorts in order, each with its interval from the joint model.

    frame: columns change, lower, upper, se_independent (and, when min_n > 1, n_first and n_second, or shown: whether
    the school may be shown in both cohorts, as disclosure.shown_in_all says from all schools of both).
    Ticks: ends of the intervals that take the errors of the two cohorts as independent. highlight: school name(s).
    """
    st.require(frame, ["change", "lower", "upper", "se_independent"], "change_in_va")
    if min_n > 1:
        st.require(frame, ["n_first", "n_second"], f"change_in_va (with min_n = {min_n})")
        frame = frame.assign(n=frame[["n_first", "n_second"]].min(axis=1))
        if "shown" not in frame.columns:
            frame["shown"] = shown(frame["n_first"], min_n) & shown(frame["n_second"], min_n)
    frame, left = st.suppress(frame.rename(columns={"change": "effect"}), min_n, "change_in_va")
    frame = frame.sort_values("effect", kind="stable")
    rank, half = np.arange(1, len(frame) + 1), stats.norm.ppf(0.5 + level / 2) * frame["se_independent"]
    fig, ax = st.canvas(4.1)
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    sides = _sides(frame)
    for side, (colour, marker) in SIDES.items():
        _intervals(ax, rank[sides == side], frame[sides == side], colour, marker, len(frame))
    width = 0.34 if len(frame) <= st.RASTER_ABOVE else 0.5
    ends = np.concatenate([frame["effect"] - half, frame["effect"] + half])
    ax.hlines(
        ends,
        np.tile(rank - width, 2),
        np.tile(rank + width, 2),
        color=st.INK,
        lw=0.6,
        gid="independent",
        rasterized=len(frame) > st.RASTER_ABOVE,
        zorder=2,
    )
    _name_highlights(ax, frame, rank, highlight)
    ax.set_xlim(0.5 - 0.01 * len(frame), len(frame) * 1.01 + 0.5)
    _rank_ticks(ax.xaxis, len(frame))
    ax.set(xlabel="Schools, from the largest fall to the largest rise", ylabel=f"Change in value added ({unit})")
    apart = int((frame["effect"].abs() > half).sum())
    st.note(
        ax,
        f"{st.percent(level)} intervals: {_counted(sides)} "
        f"Ticks: if the errors of the two cohorts were independent; {apart:,} would then lie off 0.",
        left,
    )
    return fig


@st.styled
def rank_intervals(
    ranks: pd.DataFrame, highlight: str | Sequence[str] | None = None, *, level: float = 0.95, min_n: int = 1
) -> Figure:
    """Expected rank of each school (1 = highest value added) with its interval, in order of expected rank.

    ranks: index school, columns expected_rank, rank_lower, rank_upper (and n when min_n > 1).
    """
    st.require(ranks, ["expected_rank", "rank_lower", "rank_upper"], "rank_intervals")
    total = len(ranks)
    frame, left = st.suppress(ranks, min_n, "rank_intervals")
    frame = frame.sort_values("expected_rank", ascending=False, kind="stable")
    frame = frame[["expected_rank", "rank_lower", "rank_upper"]]
    frame = frame.set_axis(["effect", "lower", "upper"], axis=1)
    position = np.arange(1, len(frame) + 1)
    fig, ax = st.canvas(3.9)
    _intervals(ax, position, frame, st.BLUE, "o", len(frame))
    ax.set_ylim(total + 0.03 * total + 0.5, 1 - 0.03 * total - 0.5)
    _rank_ticks(ax.yaxis, total)
    _rank_ticks(ax.xaxis, len(frame))
    turned = frame.set_axis(["effect", "upper", "lower"], axis=1)  # rank 1 is on top
    _name_highlights(ax, turned, position, highlight, "expected rank {:.0f}")
    ax.set(xlabel="Schools, from lowest to highest expected rank", ylabel="Rank (1 = highest value added)")
    width = float((frame["upper"] - frame["lower"]).median())
    places = f"{width:,.0f} of {st.plural(total, 'place')}"
    st.note(ax, f"{st.percent(level)} intervals; half of the schools have one wider than {places}.", left)
    return fig


def _rank_ticks(axis: Any, total: int) -> None:
    """Ticks at 1, at round numbers, and at the last place."""
    inner = MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]).tick_values(1, total)
    ticks = [1, *[int(t) for t in inner if 1 + 0.09 * total < t < total * 0.91], total] if total > 1 else [1]
    axis.set_ticks(ticks, [f"{t:,}" for t in ticks])
