"""The idea of a benchmark, drawn: one school's mean between the line of the baseline and that of its own year."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from valib.pages.figures.style import BLUE, INK, MUTED, SMALL, VERMILLION, canvas, number, styled, write


@styled
def benchmark_idea(
    *,
    intercept: float = 100.0,
    slope: float = 0.8,
    prior: float = 480.0,
    shift: float = -14.0,
    relative: float = -13.0,
    unit: str = "score points",
) -> Figure:
    """An invented school under the growth line of the baseline and that of its own cohort, which lies ``shift`` from it.

    prior: mean prior score of the school. relative: how far its mean outcome lies from the line of its own cohort. The
    arrows say which distance is which kind of value added; before shrinking, the two parts add up.
    """
    fig, ax = canvas(3.7)
    x = np.array([prior - 50, prior + 12])
    typical = intercept + slope * prior
    ends = typical, typical + shift, typical + shift + relative
    for moved, colour, line, words in [
        (0.0, BLUE, "-", "expected by\nthe baseline"),
        (shift, VERMILLION, (0, (5, 2)), "average school of\nthe focal cohort"),
    ]:
        y = intercept + slope * x + moved
        ax.plot(x, y, color=colour, ls=line, lw=1.8, gid=words)
        here = (
            (prior - 14, 12, "right") if not moved else (prior - 28, -12, "left")
        )  # above and left of it, below and right
        at = here[0], intercept + slope * here[0] + moved
        write(ax, words, at, (-4 if not moved else 6, here[1]), ha=here[2], color=colour)
    near, far = prior + 22, prior + 62
    for level, reach in zip(ends, (far, near, far), strict=True):
        ax.hlines(level, prior, reach, color=MUTED, lw=0.8, ls=":")
    for place, start, stop, colour, words in [
        (near, ends[0], ends[1], VERMILLION, "system shift"),
        (near, ends[1], ends[2], INK, "relative value added"),
        (far, ends[0], ends[2], BLUE, "benchmark value added"),
    ]:
        shape = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (place, stop), (place, start), arrowprops=shape, gid=f"arrow {words}")
        text = f"{words.replace(' value', chr(10) + 'value')} {number(stop - start, 0, True)}"
        write(ax, text, (place, (start + stop) / 2), (7, 0), color=colour, linespacing=1.3)
    ax.plot(prior, ends[2], "o", ms=8, color=INK, mec="white", zorder=4, gid="school")
    write(ax, "the school's mean", (prior, ends[2]), (0, -13), ha="center", fontsize=SMALL)
    ax.set(xlim=(x[0], far + 33), xlabel=f"Prior score ({unit})", ylabel=f"Outcome score ({unit})")
    ax.set_xticks([t for t in ax.get_xticks() if x[0] <= t <= prior + 15])
    return fig
