"""Make the reports: compute the study once, then a page and a PDF a school; into place when all is done."""

from __future__ import annotations

import difflib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ...errors import BookError, ValibError
from ...names import about
from ...records.datasets import bundle_root
from ...records.precision import published
from ...records.school_names import with_names
from ...study.dictionary import with_columns
from ...study.folder import OUTPUTS, claim, move_into_place, refuse_foreign, work_folder
from ...study.publishing import about as settings
from ...study.publishing import as_files
from ..progress import progress_bar, reading
from .listing import in_order, slugs
from .render import make, write_index
from .results import StudyResults, compute
from .several import Together, agree_on_names

if TYPE_CHECKING:
    from ...study.params import Params


@dataclass(frozen=True, slots=True)
class ReportResult:
    """Where the reports are.

    Attributes
    ----------
    index : the first page. table : the CSV file. pdf : the folder of PDFs, or None. files : the file name (without
    ending) of every school. not_shown : how many schools of the study may not be shown at all and have no page.
    seconds : time taken by each step.
    """

    index: Path
    table: Path
    pdf: Path | None
    files: dict[str, str]
    not_shown: int
    seconds: dict[str, float]


def build(
    params: Params | Mapping[str, Params],
    out: Path,
    schools: Sequence[str] | None = None,
    pdf: bool = False,
    jobs: int = 2,
    progress: bool = True,
) -> ReportResult:
    """Make the page of each school in the folder ``out``.

    Parameters
    ----------
    params : the study, or several by what they are called (:func:`valib.pages.report.several.labelled`).
    out : gets html/, report.csv, changes.csv, report_averages.csv, report_lasting.csv (where they can be estimated),
        report_about.csv, report_columns.csv, report.xlsx if a study says excel, and pdf/ if ``pdf``. What an earlier run
        left there is replaced when all has succeeded, and stays as it was if anything fails.
    schools : their codes; None for all that may be shown.
    jobs : schools worked on at a time.
    progress : show on stderr what is being done.

    Raises
    ------
    ValibError
        If the records cannot bear the study, a school is not in them or may not be shown, the folder holds what valib
        has not made or another run works there.
    BookError
        If the page or PDF of a school fails; the sentence names the school, and where the others' are kept.
    """
    from ...records.pseudonyms import check_outside

    out = Path(out).absolute()
    studies = dict(params) if isinstance(params, Mapping) else {"": params}
    for study in studies.values():
        study.require_points()
        check_outside(study.pseudonym_key, out)
    with claim(out):
        refuse_foreign(out, "report", OUTPUTS["report"])
        steps = _Steps(progress)
        with steps("models"):
            found = [_compute(study, schools, progress) for study in studies.values()]
        studies = {label: settled for label, (settled, _, _) in zip(studies, found, strict=True)}
        results = {label: one for label, (_, one, _) in zip(studies, found, strict=True)}
        together = Together(tuple(results.values()))
        agree_on_names(results)
        wanted = schools and [_now(k, school, found, together) for k, school in enumerate(schools)]
        files = choose(together, wanted, max(study.min_students for study in studies.values()))
        with work_folder(out) as work:
            with steps("schools", len(files)) as done:
                rows, failed = make(results, files, work, pdf, jobs, done)
            rows = in_order(rows, {name: school for school, name in files.items()})
            script = bundle_root() / "chapters" / "_static" / "schools.js"
            names = list(results) if len(results) > 1 else []
            write_index(next(iter(results.values())), rows, work / "html", pdf, script, names)
            if failed:
                raise BookError(_failure(failed, work, out))
            made = _write_tables(studies, results, files, work)
            move_into_place("report", ["html", *made, *["pdf"] * pdf], out, work)
    not_shown = len(together.schools()) - len(together.schools_shown())
    return ReportResult(
        out / "html" / "index.html", out / "report.csv", out / "pdf" if pdf else None, files, not_shown, steps.seconds
    )


def _compute(params: Params, schools: Sequence[str] | None, progress: bool) -> tuple[Params, StudyResults, list[str]]:
    """A study settled, its results, and the schools asked for as its records have them now."""
    from ...records.pseudonyms import resolve

    with reading(params.data_name, progress):
        records = params.read_records()
    params = params.settled(records["cohort"].unique())
    with about(records, sorted(params.baseline_cohorts + params.focal_cohorts)):
        results = compute(params, records)
    return params, results, [str(resolve(school, records, params.pseudonym_key)) for school in schools or ()]


def _now(k: int, given: str, found: list[tuple[Params, StudyResults, list[str]]], together: Together) -> str:
    """The school asked for, number k, as the first study that knows it has it."""
    known = set(together.schools())
    return next((asked[k] for _, _, asked in found if asked[k] in known), given)


def _write_tables(
    studies: Mapping[str, Params], results: Mapping[str, StudyResults], files: dict[str, str], work: Path
) -> list[str]:
    """Write the tables in the form that the first study asks for; return the names of the files."""
    made: dict[str, list[pd.DataFrame]] = {}
    for label, one in results.items():
        study, names = studies[label], one.study.get("names", {})
        told = {"baseline": study.baseline_cohorts, "focal": study.focal_cohorts, "seed": study.seed}
        shown = set(one.schools_shown())
        own = {school: name for school, name in files.items() if school in shown}  # as if the study were alone
        found = {name: published(with_names(rows, names)) for name, rows in tables_of(one, own).items()}
        for name, rows in (found | {"report_about.csv": settings(study, **told)}).items():
            if len(results) > 1:
                rows.insert(0, "study", label)
            made.setdefault(name, []).append(rows)
    tables = {
        name: parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True) for name, parts in made.items()
    }
    first = next(iter(studies.values()))
    excel = any(study.excel for study in studies.values())
    written = as_files(with_columns(tables, name="report_columns.csv"), first, "report.xlsx" if excel else "")
    for name, content in written.items():
        (work / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(written)


def choose(results: StudyResults | Together, schools: Sequence[str] | None, min_students: int) -> dict[str, str]:
    """The schools that get a page, each with its file name.

    Raises ValibError for a code that the study does not have, with those that are like it, and for a school that may
    not be shown in any cohort.
    """
    every, shown = results.schools(), results.schools_shown()
    names = slugs(every)
    for school in schools or ():
        if school not in names:
            near = difflib.get_close_matches(school, every, n=3, cutoff=0.5)
            hint = f" Near it: {', '.join(near)}." if near else ""
            raise ValibError(f"School '{school}' is in none of the study's cohorts.{hint}")
        if school not in shown:
            raise ValibError(
                f"School '{school}' has no page: in every cohort of the study it has fewer than {min_students} students, or "
                "too few of the tested are linked, or its figure would give away that of such a school."
            )
    if not shown:
        raise ValibError(f"No school of the study may be shown with min_students {min_students}, so there is no page.")
    return {school: names[school] for school in dict.fromkeys(schools or shown)}


def tables_of(results: StudyResults, files: dict[str, str]) -> dict[str, pd.DataFrame]:
    """The tables of these schools by file name; those of several cohorts only where there is one."""
    found = {"report.csv": table(results, files), "changes.csv": changes_table(results, files)}
    for name in ("averages", "lasting"):
        rows = getattr(results.over_years, name)
        rows = rows[rows["school"].isin(set(files))].reset_index(drop=True)
        if len(rows):
            rows.insert(1, "file", rows["school"].map(files))
            found[f"report_{name}.csv"] = rows
    return found


def table(results: StudyResults, files: dict[str, str]) -> pd.DataFrame:
    """One row a school and cohort, as report.csv has it: the file name, the state, and the figures of the page."""
    cells = results.cells[results.cells["school"].isin(set(files))].reset_index(drop=True)
    cells.insert(1, "file", cells["school"].map(files))
    roles = results.cohorts[
        [
            "role",
            "schools",
            "ranked",
            "above",
            "below",
            "by_chance",
            "singular",
            "benchmark_singular",
            "shift",
            "shift_lower",
            "shift_upper",
            "shift_by",
        ]
    ]
    cells = cells.join(roles, on="cohort")
    cells.insert(3, "role", cells.pop("role"))
    cells = cells.astype({"n": "Int64", "tested": "Int64"})
    return cells.astype(dict.fromkeys(("schools", "ranked", "above", "below"), "Int64"))


def changes_table(results: StudyResults, files: dict[str, str]) -> pd.DataFrame:
    """One row a school and two cohorts, as changes.csv has it: the file name, and the change between the two."""
    rows = results.changes[results.changes["school"].isin(set(files))]
    rows = rows.sort_values(["school", "first", "second"], ignore_index=True)
    rows.insert(1, "file", rows["school"].map(files))
    return rows


def _failure(failed: dict[str, str], work: Path, out: Path) -> str:
    """Keep the pages that could be made aside, and say whose could not, and why."""
    kept = Path(tempfile.mkdtemp(prefix="left-by-valib-", dir=out))
    for name in ("html", "pdf"):
        if (work / name).exists():
            os.rename(work / name, kept / name)
    school, why = next(iter(failed.items()))
    more = f", and {len(failed) - 1:,} more failed" if len(failed) > 1 else ""
    return f"School '{school}': {why}{more}. Nothing in {out} was replaced; the other pages are in {kept}."


class _Steps:
    """Steps with a bar in a terminal and a line when they have ended elsewhere; keeps their seconds."""

    def __init__(self, shown: bool) -> None:
        from rich.console import Console

        self.seconds: dict[str, float] = {}
        self._shown = shown
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def __call__(self, name: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
        """Show one step; what is given is to be told (done, in all)."""
        started = time.perf_counter()
        with progress_bar(name.capitalize(), not self._shown) as bar:
            yield bar
        self.seconds[name] = time.perf_counter() - started
        self.note(f"{name}: {f'{total:,} in ' if total else ''}{self.seconds[name]:.1f} s")

    def note(self, text: str) -> None:
        """Say something between the steps."""
        if self._shown:
            self._console.print(text, markup=False, soft_wrap=True)
