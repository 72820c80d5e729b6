"""Analysis tables as Parquet: written part by part, and known by the version of what they mean."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import polars as pl

TABLES_VERSION = b"2"  # raise it when a column of a table comes to mean something else
_VERSION, _KEYS = b"overlap.tables", b"overlap.variants"


def write_frames(file: IO[bytes], frames: Iterable["pl.DataFrame"], keys: Mapping[str, str]) -> None:
    """Writes frames with the same columns one below the other, and the keys of the variants that they speak of."""
    metadata = {_VERSION: TABLES_VERSION, _KEYS: json.dumps(dict(keys)).encode()}
    writer: pq.ParquetWriter | None = None
    import polars as pl  # a launch that has nothing to do is spared it

    try:
        for frame in frames:
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(metadata)
            if writer is None:
                words = [f.name for f in table.schema if f.type in (pa.string(), pa.large_string())]
                writer = pq.ParquetWriter(  # numbers are no words: a dictionary of them costs more than it saves
                    file, table.schema, compression="zstd", compression_level=1, use_dictionary=words
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    file.flush()


def read_keys(file: IO[bytes]) -> dict[str, str]:
    """Name -> key of the variants that a table speaks of, in their order; empty for one of another version."""
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        metadata = parquet.schema_arrow.metadata or {}
        known: dict[str, str] = json.loads(metadata[_KEYS]) if metadata.get(_VERSION) == TABLES_VERSION else {}
        return known


def read_frame(file: IO[bytes], columns: Sequence[str] | None) -> "pl.DataFrame | None":
    """A table, or some of its columns; None if it is of another version."""
    import polars as pl

    # One thread: pyarrow's own, still holding a Python file when the interpreter ends, abort the process.
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        if (parquet.schema_arrow.metadata or {}).get(_VERSION) != TABLES_VERSION:
            return None
        frame: Any = pl.from_arrow(parquet.read(columns=list(columns) if columns else None, use_threads=False))
        return frame if isinstance(frame, pl.DataFrame) else None
