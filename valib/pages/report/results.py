"""What the pages of all schools need of the study, computed once: fits, ranks, changes and intakes by school.

The results hold no student, and of a school and cohort that may not be shown (:mod:`valib.records.disclosure`)
nothing but that it may not.
"""

from __future__ import annotations

import datetime
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ...effects.baseline import Benchmark, fit_baseline
from ...effects.benchmark import check_prior, fit_benchmark
from ...effects.multiplicity import count_sides, false_discoveries
from ...effects.relative import CohortFit, fit_relative
from ...effects.shift import shift_in_context
from ...effects.verdict import shift_verdicts
from ...errors import ValibWarning
from ...records.coverage import LOW, few_unlinked
from ...records.disclosure import cells as cells_shown
from ...records.disclosure import public
from ...records.disclosure import shown as may_be_shown
from ...records.groups import school_groups
from ...records.reading import select
from ...records.repeats import extra_rows
from ...records.school_names import school_names
from ...sums.design import required_columns
from ...sums.equating import ScaleBreak, check_baseline, on_one_scale
from .changes import changes, fit_years
from .over_years import OverYears, over_years

if TYPE_CHECKING:
    from ...study.params import Params

SHOWN, HELD_BACK, ABSENT = "shown", "held back", "absent"
RANKS = {
    "expected_rank": "expected_rank",
    "rank_lower": "rank_lower",
    "rank_upper": "rank_upper",
    "p_bottom_quintile": "p_bottom",
    "p_top_quintile": "p_top",
}
BENCHMARK_RANKS = {
    "expected_rank": "benchmark_rank",
    "rank_lower": "benchmark_rank_lower",
    "rank_upper": "benchmark_rank_upper",
}
FIGURES = (
    "n",
    "tested",
    "linked_share",
    "prior_mean",
    "prior_sd",
    "relative",
    "relative_se",
    "relative_lower",
    "relative_upper",
    "relative_side",
    "reliability",
    "effect_size",
    "benchmark",
    "benchmark_se",
    "benchmark_lower",
    "benchmark_upper",
    "benchmark_side",
    *RANKS.values(),
    *BENCHMARK_RANKS.values(),
    "above_lower",
    "above_upper",
)
SIDES = {"relative_side": "relative", "benchmark_side": "benchmark"}
NOT_WHEN_FLAT = ("relative", "relative_se", "relative_lower", "relative_upper", "effect_size")
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
FITTED = ("shift", "variances", "method", "equating_se", "cohort_sd", "level", "intervals")
FLAGS = ("singular", "benchmark_singular", "prior_moved")
SETTINGS = (
    "formula",
    "estimator",
    "shift",
    "variances",
    "method",
    "level",
    "intervals",
    "equating_se",
    "cohort_sd",
    "min_students",
    "min_linked_share",
    "fdr",
    "seed",
    "reliability",
)


@dataclass(frozen=True, slots=True, eq=False)
class StudyResults:
    """The results of a study by school.

    cells: one row a school and cohort, sorted: school, cohort, state ("shown", "held back" or "absent"), n, tested,
    linked_share (both missing where they would tell of few students), prior_mean, prior_sd, relative, relative_se,
    relative_lower, relative_upper, relative_side (by the study's false discovery rate if it has one), reliability,
    effect_size, benchmark, benchmark_se, benchmark_lower, benchmark_upper, benchmark_side, expected_rank,
    rank_lower, rank_upper, p_bottom, p_top (by the relative value added), benchmark_rank, benchmark_rank_lower,
    benchmark_rank_upper (by the benchmark value added), above_lower, above_upper (the share of the baseline's
    schools that it stands above). All are missing but the state where that is not "shown"; those of the benchmark
    in baseline cohorts; and what would tell of a single school where the schools of a cohort cannot be told apart.
    changes: of the relative value added, as :func:`valib.pages.report.changes.changes` gives them.
    cohorts: one row a cohort, index cohort: role, students, schools, ranked (the schools shown), above, below,
    unclear (of them, by relative_side) and by_chance (up to so many are above or below if none differs), prior_mean, prior_sd
    (of all students), quantiles of the mean and SD of the schools shown (mean_q05 ... sd_q95), tau, sigma, vpc,
    student_sd, singular, benchmark_singular, shift, shift_se, shift_lower, shift_upper (limits of the widest
    interval that is known), shift_by (its name), prior_moved (the prior's distribution has left the baseline's).
    over_years: means over the focal cohorts and lasting parts, as :func:`valib.pages.report.over_years.over_years` gives them.
    study: title, source, day, settings, baseline, focal, why_not_joint (None where changes are from the joint model),
    warnings, linked (the scores carried back over a declared break), covariates.
    """

    cells: pd.DataFrame
    changes: pd.DataFrame
    cohorts: pd.DataFrame
    study: dict[str, Any]
    over_years: OverYears

    def of(self, schools: set[str]) -> StudyResults:
        """The results with the rows of these schools alone."""
        cells, moved = (t[t["school"].isin(schools)] for t in (self.cells, self.changes))
        return replace(self, cells=cells, changes=moved, over_years=self.over_years.of(schools))

    def schools(self) -> list[str]:
        """All schools of the study's cohorts, in order."""
        return self.cells["school"].drop_duplicates().tolist()

    def schools_shown(self) -> list[str]:
        """The schools that may be shown in at least one cohort."""
        return self.cells.loc[self.cells["state"] == SHOWN, "school"].drop_duplicates().tolist()


def compute(params: Params, records: pd.DataFrame) -> StudyResults:
    """Fit the study's models to records and collect what the schools' pages need.

    records: as ``params.read_records()`` gives them. Relative fits of every cohort, benchmark fits of the focal
    cohorts, ranks with the study's seed, and the models of all cohorts for changes between years.
    Raises ValibError where the relative or benchmark models of the study cannot be fitted. What valib warns of stands
    in the results too.
    """
    baseline, focal = sorted(params.baseline_cohorts), sorted(params.focal_cohorts)
    cohorts, source = sorted(baseline + focal), records.attrs.get("source", "the records")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ValibWarning)
        select(records, cohorts)
        check_baseline(params.scale_breaks, baseline)
        records, breaks = on_one_scale(records, params.scale_breaks, baseline, focal)
        how = {"intervals": params.intervals, "reliability": params.reliability}
        relative = {c: fit_relative(records, c, params.formula, params.method, params.level, **how) for c in cohorts}
        reference, against = _benchmarks(params, records, baseline, focal, breaks)
        years = fit_years(params, records, cohorts)
        moved = _prior_moved(records, focal, reference) if reference else []
    said = _said(told, params.min_students)
    tau = float(np.sqrt(reference.tau2)) if reference else 0.0
    cells = _cells(params, select(records, cohorts), relative, against, tau)
    shown, held_back = (cells[cells["state"] == state] for state in (SHOWN, HELD_BACK))
    named = set(shown["school"])
    study = {
        "title": params.title,
        "names": {school: name for school, name in school_names(records).items() if school in named},
        "groups": _groups(params, records, shown),
        "source": source,
        "day": _day(),
        "baseline": baseline,
        "focal": focal,
        "settings": {name: getattr(params, name) for name in SETTINGS},
        "why_not_joint": years.why,
        "warnings": said,
        "linked": [f"{b.column} from {b.cohort} on" for b in breaks if baseline],
        "covariates": sorted(set(required_columns(params.formula)) - {"score", "prior_score"}),
    }
    table = _cohorts(params, records, cells, relative, against, baseline, _verdicts(reference, against))
    table["prior_moved"] = table.index.isin(moved)
    flat = {c for c in cohorts if relative[c].singular}
    change = changes(years, shown, held_back, flat, params.intervals)
    several = over_years(years, focal, shown, held_back, params.intervals)
    return StudyResults(cells, change, table, study, several)


def _groups(params: Params, records: pd.DataFrame, shown: pd.DataFrame) -> dict[str, str]:
    """The group of every school shown, in the last cohort in which it is; none where the study names no groups."""
    if params.groups is None:
        return {}
    last = shown.groupby("school")["cohort"].max()
    found = {c: school_groups(records, params.groups, int(c)) for c in sorted(last.unique())}
    return {str(school): str(found[c][school]) for school, c in last.items() if school in found[c].index}


def _benchmarks(
    params: Params, records: pd.DataFrame, baseline: list[int], focal: list[int], breaks: list[ScaleBreak]
) -> tuple[Benchmark | None, dict[int, CohortFit]]:
    """The baseline's benchmark and the fits of the focal cohorts against it; none for a study without a baseline."""
    if not baseline:
        return None, {}
    how = {name: getattr(params, name) for name in ("estimator", "method", "reliability")}
    reference = fit_baseline(records, baseline, params.formula, **how)
    settings = {name: getattr(params, name) for name in FITTED}
    return reference, {c: fit_benchmark(records, c, reference, scale_breaks=breaks, **settings) for c in focal}


def _verdicts(reference: Benchmark | None, against: dict[int, CohortFit]) -> pd.DataFrame:
    """The verdict on every shift by the widest interval that is known; without rows where none was estimated."""
    fits = [fit for fit in against.values() if fit.shift is not None]
    return shift_verdicts(shift_in_context(fits, reference)) if fits else pd.DataFrame()


def _said(told: list, min_students: int) -> list[str]:
    """What was warned of, as pages may have it; and warn of it again."""
    said = {str(w.message): public(w.message, min_students) for w in told if issubclass(w.category, ValibWarning)}
    for text in said:
        warnings.warn(text, ValibWarning, stacklevel=3)
    return list(dict.fromkeys(said.values()))


def _prior_moved(records: pd.DataFrame, focal: list[int], reference: Benchmark) -> list[int]:
    """The focal cohorts whose prior scores are distributed differently from the baseline's."""
    if not reference.explaining:
        return []
    return [cohort for cohort in focal if not check_prior(records, cohort, reference).ok]


def _cells(
    params: Params,
    records: pd.DataFrame,
    relative: dict[int, CohortFit],
    against: dict[int, CohortFit],
    baseline_tau: float,
) -> pd.DataFrame:
    """One row a school and cohort; what may not be shown is taken out here."""
    intake = records.groupby(["cohort", "school"], observed=True)["prior_score"].agg(prior_mean="mean", prior_sd="std")
    parts = []
    for cohort, fit in relative.items():
        part = _effects(fit, params, "relative", ("shrinkage",)).rename(columns={"shrinkage": "reliability"})
        part = fit.school_effects.filter(["n", "tested", "linked_share", LOW]).join(part)
        part["effect_size"] = part["relative"] / fit.student_sd
        part = part.join(_ranks(fit, params, RANKS))
        if fit.singular:
            part[list(NOT_WHEN_FLAT)] = np.nan
            part["relative_side"] = ""
        if cohort in against:
            other = _effects(against[cohort], params, "benchmark").join(
                _ranks(against[cohort], params, BENCHMARK_RANKS)
            )
            for end in ("lower", "upper") if baseline_tau and not against[cohort].singular else ():
                other[f"above_{end}"] = norm.cdf(other[f"benchmark_{end}"] / baseline_tau)
            part = part.join(other)
        part = intake.loc[cohort].join(part)
        parts.append(part.assign(cohort=cohort).rename_axis("school").reset_index())
    cells = pd.concat(parts, ignore_index=True)
    every = pd.MultiIndex.from_product([sorted(cells["school"].unique()), relative], names=["school", "cohort"])
    cells = cells.set_index(["school", "cohort"]).reindex(every, columns=[*FIGURES, LOW])
    low = cells.pop(LOW).eq(True)
    extra = extra_rows(records).reindex(every.swaplevel(), fill_value=0).to_numpy()
    sizes = (cells["n"].fillna(0).astype("int64") - extra).clip(lower=0).to_frame("n").assign(**{LOW: low})
    show = cells_shown(sizes.swaplevel().sort_index(), params.min_students).swaplevel().reindex(every)
    cells.insert(0, "state", np.where(show, SHOWN, np.where(cells["n"].fillna(0) > 0, HELD_BACK, ABSENT)))
    cells.insert(1, "low_coverage", low & (cells["state"] == HELD_BACK))
    _mask_coverage(cells, params.min_students)
    cells[list(SIDES)] = cells[list(SIDES)].astype(object)
    cells.loc[cells["state"] != SHOWN, cells.columns[2:]] = np.nan
    return cells.reset_index()


def _mask_coverage(cells: pd.DataFrame, min_students: int) -> None:
    """Take out tested and linked_share where they would tell of few students; cells: index (school, cohort)."""
    there = cells[cells["n"].fillna(0) > 0]
    for _, part in there.groupby(level="cohort"):
        few = few_unlinked(part, part["state"] == SHOWN, min_students)
        cells.loc[part.index[few], ["tested", "linked_share"]] = np.nan


def _effects(fit: CohortFit, params: Params, name: str, also: tuple[str, ...] = ()) -> pd.DataFrame:
    """Effect, standard error, interval and side under the names of the cells."""
    names = {"effect": name, "se": f"{name}_se", "lower": f"{name}_lower", "upper": f"{name}_upper"}
    table = fit.school_effects[[*names, "side", *also]].rename(columns=names | {"side": f"{name}_side"})
    if params.fdr is not None:
        apart = false_discoveries(fit, params.fdr, params.min_students)["side_fdr"]
        table[f"{name}_side"] = apart.reindex(table.index)
    return table


def _ranks(fit: CohortFit, params: Params, names: dict[str, str]) -> pd.DataFrame:
    """Places among the schools of the cohort that may be shown; missing for a single school, and if all are alike."""
    if fit.singular or may_be_shown(fit.school_effects, params.min_students).sum() < 2:
        return pd.DataFrame(np.nan, index=fit.school_effects.index, columns=list(names.values()))
    return fit.ranks(params.seed, min_students=params.min_students)[list(names)].rename(columns=names)


def _sides(own: pd.DataFrame, level: float) -> dict[str, Any]:
    """Schools shown above and below the average of the year, and up to how many would be by chance."""
    counts = count_sides(own["relative_side"].fillna(""), level)
    return {name: counts[name] for name in ("above", "below", "unclear", "by_chance")}


def _cohorts(
    params: Params,
    records: pd.DataFrame,
    cells: pd.DataFrame,
    relative: dict[int, CohortFit],
    against: dict[int, CohortFit],
    baseline: list[int],
    verdicts: pd.DataFrame,
) -> pd.DataFrame:
    """One row a cohort: its size, its intake and its fits."""
    rows = {}
    for cohort, fit in relative.items():
        prior = select(records, [cohort])["prior_score"]
        own = cells[(cells["cohort"] == cohort) & (cells["state"] == SHOWN)]
        row = {
            "role": "baseline" if cohort in baseline else "focal",
            "students": fit.n_students,
            "schools": fit.n_schools,
            "ranked": len(own),
            **_sides(own, params.level),
            "prior_mean": prior.mean(),
            "prior_sd": prior.std(),
        }
        for what in ("mean", "sd"):
            row |= {f"{what}_{q}": own[f"prior_{what}"].quantile(p) for q, p in QUANTILES.items()}
        row |= {
            "tau": np.sqrt(fit.tau2),
            "sigma": np.sqrt(fit.sigma2),
            "vpc": fit.vpc,
            "student_sd": fit.student_sd,
            "singular": fit.singular,
        }
        other = against.get(cohort)
        known = other is not None and other.shift is not None
        told = verdicts.loc[cohort] if known else {"interval": "", "lower": np.nan, "upper": np.nan}
        row |= {
            "benchmark_singular": other.singular if other else False,
            "shift": other.shift if known else np.nan,
            "shift_se": other.shift_se if known else np.nan,
            "shift_lower": told["lower"],
            "shift_upper": told["upper"],
            "shift_by": told["interval"],
        }
        rows[cohort] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cohort")


def _day() -> str:
    today = datetime.date.today()
    return f"{today.day} {today:%B %Y}"
