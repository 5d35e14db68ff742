"""What would stop a fit of the study, what its scale breaks mean, and the prior scores beside the baseline's."""

from __future__ import annotations

import warnings

import pandas as pd

from ...effects.baseline import STANDARDISED, fit_baseline
from ...effects.benchmark import fit_benchmark, prior_of_shift
from ...effects.findings import prior_drift, prior_shift
from ...effects.relative import fit_relative
from ...errors import BenchmarkError, ModelError, ValibError
from ...names import listed_cohorts as cohorts
from ...records.prior_check import compare_prior, looks_standardised, score_moments
from ...records.reading import select
from ...records.sources.content import ODD
from ...sums.design import required_columns
from ...sums.equating import carry_back, crossed
from .coded import Ask, Finding


def problems(records: pd.DataFrame, table: pd.DataFrame, lost: pd.DataFrame, ask: Ask) -> list[str]:
    """Say what would stop a fit of the study's cohorts, as far as counts tell. table: see `summarise`."""
    said = []
    void = [t for t in ask.cohorts if t not in table.index and t in lost["cohort"].dropna().tolist()]
    if void:
        said.append(f"No row of {cohorts(void)} can be used: see which rows are left out, and why.")
    if absent := [t for t in ask.cohorts if t not in table.index and t not in void]:
        said.append(f"The study names {cohorts(absent)}, not in the data; the data hold {cohorts(table.index)}.")
    said += _lacking(records, ask.formula)
    used = table.loc[[t for t in table.index if t in ask.cohorts]]
    if (alone := used.index[used["schools"] < 2]).size:
        said.append(f"One school only in {cohorts(alone)}; school effects need two or more.")
    for column, sd in (("score", used["score_sd"]), ("prior_score", used["prior_sd"])):
        if (same := used.index[~(sd > 0)]).size:
            said.append(f"Column {column} has the same value for all students of {cohorts(same)}.")
    return said


def _lacking(records: pd.DataFrame, formula: str) -> list[str]:
    """Say which columns of a formula the records lack, or that it cannot be read."""
    try:
        lacking = [name for name in required_columns(formula) if name not in records.columns]
    except ModelError as error:
        return [str(error)]
    return [f"The formula '{formula}' needs {', '.join(lacking)}, not among the columns of the data."] * bool(lacking)


def trial(records: pd.DataFrame, ask: Ask) -> tuple[list[str], list[Finding]]:
    """Fit the benchmark and apply it to each focal cohort; return what stops it, and what the fits themselves show.

    Without a baseline the relative model of each focal cohort is fitted.
    """
    if ask.baseline and looks_standardised(score_moments(records, ask.cohorts)):
        return [STANDARDISED], []
    said, moved, records = [], {}, _slim(records, ask.formula)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the account has its own words for what they say
        try:
            benchmark = fit_baseline(records, list(ask.baseline), formula=ask.formula) if ask.baseline else None
        except ValibError as error:
            return [str(error)], []
        for cohort in ask.focal:
            try:
                if benchmark is None:
                    fit_relative(records, cohort, ask.formula, intervals="plugin")
                else:
                    fit = fit_benchmark(records, cohort, benchmark, scale_breaks=ask.scale_breaks, intervals="plugin")
                    moved[cohort] = prior_of_shift(fit, benchmark)
            except ValibError as error:
                said.append(f"Cohort {cohort}: {error}")
    return said, [item for item in [prior_shift(moved)] if item is not None]


def _slim(records: pd.DataFrame, formula: str) -> pd.DataFrame:
    """The records with the columns that a fit looks at and without their account, which every step would copy."""
    wanted = {"school", "cohort", "score", "prior_score", *required_columns(formula)}
    slim = records[[name for name in records.columns if name in wanted]]
    slim.attrs = {ODD: records.attrs.get(ODD, {})}
    return slim


def across_breaks(ask: Ask) -> tuple[list[Finding], list[str]]:
    """Say what each declared break means for the study: what is carried back, and what is refused."""
    said, refused = [], []
    for item in ask.scale_breaks:
        try:
            beyond = [cohort for cohort in sorted(ask.focal) if crossed([item], ask.baseline, cohort)]
        except BenchmarkError as error:
            refused.append(str(error))
            continue
        if beyond:
            said.append(
                Finding(
                    "scale_break",
                    tuple(beyond),
                    (
                        f"The scale of {item.column} changes with cohort {item.cohort}: {cohorts(beyond)} carried back by "
                        f"old = {item.link.intercept:g} + {item.link.slope:g} new; the link's error enters shift and benchmark "
                        "value added."
                    ),
                )
            )
    return said, refused


def compare_priors(records: pd.DataFrame, table: pd.DataFrame, ask: Ask) -> tuple[pd.DataFrame, list[Finding]]:
    """Compare each focal cohort's prior scores with the baseline's; return the account's ``prior`` and findings."""
    empty = pd.DataFrame(columns=["smd", "variance_ratio", "ok"], index=pd.Index([], name="cohort"))
    typical = records.loc[records["cohort"].isin(ask.baseline), "prior_score"]
    mean, sd = typical.mean(), typical.std()
    if not sd > 0:
        return empty, []
    checks, slim = {}, records[["cohort", "score", "prior_score"]]
    for cohort in table.index[(table["role"] == "focal") & (table["students"] > 1)]:
        values = _on_baseline_scale(slim, table, ask, cohort)["prior_score"].to_numpy()
        checks[cohort] = compare_prior(values, "prior_score", cohort, mean, sd)
    rows = [{"smd": item.smd, "variance_ratio": item.variance_ratio, "ok": item.ok} for item in checks.values()]
    prior = pd.DataFrame(rows, columns=empty.columns, index=pd.Index(checks, name="cohort"))
    item = prior_drift(checks)
    return prior, [item] if item else []


def _on_baseline_scale(records: pd.DataFrame, table: pd.DataFrame, ask: Ask, cohort: int) -> pd.DataFrame:
    """Return the records of a cohort carried back over linked breaks; as they are where that cannot be done."""
    base = [t for t in ask.baseline if t in table.index]
    try:
        return carry_back(records, ask.scale_breaks, base, cohort)
    except BenchmarkError:
        return select(records, [cohort])
