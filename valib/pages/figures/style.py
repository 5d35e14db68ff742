"""The look of the figures and the small helpers they share: colours, numbers, names, notes, suppression."""

from __future__ import annotations

import functools
import inspect
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from valib.errors import ValibError
from valib.names import readable
from valib.records import disclosure
from valib.records.coverage import LOW

STYLE = Path(__file__).with_name("valib.mplstyle")
WIDTH = 6.4  # inches: the text width of the PDF
SMALL = 8.5  # points: the smallest print
UNDATED = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}}
RHO = "\N{GREEK SMALL LETTER RHO}"  # a correlation, as in the book's notation
RASTER_ABOVE = 400  # more marks than this are drawn as pixels in PDF and SVG

# Okabe and Ito (2008), told apart by readers with any common form of colour blindness.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, INK = "#E69F00", "#56B4E9", "#222222"
MUTED, PALE, FAINT = "#595959", "#9A9A9A", "#E4E4E4"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK)
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
LINES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)), (0, (9, 3)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 2)))


class Look(NamedTuple):
    """How one of several series is drawn."""

    colour: str
    marker: str
    line: Any


def look(k: int) -> Look:
    """The look of series k = 0, 1, ...: seven of its own in every part, then the colours again with other markers."""
    again = k // len(COLOURS)
    return Look(COLOURS[k % len(COLOURS)], MARKERS[(k + again) % len(MARKERS)], LINES[(k + again) % len(LINES)])


def use_style() -> None:
    """Apply the house style to every later figure of the session, the reader's own included."""
    plt.style.use(STYLE)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a figure function inside the house style, whatever style the session uses."""

    @functools.wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Figure:
        with plt.style.context(STYLE, after_reset=True):
            fig = draw(*args, **kwargs)
        if isinstance(fig, BookFigure):
            fig.code = inspect.getsource(draw)
        return fig

    return inside


class BookFigure(Figure):
    """A figure, unknown to pyplot, that shows itself in any notebook: pixels for HTML, vectors for LaTeX."""

    code = ""  # of the function that drew it
    beneath: dict[str, str] | None = None  # the code, and the numbers drawn as CSV

    def _repr_png_(self) -> bytes:
        return self._bytes("png")

    def _repr_pdf_(self) -> bytes:
        return self._bytes("pdf")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """Nothing to show besides, but what the book puts beneath the picture, where a chapter has noted it."""
        return {}, {"beneath": self.beneath} if self.beneath else {}

    def _bytes(self, ending: str) -> bytes:
        stream = io.BytesIO()
        with plt.style.context(STYLE, after_reset=True):
            to_grid(self)
            self.savefig(stream, format=ending, metadata=UNDATED.get(ending))
        return stream.getvalue()


def grid_places(low: float, high: float) -> int:
    """Decimals of the grid of an axis with these ends; negative: tens, hundreds."""
    return int(1 - np.floor(np.log10(abs(high - low) / 30))) if low != high else 0


def to_grid(fig: Figure) -> None:
    """Move what is drawn at values, and the ends of axes, to a decimal grid of 300 to 3,000 steps along each axis.

    No eye sees a difference. Without it a figure of vectors would hold the numbers behind it in full precision, and one of
    pixels more of them than its tables (:mod:`valib.records.precision`). Logarithmic axes are left alone.
    """
    for ax in fig.axes:
        ends = [list(ax.get_xlim()), list(ax.get_ylim())]
        linear = [scale == "linear" for scale in (ax.get_xscale(), ax.get_yscale())]
        places = [grid_places(*pair) for pair in ends]
        for axis, (limit, set_limit) in enumerate(zip(ends, (ax.set_xlim, ax.set_ylim), strict=True)):
            if linear[axis]:
                set_limit(*(round(end, places[axis]) for end in limit), auto=None)

        def moved(points: Any, which: Sequence[int], places: list = places, linear: list = linear) -> np.ndarray:
            points = np.ma.filled(np.ma.asarray(points, dtype=float), np.nan)
            for axis in which:
                if linear[axis]:
                    points[:, axis] = np.round(points[:, axis] * 10.0 ** places[axis]) / 10.0 ** places[axis]
            return points

        across = ((ax.transData, (0, 1)), (ax.get_xaxis_transform(), (0,)), (ax.get_yaxis_transform(), (1,)))
        for one in [*ax.lines, *ax.collections]:
            which = next((axes for transform, axes in across if one.get_transform() == transform), ())
            if isinstance(one, Line2D):
                one.set_data(*moved(one.get_xydata(), which).T)
                continue
            for path in one.get_paths() if which else ():
                path.vertices = moved(path.vertices, which)
            if isinstance(one, PathCollection) and one.get_offset_transform() == ax.transData:
                one.set_offsets(moved(one.get_offsets(), (0, 1)))


def canvas(height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **kwargs: Any) -> tuple[Figure, Any]:
    """An empty figure and its axes; sizes in inches."""
    fig = BookFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, **kwargs)


def save(fig: Figure, path: str | Path | io.BytesIO, ending: str = "") -> None:
    """Write a figure to a file without a date in it: equal figures give equal bytes. ending: of a stream, such as "svg".

    Raises ValueError (from matplotlib) for a file ending it cannot write.
    """
    with plt.style.context(STYLE, after_reset=True):
        to_grid(fig)
        ending = ending or Path(str(path)).suffix[1:].lower()
        fig.savefig(path, format=ending, metadata=UNDATED.get(ending))


def named(names: Iterable[object], *drawn: Any) -> None:
    """Tell the marks of these artists by the names of schools, for the table of the figure (:mod:`.plotted`)."""
    for one in drawn:
        one.names = list(names)


def safe_name(name: object, width: int = 32) -> str:
    """A name as matplotlib text: one line, no mathematics, shortened in the middle to `width` characters."""
    return readable(name, width).replace("$", r"\$")


def number(x: float, digits: int = 1, sign: bool = False) -> str:
    """A number with a typographic minus; sign=True shows the plus; a rounded zero has no sign."""
    text = f"{x:+.{digits}f}" if sign else f"{x:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def digits_for(values: Any) -> int:
    """Decimals that suit these values: 1 for points on a test scale, 2 or 3 for standardised scores."""
    values = np.abs(np.asarray(values, dtype=float))
    top = np.nanmax(values, initial=0.0)
    return 1 if top >= 10 else 2 if top >= 1 else 3


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 school`, `3,000 schools`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def correlation(a: np.ndarray, b: np.ndarray) -> str:
    """Pearson's correlation in words: `rho = 0.912`, in Greek; one that would round to 1 without being 1 is `rho > 0.999`."""
    if len(a) < 2 or not (np.std(a) > 0 and np.std(b) > 0):
        return f"{RHO} not defined"
    r = float(np.corrcoef(a, b)[0, 1])
    return f"{RHO} > 0.999" if 0.9995 <= r < 1 - 1e-9 else f"{RHO} = {number(r, 3)}"


def percent(level: float) -> str:
    """0.95 as `95%`."""
    return f"{100 * level:g}%"


def write(ax: Axes, text: str, at: tuple[Any, Any], offset: tuple[float, float] = (0, 0), **look: Any) -> None:
    """Text `offset` points away from a place in the axes, vertically centred on it unless told otherwise."""
    ax.annotate(text, at, offset, textcoords="offset points", **{"va": "center", **look})


def leader(width: float, colour: str, **shape: Any) -> dict[str, Any]:
    """The thin line from a text to what it names."""
    return {"arrowstyle": "-", "lw": width, "color": colour, "shrinkA": 1, "shrinkB": 1, **shape}


def on_white(pad: float = 1, alpha: float = 0.85) -> dict[str, Any]:
    """The box behind a text that may lie on marks."""
    return {"fc": "white", "ec": "none", "pad": pad, "alpha": alpha}


def note(ax: Axes, *sentences: str) -> None:
    """Small print over the axes, wrapped to the figure; empty sentences are dropped. Its gid is `note`."""
    width = int(13 * ax.figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, width) for s in sentences if s for line in s.split("\n"))
    if text:
        write(
            ax,
            text,
            (0, 1),
            (0, 6),
            xycoords="axes fraction",
            va="bottom",
            fontsize=SMALL,
            color=MUTED,
            gid="note",
            linespacing=1.3,
        )


def require(frame: pd.DataFrame, columns: Sequence[str], figure: str) -> None:
    """Raise ValibError naming the columns that a figure needs and does not get, or that it gets no row."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ValibError(f"The figure {figure} needs the column(s) {', '.join(missing)}.")
    if frame.empty:
        raise ValibError(f"The figure {figure} got a table without rows.")


def suppress(frame: pd.DataFrame, min_n: int, figure: str, noun: str = "school") -> tuple[pd.DataFrame, str]:
    """Rows that may be shown where none may with fewer than `min_n` students (column n), and a sentence on the others.

    Each cohort and model (columns) by itself, schools by the column school or the index: see
    valib.records.disclosure. A
    column shown, if there, decides instead. The sentence counts schools of one model, not rows. Raises ValibError
    when min_n > 1 and there is no column n, or when no row is left.
    """
    if min_n <= 1:
        return frame, ""
    require(frame, ["n"], f"{figure} (with min_n = {min_n})")
    models = frame["model"].to_numpy() if "model" in frame.columns else np.zeros(len(frame))
    keep = frame["shown"].to_numpy(dtype=bool) if "shown" in frame.columns else _may_be_shown(frame, models, min_n)
    dropped = int(pd.Series(~keep).groupby(models).sum().max())
    if not keep.any():
        raise ValibError(
            f"The figure {figure} has nothing to show: every {noun} has fewer than {min_n} students, or "
            "hides one that has."
        )
    sentence = f"{plural(dropped, noun)} not shown: fewer than {min_n} students, or hiding one that has."
    sentence = sentence if dropped else ""
    return frame[keep], sentence


def _may_be_shown(frame: pd.DataFrame, models: np.ndarray, min_n: int) -> np.ndarray:
    """(rows,) which may be shown, each cohort and model by itself."""
    index = frame.index.get_level_values("school") if "school" in frame.index.names else frame.index
    labels = np.asarray(frame["school"] if "school" in frame.columns else index, dtype=object)
    cohorts = frame["cohort"].to_numpy() if "cohort" in frame.columns else np.zeros(len(frame))
    n, keep = disclosure.counted(frame).to_numpy(), np.zeros(len(frame), dtype=bool)
    low = frame[LOW].to_numpy(dtype=bool) if LOW in frame.columns else np.zeros(len(frame), dtype=bool)
    for rows in pd.DataFrame({"cohort": cohorts, "model": models}).groupby(["cohort", "model"]).indices.values():
        keep[rows] = disclosure.shown(n[rows], min_n, labels[rows], low[rows])
    return keep


def break_at_gaps(cohort: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cohorts in order and their values, with NaN where a year is missing, so that lines break there."""
    cohort, values = np.asarray(cohort, dtype=float), np.asarray(values, dtype=float)
    order = np.argsort(cohort, kind="stable")
    cohort, values = cohort[order], values[order]
    gaps = np.flatnonzero(np.diff(cohort) > 1) + 1
    return np.insert(cohort, gaps, cohort[gaps] - 0.5), np.insert(values, gaps, np.nan)


def cohort_axis(ax: Axes, cohorts: Any, grey: bool = True) -> bool:
    """Ticks at the cohorts present (thinned when crowded); with `grey`, the missing years lie in grey.

    Returns whether a year is missing.
    """
    years = np.unique(np.asarray(cohorts, dtype=int))
    ax.set_xlim(years[0] - 0.6, years[-1] + 0.6)
    step = int(np.ceil(len(years) / 14))
    ax.set_xticks(years[::-step][::-1], [str(y) for y in years[::-step][::-1]])
    gaps = [(before, after) for before, after in itertools.pairwise(years) if after - before > 1]
    for before, after in gaps if grey else []:
        ax.axvspan(before + 0.5, after - 0.5, color="#EFEFEF", lw=0, zorder=0, gid="gap")
    return bool(gaps)


def log_axis(ax: Axes) -> None:
    """A logarithmic x axis with ticks 1, 2, 5, 10, 20, ... written as whole numbers."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ticks = [m * 10**k for k in range(7) for m in (1, 2, 5) if low <= m * 10**k <= high]
    ticks = ticks if len(ticks) <= 10 else [t for t in ticks if str(t)[0] == "1"]
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def spread(positions: Any, gap: float) -> np.ndarray:
    """Positions moved as little as needed so that neighbours are at least `gap` apart, the order kept."""
    positions = np.asarray(positions, dtype=float)
    order = np.argsort(positions, kind="stable")
    blocks: list[list[float]] = []  # [sum of (position - offset in block), count]
    for p in positions[order]:
        blocks.append([p, 1.0])
        while len(blocks) > 1 and _end(blocks[-2], gap) > _start(blocks[-1], gap):
            total, count = blocks.pop()
            blocks[-1][0] += total - count * blocks[-1][1] * gap
            blocks[-1][1] += count
    out = np.empty_like(positions)
    out[order] = np.concatenate([b[0] / b[1] + gap * np.arange(b[1]) for b in blocks]) if blocks else []
    return out


def _start(block: list[float], gap: float) -> float:
    return block[0] / block[1]


def _end(block: list[float], gap: float) -> float:
    return block[0] / block[1] + gap * block[1]
