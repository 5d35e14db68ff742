"""The parts of the account, each on a small table whose counts are known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valib.records.reading import read_records, summarise
from valib.study.account import check_records, scores
from valib.study.account import limits as at
from valib.sums.equating import Link, ScaleBreak


def table(cells: dict[tuple[str, int], int], seed: int = 3, score_sd: float = 50.0) -> pd.DataFrame:
    """Records with the given number of students in each (school, cohort); scores on one scale."""
    rng = np.random.default_rng(seed)
    rows = [(school, cohort) for (school, cohort), n in cells.items() for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["school", "cohort"])
    frame["student"] = [f"P{k}" for k in range(len(frame))]
    frame["prior_score"] = rng.normal(430, 70, len(frame)).round(1)
    frame["score"] = (100 + 0.9 * frame["prior_score"] + rng.normal(0, score_sd, len(frame))).round(1)
    return frame


def take(frame: pd.DataFrame, baseline=(2015,), focal=(2016,), **changed):
    return check_records(read_records(frame), baseline, focal, **changed)


def found(account, code: str) -> list:
    return [item for item in account.findings if item.code == code]


def two_cohorts(n: int = 200) -> pd.DataFrame:
    return table({(school, cohort): n // 4 for school in "ABCD" for cohort in (2015, 2016)})


# Linkage


def test_linkage_counts_students_with_school_and_score(tmp_path):
    frame = two_cohorts()
    index = frame.index[frame["cohort"] == 2016]
    frame.loc[index[:30], "prior_score"] = np.nan  # 30 not linked
    frame.loc[index[:4], "score"] = np.nan  # 4 of them have no score either: they are not of the question
    frame.loc[index[40:42], "school"] = None  # 2 have no school
    said = take(frame)
    assert said.linkage.loc[2015, ["scored", "linked", "share"]].tolist() == [200, 200, 1.0]
    assert said.linkage.loc[2016, ["scored", "linked"]].tolist() == [200 - 4 - 2, 200 - 30 - 2]
    assert said.linkage.loc[2016, "share"] == pytest.approx(168 / 194)
    assert "under 90% (cohort 2016: 86.6%)" in found(said, "linkage")[0].text
    assert "was 100.0% in the baseline" in found(said, "linkage_change")[0].text
    assert "(cohort 2016: 86.6%)" in found(said, "linkage_change")[0].text
    scored = frame[(frame["cohort"] == 2016) & frame["score"].notna()]["score"]
    used = frame[(frame["cohort"] == 2016)].dropna()["score"]
    assert said.linkage.loc[2016, "score_difference"] == pytest.approx(used.mean() - scored.mean())
    assert said.linkage.loc[2015, "score_difference"] == 0.0


@pytest.mark.parametrize(("missing", "warned"), [(5, 0), (6, 0), (7, 1)])
def test_a_change_of_linkage_is_told_beyond_three_points(missing, warned):
    frame = two_cohorts()
    frame.loc[frame.index[frame["cohort"] == 2016][:missing], "prior_score"] = np.nan
    assert len(found(take(frame), "linkage_change")) == warned  # 6 of 200 are 3 points
    assert not found(take(frame), "linkage")


def test_leaving_out_the_weakest_is_told_though_the_share_hardly_changes():
    frame = table({(school, cohort): 500 for school in "ABCD" for cohort in (2015, 2016)})
    late = frame[frame["cohort"] == 2016].sort_values("score")
    frame.loc[late.index[:50], "prior_score"] = np.nan  # 2.5%: the lowest scores
    said = take(frame)
    assert [item.code for item in said.findings if item.code.startswith("linkage")] == ["linkage_scores"]
    difference = said.linkage.loc[2016, "score_difference"]
    assert difference == pytest.approx(late["score"][50:].mean() - late["score"].mean())
    assert f"(cohort 2016: {difference:.2f})" in found(said, "linkage_scores")[0].text
    at_random = frame.assign(prior_score=table({(s, c): 500 for s in "ABCD" for c in (2015, 2016)})["prior_score"])
    at_random.loc[late.sample(50, random_state=1).index, "prior_score"] = np.nan
    assert not [item for item in take(at_random).findings if item.code.startswith("linkage")]


def test_a_cohort_of_which_nothing_can_be_used_stops_the_study_and_stays_in_the_account():
    frame = two_cohorts()
    frame.loc[frame["cohort"] == 2016, "prior_score"] = np.nan
    said = take(frame)
    assert said.linkage.loc[2016, ["scored", "linked", "share"]].tolist() == [200, 0, 0.0]
    assert said.problems == ("No row of cohort 2016 can be used: see which rows are left out, and why.",)


# Student codes


def codes(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["student", "school", "cohort"])
    rng = np.random.default_rng(1)
    return frame.assign(score=rng.normal(500, 70, len(frame)), prior_score=rng.normal(430, 70, len(frame)))


def test_codes_that_stand_again_are_counted_by_school_and_cohort():
    said = take(
        codes(
            [
                ("a", "X", 2015),
                ("a", "X", 2015),
                ("a", "Y", 2015),  # once more in the school, once in another
                ("b", "X", 2015),
                ("b", "Y", 2015),
                ("b", "Z", 2015),  # twice in another school
                ("c", "X", 2015),
                ("c", "Y", 2016),  # a mover between cohorts: no duplicate
                ("d", "Y", 2015),
                ("d", "Y", 2016),
                ("d", "Y", 2016),  # a repeater, twice in 2016
                ("e", "Z", 2015),
                ("f", "Z", 2016),
                ("g", "X", 2016),
                ("h", "Y", 2016),
            ]
        )
    )
    assert said.codes["same_school"].tolist() == [1, 1]
    assert said.codes["other_school"].tolist() == [3, 0]
    assert said.codes["students_in_two_schools"].tolist() == [2, 0]
    assert said.codes["seen_before"].tolist() == [0, 2]
    assert said.cohorts["duplicates"].tolist() == [4, 1]
    assert (said.several, said.students) == (2, 8)
    assert "school and cohort: 2 (cohort 2015: 1; 2016: 1); " in found(said, "duplicates")[0].text
    assert "another school of the cohort too: 3 (cohort 2015: 3); " in found(said, "two_schools")[0].text
    assert (
        "more than one cohort: fewer than 10 (25.0%; seen before in cohort 2016)"
        in found(said, "several_cohorts")[0].text
    )


def test_duplicates_agree_with_pandas_on_random_codes():
    rng = np.random.default_rng(7)
    frame = codes(
        [
            (f"p{i}", f"s{j}", int(t))
            for i, j, t in zip(
                rng.integers(0, 300, 900), rng.integers(0, 8, 900), rng.choice([2015, 2016, 2018], 900), strict=True
            )
        ]
    )
    said = take(frame)
    again = frame.duplicated(["student", "cohort"]).groupby(frame["cohort"]).sum()
    same = frame.duplicated(["student", "school", "cohort"]).groupby(frame["cohort"]).sum()
    assert said.cohorts["duplicates"].tolist() == again.tolist()
    assert said.codes["same_school"].tolist() == same.tolist()
    schools = frame.groupby(["cohort", "student"])["school"].nunique()
    assert said.codes["students_in_two_schools"].tolist() == (schools > 1).groupby("cohort").sum().tolist()
    assert said.several == int((frame.groupby("student")["cohort"].nunique() > 1).sum())
    first = frame.groupby("student")["cohort"].min()
    before = frame.drop_duplicates(["student", "cohort"])
    before = (before["cohort"] > before["student"].map(first)).groupby(before["cohort"]).sum()
    assert said.codes["seen_before"].tolist() == before.tolist()


def test_codes_numbered_within_schools_are_recognised():
    frame = two_cohorts()
    frame["student"] = frame.groupby(["cohort", "school"]).cumcount().astype(str) + frame["cohort"].astype(str)
    said = take(frame)
    (item,) = found(said, "two_schools")
    assert not found(said, "duplicates") and not said.problems  # a code is compared within its school
    assert "numbered within schools, it seems" in item.text and "cohort 2015: 150; 2016: 150" in item.text


def test_one_student_in_two_schools_is_told_by_the_prior_score():
    """Enrolled twice, a student has one prior score; codes numbered within schools have others."""
    frame = two_cohorts()
    there = frame[(frame["cohort"] == 2016) & (frame["school"] == "A")].head(45)
    (item,) = found(take(pd.concat([frame, there.assign(school="B")])), "two_schools")
    assert (
        ": 45 (cohort 2016: 45); the prior score is the same in each, so these are students in several schools"
        in item.text
    )


# Schools


CELLS = {  # A stays, B is new in 2016, C is gone from 2018, D misses 2016 and 2018, E doubles by chance, F far beyond
    ("A", 2015): 30,
    ("A", 2016): 31,
    ("A", 2018): 30,
    ("A", 2019): 29,
    ("B", 2016): 40,
    ("B", 2018): 40,
    ("B", 2019): 40,
    ("C", 2015): 4,
    ("C", 2016): 25,
    ("D", 2015): 25,
    ("D", 2019): 3,
    ("E", 2015): 6,
    ("E", 2016): 13,
    ("E", 2018): 12,
    ("E", 2019): 1,
    ("F", 2015): 100,
    ("F", 2016): 30,
    ("F", 2018): 30,
    ("F", 2019): 110,
    ("G", 2019): 2,
}


def test_what_becomes_of_schools():
    said = take(table(CELLS), baseline=(2015, 2016), focal=(2018, 2019))
    moves = said.school_changes
    assert moves["previous"].tolist() == [2015, 2016, 2018]
    assert {name: moves[name].tolist() for name in ("new", "gone", "missing", "returned", "grown", "shrunk")} == {
        "new": [1, 0, 1],
        "gone": [0, 1, 0],
        "missing": [1, 1, 0],
        "returned": [0, 0, 1],
        "grown": [0, 0, 1],
        "shrunk": [1, 0, 0],  # C grew from 4 to 25: 21 < 4 * sqrt(29), E by chance
    }
    students = said.cohorts["students"]
    assert moves["not_in_baseline"].tolist()[1:] == [0.0, pytest.approx(2 / students[2019])]
    assert np.isnan(moves["not_in_baseline"][2016])
    assert said.presence == {
        "both": 5,
        "baseline_only": 1,
        "baseline_only_students": 29,
        "focal_only": 1,
        "focal_only_students": 2,
    }
    assert said.cohorts["tiny_schools"].tolist() == [1, 0, 0, 3]
    assert said.cohorts["one_student_schools"].tolist() == [0, 0, 0, 1]
    assert "beyond chance: 2 (cohort 2016: 1; 2019: 1)" in found(said, "size_changes")[0].text


def test_the_schools_that_change_most_come_first_and_small_ones_are_held_back():
    said = take(table(CELLS), baseline=(2015, 2016), focal=(2018, 2019))
    rows = list(said.school_list.itertuples(index=False, name=None))
    assert rows == [
        ("F", "grown", 2019, 30, 110),
        ("F", "shrunk", 2016, 100, 30),
        ("B", "new", 2016, 0, 40),
        ("C", "gone", 2018, 25, 0),
        ("D", "missing", 2016, 25, 3),
        ("G", "new", 2019, 0, 2),
    ]
    assert said.school_list_total == 6
    content = said.to_dict()
    assert [(row["before"], row["after"]) for row in content["school_list"]["shown"]] == [
        (30, 110),
        (100, 30),
        (0, 40),
        (25, 0),
        (25, None),
        (0, None),
    ]
    assert content["school_presence"]["focal_only_students"] is None
    assert [row["smallest_school"] for row in content["cohorts"]] == [None, 13, 12, None]


def test_schools_balance_from_cohort_to_cohort_on_random_panels():
    """Open schools: those there and those that are missing; they change by the new and the gone only."""
    rng = np.random.default_rng(11)
    for _ in range(6):
        there = rng.random((15, 6)) < rng.uniform(0.3, 0.9)
        there[0] = True
        said = take(
            table({(f"S{j:02d}", 2010 + t): 3 for j, t in zip(*np.nonzero(there), strict=True)}),
            baseline=(2010,),
            focal=(2011,),
        )
        moves = said.school_changes
        open_ = there.sum(axis=0) + np.append(0, moves["missing"])
        assert np.diff(open_).tolist() == (moves["new"] - moves["gone"]).tolist()
        assert moves["returned"].sum() == sum(
            int((np.diff(np.flatnonzero(row)) > 1).sum()) for row in there if row.any()
        )


def test_many_changes_are_cut_at_ten():
    cells = {(f"S{k:02d}", 2015): 20 + k for k in range(14)} | {(s, t): 30 for s in "AB" for t in (2015, 2016)}
    said = take(table(cells))
    assert (len(said.school_list), said.school_list_total) == (10, 14)
    assert said.school_list["before"].tolist() == list(range(33, 23, -1))
    assert [item.code for item in said.findings if item.code == "cohort_sizes"] == ["cohort_sizes"]
    assert f"(cohort 2016: 60 after {sum(range(20, 34)) + 60:,})" in found(said, "cohort_sizes")[0].text


def test_school_codes_that_change_are_told():
    old, new = [f"S{k}" for k in range(10)], [f"S{k}" for k in range(5)] + [f"X{k}" for k in range(5)]
    said = take(table({(s, 2015): 30 for s in old} | {(s, 2016): 30 for s in new}))
    assert "(cohort 2016: 5 new, 5 gone)" in found(said, "school_codes")[0].text
    assert "(cohort 2016: 50.0%)" in found(said, "new_to_baseline")[0].text
    stable = take(table({(s, t): 30 for s in old for t in (2015, 2016)}))
    assert stable.findings == ()


# Scores


def shaped(values: np.ndarray, column: str = "score") -> pd.DataFrame:
    """Two cohorts of 1,000 students; ``values`` are the scores, or prior scores, of 2016."""
    frame = table({(school, cohort): 250 for school in "ABCD" for cohort in (2015, 2016)})
    frame.loc[frame["cohort"] == 2016, column] = values
    return frame


def normal(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(490, 75, 1000).round(1)


def test_score_ranges_are_those_of_numpy():
    frame = shaped(normal())
    said = take(frame)
    for column in ("score", "prior_score"):
        for cohort in (2015, 2016):
            values = frame.loc[frame["cohort"] == cohort, column].to_numpy()
            row = said.scores.loc[(column, cohort)]
            assert row[["min", "p1", "median", "p99", "max"]].tolist() == pytest.approx(
                [values.min(), np.quantile(values, 0.01), np.median(values), np.quantile(values, 0.99), values.max()]
            )
            assert row[["mean", "sd"]].tolist() == pytest.approx([values.mean(), values.std(ddof=1)])
            assert row["values"] == len(set(values))
            assert row["at_max"] == (values == values.max()).mean()
    pd.testing.assert_frame_equal(
        said.cohorts[["students", "schools", "score_mean", "prior_sd"]],
        summarise(read_records(frame))[["students", "schools", "score_mean", "prior_sd"]],
    )


def test_a_ceiling_and_a_floor_are_told_with_their_share():
    values = normal()
    capped = np.clip(values, np.quantile(values, 0.03), np.quantile(values, 0.94))
    said = take(shaped(capped))
    ceiling, floor = (found(said, code)[0].text for code in ("ceiling", "floor"))
    assert f"{(capped == capped.max()).mean():.1%} of the students of cohort 2016 at its highest value" in ceiling
    assert f"{(capped == capped.min()).mean():.1%} of the students of cohort 2016 at its lowest value" in floor
    assert said.scores.loc[("score", 2016), "at_max"] == (capped == capped.max()).mean()


def test_whole_number_scores_of_a_short_test_are_no_ceiling_and_no_pile():
    """Thirty items, right with probability a half: every middle value holds up to 15% of the students."""
    marks = np.random.default_rng(2).binomial(30, np.random.default_rng(3).beta(6, 6, 1000))
    said = take(shaped(marks * 10.0 + 350))
    assert 20 <= said.scores.loc[("score", 2016), "values"] <= 31
    assert not [item for item in said.findings if item.code in ("floor", "ceiling", "pile", "far_off", "few_values")]


def test_a_pile_is_told_where_one_value_stands_for_many():
    values = normal()
    values[:60] = 500.05
    (item,) = found(take(shaped(values, "prior_score")), "pile")
    assert item.text.startswith("Column prior_score has 6.0% of the students of cohort 2016 at the one value 500.05,")
    assert not found(take(shaped(normal(), "prior_score")), "pile")


def test_few_values_are_told_instead_of_a_ceiling():
    values = np.repeat([300.0, 400.0, 500.0, 600.0], [100, 300, 350, 250])
    said = take(shaped(values))
    (item,) = found(said, "few_values")
    assert "takes 4 values only in cohort 2016 (10.0% of students at the lowest, 25.0% at the highest)" in item.text
    assert not found(said, "ceiling")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (999.0, "1 student of cohort 2016 at the value 999, far above the next, 7"),
        (-99.0, "1 student of cohort 2016 at the value -99, far below the next, "),
    ],
)
def test_a_code_for_missing_is_told(code, told):
    values = np.clip(normal(), 300, 690)
    assert not found(take(shaped(values)), "far_off")
    values = normal()
    values[0] = code
    values[1:][values[1:] > 760] = 700.0
    (item,) = found(take(shaped(values)), "far_off")
    assert told in item.text


def test_several_values_far_off_are_told_as_a_range():
    values = np.clip(normal(), 300, 690)
    values[:7] = [998, 998, 998, 998, 999, 999, 999]
    (item,) = found(take(shaped(values)), "far_off")
    assert "has 7 students of cohort 2016 at values from 998 to 999, far above the next, 690" in item.text


def test_a_cohort_on_another_scale_is_told_unless_the_break_is_declared():
    frame = shaped(normal() / 10)
    (item,) = found(take(frame), "scale")
    assert item.cohorts == (2016,) and "Column score looks as if on another scale" in item.text
    declared = take(frame, scale_breaks=[ScaleBreak(2016, "score", Link(10.0, 0.0))])
    assert not found(declared, "scale") and found(declared, "scale_break")
    assert not found(take(shaped(normal() - 40)), "scale")  # half an SD is a drift


def test_a_baseline_cohort_on_another_scale_is_told_for_the_prior_too():
    frame = table({(school, cohort): 60 for school in "ABCD" for cohort in (2013, 2014, 2015, 2016)})
    frame.loc[frame["cohort"] == 2014, "prior_score"] /= 2
    said = take(frame, baseline=(2013, 2014, 2015))
    (item,) = found(said, "scale")
    assert item.cohorts == (2014,) and item.text.startswith("Column prior_score")


def test_scores_standardised_before_rows_were_lost_are_told():
    frame = two_cohorts(800)
    for column in ("score", "prior_score"):
        by_cohort = frame.groupby("cohort")[column]
        frame[column] = (frame[column] - by_cohort.transform("mean")) / by_cohort.transform("std")
    frame = frame.drop(index=frame.sample(40, random_state=1).index)
    said = take(frame)
    texts = [item.text for item in found(said, "z_scores")]
    assert [text.split()[1] for text in texts] == ["score", "prior_score"] and said.problems == ()
    assert "no shift is left to find" in texts[0] and "changes of intake are out of sight" in texts[1]


def test_a_heap_needs_to_stand_out_from_its_neighbours():
    n = np.full(60, 20)
    assert not any(scores._is_pile(n, k) for k in range(60))
    n[30] = 20 * at.HEAP_FACTOR
    assert [k for k in range(60) if scores._is_pile(n, k)] == [30]
    n[33] = 21
    assert not any(scores._is_pile(n, k) for k in range(60))


# Covariates


def test_covariates_are_counted_by_cohort():
    frame = two_cohorts().assign(ses=1.5, region="north", sex=0)
    late = frame.index[frame["cohort"] == 2016]
    frame["ses"] = np.random.default_rng(1).normal(size=len(frame))
    frame.loc[frame.index[:100], "region"] = "south"
    frame.loc[late[:3], "region"] = "east"
    frame.loc[late[:40], "ses"] = np.nan
    frame["sex"] = np.arange(len(frame)) % 2
    said = take(frame, formula="score ~ prior_score + C(sex) + region + ses")
    assert said.covariates.loc[("ses", 2016), ["rows", "missing", "share"]].tolist() == [200, 40, 0.2]
    assert said.covariates.loc[("region", 2016), ["levels", "unseen"]].tolist() == [3, 3]
    assert said.covariates.loc[("sex", 2015), "levels"] == 2 and pd.isna(said.covariates.loc[("ses", 2015), "levels"])
    told = found(said, "covariate_missing")[0].text
    assert "(cohort 2016: 20.0%)" in told and "leave them out" in told
    lines = take(frame, formula="score ~ prior_score * known(ses) + if_known(ses)")
    assert "a line of their own, so see" in found(lines, "covariate_missing")[0].text
    assert said.problems == (
        "Column region of the formula has values that the baseline does not have (rows in them: "
        "cohort 2016: 3): join levels, or choose a baseline that has them.",
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.assign(x=np.nan), "Column x is missing for all students of cohorts 2015, 2016"),
        (
            lambda f: f.assign(x=np.where(np.arange(len(f)) == 399, np.inf, np.arange(len(f)) % 7)),
            "Column x is infinite in 1 rows of cohort 2016",
        ),
        (
            lambda f: f.assign(x=np.where(f["cohort"] == 2016, 1.0, np.arange(len(f)) % 7)),
            "Column x has the same value for all students of cohort 2016",
        ),
        (
            lambda f: f.assign(x=[f"v{k}" for k in range(len(f))]),
            "Column x of the formula has values that the baseline",
        ),
    ],
)
def test_what_stops_a_fit_in_the_formula_only_warns_in_further_formulas(change, told):
    frame = change(two_cohorts())
    said = take(frame, formula="score ~ prior_score + x")
    assert len(said.problems) == 1 and said.problems[0].startswith(told)
    further = take(frame, further_formulas=["score ~ prior_score + x"])
    assert further.problems == ()
    assert told.replace("the formula", "further_formulas") in found(further, "covariate")[0].text


def test_a_column_of_names_is_refused_before_it_makes_as_many_columns():
    frame = table({(s, t): 1500 for s in "AB" for t in (2015, 2016)})
    frame["name"] = [f"v{k % 1200}" for k in range(len(frame))]
    said = take(frame, formula="score ~ prior_score + name")
    assert said.problems == (
        "Column name is no number and has up to 1,200 different values in a cohort: leave it out "
        "of the formula, or bring it to a few groups.",
    )
    few = take(frame.assign(name=[f"v{k % 60}" for k in range(len(frame))]), formula="score ~ prior_score + name")
    assert few.problems == () and "up to 60 different values" in found(few, "levels")[0].text


def test_a_further_formula_without_its_columns_is_told():
    said = take(two_cohorts(), further_formulas=["score ~ prior_score + ses + female"])
    (item,) = found(said, "further_formula")
    assert item.code == "further_formula" and "needs female, ses, not among the columns" in item.text


# Cohorts


def test_a_column_of_cohorts_that_are_no_years_is_told_and_the_study_still_described():
    frame = two_cohorts()
    rest = table({("A", cohort): 1 for cohort in range(3000, 3150)}).assign(student=[f"Q{k}" for k in range(150)])
    said = take(pd.concat([rest, frame]))
    assert len(said.cohorts) == at.MOST_COHORTS and {2015, 2016} <= set(said.cohorts.index)
    assert (said.cohorts_in_data, said.students, said.rows_used) == (152, 550, 550)
    assert "152 different values, of which 100 are described" in found(said, "many_cohorts")[0].text


def test_rows_without_a_cohort_are_told():
    frame = two_cohorts()
    frame["cohort"] = frame["cohort"].where(frame.index >= 3)
    assert "3 of 400 rows have no cohort" in found(take(frame), "no_cohort")[0].text


def test_a_focal_cohort_that_cannot_be_scored_stops_the_study():
    frame = two_cohorts().assign(x=1.0)
    frame["x"] = np.arange(len(frame)) % 9 - np.where(frame["cohort"] == 2016, 20, -1)
    said = take(frame, formula="score ~ prior_score + np.log(x)")
    assert len(said.problems) == 1 and said.problems[0].startswith("Cohort 2016: The formula")


def test_rows_without_school_or_score_are_told_by_cohort_and_those_without_a_prior_are_not():
    frame = two_cohorts()
    late = frame.index[frame["cohort"] == 2016]
    frame.loc[late[:9], "score"] = np.nan
    frame.loc[late[9:12], "school"] = None
    frame.loc[frame.index[:18], "prior_score"] = np.nan  # 18 of 200 in 2015: linkage, not rows
    said = take(frame)
    assert "(cohort 2016: 6.0%)" in found(said, "left_out")[0].text
    frame.loc[late[10:12], "school"] = "A"
    assert not found(take(frame), "left_out")  # 10 of 200 are 5%
