"""Make rendered pages light: icons drawn where they stand, pictures with their size, and no styles and files that nothing uses.

The theme loads a script of 1.5 MB that draws some twenty icons, on every page the index of the search, and 0.4 MB of
styles of which a book uses a third.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from urllib.parse import unquote

SCRIPT = Path("scripts") / "fontawesome.js"
OWN = "book.css"  # the book's own style sheet, which is short, stays as it is written
SETS = ("fa-brands", "fa-regular", "fa-solid")  # in the order of the script
GAP = 20  # characters of other code between two icons, by which a new set begins
ICON = re.compile(r'(?:"([a-z0-9-]+)"|([a-z0-9]+)):\[(\d+),(\d+),\[([^\]]*)\],"[0-9a-f]+","([^"]*)"\]')
PLACE = re.compile(r'<(?:i|span)\s([^>]*?)class="([^"]*\bfa-[^"]*)"([^>]*)>\s*</(?:i|span)>')
TABLE = re.compile(r'<table class="(docutils[^"]*)"(.*?</table>)', re.DOTALL)  # of a notebook's output
CAPTION = re.compile(r'(<p class="caption" role="heading")(?=>)')
LOADING = re.compile(r'\s*<script[^>]*\ssrc="[^"]*/fontawesome\.js[^"]*"[^>]*></script>|<link[^>]*fontawesome[^>]*/?>')
SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
PLAIN = re.compile(
    r'<span class="pre">([^<]*)</span>'
)  # it keeps words together, which the book's own styles do not want
TOKEN = re.compile(r'<span class="([a-z]{1,2})">([^<]*)</span>')  # a word of code
REFERENCES = re.compile(r'(<div class="citation" id="[^"]*") role="doc-biblioentry"')  # an item of a list of citations
IMAGE = re.compile(r'<img\s([^>]*?)src="([^"]+\.png)"([^>]*?)/?>')
PRINTED = re.compile(r'<div id="jb-print-toc">.*?</nav>\s*</div>', re.DOTALL)  # a second list of the page's sections
RULE = re.compile(r"(?<=[{}])([^{}@]+)\{[^{}]*\}")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
NAME = re.compile(r"-?[A-Za-z_][\w-]*")
ALIAS = re.compile(r'"([a-z0-9-]+)"')


def slim(html: Path) -> None:
    """Rewrite the pages under ``html`` and what stands beside them."""
    static = html / "_static"
    if not (static / SCRIPT).is_file():
        return
    drawn = icons((static / SCRIPT).read_text(encoding="utf-8"))
    plain = uncoloured((static / "pygments.css").read_text(encoding="utf-8"))
    names: set[str] = set()
    for path in html.rglob("*.html"):
        if static not in path.parents:
            text = lighter(path, drawn, plain)
            path.write_text(text, encoding="utf-8")
            names.update(*(classes.split() for classes in re.findall(r'\sclass="([^"]*)"', text)))
    for script in static.rglob("*.js"):
        if script.name != SCRIPT.name:
            names.update(NAME.findall(script.read_text(encoding="utf-8")))
    for styles in static.rglob("*.css"):
        if styles.name != OWN:
            styles.write_text(used(styles.read_text(encoding="utf-8"), names), encoding="utf-8")
    for gone in {*static.rglob("fontawesome.js*"), *static.rglob("*.map"), *static.rglob("webfonts/*")}:
        gone.unlink()


def uncoloured(styles: str) -> set[str]:
    """Classes of words in code that look like all other code: none of their rules gives them a colour or face of their own."""
    base = set(re.findall(r"\.highlight *\{[^}]*?(?<!-)color: (#\w+)", styles))
    rules = re.findall(r"\.highlight \.(\w+) *\{([^}]*)\}", styles)
    own = {name for name, look in rules if look.strip().removeprefix("color: ") not in base}
    return {name for name, _ in rules} - own


def lighter(path: Path, drawn: dict[tuple[str, str], tuple[str, str]], plain: set[str]) -> str:
    """The text of a page without what it need not load or say."""
    text = PRINTED.sub("", LOADING.sub("", path.read_text(encoding="utf-8")))
    if path.name != "search.html":  # the field on the other pages leads there
        text = SEARCH.sub("", text)
    text = REFERENCES.sub(r'\1 role="listitem"', PLAIN.sub(r"\1", text))
    text = TOKEN.sub(lambda found: found[2] if found[1] in plain else found[0], text)
    text = CAPTION.sub(r'\1 aria-level="2"', text)
    text = TABLE.sub(r'<div class="table-wrapper"><table class="table \1"\2</div>', text)
    text = PLACE.sub(lambda found: icon(found, drawn), text)
    return IMAGE.sub(lambda found: sized(found, path.parent), text)


def icons(script: str) -> dict[tuple[str, str], tuple[str, str]]:
    """The icons of the script: (set, name) -> (view box, path). Between two sets stands other code."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    which, end = -1, -GAP
    for one in ICON.finditer(script):
        which += one.start() - end >= GAP
        end = one.end()
        quoted, plain, width, height, others, path = one.groups()
        for name in (quoted or plain, *ALIAS.findall(others)):
            found.setdefault((SETS[which], name), (f"0 0 {width} {height}", path))
    return found


def icon(found: re.Match[str], drawn: dict[tuple[str, str], tuple[str, str]]) -> str:
    """An icon as the script would draw it; an icon that it does not know stays as it is."""
    before, classes, after = found.groups()
    named = classes.replace("fas ", "fa-solid ").replace("far ", "fa-regular ").replace("fab ", "fa-brands ").split()
    style = next((one for one in named if one in SETS), "fa-solid")
    key = next(((style, one[3:]) for one in named if one.startswith("fa-") and (style, one[3:]) in drawn), None)
    if key is None:
        return found.group()
    box, path = drawn[key]
    return (
        f'<svg {before}class="svg-inline--fa {classes}"{after} aria-hidden="true" focusable="false" '
        f'viewBox="{box}"><path fill="currentColor" d="{path}"></path></svg>'
    )


def sized(found: re.Match[str], folder: Path) -> str:
    """A picture that tells its size, so that the page does not move when it comes, and comes when it is scrolled to."""
    before, source, after = found.groups()
    file = folder / unquote(source)
    told = before + after
    if "loading=" in told or not file.is_file():
        return found.group()
    size = ""
    if "width=" not in told and "height=" not in told and "style=" not in told:
        width, height = struct.unpack(">II", file.read_bytes()[16:24])
        size = f'width="{width}" height="{height}" '
    return f'<img {before}src="{source}"{after.rstrip()} {size}loading="lazy" decoding="async">'


def used(styles: str, names: set[str]) -> str:
    """A style sheet without the rules of classes that neither a page nor a script names, the icon font, and comments.

    A rule whose selector has brackets other than those of ``:not`` stays.
    """

    def keep(rule: re.Match[str]) -> str:
        selectors = re.sub(r":not\([^()]*\)", "", rule.group(1))
        if "(" in selectors or any(names.issuperset(CLASS.findall(one)) for one in selectors.split(",")):
            return rule.group()
        return ""

    styles = re.sub(r"/\*.*?\*/", "", styles, flags=re.DOTALL)
    return RULE.sub(keep, re.sub(r"@font-face\{[^{}]*Font ?Awesome[^{}]*\}", "", styles))
