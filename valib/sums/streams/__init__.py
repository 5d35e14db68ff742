"""Records larger than memory: their sums by school and cohort, computed where the rows are.

A model needs sums only (:mod:`valib.sums.moments`), so an engine that adds up columns by group is enough: DuckDB,
embedded,
for Parquet files, folders of Parquet parts and text files; Spark for a cluster's DataFrames. The numbers equal those
from records in memory to some 1e-12 relative; the order in which threads add changes the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...records.reading import read_records
from ..design import FormulaState
from ..formula import factors, parse
from ..students import Summed, cohorts_of, sum_students
from .chunks import known_terms, learning_terms
from .columns import coded_apart
from .engines import ENGINES, choose_engine, is_spark
from .layout import Engine
from .stream import StreamedRecords, code_columns

__all__ = ["ENGINES", "StreamedRecords", "can_stream", "choose_engine", "moments_from_source", "stream_records"]


def can_stream(formula: str) -> bool:
    """Whether a formula has no term that only memory can make: one that learns its numbers from all students first, as
    ``center`` and splines do, one of a column that may be missing, a covariate that is a code, or school means beside
    contrasts."""
    parsed = parse(formula)
    means = any("school_mean" in text for text in factors(parsed.rhs))
    return not (
        learning_terms(parsed) or known_terms(parsed) or code_columns(parsed) or (means and coded_apart(parsed))
    )


def stream_records(
    source: Any,
    columns: Mapping[str, Any] | None = None,
    engine: str = "duckdb",
    formula: str | FormulaState = "score ~ prior_score",
    by_cell: bool = False,
    progress: Callable[[int, int], None] | None = None,
    where: str | None = None,
    prior: Mapping[str, Any] | None = None,
    reshape: Mapping[str, Any] | None = None,
    year_zero: float | None = None,
) -> StreamedRecords:
    """Open records to be streamed: what the models take in place of a DataFrame of records.

    Parameters
    ----------
    source : path or Spark DataFrame
        A Parquet file, a folder of Parquet parts or a text file; for Spark a Spark DataFrame too.
    columns : mapping of str to str, optional
        As for :func:`valib.read_records`.
    engine : {"duckdb", "spark"}
        What adds up the students.
    formula : str or FormulaState
        What will be asked, so that one pass does.
    by_cell : bool
        Whether cross-products by school and cohort will be asked, as a benchmark's baseline needs them.
    progress : callable, optional
        Told (done, in all) while DuckDB reads.
    where, prior, reshape, year_zero : optional
        As for :func:`valib.read_records`: which rows, prior scores from earlier rows or another file, a row for each
        student and cohort out of wide records, and the year that is 0. The engine does it where the rows lie; a join is
        made once, and the rows that are kept are put aside in a temporary file.

    Returns
    -------
    StreamedRecords
        To be given to the fits; its ``close`` lets go of the source.

    Raises
    ------
    RecordsError
        As :func:`valib.read_records`, and for a source that an engine cannot read.

    Notes
    -----
    A model needs sums of the students only, so an engine that adds up columns by group is enough. The numbers equal those
    from records in memory to some 1e-12 relative; the order in which threads add changes the last digits.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import valib as va
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "exam.parquet"
    ...     va.load_records("exam").to_parquet(path)
    ...     stream = va.stream_records(path)
    ...     fit = va.fit_relative(stream, 0)
    ...     stream.close()
    >>> fit.n_students
    4059
    """
    if engine == "spark" or is_spark(source):
        from .spark import SparkEngine

        opened: Engine = SparkEngine(source)
    else:
        from .duck import DuckEngine

        opened = DuckEngine(source, progress)
    try:
        return StreamedRecords(opened, columns, formula, by_cell, where, prior, reshape, year_zero)
    except BaseException:
        opened.close()
        raise


def moments_from_source(
    source: Any,
    formula: str | FormulaState = "score ~ prior_score",
    cohorts: Iterable[int] | None = None,
    columns: Mapping[str, Any] | None = None,
    engine: str = "auto",
    by_cell: bool = False,
) -> Summed:
    """The sums of some cohorts' students from any source, in memory or streamed.

    Parameters
    ----------
    source : path, URL or DataFrame
        As for :func:`valib.read_records` and :func:`valib.stream_records`.
    formula : str or FormulaState
        The model, or the state of another design.
    cohorts : iterable of int, optional
        By default all.
    columns : mapping of str to str, optional
        As for :func:`valib.read_records`.
    engine : {"auto", "memory", "duckdb", "spark"}
        "auto" streams what is large beside the free memory.
    by_cell : bool
        With cross-products by school and cohort.

    Returns
    -------
    Summed
        The moments with the formula's state and the rows left out: what ``relative_from_moments`` and its like take.

    Raises
    ------
    RecordsError
        As :func:`valib.read_records`.
    ModelError
        For a formula that cannot be read or has columns that are not there.

    Notes
    -----
    With X the columns of the formula and y the response, by school and cohort: n, the sums of [X, y], and the
    cross-products of [X, y]. A random-intercept model sees the students through them only.

    Examples
    --------
    >>> import valib as va
    >>> sums = va.moments_from_source(va.load_records("exam"))
    >>> sums.moments.names
    ('Intercept', 'prior_score', 'score')
    >>> int(sums.moments.n.sum()), len(sums.moments.schools)
    (4059, 65)
    """
    chosen = choose_engine(source, engine)
    if chosen == "memory":
        records = read_records(source, columns)
        return sum_students(records, cohorts_of(records) if cohorts is None else cohorts, formula, by_cell)
    stream = stream_records(source, columns, chosen, formula, by_cell)
    try:
        return sum_students(stream, cohorts_of(stream) if cohorts is None else cohorts, formula, by_cell)
    finally:
        stream.close()
