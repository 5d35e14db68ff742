"""Slides made of the figures and tables of a built book: one HTML page beside the others, which needs no network.

``chapters/slides.yml`` lists what they show. Pictures, captions and the scripts for mathematics are those of the pages, so
that slides and book cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ...errors import BookError
from ...files import write_file

PLAN, FILE = "slides.yml", "slides.html"
KEYS = {"title", "figure", "say", "ask", "live"}
SCRIPTS = re.compile(r"mathjax|sliders", re.IGNORECASE)  # of a page's scripts, those that slides need too
AWAY = ("http:", "https:", "mailto:", "data:", "//")


@dataclass(frozen=True, slots=True)
class Slide:
    """What one slide shows. figure: label of a figure or table; content: its HTML, "" while it is not looked up."""

    title: str
    figure: str = ""
    content: str = ""
    say: tuple[str, ...] = ()
    ask: str = ""
    live: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the course."""

    title: str
    slides: tuple[Slide, ...] = field(default=())


def read_plan(path: Path) -> list[Session]:
    """The sessions of a list of slides; BookError in one sentence for one that cannot be read."""
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [Session(str(s["session"]), tuple(_slide(one) for one in s["slides"])) for s in plan]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise BookError(f"{path.name} is a list of sessions, each with slides that have a title ({said}).") from None


def _slide(given: Mapping[str, Any]) -> Slide:
    if unknown := set(given) - KEYS:
        raise ValueError(f"a slide has no '{sorted(unknown)[0]}'")
    say = given.get("say", ())
    texts = {key: str(given.get(key, "")) for key in KEYS - {"say", "title"}}
    return Slide(str(given["title"]), say=(say,) if isinstance(say, str) else tuple(map(str, say)), **texts)


def write_slides(html: Path, plan: Path, title: str) -> Path | None:
    """Write ``slides.html`` into a folder of built pages; return it, or None where the book has no list of slides.

    A slide whose figure the book of these records does not have is left out.
    """
    if not plan.is_file():
        return None
    sessions = read_plan(plan)
    wanted = {slide.figure for session in sessions for slide in session.slides if slide.figure}
    floats, scripts = _floats(html, wanted)
    made = [Session(s.title, tuple(_filled(s.slides, floats))) for s in sessions]
    loader = jinja2.PackageLoader("valib.pages", "slides")
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("slides.html")
    text = template.render(title=title, sessions=[s for s in made if s.slides], scripts=scripts)
    write_file(html / FILE, text)
    return html / FILE


def _filled(slides: Sequence[Slide], floats: Mapping[str, str]) -> Iterator[Slide]:
    for s in slides:
        if not s.figure:
            yield s
        elif s.figure in floats:
            yield Slide(s.title, s.figure, floats[s.figure], s.say, s.ask, s.live)


def _floats(html: Path, wanted: set[str]) -> tuple[dict[str, str], list[str]]:
    """The wanted figures and tables of the pages by label, paths as seen from slides.html, and the scripts they need."""
    from bs4 import BeautifulSoup

    found: dict[str, str] = {}
    scripts: dict[str, None] = {}
    for page in sorted((html / "chapters").glob("*.html")):
        text = page.read_text(encoding="utf-8")
        if not any(f'id="{label}"' in text for label in wanted):
            continue
        soup = BeautifulSoup(text, "html.parser")
        for label in wanted - set(found):
            node = soup.find(["figure", "table"], id=label)
            if node is not None:
                found[label] = _from_here(node, page.name)
        for script in soup.find_all("script"):
            if SCRIPTS.search(str(script)):
                scripts[_from_here(script, page.name)] = None
    return found, list(scripts)


def _from_here(node: Any, page: str) -> str:
    """A part of a page in ``chapters`` as HTML for a page one folder up, without links to itself, numbers and code."""
    for gone in (*node.find_all("a", class_="headerlink"), *node.find_all(class_="beneath")):
        gone.decompose()
    for part in (node, *node.find_all(True)):
        part.attrs.pop("loading", None)  # a slide that is printed before it is seen has its picture too
        for key in ("src", "href", "data"):
            target = part.get(key)
            if target and not target.startswith(AWAY):
                if target.startswith("#"):  # a place on that page, or within a drawing
                    part[key] = f"chapters/{page}{target}" if part.name == "a" else target
                else:
                    part[key] = target[3:] if target.startswith("../") else f"chapters/{target}"
    return str(node)
