"""Results of the commands and the public names are those that were frozen (tests/goldens/runs.py says how)."""

from __future__ import annotations

import json

import pytest
import runs

# Where sums are added in another order the last digits differ; an optimum is found to about 1e-9 of a variance.
RTOL = 1e-9
ATOL = 1e-9


@pytest.mark.parametrize("study", ["demo", "egsingle", "boundary", "padded", "awkward"])
def test_results_are_those_that_were_frozen(study, tmp_path):
    frozen = json.loads((runs.HERE / f"{study}.json").read_text(encoding="utf-8"))
    now = runs.results(study, runs.studies(tmp_path)[study], tmp_path)
    assert differences(frozen, now) == []


def test_a_changed_digit_would_be_seen():
    assert differences({"a": [1.0, 2.0]}, {"a": [1.0, 2.0 + 1e-6]}) == ["/a/1: 2.0, now 2.000001"]
    assert differences({"a": 1}, {"b": 1}) == ["/a: gone", "/b: new"]


def test_public_names_keep_their_parameters():
    """A name may gain parameters; it loses none, and their order stays."""
    frozen = json.loads((runs.HERE / "public_names.json").read_text(encoding="utf-8"))
    now = runs.public_names()
    assert sorted(set(frozen) - set(now)) == []
    for name, old in frozen.items():
        parameters = [p.split("=")[0].split(":")[0].strip(" ()") for p in old.split(", ")]
        place = -1
        for parameter in filter(str.isidentifier, parameters):
            found = now[name].find(parameter, place + 1)
            assert found > place, f"{name} lost {parameter}"
            place = found


def differences(old: object, new: object, path: str = "") -> list[str]:
    """Where two results differ, in words; numbers may differ by rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{path}/{k}: gone" for k in old if k not in new] + [f"{path}/{k}: new" for k in new if k not in old]
        return gone + [d for k in old if k in new for d in differences(old[k], new[k], f"{path}/{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for k, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}/{k}")]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (old, new))
    same = abs(old - new) <= ATOL + RTOL * abs(old) if numbers else old == new
    return [] if same else [f"{path}: {old}, now {new}"]
