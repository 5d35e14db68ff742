"""`valib check`: take account of records."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options as opt
from ..console import plain_errors, print_account
from ..errors import ValibError
from .study import load_study


def check(
    data: opt.Data = None, params: opt.ParamsFile = None, column: opt.Column = None,
    baseline_cohorts: opt.Baseline = None, focal_cohorts: opt.Focal = None, formula: opt.Formula = None,
    min_students: opt.MinStudents = None,
    json: Annotated[bool, typer.Option("--json", help="Write the account as JSON.")] = False, debug: opt.Debug = False,
) -> None:
    """Validate student records, summarise them, and warn of what would mislead.

    Rows that cannot be used are counted by reason and cohort; what a declared break of a test's scale means is said.
    Ends with exit code 2 if the study cannot be fitted.

    \b
    Examples:
      valib check
      valib check my.csv --column school=SchoolCode --column cohort=Year
      valib check my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2021 --json
    """
    with plain_errors(debug, quiet=True):
        from ..bundle import bundle_root
        from ..check import check_records
        from ..output import as_json
        from ..params import locate

        study = load_study(params, data, column, baseline_cohorts, focal_cohorts, formula=formula,
                           min_students=min_students)
        account = check_records(study.read_records(), study.baseline_cohorts, study.focal_cohorts,
                                formula=study.formula, min_students=study.min_students,
                                scale_breaks=study.scale_breaks)
        if json:
            typer.echo(as_json(account.to_dict()), nl=False)
        else:
            file = locate(params)
            print_account(account, "the demo study" if file.parent == bundle_root() else str(file))
        if account.problems:
            raise ValibError(f"{account.source}: {' '.join(account.problems)}")
