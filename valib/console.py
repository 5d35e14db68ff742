"""What the command line says: errors and warnings in one sentence, and the account of records as tables."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from .errors import RecordsError, ValibError, ValibWarning
from .files import UNUSABLE, reason

if TYPE_CHECKING:
    import pandas as pd

    from .check import Account

INTERRUPTED = 130  # exit code, as of other programs that a signal has ended
WIDTH = 100  # of the tables where the output is no terminal


@contextlib.contextmanager
def plain_errors(debug: bool, quiet: bool = False) -> Iterator[None]:
    """Turn errors into one sentence on stderr and an exit code: 2 for unusable input, 1 for a failure inside.

    Warnings meant for the analyst become one line on stderr; ``quiet`` holds them back. Others show with debug.
    """
    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if debug or (issubclass(category, ValibWarning) and not quiet):
            typer.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo("Interrupted: what an earlier run left is as it was.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if debug:
                raise
            if isinstance(error, OSError):
                typer.echo(f"Error: {reason(error)}: what an earlier run left is as it was.", err=True)
                raise typer.Exit(2 if error.errno in UNUSABLE else 1) from None
            if isinstance(error, ValibError):
                typer.echo(f"Error: {error}", err=True)
                raise typer.Exit(2) from None
            typer.echo(f"Error: valib failed: {_one_line(error)} (--debug shows where).", err=True)
            raise typer.Exit(1) from None


@contextlib.contextmanager
def progress_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr where that is a terminal; what is yielded is told (done, in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def about(records: Any, cohorts: list[int]) -> Iterator[None]:
    """Put the file, and the cohorts unless they are what is wrong, before the sentence of an error."""
    try:
        yield
    except ValibError as error:
        cohort = "" if isinstance(error, RecordsError) else f", cohort{'s' * (len(cohorts) > 1)} {listed(cohorts)}"
        raise type(error)(f"{records.attrs['source']}{cohort}: {error}") from error


def listed(cohorts: Any) -> str:
    """Return cohorts as text."""
    return ", ".join(str(cohort) for cohort in cohorts)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if lines and type(error).__module__.startswith("valib."):
        return lines[0]
    return f"{name}: {lines[0]}" if lines else name


def print_account(account: Account, study: str) -> None:
    """Print an account of records; ``study`` names the params file in force."""
    from rich.console import Console

    plain = {"markup": False, "highlight": False, "emoji": False}
    console = Console(**plain)
    console = console if console.is_terminal else Console(**plain, width=WIDTH)
    console.print(f"Records: {account.source}. Study: {study}.", soft_wrap=True)
    console.print(f"{account.rows_read:,} rows read, {account.rows_used:,} used: {account.students:,} student codes, "
                  f"{account.schools:,} schools, cohorts: {len(account.cohorts):,}.", soft_wrap=True)
    scores = ["score_mean", "score_sd", "prior_mean", "prior_sd"]
    tables = {"Cohorts": account.cohorts.drop(columns=scores), "Scores": account.cohorts[scores],
              "Rows left out": account.left_out.set_index("cohort"),
              "Prior score of the focal cohorts against the baseline": account.prior}
    for title, frame in tables.items():
        if len(frame):
            console.print(f"\n{title}", soft_wrap=True)
            console.print(_table(frame))
    console.print()
    for warning in account.warnings:
        console.print(f"Warning: {warning}", soft_wrap=True)
    if not account.problems:
        console.print("The benchmark of this study can be fitted on these records.", soft_wrap=True)


def _table(frame: pd.DataFrame) -> Any:
    """Return a rich table of a DataFrame, its index first."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(str(frame.index.name))
    for name in frame.columns:
        justify = "left" if name in ("role", "reason") else "right"
        table.add_column(name.removesuffix("_school").replace("_", " "), justify=justify)
    columns = [_texts(frame[name]) for name in frame.columns]
    for cells in zip(frame.index.astype("str").fillna("unknown"), *columns, strict=True):
        table.add_row(*cells)
    return table


def _texts(column: pd.Series) -> list[str]:
    """Return a column as text: whole numbers with thousands, other numbers with two decimals, yes and no."""
    values = column.tolist()
    if all(isinstance(value, bool) for value in values):
        return ["yes" if value else "no" for value in values]
    if column.dtype.kind == "i":
        return [f"{value:,}" for value in values]
    return [value if isinstance(value, str) else f"{value:,.2f}" for value in values]
