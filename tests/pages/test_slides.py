"""Slides of a built book: what they show, in which order, and that they need nothing but the folder of the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

from valib.pages.build import BookError
from valib.pages.slides import PLAN, read_plan, write_slides

PAGE = """<html><head><script src="../_static/mathjax/m.js"></script><script src="../_static/other.js"></script></head>
<figure id="fig-one"><a href="../_images/a.png"><img alt="A line." loading="lazy" src="../_images/a.png"></a><figcaption>
<span class="caption-number">Fig. 1 </span>Effects of <a href="#eq-1">(1)</a> and <a href="02.html#x">more</a>.
<a class="headerlink" href="#fig-one">#</a><div class="beneath"><a href="a.csv">Numbers (CSV)</a></div></figcaption></figure>
<table id="tab-two"><caption>Two.</caption><tr><td>1</td></tr></table></html>"""
LIST = """- session: First
  slides:
    - {title: A table, figure: tab-two, say: [One., Two.]}
    - {title: A <figure>, figure: fig-one, ask: 'Why & how?'}
    - {title: Gone, figure: fig-gone}
- session: Second
  slides:
    - {title: Commands, live: "valib fit --out a\\nvalib check"}
- session: Nothing left
  slides:
    - {title: Gone too, figure: fig-gone}
"""


@pytest.fixture
def made(tmp_path) -> BeautifulSoup:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01.html").write_text(PAGE, encoding="utf-8")
    plan = tmp_path / "list.yml"
    plan.write_text(LIST, encoding="utf-8")
    path = write_slides(tmp_path, plan, "Our <schools> & more")
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_the_slides_are_those_of_the_list_in_its_order(made):
    heads = [node.get_text() for node in made.select(".slide h1, .slide h2")]
    assert heads == ["Our <schools> & more", "First", "A table", "A <figure>", "Second", "Commands"]
    assert made.title.get_text() == "Our <schools> & more: slides"
    assert [item.get_text() for item in made.select("ul.say li")] == ["One.", "Two."]
    assert made.select_one(".ask").get_text() == "Why & how?"
    assert made.select_one(".live").get_text() == "valib fit --out a\nvalib check"


def test_figures_come_with_caption_and_alt_text_and_paths_from_one_folder_up(made):
    figure = made.find(id="fig-one")
    assert figure.img["src"] == figure.a["href"] == "_images/a.png" and figure.img["alt"] == "A line."
    assert "loading" not in figure.img.attrs
    assert not figure.find(class_="beneath"), "numbers and code stay with the page"
    assert "Fig. 1 Effects of" in figure.get_text() and "#" not in figure.get_text()
    assert [a["href"] for a in figure.figcaption.find_all("a")] == ["chapters/01.html#eq-1", "chapters/02.html#x"]
    assert made.find(id="tab-two").caption.get_text() == "Two."


def test_nothing_is_fetched_and_of_the_scripts_only_those_for_mathematics_come_along(made):
    assert [s["src"] for s in made.find_all("script", src=True)] == ["_static/mathjax/m.js"]
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', str(made))


def test_a_book_without_a_list_has_no_slides(tmp_path):
    assert write_slides(tmp_path, tmp_path / PLAN, "Ours") is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["- session: A", "- {session: A, slides: [{figure: x}]}", "a: [", "- {session: A, slides: [{title: B, tune: c}]}"],
)
def test_a_list_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / PLAN).write_text(text, encoding="utf-8")
    with pytest.raises(BookError, match=r"^slides\.yml is a list of sessions, [^\n]*\.$"):
        read_plan(tmp_path / PLAN)


def labels() -> set[str]:
    """The labels of all figures and tables of the book, as chapters and their modules name them."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "chapters").glob("*.[im]*"))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "valib" / "pages" / "chapters").glob("*.py"))
    return set(re.findall(r":name: ((?:fig|tab)-[\w-]+)", text)) | set(re.findall(r'"(tab-[\w-]+)"', code))


def test_the_book_s_own_list_names_figures_of_the_book_once_each_and_no_number():
    sessions = read_plan(ROOT / "chapters" / PLAN)
    slides = [slide for session in sessions for slide in session.slides]
    figures = [slide.figure for slide in slides if slide.figure]
    assert len(sessions) == 4 and len(figures) >= 12 and len(set(figures)) == len(figures)
    assert not set(figures) - labels()
    said = [text for s in slides for text in (s.title, *s.say, s.ask)]
    assert not [text for text in said if re.search(r"\d", text)]


def test_the_page_for_lecturers_refers_to_what_the_slides_show():
    page = Path(ROOT / "chapters" / "appendix_teaching.ipynb").read_text(encoding="utf-8")
    figures = {s.figure for session in read_plan(ROOT / "chapters" / PLAN) for s in session.slides if s.figure}
    assert set(re.findall(r"\{numref\}`(fig-[\w-]+)`", page)) <= figures
