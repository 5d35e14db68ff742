"""`valib book`: render the book."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from .console import plain_errors
from .study import load_study, read_from


def book(
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    title: Annotated[str | None, typer.Option("--title", help="The book's title.")] = None,
    school: Annotated[str | None, typer.Option("--school", help="The school to follow, else chosen by rule.")] = None,
    formula: opt.Formula = None,
    estimator: opt.Estimator = None,
    reliability: opt.Reliability = None,
    shift: opt.Shift = None,
    variances: opt.Variances = None,
    method: opt.Method = None,
    level: opt.Level = None,
    equating_se: opt.EquatingSe = None,
    cohort_sd: opt.CohortSd = None,
    min_students: opt.MinStudents = None,
    min_linked_share: opt.MinLinkedShare = None,
    fdr: opt.Fdr = None,
    seed: opt.Seed = None,
    pseudonyms: opt.Pseudonyms = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the book.")] = Path("_build"),
    pdf: Annotated[bool, typer.Option("--pdf", help="Also make the PDF; needs LaTeX.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Chapters computed at a time.")] = 2,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit",
            metavar="MINUTES",
            min=0.001,
            help="What one chapter, the pages or the PDF may take before it is stopped.",
        ),
    ] = 30.0,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Render the book about these records: DIR/html, DIR/results, and DIR/valib.pdf with --pdf.

    \b
    Examples:
      valib book
      valib book my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2019,2021 --out somewhere
      valib book --params study.yml --pdf --out somewhere
    """
    given = dict(locals())
    with plain_errors(debug):
        study = load_study(given)
        from ..pages import build as engine
        from ..study.writing import OUTPUTS, check_apart, check_folder

        check_folder(out)
        check_apart(out, [out / name for name in OUTPUTS["book"]], read_from(study, params))
        result = engine.build(study, out=out, pdf=pdf, jobs=jobs, progress=not quiet, minutes=time_limit)
        for path in (result.html, result.results, result.pdf):
            if path is not None:
                typer.echo(str(path))
