"""The order of levels, which a Parquet file keeps for a categorical column (pandas writes it so)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset


def kept_order(parts: Sequence[Path], name: str) -> list | None:
    """The levels of a column that is stored as a category, in the order of the file; None for another column.

    Reads that column alone, batch by batch.
    """
    schema = pq.read_schema(parts[0])
    at = schema.get_field_index(name)
    if at < 0 or not pa.types.is_dictionary(schema.field(at).type):
        return None
    levels: dict = {}
    for batch in dataset.dataset([str(p) for p in parts], schema=pa.schema([schema.field(at)])).to_batches():
        levels |= dict.fromkeys(level for level in batch.column(0).dictionary.to_pylist() if level is not None)
    return list(levels)


def in_order(levels: Iterable, kept: Sequence) -> list:
    """Levels in the order that their source keeps, then in their own."""
    place = {level: k for k, level in enumerate(kept)}
    return sorted(levels, key=lambda v: (place.get(v, len(kept)), v))
