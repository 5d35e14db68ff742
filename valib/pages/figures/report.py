"""Figures of a school's own page: its value added, its place and its intake over the years."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from valib.pages.figures.style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    PALE,
    SMALL,
    VERMILLION,
    canvas,
    note,
    require,
    styled,
    write,
)

SIDES = ((0, MUTED, "o"), (-1, VERMILLION, "v"), (1, BLUE, "^"))  # across zero, below, above: as in a caterpillar
BAND = "#D3DEEA"


@styled
def school_va(frame: pd.DataFrame, *, unit: str = "score points") -> Figure:
    """Value added of one school by cohort, each with its interval: against its own year, and against the baseline.

    frame: one row a cohort (column or index cohort), columns role ("baseline" or "focal"), relative and benchmark with
    _lower and _upper, shift; missing where the school is not shown or a value does not exist. The dash in the right
    panel, beside a value of the school, is the shift: the average school of the year.
    """
    frame = _by_cohort(frame, "school_va", ["role", *_with_interval("relative"), *_with_interval("benchmark"), "shift"])
    focal = frame[frame["role"] == "focal"]
    fig, (left, right) = canvas(2.6, columns=2, sharey=True, width_ratios=[len(frame) + 1, len(focal) + 1])
    for ax, part, model in ((left, frame, "relative"), (right, focal, "benchmark")):
        _axis(ax, part)
        ax.axhline(0, color=INK, lw=0.9, zorder=1)
        _values(ax, part, model)
    beside = focal["shift"].where(focal["benchmark"].notna())
    right.plot(_positions(focal), beside, "_", color=MUTED, ms=15, mew=2, zorder=2, ls="none", gid="shift")
    base = np.flatnonzero(frame["role"] == "baseline")
    for k in base:
        left.axvspan(k - 0.5, k + 0.5, color="#F3F3F3", lw=0, zorder=0, gid="baseline")
    if len(base):
        write(
            left,
            "baseline",
            (base.mean(), 0),
            (0, 5),
            xycoords=("data", "axes fraction"),
            va="bottom",
            ha="center",
            fontsize=SMALL,
            color=MUTED,
        )
    left.set_ylabel(f"Value added ({unit})")
    note(left, "Against the average school of its year")
    note(right, "Against the baseline")
    return fig


@styled
def school_place(frame: pd.DataFrame) -> Figure:
    """The place of one school among the schools of each cohort, with its interval; 1 is the highest value added.

    frame: one row a cohort, columns expected_rank, rank_lower, rank_upper, ranked (the schools that have a
    place); missing where there is none. A column for each cohort holds all its places; the highest and the lowest
    fifth are set off.
    """
    frame = _by_cohort(frame, "school_place", ["expected_rank", "rank_lower", "rank_upper", "ranked"])
    fig, ax = canvas(1.7)
    _axis(ax, frame)
    total = frame["ranked"].to_numpy(dtype=float)
    x, fifth = _positions(frame), np.maximum(total // 5, 1)
    for lower, upper, colour in (
        (np.full(len(x), 0.5), 0.5 + fifth, BAND),
        (0.5 + fifth, 0.5 + total - fifth, FAINT),
        (0.5 + total - fifth, 0.5 + total, "#F3DFD2"),
    ):
        ax.bar(x, upper - lower, 0.8, bottom=lower, color=colour, lw=0, zorder=0)
    there = frame["expected_rank"].notna().to_numpy()
    rows = frame[there]
    ax.vlines(x[there], rows["rank_lower"] - 0.5, rows["rank_upper"] + 0.5, color=INK, lw=1.6, zorder=3, gid="interval")
    ax.plot(x[there], rows["expected_rank"], "o", color=INK, ms=5.5, zorder=4, ls="none")
    for where, row in zip(x[there], rows.itertuples(), strict=True):
        write(ax, f"{row.expected_rank:.0f}", (where, row.expected_rank), (7, 0), fontsize=SMALL)
    _blank(ax, frame["expected_rank"])
    ax.set_ylim(total.max() + 0.5, 0.5)
    ticks = [1, *(t for t in ax.get_yticks() if 1 + 0.09 * total.max() < t < 0.97 * total.max())]
    ax.set_yticks(ticks, [f"{t:,.0f}" for t in ticks])
    ax.set_ylim(total.max() + 0.5, 0.5)
    ax.set_ylabel("Place (1 = highest)")
    return fig


@styled
def school_intake(frame: pd.DataFrame, *, unit: str = "score points") -> Figure:
    """Mean and spread of the prior scores of one school beside those of all schools, by cohort.

    frame: one row a cohort, columns prior_mean, prior_sd (missing where the school is not shown), and quantiles of the
    schools' means and SDs: mean_q05, mean_q25, mean_q50, mean_q75, mean_q95, sd_q05, ..., sd_q95.
    """
    needed = [f"{what}_q{q}" for what in ("mean", "sd") for q in ("05", "25", "50", "75", "95")]
    frame = _by_cohort(frame, "school_intake", ["prior_mean", "prior_sd", *needed])
    fig, axes = canvas(1.7, columns=2)
    for ax, what, label in ((axes[0], "mean", f"Mean ({unit})"), (axes[1], "sd", f"SD ({unit})")):
        _axis(ax, frame, most=5)
        x, value = _positions(frame), frame[f"prior_{what}"]
        for low, high, colour in (("05", "95", FAINT), ("25", "75", BAND)):
            ax.bar(
                x,
                frame[f"{what}_q{high}"] - frame[f"{what}_q{low}"],
                0.7,
                bottom=frame[f"{what}_q{low}"],
                color=colour,
                lw=0,
                zorder=1,
            )
        ax.hlines(frame[f"{what}_q50"], x - 0.35, x + 0.35, color=PALE, lw=1.2, zorder=2, gid="median")
        ax.plot(x, value, "o", color=INK, ms=5.5, zorder=3, ls="none", gid="school")
        ax.set_ylabel(label)
    return fig


def _with_interval(name: str) -> list[str]:
    return [name, f"{name}_lower", f"{name}_upper"]


def _by_cohort(frame: pd.DataFrame, figure: str, columns: list[str]) -> pd.DataFrame:
    """The rows by cohort, in order; the cohort becomes the index."""
    frame = frame.set_index("cohort") if "cohort" in frame.columns else frame
    require(frame, columns, figure)
    return frame.sort_index()


def _positions(frame: pd.DataFrame) -> np.ndarray:
    """Cohorts stand side by side: a school's page has no room for the years between."""
    return np.arange(len(frame), dtype=float)


def _axis(ax: Axes, frame: pd.DataFrame, most: int = 9) -> None:
    step = int(np.ceil(len(frame) / most))
    x = _positions(frame)
    ax.set_xlim(-0.6, len(frame) - 0.4)
    ax.set_xticks(x[::-step][::-1], [str(c) for c in frame.index[::-step][::-1]])
    ax.tick_params(axis="x", length=0)


def _values(ax: Axes, frame: pd.DataFrame, model: str) -> None:
    """Points with intervals, marked and coloured by the side of zero on which the interval lies."""
    x, (value, lower, upper) = _positions(frame), (frame[c].to_numpy(dtype=float) for c in _with_interval(model))
    sides = np.where(upper < 0, -1, np.where(lower > 0, 1, 0))
    for side, colour, marker in SIDES:
        here = (sides == side) & np.isfinite(value)
        ax.vlines(x[here], lower[here], upper[here], color=colour, lw=1.5, zorder=3, gid="interval")
        ax.plot(x[here], value[here], marker, color=colour, ms=6.5, mec="white", mew=0.6, zorder=4, ls="none")
    _blank(ax, frame[model])


def _blank(ax: Axes, values: pd.Series) -> None:
    """Say where a cohort has no figure."""
    for k in np.flatnonzero(values.isna()):
        write(
            ax,
            "no figure",
            (k, 0.5),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="center",
            fontsize=SMALL,
            color=PALE,
        )
