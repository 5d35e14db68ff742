"""What chapter 4 says that a saved benchmark holds."""

from __future__ import annotations

from valib.effects.artefact import EXTRA, NEEDED
from valib.pages.chapters.benchmark_choices import HOLDS


def test_every_entry_that_a_benchmark_may_have_is_explained():
    assert set(HOLDS) == {*NEEDED, *EXTRA}
