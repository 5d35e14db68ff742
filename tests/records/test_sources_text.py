"""Text files: delimiters, decimal marks, encodings, compression; the same records however they are written."""

import csv
import gzip
import io
import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from valib.errors import RecordsError, ValibWarning
from valib.records.reading import read_records
from valib.records.sources import Dialect, open_source

HEADER = ["student", "school", "cohort", "score", "prior_score", "area", "ses"]
ROWS = [
    ["001", "00417", "2023", "512.5", "430", "north", "0.25"],
    ["002", 'Åby; west, "old" | 2', "2024", "498", "401.25", "south\tend", "-1.5"],
    ["003", "00417", "2024", "-3.5", "402", "two\nlines", ""],
    ["004", "417", "2024", "505", "", "NA", "2"],
]
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
DELIMITERS, DECIMALS = list(NAMES), [".", ","]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "cp1252"]


def text(rows, delimiter=",", decimal=".", end="\r\n", header=HEADER):
    """The file's text; the decimal mark stands in the columns of numbers alone."""
    numbers = {k for k, name in enumerate(header) if name in ("score", "prior_score", "ses")}
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerow(header)
    for row in rows:
        writer.writerow([value.replace(".", decimal) if k in numbers else value for k, value in enumerate(row)])
    return stream.getvalue()


def write(folder, content, name="schools.csv", encoding="utf-8", compressed=False):
    content = content.encode(encoding) if isinstance(content, str) else content
    path = folder / name
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


@pytest.fixture(scope="module")
def expected():
    frame = pd.DataFrame(ROWS, columns=HEADER)
    for name in ("cohort", "score", "prior_score", "ses"):
        frame[name] = pd.to_numeric(frame[name].replace("", None))
    return read_records(frame.assign(area=frame["area"].replace("NA", None)))


KINDS = list(itertools.product(DELIMITERS, DECIMALS, ENCODINGS, [False, True]))


def test_the_kinds_are_64():
    assert len(KINDS) == 4 * 2 * 4 * 2 == 64


@pytest.mark.parametrize(
    ("delimiter", "decimal", "encoding", "compressed"),
    KINDS,
    ids=[f"{NAMES[d]}-{'point' if m == '.' else 'comma'}-{e}-{'gzip' if g else 'plain'}" for d, m, e, g in KINDS],
)
def test_every_dialect_gives_the_same_records(tmp_path, expected, delimiter, decimal, encoding, compressed):
    path = write(tmp_path, text(ROWS, delimiter, decimal), encoding=encoding, compressed=compressed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ValibWarning)
        records = read_records(path)
    pd.testing.assert_frame_equal(records, expected)
    assert open_source(path).dialect == Dialect(delimiter, decimal, encoding, compressed)
    said = [str(w.message) for w in caught if w.category is ValibWarning]
    if encoding == "cp1252":
        assert said == [
            "schools.csv: line 3 holds a byte that is not UTF-8, so the file is read as Windows-1252"
            " (Latin-1); if names look wrong, save it in UTF-8."
        ]
    else:
        assert said == []


@pytest.mark.parametrize(("delimiter", "encoding"), list(itertools.product(DELIMITERS, ENCODINGS)))
@pytest.mark.filterwarnings("ignore:schools.csv")
def test_errors_name_the_line_in_every_dialect(tmp_path, delimiter, encoding):
    rows = [*ROWS, ["005", "417", "2024", "absent", "1", "", ""]]
    content = "\r\n" + text(rows, delimiter).replace("\r\n005", "\r\n \r\n005")
    path = write(tmp_path, content, encoding=encoding)
    with pytest.raises(RecordsError, match=r"'score' must hold numbers, but 1 row does not \(line 9; first: 'absent'"):
        read_records(path)


# What a guess by frequency would get wrong: content, delimiter, decimal mark.
FOOLING = {
    "decimal commas outnumber semicolons": ("student;a;b\n1;0,5;1,5\n2;0,25;2,5\n", ";", ","),
    "commas in the header's quotes": ('student;"score, in points, Year 5"\n1;500\n', ";", "."),
    "commas in the header as in the rows": ("student;school;score, Y5;prior, Y3\n1;A;512,5;430,5\n", ";", ","),
    "one column": ("score\n512\n", ",", "."),
    "one column of decimal commas": ('score\n"512,5"\n', ",", ","),
    "semicolons in names": ("student,school\n1,A; B; C; D\n2,E; F; G; H\n", ",", "."),
    "tabs in names": ('student,school\n1,"A\tB"\n', ",", "."),
    "bars in the header": ("a|b,c|d\n1,2\n3,4\n", ",", "."),
    "quoted numbers in a comma file": ('student,score\n1,"512,5"\n2,"498"\n', ",", ","),
    "blank first lines": ("\n \na;b\n1;2\n", ";", "."),
    "header alone": ("student;school;score\n", ";", "."),
    "an Excel preamble": ("sep=;\nstudent;score\n1;0,5\n", ";", ","),
    "codes with commas": ("student;score\nA,1;1\nB,2;2\n", ";", "."),
    "dates with points": ("student;day;score\n1;12.03.2024;0,5\n", ";", ","),
    "a row too long": ("student,school\n1,2\n1,2,3\n", ",", "."),
    "spaces around": ("student ; score\n1 ; 0,5 \n", ";", ","),
    "lone carriage returns": ("student;score\r1;0,5\r", ";", ","),
    "exponents": ("student\tscore\n1\t1,5e2\n", "\t", ","),
}


def test_there_are_18_fooling_files():
    assert len(FOOLING) == 18


@pytest.mark.parametrize("name", FOOLING)
def test_a_file_that_fools_guesses_is_understood(tmp_path, name):
    content, delimiter, decimal = FOOLING[name]
    dialect = open_source(write(tmp_path, content)).dialect
    assert (dialect.delimiter, dialect.decimal) == (delimiter, decimal)


def test_preamble_and_lone_carriage_returns_keep_rows_and_lines(tmp_path):
    source = open_source(write(tmp_path, "sep=;\nstudent;score\n1;0,5\n2;x\n"))
    assert source.columns == ("student", "score") and source.where([1]) == "line 4"
    assert open_source(write(tmp_path, "a;b\r1;0,5\r2;1,5\r")).read()["b"].tolist() == [0.5, 1.5]


def column(folder, values, others="0,5", delimiter=";", needed=True):
    """One column of numbers beside one with plain decimal marks, as read."""
    rows = "\n".join(f'{k}{delimiter}"{value}"{delimiter}"{others}"' for k, value in enumerate(values))
    source = open_source(write(folder, f"student{delimiter}score{delimiter}other\n{rows}\n"))
    return source.read(["student"], ["score"] if needed else [])["score"]


AMBIGUOUS = [  # values of one column, decimal mark of the other
    (["1.234"], "0,5"),
    (["999", "1.234"], "0,5"),
    (["1,234"], "0.5"),
    (["512,125", "498,500"], "0.5"),
    (["-1,234"], "1"),
    ([" 1,234", "NA "], "7"),
]


@pytest.mark.parametrize(("values", "other"), AMBIGUOUS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_numbers_of_two_meanings_are_refused_where_needed_and_left_elsewhere(tmp_path, values, other, delimiter):
    with pytest.raises(RecordsError) as caught:
        column(tmp_path, values, other, delimiter)
    first = next(k for k, value in enumerate(values) if set(value) & set(",."))
    said = str(caught.value)
    assert said.startswith(f"schools.csv: column 'score' holds '{values[first].strip()}' (line {first + 2}), which may")
    assert said.endswith("write numbers without marks between thousands.")
    with pytest.warns(ValibWarning, match="left as text"):
        kept = column(tmp_path, values, other, delimiter, needed=False)
    assert kept.tolist()[first] == values[first]


@pytest.mark.parametrize(
    "values",
    [["1.234,5"], ["1.234,5", "999,5"], ["512,5", "498.5"], ["1,234.5"], ["1.234", "x"], ["1,234,567"], ["1.234.567"]],
)
def test_mixed_marks_are_refused_as_no_numbers(tmp_path, values):
    rows = "\n".join(f'{k};A;2024;"{value}";0,5' for k, value in enumerate(values))
    with pytest.raises(RecordsError, match="'score' must hold numbers, but [12] row"):
        read_records(write(tmp_path, f"student;school;cohort;score;prior_score\n{rows}\n"))


@pytest.mark.parametrize(
    ("values", "other", "numbers"),
    [
        (["1,234", "0,5"], "0.5", [1.234, 0.5]),  # 0,5 says what the comma is
        (["512,125", "0,512"], "7", [512.125, 0.512]),  # so does a leading zero
        (["512,5", "512,125"], "7", [512.5, 512.125]),
        (["512,125"], "0,5", [512.125]),  # the other column says it
        (["512.5", "3"], "0,5", [512.5, 3.0]),  # points beside commas in another column
        ([" 512,5 ", "NA "], "0,5", [512.5, np.nan]),
        (["1,5e2", "+,5", "7,"], "0,5", [150.0, 0.5, 7.0]),
    ],
)
def test_marks_of_one_meaning_are_read(tmp_path, values, other, numbers):
    assert column(tmp_path, values, other).tolist() == pytest.approx(numbers, nan_ok=True)


def test_decimal_commas_that_begin_after_the_sample_are_read(tmp_path):
    rows = "".join(f"{k};A;2024;{k};{k}\n" for k in range(3000)) + "x;A;2024;1,5;2,5\n"
    path = write(tmp_path, "student;school;cohort;score;prior_score\n" + rows)
    assert open_source(path).dialect.decimal == "."
    assert read_records(path)["score"].iloc[[2, -1]].tolist() == [2.0, 1.5]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_latin_byte_after_the_sample_is_read_with_one_warning(tmp_path, compressed):
    count = 60_000
    rows = "".join(f"{k},School,2024,1,2\n" for k in range(count)) + "x,Åby,2024,1,2\ny,Öst,2024,1,2\n"
    content = "student,school,cohort,score,prior_score\n" + rows
    assert len(content) > 1 << 20
    path = write(tmp_path, content, encoding="latin-1", compressed=compressed)
    assert open_source(path).dialect.encoding == "utf-8"
    with pytest.warns(ValibWarning, match=f"line {count + 2} holds a byte that is not UTF-8") as caught:
        records = read_records(path)
    assert len([w for w in caught if w.category is ValibWarning]) == 1
    assert records["school"].iloc[-2:].tolist() == ["Åby", "Öst"]


EMPTY = [b"", b"\n\n \n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb\xbf\n\n"]


@pytest.mark.parametrize("content", EMPTY)
@pytest.mark.parametrize("compressed", [False, True])
def test_empty_files_are_said_to_be_empty(tmp_path, content, compressed):
    with pytest.raises(RecordsError, match="schools.csv: the file is empty"):
        read_records(write(tmp_path, content, compressed=compressed))


@pytest.mark.parametrize(("delimiter", "encoding"), list(itertools.product(DELIMITERS, ENCODINGS)))
def test_a_header_alone_holds_no_rows(tmp_path, delimiter, encoding):
    with pytest.raises(RecordsError, match="schools.csv: holds no rows"):
        read_records(write(tmp_path, text([], delimiter), encoding=encoding))


def test_a_table_asked_for_of_a_text_file_is_refused(tmp_path):
    path = write(tmp_path, text(ROWS))
    with pytest.raises(RecordsError, match="schools.csv: is one table, but table 'x' of it is asked for"):
        read_records(path, table="x")
    with pytest.raises(RecordsError, match="the DataFrame: is one table"):
        read_records(pd.DataFrame(ROWS, columns=HEADER), table="x")


def rows_of(n, **columns):
    """n rows of a study, with some columns as given."""
    plain = {"student": [f"P{k}" for k in range(n)], "school": "07", "cohort": 2024, "score": 500.5, "prior_score": 3}
    return pd.DataFrame({**plain, **columns})


def said_of(path):
    """What is said while a file is read, and its records; the refusal as the only sentence if there is one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ValibWarning)
        try:
            records = read_records(path)
        except RecordsError as error:
            return [str(error)], None
    return [str(w.message) for w in caught if w.category is ValibWarning], records


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_points_between_thousands_are_never_taken_for_decimal_points(tmp_path, delimiter):
    numbers = [f"{k:,}".replace(",", ".") for k in range(700, 1300)]  # 700 ... 999, 1.000 ... 1.299
    path = tmp_path / "a.csv"
    rows_of(600, score=numbers).to_csv(path, index=False, sep=delimiter)
    (said,), records = said_of(path)
    assert records is None
    assert said == (
        "a.csv: column 'score' holds '1.000' (line 302), which may be 1.000 or 1000; write numbers without"
        " marks between thousands."
    )
    rows_of(600, other=numbers).to_csv(path, index=False, sep=delimiter)
    (said,), records = said_of(path)
    assert said.endswith("The column is left as text.") and records["other"].tolist() == numbers


@pytest.mark.parametrize(
    "values",
    [
        [f"{k / 1000:.3f}" for k in range(4000, 4600)],  # 4.000: no more than a scale of such numbers
        [f"{k / 1000:g}" for k in range(100_000, 700_000, 1000)],  # 100, 101, ...
        [*(f"{k}.125" for k in range(300, 600)), *map(str, range(300, 600))],
        [f"{k / 1000:.3f}" for k in range(-300, 300)],
    ],
)
def test_decimals_that_only_resemble_thousands_are_read(tmp_path, values):
    path = tmp_path / "a.csv"
    rows_of(600, score=values).to_csv(path, index=False)
    said, records = said_of(path)
    assert said == [] and records["score"].tolist() == [float(value) for value in values]


def test_a_semicolon_file_whose_points_may_all_be_thousands_is_read_with_a_warning(tmp_path):
    path = tmp_path / "a.csv"
    values = [f"{k / 1000:.3f}" for k in range(4001, 4601)]
    rows_of(600, score=values).to_csv(path, index=False, sep=";")
    (said,), records = said_of(path)
    assert "column 'score' has three digits after the point in every row, first '4.001' (line 2)" in said
    assert records["score"].iloc[0] == 4.001


TITLES = {  # what stands above the header -> line of the header
    "Extract of 2024-11-03\n\n": 3,
    "Extract of 2024-11-03{d}{d}{d}{d}\n{d}{d}{d}{d}\n": 3,
    "# by the office\n": 2,
    '\n\n"Reading,\nyear 5"\nMay 2024\n': 6,
    "Reading{d}2024\n": 2,
}


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("title", TITLES)
def test_titles_above_the_header_are_passed_over_with_a_warning(tmp_path, title, delimiter):
    content = rows_of(40).to_csv(index=False, sep=delimiter) + delimiter.join(["x", "07", "2024", "absent", "3"]) + "\n"
    path = write(tmp_path, title.format(d=delimiter) + content, "a.csv")
    line = TITLES[title]
    with pytest.warns(ValibWarning, match=f"a.csv: line {line} is taken as the header, as what stands above it"):
        source = open_source(path)
    assert source.columns == ("student", "school", "cohort", "score", "prior_score")
    (said,), _ = said_of(path)
    assert f"'score' must hold numbers, but 1 row does not (line {line + 41}; first: 'absent')" in said
    path.write_text(path.read_text().replace("absent", "7"))
    assert said_of(path)[1].attrs["rows_read"] == 41


@pytest.mark.parametrize(("delimiter", "quote"), list(itertools.product(DELIMITERS, [False, True])))
def test_rows_that_are_too_short_are_counted_and_named(tmp_path, delimiter, quote):
    table = rows_of(50, area=[None if k % 7 == 0 else "north" for k in range(50)])
    content = table.to_csv(index=False, sep=delimiter, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL)
    path = write(tmp_path, content, "a.csv")
    assert said_of(path)[0] == []  # missing values at the end of whole rows are nothing to tell
    short = delimiter.join(["x", "07", "2024", "510", "1"]) + "\n"  # the score is lacking, or the area
    write(tmp_path, content + short + "\n" + short + "Source: the office\n", "a.csv")
    (said,), records = said_of(path)
    assert said == (
        "a.csv: 3 rows have fewer fields than the header (lines 52, 54 and 55); what is lacking at their"
        " end is taken as missing. See that their values stand under the right names."
    )
    assert records.attrs["rows_read"] == 53


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_quotation_mark_without_its_partner_does_not_swallow_rows(tmp_path, delimiter):
    lines = rows_of(50, area="north; old").to_csv(index=False, sep=delimiter).replace('"', "").splitlines()
    lines = [line.replace("north; old", "north") for line in lines]
    for k in (10, 30):
        lines[k] = lines[k].replace(f"{delimiter}07{delimiter}", f'{delimiter}"07{delimiter}')
    path = write(tmp_path, "\n".join(lines) + "\n", "a.csv")
    (said,), records = said_of(path)
    assert records is None and said == (
        "a.csv: a field of column 'school' runs over 20 line breaks and holds whole"
        " rows (line 11); a quotation mark may lack its partner."
    )
    for k in (10, 30):
        lines[k] = lines[k].replace('"', "").replace("north", '"north')
    (said,), records = said_of(write(tmp_path, "\n".join(lines) + "\n", "a.csv"))
    assert "column 'area' runs over 20 line breaks" in said and said.endswith("and these rows are not read.")
    write(tmp_path, "\n".join([*lines[:30], *lines[31:]]) + "\n", "a.csv")
    assert said_of(path) == (["a.csv: cannot be read as CSV; a quotation mark may not be closed."], None)


@pytest.mark.parametrize("word", ["NA", "n/a", ".", "#NV", "<NA>", "NULL", " . "])
def test_words_for_a_missing_score_are_missing_and_no_level(tmp_path, word):
    path = tmp_path / "a.csv"
    rows_of(3, score=["512.5", word, "498"], ses=[word, "1", "0.5"]).to_csv(path, index=False)
    records = read_records(path)
    assert records["score"].tolist() == [512.5, 498] and records["ses"].tolist()[1:] == [0.5]
    assert records["ses"].isna().tolist() == [True, False] and records.attrs["rows_read"] == 3
