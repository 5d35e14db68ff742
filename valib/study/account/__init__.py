"""A readable account of student records: what is there, what was left out, what would mislead, what would fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...effects.findings import alike_scores
from ...effects.long_records import of_long
from ...errors import ModelError
from ...names import by_cohort, percent
from ...records.coverage import least
from ...records.prior_check import score_moments
from ...records.reading import left_out, summarise
from ...sums.equating import ScaleBreak
from . import covariates, covered, lone, names, schools, scores, students, study
from .account import KEYS, SCHEMA_VERSION, Account
from .coded import Ask, Coded, Finding, encode, told_cohorts
from .limits import LEFT_OUT_SHARE

__all__ = ["KEYS", "SCHEMA_VERSION", "Account", "Finding", "check_records"]


def check_records(
    records: pd.DataFrame,
    baseline_cohorts: Sequence[int],
    focal_cohorts: Sequence[int],
    formula: str = "score ~ prior_score",
    min_students: int = 5,
    scale_breaks: Sequence[ScaleBreak] = (),
    further_formulas: Sequence[str] = (),
) -> Account:
    """Take account of records read by ``read_records``, in view of a study's cohorts, formulas and scale breaks.

    Nothing here raises on what the records hold: what would stop a fit is told in ``problems``.
    """
    ask = Ask(
        tuple(baseline_cohorts),
        tuple(focal_cohorts),
        formula,
        tuple(item for item in further_formulas if item != formula),
        min_students,
        tuple(scale_breaks),
        least(records.attrs),
    )
    lost = left_out(records)
    present = records["cohort"].unique().tolist()
    told = told_cohorts(present, ask)
    coded = encode(records, told)
    cells = schools.count_cells(coded)
    with np.errstate(all="ignore"):  # scores of 1e308 overflow; what they do to a fit is told by the trial
        table = _cohort_table(coded, cells, ask)
        parts, found, stops = _parts(records, coded, cells, table, lost, ask)
        problems = [*study.problems(records, table, lost, ask), *stops]
        if not problems:
            problems, shown = study.trial(records, ask)
            found = [*found, *shown]
    return Account(
        source=records.attrs["source"],
        ask=ask,
        rows_read=records.attrs["rows_read"],
        rows_used=len(records),
        students=coded.students if coded.data is records else records["student"].nunique(),
        schools=len(coded.schools) if coded.data is records else records["school"].nunique(),
        cohorts_in_data=len(present),
        left_out=lost,
        findings=(*_rows_findings(records, table, lost, len(present), ask), *_long(records, ask), *found),
        problems=tuple(problems),
        where=records.attrs.get("where"),
        prior_linkage=records.attrs.get("prior"),
        **parts,
    )


def _cohort_table(coded: Coded, cells: schools.Cells, ask: Ask) -> pd.DataFrame:
    """Return the account's ``cohorts``, but for the duplicates."""
    rows = pd.DataFrame(
        {
            "cohort": coded.data["cohort"].to_numpy(),
            "school": coded.school,
            "score": coded.data["score"].to_numpy(),
            "prior_score": coded.data["prior_score"].to_numpy(),
        }
    )
    table = summarise(rows)
    table.insert(0, "role", [ask.role(cohort) for cohort in table.index])
    sizes = schools.sizes(cells, coded, ask.min_students)
    return table.assign(**{name: sizes[name] for name in sizes})


def _parts(
    records: pd.DataFrame, coded: Coded, cells: schools.Cells, table: pd.DataFrame, lost: pd.DataFrame, ask: Ask
) -> tuple[dict, list[Finding], list[str]]:
    """Return the parts of the account, what would mislead in them, and what would stop a fit."""
    linked = students.linkage(records, coded, lost, table, ask)
    codes, several = students.repeated_codes(coded)
    moves = schools.changes(cells, coded, ask)
    most, total = schools.listed(cells, coded)
    ranges, odd = scores.describe(coded, ask)
    prior, drifts = study.compare_priors(records, table, ask)
    links, refused = study.across_breaks(ask)
    coverage, less_covered = covered.parts(records, ask)
    alone = lone.lone_findings(coded, ask, odd)
    further = covariates.describe(coded, ask)
    judged, stops = covariates.judge(further, list(records.columns), ask)
    parts = coverage | {
        "cohorts": table.assign(duplicates=codes["same_school"] + codes["other_school"]),
        "linkage": linked,
        "codes": codes,
        "several": several,
        "school_changes": moves,
        "presence": schools.presence(cells, coded, ask),
        "school_list": most,
        "school_list_total": total,
        "scores": ranges,
        "prior": prior,
        "covariates": further,
        "influence": lone.influence(coded.data, ask),
    }
    found = [
        *(students.linkage_findings(linked, table["score_sd"]) + less_covered),
        *students.code_findings(coded, codes, several),
        *names.code_findings(coded, cells, ask.min_students),
        *schools.school_findings(table, moves, ask.min_students),
        *odd,
        *alone,
        *lone.influence_findings(parts["influence"]),
        *_alike(records, table, odd, ask),
        *links,
        *drifts,
        *judged,
        *covariates.odd_codes(coded, ask),
    ]
    return parts, found, [*students.refusals(coded, ask), *refused, *stops]


def _alike(records: pd.DataFrame, table: pd.DataFrame, odd: list[Finding], ask: Ask) -> list[Finding]:
    """Warn of scores that may be standardised within cohorts, unless they were told to be z-scores."""
    there = [t for t in ask.cohorts if t in table.index]
    item = alike_scores(score_moments(records, there)) if ask.baseline else None
    return [item] if item and not any(one.code == "z_scores" for one in odd) else []


def _long(records: pd.DataFrame, ask: Ask) -> list[Finding]:
    """Warn of grades and subjects that share a regression, and of a linkage of prior scores that is amiss."""
    try:
        return [item for item in of_long(records, ask.cohorts, ask.formula) if item is not None]
    except ModelError:  # a formula that cannot be read, which is among the problems
        return []


def _rows_findings(
    records: pd.DataFrame, table: pd.DataFrame, lost: pd.DataFrame, cohorts: int, ask: Ask
) -> list[Finding]:
    """Warn where many rows of a cohort cannot be used, and of a column of cohorts that holds no years."""
    found = []
    if cohorts > len(table):
        found.append(
            Finding(
                "many_cohorts",
                (),
                (
                    f"Column cohort has {cohorts:,} different values, of which {len(table):,} are described: see whether it is "
                    "the year of the test, and name the right column."
                ),
            )
        )
    if unknown := int(lost.loc[lost["cohort"].isna(), "rows"].sum()):
        found.append(
            Finding(
                "no_cohort",
                (),
                (
                    f"{unknown:,} of {records.attrs['rows_read']:,} rows have no cohort and are left out: fill in the year of "
                    "the test."
                ),
            )
        )
    rows = lost[lost["reason"] != "no prior score"].dropna().groupby("cohort")["rows"].sum()
    rows = rows[rows.index.isin(ask.cohorts)]
    every = lost.dropna().groupby("cohort")["rows"].sum().reindex(rows.index)
    share = rows / (every + table["students"].reindex(rows.index, fill_value=0))
    if len(many := share[share > LEFT_OUT_SHARE]):
        told = by_cohort({t: percent(value) for t, value in many.items()})
        found.append(
            Finding(
                "left_out",
                tuple(int(t) for t in many.index),
                (
                    f"More than {LEFT_OUT_SHARE:.0%} of the rows of some cohorts lack a school, a student code or a score "
                    f"({told}): look at the reasons, and at the schools they come from."
                ),
            )
        )
    return found
