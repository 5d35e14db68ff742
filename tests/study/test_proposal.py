"""`valib init`: which columns are taken for which, what is said of doubts; nothing in the data acts or leaks."""

from __future__ import annotations

import re
import sqlite3
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import postgres
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml
from conftest import ROOT
from typer.testing import CliRunner

from valib.command.cli import app
from valib.errors import RecordsError, ValibWarning
from valib.records.datasets import load_records
from valib.study.params import load
from valib.study.proposal import params_text, propose
from valib.study.proposal.columns import scalar, words

pytestmark = pytest.mark.usefixtures("no_pictures")

REFERENCE = ROOT / "tests" / "reference" / "data"
ROLES = ("student", "school", "cohort", "score", "prior_score")


def run(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code in (0, 2), done.output
    return done


@pytest.fixture(scope="module")
def panel():
    """Four cohorts of 400 students with codes, text and scores like those of a department's extract."""
    rng = np.random.default_rng(11)
    n = 1600
    school = rng.integers(0, 40, n)
    prior = rng.normal(430, 60, n) + school
    return pd.DataFrame(
        {
            "student": [f"XSTUDENT{k:05d}" for k in rng.permutation(n)],
            "school": [f"XSCHOOL{k:03d}" for k in school],
            "cohort": rng.integers(2019, 2023, n),
            "score": (80 + prior + rng.normal(0, 40, n)).round(1),
            "prior_score": prior.round(1),
            "girl": rng.integers(0, 2, n),
            "ses": rng.normal(size=n).round(3),
        }
    )


# Names as departments have them: student, school, cohort, score, prior score.
NAMES = [
    ("student", "school", "cohort", "score", "prior_score"),
    ("student_id", "school_id", "year", "score", "prior_score"),
    ("StudentID", "SchoolID", "Year", "Score", "PriorScore"),
    ("PupilID", "SchoolCode", "Year", "Y5Reading", "Y3Reading"),
    ("UPN", "URN", "CohortYear", "KS4_score", "KS2_score"),
    ("pupil", "school name", "test year", "post", "pre"),
    ("Candidate No", "Centre", "Exam Year", "Year 5 reading score", "Year 3 reading score"),
    ("child_code", "campus", "calendar_year", "outcome", "intake"),
    ("id", "School", "YEAR", "posttest", "pretest"),
    ("learner", "institution", "cohort", "result_2", "result_1"),
    ("studentnr", "schoolnr", "jaar", "uitslag", "vorige_score"),
    ("Schüler", "Schule", "Jahr", "Ergebnis", "Vortest"),
    ("élève", "établissement", "année", "score final", "score initial"),
    ("alumno", "colegio", "año", "puntaje", "puntaje_previo"),
    ("aluno", "escola", "ano", "nota_final", "nota_anterior"),
    ("elev", "skola", "år", "resultat9", "resultat6"),
    ("Student Code", "School Code", "Assessment Year", "NAPLAN Y9 Numeracy", "NAPLAN Y7 Numeracy"),
    ("stud.id", "sch.school", "yr.year", "final.score", "entry.score"),
    ("pupil_ref", "la_school_code", "academic_year", "attainment", "prior_attainment"),
    ("student", "school", "year", "t2", "t1"),
    ("Schüler-Nr.", "Schulnummer", "Schuljahr", "Punkte Kl. 5", "Punkte Kl. 3"),
    ("id_eleve", "code_etab", "annee", "score_final", "score_entree_avant"),
]


def test_there_are_22_ways_to_name_the_columns():
    assert len(NAMES) == 22


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[3])
def test_columns_are_found_by_name_and_the_study_can_be_checked(tmp_path, panel, names):
    mapping = dict(zip(ROLES, names, strict=True))
    order = ["ses", "prior_score", "school", "girl", "cohort", "student", "score"]  # not the order of the roles
    panel[order].rename(columns=mapping).to_csv(tmp_path / "my records.csv", index=False)
    file = tmp_path / "study.yml"
    done = run("init", tmp_path / "my records.csv", "--out", file)
    assert done.exit_code == 0, done.output
    study = load(file)
    assert study.columns == {role: name for role, name in mapping.items() if role != name}
    assert (study.baseline_cohorts, study.focal_cohorts) == ([2019, 2020], [2021, 2022])
    assert study.further_formulas[-1] == "score ~ prior_score + ses + girl + school_mean(prior_score)"
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["data"] == "my records.csv"  # relative to the file
    checked = run("check", "--params", file)
    assert checked.exit_code == 0, checked.output
    told = file.read_text(encoding="utf-8") + done.output
    assert "XSTUDENT" not in told and "XSCHOOL" not in told


def bundled(name):
    return {
        "demo": ROOT / "data" / "demo.csv",
        "egsingle": REFERENCE / "egsingle_cohorts.csv",
        "panel_sim": REFERENCE / "panel_sim.csv",
    }[name]


@pytest.mark.parametrize(
    ("name", "baseline", "focal", "covariates"),
    [
        ("demo", [2015, 2016, 2017], [2018, 2019, 2021, 2023, 2024], "female + ses"),
        ("egsingle", [2, 3], [4, 5, 6], "female + black + hispanic + lowinc"),
        ("panel_sim", [2015, 2016, 2017], [2019, 2021, 2024], "female + ses"),
    ],
)
def test_known_records_are_proposed_and_pass_the_check(tmp_path, name, baseline, focal, covariates):
    file = tmp_path / "study.yml"
    assert run("init", bundled(name), "--out", file).exit_code == 0
    study = load(file)
    assert (study.baseline_cohorts, study.focal_cohorts) == (baseline, focal)
    assert study.further_formulas[-1] == f"score ~ prior_score + {covariates} + school_mean(prior_score)"
    checked = run("check", "--params", file)
    assert checked.exit_code == 0, checked.output


def test_demo_with_other_names_is_the_same_study(tmp_path):
    table = pd.read_csv(bundled("demo"), dtype={"school_id": str})
    table.columns = ["PupilRef", "SchoolNo", "TestYear", "Y5Reading", "Y3Reading", "girl", "Index of SES"]
    table.to_csv(tmp_path / "demo.csv", index=False, sep=";", decimal=",")
    file = tmp_path / "study.yml"
    assert run("init", tmp_path / "demo.csv", "--out", file).exit_code == 0
    study = load(file)
    assert study.columns == {
        "student": "PupilRef",
        "school": "SchoolNo",
        "cohort": "TestYear",
        "score": "Y5Reading",
        "prior_score": "Y3Reading",
        "index_of_ses": "Index of SES",
    }
    assert study.further_formulas[-1] == "score ~ prior_score + girl + index_of_ses + school_mean(prior_score)"
    assert run("check", "--params", file).exit_code == 0
    expected = load_records("demo").rename(columns={"female": "girl", "ses": "index_of_ses"})
    pd.testing.assert_frame_equal(study.read_records(), expected)


def test_one_cohort_is_a_study_of_schools_against_each_other(tmp_path):
    file = tmp_path / "study.yml"
    done = run("init", ROOT / "data" / "exam.csv", "--out", file)
    assert done.exit_code == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValibWarning)
        study = load(file)
        assert study.columns == {"score": "normexam", "prior_score": "standLRT"} and study.focal_cohorts == [0]
        assert len(study.read_records()) == 4059
    assert "Unsure: prior_score = standLRT: only its correlation says so." in done.output
    assert "with one cohort nothing can be a benchmark" in done.output
    fitted = run("fit", "--model", "relative", "--params", file, "--out", tmp_path / "results")
    assert fitted.exit_code == 0, fitted.output


def test_what_is_not_found_is_a_line_to_fill_in_with_candidates(tmp_path, panel):
    names = {"student": "a", "school": "b", "score": "c", "prior_score": "d"}
    panel.drop(columns=["girl"]).rename(columns=names).to_csv(tmp_path / "a.csv", index=False)
    file = tmp_path / "study.yml"
    done = run("init", tmp_path / "a.csv", "--out", file)
    text = file.read_text()
    assert "student = a: only its values say so" in text and "school = b: only its values say so" in text
    assert '  score: "?"    # which column holds the score? Perhaps c, d, ses\n' in text
    assert '  prior_score: "?"    # which column holds the prior score? Perhaps c, d, ses\n' in text
    assert "Unsure: score: not found; fill it in." in done.stderr and "further_formulas" not in text
    for command in (["check"], ["fit", "--model", "relative", "--out", tmp_path / "out"]):
        told = run(*command, "--params", file)
        assert (
            told.exit_code == 2
            and "prior_score is not answered: which column holds the prior score? Per" in told.stderr
        )
    file.write_text(text.replace('  score: "?"', "  score: c").replace('  prior_score: "?"', "  prior_score: d"))
    assert load(file).columns == {"student": "a", "school": "b", "score": "c", "prior_score": "d"}
    assert run("check", "--params", file).exit_code == 0


DOUBTS = {  # what is done to the panel -> what is said
    "no year": (lambda f: f.drop(columns="cohort"), "cohort: no column holds years"),
    "years as text": (
        lambda f: f.assign(cohort=[f"{y} or so" for y in f["cohort"]]),
        "cohort would have to hold whole numbers such as 2024",
    ),
    "two years": (
        lambda f: f.rename(columns={"cohort": "test year"}).assign(**{"report year": f["cohort"] + 1}),
        "'report year' would do as well|report year would do as well",
    ),
    "grades for years": (lambda f: f.assign(cohort=f["cohort"] - 2018), "its values are not calendar years"),
    "birth years": (lambda f: f.assign(birth_year=2010).drop(columns="cohort"), "no column holds years"),
    "codes within schools": (
        lambda f: f.assign(student=f.groupby("school").cumcount()),
        "perhaps codes are given within schools",
    ),
    "two subjects": (
        lambda f: f.rename(columns={"score": "Y5Read", "prior_score": "Y3Read"}).assign(
            Y5Maths=f["score"] + np.arange(len(f)), Y3Maths=f["prior_score"]
        ),
        "Y5Read: also possible: Y5Maths, Y3Maths",
    ),
    "no relation": (
        lambda f: f.assign(prior_score=np.random.default_rng(2).permutation(f["prior_score"])),
        "they correlate by",
    ),
    "a small cohort": (lambda f: pd.concat([f, f.head(5).assign(cohort=2011)]), "cohorts 2011 are left aside"),
    "two schools": (
        lambda f: f.rename(columns={"school": "school_now"}).assign(school_then=f["school"].str.lower()),
        "school_then would do as well",
    ),
    "no student": (lambda f: f.drop(columns="student"), "no column is a student's code"),
    "unknown years": (
        lambda f: f.assign(cohort=f["cohort"].mask(f["student"].str.endswith("7"), 9999)),
        "cohorts 9999 are left aside: no calendar years; if they stand for unknown",
    ),
    "words in a test": (
        lambda f: f.assign(prior_score=f["prior_score"].astype(object).mask(f.index < 30, "absent")),
        "prior_score: 30 of its values are text, the others are numbers; if it is a test",
    ),
    "two tests by name": (
        lambda f: f.rename(columns={"score": "note_b", "prior_score": "note_a"}).assign(note_c=1),
        "score = note_[ab]: also possible: .*see that it is the later test",
    ),
    "one school": (lambda f: f.assign(school="A"), "school: not found"),
    "one covariate": (lambda f: f.drop(columns="ses"), "girl is offered as a covariate; .* given it is yours"),
    "two covariates": (lambda f: f, "girl, ses are offered as covariates; .* given them is yours"),
}


def test_there_are_17_doubts():
    assert len(DOUBTS) == 17


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts_are_said(panel, name):
    change, words_said = DOUBTS[name]
    assert re.search(words_said, "\n".join([*(made := propose(change(panel))).unsure, *made.questions.values()]))


def test_another_test_is_no_covariate(panel):
    table = panel.rename(columns={"score": "Y5Read", "prior_score": "Y3Read"})
    table = table.assign(Y5Maths=panel["score"] * 2 + panel["ses"], result=panel["ses"] ** 2)
    assert propose(table).params["further_formulas"][-1] == (
        "score ~ prior_score + girl + ses + school_mean(prior_score)"
    )


def test_names_that_stand_in_the_way_are_moved(tmp_path, panel):
    table = panel.rename(columns={"score": "Y5 score"}).assign(score=["pass", "fail"] * 800)
    table.to_csv(tmp_path / "a.csv", index=False)
    assert run("init", tmp_path / "a.csv", "--out", tmp_path / "s.yml").exit_code == 0
    assert load(tmp_path / "s.yml").columns == {"score": "Y5 score", "source_score": "score"}
    assert run("check", "--params", tmp_path / "s.yml").exit_code == 0


HOSTILE = [
    "a: b",
    "# comment",
    "x\ny: 1",
    "x\r\nseed: 7",
    "'",
    '"',
    "{a: b}",
    "[1]",
    "!!python/object/apply:os.exit [1]",
    "&anchor",
    "*alias",
    "- item",
    "? key",
    "| block",
    "> folded",
    "%TAG",
    "@at",
    "`tick`",
    "yes",
    "null",
    "~",
    "1e3",
    "2024-05-09",
    "\u2028line",
    "\x85next",
    "\ufeffbom",
    "tab\there",
    "<b>html</b>",
    "\\textbf{x}",
    "=1+1",
    "é" * 300,
    " lead",
    "trail ",
    "a #b",
    "a\n# b: c",
    "...",
    "---",
    "=",
    "<<",
    "0o17",
    "\u202edesrever",
    "日本語",
    "a\\nb",
]


def test_there_are_43_hostile_names():
    assert len(HOSTILE) == 43


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(panel, name):
    assert yaml.safe_load(scalar(name)) == name and len(scalar(name).splitlines()) == 1
    columns = {"school": f"school {name}", "score": f"score {name}", "ses": name}
    proposal = propose(panel.rename(columns=columns).assign(**{f"spare{name}": panel["prior_score"] + 1}))
    text = params_text(proposal, data=f"folder/{name}.csv", table=name)
    read = yaml.safe_load(text)
    assert set(read) == {
        "title",
        "data",
        "table",
        "columns",
        "baseline_cohorts",
        "focal_cohorts",
        "formula",
        "further_formulas",
        "min_students",
    }
    assert read["columns"]["school"] == f"school {name}" and read["columns"]["score"] == f"score {name}"
    assert (read["data"], read["table"]) == (f"folder/{name}.csv", name)
    plain = propose(panel.rename(columns={"school": "school b", "score": "score b"}).assign(spare=panel["score"] + 1))
    renamed = len(proposal.params["columns"]) - 2  # a covariate with a new name takes a line
    assert len(text.splitlines()) == len(params_text(plain, "a.csv", "b").splitlines()) + renamed


def test_an_earlier_file_stays_and_printing_writes_nothing(tmp_path, panel, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel.to_csv("a.csv", index=False)
    Path("params.yml").write_text("seed: 1\n")
    done = run("init", "a.csv")
    assert done.exit_code == 2 and Path("params.yml").read_text() == "seed: 1\n"
    assert done.stderr == "Error: params.yml: is there already; remove it, or name another with --out.\n"
    for arguments in (["--out", "-"], ["--print"]):
        printed = run("init", "a.csv", *arguments)
        assert printed.exit_code == 0 and yaml.safe_load(printed.stdout)["data"] == "a.csv"
        assert "Unsure: baseline_cohorts" in printed.stderr and "Unsure: " not in printed.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "params.yml"]
    Path("params.yml").unlink()
    assert run("init", "a.csv").exit_code == 0 and run("check").exit_code == 0
    assert run("init", "a.csv", "--out", "new/study.yml").exit_code == 0
    assert load("new/study.yml").data == str(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "words_said"),
    [
        ("", "the file is empty"),
        ("student,school\n", "holds no rows"),
        ("1,2,3\n4,5,6\n", "a header"),
        ("P1,S1,2024,1.5,2.5\nP2,S2,2024,1.5,2.5\n", "a header"),
        ("P1,S1,north,2024,x\nP2,S2,north,2024,y\n", "a header"),
    ],
)
def test_files_without_names_or_rows_are_refused_in_one_sentence(tmp_path, content, words_said):
    (tmp_path / "a.csv").write_text(content)
    done = run("init", tmp_path / "a.csv", "--out", tmp_path / "params.yml")
    assert done.exit_code == 2 and words_said in done.stderr and done.stderr.count("\n") == 1
    assert "P1" not in done.output and not (tmp_path / "params.yml").exists()


def test_bundled_data_need_no_proposal_and_missing_ones_are_said(tmp_path):
    assert "comes with valib" in run("init", "demo", "--print").stderr
    assert "no such file" in run("init", tmp_path / "none.csv", "--print").stderr
    with pytest.raises(RecordsError, match="the DataFrame: holds no rows"):
        propose(pd.DataFrame({"student": []}))


def test_an_sqlite_file_is_named_relative_to_the_params_file(tmp_path, panel, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("records.db") as connection:
        panel.to_sql("r", connection, index=False)
    connection.close()
    assert run("init", "sqlite:///records.db", "--out", "study/params.yml").exit_code == 0
    assert load("study/params.yml").data == f"sqlite:///{tmp_path}/records.db"
    assert run("init", "sqlite:///records.db").exit_code == 0
    assert "\ndata: sqlite:///records.db\n" in Path("params.yml").read_text()
    assert run("check").exit_code == run("check", "--params", "study/params.yml").exit_code == 0


@pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL's initdb is not installed")
def test_a_database_is_proposed_without_its_password(tmp_path, panel, monkeypatch):
    import psycopg

    with postgres.server() as address:
        with psycopg.connect(f"postgresql://{address}", autocommit=True) as connection:
            connection.execute("CREATE TABLE r (student text, school text, cohort int, score real, prior_score real)")
            connection.cursor().executemany(
                "INSERT INTO r VALUES (%s, %s, %s, %s, %s)", panel.iloc[:, :5].itertuples(index=False, name=None)
            )
        file = tmp_path / "params.yml"
        done = run("init", f"postgresql://{address}", "--table", "r", "--out", file)
        assert done.exit_code == 0, done.output
        assert "sekret" not in file.read_text() + done.output
        monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
        assert load(file).table == "r" and run("check", "--params", file).exit_code == 0


def test_names_are_taken_apart():
    assert words("Y5Reading_Score2021") == ("y", "5", "reading", "score", "2021")
    assert words("KS2 MATHSScore") == ("ks", "2", "maths", "score")
    assert words("Année d'étude") == ("annee", "d", "etude")


def test_unknown_years_are_no_cohorts_and_years_as_text_no_covariate(panel):
    some = panel.assign(cohort=panel["cohort"].mask(panel["student"].str.endswith("7"), 9999))
    params = propose(some).params
    assert params["baseline_cohorts"] + params["focal_cohorts"] == sorted(panel["cohort"].unique())
    text = propose(panel.assign(cohort=[f"{y} or so" for y in panel["cohort"]])).params
    assert text["focal_cohorts"] == [0] and "cohort" not in " ".join(text["further_formulas"])
    small = propose(panel.head(20)).params
    assert small["baseline_cohorts"] + small["focal_cohorts"] == sorted(panel.head(20)["cohort"].unique())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_columns_of_a_name_are_refused(tmp_path, panel, kind):
    doubled = pa.Table.from_pandas(panel.assign(other=panel["score"]), preserve_index=False)
    doubled = doubled.rename_columns([name.replace("other", "score") for name in doubled.column_names])
    path = tmp_path / f"a.{kind}"
    (pa.csv.write_csv if kind == "csv" else pa.parquet.write_table)(doubled, path)
    done = run("init", path, "--out", tmp_path / "study.yml")
    assert done.exit_code == 2 and done.stderr == f"Error: a.{kind}: more than one column is named 'score'.\n"
    assert not (tmp_path / "study.yml").exists()


def test_columns_of_lists_and_objects_stand_in_no_way(tmp_path, panel):
    odd = panel.assign(marks=[[1, k] if k % 9 else None for k in range(len(panel))], note=[{"a": 1}] * len(panel))
    odd.to_parquet(tmp_path / "a.parquet")
    assert run("init", tmp_path / "a.parquet", "--out", tmp_path / "study.yml").exit_code == 0
    assert propose(odd).params == propose(panel).params
