"""`valib simulate`: check by simulation what each method does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ParamsError
from ..names import about
from . import options as opt
from .console import plain_errors
from .study import load_study, read_from, read_whole

if TYPE_CHECKING:
    from ..study.params import Params


def _list_names(value: bool) -> None:
    if value:
        typer.echo(list_names())
        raise typer.Exit


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    scenarios: Annotated[
        str | None,
        typer.Option("--scenarios", metavar="NAME,...", help="The worlds to simulate. Default: all, and your study."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", metavar="NAME,...", help="The methods to compare. Default: those of the question and of valib."
        ),
    ] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", min=2, help="Data sets a scenario. Default: the study's.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="200 data sets a scenario.")] = False,
    reliability: Annotated[
        float, typer.Option("--reliability", help="Reliability of your prior score, for the scenario 'this study'.")
    ] = 1.0,
    names: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list_names, help="List scenarios and methods.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 2,
    level: opt.Level = None,
    seed: opt.Seed = None,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Check by simulation what each method does, with Monte Carlo standard errors.

    DIR gets performance.csv (one row a measure), scenarios.csv (the truth) and replicates.parquet. The scenario 'this
    study' is calibrated to your records: its last focal cohort against its baseline. A run that was interrupted takes
    up where it stopped.

    \b
    Examples:
      valib simulate --list
      valib simulate --fast --out results/simulation
      valib simulate --scenarios drift,sorting --methods seed,answer,default --replicates 500 --out results/simulation
      valib simulate --params study.yml --scenarios "this study" --reliability 0.9 --out results/simulation
    """
    given = dict(locals())
    with plain_errors(debug):
        if fast and replicates is not None:
            raise ParamsError("--fast stands for --replicates 200: give one of the two.")
        study = load_study(given | {"reliability": None})  # which is of the world, not of the study's model
        from ..study import writing as output

        output.check_folder(out)
        output.check_apart(out, [out / name for name in output.OUTPUTS["simulate"]], read_from(study, params))
        count = 200 if fast else replicates or study.simulation_replicates
        simulate_study(study, out, scenarios, methods, count, jobs, reliability, quiet, has_data=bool(data))


THIS_STUDY = "this study"  # the scenario calibrated to the records


def list_names() -> str:
    """Return the names of the scenarios and methods, a line each."""
    from ..simulation import runs

    lines = [
        "Scenarios:",
        *(f"  {s.name}: {s.about}" for s in runs.SCENARIOS.values()),
        f"  {THIS_STUDY}: as estimated from your records",
        "Methods:",
    ]
    return "\n".join([*lines, *(f"  {name}" for name in runs.METHODS)])


def _names(text: str, known: Iterable[str], option: str) -> list[str]:
    """Turn 'a,b' into a list of known names; a hyphen or an underscore may stand for a blank, brackets may be left out."""

    def key(name: str) -> str:
        return " ".join(name.translate(str.maketrans("-_()", "    ")).split())

    by_key = {key(name): name for name in known}
    if unknown := [part for part in text.split(",") if key(part) not in by_key]:
        raise ParamsError(f"{option} names '{unknown[0]}', which is none of: {'; '.join(known)}.")
    return [by_key[key(part)] for part in text.split(",")]


def simulate_study(
    study: Params,
    out: Path,
    scenarios: str | None,
    methods: str | None,
    replicates: int,
    jobs: int,
    reliability: float,
    quiet: bool,
    has_data: bool,
) -> None:
    """Run the simulation; finished chunks wait in a hidden folder until all are done."""
    from ..pages.progress import progress_bar
    from ..simulation import runs
    from ..simulation.calibrate import calibrate
    from ..study import tables
    from ..study import writing as output

    known = [*runs.SCENARIOS, THIS_STUDY]
    worlds: list = _names(scenarios, known, "--scenarios") if scenarios else known
    chosen = _names(methods, runs.METHODS, "--methods") if methods else runs.DEFAULT_METHODS
    if has_data and THIS_STUDY not in worlds:
        raise ParamsError(f"The records are for the scenario '{THIS_STUDY}', which --scenarios leaves out.")
    if THIS_STUDY in worlds:
        records = read_whole(study, not quiet)
        study.need_baseline(records["cohort"].unique(), ", or leave the scenario 'this study' out")
        last = max(study.settled(records["cohort"].unique()).focal_cohorts)
        with about(records, [last]):
            world = calibrate(records, study.baseline_cohorts, last, THIS_STUDY, reliability, study.min_students)
        worlds = [world if name == THIS_STUDY else name for name in worlds]
    chunks = out / ".simulation"
    with output.claim(out):
        output.refuse_foreign(out, "simulate", output.OUTPUTS["simulate"])
        if chunks.is_symlink():
            raise ParamsError(f"--out is {out}, but {chunks} is a link: remove it, or name another folder.")
        with progress_bar("Simulating", quiet) as progress:
            run = runs.simulate(
                worlds,
                chosen,
                replicates=replicates,
                seed=study.seed,
                jobs=jobs,
                level=study.level,
                cache=chunks,
                progress=progress,
            )
        output.write_folder(out, "simulate", tables.simulation_files(run))
        runs.forget(chunks)
    typer.echo(
        f"{out}: {len(run.scenarios)} scenarios, {run.table['method'].nunique()} methods, "
        f"{replicates:,} data sets each."
    )
