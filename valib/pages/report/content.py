"""What stands on a school's page, from top to bottom, for every form of it: headings, texts, lists, figures, tables.

Texts are spans, pairs of a kind ("text", "strong", "em", "code") and words: nothing in a name is markup to a template.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from ..figures.report import school_intake, school_place, school_va
from .page import SchoolPage, shown_name
from .words import percent

MARKS = re.compile(r"\\(?P<text>.)|\*\*(?P<strong>.+?)\*\*|\*(?P<em>[^*]+)\*|`(?P<code>[^`]+)`", re.DOTALL)

VA_ALT = "Two panels with the school's value added in each year as points with intervals around a line at zero."
VA = (
    "Value added with {level} intervals. Left: compared with the average school of the same year. Right: compared with what "
    "was typical in the baseline years; a short dash is the average school of that year. Blue triangles: the whole "
    "interval lies above zero; orange: below; grey circles: it holds zero."
)
PLACE_ALT = (
    "For each year a column of all places, with the school's expected place as a dot and its interval as a line."
)
PLACE = (
    "Expected place of the school (dot) with its {level} interval among the schools shown in the year (column), by the "
    "comparison with its year; 1 is the highest value added. Blue: the highest fifth of the schools; orange: the lowest."
)
PLACES = (
    "What is common to all schools of a year moves no place. Where the comparison with the baseline puts them in a clearly "
    "different order, results depend on earlier scores in another way than they did then."
)
INTAKE_ALT = (
    "Two panels with the mean and the spread of the prior scores of the school in each year, on bars of all schools."
)
INTAKE = (
    "Prior scores of the school's students: mean (left) and standard deviation (right). Dot: this school. Blue: the middle "
    "half of the schools; grey: nine in ten schools; line: the school in the middle."
)
CANNOT = (
    "**Why.** Value added is a difference that the records leave unexplained. Teaching may be behind it; so may students' "
    "homes, a change of intake that the prior score does not show, absence, or private lessons.",
    "**Who.** It is a figure of a school, of no teacher and of no student.",
    "**System or test.** A comparison with the baseline holds what changed for all schools: the whole school system, a new "
    "test, or an easier prior test. The records cannot tell these apart.",
    "**Chance.** {chance}",
    "**Small schools.** A small school has wide intervals, and its figures are drawn towards the average school, the more "
    "so the fewer its students. One that does very well or very badly looks nearer to the average than it is.",
    "**Places.** The order of two schools does not follow from their places where the intervals of these overlap. A "
    "single place should not be quoted, or compared from year to year.",
    "**The rest of schooling.** Only this one test is measured. Well-being, other subjects and later success are not in it.",
)
TABLES = {
    "value_added": "Value added in score points. Years with a star belong to the baseline. Side: where the interval lies to "
    "zero.",
    "place": "Places among the schools shown in each year by the comparison with their year, with the probability of the "
    "highest and of the lowest fifth; last, places by the comparison with the baseline.",
    "intake": "Students of the school who are counted, those tested (with a result), and the share of them that is counted; a "
    "dash where so few are missing that they could be told; prior scores, beside those of all students.",
    "analyst": "Standard errors of value added against its year and against the baseline, reliability, effect size (in SD "
    "of the year's scores), variance partition coefficient, and the shift of the average school with its interval.",
}


def content(page: SchoolPage) -> dict[str, Any]:
    """The title and the parts of a page, each a dictionary with its kind and what that needs (JSON)."""
    places, warned, chance = page.place_table(), page.warnings(), page.by_chance()
    parts = [
        _text(page.opening()),
        _text(page.about()),
        _heading("In short"),
        _list(page.in_short()),
        _text(page.about_change()),
        _heading("Value added over the years"),
        _figure(school_va(page.cells), VA_ALT, VA.format(level=percent(page.level))),
        _text(page.over_the_years()),
        _table("value_added", page.value_added_table()),
        _heading("Several years in one number"),
        _list(page.several_years()),
        _text(page.about_several_years()),
        _heading("The place among the schools"),
        _figure(school_place(page.cells), PLACE_ALT, PLACE.format(level=percent(page.level))),
        *([_text(PLACES), _table("place", places)] if len(places) else []),
        _heading("Its students"),
        _figure(school_intake(page.cells), INTAKE_ALT, INTAKE),
        _table("intake", page.intake_table()),
        _text(page.coverage()),
        _heading("What these figures cannot say"),
        _list([text.format(chance=chance) for text in CANNOT]),
        _heading("For the analyst"),
        _text(page.settings()),
        *([_text("Warnings when the models were fitted:"), _list(warned)] if warned else []),
        _table("analyst", page.analyst_table()),
    ]
    return {
        "title": f"Value added: {shown_name(page.school, page.study.get('names'))}",
        "parts": [part for part in parts if part],
    }


def spans(text: str) -> list[tuple[str, str]]:
    """A text with its marks (``**strong**``, ``*em*``, a formula in backticks, backslashes before what is no mark)."""
    found: list[tuple[str, str]] = []

    def add(kind: str, words: str) -> None:
        if words and found and found[-1][0] == kind == "text":
            found[-1] = ("text", found[-1][1] + words)
        elif words:
            found.append((kind, words))

    end = 0
    for mark in MARKS.finditer(text):
        add("text", text[end : mark.start()])
        add(mark.lastgroup or "text", mark[mark.lastgroup or 0])
        end = mark.end()
    add("text", text[end:])
    return found


def _heading(text: str) -> dict[str, Any]:
    return {"kind": "heading", "level": 2, "text": text}


def _text(text: str) -> dict[str, Any] | None:
    return {"kind": "text", "text": spans(text)} if text else None


def _list(texts: list[str]) -> dict[str, Any]:
    return {"kind": "list", "items": [spans(text) for text in texts]}


def _figure(svg: str, alt: str, caption: str) -> dict[str, Any]:
    return {"kind": "figure", "svg": svg, "alt": alt, "caption": spans(caption)}


def _table(name: str, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "kind": "table",
        "caption": spans(TABLES[name]),
        "columns": list(table.columns),
        "rows": table.values.tolist(),
    }
