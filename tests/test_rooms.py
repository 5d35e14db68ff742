"""The floors of the architecture: a module imports only from lower ones; modules and functions stay
readable."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import pytest

import valib

PACKAGE = Path(__file__).resolve().parents[1] / "valib"
LONGEST_MODULE = 300  # lines
LONGEST_FUNCTION = 40  # lines of code without the docstring

# Modules of one floor may import each other, but never in a circle.
FLOORS = [
    {"errors", "names"},
    {
        "records",
        "schema",
        "sources",
        "datasets",
        "simulate",
        "panel_design",
        "bundle",
        "files",
        "workers",
        "comparability",
        "disclosure",
        "pseudonyms",
    },
    {"design", "formula", "formula_code", "covariates", "plain_design", "moments", "summed", "engines", "scale"},
    {
        "elimination",
        "likelihood",
        "mixed",
        "covariance",
        "multivariate",
        "multivariate_fit",
        "newton",
        "joint_batch",
        "blup",
        "measurement",
    },
    {
        "relative",
        "baseline",
        "benchmark",
        "bootstrap",
        "joint",
        "joint_bootstrap",
        "drift",
        "stability",
        "moves",
        "ranking",
        "montecarlo",
        "compare",
        "stability_check",
        "scenarios",
        "mechanisms",
        "recipes",
        "resampling",
        "correlating",
        "performance",
        "simulation_methods",
        "calibrate",
    },
    {
        "plotting",
        "performance_table",
        "notebook",
        "prose",
        "params",
        "propose",
        "params_file",
        "options",
        "results",
        "output",
        "spreadsheet",
        "check",
        "console",
        "commands",
        "book",
        "cli",
        "report",
        "__main__",
        "__init__",
    },
]


def module_of(path: Path) -> str:
    """The top-level name inside valib: plotting/schools.py is part of plotting."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(module: str) -> int:
    return next((k for k, names in enumerate(FLOORS) if module in names), len(FLOORS))


def name_of(path: Path) -> str:
    """The dotted name of a file's module: valib.pages.figures.schools, and valib.pages.figures for its __init__.py."""
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "_bundle" not in p.parts)
NAMES = {name_of(p): p for p in FILES}
MODULES = sorted({module_of(p) for p in FILES})


def imports(path: Path) -> set[str]:
    """Modules of valib that a file imports, by dotted name, also inside functions and for type hints alone."""
    here = path.relative_to(PACKAGE.parent).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            inside = {f"{module}.{name.name}" for name in node.names}
            found |= {name if name in NAMES else module for name in inside}
    return {name for name in found if name in NAMES}


@lru_cache
def files() -> dict[str, set[str]]:
    """The imports of every file, by dotted name."""
    return {name: imports(path) - {name} for name, path in NAMES.items()}


@lru_cache
def graph() -> dict[str, set[str]]:
    """The same by top-level name; what comes from valib itself (its version) does not count."""
    edges: dict[str, set[str]] = {m: set() for m in MODULES}
    for name, targets in files().items():
        edges[module_of(NAMES[name])] |= {module_of(NAMES[t]) for t in targets if t != PACKAGE.name}
    return {m: to - {m} for m, to in edges.items()}


def test_the_walk_sees_imports():
    """If the walk found nothing, the other tests would pass in silence."""
    edges = graph()
    assert {"blup", "mixed", "moments", "design"} <= edges["relative"]
    assert {"errors"} <= edges["records"] and {"moments"} <= edges["mixed"]
    assert {"valib.pages.build.execute", "valib.records.datasets"} <= files()["valib.pages.build.assemble"]


def test_every_module_has_one_floor_and_every_floor_s_modules_are_there():
    listed = [name for names in FLOORS for name in names]
    assert sorted(listed) == MODULES


def test_the_table_for_contributors_is_that_of_the_floors():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d)[^|]*\|([^|]*)\|", text, re.MULTILINE)
    told = [set(re.findall(r"`(\w+)`", names)) for _, names in rows]
    assert told == [{name for name in names if not name.startswith("__")} for names in FLOORS]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_higher_floor(module):
    higher = {t for t in graph()[module] if floor(t) > floor(module)}
    assert not higher, f"{module} (floor {floor(module)}) imports {sorted(higher)}"


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

    return next((found for name in edges if (found := walk(name, []))), [])


def test_there_is_no_circle_of_modules_nor_of_files():
    assert circle(graph()) == []
    assert circle(files()) == []


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]


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
    "path", [p for p in FILES if floor(module_of(p)) <= 4], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_what_computes_does_not_draw_print_or_read_the_command_line(path):
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
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    core = {normal(re.match(r"[\w.-]+", d)[0]) for d in tomllib.loads(text)["project"]["dependencies"]}
    assert core <= set().union(*(foreign(p) for p in FILES))
    computing = set().union(*(foreign(p) for p in FILES if floor(module_of(p)) <= 4))
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
