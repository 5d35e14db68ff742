"""What README.md shows runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
import yaml
from typer.testing import CliRunner

import valib
from valib.command import cli
from valib.study.params import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the README's study.yml and records that fit it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    columns = next(yaml.safe_load(block)["columns"] for block in blocks("yaml") if block.startswith("data:"))
    demo = valib.load_records("demo")
    demo.to_parquet("large.parquet")
    Path("parts").mkdir()
    for cohort, rows in demo.groupby("cohort"):
        rows.to_parquet(f"parts/{cohort}.parquet")
    demo[demo["cohort"].isin([2016, 2017, 2019, 2021])].rename(columns=columns).to_csv("my.csv", index=False)
    return tmp_path


def test_the_commands(here, monkeypatch):
    built = []

    def build(params, out, **_):
        built.append((params.focal_cohorts, str(out)))
        return SimpleNamespace(html=out / "html", results=out / "results", pdf=None)

    def report(params, out, **options):
        built.append((options["schools"], str(out)))
        return SimpleNamespace(index=out / "html" / "index.html", files={"0531": "0531"}, pdf=None, not_shown=0)

    monkeypatch.setattr("valib.pages.build.build", build)
    monkeypatch.setattr("valib.pages.report.build", report)
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    commands = [
        [os.path.expanduser(word) for word in shlex.split(line)[1:]] for line in lines if line.startswith("valib ")
    ]
    assert {command[0] for command in commands} == {known.callback.__name__ for known in cli.app.registered_commands}
    for command in commands:
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == 0, (command, done.output)
    assert built == [([2019, 2021, 2023, 2024], "somewhere"), (["0531"], "report"), ([2019, 2021], "our_book")]
    assert Path("results/2024/shifts.csv").read_text(encoding="utf-8").count("\n") == 2
    assert Path("results/joint/correlations.csv").read_text(encoding="utf-8").count("\n") == 7
    assert Path("results/simulation/performance.csv").is_file()
    assert Path("results/benchmark/school_effects.csv").is_file() and Path("results/relative/fits.json").is_file()


def test_the_params_files(here):
    wide, study, rows, breaks = blocks("yaml")
    Path("shown.yml").write_text(study + breaks, encoding="utf-8")
    Path("wide.yml").write_text(wide, encoding="utf-8")
    Path("rows.yml").write_text(rows, encoding="utf-8")
    assert (
        load("wide.yml").reshape["columns"]["prior_score"] == "read_{cohort-2}" and load("wide.yml").year_zero == 2002.5
    )
    assert load("rows.yml").prior == {"years_before": 1, "column": "score", "match": ["subject"]}
    assert load("rows.yml").where == "subject == 'reading' and grade == 5"
    params = load("shown.yml")
    assert params.focal_cohorts == [2019, 2021] and params.columns["school"] == "SchoolCode"
    assert params.scale_breaks[0].link.slope == 1.02
    assert len(params.read_records()) > 20_000


def test_the_library_examples(here, capsys):
    names: dict = {}
    exec(compile("\n".join(blocks("python")), "README.md", "exec"), names)  # noqa: S102
    assert names["streamed"].n_students == names["relative"].n_students
    said = capsys.readouterr().out
    shift, se = re.search(r"system shift (-[\d.]+), standard error ([\d.]+)", said).groups()
    assert -20 < float(shift) < -8 and 0 < float(se) < 4
    assert "p_bottom_quintile" in said
    assert "correlation" in said and "p_up" in said


def test_the_files_it_names_are_there():
    root = Path(__file__).parents[2]
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (root / name).exists(), name
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_packages_for_the_pdf_are_those_that_the_build_asks_for():
    from valib.pages.build.latex import PACKAGES

    assert f"apt-get install {PACKAGES}\n" in README


def test_the_citation_names_this_version():
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == valib.__version__


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "chapters").glob("*.*")),
]


def shown_papermill() -> list[tuple[str, list[str]]]:
    """The papermill commands of all pages, with the page."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8").replace('\\"', '"')
        found += [(page, shlex.split(c)) for c in re.findall(r"papermill chapters/[^`\n]*?(?=`|\n|\\n)", text)]
    return found


@pytest.mark.parametrize(("page", "command"), shown_papermill())
def test_the_parameters_of_every_papermill_command_are_understood(page, command):
    """Running one takes half a minute: tests/pages/chapters does it; here the parameters go through their parser."""
    from papermill.cli import _resolve_type

    assert command[1] == "chapters/NN_name.ipynb" or (ROOT / command[1]).is_file()
    at = command.index("-p")
    load(None, **{command[at + 1]: _resolve_type(command[at + 2])})


def test_every_papermill_command_is_found():
    assert {page for page, _ in shown_papermill()} >= {"chapters/intro.md"}


def shown_commands() -> list[tuple[str, list[str]]]:
    """The commands of valib that pages other than README show, with the page; README's are run above."""
    found = []
    for page in PAGES[1:]:
        text = (ROOT / page).read_text(encoding="utf-8").replace('\\"', '"').replace("\\n", "\n")
        shown = re.findall(r"`(valib [a-z][^`\n]*)`|^\W*(valib [a-z].*?)\W*$", text, re.MULTILINE)
        found += [(page, shlex.split(a or b, comments=True)) for a, b in shown if shlex_able(a or b)]
    return found


def shlex_able(text: str) -> bool:
    """Whether a text is a command: its first word names one, or it has an option."""
    words = text.split()
    return words[1] in COMMANDS or any(w.startswith("-") for w in words[1:])


COMMANDS = {known.callback.__name__ for known in cli.app.registered_commands}


@pytest.mark.parametrize(("page", "command"), shown_commands())
def test_every_command_that_a_page_shows_is_one_with_these_options(page, command):
    known = typer.main.get_command(cli.app)
    assert command[1] in COMMANDS or command[1] == "--version", page
    part = known.commands.get(command[1], known)
    options = {name for p in part.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "--version"}
    assert {w.partition("=")[0] for w in command[1:] if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", w)} <= options, page


def test_commands_of_other_pages_are_found():
    assert {page for page, _ in shown_commands()} >= {"SECURITY.md"} and len(shown_commands()) >= 3
