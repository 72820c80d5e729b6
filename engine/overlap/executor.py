"""The seam between what is decided and where it runs, and the executor that runs in this process."""

from collections import deque
from typing import Protocol

from overlap.schedule import Attempt, Ended
from overlap.store import Objects
from overlap.work import Workplace, prepare_process, run_attempt


class Executor(Protocol):
    """Runs attempts somewhere. It never retries: how an attempt ended is all it says.

    `tests/contract` holds every executor to: each started attempt ends exactly once, whatever its
    variant does; `wait` returns at least one end while any attempt runs.
    """

    def free(self) -> int:
        """How many attempts could start now."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Begins an attempt; only as many as `free` allows."""
        ...

    def wait(self) -> list[Ended]:
        """Blocks until attempts end, and returns those."""
        ...

    def close(self) -> None:
        """Ends every worker, and what still runs with it."""
        ...


class InProcessExecutor:
    """One attempt at a time, in this process: for debugging, tests and small sweeps."""

    def __init__(self, workplace: Workplace, objects: Objects) -> None:
        self.workplace = workplace
        self.objects = objects
        self.started: deque[Attempt] = deque()

    def free(self) -> int:
        """One, or none while an attempt waits to be run."""
        return 1 - len(self.started)

    def start(self, attempt: Attempt) -> None:
        """Puts the attempt where `wait` finds it."""
        self.started.append(attempt)

    def wait(self) -> list[Ended]:
        """Runs the attempt."""
        prepare_process(self.workplace)
        return [run_attempt(self.started.popleft(), self.workplace, self.objects)]

    def close(self) -> None:
        """Forgets what was not run."""
        self.started.clear()
