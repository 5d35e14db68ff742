"""Figures of a school's own page, as SVG: its value added, its place and its intake over the years.

A page has three, and a report thousands of pages: written directly, a figure takes a millisecond where matplotlib takes a
third of a second. Coordinates have one decimal, so no figure holds more of a value than a grid of 2,000 steps does
(:mod:`valib.records.precision`).
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from valib.pages.figures.style import BLUE, FAINT, INK, MUTED, PALE, VERMILLION, number, require

WIDTH, TOP, BOTTOM = 640.0, 22.0, 22.0  # of a figure, and the rims above and below its panels
BAND, LOW = "#D3DEEA", "#F3DFD2"
COLOURS = {"above": BLUE, "below": VERMILLION, "unclear": MUTED}
MARKS = {
    "above": "M{x:.1f} {a:.1f}l4.5 8h-9z",
    "below": "M{x:.1f} {b:.1f}l4.5 -8h-9z",
    "unclear": "M{l:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
}


@dataclass(slots=True)
class Panel:
    """One panel: cohorts side by side from left to right, values from low (at the bottom) to high."""

    left: float
    right: float
    height: float
    low: float
    high: float
    cohorts: list[int]
    parts: list[str] = field(default_factory=list)

    def x(self, k: float) -> float:
        """Where cohort number k (0, 1, ...) stands."""
        return self.left + (k + 0.6) * (self.right - self.left) / (len(self.cohorts) + 0.2)

    def y(self, value: float) -> float:
        """Where a value stands."""
        return self.height - BOTTOM - (value - self.low) / (self.high - self.low) * (self.height - TOP - BOTTOM)

    def line(self, x: float, y: float, x2: float, y2: float, colour: str, width: float, name: str = "") -> None:
        """Draw a straight line."""
        told = f' class="{name}"' if name else ""
        self.parts.append(
            f'<path{told} d="M{x:.1f} {y:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )

    def bar(self, k: float, low: float, high: float, width: float, colour: str) -> None:
        """Draw a bar of a cohort; width as a share of its room."""
        half, top = (self.x(1) - self.x(0)) * width / 2, self.y(high)
        self.parts.append(
            f'<rect x="{self.x(k) - half:.1f}" y="{top:.1f}" width="{2 * half:.1f}" height="{self.y(low) - top:.1f}" '
            f'fill="{colour}"/>'
        )

    def mark(self, x: float, y: float, side: str, colour: str | None = None) -> None:
        """Draw a point: a triangle up or down, or a circle, by the side."""
        path = MARKS[side].format(x=x, y=y, a=y - 5, b=y + 5, l=x - 4)
        self.parts.append(f'<path class="{side}" d="{path}" fill="{colour or COLOURS[side]}"/>')

    def text(self, x: float, y: float, text: str, anchor: str = "middle", colour: str = INK, turn: int = 0) -> None:
        """Write a text."""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{turned}>{html.escape(text)}</text>'
        )

    def axes(self, title: str, ticks: list[float], digits: int = 0, most: int = 9) -> None:
        """Write the title, the cohorts below and values at the left."""
        if title:
            self.text(self.left, 12, title, "start", MUTED)
        for value in ticks:
            self.line(self.left - 4, self.y(value), self.left, self.y(value), MUTED, 0.8)
            self.text(self.left - 7, self.y(value) + 3.5, number(value, digits), "end")
        self.line(self.left, TOP, self.left, self.height - BOTTOM, MUTED, 0.8)
        step = -(-len(self.cohorts) // most)
        for k in range(len(self.cohorts) - 1, -1, -step):
            self.text(self.x(k), self.height - 7, str(self.cohorts[k]))

    def blank(self, values: pd.Series) -> None:
        """Say where a cohort has no figure."""
        for k in np.flatnonzero(values.isna()):
            self.text(self.x(k), (TOP + self.height - BOTTOM) / 2, "no figure", colour=MUTED, turn=-90)


def school_va(frame: pd.DataFrame, *, unit: str = "score points") -> str:
    """Value added of one school by cohort, each with its interval: against its own year, and against the baseline.

    frame: one row a cohort (column or index cohort), columns role ("baseline" or "focal"), relative and benchmark with
    _lower and _upper, shift; missing where the school is not shown or a value does not exist. The dash in the right
    panel, beside a value of the school, is the shift: the average school of the year.
    """
    frame = _by_cohort(frame, "school_va", ["role", *_with_interval("relative"), *_with_interval("benchmark"), "shift"])
    focal = frame[frame["role"] == "focal"]
    beside = focal["shift"].where(focal["benchmark"].notna())
    drawn = frame[[*_with_interval("relative"), *_with_interval("benchmark")]].to_numpy(dtype=float)
    low, high, ticks, digits = scale(np.append(drawn, [*beside, 0.0]))
    share = (len(frame) + 1) / (len(frame) + len(focal) + 2)
    middle = 60 + (WIDTH - 60 - 24) * share
    panels = []
    for left, right, part, model, title in (
        (60.0, middle, frame, "relative", "Against the average school of its year"),
        (middle + 24, WIDTH, focal, "benchmark", "Against the baseline"),
    ):
        panel = Panel(left, right, 260, low, high, part.index.tolist())
        for k in np.flatnonzero(part["role"] == "baseline"):
            panel.bar(float(k), low, high, 1, "#F3F3F3")
        panel.axes(title, ticks if model == "relative" else [], digits)
        panel.line(left, panel.y(0), right, panel.y(0), INK, 0.9)
        for k, value in enumerate(beside if model == "benchmark" else ()):
            if np.isfinite(value):
                panel.line(panel.x(k) - 9, panel.y(value), panel.x(k) + 9, panel.y(value), MUTED, 2, "shift")
        _values(panel, part, model)
        panels.append(panel)
    base = np.flatnonzero(frame["role"] == "baseline")
    if len(base):
        panels[0].text(panels[0].x(base.mean()), 260 - BOTTOM - 5, "baseline", colour=MUTED)
    return svg(260, f"Value added ({unit})", *panels)


def school_place(frame: pd.DataFrame) -> str:
    """The place of one school among the schools of each cohort, with its interval; 1 is the highest value added.

    frame: one row a cohort, columns expected_rank, rank_lower, rank_upper, ranked (the schools that have a
    place); missing where there is none. A column for each cohort holds all its places; the highest and the lowest
    fifth are set off.
    """
    frame = _by_cohort(frame, "school_place", ["expected_rank", "rank_lower", "rank_upper", "ranked"])
    most = float(frame["ranked"].max())
    panel = Panel(60, WIDTH, 190, most + 0.5, 0.5, frame.index.tolist())
    for k, of in enumerate(frame["ranked"].astype(float)):
        fifth = max(of // 5, 1)
        for first, last, colour in ((0, fifth, BAND), (fifth, of - fifth, FAINT), (of - fifth, of, LOW)):
            panel.bar(k, last + 0.5, first + 0.5, 0.8, colour)
    ticks = [1.0, *(t for t in MaxNLocator(5, integer=True).tick_values(1, most) if 1 + 0.09 * most < t <= most)]
    panel.axes("", ticks)
    for k, row in enumerate(frame.itertuples()):
        if np.isfinite(row.expected_rank):
            x = panel.x(k)
            panel.line(x, panel.y(row.rank_lower - 0.5), x, panel.y(row.rank_upper + 0.5), INK, 1.6, "interval")
            panel.mark(x, panel.y(row.expected_rank), "unclear", INK)
            panel.text(x + 8, panel.y(row.expected_rank) + 3.5, f"{row.expected_rank:.0f}", "start")
    panel.blank(frame["expected_rank"])
    return svg(190, "Place (1 = highest)", panel)


def school_intake(frame: pd.DataFrame, *, unit: str = "score points") -> str:
    """Mean and spread of the prior scores of one school beside those of all schools, by cohort.

    frame: one row a cohort, columns prior_mean, prior_sd (missing where the school is not shown), and quantiles of the
    schools' means and SDs: mean_q05, mean_q25, mean_q50, mean_q75, mean_q95, sd_q05, ..., sd_q95.
    """
    needed = [f"{what}_q{q}" for what in ("mean", "sd") for q in ("05", "25", "50", "75", "95")]
    frame = _by_cohort(frame, "school_intake", ["prior_mean", "prior_sd", *needed])
    panels = []
    for left, right, what, title in (
        (60.0, 330.0, "mean", f"Mean ({unit})"),
        (386.0, WIDTH, "sd", f"Spread: SD ({unit})"),
    ):
        columns = [f"prior_{what}", *(name for name in needed if name.startswith(what))]
        low, high, ticks, digits = scale(frame[columns].to_numpy(dtype=float))
        panel = Panel(left, right, 190, low, high, frame.index.tolist())
        panel.axes(title, ticks, digits, most=5)
        for k, (_, row) in enumerate(frame.iterrows()):
            for first, last, colour in (("05", "95", FAINT), ("25", "75", BAND)):
                if np.isfinite(row[f"{what}_q{first}"]):
                    panel.bar(k, row[f"{what}_q{first}"], row[f"{what}_q{last}"], 0.7, colour)
            half, middle = 0.35 * (panel.x(1) - panel.x(0)), row[f"{what}_q50"]
            if np.isfinite(middle):
                y = panel.y(middle)
                panel.line(panel.x(k) - half, y, panel.x(k) + half, y, PALE, 1.2, "median")
            if np.isfinite(row[f"prior_{what}"]):
                panel.mark(panel.x(k), panel.y(row[f"prior_{what}"]), "unclear", INK)
        panels.append(panel)
    return svg(190, "", *panels)


def _with_interval(name: str) -> list[str]:
    return [name, f"{name}_lower", f"{name}_upper"]


def _by_cohort(frame: pd.DataFrame, figure: str, columns: list[str]) -> pd.DataFrame:
    """The rows by cohort, in order; the cohort becomes the index."""
    frame = frame.set_index("cohort") if "cohort" in frame.columns else frame
    require(frame, columns, figure)
    return frame.sort_index()


def scale(values: np.ndarray) -> tuple[float, float, list[float], int]:
    """Low and high end of an axis for these values, its ticks, and their decimals."""
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    room = 0.06 * (np.ptp(values) or abs(values[0]) or 1.0)
    low, high = values.min() - room, values.max() + room
    ticks = [float(t) for t in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return low, high, ticks, max(0, -int(np.floor(np.log10(step) + 1e-9)))


def _values(panel: Panel, frame: pd.DataFrame, model: str) -> None:
    """Points with intervals, marked and coloured by the side of zero on which the interval lies."""
    for k, (value, lower, upper) in enumerate(frame[_with_interval(model)].to_numpy(dtype=float)):
        if np.isfinite(value):
            side, x = "below" if upper < 0 else "above" if lower > 0 else "unclear", panel.x(k)
            panel.line(x, panel.y(lower), x, panel.y(upper), COLOURS[side], 1.5, "interval")
            panel.mark(x, panel.y(value), side)
    panel.blank(frame[model])


def svg(height: float, label: str, *panels: Panel) -> str:
    """The figure of these panels, with a label at the left."""
    parts = [part for panel in panels for part in panel.parts]
    y = height / 2
    parts += [f'<text x="12" y="{y}" text-anchor="middle" fill="{INK}" transform="rotate(-90 12 {y})">{label}</text>']
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" font-size="11" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" fill="none">{"".join(parts if label else parts[:-1])}</svg>'
    )
