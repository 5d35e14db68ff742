"""Which engine reads a source: memory, DuckDB or Spark."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import psutil

from ...errors import RecordsError
from ...records.sources import data_name, is_url
from ...records.sources.labelled import labelled_kind
from ...records.sources.rdata import is_rdata
from ...records.sources.text import open_text

ENGINES = ("auto", "memory", "duckdb", "spark")
SHARE = 16  # a file may be up to this share of the free memory to be read into it,
COMPRESSED = 5  # where a compressed file (gzip, Parquet) counts this often,
MOST_ROWS = 5_000_000  # and a Parquet file may have up to so many rows


def choose_engine(source: Any, engine: str | None = "auto") -> str:
    """The engine for a source: the one asked for, or by its size.

    "auto" is "duckdb" for a folder, for a file larger than a sixteenth of the free memory (a gzipped or Parquet file
    counted five times) and for a Parquet file of more than 5 million rows; "spark" for a Spark DataFrame; else, and for
    what DuckDB does not read (workbooks, files of R, Stata, SPSS and SAS), "memory".
    Raises RecordsError for an unknown engine, or one that does not read a database.
    """
    engine = engine or "auto"
    if engine not in ENGINES:
        raise RecordsError(f"The engine must be one of {', '.join(ENGINES)}, not {engine!r}.")
    if is_url(source):
        if engine in ("duckdb", "spark"):
            raise RecordsError(f"{data_name(source)}: a database is read into memory: leave --engine out.")
        return "memory"
    if engine != "auto":
        return engine
    if is_spark(source):
        return "spark"
    try:
        path = Path(source)
        if path.is_dir():
            return "duckdb"
        with open(path, "rb") as stream:
            start = stream.read(4)
        size = path.stat().st_size
    except (OSError, TypeError, ValueError):
        return "memory"
    parquet = start == b"PAR1"
    if not parquet and (start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0") or start[:1] == b"\0"):
        return "memory"
    weight = size * (COMPRESSED if parquet or start[:2] == b"\x1f\x8b" else 1)
    large = weight > psutil.virtual_memory().available / SHARE or (parquet and _rows(path) > MOST_ROWS)
    return "duckdb" if large and (parquet or _is_plain_text(path)) else "memory"


def is_spark(source: Any) -> bool:
    return type(source).__module__.startswith("pyspark.")


def _is_plain_text(path: Path) -> bool:
    """Whether a file is text that DuckDB reads, and not, say, a file of R or SPSS."""
    if is_rdata(path) or labelled_kind(path):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said again when the file is read
        try:
            return bool(open_text(path).columns)
        except (OSError, ValueError):
            return False


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ValueError):
        return 0
