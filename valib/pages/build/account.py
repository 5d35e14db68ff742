"""What the appendix on the making of a copy tells: versions, chapters and times."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path

import pandas as pd

from .execute import FACTS

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "statsmodels",
    "formulaic",
    "pydantic",
    "pyarrow",
    "matplotlib",
    "papermill",
    "jupyter-book",
    "myst-nb",
    "sphinx",
)


def versions() -> pd.DataFrame:
    """Return the versions of valib, Python and the packages that the numbers and pages depend on.

    Columns ``package`` and ``version``. A package that is not installed is left out.
    """
    from ... import __version__

    rows = [("valib", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return pd.DataFrame(rows, columns=["package", "version"])


def times() -> pd.DataFrame:
    """Return the seconds that each chapter took in the run this chapter is part of: columns ``chapter``, ``seconds``.

    Empty if the chapter runs alone. Pages and PDF are rendered after the last chapter, so they cannot be among them.
    """
    chapters = {}
    if file := os.environ.get(FACTS):
        chapters = json.loads(Path(file).read_text(encoding="utf-8"))["chapters"]
    return pd.DataFrame(
        {
            "chapter": pd.Series(list(chapters), dtype="str"),
            "seconds": pd.Series(list(chapters.values()), dtype="float64"),
        }
    )
