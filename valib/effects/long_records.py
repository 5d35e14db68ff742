"""What would mislead in long records: grades or subjects that share a regression, and prior scores that join found amiss.

The sentences are told by `valib check` and by the fits alike; see :mod:`valib.effects.findings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..names import by_cohort, percent, readable
from ..records.long import grade_column, subject_column
from ..records.prior import OUTCOMES
from ..sums.design import required_columns
from ..sums.students import Records, levels_of
from .findings import Finding

# Students who repeat or skip a grade are a per cent or two of a cohort, at most five.
MIXED = 0.05  # of a cohort's rows outside its largest grade or subject
AMBIGUOUS = 0.01  # of a cohort's rows that have two earlier rows
SHOWN, FEW = 6, 0.01  # grades or subjects of a cohort, the largest first; of a smaller share none is named
SHORT, LONGEST = 20, 120  # characters of one, and of an expression


def of_long(records: Records, cohorts: Iterable[int], formula: str) -> list[Finding | None]:
    """What long records give rise to in some cohorts under a formula: :func:`mixed` and :func:`of_linkage`."""
    cohorts = sorted({int(t) for t in cohorts})
    linkage = records.attrs.get("prior")
    return [*mixed(records, cohorts, formula), *of_linkage(linkage, cohorts)]


def mixed(records: Records, cohorts: Sequence[int], formula: str) -> list[Finding | None]:
    """Cohorts in which a column of grades or subjects, by its name, has several values and the formula does not have it."""
    names = records.columns
    used = set(required_columns(formula))
    return [
        _mixed(code, what, name, levels_of(records, cohorts, name))
        for code, what, name in (
            ("mixed_grades", "grade", grade_column(names)),
            ("mixed_subjects", "subject", subject_column(names)),
        )
        if name is not None and name not in used
    ]


def _mixed(code: str, what: str, name: str, levels: Mapping[int, Mapping[str, int]]) -> Finding | None:
    several = {t: rows for t, rows in levels.items() if 1 - max(rows.values()) / sum(rows.values()) > MIXED}
    if not several:
        return None
    told = by_cohort({t: _shares(rows) for t, rows in sorted(several.items())})
    first = max(levels, key=lambda t: sum(levels[t].values()))
    example = max(levels[first], key=lambda value: levels[first][value])
    value = example if example.lstrip("-").isdigit() else repr(readable(example, SHORT))
    shown = readable(name, SHORT)
    term = shown if name.isidentifier() else f"Q({shown!r})"
    text = (
        f"Students of several {what}s share one regression, by column {shown} ({told}): unless all sat one test, make one "
        f"study a {what}, as in where: {term} == {value}, or take C({term}) into the formula."
    )
    return Finding(code, tuple(sorted(several)), text)


def _shares(rows: Mapping[str, int]) -> str:
    """The largest parts in whole per cents, which tell of no single students."""
    total = sum(rows.values())
    large = [v for v in sorted(rows, key=lambda v: (-rows[v], v)) if rows[v] >= FEW * total][:SHOWN]
    told = [f"{readable(value, SHORT)} {rows[value] / total:.0%}" for value in large]
    return ", ".join([*told, *(["others"] if len(large) < len(rows) else [])])


def of_linkage(linkage: Mapping[str, Any] | None, cohorts: Sequence[int]) -> list[Finding | None]:
    """What the linkage of prior scores (``attrs["prior"]`` of records) gives rise to in some cohorts."""
    return [] if linkage is None else [_ambiguous(linkage, cohorts), _grade_steps(linkage, cohorts)]


def _ambiguous(linkage: Mapping[str, Any], cohorts: Sequence[int]) -> Finding | None:
    rows = {row["cohort"]: row for row in linkage["by_cohort"] if row["cohort"] in cohorts and None not in row.values()}
    shares = {t: row["ambiguous"] / max(sum(row[name] for name in OUTCOMES), 1) for t, row in rows.items()}
    many = {t: percent(share) for t, share in sorted(shares.items()) if share > AMBIGUOUS}
    if not many:
        return None
    text = (
        f"More than {AMBIGUOUS:.0%} of the rows have two or more earlier rows of their student, and so no prior score "
        f"({by_cohort(many)}): name in prior's match the column that tells them apart, or keep one row a student and year."
    )
    return Finding("ambiguous_prior", tuple(many), text)


def _grade_steps(linkage: Mapping[str, Any], cohorts: Sequence[int]) -> Finding | None:
    steps = [row for row in linkage.get("odd_steps", ()) if row["cohort"] in cohorts]
    odd = {row["cohort"]: row["odd"] / row["rows"] for row in steps}
    many = {t: percent(share) for t, share in sorted(odd.items()) if share > MIXED}
    if not many:
        return None
    step = linkage["grade_step"]
    below = "the same" if step == 0 else f"{step:g} below"
    text = (
        f"The grade of the earlier row is not {below} for more than {MIXED:.0%} of the linked rows ({by_cohort(many)}): their "
        "prior scores are of another test than the others', so see that years and grades count alike, and who repeats or "
        "skips a grade."
    )
    return Finding("grade_steps", tuple(many), text)


def other_rows(
    cohort: int, benchmark: Mapping[str, str], own: Mapping[str, str], what: str = "benchmark"
) -> Finding | None:
    """A cohort whose rows or prior scores are chosen otherwise than those of a kept benchmark, or of another fit (what);
    see :func:`valib.records.told.rows_chosen`."""
    said = []
    for name, none in (("where", "no expression"), ("prior", "a column of the records")):
        theirs, ours = (str(readable(told.get(name, none), LONGEST)) for told in (benchmark, own))
        if theirs != ours:
            said.append(f"{name}: {theirs} in the {what}, {ours} here")
    if not said:
        return None
    text = (
        f"The students of cohort {cohort} are chosen otherwise than those of the {what} ({'; '.join(said)}): like is compared "
        "with like only where both choices mean the same students and tests."
    )
    return Finding("other_rows", (int(cohort),), text)
