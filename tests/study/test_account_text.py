"""The account as text and as JSON: the same numbers, documented keys, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import simulate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import valib as va
from valib.command.cli import app
from valib.errors import RecordsError
from valib.records.reading import read_records
from valib.study.account import KEYS, SCHEMA_VERSION, check_records
from valib.study.account.text import ROWS, account_text
from valib.study.writing import as_json

DEMO = {
    "baseline_cohorts": [2015, 2016, 2017],
    "focal_cohorts": [2019, 2021, 2023, 2024],
    "further_formulas": ["score ~ prior_score + female + ses"],
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Four cohorts with something of everything: rows left out, codes twice, schools that come and go, gaps."""
    frame = simulate(np.random.default_rng(4), schools=14, size=(3, 30), cohorts=(2015, 2016, 2019, 2021))
    frame = frame.drop(columns="u").assign(ses=np.random.default_rng(5).normal(size=len(frame)))
    rng = np.random.default_rng(6)
    frame.loc[rng.random(len(frame)) < 0.04, "score"] = np.nan
    frame.loc[rng.random(len(frame)) < 0.06, "prior_score"] = np.nan
    frame.loc[rng.random(len(frame)) < 0.07, "ses"] = np.nan
    frame.loc[rng.random(len(frame)) < 0.01, "school"] = None
    frame.loc[rng.integers(0, len(frame), 12), "student"] = frame["student"].iloc[3]
    return frame[
        ~((frame["school"] == "S0002") & (frame["cohort"] == 2016))
        & ~((frame["school"] == "S0005") & (frame["cohort"] == 2015))
        & ~((frame["school"] == "S0006") & (frame["cohort"] == 2021))
    ]


@pytest.fixture(scope="module")
def content(frame) -> dict:
    account = check_records(
        read_records(frame), [2015, 2016], [2019, 2021], further_formulas=["score ~ prior_score + ses"]
    )
    return json.loads(as_json(account.to_dict()))


def tables(text: str) -> dict[str, list[list[str]]]:
    """The words of each row of each table, by title."""
    found, lines = {}, text.split("\n")
    for k, line in enumerate(lines):
        if line and set(line) == {"─"}:
            start = max(i for i in range(k) if not lines[i]) + 1
            end = next(i for i in range(k, len(lines)) if not lines[i] or lines[i].startswith("and "))
            found[lines[start]] = [row.split() for row in lines[k + 1 : end]]
    return found


def words(*values) -> list[str]:
    """Numbers as the text has them: thousands separated, shares in per cent, held back, missing; empty cells gone."""
    return [
        text
        for value in values
        if (text := value if isinstance(value, str) else "<5" if value is None else f"{value:,}".removesuffix(".0"))
    ]


def share(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.1%" if 0 < value < 0.0005 else ">99.9%" if 0.9995 <= value < 1 else f"{100 * value:.1f}%"


def test_text_and_json_tell_the_same_numbers(content):
    told = tables(account_text(content, "study.yml", width=1000))
    by_title = {title.split(" (")[0]: rows for title, rows in told.items()}
    assert by_title["Students with a score, and how many of them have a prior score"] == [
        words(
            str(r["cohort"]),
            r["role"],
            r["scored"],
            r["linked"],
            share(r["share"]),
            f"{r['score_difference']:.2f}",
            f"{r['correlation']:.2f}",
        )
        for r in content["linkage"]
    ]
    assert by_title["Schools and their students"] == [
        words(
            str(r["cohort"]),
            r["role"],
            r["schools"],
            r["students"],
            r["smallest_school"],
            r["median_school"],
            r["largest_school"],
            r["tiny_schools"],
            r["one_student_schools"],
        )
        for r in content["cohorts"]
    ]
    assert by_title["Schools from cohort to cohort"] == [
        words(
            str(r["cohort"]),
            str(r["previous"]),
            r["new"],
            r["gone"],
            r["missing"],
            r["returned"],
            r["grown"],
            r["shrunk"],
            share(r["not_in_baseline"]),
        )
        for r in content["school_changes"]
    ]
    assert by_title["Coverage: schools by the share of tested students that are linked"] == [
        words(
            str(r["cohort"]),
            r["role"],
            r["schools"],
            r["full"],
            r["under_warned"],
            r["under_least"],
            r["none"],
            r["differing"],
        )
        for r in content["coverage"]
    ]
    assert by_title["Schools of which least are linked, or otherwise than by chance"] == [
        words(
            r["school"],
            str(r["cohort"]),
            *([r["tested"], r["linked"], share(r["linked_share"])] if r["tested"] else ["few"] * 3),
            "yes" if r["differs"] else "no",
        )
        for r in content["coverage_list"]["shown"]
    ]
    assert by_title["Schools that change most"] == [
        words(r["school"], r["change"], str(r["cohort"]), r["before"], r["after"])
        for r in content["school_list"]["shown"]
    ]
    assert by_title["Student codes that stand more than once"] == [
        words(str(r["cohort"]), r["same_school"], r["other_school"], r["students_in_two_schools"], r["seen_before"])
        for r in content["codes"]
        if r["same_school"] + r["other_school"] + r["seen_before"]
    ]
    for column, title in (("score", "Scores"), ("prior_score", "Prior scores")):
        assert by_title[title] == [
            words(
                str(r["cohort"]),
                *(f"{r[k]:,.1f}" for k in ("mean", "sd", "min", "p1", "median", "p99", "max")),
                r["values"],
                share(r["at_min"]),
                share(r["at_max"]),
            )
            for r in content["scores"]
            if r["column"] == column
        ]
    assert by_title["Prior score of the focal cohorts against the baseline"] == [
        words(str(r["cohort"]), f"{r['smd']:.2f}", f"{r['variance_ratio']:.2f}", "yes" if r["ok"] else "no")
        for r in content["prior"]
    ]
    assert by_title["Covariates: share missing"] == [
        words(str(r["cohort"]), share(r["share"])) for r in content["covariates"]
    ]
    assert by_title["What one student does to the effect of a school"] == [
        words(str(r["cohort"]), r["school"], r["students"], f"{r['change']:.2f}", f"{r['se']:.2f}")
        for r in content["influence"]
    ]
    assert len(by_title) == 13  # these and the rows, below


def test_the_rows_of_the_text_add_up(content, frame):
    rows = tables(account_text(content, "study.yml", width=1000))["Rows by cohort"]
    numbers = [[int(word.replace(",", "")) for word in row if re.fullmatch(r"[\d,]+", word)] for row in rows]
    *cohorts, every = [row[1:] if len(row) > len(numbers[-1]) else row for row in numbers]
    assert [sum(column) for column in zip(*cohorts, strict=True)] == every
    assert every[0] == every[1] + sum(every[2:]) == content["rows_read"] == len(frame)
    assert every[1] == content["rows_used"] and sum(every[2:]) == content["rows_left_out"]
    assert sum(row["rows"] for row in content["left_out"]) == content["rows_left_out"] > 0
    assert sum(row["students"] for row in content["cohorts"]) == content["rows_used"]


def test_sentences_are_the_same_in_both_and_one_line_each(content):
    lines = account_text(content, "study.yml").split("\n")
    assert [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")] == [
        item["text"] for item in content["warnings"]
    ]
    assert {item["code"] for item in content["warnings"]} >= {"left_out", "duplicates", "covariate_missing"}
    head = f"{content['rows_read']:,} rows read, {content['rows_used']:,} used, {content['rows_left_out']:,} ("
    assert lines[1].startswith(head)


def test_the_keys_are_those_that_are_documented(content):
    assert content["schema_version"] == SCHEMA_VERSION
    assert {key.removesuffix("[]") for key in KEYS} == set(content)
    for key, meaning in KEYS.items():
        inside = content[key.removesuffix("[]")]
        rows = inside if key.endswith("[]") else [inside]
        names = {name for row in rows if isinstance(row, dict) for name in row} if key != "limits" else set()
        known = set(re.findall(r"[a-z_0-9]+", meaning))
        assert names <= known, f"{key} does not tell of {sorted(names - known)}"
        assert rows or key == "problems[]", f"nothing stands under {key}"


def test_every_threshold_is_stated(content):
    from valib.study.account import limits

    own = {name.lower() for name in vars(limits) if name.isupper()}
    assert len(own) > 20 and set(content["limits"]) == own | {
        "smd_limit",
        "variance_ratio_limits",
        "refused",
        "refused_as_z",
        "doubtful",
    }


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_tables_fit_the_width_and_lose_nothing(content, width):
    wide, narrow = (account_text(content, "study.yml", width=w) for w in (1000, width))
    inside = [
        line
        for part in narrow.split("\n\n")
        if "─" in part
        for line in part.split("\n")[1:]
        if not line.startswith("and ")
    ]
    assert max(map(len, inside)) <= width
    assert sorted(set(narrow.split()) - {"─" * k for k in range(1, 200)}) == sorted(
        set(wide.split()) - {"─" * k for k in range(1, 200)}
    )


def test_long_lists_are_cut_and_the_study_kept(frame):
    late = pd.concat([frame.assign(cohort=1900 + k, student=f"{k}-" + frame["student"]).head(60) for k in range(40)])
    account = check_records(read_records(pd.concat([late, frame])), [2015, 2016], [2019, 2021])
    text = account_text(account.to_dict(), "study.yml", width=1000)
    told = tables(text)
    assert len(told["Schools and their students"]) == ROWS
    assert {row[0] for row in told["Schools and their students"]} >= {"2015", "2016", "2019", "2021"}
    assert "and 14 more cohorts (--json has them)" in text
    assert len(account.to_dict()["cohorts"]) == 44
    assert told["Rows by cohort"][-1][0] == "all"


def test_the_demo_study_has_no_warning_but_of_two_schools_and_an_intake_that_may_be_the_prior_test():
    """Two schools lack five priors of 40 and of 45. The intake of 2023 differs from the baseline's, which from the records
    alone could be its prior test."""
    account = check_records(va.load_records("demo"), **DEMO)
    assert [(item.code, item.cohorts) for item in account.findings] == [
        ("coverage", (2015, 2017)),
        ("prior_shift", (2023,)),
    ]
    assert account.problems == ()
    text = account_text(account.to_dict(), "params.yml")
    assert "56,242 rows read, 54,032 used, 2,210 (3.9%) left out." in text
    assert "Warning: The change of the mean prior_score alone" in text
    assert text.endswith("can be fitted on these records.\n")
    assert max(map(len, text.split("Every student")[0].split("\n"))) <= 100


# Whatever the records hold

SCORES = st.sampled_from([0.0, 1.0, 480.5, 500.0, 523.1, 999.0, -1e6, 1e308, -1e308, 1e-308, None])
ROW = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "007", "\u202eabc", "x" * 300]),
    st.sampled_from(["A", "B", "\x1b[31m", "=1+1"]),
    st.sampled_from([2015, 2016, 2019, -4, 99999, None]),
    SCORES,
    SCORES,
    st.sampled_from(["n", "s", "", None, 3, 2.5, float("inf"), ("a",)]),
)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=40), st.sampled_from(["prior_score", "x", "C(x)", "school_mean(prior_score)"])
)
def test_any_readable_table_has_an_account(rows, term):
    frame = pd.DataFrame(rows, columns=["student", "school", "cohort", "score", "prior_score", "x"])
    try:
        with np.errstate(all="ignore"):
            records = read_records(frame)
    except RecordsError:
        assume(False)
    account = check_records(
        records, [2015], [2016, 2019], formula=f"score ~ prior_score + {term}", further_formulas=["score ~ x"]
    )
    content = json.loads(as_json(account.to_dict()))
    assert content["rows_read"] == len(rows) == content["rows_used"] + sum(r["rows"] for r in content["left_out"])
    assert sum(r["students"] for r in content["cohorts"]) == content["rows_used"]
    assert sum(r["linked"] for r in content["linkage"]) == content["rows_used"]
    text = account_text(content, "study.yml", width=60)
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert text.count("\nWarning: ") == len(content["warnings"])


# The command

STUDY = ["--baseline-cohorts", "2015,2016", "--focal-cohorts", "2019,2021"]


def run(*arguments):
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture
def here(tmp_path, monkeypatch, frame) -> Path:
    monkeypatch.chdir(tmp_path)
    frame.to_csv("my.csv", index=False)
    return tmp_path


def test_json_alone_stands_on_the_output(here, content):
    done = run("my.csv", *STUDY, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["rows_read"] == content["rows_read"] and told["codes"] == content["codes"]
    stopped = run("my.csv", "--baseline-cohorts", "2015", "--focal-cohorts", "2030", "--json")
    assert stopped.exit_code == 2 and len(json.loads(stopped.stdout)["problems"]) == 1


def test_the_account_goes_to_a_file(here):
    shown = run("my.csv", *STUDY)
    assert run("my.csv", *STUDY, "--out", "sub/account.txt").stdout == "sub/account.txt: the account of my.csv.\n"
    assert Path("sub/account.txt").read_text(encoding="utf-8") == shown.stdout
    done = run("my.csv", *STUDY, "--json", "--out", "account.json")
    assert (done.exit_code, done.stdout) == (0, "")
    assert json.loads(Path("account.json").read_text(encoding="utf-8")) == json.loads(
        run("my.csv", *STUDY, "--json").stdout
    )
    stopped = run("my.csv", "--baseline-cohorts", "2015", "--focal-cohorts", "2030", "--out", "stopped.txt")
    assert stopped.exit_code == 2
    assert "Problem: The study names cohort 2030" in Path("stopped.txt").read_text(encoding="utf-8")
    assert sorted(os.listdir()) == ["account.json", "my.csv", "stopped.txt", "sub"]


def test_further_formulas_of_the_demo_study_are_not_held_against_other_records(here):
    assert "further" not in run("my.csv", *STUDY).stdout
    Path("params.yml").write_text(
        "data: my.csv\nbaseline_cohorts: [2015, 2016]\nfocal_cohorts: [2019, 2021]\n"
        "further_formulas: ['score ~ prior_score + rank']\n",
        encoding="utf-8",
    )
    assert "Warning: The further formula 'score ~ prior_score + rank' needs rank" in run().stdout


BAD = {
    "there is no such file": lambda: ["nowhere.csv"],
    "is a folder": lambda: ["."],
    "the file is empty": lambda: [_file("empty.csv", b"")],
    "no rows": lambda: [_file("head.csv", b"student,school,cohort,score,prior_score\n")],
    "not a table": lambda: [_file("bytes.csv", bytes(range(256)) * 20)],
    "lacks columns": lambda: [_file("few.csv", b"student,school\n1,2\n")],
    "text for a score": lambda: [_file("text.csv", b"student,school,cohort,score,prior_score\n1,2,2015,high,3\n")],
    "ragged": lambda: [_file("ragged.csv", b"student,school,cohort,score,prior_score\n1,2,2015,1,3,4,5\n")],
    "a file name that is no text": lambda: [_file(os.fsdecode(b"my\xff.csv"), b"student,school\n")],
    "no row left": lambda: [_file("void.csv", b"student,school,cohort,score,prior_score\n1,2,2015,,3\n")],
    "bad parquet": lambda: [_file("bad.parquet", b"PAR1 and then nothing of the kind")],
    "bad gzip": lambda: [_file("bad.csv.gz", b"\x1f\x8b\x08\x00 and then nothing of the kind")],
    "a column that is not there": lambda: ["my.csv", "--column", "school=Nowhere"],
    "a broken option": lambda: ["my.csv", "--column", "school"],
    "cohorts that are no years": lambda: ["my.csv", "--focal-cohorts", "later"],
    "a cohort that is not there": lambda: ["my.csv", "--focal-cohorts", "1999"],
    "a formula that runs code": lambda: ["my.csv", "--formula", "score ~ __import__('os').getcwd()"],
    "a formula that is none": lambda: ["my.csv", "--formula", "score ~ ("],
    "a column that the formula lacks": lambda: ["my.csv", *STUDY, "--formula", "score ~ nowhere"],
    "a minimum of none": lambda: ["my.csv", "--min-students", "0"],
    "params that are not there": lambda: ["--params", "nowhere.yml"],
    "params that are no YAML": lambda: ["--params", _file("bad.yml", b"a: [1\n")],
    "an output that is a folder": lambda: ["my.csv", *STUDY, "--out", "."],
    "an output over the records": lambda: ["my.csv", *STUDY, "--out", "my.csv"],
    "an output below a file": lambda: ["my.csv", *STUDY, "--out", "my.csv/account.txt"],
}


def _file(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_sentence(here, name):
    arguments, before = BAD[name](), Path("my.csv").read_bytes()
    done = run(*arguments)
    assert Path("my.csv").read_bytes() == before
    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_bad_inputs_are_counted():
    assert len(BAD) == 25


def test_names_from_the_data_cannot_steer_the_terminal(here, frame):
    names = {"S0005": "\x1b]0;title\x07", "S0002": "\u202egnp.exe", "S0006": "two\nlines\r", "S0001": "x" * 500}
    frame.assign(school=frame["school"].replace(names)).to_parquet("odd\x1b[2J.parquet")
    done = run("odd\x1b[2J.parquet", *STUDY)
    assert done.exit_code == 0 and len(done.stdout.split("\n")) > 50
    assert not [c for c in done.stdout if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert "?gnp.exe" in done.stdout and "two lines" in done.stdout
    assert {"\u202egnp.exe", "\x1b]0;title\x07"} <= {
        row["school"] for row in json.loads(run("odd\x1b[2J.parquet", *STUDY, "--json").stdout)["school_list"]["shown"]
    }


def test_what_reading_warns_of_stands_in_the_account(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = va.load_records("demo").query("cohort in [2015, 2019]").assign(name="Süd")
    demo.to_csv("old.csv", sep=";", decimal=",", index=False, encoding="latin-1")
    command = ["check", "old.csv", "--baseline-cohorts", "2015", "--focal-cohorts", "2019"]
    text, content = (CliRunner().invoke(app, [*command, *more]) for more in ([], ["--json"]))
    assert "Warning: old.csv: line 2 holds a byte that is not UTF-8" in text.output
    first = json.loads(content.output)["warnings"][0]
    assert first["code"] == "source" and "line 2" in first["text"]
