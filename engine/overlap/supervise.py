"""Keeps a launch going: a driver that was killed, or whose local Ray has died, starts again and resumes.

The driver is a child process in a process group of its own, so that a signal reaches it once, through
its supervisor. Everything it has made is in the store: starting it again is all there is to do.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

INTERRUPTED = 130
BUG = 1
# Between driver and supervisor only, see `errors` for what a user sees. Ray's own code ends a driver with 1 when it
# loses its node, without a word to Python: a driver that ends with an error of ours says so with another number.
RAY_LOST, OWN_BUG = 70, 71
CLUSTER_FAILED = 5
SUPERVISOR = "OVERLAP_SUPERVISOR"  # in the driver's environment: who watches over it, and where it tells of progress
HEALTHY_S = 600.0  # so long a driver may have trained without ending anything
LONGEST_PAUSE_S = 10.0
PARENT_POLL_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(arguments: Sequence[str], *, max_restarts: int, say: Callable[[str], None]) -> int:
    """Runs `overlap` with these arguments in a driver of its own, again after each loss.

    Args:
        arguments: of the command line, without the program.
        max_restarts: how often in a row a driver that got nothing done is started again.
        say: told about each restart.

    Returns:
        The exit code of the last driver.
    """
    restarts = 0
    while True:
        began = time.monotonic()
        code, signalled, progressed = _run_driver(arguments)
        if signalled and code in (INTERRUPTED, *(-number for number in _SIGNALS)):
            return INTERRUPTED
        if code >= 0 and code not in (RAY_LOST, BUG):
            return BUG if code == OWN_BUG else code
        restarts = 0 if progressed or time.monotonic() - began > HEALTHY_S else restarts
        reason = "its Ray died" if code >= 0 else f"it was killed by {signal.Signals(-code).name}"
        if signalled or restarts == max_restarts:
            say(f"the driver was lost: {reason}; run the same command again to continue")
            return INTERRUPTED if signalled else CLUSTER_FAILED
        pause_s = min(2.0**restarts - 1, LONGEST_PAUSE_S)
        restarts += 1
        say(f"the driver was lost: {reason}; starting it again, {restarts} of at most {max_restarts} times in a row")
        time.sleep(pause_s)


def supervisor() -> int | None:
    """The process that watches over this one; None if nobody does."""
    parent, _, _ = os.environ.get(SUPERVISOR, "").partition(":")
    return int(parent) if parent.isdigit() and int(parent) == os.getppid() else None


def tell_progress() -> None:
    """Tells the supervisor, if there is one, that something was done: a later loss then counts as the first."""
    if supervisor() is not None:
        _, _, channel = os.environ[SUPERVISOR].partition(":")
        with contextlib.suppress(OSError):  # full, because more was told than anybody needs to know
            os.write(int(channel), b".")


def end_with_parent() -> None:
    """Lets this process end as soon as the one that started it is gone, however that went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True, name="supervised").start()


def driver_command(arguments: Sequence[str]) -> list[str]:
    """How a driver is started: the same program, with the same arguments."""
    return [sys.executable, "-m", "overlap", *arguments]


def _run_driver(arguments: Sequence[str]) -> tuple[int, bool, bool]:
    """The exit code of one driver, whether somebody asked it to stop, and whether it got anything done."""
    told, channel = os.pipe()
    for end in (told, channel):
        os.set_blocking(end, False)
    environment = {**os.environ, SUPERVISOR: f"{os.getpid()}:{channel}"}
    try:
        with _forwarding() as relay:
            command = driver_command(arguments)
            relay.driver = subprocess.Popen(command, env=environment, process_group=0, pass_fds=[channel])  # noqa: S603
            code = relay.driver.wait()
        with contextlib.suppress(BlockingIOError):
            return code, bool(relay.received), bool(os.read(told, 1))
        return code, bool(relay.received), False
    finally:
        os.close(told)
        os.close(channel)


class _Relay:
    """Passes signals on to the driver; the third one kills it."""

    def __init__(self) -> None:
        self.driver: subprocess.Popen[bytes] | None = None
        self.received = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.received += 1
        if self.driver is not None:
            self.driver.send_signal(number if self.received < 3 else signal.SIGKILL)


@contextlib.contextmanager
def _forwarding() -> Iterator[_Relay]:
    relay = _Relay()
    before = {number: signal.signal(number, relay) for number in _SIGNALS}
    try:
        yield relay
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
