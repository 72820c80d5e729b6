"""A store in a bucket, through obstore: one create-only PUT commits, and every request is tried with patience."""

import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import GCSStore, S3Store

from overlap.errors import StoreError, StoreFullError
from overlap.store.addresses import read_address
from overlap.store.ranges import open_ranges
from overlap.store.remote_causes import cause_of, is_missing_object

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

PATIENCE_S = 600.0
REQUEST_S = 30.0
CONNECT_S = 5.0
LARGE_BYTES = 16_000_000
SLOWEST_BYTES_PER_S = 1_000_000  # a larger body gets a second more for each
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 10.0
ATTEMPT = "overlap-attempt"  # an attribute of every object that was created

_FAILURES = (BaseError, OSError, ValueError)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

T = TypeVar("T")
AnyStore = S3Store | GCSStore


class RemoteObjects:
    """Objects below a prefix of an S3 or Google bucket.

    Credentials, region and endpoint come from the environment (`AWS_*`, `GOOGLE_*`) or the machine's
    role, as obstore finds them; they are in no attribute, message or pickle. A pickle holds the address
    alone. Names whose last part starts with a dot are never listed.

    Args:
        url: `s3://bucket/prefix` or `gs://bucket/prefix`.
        patience_s: how long a request that may still succeed is tried again.
        request_s: after how long a single request without an answer is given up.

    Raises:
        StoreMismatchError: the address is none.
        StoreError: a setting in the environment cannot be used.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S, request_s: float = REQUEST_S) -> None:
        self._address = read_address(url)
        self.url = str(self._address)
        self._patience_s = patience_s
        self._request_s = request_s
        self._store = self._client(request_s)

    def __repr__(self) -> str:
        return f"RemoteObjects({self.url!r})"

    def __reduce__(self) -> tuple[type["RemoteObjects"], tuple[str]]:
        return RemoteObjects, (self.url,)

    def names(self, prefix: str) -> list[str]:
        """The names below a folder, sorted."""
        return list(self.stamps(prefix))

    def stamps(self, prefix: str) -> dict[str, str]:
        """The entity tags below a folder; time of change and size where the store gives none."""
        found: dict[str, str] = {}
        folder = f"{prefix.rstrip('/')}/" if prefix else ""

        def request() -> None:  # goes on where the last try ended
            for page in obstore.list(self._store, folder.rstrip("/") or None, offset=max(found, default=None)):
                found.update({meta["path"]: meta["e_tag"] or _stamp(meta) for meta in page})

        self._patiently("list", prefix, request)
        below = (name for name in sorted(found) if name and name.startswith(folder))  # consoles mark folders themselves
        return {name: found[name] for name in below if not name.rpartition("/")[2].startswith(".")}

    def open(self, name: str) -> BinaryIO:
        """A small object whole, or a reader that fetches the parts of a large one as they are read."""

        def patiently(request: Callable[[], T]) -> T:
            return self._patiently("read", name, request)

        return open_ranges(self._store, name, patiently)

    def create(self, name: str, content: bytes) -> bool:
        """Puts the object if its name is free.

        An answer may be lost after the object was stored. Each call therefore writes a number of its
        own beside the content, and whoever finds the name taken looks whether the number is its own.
        """
        body, attempt, tries = bytes(content), uuid.uuid4().hex, 0
        client = self._client_for(len(body))

        def request() -> bool:
            nonlocal tries
            tries += 1
            try:
                attributes = {ATTEMPT: attempt}
                obstore.put(client, name, body, mode="create", use_multipart=False, attributes=attributes)
            except AlreadyExistsError:
                return self._is_own(name, attempt, body if tries > 1 else None)
            return True

        return self._patiently("write", name, request)

    def replace(self, name: str, content: bytes) -> None:
        """Puts the object."""
        body = bytes(content)
        client = self._client_for(len(body))
        self._patiently("write", name, lambda: obstore.put(client, name, body, use_multipart=False))

    def delete(self, name: str) -> None:
        """Deletes the object."""

        def request() -> None:
            try:
                obstore.delete(self._store, name)
            except FileNotFoundError as error:
                if not is_missing_object(error):
                    raise

        self._patiently("delete", name, request)

    def _is_own(self, name: str, attempt: str, body: bytes | None) -> bool:
        """Whether this call's own earlier try made the object; compares content if the store keeps no attributes."""
        try:
            stored = obstore.get(self._store, name, options={"head": True}).attributes.get(ATTEMPT)
        except FileNotFoundError:
            raise OSError("the name was taken, and is free again") from None
        if stored is not None or body is None:
            return stored == attempt
        return bytes(obstore.get(self._store, name).bytes()) == body

    def _patiently(self, action: str, name: str, request: Callable[[], T]) -> T:
        """Tries until it succeeds, fails for good, or time is up.

        Raises:
            StoreError: it failed.
        """
        start, tries = time.monotonic(), 0
        while True:
            tries += 1
            try:
                return request()
            except _FAILURES as error:
                cause = cause_of(error, self._address.scheme)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries - 1, 16)) * random.uniform(0.5, 1)  # noqa: S311
            spent_s = time.monotonic() - start
            if spent_s + pause_s > min(self._patience_s, cause.patience_s):
                trials = f", tried {tries} times in {spent_s:.0f} s" if cause.patience_s else ""
                message = f"cannot {action} '{self.url}/{name}': {cause.reason}{trials}; {cause.advice}"
                kind = StoreFullError if cause.full else StoreError
                raise kind(message) from None  # the cause's own text may hold tokens
            time.sleep(pause_s)

    def _client_for(self, size: int) -> AnyStore:
        return self._store if size <= LARGE_BYTES else self._client(self._request_s + size / SLOWEST_BYTES_PER_S)

    def _client(self, timeout_s: float) -> AnyStore:
        kind = S3Store if self._address.scheme == "s3" else GCSStore
        prefix = self._address.prefix or None
        retries: RetryConfig = {"max_retries": 0}  # hidden tries would hide that an answer was lost
        try:
            options: ClientConfig = {
                "timeout": timedelta(seconds=timeout_s),
                "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s)),
                "allow_http": _may_use_http(),
            }
            return kind(self._address.bucket, prefix=prefix, client_options=options, retry_config=retries)
        except _FAILURES as error:
            cause = cause_of(error, self._address.scheme)
            raise StoreError(f"cannot open '{self.url}': {cause.reason}; check AWS_* and GOOGLE_*") from None


def _stamp(meta: "ObjectMeta") -> str:
    return f"{meta['size']}-{meta['last_modified'].isoformat()}"


def _may_use_http() -> bool:
    """Plain http only where it was asked for, or does not leave this machine."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL")
    hosts = {urlsplit(os.environ[name]).hostname for name in names if os.environ.get(name)}
    asked = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "yes", "on"}
    return asked or (bool(hosts) and hosts <= _LOOPBACK)
