"""Opening a source: which kind it is, by what it is and by its first bytes."""

from __future__ import annotations

import csv
import os
import zlib
from pathlib import Path

import pandas as pd

from ...errors import RecordsError
from .address import is_url
from .feather import ARROW, open_feather
from .foreign import READABLE, foreign_kind
from .parquet import PYARROW, open_parquet
from .plain import first_line
from .source import Source
from .text import open_text

_WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are zip archives, .xls has a format of its own


def open_source(source: object, table: str | None = None) -> Source:
    """Open student records wherever they are; files are told apart by their content, not by their name.

    Parameters
    ----------
    source : a DataFrame; a text, Parquet, Arrow, workbook, R, Stata, SPSS or SAS file; a folder of Parquet files;
        or a database's URL.
    table : the sheet of a workbook, the data frame of an R file, the table of a database or a SELECT; None: the first
        sheet, the only data frame, the only table.

    Raises
    ------
    RecordsError
        If there is no such file or table, or it is empty or not a table of one of these kinds.
    """
    if isinstance(source, pd.DataFrame):
        _has_one_table("the DataFrame", table)
        return Source("the DataFrame", tuple(source.columns), frame=source)
    if not isinstance(source, (str, os.PathLike)):
        raise RecordsError(f"Records are read from a file or a pandas DataFrame, not from a {type(source).__name__}.")
    if is_url(source):
        from .database import open_database

        return open_database(source, table, open_source)
    path = Path(source)
    try:
        return _open_file(path, table)
    except FileNotFoundError as error:
        raise RecordsError(f"{source}: there is no such file.") from error
    except RecordsError:
        raise
    except (EOFError, zlib.error, csv.Error, *PYARROW) as error:
        raise RecordsError(f"{path.name}: cannot be read ({first_line(error)}).") from error


def _open_file(path: Path, table: str | None) -> Source:
    from .labelled import labelled_kind, open_labelled
    from .rdata import is_rdata, open_rdata

    if path.is_dir():
        _has_one_table(path.name, table)
        return open_parquet(path)
    with open(path, "rb") as stream:
        start = stream.read(8)
    if not start:
        raise RecordsError(f"{path.name}: the file is empty.")
    if kind := foreign_kind(path):
        if is_rdata(path):  # some of it is compressed as other files are
            return open_rdata(path, table)
        raise RecordsError(f"{path.name}: is {kind}; {READABLE}.")
    if start.startswith(_WORKBOOK):
        from .workbook import open_workbook

        return open_workbook(path, table)
    if is_rdata(path):
        return open_rdata(path, table)
    _has_one_table(path.name, table)
    if kind := labelled_kind(path):
        return open_labelled(path, kind)
    if start == ARROW:
        return open_feather(path)
    return open_parquet(path) if start.startswith(b"PAR1") else open_text(path)


def _has_one_table(name: str, table: str | None) -> None:
    if table is not None:
        raise RecordsError(f"{name}: is one table, but table '{table}' of it is asked for; leave table out.")
