"""The numbers of the chapter on benchmark value added that are about errors, conditions and choices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ...effects.baseline import Benchmark
from ...effects.benchmark import fit_benchmark
from ...effects.bootstrap import BenchmarkBootstrap
from ...effects.relative import CohortFit
from ...effects.side_by_side import mean_va_error, prior_table
from ...records.prior_check import SMD_LIMIT, VARIANCE_RATIO_LIMITS, PriorCheck
from ...study import tables
from ...study.params import Params
from ...sums.design import INTERCEPT
from ...sums.equating import ScaleBreak
from .. import figures
from ..findings import Findings, check, formats
from ..prose import as_text, code, escape, in_words

HOLDS = {
    "format": "version of the file format",
    "design": "formula, and how its columns are built",
    "cohorts": "baseline cohorts",
    "estimator": "where the coefficients come from",
    "groups": "what has a random intercept in the mixed model",
    "method": "ML or REML",
    "coefficients": r"$\mathbf b_B$",
    "vcov": r"$\mathrm{Var}(\mathbf b_B)$, clustered by school",
    "vcov_model": "the same as the estimator's own model gives it",
    "tau2": r"$\tau^2$ of the baseline mixed model",
    "sigma2": r"$\sigma^2$ of the baseline mixed model",
    "n_students": "students",
    "n_schools": "schools",
    "column_means": "baseline means of the covariates",
    "summaries": "means and SDs, for the checks above",
    "fingerprint": "tells whether the same baseline rows were used",
    "vcov_students": r"$\mathrm{Var}(\mathbf b_B)$ for these very schools: of students alone",
    "own_shifts": "the baseline cohorts' own shifts",
    "school_influences": "by pseudonym, what each school adds to the coefficients (where it was asked for)",
    "rows": "which rows were read, and where prior scores are from",
    "random": "covariates whose slope varies over schools",
    "random_covariance": "covariance of schools' slopes",
    "error_variance": "variance of the error of measurement that was taken off",
    "publication": "that the figures are rounded for publication",
    "checksum": "tells whether the file was changed",
}


def idea() -> Findings:
    """The drawn idea of a benchmark."""
    return Findings().figure("idea", figures.benchmark_idea())


def _p(p: float) -> str:
    return "below 0.001" if p < 0.001 else as_text(float(p), ".3f")


def same_coefficients(
    changes: pd.Series, wald: Sequence[float], schools: int, as_if_known: float | None, level: float
) -> Findings:
    """Tests that a cohort's coefficients are those of the baseline: by likelihood ratio, and by Wald (Hotelling) statistics.

    changes: cohort less baseline. wald: of all coefficients, and of those but the intercept. as_if_known: twice the gain of
    the log-likelihood when the coefficients of the cohort are free, those of the baseline taken as exact; None where errors of
    measurement are taken off, for what is left has no likelihood.
    """
    found, p, first = (
        Findings(),
        len(changes),
        "First row: likelihood ratio, referred to a chi-squared distribution. Other ",
    )
    slopes = int((changes.index != INTERCEPT).sum())
    rows = []
    if as_if_known is not None:
        rows = [("all coefficients, the baseline's taken as exact", as_if_known, str(p), stats.chi2.sf(as_if_known, p))]
    found.say(
        "The likelihood ratio is left out: sums from which errors of measurement are taken off have no likelihood.",
        when=as_if_known is None,
    )
    for name, value, q in (("all coefficients", wald[0], p), ("all but the intercept", wald[1], slopes)):
        if 0 < q < schools:
            f = value * (schools - q) / (q * (schools - 1))
            rows.append((name, f, f"{q} and {schools - q}", stats.f.sf(f, q, schools - q)))
    found.table(
        pd.DataFrame(
            [(name, as_text(float(v), ".1f"), df, _p(tail)) for name, v, df, tail in rows],
            columns=["Held equal", "Statistic", "Degrees of freedom", "p-value"],
        ),
        "Are the coefficients of cohort {glue:text}`last_cohort` those of the baseline? "
        + (f"{first}rows: " if as_if_known is not None else "By ")
        + "{eq}`eq-04-test`, which counts the errors of both, referred to an F distribution.",
        "tab-04-test",
        index=False,
        raw=True,
    )
    differ = slopes > 0 and slopes < schools and rows[-1][-1] < 1 - level
    found.say(
        "The slopes differ from those of the baseline by more than chance explains, so that the shift depends on the "
        "covariates of the student for whom it is told."
        if differ
        else "The slopes do not differ from those of the baseline by more than chance explains. That does not prove that they "
        "are equal.",
        when=0 < slopes < schools,
    )
    return found


def implied(shift: np.ndarray) -> Findings:
    """The smallest and the largest shift that the question's pair of numbers implies (exercise)."""
    found = Findings().record("implied_low", float(shift.min()), ".1f")
    return found.record("implied_high", float(shift.max()), ".1f")


def bootstrap(
    relative: Sequence[CohortFit],
    errors: pd.DataFrame,
    boot: BenchmarkBootstrap,
    boot_shifts: pd.DataFrame,
    baseline: Sequence[int],
) -> Findings:
    """Analytic and bootstrap errors of the shift."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    found = Findings().record("replicates", boot.replicates)
    found.record("n_baseline", len(baseline))
    found.record("boot_se", float(boot_shifts["se"].iloc[-1]), E)
    shown = pd.DataFrame(
        {
            "Cohort": errors["cohort"],
            "Analytic SE": errors["se"],
            "Lower": errors["lower"],
            "Upper": errors["upper"],
            "Bootstrap SE": boot_shifts["se"].to_numpy(),
            "Lower ": boot_shifts["lower"].to_numpy(),
            "Upper ": boot_shifts["upper"].to_numpy(),
        }
    )
    return found.table(
        shown,
        "Standard error and {glue:text}`level` limits of the system shift, analytic and from "
        "{glue:text}`replicates` bootstrap draws of schools (score points).",
        "tab-04-bootstrap",
        index=False,
        formats={"Analytic SE": E, "Bootstrap SE": E, "Lower": S, "Upper": S, "Lower ": S, "Upper ": S},
    )


def bootstrap_in_words(errors: pd.DataFrame, boot: BenchmarkBootstrap, boot_shifts: pd.DataFrame) -> Findings:
    """Whether the bootstrap's error differs from the analytic one by more than its own noise."""
    ratio = boot_shifts["se"].to_numpy() / errors["se"].to_numpy()
    noise = (2 * boot.replicates) ** -0.5  # relative standard error of a standard deviation from so many draws
    apart = [int(c) for c, r in zip(errors["cohort"], ratio, strict=True) if abs(r - 1) > 2.5 * noise]
    found = Findings().record("boot_noise", noise, ".0%")
    return found.say(
        "With {glue:text}`replicates` draws the bootstrap error is itself known to about {glue:text}`boot_noise`. "
        + (
            f"In {'cohorts' if len(apart) > 1 else 'cohort'} {in_words([str(c) for c in apart])} it differs from the "
            "analytic error by more than two and a half times that. What the two do differently, the variances estimated "
            "anew in every draw and the skewness of the draws, is then worth a look."
            if apart
            else "In every focal cohort it differs from the analytic error by less than two and a half times that, so that "
            "the check finds nothing."
        )
    )


def bootstrap_figure(errors: pd.DataFrame, boot: BenchmarkBootstrap, level: float) -> Findings:
    """The draws of the last shift beside the analytic normal."""
    end = errors.iloc[-1]
    last = int(end["cohort"])
    se = float((end["se"] ** 2 - end["se_scale"] ** 2) ** 0.5)
    return Findings().figure(
        "bootstrap", figures.bootstrap_vs_analytic(boot.shift[last], float(end["shift"]), se, level=level)
    )


def equating(relative: Sequence[CohortFit], what_if: Mapping[float, CohortFit]) -> Findings:
    """The last shift by the size of the equating error; what_if: fits by share of the students' SD."""
    P, S, E, _ = formats(*(f.student_sd for f in relative))
    shown = pd.DataFrame(
        [
            {
                "Share of SD": f"{share:.0%}",
                "Equating SE": f.equating_se,
                "Shift": f.shift,
                "SE": f.shift_se,
                "Lower": f.shift_interval[0],
                "Upper": f.shift_interval[1],
                "SE of mean VA": mean_va_error(f)[1],
            }
            for share, f in what_if.items()
        ]
    )
    return Findings().table(
        shown,
        "The shift of cohort {glue:text}`last_cohort` if equating had this standard error (score points). The "
        "analyses of this chapter use the value of its parameters.",
        "tab-04-equating",
        index=False,
        formats={"Equating SE": E, "Shift": S, "SE": E, "Lower": S, "Upper": S, "SE of mean VA": E},
    )


def prior(checks: Sequence[PriorCheck]) -> Findings:
    """The prior score of each focal cohort beside the baseline's."""
    found = Findings().figure("prior", figures.prior_shift(prior_table(checks)))
    found.record("smd_limit", SMD_LIMIT, "g")
    found.record("ratio_low", VARIANCE_RATIO_LIMITS[0], "g")
    return found.record("ratio_high", VARIANCE_RATIO_LIMITS[1], "g")


def prior_in_words(checks: Sequence[PriorCheck]) -> Findings:
    """Which focal cohorts lie outside the limits."""
    left = [c.cohort for c in checks if not c.ok]
    found = Findings().say(
        "Every focal cohort stays within these limits. This excludes a large change of the prior but not a small one. An "
        "undetected difference of a tenth of a standard deviation in the prior test moves the shift by a tenth of the "
        "prior's standard deviation times the slope of the prior.",
        when=not left,
    )
    return found.say(
        f"Outside the limits: {in_words([str(c) for c in left])}. There the benchmark is applied to students unlike "
        f"those it "
        "was estimated on, and the shift may come from the prior, from the extrapolation of the growth line, or, where "
        "the same students are followed as they grow older, from age.",
        when=bool(left),
    )


def gaps(records: pd.DataFrame, is_demo: bool) -> Findings:
    """Years without a cohort."""
    found = Findings().say(
        "The break falls in 2023: the 2023 cohort's prior score (2021) and the 2024 cohort's (2022) are on the old "
        "scale and their outcomes on the new one. No NAPLAN test was sat in 2020, so there is no outcome of 2020 and "
        "no cohort of 2022, whose prior would have been that of 2020. The demo panel of this book has the same gaps "
        "(no outcome in 2020, no cohort in 2022), but it is simulated on one unbroken scale; its later cohorts "
        "illustrate the method, not NAPLAN.",
        when=is_demo,
    )
    present = sorted(int(c) for c in records["cohort"].unique())
    absent = [c for c in range(min(present), max(present) + 1) if c not in present]
    found.say(
        "These records have a gap: no cohort "
        + in_words([str(c) for c in absent][:8])
        + ". Nothing can be said about a cohort without records, nor about one whose prior test was not sat.",
        when=bool(absent) and not is_demo,
    )
    return found.say("The cohorts of these records follow one another without a gap.", when=not absent)


def population(relative: Sequence[CohortFit], population: pd.DataFrame, gap: pd.Series, followed: str) -> Findings:
    """The population mean added back: how far it is from benchmark value added (gap), by school."""
    _, S, E, D = formats(*(f.student_sd for f in relative))
    found = Findings().record("population_gap_mean", float(gap.mean()), D)
    found.record("population_gap_max", float(gap.abs().max()), E)
    return found.record("population_school", float(population.loc[followed, "effect"]), S)


def sensitivity(
    relative: Sequence[CohortFit], sensitivity: pd.DataFrame, unusable: Sequence[str], failed: Mapping[str, str]
) -> Findings:
    """The last shift with one choice changed at a time."""
    _, S, E, _ = formats(*(f.student_sd for f in relative))
    shown = sensitivity.assign(
        value=[
            code(v) if c != "baseline cohort" else v
            for c, v in zip(sensitivity["choice"], sensitivity["value"], strict=True)
        ]
    )
    shown.columns = ["Changed", "To", "Shift", "SE", "Lower", "Upper"]
    found = Findings().table(
        shown,
        "The system shift of cohort {glue:text}`last_cohort` with one choice changed at a time (score points, "
        "{glue:text}`level` limits).",
        "tab-04-sensitivity",
        index=False,
        raw=True,
        formats={"Shift": S, "SE": E, "Lower": S, "Upper": S},
    )
    found.record("sensitivity_low", float(sensitivity["shift"].min()), S)
    found.record("sensitivity_high", float(sensitivity["shift"].max()), S)
    found.say("Left out, since the records lack a column: " + "; ".join(map(code, unusable)) + ".", when=bool(unusable))
    return found.say(
        "Could not be fitted: " + "; ".join(f"{code(k)} ({escape(v)})" for k, v in failed.items()), when=bool(failed)
    )


def sensitivity_in_words(baseline: Sequence[int], formulas: Sequence[str]) -> Findings:
    """What the rows of the sensitivity table mean."""
    found = Findings().say(
        "The rows with one baseline cohort show something that no standard error of a single baseline has in it: how "
        "far the benchmark depends on the year that was chosen.",
        when=len(baseline) > 1,
    )
    return found.say(
        "A school-mean covariate changes what is meant by value added ({numref}`chapter {number} <ch-relative>`), so "
        "a row with one answers a slightly different question than a row without.",
        when=len({"school_mean(" in f for f in formulas}) > 1,
    )


def artefact(path: Path, carried: CohortFit, estimated: CohortFit) -> Findings:
    """What a saved benchmark holds, and that one read back gives the same numbers as far as they are published."""
    E = formats(estimated.student_sd).fine
    gap = (carried.school_effects["effect"] - estimated.school_effects["effect"]).abs().max()
    check(
        abs(carried.shift - estimated.shift) < 0.1 * estimated.shift_se and gap < 0.1 * estimated.shift_se,
        "a benchmark read from its file gives the same numbers to a tenth of their error",
    )
    gap = float(max(abs(carried.shift - estimated.shift), gap))
    found = Findings().record("carried_gap", np.format_float_positional(gap, 1, fractional=False, trim="-"))
    found.record("carried_se", carried.shift_se, E)
    entries = json.loads(path.read_text(encoding="utf-8"))
    check(set(entries) <= set(HOLDS), f"the table names every entry of the file ({set(entries) - set(HOLDS)})")
    return found.table(
        pd.DataFrame([(f"`{k}`", HOLDS[k]) for k in entries], columns=["Entry", "Holds"]),
        "What a saved benchmark (`baseline.json`) holds.",
        "tab-04-artefact",
        index=False,
        raw=True,
    )


def files(
    records: pd.DataFrame,
    benchmark: Benchmark,
    estimated: Sequence[CohortFit],
    params: Params,
    scale_breaks: Sequence[ScaleBreak],
) -> Findings:
    """Effects, coefficients and shifts for the results folder; the effects follow the parameters of the copy."""
    chosen = [
        fit_benchmark(
            records,
            f.cohort,
            benchmark,
            shift=params.shift,
            variances=params.variances,
            method=params.method,
            equating_se=params.equating_se,
            level=params.level,
            scale_breaks=scale_breaks,
            intervals=params.intervals,
            cohort_sd=params.cohort_sd,
        )
        for f in estimated
    ]
    found = Findings().save(tables.school_effects(chosen, params.min_students)[0], "benchmark_effects.csv")
    found.save(tables.fixed_effects(chosen[:1]).drop(columns="cohort"), "benchmark_fixed_effects.csv")
    return found.save(tables.shifts(estimated), "shifts.csv")
