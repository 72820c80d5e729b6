"""Pure state machine of a running sweep: (state, event) -> (state, commands).

It decides what runs next and what a failure means. The executor only starts what it is told to
start and says how it ended; nothing here knows of Ray, processes, clocks or disks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from overlap.plan import Job

MAX_DEATHS = 2
MAX_NODE_LOSSES = 20
SMALLEST_BATCH = 1


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    RAISED = "raised"
    OUT_OF_MEMORY = "out of memory"
    PROCESS_DIED = "process died"
    NODE_LOST = "node lost"
    STORE_FAILED = "store failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a job. `number` counts from 1 over the life of the store."""

    job: Job
    number: int = 1
    batch_size: int
    deaths: int = 0
    node_losses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """Event: this many attempts could start now."""

    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Event: an attempt ended. `cause` is one line, `last_lines` the end of its trace."""

    attempt: Attempt
    outcome: Outcome
    cause: str = ""
    last_lines: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Command: begin this attempt."""

    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFailure:
    """Command: store why an attempt failed; `final` when it will not be tried again."""

    ended: Ended
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """Command: stop the sweep; the store is broken and every further attempt would be wasted."""

    cause: str


Event: TypeAlias = Free | Ended
Command: TypeAlias = Start | RecordFailure | Abort


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Attempts that wait, longest first, those that run, and the counts of those that ended."""

    waiting: tuple[Attempt, ...]
    running: frozenset[Attempt] = frozenset()
    done: int = 0
    failed: int = 0

    @property
    def finished(self) -> bool:
        """True when nothing waits and nothing runs."""
        return not self.waiting and not self.running


def begin(attempts: Sequence[Attempt]) -> State:
    """The state before anything runs: the longest jobs first, so that none of them is left for last."""
    return State(waiting=tuple(sorted(attempts, key=lambda attempt: -attempt.job.cost)))


def step(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """Applies one event.

    Raises:
        ValueError: the event speaks of an attempt that does not run.
    """
    if isinstance(event, Free):
        return _start(state, event.slots)
    if event.attempt not in state.running:
        raise ValueError(f"{event.attempt.job.slug} ended, but does not run")
    state = replace(state, running=state.running - {event.attempt})
    if event.outcome is Outcome.DONE:
        return replace(state, done=state.done + 1), ()
    if event.outcome is Outcome.STORE_FAILED:
        return state, (Abort(cause=event.cause),)
    again = _next_attempt(event)
    if again is None:
        return replace(state, failed=state.failed + 1), (RecordFailure(ended=event, final=True),)
    return replace(state, waiting=(again, *state.waiting)), (RecordFailure(ended=event, final=False),)


def _start(state: State, slots: int) -> tuple[State, tuple[Command, ...]]:
    slots = max(slots, 0)
    starting, waiting = state.waiting[:slots], state.waiting[slots:]
    state = replace(state, waiting=waiting, running=state.running | frozenset(starting))
    return state, tuple(Start(attempt=attempt) for attempt in starting)


def _next_attempt(ended: Ended) -> Attempt | None:
    """The attempt that follows a failed one, or None when the variant has failed.

    A variant that raises fails at once: it would raise again. Too little memory asks for half the
    batch, as long as there is a half. A process that dies may have been unlucky once. A lost node
    is never the variant's fault, but a variant that takes every node with it must end too.
    """
    attempt = replace(ended.attempt, number=ended.attempt.number + 1)
    if ended.outcome is Outcome.OUT_OF_MEMORY and attempt.batch_size > SMALLEST_BATCH:
        return replace(attempt, batch_size=max(attempt.batch_size // 2, SMALLEST_BATCH))
    if ended.outcome is Outcome.PROCESS_DIED and attempt.deaths + 1 < MAX_DEATHS:
        return replace(attempt, deaths=attempt.deaths + 1)
    if ended.outcome is Outcome.NODE_LOST and attempt.node_losses + 1 < MAX_NODE_LOSSES:
        return replace(attempt, node_losses=attempt.node_losses + 1)
    return None
