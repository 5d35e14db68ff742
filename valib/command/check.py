"""`valib check`: take account of records."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ValibError, ValibWarning
from . import options as opt
from .console import plain_errors
from .study import load_study, read_from, read_whole

if TYPE_CHECKING:
    from ..study.account import Account, Finding
    from ..study.params import Params


def check(
    data: opt.Data = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None,
    focal_cohorts: opt.Focal = None,
    formula: opt.Formula = None,
    min_students: opt.MinStudents = None,
    min_linked_share: opt.MinLinkedShare = None,
    json: Annotated[bool, typer.Option("--json", help="Write the account as JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the account to this file and not to the screen.")
    ] = None,
    debug: opt.Debug = False,
) -> None:
    """Take account of student records: what is there, what is left out and why, what would mislead.

    Rows by cohort; linkage to the prior score; student codes and schools that come, go or stand twice; ranges of the
    scores; the prior score against the baseline; covariates; what a declared break of a test's scale means. Warnings
    say what to do. Ends with exit code 2 if the study cannot be fitted.

    \b
    Examples:
      valib check
      valib check my.csv --column school=SchoolCode --column cohort=Year
      valib check my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2021 --json --out account.json
    """
    given = dict(locals())
    with plain_errors(debug, quiet=True):
        from ..study.account import check_records
        from ..study.writing import check_apart, check_file

        study = load_study(given)
        if out is not None:
            check_file(out)
            check_apart(out, [out], read_from(study, params))
        records, told = _read(study, shown=not json)
        study = study.settled(records["cohort"].unique())
        account = check_records(
            records,
            study.baseline_cohorts,
            study.focal_cohorts,
            formula=study.formula,
            min_students=study.min_students,
            scale_breaks=study.scale_breaks,
            further_formulas=_further(study, params),
        )
        account = replace(account, findings=(*told, *account.findings))
        _tell(account, params, json, out)
        if account.problems:
            raise ValibError(f"{account.source}: {' '.join(account.problems)}")


def _read(study: Params, shown: bool) -> tuple[Any, list[Finding]]:
    """Return the records, and what was said while they were read; shown: whether to say so where it takes long."""
    from ..study.account import Finding

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ValibWarning)
        records = read_whole(study, shown)
    return records, [
        Finding("source", (), str(item.message)) for item in caught if issubclass(item.category, ValibWarning)
    ]


def _further(study: Params, params: str | None) -> list[str]:
    """Return the further formulas that the study gives; those of the demo study are for the demo study's records."""
    from ..records import datasets
    from ..records.datasets import bundle_root
    from ..study.params import locate

    given = "further_formulas" in study.model_fields_set and locate(params).resolve().parent != bundle_root().resolve()
    return study.further_formulas if given or study.data in datasets.names() else []


def _tell(account: Account, params: str | None, json: bool, out: Path | None) -> None:
    """Write the account to a file or to the screen, as JSON or as text."""
    from ..files import write_file
    from ..records.datasets import bundle_root
    from ..study.account.text import account_text
    from ..study.params import locate
    from ..study.writing import as_json, claim

    file = locate(params)
    study = "the demo study" if file.parent == bundle_root() else str(file)
    content = account.to_dict()
    if out is None:
        text = as_json(content, exact=True) if json else account_text(content, study, _width(), problems=False)
        typer.echo(_encodable(text), nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with claim(out.parent, out.name):
        write_file(out, as_json(content, exact=True) if json else account_text(content, study))
    if not json:
        typer.echo(f"{out}: the account of {content['source']}.")


def _width() -> int:
    """Return the columns that tables may take: those of the terminal, else what a page holds."""
    from rich.console import Console

    from ..study.account.text import WIDTH

    console = Console()
    return console.width if console.is_terminal else WIDTH


def _encodable(text: str) -> str:
    """Return text with what the output cannot show as '?'."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
