"""Pages and PDFs of schools from their content and a template each, several schools at a time."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...effects.multiplicity import count_sides, sides_line
from ...workers import end_with, undisturbed
from .listing import row
from .results import StudyResults
from .several import content_of, pages_of

TEMPLATES = Path(__file__).with_name("templates")
PAGES = "schools"  # the folder of the schools' pages
CHUNK = 20  # schools that a worker is given at once


def make(
    results: Mapping[str, StudyResults],
    files: Mapping[str, str],
    work: Path,
    pdf: bool,
    jobs: int,
    done: Callable[[int, int], None],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Make ``work/html/schools`` and, if ``pdf``, ``work/pdf``, with a file of every school.

    results: of each study by its name. files: the file name of every school. done: told (schools done, in all).
    Returns what the list says of each school in each study (:func:`valib.pages.report.listing.row`), and why the page of
    a school could not be made, by its code.
    """
    from joblib import Parallel, delayed, parallel_config

    (work / "html" / PAGES).mkdir(parents=True)
    if pdf:
        (work / "pdf").mkdir()
    schools = list(files.items())
    chunks = [schools[k : k + CHUNK] for k in range(0, len(schools), CHUNK)]
    rows, failed, count = [], {}, 0
    jobs = min(jobs, len(chunks))
    with parallel_config(
        "loky",
        n_jobs=jobs,
        inner_max_num_threads=1 if jobs > 1 else None,
        initializer=end_with,
        initargs=(os.getpid(),),
    ):
        with undisturbed():
            tasks = (delayed(_chunk)(_parts(results, chunk), chunk, work, pdf) for chunk in chunks)
            finished = Parallel(return_as="generator")(tasks)
        for made, failures in finished:
            rows += made
            failed |= failures
            count += len({row["file"] for row in made}) + len(failures)
            done(count, len(schools))
    return rows, failed


def write_index(
    results: StudyResults, rows: list[Any], folder: Path, pdf: bool, script: Path, studies: Sequence[str] = ()
) -> None:
    """Write the first page and what all pages use: one style, one script. studies: their names, if there are several."""
    from .words import percent

    level = percent(results.study["settings"]["level"])
    grouped = "Group" if any(row.get("group") for row in rows) else ""
    several = {"studies": list(studies), "grouped": grouped, "sides": side_sentences(results)}
    page = templates().get_template("index.html")
    text = page.render(study=results.study, rows=rows, pdf=pdf, level=level, **several)
    (folder / "index.html").write_text(text + "\n", encoding="utf-8")
    for source in (TEMPLATES / "report.css", script):
        (folder / source.name).write_bytes(source.read_bytes())


def side_sentences(results: StudyResults) -> list[str]:
    """For every cohort how many of the schools shown stand above and below, and up to how many would by chance."""
    counts = results.cohorts[["above", "below", "unclear", "by_chance"]].to_dict("index")
    level = results.study["settings"]["level"]
    return [
        sides_line(
            int(cohort),
            count_sides(
                [*["above"] * one["above"], *["below"] * one["below"], *["not told apart"] * one["unclear"]], level
            ),
            level,
        )
        for cohort, one in counts.items()
    ]


def as_html(parts: Mapping[str, Any]) -> str:
    """A school's page from its content."""
    return templates().get_template("school.html").render(parts) + "\n"


def as_pdf(parts: Mapping[str, Any]) -> bytes:
    """A school's page to print, tagged (PDF/UA-1), from its content; without a date, so that it is always the same."""
    made: bytes = compiler("school.typ").compile(
        format="pdf", sys_inputs={"page": json.dumps(parts, ensure_ascii=False)}, pdf_standards="ua-1", timestamp=0
    )
    return made


def _parts(results: Mapping[str, StudyResults], chunk: list[tuple[str, str]]) -> dict[str, StudyResults]:
    """The results of these schools alone: what a worker is sent stays small, however many schools there are."""
    names = {school for school, _ in chunk}
    return {label: one.of(names) for label, one in results.items()}


def _chunk(
    results: Mapping[str, StudyResults], schools: list[tuple[str, str]], work: Path, pdf: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Make the pages of several schools; one that fails leaves no file and does not stop the others."""
    rows, failed = [], {}
    for school, name in schools:
        try:
            pages = pages_of(results, school)
            parts = content_of(pages)
            printed = as_pdf(parts) if pdf else b""
            (work / "html" / PAGES / f"{name}.html").write_text(as_html(parts), encoding="utf-8")
            if pdf:
                (work / "pdf" / f"{name}.pdf").write_bytes(printed)
            rows += [row(page, name) | {"study": label} for label, page in pages.items() if page is not None]
        except Exception as error:  # whatever it is, it is told with the school's name
            failed[school] = (str(error).splitlines() or [type(error).__name__])[0]
    return rows, failed


@functools.cache
def templates() -> Any:
    """The templates of pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def compiler(name: str) -> Any:
    """Typst for one template, with its own fonts and those of matplotlib, whatever fonts the system has."""
    import matplotlib
    import typst

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    kept = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[str(fonts)])
    return typst.Compiler(str(TEMPLATES / name), font_paths=kept)
