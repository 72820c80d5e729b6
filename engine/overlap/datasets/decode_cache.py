"""The node's decode cache: chunks of pixels in a bounded folder that several processes fill and map together.

    CACHE/.room                    locked while sizes are added up and room is made
    CACHE/<key>/.open              locked shared while a process has the folder open, exclusively to remove it
    CACHE/<key>/<chunk>.u8         pixels, then a seal of 8 bytes; mapped read-only
    CACHE/<key>/<chunk>.u8.tmp     a chunk in the making, locked by its maker

Every lock is a `flock`, which the kernel frees when its process dies, however it dies. A locked file counts only if
it still has its name, for whoever held it before may have renamed or removed it. Nothing is synced to disk: a
chunk that a power cut tore fails its seal and is made anew.
"""

import contextlib
import errno
import fcntl
import math
import mmap
import os
import shutil
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_OPEN, _ROOM, _TEMPORARY = ".open", ".room", ".tmp"
_SEAL_BYTES = 8
# Chunks whose seal this process has checked, or has written: path, inode, time of change, size.
_checked: set[tuple[str, int, int, int]] = set()


class ChunkFolder:
    """The chunks of one key, open: nobody removes them while this object lives.

    `limit_bytes` bounds the whole cache folder; None is half of what the disk has for it. Threads may share it.

    Raises:
        OSError: the cache folder cannot be made or written to.
    """

    def __init__(self, cache: Path, key: str, *, limit_bytes: int | None) -> None:
        self.path = cache / key
        self._limit_bytes = limit_bytes
        self._descriptor = _open_shared(self.path)
        self._finalizer = weakref.finalize(self, os.close, self._descriptor)
        os.utime(self._descriptor)  # the time of use, by which the least recent is found
        _sweep(self.path)

    def close(self) -> None:
        """Lets the folder go before the object does; chunks that are mapped stay readable."""
        self._finalizer()

    def read(self, index: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """A chunk's pixels, mapped read-only; None if there are none, or not what their seal says."""
        path, size = self._chunk(index), math.prod(shape)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            identity = _identity(path, descriptor)
            if identity[-1] != size + _SEAL_BYTES:
                return None
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        mapped.madvise(mmap.MADV_WILLNEED)
        pixels = np.frombuffer(mapped, np.uint8, size).reshape(shape)
        if identity not in _checked:
            if mapped[size:] != _seal(pixels, path):
                return None
            _checked.add(identity)
        return pixels

    @contextlib.contextmanager
    def claim(self, index: int) -> Iterator["Claim | None"]:
        """Makes this process the only one to make a chunk, until the block ends; None if another one is at it.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self._chunk(index)
        temporary = path.with_name(path.name + _TEMPORARY)
        descriptor = _try_lock(temporary, create=True)
        if descriptor is None:
            yield None
            return
        try:
            yield Claim(path, temporary, descriptor, self._limit_bytes)
        finally:
            if _has_name(descriptor, temporary):  # given up, not renamed
                temporary.unlink(missing_ok=True)
            os.close(descriptor)

    def _chunk(self, index: int) -> Path:
        return self.path / f"{index:06}.u8"


class Claim:
    """The right to make one chunk."""

    def __init__(self, path: Path, temporary: Path, descriptor: int, limit_bytes: int | None) -> None:
        self._path, self._temporary, self._descriptor = path, temporary, descriptor
        self._limit_bytes = limit_bytes

    def reserve(self, size: int) -> None:
        """Sees to it that so many bytes of pixels find room, removing folders that were not used for longest.

        Raises:
            OSError: there is no room (ENOSPC), or the disk says something else.
        """
        needed = size + _SEAL_BYTES
        with _locked(self._path.parents[1] / _ROOM):
            os.ftruncate(self._descriptor, 0)  # what a dead maker left here is no longer counted
            if not _make_room(self._path.parents[1], needed, self._limit_bytes):
                raise OSError(errno.ENOSPC, "the decode cache has reached its limit", str(self._path))
            os.ftruncate(self._descriptor, needed)  # the length counts as taken from here on

    def keep(self, pixels: NDArray[np.uint8]) -> bool:
        """Writes the chunk and gives it its name; False if the disk does not take it."""
        try:
            with open(self._descriptor, "r+b", buffering=0, closefd=False) as file:
                _write(file.fileno(), pixels.data.cast("B"))
                _write(file.fileno(), memoryview(_seal(pixels, self._path)))
            with _locked(self._path.parents[1] / _ROOM):  # who adds up sizes must see one name of it
                self._temporary.rename(self._path)
        except OSError:
            return False
        _checked.add(_identity(self._path, self._descriptor))
        return True


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _seal(pixels: NDArray[np.uint8], path: Path) -> bytes:
    """Eight bytes of hexadecimal digits that tie pixels to their folder and place in it."""
    return b"%08x" % zlib.crc32(pixels.data, zlib.crc32(f"{path.parent.name}/{path.name}".encode()))


def _identity(path: Path, descriptor: int) -> tuple[str, int, int, int]:
    status = os.fstat(descriptor)
    return str(path), status.st_ino, status.st_mtime_ns, status.st_size


def _make_room(cache: Path, needed: int, limit_bytes: int | None) -> bool:
    """Removes folders that nobody has open, least recently used first; none if that would not be enough."""
    folders = sorted((_used_at(path), path) for path in cache.iterdir() if path.is_dir())
    sizes = {path: _size(path) for _, path in folders}
    used = sum(sizes.values())
    limit = (shutil.disk_usage(cache).free + used) // 2 if limit_bytes is None else limit_bytes
    excess, victims = used + needed - limit, []
    with contextlib.ExitStack() as held:
        for _, path in folders:
            if excess > 0 and (descriptor := _try_lock(path / _OPEN, create=False)) is not None:
                held.callback(os.close, descriptor)
                victims.append(path)
                excess -= sizes[path]
        if excess > 0:
            return False
        for path in victims:
            _remove(path)
    return True


def _remove(folder: Path) -> None:
    """Removes a folder that is locked exclusively. Whoever opens it meanwhile finds that its lock lost its name."""
    for path in folder.iterdir():
        if path.name != _OPEN:
            path.unlink(missing_ok=True)
    (folder / _OPEN).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another process has begun to fill it again
        folder.rmdir()


def _sweep(folder: Path) -> None:
    """Removes what killed makers left behind."""
    for temporary in folder.glob(f"*{_TEMPORARY}"):
        descriptor = _try_lock(temporary, create=False)
        if descriptor is not None:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)


def _used_at(folder: Path) -> float:
    try:
        return (folder / _OPEN).stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    """Bytes of the files in a folder, as long as they say they are: a reserved chunk counts before it is written."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _open_shared(folder: Path) -> int:
    """A descriptor that keeps others from removing a folder, which is made if need be."""
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):  # also said of one that was there and is removed by now
            folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder / _OPEN, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # removed since
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _has_name(descriptor, folder / _OPEN):
            return descriptor
        os.close(descriptor)


def _try_lock(path: Path, *, create: bool) -> int | None:
    """A descriptor that holds the file exclusively; None if another has it, or there is none and none is made."""
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if _has_name(descriptor, path):
            return descriptor
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for a file to be free, and holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
