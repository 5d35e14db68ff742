"""CSV files that a spreadsheet opens: no cell starts a formula, every cell comes back."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from typer.testing import CliRunner

from valib.command.cli import app
from valib.study.writing import as_csv, safe_text

FORMULAS = [
    "=1+1",
    "=cmd|'/c calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(A1:A9)",
    '=HYPERLINK("http://x","y")',
    '=WEBSERVICE("x")',
    "\t=1",
    "\r=1",
    "\n=1",
    "\ttab",
    "\rreturn",
    "\nline",
    " =1",
    "   +1+1",
    "\u00a0=1",
    "\u3000@x",
    "\u200b=1",
    "\ufeff=1",
    "\u202e=1",
    "\u2066=1",
    "＝1+1",
    "＋1",
    "－1",
    "＠x",
    " ＝1",
    "﹢1",
    "﹣x",
    "﹦1",
    "﹫x",
    "⁼1",
    "₌1",
    "'=1",
    "''=1",
    "' =1",
    "=",
    "+",
    "-",
    "@",
    "--",
    "-x",
    "+49 30 1234",
    "@home",
    '="a""b"',
    "-1-1",
    "1e5\n=1",
    "a;=1+1",
    'a;=1+1;"',
    "a\t=1",
    "a\n=1",
    "a\r\n=1",
    "a;;  +1",
    "x;'=1",
    "=1;=2;=3",
    "-5-",
    "+",
    "-1e",
    "=" * 500,
    "\n\n=1",
    ";=1",
    '"=1"\n=2',
    "-\u0661",
    "+１",
    "-1,5+2",
]
PLAIN = [
    "-5",
    "+5",
    "-5.25",
    "+.5",
    "-1e-5",
    "5",
    "S01",
    "0017",
    "St. Mary's",
    "A-B",
    "a=b",
    "x@y.org",
    "1+1",
    "'",
    "''x",
    "'quoted'",
    "a, b",
    'say "x"',
    "two\nlines",
    "x" * 500,
    "שלום",
    "\u200fabc",
    "e\u0301",
    "🏫",
    "nan",
    "None",
    "",
    "../../x",
    "%=1",
    "(=1)",
    "C++",
    "a - b",
    "a;b",
    "50%",
]
REPLACED = {
    "a\x00b": "a\ufffdb",
    "\x1b[31mred": "\ufffd[31mred",
    "\x07": "\ufffd",
    "a\x85b": "a\ufffdb",
    "a\rb": "a\nb",
    "a\r\nb": "a\nb",
    "\x0b=1": "\ufffd=1",
}
# What the README says takes the apostrophe off again, here for every place and every kind of sign and blank.
BLANKS = r"[\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
OFF = re.compile(rf"(?:^|(?<=[;\t\n]))'(?='*{BLANKS}'*[=+\-@＝＋－＠﹢﹣﹦﹫⁺⁻⁼₊₋₌])|^'(?='*[\t\n])")


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def starts_a_formula(text: str) -> bool:
    first = text.lstrip(
        "".join(
            map(
                chr,
                [
                    *range(33),
                    0xA0,
                    0x3000,
                    0xFEFF,
                    *range(0x200B, 0x2010),
                    *range(0x202A, 0x202F),
                    *range(0x2060, 0x2070),
                ],
            )
        )
    )[:1]
    number = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text)
    return bool(first) and first in "=+-@＝＋－＠﹢﹣﹦﹫⁺⁻⁼₊₋₌" and not number


def test_how_many_cells_are_tried():
    assert len(FORMULAS) == 64 and len(PLAIN) == 34 and len(REPLACED) == 7


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_or_a_header_that_starts_a_formula_gets_an_apostrophe(text):
    for table in (
        pd.DataFrame({"school": [text, "x"]}),
        pd.DataFrame({text: [1.5, 2.0]}),
        pd.DataFrame({"school": pd.Categorical([text, "x"])}),
    ):
        rows = read(as_csv(table))
        assert len(rows) == 3 and {len(row) for row in rows} == {1}
        shown = rows[0][0] if table.columns[0] == text else rows[1][0]
        assert not any(starts_a_formula(part) for part in re.split(r"[;\t\n]", shown))
        assert not shown.startswith(("\t", "\n", "\r")) and "\r" not in shown
        assert OFF.sub("", shown) == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text):
    assert safe_text(text) == text
    table = pd.DataFrame({"school": [text, "x"], "n": [1, 2]})
    assert read(as_csv(table)) == [["school", "n"], [text, "1"], ["x", "2"]]


@pytest.mark.parametrize(("text", "shown"), REPLACED.items())
def test_control_characters_are_replaced(text, shown):
    made = as_csv(pd.DataFrame({text: [text], "n": [1]}))
    assert read(made) == [[shown, "n"], [shown, "1"]]


def test_half_a_surrogate_pair_is_replaced():
    assert as_csv(pd.DataFrame({"a": pd.Series(["\ud800x"], dtype=object)})) == "a\n\ufffdx\n"


def test_numbers_missing_values_and_empty_tables():
    table = pd.DataFrame({"a": [-0.1, np.nan], "b": [True, False], "c": ["-x", None], "d": [None, -3]})
    assert as_csv(table) == "a,b,c,d\n-0.1,True,'-x,\n,False,,-3.0\n"
    assert as_csv(pd.DataFrame({"a": [], "=b": []})) == "a,'=b\n" and as_csv(pd.DataFrame()) == "\n"


def test_the_command_writes_no_formula(tmp_path, monkeypatch):
    records = simulate(np.random.default_rng(1), schools=len(FORMULAS)).drop(columns="u")
    names = dict(zip(sorted(records["school"].unique()), FORMULAS, strict=True))
    records["school"] = records["school"].map(names)
    records["=region"] = np.where(np.arange(len(records)) % 2, "=north", "@south")
    records.to_parquet(tmp_path / "r.parquet")
    order = [
        "fit",
        "r.parquet",
        "--model",
        "relative",
        "--cohorts",
        "2015",
        "--baseline-cohorts",
        "2014",
        "--focal-cohorts",
        "2015",
        "--formula",
        "score ~ prior_score + `=region`",
        "--out",
        "out",
    ]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, order)
    assert done.exit_code == 0, done.output
    for name in ("school_effects.csv", "fixed_effects.csv"):
        for row in read((tmp_path / "out" / name).read_text(encoding="utf-8")):
            assert not any(starts_a_formula(part) for cell in row for part in re.split(r"[;\t\n]", cell))
    effects = read((tmp_path / "out" / "school_effects.csv").read_text(encoding="utf-8"))
    stripped = {name.strip() for name in FORMULAS}
    assert len(effects) - 1 == len(stripped) and json.loads((tmp_path / "out" / "fits.json").read_text())
