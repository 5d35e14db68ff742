"""What the command line says: errors and warnings in one sentence, and how far a long run has come."""

from __future__ import annotations

import contextlib
import signal
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from ..errors import ValibError, ValibWarning
from ..files import UNUSABLE, reason
from ..names import readable

INTERRUPTED = 130  # exit code, as of other programs that a signal has ended


_signals: list[int] = []


def end_tidily() -> None:
    """Take SIGTERM, and SIGHUP of a closed terminal, as Ctrl-C: what is half made is removed before the end."""

    def stop(number: int, _: Any) -> None:
        _signals.append(number)
        raise KeyboardInterrupt

    for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, stop)


@contextlib.contextmanager
def plain_errors(debug: bool, quiet: bool = False) -> Iterator[None]:
    """Turn errors into one sentence on stderr and an exit code: 2 for unusable input, 1 for a failure inside.

    Warnings meant for the analyst become one line on stderr; ``quiet`` holds them back. Others show with debug.
    """

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if debug or (issubclass(category, ValibWarning) and not quiet):
            told = readable(message) if issubclass(category, ValibWarning) else message
            typer.echo(f"Warning: {told}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                raise
            if _signals or isinstance(error, KeyboardInterrupt):  # some libraries turn the one into the other
                typer.echo("Interrupted: what an earlier run left is as it was.", err=True)
                raise typer.Exit(INTERRUPTED) from None
            if isinstance(error, OSError) and _in_print(error):
                typer.echo(f"Error: standard output: {reason(error)}; files that were written stand.", err=True)
                raise typer.Exit(1) from None
            if isinstance(error, OSError):
                typer.echo(f"Error: {reason(error)}: what an earlier run left is as it was.", err=True)
                raise typer.Exit(2 if error.errno in UNUSABLE else 1) from None
            if isinstance(error, MemoryError):
                typer.echo(
                    "Error: this machine has too little free memory: what an earlier run left is as it was.", err=True
                )
                raise typer.Exit(1) from None
            if isinstance(error, ValibError):
                typer.echo(f"Error: {readable(error)}", err=True)  # a name in it must not steer the terminal
                raise typer.Exit(2) from None
            typer.echo(f"Error: valib failed: {_one_line(error)} (--debug shows where).", err=True)
            raise typer.Exit(1) from None


def _in_print(error: BaseException) -> bool:
    """Whether it was standard output that could not be written."""
    return any(frame.f_code.co_name == "echo" for frame, _ in traceback.walk_tb(error.__traceback__))


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if lines and type(error).__module__.startswith("valib."):
        return lines[0]
    return f"{name}: {lines[0]}" if lines else name
