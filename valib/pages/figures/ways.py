"""Figures of the ways to correlate school effects over years: what each gives, and what it is expected to give."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from valib.errors import ValibError
from valib.pages.figures import style as st

WAYS = {
    "eb": "EB predictions",
    "unshrunken": "Unshrunken",
    "reflated": "Reflated",
    "disattenuated": "Disattenuated",
    "joint_eb": "Joint EB predictions",
    "joint_model": "Joint model",
}
PANELS = 3  # panels side by side


@st.styled
def correlation_ways(table: pd.DataFrame, *, pair: Sequence[int] | None = None, level: float = 0.95) -> Figure:
    """The six correlations side by side, each with its interval (dot, line) and its expected value (ring).

    table: columns cohort, other, way, correlation, lower, upper, expected, as stability.correlations gives them. pair:
    two cohorts to show alone. Several pairs are averaged by calendar gap, one panel a gap: estimates, limits and
    expected values each by their mean over the pairs for which all are known.
    """
    st.require(table, ["cohort", "other", "way", "correlation", "lower", "upper", "expected"], "correlation_ways")
    if pair is not None:
        table = table[(table["cohort"] == min(pair)) & (table["other"] == max(pair))]
        if table.empty:
            raise ValibError(f"The figure correlation_ways has no cohorts {min(pair)} and {max(pair)} to compare.")
    gap = (table["other"] - table["cohort"]).abs()
    single = len(table[["cohort", "other"]].drop_duplicates()) == 1
    gaps = sorted(gap.unique())
    columns, rows = min(PANELS, len(gaps)), int(np.ceil(len(gaps) / PANELS))
    fig, axes = st.canvas(2.6 if single else 0.9 + 1.75 * rows, rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.ravel()[len(gaps) :]:
        ax.set_visible(False)
    for k, (ax, g) in enumerate(zip(axes.ravel(), gaps, strict=False)):
        part = table[gap == g]
        pairs = len(part[["cohort", "other"]].drop_duplicates())
        _ways_panel(ax, part.groupby("way")[["correlation", "lower", "upper", "expected"]].mean(), single)
        first = part.iloc[0]
        ax.set_title(
            f"{first['cohort']} and {first['other']}"
            if single
            else st.plural(g, "year") + (f" ({pairs} pairs)" if pairs > 1 else "")
        )
        if k >= len(gaps) - columns:
            ax.set_xlabel("Correlation")
            ax.tick_params(labelbottom=True)
    axes[0, 0].set_yticks(range(len(WAYS)), WAYS.values())
    axes[0, 0].set_ylim(len(WAYS) - 0.5, -0.5)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(6 if single else 3))
    several = "" if single else "Panels by the years between two cohorts"
    if len(table) > len(WAYS) * len(gaps):
        several += "; estimates, limits and expected values of several pairs are averaged"
    _note_above(
        fig,
        f"Dot and line: estimate and {st.percent(level)} interval. Ring: expected under the fitted joint "
        "model. Dashed: the joint model's estimate.",
        several + "." if several else "",
    )
    return fig


def _note_above(fig: Figure, *sentences: str) -> None:
    """Small print over a figure of several panels."""
    text = textwrap.fill(" ".join(s for s in sentences if s), int(15.5 * fig.get_figwidth()))
    fig.suptitle(
        text, x=0.01, ha="left", fontsize=st.SMALL, fontweight="normal", color=st.MUTED, gid="note", linespacing=1.3
    )


def _ways_panel(ax: Axes, values: pd.DataFrame, written: bool) -> None:
    """One row a way; the joint model's estimate as a line through all of them."""
    reported = values["correlation"].get("joint_model", np.nan)
    ax.axvline(0, color=st.PALE, lw=0.7, zorder=0)
    ax.axvline(reported, color=st.VERMILLION, lw=0.9, ls=(0, (5, 2)), zorder=1)
    for y, way in enumerate(WAYS):
        if way not in values.index:
            continue
        row, colour = values.loc[way], st.VERMILLION if way == "joint_model" else st.BLUE
        ax.hlines(y, row["lower"], row["upper"], color=colour, lw=1.4, zorder=2, gid=f"interval {way}")
        ax.plot([row["expected"]], [y], "o", mfc="none", mec=st.INK, mew=0.9, ms=8, zorder=3, gid=f"expected {way}")
        ax.plot(
            [row["correlation"]],
            [y],
            "D" if way == "joint_model" else "o",
            color=colour,
            mec="white",
            mew=0.5,
            ms=5,
            zorder=4,
            gid=f"estimate {way}",
        )
        if written:
            words = f"{_two(row['correlation'])}  (expected {_two(row['expected'])})"
            st.write(ax, words, (1, y), (8, 0), xycoords=("axes fraction", "data"), fontsize=st.SMALL, color=colour)
    ax.tick_params(axis="y", length=0)


def _two(value: float) -> str:
    return st.number(value, 2) if np.isfinite(value) else "not known"


@st.styled
def attenuation(curves: pd.DataFrame, *, at: float | None = None) -> Figure:
    """What each way of correlating is expected to give, by the reliability of the predictions; one panel a true rho.

    curves: columns rho, reliability, way, expected, as stability.attenuation_curves gives them. Ways that give the
    same are one line. at: a reliability to mark, with the values there.
    """
    st.require(curves, ["rho", "reliability", "way", "expected"], "attenuation")
    rhos = sorted(curves["rho"].unique())
    columns, rows = min(PANELS, len(rhos)), int(np.ceil(len(rhos) / PANELS))
    fig, axes = st.canvas(0.9 + 2.4 * rows, rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.ravel()[len(rhos) :]:
        ax.set_visible(False)
    for k, (ax, rho) in enumerate(zip(axes.ravel(), rhos, strict=False)):
        wide = curves[curves["rho"] == rho].pivot(index="reliability", columns="way", values="expected")
        lines = _same_lines(wide)
        for (ways, line), colour, dash in zip(lines, (st.BLUE, st.VERMILLION, *st.COLOURS[2:]), st.LINES, strict=False):
            ax.plot(
                line.index,
                line,
                color=colour,
                ls=dash,
                lw=1.7,
                label=", ".join(ways) if k == 0 else None,
                gid=", ".join(ways),
            )
        if at is not None:
            _mark(ax, [line for _, line in lines], at)
        ax.set_title(rf"True $\rho$ = {st.number(rho, 2)}")
        ax.set(xlim=(0, 1), xticks=(0, 0.5, 1), ylim=(min(0.0, wide.min().min()) - 0.02, 1.04))
        if k >= len(rhos) - columns:
            ax.set_xlabel("Reliability")
            ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("Expected correlation")
    fig.legend(loc="outside upper left", ncols=1, handlelength=3, borderpad=0.1)
    return fig


def _same_lines(wide: pd.DataFrame) -> list[tuple[list[str], pd.Series]]:
    """The ways in their order, those with the same values together, each group with its line."""
    groups: list[tuple[list[str], pd.Series]] = []
    for way in [w for w in WAYS if w in wide.columns]:
        for ways, line in groups:
            if np.allclose(line, wide[way], atol=1e-9):
                ways.append(WAYS[way])
                break
        else:
            groups.append(([WAYS[way]], wide[way]))
    return groups


def _mark(ax: Axes, lines: list[pd.Series], at: float) -> None:
    """A reliability as a thin line, with the values of all lines there."""
    ax.axvline(at, color=st.MUTED, lw=0.8, zorder=1, gid="at")
    values = [float(np.interp(at, line.index, line)) for line in lines]
    left = at > 0.5
    for value, y in zip(values, st.spread(values, 0.085), strict=True):
        ax.plot([at], [value], "o", color=st.INK, ms=3.5, zorder=4)
        st.write(
            ax,
            st.number(value, 2),
            (at, y),
            (-5 if left else 5, 0),
            ha="right" if left else "left",
            fontsize=st.SMALL,
            bbox=st.on_white(0.4),
        )
