"""Files that are damaged or made to harm: one true sentence, in bounded time and memory, without students' data."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from valib.errors import ModelError, RecordsError
from valib.records.reading import read_records
from valib.records.sources import limited, workbook
from valib.sums.streams import moments_from_source, stream_records
from valib.sums.students import sum_students

DATA = Path(__file__).parents[1] / "data"
NAMES = "urn:oasis:names:tc:opendocument:xmlns"
N = 400


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    school, prior = rng.integers(0, 20, N), rng.normal(500, 60, N)
    return pd.DataFrame(
        {
            "student": [f"P{k}" for k in range(N)],
            "school": [f"S{k}" for k in school],
            "cohort": np.where(np.arange(N) < N // 2, 2016, 2019),
            "score": 0.6 * prior + rng.normal(0, 20, 20)[school] + rng.normal(0, 30, N),
            "prior_score": prior,
        }
    )


def ods(path: Path, rows: int, repeated: int, cells: int) -> Path:
    """A sheet of some rows, each declared many times."""
    cell = f'<table:table-cell table:number-columns-repeated="{cells}" office:value-type="float" office:value="1"/>'
    row = f'<table:table-row table:number-rows-repeated="{repeated}">{cell}</table:table-row>'
    content = (
        f'<office:document-content xmlns:office="{NAMES}:office:1.0" xmlns:table="{NAMES}:table:1.0"><office:body>'
        f'<office:spreadsheet><table:table table:name="S">{row * rows}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", kind)
        archive.writestr("content.xml", content)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{NAMES}:manifest:1.0"><manifest:file-entry manifest:full-path="/" '
            f'manifest:media-type="{kind}"/></manifest:manifest>',
        )
    return path


def refusal(source, engine: str = "memory") -> str:
    with pytest.raises(RecordsError) as caught:
        moments_from_source(source, engine=engine)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_ods_that_declares_billions_of_cells_ends_in_bounded_time_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(limited, "SECONDS", 2)
    monkeypatch.setattr(limited, "SHARE", 0.05)
    path = ods(tmp_path / "bomb.ods", rows=400, repeated=1_000_000, cells=50)
    assert path.stat().st_size < 3000
    assert re.search(r"asks for more than the [\d,]+ MB of memory|not read after 2 seconds", refusal(path))


def test_an_ods_of_ordinary_size_is_read(tmp_path):
    with pytest.raises(RecordsError, match="more than one column is named '1'"):
        read_records(ods(tmp_path / "plain.ods", rows=2, repeated=3, cells=5))


def test_an_xls_with_a_cell_far_away_does_not_take_the_memory(tmp_path, monkeypatch):
    """One cell of the stored workbook is moved to row and column 65,536: its reader would make 4 billion cells."""
    monkeypatch.setattr(limited, "SHARE", 0.1)
    raw = bytearray((DATA / "schools.xls").read_bytes())
    record = re.search(rb"\x7e\x02\x0a\x00|\x03\x02\x0e\x00", raw).start()
    raw[record + 4 : record + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "far.xls").write_bytes(raw)
    assert "asks for more than the" in refusal(tmp_path / "far.xls")


def parquet(path: Path, old: bytes = b"", new: bytes = b"", **columns) -> Path:
    pq.write_table(pa.Table.from_pandas(table().assign(**columns), preserve_index=False), path, compression="none")
    if old:
        path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_names_of_columns_that_are_not_utf8(tmp_path, engine):
    assert "cannot be read" in refusal(parquet(tmp_path / "a.parquet", b"student", b"stud\xff\xfet"), engine)


def test_text_that_is_not_utf8_in_a_parquet_file(tmp_path):
    assert "Invalid UTF8" in refusal(parquet(tmp_path / "a.parquet", b"abcdefgh", b"abc\xff\xfefgh", area="abcdefgh"))


def test_what_the_parquet_reader_has_not_is_a_sentence(tmp_path, monkeypatch):
    def lacking(*_, **__):
        raise pa.ArrowNotImplementedError("Unhandled type for Arrow to Parquet schema conversion")

    path = parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(pq, "read_schema", lacking)
    assert refusal(path) == "a.parquet: cannot be read (Unhandled type for Arrow to Parquet schema conversion)."


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_a_file_name_that_is_not_utf8(tmp_path, engine):
    text, stored = (Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9cords." + end)) for end in (b"csv", b"parquet"))
    table().to_csv(text, index=False)
    assert moments_from_source(text, engine=engine).moments.n_students == N
    stored.write_bytes(parquet(tmp_path / "a.parquet").read_bytes())
    assert "its path is not UTF-8" in refusal(stored, engine)


def test_too_little_memory_is_not_called_a_quotation_mark(tmp_path, monkeypatch):
    import duckdb

    def without_memory(*_):
        raise duckdb.OutOfMemoryException("Out of Memory Error: CSV Error")

    table().to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setattr("valib.records.sources.text.quick_table", lambda *_: None)  # so that DuckDB reads it
    monkeypatch.setattr("valib.records.sources.text.heard", without_memory)
    with pytest.raises(MemoryError, match="a.csv: there is not enough memory to read it"):
        read_records(tmp_path / "a.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_standard_output_is_said(tmp_path):
    table().to_csv(tmp_path / "a.csv", index=False)
    command = [sys.executable, *"-m valib fit a.csv --model relative --cohorts 2019 --out out".split()]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "Error: standard output: No space left on device; files that were written stand."
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1] == said
    assert (tmp_path / "out" / "school_effects.csv").is_file()


def tau2(path: Path, engine: str, cohorts: list[int]) -> float:
    from valib.effects.relative import fit_relative

    records = read_records(path) if engine == "memory" else stream_records(path)
    return fit_relative(records, cohorts[0]).tau2


@pytest.mark.parametrize("where", ["csv", "parquet"])
@pytest.mark.parametrize("change", ["one prior of 1e12", "priors 1e9 higher", "scores 1e10 higher"])
def test_another_cohort_changes_no_digit_that_counts(tmp_path, where, change):
    """The clean cohort's fit is that of its rows alone; a sum over both shifts had lost it (tau2 .63 for 160)."""
    frame = table()
    alone, whole = tmp_path / "alone.parquet", tmp_path / f"whole.{where}"
    frame[frame["cohort"] == 2019].to_parquet(alone)
    first = frame["cohort"] == 2016
    if change == "one prior of 1e12":
        frame.loc[5, "prior_score"] = 1e12
    else:
        name, far = ("prior_score", 1e9) if "priors" in change else ("score", 1e10)
        frame.loc[first, name] += far
    frame.to_csv(whole, index=False) if where == "csv" else frame.to_parquet(whole)
    expected = tau2(alone, "memory", [2019])
    for engine in ("memory", "duckdb"):  # 1e-9: as in the other tests of streams
        assert tau2(whole, engine, [2019]) == pytest.approx(expected, rel=1e-9)


CASE = Path(__file__).parents[1] / "cases" / "04-mixed-line-ends"


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
@pytest.mark.parametrize("cohort", [2019, 2021])
def test_mixed_line_ends_give_the_effects_of_one_line_end(engine, cohort):
    from valib.effects.relative import fit_relative

    fits = [
        fit_relative(read_records(path) if engine == "memory" else stream_records(path), cohort).school_effects
        for path in (CASE / "records.csv", CASE / "lf.csv")
    ]
    assert len(fits[0]) == 10
    pd.testing.assert_frame_equal(*fits, rtol=1e-12)


def test_sums_that_have_cancelled_are_refused_in_memory_and_streamed(tmp_path):
    frame = table()
    frame.loc[frame["cohort"] == 2016, "score"] += 1e10
    frame.to_parquet(tmp_path / "a.parquet")
    for records in (read_records(frame), stream_records(tmp_path / "a.parquet")):
        with pytest.raises(ModelError, match="The sums of 'score' have lost their digits"):
            sum_students(records, [2016, 2019], "score ~ prior_score")
        found = sum_students(records, [2019], "score ~ prior_score").moments
        assert found.response_sd == pytest.approx(frame.loc[frame["cohort"] == 2019, "score"].std(), rel=1e-9)


def test_a_workbook_is_read_as_its_cells_are(tmp_path):
    """What the process of its own gives is what the library gives in this one."""
    import python_calamine

    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO((DATA / "schools.xls").read_bytes()))
    cells = book.get_sheet_by_name("Reading").to_python(skip_empty_area=False)
    ours, sheet = workbook._cells(DATA / "schools.xls", "Reading")
    assert sheet == "Reading" and ours.values.tolist() == cells


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("score", "-", "first: '-'"),
        ("score", "45%", "first: '45%'"),
        ("prior_score", "n.k.", "first: 'n.k.'"),
        ("cohort", "2031/32", "first: '2031/32'"),
        ("cohort", "2016.5", "first: '2016.5'"),
        ("score", "Maria Gonzalez", ""),
        ("prior_score", "P17;S3;488", ""),
        ("score", "-inf", "first: '-inf'"),
        ("score", "512,25", "the first has a decimal comma"),
    ],
)
def test_a_refusal_names_a_stray_mark_and_no_name_row_or_score(tmp_path, engine, column, value, told):
    """A mark of up to 12 characters is named; a person's name, the rest of a row and a score are not."""
    frame = table().astype({column: "str"})
    frame.loc[7, column] = value
    frame.to_parquet(tmp_path / "a.parquet")
    said = refusal(tmp_path / "a.parquet", engine)
    assert f"'{column}'" in said and "row 8" in said
    assert (told in said) if told else ("first" not in said and value not in said)
    assert not re.search(r"\bP\d+", said)


@pytest.mark.parametrize("value", ["-inf", "-Infinity", "INF", "+inf", "1e999", " inf "])
def test_a_refusal_quotes_what_stands_in_a_text_file(tmp_path, value):
    frame = table().astype({"score": "str"})
    frame.loc[7, "score"] = value
    frame.to_csv(tmp_path / "a.csv", index=False)
    said = [refusal(tmp_path / "a.csv", engine) for engine in ("memory", "duckdb")]
    assert said[0] == said[1] and f"(line 9; first: '{value.strip()}')" in said[0]


def test_a_refusal_quotes_what_stands_in_a_wide_text_file(tmp_path):
    frame = pd.DataFrame({"student": list("abcd"), "school": "s", "prior_score": 1.5, "r20": 2.5, "r21": 3.5})
    frame.astype({"r21": "str"}).assign(r21=["1", "2", "-1e999", "3"]).to_csv(tmp_path / "a.csv", index=False)
    reshape = {"cohort": [2020, 2021], "columns": {"score": {2020: "r20", 2021: "r21"}}}
    for read in (read_records, stream_records):
        with pytest.raises(RecordsError, match=r"line 4; first: '-1e999'"):
            read(tmp_path / "a.csv", reshape=reshape)


def test_one_cohort_of_a_single_student_has_lost_no_digits(tmp_path):
    """Of one score no spread is left about its mean, whatever the sums were shifted by: no digits are lost."""
    frame = table()
    frame.loc[3, ["cohort", "score"]] = [2007, 432.6]
    frame.to_parquet(tmp_path / "a.parquet")
    found = [moments_from_source(tmp_path / "a.parquet", engine=e).moments for e in ("memory", "duckdb")]
    assert [m.n_students for m in found] == [N, N]
    np.testing.assert_allclose(found[0].means, found[1].means, rtol=1e-12)
