"""A store in memory, for tests and for trying things out."""

import io
import itertools
import threading
from typing import BinaryIO

from overlap.store.objects import MissingObjectError


class MemoryObjects:
    """Objects in a dictionary; safe to use from several threads of one process."""

    def __init__(self) -> None:
        self.url = "memory://"
        self._contents: dict[str, bytes] = {}
        self._stamps: dict[str, str] = {}
        self._writes = itertools.count()
        self._mutex = threading.Lock()

    def names(self, prefix: str) -> list[str]:
        """The names below a folder, sorted."""
        return list(self.stamps(prefix))

    def stamps(self, prefix: str) -> dict[str, str]:
        """The number of the write that made each object."""
        with self._mutex:
            folder = f"{prefix.rstrip('/')}/" if prefix else ""
            below = (name for name in sorted(self._stamps) if name.startswith(folder))
            return {name: self._stamps[name] for name in below if not name.rpartition("/")[2].startswith(".")}

    def open(self, name: str) -> BinaryIO:
        """A reader over a copy."""
        with self._mutex:
            if name not in self._contents:
                raise MissingObjectError(name)
            return io.BytesIO(self._contents[name])

    def create(self, name: str, content: bytes) -> bool:
        """Stores the content unless the name is taken."""
        with self._mutex:
            if name in self._contents:
                return False
            self._put(name, content)
            return True

    def replace(self, name: str, content: bytes) -> None:
        """Stores the content."""
        with self._mutex:
            self._put(name, content)

    def delete(self, name: str) -> None:
        """Forgets the name."""
        with self._mutex:
            self._contents.pop(name, None)
            self._stamps.pop(name, None)

    def _put(self, name: str, content: bytes) -> None:
        self._contents[name] = bytes(content)
        self._stamps[name] = str(next(self._writes))
