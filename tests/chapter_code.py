"""The code of a chapter, run in the process of the test: without a kernel, which takes longer than most chapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from conftest import ROOT


def run_chapter(chapter: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Run all code cells of a chapter with these parameters, as far as it has them; what stands there after it, by name."""
    names: dict[str, Any] = {}
    for cell in json.loads((ROOT / "chapters" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), chapter, "exec"), names)  # noqa: S102
            if "parameters" in cell["metadata"].get("tags", []):
                names |= {name: value for name, value in given.items() if name in names}
    return names
