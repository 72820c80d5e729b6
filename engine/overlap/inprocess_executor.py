"""The executor that runs in this process: one attempt at a time, without Ray."""

from collections import deque
from collections.abc import Mapping

from overlap.executor import Offer
from overlap.resources import Resources
from overlap.schedule import Attempt, Ended
from overlap.store import Objects
from overlap.work import prepare_process, run_attempt
from overlap.workplace import Workplace


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
