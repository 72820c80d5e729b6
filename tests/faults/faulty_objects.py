"""Objects whose n-th call goes wrong, in one of the ways in which a disk, a network or a process can fail there."""

import threading
import uuid
from collections.abc import Callable
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NoReturn

from overlap.errors import StoreError
from overlap.store import Objects

WRITES = ("create", "replace")


class Fault(StrEnum):
    """What happens at the n-th call."""

    ERROR = "error"  # nothing is done, and a StoreError raised
    LASTING_ERROR = "lasting error"  # so at every later call, too
    LOST_ACK = "lost ack"  # all is done, and a StoreError raised
    TORN = "torn"  # the process dies with half of a write done
    CRASH_BEFORE = "crash before"  # the process dies with nothing done
    CRASH_AFTER = "crash after"  # the process dies with all done


ENDS_THE_PROCESS = frozenset({Fault.TORN, Fault.CRASH_BEFORE, Fault.CRASH_AFTER})


class Crash(KeyboardInterrupt):
    """The process is gone: nothing may catch this but the test that caused it.

    A variant's own code may raise anything, and all of it is caught but Ctrl-C in the user's own process.
    """


class FaultyObjects:
    """Any objects, with one fault. After a crash no call reaches them: `finally` blocks of the dead do nothing.

    `calls` lists the calls so far, as (method, name). `on_call` is called before each. The address
    has no `://`, so that a store reads its files one at a time, and the n-th call is always the same.
    """

    def __init__(
        self,
        inner: Objects,
        fault: Fault | None = None,
        nth: int = 0,
        on_call: Callable[[], None] = lambda: None,
    ) -> None:
        self.inner = inner
        self.fault = fault
        self.nth = nth
        self.on_call = on_call
        self.url = inner.url.replace("://", ":")
        self.calls: list[tuple[str, str]] = []
        self.dead = False
        self.mutex = threading.Lock()

    @property
    def hit(self) -> bool:
        """True once the n-th call was made."""
        return self.fault is not None and len(self.calls) >= self.nth

    def names(self, prefix: str) -> list[str]:
        """The inner objects' names."""
        return self._call("names", prefix)

    def stamps(self, prefix: str) -> dict[str, str]:
        """The inner objects' stamps."""
        return self._call("stamps", prefix)

    def open(self, name: str) -> BinaryIO:
        """The inner objects' reader."""
        return self._call("open", name)

    def create(self, name: str, content: bytes) -> bool:
        """Creates in the inner objects."""
        return self._call("create", name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Replaces in the inner objects."""
        return self._call("replace", name, content)

    def delete(self, name: str) -> None:
        """Deletes from the inner objects."""
        return self._call("delete", name)

    def _call(self, method: str, name: str, *content: bytes) -> Any:
        self._require_alive()
        self.on_call()
        self._require_alive()
        with self.mutex:
            self.calls.append((method, name))
            number = len(self.calls)
        fault = self.fault if number == self.nth or (self.fault is Fault.LASTING_ERROR and self.hit) else None
        self.dead = self.dead or fault in ENDS_THE_PROCESS
        if fault in {Fault.ERROR, Fault.LASTING_ERROR}:
            raise StoreError(f"cannot {method} '{name}': injected at call {number}")
        if fault is Fault.TORN and method in WRITES:
            self.inner.replace(_temporary(name), content[0][: len(content[0]) // 2])
        if fault in {Fault.TORN, Fault.CRASH_BEFORE}:
            self._end()
        given = getattr(self.inner, method)(name, *content)
        if fault is Fault.LOST_ACK:
            raise StoreError(f"cannot {method} '{name}': its answer was lost at call {number}")
        if fault is Fault.CRASH_AFTER:
            self._end()
        return given

    def _require_alive(self) -> None:
        if self.dead:
            self._end()

    def _end(self) -> NoReturn:
        """Ends the caller; the thread that renews a lease goes on in vain, since it cannot be ended as a process is."""
        if threading.current_thread().daemon:
            raise StoreError("the process is gone")
        raise Crash


def _temporary(name: str) -> str:
    """The private name under which a writer that dies leaves its half: beside the final one, and hidden."""
    path = PurePosixPath(name)
    return str(path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp"))
