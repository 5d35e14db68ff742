"""The PDF: whether LaTeX is there, and the run of latexmk."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from ..errors import ValibError

TOOLS = ("latexmk", "xelatex", "kpsewhich")
FILES = ("polyglossia.sty", "unicode-math.sty", "titlesec.sty", "texgyretermes-math.otf", "FreeSerif.otf")
PACKAGES = "latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended fonts-texgyre-math fonts-freefont-otf"
TIMEOUT = 900  # seconds


def need_latex() -> None:
    """Raise ValibError naming the Debian packages if something that the PDF needs is missing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if not missing:
        missing = [file for file in FILES if not _found(file)]
    if missing:
        raise ValibError(f"The PDF needs LaTeX, and {', '.join(missing)} cannot be found. On Debian or Ubuntu: "
                         f"apt-get install --no-install-recommends {PACKAGES}. Without --pdf the pages alone are made.")


def make_pdf(folder: Path, name: str = "valib") -> Path:
    """Run latexmk on ``name``.tex in the folder; return the PDF.

    Raises BookError with the first error of LaTeX.
    """
    from .assemble import BookError

    order = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", f"{name}.tex"]
    try:
        done = subprocess.run(order, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIMEOUT, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired:
        raise BookError(f"LaTeX did not end within {TIMEOUT // 60} minutes") from None
    pdf = folder / f"{name}.pdf"
    if done.returncode or not pdf.is_file():
        raise BookError(f"LaTeX failed: {_first_error(done.stdout)}")
    return pdf


def _found(file: str) -> bool:
    """Return whether TeX finds a file."""
    return subprocess.run(["kpsewhich", file], capture_output=True, check=False).returncode == 0


def _first_error(log: str) -> str:
    """Return the first line of a LaTeX log that tells of an error."""
    match = re.search(r"^(?:!|\S+\.\w+:\d+:) .+$", log, re.MULTILINE)
    return match.group() if match else (log.strip().splitlines() or ["no log"])[-1]
