"""Rows of the table of measurements: plain numbers, as they stand in the JSON file."""

from __future__ import annotations

import numpy as np
from timing import Timed

FASTER, PASSES = "other / valib", "valib / other"  # what a ratio divides by what


def row(
    case: str,
    what: str,
    ours: str,
    timed: Timed,
    other: str = "",
    beside: Timed | None = None,
    *,
    ratio_of: str = FASTER,
    at_least: float | None = None,
    at_most: float | None = None,
    seconds_at_most: float | None = None,
    note: str = "",
) -> dict:
    """One comparison, or one time that stands alone.

    case: which measurement; what: of what size. A target is a bound on the ratio (at_least, at_most) or on valib's
    seconds. memory_mib: peak of the process while it ran, packages and data included. loglik: the other's
    log-likelihood less valib's. estimates: the largest difference between estimates, in standard errors.
    """
    beside = beside or Timed()
    ratio = _ratio(timed, beside) if ratio_of == FASTER else _ratio(beside, timed)
    bound = next(
        (
            (sense, of, value)
            for sense, of, value in (
                ("at least", "ratio", at_least),
                ("at most", "ratio", at_most),
                ("at most", "seconds", seconds_at_most),
            )
            if value is not None
        ),
        None,
    )
    measured = {"ratio": ratio and ratio["median"], "seconds": timed.median}
    met = None
    if bound and measured[bound[1]] is not None:
        met = measured[bound[1]] >= bound[2] if bound[0] == "at least" else measured[bound[1]] <= bound[2]
    return {
        "case": case,
        "what": what,
        "ours": ours,
        "other": other,
        "seconds": spread(timed.seconds),
        "other_seconds": spread(beside.seconds),
        "ratio": ratio,
        "ratio_of": ratio_of,
        "target": bound and {"sense": bound[0], "of": bound[1], "value": bound[2]},
        "met": met,
        "memory_mib": timed.peak,
        "other_memory_mib": beside.peak,
        **agreement(timed.found, beside.found),
        "note": "; ".join(filter(None, (note, timed.note, beside.note))),
    }


def spread(seconds: list[float]) -> dict | None:
    """Median, lowest, highest and number of runs."""
    if not seconds:
        return None
    return {"median": float(np.median(seconds)), "low": min(seconds), "high": max(seconds), "runs": len(seconds)}


def agreement(ours: dict, other: dict) -> dict:
    """How far two fits of the same model are apart; None where one of them does not tell."""
    loglik = estimates = None
    if {"loglik", "errors"} <= ours.keys() and "loglik" in other:
        loglik = other["loglik"] - ours["loglik"]
        a, b = (
            np.concatenate([np.atleast_1d(f[k]) for k in ("tau2", "sigma2", "coefficients")]) for f in (ours, other)
        )
        estimates = float(np.max(np.abs(a - b) / np.asarray(ours["errors"])))
    elif "shift" in ours and "shift" in other:
        estimates = float(np.max(np.abs(np.subtract(ours["shift"], other["shift"]))))
    return {"loglik": loglik, "estimates": estimates}


def _ratio(below: Timed, above: Timed) -> dict | None:
    """Ratio of the medians, and of the runs of the same turn at the least and most."""
    if not below.seconds or not above.seconds:
        return None
    pairs = [a / b for a, b in zip(reversed(above.seconds), reversed(below.seconds), strict=False)]
    middle = above.median / below.median
    return {"median": middle, "low": min(*pairs, middle), "high": max(*pairs, middle)}
