"""Homes, caches and temporary folders that cannot be written to: the book and the fit do without them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from faultlib import contents, done, make_study
from test_book import notebook, tiny_sources
from test_disk import disk, fill  # noqa: F401

NOWHERE = "/proc/nowhere"
VARIABLES = [
    "HOME",
    "MPLCONFIGDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTER_CONFIG_PATH",
    "JUPYTER_PATH",
    "TMPDIR",
    "TEXMFVAR",
    "TEXMFHOME",
    "JOBLIB_TEMP_FOLDER",
]
DRAWS = "import matplotlib.pyplot as plt\nfrom valib.pages import notebook as nb\nnb.figure('two', plt.figure())"


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """A study, and the sources of a tiny book that draws."""
    root = tmp_path_factory.mktemp("surroundings")
    sources = tiny_sources(root / "sources")
    notebook(sources / "chapters" / "02_two.ipynb", ["# Two", ("remove-cell", DRAWS)])
    return make_study(root / "study"), sources


def book(drawing, out: Path, environment: dict[str, str]) -> str:
    """Make the book and check its pages; return what stood on stderr."""
    study, sources = drawing
    code, said = done(
        "book", "--quiet", "--params", str(study), "--out", str(out), sources=sources, environment=environment
    )
    assert code == 0, said
    pages = {name: text for name, text in contents(out / "html").items() if name.endswith((".html", ".ipynb"))}
    assert len(pages) > 5 and not any(b"Matplotlib" in text for text in pages.values())
    assert sorted(p.name for p in out.iterdir()) == [".made-by-valib", "baseline.json", "html", "results"]
    return said


def test_a_book_without_home_caches_and_temporary_folder(drawing, tmp_path):
    before = set(os.listdir("/tmp"))
    assert book(drawing, tmp_path / "out", dict.fromkeys(VARIABLES, NOWHERE)) == ""
    left = {n for n in set(os.listdir("/tmp")) - before if n.startswith(("matplotlib-", "ipython", "jupyter"))}
    assert not left


@pytest.mark.long
def test_a_book_beside_a_full_home_and_temporary_folder(drawing, tmp_path, disk):  # noqa: F811
    fill(disk, 0)
    assert book(drawing, tmp_path / "out", dict.fromkeys(VARIABLES, str(disk))) == ""
    assert os.listdir(disk) == ["ballast"]


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["fit", "--model", "benchmark", "--out", "out"],
        ["baseline", "--out", "out/b.json"],
        ["simulate", "--scenarios", "few-schools", "--methods", "seed", "--replicates", "100", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_without_home_caches_and_temporary_folder(drawing, tmp_path, command):
    environment = dict.fromkeys(VARIABLES, NOWHERE)
    code, said = done(*command, "--params", str(drawing[0]), cwd=tmp_path, environment=environment)
    assert code == 0 and not re.search("matplotlib|temporary|cache|writable", said, re.IGNORECASE), said
