"""`valib init`: look at records and propose a params file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ParamsError
from . import options as opt
from .console import plain_errors

if TYPE_CHECKING:
    from ..study.proposal import Proposal


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
    top of the file; what it cannot tell is left in it as a question, a line whose value is "?", which the other
    commands refuse until it is answered. Of several subjects, grades or stages each is a study: a folder with a file
    for each. No student, school or score is shown. A
    database's password is not written: PostgreSQL takes it from PGPASSWORD or ~/.pgpass.

    \b
    Examples:
      valib init my.csv
      valib init my.xlsx --table Reading --out study.yml
      valib init postgresql+psycopg://user@host/name --table "SELECT * FROM results" --print
    """
    with plain_errors(debug):
        from ..pages.progress import reading
        from ..records import datasets
        from ..records.reading import resolve_names
        from ..records.sources import data_name, open_source
        from ..study.proposal import params_text, propose_all

        printed = show or out == "-"
        file = Path("params.yml" if printed else out)
        if data in datasets.names():
            raise ParamsError(f"{data} comes with valib and needs no params file: valib check {data}.")
        if not printed and os.path.lexists(file):
            raise ParamsError(f"{file}: is there already; remove it, or name another with --out.")
        with reading(data_name(data)):
            source = open_source(data, table)
            resolve_names(source.name, source.columns, {})  # refuses two columns of one name
            proposals = propose_all(source.read(), source.name)
        folder = file.with_suffix("") if len(proposals) > 1 else file.parent
        files = {folder / f"{name}.yml" if name else file: proposal for name, proposal in proposals.items()}
        if len(proposals) > 1 and not printed and os.path.lexists(folder):
            raise ParamsError(f"{folder}: is there already; remove it, or name another with --out.")
        for path, proposal in files.items():
            text = params_text(proposal, _as_written(data, file.resolve().parent, folder.resolve()), table)
            _write(path, text) if not printed else typer.echo(text, nl=False)
        _tell(files, None if printed else folder if len(proposals) > 1 else file)


def _tell(files: dict[Path, Proposal], out: Path | None) -> None:
    """Say what valib is unsure of, each once, and where the studies are; out: None if they were printed."""
    for sentence in dict.fromkeys(s for proposal in files.values() for s in proposal.unsure):
        typer.echo(f"Unsure: {sentence}.", err=True)
    for name, words in {k: v for proposal in files.values() for k, v in proposal.questions.items()}.items():
        typer.echo(f"To answer: {name}: {words}.", err=True)
    if out is not None and len(files) > 1:
        typer.echo(f"{out}: {len(files)} studies written, one a file: {', '.join(path.name for path in files)}.")
        typer.echo(f"Look at them, then each: valib check --params {next(iter(files))}")
    elif out is not None:
        typer.echo(f"{out}: written. Look at it, then: valib check --params {out}")


def _write(file: Path, text: str) -> None:
    """Write a file that is not there yet, whole or not at all."""
    from ..files import write_file
    from ..study.folder import claim

    file.parent.mkdir(parents=True, exist_ok=True)
    with claim(file.parent, file.name):
        if os.path.lexists(file):
            raise ParamsError(f"{file}: is there already; remove it, or name another with --out.")
        write_file(file, text)


def _as_written(data: str, beside: Path, folder: Path) -> str:
    """The records' place for a params file in ``folder``: relative where they lie below the folder ``beside`` that holds
    it or is it; a URL without its password."""
    from ..records.sources import anchor_url, is_url, relative_url, without_password

    if is_url(data):
        return relative_url(without_password(anchor_url(data, Path.cwd())), folder)
    path = Path(data).expanduser().resolve()
    return Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(beside) else str(path)
