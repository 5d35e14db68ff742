"""Schools held back for low coverage stay hidden from whoever has all published files, the new counts among them."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from attacker import World, benchmark, cohort_of, relative
from conftest import simulate
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.effects.baseline import fit_baseline
from valib.records.coverage import LOW
from valib.records.disclosure import HIDDEN, cell_sizes, cells, shown, told_coverage, whole
from valib.study import tables

MINIMUM = 5
pytestmark = pytest.mark.filterwarnings("ignore::valib.ValibWarning")


def system(schools: int = 30, size: int = 22, missing: int = 13) -> pd.DataFrame:
    """Three cohorts; in 2018 the last school lacks so many prior scores, and five others one or two."""
    frame = simulate(np.random.default_rng(1), schools, (size, size), (2015, 2016, 2018), rho=0.6, shift={2018: -9.0})
    frame = frame.drop(columns="u").reset_index(drop=True)
    place = frame.groupby(["cohort", "school"]).cumcount()
    last = frame["cohort"] == 2018
    lost = (frame["school"] == f"S{schools - 1:04d}") & (place < missing)
    for k in range(5):
        lost |= (frame["school"] == f"S{2 * k:04d}") & (place <= k % 2)
    frame.loc[lost & last, "prior_score"] = np.nan
    return frame


def held(records: pd.DataFrame, cohort: int, together: bool = False) -> list[str]:
    mask = (whole if together else cells)(cell_sizes(records), MINIMUM)
    return [school for (year, school), ok in mask.items() if year == cohort and not ok]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=25), st.integers(1, 12))
def test_low_schools_are_held_back_with_so_many_that_three_are_hidden(schools, minimum):
    n = np.array([size for size, _ in schools], dtype=int)
    low = np.array([flag for _, flag in schools], dtype=bool)
    mask = shown(n, minimum, low=low)
    hidden = (n > 0) & ~mask
    primary = (n > 0) & ((n < minimum) | low)
    assert not mask[primary].any() and not mask[n == 0].any()
    if not primary.any():
        assert not hidden.any()
    elif mask.any():
        assert hidden.sum() >= HIDDEN and n[hidden].sum() >= minimum
        more = hidden & ~primary
        assert not more.any() or n[more].max() <= n[mask].min(), "the next smallest go with them"
    np.testing.assert_array_equal(shown(n, minimum, low=np.zeros(len(n), dtype=bool)), shown(n, minimum))
    table = pd.DataFrame({"n": n, LOW: low})
    np.testing.assert_array_equal(shown(table, minimum), shown(n, minimum, table.index, low))


def test_a_table_and_the_sizes_of_records_tell_the_same():
    records = va.read_records(system())
    alone = va.fit_relative(records, 2018)
    every = va.fit_joint(records, [2015, 2016, 2018])
    assert held(records, 2018) == alone.school_effects.index[~shown(alone.school_effects, MINIMUM)].tolist()
    assert len(held(records, 2018)) == 3 and "S0029" in held(records, 2018) and held(records, 2015) == []
    together = held(records, 2015, together=True)
    assert together == held(records, 2018), "of a joint model a school is held back in all cohorts"
    told, back = tables.joint_effects(every, MINIMUM)
    assert back == 9 and not set(together) & set(told["school"])
    for sizes in (every.school_effects, cell_sizes(records)):
        assert not va.shown_in_all(sizes, MINIMUM, [2015, 2018])[together].any()


def test_with_everything_low_everything_is_held_back_and_with_nothing_nothing():
    frame = system(10, missing=0)
    frame.loc[frame["cohort"] == 2018, "prior_score"] = frame["prior_score"].where(
        frame.groupby(["cohort", "school"]).cumcount() < 8
    )
    fit = va.fit_relative(va.read_records(frame), 2018)
    assert fit.school_effects[LOW].all()
    table, back = tables.school_effects([fit], MINIMUM)
    assert len(table) == 0 and back == 10 and LOW not in table
    assert va.side_counts([fit], MINIMUM)["schools"].tolist() == [0]
    assert len(va.false_discoveries(fit, 0.05, MINIMUM)) == 0
    whole_fit = va.fit_relative(va.read_records(frame), 2015)
    assert LOW not in whole_fit.school_effects and tables.school_effects([whole_fit], MINIMUM)[1] == 0


def test_the_studys_own_threshold_decides():
    records = va.read_records(system(missing=4))  # .82 of its students
    assert LOW not in va.fit_relative(records, 2018).school_effects
    records.attrs["min_linked_share"] = 0.85
    assert va.fit_relative(records, 2018).school_effects[LOW].sum() == 1 and len(held(records, 2018)) == 3
    records.attrs["min_linked_share"] = 0.0
    assert LOW not in va.fit_relative(records, 2018).school_effects


def test_of_a_school_of_low_coverage_nothing_is_learned_from_both_models():
    """What any attacker could know of its means is wider than what is known without the tables."""
    records = va.read_records(system())
    base = fit_baseline(records, [2015, 2016])
    known = {2018: cohort_of(records, 2018, held(records, 2018))}
    spread = {"x": float(np.hypot(20, 60 / np.sqrt(9))), "y": float(np.hypot(16, 75 / np.sqrt(9)))}
    world = World(known, [relative([2018]), benchmark([2018], base)])
    extent = world.extent(know_sizes=True)
    for piece, sd in spread.items():
        assert extent[2018, piece, "S0029"] > 2 * sd


def publication(n: np.ndarray, unlinked: np.ndarray) -> tuple:
    """What is published of a cohort's coverage: totals, and the rows shown."""
    table = pd.DataFrame({"n": n, "tested": n + unlinked}, index=[f"S{k}" for k in range(len(n))])
    share = table["n"] / table["tested"]
    table["linked_share"] = share
    if (share < 0.5).any():
        table[LOW] = share < 0.5
    told = told_coverage(table, shown(table, MINIMUM), MINIMUM)
    return (
        int(n.sum()),
        int(unlinked.sum()),
        told.astype(object).where(told.notna(), None).reset_index().values.tolist(),
    )


def test_counts_published_of_the_others_do_not_tell_those_held_back():
    """The attacker tries all counts of the three schools held back, and of those masked, that give the same publication."""
    n = np.array([9, 10, 11, 20, 22, 24, 25, 26])
    unlinked = np.array([13, 0, 1, 2, 3, 0, 6, 9])
    printed = publication(n, unlinked)
    rows = {row[0]: row for row in printed[2]}
    assert set(rows) == {"S3", "S4", "S5", "S6", "S7"} and rows["S3"][2] is rows["S4"][2] is None
    assert rows["S5"][2:] == [24, 1.0] and rows["S6"][2] == 31
    masked = [k for k in range(3, 8) if rows[f"S{k}"][2] is None]
    fits: dict[tuple[int, str], set] = {
        (k, what): set() for k in (0, 1, 2, *masked) for what in ("n", "unlinked", "share")
    }
    rng, lost = np.random.default_rng(1), int(unlinked[[0, 1, 2, *masked]].sum())
    for _ in range(250):
        tried, other = n.copy(), unlinked.copy()
        tried[1:3] = rng.integers(1, 14, 2)
        tried[0] = n[:3].sum() - tried[1:3].sum()
        other[masked] = rng.integers(1, MINIMUM, len(masked))
        most = max(lost - int(other[masked].sum()), 0)
        other[:3] = np.diff([0, *np.sort(rng.integers(0, most + 1, 2)), most])
        if tried[0] > 0 and publication(tried, other) == printed:
            for k in (0, 1, 2, *masked):
                fits[k, "n"].add(int(tried[k]))
                fits[k, "unlinked"].add(int(other[k]))
                fits[k, "share"].add(round(tried[k] / (tried[k] + other[k]), 2))
    for k in range(3):
        assert len(fits[k, "n"]) >= 4 and len(fits[k, "unlinked"]) >= 4
        assert min(fits[k, "share"]) < 0.5 < 0.8 < max(fits[k, "share"]), (
            "which of them is of low coverage is not known"
        )
    for k in masked:
        assert len(fits[k, "unlinked"]) >= 3


def test_were_every_count_printed_the_attacker_would_know():
    """The test that can fail: without masks and complements the totals give the one school left out."""
    n, unlinked = np.array([9, 30, 31, 32]), np.array([13, 2, 0, 1])
    assert n.sum() - n[1:].sum() == 9 and unlinked.sum() - unlinked[1:].sum() == 13
    printed = publication(n, unlinked)
    assert len(printed[2]) <= 1 and all(row[2] is None for row in printed[2] if row[0] != "S2")


def test_no_file_of_a_fit_names_a_school_of_low_coverage(tmp_path):
    """Findings, tables and the screen's lines; the analyst's warning alone names it."""
    data = tmp_path / "records.csv"
    frame = system()
    frame["school"] = frame["school"].replace({"S0029": "Hidden House"})
    frame.to_csv(data, index=False)
    for model in ("relative", "benchmark"):
        words = ["fit", str(data), "--model", model, "--out", str(tmp_path / model), "--focal-cohorts", "2018"]
        done = CliRunner().invoke(app, [*words, "--baseline-cohorts", "2015,2016"])
        assert done.exit_code == 0, done.output
        assert "Hidden House (40.9%)" in done.stderr and "Hidden House" not in done.stdout
        assert re.search(r"\d not shown: fewer than 5 students or under 50% of the tested linked", done.stdout)
        for file in (path for path in (tmp_path / model).rglob("*") if path.suffix in (".csv", ".json", ".svg")):
            text = file.read_text(encoding="utf-8")
            assert "Hidden House" not in text, file
        fits = json.loads((tmp_path / model / "fits.json").read_text())
        assert any(item["code"] == "coverage" for fit in fits for item in fit["findings"])


def test_a_school_that_is_held_back_says_so_on_its_own_page_alone(tmp_path):
    data = tmp_path / "records.csv"
    system(12).to_csv(data, index=False)
    words = [
        "report",
        str(data),
        *"--school S0011 --school S0007 --quiet --baseline-cohorts 2015,2016 --out".split(),
        str(tmp_path / "report"),
    ]
    done = CliRunner().invoke(app, [*words, "--focal-cohorts", "2018"])
    assert done.exit_code == 0, done.output
    note = "No figure is shown for 2018: for less than 50% of the students with a result"
    pages = {
        page.stem: page.read_text(encoding="utf-8") for page in (tmp_path / "report" / "html" / "schools").iterdir()
    }
    assert [name for name, text in pages.items() if note in text] == ["s0011"]
    rows = pd.read_csv(tmp_path / "report" / "report.csv", dtype={"school": "str"})
    row = rows[(rows["school"] == "S0011") & (rows["cohort"] == 2018)].iloc[0]
    assert row["state"] == "held back" and row[["n", "tested", "linked_share", "relative", "benchmark"]].isna().all()
    index = (tmp_path / "report" / "html" / "index.html").read_text(encoding="utf-8")
    assert "2018: of 9 schools" in index and "up to 0.5 would be above or below by chance" in index
