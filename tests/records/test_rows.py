"""Which rows are read, and prior scores from other rows or another file, against tables prepared by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from valib.command.cli import app
from valib.errors import ParamsError, RecordsError
from valib.records.pseudonyms import replace_schools
from valib.records.reading import read_records
from valib.study.account import check_records
from valib.study.params import Params, load, understood

PRIOR = {"years_before": 1, "match": ["subject"]}


def long(seed: int = 3, n: int = 60) -> pd.DataFrame:
    """One row a student, year and subject; codes with leading zeros, some scores and grades missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [
            (f"{i:04d}", f"{i % 5:03d}", year, subject, 3 + year - 2021, i % 3 == 0)
            for year in (2021, 2022, 2023)
            for subject in ("reading", "maths")
            for i in range(n)
        ],
        columns=["student", "school", "cohort", "subject", "grade", "flag"],
    )
    frame["score"] = rng.normal(500, 50, len(frame)).round(3)
    frame.loc[rng.random(len(frame)) < 0.05, "score"] = np.nan
    frame["grade"] = frame["grade"].astype(float).mask(rng.random(len(frame)) < 0.1)
    return frame.drop(index=frame.index[rng.random(len(frame)) < 0.1]).reset_index(drop=True)


def with_prior(frame: pd.DataFrame, on=("student", "subject")) -> pd.DataFrame:
    """The same records joined by hand."""
    before = frame[[*on, "cohort", "score"]].assign(cohort=frame["cohort"] + 1).rename(columns={"score": "prior_score"})
    return frame.merge(before, on=[*on, "cohort"], how="left")


EXPRESSIONS = {
    "subject == 'reading'": lambda d: d.subject == "reading",
    "subject != 'reading' and grade >= 4": lambda d: (d.subject != "reading") & (d.grade >= 4),
    "grade != 4": lambda d: d.grade.notna() & (d.grade != 4),
    "not grade == 4": lambda d: ~(d.grade == 4),
    "grade is missing or grade in (4, 5)": lambda d: d.grade.isna() | d.grade.isin([4, 5]),
    "grade is not missing": lambda d: d.grade.notna(),
    "grade not in [3, 4]": lambda d: d.grade.notna() & ~d.grade.isin([3, 4]),
    "school in ('001', '004')": lambda d: d.school.isin(["001", "004"]),
    "4 <= grade < 5": lambda d: d.grade == 4,
    "cohort - grade == 2018 and flag == True": lambda d: (d.cohort - d.grade == 2018) & d.flag,
    "Q('score') > -1 or subject == 'maths'": lambda d: (d.score > -1) | (d.subject == "maths"),
}


@pytest.mark.parametrize("kind", ["frame", "csv", "parquet"])
@pytest.mark.parametrize("where", EXPRESSIONS)
def test_rows_and_prior_scores_are_those_of_a_table_made_by_hand(where, kind, tmp_path):
    frame = long()
    joined = with_prior(frame)
    theirs = joined[EXPRESSIONS[where](joined)]
    source = frame
    if kind != "frame":
        source = tmp_path / f"long.{kind}"
        frame.to_csv(source, index=False) if kind == "csv" else frame.to_parquet(source)
    ours = read_records(source, where=where, prior=PRIOR)
    expected = theirs.dropna(subset=["score", "prior_score"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(ours[expected.columns], expected, check_dtype=False, rtol=1e-9)
    assert ours.attrs["where"] == {"expression": where, "rows": len(frame), "left_out": len(frame) - len(theirs)}
    assert ours.attrs["rows_read"] == len(theirs)
    linkage = ours.attrs["prior"]
    assert linkage["linked"] == theirs["prior_score"].notna().sum()
    assert linkage["linked"] + linkage["unlinked"] == len(theirs) and linkage["ambiguous"] == 0
    for by in ("cohort", "school"):
        assert {r[by]: r["linked"] for r in linkage[f"by_{by}"]} == theirs.groupby(by)["prior_score"].count().to_dict()


REFUSED = {
    "subject == 'readin'": "no row has subject == 'readin'; the values are maths, reading",
    "subject == 3": "compares subject (text) with 3 (number)",
    "school == 1": "texts stand in quotes",
    "grade > '4'": "compares grade (number) with '4' (text)",
    "sex == 'f'": "needs column 'sex'",
    "subject < 'reading'": "asks for the order of subject",
    "grade == 99": "no row is left",
    "student == '9999'": "no row has student == '9999'.",
    "__import__('os').system('x')": "not understood",
    "subject": "not understood",
    "score.mean() > 1": "not understood",
    "grade ==": "cannot be read",
    "(" * 300 + "grade" + ")" * 300 + " == 4": "",
}


@pytest.mark.parametrize("where", REFUSED)
def test_what_is_not_understood_or_leaves_no_row_is_refused_in_a_sentence(where):
    if not REFUSED[where]:  # brackets too deep for the parser on some Python, and none on others
        with pytest.raises(RecordsError):
            read_records(long(), where=where.replace("4", "99"), prior=PRIOR)
        return
    with pytest.raises(RecordsError) as refusal:
        read_records(long(), where=where, prior=PRIOR)
    assert REFUSED[where] in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_row_with_two_earlier_rows_has_no_prior_and_is_counted():
    frame = long()
    once = frame[(frame.cohort == 2021) & (frame.subject == "reading") & frame.score.notna()].head(2)
    later = frame.merge(once[["student", "subject"]])[lambda d: d.cohort == 2022]
    doubled = pd.concat([frame, once.assign(score=1.0)], ignore_index=True)
    ours = read_records(doubled, prior=PRIOR)
    assert ours.attrs["prior"]["ambiguous"] == len(later) > 0
    assert ours.merge(later[["student", "subject", "cohort"]]).empty
    with pytest.raises(RecordsError, match="more than one earlier row .* match"):
        read_records(frame, prior={"years_before": 1})


def test_another_file_is_joined_by_code_with_its_leading_zeros(tmp_path):
    frame = long()
    now, before = frame[frame.cohort == 2022], frame[frame.cohort == 2021]
    before.rename(columns={"student": "ID", "score": "POINTS"}).to_csv(tmp_path / "before.csv", index=False)
    now.to_csv(tmp_path / "now.csv", index=False)
    prior = {"file": "before.csv", "columns": {"student": "ID", "score": "POINTS"}, "match": ["subject"]}
    text = f"data: now.csv\nprior: {prior}\nwhere: \"subject == 'reading'\"\n"
    (tmp_path / "study.yml").write_text(text, encoding="utf-8")
    ours = load(tmp_path / "study.yml").read_records()
    theirs = with_prior(frame)[lambda d: (d.cohort == 2022) & (d.subject == "reading")]
    theirs = theirs.dropna(subset=["score", "prior_score"])
    assert ours["student"].tolist() == theirs["student"].tolist()
    np.testing.assert_allclose(ours["prior_score"], theirs["prior_score"], rtol=1e-12)


@pytest.mark.parametrize(
    "prior",
    [
        {},
        {"years_before": 1, "file": "x.csv"},
        {"years_before": 0},
        {"years_before": True},
        {"years_before": 1, "matched": ["subject"]},
        {"years_before": 1, "match": ["subject", "subject"]},
        {"file": "x.csv", "column": "score"},
    ],
)
def test_a_prior_of_another_form_is_refused(prior):
    with pytest.raises(RecordsError):
        read_records(long(), prior=prior)
    with pytest.raises(ValueError, match="prior"):
        Params(data="x.csv", prior=prior)


def test_a_prior_and_a_column_of_prior_scores_are_not_both_taken():
    with pytest.raises(RecordsError, match="has a column for prior_score"):
        read_records(long().assign(prior_score=1.0), prior=PRIOR)


@pytest.mark.parametrize(
    "text",
    [
        "years_before=2,match=subject+form",
        "{years_before: 2, match: [subject, form]}",
        '{"years_before": 2, "match": ["subject", "form"]}',
    ],
)
def test_a_prior_means_the_same_from_everywhere(text):
    assert understood("prior", text) == {"years_before": 2, "match": ["subject", "form"]}
    assert understood("prior", "null") is None


def test_bundled_records_take_neither():
    with pytest.raises(ParamsError, match="leave where and prior out"):
        Params(where="cohort == 2024").read_records()


def test_check_tells_rows_and_linkage_and_hides_small_schools(tmp_path):
    frame = long()
    frame.loc[frame.student == "0007", "school"] = "lone"
    content = check_records(
        read_records(frame, where="subject == 'maths'", prior=PRIOR), [2022], [2023], min_students=5
    ).to_dict()
    assert content["where"]["left_out"] == (frame.subject != "maths").sum()
    assert {r["school"] for r in content["prior_linkage"]["by_school"]} == {
        "000",
        "001",
        "003",
        "004",
    }  # nor 002, whose count with a total would give the lone school's away
    assert [r["step"] for r in content["prior_linkage"]["grade_steps"]] == [1.0]
    file = tmp_path / "long.csv"
    frame.to_csv(file, index=False)
    cohorts = ["--baseline-cohorts", "2022", "--focal-cohorts", "2023"]
    choice = ["--where", "subject == 'maths'", "--prior", "years_before=1,match=subject"]
    said = CliRunner().invoke(app, ["check", str(file), *cohorts, *choice]).output
    assert f"{content['where']['left_out']:,} are left out by where: subject == 'maths'" in said
    assert f"{content['prior_linkage']['linked']:,} rows linked" in said


def test_the_linkage_under_pseudonyms_names_no_school(tmp_path):
    from valib.records.pseudonyms import make_key

    key = tmp_path / "key"
    make_key(key)
    records = replace_schools(read_records(long(), prior=PRIOR), key)
    assert {r["school"] for r in records.attrs["prior"]["by_school"]} == set(records["school"])
