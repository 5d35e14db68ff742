"""`valib summary`: one page about a study for who decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors
from .study import check_unchanged, load_study, open_records, read_from, stamp

if TYPE_CHECKING:
    from ..study.earlier import Results
    from ..study.params import Params


def summary(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the summary.")],
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS",
            show_default=False,
            help="A folder of results of `valib fit`, relative or benchmark. Default: the study is fitted.",
        ),
    ] = None,
    params: opt.ParamsFile = None,
    debug: opt.Debug = False,
) -> None:
    """Write one page about a study, as HTML and as PDF of one side: the system, the schools, how sure, and what not.

    DIR gets summary.html and summary.pdf. From a folder of results the page says what these say; a school that is held
    back there is unknown here. From a study it is what `valib fit` would publish: against the baseline where the study
    has one, else every school against the others of its year.

    \b
    Examples:
      valib summary results/benchmark --out summary
      valib summary --params study.yml --out summary
    """
    with plain_errors(debug):
        from ..pages import summary as page
        from ..study import writing as output
        from ..study.earlier import read_results

        if results is not None and params is not None:
            raise ParamsError("A summary is of a folder of results or of a study (--params): leave one of the two out.")
        output.check_folder(out)
        names = list(output.OUTPUTS["summary"])
        if results is None:
            study = load_study({"params": params})
            output.check_apart(out, [out / name for name in names], read_from(study, params))
        with output.claim(out):
            output.refuse_foreign(out, "summary", names)
            found = read_results(results) if results is not None else _fitted(study)
            content = page.content(found)
            made: dict[str, str | bytes] = {"summary.html": page.as_html(content), "summary.pdf": page.as_pdf(content)}
            output.write_folder(out, "summary", made)
        for name in names:
            typer.echo(str(out / name))


def _fitted(study: Params) -> Results:
    """What `valib fit` would publish of the study."""
    from ..study import tables
    from ..study.earlier import Results
    from ..study.publishing import publish
    from ..study.writing import plain, published
    from .fit import one_cohort_results
    from .options import Model

    before = stamp(study)
    records = open_records(study, None, by_cell=bool(study.baseline_cohorts))
    model = Model.benchmark if study.baseline_cohorts else Model.relative
    cohorts, fits, found, told, _ = one_cohort_results(study, records, None, model, None)
    check_unchanged(study, records, before)
    shown = publish(found, study, model=model.value, cohorts=cohorts, **told)
    return Results(shown, published(plain(tables.summaries(fits, study.min_students))))
