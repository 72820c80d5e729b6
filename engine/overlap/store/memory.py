"""A store in memory, for tests and for trying things out."""

import io
import threading
from typing import BinaryIO

from overlap.store.objects import MissingObjectError


class MemoryObjects:
    """Objects in a dictionary; safe to use from several threads of one process."""

    def __init__(self) -> None:
        self.url = "memory://"
        self._contents: dict[str, bytes] = {}
        self._mutex = threading.Lock()

    def names(self, prefix: str) -> list[str]:
        """The names below a folder, sorted."""
        with self._mutex:
            folder = f"{prefix.rstrip('/')}/" if prefix else ""
            below = (name for name in self._contents if name.startswith(folder))
            return sorted(name for name in below if not name.rpartition("/")[2].startswith("."))

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
            self._contents[name] = bytes(content)
            return True

    def replace(self, name: str, content: bytes) -> None:
        """Stores the content."""
        with self._mutex:
            self._contents[name] = bytes(content)

    def delete(self, name: str) -> None:
        """Forgets the name."""
        with self._mutex:
            self._contents.pop(name, None)
