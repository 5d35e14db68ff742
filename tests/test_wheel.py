"""The wheel carries what the book reads; `.ci/run` renders the book by it, in an empty environment."""

from __future__ import annotations

import tomllib

import pytest
from rooms import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="a wheel does not carry its own recipe")


def test_every_stored_result_that_a_chapter_shows_is_in_the_wheel():
    recipe = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = recipe["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    stored = [*(ROOT / "tests" / "coverage").glob("*.json"), *(ROOT / "perf" / "results").glob("*.json")]
    needed = {path.relative_to(ROOT).as_posix() for path in stored}
    needed |= {"params.yml", "_config.yml", "_toc.yml", "references.bib", "chapters", "data"}
    assert len(stored) > 5 and set(carried) == needed
    assert all(target == f"valib/_bundle/{source}" for source, target in carried.items())
