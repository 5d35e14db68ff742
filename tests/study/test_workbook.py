"""The workbook and CSV for Excel: numbers are numbers, texts stay texts, the same tables give the same bytes."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.errors import ParamsError
from valib.records.precision import published
from valib.records.reading import read_records
from valib.study.earlier import read_table
from valib.study.params import Params
from valib.study.publishing import as_files, publish
from valib.study.workbook import SHEETS, as_workbook
from valib.study.writing import CsvForm, as_csv, read_back, safe_text

HOSTILE = [
    "=1+1",
    "-2",
    "+5",
    "@SUM(A1)",
    "0031",
    "1e5",
    "'=x",
    "2.5.2021",
    '=HYPERLINK("file:///")',
    "Mü\N{SNOWMAN}ß, 'ö'",
]
SOFFICE = shutil.which("soffice")


@pytest.fixture(scope="module")
def effects() -> pd.DataFrame:
    """School effects of the exam data, ten schools with awkward codes."""
    table, _ = va.school_effects([va.fit_relative(va.load_records("exam"))], min_students=10)
    table["school"] = [*HOSTILE, *table["school"].iloc[len(HOSTILE) :]]
    return table


@pytest.fixture(scope="module")
def tables(effects) -> dict[str, pd.DataFrame]:
    blank = pd.DataFrame({"cohort": [2024], "shift": [np.nan], "se": [np.nan], "equating_se": [np.nan]})
    return publish({"school_effects.csv": effects, "shifts.csv": blank}, Params(), model="relative", cohorts=[2024])


@pytest.fixture(scope="module")
def book(tables):
    return openpyxl.load_workbook(io.BytesIO(as_workbook(tables, "=1+1")))


def rows(sheet) -> list[list]:
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def test_the_sheets_hold_the_published_tables(book, tables):
    assert book.sheetnames == ["schools", "shifts", "what columns mean", "how it was made"]
    head, *body = rows(book["schools"])
    csv = read_table_of(as_csv(tables["school_effects.csv"], exact=True))
    assert head == list(csv.columns)
    assert [row[2] for row in body] == [str(s) for s in tables["school_effects.csv"]["school"]]
    text = ["model", "school", "side"]
    numbers = csv.drop(columns=text).to_numpy(dtype=float)
    assert [row[head.index("side")] for row in body] == csv["side"].tolist()
    ours = np.array(
        [[v if v is not None else np.nan for k, v in zip(head, row, strict=True) if k not in text] for row in body],
        float,
    )
    np.testing.assert_array_equal(ours, numbers)
    assert rows(book["shifts"])[1] == [2024, None, None, None], "what is missing or held back is blank"
    assert {row[0] for row in rows(book["what columns mean"])[1:]} <= set(SHEETS.values())


def read_table_of(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype={"school": "str"})


def test_no_text_is_a_formula_and_no_code_a_number(book):
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type in ("s", "n", "b"), (sheet.title, cell.coordinate, cell.data_type)
                if isinstance(cell.value, str) and cell.value in HOSTILE:
                    assert cell.data_type == "s" and cell.number_format == "@"
                    assert bool(cell.quotePrefix) == (cell.value[0] in "=+-@'"), cell.value


def test_formats_header_filters_and_widths(book):
    sheet = book["schools"]
    assert sheet.freeze_panes == "D2" and sheet.auto_filter.ref == sheet.dimensions
    by_name = {cell.value: sheet.cell(2, cell.column).number_format for cell in sheet[1]}
    assert by_name["effect"].startswith("0.0") and by_name["n"] == "#,##0"
    assert sheet["B2"].number_format == "0", "a year has no sign between thousands"
    assert all(5 < dimension.width <= 102 for dimension in sheet.column_dimensions.values())


def test_a_declared_number_is_seen_whole():
    """A level of .95 is no 1, and an equating error that was typed has the digits that were typed."""
    table = pd.DataFrame({"shift": [-4.53], "se": [1.2], "level": [0.95], "equating_se": [1.125]})
    sheet = openpyxl.load_workbook(io.BytesIO(as_workbook({"shifts.csv": table}, "t")))["shifts"]
    assert [cell.number_format for cell in sheet[2]] == ["0.0", "0.0", "0.00", "0.000"]


def test_the_same_tables_give_the_same_bytes(tables):
    first, again = (as_files(tables, Params(), "results.xlsx") for _ in range(2))
    assert first == again


def test_what_no_sheet_holds_is_refused():
    long = pd.DataFrame({"school": ["x" * 40_000]})
    with pytest.raises(ParamsError, match="school_effects.csv, row 1: a text of 40,000 letters"):
        as_workbook({"school_effects.csv": long}, "t")
    many = pd.DataFrame({"n": np.zeros(1_048_576, dtype=int)})
    with pytest.raises(ParamsError, match="1,048,576 rows"):
        as_workbook({"a.csv": many}, "t")


@pytest.mark.parametrize("form", [CsvForm(), CsvForm(mark=True), CsvForm(decimal=",")])
def test_our_own_readers_read_back_what_is_written(effects, tmp_path, form):
    path = tmp_path / "school_effects.csv"
    path.write_text(as_csv(effects, form=form), encoding="utf-8")
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") == (form != CsvForm()) and (b";" in raw) == (form.decimal == ",")
    back = read_table(path)
    pd.testing.assert_frame_equal(back, published(effects), check_dtype=False)
    columns = {"student": "school", "cohort": "cohort", "score": "effect", "prior_score": "se_diagnostic"}
    records = read_records(path, columns=columns | {"school": "model"})  # the reader of records, the same file
    np.testing.assert_array_equal(records["score"], published(effects)["effect"])


@given(st.text(alphabet="'=+-@ 1.ax\u200b\uff1d", max_size=12))
def test_apostrophes_before_formulas_come_off_again(text):
    assert read_back(safe_text(text)) == text


def test_the_command_writes_both_on_request(tmp_path):
    words = ["fit", "exam", "--model", "relative", "--cohorts", "0", "--no-figures", "--excel", "--decimal", ","]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "r").iterdir()} >= {"results.xlsx", "about.csv", "columns.csv"}
    assert not (tmp_path / "r" / "figures").exists()
    assert "level;0,95" in (tmp_path / "r" / "about.csv").read_text(encoding="utf-8-sig")
    again = CliRunner().invoke(app, [*words[:6], "--no-figures", "--out", str(tmp_path / "r")])
    assert again.exit_code == 0 and not (tmp_path / "r" / "results.xlsx").exists()
    wrong = CliRunner().invoke(app, [*words[:6], "--decimal", ";", "--out", str(tmp_path / "r")])
    assert wrong.exit_code == 2 and "decimal" in wrong.stderr


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_libreoffice_sees_numbers_and_texts(tables, effects, tmp_path):
    """As it opens both: umlauts, numbers as numbers, no formula computed, codes as they are."""
    (tmp_path / "book.xlsx").write_bytes(as_workbook(tables, "Prüfung"))
    (tmp_path / "table.csv").write_text(as_csv(effects, form=CsvForm(",", True)), encoding="utf-8")
    home = f"-env:UserInstallation=file://{tmp_path}/home"
    form = ["--infilter=CSV:59,34,UTF8,1,,1031"]  # semicolons, as German Excel and LibreOffice open it
    for name, more in (("book.xlsx", []), ("table.csv", form)):
        command = [SOFFICE, home, "--headless", *more, "--convert-to", "ods", "--outdir", str(tmp_path), name]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    sheet = pd.read_excel(tmp_path / "book.ods", sheet_name="schools", engine="calamine")
    assert sheet["school"].astype("str").tolist()[:10] == HOSTILE
    np.testing.assert_array_equal(sheet["effect"], published(effects)["effect"])
    table = pd.read_excel(tmp_path / "table.ods", engine="calamine")
    np.testing.assert_array_equal(table["effect"], published(effects)["effect"])
    assert table["school"].iloc[0] == "'=1+1" and table["school"].iloc[9] == HOSTILE[9]
