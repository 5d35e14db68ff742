"""Figures of schools: shrinkage, two sets of effects, BLUPs by hand, one school under several recipes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from valib.errors import ValibError
from valib.pages.figures import style as st
from valib.records.disclosure import shown


@st.styled
def shrinkage(
    school_effects: pd.DataFrame, raw: Any, *, centre: float = 0.0, min_n: int = 1, unit: str = "score points"
) -> Figure:
    """Left: raw mean residual (ring) and BLUP (dot) of each school against n. Right: the shrinkage factor.

    school_effects: columns n, effect, shrinkage; raw: mean residual of each (a Series is matched by name).
    centre: where effects shrink to (0, or the system shift). The curve lambda(n) = n theta/(1 + n theta) runs
    through the factors; theta = tau2/sigma2 is read off them.
    """
    st.require(school_effects, ["n", "effect", "shrinkage"], "shrinkage")
    raw = raw.reindex(school_effects.index) if isinstance(raw, pd.Series) else np.asarray(raw, dtype=float)
    frame, left = st.suppress(school_effects.assign(raw=raw), min_n, "shrinkage")
    frame = frame.sort_values("n", kind="stable")
    n, factor = frame["n"].to_numpy(dtype=float), frame["shrinkage"].to_numpy(dtype=float)
    many = len(frame) > st.RASTER_ABOVE
    fig, (ax, curve) = st.canvas(3.4, columns=2, width_ratios=[1.45, 1])
    ax.axhline(centre, color=st.INK, lw=0.8, zorder=1)
    ax.vlines(n, frame["raw"], frame["effect"], color=st.PALE, lw=0.25 if many else 0.6, rasterized=many, gid="pull")
    rings = {"mfc": "white", "mec": st.VERMILLION, "mew": 0.8, "ms": 2.2 if many else 3.8, "rasterized": many}
    dots = {"color": st.BLUE, "mec": "white", "mew": 0.3, "ms": 2.2 if many else 4, "rasterized": many}
    st.named(frame.index, *ax.plot(n, frame["raw"], "o", gid="raw mean residual", **rings))
    st.named(frame.index, *ax.plot(n, frame["effect"], "o", gid="BLUP", **dots))
    theta = float(np.median(factor / (n * np.clip(1 - factor, 1e-12, None))))
    grid = np.geomspace(n.min(), max(n.max(), n.min() * 1.01), 200)
    curve.plot(grid, grid * theta / (1 + grid * theta), color=st.INK, lw=1.2, gid="curve")
    st.named(frame.index, *curve.plot(n, factor, "o", gid="shrinkage factor", **{**dots, "ms": 3.4}))
    curve.set(ylim=(0, 1.02), ylabel="Shrinkage factor (reliability)", xlabel="Students (log scale)")
    ax.set(ylabel=f"Value added ({unit})", xlabel="Students (log scale)")
    for axes in (ax, curve):
        st.log_axis(axes)
    ax.plot([], [], "o", mfc="white", mec=st.VERMILLION, mew=0.8, ms=3.8, label="raw mean residual")
    ax.plot([], [], "o", color=st.BLUE, ms=4, label="BLUP")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, handletextpad=0.1, columnspacing=1.2, borderpad=0)
    st.note(curve, left.replace(" than ", " than\n"))
    fig.get_layout_engine().set(wspace=0.06)
    return fig


@st.styled
def type_ab(
    effects_a: Any,
    effects_b: Any,
    label_x: str,
    label_y: str,
    *,
    highlight: str | Sequence[str] | None = None,
    min_n: int = 1,
    unit: str = "score points",
) -> Figure:
    """Two sets of effects of the same schools, the identity line, and their correlation (Pearson).

    effects_a, effects_b: school_effects tables (column effect), Series by school, or arrays of one length.
    Tables and Series are matched by school; only schools in both are drawn.
    """
    frame, left = st.suppress(_paired(effects_a, effects_b, min_n), min_n, "type_ab")
    a, b = frame["a"].to_numpy(dtype=float), frame["b"].to_numpy(dtype=float)
    fig, ax = st.canvas(4.3, width=4.7)
    span = max(np.ptp(a), np.ptp(b), 1e-9) / 2 * 1.12
    ends = np.array([min(a.min(), b.min()) - span * 0.1, max(a.max(), b.max()) + span * 0.1])
    ax.plot(ends, ends, color=st.INK, lw=0.9, ls=(0, (5, 2)), zorder=1, gid="identity")
    many = len(a) > st.RASTER_ABOVE
    points = {"color": st.BLUE, "mec": "white", "mew": 0.4, "ms": 2.5 if many else 4.5, "ls": "none", "alpha": 0.8}
    st.named(frame.index, *ax.plot(a, b, "o", rasterized=many, gid="school", **points))
    ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"{label_x} ({unit})", ylabel=f"{label_y} ({unit})")
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    for name in [highlight] if isinstance(highlight, str) else list(highlight or []):
        if name in frame.index:
            x, y = frame.loc[name, ["a", "b"]]
            ax.plot([x], [y], "o", color=st.ORANGE, mec=st.INK, mew=0.9, ms=6.5, zorder=4)
            right = x > ends.mean()
            st.write(
                ax,
                st.safe_name(name),
                (x, y),
                (-9 if right else 9, 0),
                ha="right" if right else "left",
                fontweight="bold",
                zorder=5,
                bbox=st.on_white(),
            )
    st.note(ax, f"{st.correlation(a, b)}; {st.plural(len(a), 'school')}; dashed: equal value added", left)
    return fig


def _paired(effects_a: Any, effects_b: Any, min_n: int) -> pd.DataFrame:
    """Columns a, b (and, of two tables with n: n, the smaller, and shown, in both), rows the schools in both."""
    parts = []
    for name, effects in (("a", effects_a), ("b", effects_b)):
        if isinstance(effects, pd.DataFrame):
            st.require(effects, ["effect"], "type_ab")
            mask = {f"shown_{name}": shown(effects, min_n)} if "n" in effects.columns else {}
            effects = effects.rename(columns={"effect": name, "n": f"n_{name}"}).filter([name, f"n_{name}"])
            effects = effects.assign(**mask)
        else:
            effects = pd.Series(effects, name=name, dtype=float).to_frame()
        parts.append(effects)
    matched = any(isinstance(e, (pd.DataFrame, pd.Series)) for e in (effects_a, effects_b))
    if not matched and len(parts[0]) != len(parts[1]):
        raise ValibError(f"The figure type_ab got {len(parts[0])} and {len(parts[1])} effects.")
    frame = pd.concat(parts, axis=1, join="inner").dropna(subset=["a", "b"])
    if frame.empty:
        raise ValibError("The figure type_ab got no school with both effects.")
    if {"n_a", "n_b"} <= set(frame.columns):
        frame["n"] = frame[["n_a", "n_b"]].min(axis=1)
        frame["shown"] = frame["shown_a"].to_numpy(dtype=bool) & frame["shown_b"].to_numpy(dtype=bool)
    return frame


@st.styled
def byhand_blup(
    table: pd.DataFrame, *, highlight: object = None, level: float = 0.95, unit: str = "ms", noun: str = "Subject"
) -> Figure:
    """For each subject an arrow from the raw mean residual (ring) to the BLUP (dot), and the BLUP's limits.

    table: columns subject (or the index), raw, blup, lower, upper.
    """
    table = table if "subject" in table.columns else table.rename_axis("subject").reset_index()
    st.require(table, ["subject", "raw", "blup", "lower", "upper"], "byhand_blup")
    table = table.sort_values("raw", kind="stable")
    rows = np.arange(len(table))
    fig, ax = st.canvas(1.2 + 0.225 * len(table))
    ax.axvline(0, color=st.INK, lw=0.8, zorder=1)
    ax.hlines(rows - 0.18, table["lower"], table["upper"], color=st.BLUE, lw=2.6, alpha=0.35, gid="interval")
    for row, start, end in zip(rows, table["raw"], table["blup"], strict=True):
        ax.annotate(
            "",
            (end, row - 0.18),
            (start, row + 0.24),
            arrowprops=st.leader(
                0.9, st.MUTED, arrowstyle="->,head_width=0.13,head_length=0.2", shrinkA=2.2, shrinkB=2.4
            ),
        )
    ax.plot(table["raw"], rows + 0.24, "o", mfc="white", mec=st.VERMILLION, mew=1, ms=4.8, label="raw mean residual")
    ax.plot(table["blup"], rows - 0.18, "o", color=st.BLUE, ms=4.8, label=f"BLUP with {st.percent(level)} limits")
    ax.set_yticks(rows, [st.safe_name(s, 24) for s in table["subject"]])
    for text, subject in zip(ax.get_yticklabels(), table["subject"], strict=True):
        if str(subject) == str(highlight):
            text.set_fontweight("bold")
            row = text.get_position()[1]
            ax.axhspan(row - 0.5, row + 0.5, color=st.FAINT, lw=0, zorder=0)
    ax.set_ylim(-0.8, len(table) - 0.2)
    ax.set(xlabel=f"Deviation from the fixed part ({unit})", ylabel=noun)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=2, handletextpad=0.2, borderpad=0)
    return fig


@st.styled
def recipes(
    table: pd.DataFrame, *, level: float = 0.95, unit: str = "score points", label: str = "Value added"
) -> Figure:
    """One school under each recipe: estimate and interval, the values written at the right, a line at 0.

    table: columns recipe, effect, lower, upper, drawn in the order given, the first on top.
    """
    st.require(table, ["recipe", "effect", "lower", "upper"], "recipes")
    rows = np.arange(len(table))
    digits = st.digits_for(table[["lower", "upper"]])
    names = ["\n".join(textwrap.wrap(st.safe_name(r, 80), 30)) for r in table["recipe"]]
    lines = np.array([n.count("\n") + 1 for n in names])
    fig, ax = st.canvas(1.05 + float(np.maximum(0.3, 0.15 * lines + 0.1).sum()))
    ax.axvline(0, color=st.INK, lw=0.8, zorder=1)
    ax.hlines(rows, table["lower"], table["upper"], color=st.BLUE, lw=1.6, gid="interval")
    ax.plot(table["effect"], rows, "o", color=st.BLUE, mec="white", mew=0.6, ms=6.5, gid="estimate")
    ax.set_yticks(rows, names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(table) - 0.4, -0.6)
    for row, *values in zip(rows, table["effect"], table["lower"], table["upper"], strict=True):
        effect, low, high = (st.number(v, digits, True) for v in values)
        st.write(ax, f"{effect}  [{low}, {high}]", (1, row), (10, 0), xycoords=("axes fraction", "data"))
    st.write(
        ax,
        f"estimate [{st.percent(level)}]",
        (1, 1),
        (10, 0),
        xycoords="axes fraction",
        va="bottom",
        fontsize=st.SMALL,
        color=st.MUTED,
    )
    ax.set_xlabel(f"{label} ({unit})")
    return fig
