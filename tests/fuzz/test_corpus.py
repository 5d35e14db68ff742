"""Hard text files and fresh draws of mangled ones: memory and stream give the same numbers, or the same sentence."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from corpus import CORPUS
from mangled import KINDS, draw, judge, outcome


@pytest.mark.parametrize("name", CORPUS)
def test_a_hard_file_has_its_outcome_in_memory_and_streamed(tmp_path, name):
    content, expected = CORPUS[name]
    path = tmp_path / "mangled.csv"
    path.write_bytes(content)
    found, what = judge(path, "text")
    if isinstance(expected, int):
        assert found == "numbers" and what[0] == expected, what
    else:
        assert found == "refused" and expected in what, (found, what)


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_draws_end_in_numbers_or_one_sentence(tmp_path, kind):
    counts = Counter()
    for number in range(4 if kind == "workbook" else 24):
        path = draw(np.random.default_rng([11, number]), tmp_path, kind)
        found, what = judge(path, kind)
        assert found in ("numbers", "refused"), (number, what)
        if found == "refused":
            assert "\n" not in what and "Traceback" not in what
        counts[found] += 1
    assert counts["refused"]


def test_a_disagreement_would_be_seen(tmp_path, monkeypatch):
    path = tmp_path / "mangled.csv"
    path.write_bytes(CORPUS["carriage returns"][0])
    monkeypatch.setattr("mangled.outcome", lambda p, kind, engine: ("numbers", engine))
    assert judge(path, "text")[0] == "differs"
    assert outcome(path, "text", "memory")[0] == "numbers"
