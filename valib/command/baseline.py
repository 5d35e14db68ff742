"""`valib baseline`: the benchmark alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..names import listed
from . import options as opt
from .console import plain_errors
from .study import check_unchanged, fit_study_baseline, load_study, open_records, read_from, stamp


def baseline(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The JSON file for the benchmark.")],
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    formula: opt.Formula = None,
    estimator: opt.Estimator = None,
    method: opt.Method = None,
    reliability: opt.Reliability = None,
    random: opt.Random = None,
    influences: Annotated[
        bool,
        typer.Option(
            "--influences",
            help="Keep what each school adds to the coefficients, by its code or pseudonym, so that a later cohort of the "
            "same schools gets the right error of its shift. SECURITY.md says what that tells of schools.",
        ),
    ] = False,
    engine: opt.Engine = None,
    exact: opt.Exact = False,
    debug: opt.Debug = False,
) -> None:
    """Fit the benchmark on the baseline cohorts and save it, to be applied later without their students.

    The file holds coefficients, their covariance, variance components and summaries; no student, and no school unless
    --influences asks for it. Figures are
    rounded to what may be published: a later cohort's value added differs from that of a benchmark in memory by a
    few thousandths of its error.

    \b
    Examples:
      valib baseline --out baseline.json
      valib baseline my.csv --baseline-cohorts 2016,2017 --estimator within --out baseline.json
      valib baseline --random prior_score --out slopes.json
      valib baseline --influences --out baseline.json
    """
    given = dict(locals())
    with plain_errors(debug):
        study = load_study(given)
        from ..study.writing import check_apart, check_file, claim

        check_file(out)
        check_apart(out, [out], read_from(study, params))
        with claim(out.parent, out.name):
            before = stamp(study)
            records = open_records(study, engine, by_cell=True)
            fitted = fit_study_baseline(study, records)
            check_unchanged(study, records, before)
            fitted.save(out, exact, influences)
        typer.echo(
            f"{out}: {fitted.formula} on cohorts {listed(fitted.cohorts)}, "
            f"{fitted.n_students:,.0f} students in {fitted.n_schools:,} schools"
            + (f", errors of {listed(fitted.error_variance)} taken off" if fitted.error_variance else "")
            + (f", slopes of schools of {listed(fitted.random)}" if fitted.random else "")
            + ("; exact, not for publication." if exact else ".")
        )
