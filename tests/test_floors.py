"""The floors of the architecture: a module imports only from lower ones; modules and functions stay
readable."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "valib"
LONGEST_MODULE = 400  # lines; the aim is 300
LONGEST_FUNCTION = 60  # lines of code without the docstring; the aim is 40

# Modules of one floor may import each other, but never in a circle.
FLOORS = [
    {"errors", "names"},
    {"records", "sources", "datasets", "simulate", "panel_design", "bundle", "files", "workers", "comparability",
     "disclosure", "pseudonyms"},
    {"design", "formula", "formula_code", "covariates", "plain_design", "moments", "summed", "engines", "scale"},
    {"elimination", "likelihood", "mixed", "covariance", "multivariate", "multivariate_fit", "newton", "blup",
     "measurement"},
    {"relative", "baseline", "benchmark", "bootstrap", "joint", "joint_bootstrap", "drift", "stability", "moves",
     "ranking", "montecarlo", "compare", "stability_check", "mechanisms", "recipes", "performance",
     "simulation_methods", "calibrate"},
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


def imports(path: Path) -> set[str]:
    """Modules of valib that a file imports, also inside functions."""
    here = path.relative_to(PACKAGE.parent).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {f"{module}.{name.name}" for name in node.names} if module == "valib" else {module}
    return {name.split(".")[1] for name in found if name.startswith("valib.")}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "_bundle" not in p.parts)
MODULES = sorted({module_of(p) for p in FILES})


@lru_cache
def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {m: set() for m in MODULES}
    for path in FILES:
        edges[module_of(path)] |= imports(path) - {module_of(path)}
    return {m: {t for t in to if t in edges} for m, to in edges.items()}


def test_the_walk_sees_imports():
    """If the walk found nothing, the other tests would pass in silence."""
    edges = graph()
    assert {"blup", "mixed", "moments", "design"} <= edges["relative"]
    assert {"errors"} <= edges["records"] and {"moments"} <= edges["mixed"]


def test_every_module_has_a_floor():
    known = set().union(*FLOORS)
    assert set(MODULES) <= known, f"give {sorted(set(MODULES) - known)} a floor"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_higher_floor(module):
    higher = {t for t in graph()[module] if floor(t) > floor(module) and t != "__init__"}
    assert not higher, f"{module} (floor {floor(module)}) imports {sorted(higher)}"


def test_there_is_no_circle():
    edges, done = graph(), set()

    def walk(module, path):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in edges[module]:
                walk(other, [*path, module])
            done.add(module)

    for module in MODULES:
        walk(module, [])


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
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {n.name.split(".")[0] for n in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
    assert not names & {"matplotlib", "typer", "rich", "IPython", "papermill", "jupyter_book", "myst_nb"}


def test_every_public_name_can_be_loaded():
    import valib

    for name in valib.__all__:
        assert getattr(valib, name) is not None, name
