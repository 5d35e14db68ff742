"""The prose of the chapters and of the pages beside them, for a linter: ``python tests/prose.py`` runs proselint on it.

Code, formulas, directives and headings are taken out, so that what is left is sentences. proselint's rules on
typography are left to the renderer, and those that take a plain statistical word for a mistake are switched off.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OFF = (
    "typography",
    "weasel_words",
    "misc.illogic",  # takes "more than half of all" for a mistake
    "misc.preferred_forms",  # takes a formula's "ne" for a French word
)
DOUBLED = r"lexical illusion in '(?!(\w\w+)\s+\1')"  # other than a word that stands twice, such as "A a"
KINDS = (
    r"code|math|python|r\b|stata|yaml|bash|sh\b|text|mermaid|bibliography|glue|auto"  # of blocks that hold no sentences
)
CODE = re.compile(rf"^(`{{3,}}|:{{3,}}|~{{3,}})\{{?(?:{KINDS}).*?^\1\s*$", re.M | re.S)
FENCE = re.compile(r"^(?:`{3,}|~{3,}).*?^(?:`{3,}|~{3,})\s*$", re.M | re.S)
MARKS = (
    re.compile(r"\$\$.*?\$\$", re.S),
    re.compile(r"\$[^$]*\$"),
    re.compile(r"`[^`]*`"),
    re.compile(r"\{[a-z:]+\}"),
    re.compile(r"<[^>]*>"),
    re.compile(r"^\s*(?::[\w-]+:|:{3,}|\(|\||#|%).*$", re.M),
)


def sentences(text: str) -> str:
    """The sentences of a Markdown text, each line where it was; what was taken out within a line leaves X1x, X2x, ..."""

    def blank(found: re.Match[str]) -> str:
        return "\n" * found.group().count("\n")

    for pattern in (CODE, FENCE, MARKS[0]):
        text = pattern.sub(blank, text)
    count = itertools.count(1)
    for pattern in MARKS[1:5]:
        text = pattern.sub(lambda found: f"X{next(count)}x" + "\n" * found.group().count("\n"), text)
    return MARKS[5].sub("", text)


def texts(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Name and sentences of every text: the chapters, and the Markdown files at the top."""
    for path in sorted([*root.glob("*.md"), *(root / "chapters").glob("*.md"), *(root / "chapters").glob("*.ipynb")]):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield path.relative_to(root).as_posix(), sentences(text)


def complaints(named: Iterator[tuple[str, str]]) -> list[str]:
    """What proselint says of these texts: name, the line it means, and what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name.replace("/", "--"): (name, text) for name, text in named}
        for file, (_, text) in files.items():
            Path(folder, file).write_text(text, encoding="utf-8")
        order = [sys.executable, "-m", "proselint", "check", *sorted(files)]
        said = subprocess.run(order, cwd=folder, capture_output=True, text=True, check=False)
    if said.returncode not in (0, 1):
        raise RuntimeError(said.stderr)
    found = []
    for line in said.stdout.splitlines():
        if place := re.match(r"(?:.*/)?([^/:]+):(\d+):\d+: (.*)", line):
            if place[3].startswith(OFF) or re.search(DOUBLED, place[3]):
                continue
            name, text = files[place[1]]
            found.append(f"{name}: {place[3]}\n    {text.splitlines()[int(place[2]) - 1].strip()}")
    return found


if __name__ == "__main__":
    told = complaints(texts())
    print(*told, sep="\n")
    sys.exit(bool(told))
