"""A lease that keeps two launches from doing the same work in one bucket; results stay right without it."""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator

from overlap.errors import LaunchHeldError, StoreError
from overlap.store.objects import MissingObjectError, Objects

NAME = ".lease.json"
HEARTBEAT_S = 10.0
PATIENCE_S = 3 * HEARTBEAT_S
GOODBYE_S = 10.0  # a store in trouble must not keep a launch from ending


@contextlib.contextmanager
def held(
    objects: Objects, *, force: bool = False, heartbeat_s: float = HEARTBEAT_S, patience_s: float = PATIENCE_S
) -> Iterator[None]:
    """Holds a store for one launch, and renews that until the block ends.

    A lease that is found is watched on our own clock: no two machines' clocks are compared. It is
    advice only. A launch whose lease was taken by force goes on, and does not take it back.

    Args:
        objects: any store.
        force: take the lease at once, whoever holds it.
        heartbeat_s: how often it is renewed.
        patience_s: how long a lease must stay unchanged until it counts as left behind.

    Raises:
        LaunchHeldError: another launch renews its lease.
    """
    lease = _Lease(objects)
    lease.take(force=force, poll_s=heartbeat_s / 10, patience_s=patience_s)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(lease, stop, heartbeat_s), name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join(GOODBYE_S)


def _beat(lease: "_Lease", stop: threading.Event, heartbeat_s: float) -> None:
    while not stop.wait(heartbeat_s):
        with contextlib.suppress(StoreError):  # the next beat may get through
            if not lease.renew():
                return
    lease.give_back()


class _Lease:
    """One launch's lease: who it is, and how often it was renewed."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._id = uuid.uuid4().hex
        self._beats = 0

    def take(self, *, force: bool, poll_s: float, patience_s: float) -> None:
        """Writes it; of rivals who find one left behind at the same moment, the last to write gets it."""
        if force:
            self._objects.replace(NAME, self._content())
            return
        while not self._objects.create(NAME, self._content()):
            if self._is_left_behind(poll_s, patience_s):
                self._objects.replace(NAME, self._content())
                time.sleep(poll_s)
                winner = self._stored()
                if not self._is_own(winner):
                    raise self._held_by(winner)
                return

    def _is_left_behind(self, poll_s: float, patience_s: float) -> bool:
        """Watches the lease found: True if nobody renews it, False if it has been taken away."""
        found = self._stored()
        deadline = time.monotonic() + patience_s
        while found and time.monotonic() < deadline:
            time.sleep(poll_s)
            now = self._stored()
            if now is not None and now != found:
                raise self._held_by(now)
            found = now
        return found is not None

    def renew(self) -> bool:
        """Writes the next beat; False if the lease is another's by now."""
        if not self._is_own(self._stored()):
            return False
        self._beats += 1
        self._objects.replace(NAME, self._content())
        return True

    def give_back(self) -> None:
        """Removes it if it is still ours; empties it where we may not delete."""
        with contextlib.suppress(StoreError):  # it then counts as left behind, after a while
            if not self._is_own(self._stored()):
                return
            try:
                self._objects.delete(NAME)
            except StoreError:
                self._objects.replace(NAME, b"")

    def _content(self) -> bytes:
        owner = {"host": socket.gethostname(), "process": os.getpid()}
        return json.dumps({"id": self._id, "owner": owner, "beats": self._beats}).encode()

    def _stored(self) -> bytes | None:
        try:
            with self._objects.open(NAME) as file:
                return file.read()
        except MissingObjectError:
            return None

    def _is_own(self, content: bytes | None) -> bool:
        return _read(content).get("id") == self._id

    def _held_by(self, content: bytes | None) -> LaunchHeldError:
        owner = _read(content).get("owner")
        who = f"process {owner.get('process')} on {owner.get('host')}" if isinstance(owner, dict) else "owner unknown"
        advice = "wait for it or stop it; if it is gone for certain, launch with --force"
        return LaunchHeldError(f"another launch of '{self._objects.url}' is running ({who}); {advice}")


def _read(content: bytes | None) -> dict[str, object]:
    try:
        decoded = json.loads(content or b"{}")
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
