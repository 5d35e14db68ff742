"""Which column is which: by name first, then by what its values can be. Each choice comes with its reason."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...records.long import GRADE
from .columns import CALENDAR, Column, correlation, distinct_within, same_but_for_a_number, scalar, varies_within

# Words of names in English, German, French, Spanish, Italian, Portuguese, Dutch and the languages of the North.
STUDENT = tuple(
    """
    student pupil child learner candidate upn stuid studid stud schueler schuler eleve alumno alumna estudiante
    aluno alunno studente leerling elev oppilas
    """.split()
)
SCHOOL = tuple(
    """
    school centre center institution campus urn schul ecole etab escuela colegio centro escola scuola skola skole
    koulu
    """.split()
)
COHORT = ("cohort", "kohorte", "cohorte", "coorte", "year", "jahr", "annee", "ano", "anno", "jaar", "aar", "vuosi")
PRIOR = tuple(
    """
    prior pre pretest previous before intake entry lag lagged initial earlier vorher vortest vorige anterior previo
    previa avant initiale precedente
    """.split()
)
SCORE = tuple(
    """
    score outcome post posttest result final exam test mark points attainment achievement attain ergebnis punkte
    note nota resultat resultado puntaje risultato uitslag poang
    """.split()
)
SUBJECT = tuple(
    """
    math maths mathematics mathe mat algebra arit arithmetic numeracy rekenen reken calcul read reading lezen lesen
    lecture lectura lang language taal ela english literacy writing spelling science deutsch francais lengua vocab
    verbal
    """.split()
)
STAGES = ("primary", "secondary", "second", "elementary", "middle", "high", "kindergarten")  # kinds of schools
POST = ("post", "posttest", "postt")
BEFORE = (*("pret", "pretests", "lastyear", "prev"), *PRIOR)
# What is written beside a test's score and is none: its error of measurement, its level, a difference of two.
TESTED = (
    *("csem", "sem", "se", "stderr", "error", "sd", "variance", "level", "percentile", "pctl", "sgp"),
    *("diff", "difference", "growth", "gain"),
)
# What makes a name mean something about a school, a year or a person rather than the thing itself.
NOT_SCHOOL = tuple(
    """
    district type mean avg average size gender phase sector status year district jahr form schulart annee ano anno
    """.split()
)
NOT_COHORT = ("birth", "born", "dob", "level", "grade", "group", "entry", "score", "geburt", "naissance")
NOT_STUDENT = ("age", "gender", "sex", "count", "name", "ratio")
LABELS = ("name", "label", "title")
FEWEST_VALUES = 5  # of a score
SAME = 0.98  # two columns that correlate by this are two ways of writing one test
MOST_COHORTS = 60


class Tests:
    """When a test was sat, by its name."""

    @staticmethod
    def of(column: Column) -> tuple[tuple[str, ...], int]:
        """The words without those that say when, and when: below 0 before (two lags -2), 1 where it says after, else 0."""
        stem: list[str] = []
        when = 0
        for word in column.words:
            tag = next((t for t in (*BEFORE, *POST) if word == t or (len(t) >= 4 and word.endswith(t))), None)
            if tag is not None:
                when = 1 if tag in POST else -1
                stem += [word.removesuffix(tag)] * (word != tag)
            elif word.isdecimal() and when < 0:
                when = -int(word)
            else:
                stem.append(word)
        return tuple(stem), when


def is_test(column: Column) -> bool:
    """Whether a column may hold a test's score: numbers that are no grades, codes or errors of measurement."""
    words = set(column.words)
    named = words & {*SUBJECT, *SCORE}
    return (
        column.numbers is not None
        and column.distinct >= FEWEST_VALUES
        and not words & {*TESTED, "id", "code", "age", "number", "nr"}
        and (named or not words & {*GRADE, *COHORT})
        and not words & set(STAGES)
        and not column.has(*SCHOOL, *STUDENT)
    )


@dataclass(slots=True)
class Roles:
    """What was found: this library's name -> column, why, what else could be meant, and doubts as sentences."""

    found: dict[str, Column] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, list[Column]] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    questions: dict[str, str] = field(default_factory=dict)

    def ask(self, role: str, question: str, choices: Sequence[Column]) -> None:
        """Leave a role to be told by who knows the records."""
        self.candidates[role] = list(choices)
        self.questions[role] = f"{question} One of: {', '.join(quoted(c.name) for c in choices)}"

    def take(self, role: str, column: Column, reason: str, doubt: str | None = None) -> None:
        """Give a column a role; a doubt is a sentence that begins after the column's name."""
        self.found[role], self.reasons[role] = column, reason
        if doubt:
            self.unsure.append(f"{role} = {quoted(column.name)}: {doubt}")

    def left(self, columns: Sequence[Column]) -> list[Column]:
        """The columns without a role."""
        taken = {id(column) for column in self.found.values()}
        return [column for column in columns if id(column) not in taken]


def quoted(name: object) -> str:
    """A column's name as YAML writes it on one line."""
    return scalar(str(name))


def assign(
    columns: Sequence[Column], sure: Mapping[str, str] | None = None, why: Mapping[str, str] | None = None
) -> Roles:
    """Find cohort, school, student, score and prior score among the columns.

    sure : this library's name -> column, for those that the shape of the table has told, and why.
    """
    roles = Roles()
    for role, name in (sure or {}).items():
        roles.take(role, next(c for c in columns if str(c.name) == name), (why or {}).get(role, "the name says so"))
    for role in ("student", "school", "cohort", "score", "prior_score"):
        exact = [c for c in columns if "_".join(c.words) in (role, *_ALIASES.get(role, ()))]
        if role not in roles.found and len(exact) == 1 and _FITS[role](exact[0]):
            roles.take(role, exact[0], "the name says so")
    _find_cohort(roles, columns)
    _find_school(roles, columns)
    _find_student(roles, columns)
    _find_scores(roles, columns)
    return roles


_ALIASES = {"student": ("student_id",), "school": ("school_id",), "cohort": ("year",)}
_FITS = {
    "student": lambda c: c.code and c.distinct > 1,
    "school": lambda c: c.code and c.distinct > 1,
    "cohort": lambda c: c.whole and c.distinct <= MOST_COHORTS,
    "score": lambda c: c.numbers is not None and c.distinct > 1,
    "prior_score": lambda c: c.numbers is not None and c.distinct > 1,
}


def _find_cohort(roles: Roles, columns: Sequence[Column]) -> None:
    if "cohort" not in roles.found:
        fit = [c for c in roles.left(columns) if _FITS["cohort"](c) and not c.has(*NOT_COHORT)]
        named = [c for c in fit if c.has(*COHORT)]
        years = [c for c in fit if _calendar(c)]
        best = [c for c in named if c in years] or years or [c for c in named if not any(map(str.isdecimal, c.words))]
        roles.candidates["cohort"] = [c for c in columns if c.has(*COHORT)]
        if not best:
            told = ", ".join(quoted(c.name) for c in roles.candidates["cohort"] if not c.whole)
            hint = f"; {told} would have to hold whole numbers such as 2024" if told else ""
            roles.unsure.append(f"cohort: no column holds years, so all students are taken as one cohort, 0{hint}")
            return
        how = "whole years, few of them" if best[0] in years else "the name says so"
        others = ", ".join(quoted(c.name) for c in best[1:])
        doubt = f"{others} would do as well" if others else None if best[0] in named else "only its values say so"
        roles.take("cohort", best[0], how, doubt)
    cohort = roles.found["cohort"]
    if not _calendar(cohort):
        roles.unsure.append(f"cohort = {quoted(cohort.name)}: its values are not calendar years")


def _calendar(column: Column) -> bool:
    told = column.numbers[~np.isnan(column.numbers)] if column.whole else np.empty(0)
    return bool(len(told) and CALENDAR[0] <= told.min() and told.max() <= CALENDAR[1])


def _cohorts(roles: Roles, rows: int) -> np.ndarray:
    return roles.found["cohort"].keys if "cohort" in roles.found else np.zeros(rows, dtype=int)


def _find_school(roles: Roles, columns: Sequence[Column]) -> None:
    if "school" in roles.found or not columns:
        return
    rows = len(columns[0].keys)
    fit = [c for c in roles.left(columns) if c.code and 2 <= c.distinct <= rows / 2]
    named = [c for c in fit if c.has(*SCHOOL) and not c.has(*NOT_SCHOOL, *STUDENT)]
    named.sort(key=lambda c: (c.has(*LABELS), -c.distinct))  # a code before a name
    roles.candidates["school"] = named or fit
    if len([c for c in named if set(c.words) & set(STAGES)]) > 1:
        roles.ask("school", "which column holds the school in which the outcome test was sat?", named)
        return
    if named:
        others = [c for c in named[1:] if not c.has(*LABELS)]
        doubt = f"{', '.join(quoted(c.name) for c in others)} would do as well" if others else None
        roles.take("school", named[0], "by its name; many students each", doubt)
        return
    stages = [c for c in fit if set(c.words) & set(STAGES) and c.distinct >= 10]
    if stages:
        question = "which column holds the school in which the outcome test was sat?"
        roles.ask("school", question, stages)
        return
    groups = [
        c
        for c in fit
        if c.distinct >= 10 and rows / c.distinct >= 5 and c.numbers is None and not c.has(*STUDENT, *LABELS)
    ]
    if len(groups) == 1:
        roles.take("school", groups[0], "the only text with many students each", "only its values say so")


def _find_student(roles: Roles, columns: Sequence[Column]) -> None:
    if not columns:
        return
    cohorts = _cohorts(roles, len(columns[0].keys))
    if "student" not in roles.found:
        fit = [c for c in roles.left(columns) if c.code and c.distinct > 1 and not c.has(*NOT_STUDENT)]
        unique = [c for c in fit if c.missing < 0.05 and distinct_within(c, cohorts) > 0.95]
        named = [c for c in fit if c.has(*STUDENT)]
        best = [c for c in named if c in unique] or named
        roles.candidates["student"] = best or unique
        if best:
            others = ", ".join(quoted(c.name) for c in best[1:])
            roles.take("student", best[0], "by its name", f"{others} would do as well" if others else None)
        elif len(codes := [c for c in unique if c.numbers is None or c.has("id", "code", "number", "nr", "no")]) == 1:
            roles.take("student", codes[0], "nearly every value is distinct within a cohort", "only its values say so")
    if (column := roles.found.get("student")) is not None:
        share = distinct_within(column, cohorts)
        if share > 0.95 and "nearly" not in roles.reasons["student"]:
            roles.reasons["student"] += "; nearly every value is distinct within a cohort"
        elif share <= 0.95:
            roles.unsure.append(
                f"student = {quoted(column.name)}: only {share:.0%} of its values are distinct within a"
                " cohort; perhaps codes are given within schools"
            )


def _find_scores(roles: Roles, columns: Sequence[Column]) -> None:
    school = roles.found.get("school")
    pool = [
        c
        for c in roles.left(columns)
        if is_test(c)
        and c.missing < 0.9
        and (school is None or varies_within(c, school) > 0.5)
        and not c.has("id", "code", *STUDENT)
    ]
    roles.candidates["score"] = roles.candidates["prior_score"] = pool
    score, prior = roles.found.get("score"), roles.found.get("prior_score")
    if score is None and prior is None:
        _find_pair(roles, pool)
    elif prior is None:
        _find_other(roles, "prior_score", score, [c for c in pool if c.has(*PRIOR)] or pool)
    elif score is None:
        _find_other(roles, "score", prior, [c for c in pool if c.has(*SCORE) and not c.has(*PRIOR)] or pool)
    if {"score", "prior_score"} <= set(roles.found):
        strength = correlation(roles.found["score"], roles.found["prior_score"])
        if strength < 0.3:
            roles.unsure.append(f"score and prior_score: they correlate by {strength:.2f} only")


def _find_pair(roles: Roles, pool: Sequence[Column]) -> None:
    """Score and prior score: the number in the name, then words for before and after, then the correlation."""
    before = [c for c in pool if c.has(*PRIOR)]
    after = [c for c in pool if c.has(*SCORE) and c not in before]
    numbered = [
        (a, b)
        for a, b in itertools.permutations(pool, 2)
        if (pair := same_but_for_a_number(a, b)) and pair[0] > pair[1]
    ]
    if before and (after or len(pool) > 1):
        rest = after or [c for c in pool if c not in before]
        pairs = [(a, b) for a in rest for b in before]
        score, prior = max(pairs, key=lambda p: (len(set(p[0].words) & set(p[1].words)), correlation(*p)))
        told = f"; also possible: {_others(pool, score, prior)}" if len(pool) > 2 else ""
        roles.take("score", score, "by its name", f"chosen among several{told}" if len(rest) > 1 else None)
        roles.take(
            "prior_score", prior, "by its name: before", f"chosen among several{told}" if len(before) > 1 else None
        )
    elif numbered:
        last = max(same_but_for_a_number(a, b) for a, b in numbered)[0]
        score, prior = max(
            (p for p in numbered if same_but_for_a_number(*p)[0] == last), key=lambda p: same_but_for_a_number(*p)[1]
        )
        others = _others([c for c in pool if any(c in pair for pair in numbered)], score, prior)
        several = f"also possible: {others}" if others else None
        roles.take("score", score, "named like the prior score, with the higher number", several)
        roles.take("prior_score", prior, "named like the score, with the lower number")
    elif after:
        named = sorted(after, key=lambda c: pool.index(c))
        others = _others(pool, named[0])
        roles.take(
            "score",
            named[0],
            "by its name",
            f"also possible: {others}; see that it is the later test" if others else None,
        )
        _find_other(roles, "prior_score", named[0], [c for c in pool if c is not named[0]])


def _others(pool: Sequence[Column], *taken: Column) -> str:
    return ", ".join(quoted(c.name) for c in pool if c not in taken)


def _find_other(roles: Roles, role: str, known: Column, pool: Sequence[Column]) -> None:
    """The column that correlates most with the score that is known."""
    strength = {id(c): correlation(known, c) for c in pool if c is not known}
    pool = [c for c in pool if 0.3 <= strength.get(id(c), 0.0) and (c.has(*PRIOR) or strength[id(c)] < SAME)]
    best = max(pool, key=lambda c: strength[id(c)], default=None)
    if best is None:
        return
    hints = PRIOR if role == "prior_score" else SCORE
    pair = same_but_for_a_number(best, known)
    sure = best.has(*hints) or (pair is not None and (pair[0] < pair[1]) == (role == "prior_score"))
    if not sure and len(pool) > 1:
        when = "the test before" if role == "prior_score" else "the outcome test"
        roles.ask(role, f"which column holds the score of {when}?", sorted(pool, key=lambda c: -strength[id(c)]))
        return
    roles.take(
        role,
        best,
        "by its name" if sure else f"it correlates most with {quoted(known.name)}",
        None if sure else "only its correlation says so",
    )
