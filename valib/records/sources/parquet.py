"""Parquet: a file, or a folder of parts."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import RecordsError
from .foreign import READABLE
from .plain import first_line, is_encodable
from .source import SHOWN, Source

if TYPE_CHECKING:
    from pyarrow import Schema, Table
    from pyarrow.dataset import Dataset

TOO_MUCH = "it asks for more memory than there is"
# What pyarrow raises for a file that it cannot read: a type that it has not (yet), text that is not UTF-8 above all.
PYARROW = (OSError, ValueError, TypeError, NotImplementedError, LookupError)


@dataclass(frozen=True, slots=True)
class ParquetSource(Source):
    """A Parquet file, or a folder of them; the rows are not read before `read`."""

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. The parts of a folder follow each other by name."""
        try:
            table = _table(self.path, list(self.columns))
            table.validate(full=True)  # text that is not UTF-8 would come to grief later
            return as_frame(table, text_columns)
        except PYARROW as error:
            raise RecordsError(f"{self.name}: cannot be read ({first_line(error)}).") from error
        except MemoryError as error:
            raise RecordsError(f"{self.name}: cannot be read ({TOO_MUCH}).") from error

    def where(self, positions: Collection[int]) -> str:
        """See `Source.where`; in a folder every row is counted in its own part."""
        if not self.path.is_dir():
            return Source.where(self, positions)
        from pyarrow.parquet import read_metadata

        files = parts_of(self.path)
        ends = np.cumsum([read_metadata(file).num_rows for file in files])
        first = np.array(list(itertools.islice(positions, SHOWN)))
        part = np.searchsorted(ends, first, side="right")
        within = first - np.append(0, ends)[part]
        return self.in_parts([(files[k], int(row)) for k, row in zip(part, within, strict=True)], len(positions))

    def in_parts(self, first: Sequence[tuple[Path, int]], total: int) -> str:
        """The places of the first few of some rows in words: each its part of the folder and its row there, from 0."""
        rows = [f"'{file.relative_to(self.path).as_posix()}' row {row + 1}" for file, row in first]
        return ", ".join([*rows, f"{total - len(rows)} more"] if total > len(rows) else rows)


def parts_of(path: Path) -> list[Path]:
    """The Parquet files of a folder, in order of their names, or the file itself."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*.parquet") if not file.name.startswith((".", "_")))


def open_parquet(path: Path) -> ParquetSource:
    """Open a Parquet file, or a folder with Parquet files (``cohort=2024/part.parquet`` gives a column ``cohort``).

    Raises
    ------
    RecordsError
        If a folder holds none.
    OSError, ValueError, TypeError
        If a file is damaged.
    """
    if any(odd := [part for part in parts_of(path) if not is_encodable(part)]):
        raise RecordsError(f"{odd[0].name}: its path is not UTF-8, which the readers of Parquet need; rename it.")
    if path.is_dir():
        schema = _parts(path).schema
    else:
        from pyarrow.parquet import read_schema

        schema = read_schema(path)
    names = [name for name in schema.names if not name.startswith("__index_level_")]  # an index without a name
    return ParquetSource(path.name, tuple(names), path=path)


def _table(path: Path, columns: list[str]) -> Table:
    """Columns of a file or a folder."""
    if path.is_dir():
        return _parts(path).to_table(columns=columns)
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read().select(columns)


def as_frame(table: Table, text_columns: Collection[str]) -> pd.DataFrame:
    """A DataFrame; decimals as numbers, but in columns of codes whole numbers and decimals to their last digit."""
    from pyarrow import float64, string, types

    frames = {}
    for field in table.schema.remove_metadata():
        column, code = table.column(field.name), field.name in text_columns
        if types.is_decimal(field.type) and not code:
            column = column.cast(string()).cast(float64())  # by its digits: the cast at once is wrong in the last one
        frames[field.name] = column.to_pandas(integer_object_nulls=code)
    frame = pd.DataFrame(frames, copy=False)
    with contextlib.suppress(ValueError, AttributeError):  # damaged metadata are none
        frame.attrs = (table.schema.pandas_metadata or {}).get("attributes") or {}
    return frame


def _parts(folder: Path) -> Dataset:
    """All Parquet files of a folder as one table; a column that is whole in one part and broken in another is broken."""
    import pyarrow
    from pyarrow import dataset

    files = parts_of(folder)
    if not files:
        raise RecordsError(f"{folder}: is a folder without Parquet files; {READABLE}.")
    keys = dataset.partitioning(_keys(file.relative_to(folder).parts[:-1] for file in files), flavor="hive")
    settings = {"format": "parquet", "partitioning": keys, "partition_base_dir": str(folder)}
    whole = dataset.dataset([str(file) for file in files], **settings)
    schemas = [part.physical_schema.remove_metadata() for part in whole.get_fragments()]
    _check_capitals(folder, [one.names for one in schemas])
    schema = pyarrow.unify_schemas([whole.schema.remove_metadata(), *schemas], promote_options="permissive")
    return dataset.dataset([str(file) for file in files], schema=schema, **settings)


def _check_capitals(folder: Path, names: Sequence[Collection[str]]) -> None:
    """Refuse parts that write a column in other capitals: half its values would count as missing."""
    told: dict[str, str] = {}
    for part in names:
        for name in part:
            other = told.setdefault(name.casefold(), name)
            if other != name and other not in part:
                raise RecordsError(f"{folder.name}: the column '{other}' is '{name}' in another part: rename it.")


def _keys(folders: Iterable[tuple[str, ...]]) -> Schema:
    """The columns that folders such as ``cohort=2024`` stand for: whole numbers, or text if a code would lose a zero."""
    import pyarrow

    values: dict[str, set[str]] = {}
    for parts in folders:
        for name, mark, value in (part.partition("=") for part in parts):
            if mark:
                values.setdefault(name, set()).add(value)
    whole = {name: all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) for value in held) for name, held in values.items()}
    return pyarrow.schema([(name, pyarrow.int64() if whole[name] else pyarrow.string()) for name in values])
