"""Figures of records and residuals. Students appear as counts and averages: none can be recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from scipy import stats

from valib.errors import ValibError
from valib.pages.figures import style as st

COUNTS = LinearSegmentedColormap.from_list("counts", ["#DCE9F3", "#7FB2D6", st.BLUE, "#062B45"])


@st.styled
def growth(
    prior: Any,
    score: Any,
    line: tuple[Any, Any, Any, Any] | None = None,
    *,
    min_n: int = 5,
    unit: str = "score points",
    label_x: str = "Prior score",
    label_y: str = "Score",
) -> Figure:
    """Score against prior score: students counted in hexagons; those below `min_n` are left out, and counted.

    prior, score: (N,) arrays; rows with a missing value are ignored. line: (x, y, lower, upper), arrays of
    one length: a fitted line and its band, drawn as given. Raises ValibError when the lengths differ.
    """
    prior, score = np.asarray(prior, dtype=float), np.asarray(score, dtype=float)
    if prior.shape != score.shape:
        raise ValibError(f"The figure growth got {prior.size} prior scores and {score.size} scores.")
    known = np.isfinite(prior) & np.isfinite(score)
    fig, ax = st.canvas(4.2)
    grid = int(np.clip(np.sqrt(known.sum()) / 2.2, 8, 42))
    hexes = ax.hexbin(
        prior[known], score[known], gridsize=grid, mincnt=max(min_n, 1), cmap=COUNTS, linewidths=0.2, edgecolors="face"
    )
    shown = int(np.sum(hexes.get_array()))
    if shown:  # the axes end with the hexagons shown: the extreme students stay unknown
        (left, low), (right, high) = hexes.get_offsets().min(axis=0), hexes.get_offsets().max(axis=0)
        aside, above = 0.04 * (right - left) or 1.0, 0.06 * (high - low) or 1.0
        ax.set(xlim=(left - aside, right + aside), ylim=(low - above, high + above))
        bar = fig.colorbar(hexes, ax=ax, label="Students in a hexagon", shrink=0.7, aspect=18, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if line is not None:
        x, y, lower, upper = (np.asarray(part, dtype=float) for part in line)
        ax.fill_between(x, lower, upper, color=st.VERMILLION, alpha=0.35, lw=0, zorder=3, gid="band")
        outline = [withStroke(linewidth=3.2, foreground="white")]
        ax.plot(x, y, color=st.VERMILLION, lw=1.8, zorder=4, path_effects=outline, gid="line")
    ax.set(xlabel=f"{label_x} ({unit})", ylabel=f"{label_y} ({unit})")
    dropped = int(known.sum()) - shown
    st.note(ax, f"{st.plural(dropped, 'student')} in hexagons of fewer than {min_n} not shown." if dropped else "")
    return fig


@st.styled
def cohort_scores(summary: pd.DataFrame, *, unit: str = "score points") -> Figure:
    """Mean score and mean prior score by cohort, bars of one SD of the students; no line over a missing year.

    summary: one row a cohort, columns cohort (or the index), score_mean, score_sd, prior_mean, prior_sd.
    """
    summary = summary.reset_index() if "cohort" not in summary.columns else summary
    st.require(summary, ["cohort", "score_mean", "score_sd", "prior_mean", "prior_sd"], "cohort_scores")
    summary = summary.sort_values("cohort")
    fig, ax = st.canvas(3.6)
    cohort = summary["cohort"].to_numpy(dtype=float)
    st.note(ax, "Grey: years without a cohort." if st.cohort_axis(ax, cohort) else "")
    ends = st.spread(summary[["score_mean", "prior_mean"]].iloc[-1], 0.12 * _height(summary))
    looks = (("score", "Score", st.BLUE, "o", "-", 0.09), ("prior", "Prior score", st.VERMILLION, "D", "--", -0.09))
    for (stem, words, colour, marker, dash, aside), end in zip(looks, ends, strict=True):
        mean, sd = summary[f"{stem}_mean"].to_numpy(dtype=float), summary[f"{stem}_sd"].to_numpy(dtype=float)
        x, y = st.break_at_gaps(cohort + aside, mean)
        ax.plot(x, y, color=colour, ls=dash, gid=f"{stem}-mean")
        ax.errorbar(
            cohort + aside,
            mean,
            yerr=sd,
            fmt=marker,
            color=colour,
            elinewidth=0.8,
            capsize=2.5,
            capthick=0.8,
            gid=f"{stem}-sd",
        )
        st.write(ax, words, (1, end), (3, 0), xycoords=("axes fraction", "data"), color=colour)
    ax.set(xlabel="Cohort (year of the test)", ylabel=f"Mean ± 1 SD ({unit})")
    return fig


def _height(summary: pd.DataFrame) -> float:
    tops = [summary[f"{s}_mean"] + k * summary[f"{s}_sd"] for s in ("score", "prior") for k in (-1, 1)]
    return float(np.nanmax(tops) - np.nanmin(tops))


@st.styled
def school_sizes(records: Any, *, min_n: int = 1) -> Figure:
    """How many students a school has in a cohort: a histogram on a log scale, the median marked.

    records: canonical records (columns school, cohort), or an array of cell sizes. With min_n > 1 the
    smallest size shown by name is marked, and the cells below it are one bar, counted.
    """
    if isinstance(records, pd.DataFrame):
        st.require(records, ["school", "cohort"], "school_sizes")
        records = records.groupby(["school", "cohort"], observed=True).size()
    sizes = np.asarray(records, dtype=float)
    sizes = sizes[sizes > 0]
    if not sizes.size:
        raise ValibError("The figure school_sizes got no school with students.")
    below = int((sizes < min_n).sum())
    sizes = np.where(sizes < min_n, max(min_n // 2, 1), sizes)  # cells too small are one bar
    fig, ax = st.canvas(3.2)
    low, high = np.log(sizes.min() / 1.15), np.log(sizes.max() * 1.15)
    edges = np.unique(np.round(np.exp(np.linspace(low, high, 31))) + 0.5)  # each bin holds a whole number
    edges = np.insert(edges, 0, max(sizes.min() - 0.5, 0.5)) if edges[0] > sizes.min() else edges
    if below:
        edges = np.concatenate([[0.5, min_n - 0.5], edges[edges > min_n - 0.5]])
    sns.histplot(x=sizes, bins=edges, ax=ax, color=st.BLUE, alpha=0.75, edgecolor="white", linewidth=0.5)
    st.log_axis(ax)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    median = float(np.median(sizes))
    ax.axvline(median, color=st.INK, lw=1, ls=(0, (5, 2)), gid="median")
    words = f"median {median:g}" if median >= min_n else f"median under {min_n}"
    st.write(ax, words, (median, 1), (4, -2), xycoords=("data", "axes fraction"), va="top", bbox=st.on_white())
    sentence = ""
    if min_n > 1:
        ax.axvline(min_n - 0.5, color=st.VERMILLION, lw=1, gid="fewest shown")
        cells = f"{below:,} of {st.plural(sizes.size, 'cell')}"
        sentence = f"{cells} hold fewer than {min_n} students (left of the solid line)."
    ax.set(xlabel="Students of a school in a cohort (log scale)", ylabel="Cells (school and cohort)")
    st.note(ax, sentence)
    return fig


@st.styled
def prior_shift(summary: pd.DataFrame, *, unit: str = "score points", label_x: str = "Prior score") -> Figure:
    """Prior scores of the focal cohorts against the baseline's, the first row.

    summary: one row a line, columns cohort (its label), either q05, q25, q50, q75, q95 or mean, sd, and smd
    (standardised mean difference from the baseline) and variance_ratio, missing in the baseline's own row.
    """
    st.require(summary, ["cohort", "smd", "variance_ratio"], "prior_shift")
    quantiles = "q50" in summary.columns
    st.require(summary, ["q05", "q25", "q50", "q75", "q95"] if quantiles else ["mean", "sd"], "prior_shift")
    rows = np.arange(len(summary))
    fig, ax = st.canvas(1.25 + 0.34 * len(summary))
    if quantiles:
        columns = (["q05", "q95"], ["q25", "q75"], ["q50"])
        outer, inner, middle = (summary[c].to_numpy(dtype=float) for c in columns)
        ax.hlines(rows, *outer.T, color=st.INK, lw=0.9, gid="outer")
        words = "Thick: middle half of the students; thin: 5th to 95th percentile; point: median."
    else:
        middle, sd = summary[["mean"]].to_numpy(dtype=float), summary[["sd"]].to_numpy(dtype=float)
        inner = np.hstack([middle - sd, middle + sd])
        words = "Point: mean; bar: one SD on either side."
    colours = [st.MUTED] + [st.BLUE] * (len(summary) - 1)
    ax.hlines(rows, *inner.T, color=colours, lw=5, alpha=0.55, gid="inner")
    ax.scatter(middle[:, 0], rows, s=26, color=colours, edgecolor="white", lw=0.7, zorder=3, gid="middle")
    ax.axvline(middle[0, 0], color=st.PALE, lw=0.8, ls=(0, (5, 2)), zorder=0)
    ax.set_yticks(rows, [st.safe_name(c) for c in summary["cohort"]])
    ax.set_ylim(len(summary) - 0.5, -0.5)
    stated = ((48, "SMD", "smd", True), (100, "variance\nratio", "variance_ratio", False))
    for x, head, column, sign in stated:
        st.write(
            ax,
            head,
            (1, 1),
            (x, 2),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            fontsize=st.SMALL,
            color=st.MUTED,
        )
        for row, value in zip(rows, summary[column].to_numpy(dtype=float), strict=True):
            value = st.number(value, 2, sign) if np.isfinite(value) else "–"
            st.write(ax, value, (1, row), (x, 0), xycoords=("axes fraction", "data"), ha="right")
    ax.set_xlabel(f"{label_x} ({unit})\n{words}", linespacing=1.5)
    return fig


@st.styled
def residual_checks(
    standardised_school: Any, standardised_student: Any, *, min_n: int = 10, level: float = 0.95
) -> Figure:
    """Normal quantile plots: school effects over diagnostic errors; student residuals as averages.

    standardised_school: (J,); standardised_student: (N,), averaged in rank order over at most 200 groups of
    at least `min_n` students, so that no point is a student. The band is the pointwise interval of normal
    order statistics (beta quantiles, schools taken as independent).
    """
    school, student = (np.asarray(v, dtype=float) for v in (standardised_school, standardised_student))
    school, student = (np.sort(v[np.isfinite(v)]) for v in (school, student))
    if school.size < 2 or student.size < 2 * min_n:
        raise ValibError(f"The figure residual_checks needs two schools and {2 * min_n} students.")
    fig, axes = st.canvas(3.3, columns=2)
    expected, low, high = _normal_scores(school.size, level)
    groups = np.array_split(np.arange(student.size), min(200, student.size // min_n))
    scores = _normal_scores(student.size, level)[0]
    axes[0].fill_between(expected, low, high, color="#E9E9E9", lw=0, gid="band")
    pairs = ((expected, school), tuple(np.array([v[g].mean() for g in groups]) for v in (scores, student)))
    for ax, (x, y), colour, marker in zip(axes, pairs, (st.BLUE, st.VERMILLION), ("o", "D"), strict=True):
        ends = np.array([min(x[0], y[0]), max(x[-1], y[-1])]) * 1.05
        ax.plot(ends, ends, color=st.INK, lw=0.9, ls=(0, (5, 2)), zorder=1)
        ax.plot(x, y, marker, ms=2.8, mfc=colour, mew=0, ls="none", zorder=2, rasterized=x.size > 400, gid="residual")
        ax.set_xlabel("Expected if normal (SD)")
    axes[0].set_ylabel("School effect over its SD")
    axes[1].set_ylabel("Student residual over its SD")
    st.note(axes[0], f"{st.plural(school.size, 'school')};\ngrey: {st.percent(level)}, each point by itself")
    size = f"{len(groups)} groups of {groups[-1].size} or more"
    st.note(axes[1], f"{st.plural(student.size, 'student')}, averaged in\n{size}")
    return fig


def _normal_scores(size: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected normal order statistics (Blom's approximation) and their pointwise limits; each (size,)."""
    k = np.arange(1, size + 1)
    tail = (1 - level) / 2
    low, high = (stats.norm.ppf(stats.beta.ppf(p, k, size + 1 - k)) for p in (tail, 1 - tail))
    return stats.norm.ppf((k - 0.375) / (size + 0.25)), low, high
