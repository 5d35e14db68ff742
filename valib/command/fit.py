"""`valib fit`: the effect of every school."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ParamsError
from ..names import about, listed
from . import options as opt
from .console import plain_errors
from .like import refuse_choices, score
from .quantile import MADE, check_options, fit_quantiles, is_quantile
from .study import check_unchanged, fit_study_baseline, load_study, open_records, read_from, stamp

if TYPE_CHECKING:
    from ..effects.baseline import Benchmark
    from ..study.params import Params


CHOICES = (  # options that a fit has settled
    *("formula", "estimator", "shift", "variances", "method", "level", "intervals", "equating_se", "cohort_sd"),
    *("covariance", "residual", "average", "random", "groups", "similar", "cap", "reliability"),
    *("quantiles", "quantile_draws"),
)


def fit(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the results.")],
    model: Annotated[
        opt.Model | None,
        typer.Option(
            "--model",
            help="Against the other schools, against the baseline, several cohorts at once, or at quantiles of the scores.",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="FOLDER",
            show_default=False,
            help="Estimate nothing: score the schools of DATA by the fit in FOLDER (late students, corrected data).",
        ),
    ] = None,
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
    reliability: opt.Reliability = None,
    random: opt.Random = None,
    quantiles: opt.Quantiles = None,
    quantile_draws: opt.QuantileDraws = None,
    min_students: opt.MinStudents = None,
    min_linked_share: opt.MinLinkedShare = None,
    fdr: opt.Fdr = None,
    groups: opt.Groups = None,
    group_weights: opt.GroupWeights = None,
    min_schools: opt.MinSchools = None,
    similar: opt.Similar = None,
    neighbours: opt.Neighbours = None,
    cap: opt.Cap = None,
    pseudonyms: opt.Pseudonyms = None,
    excel: opt.Excel = None,
    figures: opt.Figures = None,
    decimal: opt.Decimal = None,
    byte_order_mark: opt.ByteOrderMark = None,
    engine: opt.Engine = None,
    exact: opt.Exact = False,
    debug: opt.Debug = False,
) -> None:
    """Estimate the effect of every school and write the results as CSV and JSON.

    DIR gets school_effects.csv, fixed_effects.csv and fits.json; shifts.csv and, beside the baseline cohorts' own
    shifts and what is not known, shift_in_context.csv if a shift is estimated; and of a joint model correlations.csv
    and omega.csv (how school effects covary over cohorts), averages.csv with --average, and with --covariance
    compound_symmetry lasting.csv (what a school keeps from cohort to cohort, which is no average). Of a relative or
    benchmark model also scoring.json, by which --like scores late students, and groups.csv with --groups, similar.csv
    with --similar, capped.csv with --cap; with --random (or random in the params file, or slopes of schools in the benchmark)
    va_at.csv, value added of weak and strong students or of groups, and slopes.csv, how schools differ in it, and of a
    joint model, for every pair of its cohorts, change_at.csv, slope_correlations.csv and slope_covariances.csv; with --residual
    of a relative model residual_sds.csv and variance_tests.csv, how much students differ by school or group. about.csv says
    how they were made, columns.csv what every column means, figures/ has the pictures (--no-figures leaves them out), and
    --excel writes results.xlsx with all tables. Figures are rounded to what may be published: errors to two digits,
    estimates to the last place of their errors.
    Models quantile and quantile-benchmark (against the baseline's quantiles) write quantile_effects.csv and quantiles.csv,
    with R-hat and effective draws, in place of school_effects.csv; their students must fit in memory.
    Results of an earlier run in DIR are replaced when the run has succeeded.

    \b
    Examples:
      valib fit --model relative --out results/relative
      valib fit --model benchmark --out results/benchmark
      valib fit my.csv --model relative --cohorts 2024 --formula "score ~ prior_score + ses" --out results
      valib fit --model relative --cohorts 2024 --random prior_score --out results/slopes
      valib fit --model relative --cohorts 2024 --residual by_school --out results/spread
      valib fit new.csv --model benchmark --benchmark baseline.json --cohorts 2025 --out results
      valib fit --model benchmark --similar prior_score,ses --cap 3 --out results/similar
      valib fit parts/ --model relative --cohorts 2024 --engine duckdb --out results
      valib fit --model joint --cohorts 2019,2021,2024 --covariance ar1 --residual common --out results/joint
      valib fit --model joint --cohorts 2019,2024 --random prior_score --out results/lines
      valib fit my.csv --model quantile --cohorts 2024 --quantile 0.25,0.75 --out results/quantiles
      valib fit --model joint --cohorts 2021,2023,2024 --average 2021,2023,2024 --out results/average
    """
    given = dict(locals())
    with plain_errors(debug):
        structure = _check_choices(given)
        study = load_study(given | {"residual": residual if model is opt.Model.relative else None})
        from ..study import writing as output

        output.check_folder(out)
        kept = [] if like is None else [str(Path(like) / name) for name in ("scoring.json", "school_effects.csv")]
        sources = read_from(study, params, benchmark, *kept)
        output.check_apart(out, [out / name for name in output.OUTPUTS["fit"]], sources)
        if like is not None:
            score(study, params, Path(like), model, out, cohorts, engine, exact)
        elif model is not None:
            _fit(study, model, out, cohorts, benchmark, structure, engine, exact)


def _check_choices(given: dict[str, Any]) -> dict[str, Any]:
    """Refuse options that do not go together; return the structure of a joint model, as far as it was named."""
    from ..study.params import parse_cohorts

    model, benchmark = given["model"], given["benchmark"]
    if given["like"] is not None:
        refuse_choices(**{name: given[name] for name in ("benchmark", "baseline_cohorts", "focal_cohorts", *CHOICES)})
    elif model is None:
        raise ParamsError(
            "--model is missing, expected relative, benchmark or joint; or --like FOLDER, to score by a fit."
        )
    check_options(given)
    if benchmark and any(given[name] for name in ("baseline_cohorts", "formula", "estimator", "reliability")):
        raise ParamsError(
            "--benchmark brings its own baseline cohorts, formula, estimator and reliability: leave those out."
        )
    if benchmark and model is not opt.Model.benchmark:
        raise ParamsError(f"--benchmark is for --model benchmark; a {model.value} model has none.")
    relative = model is opt.Model.relative
    several = {"covariance": given["covariance"], "residual": None if relative else given["residual"]}
    if relative and given["residual"] in ("by_cohort", "common"):
        raise ParamsError(
            f"--residual is for --model joint where it is {given['residual']}; of a relative model it is by_school or a column."
        )
    several["average"] = parse_cohorts(given["average"], "--average")
    structure = {k: v for k, v in several.items() if v is not None}
    if structure and model is not opt.Model.joint:
        named = next(iter(structure))
        told = "joint or relative" if named == "residual" else "joint"
        raise ParamsError(f"--{named} is for --model {told}; a {model.value} model has none.")
    for name in ("groups", "similar", "cap"):
        if given[name] is not None and model is opt.Model.joint:
            raise ParamsError(f"--{name} is for a model of one cohort: leave it out with --model joint.")
    return structure


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
        output.refuse_foreign(out, "fit", _names(study, model, structure, exact, bool(study.random or benchmark_file)))
        if is_quantile(model):
            fit_quantiles(study, model, out, cohorts, engine, exact)
        else:
            _fit_into(study, model, out, cohorts, benchmark_file, structure, engine, exact)


def _names(study: Params, model: opt.Model, structure: dict[str, Any], exact: bool, slopes: bool) -> list[str]:
    """The files that a fit of this model makes, with those of slopes if it may have some."""
    from ..study.beside import FILES
    from ..study.pair_tables import FILES as PAIRS

    more = {
        opt.Model.relative: ["residual_sds.csv", "variance_tests.csv"] if study.residual else [],
        opt.Model.benchmark: ["shifts.csv"] if study.shift == "estimated" else [],
        opt.Model.joint: ["correlations.csv", "omega.csv"],
    }
    for name in (opt.Model.relative, opt.Model.benchmark):
        more[name] += ["va_at.csv", "slopes.csv"] if slopes else []
        more[name] += ["scoring.json"] + [file for parameter, file in FILES.items() if getattr(study, parameter)]
    more[opt.Model.joint] += PAIRS if study.random else []
    more[opt.Model.joint] += ["averages.csv"] if "average" in structure else []
    more[opt.Model.joint] += ["lasting.csv"] if structure.get("covariance") == "compound_symmetry" else []
    mark = ["NOT_FOR_PUBLICATION.txt"] if exact else []
    mark += ["results.xlsx"] if study.excel else []
    if is_quantile(model):
        return [*MADE, *mark]
    mark += ["figures"] if study.figures else []
    made = ["school_effects.csv", "fixed_effects.csv", "fits.json", "about.csv", "columns.csv"]
    return [*made, *more[model], *mark]


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
    from ..study import writing as output
    from ..study.tables import side_lines

    said: list[str] = []
    saved, before = Benchmark.load(benchmark_file) if benchmark_file else None, stamp(study)
    records = open_records(
        study, engine, saved.formula if saved else study.formula, by_cell=_by_cell(study, model, saved)
    )
    if model is opt.Model.joint:
        cohorts = cohorts or _focal(study, records, model, saved)
        fits, found, held_back = _joint_results(study, records, cohorts, structure)
        told = dict(structure)
    else:
        cohorts, fits, found, told, said = one_cohort_results(study, records, cohorts, model, saved)
        held_back = sum(fit.n_schools for fit in fits) - len(found["school_effects.csv"])
    check_unchanged(study, records, before)
    effects = found["school_effects.csv"]
    told = {"model": model.value, "cohorts": cohorts, **told}
    output.write_folder(out, "fit", _files(out, study, found, fits, exact, told, records.attrs))
    hidden = f"; {held_back} not shown: fewer than {study.min_students} students{_low(study)}, or hiding such a one"
    typer.echo(
        f"{out}: {len(effects):,} effects ({model.value}) of schools in cohorts {listed(cohorts)}"
        + (hidden if held_back else "")
        + ("; exact figures, not for publication." if exact else ".")
    )
    for line in [*said, *side_lines(effects, study.level)]:
        typer.echo(line)


def _by_cell(study: Params, model: opt.Model, saved: Benchmark | None) -> bool:
    """Whether the fit needs cross-products by school."""
    if model is opt.Model.benchmark:
        return saved is None or bool(study.random or saved.random)
    if model is opt.Model.joint:
        return bool(study.random or study.reliability)
    return model is opt.Model.relative and bool(study.random or study.reliability or study.residual == "by_school")


def _low(study: Params) -> str:
    """The other reason for which a school is held back."""
    share = study.min_linked_share
    return f" or under {100 * share:g}% of the tested linked" if share > 0 else ""


def one_cohort_results(
    study: Params, records: Any, cohorts: list[int] | None, model: opt.Model, saved: Benchmark | None
) -> tuple[list[int], list, dict[str, Any], dict[str, Any], list[str]]:
    """Fit every cohort asked for, or else the focal ones, by itself.

    Returns the cohorts, the fits, their tables by file name, what about.csv says besides, and a line on each shift.
    """
    from ..effects.shift import shift_in_context
    from ..records.school_names import school_names, with_names
    from ..study import tables as results
    from ..study.beside import beside

    names = school_names(records)
    cohorts = cohorts or _focal(study, records, model, saved)
    find = _relative_fits if model is opt.Model.relative else _benchmark_fits
    fits, reference = find(study, records, cohorts, saved)
    effects = with_names(results.school_effects(fits, study.min_students, study.fdr)[0], names)
    found, told, said = {"school_effects.csv": effects, "fixed_effects.csv": results.fixed_effects(fits)}, {}, []
    if reference is not None:
        told = {"baseline": list(reference.cohorts)}
        told |= {"formula": saved.formula, "estimator": saved.estimator, "reliability": None} if saved else {}
    if reference is not None and study.shift == "estimated":
        context = shift_in_context(fits, reference)
        found |= {"shifts.csv": results.shifts(fits), "shift_in_context.csv": context.reset_index()}
        said = results.shift_lines(context, fits)
    found |= results.slope_tables(fits, study.min_students, lambda table: with_names(table, names))
    found |= results.residual_tables(fits, study.min_students, lambda table: with_names(table, names))
    told |= {"residual": study.residual} if model is opt.Model.relative else {}
    more, lines = beside(study, records, fits, reference)
    found |= {name: with_names(table, names) for name, table in more.items()}
    return cohorts, fits, found, told, said + lines


def _files(
    out: Path,
    study: Params,
    found: dict[str, Any],
    fits: list,
    exact: bool,
    told: dict[str, Any],
    attrs: Mapping[str, Any],
) -> dict[str, str | bytes]:
    """The files of a fit: its tables in the study's form, summaries, pictures of what may be published."""
    from ..effects.late import save_fits
    from ..pages.pictures import matplotlib_at_hand, pictures
    from ..study import tables as results
    from ..study import writing as output
    from ..study.publishing import as_files, publish

    files = as_files(publish(found, study, exact, **told), study, "results.xlsx" if study.excel else "")
    files["fits.json"] = output.as_json(results.summaries(fits, study.min_students, attrs), exact)
    if told["model"] != "joint" and (scoring := save_fits(fits, exact)) is not None:
        files["scoring.json"] = scoring
    if study.figures:
        with output.work_folder(out) as scratch, matplotlib_at_hand(scratch):
            files |= pictures(publish(found, study, **told), study.level, study.min_students, _held_back(found, fits))
    return files | ({output.NOT_FOR_PUBLICATION: output.WHY_NOT} if exact else {})


def _held_back(found: dict[str, Any], fits: list) -> dict[int, int]:
    """How many schools of each cohort are not shown; of a model of several cohorts it is not told."""
    there = found["school_effects.csv"]["cohort"].value_counts()
    return {fit.cohort: fit.n_schools - int(there.get(fit.cohort, 0)) for fit in fits if hasattr(fit, "cohort")}


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
    study: Params, records: Any, cohorts: list[int], structure: dict[str, Any]
) -> tuple[list, dict[str, Any], int]:
    """Fit one model to all cohorts; return it in a list, its tables by file name, and the rows held back."""
    from ..effects.joint import fit_joint
    from ..effects.slope_pairs import fit_joint_slopes
    from ..records.school_names import school_names, with_names
    from ..study import tables as results
    from ..study.pair_tables import pair_tables

    if study.random and study.reliability:
        raise ParamsError(
            "Slopes of pairs of cohorts take covariates as they are recorded: leave reliability or random out."
        )
    average = structure.get("average")
    if average is not None and (len(average) < 2 or not set(average) <= set(cohorts)):
        raise ParamsError(
            f"--average is {listed(average)}, expected two or more of the cohorts fitted, {listed(cohorts)}: name them all "
            "with --cohorts."
        )
    chosen = {k: v for k, v in structure.items() if k != "average"} | {"reliability": study.reliability}
    with about(records, cohorts):
        fit = fit_joint(records, cohorts, study.formula, method=study.method, level=study.level, **chosen)
    effects, held_back = results.joint_effects(fit, study.min_students, study.intervals, study.fdr)
    effects = with_names(effects, school_names(records))
    found = {"school_effects.csv": effects, **results.joint_tables(fit, study.intervals)}
    found |= results.several_years(fit, average, study.min_students, study.intervals)
    if not study.random:
        return [fit], found, held_back
    with about(records, cohorts):
        slopes = fit_joint_slopes(records, cohorts, study.formula, study.random, study.method, study.level)
    found |= pair_tables(
        slopes,
        fit.school_effects,
        study.min_students,
        study.intervals,
        lambda table: with_names(table, school_names(records)),
    )
    return [fit, slopes], found, held_back


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
                    random=study.random,
                    reliability=study.reliability,
                    residual=study.residual,
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
                    random=study.random or None,
                )
            )
    return fits, benchmark
