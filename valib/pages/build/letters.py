"""Appendices are lettered, in the pages as in the PDF: A, A.1, Table A.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

APPENDICES = "Appendices"  # the part of _toc.yml whose chapters are lettered


def appendices(source: Path) -> list[str]:
    """The chapters of that part, in order, by file."""
    toc = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part for part in toc.get("parts", ()) if part.get("caption") == APPENDICES]
    return [chapter["file"] for part in parts for chapter in part["chapters"]]


def letter(env: Any, chapters: list[str]) -> None:
    """Put letters for the first numbers of these chapters, of their sections and of their titles."""
    for k, name in enumerate(one for one in chapters if env.toc_secnumbers.get(one)):
        mark = chr(ord("A") + k)
        env.toc_secnumbers[name] = {
            anchor: numbers and (mark, *numbers[1:]) for anchor, numbers in env.toc_secnumbers[name].items()
        }
        for node in [*env.tocs[name].findall(nodes.reference), env.titles[name]]:
            if node.get("secnumber"):
                node["secnumber"] = [mark, *node["secnumber"][1:]]


def _wrap(app: Sphinx, config: Any) -> None:
    """Letter the appendices whenever Sphinx has numbered the sections."""
    number = TocTreeCollectorWithStyles.assign_section_numbers

    def numbered(self: TocTreeCollectorWithStyles, env: Any) -> list[str]:
        changed = number(self, env)
        letter(env, appendices(Path(app.srcdir)))
        return changed

    TocTreeCollectorWithStyles.assign_section_numbers = numbered


def setup(app: Sphinx) -> None:
    """Register with Sphinx."""
    app.connect("config-inited", _wrap)
