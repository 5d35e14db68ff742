"""Pseudonyms of schools: stable, unlike one another, not to be undone without the key; and the key file."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from conftest import simulate
from leaks import search
from test_book import ONE, tiny_sources
from test_book import notebook as write_notebook

from valib.errors import ParamsError, ValibWarning
from valib.pages import build as book
from valib.records import pseudonyms
from valib.records.pseudonyms import check_outside, code, codes, make_key, read_key, replace_schools, resolve
from valib.study.params import Params, load

KEY = bytes(range(32))
NAMES = [f"School {k}" for k in range(2000)] + ["St. Mary's", "=1+1", "Ünï", "\udce9", " a", "a", "a ", "", "x" * 500]
FORM = re.compile(r"[BCDFGHJKMNPQRSTVWXZ][BCDFGHJKMNPQRSTVWXZ2-9]{3}-[BCDFGHJKMNPQRSTVWXZ2-9]{4}")


@pytest.fixture
def key(tmp_path):
    make_key(tmp_path / "valib.key")
    return tmp_path / "valib.key"


@pytest.fixture
def data(tmp_path):
    records = simulate(np.random.default_rng(5), cohorts=(2030, 2031, 2033)).drop(columns="u")
    records["school"] = "Real " + records["school"]
    records.to_csv(tmp_path / "records.csv", index=False)
    return tmp_path / "records.csv"


def test_every_name_has_a_code_of_its_own_in_the_form_promised():
    table = codes(NAMES, KEY)
    assert len(table) == len(set(NAMES)) == len(set(table.values())) == 2009
    assert all(FORM.fullmatch(one) for one in table.values())


def test_a_code_is_the_same_in_another_process_and_another_set_of_names():
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from valib.records.pseudonyms import code; print(code('St. Mary\\'s', bytes(range(32))))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert told == code("St. Mary's", KEY) == codes(NAMES[::7] + ["St. Mary's"], KEY)["St. Mary's"]
    assert told == "S4FQ-ZBJ7", "pseudonyms of earlier years would change"


def test_another_key_gives_other_codes():
    other = codes(NAMES, bytes(32))
    assert not set(other.values()) & set(codes(NAMES, KEY).values())
    assert not set(codes(NAMES, b"").values()) & set(codes(NAMES, KEY).values())  # what needs no key


def test_names_whose_codes_are_equal_get_longer_ones(monkeypatch):
    monkeypatch.setattr(pseudonyms, "SHORT", 1)  # four symbols: with 5,000 names some meet
    names = [f"N{k}" for k in range(5000)]
    first = pd.Series({name: code(name, KEY, 1) for name in names})
    alike = first[first.duplicated(keep=False)]
    table = codes(names, KEY)
    assert len(alike) > 10 and len(set(table.values())) == len(names)
    assert all(table[name].startswith(first[name] + "-") for name in alike.index)
    assert all(table[name] == first[name] for name in first.index.difference(alike.index))
    assert codes(names[::-1], KEY) == table


def test_a_key_is_text_for_its_owner_alone_and_no_two_are_alike(tmp_path):
    files = [tmp_path / f"{k}.key" for k in range(20)]
    for file in files:
        make_key(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.read_text(encoding="ascii").startswith("# A key")
    keys = {read_key(file) for file in files}
    assert len(keys) == 20 and {len(one) for one in keys} == {32}


def test_a_key_is_never_replaced(key):
    before = key.read_bytes()
    done = run("key", key)
    assert done.exit_code == 2 and "is there already" in done.stderr and key.read_bytes() == before


BROKEN = [
    "",
    "\n",
    "# only a comment\n",
    "00" * 31,
    "00" * 33,
    "zz" * 32,
    "secret",
    "\u00e9" * 64,
    "0" * 63,
    "00" * 5000,
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_key_file_is_refused_and_its_content_not_told(tmp_path, content):
    file = tmp_path / "broken.key"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ParamsError, match="is not a key file") as raised:
        read_key(file)
    assert not content.strip("#\n ") or content not in str(raised.value)


def test_ten_broken_key_files_were_tried():
    assert len(BROKEN) == len(set(BROKEN)) == 10


def test_a_missing_key_and_a_folder_are_refused_and_an_open_one_is_warned_of(tmp_path, key):
    with pytest.raises(ParamsError, match="There is no key file .*valib key"):
        read_key(tmp_path / "none.key")
    with pytest.raises(ParamsError, match="cannot be read"):
        read_key(tmp_path)
    key.chmod(0o644)
    with pytest.warns(ValibWarning, match="Other users of this machine can read"):
        read_key(key)


def test_a_key_in_the_output_folder_is_refused_also_through_a_link(tmp_path, data):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    make_key(out / "deep" / "valib.key")
    (tmp_path / "link.key").symlink_to(out / "deep" / "valib.key")
    (tmp_path / "link").symlink_to(out)
    for file, folder in [
        (out / "deep" / "valib.key", out),
        (tmp_path / "link.key", out),
        (out / "deep" / "valib.key", tmp_path / "link"),
        (tmp_path / "link.key", tmp_path / "link"),
    ]:
        with pytest.raises(ParamsError, match="lies in the output folder"):
            check_outside(file, folder)
    check_outside(None, out)
    check_outside(out / "deep" / "valib.key", tmp_path / "other")
    cohorts = ["--baseline-cohorts", "2030,2031", "--focal-cohorts", "2033", "--pseudonyms", tmp_path / "link.key"]
    for command in (["fit", "--model", "relative"], ["book", "--quiet"], ["report", "--all", "--quiet"]):
        done = run(*command, data, *cohorts, "--out", out)
        assert done.exit_code == 2 and "lies in the output folder" in done.stderr
        assert [path.name for path in out.iterdir()] == ["deep"]


def test_records_change_in_their_schools_alone(data, key):
    plain = Params(data=str(data)).read_records()
    coded = Params(data=str(data), pseudonym_key=str(key)).read_records()
    pd.testing.assert_frame_equal(plain.drop(columns="school"), coded.drop(columns="school"))
    assert coded.attrs == plain.attrs and coded["school"].dtype == plain["school"].dtype
    pairs = set(zip(plain["school"], coded["school"], strict=True))
    assert len(pairs) == plain["school"].nunique() == coded["school"].nunique()
    again = replace_schools(plain[plain["cohort"] == 2033], key)
    assert set(again["school"]) <= set(coded["school"])  # the same in one year as in all
    name, pseudonym = sorted(pairs)[3]
    assert resolve(name, coded, key) == resolve(pseudonym, coded, key) == pseudonym
    assert resolve("nobody", coded, key) == "nobody" and resolve(None, coded, key) is None
    assert resolve(name, plain, None) == name


def test_a_study_may_name_the_key_relative_to_its_file(tmp_path, data, key, monkeypatch):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.yml").write_text("pseudonym_key: ../valib.key\n", encoding="utf-8")
    assert load(folder / "study.yml").pseudonym_key == str(key.resolve())
    monkeypatch.chdir(tmp_path)
    assert load(folder / "study.yml", pseudonym_key="valib.key").pseudonym_key == str(key.resolve())


def test_fit_writes_pseudonyms_and_the_list_tells_who_they_are(tmp_path, data, key, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for model in ("relative", "benchmark", "joint"):
        cohorts = "2031,2033" if model == "joint" else "2033"
        done = run(
            "fit",
            data,
            "--model",
            model,
            *"--baseline-cohorts 2030,2031 --focal-cohorts 2033 --cohorts".split(),
            cohorts,
            "--pseudonyms",
            key,
            "--out",
            tmp_path / model,
        )
        assert done.exit_code == 0, done.stderr
        for file in (path for path in (tmp_path / model).rglob("*") if path.is_file()):
            assert b"Real S0" not in file.read_bytes()
        assert "Real S0" not in done.output
    listed = run("key", key, "--lookup", data, "--out", "lookup.csv")
    assert listed.exit_code == 0, listed.stderr
    assert stat.S_IMODE(Path("lookup.csv").stat().st_mode) == 0o600
    lookup = pd.read_csv("lookup.csv", dtype="str").set_index("pseudonym")["school"]
    effects = pd.read_csv(tmp_path / "relative" / "school_effects.csv", dtype={"school": "str"})
    plain = run("fit", data, "--model", "relative", "--cohorts", "2033", "--out", tmp_path / "plain")
    assert plain.exit_code == 0
    named = pd.read_csv(tmp_path / "plain" / "school_effects.csv", dtype={"school": "str"}).set_index("school")
    ours = effects.assign(school=effects["school"].map(lookup)).set_index("school")
    pd.testing.assert_frame_equal(ours.loc[named.index], named)


def test_streams_give_no_pseudonyms_and_say_so(tmp_path, data, key):
    done = run(
        "fit",
        data,
        *"--model relative --cohorts 2033 --pseudonyms".split(),
        key,
        *"--engine duckdb --out".split(),
        tmp_path / "out",
    )
    assert done.exit_code == 2 and "gives no pseudonyms" in done.stderr


def test_the_list_needs_records_and_a_place(tmp_path, data, key):
    for words in (["--lookup", data], ["--out", tmp_path / "x.csv"]):
        done = run("key", key, *words)
        assert done.exit_code == 2 and "go together" in done.stderr


@pytest.mark.long
def test_a_book_shows_pseudonyms_alone_and_follows_the_school_named(tmp_path, data, key):
    sources = tiny_sources(tmp_path / "sources")
    cells = [cell for cell in ONE if "setup(" not in str(cell) and "nb.table(" not in str(cell)]
    cells[1] = ("parameters", 'data = "demo"\nfocal_cohorts = [2019]\nschool = None\npseudonym_key = None\nrounds = 3')
    cells[3:3] = [
        "study = nb.setup('01_one', data=data, focal_cohorts=focal_cohorts, baseline_cohorts=[2030, 2031],\n"
        "                 school=school, pseudonym_key=pseudonym_key)",
        "nb.parameters(study, 'data', 'school', 'pseudonym_key')",
        "from valib.effects import side_by_side as compare\n"
        "fit = va.fit_relative(study.records, 2033)\nnb.schools([fit], [fit], 5)\n"
        "nb.save(fit.school_effects.reset_index(), 'schools.csv')",
        "nb.table(pd.DataFrame({'School': [compare.school_to_follow([fit], 5, school)]}), 'One', 'tab-one')",
    ]
    write_notebook(sources / "chapters" / "01_one.ipynb", cells)
    name = Params(data=str(data)).read_records().query("cohort == 2033").groupby("school").size().idxmax()
    params = Params(
        title="Ours",
        data=str(data),
        baseline_cohorts=[2030, 2031],
        focal_cohorts=[2033],
        school=name,
        pseudonym_key=str(key),
    )
    book.build(params, tmp_path / "out", progress=False, sources=sources)
    page = (tmp_path / "out" / "html" / "chapters" / "01_one.html").read_text(encoding="utf-8")
    assert page.count(code(name, read_key(key))) >= 3  # the parameter, the table of schools, the school followed
    secret = key.read_text().splitlines()[-1]
    files, found = search(tmp_path / "out", ["Real S0", secret, str(key.parent)])
    assert files > 20 and not found
    assert "valib.key" in page


@pytest.mark.long
def test_a_report_under_pseudonyms_is_asked_for_by_name(tmp_path, data, key):
    name = Params(data=str(data)).read_records().query("cohort == 2033").groupby("school").size().idxmax()
    done = run(
        "report",
        data,
        "--school",
        name,
        *"--baseline-cohorts 2030,2031 --focal-cohorts 2033 --pseudonyms".split(),
        key,
        "--quiet",
        "--out",
        tmp_path / "out",
    )
    assert done.exit_code == 0, done.output
    files, found = search(tmp_path / "out", ["Real S0", key.read_text().splitlines()[-1]])
    assert files > 5 and not found and "Real S0" not in done.output
    assert code(name, read_key(key)) in (tmp_path / "out" / "report.csv").read_text(encoding="utf-8")
