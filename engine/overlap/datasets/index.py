"""What the files of a source hold, kept in the node's cache: a file is read again only when it is new or has changed.

Array names: F files, N pictures in them.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.datasets.sealed_tables import held, read_sealed, write_sealed

UNREADABLE = bytes(32)  # in place of a digest; no picture has it
_VERSION = 1
_SCHEMA = pa.schema(
    [
        ("path", pa.binary()),  # names of files need not be UTF-8
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("header", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("members", pa.list_(pa.string())),
        ("places", pa.list_(pa.int64())),
        ("digests", pa.binary()),
    ]
)
_FILES_AT_ONCE = 64
_SAVE_EVERY_S = 60.0
_RECENT_NS = 2_000_000_000  # a file this young can change once more without a new time stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """What one file holds: for each of its pictures a label, a name, two numbers that say where it lies, a SHA-256.

    `header` is whatever the source wants to know of the file as a whole; what is not `whole` is not remembered.
    """

    labels: Sequence[str]
    members: Sequence[str]
    places: Sequence[int]
    digests: bytes
    header: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The N pictures of F files, in the order of the files and, within a file, as they lie in it."""

    paths: Sequence[str]
    headers: Sequence[str]
    files_N: NDArray[np.int64]
    labels: Sequence[str]
    members: Sequence[str]
    places_N2: NDArray[np.int64]
    digests_N: NDArray[np.uint8]


def index_files(
    paths: Sequence[str], read_file: Callable[[str], FileRows], *, cache: Path | None, source: str
) -> Index:
    """The index of these files, read with all cores where the cache does not know them.

    Args:
        paths: absolute, each once.
        read_file: reads one file; called from several threads.
        cache: the node's cache folder, None to remember nothing.
        source: names the index within the cache.
    """
    name = hashlib.sha256(f"{_VERSION}\n{source}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    place = cache / "index" / f"{name}.sealed" if cache else None
    with held(place) if place else nullcontext():
        known = read_sealed(place, _SCHEMA) if place else _SCHEMA.empty_table()
        return _to_index(paths, _complete(known, paths, read_file, place))


def sha256_threads() -> int:
    """How many threads read and hash: one a core that this process may use."""
    return len(os.sched_getaffinity(0))


def _complete(
    known: pa.Table, paths: Sequence[str], read_file: Callable[[str], FileRows], place: Path | None
) -> pa.Table:
    """The rows of these files in order: the known ones that still hold, and the others read."""
    started_ns = time.time_ns()
    keys = pa.array([os.fsencode(path) for path in paths], pa.binary())
    stamps_F2 = np.array([_stamp(path) for path in paths], np.int64).reshape(-1, 2)
    rows_F = pc.fill_null(pc.index_in(keys, value_set=known["path"]), -1).to_numpy(zero_copy_only=False)
    known_stamps = np.stack([known["size"].to_numpy(), known["mtime_ns"].to_numpy()], axis=1)
    valid_F = rows_F >= 0
    valid_F[valid_F] = (known_stamps[rows_F[valid_F]] == stamps_F2[valid_F]).all(axis=1)
    stays = known.take(pa.array(rows_F[valid_F]))
    if valid_F.all():
        return stays
    stamps_F2[stamps_F2[:, 1] >= started_ns - _RECENT_NS, 1] = -1
    missing = np.flatnonzero(~valid_F)
    read: list[FileRows] = []
    saved = time.monotonic()
    for some in _read_all([paths[i] for i in missing.tolist()], read_file):
        read += some
        if place and time.monotonic() - saved > _SAVE_EVERY_S:  # an interrupted launch goes on from here
            write_sealed(place, pa.concat_tables([stays, _to_table(missing[: len(read)], keys, stamps_F2, read)]))
            saved = time.monotonic()
    table = pa.concat_tables([stays, _to_table(missing, keys, stamps_F2, read)])
    table = table.take(pa.array(np.argsort(np.concatenate([np.flatnonzero(valid_F), missing]))))
    if place:
        write_sealed(place, table)
    return table


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes longer than its stat
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


def _read_all(paths: Sequence[str], read_file: Callable[[str], FileRows]) -> Iterable[list[FileRows]]:
    def read_some(some: Sequence[str]) -> list[FileRows]:
        return [read_file(path) for path in some]

    at_once = max(1, min(_FILES_AT_ONCE, len(paths) // (4 * sha256_threads())))
    with ThreadPoolExecutor(sha256_threads()) as pool:
        yield from pool.map(read_some, [paths[i : i + at_once] for i in range(0, len(paths), at_once)])


def _to_table(files: NDArray[np.int64], keys: pa.Array, stamps_F2: NDArray[np.int64], read: list[FileRows]) -> pa.Table:
    columns = {
        "path": keys.take(pa.array(files)),
        "size": stamps_F2[files, 0],
        "mtime_ns": np.where([rows.whole for rows in read], stamps_F2[files, 1], -1),
        "header": [rows.header for rows in read],
        "labels": [rows.labels for rows in read],
        "members": [rows.members for rows in read],
        "places": [rows.places for rows in read],
        "digests": [rows.digests for rows in read],
    }
    return pa.table(columns, schema=_SCHEMA)


def _to_index(paths: Sequence[str], table: pa.Table) -> Index:
    counts_F = pc.list_value_length(table["labels"]).to_numpy()
    return Index(
        paths=paths,
        headers=table["header"].to_pylist(),
        files_N=np.repeat(np.arange(len(paths)), counts_F),
        labels=pc.list_flatten(table["labels"]).to_pylist(),
        members=pc.list_flatten(table["members"]).to_pylist(),
        places_N2=pc.list_flatten(table["places"]).to_numpy().reshape(-1, 2),
        digests_N=np.frombuffer(b"".join(table["digests"].to_pylist()), np.uint8).reshape(-1, 32),
    )
