"""Arrow's own files, also known as Feather: .feather, .arrow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...errors import RecordsError
from .parquet import PYARROW, TOO_MUCH, as_frame
from .plain import first_line
from .source import Source

ARROW = b"ARROW1\0\0"  # how the files begin


@dataclass(frozen=True, slots=True)
class FeatherSource(Source):
    """An Arrow file; the rows are not read before `read`."""

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`."""
        from pyarrow import ipc

        try:
            with open(self.path, "rb") as stream:
                table = ipc.open_file(stream).read_all().select(list(self.columns))
            table.validate(full=True)  # text that is not UTF-8 would come to grief later
            return as_frame(table, text_columns)
        except PYARROW as error:
            raise RecordsError(f"{self.name}: cannot be read ({first_line(error)}).") from error
        except MemoryError as error:
            raise RecordsError(f"{self.name}: cannot be read ({TOO_MUCH}).") from error


def open_feather(path: Path) -> FeatherSource:
    """Open an Arrow file. Raises OSError, ValueError or TypeError if it is damaged."""
    from pyarrow import ipc

    try:
        with open(path, "rb") as stream:
            names = ipc.open_file(stream).schema.names
    except MemoryError as error:
        raise RecordsError(f"{path.name}: cannot be read ({TOO_MUCH}).") from error
    return FeatherSource(path.name, tuple(name for name in names if not name.startswith("__index_level_")), path=path)
