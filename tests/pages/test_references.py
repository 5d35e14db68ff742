"""The bibliography: every entry is whole and cited, every citation has its entry, and the literature of the idea is there."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from pybtex.database import parse_file

ENTRIES = parse_file(ROOT / "references.bib").entries
NEEDED = {
    "article": {"journal", "year", "volume", "pages", "title"},
    "book": {"publisher", "year", "title"},
    "techreport": {"institution", "year", "title"},
    "misc": {"year", "title"},
}
WITHOUT_DOI = {  # none could be checked
    *("castellano2013", "fielding2003", "fisher1921", "jones1983", "koretz2008", "luyten1994", "oecd2008", "willms1989")
}
WITHOUT_PAGES = {"page2024", "willms1989"}
CITED = re.compile(r"\{cite:[a-z]+\}`([^`]+)`")


def cited() -> set[str]:
    files = [*(ROOT / "chapters").glob("*.md"), *(ROOT / "chapters").glob("*.ipynb"), *(ROOT / "valib").rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {key.strip() for text in texts for keys in CITED.findall(text) for key in keys.split(",")}


@pytest.mark.parametrize("key", sorted(ENTRIES))
def test_an_entry_is_whole(key):
    entry = ENTRIES[key]
    there = {name.lower() for name, value in entry.fields.items() if value}
    assert entry.persons.get("author"), key
    assert not NEEDED[entry.type] - there - ({"pages"} if key in WITHOUT_PAGES else set()), key
    if entry.type in ("article", "book") and key not in WITHOUT_DOI:
        assert re.fullmatch(r"10\.\d{4,9}/\S+", entry.fields.get("doi", "")), key


def test_what_is_cited_is_there_and_what_is_there_is_cited():
    assert cited() - {"key"} <= set(ENTRIES)
    assert set(ENTRIES) <= cited()


def test_the_literature_in_which_the_idea_is_at_home_is_there():
    named = {
        "evaas",
        "betebenner2009",
        "willms1989",
        "castellano2013",
        "leckie2022",
        "page2024",
        "lockwood2022",
        "kane2002",
    }
    assert named | {"asa2014", "dfe2024", "ewd2013", "question2024", "cese2014", "palmer2014"} <= set(ENTRIES)
    question = ENTRIES["question2024"].fields
    assert "CC BY-SA" in question["howpublished"] and question["url"].startswith("https://stats.stackexchange.com/")
