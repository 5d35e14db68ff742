"""The command `valib`: the commands of `valib.command` put together."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from . import baseline, book, check, fit, init, key, report, simulate, summary
from .console import end_tidily

app = typer.Typer(
    name="valib", rich_markup_mode=None, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"valib {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """School value added against a benchmark: from student records to school effects and to the book.

    Every setting defaults to params.yml in the working directory, or else to the demo study.

    \b
    Examples:
      valib check                            look at the demo records
      valib init my.csv                      propose a params.yml for your own
      valib fit my.csv --model relative --cohorts 2024 --out results
      valib book my.csv --baseline-cohorts 2016,2017 --focal-cohorts 2019,2021 --out somewhere
      valib report --school 0531 --out report
    """


app.command(short_help="Propose a params file for student records.")(init.init)
app.command(short_help="Validate student records, summarise them, warn.")(check.check)
app.command(short_help="Estimate the effect of every school.")(fit.fit)
app.command(short_help="Fit the benchmark and save it.")(baseline.baseline)
app.command(short_help="Check by simulation what each method does.")(simulate.simulate)
app.command(short_help="Render the book about these records.")(book.book)
app.command(short_help="Make a page about each school.")(report.report)
app.command(short_help="Sum a study up on one page.")(summary.summary)
app.command(short_help="Make a key for the pseudonyms of schools.")(key.key)


def main() -> None:
    """Run the command line."""
    end_tidily()
    app(prog_name="valib")
