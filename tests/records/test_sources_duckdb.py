"""DuckDB's files, and a SELECT over files of any kind: read-only, and blind to all that was not named."""

import os

import duckdb
import pandas as pd
import pytest
import yaml

from valib.errors import RecordsError
from valib.records.reading import left_out, read_records
from valib.study.params import load

ROWS = pd.DataFrame(
    {
        "student": ["0001", "0002", "0003", "0004"],
        "school": ["007", "007", "Åby", None],
        "cohort": [2023, 2024, 2024, 2024],
        "score": [512.5, None, 498, 510],
        "prior_score": [430, 401.25, 402, 400],
    }
)
WHOLE = "SELECT * FROM records"


@pytest.fixture
def folder(tmp_path):
    with duckdb.connect(str(tmp_path / "school records.db")) as connection:
        connection.register("rows", ROWS)
        connection.execute("CREATE TABLE records AS FROM rows")
        connection.execute("CREATE SCHEMA exam; CREATE VIEW exam.later AS SELECT * FROM records WHERE cohort > 2023")
        connection.execute("CREATE VIEW leak AS SELECT 1 AS a")
    ROWS.drop(columns="prior_score").to_csv(tmp_path / "this year.csv", index=False)
    ROWS[["student", "prior_score"]].to_parquet(tmp_path / "last.parquet")
    return tmp_path


def refused(url, table):
    with pytest.raises(RecordsError) as caught:
        read_records(url, table=table)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    return said


def same(records):
    expected = read_records(ROWS)
    pd.testing.assert_frame_equal(records, expected)
    assert left_out(records).equals(left_out(expected))


@pytest.mark.parametrize("table", ["records", WHOLE, f"{WHOLE};", f"-- all\nWITH a AS ({WHOLE}) SELECT * FROM a"])
def test_a_file_gives_the_records(folder, table):
    same(records := read_records(f"duckdb:///{folder}/school records.db", table=table))
    assert records.attrs["source"] == "database 'school records.db'"


JOINED = "SELECT * FROM 'this year.csv' JOIN 'last.parquet' USING (student)"


def test_a_select_over_files_gives_the_records(folder, monkeypatch):
    same(read_records(f"duckdb:///{folder}", table=JOINED))
    monkeypatch.chdir(folder)
    same(read_records("duckdb://", table=JOINED))
    whole = "SELECT *, 400 AS prior_score FROM 'this year.csv' WHERE school = '007'"
    assert read_records("duckdb://", table=whole)["student"].tolist() == ["0001"]


def test_a_params_file_names_what_lies_beside_it(folder):
    (folder / "study").mkdir()
    file = folder / "study" / "study.yml"
    file.write_text(yaml.safe_dump({"data": "duckdb:///../school records.db", "table": "records"}))
    same(load(file).read_records())
    file.write_text(
        yaml.safe_dump({"data": "duckdb://", "table": JOINED.replace("'this", "'../this").replace("'last", "'../last")})
    )
    study = load(file)
    same(study.read_records())
    assert study.data_name == "files by SELECT" and study.table_name == "a query"


BAD = [
    "DROP TABLE records",
    "WITH a AS (SELECT 1) DELETE FROM records",
    "SELECT 1; DROP TABLE records",
    "SELECT * FROM read_csv('{folder}/this year.csv')",
    "SELECT * FROM read_parquet('{folder}/last.parquet')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '{folder}/hidden'",
    "SELECT * FROM 'https://localhost:1/a.csv'",
    "SELECT * FROM sqlite_scan('a.db', 't')",
    "SELECT * FROM query('COPY records TO ''{folder}/x.csv''')",
    "SELECT absent FROM records",
    "SELECT",
    "absent",
]


@pytest.mark.parametrize("table", BAD)
def test_nothing_else_is_read_or_changed(folder, table):
    before = {file: (folder / file).read_bytes() for file in os.listdir(folder)}
    for url in (f"duckdb:///{folder}/school records.db", f"duckdb:///{folder}"):
        refused(url, table.format(folder=folder))
    assert {file: (folder / file).read_bytes() for file in os.listdir(folder)} == before


def test_tables_are_named_and_files_are_never_made(folder):
    url = f"duckdb:///{folder}/school records.db"
    there = "its tables are exam.later, leak, records."
    assert refused(url, None) == f"database 'school records.db': say by table which table or SELECT to read; {there}"
    assert refused(url, "x") == f"database 'school records.db': has no table 'x'; {there}"
    assert read_records(url, table="exam.later")["student"].tolist() == ["0003"]
    assert refused(f"duckdb:///{folder}/absent.db", None) == "database 'absent.db': there is no such file."
    assert not (folder / "absent.db").exists()
    assert "say by table which SELECT to read" in refused(f"duckdb:///{folder}", None)
    assert "holds no rows" in refused(url, "SELECT * FROM records WHERE cohort = 1")
    (folder / "no.db").write_text("not a database, though long enough to look at" * 300)
    assert refused(f"duckdb:///{folder}/no.db", None).startswith("database 'no.db': cannot be read (")
