"""The PDF's title page: title, date and the parameters of the study."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from ...names import readable

if TYPE_CHECKING:
    from ...study.params import Params

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "'": "\N{RIGHT SINGLE QUOTATION MARK}",
}
AUTHOR = r"\csname @author\endcsname"  # as Sphinx has it from _config.yml
LONGEST_TITLE = 200  # characters of a title or of a parameter on the title page


def tex(text: str) -> str:
    """Return text so that LaTeX prints it and does nothing with it."""
    return "".join(SPECIAL.get(letter, letter) for letter in readable(text, LONGEST_TITLE))


def titlepage(params: Params) -> str:
    """Return the title page as LaTeX: what stands on it is the study's, read from its parameters."""
    rows = [
        ("Student records", params.data_name if params.data != "demo" else "the simulated demo panel"),
        ("Baseline cohorts", _listed(params.baseline_cohorts) or "none"),
        ("Focal cohorts", _listed(params.focal_cohorts)),
        ("Model", params.formula),
        ("Benchmark coefficients", params.estimator),
        ("Shift of the system", params.shift),
        ("Variance components", f"of the {params.variances} cohorts"),
        ("Likelihood", params.method),
        ("Intervals", f"{100 * params.level:g}%"),
        ("Smallest school shown", f"{params.min_students} students"),
        ("Seed", str(params.seed)),
    ]
    known = params.equating_se is not None
    rows.insert(-2, ("Equating error", f"{params.equating_se:g} score points" if known else "not known"))
    if params.cohort_sd is not None:
        rows.insert(-2, ("Ordinary years", f"SD {params.cohort_sd:g} score points"))
    today = datetime.date.today()
    body = "\n".join(rf"{tex(name)} & {tex(value)} \\" for name, value in rows)
    return "\n".join(
        [
            rf"\hypersetup{{pdftitle={{{tex(params.title)}}},pdfauthor={{{AUTHOR}}}}}",
            r"\begin{titlepage}",
            r"\tagopen{1}\raggedright\vspace*{0.14\textheight}",
            r"{\color{heading}\rule{0.18\textwidth}{3pt}\par}\vspace{1.4em}",
            rf"{{\sffamily\bfseries\Huge\color{{heading}} {tex(params.title)}\par}}\vspace{{1.2em}}",
            rf"{{\sffamily\large {AUTHOR}\\[0.3em] {today.day} {today:%B %Y}\par}}\vspace{{0.08\textheight}}",
            r"{\sffamily\color{heading} The study of this copy\par}\vspace{0.6em}",
            r"\renewcommand{\arraystretch}{1.25}",
            r"\begin{tabular}{@{}>{\raggedright\arraybackslash}p{0.32\textwidth}>{\raggedright\arraybackslash}p{0.6\textwidth}@{}}",
            r"\toprule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\vfill",
            r"The figures and tables about the study were computed from these records with these parameters.\par\tagclose{}",
            r"\end{titlepage}",
            "",
        ]
    )


def _listed(cohorts: list[int]) -> str:
    return ", ".join(str(cohort) for cohort in cohorts)
