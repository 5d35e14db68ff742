"""The figure of the one-page summary, as SVG: the system's shift by cohort, and the spread of its schools."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valib.pages.figures.report import BAND, WIDTH, Panel, scale, svg
from valib.pages.figures.style import BLUE, FAINT, INK, MUTED

HEIGHT = 165.0


def summary(context: pd.DataFrame | None, spread: pd.DataFrame, *, unit: str = "score points") -> str:
    """Left the shift of every cohort with its interval, grey for the baseline; right the middle of its schools.

    context: columns cohort, role, shift, lower, upper, year_lower, year_upper, or None where no shift was estimated.
    spread: columns cohort, q05, q25, q50, q75, q95 of the value added of the schools shown, missing where there is none.
    """
    panels, left = [], 60.0
    if context is not None:
        panels.append(_shifts(context.sort_values("cohort"), left, 316.0))
        left = 380.0
    low, high, ticks, digits = scale(np.append(spread.drop(columns="cohort").to_numpy(dtype=float), 0.0))
    panel = Panel(left, WIDTH, HEIGHT, low, high, spread["cohort"].tolist())
    panel.axes("Value added of the schools", ticks, digits, most=5 if context is not None else 9)
    panel.line(panel.left, panel.y(0), panel.right, panel.y(0), MUTED, 0.8)
    for k, row in enumerate(spread.itertuples()):
        if np.isfinite(row.q50):
            panel.bar(k, row.q05, row.q95, 0.6, FAINT)
            panel.bar(k, row.q25, row.q75, 0.6, BAND)
            half = 0.3 * (panel.x(1) - panel.x(0))
            panel.line(panel.x(k) - half, panel.y(row.q50), panel.x(k) + half, panel.y(row.q50), BLUE, 1.6, "median")
    panel.blank(spread["q50"])
    return svg(HEIGHT, unit.capitalize(), *panels, panel)


def _shifts(context: pd.DataFrame, left: float, right: float) -> Panel:
    ends = ["shift", "lower", "upper", "year_lower", "year_upper"]
    low, high, ticks, digits = scale(np.append(context[ends].to_numpy(dtype=float), 0.0))
    panel = Panel(left, right, HEIGHT, low, high, context["cohort"].tolist())
    panel.axes("The average school against the baseline", ticks, digits, most=5)
    panel.line(panel.left, panel.y(0), panel.right, panel.y(0), MUTED, 0.8)
    for k, row in enumerate(context.itertuples()):
        x, colour = panel.x(k), MUTED if row.role == "baseline" else INK
        if np.isfinite(row.year_lower):
            panel.line(x, panel.y(row.year_lower), x, panel.y(row.year_upper), colour, 0.8, "year")
        panel.line(x, panel.y(row.lower), x, panel.y(row.upper), colour, 2.6, "interval")
        panel.mark(x, panel.y(row.shift), "unclear", colour)
    return panel
