"""Coverage of schools: students tested and linked, counted alike in memory and in streams, and kept through what is read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valib as va
from valib.records import coverage
from valib.sums.streams import stream_records


def students(rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    """Records of (school, cohort, score, prior_score), a student each."""
    table = pd.DataFrame(rows, columns=["school", "cohort", "score", "prior_score"])
    return table.assign(student=[f"s{k}" for k in range(len(table))])


def panel(schools: int = 30, size: int = 12, seed: int = 3) -> pd.DataFrame:
    """Two cohorts of schools with codes that look like numbers; the first school lacks 7 prior scores in 2024."""
    rng = np.random.default_rng(seed)
    rows = []
    for cohort in (2023, 2024):
        for j in range(schools):
            u = rng.normal(0, 10)
            for i in range(size + j % 5):
                x = rng.normal(450, 50)
                gone = (j == 0 and cohort == 2024 and i < 7) or (j == 1 and i == 0)
                rows.append((f"{j:03d}", cohort, 0.8 * x + u + rng.normal(0, 30), np.nan if gone else x))
    return students(rows)


def test_by_hand_tested_counts_every_row_with_cohort_school_and_score():
    table = students(
        [("a", 2024, 1.0, 1.0), ("a", 2024, 2.0, np.nan), ("a", 2024, np.nan, 3.0), ("a", 2023, 5.0, np.nan)]
        + [("b", 2024, 3.0, 2.0), ("b", 2024, 4.0, 5.0), ("c", 2024, 4.0, np.nan), (None, 2024, 4.0, 4.0)]
    )
    table.loc[4, "student"] = None  # tested, and of an unknown code: not linked
    records = va.read_records(table)
    found = coverage.unlinked(records.attrs)
    assert found.reset_index().values.tolist() == [
        [2023, "a", 0, 1], [2024, "a", 1, 1], [2024, "b", 1, 1], [2024, "c", 0, 1]
    ]  # fmt: skip
    linked = records.groupby(["cohort", "school"]).size()
    assert coverage.tested(records.attrs, linked).to_dict() == {(2024, "a"): 2, (2024, "b"): 2}


def test_a_fit_has_tested_and_the_share_that_its_model_used():
    table = panel()
    table["x"] = 1.0 * (np.arange(len(table)) % 2)
    table.loc[table.index[(table["school"] == "002") & (table["cohort"] == 2024)][:3], "x"] = np.nan
    records = va.read_records(table)
    with pytest.warns(va.ValibWarning):
        effects = va.fit_relative(records, 2024, "score ~ prior_score + x").school_effects
    assert effects.loc[["000", "001", "002", "003"], "tested"].tolist() == [12, 13, 14, 15]
    assert effects.loc[["000", "001", "002", "003"], "n"].tolist() == [5, 12, 11, 15]
    np.testing.assert_allclose(effects["linked_share"], effects["n"] / effects["tested"])
    assert effects.columns[:4].tolist() == ["n", "tested", "linked_share", "low_coverage"]
    assert effects.index[effects["low_coverage"]].tolist() == ["000"]


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_rows_taken_out_later_make_coverage_unknown_and_not_wrong():
    records = va.read_records(panel())
    girls = records[records.index % 2 == 0]
    assert girls.attrs[coverage.UNLINKED]
    effects = va.fit_relative(girls, 2024).school_effects
    assert effects["tested"].isna().all() and effects["linked_share"].isna().all() and "low_coverage" not in effects
    whole = va.fit_relative(records[records["cohort"] == 2024], 2024).school_effects
    assert whole["tested"].notna().all(), "a whole cohort is known as before"


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_a_table_that_valib_did_not_read_has_no_coverage():
    data = va.load("sleepstudy")
    effects = va.fit_mixed(data, "Reaction ~ Days", "Subject").school_effects
    assert effects[["tested", "linked_share"]].isna().all(axis=None)


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_streams_count_the_same_as_memory(tmp_path, ending):
    table = panel()
    table.loc[5, "student"] = None
    table.loc[40, "school"] = None
    table.loc[50, "score"] = np.nan
    file = tmp_path / f"records.{ending}"
    table.to_csv(file, index=False) if ending == "csv" else table.to_parquet(file, index=False)
    memory, stream = va.read_records(file), stream_records(file, engine="duckdb")
    names = ["n", "tested", "linked_share", "low_coverage"]
    for cohort in (2023, 2024):
        a, b = (va.fit_relative(records, cohort).school_effects for records in (memory, stream))
        pd.testing.assert_frame_equal(a.filter(names), b.filter(names), check_dtype=False)
    a, b = (va.fit_joint(records, [2023, 2024]).school_effects for records in (memory, stream))
    pd.testing.assert_frame_equal(a.filter(names), b.filter(names), check_dtype=False)


@pytest.mark.filterwarnings("ignore::valib.ValibWarning")
def test_a_cohort_of_which_no_prior_is_known_is_counted_and_others_fit():
    table = panel()
    table.loc[table["cohort"] == 2023, "prior_score"] = np.nan
    records = va.read_records(table)
    found = coverage.unlinked(records.attrs).loc[2023]
    assert found["linked"].sum() == 0 and found["unlinked"].sum() == (table["cohort"] == 2023).sum()
    assert va.fit_relative(records).school_effects["tested"].sum() == (table["cohort"] == 2024).sum()


def test_records_keep_their_coverage_through_a_file_and_a_second_reading(tmp_path):
    records = va.read_records(panel())
    records.to_parquet(tmp_path / "kept.parquet")
    again = va.read_records(tmp_path / "kept.parquet")
    assert again.attrs[coverage.UNLINKED] == records.attrs[coverage.UNLINKED]


def test_schools_by_other_names_take_their_coverage_with_them():
    records = va.read_records(panel())
    names = {school: f"X{school}" for school in records["school"].unique()}
    told = coverage.unlinked(coverage.renamed(records.attrs, names))
    assert told.index.get_level_values("school").str.startswith("X").all() and told.loc[(2024, "X000"), "unlinked"] == 7
    assert coverage.renamed({}, names) == {}


def test_few_unlinked_students_are_masked_with_so_many_that_the_total_does_not_tell_them():
    table = pd.DataFrame({"n": [20, 20, 20, 20, 20], "tested": [20, 22, 26, 29, 40]})
    every = np.ones(5, dtype=bool)
    assert coverage.few_unlinked(table, every, 5).tolist() == [False, True, True, False, False]
    assert coverage.few_unlinked(table.iloc[[0, 2, 3]], every[:3], 5).tolist() == [False] * 3
    assert coverage.few_unlinked(table.iloc[[0, 0]], every[:2], 5).tolist() == [False] * 2, "nobody missing"
    hidden = np.array([True, False, True, True, True])  # 2 unlinked are held back: 6 more go with them
    assert coverage.few_unlinked(table, hidden, 5).tolist() == [False, False, True, False, False]
    assert not coverage.few_unlinked(table, every, 1).any()
