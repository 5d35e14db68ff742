"""`valib key`: a key for the pseudonyms of schools, and what they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors
from .study import load_study, read_from, read_whole

if TYPE_CHECKING:
    from ..study.params import Params


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The key file; outside every output folder.")],
    lookup: Annotated[
        str | None,
        typer.Option("--lookup", metavar="DATA", help="Records whose schools are to be listed with their pseudonyms."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="CSV", help="Where the list goes: two columns, school and pseudonym."),
    ] = None,
    table: opt.Table = None,
    where: opt.Where = None,
    prior: opt.PriorScores = None,
    params: opt.ParamsFile = None,
    column: opt.Column = None,
    debug: opt.Debug = False,
) -> None:
    """Make a key for the pseudonyms of schools, or list with a key that is there what they stand for.

    Keep the key and the list where only those can read them who may know the schools, and never beside the pages. The
    same key gives a school the same pseudonym every year; a key that is lost cannot be made again.

    \b
    Examples:
      valib key ~/valib.key
      valib book --params study.yml --pseudonyms ~/valib.key --out our_book
      valib key ~/valib.key --lookup my.csv --column school=SchoolCode --out lookup.csv
    """
    given = dict(locals())
    with plain_errors(debug):
        if (lookup is None) != (out is None):
            raise ParamsError("--lookup DATA and --out CSV go together: the list of schools and where it goes.")
        if lookup is None:
            from ..records.pseudonyms import make_key

            make_key(file)
            typer.echo(f"{file}: a new key. Keep it; it cannot be made again.")
        else:
            from ..study.writing import check_apart, check_file

            study = load_study(given | {"data": lookup})
            study = study.model_copy(update={"pseudonym_key": None})
            check_file(out)
            check_apart(out, [out], read_from(study, params, file))
            typer.echo(f"{out}: {_list_schools(study, file, out):,} schools and their pseudonyms.")


def _list_schools(study: Params, file: Path, out: Path) -> int:
    """Write the names and pseudonyms of all schools of the records; return how many there are."""
    import pandas as pd

    from ..files import write_file
    from ..records.pseudonyms import codes, read_key
    from ..study.writing import as_csv

    secret = read_key(file)
    named = codes(read_whole(study)["school"].unique(), secret)
    before = os.umask(0o077)  # for its owner alone, from the first byte
    try:
        write_file(out, as_csv(pd.DataFrame({"school": list(named), "pseudonym": list(named.values())})))
    finally:
        os.umask(before)
    return len(named)
