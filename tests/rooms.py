"""The rooms of the package and the imports between them: one walk for the test and for the diagram in CONTRIBUTING.

``python tests/rooms.py`` writes the diagram anew.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "valib"
ROOMS = ("records", "sums", "models", "effects", "simulation", "study", "pages", "command")  # ground floor first
SHARED = ("errors", "names", "files", "workers")  # modules of the root, below every room
FACE = ("__init__", "__main__")  # modules of the root, above every room


def name_of(path: Path, package: Path = PACKAGE) -> str:
    """The dotted name of a file's module: valib.pages.figures.schools, and valib.pages.figures for its __init__.py."""
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache
def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module's file by its dotted name."""
    return {name_of(p, package): p for p in sorted(package.rglob("*.py")) if "_bundle" not in p.parts}


def imports(path: Path, package: Path = PACKAGE) -> set[str]:
    """Modules of the package that a file imports, also inside functions and for type hints alone."""
    here = path.relative_to(package.parent).parts[:-1]
    known, found = modules(package), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            inside = {f"{module}.{name.name}" for name in node.names}
            found |= {name if name in known else module for name in inside}
    return {name for name in found if name in known} - {name_of(path, package)}


@lru_cache
def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """What each module imports; what comes from the package itself (its version) does not count."""
    return {name: imports(path, package) - {package.name} for name, path in modules(package).items()}


def room_of(module: str) -> str:
    """The room of a module: its folder in the package, or its own name in the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor(module: str) -> int:
    """0 for what all share, then the rooms in their order; the package's face is above them all."""
    room = room_of(module)
    if room in SHARED:
        return 0
    return 1 + ROOMS.index(room) if room in ROOMS else 1 + len(ROOMS)


def upward(package: Path = PACKAGE) -> list[str]:
    """Imports from a higher room."""
    return [f"{a} imports {b}" for a, targets in graph(package).items() for b in targets if floor(b) > floor(a)]


def strays(package: Path = PACKAGE) -> list[str]:
    """What lies in the root of the package and is none of its rooms or named modules."""
    allowed = {*ROOMS, *(f"{name}.py" for name in (*SHARED, *FACE)), "__init__.pyi", "py.typed"}
    return sorted(p.name for p in package.iterdir() if p.name not in allowed | {"__pycache__", "_bundle"})


def diagram() -> str:
    """The rooms with the first line of their docstring, and the rooms from which each imports."""
    lines = []
    for room in reversed(ROOMS):
        doc = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
        below = {room_of(b) for a, targets in graph().items() if room_of(a) == room for b in targets}
        uses = ", ".join(r for r in ROOMS if r in below - {room}) or "nothing but the root"
        count = sum(room_of(name) == room for name in modules())
        lines.append(f"{room:<11} {doc.splitlines()[0]}\n{'':11} {count} modules; imports from {uses}")
    return "\n".join(lines)


def main() -> None:
    path = ROOT / "CONTRIBUTING.md"
    text = path.read_text(encoding="utf-8")
    drawn = re.sub(r"(?s)(<!-- rooms -->\n```\n).*?(\n```)", lambda m: m[1] + diagram() + m[2], text)
    path.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
