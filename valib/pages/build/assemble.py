"""Build the book: check first, work aside, move into place at the end."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ParamsError, ValibError, ValibWarning
from ...names import listed_cohorts
from ...records.datasets import bundle_root
from ...records.disclosure import cell_sizes, cells
from ...study.dictionary import explain_folder
from ...study.folder import OUTPUTS, claim, move_into_place, refuse_foreign, work_folder
from .children import TIME_LIMIT, Children

if TYPE_CHECKING:
    import pandas as pd

    from ...study.params import Params
    from ..progress import Progress

LAST = "appendix_build"  # this chapter tells of the others, so it runs after them


@dataclass(frozen=True, slots=True)
class BookResult:
    """Where the book is.

    Attributes
    ----------
    html : the first page. results : the folder of CSV files. pdf : the PDF, or None if it was not asked for.
    seconds : time taken by each chapter, and by "pages" and "pdf".
    """

    html: Path
    results: Path
    pdf: Path | None
    seconds: dict[str, float]


def build(
    params: Params,
    out: Path,
    pdf: bool = False,
    jobs: int = 2,
    progress: bool = True,
    sources: Path | None = None,
    minutes: float = TIME_LIMIT,
) -> BookResult:
    """Render the book about a study into the folder ``out``.

    Parameters
    ----------
    params : the study.
    out : gets html/, results/ and baseline.json, and valib.pdf if ``pdf``. What an earlier run left there is replaced
        when all has succeeded, and stays as it was if anything fails.
    jobs : chapters computed at a time.
    progress : show on stderr what is being done.
    sources : the folder with _config.yml, _toc.yml and chapters/; by default that of valib.
    minutes : how long one chapter, the pages or the PDF may take; what takes longer is stopped.

    Raises
    ------
    ValibError
        If the records cannot bear the study, a chapter finds them unusable, the folder holds what valib has not made
        or another run is writing there, or LaTeX is asked for and missing.
    BookError
        If a chapter or the rendering fails for another reason.
    """
    from ...records.pseudonyms import check_outside, resolve
    from ..progress import Progress, reading
    from .staging import prepare_records

    out = Path(out).absolute()
    params.require_points()
    check_outside(params.pseudonym_key, out)
    if pdf:
        from .latex import need_latex

        need_latex()
    with claim(out):  # which puts back what a killed run was about to replace
        refuse_foreign(out, "book", OUTPUTS["book"])
        with work_folder(out) as work, Progress(progress) as shown, Children(minutes) as children:
            with reading(params.data_name, progress):
                records = params.read_records()
            params = shown_cohorts(params.settled(records["cohort"].unique()), records, not params.focal_cohorts)
            rows = _check(params, records)
            params = params.model_copy(update={"school": resolve(params.school, records, params.pseudonym_key)})
            prepare_records(params, work, records)
            del records
            seconds = _make(params, work, sources or bundle_root(), pdf, jobs, shown, rows, children)
            move_into_place("book", _collect(work, pdf), out, work)
    return BookResult(out / "html" / "index.html", out / "results", out / "valib.pdf" if pdf else None, seconds)


def shown_cohorts(params: Params, records: pd.DataFrame, may_leave_out: bool) -> Params:
    """The study without the focal cohorts of which no school may be shown, since their pages would be empty.

    Warns of them, or raises ParamsError where the study names them (not may_leave_out) or no cohort is left.
    """
    shown = cells(cell_sizes(records), params.min_students).groupby(level="cohort").any()
    empty = [t for t in params.focal_cohorts if t in shown.index and not shown[t]]
    if not empty:
        return params
    told = (
        f"{params.data_name}: of {listed_cohorts(empty)} no school may be shown, for they have fewer than "
        f"{params.min_students} students or would give away one that has"
    )
    left = [t for t in params.focal_cohorts if t not in empty]
    if not (may_leave_out and left):
        raise ParamsError(f"{told}: leave such cohorts out of focal_cohorts, or take larger units than these schools.")
    warnings.warn(f"{told}: the book leaves them out.", ValibWarning, stacklevel=3)
    return params.model_copy(update={"focal_cohorts": left})


def _check(params: Params, records: pd.DataFrame) -> dict[str, int]:
    """Refuse what would stop the study; return how many rows there are."""
    from ...study.account import check_records

    account = check_records(
        records,
        params.baseline_cohorts,
        params.focal_cohorts,
        formula=params.formula,
        min_students=params.min_students,
        scale_breaks=params.scale_breaks,
    )
    if account.problems:
        raise ValibError(f"{account.source}: {' '.join(account.problems)}")
    return {"rows_read": account.rows_read, "rows_used": account.rows_used}


def _make(
    params: Params,
    work: Path,
    sources: Path,
    pdf: bool,
    jobs: int,
    shown: Progress,
    rows: dict[str, int],
    children: Children,
) -> dict[str, float]:
    """Stage, execute and render in the working folder; return the seconds of each step."""
    from ..slides import PLAN, write_slides
    from .execute import run_chapters
    from .render import render
    from .staging import stage

    started = time.time()
    book = stage(params, sources, work)
    (work / "results").mkdir()
    first = [name for name in book.notebooks if name.name != LAST]
    last = [name for name in book.notebooks if name.name == LAST]
    seconds = run_chapters(book, first, params, work, jobs, shown, children)
    facts = {"chapters": {name.name: seconds[name.name] for name in first}, "started": started, **rows}
    (work / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    seconds |= run_chapters(book, last, params, work, 1, shown, children)
    seconds |= render(book.folder, work, pdf, jobs, shown, children, strict=params.data == "demo")
    write_slides(work / "html", book.folder / "chapters" / PLAN, params.title)
    return seconds


def _collect(work: Path, pdf: bool) -> list[str]:
    """What goes into the target, by name."""
    baseline = work / "results" / "baseline.json"
    if baseline.exists():
        baseline.rename(work / "baseline.json")
    if any((work / "results").glob("*.csv")):
        explain_folder(work / "results")
    return ["html", "results", *(name for name in ("baseline.json", "valib.pdf")[: 1 + pdf] if (work / name).exists())]
