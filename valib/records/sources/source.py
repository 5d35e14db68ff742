"""What every source of records has: a name, columns, rows, and a way of saying where a row stands."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SHOWN = 5  # rows that an error names before it only counts


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text file is written.

    Attributes
    ----------
    delimiter : between fields: comma, semicolon, tab or vertical bar.
    decimal : the decimal mark of its numbers, point or comma.
    encoding : Python's name of its encoding: utf-8, utf-8-sig (with a byte order mark), utf-16 or cp1252
        (Windows-1252, which holds Latin-1's letters). Judged by the first MiB: a byte that is not UTF-8 may come later.
    gzip : whether the file is compressed.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """An opened table: its name, its column names in order, and how to get at its rows.

    Attributes
    ----------
    name : what it is called in messages: the file's name without its folder, "the DataFrame", "database 'name'".
    columns : the names as the source has them (those of a text file stripped of white space).
    frame : the rows, if they are in memory already.
    path : the file or folder; None for a DataFrame or a database.
    dialect : how a text file is written; None for any other source.
    numbers : the number of each row of ``frame`` as the source counts them (a sheet's rows); None: from 1.
    """

    name: str
    columns: tuple
    frame: pd.DataFrame | None = None
    path: Path | None = None
    dialect: Dialect | None = None
    numbers: np.ndarray | None = None

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows with a RangeIndex.

        Parameters
        ----------
        text_columns : columns of codes; they keep every character, digit and leading zero that the source has.
        number_columns : columns that must hold numbers; in a text file they are refused if their commas and points
            can be understood in two ways.

        Raises
        ------
        RecordsError
            If the source cannot be read to its end or its rows do not fit its header.
        """
        return self.frame.reset_index(drop=True)

    def where(self, positions: Collection[int]) -> str:
        """Name the first few rows in words, as the source counts them.

        ``positions`` are row numbers from 0 in the table that ``read`` returned, in ascending order.
        """
        word, numbers = self._counted(list(itertools.islice(positions, SHOWN)))
        shown = [str(number) for number in numbers]
        if len(positions) > SHOWN:
            shown.append(f"{len(positions) - SHOWN} more")
        if len(shown) == 1:
            return f"{word} {shown[0]}"
        return f"{word}s {', '.join(shown[:-1])} and {shown[-1]}"

    def _counted(self, positions: list[int]) -> tuple[str, list[int]]:
        """What a row is called here, and the numbers of the rows at these positions."""
        if self.numbers is None:
            return "row", [int(position) + 1 for position in positions]
        return "row", [int(self.numbers[position]) for position in positions]
