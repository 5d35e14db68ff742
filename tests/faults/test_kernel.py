"""Kernels that die or hang, tools that hang: the error names the chapter, the cell and what happened; all stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from faultlib import contents, done, make_study, one_sentence
from test_book import notebook, tiny_sources

from valib.pages.build.children import Children
from valib.study.folder import digest

DIED = "02_two.ipynb, code cell 2: the kernel died (out of memory, or ended by the code or from outside)"
LIMIT = "stopped at the time limit of 0.5 minutes (--time-limit)"
KERNELS = {  # what the second cell does, and what is said
    "os._exit": ("import os; os._exit(3)", DIED),
    "SIGKILL": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", DIED),
    "no memory": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**31, 2**31)); x = bytearray(2**33)",
        "02_two.ipynb, code cell 2: MemoryError",
    ),
    "hangs": ("import time; time.sleep(600)", f"02_two.ipynb, code cell 2: {LIMIT}"),
    "hangs and hears nothing": (
        "import signal, subprocess\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "subprocess.Popen(['setsid', 'sleep', '600']).wait()",
        f"02_two.ipynb, code cell 2: {LIMIT}",
    ),
    "stopped": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", f"02_two.ipynb, code cell 2: {LIMIT}"),
    "disk full": ("raise OSError(28, 'No space left on device')", "02_two.ipynb, code cell 2: No space left on device"),
}
QUICK = ("SIGKILL", "hangs and hears nothing")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study and the folder of an earlier book."""
    root = tmp_path_factory.mktemp("kernel")
    (root / "out" / "html").mkdir(parents=True)
    (root / "out" / "html" / "index.html").write_text("earlier")
    made_by = {"book": {"html": digest(root / "out" / "html")}}
    (root / "out" / ".made-by-valib").write_text(json.dumps(made_by))
    return root, make_study(root / "study")


@pytest.mark.parametrize("fault", [k if k in QUICK else pytest.param(k, marks=pytest.mark.long) for k in KERNELS])
def test_a_kernel(made, tmp_path, fault):
    root, study = made
    code, said_of_it = KERNELS[fault]
    sources = tiny_sources(tmp_path / "sources")
    notebook(sources / "chapters" / "01_one.ipynb", ["# One", "1"])
    notebook(sources / "chapters" / "02_two.ipynb", ["# Two", "x = 1", code, "x"])
    before = contents(root / "out")
    limit = ["--time-limit", "0.5"] if LIMIT in said_of_it else []
    exit_code, said = done(
        "book", "--params", str(study), "--out", str(root / "out"), "--quiet", *limit, sources=sources
    )
    assert exit_code == 1 and said_of_it in said and one_sentence(said), said
    assert contents(root / "out") == before


def guarded(seconds: float, *code: str) -> tuple[Children, str]:
    return Children(seconds / 60), [sys.executable, "-c", "\n".join(code)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


ORPHAN = (
    "import subprocess, sys",
    "c = 'import os, time; os.setsid(); time.sleep(600)'",
    "print(subprocess.Popen([sys.executable, '-c', c]).pid, flush=True)",
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets the guard adopt orphans")
def test_the_guard_leaves_no_orphan_behind(tmp_path):
    children, order = guarded(60, *ORPHAN)
    with children:
        ended = children.run(order, tmp_path)
    assert ended.code == 0 and not ended.late and not alive(int(ended.text))


def test_the_guard_ends_what_is_late(tmp_path):
    children, order = guarded(5, *ORPHAN, "import time; time.sleep(600); print('woke')")
    with children:
        ended = children.run(order, tmp_path)
    assert ended.late and not alive(int(ended.text))


def test_exit_codes_and_output_pass_through(tmp_path):
    children, order = guarded(60, "import sys; print('é'); print('b', file=sys.stderr, flush=True); sys.exit(7)")
    with children:
        ended = children.run(order, tmp_path, {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"})
    assert (ended.code, ended.text, ended.late) == (7, "é\nb\n", False)
    children, order = guarded(60, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with children:
        assert children.run(order, tmp_path).code == 128 + signal.SIGKILL
    assert children.run(order, tmp_path).text == "stopped", "after the end nothing is started"


def test_the_first_failure_stops_the_others(tmp_path):
    begun = tmp_path / "begun"
    children, order = guarded(600, "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)")
    ended = []

    def fail() -> None:
        while not begun.exists():
            time.sleep(0.05)
        raise LookupError("first")

    with children, pytest.raises(LookupError, match="first"):
        children.all(
            {"hangs": lambda: ended.append(children.run([*order, str(begun)], tmp_path)), "fails": fail}, jobs=2
        )
    assert [(e.late, e.code == 0) for e in ended] == [(False, False)], "neither run to its end nor late: stopped"


@pytest.mark.parametrize(
    "tool",
    [
        "pages",
        pytest.param(
            "pdf", marks=[pytest.mark.long, pytest.mark.skipif(not shutil.which("latexmk"), reason="needs LaTeX")]
        ),
    ],
)
def test_a_tool_that_hangs_is_stopped(made, tmp_path, tool):
    root, study = made
    sources = tiny_sources(tmp_path / "sources")
    if tool == "pages":
        for name in ("01_one", "02_two"):  # so that they are far from the limit
            notebook(sources / "chapters" / f"{name}.ipynb", ["# A chapter", "1"])
        code = "import time\ndef setup(app): time.sleep(600)\n"
        (sources / "slow_extension.py").write_text(code)
        config = (
            (sources / "_config.yml")
            .read_text()
            .replace("extra_extensions:", "extra_extensions:\n    - slow_extension")
        )
        (sources / "_config.yml").write_text(config)
    environment = {"PYTHONPATH": os.pathsep.join([str(sources), os.environ.get("PYTHONPATH", "")])}
    order = ["book", "--params", str(study), "--out", str(root / "out"), "--quiet", "--time-limit", "0.4"]
    if tool == "pdf":
        (tmp_path / "latexmk").write_text("#!/bin/sh\nsleep 600\n")
        (tmp_path / "latexmk").chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        order.append("--pdf")
    before = contents(root / "out")
    code, said = done(*order, sources=sources, environment=environment)
    who = "Jupyter Book had not made the pages" if tool == "pages" else "LaTeX had not ended"
    assert code == 1 and one_sentence(said), said
    assert f"{who}: stopped at the time limit of 0.4 minutes (--time-limit)" in said
    assert contents(root / "out") == before
