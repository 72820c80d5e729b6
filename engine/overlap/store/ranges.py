"""A seekable reader of one object in a bucket: small objects at once, large ones in the parts that are read."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

import obstore
from obstore.exceptions import PreconditionError

from overlap.errors import StoreError
from overlap.store.objects import MissingObjectError
from overlap.store.remote_causes import is_missing_object

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

WHOLE_BYTES = 8_000_000  # up to here one request gets all
AHEAD_BYTES = 1_000_000  # small reads of a large object get this much
PART_BYTES = 16_000_000  # no request asks for more: each must end within its timeout

T = TypeVar("T")


class Patiently(Protocol):
    """Tries a request until it succeeds or there is no point in trying again."""

    def __call__(self, request: Callable[[], T]) -> T:
        """What the request gives."""
        ...


def open_ranges(store: "ObjectStore", name: str, patiently: Patiently) -> BinaryIO:
    """A reader of one version of an object; a large one that is replaced meanwhile cannot be read on.

    Raises:
        MissingObjectError: there is no such object.
    """

    def request() -> bytes | Ranges:
        try:
            found = obstore.get(store, name)
        except FileNotFoundError as error:
            if is_missing_object(error):
                raise MissingObjectError(name) from None
            raise
        if found.meta["size"] <= WHOLE_BYTES:
            return bytes(found.bytes())
        return Ranges(store, name, found.meta, patiently)

    opened = patiently(request)
    return io.BytesIO(opened) if isinstance(opened, bytes) else io.BufferedReader(opened, AHEAD_BYTES)


class Ranges(io.RawIOBase):
    """One version of an object as a file without a buffer; every read is a request."""

    def __init__(self, store: "ObjectStore", name: str, meta: "ObjectMeta", patiently: Patiently) -> None:
        self._store = store
        self._name = name
        self._meta = meta
        self._patiently = patiently
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a place and returns its distance from the start."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._meta["size"]}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fetches at most one part and returns how many bytes there were; 0 at the end."""
        view = memoryview(buffer).cast("B")
        stop = min(self._position + min(len(view), PART_BYTES), self._meta["size"])
        if stop <= self._position:
            return 0
        part = self._patiently(lambda: self._fetch(self._position, stop))
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def readall(self) -> bytes:
        """The rest."""
        rest = bytearray(max(0, self._meta["size"] - self._position))
        done = 0
        while done < len(rest):
            done += self.readinto(memoryview(rest)[done:])
        return bytes(rest)

    def _fetch(self, start: int, stop: int) -> bytes:
        options: GetOptions = {"range": (start, stop)}
        if self._meta["e_tag"]:
            options["if_match"] = self._meta["e_tag"]
        try:
            part = bytes(obstore.get(self._store, self._name, options=options).bytes())
        except (PreconditionError, FileNotFoundError):
            message = f"'{self._name}' was replaced or deleted while it was read; run the same command again"
            raise StoreError(message) from None
        if len(part) != stop - start:
            raise OSError(f"got {len(part)} bytes, expected {stop - start}")
        return part
