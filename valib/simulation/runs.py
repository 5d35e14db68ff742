"""Simulation checks: scenarios x replicates x methods, side by side, with Monte Carlo standard errors.

Every replicate has a seed of its own, spawned from (seed, scenario's name, replicate). Replicates are drawn and fitted
in chunks of a fixed size, so that results do not depend on the number of workers; with a cache folder every finished
chunk is written aside and renamed, and a run that was interrupted takes up where it stopped. All methods see the same
data sets. Source for the design of such studies: Morris, White and Crowther (2019).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config

from .. import __version__
from ..errors import ParamsError
from ..files import PREFIX, write_file
from ..workers import end_with, undisturbed
from .draw import draw
from .measures import KEYS, VALUES, summarise
from .methods import METHODS, Fits, Method, method
from .verdicts import Verdict, judge
from .worlds import SCENARIOS, Scenario, scenario

CHUNK = 50  # replicates drawn and fitted at once; part of the key of a cached chunk
ENGINE = 6  # to be raised whenever the numbers of a chunk may change
FAST = 200  # replicates of a fast run
DEFAULT_METHODS = ("seed", "answer", "default", "default (b known)", "relative")


@dataclass(frozen=True, slots=True, eq=False)
class MonteCarlo:
    """Results of a simulation.

    Attributes
    ----------
    table : DataFrame
        One row a measure: scenario, method, estimand, measure, value, mcse, replicates (:mod:`valib.simulation.measures`).
    draws : DataFrame
        One row a replicate: scenario, method, estimand, replicate and the columns
        :data:`valib.simulation.measures.VALUES`.
    scenarios : DataFrame
        One row a scenario with its parameters, which are the truth.
    replicates, seed, level
        As they were given.

    Notes
    -----
    mcse is the Monte Carlo standard error. Source: Morris, White and Crowther (2019).

    Examples
    --------
    >>> import valib as va
    >>> found = va.simulate([va.scenario("drift", schools=30)], ["default"], replicates=4, seed=1)
    >>> found.draws["replicate"].nunique()
    4
    """

    table: pd.DataFrame
    draws: pd.DataFrame
    scenarios: pd.DataFrame
    replicates: int
    seed: int
    level: float

    def get(self, scenario: str, method: str, estimand: str, measure: str) -> float:
        """One value of the table; ParamsError if it is not there."""
        return float(self._row(scenario, method, estimand, measure)["value"])

    def mcse(self, scenario: str, method: str, estimand: str, measure: str) -> float:
        """The Monte Carlo standard error of one value."""
        return float(self._row(scenario, method, estimand, measure)["mcse"])

    def _row(self, *key: str) -> pd.Series:
        t = self.table
        found = t[np.logical_and.reduce([t[c] == v for c, v in zip((*KEYS, "measure"), key, strict=True)])]
        if len(found) != 1:
            raise ParamsError(f"The simulation holds no {key[3]} of {key[2]} by method '{key[1]}' in '{key[0]}'.")
        return found.iloc[0]

    def judge(self, scenario: str, method: str, estimand: str, level: float | None = None) -> Verdict:
        """The verdict on a coverage against the level (by default that of the run)."""
        row = self._row(scenario, method, estimand, "coverage")
        level = self.level if level is None else level
        return judge(float(row["value"]), float(row["mcse"]), int(row["replicates"]), level)

    def wide(self, estimand: str, measures: Sequence[str]) -> pd.DataFrame:
        """One row a scenario and method, for each measure its value and, as measure_mcse, its standard error."""
        rows = self.table[(self.table["estimand"] == estimand) & self.table["measure"].isin(measures)]
        keys = rows[["scenario", "method"]].drop_duplicates()
        index = pd.MultiIndex.from_frame(keys)
        out = {}
        for name in measures:
            one = rows[rows["measure"] == name].set_index(["scenario", "method"])
            out[name], out[f"{name}_mcse"] = one["value"].reindex(index), one["mcse"].reindex(index)
        return pd.DataFrame(out, index=index)


def simulate(
    scenarios: Iterable[Scenario | str] = tuple(SCENARIOS),
    methods: Iterable[Method | str] | Mapping[str, Iterable[Method | str]] = DEFAULT_METHODS,
    *,
    replicates: int = FAST,
    seed: int,
    jobs: int = 1,
    level: float = 0.95,
    cache: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MonteCarlo:
    """Apply methods to replicates of scenarios and measure how they do.

    Parameters
    ----------
    scenarios : iterable of Scenario or str
        Worlds of valib by name, or your own.
    methods : iterable of Method or str, or mapping
        Methods of valib by name, or your own; or a mapping from a scenario's name to its methods.
    replicates : int
        At least two.
    seed : int
        The same seed gives the same result, byte for byte, whatever the number of jobs.
    jobs : int
        Worker processes.
    level : float
        Coverage of the intervals.
    cache : path, optional
        Folder in which finished chunks are kept and looked for, keyed by scenario, methods, seed, level and version; it may
        be deleted at any time.
    progress : callable, optional
        Called with (chunks done, chunks in all).

    Returns
    -------
    MonteCarlo
        Measures with their Monte Carlo standard errors, and all draws.

    Raises
    ------
    ParamsError
        For unknown or duplicate names and fewer than two replicates.

    Notes
    -----
    Every scenario has its own stream of random numbers, from the seed and its name. Source: Morris, White and Crowther
    (2019).

    Examples
    --------
    >>> import valib as va
    >>> found = va.simulate([va.scenario("drift", schools=30)], ["default"], replicates=4, seed=1)
    >>> int(found.scenarios.loc["drift", "schools"])
    30
    """
    worlds = [scenario(s) if isinstance(s, str) else s for s in scenarios]
    _check_names([s.name for s in worlds], "scenario")
    if replicates < 2:
        raise ParamsError(f"A simulation needs at least two replicates, not {replicates}.")
    if not 0 < level < 1:
        raise ParamsError(f"The level of an interval must lie between 0 and 1, not {level}.")
    plans = [(s, _methods_of(s, methods)) for s in worlds]
    tasks = [
        (s, m, start, min(start + CHUNK, replicates), seed, level, cache)
        for s, m in plans
        for start in range(0, replicates, CHUNK)
    ]
    parts = []
    with parallel_config(
        "loky",
        n_jobs=min(jobs, len(tasks)),
        inner_max_num_threads=1 if jobs > 1 else None,
        initializer=end_with,
        initargs=(os.getpid(),),
    ):
        with undisturbed():
            finished = Parallel(return_as="generator")(delayed(_chunk)(*task) for task in tasks)
        for part in finished:
            parts.append(part)
            if progress is not None:
                progress(len(parts), len(tasks))
    draws = pd.concat(parts, ignore_index=True)
    return MonteCarlo(summarise(draws), draws, scenario_table(worlds), replicates, seed, level)


def scenario_table(scenarios: Iterable[Scenario]) -> pd.DataFrame:
    """One row a scenario with its parameters (cells: how many students in all)."""
    rows = [
        s.parameters()
        | {
            "schools": s.n_schools,
            "cells": None if s.cells is None else int(np.sum(s.cells)),
            "baseline": " ".join(map(str, s.baseline)),
            "sizes": f"{s.sizes[0]}-{s.sizes[1]}",
        }
        for s in scenarios
    ]
    return pd.DataFrame(rows).set_index("name").rename_axis("scenario")


def _check_names(names: list[str], what: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice or not names:
        raise ParamsError(f"The {what} '{twice[0]}' is given twice." if twice else f"No {what} is given.")


def _methods_of(s: Scenario, methods) -> tuple[Method, ...]:
    if isinstance(methods, Mapping):
        if s.name not in methods:
            raise ParamsError(f"No methods are given for the scenario '{s.name}'.")
        methods = methods[s.name]
    found = tuple(method(m) if isinstance(m, str) else m for m in methods)
    _check_names([m.name for m in found], "method")
    return found


def _chunk(
    s: Scenario,
    methods: tuple[Method, ...],
    start: int,
    stop: int,
    seed: int,
    level: float,
    cache: str | os.PathLike | None,
) -> pd.DataFrame:
    """Replicates start .. stop - 1 of one scenario, from the cache if they are there."""
    if cache is None:
        return _compute(s, methods, start, stop, seed, level)
    file = Path(cache) / f"{_key(s, methods, seed, level)}-{start:06d}-{stop:06d}.parquet"
    try:
        return pd.read_parquet(file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):  # damaged, for example by a full disk: computed again
        file.unlink(missing_ok=True)
    table = _compute(s, methods, start, stop, seed, level)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, table.to_parquet(index=False))
    return table


def forget(cache: str | os.PathLike) -> None:
    """Remove the chunks that runs have kept in a folder, and the folder if nothing else is in it."""
    for file in Path(cache).glob("*.parquet"):
        if re.fullmatch(r"[0-9a-f]{16}-\d{6}-\d{6}", file.stem):
            file.unlink()
    for left in Path(cache).glob(f"{PREFIX}*"):
        if re.fullmatch(r"\.valib-[0-9a-f]{8}-[0-9a-f]{16}-\d{6}-\d{6}\.parquet", left.name):
            left.unlink()
    with contextlib.suppress(OSError):
        Path(cache).rmdir()


def _key(s: Scenario, methods: tuple[Method, ...], seed: int, level: float) -> str:
    """What a chunk's numbers depend on, as 16 hex digits."""
    content = [asdict(s), [asdict(m) for m in methods], seed, level, CHUNK, ENGINE, __version__, np.__version__]
    return hashlib.sha256(json.dumps(content, default=float).encode()).hexdigest()[:16]


def _compute(s: Scenario, methods: tuple[Method, ...], start: int, stop: int, seed: int, level: float) -> pd.DataFrame:
    """Draw and fit replicates start .. stop - 1; one row a method, estimand and replicate."""
    stream = zlib.crc32(s.name.encode())
    seeds = [np.random.SeedSequence(seed, spawn_key=(stream, r)) for r in range(start, stop)]
    worlds = draw(s, [np.random.default_rng(q) for q in seeds])
    fits, labels, numbers, parts = Fits(s, worlds, seeds, level), [], [], [np.empty((0, len(VALUES)))]
    for m in methods:
        wanted = stop - start if m.replicates is None else min(stop, m.replicates) - start
        if wanted <= 0:
            continue
        for estimand, values in fits.apply(m, wanted).items():
            labels += [(m.name, estimand)] * wanted
            numbers += range(start, start + wanted)
            parts.append(values)
    table = pd.DataFrame(np.concatenate(parts), columns=list(VALUES))
    table.insert(0, "replicate", np.array(numbers, dtype=np.int64))
    for place, (column, texts) in enumerate(
        zip(KEYS[1:], zip(*labels, strict=True) if labels else ([], []), strict=True)
    ):
        table.insert(place, column, list(texts))
    table.insert(0, KEYS[0], s.name)
    return table


__all__ = [
    "CHUNK",
    "DEFAULT_METHODS",
    "FAST",
    "METHODS",
    "SCENARIOS",
    "Method",
    "MonteCarlo",
    "Scenario",
    "scenario_table",
    "simulate",
]
