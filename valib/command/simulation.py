"""What `valib simulate` does: choose worlds and methods by name, run them, write the results."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import typer

from ..errors import ParamsError
from ..simulation import runs as montecarlo
from ..simulation.calibrate import calibrate
from ..study import tables as results
from ..study import writing as output
from ..study.params import Params
from .console import about, progress_bar

THIS_STUDY = "this study"  # the scenario calibrated to the records


def list_names() -> str:
    """Return the names of the scenarios and methods, a line each."""
    lines = ["Scenarios:", *(f"  {s.name}: {s.about}" for s in montecarlo.SCENARIOS.values()),
             f"  {THIS_STUDY}: as estimated from your records", "Methods:"]
    return "\n".join([*lines, *(f"  {name}" for name in montecarlo.METHODS)])


def _names(text: str, known: Iterable[str], option: str) -> list[str]:
    """Turn 'a,b' into a list of known names; a hyphen or an underscore may stand for a blank, brackets may be left out.
    """
    def key(name: str) -> str:
        return " ".join(name.translate(str.maketrans("-_()", "    ")).split())

    by_key = {key(name): name for name in known}
    if unknown := [part for part in text.split(",") if key(part) not in by_key]:
        raise ParamsError(f"{option} names '{unknown[0]}', which is none of: {'; '.join(known)}.")
    return [by_key[key(part)] for part in text.split(",")]


def simulate_study(study: Params, out: Path, scenarios: str | None, methods: str | None, replicates: int, jobs: int,
                   reliability: float, quiet: bool, has_data: bool) -> None:
    """Run the simulation; finished chunks wait in a hidden folder until all are done."""
    known = [*montecarlo.SCENARIOS, THIS_STUDY]
    worlds: list = _names(scenarios, known, "--scenarios") if scenarios else known
    chosen = _names(methods, montecarlo.METHODS, "--methods") if methods else montecarlo.DEFAULT_METHODS
    if has_data and THIS_STUDY not in worlds:
        raise ParamsError(f"The records are for the scenario '{THIS_STUDY}', which --scenarios leaves out.")
    if THIS_STUDY in worlds:
        records, last = study.read_records(), max(study.focal_cohorts)
        with about(records, [last]):
            world = calibrate(records, study.baseline_cohorts, last, THIS_STUDY, reliability)
        worlds = [world if name == THIS_STUDY else name for name in worlds]
    chunks = out / ".simulation"
    with output.claim(out):
        with progress_bar("Simulating", quiet) as progress:
            run = montecarlo.run(worlds, chosen, replicates=replicates, seed=study.seed,
                                 jobs=jobs, level=study.level, cache=chunks, progress=progress)
        output.write_folder(out, results.simulation_files(run))
        shutil.rmtree(chunks, ignore_errors=True)
    typer.echo(f"{out}: {len(run.scenarios)} scenarios, {run.table['method'].nunique()} methods, "
               f"{replicates:,} data sets each.")
