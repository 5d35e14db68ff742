"""The studies that a table holds: a row a student, year and subject; a column a year; a pair of tests a subject; stages."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...records.long import GRADE
from .columns import CALENDAR, Column, describe, words
from .roles import COHORT, NOT_COHORT, NOT_SCHOOL, NOT_STUDENT, SCHOOL, SCORE, STUDENT, SUBJECT, TESTED, Tests, is_test

FEWEST = 30  # rows of a study
LINKED = 0.3  # of a grade's rows, where the earlier year is in the records
FARTHEST = 4  # years between two tests
MOST_SUBJECTS, MOST_GRADES, MOST_STUDIES = 12, 15, 60
_LONG_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
_SHORT_YEAR = re.compile(r"(?<=[A-Za-z_.])([0-3]\d)$")
_STAGE = re.compile(r"^(.*[A-Za-z_.])(k|K|\d{1,2})$")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One study.

    Attributes
    ----------
    told : what of: "reading, grade 5". frame : its rows, with the columns that its parameters make.
    roles : this library's name -> column of the frame. reasons : why, by this library's name.
    params : what is to be written besides columns: where, prior, reshape. aside : columns that are no covariates.
    questions : parameter -> what is to be asked.
    """

    told: str
    frame: pd.DataFrame
    roles: Mapping[str, str]
    reasons: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    aside: frozenset[str] = frozenset()
    questions: Mapping[str, str] = field(default_factory=dict)


def tables(frame: pd.DataFrame, columns: Sequence[Column]) -> list[Table]:
    """The studies that are sure by the names and the shape of the table; none where it has a row a student and two tests."""
    if any("_".join(c.words) == "prior_score" for c in columns):
        return []
    for find in (_pairs, _long, _wide, _stages):
        if found := list(itertools.islice(find(frame, columns), MOST_STUDIES)):
            return found
    return []


def _pairs(frame: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """langPRET and langPOST, math_lag1 and math: the same words but for those that say before and after."""
    tests = [(c, *Tests.of(c)) for c in columns if is_test(c)]
    pairs: dict[tuple[str, ...], tuple[Column, Column]] = {}
    for prior, stem, when in sorted(tests, key=lambda test: test[2]):
        same = [(c, w) for c, s, w in tests if s == stem and w >= 0]
        if when < 0 and same:  # the later of two; of several lags, the shortest
            pairs[stem] = (max(same, key=lambda pair: pair[1])[0], prior)
    other = {id(c) for c, stem, when in tests if stem in pairs or when or c.has(*SUBJECT)}
    aside = frozenset(str(c.name) for c in columns if set(c.words) & set(TESTED) or id(c) in other)
    for stem, (score, prior) in pairs.items():
        roles = {"score": str(score.name), "prior_score": str(prior.name)}
        reasons = {"score": "by its name", "prior_score": "by its name: the same test before"}
        told = " ".join(stem) if len(pairs) > 1 or set(stem) & set(SUBJECT) else ""
        yield from _by_grade(Table(told, frame, roles, reasons, aside=aside), columns, score.numbers + prior.numbers)


def _by_grade(table: Table, columns: Sequence[Column], told: np.ndarray) -> Iterator[Table]:
    """The study of each grade that has rows enough with both tests; the study as it is where there are no grades."""
    grade = _grade(columns)
    values = [] if grade is None else _levels(grade, np.isfinite(told), table.frame)
    if len(values) < 2:
        yield table
        return
    for value, rows in values:
        yield Table(
            _joined(table.told, f"grade {value}"),
            table.frame[rows],
            table.roles,
            table.reasons,
            {**table.params, "where": f"{term(grade.name)} == {literal(value)}"},
            table.aside | {str(grade.name)},
            table.questions,
        )


def _levels(column: Column, told: np.ndarray, frame: pd.DataFrame) -> list[tuple[object, np.ndarray]]:
    """The values of a column that rows enough have, among those that are told, with a mask of all their rows."""
    values = frame[column.name]
    counts = values[told].value_counts()
    kept = sorted((v for v, n in counts.items() if n >= FEWEST), key=lambda v: (isinstance(v, str), v))
    return [(_whole(v), (values == v).to_numpy(dtype=bool, na_value=False)) for v in kept]


def _whole(value: object) -> object:
    if isinstance(value, (float, np.floating)) and value == int(value):
        return int(value)
    return value.item() if isinstance(value, np.generic) else value


def _grade(columns: Sequence[Column]) -> Column | None:
    fit = [
        c for c in columns if set(c.words) & set(GRADE) and c.distinct <= MOST_GRADES and not c.has(*SCHOOL, *TESTED)
    ]
    return fit[0] if fit else None


def _year(columns: Sequence[Column]) -> tuple[Column, np.ndarray] | None:
    """The column of years, and the years: whole, or from a zero that the records do not say, such as -2.5."""
    for column in columns:
        if column.has(*COHORT) and not column.has(*NOT_COHORT, *SCHOOL) and column.numbers is not None:
            steps = column.numbers - np.nanmin(column.numbers)
            if 2 <= column.distinct <= 60 and np.nanmax(np.abs(steps - np.round(steps))) < 1e-9:
                return column, column.numbers
    return None


def _student(columns: Sequence[Column], rows: int) -> Column | None:
    fit = [c for c in columns if c.code and rows / 30 < c.distinct < rows and not c.has(*NOT_STUDENT)]
    named = [c for c in fit if c.has(*STUDENT)]
    named = named or [
        c for c in fit if {"id", "code", "number"} & set(c.words) and not c.has(*SCHOOL, "district", "teacher")
    ]
    return max(named, key=lambda c: c.distinct, default=None)


def _subject(columns: Sequence[Column], student: Column, years: np.ndarray) -> Column | None:
    """The column of subjects: without it a student has several rows a year."""
    keys = pd.DataFrame({"student": student.keys, "year": years})
    if keys.duplicated().mean() < 0.1:
        return None
    fit = [
        c for c in columns if 2 <= c.distinct <= MOST_SUBJECTS and c is not student and not set(c.words) & set(GRADE)
    ]
    apart = [c for c in fit if keys.assign(subject=c.keys).duplicated().mean() < 0.02]
    return next((c for c in apart if c.has("subject", "content", "area", "domain", "vak", "fach", "test")), None) or (
        apart[0] if len(apart) == 1 else None
    )


def _long(frame: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """A row a student and year, perhaps a subject: last year's row has the prior score."""
    student, year = _student(columns, len(frame)), _year(columns)
    if student is None or year is None:
        return
    year, years = year
    if pd.Series(years).groupby(student.keys).nunique().gt(1).mean() < 0.2:
        return
    subject, grade = _subject(columns, student, years), _grade(columns)
    tests = [c for c in columns if is_test(c) and c not in (student, year, subject, grade)]
    scores = [c for c in tests if c.has(*SUBJECT)] or sorted(
        (c for c in tests if c.has(*SCORE)), key=lambda c: (not c.has("scale", "scaled"), -c.distinct)
    )
    if not scores:
        return
    rows = frame.assign(**{str(year.name): years + (_zero(years) or 0.0)})
    asked = {}
    if _zero(years) is not None:
        first, last = f"{np.nanmin(years):g}", f"{np.nanmax(years):g}"
        asked["year_zero"] = (
            f"which calendar year is 0 in {year.name}, which runs from {first} to {last}? A number such as"
            f" {2000 - _part(years):g}, which makes every year whole"
        )
    aside = frozenset(str(c.name) for c in [*tests, subject, grade] if c is not None)
    several = [] if subject is None else _levels(subject, np.ones(len(frame), bool), frame)
    for score in scores if subject is None and scores[0].has(*SUBJECT) else scores[:1]:
        for value, mask in several or [("", np.ones(len(frame), bool))]:
            told = str(value) or (" ".join(score.words) if len(scores) > 1 or score.has(*SUBJECT) else "")
            part = _Part(student, year, score, subject, grade, value, mask, told.lower(), aside, asked)
            yield from _linked(rows, years, part)


def _part(years: np.ndarray) -> float:
    return float(np.nanmin(years) - np.floor(np.nanmin(years)))


def _zero(years: np.ndarray) -> float | None:
    """What makes the years whole and positive, if they are no calendar years."""
    if np.nanmin(years) >= CALENDAR[0] and not _part(years):
        return None
    return float(2000 - _part(years))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    student: Column
    year: Column
    score: Column
    subject: Column | None
    grade: Column | None
    value: object
    mask: np.ndarray
    told: str
    aside: frozenset[str]
    asked: Mapping[str, str]


def _earlier(years: np.ndarray, part: _Part) -> tuple[float, int, np.ndarray]:
    """The fewest years back by which students are linked: the share that is, the years, the earlier scores."""
    keys = pd.DataFrame({"student": part.student.keys, "year": years, "score": part.score.numbers})
    own = keys[part.mask & keys["score"].notna() & (keys["student"] >= 0)]
    earlier = own.drop_duplicates(["student", "year"]).set_index(["student", "year"])["score"]
    best = (0.0, 1, np.full(len(years), np.nan))
    for gap in range(1, FARTHEST + 1):
        prior = earlier.reindex(pd.MultiIndex.from_arrays([keys["student"], keys["year"] - gap])).to_numpy()
        within = part.mask & keys["year"].sub(gap).isin(own["year"]).to_numpy()
        share = float(np.isfinite(prior[within]).mean()) if within.any() else 0.0
        if share > 2 * best[0]:
            best = (share, gap, prior)
    return best


def _linked(rows: pd.DataFrame, years: np.ndarray, part: _Part) -> Iterator[Table]:
    """A study of each grade of a subject, its students linked to their rows of some years before."""
    share, gap, prior = _earlier(years, part)
    prior = np.where(part.mask, prior, np.nan)
    if share < 0.05:
        return
    table = Table(
        part.told,
        rows.assign(prior_score=prior)[part.mask],
        {role: str(c.name) for role, c in (("student", part.student), ("cohort", part.year), ("score", part.score))}
        | {"prior_score": "prior_score"},
        {
            "student": "by its name; in several years",
            "cohort": "by its name; a student has a row for each",
            "score": "by its name",
            "prior_score": f"made by prior: the student's row {gap} year{'s' * (gap > 1)} before",
        },
        {
            "prior": {"years_before": gap, "column": "score"}
            | ({"match": [str(part.subject.name)]} if part.subject else {})
        },
        part.aside,
        part.asked,
    )
    base = [] if part.subject is None else [f"{term(part.subject.name)} == {literal(part.value)}"]
    told = np.isfinite(prior) & np.isfinite(part.score.numbers) & part.mask
    grades = [] if part.grade is None else _levels(part.grade, told, rows)
    grades = [(g, m) for g, m in grades if told[m & part.mask].mean() >= LINKED / 2]
    for value, mask in grades or [(None, part.mask)]:
        where = [*base, *([] if value is None else [f"{term(part.grade.name)} == {literal(value)}"])]
        yield Table(
            _joined(part.told, "" if value is None else f"grade {value}"),
            rows.assign(prior_score=prior)[mask & part.mask],
            table.roles,
            table.reasons,
            {**({"where": " and ".join(where)} if where else {}), **table.params},
            table.aside,
            table.questions,
        )


def _wide(frame: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """A column for each year: read_2019, read_2021."""
    if _year(columns) is not None:
        return
    stems = _by_year(columns)
    tests = {stem: own for stem, own in stems.items() if sum(is_test(c) for c in own.values()) >= 2}
    schools = {s: own for s, own in stems.items() if any(c.has(*SCHOOL) and c.code for c in own.values())}
    grades = {s: own for s, own in stems.items() if any(set(c.words) & set(GRADE) for c in own.values())}
    used = {str(c.name) for own in stems.values() for c in own.values()}
    tests = {s: own for s, own in tests.items() if s not in schools and s not in grades}
    named = {s: own for s, own in tests.items() if any(c.has(*SUBJECT, *SCORE, "ss") for c in own.values())}
    for stem, own in (named or tests).items():
        gap = max(range(1, FARTHEST + 1), key=lambda k: (sum(t - k in own for t in own), -k))
        cohorts = sorted(t for t in own if t - gap in own)
        if not cohorts:
            continue
        parts = {"score": (stem, own, 0), "prior_score": (stem, own, gap)}
        for role, others in (("school", schools), ("grade", grades)):
            fit = [(s, o, 0) for s, o in others.items() if set(cohorts) <= set(o)]
            parts |= {role: fit[0]} if fit else {}
        yield from _stacked(frame, parts, cohorts, used, len(named or tests) > 1)


def _by_year(columns: Sequence[Column]) -> dict[str, dict[int, Column]]:
    """Columns whose names differ in the year alone: name with {cohort} or {yy} in it -> year -> column."""
    for pattern, mark in ((_LONG_YEAR, "{cohort}"), (_SHORT_YEAR, "{yy}")):
        stems: dict[str, dict[int, Column]] = {}
        for column in columns:
            found = pattern.search(str(column.name))
            if found and not set("{}") & set(str(column.name)):
                year = int(found[1]) + (0 if mark == "{cohort}" else 2000)
                stems.setdefault(pattern.sub(mark, str(column.name), count=1), {})[year] = column
        stems = {stem: own for stem, own in stems.items() if len(own) > 1}
        if len(stems) >= (1 if mark == "{cohort}" else 2):
            return stems
    return {}


def _stacked(
    frame: pd.DataFrame,
    parts: Mapping[str, tuple[str, Mapping[int, Column], int]],
    cohorts: list[int],
    used: set[str],
    several: bool,
) -> Iterator[Table]:
    rest = [name for name in frame.columns if str(name) not in used]
    long = pd.concat(
        [
            frame[rest].assign(
                cohort=t, **{role: frame[own[t - back].name].to_numpy() for role, (_, own, back) in parts.items()}
            )
            for t in cohorts
        ],
        ignore_index=True,
    )
    marks = {
        role: re.sub(r"\{(cohort|yy)\}", lambda m, back=back: f"{{{m[1]}{f'-{back}' if back else ''}}}", stem)
        for role, (stem, _, back) in parts.items()
    }
    made = {role: f"made by reshape: {mark}" for role, mark in marks.items()} | {"cohort": "made by reshape"}
    stem = parts["score"][0]
    bare = " ".join(words(re.sub(r"\{(cohort|yy)\}", "", stem)))
    table = Table(
        bare if several or set(bare.split()) & set(SUBJECT) else "",
        long,
        {role: role for role in ("cohort", *parts) if role != "grade"},
        made,
        {"reshape": {"cohort": cohorts, "columns": marks}},
        frozenset({"grade"}),
    )
    grade = [describe("grade", long["grade"])] if "grade" in long else []
    numbers = pd.to_numeric(long["score"], errors="coerce") + pd.to_numeric(long["prior_score"], errors="coerce")
    yield from _by_grade(table, grade, numbers.to_numpy(dtype=float))


def _stages(frame: pd.DataFrame, columns: Sequence[Column]) -> Iterator[Table]:
    """schoolidk .. schoolid3 with readk .. read3: each test goes with the school of its own stage."""
    stems: dict[str, dict[int, Column]] = {}
    for column in columns:
        if found := _STAGE.match(str(column.name)):
            stage = 0 if found[2] in "kK" else int(found[2])
            stems.setdefault(found[1], {})[stage] = column
    stems = {stem: own for stem, own in stems.items() if len(own) > 1}
    schools = [
        own for own in stems.values() if all(c.code and c.has(*SCHOOL) and not c.has(*NOT_SCHOOL) for c in own.values())
    ]
    if not schools:
        return
    school = max(schools, key=lambda own: sum(c.distinct for c in own.values()))
    tests = {s: own for s, own in stems.items() if all(is_test(c) for c in own.values()) and own is not school}
    tests = {s: own for s, own in tests.items() if any(c.has(*SUBJECT, *SCORE) for c in own.values())}
    aside = {str(c.name) for own in stems.values() for c in own.values()}
    for stem, own in tests.items():
        for before, after in itertools.pairwise(sorted(own)):
            if after in school:
                yield Table(
                    f"{' '.join(words(stem)) or stem}, stage {after}",
                    frame,
                    {
                        "school": str(school[after].name),
                        "score": str(own[after].name),
                        "prior_score": str(own[before].name),
                    },
                    {
                        "school": "by its name; of the stage in which the outcome test was sat",
                        "score": "by its name",
                        "prior_score": "by its name: the same test one stage before",
                    },
                    aside=frozenset(aside - {str(school[after].name), str(own[after].name), str(own[before].name)}),
                )


def term(name: object) -> str:
    """A column's name as a condition holds it."""
    return str(name) if str(name).isidentifier() else f"`{name}`"


def literal(value: object) -> str:
    """A value as a condition holds it."""
    return str(value) if isinstance(value, (int, float)) else repr(str(value))


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
