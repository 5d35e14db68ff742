"""Errors and warnings that a user of valib can meet; each message is one clear sentence."""

from __future__ import annotations


class ValibError(ValueError):
    """Unusable input or parameters. The command line turns it into one sentence and exit code 2.

    Notes
    -----
    The kind that all the others are of; a ``ValueError``.

    Examples
    --------
    >>> import valib as va
    >>> try:
    ...     va.load("no such table")
    ... except va.ValibError as error:
    ...     print(type(error).__name__)
    RecordsError
    """


class RecordsError(ValibError):
    """The student records cannot be used: names the file, the column and the rows.

    Notes
    -----
    A :class:`valib.ValibError`.

    Examples
    --------
    >>> import pandas as pd
    >>> import valib as va
    >>> try:
    ...     va.read_records(pd.DataFrame({"school": ["a"], "score": [1.0]}))
    ... except va.RecordsError as error:
    ...     print("no column for" in str(error))
    True
    """


class ParamsError(ValibError):
    """The study parameters cannot be used: names the parameter and what was expected.

    Notes
    -----
    A :class:`valib.ValibError`, of the commands that read ``params.yml``.

    Examples
    --------
    >>> import valib as va
    >>> issubclass(va.ParamsError, va.ValibError)
    True
    """


class ModelError(ValibError):
    """The model cannot be fitted to these records (constant or collinear columns, one school, no variation).

    Notes
    -----
    A :class:`valib.ValibError`.

    Examples
    --------
    >>> import valib as va
    >>> try:
    ...     va.fit_relative(va.load_records("exam"), formula="score ~ no_such_column")
    ... except va.ModelError as error:
    ...     print("no_such_column" in str(error))
    True
    """


class BenchmarkError(ValibError):
    """The benchmark cannot be fitted, saved, loaded or applied.

    Notes
    -----
    A :class:`valib.ValibError`.

    Examples
    --------
    >>> import valib as va
    >>> try:
    ...     va.Benchmark.load("no-such-file.json")
    ... except va.BenchmarkError as error:
    ...     print(error)
    The benchmark 'no-such-file.json' cannot be read: No such file or directory.
    """


class ValibWarning(UserWarning):
    """Something the analyst should know; the computation goes on.

    Notes
    -----
    A fit keeps what it warned of in ``findings``, where it is of a lasting kind.

    Examples
    --------
    >>> import warnings
    >>> import valib as va
    >>> table = va.load_records("exam").drop(columns="cohort")
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     records = va.read_records(table)
    >>> issubclass(told[0].category, va.ValibWarning)
    True
    """


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


class SchoolsNamed(ValibWarning):
    """A warning that names schools to the analyst; ``public`` is what a page may say of it."""

    def __init__(self, text: str, public: str):
        super().__init__(text, public)
        self.text, self.public = text, public

    def __str__(self) -> str:
        return self.text


class BookError(RuntimeError):
    """The book could not be made: a chapter failed, or a page or the PDF could not be rendered."""
