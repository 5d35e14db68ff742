"""Student records: what is read, what is refused (and in which words), what is left out and counted."""

import cProfile
import gzip
import pstats
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from valib.errors import RecordsError, ValibWarning
from valib.records.reading import CANONICAL, left_out, read_records, select, summarise

CSV = """student_id,school_id,year,score,prior_score,area
001,00417,2024,512.5,430,north
002,"St. Mary's & Co_50%",2024,498,,south
003,NA,2024,NA,401.25,south
004,,2023,510,402,NA
 005 , 00417 ,2023,505,410,north
"""
# 600,000 rows take about 0.1 to 0.3 s on the machine this was written on; the bound only catches a per-row loop.


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "student": ["a", "b", "c", "d"],
            "school": ["1", "1", "2", "2"],
            "cohort": [2023, 2024, 2024, 2024],
            "score": [1.0, 2.0, 3.0, 5.0],
            "prior_score": [1.0, 2.0, 2.0, 1.0],
        }
    )


def write(folder, text, name="schools.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(source, columns=None):
    with pytest.raises(RecordsError) as caught:
        read_records(source, columns)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_csv_codes_survive_and_unusable_rows_are_counted(tmp_path):
    records = read_records(write(tmp_path, CSV))
    assert records["student"].tolist() == ["001", "005"]
    assert records["school"].tolist() == ["00417", "00417"]
    assert records["score"].tolist() == [512.5, 505.0]
    assert list(records.columns) == [*CANONICAL, "area"]
    assert records.dtypes[list(CANONICAL)].astype(str).tolist() == ["str", "str", "int64", "float64", "float64"]
    assert left_out(records).values.tolist() == [
        [2023, "no school", 1],
        [2024, "no prior score", 1],
        [2024, "no score", 1],
    ]
    assert records.attrs["source"] == "schools.csv"
    assert records.attrs["rows_read"] == 5
    # over all rows with a score, also those left out for want of a school or a prior score
    assert records.attrs["score_by_cohort"][2024] == {"n": 2, "mean": 505.25, "sd": pytest.approx(14.5 / 2**0.5)}
    assert records.attrs["score_by_cohort"][2023]["n"] == 2


@pytest.mark.parametrize("code", ["00417", "St. Mary's & Co_50%", "NA", "null", "1e5", "0x1F", 'Ünïon, "A"\nB', "1.50"])
def test_csv_and_parquet_keep_every_school_code(tmp_path, frame, code):
    frame.loc[2:, "school"] = code
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.csv.gz", "a.parquet"):
        assert read_records(tmp_path / name)["school"].tolist() == ["1", "1", code, code]


@pytest.mark.parametrize(
    "codes",
    [
        [1, 1, 2, 2],
        [1.0, 1.0, 2.0, 2.0],
        pd.array([1, 1, 2, 2], dtype="Int64"),
        pd.Categorical([1, 1, 2, 2]),
        pd.Categorical(["1", "1", " 2", "2 "]),
        np.array([1, 1.0, "2", Decimal(2)], dtype=object),
        np.array([1, 1, 2, 2], dtype="float32"),
        pd.array([1, 1, 2, 2], dtype="int8[pyarrow]"),
        pd.array(["1", "1", "2", "2"], dtype="string[python]"),
    ],
    ids=str,
)
def test_codes_of_every_type_become_the_same_text(frame, codes):
    records = read_records(frame.assign(school=codes))
    assert records["school"].tolist() == ["1", "1", "2", "2"]
    assert records["school"].dtype == "str"


def test_float_codes_with_missing_values_written_by_pandas_become_whole(tmp_path, frame):
    frame["school"] = [1, None, 2, 2]
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert "1.0" in (tmp_path / "a.csv").read_text()
    for source in (tmp_path / "a.csv", frame, frame.astype({"school": "Int64"}), frame.astype({"school": object})):
        records = read_records(source)
        assert records["school"].tolist() == ["1", "2", "2"]
        assert left_out(records).values.tolist() == [[2024, "no school", 1]]


def test_scores_of_every_type_and_missing_marker(frame):
    for scores in (
        [1, None, "2.5", pd.NA],
        pd.Categorical([1.0, None, 2.5, None]),
        ["1", " ", " 2.5 ", "NA"],
        pd.array([1, None, 2.5, None], dtype="Float64"),
        [Decimal(1), None, Decimal("2.5"), np.nan],
    ):
        records = read_records(frame.assign(score=pd.Series(scores)))
        assert records["score"].tolist() == [1.0, 2.5]
        assert left_out(records)["rows"].tolist() == [2]


def test_row_lacking_several_values_is_counted_once(frame):
    frame.loc[0, ["cohort", "score", "prior_score"]] = np.nan
    frame.loc[1, ["score", "prior_score"]] = np.nan
    table = left_out(read_records(frame))
    assert table.loc[table["cohort"].isna(), "reason"].tolist() == ["no cohort"]
    assert table.loc[table["cohort"] == 2024, "reason"].tolist() == ["no score"]
    assert table["rows"].sum() == 2


def test_error_names_column_and_file_lines(tmp_path):
    text = 'student,school,cohort,P5,prior_score\n\n1,"two\nlines",2024,x,1\n\n2,B,2024,3,1\n3,B,2024,abs,1\n'
    sentence = refusal(write(tmp_path, text), {"score": "P5"})
    assert sentence == (
        "schools.csv: column 'P5' (score) must hold numbers, but 2 rows do not (lines 3 and 7; first: 'x')."
    )


def test_error_counts_the_rows_it_does_not_list(frame):
    many = pd.concat([frame] * 3).assign(score="absent")
    assert "12 rows do not (rows 1, 2, 3, 4, 5 and 7 more; first: 'absent')" in refusal(many)


def test_all_faults_are_told_together(frame):
    sentence = refusal(frame.assign(score=[1, 2, 3, np.inf], cohort=[2023, 2023.5, 2024, 2024]))
    assert "'cohort' must hold whole numbers, but 1 row does not (row 2; first: '2023.5')" in sentence
    assert "'score' must hold finite numbers, but 1 row does not (row 4; first: 'inf')" in sentence


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("score", [True, False, True, True]),
        ("score", pd.to_datetime(["2024-05-01"] * 4)),
        ("prior_score", ["1,5"] * 4),
        ("prior_score", [1j] * 4),
        ("cohort", ["2015/17"] * 4),
        ("cohort", pd.to_datetime(["2024-05-01"] * 4)),
        ("cohort", [1e300] * 4),
        ("school", [True] * 4),
        ("school", [np.inf] * 4),
        ("school", [["a"], "b", "c", "d"]),
        ("student", pd.to_datetime(["2024-05-01"] * 4)),
    ],
)
def test_values_of_a_wrong_kind_are_refused(frame, column, values):
    assert f"column '{column}' must hold" in refusal(frame.assign(**{column: values}))


def test_missing_columns_are_listed_with_those_that_are_there(frame):
    sentence = refusal(frame.rename(columns={"score": "y", "school": "site"}))
    assert sentence == (
        "the DataFrame: no column for school, score; the columns there are student, site, cohort, y, prior_score."
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"student,school,cohort,score,prior_score\n", "holds no rows"),
        (b"student,school,cohort,score,prior_score\n\n\n", "holds no rows"),
        (b"student,school,cohort,score,prior_score\n1,A,2024,1,2,3\n", "line 2 has 6 fields where the header has 5"),
        (b'student,school,cohort,score,prior_score\n1,"A,2024,1,2\n2,B,2024,1,2\n', "cannot be read as CSV"),
        (b"student,school,cohort,score,prior_score\n1,A,2024,,2\n", "no row can be used (1 with no score)"),
        (CSV.encode("utf-16-le"), "neither text in UTF-8, UTF-16 or Windows-1252 nor of another known format"),
        (bytes(range(256)) * 4, "neither text in UTF-8, UTF-16 or Windows-1252 nor of another known format"),
        (b"PAR1" + bytes(400), "cannot be read"),
        (b"PK\x03\x04rest", "workbook or an archive"),
        (gzip.compress(CSV.encode(), mtime=0)[:40], "cannot be read"),
        (b"student,school,school,score,prior_score\n1,A,B,1,2\n", "more than one column is named 'school'"),
    ],
)
def test_unusable_files_end_in_one_sentence(tmp_path, content, words):
    sentence = refusal(write(tmp_path, content))
    assert sentence.startswith("schools.csv: ") and words in sentence


def test_no_such_file_folder_and_other_objects(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.csv")
    assert "is a folder" in refusal(tmp_path)
    assert "not from a list" in refusal([1, 2])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"score": "Y5"}, "names 'Y5', which is not among the columns student,"),
        ({"score": "prior_score", "prior_score": "prior_score"}, "uses 'prior_score' more than once"),
        ({"school": "cohort"}, "'school' is mapped from another column but is also the name of a column"),
        ({"ses": "cohort", "student": "school"}, "'student' is mapped from another column"),
    ],
)
def test_mappings_that_cannot_be_meant(frame, columns, words):
    assert words in refusal(frame, columns)


def test_mapping_renames_swaps_and_beats_aliases(frame):
    source = frame.rename(columns={"cohort": "year", "score": "prior_score", "prior_score": "score"})
    source["taken"] = [2030, 2031, 2031, 2031]
    columns = {
        "cohort": "taken",
        "score": "prior_score",
        "prior_score": "score",
        "student": "school",
        "school": "student",
    }
    records = read_records(source, columns)
    assert records["cohort"].tolist() == [2030, 2031, 2031, 2031]
    assert records["year"].tolist() == [2023, 2024, 2024, 2024]
    assert records["score"].tolist() == frame["score"].tolist()
    assert records["student"].tolist() == ["1", "1", "2", "2"]
    assert records["school"].tolist() == ["a", "b", "c", "d"]


def test_no_cohort_column_is_one_cohort_and_a_warning(frame):
    with pytest.warns(ValibWarning, match="one cohort, 0"):
        records = read_records(frame.drop(columns="cohort"))
    assert records["cohort"].tolist() == [0, 0, 0, 0]


def test_source_is_not_changed_and_records_pass_through_again(tmp_path, frame):
    frame = pd.concat([frame, frame], ignore_index=True)
    frame.loc[1, "prior_score"] = np.nan
    before = frame.copy(deep=True)
    records = read_records(frame)
    pd.testing.assert_frame_equal(frame, before)
    records.to_parquet(tmp_path / "r.parquet")
    for again in (read_records(records), read_records(tmp_path / "r.parquet")):
        pd.testing.assert_frame_equal(again, records)
        assert again.attrs == records.attrs
        assert left_out(again)["rows"].tolist() == [1]


def test_changed_records_do_not_keep_an_old_summary(frame):
    records = read_records(frame)
    again = read_records(records.assign(score=records["score"] + 1))
    assert again.attrs["score_by_cohort"][2023]["mean"] == 2.0


def test_summarise_against_hand_counts(frame):
    table = summarise(read_records(frame))
    assert table.index.tolist() == [2023, 2024]
    row = table.loc[2024]
    sizes = ["students", "schools", "smallest_school", "median_school", "largest_school"]
    assert row[sizes].tolist() == [3, 2, 1, 1.5, 2]
    assert row["score_mean"] == pytest.approx(10 / 3)
    assert row["score_sd"] == pytest.approx(np.std([2, 3, 5], ddof=1))
    assert row["prior_mean"] == pytest.approx(5 / 3)


def test_select_keeps_order_and_names_the_cohorts_there_are(frame):
    records = read_records(frame)
    assert select(records, 2024)["student"].tolist() == ["b", "c", "d"]
    assert select(records, [2024, 2023])["student"].tolist() == ["a", "b", "c", "d"]
    assert select(records, np.int64(2023)).attrs["rows_read"] == 4
    with pytest.raises(RecordsError, match="Cohort 2022 is not in the data; the cohorts there are 2023, 2024"):
        select(records, [2022, 2023])
    with pytest.raises(RecordsError, match="No cohort was asked for"):
        select(records, [])


def test_left_out_refuses_records_without_a_count(frame):
    with pytest.raises(RecordsError, match="read_records"):
        left_out(frame)


def calls_to_read(n: int) -> int:
    """How many Python functions are called to read n rows."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "student": np.arange(n),
            "school": rng.integers(0, 30, n),
            "cohort": 2024,
            "score": rng.normal(size=n),
            "prior_score": rng.normal(size=n),
        }
    )
    with cProfile.Profile() as profile:
        records = read_records(frame)
    assert records["school"].iloc[-1] == str(frame["school"].iloc[-1])
    return pstats.Stats(profile).total_calls


def test_rows_are_checked_without_a_loop_over_rows():
    calls_to_read(100)  # what is loaded and compiled once
    assert calls_to_read(40_000) < 1.5 * calls_to_read(2_000)


CODE = st.one_of(st.none(), st.text(max_size=5), st.integers(-3, 10**20), st.floats(), st.booleans())
NUMBER = st.one_of(st.none(), st.floats(), st.integers(-(10**6), 10**6), st.sampled_from(["", "NA", "7", " 1e3 ", "x"]))
COHORT = st.one_of(st.none(), st.integers(2010, 2030), st.sampled_from([2015.0, 2015.5, "2016", "now", True]))
ROWS = st.lists(st.tuples(CODE, CODE, COHORT, NUMBER, NUMBER), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, dropped=st.sampled_from([None, *CANONICAL]))
def test_any_frame_gives_a_correct_frame_or_a_typed_error(rows, dropped):
    frame = pd.DataFrame(rows, columns=list(CANONICAL)).drop(columns=[dropped] if dropped else [])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValibWarning)
            records = read_records(frame)
    except RecordsError:
        return
    assert records.notna().all(axis=None)
    assert np.isfinite(records[["score", "prior_score"]]).all(axis=None)
    assert (records["cohort"].dtype, records["school"].dtype) == (np.dtype("int64"), "str")
    assert not records["school"].str.strip().isin([""]).any()
    assert len(records) + left_out(records)["rows"].sum() == len(frame)
    pd.testing.assert_frame_equal(read_records(records), records)
