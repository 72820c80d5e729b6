"""A store in a folder: temporary file, fsync, link, fsync of the folder."""

import contextlib
import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from overlap.errors import LaunchHeldError, StoreError, StoreFullError
from overlap.store.objects import MissingObjectError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
STALE_TEMPORARY_S = 3600.0
LOCK_NAME = ".launch.lock"


class LocalObjects:
    """Objects as files below one folder. Names that start with a dot are never listed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def names(self, prefix: str) -> list[str]:
        """The files below a folder, sorted."""
        with _as_store_error("list", self.root / prefix):
            return sorted(self._name(entry) for entry in _entries(str(self.root / prefix)))

    def stamps(self, prefix: str) -> dict[str, str]:
        """Size, time of change and inode of the files below a folder."""
        with _as_store_error("list", self.root / prefix):
            found = {self._name(entry): _stamp(entry) for entry in _entries(str(self.root / prefix))}
        return {name: found[name] for name in sorted(found) if found[name]}

    def _name(self, entry: "os.DirEntry[str]") -> str:
        return entry.path[len(str(self.root)) + 1 :]  # pathlib would take longer than the disk

    def open(self, name: str) -> BinaryIO:
        """The file, opened for reading."""
        try:
            return (self.root / name).open("rb")
        except FileNotFoundError:
            raise MissingObjectError(name) from None
        except OSError as error:
            raise StoreError(f"cannot read '{self.root / name}': {error.strerror}") from error

    def create(self, name: str, content: bytes) -> bool:
        """Writes a private file, then links it to its name, which fails if the name is taken."""
        target = self.root / name
        with _as_store_error("write", target, len(content)), _temporary(target, content) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Writes a private file, then renames it."""
        target = self.root / name
        with _as_store_error("write", target, len(content)), _temporary(target, content) as temporary:
            os.replace(temporary, target)  # noqa: PTH105 - os.link's sibling, and as explicit
            _sync_folder(target.parent)

    def delete(self, name: str) -> None:
        """Removes the file."""
        with _as_store_error("delete", self.root / name):
            (self.root / name).unlink(missing_ok=True)

    def remove_stale_temporaries(self, *, older_than_s: float = STALE_TEMPORARY_S) -> int:
        """Deletes what killed writers left behind; returns how many files."""
        stale = [path for path in self.root.rglob(".*.tmp") if _age_s(path) > older_than_s]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    @contextlib.contextmanager
    def launch_lock(self) -> Iterator[None]:
        """Holds the sweep for one launch on this machine; the kernel frees it when the process ends.

        It saves double work only: results stay right without it.

        Raises:
            LaunchHeldError: another launch holds it.
        """
        path = self.root / LOCK_NAME
        with _as_store_error("write", path):
            self.root.mkdir(parents=True, exist_ok=True)
            opened = path.open("a+")
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                message = f"another launch of '{self.root}' is running (process {owner}); wait for it or stop it"
                raise LaunchHeldError(message) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


@contextlib.contextmanager
def _temporary(target: Path, content: bytes) -> Iterator[Path]:
    """A private, synced file beside the target that holds the content; gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _as_store_error(action: str, path: Path, size: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot {action} '{path}': {error.strerror}"
        if error.errno in _FULL:
            raise StoreFullError(f"{message}; this file alone needs {size:,} bytes") from error
        raise StoreError(message) from error


def _entries(folder: str) -> "Iterator[os.DirEntry[str]]":
    """Everything below a folder but folders and names with a dot; skips what vanishes meanwhile."""
    try:
        listed = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with listed:
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
            elif not entry.name.startswith(".") and entry.is_file():
                yield entry


def _stamp(entry: "os.DirEntry[str]") -> str:
    """A file's stamp; empty if it is none, or has vanished."""
    try:
        status = entry.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}" if stat.S_ISREG(status.st_mode) else ""


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
