"""Tables in a node's cache: whole or not there, private to the user, and never trusted unread."""

import contextlib
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_SEAL_BYTES = 32


def read_sealed(path: Path, schema: pa.Schema) -> pa.Table:
    """The table in a file; an empty one if there is none, or it is damaged or of another schema."""
    try:
        content = path.read_bytes()
        seal, payload = content[:_SEAL_BYTES], memoryview(content)[_SEAL_BYTES:]
        if hashlib.sha256(payload).digest() == seal:
            table = pq.ParquetFile(pa.BufferReader(payload)).read()
            if table.schema == schema:
                return table
    except (OSError, pa.ArrowException):
        pass
    return schema.empty_table()


def write_sealed(path: Path, table: pa.Table) -> None:
    """Puts a table in the place of a file at once; a cache that cannot be written is left as it is."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=1, store_schema=True)
    payload = buffer.getbuffer()
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(hashlib.sha256(payload).digest())
                file.write(payload)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps the other processes of this node from making the same table at the same time."""
    descriptor = -1
    with contextlib.suppress(OSError):  # without the lock the work is done twice, not wrongly
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
