"""Linkage of students to their prior scores, and student codes that stand more than once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...effects.findings import low_correlation, same_test, several_cohorts
from ...errors import RecordsError
from ...names import by_cohort, counts, percent
from ...records import repeats
from ...records.long import grade_column, grades, moving_up
from .coded import Ask, Coded, Finding
from .limits import (
    CHANCE,
    CORRELATION_CHANGE,
    CORRELATION_HIGH,
    CORRELATION_LOW,
    LINKED_CHANGE,
    LINKED_SCORE_CHANGE,
    LINKED_SHARE,
    ONE_STUDENT,
    REUSED_SHARE,
)
from .text import number

ROUNDING = 1e-9  # of a share


def linkage(records: pd.DataFrame, coded: Coded, lost: pd.DataFrame, table: pd.DataFrame, ask: Ask) -> pd.DataFrame:
    """How many students who have a school and a score also have a prior score, by cohort.

    Columns: scored, linked (counts), share, score_difference (mean score of the rows used less that of all rows with
    a score, in score points), correlation (of score and prior score in the rows used). Cohorts of which no row can be
    used are there with linked = 0. lost: see `left_out`;
    table: see `summarise`.
    """
    unlinked = lost[lost["reason"] == "no prior score"].dropna().set_index("cohort")["rows"].astype("int64")
    index = pd.Index(sorted({*table.index, *unlinked.index}), name="cohort", dtype="int64")
    linked = table["students"].reindex(index, fill_value=0).astype("int64")
    scored = linked + unlinked.reindex(index, fill_value=0)
    kept = records.attrs.get("score_by_cohort", {})
    difference = [_difference(table, kept.get(cohort), cohort) for cohort in index]
    return pd.DataFrame(
        {
            "role": [ask.role(t) for t in index],
            "scored": scored,
            "linked": linked,
            "share": linked / scored,
            "score_difference": difference,
            "correlation": _correlations(coded).reindex(index),
        },
        index=index,
    )


def _correlations(coded: Coded) -> pd.Series:
    """The correlation of score and prior score, by cohort; NaN where one does not vary."""

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(coded.cohort, weights=values, minlength=len(coded.cohorts))

    rows = np.diff(coded.bounds)
    x, y = (
        values - (sums(values) / rows)[coded.cohort]
        for values in (coded.data[name].to_numpy(dtype=np.float64) for name in ("score", "prior_score"))
    )
    return pd.Series(sums(x * y) / np.sqrt(sums(x * x) * sums(y * y)), index=coded.index)


def _difference(table: pd.DataFrame, scored: dict | None, cohort: int) -> float:
    """Mean score of the rows used less that of all rows with a score; NaN where it is not known."""
    if scored is None or cohort not in table.index:
        return float("nan")
    if scored["n"] == table.at[cohort, "students"]:
        return 0.0
    return float(table.at[cohort, "score_mean"] - scored["mean"])


def linkage_findings(table: pd.DataFrame, score_sd: pd.Series) -> list[Finding]:
    """Warn of low linkage, and of linkage that changes between baseline and focal cohorts."""
    found = []
    study = table[table["role"] != ""]
    low = study[study["share"] < LINKED_SHARE]
    if len(low):
        shares = by_cohort({t: percent(share) for t, share in low["share"].items()})
        found.append(
            Finding(
                "linkage",
                tuple(low.index),
                (
                    f"Students with a score who have a prior score are under {LINKED_SHARE:.0%} ({shares}): the results hold "
                    "for these students only, so find out who lacks one and whether codes fail to match."
                ),
            )
        )
    base, focal = study[study["role"] == "baseline"], study[study["role"] == "focal"]
    found += _correlation_findings(study, base)
    if not base["scored"].sum() or not base["linked"].sum():
        return found
    usual = base["linked"].sum() / base["scored"].sum()
    moved = focal[(focal["share"] - usual).abs() > LINKED_CHANGE + ROUNDING]
    if len(moved):
        shares = by_cohort({t: percent(share) for t, share in moved["share"].items()})
        found.append(
            Finding(
                "linkage_change",
                tuple(moved.index),
                (
                    f"The share of students with a prior score was {percent(usual)} in the baseline and differs by more than "
                    f"{100 * LINKED_CHANGE:g} points later ({shares}): part of the shift may come from who is linked, so "
                    "compare those left out."
                ),
            )
        )
    return found + _selection(base, focal, score_sd)


def _correlation_findings(study: pd.DataFrame, base: pd.DataFrame) -> list[Finding]:
    """Warn where score and prior score hardly go together, are the same, or go together otherwise than usual."""
    r = study["correlation"]
    usual = base["correlation"].median()
    noise = CHANCE * (1 - usual**2) / np.sqrt(study["linked"])
    odd = (r - usual).abs() > np.maximum(CORRELATION_CHANGE, noise)
    change = odd & r.between(CORRELATION_LOW, CORRELATION_HIGH)
    found = [item for item in (low_correlation(r.dropna().to_dict()), same_test(r.dropna().to_dict())) if item]
    if change.any():
        values = by_cohort({t: number(value) for t, value in r[change].items()})
        text = (
            f"The correlation of score and prior score is over {CORRELATION_CHANGE:g} from the baseline's {usual:.2f} "
            f"({values}): a test or the linkage may have changed, so look into both."
        )
        found.append(Finding("correlation", tuple(study.index[change]), text))
    return found


def _selection(base: pd.DataFrame, focal: pd.DataFrame, score_sd: pd.Series) -> list[Finding]:
    """Warn where leaving students out moves the mean score otherwise than in the baseline, beyond chance."""
    weights = base["linked"] / base["linked"].sum()
    usual, sd = float((weights * base["score_difference"]).sum()), float(score_sd.reindex(base.index).mean())
    unlinked, every = base["scored"].sum() - base["linked"].sum(), base["scored"].sum()
    noise = CHANCE * sd * np.sqrt((1 - focal["share"]) / focal["scored"] + unlinked / every**2)
    change = (focal["score_difference"] - usual).abs()
    moved = focal[(change > LINKED_SCORE_CHANGE * sd) & (change > noise)]
    if not len(moved):
        return []
    told = by_cohort({t: number(value) for t, value in moved["score_difference"].items()})
    return [
        Finding(
            "linkage_scores",
            tuple(moved.index),
            (
                f"Leaving students out moves the mean score by {number(usual)} points in the baseline, but otherwise later "
                f"({told}): as much of the shift may come from who is linked, so look at those left out."
            ),
        )
    ]


def repeated_codes(coded: Coded) -> tuple[pd.DataFrame, int]:
    """Student codes that stand more than once, by cohort, and the number of codes in several cohorts.

    Columns: same_school, other_school (rows whose code already stands in the cohort, in the same or another school),
    students_in_two_schools (codes in two or more schools of the cohort), seen_before (codes that also stand in an
    earlier cohort), most_rows (of one code in the cohort).
    """
    J, T = max(len(coded.schools), 1), max(len(coded.cohorts), 1)
    key = np.sort((coded.student * T + coded.cohort) * J + coded.school)
    student_cohort = key // J
    again = student_cohort[1:] == student_cohort[:-1]
    same = key[1:] == key[:-1]
    other = student_cohort[1:][again & ~same]
    each = student_cohort[np.concatenate([[True], ~again])]
    before = (each // T)[1:] == (each // T)[:-1]
    starts = np.flatnonzero(np.concatenate([[True], ~again])[: len(key)])
    most = np.zeros(len(coded.cohorts), dtype=np.int64)
    np.maximum.at(most, student_cohort[starts] % T, np.diff(np.append(starts, len(key))))
    table = pd.DataFrame(
        {
            "same_school": coded.per_cohort(student_cohort[1:][same] % T),
            "other_school": coded.per_cohort(other % T),
            "students_in_two_schools": coded.per_cohort(_distinct(other) % T),
            "seen_before": coded.per_cohort(each[1:][before] % T),
            "most_rows": most,
        }
    )
    return table, len(_distinct(each[1:][before] // T))


def _distinct(ordered: np.ndarray) -> np.ndarray:
    """Return the different values of an ascending array."""
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]


def code_findings(coded: Coded, table: pd.DataFrame, several: int) -> list[Finding]:
    """Warn of student codes that stand twice in a cohort, or in several cohorts. table, several: `repeated_codes`."""
    return [*_within_schools(coded, table), *_between_schools(coded, table), *_between_cohorts(coded, table, several)]


def refusals(coded: Coded, ask: Ask) -> list[str]:
    """Say where a fit of the study is refused since students stand in several rows of their school."""
    data = coded.data[coded.data["cohort"].isin(ask.cohorts)]
    rows = data.groupby("cohort").size()
    try:
        repeats.refuse(repeats.extra_rows(data), rows, lambda few: data[data["cohort"].isin(few)])
    except RecordsError as error:
        return [str(error)]
    return []


def _within_schools(coded: Coded, table: pd.DataFrame) -> list[Finding]:
    """Warn of rows whose student already stands in the same school and cohort."""
    same = table["same_school"]
    if not (total := int(same.sum())):
        return []
    nature = repeats.nature(coded.data)
    return [
        Finding(
            "duplicates",
            tuple(same.index[same > 0]),
            (
                f"Rows whose student code already stands in the school and cohort: {total:,} ({counts(same)}); each would "
                f"count as a student of its own; {nature}."
            ),
        )
    ]


def _between_schools(coded: Coded, table: pd.DataFrame) -> list[Finding]:
    """Warn of codes in two schools of a cohort: of one student there, or numbered within schools."""
    other = table["other_school"]
    if not (total := int(other.sum())):
        return []
    first = coded.data.drop_duplicates(repeats.KEY)
    first = first[first.duplicated(["cohort", "student"], keep=False)]
    alike = 1 - len(first.drop_duplicates(["cohort", "student", "prior_score"])) / len(first)
    most = first.groupby(["cohort", "student"], observed=True).size()
    # of m rows a student, all alike, all but one a student are copies: 1 - 1/m
    one_student = alike >= ONE_STUDENT * (1 - len(most) / len(first))
    meaning = (
        "the prior score is the same in each, so these are students in several schools, who count in each: keep the "
        "school that is to answer for them"
        if one_student
        else "numbered within schools, it seems: make them unique, such as school and student together"
        if total > REUSED_SHARE * len(coded.data)
        else "students in several schools count in each, so keep one school a student; if codes are used again, make them "
        "unique"
    )
    where = tuple(other.index[other > 0])
    text = (
        f"Rows whose student code stands in another school of the cohort too: {total:,} ({counts(other)}); {meaning}."
    )
    return [Finding("two_schools", where, text)]


def _between_cohorts(coded: Coded, table: pd.DataFrame, several: int) -> list[Finding]:
    """Warn of codes that stand in several cohorts."""
    known = several and grade_column(coded.data.columns)
    up = moving_up(coded.student, coded.data["cohort"].to_numpy(), grades(coded.data)) if known else 0
    item = several_cohorts(several, coded.students, table.index[table["seen_before"] > 0], up)
    return [item] if item else []
