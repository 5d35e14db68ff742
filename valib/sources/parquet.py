"""Parquet: a file, or a folder of parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import RecordsError
from .source import Source

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.dataset import Dataset


@dataclass(frozen=True, slots=True)
class ParquetSource(Source):
    """A Parquet file, or a folder of them; the rows are not read before `read`."""

    def read(self, text_columns: Collection[str] = (), number_columns: Collection[str] = ()) -> pd.DataFrame:
        """Return all rows; see `Source.read`. The parts of a folder follow each other by name."""
        try:
            if self.path.is_dir():
                return _parts(self.path).to_table(columns=list(self.columns)).to_pandas()
            return pd.read_parquet(self.path).reset_index(drop=True)
        except (OSError, ValueError, TypeError) as error:  # pyarrow's errors are of these kinds
            raise RecordsError(f"{self.name}: cannot be read ({str(error).splitlines()[0]}).") from error


def open_parquet(path: Path) -> ParquetSource:
    """Open a Parquet file, or a folder with Parquet files (``cohort=2024/part.parquet`` gives a column ``cohort``).

    Raises
    ------
    RecordsError
        If a folder holds none.
    OSError, ValueError, TypeError
        If a file is damaged.
    """
    if path.is_dir():
        schema = _parts(path).schema
        index: Collection[str] = [name for name in schema.names if name.startswith("__index_level_")]
    else:
        from pyarrow.parquet import read_schema

        schema = read_schema(path)
        index = (schema.pandas_metadata or {}).get("index_columns", [])
    return ParquetSource(path.name, tuple(name for name in schema.names if name not in index), path=path)


def _parts(folder: Path) -> Dataset:
    """All Parquet files of a folder as one table; a column that is whole in one part and broken in another is broken.
    """
    import pyarrow
    from pyarrow import dataset

    files = sorted(file for file in folder.rglob("*.parquet") if not file.name.startswith((".", "_")))
    if not files:
        raise RecordsError(f"{folder}: is a folder without Parquet files.")
    keys = dataset.partitioning(_keys(file.relative_to(folder).parts[:-1] for file in files), flavor="hive")
    settings = {"format": "parquet", "partitioning": keys, "partition_base_dir": str(folder)}
    whole = dataset.dataset([str(file) for file in files], **settings)
    schemas = [part.physical_schema.remove_metadata() for part in whole.get_fragments()]
    schema = pyarrow.unify_schemas([whole.schema.remove_metadata(), *schemas], promote_options="permissive")
    return dataset.dataset([str(file) for file in files], schema=schema, **settings)


def _keys(folders: Iterable[tuple[str, ...]]) -> Schema:
    """The columns that folders such as ``cohort=2024`` stand for: whole numbers, or text if a code would lose a zero.
    """
    import pyarrow

    values: dict[str, set[str]] = {}
    for parts in folders:
        for name, mark, value in (part.partition("=") for part in parts):
            if mark:
                values.setdefault(name, set()).add(value)
    whole = {name: all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) for value in held) for name, held in values.items()}
    return pyarrow.schema([(name, pyarrow.int64() if whole[name] else pyarrow.string()) for name in values])
