"""`valib fit --model quantile`: value added at quantiles of the scores, of one year or against the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import ParamsError
from ..names import about, listed
from . import options as opt
from .study import check_unchanged, open_records, stamp

if TYPE_CHECKING:
    from ..effects.quantiles import QuantileFit
    from ..study.params import Params

WARM_UP = 200  # draws of each chain that are passed over, as in the book
MEAN = (  # options of models of the mean
    *("estimator", "shift", "variances", "method", "intervals", "equating_se", "cohort_sd", "reliability", "random"),
    *("groups", "similar", "cap", "fdr", "covariance", "residual", "average"),
)
MADE = ["quantile_effects.csv", "quantiles.csv", "fixed_effects.csv", "fits.json", "about.csv", "columns.csv"]


def is_quantile(model: opt.Model | None) -> bool:
    """Whether the model is one of quantiles."""
    return model in (opt.Model.quantile, opt.Model.quantile_benchmark)


def check_options(given: dict[str, Any]) -> None:
    """Refuse options of the one kind of model with the other."""
    model = given["model"]
    if not is_quantile(model):
        if wrong := [name for name in ("quantiles", "quantile_draws") if given[name] is not None]:
            name = {"quantiles": "quantile"}.get(wrong[0], wrong[0]).replace("_", "-")
            raise ParamsError(f"--{name} is for --model quantile or quantile-benchmark.")
    elif wrong := [name for name in MEAN if given[name] is not None]:
        raise ParamsError(
            f"--{wrong[0].replace('_', '-')} is for models of the mean: leave it out with --model {model.value}."
        )


def fit_quantiles(
    study: Params, model: opt.Model, out: Path, cohorts: list[int] | None, engine: str | None, exact: bool
) -> None:
    """Fit every cohort asked for, or else the focal ones, at every quantile, then write all results at once."""
    from ..records.school_names import school_names, with_names
    from ..study import writing as output
    from ..study.publishing import as_files, publish
    from ..study.quantile_tables import not_converged, quantile_summaries, quantile_tables

    before = stamp(study)
    records = open_records(study, "memory" if engine in (None, "auto") else engine)
    fits, told = _fits(study, records, cohorts, model)
    check_unchanged(study, records, before)
    found, held_back = quantile_tables(records, fits, study.min_students)
    found["quantile_effects.csv"] = with_names(found["quantile_effects.csv"], school_names(records))
    files = as_files(publish(found, study, exact, **told), study, "results.xlsx" if study.excel else "")
    against = not_converged(fits)
    files["fits.json"] = output.as_json(quantile_summaries(fits, against), exact)
    if exact:
        files[output.NOT_FOR_PUBLICATION] = output.WHY_NOT
    output.write_folder(out, "fit", files)
    hidden = f"; {held_back} not shown: fewer than {study.min_students} students, too few linked, or hiding such a one"
    typer.echo(
        f"{out}: {len(found['quantile_effects.csv']):,} effects ({model.value}) of schools in cohorts "
        f"{listed(told['cohorts'])}"
        + (hidden if held_back else "")
        + ("; exact figures, not for publication." if exact else ".")
    )
    for one in against:
        typer.echo(one["text"], err=True)


def _fits(
    study: Params, records: Any, cohorts: list[int] | None, model: opt.Model
) -> tuple[list[QuantileFit], dict[str, Any]]:
    """The fits by cohort and quantile, and what about.csv says of them."""
    from ..effects.quantiles import fit_quantile
    from ..pages.progress import progress_bar
    from ..sums.equating import check_baseline
    from ..sums.students import cohorts_of

    there, against = cohorts_of(records), model is opt.Model.quantile_benchmark
    if against:
        study.need_baseline(there, ", or fit --model quantile, which needs none")
        check_baseline(study.scale_breaks, study.baseline_cohorts)
    cohorts = cohorts or study.settled(there).focal_cohorts
    if against and (shared := sorted(set(cohorts) & set(study.baseline_cohorts))):
        raise ParamsError(f"Cohort {listed(shared)} is in the baseline: a cohort cannot be its own benchmark.")
    if against and study.scale_breaks:
        raise ParamsError("Quantiles are not carried over breaks of a scale: leave scale_breaks out.")
    how: dict[str, Any] = {"draws": study.quantile_draws, "warmup": WARM_UP, "seed": study.seed, "level": study.level}
    quantiles, fits = sorted(study.quantiles), []
    with progress_bar("Drawing", quiet=False) as progress:
        for p in quantiles:
            typical = None
            if against:
                with about(records, study.baseline_cohorts):
                    typical = fit_quantile(records, study.baseline_cohorts, study.formula, p, progress=progress, **how)
            for cohort in cohorts:
                with about(records, [cohort]):
                    fits.append(fit_quantile(records, cohort, study.formula, p, typical, progress=progress, **how))
    fits.sort(key=lambda fit: (fit.cohorts, fit.quantile))
    told = {"model": model.value, "cohorts": cohorts, "quantiles": quantiles, "draws": study.quantile_draws}
    told |= dict.fromkeys(("method", "intervals", "estimator", "shift", "variances"))  # settings of models of the mean
    return fits, told | ({"baseline": list(study.baseline_cohorts)} if against else {})
