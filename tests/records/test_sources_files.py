"""Workbooks, R files and Parquet: the same four records wherever they are."""

import gzip
import re
import zipfile
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from workbooks import ods, xlsx

from valib.errors import RecordsError, ValibWarning
from valib.records.reading import left_out, read_records
from valib.records.sources import open_source
from valib.sums.streams import moments_from_source

DATA = Path(__file__).parents[1] / "data"  # written by R and xlwt: see the README there
HEADER = ("student", "school", "cohort", "score", "prior_score")
ROWS = [
    ("001", "00417", 2023, 512.5, 430),
    ("002", "Åby", 2024, None, 401.25),
    ("003", "Åby", 2024, 498, 402),
    ("004", None, 2024, 510, 400),
]


def frame():
    return pd.DataFrame(ROWS, columns=HEADER)


def xls(path, sheets):
    """The workbook of the old kind that xlwt made: the sheets Reading and Notes."""
    path.write_bytes((DATA / "schools.xls").read_bytes())
    return path


WRITERS = {"xlsx": xlsx, "ods": ods, "xls": xls}
SHEETS = {"Reading": [None, None, HEADER, *ROWS], "Notes": [("made for a test",)]}


@pytest.fixture
def expected():
    return read_records(frame())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_sheet_gives_the_records(tmp_path, expected, kind):
    path = WRITERS[kind](tmp_path / f"schools.{kind}", SHEETS)
    records = read_records(path, table="Reading")
    pd.testing.assert_frame_equal(records, expected)
    assert records["school"].tolist() == ["00417", "Åby"]
    assert left_out(records).equals(left_out(expected))
    with pytest.warns(ValibWarning, match=f"schools.{kind}: has 2 sheets; the first, 'Reading', is read"):
        pd.testing.assert_frame_equal(read_records(path), expected)
    with pytest.raises(RecordsError, match="has no sheet 'reading'; its sheets are Reading, Notes"):
        read_records(path, table="reading")
    with pytest.raises(RecordsError, match=f"schools.{kind}: holds no rows"):
        read_records(path, table="Notes")


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_rows_are_counted_as_the_sheet_counts_them(tmp_path, kind):
    rows = [None, HEADER, ROWS[0], None, ("5", "A", 2024, "absent", 1), ("6", "A", 2024, 1, 1)]
    path = WRITERS[kind](tmp_path / f"schools.{kind}", {"One": rows})
    with pytest.raises(RecordsError, match=r"'score' must hold numbers, but 1 row does not \(row 5; first: 'absent'\)"):
        read_records(path)


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_codes_of_a_sheet_are_whole_and_empty_columns_are_left_behind(tmp_path, kind):
    rows = [
        (*HEADER, None, " x "),
        (1, 417, 2024, 1, 2, None, 3),
        (2.0, "0417", 2024, 1.5, "2.5", None, " "),
        ("3", 417.0, 2024, "NA", 1),
    ]
    records = read_records(WRITERS[kind](tmp_path / f"a.{kind}", {"One": rows}))
    assert records["student"].tolist() == ["1", "2"] and records["school"].tolist() == ["417", "0417"]
    assert records["prior_score"].tolist() == [2.0, 2.5]
    assert list(records.columns) == [*HEADER, "x"] and records["x"].dtype == "float64"


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_empty_sheets_headers_alone_and_no_workbooks_are_refused(tmp_path, kind):
    def refused(sheets, words):
        with pytest.raises(RecordsError, match=words):
            read_records(WRITERS[kind](tmp_path / f"a.{kind}", sheets))

    refused({"One": [None]}, f"a.{kind}: the sheet 'One' is empty")
    refused({"One": [(" ", None)]}, f"a.{kind}: the sheet 'One' is empty")
    refused({"One": [HEADER]}, f"a.{kind}: holds no rows")
    refused({"One": [(*HEADER, "score"), (*ROWS[0], 1)]}, "more than one column is named 'score'")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("a.csv", "student,school\n1,2\n")
    with pytest.raises(RecordsError, match="b.xlsx: is an archive of one file: unpack it first"):
        read_records(tmp_path / "b.xlsx")


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
@pytest.mark.parametrize("titles", [[("Reading, year 5",), None], [("Results", None, "2024")], [None, ("a",), ("b",)]])
def test_titles_above_the_header_of_a_sheet_are_passed_over(tmp_path, expected, kind, titles):
    rows = [("x", "1", 2024, "absent", 1)]
    path = WRITERS[kind](tmp_path / f"a.{kind}", {"R": [*titles, HEADER, *ROWS]})
    line = len(titles) + 1
    with pytest.warns(ValibWarning, match=f"row {line} is taken as the header, as what stands above it has far fewer"):
        pd.testing.assert_frame_equal(read_records(path), expected)
    WRITERS[kind](path, {"R": [*titles, HEADER, *ROWS, *rows]})
    with (
        pytest.warns(ValibWarning, match="taken as the header"),
        pytest.raises(RecordsError, match=rf"\(row {line + 5}; first: 'absent'\)"),
    ):
        read_records(path)


@pytest.mark.parametrize("kind", ["xlsx", "ods"])
def test_words_for_missing_among_the_numbers_of_a_sheet_are_no_level(tmp_path, kind):
    words = ["NA", " n/a ", ".", "#NV", "<NA>", "NULL", "#N/A"]
    ses = [0.5, *words, -1]
    rows = [(f"P{k}", "07", 2024, 500 + k, 400, value, value, "NA") for k, value in enumerate(ses)]
    header = (*HEADER, "ses", "code", "support")
    path = WRITERS[kind](tmp_path / f"a.{kind}", {"R": [header, *rows]})
    records = read_records(path, columns={"score": "ses", "points": "score"})
    assert records["score"].tolist() == [0.5, -1] and records.attrs["left_out"] == [
        {"cohort": 2024, "reason": "no score", "rows": len(words)}
    ]
    assert records["code"].tolist() == [0.5, -1]
    whole = open_source(path).read(["student", "school"])
    assert whole["code"].dtype == "float64" and whole["code"].isna().sum() == len(words) == 7
    assert (whole["support"] == "NA").all()  # a text among texts


R_FILES = ["schools.rda", "schools.rds", "several.rda"]


@pytest.mark.parametrize("name", R_FILES)
def test_an_r_file_gives_the_records(expected, name):
    records = read_records(DATA / name, table="tibble" if name == "several.rda" else None)
    pd.testing.assert_frame_equal(records[list(HEADER)], expected)
    assert records["sat"].iloc[0] == pd.Timestamp("2023-05-09")
    assert records["girl"].iloc[0] is True and records["girl"].isna().tolist() == [False, True]


def test_a_selection_in_a_workspace_with_functions_is_read():
    records = read_records(DATA / "several.rda", table="later")
    assert records["student"].tolist() == ["003"] and records.attrs["rows_read"] == 3


def test_data_frames_are_chosen_by_name_and_listed():
    with pytest.raises(RecordsError, match="several.rda: holds 2 data frames; choose one of tibble, later by table"):
        read_records(DATA / "several.rda")
    for table in ("double", "counts", "absent"):
        with pytest.raises(RecordsError, match=f"has no data frame '{table}'; its data frames are tibble, later"):
            read_records(DATA / "several.rda", table=table)
    with pytest.raises(RecordsError, match="number.rds: holds no data frame"):
        read_records(DATA / "number.rds")
    with pytest.raises(RecordsError, match="schools.rda: has no data frame 'x'; its data frames are schools"):
        read_records(DATA / "schools.rda", table="x")


def test_columns_of_r_are_what_their_class_says():
    with pytest.warns(ValibWarning, match="kinds.rda: left out is 'lists', 'wide', 'frame', which holds lists"):
        records = read_records(DATA / "kinds.rda", table="kinds")
    assert records["student"].tolist() == [str(2 * 2**32 + 1)] and records["school"].tolist() == ["417"]
    assert records["scaled"].tolist() == [0.5] and list(records.columns[5:]) == ["scaled"]
    assert {(row.reason, row.rows) for row in left_out(records).itertuples()} == {
        ("no school", 1),
        ("no score", 1),
        ("no prior score", 1),
    }  # -9 and 999 were declared missing
    with pytest.warns(ValibWarning, match="left out is"):
        whole = open_source(DATA / "kinds.rda", "kinds").read(text_columns=["student", "school"])
    assert whole["school"].astype(object).tolist()[:3] == [417, 5, -3] and whole["school"].isna().tolist()[3]


def test_an_r_frame_with_two_columns_of_a_name_is_refused():
    with pytest.raises(RecordsError, match="kinds.rda: more than one column is named 'score'"):
        read_records(DATA / "kinds.rda", table="doubled")


def test_damaged_r_files_end_in_one_sentence(tmp_path):
    whole = gzip.decompress((DATA / "schools.rda").read_bytes())
    cuts = range(10, len(whole) - 1, 40)
    refused = 0
    for cut in cuts:
        path = tmp_path / "cut.rda"
        path.write_bytes(gzip.compress(whole[:cut]))
        with pytest.raises(RecordsError, match="^cut.rda: cannot be read as R data"):
            read_records(path)
        refused += 1
    assert refused == len(cuts) > 15


def test_a_folder_of_parquet_parts_is_one_table(tmp_path):
    folder = tmp_path / "records"
    for cohort in (2023, 2024):
        part = folder / f"cohort={cohort}"
        part.mkdir(parents=True)
        rows = frame()[lambda f, t=cohort: f["cohort"] == t].drop(columns="cohort")
        rows.to_parquet(part / "part.parquet", index=False)
    (folder / "_SUCCESS").write_text("")
    (folder / "readme.txt").write_text("not a part")
    pd.testing.assert_frame_equal(read_records(folder), read_records(frame()))
    with pytest.raises(RecordsError, match="records: is one table"):
        read_records(folder, table="x")


def test_parts_of_different_types_are_one_table_and_keys_keep_leading_zeros(tmp_path):
    for school, scores in (("00417", [1, 2]), ("1", [1.5, None])):
        part = tmp_path / f"school={school}"
        part.mkdir()
        pd.DataFrame({"student": ["a", "b"], "cohort": 2024, "score": scores, "prior_score": 1}).to_parquet(
            part / "p.parquet"
        )
    records = read_records(tmp_path)
    assert records["school"].tolist() == ["00417", "00417", "1"] and records["score"].tolist() == [1, 2, 1.5]


@pytest.mark.parametrize("column", ["score", "cohort"])
def test_parts_that_write_a_column_in_other_capitals_are_refused_by_every_reader(tmp_path, column):
    """Half of the scores counted as missing in memory, DuckDB refused, Spark took them all."""
    frame().to_parquet(tmp_path / "1.parquet")
    frame().rename(columns={column: column.title()}).to_parquet(tmp_path / "2.parquet")
    for engine in ("memory", "duckdb"):
        with pytest.raises(RecordsError, match=f"the column '{column}' is '{column.title()}' in another part"):
            moments_from_source(tmp_path, engine=engine)


def test_folders_that_are_no_table_are_refused(tmp_path):
    with pytest.raises(RecordsError, match=f"{re.escape(tmp_path.name)}: is a folder without Parquet files"):
        read_records(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(RecordsError, match=f"^{re.escape(tmp_path.name)}: cannot be read"):
        read_records(tmp_path)
    for name, values in (("a", ["1"]), ("b", [pd.Timestamp("2024-05-01")])):
        pd.DataFrame({"student": values}).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(RecordsError, match=f"^{re.escape(tmp_path.name)}: cannot be read"):
        read_records(tmp_path)


def test_a_parquet_file_keeps_its_columns_and_drops_an_index_without_a_name(tmp_path):
    frame().set_axis([7, 3, 1, 2]).to_parquet(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.columns == HEADER and source.read()["student"].tolist() == ["001", "002", "003", "004"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_index_with_a_name_is_a_column(tmp_path, expected, folder):
    frame().set_index(["student", "cohort"]).to_parquet(tmp_path / "a.parquet")
    records = read_records(tmp_path if folder else tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(records, expected)


@pytest.mark.parametrize("make", [list, pd.Categorical])
def test_long_codes_stay_apart_where_some_are_missing(make):
    codes = pd.Series([2**60 + 1, None, 2**60 + 3, 7], dtype=object)
    column = pd.Series(make(codes)) if make is pd.Categorical else codes
    records = read_records(frame().assign(student=column, school="1", score=1))
    assert records["student"].tolist() == [str(2**60 + 1), str(2**60 + 3), "7"]


@pytest.mark.parametrize("folder", [False, True])
def test_decimals_are_numbers_and_codes_exact_to_the_last_digit(tmp_path, folder):
    decimal = pyarrow.decimal128
    schema = pyarrow.schema(
        [
            ("student", pyarrow.int64()),
            ("school", decimal(25)),
            ("cohort", "int16"),
            ("score", decimal(10, 2)),
            ("prior_score", "float"),
            ("ses", decimal(4, 2)),
        ]
    )
    table = pyarrow.table(
        {
            "student": [2**60 + 1, None, 2**60 + 3],
            "cohort": [2024] * 3,
            "prior_score": [1.5] * 3,
            "school": [Decimal(10**24 + 1), Decimal(2), Decimal(3)],
            "score": [Decimal("512.50"), Decimal("1"), None],
            "ses": [Decimal("-0.25"), None, None],
        },
        schema=schema,
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    records = read_records(tmp_path if folder else tmp_path / "a.parquet")
    assert records.iloc[0].tolist() == [str(2**60 + 1), str(10**24 + 1), 2024, 512.5, 1.5, -0.25]
    assert records["ses"].dtype == "float64" and records.attrs["rows_read"] == 3
    whole = open_source(tmp_path / "a.parquet").read(["student", "school"])
    assert whole["student"].tolist() == [2**60 + 1, None, 2**60 + 3] and whole["ses"].tolist()[0] == -0.25


def test_texts_with_points_between_thousands_are_refused_wherever_they_are_from(tmp_path):
    texts = [f"{k:,}".replace(",", ".") for k in range(600, 1400, 2)]  # 600 ... 998, 1.000 ... 1.398
    rows = [(f"P{k}", "07", 2024, text, 400) for k, text in enumerate(texts)]
    table = pd.DataFrame(rows, columns=HEADER)
    table.to_parquet(tmp_path / "a.parquet")
    xlsx(tmp_path / "a.xlsx", {"R": [HEADER, *rows]})
    told = "must hold numbers without points between thousands, but 200 rows do not"
    for source in (table, tmp_path / "a.parquet", tmp_path / "a.xlsx"):
        with pytest.raises(RecordsError, match=told):
            read_records(source)
    fine = table.assign(score=[f"{k / 8:.3f}" for k in range(400)])
    assert read_records(fine)["score"].tolist() == [k / 8 for k in range(400)]
    slip = read_records(table.assign(score=["7.5", ".", *(str(k) for k in range(500, 898))]))
    assert slip["score"].tolist() == [7.5, *range(500, 898)]
