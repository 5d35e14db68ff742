"""What README.md shows runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

import valib
from valib import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the README's study.yml and records that fit it."""
    monkeypatch.chdir(tmp_path)
    study, breaks = blocks("yaml")
    Path("study.yml").write_text(study + breaks, encoding="utf-8")
    columns = yaml.safe_load(study)["columns"]
    demo = valib.load_records("demo")
    demo[demo["cohort"].isin([2016, 2017, 2019, 2021])].rename(columns=columns).to_csv("my.csv", index=False)
    return tmp_path


def test_the_commands(here, monkeypatch):
    built = []

    def build(params, out, **_):
        built.append((params.focal_cohorts, str(out)))
        return SimpleNamespace(html=out / "html", results=out / "results", pdf=None)

    monkeypatch.setattr("valib.book.build", build)
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("valib ")]
    assert {command[0] for command in commands} == {"check", "fit", "baseline", "book", "simulate"}
    for command in commands:
        done = CliRunner().invoke(cli.app, command)
        assert done.exit_code == 0, (command, done.output)
    assert built == [([2019, 2021, 2023, 2024], "somewhere"), ([2019, 2021], "our_book")]
    assert Path("results/2024/shifts.csv").read_text(encoding="utf-8").count("\n") == 2
    assert Path("results/joint/correlations.csv").read_text(encoding="utf-8").count("\n") == 7
    assert Path("results/simulation/performance.csv").is_file()
    assert Path("results/benchmark/school_effects.csv").is_file() and Path("results/relative/fits.json").is_file()


def test_the_library_example(here, capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    said = capsys.readouterr().out
    shift, se = re.search(r"system shift (-[\d.]+), standard error ([\d.]+)", said).groups()
    assert -20 < float(shift) < -8 and 0 < float(se) < 4
    assert "p_bottom_quintile" in said
    assert "correlation" in said and "p_up" in said


def test_the_files_it_names_are_there():
    root = Path(__file__).parents[1]
    for name in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (root / name).exists(), name
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_packages_for_the_pdf_are_those_that_the_build_asks_for():
    from valib.book.latex import PACKAGES

    assert f"apt-get install {PACKAGES}\n" in README


def test_the_citation_names_this_version():
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == valib.__version__
