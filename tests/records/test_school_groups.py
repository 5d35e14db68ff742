"""The group of every school from a column of the records, and which groups may be shown."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import valib as va
from valib.errors import RecordsError
from valib.records.disclosure import HIDDEN, shown
from valib.records.groups import shown_groups


def records(**columns) -> pd.DataFrame:
    rows = pd.DataFrame({"school": ["a", "a", "b", "b", "c"], "cohort": [1, 1, 1, 1, 1], **columns})
    return rows.assign(student=range(len(rows)), score=1.0, prior_score=1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["x", " x", "y", "y ", "x"], {"a": "x", "b": "y", "c": "x"}),
        ([1.0, 1.0, 2.0, 2.0, 1.0], {"a": "1", "b": "2", "c": "1"}),
        ([1, 1, 2, 2, 10], {"a": "1", "b": "2", "c": "10"}),
        ([1.5, 1.5, 2.0, 2.0, 1.5], {"a": "1.5", "b": "2", "c": "1.5"}),
        (pd.Categorical(["x", "x", "y", "y", "y"]), {"a": "x", "b": "y", "c": "y"}),
    ],
)
def test_the_group_of_every_school(values, expected):
    assert va.school_groups(records(district=values), "district", 1).to_dict() == expected


def test_a_school_without_a_group_is_in_none_and_is_counted():
    with pytest.warns(va.ValibWarning, match="1 school of cohort 1 without 'district': in no group"):
        found = va.school_groups(records(district=["x", "x", "y", "y", None]), "district", 1)
    assert found.to_dict() == {"a": "x", "b": "y"}
    with pytest.warns(va.ValibWarning, match="1 school"):
        assert va.school_groups(records(district=["x", "x", "y", "y", " "]), "district", 1).to_dict() == found.to_dict()


def test_a_school_may_change_its_group_between_cohorts():
    rows = records(district=["x", "x", "y", "y", "x"])
    both = pd.concat([rows, rows.assign(cohort=2, district="z")], ignore_index=True)
    assert va.school_groups(both, "district", 1)["a"] == "x" and va.school_groups(both, "district", 2)["a"] == "z"


@pytest.mark.parametrize(
    "values", [["x", "y", "y", "y", "x"], ["x", None, "y", "y", "x"], [1.0, np.nan, 2.0, 2.0, 1.0]]
)
def test_a_school_of_two_groups_is_named(values):
    with pytest.raises(RecordsError, match=r"not one group for each school in cohort 1: students of school a have"):
        va.school_groups(records(district=values), "district", 1)


def test_many_schools_of_two_groups_are_counted():
    rows = pd.DataFrame({"school": np.repeat([f"s{k}" for k in range(9)], 2), "cohort": 1, "sex": [0, 1] * 9})
    with pytest.raises(RecordsError, match="of school s0, s1, s2 and 6 more have several"):
        va.school_groups(rows, "sex", 1)


def test_what_is_not_there_is_refused():
    with pytest.raises(RecordsError, match="has no column 'sector' for groups of schools"):
        va.school_groups(records(), "sector", 1)
    with pytest.raises(RecordsError, match="no students of cohort 3"):
        va.school_groups(records(district="x"), "district", 3)
    with pytest.raises(RecordsError, match="take --engine memory"):
        va.school_groups(object(), "district", 1)


# which may be shown


def known_sums(
    sizes: pd.Series, mask: np.ndarray, groups: pd.Series, visible: pd.Series
) -> tuple[np.ndarray, list[str]]:
    """What can be solved for of the schools held back: indicator rows of the sums known, and who they are."""
    held = [s for s, ok in zip(sizes.index, mask, strict=True) if not ok]
    rows = [np.ones(len(held))]
    rows += [np.array([groups.get(s) == g for s in held], dtype=float) for g in visible.index[visible]]
    return np.array(rows), held


def given_away(rows: np.ndarray, held: list[str]) -> list[tuple[str, ...]]:
    """The sets of one or two schools whose sum follows from the sums known."""
    rank = np.linalg.matrix_rank(rows)
    out = []
    for size in (1, 2):
        for few in itertools.combinations(range(len(held)), size):
            target = np.isin(np.arange(len(held)), few).astype(float)
            if size < len(held) and np.linalg.matrix_rank(np.vstack([rows, target])) == rank:
                out.append(tuple(held[k] for k in few))
    return out


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_school_nor_pair_follows_from_the_groups_shown_and_the_total(data):
    J = data.draw(st.integers(4, 18))
    sizes = pd.Series(data.draw(st.lists(st.integers(0, 12), min_size=J, max_size=J)), [f"s{k:02d}" for k in range(J)])
    groups = pd.Series(
        data.draw(st.lists(st.sampled_from([None, *"ABCD"]), min_size=J, max_size=J)), sizes.index
    ).dropna()
    minimum = data.draw(st.integers(1, 8))
    mask = shown(sizes, minimum)
    visible = shown_groups(sizes, mask, groups, minimum, 2)
    present = sizes > 0
    rows, held = known_sums(sizes[present], mask[present.to_numpy()], groups, visible)
    if len(held) >= HIDDEN:
        assert given_away(rows, held) == []
        for row in rows:  # nor the students of too few
            together = sizes[held].to_numpy() @ row
            assert not row.any() or together >= min(minimum, sizes[held].sum())
    assert all((groups == g).sum() >= 2 for g in visible.index[visible])


def test_groups_without_a_school_held_back_are_shown_and_others_only_as_blocks():
    sizes = pd.Series(20, [f"s{k:02d}" for k in range(20)])
    sizes.iloc[:3] = 2
    mask = shown(sizes, 5)
    assert (~mask).sum() == 3
    apart = pd.Series(np.where(np.arange(20) < 10, "A", "B"), sizes.index)
    assert shown_groups(sizes, mask, apart, 5).all()  # A has all three, B none
    split = apart.copy()
    split.iloc[0] = "B"  # one in B, two in A
    assert not shown_groups(sizes, mask, split, 5).any()
    third = split.copy()
    third.iloc[15:] = "C"
    assert shown_groups(sizes, mask, third, 5).to_dict() == {"A": False, "B": False, "C": True}


def test_the_rest_of_all_groups_is_no_smaller_than_a_block():
    """Six held back, three in A (a block), two in B and one in C: B and C are not shown, and the rest is three."""
    sizes = pd.Series(20, [f"s{k:02d}" for k in range(30)])
    sizes.iloc[:6] = 2
    groups = pd.Series(["A"] * 3 + ["B"] * 2 + ["C"] + ["A", "B", "C"] * 8, sizes.index)
    mask = shown(sizes, 5)
    assert shown_groups(sizes, mask, groups, 5).to_dict() == {"A": True, "B": False, "C": False}
    groups.iloc[5] = "A"  # four in A, two in B: the rest would be two, so A is not shown either
    assert shown_groups(sizes, mask, groups, 5).to_dict() == {"A": False, "B": False, "C": True}


def test_a_group_of_few_schools_is_not_shown():
    sizes = pd.Series(20, [f"s{k}" for k in range(8)])
    groups = pd.Series(["A"] * 2 + ["B"] * 6, sizes.index)
    mask = shown(sizes, 5)
    assert shown_groups(sizes, mask, groups, 5).to_dict() == {"A": False, "B": True}
    assert shown_groups(sizes, mask, groups, 5, min_schools=2).all()
