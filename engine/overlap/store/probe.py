"""Whether a store does what results rely on, tried out: gives back what was written, and creates a name only once."""

import contextlib
import os
import uuid
from collections.abc import Sequence

from overlap.errors import StoreError
from overlap.store.objects import MissingObjectError, Objects

SIZES_BYTES = (64, 1_000_000)  # a body in several chunks shows what a small one does not
_OTHER_STORE = "use one that honours If-None-Match (AWS S3, Google Cloud Storage, Ceph, MinIO), or a folder"


def probe(objects: Objects, *, sizes: Sequence[int] = SIZES_BYTES) -> None:
    """Nothing, if the store can be relied on; leaves nothing behind where it may delete.

    Args:
        objects: any store.
        sizes: of the bodies to try it with, in bytes.

    Raises:
        StoreError: it cannot be reached, listed, read or written; gives back other bytes than were
            written; or overwrites what it was asked to create only.
    """
    objects.names("failures")
    for size in sizes:
        name = f".probe-{uuid.uuid4().hex}"  # the dot hides it from listings
        try:
            _create_twice(objects, name, size)
        finally:
            with contextlib.suppress(StoreError):  # the right to delete is not needed
                objects.delete(name)


def _create_twice(objects: Objects, name: str, size: int) -> None:
    first, second = os.urandom(size), os.urandom(size)
    where = f"the store '{objects.url}'"
    if objects.create(name, first) is not True:
        raise StoreError(f"{where} says that a name never used is taken; {_OTHER_STORE}")
    stored = _read(objects, name)
    if stored != first:
        got = "nothing" if stored is None else f"{len(stored)} other bytes"
        advice = "it damages what it stores: use another store, or update its server"
        raise StoreError(f"{where} gave back {got} after {size} bytes were written; {advice}")
    created_again = objects.create(name, second)
    if created_again is not False or _read(objects, name) != first:
        reason = "overwrites an object that it was asked to create only, so that rivals could overwrite results"
        raise StoreError(f"{where} {reason}; {_OTHER_STORE}")


def _read(objects: Objects, name: str) -> bytes | None:
    try:
        with objects.open(name) as file:
            return file.read()
    except MissingObjectError:
        return None
