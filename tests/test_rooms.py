"""The rooms of the package: a module imports from its own room or a lower one; modules and functions stay readable."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import pytest
import rooms
from rooms import PACKAGE, ROOT, floor, graph, modules

import valib

LONGEST_MODULE = 600  # lines
LONGEST_FUNCTION = 40  # lines of code without the docstring
COMPUTING = rooms.ROOMS.index("simulation") + 1  # the highest floor that computes
FILES = list(modules().values())


def test_the_walk_sees_imports():
    """If the walk found nothing, the other tests would pass in silence."""
    edges = graph()
    assert {"valib.models.blup", "valib.models.mixed", "valib.sums.moments"} <= edges["valib.effects.relative"]
    assert "valib.errors" in edges["valib.records.reading"]


def test_no_module_imports_from_a_higher_room():
    assert rooms.upward() == []


def test_nothing_lies_in_the_root_that_is_not_named():
    assert rooms.strays() == []


def test_an_upward_import_a_circle_and_a_stray_would_be_seen(tmp_path):
    package = tmp_path / "valib"
    (package / "records").mkdir(parents=True)
    (package / "effects").mkdir()
    for place, text in [
        ("__init__.py", ""),
        ("stray.py", ""),
        ("records/__init__.py", ""),
        ("effects/__init__.py", ""),
        ("records/a.py", "def f():\n    from ..effects.b import x\n"),
        ("effects/b.py", "from ..records import a\n"),
    ]:
        (package / place).write_text(text)
    assert rooms.upward(package) == ["valib.records.a imports valib.effects.b"]
    assert rooms.strays(package) == ["stray.py"]
    assert circle(graph(package)) == ["valib.effects.b", "valib.records.a", "valib.effects.b"]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A circle of imports, first name again at the end; empty if there is none."""
    done = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(edges[name]):
                if found := walk(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := walk(name, []))), [])


def test_there_is_no_circle_of_modules():
    assert circle(graph()) == []


def test_the_diagram_for_contributors_is_that_of_the_imports():
    assert f"```\n{rooms.diagram()}\n```" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_of_a_readable_length(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = body[-1].end_lineno - body[0].lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize(
    "name", [name for name in modules() if floor(name) <= COMPUTING], ids=lambda n: n.removeprefix("valib.")
)
def test_what_computes_does_not_draw_print_or_read_the_command_line(name):
    path = modules()[name]
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [f"line {f.lineno}" for f in calls if isinstance(f, ast.Name) and f.id == "print"]
    assert not packages(path) & {"matplotlib", "typer", "rich", "IPython", "papermill", "jupyter_book", "myst_nb"}


def packages(path: Path) -> set[str]:
    """What a file imports from outside valib, the standard library included, by the first part of the name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {n.name.split(".")[0] for n in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - {PACKAGE.name}


def foreign(path: Path) -> set[str]:
    """Distributions from which a file imports, in the names of the package index; the standard library is none."""
    return {normal(d) for name in packages(path) for d in distributions().get(name, [])}


@lru_cache
def distributions() -> dict[str, list[str]]:
    return metadata.packages_distributions()


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_core_dependencies_are_those_that_are_imported():
    """What only the book, the tests or perf/ use is an extra; what computes needs no extra but Spark's."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core = {normal(re.match(r"[\w.-]+", d)[0]) for d in tomllib.loads(text)["project"]["dependencies"]}
    assert core <= set().union(*(foreign(p) for p in FILES))
    computing = set().union(*(foreign(path) for name, path in modules().items() if floor(name) <= COMPUTING))
    assert computing - core <= {"pyspark"}


def test_every_public_name_can_be_loaded_and_is_documented():
    """In its own docstring, and in that of the package, which names nothing else of the library's functions."""
    public = [name for name in valib.__all__ if name != "__version__"]
    own = {name: getattr(valib, name).__doc__ or "" for name in public}
    by_itself = [name for name, text in own.items() if not text or text.startswith(f"{name}(")]  # as a dataclass has it
    assert by_itself == []
    told = set(re.findall(r"\w+", valib.__doc__))
    assert set(public) <= told
    assert {word for word in told if "_" in word} <= set(public)
