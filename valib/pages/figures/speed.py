"""Time and memory of a computation against the size of what it is done to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from valib.pages.figures.style import BLUE, LINES, PALE, canvas, require, styled


@styled
def scaling(table: pd.DataFrame, *, label_seconds: str = "Seconds", label_memory: str = "Peak memory (MiB)") -> Figure:
    """Time (above, on a logarithmic axis) and memory (below) along each quantity that was varied.

    table: columns along (a panel each, in order), value, seconds, low, high, memory_mib. Vertical lines are the lowest
    and highest of the runs; the dashed line through the last time is growth in proportion.
    """
    require(table, ["along", "value", "seconds", "low", "high", "memory_mib"], "scaling")
    panels = list(dict.fromkeys(table["along"]))
    fig, axes = canvas(3.9, 2, len(panels), squeeze=False, sharey="row", sharex="col")
    for panel, (above, below) in zip(panels, axes.T, strict=True):
        part = table[table["along"] == panel].sort_values("value")
        above.vlines(part["value"], part["low"], part["high"], color=BLUE, lw=1.2, gid=f"runs {panel}")
        for ax, column in ((above, "seconds"), (below, "memory_mib")):
            drawn = part[part[column] > 0]
            ax.plot(
                drawn["value"],
                drawn[column],
                "o-",
                color=BLUE,
                ms=3.5,
                lw=1.1,
                zorder=3,
                gid=f"{column} {panel}",
                label="measured",
            )
        if len(part) > 1:
            _in_proportion(above, part["value"].to_numpy(float), part["seconds"].to_numpy(float))
        _axis(below, part["value"].to_numpy(float))
        below.set_xlabel(panel)
    axes[0, 0].set_ylabel(label_seconds)
    axes[1, 0].set_ylabel(label_memory)
    axes[0, 0].set_yscale("log")
    axes[0, 0].yaxis.set_minor_formatter(NullFormatter())
    axes[1, 0].set_ylim(0)
    for ax in axes[:, 0]:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=2)
    return fig


def _in_proportion(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """The line of slope one through the last point, no lower than the lowest point."""
    left = max(x[0], x[-1] * y.min() / y[-1])
    ax.plot(
        [left, x[-1]],
        [y[-1] * left / x[-1], y[-1]],
        color=PALE,
        lw=0.9,
        ls=LINES[1],
        zorder=1,
        gid="proportion",
        label="growth in proportion",
    )


def _axis(ax: Axes, values: np.ndarray) -> None:
    """Few ticks, thousands and millions as k and M."""
    ax.set_xscale("log")
    ax.set_xlim(values.min() / 1.5, values.max() * 1.5)
    low, high = np.log10(values.min() / 1.2), np.log10(values.max() * 1.2)
    decades = 10.0 ** np.arange(np.ceil(low), np.floor(high) + 1)
    fine = [m * 10.0**k for k in range(int(np.floor(low)), int(high) + 1) for m in (1, 2, 5)]
    fine = [v for v in fine if values.min() / 1.2 <= v <= values.max() * 1.2]
    ax.set_xticks(decades[:: -((len(decades) + 2) // 3)] if len(decades) > 2 else fine[:: -((len(fine) + 2) // 3)])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
