"""The pictures that belong to the results of a fit: the book's figures, of the published tables and of nothing else.

What is drawn is read off the tables as they are written, so no picture holds more than its table; its marks lie on a grid
besides (:func:`valib.pages.figures.style.to_grid`). The same tables give the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "figures"
ENDINGS = ("png", "svg")
SEVERAL = {"averages.csv": ("average", "Average value added"), "lasting.csv": ("lasting", "Lasting value added")}


@contextlib.contextmanager
def matplotlib_at_hand(scratch: Path) -> Iterator[None]:
    """Load matplotlib where its own folders may not be written to: with scratch for them, and without a word."""
    if "matplotlib" in sys.modules or _may_write():
        yield
        return
    log, before = logging.getLogger("matplotlib"), os.environ.get("MPLCONFIGDIR")
    os.environ["MPLCONFIGDIR"] = str(scratch)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        os.environ.pop("MPLCONFIGDIR") if before is None else os.environ.update(MPLCONFIGDIR=before)


def _may_write() -> bool:
    """Whether matplotlib may write into the folders that it will choose."""
    given = os.environ.get("MPLCONFIGDIR")
    parents = [os.environ.get("XDG_CONFIG_HOME") or "~/.config", os.environ.get("XDG_CACHE_HOME") or "~/.cache"]
    for folder in [Path(given)] if given else [Path(p).expanduser() / "matplotlib" for p in parents]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):
            return False
        if not os.access(folder, os.W_OK):
            return False
    return True


def pictures(
    tables: Mapping[str, pd.DataFrame],
    level: float,
    min_students: int,
    held_back: Mapping[int, int] | None = None,
    unit: str = "score points",
) -> dict[str, bytes]:
    """The pictures of a fit's tables (by file name, as they may be published), each as PNG and as SVG, by name.

    level: of the intervals. held_back: how many schools of a cohort the tables lack, with min_students the sentence on
    them. A table without figures that could be drawn, such as that of schools that cannot be told apart, has no picture.
    """
    from . import figures

    drawn = {}
    for name, figure in _figures(tables, level, min_students, held_back or {}, unit):
        for ending in ENDINGS:
            stream = io.BytesIO()
            figures.save(figure, stream, ending)
            drawn[f"{FOLDER}/{name}.{ending}"] = stream.getvalue()
    return drawn


def _figures(
    tables: Mapping[str, pd.DataFrame], level: float, min_students: int, held_back: Mapping[int, int], unit: str
) -> Iterator[tuple[str, Figure]]:
    from . import figures
    from .figures.style import plural

    shift = tables["shifts.csv"].set_index("cohort")["shift"] if "shifts.csv" in tables else pd.Series(dtype=float)
    for cohort, part in tables["school_effects.csv"].groupby("cohort"):
        part = _drawable(part, "effect")
        if len(part):
            missing = held_back.get(int(str(cohort)), 0)
            left_out = (
                f"{plural(missing, 'school')} not shown: fewer than {min_students} students, or hiding one that has."
            )
            line = float(shift[cohort]) if cohort in shift.index else None
            yield (
                f"school_effects_{cohort}",
                figures.caterpillar(part, level, shift=line, unit=unit, left_out=left_out if missing else ""),
            )
    if "shift_in_context.csv" in tables:
        yield "shifts", figures.shifts(tables["shift_in_context.csv"], level=level, unit=unit)
    if "correlations.csv" in tables and len(tables["correlations.csv"]):
        yield "correlations", figures.correlation_matrix(*_square(tables["correlations.csv"]))
    for name, (column, label) in SEVERAL.items():
        if name in tables and len(part := _drawable(tables[name], column)):
            effect = part.rename(columns={column: "effect"})
            yield name.removesuffix(".csv"), figures.caterpillar(effect, level, unit=unit, label=label)


def _drawable(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with an estimate and its interval, by school."""
    return table.dropna(subset=[column, "lower", "upper"]).set_index("school")


def _square(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correlations and their errors as square tables, cohorts as index and columns."""
    both = pd.concat([pairs, pairs.rename(columns={"cohort": "other", "other": "cohort"})])
    value, se = (both.pivot(index="cohort", columns="other", values=name) for name in ("correlation", "se"))
    return value, se
