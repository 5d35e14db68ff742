"""What scripts of coverage share: means over replicates with their Monte Carlo errors, and the file that they add worlds to."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Told = dict[str, dict[str, float]]


def replicates_of(name: str, count: int, seed: int, replicate: Callable[[np.random.Generator], dict]) -> pd.DataFrame:
    """What each replicate of a world tells, a row each; each has a seed of its own."""
    key = zlib.crc32(name.encode())
    return pd.DataFrame([replicate(np.random.default_rng([seed, key, r])) for r in range(count)])


def means(told: pd.DataFrame, count: Any) -> Told:
    """Mean and Monte Carlo error of every column; count: of the replicates behind it."""
    error = told.std(ddof=1) / np.sqrt(count)
    return {k: {"mean": float(told[k].mean()), "mcse": float(error[k])} for k in told}


def write_worlds(path: Path, names: Collection[str], start: dict[str, Any], measure: Callable[[str], Told]) -> None:
    """Measure every world that is not stored and write the result, world by world."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {**start, "worlds": {}}
    for name in names:
        if name not in stored["worlds"]:
            found = stored["worlds"][name] = measure(name)
            rounded = {k: tuple(round(x, 3) for x in v.values()) for k, v in found.items()}
            print(name, rounded, flush=True)
            path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
