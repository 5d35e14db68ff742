"""A proposed study: which columns are which, which cohorts are judged against which, and the covariates on offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...errors import RecordsError
from ...records.reading import ALIASES, CANONICAL
from .columns import Column, describe, varies_within, words
from .roles import CALENDAR, COHORT, PRIOR, SCHOOL, SCORE, STUDENT, Roles, assign, quoted

SEVERAL = 3  # baseline cohorts at most
FEWEST_ROWS = 30  # of a cohort that is proposed
MOST_NAMED = 10  # cohorts in a sentence
MOST_COVARIATES, MOST_LEVELS, MOST_MISSING = 5, 12, 0.05
PRIVATE = (
    "name",
    "surname",
    "forename",
    "address",
    "email",
    "mail",
    "phone",
    "postcode",
    "zip",
    "birth",
    "dob",
    "date",
    "id",
    "code",
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What `propose` makes of a table.

    Attributes
    ----------
    params : parameter -> value, for those that are proposed. reasons : why; a column's under "columns.student".
    missing : column that was not found -> names of those that could be meant.
    unsure : sentences on what should be looked at.
    """

    params: Mapping[str, Any]
    reasons: Mapping[str, str]
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()


def propose(frame: pd.DataFrame, name: str = "the DataFrame") -> Proposal:
    """Propose a study for a table, by the names of its columns and by what they hold.

    No value of a column other than cohorts gets into the proposal.

    Raises
    ------
    RecordsError
        If there are no rows, or the table seems to have no header.
    """
    if frame.empty:
        raise RecordsError(f"{name}: holds no rows.")
    columns = [describe(column, frame.iloc[:, k]) for k, column in enumerate(frame.columns)]
    meant = any(c.has(*STUDENT, *SCHOOL, *COHORT, *PRIOR, *SCORE) for c in columns)
    if sum(map(_is_number, frame.columns)) > (len(columns) / 2 if meant else 0):
        raise RecordsError(f"{name}: the first row holds numbers where names of columns are expected; add a header.")
    roles = assign(columns)
    params: dict[str, Any] = {"columns": _mapping(roles, columns)}
    reasons = {f"columns.{role}": reason for role, reason in roles.reasons.items()}
    _cohorts(roles, params, reasons)
    params["formula"] = "score ~ prior_score"
    reasons["formula"] = "the prior score alone; school_mean(x) is the mean of x over a school's students in a cohort"
    _covariates(roles, columns, params, reasons)
    params["min_students"] = 5
    reasons["min_students"] = "a school with fewer students in a cohort is never shown by name"
    missing = {
        role: tuple(str(c.name) for c in roles.candidates.get(role, []))
        for role in CANONICAL
        if role not in roles.found and role != "cohort"
    }
    unsure = [f"{role}: not found; fill it in" for role in missing] + roles.unsure
    if not {"score", "prior_score"} <= set(roles.found):
        unsure += [
            f"{quoted(c.name)}: {c.odd:,} of its values are text, the others are numbers; if it is a test, leave"
            " these blank"
            for c in roles.left(columns)
            if c.odd
        ]
    return Proposal(params, reasons, missing, tuple(unsure))


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
    complete = np.logical_and.reduce([c.keys >= 0 for c in roles.found.values()]) if roles.found else np.ones(1, bool)
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
    for column in (
        c
        for c in roles.left(columns)
        if _can_be_covariate(c, school) and not _is_test(c, tests) and c not in roles.candidates.get("cohort", [])
    ):
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


def _can_be_covariate(column: Column, school: Column | None) -> bool:
    """A number, or text of a few levels; nothing about a person's identity, and no code of a group of schools."""
    if column.distinct < 2 or column.missing > MOST_MISSING or column.has(*PRIVATE):
        return False
    if column.distinct <= MOST_LEVELS:
        return True
    return column.numbers is not None and not (
        column.whole and school is not None and varies_within(column, school) < 0.5
    )


def _is_test(column: Column, tests: Sequence[Column]) -> bool:
    """Whether a column is another test by its name; given a later one, a school's effect would be hidden."""
    years = {word for test in tests for word in test.words if word.isdecimal()}
    return column.has(*SCORE, *PRIOR) or not years.isdisjoint(column.words)


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
