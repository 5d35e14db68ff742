"""`valib init`: look at records and propose a params file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors


def init(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Student records: a file, a folder of Parquet files or a database's URL."),
    ],
    table: opt.Table = None,
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="FILE", help="The params file to write, which must not be there yet; - prints it."
        ),
    ] = "params.yml",
    show: Annotated[bool, typer.Option("--print", help="Print the params file and write nothing.")] = False,
    debug: opt.Debug = False,
) -> None:
    """Look at student records and propose a params.yml for them, with a reason for every value.

    Columns are told by their names and by what they hold. What valib is unsure of is said on the terminal and at the
    top of the file; what it cannot find is left as a line to fill in. No student, school or score is shown. A
    database's password is not written: PostgreSQL takes it from PGPASSWORD or ~/.pgpass.

    \b
    Examples:
      valib init my.csv
      valib init my.xlsx --table Reading --out study.yml
      valib init postgresql+psycopg://user@host/name --table "SELECT * FROM results" --print
    """
    with plain_errors(debug):
        from ..records import datasets
        from ..records.reading import resolve_names
        from ..records.sources import open_source
        from ..study.proposal import params_text, propose

        printed = show or out == "-"
        file = Path("params.yml" if printed else out)
        if data in datasets.names():
            raise ParamsError(f"{data} comes with valib and needs no params file: valib check {data}.")
        if not printed and os.path.lexists(file):
            raise ParamsError(f"{file}: is there already; remove it, or name another with --out.")
        source = open_source(data, table)
        resolve_names(source.name, source.columns, {})  # refuses two columns of one name
        proposal = propose(source.read(), source.name)
        text = params_text(proposal, _as_written(data, file.resolve().parent), table)
        _write(file, text) if not printed else typer.echo(text, nl=False)
        for sentence in proposal.unsure:
            typer.echo(f"Unsure: {sentence}.", err=True)
        if not printed:
            typer.echo(f"{file}: written. Look at it, then: valib check --params {file}")


def _write(file: Path, text: str) -> None:
    """Write a file that is not there yet, whole or not at all."""
    from ..files import write_file
    from ..study.folder import claim

    file.parent.mkdir(parents=True, exist_ok=True)
    with claim(file.parent, file.name):
        if os.path.lexists(file):
            raise ParamsError(f"{file}: is there already; remove it, or name another with --out.")
        write_file(file, text)


def _as_written(data: str, folder: Path) -> str:
    """The records' place for a params file in ``folder``: relative where they lie below it; a URL without its password."""
    from ..records.sources import anchor_url, is_url, relative_url, without_password

    if is_url(data):
        return relative_url(without_password(anchor_url(data, Path.cwd())), folder)
    path = Path(data).expanduser().resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
