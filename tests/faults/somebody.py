"""Commands run by a user who is not root, whom permissions bind: `python somebody.py ORDER`, a process of its own.

ORDER is JSON: warm (a command run first, as the user who starts this, so that all is loaded that the other user may not
be allowed to read) and commands. Prints for each command its exit code and what it said on stderr.
"""

from __future__ import annotations

import json
import os
import sys

from typer.testing import CliRunner

from valib.command import cli

NOBODY = 65534


def main(order: dict) -> list[tuple[int, str]]:
    def run(command: list[str]) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, command, prog_name="valib")
        return done.exit_code, done.stderr

    run(order["warm"])
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return [run(command) for command in order["commands"]]


if __name__ == "__main__":
    answers = main(json.loads(sys.argv[1]))
    print("\n" + json.dumps(answers))
