"""The wheel carries what the book reads, and renders a book in an environment that has nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from conftest import simulate
from rooms import ROOT
from test_book import INTRO, ONE, SLIDES, TOC, TWO, notebook

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="a wheel does not carry its own recipe")

# What the chapters that the wheel carries import, and that the environment has not.
ABSENT = """
import ast, importlib.util, json, pathlib
from valib.records.datasets import bundle_root
assert bundle_root().name == "_bundle" and "site-packages" in str(bundle_root())
absent, read = set(), 0
for path in (bundle_root() / "chapters").glob("*.ipynb"):
    for cell in json.loads(path.read_text())["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and not code.startswith("%"):
            for node in ast.walk(ast.parse(code)):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                absent |= {(path.name, name) for name in names if not importlib.util.find_spec(name)}
                read += len(names)
print(read, *sorted(absent), sep="\\n")
"""


def test_every_stored_result_that_a_chapter_shows_is_in_the_wheel():
    recipe = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = recipe["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    stored = [*(ROOT / "tests" / "coverage").glob("*.json"), *(ROOT / "perf" / "results").glob("*.json")]
    needed = {path.relative_to(ROOT).as_posix() for path in stored}
    needed |= {"params.yml", "_config.yml", "_toc.yml", "references.bib", "chapters", "data"}
    assert len(stored) > 5 and set(carried) == needed
    assert all(target == f"valib/_bundle/{source}" for source, target in carried.items())


@pytest.mark.long
def test_a_book_by_the_wheel_alone(tmp_path):
    """In a new environment with the wheel, its ``book`` extra at the tested versions and nothing else, and in an empty folder.

    Two short chapters stand in for those that the wheel carries, whose run takes minutes; of those it is proved that
    whatever they import is there. pip takes all from the package index or its cache, as `make install` does.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV"))}
    where = tmp_path / "empty"
    where.mkdir()

    def run(*order: object) -> str:
        done = subprocess.run(list(map(str, order)), cwd=where, env=plain, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("valib-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, *pip, "install", "--no-compile", "--constraint", ROOT / "constraints.txt", f"{wheel}[book]")
    found, *absent = run(python, "-c", ABSENT).splitlines()
    assert int(found) > 30 and not absent

    (bundle,) = (tmp_path / "env").glob("lib/python*/site-packages/valib/_bundle")
    (bundle / "_toc.yml").write_text(TOC, encoding="utf-8")
    (bundle / "chapters" / "slides.yml").write_text(SLIDES, encoding="utf-8")
    (bundle / "chapters" / "intro.md").write_text(INTRO, encoding="utf-8")
    notebook(bundle / "chapters" / "01_one.ipynb", ONE)
    notebook(bundle / "chapters" / "02_two.ipynb", TWO)
    simulate(np.random.default_rng(5), cohorts=(2030, 2031, 2033)).drop(columns="u").to_csv(
        where / "my.csv", index=False
    )
    order = ("my.csv", "--baseline-cohorts", "2030,2031", "--focal-cohorts", "2033", "--out", "book")
    run(python.with_name("valib"), "book", *order)
    assert sorted(path.name for path in where.iterdir()) == ["book", "my.csv"]
    page = (where / "book" / "html" / "chapters" / "intro.html").read_text(encoding="utf-8")
    assert "The cohorts are" in page and "2033" in page and "<math" in page and "Two dots, seen from afar." in page
    assert (where / "book" / "baseline.json").is_file()
