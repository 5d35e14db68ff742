"""Opening a source: which kind it is, by what it is and by its first bytes."""

from __future__ import annotations

import csv
import os
import zlib
from pathlib import Path

import pandas as pd

from ..errors import RecordsError
from .source import Source
from .text import open_text


def open_source(source: object) -> Source:
    """Open a DataFrame, or a text or Parquet file (told apart by their first bytes).

    Raises
    ------
    RecordsError
        If there is no such file, or it is a folder, empty, or not a table of one of these kinds.
    """
    if isinstance(source, pd.DataFrame):
        return Source("the DataFrame", tuple(source.columns), frame=source)
    if not isinstance(source, (str, os.PathLike)):
        raise RecordsError(f"Records are read from a file or a pandas DataFrame, not from a {type(source).__name__}.")
    path = Path(source)
    try:
        return _open_file(path)
    except FileNotFoundError as error:
        raise RecordsError(f"{source}: there is no such file.") from error
    except IsADirectoryError as error:
        raise RecordsError(f"{source}: is a folder, not a file.") from error
    except RecordsError:
        raise
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise RecordsError(f"{path.name}: cannot be read ({str(error).splitlines()[0]}).") from error


def _open_file(path: Path) -> Source:
    with open(path, "rb") as stream:
        start = stream.read(4)
    if not start:
        raise RecordsError(f"{path.name}: the file is empty.")
    if start == b"PAR1":
        frame = pd.read_parquet(path)
        return Source(path.name, tuple(frame.columns), frame=frame, path=path)
    if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise RecordsError(f"{path.name}: is a workbook or an archive; save the table as CSV or Parquet.")
    return open_text(path)
