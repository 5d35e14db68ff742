"""Commands of valib, run in the process of the test."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from valib.command.cli import app


def run(*words: object, code: int | None = None) -> Result:
    """`valib WORDS`: its exit code, what it says on stdout and stderr; code: how it must end."""
    done = CliRunner().invoke(app, [str(word) for word in words], prog_name="valib")
    assert code is None or done.exit_code == code, done.output
    return done


def said(*words: object, code: int = 0) -> str:
    """What `valib WORDS` says."""
    return run(*words, code=code).output
