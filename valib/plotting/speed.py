"""Time and memory of a computation against the size of what it is done to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from valib.plotting.style import BLUE, LINES, PALE, canvas, require, styled


@styled
def scaling(table: pd.DataFrame, *, label_seconds: str = "Seconds", label_memory: str = "Peak memory (MiB)") -> Figure:
    """Time (above) and memory (below) along each quantity that was varied, on logarithmic axes.

    table: columns along (a panel each, in order), value, seconds, low, high, memory_mib. Vertical lines are the lowest
    and highest of the runs; the dashed line through the last point is growth in proportion.
    """
    require(table, ["along", "value", "seconds", "low", "high", "memory_mib"], "scaling")
    panels = list(dict.fromkeys(table["along"]))
    fig, axes = canvas(3.9, 2, len(panels), squeeze=False, sharey="row", sharex="col")
    for panel, (above, below) in zip(panels, axes.T, strict=True):
        part = table[table["along"] == panel].sort_values("value")
        above.vlines(part["value"], part["low"], part["high"], color=BLUE, lw=1.2, gid=f"runs {panel}")
        for ax, column in ((above, "seconds"), (below, "memory_mib")):
            drawn = part[part[column] > 0]
            ax.plot(drawn["value"], drawn[column], "o-", color=BLUE, ms=3.5, lw=1.1, zorder=3, gid=f"{column} {panel}",
                    label="measured")
            if len(drawn) > 1:
                _in_proportion(ax, drawn["value"].to_numpy(float), drawn[column].to_numpy(float))
        _axis(below, part["value"].to_numpy(float))
        below.set_xlabel(panel)
    axes[0, 0].set_ylabel(label_seconds)
    axes[1, 0].set_ylabel(label_memory)
    for ax in axes[:, 0]:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=2)
    return fig


def _in_proportion(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """The line of slope one through the last point, no lower than the lowest point."""
    left = max(x[0], x[-1] * y.min() / y[-1])
    ax.plot([left, x[-1]], [y[-1] * left / x[-1], y[-1]], color=PALE, lw=0.9, ls=LINES[1], zorder=1, gid="proportion",
            label="growth in proportion")


def _axis(ax: Axes, values: np.ndarray) -> None:
    """Few ticks, thousands and millions as k and M."""
    ax.set_xscale("log")
    ax.set_xlim(values.min() / 1.5, values.max() * 1.5)
    decades = np.arange(np.ceil(np.log10(values.min() / 1.5)), np.log10(values.max() * 1.5))
    narrow = [v for v in (1, 2, 5, 10, 20, 50) if values.min() / 1.2 <= v <= values.max() * 1.2][-3:]
    ax.set_xticks(10.0 ** decades[::-(len(decades) + 2) // 3] if len(decades) > 2 else narrow or 10.0**decades)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
