"""What computes can be imported where the modules of POSIX alone are missing, as on Windows."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rooms import PACKAGE, ROOMS, floor, modules

MISSING = ("fcntl", "resource", "pwd", "grp", "termios")
COMPUTING = [n for n in modules() if floor(n) <= 1 + ROOMS.index("simulation") and not n.endswith("streams.spark")]
WITHOUT = f"""
import importlib, os, signal, sys
import joblib, psutil  # which choose by sys.platform, and on Linux need what is missing elsewhere
for module in {MISSING}:
    sys.modules[module] = None
for holder, name in ((os, "O_DIRECTORY"), (os, "O_NOFOLLOW"), (os, "getuid"), (signal, "SIGHUP")):
    if hasattr(holder, name):
        delattr(holder, name)
"""


def without_posix(code: str) -> str:
    """What Python prints without those modules; its own failure is the test's."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_that_computes_can_be_imported():
    assert len(COMPUTING) > 40 and "valib.effects.relative" in COMPUTING and "valib.sums.streams.duck" in COMPUTING
    code = f"for name in {COMPUTING}:\n    importlib.import_module(name)\nprint('all')"
    assert without_posix(code) == "all\n"


def test_a_module_that_is_missing_would_be_seen():
    with pytest.raises(AssertionError, match="fcntl"):
        without_posix("import fcntl")
