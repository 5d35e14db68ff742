"""A readable account of student records: what is there, what was left out, what would mislead, what would fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..baseline import STANDARDISED, fit_baseline
from ..comparability import compare_prior, looks_standardised, score_moments
from ..design import required_columns
from ..errors import BenchmarkError, ValibError
from ..records import left_out, select, summarise
from ..scale import ScaleBreak, carry_back, crossed


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What `valib check` says of records.

    Attributes
    ----------
    source : the file's name. rows_read, rows_used : counts of rows. students, schools : counts of distinct codes.
    left_out : rows that cannot be used; columns cohort, reason, rows.
    cohorts : one row a cohort, index cohort: role ("baseline", "focal" or ""), students, schools, school sizes,
        tiny_schools (fewer than min_students students), duplicates (rows whose student code already stands
        in the cohort), mean and SD of score and prior score.
    prior : one row a focal cohort, index cohort: smd (difference of its prior mean from the baseline's, in baseline
        SDs), variance_ratio and ok; empty if the baseline has no spread to compare with.
    warnings : sentences on what would mislead. problems : sentences on what would stop a fit of the study.
    """

    source: str
    rows_read: int
    rows_used: int
    students: int
    schools: int
    left_out: pd.DataFrame
    cohorts: pd.DataFrame
    prior: pd.DataFrame
    warnings: tuple[str, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the account as lists and dictionaries, for JSON."""
        return {
            "source": self.source,
            "rows_read": self.rows_read,
            "rows_used": self.rows_used,
            "students": self.students,
            "schools": self.schools,
            "left_out": self.left_out.astype(object).where(self.left_out.notna(), None).to_dict("records"),
            "cohorts": self.cohorts.reset_index().to_dict("records"),
            "prior": self.prior.reset_index().to_dict("records"),
            "warnings": list(self.warnings),
            "problems": list(self.problems),
        }


def check_records(records: pd.DataFrame, baseline_cohorts: Sequence[int], focal_cohorts: Sequence[int],
                  formula: str = "score ~ prior_score", min_students: int = 5,
                  scale_breaks: Sequence[ScaleBreak] = ()) -> Account:
    """Take account of records read by ``read_records``, in view of a study's cohorts, formula and scale breaks.

    Nothing here raises on what the records hold: what would stop a fit is told in ``problems``.
    """
    table = _cohort_table(records, baseline_cohorts, focal_cohorts, min_students)
    prior, drifts = _compare_prior(records, table, scale_breaks)
    links, refused = _across_breaks(scale_breaks, baseline_cohorts, focal_cohorts)
    lost = left_out(records)
    attrs = records.attrs
    same_school = int(records.duplicated(["student", "school", "cohort"]).sum())
    cells = _cell_warnings(table, same_school, min_students)
    warnings = [*_left_out_warning(lost, attrs["rows_read"]), *cells, *links, *drifts]
    problems = [*_problems(records, table, [*baseline_cohorts, *focal_cohorts], formula), *refused]
    if not problems:
        problems = _trial(records, baseline_cohorts, focal_cohorts, formula)
    return Account(
        source=attrs["source"], rows_read=attrs["rows_read"], rows_used=len(records),
        students=records["student"].nunique(), schools=records["school"].nunique(), left_out=lost, cohorts=table,
        prior=prior, warnings=tuple(warnings), problems=tuple(problems),
    )


def _cohort_table(records: pd.DataFrame, baseline: Sequence[int], focal: Sequence[int],
                  min_students: int) -> pd.DataFrame:
    """Return the account's ``cohorts``."""
    table = summarise(records)
    role = {**dict.fromkeys(baseline, "baseline"), **dict.fromkeys(focal, "focal")}
    table.insert(0, "role", [role.get(cohort, "") for cohort in table.index])
    sizes = records.groupby(["cohort", "school"]).size()
    table["tiny_schools"] = (sizes < min_students).groupby("cohort").sum()
    table["duplicates"] = records.duplicated(["student", "cohort"]).groupby(records["cohort"]).sum()
    return table


def _problems(records: pd.DataFrame, table: pd.DataFrame, study: Sequence[int], formula: str) -> list[str]:
    """Say what would stop a fit of the study's cohorts."""
    problems = []
    if absent := [cohort for cohort in study if cohort not in table.index]:
        problems.append(f"The study names {_cohorts(absent)}, not in the data; the data hold {_cohorts(table.index)}.")
    if lacking := [name for name in required_columns(formula) if name not in records.columns]:
        problems.append(f"The formula '{formula}' needs {', '.join(lacking)}, not among the columns of the data.")
    used = table.loc[[cohort for cohort in table.index if cohort in study]]
    if (alone := used.index[used["schools"] < 2]).size:
        problems.append(f"One school only in {_cohorts(alone)}; school effects need two or more.")
    for column, sd in (("score", used["score_sd"]), ("prior_score", used["prior_sd"])):
        if (same := used.index[~(sd > 0)]).size:
            problems.append(f"Column {column} has the same value for all students of {_cohorts(same)}.")
    return problems


def _trial(records: pd.DataFrame, baseline: Sequence[int], focal: Sequence[int], formula: str) -> list[str]:
    """Fit the benchmark to see whether it can be fitted; return what stops it."""
    if looks_standardised(score_moments(records, [*baseline, *focal])):
        return [STANDARDISED]
    try:
        fit_baseline(records, baseline, formula=formula)
    except ValibError as error:
        return [str(error)]
    return []


def _across_breaks(breaks: Sequence[ScaleBreak], baseline: Sequence[int],
                   focal: Sequence[int]) -> tuple[list[str], list[str]]:
    """Say what each declared break means for the study: what is carried back, and what is refused."""
    said, refused = [], []
    for item in breaks:
        try:
            beyond = [cohort for cohort in sorted(focal) if crossed([item], baseline, cohort)]
        except BenchmarkError as error:
            refused.append(str(error))
            continue
        if beyond:
            said.append(f"The scale of {item.column} changes with cohort {item.cohort}: {_cohorts(beyond)} carried "
                        f"back by old = {item.link.intercept:g} + {item.link.slope:g} new; the link's error enters "
                        "shift and benchmark value added.")
    return said, refused


def _on_baseline_scale(records: pd.DataFrame, table: pd.DataFrame, breaks: Sequence[ScaleBreak],
                       cohort: int) -> pd.DataFrame:
    """Return the records of a cohort carried back over linked breaks; as they are where that cannot be done."""
    try:
        return carry_back(records, breaks, table.index[table["role"] == "baseline"], cohort)
    except BenchmarkError:
        return select(records, [cohort])


def _compare_prior(records: pd.DataFrame, table: pd.DataFrame,
                   breaks: Sequence[ScaleBreak]) -> tuple[pd.DataFrame, list[str]]:
    """Compare each focal cohort's prior scores with the baseline's; return the account's ``prior`` and warnings."""
    empty = pd.DataFrame(columns=["smd", "variance_ratio", "ok"], index=pd.Index([], name="cohort"))
    typical = records.loc[records["cohort"].isin(table.index[table["role"] == "baseline"]), "prior_score"]
    if not typical.std() > 0:
        return empty, []
    checks = {}
    for cohort in table.index[table["role"] == "focal"]:
        values = _on_baseline_scale(records, table, breaks, cohort)["prior_score"].to_numpy()
        checks[cohort] = compare_prior(values, "prior_score", cohort, typical.mean(), typical.std())
    rows = [{"smd": item.smd, "variance_ratio": item.variance_ratio, "ok": item.ok} for item in checks.values()]
    prior = pd.DataFrame(rows, columns=empty.columns, index=pd.Index(checks, name="cohort"))
    return prior, [f"{item.sentence} A shift may come from the prior test." for item in checks.values() if not item.ok]


def _left_out_warning(lost: pd.DataFrame, rows_read: int) -> list[str]:
    if lost.empty:
        return []
    rows = int(lost["rows"].sum())
    share = f"{rows / rows_read:.1%}" if rows >= rows_read / 1000 else "under 0.1%"
    return [f"{rows:,} of {rows_read:,} rows ({share}) cannot be used and are left out."]


def _cell_warnings(table: pd.DataFrame, same_school: int, min_students: int) -> list[str]:
    """Warn of student codes that stand in a cohort twice, and of tiny schools."""
    said = []
    if twice := int(table["duplicates"].sum()):
        where = _cohorts(table.index[table["duplicates"] > 0])
        said.append(f"Rows whose student code already stands in the cohort: {twice:,} ({where}), {same_school:,} of "
                    "them in the same school; each counts as a student of its own.")
    if tiny := int(table["tiny_schools"].sum()):
        said.append(f"School cohorts with fewer than {min_students} students: {tiny:,}; they enter the models, "
                    "and their effects are not shown.")
    return said


def _cohorts(cohorts: Sequence[int]) -> str:
    """Return 'cohort 2015' or 'cohorts 2015, 2016'."""
    names = [str(cohort) for cohort in cohorts]
    return f"cohort{'s' if len(names) != 1 else ''} {', '.join(names)}"
