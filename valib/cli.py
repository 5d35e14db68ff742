"""The command `valib`: check, fit, baseline, simulate, book. Heavy modules are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from . import options as opt
from .console import about, listed, plain_errors, print_account
from .errors import ParamsError, ValibError

if TYPE_CHECKING:
    from .baseline import Benchmark
    from .params import Params

app = typer.Typer(
    name="valib", rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"valib {__version__}")
        raise typer.Exit


def _list_names(value: bool) -> None:
    if value:
        from .simulation_command import list_names

        typer.echo(list_names())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option(
        "--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """School value added against a benchmark: from student records to school effects and to the book.

    Every setting defaults to params.yml in the working directory, or else to the demo study.

    \b
    Examples:
      valib check                            look at the demo records
      valib check my.csv                     look at your own
      valib fit my.csv --model relative --cohorts 2024 --out results
      valib book my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2019,2021 --out somewhere
    """


@app.command(short_help="Validate student records, summarise them, warn.")
def check(
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None, formula: opt.Formula = None,
    min_students: opt.MinStudents = None,
    json: Annotated[bool, typer.Option("--json", help="Write the account as JSON.")] = False, debug: opt.Debug = False,
) -> None:
    """Validate student records, summarise them, and warn of what would mislead.

    Rows that cannot be used are counted by reason and cohort; what a declared break of a test's scale means is said.
    Ends with exit code 2 if the study cannot be fitted.

    \b
    Examples:
      valib check
      valib check my.csv --column school=SchoolCode --column cohort=Year
      valib check my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2021 --json
    """
    with plain_errors(debug, quiet=True):
        from .bundle import bundle_root
        from .check import check_records
        from .params import locate
        from .results import as_json

        study = _study(params, data, column, baseline_cohorts, focal_cohorts, formula=formula,
                       min_students=min_students)
        account = check_records(study.read_records(), study.baseline_cohorts, study.focal_cohorts,
                                formula=study.formula, min_students=study.min_students,
                                scale_breaks=study.scale_breaks)
        if json:
            typer.echo(as_json(account.to_dict()), nl=False)
        else:
            file = locate(params)
            print_account(account, "the demo study" if file.parent == bundle_root() else str(file))
        if account.problems:
            raise ValibError(f"{account.source}: {' '.join(account.problems)}")


@app.command(short_help="Estimate the effect of every school.")
def fit(
    model: Annotated[opt.Model, typer.Option(
        "--model", help="Against the other schools, against the baseline, or several cohorts at once.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None,
    cohorts: Annotated[str | None, typer.Option(
        "--cohorts", metavar="2019,2021,...", help="The cohorts to fit. Default: the focal cohorts.")] = None,
    benchmark: Annotated[str | None, typer.Option(
        "--benchmark", metavar="FILE", help="A benchmark saved by `valib baseline`, for the baseline.")] = None,
    formula: opt.Formula = None, estimator: opt.Estimator = None, shift: opt.Shift = None,
    variances: opt.Variances = None, method: opt.Method = None, level: opt.Level = None,
    equating_se: opt.EquatingSe = None, covariance: opt.Covariance = None, residual: opt.Residual = None,
    min_students: opt.MinStudents = None, debug: opt.Debug = False,
) -> None:
    """Estimate the effect of every school and write the results as CSV and JSON.

    DIR gets school_effects.csv, fixed_effects.csv and fits.json, shifts.csv if a shift is estimated, and of a joint
    model correlations.csv and omega.csv (how school effects covary over cohorts).
    Results of an earlier run in DIR are replaced when the run has succeeded.

    \b
    Examples:
      valib fit --model relative --out results/relative
      valib fit --model benchmark --out results/benchmark
      valib fit my.csv --model relative --cohorts 2024 --formula "score ~ prior_score + ses" --out results
      valib fit new.csv --model benchmark --benchmark baseline.json --cohorts 2025 --out results
      valib fit --model joint --cohorts 2019,2021,2024 --covariance ar1 --residual common --out results/joint
    """
    with plain_errors(debug):
        if benchmark and (baseline_cohorts or formula or estimator):
            raise ParamsError("--benchmark brings its own baseline cohorts, formula and estimator: leave those out.")
        if benchmark and model is not opt.Model.benchmark:
            raise ParamsError(f"--benchmark is for --model benchmark; a {model.value} model has none.")
        structure = {k: v for k, v in {"covariance": covariance, "residual": residual}.items() if v is not None}
        if structure and model is not opt.Model.joint:
            raise ParamsError(f"--{next(iter(structure))} is for --model joint; a {model.value} model has none.")
        study = _study(params, data, column, baseline_cohorts, focal_cohorts, formula=formula, estimator=estimator,
                       shift=shift, variances=variances, method=method, level=level, equating_se=equating_se,
                       min_students=min_students)
        _fit(study, model, out, cohorts, benchmark, structure)


@app.command(short_help="Fit the benchmark and save it.")
def baseline(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The JSON file for the benchmark.")],
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None, formula: opt.Formula = None,
    estimator: opt.Estimator = None, method: opt.Method = None, debug: opt.Debug = False,
) -> None:
    """Fit the benchmark on the baseline cohorts and save it, to be applied later without their students.

    The file holds coefficients, their covariance, variance components and summaries; no student, no school.

    \b
    Examples:
      valib baseline --out baseline.json
      valib baseline my.csv --baseline-cohorts 2016,2017 --estimator within --out baseline.json
    """
    with plain_errors(debug):
        study = _study(params, data, column, baseline_cohorts, focal_cohorts, formula=formula, estimator=estimator,
                       method=method)
        from .results import check_file

        check_file(out)
        fitted = _fit_baseline(study, study.read_records())
        out.parent.mkdir(parents=True, exist_ok=True)
        fitted.save(out)
        typer.echo(f"{out}: {fitted.formula} on cohorts {listed(fitted.cohorts)}, "
                   f"{fitted.n_students:,.0f} students in {fitted.n_schools:,} schools.")


@app.command(short_help="Check by simulation what each method does.")
def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
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
        study = _study(params, data, column, baseline_cohorts, focal_cohorts, level=level, seed=seed)
        from .simulation_command import simulate_study

        count = 200 if fast else replicates or study.simulation_replicates
        simulate_study(study, out, scenarios, methods, count, jobs, reliability, quiet, has_data=bool(data))


@app.command(short_help="Render the book about these records.")
def book(
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None,
    title: Annotated[str | None, typer.Option("--title", help="The book's title.")] = None,
    school: Annotated[str | None, typer.Option("--school", help="The school to follow, else chosen by rule.")] = None,
    formula: opt.Formula = None, estimator: opt.Estimator = None, shift: opt.Shift = None,
    variances: opt.Variances = None, method: opt.Method = None, level: opt.Level = None,
    equating_se: opt.EquatingSe = None, min_students: opt.MinStudents = None,
    seed: opt.Seed = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the book.")] = Path("_build"),
    pdf: Annotated[bool, typer.Option("--pdf", help="Also make the PDF; needs LaTeX.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Chapters computed at a time.")] = 2,
    quiet: opt.Quiet = False, debug: opt.Debug = False,
) -> None:
    """Render the book about these records: DIR/html, DIR/results, and DIR/valib.pdf with --pdf.

    \b
    Examples:
      valib book
      valib book my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2019,2021 --out somewhere
      valib book --params study.yml --pdf --out somewhere
    """
    with plain_errors(debug):
        study = _study(params, data, column, baseline_cohorts, focal_cohorts, title=title, school=school,
                       formula=formula, estimator=estimator, shift=shift, variances=variances, method=method,
                       level=level, equating_se=equating_se, min_students=min_students, seed=seed)
        from . import book as engine
        from .results import check_folder

        check_folder(out)
        result = engine.build(study, out=out, pdf=pdf, jobs=jobs, progress=not quiet)
        for path in (result.html, result.results, result.pdf):
            if path is not None:
                typer.echo(str(path))


def main() -> None:
    """Run the command line."""
    app(prog_name="valib")


def _study(params: str | None, data: str | None, column: list[str] | None, baseline_cohorts: str | None,
           focal_cohorts: str | None, **settings: Any) -> Params:
    """Load the params file and put what the command line gives in place of its values."""
    from .params import load, parse_cohorts

    columns = None
    if column:
        pairs = [item.partition("=") for item in column]
        if bad := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
            raise ParamsError(f"--column is '{bad[0]}', expected NAME=SOURCE such as school=SchoolCode.")
        columns = {name: source for name, _, source in pairs}
    cohorts = {"baseline_cohorts": parse_cohorts(baseline_cohorts, "--baseline-cohorts"),
               "focal_cohorts": parse_cohorts(focal_cohorts, "--focal-cohorts")}
    return load(params, data=data, columns=columns, **cohorts, **settings)


def _fit_baseline(study: Params, records: Any) -> Benchmark:
    """Fit the benchmark of the study."""
    from .baseline import fit_baseline
    from .scale import check_baseline

    with about(records, study.baseline_cohorts):
        check_baseline(study.scale_breaks, study.baseline_cohorts)
        return fit_baseline(records, study.baseline_cohorts, formula=study.formula, estimator=study.estimator,
                            method=study.method)


def _fit(study: Params, model: opt.Model, out: Path, cohorts_text: str | None, benchmark_file: str | None,
         structure: dict[str, str]) -> None:
    """Fit every cohort asked for, then write all results at once."""
    from . import results
    from .params import parse_cohorts

    results.check_folder(out)
    cohorts = parse_cohorts(cohorts_text, "--cohorts") or study.focal_cohorts
    records = study.read_records()
    if model is opt.Model.joint:
        files, effects, held_back = _joint_results(study, records, cohorts, structure)
    else:
        find = _relative_fits if model is opt.Model.relative else _benchmark_fits
        fits = find(study, records, cohorts, benchmark_file)
        effects, held_back = results.school_effects(fits, study.min_students)
        files = {"fixed_effects.csv": results.as_csv(results.fixed_effects(fits)),
                 "fits.json": results.as_json([fit.summary() for fit in fits])}
        if model is opt.Model.benchmark and study.shift == "estimated":
            files["shifts.csv"] = results.as_csv(results.shifts(fits))
    results.write_folder(out, {"school_effects.csv": results.as_csv(effects), **files})
    typer.echo(f"{out}: {len(effects):,} effects ({model.value}) of schools in cohorts {listed(cohorts)}"
               + (f"; {held_back} with fewer than {study.min_students} students not shown" if held_back else "") + ".")


def _joint_results(study: Params, records: Any, cohorts: list[int],
                   structure: dict[str, str]) -> tuple[dict[str, str], Any, int]:
    """Fit one model to all cohorts; return its files, the table of school effects, and the rows held back."""
    from . import results
    from .joint import fit_joint

    with about(records, cohorts):
        fit = fit_joint(records, cohorts, study.formula, method=study.method, level=study.level, **structure)
    return results.joint_files(fit), *results.joint_effects(fit, study.min_students)


def _relative_fits(study: Params, records: Any, cohorts: list[int], _: None) -> list:
    """Fit each cohort by itself."""
    from .relative import fit_relative

    fits = []
    for cohort in cohorts:
        with about(records, [cohort]):
            fits.append(fit_relative(records, cohort, formula=study.formula, method=study.method, level=study.level))
    return fits


def _benchmark_fits(study: Params, records: Any, cohorts: list[int], benchmark_file: str | None) -> list:
    """Fit the baseline, or load a saved one, and apply it to each cohort."""
    from .baseline import Benchmark
    from .benchmark import fit_benchmark

    benchmark = Benchmark.load(benchmark_file) if benchmark_file else _fit_baseline(study, records)
    if shared := sorted(set(cohorts) & set(benchmark.cohorts)):
        raise ParamsError(f"Cohort {listed(shared)} is in the baseline: a cohort cannot be its own benchmark.")
    fits = []
    for cohort in cohorts:
        with about(records, [cohort]):
            fits.append(fit_benchmark(records, cohort, benchmark, shift=study.shift, variances=study.variances,
                                      method=study.method, equating_se=study.equating_se, level=study.level,
                                      scale_breaks=study.scale_breaks))
    return fits
