"""`valib report`: a page about each school."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors
from .study import load_study, read_from

if TYPE_CHECKING:
    from ..study.params import Params


def report(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the reports.")],
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    school: Annotated[
        list[str] | None,
        typer.Option("--school", metavar="ID", help="The school's code in the records; once for each school."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every school that may be shown.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also a PDF for each school.")] = False,
    studies: Annotated[
        str | None,
        typer.Option(
            "--studies",
            metavar="A.yml,B.yml,...",
            show_default=False,
            help="Several studies of the same schools, such as subjects: one page a school with a part for each.",
        ),
    ] = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    title: Annotated[str | None, typer.Option("--title", help="The study's title.")] = None,
    formula: opt.Formula = None,
    estimator: opt.Estimator = None,
    reliability: opt.Reliability = None,
    shift: opt.Shift = None,
    variances: opt.Variances = None,
    method: opt.Method = None,
    level: opt.Level = None,
    intervals: opt.Intervals = None,
    equating_se: opt.EquatingSe = None,
    cohort_sd: opt.CohortSd = None,
    min_students: opt.MinStudents = None,
    min_linked_share: opt.MinLinkedShare = None,
    fdr: opt.Fdr = None,
    seed: opt.Seed = None,
    pseudonyms: opt.Pseudonyms = None,
    excel: opt.Excel = None,
    decimal: opt.Decimal = None,
    byte_order_mark: opt.ByteOrderMark = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Schools worked on at a time.")] = 2,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> None:
    """Make a page about each school: its students, its value added over the years, its place, and how sure all that is.

    DIR gets html/index.html, a page for each school below html/schools, report.csv, changes.csv, report_averages.csv and
    report_lasting.csv with report_about.csv and report_columns.csv that explain them, report.xlsx with --excel, and pdf/
    with --pdf. A page names no other school. Years in which a school has too few students are not shown; a school without
    any year that may be shown has no page.

    \b
    Examples:
      valib report --school 0531 --out report
      valib report --school 0531 --school 0402 --pdf --out report
      valib report --studies reading.yml,maths.yml --all --out reports
      valib report my.csv --all --baseline-cohorts 2016,2017 --focal-cohorts 2019,2021 --out reports
    """
    given = dict(locals())
    with plain_errors(debug):
        if bool(school) == every:
            raise ParamsError("Name the schools: --school ID, once for each, or --all for every school; not both.")
        found = _studies(given | {"school": None})  # the schools of the pages, not the one that the study follows
        from ..pages import report as engine
        from ..study.writing import OUTPUTS, check_apart, check_folder

        check_folder(out)
        sources = [source for file, study in found.values() for source in read_from(study, file)]
        check_apart(out, [out / name for name in OUTPUTS["report"]], sources)
        many = {label: study for label, (_, study) in found.items()}
        chosen = many if studies else many[""]
        result = engine.build(chosen, out, schools=school or None, pdf=pdf, jobs=jobs, progress=not quiet)
        typer.echo(f"{result.index}: {len(result.files):,} school{'s' * (len(result.files) > 1)}")
        if every and result.not_shown:
            schools = f"{result.not_shown:,} school{'s' * (result.not_shown > 1)}"
            typer.echo(f"{schools} without a page: too few students in every cohort")
        if result.pdf:
            typer.echo(str(result.pdf))


def _studies(given: dict[str, Any]) -> dict[str, tuple[str | None, Params]]:
    """The file and the study, or the files and studies by what they are called."""
    if given["studies"] is None:
        return {"": (given["params"], load_study(given))}
    from ..pages.report.several import labelled

    alone = ("data", "params", "column", "title", "table", "where", "prior", "baseline_cohorts", "focal_cohorts")
    if named := [name for name in alone if given[name]]:
        option = "DATA" if named[0] == "data" else f"--{named[0].replace('_', '-')}"
        raise ParamsError(f"--studies brings the studies' own records and cohorts: leave {option} out.")
    files = [part.strip() for part in given["studies"].split(",") if part.strip()]
    found = [load_study(given | {"params": file}) for file in files]
    names = labelled([Path(file) for file in files], found)
    return dict(zip(names, zip(files, found, strict=True), strict=True))
