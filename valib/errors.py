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


class RowsLeftOut(ValibWarning):
    """Rows that lack a covariate are left out of a model: so many by column, ``dropped`` of ``total`` in all.

    As text it tells the analyst the counts; what a page may tell is made by :func:`valib.records.disclosure.public`.
    """

    def __init__(self, counts: dict[str, int], dropped: int, total: int):
        super().__init__(counts, dropped, total)
        self.counts, self.dropped, self.total = counts, dropped, total

    def told(self, dropped: str, counts: list[str]) -> str:
        """The sentence with these counts."""
        said = ", ".join(f"{count} without '{column}'" for column, count in zip(self.counts, counts, strict=True))
        return f"{dropped} of {self.total} rows are left out of the model: {said}."

    def __str__(self) -> str:
        return self.told(str(self.dropped), [str(count) for count in self.counts.values()])


class BookError(RuntimeError):
    """The book could not be made: a chapter failed, or a page or the PDF could not be rendered."""
