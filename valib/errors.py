"""Errors and warnings that a user of valib can meet; each message is one clear sentence."""

from __future__ import annotations


class ValibError(ValueError):
    """Unusable input or parameters. The command line turns it into one sentence and exit code 2."""


class RecordsError(ValibError):
    """The student records cannot be used: names the file, the column and the rows."""


class ParamsError(ValibError):
    """The study parameters cannot be used: names the parameter and what was expected."""


class ModelError(ValibError):
    """The model cannot be fitted to these records (constant or collinear columns, one school, no variation)."""


class BenchmarkError(ValibError):
    """The benchmark cannot be fitted, saved, loaded or applied."""


class ValibWarning(UserWarning):
    """Something the analyst should know; the computation goes on."""
