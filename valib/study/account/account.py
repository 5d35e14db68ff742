"""The account of records: its parts, and the keys under which its JSON holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...records.told import told_linkage, told_where
from . import covered, limits
from .coded import Ask, Finding
from .text import printable

SCHEMA_VERSION = 1  # raised when a key of KEYS is taken away or changes its meaning; keys may be added

# Every key of the JSON, with its meaning. [] is a list with one entry a row, and "cohort" is the calendar year.
KEYS = {
    "schema_version": "version of these keys",
    "source": "name of the source of the records",
    "study": "what the study asks: baseline_cohorts, focal_cohorts, formula, further_formulas, min_students, "
    "min_linked_share",
    "limits": "the thresholds of the warnings, by name",
    "rows_read": "rows of the source",
    "rows_used": "rows with cohort, school, student, score and prior score",
    "rows_left_out": "rows_read less rows_used",
    "where": "which rows were read: expression, rows (of the source), left_out (by the expression; rows_read is without "
    "them; null: fewer than min_students); null: all",
    "prior_linkage": "prior scores found in other rows or another file: linked, unlinked, ambiguous (rows with two earlier "
    "rows, which have no prior score), from, years_before (null: another file), by_cohort[], by_school[] (of at least "
    "min_students rows; null where one of the three counts is of fewer, and in one cohort or school beside it), grade_steps[] "
    "(grades moved up: step, rows), grade_step (how many of them they should have moved up; only where grades are known); "
    "null: a column of the records has them",
    "students": "different student codes in the rows used",
    "students_in_several_cohorts": "student codes that stand in two or more cohorts",
    "schools": "different school codes in the rows used",
    "cohorts_in_data": "different cohorts in the rows used",
    "left_out[]": "rows that cannot be used: cohort (null: unknown), reason (the first of no cohort, no school, no "
    "student, no score, no prior score), rows",
    "cohorts[]": "cohort, role (baseline, focal or empty), students (rows used), schools, smallest_school, "
    "median_school, largest_school (students; null: fewer than min_students), score_mean, score_sd, "
    "prior_mean, prior_sd, tiny_schools (fewer than min_students students), one_student_schools, "
    "duplicates (rows whose student code already stands in the cohort)",
    "linkage[]": "cohort, role, scored (rows with school, student and score), linked (of these, with a prior score), "
    "share (linked / scored), score_difference (mean score of the linked less that of all with a score), "
    "correlation (of score and prior score of the linked)",
    "coverage[]": "cohort, role, schools (with a tested student), full (all linked), under_warned and under_least (schools of "
    "which a smaller share than coverage_full, or than the study's min_linked_share, is linked), none (no student linked), "
    "differing (schools whose linkage differs from the cohort's beyond chance)",
    "coverage_list": "total (schools under coverage_full, or differing) and shown[], the lowest first: school, cohort, tested "
    "(rows with school and score), linked (of these, used), linked_share, differs; the three numbers null where they tell "
    "of fewer than min_students",
    "codes[]": "cohort, same_school and other_school (rows whose student code already stands in the cohort, in the "
    "same or another school), students_in_two_schools, seen_before (codes that stand in an earlier cohort), "
    "most_rows (of one code)",
    "school_changes[]": "cohort, previous (the cohort before), new, gone, missing (seen before and later), returned, "
    "grown, shrunk (schools), not_in_baseline (share of a focal cohort's students; else null)",
    "school_presence": "both, baseline_only, focal_only (schools), baseline_only_students, focal_only_students (null: "
    "fewer than min_students)",
    "school_list": "total (changes of schools there are) and shown[]: the largest: school, change (new, gone, missing, "
    "grown, shrunk), cohort, before, after (students; 0: absent; null: fewer than min_students)",
    "scores[]": "column (score, prior_score), cohort, mean, sd, min, p1, median, p99, max (score points), values "
    "(different ones), at_min, at_max (share of students at the lowest and highest value)",
    "prior[]": "cohort, smd (focal less baseline mean, in baseline SDs), variance_ratio, ok (both within limits)",
    "covariates[]": "column, cohort, rows, missing (rows), share (missing / rows), levels (of a grouping; null: a "
    "number), unseen (rows with levels that the baseline lacks), not_finite (rows), constant",
    "influence[]": "cohort, school, students, change (of the school's relative effect by its most influential student, in "
    "score points: the school of at least min_students students where that is most), se (of the effect)",
    "warnings[]": "what would mislead: code, cohorts, text",
    "problems[]": "what would stop a fit of the study, in sentences",
}


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What `valib check` says of records. The tables are as in :data:`KEYS`, indexed by cohort (and column).

    Attributes
    ----------
    source : the file's name. ask : what the study asks of the records.
    rows_read, rows_used : counts of rows. students, schools, cohorts_in_data : counts of distinct codes.
    where, prior_linkage : which rows were read, and how prior scores were linked; None: all, and not linked.
    several : student codes in two or more cohorts.
    left_out : rows that cannot be used; columns cohort, reason, rows.
    coverage_list : schools of which few are linked, or whose linkage differs.
    cohorts, linkage, coverage, codes, school_changes, prior : index cohort; scores, covariates : index (column, cohort).
    school_list : the schools that change most; school_list_total : how many changes there are; presence : counts.
    findings : what would mislead, each with a code, cohorts and a sentence. problems : sentences on what would stop
    a fit of the study.
    """

    source: str
    ask: Ask
    rows_read: int
    rows_used: int
    students: int
    schools: int
    cohorts_in_data: int
    several: int
    left_out: pd.DataFrame
    cohorts: pd.DataFrame
    linkage: pd.DataFrame
    coverage: pd.DataFrame
    coverage_list: pd.DataFrame
    codes: pd.DataFrame
    school_changes: pd.DataFrame
    presence: dict[str, int]
    school_list: pd.DataFrame
    school_list_total: int
    scores: pd.DataFrame
    prior: pd.DataFrame
    covariates: pd.DataFrame
    influence: pd.DataFrame
    findings: tuple[Finding, ...]
    problems: tuple[str, ...]
    where: dict[str, Any] | None = None
    prior_linkage: dict[str, Any] | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of the findings."""
        return tuple(item.text for item in self.findings)

    def _study(self) -> dict[str, Any]:
        """What the study asks, in plain values."""
        ask = self.ask
        return {
            "baseline_cohorts": list(ask.baseline),
            "focal_cohorts": list(ask.focal),
            "formula": ask.formula,
            "further_formulas": list(ask.further_formulas),
            "min_students": ask.min_students,
            "min_linked_share": ask.min_linked_share,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the account under the keys of :data:`KEYS`, for JSON; sizes of small schools are held back."""
        floor = self.ask.min_students
        sizes = {
            f"{which}_school": _masked(self.cohorts[f"{which}_school"], floor)
            for which in ("smallest", "median", "largest")
        }
        around = {name: _masked(self.school_list[name], floor) for name in ("before", "after")}
        return {
            "schema_version": SCHEMA_VERSION,
            "source": printable(self.source),
            "study": self._study(),
            "limits": limits.stated(),
            "rows_read": self.rows_read,
            "rows_used": self.rows_used,
            "rows_left_out": self.rows_read - self.rows_used,
            "where": told_where(self.where, floor),
            "prior_linkage": told_linkage(self.prior_linkage, floor),
            "students": self.students,
            "students_in_several_cohorts": self.several,
            "schools": self.schools,
            "cohorts_in_data": self.cohorts_in_data,
            "left_out": _rows(self.left_out),
            "cohorts": _rows(self.cohorts.assign(**sizes).reset_index()),
            **{
                name: _rows(getattr(self, name).reset_index())
                for name in ("linkage", "coverage", "codes", "school_changes")
            },
            "coverage_list": {
                "total": len(self.coverage_list),
                "shown": _rows(covered.masked(self.coverage_list.head(limits.LISTED), floor)),
            },
            "school_presence": {
                name: None if name.endswith("students") and 0 < count < floor else count
                for name, count in self.presence.items()
            },
            "school_list": {"total": self.school_list_total, "shown": _rows(self.school_list.assign(**around))},
            **{n: _rows(getattr(self, n).reset_index()) for n in ("scores", "prior", "covariates", "influence")},
            "warnings": [{"code": f.code, "cohorts": f.cohorts, "text": f.text} for f in self.findings],
            "problems": list(self.problems),
        }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries, missing values as None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _masked(sizes: pd.Series, floor: int) -> pd.Series:
    """Return numbers of students with those from 1 to below the floor missing."""
    return sizes.astype("Float64" if sizes.dtype.kind == "f" else "Int64").mask((sizes > 0) & (sizes < floor))
