"""The order of levels that a Parquet file keeps for a categorical column (pandas writes it so)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset


def parts_of(path: Path) -> list[Path]:
    """The Parquet files of a folder, in order of their names, or the file itself."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*.parquet") if not file.name.startswith((".", "_")))
    return [path]


def kept_order(parts: Sequence[Path], name: str) -> list[str] | None:
    """The levels of a column that is stored as a category of text, in the order of the file; None for another column.

    Reads that column alone, batch by batch.
    """
    schema = pq.read_schema(parts[0])
    at = schema.get_field_index(name)
    if at < 0 or not pa.types.is_dictionary(schema.field(at).type):
        return None
    levels: dict[str, None] = {}
    for batch in dataset.dataset([str(p) for p in parts], schema=pa.schema([schema.field(at)])).to_batches():
        levels |= dict.fromkeys(str(level) for level in batch.column(0).dictionary.to_pylist() if level is not None)
    return list(levels)
