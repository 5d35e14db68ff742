"""What README.md shows runs as it is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import typer
import yaml
from chapter_code import run_chapter
from typer.testing import CliRunner
from workbooks import xlsx

import valib
from valib.command import cli
from valib.study.params import load

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the README's study.yml and records that fit it; joint posteriors from few draws."""
    monkeypatch.setattr("valib.models.joint_posterior.DRAWS", (128, 128, 256, 512))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    columns = next(yaml.safe_load(block)["columns"] for block in blocks("yaml") if block.startswith("data:"))
    demo = valib.load_records("demo")
    demo[demo["cohort"] >= 2023].to_parquet("large.parquet")
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
    study, wide, rows, reliable, breaks = blocks("yaml")
    Path("shown.yml").write_text(study + reliable + breaks, encoding="utf-8")
    Path("wide.yml").write_text(wide, encoding="utf-8")
    Path("rows.yml").write_text(rows, encoding="utf-8")
    assert (
        load("wide.yml").reshape["columns"]["prior_score"] == "read_{cohort-2}" and load("wide.yml").year_zero == 2002.5
    )
    assert load("rows.yml").prior == {"years_before": 1, "column": "score", "match": ["subject"]}
    assert load("rows.yml").where == "subject == 'reading' and grade == 5"
    params = load("shown.yml")
    assert params.focal_cohorts == [2019, 2021] and params.columns["school"] == "SchoolCode"
    assert params.scale_breaks[0].link.slope == 1.02 and params.reliability == {"prior_score": 0.9}
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
COMMANDS = {known.callback.__name__ for known in cli.app.registered_commands}
COMMAND = re.compile(
    rf"valib (-|({'|'.join(sorted(COMMANDS))}|COMMAND)\b)|python (-m |\S+\.py)"
    r"|(make|jupytext|pip|pre-commit|git|apt-get|papermill) \S"
)
LACKING = {  # what a page names without what it is asked of: the words that make it whole
    "valib baseline --influences": ["--out", "kept.json"],
    "valib key --lookup": ["my.csv", "KEY", "--out", "names.csv"],
    "valib book --time-limit MINUTES": ["--out", "timed"],
    "valib simulate": ["--list"],
    "valib init": ["my.csv"],
    "valib fit": ["--model", "relative", "--out", "plain"],
    "valib report": ["--all", "--out", "reports"],
    "valib baseline": ["--out", "another.json"],
    "valib book": ["--out", "plain_book"],
    "valib key": ["another.key"],
}
ELSEWHERE = {  # run by .ci/run, by another test, or not to be run by one
    'pip install "valib-0.1.0-py3-none-any.whl[book]"': "tests/test_wheel.py",
    "make test-all lint pdf check-site perf": ".ci/run; perf by hand, as timings are of one machine",
    "python -m valib": "tests/command/test_cli.py",
    "pip wheel --no-deps .": "by hand; tests/test_wheel.py holds what it must carry",
    "pre-commit install": "changes the clone",
}


def shown(page: str) -> list[str]:
    """The commands that a page shows: lines of its code blocks, and code in its text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        text = "\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    text = text.replace("\\\n", " ")
    fenced = re.compile(r"^ *(`{3,})(\S*)(?: [^\n]*)?\n(.*?)^ *\1", re.MULTILINE | re.DOTALL)
    code = [body for _, kind, body in fenced.findall(text) if kind in ("", "sh", "bash")]
    lines = [line for body in code for line in body.splitlines()]
    spans = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", fenced.sub("", text))
    found = [" ".join(re.split("  +#|; ", line)[0].split()) for line in (*lines, *spans)]
    return [c for c in found if COMMAND.match(c)]


def examples() -> list[tuple[str, str]]:
    """The examples that `--help` shows."""
    group = typer.main.get_command(cli.app)
    texts = {"valib": group.help, **{f"valib {name}": part.help for name, part in group.commands.items()}}
    return [
        (f"{name} --help", " ".join(re.split("  +", line.strip())[:1]))
        for name, text in texts.items()
        for line in (text or "").splitlines()
        if line.strip().startswith("valib ")
    ]


def valib_commands() -> list[Any]:
    """Every command of valib that a page or `--help` shows, once for each; README's blocks are run above."""
    of_blocks = {" ".join(line.partition("#")[0].split()) for block in blocks("sh") for line in block.splitlines()}
    found = [(page, c) for page in PAGES for c in dict.fromkeys(shown(page)) if c.startswith("valib ")]
    found = [(page, c) for page, c in found if page != "README.md" or c not in of_blocks] + examples()
    long = re.compile(r"valib simulate (--fast --out|--scenarios|--params)")
    once = {command: page for page, command in reversed(found)}  # run for the first page that shows it
    return [pytest.param(page, c, marks=[pytest.mark.long] * bool(long.match(c))) for c, page in once.items()]


def small(years: dict[int, int]) -> pd.DataFrame:
    demo = valib.load_records("demo")
    kept = demo["school"].isin([*sorted(demo["school"].unique())[:40], "0531", "0402"]) & demo["cohort"].isin(years)
    return demo[kept].replace({"cohort": years}).assign(district=lambda rows: rows["school"].str[-1])


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with all that the commands of the pages name but the records, which are written for each."""
    folder = tmp_path_factory.mktemp("pages")
    small({2024: 2025}).to_csv(folder / "new.csv", index=False)
    shutil.copytree(ROOT / "studies", folder / "studies")
    (folder / "parts").mkdir()
    small({2024: 2024}).to_parquet(folder / "parts" / "a.parquet")
    rows = small({2016: 2016, 2024: 2024}).head(60)
    xlsx(folder / "my.xlsx", {"Reading": [tuple(rows.columns), *rows.itertuples(index=False, name=None)]})
    with sqlite3.connect(folder / "my.sqlite") as database:
        rows.to_sql("results", database, index=False)
    for name in ("study.yml", "reading.yml", "maths.yml"):
        study = f"title: {name}\ndata: my.csv\nbaseline_cohorts: [2016, 2017]\nfocal_cohorts: [2019, 2021]\n"
        (folder / name).write_text(study, encoding="utf-8")
    for name in ("KEY", "valib.key"):
        assert CliRunner().invoke(cli.app, ["key", str(folder / name)]).exit_code == 0
    valib.fit_baseline(valib.load_records("demo"), [2015, 2016]).save(folder / "baseline.json")
    return folder


def records_for(command: str) -> pd.DataFrame:
    """my.csv with the years and the names of columns of a command."""
    years = (
        {2015: 2031, 2016: 2032, 2017: 2033, 2019: 2034}
        if "203" in command
        else {t: t for t in (2016, 2017, 2019, 2021, 2024)}
    )
    return small(years).rename(columns=dict(re.findall(r"--column (\w+)=(\w+)", command)))


@pytest.mark.parametrize(("page", "command"), valib_commands())
def test_every_command_of_valib_that_a_page_shows_runs(elsewhere, monkeypatch, page, command):
    """The book and the pages of schools are not built here; `tests/pages` and `.ci/run` build them."""
    monkeypatch.chdir(elsewhere)
    done_by = SimpleNamespace(
        html=Path("html"), results=Path("results"), pdf=None, index=Path("index"), files={"0531": "0531"}, not_shown=0
    )
    monkeypatch.setattr("valib.pages.build.build", lambda *_, **__: done_by)
    monkeypatch.setattr("valib.pages.report.build", lambda *_, **__: done_by)
    shutil.rmtree("results", ignore_errors=True)  # another command's
    records_for(command).to_csv("my.csv", index=False)
    if "--like results" in command:
        made = ["fit", "my.csv", "--model", "relative", "--cohorts", "2019", "--out", "results"]
        assert CliRunner().invoke(cli.app, made).exit_code == 0
        small({2019: 2019}).to_csv("corrected.csv", index=False)
    if "results/benchmark" in command and " summary " in command:
        made = ["fit", "my.csv", "--model", "benchmark", "--baseline-cohorts", "2016,2017", "--cohorts", "2019"]
        assert CliRunner().invoke(cli.app, [*made, "--out", "results/benchmark"]).exit_code == 0
    words = [*shlex.split(command.replace("~/", f"{elsewhere}/"))[1:], *LACKING.get(command, [])]
    put = {"MINUTES": "5", "500": "20", "postgresql+psycopg://user@host/name": "sqlite:///my.sqlite"}
    words = [put.get(word, word) for word in words]
    if command == "valib key ~/valib.key":
        words[-1] += "2"  # one that is not there yet
    if words[0] == "init":  # proposes params.yml, which others would then read
        words = [w for w in words if w not in ("--out", "study.yml", "proposed.yml", "again.yml")]
        words += [] if "--print" in words else ["--out", f"{len(list(Path().iterdir()))}.yml"]
    for name in COMMANDS if words[0] == "COMMAND" else [words[0]]:
        done = CliRunner().invoke(cli.app, [name, *words[1:]])
        assert done.exit_code == 0, (page, command, done.output)


def test_the_commands_of_other_programs_are_those_that_are_run():
    """`make` by a dry run; the others by the tests here or where ELSEWHERE says."""
    found = {(c.split()[0], c) for page in PAGES for c in shown(page) if not c.startswith(("valib ", "papermill "))}
    for program, command in sorted(found):
        words = shlex.split(command)
        if command in ELSEWHERE:
            continue
        if program == "make":
            dry = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
            assert dry.returncode == 0, (command, dry.stderr)
        elif program == "python":
            assert (ROOT / words[1]).is_file(), command
        elif program == "git":
            assert words[1] in ("config", "blame") and (ROOT / ".git-blame-ignore-revs").is_file(), command
        elif program == "pip":
            assert re.fullmatch(r"pip install \"?\.\[\w+\]\"?", command), command
            assert f"\n{words[-1][2:-1]} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8"), command
        else:
            assert program in ("jupytext", "apt-get"), command


def test_a_chapter_goes_to_text_and_back_as_the_guide_says(tmp_path):
    import jupytext

    assert "jupytext --to md:myst" in " ".join(shown("CONTRIBUTING.md"))
    chapter = jupytext.read(ROOT / "chapters" / "schools.ipynb")
    again = jupytext.reads(jupytext.writes(chapter, fmt="md:myst"), fmt="md:myst")
    assert [(c.cell_type, c.source) for c in again.cells] == [(c.cell_type, c.source) for c in chapter.cells]


def papermill_commands() -> list[tuple[str, str, str]]:
    """The papermill commands of all pages, each with a chapter: for NN_name the one that is quickest."""
    found = [
        (page, c, Path(shlex.split(c)[1]).stem) for page in PAGES for c in shown(page) if c.startswith("papermill ")
    ]
    return [(page, command, name.replace("NN_name", "01_records")) for page, command, name in found]


QUICK = "{bootstrap_replicates: 4, simulation_replicates: 20, quantile_draws: 60}"


@pytest.mark.long
@pytest.mark.parametrize(("page", "command", "chapter"), papermill_commands())
def test_every_papermill_command_runs_as_shown(tmp_path, page, command, chapter):
    """As a process, in a folder with the chapters; with fewer replicates where a chapter draws."""
    (tmp_path / "chapters").symlink_to(ROOT / "chapters")
    words = shlex.split(command.replace("NN_name", chapter))
    done = subprocess.run(
        [sys.executable, "-m", *words, "-y", QUICK, "--no-progress-bar"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    assert any("injected-parameters" in cell["metadata"].get("tags", []) for cell in cells)


@pytest.mark.long
@pytest.mark.parametrize("chapter", [path.stem for path in sorted((ROOT / "chapters").glob("*.ipynb"))])
def test_every_chapter_runs_with_the_one_year_of_the_papermill_command(tmp_path, monkeypatch, chapter):
    """That papermill hands a parameter to any chapter is held in tests/pages/chapters/test_parameters.py."""
    monkeypatch.setenv("VALIB_RESULTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run_chapter(chapter, yaml.safe_load(QUICK) | {"focal_cohorts": "[2024]"})


def test_papermill_commands_are_found():
    assert {page for page, _, _ in papermill_commands()} >= {"chapters/intro.md", "CONTRIBUTING.md"}
    assert len(papermill_commands()) >= 3 and len(valib_commands()) >= 40
