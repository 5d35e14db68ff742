"""Several studies of the same schools, such as subjects or stages: one page a school with a part for each, no composite.

A school is the same where its code is. Each study is computed by itself and shows what it would show alone: a school that
one of them holds back, or that took no part in it, is told in the same words there, so that neither can be told from the
other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ParamsError
from .content import content
from .page import SchoolPage, school_page, shown_name
from .results import SHOWN, StudyResults

if TYPE_CHECKING:
    from ...study.params import Params

TOGETHER = (
    "This page brings together studies of the same school. Each stands for itself: what one says of the school says "
    "nothing of another, and no figure joins them."
)
NOTHING = (
    "In this study no figure of the school may be shown: too few of its students are in it, or none, or its figure would "
    "give away that of another school."
)


@dataclass(frozen=True, slots=True)
class Together:
    """The schools of several studies."""

    results: tuple[StudyResults, ...]

    def schools(self) -> list[str]:
        """All schools of any study, in order."""
        return sorted({school for one in self.results for school in one.schools()})

    def schools_shown(self) -> list[str]:
        """The schools that any study may show."""
        return sorted({school for one in self.results for school in one.schools_shown()})


def labelled(files: list[Path], studies: list[Params]) -> dict[str, Params]:
    """Studies by what they are called: their titles, or their files' names where titles do not tell them apart.

    Raises ParamsError where neither does, for fewer than two studies, and for schools under different pseudonyms.
    """
    if len(studies) < 2:
        raise ParamsError("--studies names one file, expected two or more, such as reading.yml,maths.yml.")
    if len({study.pseudonym_key for study in studies}) > 1:
        raise ParamsError("--studies: the studies have different pseudonym keys, and no school could be found in both.")
    for names in ([study.title for study in studies], [file.stem for file in files]):
        if len(set(names)) == len(names):
            return dict(zip(names, studies, strict=True))
    twice = Counter(study.title for study in studies).most_common(1)[0][0]
    raise ParamsError(f"--studies: two studies have the title '{twice}', by which a page tells them apart.")


def agree_on_names(results: Mapping[str, StudyResults]) -> None:
    """Give every study the schools' latest names: of the study in which a school is shown last, of several the first."""
    names: dict[str, tuple[int, str]] = {}
    for one in results.values():
        last = one.cells[one.cells["state"] == SHOWN].groupby("school")["cohort"].max()
        for school, name in one.study["names"].items():
            if school not in names or last[school] > names[school][0]:
                names[school] = (int(last[school]), name)
    latest = {school: name for school, (_, name) in names.items()}
    for one in results.values():
        one.study["names"] = latest


def pages_of(results: Mapping[str, StudyResults], school: str) -> dict[str, SchoolPage | None]:
    """The school's page in each study; None where the study may not show it."""
    return {
        label: school_page(one, school) if school in set(one.schools_shown()) else None
        for label, one in results.items()
    }


def content_of(pages: Mapping[str, SchoolPage | None]) -> dict[str, Any]:
    """What stands on a page: as of one study, or a part for each of several."""
    first = next(page for page in pages.values() if page is not None)
    if len(pages) == 1:
        return content(first)
    parts: list[dict[str, Any]] = [{"kind": "text", "text": [("text", TOGETHER)]}]
    for label, page in pages.items():
        parts.append({"kind": "heading", "level": 2, "text": label})
        if page is None:
            parts.append({"kind": "text", "text": [("text", NOTHING)]})
            continue
        own = content(page)["parts"]
        parts += [{**part, "level": 3} if part["kind"] == "heading" else part for part in own]
    return {"title": f"Value added: {shown_name(first.school, first.study.get('names'))}", "parts": parts}
