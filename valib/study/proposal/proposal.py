"""A proposed study: which columns are which, which cohorts are judged against which, and the covariates on offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...errors import RecordsError
from ...records.reading import ALIASES, CANONICAL
from ...records.reshape import ROW_NUMBER
from ...records.school_names import SCHOOL_NAME
from .columns import CALENDAR, Column, describe, varies_within, words
from .roles import COHORT, PRIOR, SCHOOL, SCORE, STUDENT, TESTED, Roles, assign, quoted
from .shapes import Table, tables

SEVERAL = 3  # baseline cohorts at most
FEWEST_ROWS = 30  # of a cohort that is proposed
MOST_NAMED = 10  # cohorts in a sentence
MOST_COVARIATES, MOST_LEVELS, MOST_MISSING = 5, 12, 0.05
PRIVATE = tuple("name surname forename address email mail phone postcode zip birth dob date id code".split())


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `propose` makes of a table.

    Attributes
    ----------
    params : parameter -> value, for those that are proposed. reasons : why; a column's under "columns.student".
    missing : column that was not found -> names of those that could be meant.
    unsure : sentences on what should be looked at. questions : parameter or column -> what is to be answered in the file.
    told : what the study is of, "reading, grade 5"; empty where it is the only one.
    """

    params: Mapping[str, Any]
    reasons: Mapping[str, str]
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()
    questions: Mapping[str, str] = field(default_factory=dict)
    told: str = ""


def propose_all(frame: pd.DataFrame, name: str = "the DataFrame") -> dict[str, Proposal]:
    """Propose every study that a table holds, by a name for its file; one of several subjects, grades or stages each.

    Raises as :func:`propose`.
    """
    columns = _described(frame, name)
    found = tables(frame, columns)
    if not found:
        return {"": _proposal(Table("", frame, {}, {}), columns, columns)}
    made = {}
    for table in found:
        base = "_".join(words(table.told)) or "study"
        key = next(k for k in (base, *(f"{base}_{n}" for n in range(2, len(found) + 2))) if k not in made)
        made[key] = _proposal(
            table, [describe(c, table.frame.iloc[:, k]) for k, c in enumerate(table.frame.columns)], columns
        )
    return made if len(made) > 1 else {"": next(iter(made.values()))}


def propose(frame: pd.DataFrame, name: str = "the DataFrame") -> Proposal:
    """Propose a study for a table, the first of several, by the names of its columns and by what they hold.

    No value of a column other than cohorts, subjects and grades gets into the proposal.

    Raises
    ------
    RecordsError
        If there are no rows, or the table seems to have no header.
    """
    return next(iter(propose_all(frame, name).values()))


def _described(frame: pd.DataFrame, name: str) -> list[Column]:
    if frame.empty:
        raise RecordsError(f"{name}: holds no rows.")
    columns = [describe(column, frame.iloc[:, k]) for k, column in enumerate(frame.columns)]
    meant = any(c.has(*STUDENT, *SCHOOL, *COHORT, *PRIOR, *SCORE) for c in columns)
    if sum(map(_is_number, frame.columns)) > (len(columns) / 2 if meant else 0):
        raise RecordsError(f"{name}: the first row holds numbers where names of columns are expected; add a header.")
    return columns


def _proposal(table: Table, columns: Sequence[Column], source: Sequence[Column]) -> Proposal:
    """Propose the study of one table. columns : those of its rows. source : those of the records as they are."""
    roles = assign(columns, table.roles, table.reasons)
    params: dict[str, Any] = {"title": _title(table.told), **table.params}
    params["columns"] = _mapping(roles, source)
    reasons = {f"columns.{role}": reason for role, reason in roles.reasons.items()} | {
        name: REASONS[name] for name in table.params
    }
    questions = {**roles.questions, **table.questions}
    _student_by_row(roles, columns, questions)
    _name_of_school(roles, columns, params, reasons)
    _cohorts(roles, params, reasons)
    if "year_zero" in questions:  # until it is answered the cohorts have no names
        for key in ("baseline_cohorts", "focal_cohorts"):
            params.pop(key, None)
    params["formula"] = "score ~ prior_score"
    reasons["formula"] = "the prior score alone; school_mean(x) is the mean of x over a school's students in a cohort"
    _covariates(roles, [c for c in columns if str(c.name) not in table.aside], params, reasons)
    params["min_students"] = 5
    reasons["min_students"] = "a school with fewer students in a cohort is never shown by name"
    missing = {
        role: tuple(str(c.name) for c in roles.candidates.get(role, []))
        for role in CANONICAL
        if role not in roles.found and role != "cohort" and role not in questions
    }
    unsure = [f"{role}: not found; fill it in" for role in missing] + roles.unsure
    if not {"score", "prior_score"} <= set(roles.found):
        unsure += [
            f"{quoted(c.name)}: {c.odd:,} of its values are text, the others are numbers; if it is a test, leave"
            " these blank"
            for c in roles.left(columns)
            if c.odd
        ]
    return Proposal(params, reasons, missing, tuple(unsure), questions, table.told)


REASONS = {
    "where": "the rows of this study; the others are counted as left out",
    "prior": "the prior score is the student's own earlier row; column is what is taken from it, match what must be the same",
    "reshape": "a column for each year becomes a row for each cohort",
}


def _title(told: str) -> str:
    return f"School value added in {told}" if told else "School value added"


def _student_by_row(roles: Roles, columns: Sequence[Column], questions: dict[str, str]) -> None:
    """Ask whether every row is a student where no column can be the code of one."""
    rows = [
        c for c in columns if c.distinct == len(c.keys) and c.code and {"unnamed", "rownames", "row"} & set(c.words)
    ]
    if "student" not in roles.found and not [c for c in roles.candidates.get("student", []) if c not in rows]:
        choices = ", ".join([ROW_NUMBER, *(quoted(c.name) for c in rows)])
        questions["student"] = (
            f"no column is a student's code; is every row another student? Then {ROW_NUMBER}, which numbers them. One of:"
            f" {choices}"
        )


def _name_of_school(roles: Roles, columns: Sequence[Column], params: dict[str, Any], reasons: dict[str, str]) -> None:
    """The column of schools' names, beside that of their codes."""
    named = [
        c for c in roles.left(columns) if c.has(*SCHOOL) and c.has("name") and c.numbers is None and c.distinct > 1
    ]
    if "school" in roles.found and len(named) == 1:
        roles.found[SCHOOL_NAME] = named[0]
        if named[0].name != SCHOOL_NAME:
            params["columns"][SCHOOL_NAME] = str(named[0].name)
        reasons[f"columns.{SCHOOL_NAME}"] = "shown beside the code; the latest where a school has had several"


def _is_number(name: object) -> bool:
    try:
        float(str(name).replace(",", "."))
    except ValueError:
        return False
    return True


def _mapping(roles: Roles, columns: Sequence[Column]) -> dict[str, str]:
    """The columns parameter: what differs in name, and new names for columns that stand in the way."""
    mapping = {
        role: str(roles.found[role].name)
        for role in CANONICAL
        if role in roles.found and roles.found[role].name != role
    }
    taken = set(mapping.values())
    for column in columns:
        if column.name in mapping and str(column.name) not in taken:
            mapping[f"source_{column.name}"] = str(column.name)
    return mapping


def _cohorts(roles: Roles, params: dict[str, Any], reasons: dict[str, str]) -> None:
    """The earlier half of the cohorts, three at most, are the baseline; all later ones are focal."""
    told = [c.keys >= 0 for role, c in roles.found.items() if role in CANONICAL]
    complete = np.logical_and.reduce(told) if told else np.ones(1, bool)
    cohort = roles.found.get("cohort")
    if cohort is None:
        cohorts, few = [0], []
    else:
        rows = pd.Series(cohort.numbers[complete]).value_counts()
        cohorts = sorted(int(t) for t, n in rows.items() if n >= FEWEST_ROWS)
        cohorts = _years(roles, cohorts)
        few = sorted(int(t) for t, n in rows.items() if n < FEWEST_ROWS)
    if not cohorts:
        cohorts, few = few, []
    if few:
        told = ", ".join(map(str, few[:MOST_NAMED])) + (f" and {len(few) - MOST_NAMED} more" * (len(few) > MOST_NAMED))
        roles.unsure.append(f"cohorts {told} are left aside: fewer than {FEWEST_ROWS} complete rows")
    if len(cohorts) > 1:
        first = min(len(cohorts) // 2, SEVERAL)
        params["baseline_cohorts"], params["focal_cohorts"] = cohorts[:first], cohorts[first:]
        reasons["baseline_cohorts"] = f"the earlier half of the cohorts, {SEVERAL} at most: they define what is typical"
        reasons["focal_cohorts"] = "all later ones: they are judged against the baseline"
        roles.unsure.append(
            "baseline_cohorts: chosen by their place alone; choose the years that you want to compare with"
        )
        return
    params["focal_cohorts"] = cohorts or [0]
    reasons["focal_cohorts"] = "the only cohort"
    roles.unsure.append(
        "baseline_cohorts: with one cohort nothing can be a benchmark; 'valib fit --model relative'"
        " compares its schools with each other, and so do 'valib report' and 'valib book'"
    )


def _years(roles: Roles, cohorts: list[int]) -> list[int]:
    """The cohorts that are calendar years, if most are; the others, such as 9999, are said to be left aside."""
    years = [t for t in cohorts if CALENDAR[0] <= t <= CALENDAR[1]]
    if 2 * len(years) <= len(cohorts) or years == cohorts:
        return cohorts
    told = ", ".join(str(t) for t in cohorts if t not in years)
    roles.unsure.append(
        f"cohorts {told} are left aside: no calendar years; if they stand for unknown, leave them blank"
    )
    return years


def _covariates(roles: Roles, columns: Sequence[Column], params: dict[str, Any], reasons: dict[str, str]) -> None:
    """Offer the columns that can be covariates, as many as tell the model something new in every cohort."""
    if not {"score", "prior_score"} <= set(roles.found):
        return
    formulas = ["score ~ prior_score + school_mean(prior_score)"]
    reasons["further_formulas"] = "for comparison: with the school's mean prior score"
    names: list[str] = []
    prior = _standard(roles.found["prior_score"])
    cohorts = roles.found["cohort"].keys if "cohort" in roles.found else np.zeros(len(prior), dtype=int)
    school = roles.found.get("school")
    design = [prior]
    if school is not None:
        cells = [school.keys, cohorts]
        design.append(pd.Series(prior).groupby(cells).transform("mean").to_numpy())
    tests = (roles.found["score"], roles.found["prior_score"])
    for column in _offered(roles, columns, school, tests):
        more = _design(column)
        if len(names) < MOST_COVARIATES and _full_rank([*design, *more], cohorts):
            name = str(column.name) if str(column.name).isidentifier() else "_".join(words(str(column.name)))
            if not name.isidentifier() or name in (*CANONICAL, *ALIASES, *names):
                continue
            if name != column.name:
                params["columns"][name] = str(column.name)
                reasons[f"columns.{name}"] = "a covariate, with a name that a formula can hold"
            names.append(name)
            design += more
    if names:
        formulas.append(f"score ~ prior_score + {' + '.join(names)} + school_mean(prior_score)")
        reasons["further_formulas"] += ", and with covariates"
        offered = "is offered as a covariate" if len(names) == 1 else "are offered as covariates"
        given = "it" if len(names) == 1 else "them"
        roles.unsure.append(
            f"further_formulas: {', '.join(map(quoted, names))} {offered}; whether a school should be"
            f" compared given {given} is yours to decide"
        )
    params["further_formulas"] = formulas


def _offered(roles: Roles, columns: Sequence[Column], school: Column | None, tests: Sequence[Column]) -> list[Column]:
    """The columns that may be covariates by what they hold."""
    return [
        c
        for c in roles.left(columns)
        if _can_be_covariate(c, school)
        and not _is_test(c, tests)
        and c not in roles.candidates.get("cohort", [])
        and not (c.code and c in roles.candidates.get("school", []) and "school" in roles.questions)
    ]


def _can_be_covariate(column: Column, school: Column | None) -> bool:
    """A number, or text of a few levels; nothing about a person's identity, and no code of a group of schools."""
    if column.distinct < 2 or column.missing > MOST_MISSING or column.has(*PRIVATE):
        return False
    if column.code and column.distinct > max(MOST_LEVELS, 0.9 * len(column.keys)):
        return False  # a code of the rows
    if column.distinct <= MOST_LEVELS:
        return True
    return column.numbers is not None and not (
        column.whole and school is not None and varies_within(column, school) < 0.5
    )


def _is_test(column: Column, tests: Sequence[Column]) -> bool:
    """Whether a column is another test by its name; given a later one, a school's effect would be hidden."""
    years = {word for test in tests for word in test.words if word.isdecimal()}
    return column.has(*SCORE, *PRIOR) or bool(set(column.words) & set(TESTED)) or not years.isdisjoint(column.words)


def _standard(column: Column) -> np.ndarray:
    """A column of numbers with mean 0 and SD 1, its missing values at the mean."""
    low, high = np.nanmin(column.numbers), np.nanmax(column.numbers)
    scaled = (column.numbers - low) / max(high - low, np.finfo(float).tiny)
    centred = np.nan_to_num(scaled - np.nanmean(scaled))
    return centred / (centred.std() or 1.0)


def _design(column: Column) -> list[np.ndarray]:
    """The columns of a design matrix that stand for a covariate: itself, or one for each level but the first."""
    if column.numbers is not None:
        return [_standard(column)]
    return [(column.keys == level).astype(float) for level in range(1, column.distinct)]


def _full_rank(design: Sequence[np.ndarray], cohorts: np.ndarray) -> bool:
    """Whether the columns and a constant are linearly independent in every cohort that has rows for it."""
    matrix = np.column_stack([np.ones(len(design[0])), *design])
    for cohort in np.unique(cohorts[cohorts >= 0]):
        rows = matrix[cohorts == cohort]
        if len(rows) >= FEWEST_ROWS and np.linalg.matrix_rank(rows.T @ rows / len(rows), tol=1e-6) < matrix.shape[1]:
            return False
    return True
