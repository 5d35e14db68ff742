"""Figures of the simulation checks: a measure and its Monte Carlo interval beside what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from valib.pages.figures.style import INK, LINES, MUTED, Look, canvas, look, note, percent, require, styled

ROUND = [1, 2, 2.5, 5, 10]  # steps of ticks
MC = 1.96  # Monte Carlo standard errors on either side of a value
LINE = 88  # characters of a legend that fit in one line


def measured(
    run: Any,
    measure: str,
    estimands: Sequence[str],
    scenarios: Mapping[str, str],
    methods: Mapping[str, str],
    panels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """One measure of a Monte Carlo run as the figures take it: label, series, panel, value, mcse, x (the scenario).

    scenarios, methods, panels: what to show and its name in the figure, in that order; panels by estimand.
    Combinations that were not run are left out.
    """
    t = run.table[run.table["measure"] == measure].set_index(["scenario", "method", "estimand"])
    rows = [
        (label, series, (panels or {}).get(e, ""), t.at[(s, m, e), "value"], t.at[(s, m, e), "mcse"], s)
        for e in estimands
        for s, label in scenarios.items()
        for m, series in methods.items()
        if (s, m, e) in t.index
    ]
    return pd.DataFrame(rows, columns=["label", "series", "panel", "value", "mcse", "x"])


@styled
def coverage(table: pd.DataFrame, *, level: float = 0.95) -> Figure:
    """Share of intervals that hold the truth, with Monte Carlo intervals, against the nominal level (dashed).

    table: columns label (a row), value, mcse; optional series (marks of one row) and panel, in order of appearance.
    """
    fig, axes = _dots(table, "coverage", level, "Share of intervals that hold the truth")
    for ax in axes:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    note(axes[0], f"Dashed: nominal level {percent(level)}.", "Lines: 95% Monte Carlo intervals.")
    return fig


@styled
def bias(table: pd.DataFrame, *, unit: str = "score points", label: str = "Bias") -> Figure:
    """Mean error of estimates, with Monte Carlo intervals, against zero (dashed); the table is that of `coverage`."""
    fig, axes = _dots(table, "bias", 0.0, f"{label} ({unit})" if unit else label)
    note(axes[0], "Dashed: no bias.", "Lines: 95% Monte Carlo intervals.")
    return fig


@styled
def over_parameter(
    table: pd.DataFrame, formula: pd.DataFrame | None = None, *, label_x: str, labels_y: Mapping[str, str]
) -> Figure:
    """Simulated means (marks, Monte Carlo intervals) over a parameter of the world, and what a formula says (lines).

    table: columns panel, series, x, value, mcse. formula: panel, series, x, value; a series of the table keeps its
    colour, one of its own (the truth) is drawn in black. labels_y: label of the vertical axis by panel.
    """
    require(table, ["panel", "series", "x", "value", "mcse"], "over_parameter")
    series, panels = list(dict.fromkeys(table["series"])), list(dict.fromkeys(table["panel"]))
    fig, axes = canvas(3.3, 1, len(panels), squeeze=False)
    offset = 0.012 * float(np.ptp(table["x"])) * (np.arange(len(series)) - (len(series) - 1) / 2)
    for panel, ax in zip(panels, axes.ravel(), strict=True):
        for k, name in enumerate(series):
            part = table[(table["panel"] == panel) & (table["series"] == name)]
            ax.errorbar(
                part["x"] + offset[k],
                part["value"],
                MC * part["mcse"],
                fmt=look(k).marker,
                color=look(k).colour,
                ms=5,
                lw=1.2,
                capsize=0,
                zorder=3,
                label=name,
                gid=f"{panel} {name}",
            )
        if formula is not None:
            _lines(ax, formula[formula["panel"] == panel], series)
        ax.set_xlabel(label_x)
        ax.set_ylabel(labels_y[panel])
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    handles = {t: h for ax in axes.ravel() for h, t in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=_columns(list(handles)))
    note(axes[0, 0], "Marks: simulated, with 95% Monte Carlo intervals.", "" if formula is None else "Lines: formula.")
    return fig


def _columns(names: list[str]) -> int:
    """Legend entries side by side, so that the widest line stays within the figure."""
    return max(1, min(len(names), 4, LINE // (max(map(len, names)) + 6)))


def _lines(ax: Axes, formula: pd.DataFrame, series: list[str]) -> None:
    """Curves under the marks; one without marks is named in the legend."""
    for name, part in formula.groupby("series", sort=False):
        known = name in series
        colour, _, line = look(series.index(name)) if known else Look(INK, "", "-")
        ax.plot(
            part["x"],
            part["value"],
            lw=1.1,
            zorder=2,
            gid=f"formula {name}",
            label=None if known else name,
            color=colour,
            ls=line,
        )


def _dots(table: pd.DataFrame, figure: str, reference: float, label_x: str) -> tuple[Figure, list[Axes]]:
    """One row a label, one mark a series, one panel a panel, and the value that would be right."""
    require(table, ["label", "value", "mcse"], figure)
    table = table[np.isfinite(table["value"])]
    table = table.assign(**{c: "" for c in ("series", "panel") if c not in table.columns})
    labels, series, panels = (list(dict.fromkeys(table[c])) for c in ("label", "series", "panel"))
    fig, axes = canvas(1.3 + len(labels) * max(0.3, 0.17 * len(series)), 1, len(panels), sharey=True, squeeze=False)
    step = 0.7 / max(len(series), 2)
    for panel, ax in zip(panels, axes.ravel(), strict=True):
        ax.axvline(reference, color=MUTED, lw=0.9, ls=LINES[1], zorder=1, gid="reference")
        for k, name in enumerate(series):
            part = table[(table["panel"] == panel) & (table["series"] == name)]
            y = part["label"].map(labels.index) + step * (k - (len(series) - 1) / 2)
            ax.errorbar(
                part["value"],
                y,
                xerr=MC * part["mcse"],
                fmt=look(k).marker,
                color=look(k).colour,
                ms=5,
                lw=1.3,
                capsize=0,
                zorder=3,
                label=name,
                gid=f"{panel} {name}",
            )
        if panel:
            ax.set_title(panel, pad=34)
        ax.set_xlabel(label_x if len(panels) == 1 else label_x.replace(" that", "\nthat"))
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(labels)), labels)
    axes[0, 0].set_ylim(len(labels) - 0.5, -0.5)
    if len(series) > 1:
        handles, names = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, names, loc="outside lower center", ncols=_columns(names))
    return fig, list(axes.ravel())
