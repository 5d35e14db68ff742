"""The PDF: whether LaTeX is there, and the run of latexmk."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ...errors import BookError, ValibError
from .children import Children

TOOLS = ("latexmk", "xelatex", "kpsewhich")
FILES = ("polyglossia.sty", "unicode-math.sty", "titlesec.sty", "texgyretermes-math.otf", "FreeSerif.otf")
PACKAGES = "latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-texgyre-math fonts-freefont-otf"


def need_latex() -> None:
    """Raise ValibError naming the Debian packages if something that the PDF needs is missing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not missing:
        missing = [file for file in FILES if not _found(file)]
    if missing:
        raise ValibError(
            f"The PDF needs LaTeX, and {', '.join(missing)} cannot be found. On Debian or Ubuntu: "
            f"apt-get install --no-install-recommends {PACKAGES}. Without --pdf the pages alone are made."
        )


def make_pdf(folder: Path, children: Children, environment: Mapping[str, str], name: str = "valib") -> Path:
    """Run latexmk on ``name``.tex in the folder; return the PDF.

    Raises BookError with the first error of LaTeX, or if it passes the time limit.
    """
    order = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", f"{name}.tex"]
    ended = children.run(order, folder, environment)
    if ended.late:
        raise BookError(f"LaTeX had not ended: stopped at {children.limit}")
    pdf = folder / f"{name}.pdf"
    if ended.code or not pdf.is_file():
        raise BookError(f"LaTeX failed: {_first_error(ended.text)}")
    return pdf


def _found(file: str) -> bool:
    """Return whether TeX finds a file."""
    return subprocess.run(["kpsewhich", file], capture_output=True, check=False).returncode == 0


def _first_error(log: str) -> str:
    """Return the first line of a LaTeX log that tells of an error."""
    match = re.search(r"^(?:!|\S+\.\w+:\d+:) .+$", log, re.MULTILINE)
    return match.group() if match else (log.strip().splitlines() or ["no log"])[-1]
