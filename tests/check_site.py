"""What a reader's browser would find wrong with a rendered book: links, anchors, ids, accessibility, console, weight.

Of the PDF, where there is one: title, author, language, structure and words for its pictures.

``python tests/check_site.py _build`` reads the pages and, where there is a Chromium, opens each of them twice: wide and
light, narrow and dark. ``--browser`` makes a missing Chromium a fault. It prints what it found and ends with 1 if any of
it is a fault. `make check-site` calls it; nothing is fetched.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--allow-file-access-from-files"]
SOUGHT = ("confidence interval", "ICC", "pandemic", "p-value")  # what readers look for
HEAVIEST = 1_000_000  # bytes that a page may load before the reader does anything, uncompressed
GRAVE = ("serious", "critical")  # impacts of axe-core that are faults
LOOKS = (
    {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
)
ALL = {"resultTypes": ["violations"], "preload": False}
OF_LOOK = {**ALL, "runOnly": ["color-contrast", "scrollable-region-focusable", "target-size"]}  # what the look changes
# What stands a thousand times on a page is tried elsewhere: rows of schools, the code of examples, letters of formulas.
TRIED = {"exclude": [[".schools-table tbody tr:nth-child(n+6)"], ["section:nth-of-type(n+4) > dl.py"], ["math"]]}
LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("source", "src"), ("iframe", "src")}


@dataclass
class Page(HTMLParser):
    """One page: its ids, its links and what it loads, as (tag, attribute, target)."""

    path: Path
    ids: Counter[str] = field(default_factory=Counter)
    targets: list[tuple[str, str, str]] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag names and points to."""
        given = dict(attrs)
        if given.get("id"):
            self.ids[given["id"]] += 1
        for name in ("href", "src"):
            if given.get(name) is not None:
                self.targets.append((tag, name, given[name] or ""))
        if tag == "img" and "alt" not in given:
            self.unnamed.append(given.get("src") or "")


def pages(html: Path) -> dict[Path, Page]:
    """The pages of a book by their resolved path, without what Sphinx keeps for itself."""
    return {path.resolve(): Page(path) for path in sorted(html.rglob("*.html")) if "_static" not in path.parts}


def read_faults(html: Path) -> Iterator[str]:
    """What can be seen without a browser: dead links and anchors, ids used twice, images without alt, foreign files."""
    known = pages(html)
    for path, page in known.items():
        name = path.relative_to(html.resolve())
        yield from (f"{name}: the id {one!r} stands {count} times" for one, count in page.ids.items() if count > 1)
        yield from (f"{name}: the image {source} has no alt text" for source in page.unnamed)
        for tag, attribute, target in dict.fromkeys(page.targets):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if (tag, attribute) in LOADED and parts.scheme != "data":
                    yield f"{name}: <{tag}> loads {target} from elsewhere"
                continue
            aim = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not aim.is_file():
                yield f"{name}: the link to {target} leads nowhere"
            elif parts.fragment and aim in known and unquote(parts.fragment) not in known[aim].ids:
                yield f"{name}: there is no {parts.fragment!r} on the page of {target}"


@dataclass
class Visit:
    """What a browser found on a page: faults in words, what axe-core counted by rule, and the bytes it loaded."""

    faults: list[str] = field(default_factory=list)
    violations: Counter[str] = field(default_factory=Counter)
    weight: int = 0


def chromium() -> str | None:
    """The Chromium of this machine."""
    return next((found for name in CHROMIUM if (found := shutil.which(name))), None)


def visits(html: Path, browser: str) -> Iterator[tuple[str, str, Visit]]:
    """Open every page in each of the two looks: its name, the look and what was found."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    axe = Axe()
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=browser, args=ARGUMENTS)
        for look in LOOKS:
            context = running.new_context(**look)
            said = f"{look['viewport']['width']} px, {look['color_scheme']}"
            rules = OF_LOOK if look is LOOKS[1] else ALL
            for path in pages(html):
                yield (str(path.relative_to(html.resolve())), said, visit(context, path, axe, rules))
            context.close()
        running.close()


def visit(context: Any, path: Path, axe: Any, rules: dict[str, Any]) -> Visit:
    """Open one page and try it."""
    found, loaded = Visit(), set()
    tab = context.new_page()
    tab.on("request", lambda request: loaded.add(request.url.partition("#")[0].partition("?")[0]))
    tab.on(
        "console",
        lambda line: line.type in ("error", "warning") and found.faults.append(f"the console says: {line.text}"),
    )
    tab.on("requestfailed", lambda request: found.faults.append(f"{request.url} cannot be loaded"))
    tab.on("pageerror", lambda error: found.faults.append(f"a script failed: {error}"))
    tab.goto(path.as_uri(), wait_until="load")
    tab.wait_for_function("document.fonts.status === 'loaded'")
    local = [Path(unquote(urlsplit(url).path)) for url in loaded if url.startswith("file:")]
    found.weight = sum(file.stat().st_size for file in local if file.is_file())
    found.faults += [
        f"{url} was asked for" for url in sorted(loaded) if not url.startswith(("file:", "data:", "blob:"))
    ]
    if tab.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
        found.faults.append("the whole page scrolls sideways")
    if formulas := tab.evaluate("document.querySelectorAll('mjx-container[tabindex], math[tabindex]').length"):
        found.faults.append(f"{formulas} formulas are tab stops")
    for rule in axe.run(tab, TRIED, rules).response["violations"]:
        found.violations[f"{rule['id']} ({rule['impact']})"] += len(rule["nodes"])
        if rule["impact"] in GRAVE:
            first = " ".join(rule["nodes"][0]["html"].split())[:160]
            found.faults.append(f"{rule['id']} ({rule['impact']}), {len(rule['nodes'])} times, such as {first}")
    tab.close()
    return found


def unfound(html: Path, browser: str) -> Iterator[str]:
    """Words that readers look for and the search does not find; among them the code of a school, if a page lists them."""
    from playwright.sync_api import TimeoutError, sync_playwright

    listed = html / "chapters" / "schools.html"
    cell = re.search(r"<tbody><tr><td>([^<]+)</td>", listed.read_text(encoding="utf-8")) if listed.is_file() else None
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=browser, args=ARGUMENTS)
        tab = running.new_page()
        for words in SOUGHT:
            tab.goto(f"{(html / 'search.html').resolve().as_uri()}?q={quote(words)}")
            try:
                tab.wait_for_selector("#search-results ul.search li", timeout=10_000)
            except TimeoutError:
                yield f"the search does not find {words!r}"
        if cell:
            tab.goto(f"{(html / 'search.html').resolve().as_uri()}?q={quote(unescape(cell[1]))}")
            tab.click("a.among-schools")
            try:  # the page of schools has to load first
                tab.wait_for_selector(".schools-table tbody tr:not([hidden])", timeout=10_000)
            except TimeoutError:
                yield f"the search does not find the school {unescape(cell[1])!r}"
        running.close()


def browser_faults(html: Path, browser: str) -> Iterator[str]:
    """What the browser found wrong; prints the weights and the counts of axe-core on the way."""
    counts: Counter[str] = Counter()
    weights: dict[str, int] = {}
    for name, look, found in visits(html, browser):
        yield from (f"{name} ({look}): {fault}" for fault in found.faults)
        counts += found.violations
        weights[name] = max(weights.get(name, 0), found.weight)
    for name, weight in sorted(weights.items(), key=lambda item: -item[1]):
        print(f"{weight / 1000:8,.0f} kB  {name}")
        if weight > HEAVIEST and name != "slides.html":  # which has the pictures of a course at once, so that it prints
            yield f"{name}: {weight / 1e6:.2f} MB are loaded at once; at most {HEAVIEST / 1e6:g} may be"
    print("axe-core:", ", ".join(f"{rule} {count}" for rule, count in counts.most_common()) or "no violation")
    yield from unfound(html, browser)


def structure(element: Any) -> Iterator[tuple[str, Any]]:
    """The elements of a PDF's structure in the order of reading, each with its role."""
    yield str(element.S)[1:], element
    for kid in element.get("/K", ()):
        if "/S" in kid:
            yield from structure(kid)


def pdf_faults(path: Path) -> Iterator[str]:
    """What a reader who cannot see a PDF would miss: title, author, language, structure, and words for pictures."""
    import pikepdf

    with pikepdf.open(path) as pdf:
        yield from (f"{path.name}: it has no {name[1:]}" for name in ("/Title", "/Author") if not pdf.docinfo.get(name))
        yield from (
            f"{path.name}: it has no {name[1:]}" for name in ("/Lang", "/StructTreeRoot") if name not in pdf.Root
        )
        if not pdf.Root.get("/ViewerPreferences", {}).get("/DisplayDocTitle"):
            yield f"{path.name}: its window would not show its title"
        level = 0
        for role, element in structure(pdf.Root.StructTreeRoot.K) if "/StructTreeRoot" in pdf.Root else ():
            if role in ("Figure", "Formula") and not str(element.get("/Alt", "")).strip():
                yield f"{path.name}: a {role.lower()} has no alt text"
            if re.fullmatch(r"H\d", role):
                if int(role[1]) > level + 1:
                    yield f"{path.name}: a heading of level {role[1]} stands under one of level {level}"
                level = int(role[1])


def main() -> int:
    """Check the book that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that `valib book` made")
    parser.add_argument("--browser", action="store_true", help="a missing Chromium is a fault")
    order = parser.parse_args()
    html, browser = order.out / "html", chromium()
    if not (html / "index.html").is_file():
        print(f"{html} holds no book: run `make book` first.", file=sys.stderr)
        return 2
    faults = list(read_faults(html))
    if (pdf := order.out / "valib.pdf").is_file():
        faults += pdf_faults(pdf)
    if browser:
        faults += browser_faults(html, browser)
    elif order.browser:
        faults.append("there is no Chromium (on Debian or Ubuntu: apt-get install chromium)")
    else:
        print("There is no Chromium, so the pages were read but not opened.")
    print(*faults, sep="\n")
    print(f"{len(faults)} faults." if faults else "No fault.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
