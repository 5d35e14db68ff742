"""Figures of quantile value added: the shift of each quantile beside that of the mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from valib.pages.figures.style import BLUE, INK, MUTED, canvas, note, percent, require, styled


@styled
def quantile_shifts(
    table: pd.DataFrame,
    mean: tuple[float, float, float] | None = None,
    *,
    level: float = 0.95,
    unit: str = "score points",
) -> Figure:
    """The shift of each quantile with its interval, and the band of the shift of the mean.

    table: columns quantile, shift, lower, upper. mean: shift, lower, upper of the mean.
    """
    require(table, ["quantile", "shift", "lower", "upper"], "quantile_shifts")
    table = table.sort_values("quantile")
    fig, ax = canvas(3.2)
    ax.axhline(0, color=INK, lw=0.8, zorder=1)
    if mean is not None:
        ax.axhspan(mean[1], mean[2], color=MUTED, alpha=0.18, lw=0, zorder=0, gid="mean band")
        ax.axhline(mean[0], color=MUTED, lw=1.2, ls=(0, (5, 2)), zorder=2, gid="mean")
    x = table["quantile"].to_numpy(dtype=float)
    ax.vlines(x, table["lower"], table["upper"], color=BLUE, lw=3.0, zorder=3, gid="interval")
    ax.plot(x, table["shift"], "o", color=BLUE, mec="white", mew=0.7, ms=7, zorder=4, ls="none", gid="shift")
    reach = max(0.06, 0.15 * float(np.ptp(x)))
    ax.set(xlim=(x.min() - reach, x.max() + reach), xticks=x, xticklabels=[f"{v:g}" for v in x])
    ax.set(xlabel="Quantile of the scores", ylabel=f"Shift ({unit})")
    dashed = "Dashed line and band: shift of the mean." if mean is not None else ""
    note(ax, f"Thick line: {percent(level)} interval.", dashed)
    return fig
