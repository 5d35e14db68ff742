"""The PDF: whether LaTeX is there, and the run of latexmk."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ...errors import BookError, ValibError
from .children import Children
from .structure import FILE as STRUCTURE
from .tagging import tag

TOOLS = ("latexmk", "xelatex", "kpsewhich")
WIDEST = 5.0  # points that a line or a page may stand out: less is not seen
OVERFULL = re.compile(r"^Overfull \\([hv])box \((\d+(?:\.\d+)?)pt too (?:wide|high)\) ?(.*)$", re.MULTILINE)
UNDEFINED = re.compile(r"^.*Warning: ((?:Hyper r|R)eference|Citation) [`'](.+?)' on page (\S+) undefined", re.MULTILINE)
FILES = (
    "polyglossia.sty",
    "unicode-math.sty",
    "titlesec.sty",
    "placeins.sty",
    "texgyretermes-math.otf",
    "FreeSerif.otf",
)
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


def make_pdf(
    folder: Path, children: Children, environment: Mapping[str, str], name: str = "valib", strict: bool = True
) -> Path:
    """Run latexmk on ``name``.tex in the folder; return the PDF.

    strict: refuse a box that stands out by more than :data:`WIDEST`, too. Where the names are a user's, one that cannot
    be broken must not cost the PDF, so that it is only told. Raises BookError with the first error of LaTeX, if it passes
    the time limit, or if the PDF is not fit to be printed: a box that stands out, a reference to nothing.
    """
    environment = {**environment, "max_print_line": "1000"}  # a log that does not break its lines
    order = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error", f"{name}.tex"]
    ended = children.run(order, folder, environment)
    if ended.late:
        raise BookError(f"LaTeX had not ended: stopped at {children.limit}")
    pdf = folder / f"{name}.pdf"
    if ended.code or not pdf.is_file():
        raise BookError(f"LaTeX failed: {_first_error(ended.text)}")
    if faults := log_faults((folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")):
        print("\n".join(f"The PDF: {fault}" for fault in faults), file=sys.stderr)
        grave = [fault for fault in faults if strict or fault.endswith(" is undefined")]
        if grave:
            more = f", and {len(grave) - 1} more, see above" if len(grave) > 1 else ""
            raise BookError(f"The PDF is not fit to be printed: {grave[0]}{more}")
    if (structure := folder / STRUCTURE).is_file():
        tag(pdf, structure)
    return pdf


def log_faults(log: str) -> list[str]:
    """What LaTeX's log tells of that a reader of the PDF would see, each once and in words."""
    found = [
        f"a {'line is' if kind == 'h' else 'page is'} {size} points too {'wide' if kind == 'h' else 'high'}"
        f"{f' ({place.strip()})' if place.strip() else ''}"
        for kind, size, place in OVERFULL.findall(log)
        if float(size) > WIDEST
    ]
    found += [f"{what.lower()} {label} on page {page} is undefined" for what, label, page in UNDEFINED.findall(log)]
    return list(dict.fromkeys(found))


def _found(file: str) -> bool:
    """Return whether TeX finds a file."""
    return subprocess.run(["kpsewhich", file], capture_output=True, check=False).returncode == 0


def _first_error(log: str) -> str:
    """Return the first line of a LaTeX log that tells of an error."""
    match = re.search(r"^(?:!|\S+\.\w+:\d+:) .+$", log, re.MULTILINE)
    return match.group() if match else (log.strip().splitlines() or ["no log"])[-1]
