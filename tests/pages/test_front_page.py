"""The first page of the book and README: every chapter is named, and the picture is that of the demo study."""

from __future__ import annotations

import re
import runpy

import matplotlib.image
import numpy as np
import pytest
import yaml
from conftest import ROOT

from valib.pages.build.staging import toc_files

INTRO = (ROOT / "chapters" / "intro.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = re.search(r"!\[([^\]]+)\]\(([^)]+)\)", README)


def test_the_first_page_names_every_chapter_in_order():
    listed = [name.removeprefix("chapters/") for name in toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text()))]
    named = re.findall(r"^- \{doc\}`(\w+)`", INTRO, re.MULTILINE)
    assert named == [name for name in listed if name != "intro"]


def test_every_number_on_the_first_page_is_pasted():
    """Digits stand only in what the question says, in commands, and in names of files and labels."""
    plain = re.sub(r"```bash.*?```|\{[\w:-]+\}`[^`]*`|^:.*?$", "", INTRO, flags=re.DOTALL | re.MULTILINE)
    plain = re.sub(r"^```\{figure-from\}.*$|^\d\. ", "", plain, flags=re.MULTILINE)
    assert re.findall(r"[\d.,]*\d", plain) == ["13", "27.4"]


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_the_picture_of_the_readme_is_what_its_script_draws(tmp_path):
    """Another build of matplotlib may smooth edges otherwise: fewer than 1 in 50,000 pixels may differ by much (26; one
    digit that changes is some 60)."""
    runpy.run_path(str(ROOT / "docs" / "picture.py"))["draw"](tmp_path / "again.png")
    kept, again = (matplotlib.image.imread(path) for path in (ROOT / PICTURE[2], tmp_path / "again.png"))
    assert kept.shape == again.shape
    assert np.mean((abs(kept - again) > 0.2).any(axis=-1)) < 2e-5


def test_the_picture_of_the_readme_has_words_for_who_cannot_see_it():
    assert len(PICTURE[1]) > 60 and (ROOT / PICTURE[2]).stat().st_size < 200_000
