"""The seam between what is decided and where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from overlap.resources import Resources
from overlap.schedule import Attempt, Ended


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
