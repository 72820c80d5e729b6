"""Why a worker's process died: a breadcrumb that outlives it, and a deadline that ends it from within."""

import contextlib
import faulthandler
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from overlap.schedule import Outcome

LAST_LINES = 12
GRACE_S = 30.0  # a worker ends itself at its deadline; one that cannot is ended this much later
_WATCHED = "watched: thread "
_TIMEOUT = re.compile(r"^Timeout \(([\d:.]+)\)!", re.MULTILINE)
_FATAL = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_THREADS = re.compile(r"^(?=(?:Current thread|Thread) 0x)", re.MULTILINE)
_FRAME = re.compile(r'^  File "([^"]+)", line (\d+) in (\S+)', re.MULTILINE)


class Breadcrumb:
    """A file that says what a process was doing when it died: Python's fault handler writes it.

    The fault handler needs neither the interpreter's lock nor a sane heap, so that it also speaks for
    code that is stuck or crashes outside Python.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        self.file = path.open("ab", buffering=0)

    @contextlib.contextmanager
    def watching(self, timeout_s: float) -> Iterator[Callable[[], None]]:
        """Ends this process if the context stays open for so long; calling what it gives starts anew."""
        self.file.truncate(0)
        self.file.write(f"{_WATCHED}{threading.get_ident():#018x}\n".encode())
        faulthandler.enable(self.file)

        def start_anew() -> None:
            faulthandler.dump_traceback_later(timeout_s, exit=True, file=self.file)

        start_anew()
        try:
            yield start_anew
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.file.truncate(0)


def read_death(breadcrumb: str) -> tuple[Outcome, str, tuple[str, ...]]:
    """How a process died by its breadcrumb: the outcome, one line, and the last lines.

    >>> read_death("Timeout (0:01:00)!")[:2]
    (<Outcome.TIMED_OUT: 'timed out'>, 'no end within 0:01:00')
    """
    thread = _guilty_thread(breadcrumb)
    lines = tuple(thread.partition("\n\n")[0].splitlines()[:LAST_LINES])
    frame = _FRAME.search(thread)
    where = f" in {frame[3]} ({Path(frame[1]).name}, line {frame[2]})" if frame else ""
    if timeout := _TIMEOUT.search(breadcrumb):
        return Outcome.TIMED_OUT, f"no end within {timeout[1]}{where}", lines
    if fatal := _FATAL.search(breadcrumb):
        return Outcome.PROCESS_DIED, f"the process died: {fatal[1].lower()}{where}", lines
    return Outcome.PROCESS_DIED, "the process was killed, or exited, without a trace (out of memory?)", lines


def _guilty_thread(breadcrumb: str) -> str:
    """The frames of the thread that crashed, or that was watched: a process has many, the newest is told first."""
    head, *threads = _THREADS.split(breadcrumb)
    watched = head.partition(_WATCHED)[2].partition("\n")[0]
    marks = ("Current thread 0x", *([f"Thread {watched} "] if watched else []))
    found = (thread for mark in marks for thread in threads if thread.startswith(mark))
    return next(found, threads[0] if threads else "")
