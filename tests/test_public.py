"""The public names: one list, loaded when used, known to type checkers, each with a docstring whose example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import valib

STUB = Path(valib.__file__).with_suffix(".pyi")


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=STUB.parents[1], check=False
    )
    return done.stdout + done.stderr


def test_the_stub_lists_exactly_what_it_imports():
    """``__all__`` for ``from valib import *``, which type checkers read, holds every name and no other."""
    namespace: dict = {}
    text = STUB.read_text(encoding="utf-8")
    exec(text[text.index("__all__") :], namespace)
    assert sorted(namespace["__all__"]) == sorted(valib.__all__)
    assert len(set(valib.__all__)) == len(valib.__all__) > 50


def test_a_name_is_loaded_when_it_is_used():
    code = (
        "import sys, valib; before = 'numpy' in sys.modules; valib.fit_relative; "
        "print(before, 'numpy' in sys.modules, 'fit_joint' in dir(valib))"
    )
    assert python("-c", code).split() == ["False", "True", "True"]


def test_the_whole_list_of_commands_loads_no_numpy():
    code = (
        "import sys, runpy; sys.argv = ['valib', '--help']\n"
        "try: runpy.run_module('valib', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'pandas', 'scipy') if m in sys.modules])"
    )
    assert python("-c", code).splitlines()[-1] == "[]"


def test_an_unknown_name_is_an_attribute_error():
    assert "AttributeError: No valib attribute fit_relativ" in python("-c", "import valib; valib.fit_relativ")


def test_a_type_checker_sees_a_misspelt_name(tmp_path):
    """And only that: the modules behind the stub are not looked into here, which takes a second instead of a minute."""
    file = tmp_path / "two_lines.py"
    for name, told in [
        ("fit_relativ", 'error: Module has no attribute "fit_relativ"; maybe "fit_relative"?'),
        ("fit_relative", "Success: no issues found"),
    ]:
        file.write_text(f"import valib as va\nva.{name}\n", encoding="utf-8")
        said = python("-m", "mypy", "--follow-imports=skip", "--cache-dir", str(tmp_path / "cache"), str(file))
        assert told in said
