"""Figures of practice and advice: the same schools under several measures, and the steps of a release."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from valib.pages.figures import style as st

STEPS = (  # when, what is done
    (
        "Before results are seen",
        "Fix the baseline cohorts, the covariates, the smallest school that is shown, the level of the intervals and the "
        "thresholds of the checklist. Write them down and date them.",
    ),
    (
        "When the scores arrive",
        "Ask the testing authority whether the scale held and how large the equating error is. Compare the prior scores and "
        "the share of linked students with those of the baseline.",
    ),
    ("Then estimate", "Relative value added, the shift with each of its errors, and benchmark value added."),
    ("Then decide by the checklist", ""),
    (
        "In every later year",
        "Score the new cohort against the same benchmark, and add its shift to the record of years. When a test is replaced, "
        "set a new baseline and do not join the two records.",
    ),
)
STOP = "A stop sign: publish relative value added only, and say why."
GO = "No stop sign: publish the shift with its widest interval, and the schools with theirs."


@st.styled
def measures_beside(table: pd.DataFrame, *, marked: str = "", unit: str = "score points") -> Figure:
    """The schools of one cohort under several measures: a row each, with mean, middle half and middle nine tenths.

    table: a row a school that may be shown, a column a measure, drawn in this order. marked: the measure in another colour.
    """
    st.require(table, list(table.columns[:1]), "measures_beside")
    rows = np.arange(table.shape[1])
    low, first, third, high = (table.quantile(q).to_numpy() for q in (0.05, 0.25, 0.75, 0.95))
    mean = table.mean().to_numpy()
    colours = [st.VERMILLION if name == marked else st.BLUE for name in table]
    fig, ax = st.canvas(0.95 + 0.42 * len(rows))
    ax.axvline(0, color=st.INK, lw=0.8, zorder=1)
    ax.hlines(rows, low, high, color=colours, lw=1.0, gid="5th to 95th percentile", zorder=2)
    ax.hlines(rows, first, third, color=colours, lw=6, alpha=0.45, gid="middle half", zorder=2)
    ax.scatter(mean, rows, s=34, color=colours, marker="D", edgecolor="white", lw=0.7, zorder=3, gid="mean")
    names = ["\n".join(textwrap.wrap(st.safe_name(name, 80), 30)) for name in table]
    ax.set_yticks(rows, names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    digits = st.digits_for(table)
    for row, value, colour in zip(rows, mean, colours, strict=True):
        st.write(ax, st.number(value, digits, True), (1, row), (8, 0), xycoords=("axes fraction", "data"), color=colour)
    st.write(ax, "mean", (1, 1), (8, 0), xycoords="axes fraction", va="bottom", fontsize=st.SMALL, color=st.MUTED)
    ax.set_xlabel(
        f"Schools ({unit})\nDiamond: mean; thick: middle half; thin: 5th to 95th percentile.", linespacing=1.5
    )
    return fig


@st.styled
def release_steps() -> Figure:
    """The steps of a release from before the results to the years after it, with the one decision in it."""
    fig, ax = st.canvas(4.5)
    ax.set(xlim=(0, 100), ylim=(100, 0))
    ax.axis("off")
    tops, heights = (1, 23, 45, 62, 84), (15, 15, 10, 15, 15)
    for (when, what), top, height in zip(STEPS, tops, heights, strict=True):
        ax.text(0, top + height / 2, textwrap.fill(when, 14), va="center", fontweight="bold", color=st.INK)
        if what:
            _box(ax, 24, 99, top, height, what, st.MUTED)
    top, height = tops[3], heights[3]
    _box(ax, 24, 59, top, height, STOP, st.VERMILLION)
    _box(ax, 64, 99, top, height, GO, st.BLUE)
    down = {"arrowstyle": "-|>", "color": st.MUTED, "lw": 1.2, "shrinkA": 2, "shrinkB": 2}
    for k, x in ((0, 61.5), (1, 61.5), (2, 41.5), (2, 81.5), (3, 41.5), (3, 81.5)):
        ax.annotate("", (x, tops[k + 1]), (x, tops[k] + heights[k]), arrowprops=down)
    return fig


def _box(ax: Axes, left: float, right: float, top: float, height: float, words: str, colour: str) -> None:
    """A framed text, as wide as it is told."""
    frame = {"fc": "none" if colour != st.MUTED else st.FAINT, "ec": colour, "lw": 0.8 if colour == st.MUTED else 1.4}
    ax.add_patch(FancyBboxPatch((left, top), right - left, height, "round,pad=0,rounding_size=1.2", **frame))
    text = textwrap.fill(words, int(0.93 * (right - left)))
    ax.text(left + 1.5, top + height / 2, text, va="center", fontsize=st.SMALL + 0.3, linespacing=1.35, color=st.INK)
