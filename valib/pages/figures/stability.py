"""Figures of stability and shift: correlations of every pair of cohorts, moves between fifths, what a shift is made of."""

from __future__ import annotations

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from valib.errors import ValibError
from valib.pages.figures import style as st

DEEPEST = 0.62  # share of the full colour in a cell of value 1: dark figures stay readable on it


@st.styled
def correlation_matrix(frame: pd.DataFrame, se: pd.DataFrame | None = None, *, digits: int = 2) -> Figure:
    """Correlations of every pair of cohorts as the lower triangle of a table, shaded by size.

    frame: square, cohorts as index and columns. se: standard errors of the same shape, in brackets under each number.
    """
    values = np.asarray(frame, dtype=float)
    T = len(values)
    if T < 2 or values.shape != (T, T):
        raise ValibError("The figure correlation_matrix needs a square table of at least two cohorts.")
    errors = np.full((T, T), np.nan) if se is None else np.asarray(se, dtype=float)
    fig, ax = st.canvas(0.9 + 0.52 * (T - 1), width=min(st.WIDTH, max(2.4, 1.0 + 0.8 * (T - 1))))
    for t in range(1, T):
        for s in range(t):
            below = f"({st.number(errors[t, s], digits)})" if np.isfinite(errors[t, s]) else ""
            words = st.number(values[t, s], digits) if np.isfinite(values[t, s]) else "–"
            _cell(ax, s, T - 1 - t, values[t, s], words, below, st.VERMILLION if values[t, s] < 0 else st.BLUE)
    names = [str(name) for name in frame.index]
    ax.set_xticks(range(T - 1), names[:-1])
    ax.set_yticks(range(T - 1), names[:0:-1])
    ax.set(xlim=(-0.52, T - 1.48), ylim=(-0.52, T - 1.48))
    _bare(ax)
    brackets = " In brackets: standard errors." if se is not None else ""
    st.note(
        ax,
        f"The darker the larger; below zero in red.{brackets}"
        if (values < 0).any()
        else f"The darker the larger.{brackets}",
    )
    return fig


def _cell(ax: Axes, x: float, y: float, share: float, words: str, below: str, colour: str) -> None:
    """One shaded square of a table with its number, and smaller print under it."""
    depth = DEEPEST * min(abs(share), 1.0) if np.isfinite(share) else 0.0
    fill = (1 - depth) * np.ones(3) + depth * np.array(mcolors.to_rgb(colour))
    corners = [x - 0.48, x + 0.48, x + 0.48, x - 0.48], [y - 0.46, y - 0.46, y + 0.46, y + 0.46]
    ax.fill(*corners, color=fill, lw=0)[0].told = f"{words} {below}".strip()
    st.write(ax, words, (x, y), (0, 6 if below else 0), ha="center", fontsize=10, color="black")
    if below:
        st.write(ax, below, (x, y), (0, -8), ha="center", fontsize=st.SMALL, color="black")


def _bare(ax: Axes) -> None:
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


@st.styled
def correlation_by_gap(
    table: pd.DataFrame, curve: float | pd.DataFrame | None = None, *, level: float = 0.95
) -> Figure:
    """The joint model's correlation of each pair of cohorts, with its interval, by the years between them.

    table: columns cohort, other, correlation, lower, upper; of a table with column way the rows of the joint model.
    curve: a correlation rho of neighbouring years, drawn as rho^gap, or a table with columns gap and correlation (lower
    and upper, if there, as a band).
    """
    if "way" in table.columns:
        table = table[table["way"] == "joint_model"]
    st.require(table, ["cohort", "other", "correlation", "lower", "upper"], "correlation_by_gap")
    table = table.assign(gap=(table["other"] - table["cohort"]).abs()).sort_values(["gap", "cohort"])
    turn, size = table.groupby("gap").cumcount(), table.groupby("gap")["gap"].transform("size")
    x = (table["gap"] + 0.7 * ((turn + 0.5) / size - 0.5)).to_numpy()
    fig, ax = st.canvas(3.5)
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    top = int(table["gap"].max())
    if curve is not None:
        _gap_curve(ax, curve, top)
    ax.vlines(x, table["lower"], table["upper"], color=st.BLUE, lw=1.2, zorder=3, gid="interval")
    ax.plot(
        x, table["correlation"], "o", color=st.BLUE, mec="white", mew=0.6, ms=6, ls="none", zorder=4, gid="estimate"
    )
    ax.set_xlim(0.4, top + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.set_ylim(min(-0.05, *ax.get_ylim()), max(1.03, ax.get_ylim()[1]))
    ax.set(xlabel="Years between the cohorts", ylabel="Correlation of school effects")
    many = "; pairs equally far apart stand side by side" if (size > 1).any() else ""
    st.note(ax, f"{st.plural(len(table), 'pair')} of cohorts; lines: {st.percent(level)} intervals{many}.")
    return fig


def _gap_curve(ax: Axes, curve: float | pd.DataFrame, top: int) -> None:
    """The fitted curve, its band, and for a single rho its formula."""
    if isinstance(curve, pd.DataFrame):
        st.require(curve, ["gap", "correlation"], "correlation_by_gap (curve)")
        x, y = curve["gap"].to_numpy(dtype=float), curve["correlation"].to_numpy(dtype=float)
        if {"lower", "upper"} <= set(curve.columns):
            ax.fill_between(x, curve["lower"], curve["upper"], color=st.VERMILLION, alpha=0.18, lw=0, gid="band")
    else:
        x = np.linspace(0.4, top + 0.6, 200)
        y = float(curve) ** x if curve >= 0 else np.full_like(x, np.nan)
        words = rf"$\rho^{{\mathrm{{gap}}}}$,  $\rho$ = {st.number(curve, 2)}"
        ax.annotate(
            words,
            (0.995, 0.98),
            xycoords="axes fraction",
            ha="right",
            va="top",
            color=st.VERMILLION,
            fontsize=10,
            bbox=st.on_white(),
        )
    ax.plot(x, y, color=st.VERMILLION, lw=1.6, ls=(0, (5, 2)), zorder=2, gid="curve")


@st.styled
def quintile_transitions(
    frame: pd.DataFrame, *, first: int | str | None = None, second: int | str | None = None, level: float = 0.95
) -> Figure:
    """Moves between fifths: per cent of each fifth of the first cohort (rows) by fifth in the second, with intervals.

    frame: columns from, to (1 lowest to 5), share, lower, upper (shares of 1). first, second: names of the cohorts.
    """
    st.require(frame, ["from", "to", "share", "lower", "upper"], "quintile_transitions")
    fig, ax = st.canvas(3.9, width=5.4)
    for start, end, share, low, high in frame[["from", "to", "share", "lower", "upper"]].itertuples(index=False):
        _cell(ax, end - 1, start - 1, share, f"{100 * share:.0f}%", f"{100 * low:.0f} to {100 * high:.0f}", st.BLUE)
    names = ["1\nlowest", "2", "3", "4", "5\nhighest"]
    ax.set_xticks(range(5), names)
    ax.set_yticks(range(5), names)
    ax.set(
        xlim=(-0.52, 4.52),
        ylim=(-0.52, 4.52),
        xlabel=f"Fifth in {second or 'the second cohort'}",
        ylabel=f"Fifth in {first or 'the first cohort'}",
    )
    _bare(ax)
    st.note(ax, f"Rows add up to 100%; {st.percent(level)} intervals. If nothing lasted, every cell would be 20%.")
    return fig


@st.styled
def shift_split(table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points") -> Figure:
    """The shift of each cohort in its level part and its slope part, and their total, with intervals.

    table: columns cohort, part ("level", "slope", "total"), shift, lower, upper.
    """
    st.require(table, ["cohort", "part", "shift", "lower", "upper"], "shift_split")
    looks = {
        "level": (st.BLUE, "o", "Level: at the baseline means"),
        "slope": (st.GREEN, "s", "Slope: changed intake at changed slopes"),
        "total": (st.INK, "D", "Total: at the cohort's own means"),
    }
    return _parts(table, looks, "total", f"Shift from the benchmark ({unit})", f"Lines: {st.percent(level)} intervals.")


@st.styled
def mean_change(table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points") -> Figure:
    """The change of each cohort's mean score, what the intake and the shift are of it, and what the prior test may be.

    table: columns cohort, change, intake, shift, lower, upper (of the shift), prior_part (of the shift, missing if not known).
    """
    st.require(table, ["cohort", "change", "intake", "shift", "lower", "upper", "prior_part"], "mean_change")
    looks = {
        "change": (st.INK, "D", "Change of the mean score since the baseline"),
        "intake": (st.GREEN, "s", "of it, the intake: students with other prior scores"),
        "shift": (st.BLUE, "o", "of it, the shift: other results from the same prior scores"),
        "prior_part": (st.VERMILLION, "^", "of the shift, if the prior test alone had changed, not the students"),
    }
    looks = {part: one for part, one in looks.items() if table[part].notna().any()}
    long = table.melt("cohort", list(looks), "part", "value").rename(columns={"value": "shift"})
    shift = long["part"].eq("shift")
    limits = table.set_index("cohort").reindex(long["cohort"])
    long = long.assign(**{c: limits[c].where(shift.to_numpy()).to_numpy() for c in ("lower", "upper")})
    words = f"Line: {st.percent(level)} interval of the shift over schools."
    return _parts(long, looks, "shift", f"Score against the baseline ({unit})", words)


def _parts(table: pd.DataFrame, looks: dict[str, tuple[str, str, str]], bold: str, label: str, words: str) -> Figure:
    """Values by cohort, a mark a part, with intervals; the part ``bold`` has its values written beside it."""
    cohorts = sorted(table["cohort"].unique())
    fig, ax = st.canvas(3.0 + 0.2 * len(looks))
    ax.axhline(0, color=st.INK, lw=0.8, zorder=1)
    step = 0.72 / len(looks)
    places = {part: np.arange(len(cohorts)) + step * (k - (len(looks) - 1) / 2) for k, part in enumerate(looks)}
    for part, (colour, marker, name) in looks.items():
        rows, x = table[table["part"] == part].set_index("cohort").reindex(cohorts), places[part]
        ax.vlines(x, rows["lower"], rows["upper"], color=colour, lw=1.3, zorder=2, gid=f"interval {part}")
        marks = {"color": colour, "mec": "white", "mew": 0.6, "ms": 6.5, "ls": "none", "zorder": 3}
        ax.plot(x, rows["shift"], marker, label=name, gid=part, **marks)
    values = table[table["part"] == bold].set_index("cohort").reindex(cohorts)["shift"]
    for x, value in zip(places[bold], values, strict=True):
        written = st.number(value, st.digits_for(table["shift"]), True)
        st.write(ax, written, (x, value), (6, 0), fontsize=st.SMALL, fontweight="bold")
    ax.set_xticks(range(len(cohorts)), [str(c) for c in cohorts])
    ax.set(xlim=(-0.5, len(cohorts) - 0.35), xlabel="Cohort (year of the test)", ylabel=label)
    ax.tick_params(axis="x", length=0)
    fig.legend(loc="outside upper left", ncols=1, handletextpad=0.3, borderpad=0.1)
    st.note(ax, words)
    return fig
