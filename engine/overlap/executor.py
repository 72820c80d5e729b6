"""The seam between what is decided and where it runs, and the executor that runs in this process."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from overlap.resources import Resources
from overlap.schedule import Attempt, Ended
from overlap.store import Objects
from overlap.work import Workplace, prepare_process, run_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How many attempts could start now, by what they need; `elsewhere` as in `schedule.Free`."""

    slots: Mapping[Resources, int]
    elsewhere: bool = False


class Executor(Protocol):
    """Runs attempts somewhere. It never retries: how an attempt ended is all it says.

    `tests/contract` holds every executor to: each started attempt ends exactly once, whatever its
    variant does; `wait` comes back soon, with or without ends.
    """

    def offer(self, demand: Mapping[Resources, int]) -> Offer:
        """Told how many attempts wait, grows or shrinks, and says how many could start now."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Begins an attempt; only as many as the last offer allowed."""
        ...

    def wait(self) -> list[Ended]:
        """Waits until attempts end, but no longer than about a second, and returns those."""
        ...

    def leave_out(self, nodes: frozenset[str]) -> None:
        """Uses these nodes no more, and all others again."""
        ...

    def stop(self) -> None:
        """Ends what can go on later from where it is; the rest may end by itself."""
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

    def offer(self, demand: Mapping[Resources, int]) -> Offer:
        """One attempt of any kind, or none while one waits to be run."""
        return Offer(slots={needs: 1 for needs in list(demand)[:1] if not self.started})

    def start(self, attempt: Attempt) -> None:
        """Puts the attempt where `wait` finds it."""
        self.started.append(attempt)

    def wait(self) -> list[Ended]:
        """Runs the attempt to its end, however long that takes."""
        attempt = self.started.popleft()
        prepare_process(attempt.job.resources)
        return [run_attempt(attempt, self.workplace, self.objects, interruptible=True)]

    def leave_out(self, nodes: frozenset[str]) -> None:
        """Does nothing: there is one node, and it cannot be spared."""

    def stop(self) -> None:
        """Does nothing: what runs is about to end."""

    def close(self) -> None:
        """Forgets what was not run."""
        self.started.clear()
