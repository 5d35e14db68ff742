"""`valib fit`: the effect of every school."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ParamsError
from ..names import about, listed
from . import options as opt
from .console import plain_errors
from .study import check_unchanged, fit_study_baseline, load_study, open_records, read_from, stamp

if TYPE_CHECKING:
    from ..effects.baseline import Benchmark
    from ..study.params import Params


def fit(
    model: Annotated[
        opt.Model,
        typer.Option("--model", help="Against the other schools, against the baseline, or several cohorts at once."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    cohorts: Annotated[
        str | None,
        typer.Option("--cohorts", metavar="2019,2021,...", help="The cohorts to fit. Default: the focal cohorts."),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option("--benchmark", metavar="FILE", help="A benchmark saved by `valib baseline`, for the baseline."),
    ] = None,
    formula: opt.Formula = None,
    estimator: opt.Estimator = None,
    shift: opt.Shift = None,
    variances: opt.Variances = None,
    method: opt.Method = None,
    level: opt.Level = None,
    intervals: opt.Intervals = None,
    equating_se: opt.EquatingSe = None,
    cohort_sd: opt.CohortSd = None,
    covariance: opt.Covariance = None,
    residual: opt.Residual = None,
    average: opt.Average = None,
    min_students: opt.MinStudents = None,
    pseudonyms: opt.Pseudonyms = None,
    engine: opt.Engine = None,
    exact: opt.Exact = False,
    debug: opt.Debug = False,
) -> None:
    """Estimate the effect of every school and write the results as CSV and JSON.

    DIR gets school_effects.csv, fixed_effects.csv and fits.json; shifts.csv and, beside the baseline cohorts' own
    shifts and what is not known, shift_in_context.csv if a shift is estimated; and of a joint model correlations.csv
    and omega.csv (how school effects covary over cohorts), averages.csv with --average, and with --covariance
    compound_symmetry lasting.csv (what a school keeps from cohort to cohort, which is no average). Figures are rounded
    to what may be published: errors to two digits, estimates to the last place of their errors.
    Results of an earlier run in DIR are replaced when the run has succeeded.

    \b
    Examples:
      valib fit --model relative --out results/relative
      valib fit --model benchmark --out results/benchmark
      valib fit my.csv --model relative --cohorts 2024 --formula "score ~ prior_score + ses" --out results
      valib fit new.csv --model benchmark --benchmark baseline.json --cohorts 2025 --out results
      valib fit parts/ --model relative --cohorts 2024 --engine duckdb --out results
      valib fit --model joint --cohorts 2019,2021,2024 --covariance ar1 --residual common --out results/joint
      valib fit --model joint --cohorts 2021,2023,2024 --average 2021,2023,2024 --out results/average
    """
    with plain_errors(debug):
        from ..study.params import parse_cohorts

        if benchmark and (baseline_cohorts or formula or estimator):
            raise ParamsError("--benchmark brings its own baseline cohorts, formula and estimator: leave those out.")
        if benchmark and model is not opt.Model.benchmark:
            raise ParamsError(f"--benchmark is for --model benchmark; a {model.value} model has none.")
        several = {"covariance": covariance, "residual": residual, "average": parse_cohorts(average, "--average")}
        structure = {k: v for k, v in several.items() if v is not None}
        if structure and model is not opt.Model.joint:
            raise ParamsError(f"--{next(iter(structure))} is for --model joint; a {model.value} model has none.")
        study = load_study(
            params,
            data,
            column,
            baseline_cohorts,
            focal_cohorts,
            table=table,
            where=where,
            prior=prior,
            formula=formula,
            estimator=estimator,
            shift=shift,
            variances=variances,
            method=method,
            level=level,
            intervals=intervals,
            equating_se=equating_se,
            cohort_sd=cohort_sd,
            min_students=min_students,
            pseudonym_key=pseudonyms,
        )
        from ..study import writing as output

        output.check_folder(out)
        output.check_apart(out, [out / name for name in output.OUTPUTS["fit"]], read_from(study, params, benchmark))
        _fit(study, model, out, cohorts, benchmark, structure, engine, exact)


def _fit(
    study: Params,
    model: opt.Model,
    out: Path,
    cohorts_text: str | None,
    benchmark_file: str | None,
    structure: dict[str, Any],
    engine: str | None,
    exact: bool,
) -> None:
    """Hold the folder for this run and fit."""
    from ..records.pseudonyms import check_outside
    from ..study import writing as output
    from ..study.params import parse_cohorts

    check_outside(study.pseudonym_key, out)
    cohorts = parse_cohorts(cohorts_text, "--cohorts")
    with output.claim(out):
        output.refuse_foreign(out, "fit", _names(study, model, structure, exact))
        _fit_into(study, model, out, cohorts, benchmark_file, structure, engine, exact)


def _names(study: Params, model: opt.Model, structure: dict[str, Any], exact: bool) -> list[str]:
    """The files that a fit of this model makes."""
    more = {
        opt.Model.relative: [],
        opt.Model.benchmark: ["shifts.csv"] if study.shift == "estimated" else [],
        opt.Model.joint: ["correlations.csv", "omega.csv"],
    }
    more[opt.Model.joint] += ["averages.csv"] if "average" in structure else []
    more[opt.Model.joint] += ["lasting.csv"] if structure.get("covariance") == "compound_symmetry" else []
    mark = ["NOT_FOR_PUBLICATION.txt"] if exact else []
    return ["school_effects.csv", "fixed_effects.csv", "fits.json", *more[model], *mark]


def _fit_into(
    study: Params,
    model: opt.Model,
    out: Path,
    cohorts: list[int] | None,
    benchmark_file: str | None,
    structure: dict[str, Any],
    engine: str | None,
    exact: bool,
) -> None:
    """Fit every cohort asked for, or else the focal ones, then write all results at once."""
    from ..effects.baseline import Benchmark
    from ..effects.shift import shift_in_context
    from ..records.school_names import school_names, with_names
    from ..study import tables as results
    from ..study import writing as output

    said: list[str] = []
    saved, before = Benchmark.load(benchmark_file) if benchmark_file else None, stamp(study)
    records = open_records(
        study, engine, saved.formula if saved else study.formula, by_cell=model is opt.Model.benchmark and saved is None
    )
    cohorts = cohorts or _focal(study, records, model, saved)
    if model is opt.Model.joint:
        files, effects, held_back = _joint_results(study, records, cohorts, structure, exact)
    else:
        find = _relative_fits if model is opt.Model.relative else _benchmark_fits
        fits, reference = find(study, records, cohorts, saved)
        effects, held_back = results.school_effects(fits, study.min_students)
        files = {
            "fixed_effects.csv": output.as_csv(results.fixed_effects(fits), exact),
            "fits.json": output.as_json(results.summaries(fits, study.min_students, records.attrs), exact),
        }
        if model is opt.Model.benchmark and study.shift == "estimated":
            context = shift_in_context(fits, reference)
            files["shifts.csv"] = output.as_csv(results.shifts(fits), exact)
            files["shift_in_context.csv"] = output.as_csv(context.reset_index(), exact)
            said = results.shift_lines(context, fits)
    check_unchanged(study, records, before)
    effects = with_names(effects, school_names(records))
    if exact:
        files[output.NOT_FOR_PUBLICATION] = output.WHY_NOT
    output.write_folder(out, "fit", {"school_effects.csv": output.as_csv(effects, exact), **files})
    hidden = f"; {held_back} not shown: fewer than {study.min_students} students, or hiding one that has"
    typer.echo(
        f"{out}: {len(effects):,} effects ({model.value}) of schools in cohorts {listed(cohorts)}"
        + (hidden if held_back else "")
        + ("; exact figures, not for publication." if exact else ".")
    )
    for line in said:
        typer.echo(line)


def _focal(study: Params, records: Any, model: opt.Model, saved: Benchmark | None) -> list[int]:
    """The study's focal cohorts, or else those of the records that are in no baseline."""
    from ..sums.students import cohorts_of

    there = cohorts_of(records)
    if model is opt.Model.benchmark and saved is None:
        study.need_baseline(there, ", or fit --model relative, which needs none")
    if saved is not None and not study.baseline_cohorts:
        study = study.model_copy(update={"baseline_cohorts": list(saved.cohorts)})
    return study.settled(there).focal_cohorts


def _joint_results(
    study: Params, records: Any, cohorts: list[int], structure: dict[str, Any], exact: bool
) -> tuple[dict[str, str], Any, int]:
    """Fit one model to all cohorts; return its files, the table of school effects, and the rows held back."""
    from ..effects.joint import fit_joint
    from ..study import tables as results

    average = structure.get("average")
    if average is not None and (len(average) < 2 or not set(average) <= set(cohorts)):
        raise ParamsError(
            f"--average is {listed(average)}, expected two or more of the cohorts fitted, {listed(cohorts)}: name them all "
            "with --cohorts."
        )
    chosen = {k: v for k, v in structure.items() if k != "average"}
    with about(records, cohorts):
        fit = fit_joint(records, cohorts, study.formula, method=study.method, level=study.level, **chosen)
    files = results.joint_files(fit, study.min_students, exact, records.attrs)
    files |= results.several_years(fit, average, study.min_students, study.intervals, exact)
    return files, *results.joint_effects(fit, study.min_students)


def _relative_fits(study: Params, records: Any, cohorts: list[int], _: None) -> tuple[list, None]:
    """Fit each cohort by itself."""
    from ..effects.relative import fit_relative

    fits = []
    for cohort in cohorts:
        with about(records, [cohort]):
            fits.append(
                fit_relative(
                    records,
                    cohort,
                    formula=study.formula,
                    method=study.method,
                    level=study.level,
                    intervals=study.intervals,
                )
            )
    return fits, None


def _benchmark_fits(study: Params, records: Any, cohorts: list[int], saved: Benchmark | None) -> tuple[list, Benchmark]:
    """Fit the baseline, or load a saved one, and apply it to each cohort; return the fits and the benchmark."""
    from ..effects.benchmark import fit_benchmark

    benchmark = saved or fit_study_baseline(study, records)
    if shared := sorted(set(cohorts) & set(benchmark.cohorts)):
        raise ParamsError(f"Cohort {listed(shared)} is in the baseline: a cohort cannot be its own benchmark.")
    fits = []
    for cohort in cohorts:
        with about(records, [cohort]):
            fits.append(
                fit_benchmark(
                    records,
                    cohort,
                    benchmark,
                    shift=study.shift,
                    variances=study.variances,
                    method=study.method,
                    equating_se=study.equating_se,
                    cohort_sd=study.cohort_sd,
                    level=study.level,
                    intervals=study.intervals,
                    scale_breaks=study.scale_breaks,
                )
            )
    return fits, benchmark
