"""The numbers of a figure as a table: what is drawn, read off the figure itself and to no more digits than it is drawn in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import FixedLocator

from .style import digits_for, grid_places, to_grid

COLUMNS = ["panel", "x_axis", "y_axis", "series", "shape", "name", "x", "y", "x_to", "y_to"]
SIGNIFICANT = 4  # digits of a value on a logarithmic axis
CORNERS = 200  # of one curve, at most

Row = tuple[str, str, str, Any]  # series, shape, name, (x, y, x_to, y_to)


def plotted(fig: Figure) -> pd.DataFrame:
    """One row a point, an interval, a bar or a corner of a line, in the order of drawing; columns as :data:`COLUMNS`.

    series: the name in the legend, or what the drawing calls it. shape: point, line, interval, band, bar or cell. name: the
    school or the label of the tick. x_to, y_to: the other end of what reaches from x, y. Numbers are text, as written in a
    CSV. What the drawing function gives no name (a legend's, or a gid) is decoration. Students counted in hexagons are
    left out. What is held back from the figure is not in it, and so not here.
    """
    to_grid(fig)
    axes = [ax for ax in fig.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    rows = []
    for number, ax in enumerate(axes, 1):
        panel = ax.get_label() or ax.get_title() or (str(number) if len(axes) > 1 else "")
        labels = [_plain(_label(ax, which)) for which in ("x", "y")]
        digits = [_digits(ax, axis) for axis in (0, 1)]
        for series, shape, name, ends in _drawn(ax):
            if series and series != "highlight" and np.isfinite([v for v in ends if v is not None]).all():
                values = [_text(v, digits[k % 2]) for k, v in enumerate(ends)]
                rows.append((_plain(panel), *labels, _plain(series), shape, _plain(name), *values))
    return pd.DataFrame(rows, columns=COLUMNS)


def _plain(text: str) -> str:
    return " ".join(str(text).replace("\\$", "$").split())


def _label(ax: Axes, which: str) -> str:
    """The label of an axis, which stands at one of those that share it."""
    shared = getattr(ax, f"get_shared_{which}_axes")().get_siblings(ax)
    return next((text for one in (ax, *shared) if (text := getattr(one, f"get_{which}label")())), "")


def _digits(ax: Axes, axis: int) -> int | None:
    """Decimals along an axis: of its grid, and of tables where values reach 1; None on a logarithmic one."""
    if (ax.get_xscale(), ax.get_yscale())[axis] != "linear":
        return None
    ends = (ax.get_xlim(), ax.get_ylim())[axis]
    return min(grid_places(*ends), digits_for(ends) if np.abs(ends).max() >= 1 else 9)


def _text(value: float | None, digits: int | None) -> str:
    if value is None:
        return ""
    if digits is None:
        return f"{value:.{SIGNIFICANT}g}"
    rounded = round(float(value), digits)
    return f"{rounded + 0.0:.{max(digits, 0)}f}"  # + 0.0: no minus before a zero


def _drawn(ax: Axes) -> Iterator[Row]:
    """What an axes holds of data, by kind."""
    by_container = {
        id(one): next(
            name for name in (container.get_label(), container[0].get_gid(), "") if not str(name).startswith("_")
        )
        for container in ax.containers
        if isinstance(container, ErrorbarContainer)
        for one in (container[0], *container[1], *container[2])
    }
    for one in ax.lines:
        yield from _of_line(ax, one, _series(one, by_container))
    for one in ax.collections:
        yield from _of_collection(ax, one, _series(one, by_container))
    for one in ax.patches:
        yield from _of_patch(ax, one)


def _series(one: Any, by_container: dict[int, Any]) -> str:
    """The first of the names that is one: of the legend, of the drawing."""
    names = (by_container.get(id(one)), one.get_label(), one.get_gid())
    return next((str(name) for name in names if name and not str(name).startswith("_")), "")


def _of_line(ax: Axes, line: Any, series: str) -> Iterator[Row]:
    if not len(line.get_xydata()):
        return
    x, y = np.asarray(line.get_xydata(), dtype=float).T
    if line.get_transform() == ax.get_yaxis_transform():
        yield series, "line", "", (None, y[0], None, None)
    elif line.get_transform() == ax.get_xaxis_transform():
        yield series, "line", "", (x[0], None, None, None)
    elif line.get_transform() == ax.transData:
        alone = line.get_linestyle() == "None" or len(x) == 1
        every = 1 if alone else len(x) // CORNERS + 1  # of a smooth curve
        for (at, value), name in list(zip(zip(x, y, strict=True), _names(ax, line, x, y), strict=True))[::every]:
            yield series, "point" if alone else "line", name, (at, value, None, None)


def _of_collection(ax: Axes, one: Any, series: str) -> Iterator[Row]:
    if isinstance(one, LineCollection):
        ends = np.array([[*part[0], *part[-1]] if len(part) else [np.nan] * 4 for part in one.get_segments()])
        ends = ends.reshape(-1, 4)
        for (x, y, x_to, y_to), name in zip(ends, _names(ax, one, ends[:, 0], ends[:, 1]), strict=True):
            yield series, "interval", name, (x, y, x_to if x_to != x else None, y_to if y_to != y else None)
    elif isinstance(one, PathCollection):
        x, y = np.asarray(one.get_offsets(), dtype=float).T
        for (at, value), name in zip(zip(x, y, strict=True), _names(ax, one, x, y), strict=True):
            yield series, "point", name, (at, value, None, None)
    elif isinstance(one, PolyCollection) and series and len(one.get_offsets()) <= 1 and one.get_paths():
        corners = pd.DataFrame(np.vstack([path.vertices for path in one.get_paths()]), columns=["x", "y"])
        for x, (low, high) in corners.groupby("x")["y"].agg(["min", "max"]).iterrows():
            yield series, "band", "", (x, low, None, high)


def _of_patch(ax: Axes, one: Any) -> Iterator[Row]:
    if isinstance(one, Polygon) and hasattr(one, "told"):
        x, y = one.get_xy()[:-1].mean(axis=0)
        name = ", ".join(part for part in (_ticks(ax.yaxis)(y), _ticks(ax.xaxis)(x)) if part)
        yield one.told, "cell", name, (x, y, None, None)
    elif isinstance(one, Rectangle) and one.get_gid() != "gap":
        (x, y), width, height = one.get_xy(), one.get_width(), one.get_height()
        if one.get_transform() == ax.get_yaxis_transform() or one.get_gid():
            yield one.get_gid() or "", "band", "", (None, y, None, y + height)
        elif ax.containers:
            yield "count", "bar", "", (x, height, x + width, None)


def _names(ax: Axes, one: Any, x: np.ndarray, y: np.ndarray) -> Iterable[str]:
    """The schools that a drawing function has named (``names``), else the ticks that are words."""
    if (names := getattr(one, "names", None)) is not None:
        return [str(name) for name in names]
    across, up = _ticks(ax.xaxis), _ticks(ax.yaxis)
    return [up(b) or across(a) for a, b in zip(x, y, strict=True)]


def _ticks(axis: Axis) -> Callable[[float], str]:
    """What gives the label of the nearest tick where labels are set and more than the numbers at which they stand."""
    places = np.asarray(axis.get_majorticklocs(), dtype=float)
    set_by_hand = isinstance(axis.get_major_locator(), FixedLocator) and axis.get_scale() == "linear"
    labels = axis.get_major_formatter().format_ticks(places) if set_by_hand else []
    if [text.replace(",", "").replace("\N{MINUS SIGN}", "-") for text in labels] == [f"{at:g}" for at in places]:
        labels = []

    def nearest(at: float) -> str:
        k = int(np.argmin(np.abs(places - at))) if labels else 0
        return labels[k] if labels and abs(places[k] - at) < 0.5 else ""

    return nearest
