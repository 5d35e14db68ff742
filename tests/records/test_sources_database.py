"""Databases: tables and queries on SQLite and on a real PostgreSQL; nothing is changed, no password is shown."""

import shutil
import sqlite3
import traceback
from urllib.parse import quote_plus

import pandas as pd
import postgres
import pytest
import yaml
from typer.testing import CliRunner

from valib.command.cli import app
from valib.errors import RecordsError
from valib.records.datasets import bundle_root
from valib.records.reading import left_out, read_records
from valib.records.sources import data_name, open_source
from valib.study.params import Params, load

pytestmark = pytest.mark.usefixtures("no_pictures")

HEADER = ("student", "school", "cohort", "score", "prior_score")
ROWS = [
    ("001", "00417", 2023, 512.5, 430.0),
    ("002", "Åby", 2024, None, 401.25),
    ("003", "Åby", 2024, 498.0, 402.0),
    ("004", None, 2024, 510.0, 400.0),
]
WHOLE = "SELECT * FROM records"


@pytest.fixture
def expected():
    return read_records(pd.DataFrame(ROWS, columns=HEADER))


@pytest.fixture
def sqlite(tmp_path):
    path = tmp_path / "school records.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE records (student TEXT, school TEXT, cohort INT, score REAL, prior_score NUMERIC)"
        )
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", ROWS)
    connection.close()
    return path


def more_tables(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a INT)")
        connection.execute("CREATE VIEW recent AS SELECT * FROM records WHERE cohort > 2023")
    connection.close()


GOOD = [
    None,
    "records",
    WHOLE,
    WHOLE + ";",
    "select * from records",
    "-- all\nSELECT * FROM records -- of them",
    "/* all */ WITH a AS (SELECT * FROM records) SELECT * FROM a",
    WHOLE + " WHERE '%' <> '%%' AND ':x' <> ':y' AND '%s' <> '%(a)s'",
]
# What would change something, or is no table.
BAD = [
    "DELETE FROM records",
    "DROP TABLE records",
    "UPDATE records SET score = 1",
    "INSERT INTO records VALUES (1)",
    "CREATE TABLE x (a INT)",
    "WITH a AS (SELECT 1) DELETE FROM records",
    "SELECT 1; DELETE FROM records",
    "SELECT 1; COMMIT; DROP TABLE records",
    "records; DROP TABLE records",
    "Records",
    "absent",
    "records.records",
    "VACUUM",
    "BEGIN",
    "PRAGMA writable_schema=1",
    "ATTACH 'x.db' AS x",
    "SELECT absent FROM records",
    "SELECT * FROM absent",
    "SELECT",
    "with",
    "explain select 1",
    "; SELECT 1",
    "/* SELECT */ DROP TABLE records",
]
POSTGRES_BAD = [
    "WITH a AS (DELETE FROM records RETURNING *) SELECT * FROM a",
    "SELECT * INTO copy FROM records",
    "SELECT setval('counter', 1)",
    "SELECT lo_create(0)",
    "SELECT * FROM records FOR UPDATE",
    "WITH a AS (INSERT INTO records VALUES ('x') RETURNING *) SELECT * FROM a",
]


def refused(url, table):
    with pytest.raises(RecordsError) as caught:
        read_records(url, table=table)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    return said


@pytest.mark.parametrize("table", GOOD)
def test_sqlite_gives_the_records(sqlite, expected, table):
    records = read_records(f"sqlite:///{sqlite}", table=table)
    pd.testing.assert_frame_equal(records, expected)
    assert left_out(records).equals(left_out(expected))
    assert records.attrs["source"] == "database 'school records.db'"


def test_sqlite_is_not_changed_by_23_statements(sqlite):
    before = sqlite.read_bytes()
    survived = 0
    for table in BAD:
        assert refused(f"sqlite:///{sqlite}", table).startswith("database 'school records.db': ")
        survived += sqlite.read_bytes() == before
    assert survived == len(BAD) == 23
    assert list(sqlite.parent.iterdir()) == [sqlite]


def test_sqlite_names_its_tables_and_is_never_made(sqlite, tmp_path):
    more_tables(sqlite)
    url = f"sqlite:///{sqlite}"
    name, there = "database 'school records.db': ", "its tables are other, records, recent."
    assert refused(url, None) == f"{name}say by table which table or SELECT to read; {there}"
    assert refused(url, "x") == f"{name}has no table 'x'; {there}"
    assert read_records(url, table="recent")["student"].tolist() == ["003"]
    assert refused(f"sqlite:///{tmp_path}/absent.db", None) == "database 'absent.db': there is no such file."
    assert not (tmp_path / "absent.db").exists()
    assert refused("sqlite://", None) == "a database: there is no such file."
    assert "holds no rows" in refused(url, "SELECT * FROM records WHERE cohort = 1")
    (tmp_path / "no.db").write_text("not a database, though long enough to look at" * 30)
    assert refused(f"sqlite:///{tmp_path}/no.db", None) == "database 'no.db': cannot be read (file is not a database)."


def test_errors_count_rows_and_doubled_columns_are_refused(sqlite):
    url = f"sqlite:///{sqlite}"
    text = WHOLE.replace("*", "student, school, cohort, 'x' AS score, prior_score")
    assert "(rows 1, 2, 3 and 4; first: 'x')" in refused(url, text)
    assert "more than one column is named 'score'" in refused(url, WHOLE.replace("*", "*, score"))


def test_a_params_file_names_an_sqlite_file_beside_it(sqlite, expected):
    (sqlite.parent / "study").mkdir()
    file = sqlite.parent / "study" / "study.yml"
    file.write_text(yaml.safe_dump({"data": "sqlite:///../school records.db", "table": WHOLE}))
    study = load(file)
    pd.testing.assert_frame_equal(study.read_records(), expected)
    assert study.data_name == "database 'school records.db'" and study.table_name == "a query"
    again = load(file, data=f"sqlite:///{sqlite}")
    assert again.table is None  # the file's table belongs to the file's data
    assert load(file, table="records").table_name == "records"


SECRET = "hunter2 %/#?:é"
WRONG_URLS = [
    "postgresql+psycopg://bob:{}@127.0.0.1:1/planted",
    "postgresql://bob:{}@127.0.0.1:1/planted",
    "postgresql://127.0.0.1:1/planted?password={}",
    "postgresql://bob:{}@[::1]:1/planted",
    "postgresql://bob:{}@127.0.0.1:port/planted",
    "postgresql://bob:{}@host@127.0.0.1:1/planted",
    "nosuch://bob:{}@127.0.0.1/planted",
    "mysql+nosuch://bob:{}@127.0.0.1/planted",
    "sqlite://bob:{}@/x.db",
    "mssql+pyodbc://bob:{}@127.0.0.1/planted",
    "postgresql://bob:{}@127.0.0.1:1/planted?sslmode=nonsense",
]


@pytest.mark.parametrize("form", [SECRET, quote_plus(SECRET)], ids=["raw", "escaped"])
@pytest.mark.parametrize("url", WRONG_URLS)
def test_no_url_that_fails_shows_its_password(url, form):
    url = url.format(form)
    with pytest.raises(RecordsError) as caught:
        read_records(url, table="records")
    told = "".join(traceback.format_exception(caught.value)) + data_name(url) + repr(Params(data=url))
    assert "hunter2" not in told.replace(repr(url), "")
    assert "bob" not in data_name(url) and "127.0.0.1" not in data_name(url)


def test_a_missing_driver_is_named():
    assert refused("mysql+pymysql://u:pw@h/db", None) == (
        "database 'db': mysql+pymysql needs the Python package pymysql, which is not installed."
    )
    assert refused("nosuch://u:pw@h/db", None) == (
        "database 'db': SQLAlchemy has no dialect nosuch here; install its package."
    )


@pytest.fixture(scope="module")
def server():
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL's initdb is not installed (Debian: apt-get install postgresql)")
    psycopg = pytest.importorskip("psycopg")
    with postgres.server() as address:
        with psycopg.connect(f"postgresql://{address}", autocommit=True) as connection:
            connection.execute("""CREATE TABLE records (student text, school varchar(20), cohort smallint,
                               score numeric(6, 2), prior_score double precision)""")
            connection.cursor().executemany("INSERT INTO records VALUES (%s, %s, %s, %s, %s)", ROWS)
            connection.execute("CREATE SCHEMA exam; CREATE SEQUENCE counter")
            connection.execute("CREATE VIEW exam.later AS SELECT * FROM records WHERE cohort > 2023")
            connection.execute("""CREATE VIEW typed AS SELECT 12345678901234567890::numeric AS student,
                               gen_random_uuid() AS school, 2024::bigint AS cohort, 1.5::real AS score,
                               2::numeric AS prior_score, 0.25::numeric(4, 2) AS ses, date '2024-05-09' AS sat,
                               true AS girl, NULL::numeric AS empty, interval '1 day' AS waited""")
        yield address


@pytest.fixture
def url(server):
    return f"postgresql+psycopg://{server}"


@pytest.mark.parametrize("table", GOOD[1:])
def test_postgresql_gives_the_records(url, expected, table):
    records = read_records(url, table=table)
    pd.testing.assert_frame_equal(records, expected)
    assert records.attrs["source"] == "database 'schools'"


def test_postgresql_is_not_changed_by_29_statements(url):
    before, counter = open_source(url, WHOLE).read(), open_source(url, "SELECT * FROM counter").read()
    survived = 0
    for table in [*BAD, *POSTGRES_BAD]:
        assert refused(url, table).startswith("database 'schools': ")
        survived += open_source(url, WHOLE).read().equals(before)
    assert survived == len(BAD) + len(POSTGRES_BAD) == 29
    pd.testing.assert_frame_equal(open_source(url, "SELECT * FROM counter").read(), counter)
    assert "read-only transaction" in refused(url, POSTGRES_BAD[0])
    assert "its tables are records, typed" in refused(url, "copy")


def test_postgresql_types_become_codes_and_numbers(url):
    records = read_records(url, table="typed")
    row = records.iloc[0]
    assert row["student"] == "12345678901234567890" and len(row["school"]) == 36
    assert (row["cohort"], row["score"], row["prior_score"]) == (2024, 1.5, 2.0)
    assert records["ses"].dtype == "float64" and row["ses"] == 0.25 and row["girl"]
    assert str(row["sat"]) == "2024-05-09"
    assert "'cohort' must hold whole numbers" in refused(
        url, WHOLE.replace("*", "student, school, date '2024-05-09' AS cohort, score, prior_score")
    )


def test_postgresql_tables_of_a_schema_and_wrong_ones(url):
    assert read_records(url, table="exam.later")["student"].tolist() == ["003"]
    assert refused(url, None).endswith("say by table which table or SELECT to read; its tables are records, typed.")
    for table in ("exam.absent", "absent.records", "exam.", ".later"):
        assert refused(url, table) == f"database 'schools': has no table '{table}'; its tables are records, typed."


def test_the_command_and_the_pages_show_neither_user_host_nor_password(url, tmp_path):
    from valib.pages.build.staging import put_parameters
    from valib.pages.build.titlepage import titlepage

    file = tmp_path / "study.yml"
    settings = {"data": url, "table": "records", "baseline_cohorts": [2023], "focal_cohorts": [2024]}
    file.write_text(yaml.safe_dump(settings))
    secrets = (postgres.PASSWORD, postgres.ESCAPED, postgres.USER, "sekret")
    shown = [repr(load(file)), str(load(file)), titlepage(load(file)), repr(open_source(url, "records"))]
    for arguments in (
        ["check"],
        ["check", "--json"],
        ["check", "--table", "absent", "--debug"],
        ["check", url.replace(postgres.ESCAPED, postgres.ESCAPED + "x"), "--table", "records", "--debug"],
        ["fit", "--model", "relative", "--out", str(tmp_path / "results"), "--debug"],
        ["fit", "--model", "relative", "--out", str(tmp_path / "results"), "--engine", "duckdb"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--params", str(file)])
        shown.append(done.output + "".join(traceback.format_exception(done.exception)))
        assert "schools" in shown[-1]
    told = "\n".join(shown)
    assert "password authentication failed" in told  # the fourth command was refused by the server
    for secret in secrets:
        assert secret not in told.replace(f'user "{postgres.USER}"', "")
    assert "127.0.0.1" not in "".join(shown[:7])
    notebook = tmp_path / "appendix.ipynb"
    shutil.copyfile(bundle_root() / "chapters" / "appendix_build.ipynb", notebook)
    put_parameters(notebook, load(file))
    page = notebook.read_text(encoding="utf-8")
    assert "data = \\\"database 'schools'\\\"" in page and 'table = \\"records\\"' in page
    assert not any(secret in page for secret in (*secrets, "127.0.0.1"))
