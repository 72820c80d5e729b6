"""The seam of decoded pictures: a split's pixels at one geometry, decoded once a node and mapped by all processes.

Dimensions: `N` examples of the split, `R` rows asked for, `H` and `W` size, `C` channels.
"""

import hashlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import asdict
from enum import Enum, auto
from importlib.metadata import version
from pathlib import Path
from threading import Event, Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from overlap.datasets import Split
from overlap.datasets.decode_cache import ChunkFolder, Claim
from overlap.errors import DatasetError
from overlap.preprocessing import pixel_channels, pixel_transform
from overlap.variants import Geometry, canonical_json, key_of

FORMAT = 1  # of the cache: raise it when chunks, or how sources decode, change
CHUNK_ROWS = 512
MAX_CHUNK_BYTES = 96_000_000
MEMORY_BYTES = 512 * 2**20
AHEAD = 2
_DECODE_ROWS = 16
_POLL_S = 0.02
_PATIENCE_S = 120.0


class Pixels(Protocol):
    """The pictures of a split, in its order, as (N, size, size, channels) uint8."""

    shape: tuple[int, int, int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """A copy of any rows, in the order asked for.

        Raises:
            DatasetError: a picture cannot be read; its id is named.
            IndexError: there is no such row.
        """
        ...

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Every row exactly once, as (first row, read-only pixels of the rows from there on).

        Chunks have `chunk_rows` rows, the last one fewer, on every machine; what is ready first comes
        first, and up to two are made ahead. Close the iterator, or drop it, to stop early.

        Raises:
            DatasetError: a picture cannot be read; its id is named.
        """
        ...


def open_pixels(split: Split, geometry: Geometry, *, cache: Path, limit_bytes: int | None, threads: int) -> Pixels:
    """The pixels of a split: in memory if its pictures are, otherwise in the node's cache.

    Args:
        split: the pictures.
        geometry: how they become pixels.
        cache: the cache folder of this node, made if need be; if it cannot be written to, nothing is kept.
        limit_bytes: what the whole folder may hold; None is half of what its disk has for it.
        threads: how many pictures to decode at once.
    """
    decoder = _Decoder(split, geometry, threads)
    key = pixels_key(split, geometry)
    if split.pictures.memory:
        return _in_memory(key, decoder)
    try:
        folder = ChunkFolder(cache, key, limit_bytes=limit_bytes)
    except OSError:
        folder = None
    return NodePixels(decoder, folder)


def chunk_rows(row_bytes: int) -> int:
    """Rows of a chunk, a power of two: batches end with chunks, so that it must not depend on the machine."""
    rows = CHUNK_ROWS
    while rows > 1 and rows * row_bytes > MAX_CHUNK_BYTES:
        rows //= 2
    return rows


def pixels_key(split: Split, geometry: Geometry) -> str:
    """The identity of a split's pixels: its pictures in order, and everything that turns them into bytes."""
    config = {
        "format": FORMAT,
        "pictures": hashlib.sha256(split.digests_N.tobytes()).hexdigest(),
        "channels": split.pictures.channels,
        "geometry": asdict(geometry),
        "decoders": {name: version(name) for name in ("pillow", "timm", "torchvision")},
        "jpeg": str(features.version("libjpeg_turbo") or features.version("jpg")),
    }
    return key_of(canonical_json(config))


class _Decoder:
    """Rows of a split, decoded now."""

    def __init__(self, split: Split, geometry: Geometry, threads: int) -> None:
        channels = pixel_channels(geometry, split.pictures.channels)
        self.shape = (len(split.positions_N), geometry.size, geometry.size, channels)
        self._split, self._threads, self._transform = split, threads, pixel_transform(geometry)

    def decode(
        self, rows_R: NDArray[np.int64], out: NDArray[np.uint8], places_R: NDArray[np.int64], stop: Event
    ) -> None:
        """Puts R pictures into their places in `out`, with several threads.

        Raises:
            CancelledError: `stop` was set meanwhile.
        """

        def fill(start: int) -> None:
            for i in range(start, min(start + block, len(rows_R))):
                if stop.is_set():
                    raise CancelledError
                out[places_R[i]] = self._picture(int(rows_R[i]))

        block = max(1, min(_DECODE_ROWS, len(rows_R) // (2 * self._threads)))
        with ThreadPoolExecutor(self._threads) as pool:
            deque(pool.map(fill, range(0, len(rows_R), block)), maxlen=0)  # the first error is raised

    def _picture(self, row: int) -> NDArray[np.uint8]:
        try:
            pixels = self._transform(self._split.pictures.open(int(self._split.positions_N[row])))
        except (OSError, ValueError, DatasetError, Image.DecompressionBombError) as error:
            raise self._error(row, f"cannot be decoded: {error}") from error
        if pixels.shape != self.shape[1:]:
            raise self._error(row, f"became pixels of shape {pixels.shape}; expected {self.shape[1:]}")
        return pixels

    def _error(self, row: int, what: str) -> DatasetError:
        return DatasetError(f"the picture of example {self._split.ids_N[row]} {what}", key="source")


class MemoryPixels:
    """Pixels that lie in memory."""

    def __init__(self, pixels_NHWC: NDArray[np.uint8]) -> None:
        count, height, width, channels = pixels_NHWC.shape
        self.shape: tuple[int, int, int, int] = (count, height, width, channels)
        self._pixels_NHWC = pixels_NHWC
        pixels_NHWC.flags.writeable = False

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """A copy of any rows, in the order asked for."""
        pixels_RHWC = self._pixels_NHWC[rows]
        return pixels_RHWC.copy() if isinstance(rows, slice) else pixels_RHWC

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Every row once, in order."""
        rows = chunk_rows(math.prod(self.shape[1:]))
        for first in range(0, len(self), rows):
            yield first, self._pixels_NHWC[first : first + rows]


_memory: OrderedDict[str, MemoryPixels] = OrderedDict()
_memory_lock = Lock()


def _in_memory(key: str, decoder: _Decoder) -> MemoryPixels:
    """Decoded once a process; what was not asked for longest goes when there is too much of it."""
    with _memory_lock:
        if key not in _memory:
            pixels_NHWC = np.empty(decoder.shape, np.uint8)
            rows = np.arange(len(pixels_NHWC))
            decoder.decode(rows, pixels_NHWC, rows, Event())
            _memory[key] = MemoryPixels(pixels_NHWC)
        _memory.move_to_end(key)
        while len(_memory) > 1 and sum(math.prod(pixels.shape) for pixels in _memory.values()) > MEMORY_BYTES:
            _memory.popitem(last=False)
        return _memory[key]


class _Busy(Enum):
    """Another process makes it."""

    BUSY = auto()


class NodePixels:
    """Pixels in the node's cache, which all processes that read them fill together.

    A chunk that is not there is made by whoever claims it first; the others go on with other chunks, and
    wait only when nothing else is left. What finds no room in the cache is decoded each time it is asked for.
    """

    def __init__(self, decoder: _Decoder, folder: ChunkFolder | None) -> None:
        self.shape = decoder.shape
        self._decoder, self._folder = decoder, folder
        self._all_N = np.arange(self.shape[0])
        self._chunk_rows = chunk_rows(math.prod(self.shape[1:]))
        self._keeps = True

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """A copy of any rows, in the order asked for."""
        rows_R = self._all_N[rows]
        chunk_R = rows_R // self._chunk_rows
        pixels_RHWC = np.empty((len(rows_R), *self.shape[1:]), np.uint8)
        order_R = np.argsort(chunk_R, kind="stable")
        indices, starts = np.unique(chunk_R[order_R], return_index=True)
        places = dict(zip(indices.tolist(), np.split(order_R, starts[1:]), strict=False))
        unkept = [np.zeros(0, np.int64)]
        for index, chunk in self._produce(places, Event()):
            if chunk is None:
                unkept.append(places[index])
            else:
                pixels_RHWC[places[index]] = chunk[rows_R[places[index]] - index * self._chunk_rows]
        at = np.concatenate(unkept)
        self._decoder.decode(rows_R[at], pixels_RHWC, at, Event())
        return pixels_RHWC

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Every row once, whatever is ready first; the next two chunks are made while the caller computes."""
        stop = Event()
        chunks = self._whole_chunks(stop)
        with ThreadPoolExecutor(1) as pool:
            ahead = deque(pool.submit(next, chunks, None) for _ in range(AHEAD))
            try:
                while (produced := ahead.popleft().result()) is not None:
                    ahead.append(pool.submit(next, chunks, None))
                    index, chunk = produced
                    chunk.flags.writeable = False
                    yield index * self._chunk_rows, chunk
            finally:
                stop.set()  # the pool waits for the picture in hand

    def _whole_chunks(self, stop: Event) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index, chunk in self._produce(range(-(-len(self) // self._chunk_rows)), stop):
            yield index, self._decode(index, stop) if chunk is None else chunk

    def _produce(self, indices: Iterable[int], stop: Event) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """These chunks, whatever is ready first; None for those that the cache does not keep."""
        pending = list(indices)
        patient_until = time.monotonic() + _PATIENCE_S
        while pending and not stop.is_set():
            for index in pending:
                if (chunk := self._take(index, stop)) is not _Busy.BUSY:
                    break
            else:
                if time.monotonic() < patient_until:
                    stop.wait(_POLL_S)
                    continue
                index, chunk = pending[0], None  # whoever makes it is stuck
            pending.remove(index)
            yield index, chunk
            patient_until = time.monotonic() + _PATIENCE_S

    def _take(self, index: int, stop: Event) -> NDArray[np.uint8] | _Busy | None:
        """A chunk that is there, or is made here; None if the cache does not keep it."""
        if self._folder is None:
            return None
        if (kept := self._folder.read(index, self._chunk_shape(index))) is not None or not self._keeps:
            return kept
        try:
            with self._folder.claim(index) as claim:
                return _Busy.BUSY if claim is None else self._make(index, self._folder, claim, stop)
        except OSError:  # no room, or the cache folder is gone
            self._keeps = False
            return None

    def _make(self, index: int, folder: ChunkFolder, claim: Claim, stop: Event) -> NDArray[np.uint8]:
        if (kept := folder.read(index, self._chunk_shape(index))) is not None:  # its maker ended just before
            return kept
        claim.reserve(math.prod(self._chunk_shape(index)))
        chunk = self._decode(index, stop)
        self._keeps = claim.keep(chunk)
        return chunk

    def _decode(self, index: int, stop: Event) -> NDArray[np.uint8]:
        chunk = np.empty(self._chunk_shape(index), np.uint8)
        places = np.arange(len(chunk))
        self._decoder.decode(places + index * self._chunk_rows, chunk, places, stop)
        return chunk

    def _chunk_shape(self, index: int) -> tuple[int, ...]:
        return (min(self._chunk_rows, len(self) - index * self._chunk_rows), *self.shape[1:])
