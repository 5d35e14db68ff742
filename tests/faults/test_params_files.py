"""Broken params files: each is refused with exit code 2 and one plain sentence that names the file and the line."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
from faultlib import done
from typer.testing import CliRunner

from valib.command import cli

JARGON = re.compile(
    r"Input should be|value_error|type=|pydantic|[Vv]alidation|Traceback|NoneType|datetime|\bdict\b|"
    r"\bstr\b|\bint\b|\bfloat\b|dataclass|unable to parse|<class|!!python/object:|constructor"
)
LAUGHS = (
    "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}]\n"
        for p, n in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "focal_cohorts: *j\n"
)

# The file, the line that is named (None: the file as a whole), and what else the sentence says.
BROKEN: dict[str, tuple[str | bytes, int | None, str]] = {
    "a bracket left open": ("seed: 1\nfocal_cohorts: [2019,\n", 3, "not YAML"),
    "a quote left open": ('title: "mine\nseed: 1\n', 3, "not YAML"),
    "indented by a tab": ("scale_breaks:\n\t- cohort: 2023\n", 2, "not YAML"),
    "a colon too many": ("title: our: schools\n", 1, "not YAML"),
    "no blank after the colon": ("seed:1\n", 1, "found a text"),
    "two documents": ("seed: 1\n---\nseed: 2\n", 2, "not YAML"),
    "a merge conflict": ("<<<<<<< HEAD\nseed: 1\n=======\nseed: 2\n>>>>>>> x\n", 2, "not YAML"),
    "a list": ("- seed: 1\n", 1, "found a list"),
    "a word": ("demo\n", 1, "found a text"),
    "JSON that is cut": ('{"seed": 1, "data":', 1, "not YAML"),
    "an unknown name": ("seed: 1\nlevle: 0.9\n", 2, "no parameter levle"),
    "an old name in capitals": ("Data: demo\n", 1, "no parameter Data"),
    "a name on two lines": ('"a\\nb": 1\n', 1, "no parameter 'a\\nb'"),
    "a name twice": ("seed: 1\nlevel: 0.9\nseed: 2\n", 3, "seed is given a second time"),
    "a name twice, further in": ("columns:\n  school: A\n  school: B\n", 3, "school is given a second time"),
    "a name that is a list": ("? [a, b]\n: 1\n", 1, "a name that is no text"),
    "a number for a name": ("2019: focal\n", 1, "no parameter '2019'"),
    "no value": ("seed:\n", 1, "seed is empty, expected a whole number"),
    "text for a number": ("level: high\n", 1, "expected a number"),
    "a decimal comma": ("level: 0,95\n", 1, "level is '0,95', expected a number"),
    "a per cent": ("level: 95%\n", 1, "level is '95%', expected a number"),
    "a fraction for a count": ("min_students: 2.5\n", 1, "expected a whole number"),
    "not a number": ("level: .nan\n", 1, "expected a finite number"),
    "infinity": ("equating_se: .inf\n", 1, "expected a finite number"),
    "a number beyond all numbers": ("equating_se: 1.0e+999\n", 1, "expected a finite number"),
    "a number of 5,000 digits": ("seed: " + "9" * 5000 + "\n", 1, "cannot be one"),
    "a hexadecimal number without end": ("min_students: -0x" + "f" * 9000 + "\n", 1, "thousands of digits"),
    "no day of the calendar": ("title: 2019-02-31\n", 1, "title holds what looks like a number or a date"),
    "cohorts that are words": ("focal_cohorts: '2019 and 2021'\n", 1, "expected a whole number"),
    "a range of cohorts": ("focal_cohorts: [2019-2021]\n", 1, "expected a whole number"),
    "cohorts as dates": ("focal_cohorts: [2019-06-30]\n", 1, "is the date 2019-06-30, expected a whole number"),
    "cohorts with a fraction": ("focal_cohorts: [2019.0]\n", 1, "expected a whole number"),
    "no cohort": ("baseline_cohorts: []\n", 1, "one cohort or more"),
    "a cohort as its own benchmark": ("baseline_cohorts: [2015]\nfocal_cohorts: [2015]\n", 2, "both hold 2015"),
    "yes and no": ("shift: no\n", 1, "reads yes, no, on and off as true or false"),
    "on and off": ("school: off\n", 1, "put text in quotes"),
    "true for a number": ("min_students: true\n", 1, "min_students is True, expected a whole number"),
    "a code that is a number": ("school: 00417\n", 1, "expected text (put it in quotes)"),
    "a time of day": ("school: 12:30\n", 1, "expected text (put it in quotes)"),
    "columns as a list": ("columns: [school, student]\n", 1, "a mapping such as {school: SchoolCode}"),
    "a column that is a list": ("columns: {school: [a, b]}\n", 1, "columns.school is ['a', 'b'], expected text"),
    "a break without a cohort": ("scale_breaks:\n  - column: score\n", 1, "scale_breaks[0] lacks its cohort"),
    "a break that is a year": ("scale_breaks: [2023]\n", 1, "a mapping such as {cohort: 2023"),
    "a break of a column that is none": ("scale_breaks: [{cohort: 2023, column: grade}]\n", 1, "score or prior_score"),
    "a link of slope zero": ("scale_breaks: [{cohort: 2023, link: {slope: 0, intercept: 1}}]\n", 1, "scale_breaks[0]"),
    "a link with an unknown part": (
        "scale_breaks: [{cohort: 2023, link: {slope: 1, intercept: 0, bias: 2}}]\n",
        1,
        "has no bias",
    ),
    "a link that is a number": ("scale_breaks: [{cohort: 2023, link: 1.02}]\n", 1, "{slope: 1.0, intercept: 0.0}"),
    "a formula that is none": ("formula: score = prior_score\n", 1, "a formula such as"),
    "code for a formula": ("formula: score ~ __import__('os').getcwd()\n", 1, "formula is"),
    "an alias": ("seed: &s 1\nbootstrap_replicates: *s\n", 2, "*s stands for a value elsewhere"),
    "a billion laughs": (LAUGHS, 2, "stands for a value elsewhere"),
    "a list of itself": ("focal_cohorts: &a [*a]\n", 1, "stands for a value elsewhere"),
    "a merge key": ("columns: &c {school: A}\nscale_breaks: [{<<: *c}]\n", 2, "stands for a value elsewhere"),
    "a tag that would run code": (
        "title: !!python/object/apply:os.system [touch ran]\n",
        1,
        "the tag '!!python/object/apply:os.system'",
    ),
    "a tag of one's own": ("title: !mine x\n", 1, "the tag '!mine'"),
    "binary by tag": ("title: !!binary aGVsbG8=\n", 1, "the tag '!!binary'"),
    "brackets without end": ("focal_cohorts: " + "[" * 5000, 1, "inside each other"),
    "a NUL": (b'title: "a\\0b"\n', 1, "NUL"),
    "a control character": (b"seed: 1\ntitle: a\x07b\n", 2, "U+0007"),
    "Latin-1": ("seed: 1\ntitle: Gr\u00f6\u00dfe\n".encode("latin-1"), 2, "not UTF-8"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), 1, "not UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xff", 1, "not UTF-8"),
    "a gzip file": (b"\x1f\x8b\x08\x00abc", 1, "not UTF-8"),
    "the data for the params": ("score,school\n" + "1,2\n" * 400_000, None, "larger than"),
    "the data, few of them": ("score,school\n1,2\n", 1, "found a text"),
    "a value of 100,000 letters": ("method: " + "x" * 100_000 + "\n", 1, "expected 'ML' or 'REML'"),
    "100,000 cohorts as text": ("focal_cohorts: [" + "x, " * 100_000 + "x]\n", 1, "and 99,996 more like these"),
}
LONGEST = 700  # characters of a sentence; the names of all parameters are half of that


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(file: str) -> str:
    done = CliRunner().invoke(cli.app, ["check", "--params", file], prog_name="valib")
    assert done.exit_code == 2 and not done.stdout
    return done.stderr


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_one_plain_sentence(here, fault):
    content, line, words = BROKEN[fault]
    Path("study.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused("study.yml")
    assert said.startswith("Error: ") and said.endswith(".\n") and said.count("\n") == 1
    assert words in said and "study.yml" in said
    assert line is None or re.search(rf"line {line}\b", said), said
    assert len(said) < LONGEST
    assert not JARGON.search(said.replace("!!python/object/apply:os.system", "")), said
    assert sorted(p.name for p in here.iterdir()) == ["study.yml"], "nothing ran"


def test_the_count():
    assert len(BROKEN) == 67
    print(f"{len(BROKEN)} broken params files: {len(BROKEN)} plain sentences")


OTHERS = {
    "no such file": ("none.yml", "There is no params file none.yml."),
    "a folder": (".", "Is a directory"),
    "a name without end": ("x" * 300 + ".yml", "File name too long"),
    "a file without end": ("/dev/zero", "larger"),
}


@pytest.mark.parametrize("fault", OTHERS)
def test_what_is_no_file(here, fault):
    file, words = OTHERS[fault]
    said = refused(file)
    assert words in said and said.count("\n") == 1 and not JARGON.search(said)


@pytest.mark.parametrize(
    "text", ["data: nowhere.csv\n", "data: ~nobody-of-this-name/a.csv\n", "data: ''\n", "data: 3\n", "data: .\n"]
)
def test_data_that_are_not_there(here, text):
    Path("study.yml").write_text(text)
    said = refused("study.yml")
    assert said.count("\n") == 1 and said.endswith(".\n") and not JARGON.search(said)


def test_an_empty_file_is_the_demo_study(here):
    for text in ("", "# nothing yet\n", "---\n", "\ufeff\n", "{}\n"):
        Path("study.yml").write_text(text, encoding="utf-8")
        assert CliRunner().invoke(cli.app, ["check", "--params", "study.yml"], prog_name="valib").exit_code == 0


def test_a_billion_laughs_take_no_memory(here):
    """In 1.5 GB of address space, most of it libraries; 10 to the 9th references would need 8 GB."""
    Path("study.yml").write_text(LAUGHS)
    limit = 3 * 2**29
    code, said = done(
        "check",
        "--params",
        "study.yml",
        environment={"OPENBLAS_NUM_THREADS": "1"},
        before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert code == 2 and "stands for a value elsewhere" in said
