"""Speed beside other packages, as it was measured: the committed results of ``make perf`` as tables and sentences.

The file holds the machine, the versions and one row a comparison (``perf/rows.py`` writes them). Nothing is timed here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from ..errors import ValibError
from ..records.datasets import bundle_root

FORMAT = "valib-performance/1"
FILE = Path("perf") / "results" / "performance.json"
USUAL = "valib from a DataFrame"  # what is measured where a table does not say it
PASSES = "valib / other"  # how the file marks a ratio that divides valib's time by the other's
CASES = {
    "relative": "Relative fit",
    "sums": "Sums of students",
    "joint": "Joint fit",
    "posterior": "Posterior of schools",
    "quantile": "Value added at a quantile",
    "bootstrap": "School bootstrap",
    "reading": "Reading records",
    "streaming": "Streaming",
    "linking": "Prior scores out of the same file",
    "spark": "Spark",
    "reports": "Reports of schools",
}
AXES = {"students": "Students", "schools": "Schools", "covariates": "Covariates", "cohorts": "Cohorts"}
_ROW = {
    "case",
    "what",
    "ours",
    "other",
    "seconds",
    "other_seconds",
    "ratio",
    "ratio_of",
    "target",
    "met",
    "memory_mib",
    "other_memory_mib",
    "loglik",
    "estimates",
    "note",
}
_GROWTH = {*AXES, "along", "median", "low", "high", "runs", "memory_mib"}


def load(file: str | os.PathLike | None = None) -> dict:
    """The measurements that come with valib, or those of another run's file.

    Raises ValibError for a file that is not there or holds something else.
    """
    path = Path(file) if file is not None else bundle_root() / FILE
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValibError(
            f"{path.name}: the measurements cannot be read ({type(error).__name__}): make them with 'make perf'."
        ) from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValibError(f"{path.name}: is not a file of measurements of this version of valib ({FORMAT}).")
    parts = {"machine": dict, "versions": dict, "date": str, "minutes": (int, float), "rows": list, "growth": list}
    wrong = [name for name, kind in parts.items() if not isinstance(result.get(name), kind)]
    wrong += [f"row {k + 1}" for k, row in enumerate(result.get("rows") or []) if not set(row) >= _ROW]
    wrong += [f"growth {k + 1}" for k, row in enumerate(result.get("growth") or []) if not set(row) >= _GROWTH]
    if wrong:
        raise ValibError(f"{path.name}: the measurements lack {', '.join(wrong[:5])}.")
    return result


def comparisons(result: dict, *cases: str) -> pd.DataFrame:
    """Times of some cases as text: Measured, Beside, valib and Other (seconds: median and range), Ratio, Target.

    A ratio above one is how many times faster valib is, unless it is marked as times of the other.
    """
    rows = [
        {
            "Measured": row["what"] if row["ours"] == USUAL else f"{row['ours']}: {row['what']}",
            "Beside": row["other"],
            "valib (s)": seconds(row["seconds"]),
            "Other (s)": seconds(row["other_seconds"]) or _why_not(row),
            "Ratio": _ratio(row),
            "Target": _target(row),
        }
        for row in _of(result, cases)
    ]
    return pd.DataFrame(rows, columns=["Measured", "Beside", "valib (s)", "Other (s)", "Ratio", "Target"])


def agreement(result: dict) -> pd.DataFrame:
    """How far the estimates of each pair lie apart, and the peak memory of each process, packages and data included.

    Columns: Measured, Beside, Log-likelihood (the other's less valib's), Estimates (largest difference, in standard
    errors), valib (MiB), Other (MiB). Only pairs that were run and fit the same model.
    """
    rows = [
        {
            "Measured": f"{CASES.get(row['case'], row['case'])}, {row['what']}",
            "Beside": row["other"],
            "Log-likelihood": f"{row['loglik']:+.1e}",
            "Estimates (SE)": f"{row['estimates']:.0e}",
            "valib (MiB)": _whole(row["memory_mib"]),
            "Other (MiB)": _whole(row["other_memory_mib"]),
        }
        for row in result["rows"]
        if row["loglik"] is not None
    ]
    return pd.DataFrame(
        rows, columns=["Measured", "Beside", "Log-likelihood", "Estimates (SE)", "valib (MiB)", "Other (MiB)"]
    )


def verdicts(result: dict) -> list[str]:
    """One sentence for every target: what was measured, what was asked for, and whether it was met."""
    said = []
    for row in (r for r in result["rows"] if r["target"]):
        target, name = row["target"], f"{CASES.get(row['case'], row['case'])} ({row['what']})"
        if row["met"] is None:
            said.append(f"{name}: the target could not be checked, because {row['other']} was not measured.")
            continue
        measured = (
            f"{row['seconds']['median']:.3g} seconds for the {row['ours']}"
            if target["of"] == "seconds"
            else f"{row['ratio']['median']:.3g} times {row['other']}"
            if row["ratio_of"] == PASSES
            else f"{row['ratio']['median']:.3g} times as fast as {row['other']}"
        )
        unit = " seconds" if target["of"] == "seconds" else ""
        said.append(
            f"{name}: {measured}. The target is {target['sense']} {target['value']:g}{unit}: "
            f"{'met' if row['met'] else 'not met'}."
        )
    return said


def growth(result: dict) -> pd.DataFrame:
    """One row a point of the growth curves: along, value, seconds, low, high, memory_mib, and the sizes held."""
    rows = [
        {
            "along": AXES[g["along"]],
            "value": g[g["along"]],
            "seconds": g["median"],
            "low": g["low"],
            "high": g["high"],
            "memory_mib": g["memory_mib"],
            **{k: g[k] for k in AXES},
        }
        for g in result["growth"]
    ]
    return pd.DataFrame(rows, columns=["along", "value", "seconds", "low", "high", "memory_mib", *AXES])


def seconds(spread: dict | None) -> str:
    """Median and range of some runs in text; nothing where there was none."""
    if spread is None:
        return ""
    middle = _number(spread["median"])
    return middle if spread["runs"] == 1 else f"{middle} ({_number(spread['low'])} to {_number(spread['high'])})"


def _of(result: dict, cases: tuple[str, ...]) -> list[dict]:
    return [row for row in result["rows"] if row["case"] in cases]


def _why_not(row: dict) -> str:
    """The part of a note that says why there is no run."""
    return next((part for part in row["note"].split("; ") if part.startswith(("not ", "failed"))), "")


def _ratio(row: dict) -> str:
    if row["ratio"] is None:
        return ""
    return _number(row["ratio"]["median"]) + (" times the other" if row["ratio_of"] == PASSES else "")


def _target(row: dict) -> str:
    if row["target"] is None:
        return ""
    verdict = "not checked" if row["met"] is None else "met" if row["met"] else "not met"
    unit = " s" if row["target"]["of"] == "seconds" else ""
    return f"{row['target']['sense']} {row['target']['value']:g}{unit}: {verdict}"


def _number(value: float) -> str:
    """Two significant digits, three for tens and more, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
