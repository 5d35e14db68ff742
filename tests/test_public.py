"""The public names: one list, loaded when used, known to type checkers, each with a docstring whose example runs."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import io
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

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


PUBLIC = [name for name in valib.__all__ if name != "__version__"]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(valib, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(valib, name))]
NEVER_RAISES = {
    "attenuation_curves",
    "expected_correlations",
    "follow_school",
    "mean_reliability",
    "mean_va_error",
    "pairwise_correlation",
    "shrinkage",
    "spread_of_va",
}


def sections(name: str) -> NumpyDocString:
    return NumpyDocString(inspect.getdoc(getattr(valib, name)))


def documented(doc: NumpyDocString, section: str) -> list[str]:
    return [word.lstrip("*") for entry in doc[section] for word in re.split(r",\s*", entry.name)]


def test_every_public_name_is_a_function_or_a_class():
    assert sorted(FUNCTIONS + CLASSES) == sorted(PUBLIC)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_returns_raises_and_shows_an_example(name):
    doc = sections(name)
    assert documented(doc, "Parameters") == list(inspect.signature(getattr(valib, name)).parameters)
    assert doc["Returns"] and doc["Notes"] and doc["Examples"] and doc["Summary"]
    assert all(entry.desc for section in ("Parameters", "Returns", "Raises") for entry in doc[section])
    assert bool(doc["Raises"]) != (name in NEVER_RAISES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_it_holds_and_shows_an_example(name):
    thing, doc = getattr(valib, name), sections(name)
    assert doc["Summary"] and doc["Notes"] and doc["Examples"]
    fields = [f.name for f in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    assert sorted(documented(doc, "Attributes") + documented(doc, "Parameters")) == sorted(fields)


@pytest.fixture(scope="module")
def finder():
    """Bundled records are read once; a table that an example changes is a copy."""
    kept = lru_cache(valib.load_records)

    def load(name: str):
        records = kept(name)
        copy = records.copy()
        copy.attrs = dict(records.attrs)
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(valib, "load_records", load, raising=False)
        yield doctest.DocTestFinder(recurse=False)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs_and_gives_what_it_says(name, finder):
    thing = inspect.unwrap(getattr(valib, name)) if name != "load_records" else None
    thing = thing or sys.modules["valib.records.datasets"].load_records
    (test,) = finder.find(thing, name)
    assert test.examples
    told = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    found = runner.run(test, out=told.write)
    assert found.failed == 0, told.getvalue()
    assert any(example.want for example in test.examples)


def grouped(text: str, head: str, entry: str) -> list[list[str]]:
    """Names by group: head matches the first line of a group, entry a line with a name."""
    return [re.findall(entry, part, re.MULTILINE) for part in re.split(head, text, flags=re.MULTILINE)[1:]]


def test_the_book_s_reference_has_every_name_under_its_question():
    """In the groups of the stub; and the package's docstring has the same."""
    groups = grouped(STUB.read_text(encoding="utf-8"), r"^# [a-z ]+$", r"^from .* as (\w+)$")
    page = (STUB.parents[1] / "chapters/appendix_library.md").read_text(encoding="utf-8")
    assert grouped(page, "^## ", r"^\.\. auto\w+:: valib\.(\w+)$") == groups
    told = re.split(r"\n(?=[a-z])", valib.__doc__.split("\n\n")[1])
    assert [sorted(set(re.findall(r"\w+", line)) & set(PUBLIC)) for line in told] == [sorted(g) for g in groups]
