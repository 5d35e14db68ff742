"""Plain text files are read in one pass, and give what the one reader of text gives; all others are left to it."""

import itertools
import random
import warnings

import pandas as pd
import pytest

from valib import read_records
from valib.errors import RecordsError
from valib.records.sources import open_source
from valib.records.sources.text import TextSource

CODES, NUMBERS = ["student", "school"], ["cohort", "score", "prior_score"]
HEADER = [*CODES, *NUMBERS, "note"]


def read(path):
    """The table, or what is wrong with it, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = open_source(path).read(CODES, NUMBERS)
        except RecordsError as error:
            found = str(error)
    return found, [str(one.message) for one in said]


def assert_same(path, monkeypatch):
    """What is read in one pass is what the one reader of text reads; whether it was read so."""
    if not is_quick(path):
        return False
    quick, said = read(path)
    monkeypatch.setattr(TextSource, "_quick", lambda *_: None)
    slow, also = read(path)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(quick, slow, check_exact=True)
    assert said == also
    return True


def is_quick(path):
    try:
        return open_source(path)._quick(CODES, NUMBERS) is not None
    except RecordsError:  # by its first rows already
        return False


def write(path, rows, mark=",", end="\n", quote=False):
    def field(value):
        return '"' + value.replace('"', '""') + '"' if quote else value

    lines = [mark.join(map(field, row)) for row in [HEADER, *rows]]
    path.write_bytes((end.join(lines) + end).encode())


@pytest.mark.parametrize(("mark", "end", "quote"), list(itertools.product(",;\t|", ["\n", "\r\n"], [False, True])))
def test_ordinary_files_are_read_in_one_pass(tmp_path, monkeypatch, mark, end, quote):
    rows = [
        [f"{k:04}", " 007" if k % 3 else "Åby ", str(2020 + k % 3), f"{k * 1.37:.3f}", str(400 + k), "x"]
        for k in range(50)
    ]
    rows[7][3], rows[8][4], rows[9][4], rows[11][0] = "", "NA", ".", ""
    write(path := tmp_path / "a.csv", rows, mark, end, quote)
    assert assert_same(path, monkeypatch)


def test_decimal_commas_are_read_in_one_pass(tmp_path, monkeypatch):
    rows = [[str(k), "a", "2020", f"{k * 1.37:.2f}".replace(".", ","), f"{k},5", "x"] for k in range(50)]
    write(path := tmp_path / "a.csv", rows, ";")
    assert assert_same(path, monkeypatch) and read(path)[0]["prior_score"].iloc[1] == 1.5


ODD = [
    *(
        "0x1F",
        "0X1F",
        "NAN",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e400",
        "1e-400",
        "+5",
        " 5",
        "5 ",
        "\u00a05",
        "\t5",
        "1_000",
    ),
    *(
        "1,5",
        "1.234",
        "007",
        "-0",
        "9223372036854775807",
        "9223372036854775808",
        "12345678901234567890123",
        "1e3",
        "5.",
        ".5",
    ),
    *(
        "2020-01-01",
        "12:30",
        "true",
        "",
        "  ",
        "NULL",
        "null",
        " NA ",
        "4.9E-324",
        "0.1000000000000000055511151231257827",
    ),
    *("word", "\u0663", "5%", "5\x0b", "5\x1f", "\u2028"),
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_values_mean_the_same(tmp_path, monkeypatch, odd):
    for k, others in ((4, "5"), (4, "512.25"), (0, odd), (5, odd)):
        rows = [["1", "a", "2020", others, others, "x"] for _ in range(30)]
        rows[17][k] = odd
        write(path := tmp_path / "a.csv", rows, "|")
        assert_same(path, monkeypatch)


LINES = ["", "  ", ",", ",,,,,", "1,a", "1,a,2020,5,5", "1,a,2020,5,5,x,y", '1,"a,b",2020,5,5,x', '1,"a\nb",2020,5,5,x',
         '1,a"b,2020,5,5,x', '1,"a""b",2020,"5",5,x', '1,"",2020,"NA",5,x', '"1', "1,a,2020,5,5,\x00", "\ufeff1,a,2020,5,5,x",
         "1,a,2020,5,5,x\r", "1,a,2020,5,5,é", "1,a,2020,5,5," + "x" * 3_000_000]  # fmt: skip


@pytest.mark.parametrize("odd", LINES, ids=lambda line: repr(line[:25]))
def test_odd_lines_mean_the_same(tmp_path, monkeypatch, odd):
    for at in (0, 20, 39):
        lines = [f"{k},s{k % 3},{2020 + k % 2},{500 + k / 8},{500 - k},x" for k in range(40)]
        lines.insert(at, odd)
        for end in ("\n", ""):
            path = tmp_path / "a.csv"
            path.write_bytes(("\n".join([",".join(HEADER), *lines]) + end).encode())
            assert_same(path, monkeypatch)


def test_mixtures_of_pieces_mean_the_same(tmp_path, monkeypatch):
    chosen = random.Random(8)
    quick = 0
    for _ in range(150):
        pieces = chosen.choices([*ODD, "5", "5", "77.5", "77.5", "77.5", "77.5"], k=6)
        rows = [
            [str(chosen.randrange(99)), "s", *chosen.choices(pieces, k=3), "x"]
            for _ in range(chosen.choice((1, 3, 40)))
        ]
        write(path := tmp_path / "a.csv", rows, "|", chosen.choice(["\n", "\r\n"]), chosen.random() < 0.3)
        quick += assert_same(path, monkeypatch)
    assert quick > 10


N = 1_800  # rows, of which the first 32 KiB do not tell of the last
BROKEN, WORDS = [f"{k / 8}" for k in range(1, N + 1)], ["north", "south", "Zoë"] * (N // 3)
OTHERS = {
    "broken": BROKEN,
    "broken, some missing": ["", "NA", *BROKEN[2:]],
    "broken, but for the last": [*BROKEN[1:], "unknown"],
    "broken, a word for missing at the end": [*BROKEN[1:], "NAN"],
    "broken, in quotation marks at the end": [*BROKEN[1:], '"5,5"'],
    "marks that may stand between thousands": ["1.234", "2.125", *["150", "999"] * (N // 2 - 1)],
    "whole": [str(k) for k in range(N)],
    "whole, some missing": ["", *map(str, range(1, N))],
    "whole, in base sixteen at the end": [*map(str, range(1, N)), "0x1F"],
    "whole, with a plus sign": [f"+{k}" for k in range(N)],
    "whole, with white space": [f" {k}" for k in range(N)],
    "codes": [f"{k % 12:02}" for k in range(N)],
    "codes with white space": [f" {k % 12:02}" for k in range(N)],
    "words": WORDS,
    "words, some missing": ["", "NA", "n/a", *WORDS[3:]],
    "words, numbers at the end": [*WORDS[2:], "7", "8.5"],
    "words in ASCII": ["north", "in the south"] * (N // 2),
    "words with digits": ["class 1", "class 2"] * (N // 2),
    "digits of another script": ["٣", "٤"] * (N // 2),
    "infinite": ["inf", "-Infinity"] * (N // 2),
    "infinite, then words": ["inf", *WORDS[1:]],
    "blank": [" ", "  "] * (N // 2),
    "missing": ["", "NA"] * (N // 2),
    "truths": ["true", "False"] * (N // 2),
    "truths, some missing": ["true", "", "False", "NA"] * (N // 4),
    "truths, then words": ["true", *WORDS[1:]],
    "percentages": [f"{k}%" for k in range(N)],
}


@pytest.mark.parametrize("note", OTHERS)
def test_other_columns_mean_the_same(tmp_path, monkeypatch, note):
    lines = [f"{k:04},s{k % 7},{2020 + k % 3},{k * 1.37:.3f},{k},{text}" for k, text in enumerate(OTHERS[note])]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([",".join(HEADER), *lines]) + "\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quick = read_records(path)
        assert assert_same(path, monkeypatch) == ("sixteen" not in note)
        monkeypatch.setattr(TextSource, "_quick", lambda *_: None)
        assert quick.attrs == read_records(path).attrs


@pytest.mark.parametrize("code", ["", "NA", " ", "nan", "1.0", "Å7", "a b"])
def test_odd_codes_mean_the_same(tmp_path, monkeypatch, code):
    rows = [[code if k in (3, 77) else f"{k}", code if k == 5 else "s", "2020", "1.5", "2.5", "x"] for k in range(90)]
    write(path := tmp_path / "a.csv", rows)
    assert assert_same(path, monkeypatch)
    quick = read_records(path)
    monkeypatch.setattr(TextSource, "_quick", lambda *_: None)
    pd.testing.assert_frame_equal(quick, read_records(path))
    assert quick.attrs["left_out"] == (
        []
        if code.strip()
        else [{"cohort": 2020, "reason": "no school", "rows": 1}, {"cohort": 2020, "reason": "no student", "rows": 2}]
    )
