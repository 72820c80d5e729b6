"""Addresses of stores: a folder's path, `s3://bucket/prefix` or `gs://bucket/prefix`, never with a secret in it."""

import re
from dataclasses import dataclass
from pathlib import Path

from overlap.errors import StoreMismatchError
from overlap.store.local import LOCK_NAME, LocalObjects
from overlap.store.objects import Objects
from overlap.store.store import LOCK, SWEEP

_THREADS_ON_A_NETWORK = 16
SUPPORTED = "a folder, s3://bucket/prefix or gs://bucket/prefix"
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # one letter is a drive
_BARE_SCHEME = re.compile(r"(s3|gs):", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
_PART = re.compile(r"[\w.=+,() -]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketAddress:
    """A prefix in a bucket; the empty prefix is the whole bucket. `scheme` is `s3` or `gs`."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def reading_threads(url: str, *, cores: int) -> int:
    """How many files to read at once: on a network they wait for each other, on a disk for cores."""
    return _THREADS_ON_A_NETWORK if "://" in url else cores


def open_objects(url: str, *, patience_s: float | None = None) -> Objects:
    """The place a store's address names.

    A bucket is not contacted yet: `overlap.store.probe` does that. `patience_s` is how long a request to
    it is tried again; by default long enough to sit out a storage service's bad quarter of an hour.

    Raises:
        StoreMismatchError: the address is of no kind we know or holds a secret; or the path is a
            file, or a folder with other things in it.
    """
    if not _SCHEME.match(url) and not _BARE_SCHEME.match(url):
        return _open_folder(url)
    address = read_address(url)
    from overlap.store.remote import PATIENCE_S, RemoteObjects  # obstore: only who has a bucket waits for it

    return RemoteObjects(str(address), patience_s=PATIENCE_S if patience_s is None else patience_s)


def _open_folder(url: str) -> LocalObjects:
    root = Path(url)
    if root.exists() and not root.is_dir():
        raise StoreMismatchError(f"store '{url}' is a file; expected a folder, or a path that does not exist yet")
    known = {LOCK, LOCK_NAME, SWEEP}
    if root.is_dir() and any(root.iterdir()) and not any((root / name).exists() for name in known):
        raise StoreMismatchError(f"store '{url}' holds files of something else; give an empty or new folder")
    return LocalObjects(root.absolute())


def read_address(url: str) -> BucketAddress:
    """The parts of a bucket's address; `str` of them is the address in its one normal form.

    Messages repeat no part of an address that may hold a secret: a key may contain `/`.

    Raises:
        StoreMismatchError: it is of no kind we know, holds a secret or options, or names no bucket.

    >>> str(read_address("S3://bucket/some/prefix/"))
    's3://bucket/some/prefix'
    """
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme not in CREDENTIALS:
        raise StoreMismatchError(f"stores at '{scheme}:' are not supported; give {SUPPORTED}")
    if "@" in rest or ":" in rest:
        advice = f"take it out and use {CREDENTIALS[scheme]}"
        raise StoreMismatchError(f"the {scheme}:// address of the store holds a user name or secret; {advice}")
    if "?" in rest or "#" in rest:
        advice = f"expected {scheme}://bucket/prefix; settings and credentials come from the environment"
        raise StoreMismatchError(f"the {scheme}:// address of the store holds '?' or '#'; {advice}")
    if not rest.startswith("//"):
        raise StoreMismatchError(f"store '{url}' is no address; expected {scheme}://bucket/prefix")
    bucket, _, prefix = rest[2:].partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise StoreMismatchError(f"store '{url}': '{bucket}' is no bucket's name; expected {scheme}://bucket/prefix")
    wrong = [part for part in prefix.split("/") if part in {".", ".."} or not _PART.fullmatch(part)] if prefix else []
    if wrong:
        expected = "expected names of letters, digits and . _ = + , - between single slashes"
        raise StoreMismatchError(f"store '{url}': '{wrong[0]}' cannot be a part of the prefix; {expected}")
    return BucketAddress(scheme=scheme, bucket=bucket, prefix=prefix)
