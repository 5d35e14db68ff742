"""`valib simulate`: check by simulation what each method does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors
from .study import load_study, read_from


def _list_names(value: bool) -> None:
    if value:
        from .simulation import list_names

        typer.echo(list_names())
        raise typer.Exit


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    data: opt.Data = None, table: opt.Table = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None,
    scenarios: Annotated[str | None, typer.Option(
        "--scenarios", metavar="NAME,...", help="The worlds to simulate. Default: all, and your study.")] = None,
    methods: Annotated[str | None, typer.Option(
        "--methods", metavar="NAME,...", help="The methods to compare. Default: those of the question and of valib.",
        )] = None,
    replicates: Annotated[int | None, typer.Option(
        "--replicates", min=2, help="Data sets a scenario. Default: the study's.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="200 data sets a scenario.")] = False,
    reliability: Annotated[float, typer.Option(
        "--reliability", help="Reliability of your prior score, for the scenario 'this study'.")] = 1.0,
    names: Annotated[bool, typer.Option("--list", is_eager=True, callback=_list_names,
                                        help="List scenarios and methods.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 2,
    level: opt.Level = None, seed: opt.Seed = None, quiet: opt.Quiet = False, debug: opt.Debug = False,
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
      valib simulate my.csv --scenarios "this study" --reliability 0.9 --out results/simulation
    """
    with plain_errors(debug):
        if fast and replicates is not None:
            raise ParamsError("--fast stands for --replicates 200: give one of the two.")
        study = load_study(params, data, column, baseline_cohorts, focal_cohorts, table=table, level=level,
                           seed=seed)
        from ..study import writing as output
        from .simulation import simulate_study

        output.check_folder(out)
        output.check_apart(out, [out / name for name in output.FILES], read_from(study, params))
        count = 200 if fast else replicates or study.simulation_replicates
        simulate_study(study, out, scenarios, methods, count, jobs, reliability, quiet, has_data=bool(data))
