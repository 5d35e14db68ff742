"""Figures of random slopes and residual variances: the lines of schools, gaps between groups, standard deviations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from valib.pages.figures import style as st


@st.styled
def school_lines(
    table: pd.DataFrame, *, highlight: list[str] | None = None, label: str = "Prior score", unit: str = "score points"
) -> Figure:
    """Value added of every school as a line over a column with random slopes.

    table: of :func:`valib.va_at` with one column, of schools that may be shown; index school and the values, column effect.
    highlight: schools drawn in colour with their names.
    """
    st.require(table, ["effect"], "school_lines")
    wide = table["effect"].unstack(level=1)
    values = wide.columns.to_numpy(dtype=float)
    fig, ax = st.canvas(3.6)
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    thin = {"color": st.BLUE, "lw": 0.7, "alpha": 0.45, "rasterized": len(wide) > st.RASTER_ABOVE, "zorder": 2}
    for name, line in zip(wide.index, ax.plot(values, wide.to_numpy().T, gid="school", **thin), strict=True):
        st.named([name] * len(values), line)
    for name in [name for name in highlight or [] if name in wide.index]:
        ax.plot(values, wide.loc[name], color=st.ORANGE, lw=2.0, zorder=3, gid="highlight")
    ax.set(xlabel=label, ylabel=f"Value added ({unit})", xlim=(values.min(), values.max()))
    marked = "; orange: those whose lines are steepest" if highlight else ""
    st.note(ax, f"{st.plural(len(wide), 'school')}, a line each{marked}.")
    return fig


@st.styled
def nothing(why: str) -> Figure:
    """An empty frame that says why there is nothing to draw."""
    fig, ax = st.canvas(1.6)
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, why, ha="center", va="center", color=st.MUTED, transform=ax.transAxes)
    return fig


@st.styled
def school_gaps(table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points", label: str = "gap") -> Figure:
    """The gap of every school beside the system's, sorted, with its interval.

    table: of :func:`valib.va_gap`, of schools that may be shown; columns gap, lower, upper.
    """
    st.require(table, ["gap", "lower", "upper"], "school_gaps")
    table = table.sort_values("gap", kind="stable")
    rows = np.arange(len(table))
    clear = ((table["lower"] > 0) | (table["upper"] < 0)).to_numpy()
    fig, ax = st.canvas(3.2)
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    many = len(table) > st.RASTER_ABOVE
    for mask, colour in ((~clear, st.MUTED), (clear, st.BLUE)):
        part = table[mask]
        _estimates(ax, rows[mask], part, "gap", colour, many)
    ax.set(xlabel="Schools, sorted", ylabel=f"{label} ({unit})", xticks=[])
    st.note(
        ax, f"{st.percent(level)} intervals; blue: off zero ({int(clear.sum())} of {st.plural(len(table), 'school')})."
    )
    return fig


def _estimates(ax: Axes, rows: np.ndarray, part: pd.DataFrame, column: str, colour: str, many: bool) -> None:
    """The values of a column as dots, each with its interval."""
    lines = ax.vlines(rows, part["lower"], part["upper"], color=colour, lw=0.8, rasterized=many, gid="interval")
    look = {"color": colour, "mec": "white", "mew": 0.3, "ms": 3.5, "rasterized": many, "ls": "none"}
    st.named(part.index, lines, *ax.plot(rows, part[column], "o", gid="estimate", **look))


@st.styled
def residual_sds(table: pd.DataFrame, common: float, *, level: float = 0.95, unit: str = "score points") -> Figure:
    """The residual standard deviation of every school, shrunken, sorted, with its interval, beside the common one.

    table: of :func:`valib.residual_variances` by school, of schools that may be shown; columns sd, own_sd, lower, upper.
    """
    st.require(table, ["sd", "own_sd", "lower", "upper"], "residual_sds")
    table = table.sort_values("sd", kind="stable")
    rows = np.arange(len(table))
    clear = ((table["lower"] > common) | (table["upper"] < common)).to_numpy()
    fig, ax = st.canvas(3.2)
    ax.axhline(common, color=st.INK, lw=0.8, zorder=1)
    many = len(table) > st.RASTER_ABOVE
    for mask, colour in ((~clear, st.MUTED), (clear, st.BLUE)):
        part = table[mask]
        _estimates(ax, rows[mask], part, "sd", colour, many)
    crosses = {"color": st.ORANGE, "ms": 3, "mew": 0.7, "rasterized": many, "ls": "none", "gid": "own", "zorder": 3}
    st.named(table.index, *ax.plot(rows, table["own_sd"], "x", **crosses))
    ax.set(xlabel="Schools, sorted", ylabel=f"Residual SD ({unit})", xticks=[])
    off = f"blue: off the common one ({int(clear.sum())} of {st.plural(len(table), 'school')})"
    st.note(ax, f"Dots: shrunken, with {st.percent(level)} intervals; {off}; crosses: of the school's students alone.")
    return fig
