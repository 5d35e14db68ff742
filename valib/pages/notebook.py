"""What the chapters use: set up a study, record a number, show a table or a figure, check a claim, save a result.

A chapter computes with valib and explains in prose. Numbers reach the prose through :func:`record` (pasted with the
``glue:text`` role), figures through :func:`figure` (``glue:figure``), tables through :func:`table`, and sentences that
hold only under a condition through :func:`say`. Text is made by :mod:`valib.pages.prose`, whose functions a chapter
has here too. Nothing here shows a student's row.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from ..errors import ValibError, ValibWarning
from ..files import write_file
from ..names import LONGEST, readable
from ..records.disclosure import public
from ..study.params import DEMO, Params, study_of
from ..sums.equating import ScaleBreak
from .findings import Findings, Table, check
from .prose import (
    as_text,
    cell_text,
    code,
    direction,
    escape,
    estimate,
    in_figures,
    in_words,
    name,
    parameter_text,
    simulated,
)

__all__ = [
    "Study",
    "as_text",
    "check",
    "code",
    "direction",
    "escape",
    "estimate",
    "figure",
    "in_words",
    "keep",
    "name",
    "parameter_text",
    "parameters",
    "record",
    "save",
    "say",
    "schools",
    "setup",
    "show",
    "show_warnings",
    "simulated",
    "table",
]

DATA_FOLDER = "VALIB_DATA_DIR"  # where a relative data file is looked for besides the working directory
RECORDS_FILE = "VALIB_RECORDS"  # the records as the book has prepared them; the study's data without it
STAND_IN = "VALIB_STAND_IN"  # set where the chapter is about the demo panel and not about the study's records
STANDS_IN = (
    ":::{important}\nThe study of this copy has no baseline, so this chapter cannot be about its records. So that the methods "
    "can be read all the same, everything below is about the simulated demo panel that comes with the library; nothing of "
    "it is saved with the results.\n:::"
)
NO_BASELINE = (
    ":::{important}\nThe study of this copy has no baseline. Where this chapter speaks of baseline cohorts, it means all "
    "cohorts of the study.\n:::"
)
AS_RECORDED = (
    ":::{important}\nThis study takes errors of measurement off its covariates. This chapter does not: its models are of the "
    "covariates as they are recorded.\n:::"
)
TAKEN_OFF = (
    ":::{important}\nErrors of measurement are taken off {names}, here in the value added of this study's schools and in its "
    "benchmark; models that are shown beside them are of what is recorded.\n:::"
)
RESULTS_FOLDER = "VALIB_RESULTS"  # where save() writes; ./results without it

_collected: list[str] = []  # what valib has warned of since setup(), as it may be shown
_names: dict[str, str] = {}  # school -> name, where the study has names


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A chapter's study: validated parameters and records.

    records: on one scale: later cohorts are carried back over the study's declared and linked breaks.
    scale_breaks: what is left of those breaks, links that change nothing and keep the errors, for
    :func:`valib.fit_benchmark`.
    given: the chapter's parameters by name as they are meant, however they were written; the data and the key, which
    are paths by now, are not among them.
    baseline, focal: the cohorts, sorted. typical: the baseline, or all where the study has none. is_demo: the bundled
    panel with the cohorts it was made to show; sentences
    about that panel alone are said only then.
    """

    chapter: str
    params: Params
    records: pd.DataFrame = field(repr=False)
    scale_breaks: tuple[ScaleBreak, ...] = ()
    given: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def baseline(self) -> list[int]:
        """Baseline cohorts, sorted."""
        return sorted(self.params.baseline_cohorts)

    @property
    def focal(self) -> list[int]:
        """Focal cohorts, sorted."""
        return sorted(self.params.focal_cohorts)

    @property
    def typical(self) -> list[int]:
        """The baseline cohorts, or the focal ones of a study without a baseline."""
        return self.baseline or self.focal

    @property
    def is_demo(self) -> bool:
        """The bundled panel with its own baseline and focal cohorts."""
        default = Params()
        return (
            self.params.data == "demo"
            and self.baseline == sorted(default.baseline_cohorts)
            and self.focal == sorted(default.focal_cohorts)
        )

    def formulas(self) -> tuple[list[str], list[str]]:
        """The study's formula and the further ones: those whose columns the records have, and those left out."""
        from ..sums.design import required_columns

        every = list(dict.fromkeys([self.params.formula, *self.params.further_formulas]))
        usable = [f for f in every if set(required_columns(f)) <= set(self.records.columns)]
        return usable, [f for f in every if f not in usable]


def setup(chapter: str, **values: Any) -> Study:
    """Start a chapter: validate its parameters, read and check the records, set the figure style.

    values: the chapter's parameters by name. Those that it does not declare and that stand in the notebook all the same,
    as papermill puts them there, count too; the others take the study's defaults. A relative data file
    is looked for in the working directory and then in the folder named by the environment variable VALIB_DATA_DIR.
    Where VALIB_RECORDS names a file, the records come from it: the book reads the data once and prepares them. Where
    VALIB_STAND_IN is set, the chapter is about the demo panel, since the study's records cannot bear it: it says so, and
    what it saves stays in its own folder.
    Warnings of valib are collected for :func:`show_warnings` and not printed between the lines.
    """
    from ..records.coverage import MIN_LINKED_SHARE
    from ..records.reading import read_records, select
    from ..records.school_names import school_names
    from ..sums.equating import check_baseline, on_one_scale
    from . import figures as plotting

    plotting.use_style()
    params = given_study(values)
    params.require_points()
    _collected.clear()
    _names.clear()
    warnings.showwarning = functools.partial(_collect, params.min_students)
    warnings.simplefilter("always", ValibWarning)
    prepared = None if os.environ.get(STAND_IN) else os.environ.get(RECORDS_FILE)
    records = read_records(prepared) if prepared else params.read_records()
    records.attrs[MIN_LINKED_SHARE] = params.min_linked_share
    there = set(map(int, records["cohort"].unique()))
    params = _own_cohorts(params, there).settled(there)
    say(STANDS_IN, when=bool(os.environ.get(STAND_IN)))
    say(NO_BASELINE, when=not params.baseline_cohorts)
    if params.reliability and not chapter.startswith("appendix"):
        names = in_words([f"`{name}`" for name in params.reliability])
        say(TAKEN_OFF.replace("{names}", names) if "reliability" in values else AS_RECORDED)
    _names.update({} if os.environ.get(STAND_IN) else school_names(records))
    select(records, [*params.baseline_cohorts, *params.focal_cohorts])
    check_baseline(params.scale_breaks, params.baseline_cohorts)
    records, breaks = on_one_scale(records, params.scale_breaks, params.baseline_cohorts, params.focal_cohorts)
    meant = {name: getattr(params, name) for name in values if name not in ("data", "pseudonym_key")}
    return Study(chapter, params, records, tuple(breaks), meant)


def given_study(values: Mapping[str, Any]) -> Params:
    """The study of a chapter's parameters, and of those that stand in the notebook beside them."""
    given = {**dict(Params()), **_in_notebook(), **values}
    return study_of({**given, "data": _find(given["data"])})


def _in_notebook() -> dict[str, Any]:
    """Parameters that stand in the notebook beside those of its own cell, such as a whole params file by papermill's -f."""
    from IPython import get_ipython

    there = getattr(get_ipython(), "user_ns", {})
    plain = (str, int, float, list, tuple, dict, type(None))
    return {name: there[name] for name in Params.model_fields if name in there and isinstance(there[name], plain)}


def _own_cohorts(params: Params, there: set[int]) -> Params:
    """The study without the demo's cohorts, which a chapter's cell holds, where its own records lack one of them."""
    if params.data == DEMO:
        return params
    demo = Params()
    named = {name: getattr(params, name) for name in ("baseline_cohorts", "focal_cohorts")}
    return params.model_copy(
        update={name: [] for name, t in named.items() if t == getattr(demo, name) and not there.issuperset(t)}
    )


def record(key: str, value: Any, spec: str | None = None) -> None:
    """Record a value as plain text for the prose: {glue:text}`key`.

    spec: a format such as ".1f", "+.2f" or ".0%"; without it whole numbers get thousands separators, other numbers
    one decimal, text stays as it is, and a sequence is listed with commas and "and".
    """
    _glue(key, as_text(value, spec))


def figure(key: str, fig: Any) -> None:
    """Record a figure of valib.pages.figures for a ``glue:figure`` directive: pixels for HTML, vectors for LaTeX.

    It also shows in the notebook itself; the cell is tagged remove-cell or remove-output, so that a page has it once. What
    the pages put beneath it goes with it: the numbers drawn (:func:`valib.pages.figures.plotted.plotted`) and the code. A
    figure of matplotlib's own, as in a chapter that a reader adds, stands by itself.
    """
    from ..study.writing import as_csv
    from .figures.plotted import plotted
    from .figures.style import BookFigure

    if isinstance(fig, BookFigure):
        table = plotted(fig)
        fig.beneath = {"code": fig.code, "csv": "" if table.empty else as_csv(table)}
    _glue(key, fig, display=True)


def show(found: Findings) -> None:
    """Show the tables and sentences of a part of a chapter in their order, and record and save what goes with them.

    For a cell whose input alone is removed from the page: figures would appear there and once more by their directive,
    so they go through :func:`keep`; ValueError otherwise.
    """
    if found.figures:
        raise ValueError(f"Figures are kept, not shown: {', '.join(found.figures)}.")
    _bring(found)
    for part in found.shown:
        if isinstance(part, Table):
            table(part.frame, part.caption, part.name, part.formats, part.index, part.raw)
        else:
            say(part)


def keep(found: Findings) -> None:
    """Record the values and figures of a part of a chapter and save its files.

    For a cell that is removed from the page with its output: tables and sentences would be lost there; ValueError then.
    """
    if found.shown:
        raise ValueError("Tables and sentences are shown, not kept.")
    _bring(found)
    for key, fig in found.figures.items():
        figure(key, fig)


def _bring(found: Findings) -> None:
    for key, text in found.values.items():
        _glue(key, text)
    for file, frame in found.files.items():
        save(frame, file)


def table(
    frame: pd.DataFrame,
    caption: str,
    name: str,
    formats: Mapping[str, str] | str | None = None,
    index: bool = True,
    raw: bool = False,
) -> None:
    """Show a numbered table with a caption, the same in HTML and in PDF.

    caption: MyST text, may hold mathematics and citations. name: label for {numref}. formats: format by column label,
    or one for all numbers. Column labels are MyST text; text cells and the index are escaped (names of schools), unless
    ``raw`` says that they are MyST already. Columns of numbers stand flush right, also where these are text, as an estimate
    with its error in brackets is; codes of schools do not.
    """
    from IPython.display import Markdown, display

    shown = frame.reset_index() if index else frame
    formats = formats or {}
    cells, align = {}, {}
    for position, label in enumerate(shown.columns):
        spec = formats if isinstance(formats, str) else formats.get(label)
        column = shown.iloc[:, position]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        whole = numeric and pd.api.types.is_integer_dtype(column)
        year = whole and str(label).lower() in ("cohort", "cohorts")
        plain = "d" if year else None if whole or not isinstance(formats, str) else spec
        use = spec if isinstance(formats, Mapping) and spec else plain
        cells[position] = [str(v) if raw and isinstance(v, str) else cell_text(v, use) for v in column]
        align[position] = "--:" if numeric or in_figures(cells[position]) else ":--"
    head = "| " + " | ".join(str(label) for label in shown.columns) + " |"
    rule = "| " + " | ".join(align.values()) + " |"
    body = ["| " + " | ".join(row) + " |" for row in zip(*cells.values(), strict=True)]
    text = "\n".join([f"::::{{table}} {caption}", f":name: {name}", ":align: center", "", head, rule, *body, "::::"])
    display(Markdown(text))


def schools(relative: Sequence[Any], benchmark: Sequence[Any], min_students: int) -> None:
    """Show the effects of every school in every cohort as a table that a reader can search; HTML only.

    relative, benchmark: fits of the same cohorts in the same order. Schools with fewer than ``min_students`` students
    in a cohort are left out, and those that hide them (:mod:`valib.records.disclosure`). The PDF says where to find
    the table.
    """
    from html import escape as html

    from IPython.display import display

    from ..records.disclosure import only_shown

    heads = ["School", *["Name"] * bool(_names), "Cohort", "Students", "Relative VA", "Benchmark VA", "from", "to"]
    rows = []
    for own, against in zip(relative, benchmark, strict=True):
        effects = against.school_effects[["effect", "lower", "upper"]].rename(columns={"effect": "benchmark"})
        both = only_shown(own.school_effects, min_students)[["n", "effect"]].join(effects)
        for school, n, *values in both.itertuples():
            numbers = [as_text(own.cohort, "d"), as_text(int(n)), *(as_text(float(v)) for v in values)]
            rows.append(
                "<tr>"
                + "".join(f"<td>{html(readable(text, LONGEST))}</td>" for text in _code_and_name(school))
                + "".join(f'<td class="number">{v}</td>' for v in numbers)
            )
    head = "".join(f"<th{' class=number' if k else ''}>{text}</th>" for k, text in enumerate(heads))
    page = (
        f'<div class="schools-table" data-rows="rows" data-choice="1"><table><thead><tr>{head}</tr></thead><tbody>'
        + "</tr>\n".join(rows)
        + "</tr></tbody></table></div>"
    )
    note = f"The table has {as_text(len(rows))} rows, one a school and cohort. It is part of the HTML pages."
    display({"text/html": page, "text/markdown": note}, raw=True)


def _code_and_name(school: str) -> list[str]:
    """A school's code, and its name where the study has names."""
    return [school, _names.get(school, "")] if _names else [school]


def parameters(study: Study, *names: str) -> None:
    """Show the parameters of the chapter in words, as its first table."""
    rows = [
        (Params.model_fields[n].description or n.replace("_", " "), parameter_text(getattr(study.params, n)))
        for n in names
    ]
    key = study.params.pseudonym_key
    named = {
        "data": study.params.data_name,
        "table": study.params.table_name or "none named",
        "pseudonym_key": Path(key).name if key else "none, schools are named",
        **{k: "not known" for k in ("equating_se", "cohort_sd") if getattr(study.params, k) is None},
    }
    rows = [
        (label, escape(readable(named[n], 200)) if n in named else text)
        for n, (label, text) in zip(names, rows, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["Parameter", "In this copy"])
    table(frame, "Parameters of this chapter.", f"tab-{study.chapter}-parameters", index=False, raw=True)


def say(markdown: str, when: bool = True) -> None:
    """Show a sentence or paragraph (MyST), or nothing if its condition does not hold for these records."""
    from IPython.display import Markdown, display

    if when:
        display(Markdown(markdown))


def show_warnings() -> None:
    """Show what valib warned of since the chapter began, each once, counts of few students in words."""
    said = list(dict.fromkeys(_collected))
    say(":::{warning}\n" + "\n".join(f"- {escape(text)}" for text in said) + "\n:::", when=bool(said))


def save(content: Any, name: str) -> Path:
    """Write a result beside the pages: a DataFrame as CSV or a benchmark as JSON; complete or not at all.

    Raises ValibError for a table with a row a student.
    """
    from ..records.school_names import with_names
    from ..study.writing import as_csv

    if isinstance(content, pd.DataFrame) and "student" in (*content.columns, *content.index.names):
        raise ValibError(f"{name} has a column student: rows of students are not written beside the pages.")
    folder = Path("results" if os.environ.get(STAND_IN) else os.environ.get(RESULTS_FOLDER, "results"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if hasattr(content, "to_json") and not isinstance(content, pd.DataFrame):
        return content.save(target)
    write_file(target, as_csv(with_names(content, _names)))
    return target


def _find(data: Any) -> Any:
    """A relative data file in the working directory, else in the folder of VALIB_DATA_DIR; what is no text as it is."""
    folder = os.environ.get(DATA_FOLDER)
    if not folder or not isinstance(data, str) or Path(data).is_absolute() or Path(data).exists():
        return data
    return str(Path(folder) / data) if (Path(folder) / data).exists() else data


def _glue(key: str, value: Any, display: bool = False) -> None:
    from myst_nb import glue

    glue(key, value, display=display)


_shown = warnings.showwarning


def _collect(
    min_students: int,
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Keep valib's warnings for the page, counts of few students in words; pass others on."""
    if issubclass(category, ValibWarning):
        _collected.append(public(message, min_students))
    else:
        _shown(message, category, filename, lineno, file, line)
