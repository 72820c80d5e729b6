"""Pure state machine of a running sweep: (state, event) -> (state, commands).

It decides what runs next and what a failure means. The executor only starts what it is told to
start and says how it ended; nothing here knows of Ray, processes, clocks or disks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from overlap.plan import Job, Stage, in_order
from overlap.resources import Resources

MAX_DEATHS = 2
MAX_NODE_LOSSES = 20
MAX_STORE_FAILURES = 3  # in a row, over all variants
SUSPICIOUS_FAILURES = 3  # different variants in a row on one node
SMALLEST_BATCH = 1


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    RAISED = "raised"
    OUT_OF_MEMORY = "out of memory"
    PROCESS_DIED = "process died"
    TIMED_OUT = "timed out"
    NODE_LOST = "node lost"
    INPUT_DAMAGED = "input damaged"
    STORE_FAILED = "store failed"
    DISK_FULL = "disk full"
    STOPPED = "stopped"


_BLAMES_THE_NODE = frozenset({Outcome.RAISED, Outcome.PROCESS_DIED, Outcome.TIMED_OUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a job. `number` counts from 1 over the life of the store.

    `deaths` are those charged to the variant; `failed_on` are nodes that were left out after it had
    failed there.
    """

    job: Job
    number: int = 1
    batch_size: int
    deaths: int = 0
    node_losses: int = 0
    failed_on: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """Event: this many attempts could start now, by what they need.

    `elsewhere` says that work could run on other nodes if one of them were left out.
    """

    slots: Mapping[Resources, int]
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Event: an attempt ended. `cause` is one line, `last_lines` the end of its trace.

    `node` is where it ran, empty when unknown. `spoiled` says that its process must not be used again.
    """

    attempt: Attempt
    outcome: Outcome
    cause: str = ""
    last_lines: tuple[str, ...] = ()
    seconds: float = 0.0
    node: str = ""
    spoiled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Event: the user asked to stop; what runs may end, nothing more starts."""


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
class LeaveOut:
    """Command: use these nodes no more, and all others again."""

    nodes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """Command: stop the sweep; the store is broken and every further attempt would be wasted."""

    ended: Ended


Event: TypeAlias = Free | Ended | Stop
Command: TypeAlias = Start | RecordFailure | LeaveOut | Abort


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Attempts that wait, longest first by what they need, those that run, and the counts of those that ended.

    `suspicions` are, by node, the failures in a row that no other node has confirmed; `doubts` those of
    them after which a variant would have failed for good, if it is not the node that fails; `proven`
    are nodes on which something has succeeded. `batch_limits` are the batch sizes that fitted into
    memory, by architecture and image size.
    """

    waiting: Mapping[Resources, tuple[Attempt, ...]]
    running: frozenset[Attempt] = frozenset()
    done: int = 0
    failed: int = 0
    stopping: bool = False
    elsewhere: bool = False
    store_failures: int = 0
    suspicions: Mapping[str, tuple[Ended, ...]] = field(default_factory=dict)
    doubts: tuple[Ended, ...] = ()
    proven: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    batch_limits: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def demand(self) -> dict[Resources, int]:
        """How many attempts wait to start, by what they need."""
        return {} if self.stopping else {needs: len(queue) for needs, queue in self.waiting.items() if queue}

    @property
    def finished(self) -> bool:
        """True when nothing runs and nothing more will start."""
        return not self.running and not self.demand


_Step: TypeAlias = tuple[State, tuple[Command, ...]]


def begin(attempts: Sequence[Attempt]) -> State:
    """The state before anything runs, in the order in which jobs are best begun."""
    waiting: dict[Resources, list[Attempt]] = {}
    places = {job.key: place for place, job in enumerate(in_order(attempt.job for attempt in attempts))}
    for attempt in sorted(attempts, key=lambda attempt: places[attempt.job.key]):
        waiting.setdefault(attempt.job.resources, []).append(attempt)
    return State(waiting={needs: tuple(queue) for needs, queue in waiting.items()})


def step(state: State, event: Event) -> _Step:
    """Applies one event.

    Raises:
        ValueError: the event speaks of an attempt that does not run.
    """
    if isinstance(event, Stop):
        return replace(state, stopping=True), ()
    if isinstance(event, Free):
        return _start(replace(state, elsewhere=event.elsewhere), event.slots)
    if event.attempt not in state.running:
        raise ValueError(f"{event.attempt.job.slug} ended, but does not run")
    state = replace(state, running=state.running - {event.attempt})
    if event.outcome is Outcome.DONE:
        return _succeed(state, event.node)
    if event.outcome is Outcome.STOPPED:
        return state, ()
    if event.outcome is Outcome.DISK_FULL:
        return state, (Abort(ended=event),)
    failures = state.store_failures + 1 if event.outcome is Outcome.STORE_FAILED else 0
    if failures >= MAX_STORE_FAILURES:
        return state, (Abort(ended=event),)
    return _fail(_remember_batch(replace(state, store_failures=failures), event), event)


def _start(state: State, slots: Mapping[Resources, int]) -> _Step:
    waiting, commands, starting = dict(state.waiting), [], []
    for needs, count in slots.items() if not state.stopping else ():
        queue = waiting.get(needs, ())
        waiting[needs] = queue[max(count, 0) :]
        starting += [_within_limit(state, attempt) for attempt in queue[: max(count, 0)]]
    commands = [Start(attempt=attempt) for attempt in starting]
    return replace(state, waiting=waiting, running=state.running | frozenset(starting)), tuple(commands)


def _succeed(state: State, node: str) -> _Step:
    """A success clears its node of all suspicion: the failures there were the variants' own."""
    state, records = _conclude(state, _in_doubt(state, node))
    cleared = {name: ends for name, ends in state.suspicions.items() if name != node}
    proven = state.proven | {node}
    state = replace(state, done=state.done + 1, store_failures=0, suspicions=cleared, proven=proven)
    state, commands = _readmit(state)
    state, more = _settle(state)
    return state, (*records, *commands, *more)


def _fail(state: State, ended: Ended) -> _Step:
    again = _next_attempt(ended)
    doubtful = _is_doubtful(state, ended)
    final = again is None and ended.outcome is not Outcome.INPUT_DAMAGED and not doubtful
    state = _queue(state, [again]) if again else replace(state, failed=state.failed + final)
    state = replace(state, doubts=(*state.doubts, ended)) if doubtful else state
    state, commands = _suspect(state, ended)
    state, more = _settle(state)
    if ended.outcome is Outcome.STORE_FAILED and not final:
        return state, (*commands, *more)  # the store is the last place to write that down
    return state, (RecordFailure(ended=ended, final=final), *commands, *more)


def _next_attempt(ended: Ended) -> Attempt | None:
    """The attempt that follows a failed one, or None when there is none.

    A variant that raises fails at once: it would raise again. An evaluation with too little memory
    gets half the batch, as long as there is a half; a training does not, because its batch is part of
    what the variant is. A process that dies or hangs may have been unlucky once. A lost node or a
    store that failed is never the variant's fault, but a variant that takes every node with it must
    end too. A damaged input waits for the training that makes it anew.
    """
    attempt = replace(ended.attempt, number=ended.attempt.number + 1)
    halves = attempt.job.stage is Stage.EVALUATE and attempt.batch_size > SMALLEST_BATCH
    if ended.outcome is Outcome.OUT_OF_MEMORY and halves:
        return replace(attempt, batch_size=max(attempt.batch_size // 2, SMALLEST_BATCH))
    if ended.outcome in (Outcome.PROCESS_DIED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY):
        return replace(attempt, deaths=attempt.deaths + 1) if attempt.deaths + 1 < MAX_DEATHS else None
    if ended.outcome in (Outcome.NODE_LOST, Outcome.STORE_FAILED):
        losses = attempt.node_losses + 1
        return replace(attempt, node_losses=losses) if losses < MAX_NODE_LOSSES else None
    return None


def _queue(state: State, attempts: Sequence[Attempt]) -> State:
    """Attempts that were interrupted go first: theirs are among the longest jobs."""
    waiting = dict(state.waiting)
    for attempt in attempts:
        needs = attempt.job.resources
        waiting[needs] = (attempt, *waiting.get(needs, ()))
    return replace(state, waiting=waiting)


# --- nodes on which everything fails


def _is_doubtful(state: State, ended: Ended) -> bool:
    """A last failure that may be its node's fault: no other node has confirmed it, and there is another."""
    return (
        ended.outcome in _BLAMES_THE_NODE
        and bool(ended.node)
        and _next_attempt(ended) is None
        and (state.elsewhere or bool(state.left_out))
        and not ended.attempt.failed_on
        and not _confirmed(state, ended)
    )


def _confirmed(state: State, ended: Ended) -> bool:
    key = ended.attempt.job.key
    return any(
        end.attempt.job.key == key for node, ends in state.suspicions.items() for end in ends if node != ended.node
    )


def _in_doubt(state: State, node: str) -> list[Ended]:
    return [end for end in state.doubts if end.node == node]


def _suspect(state: State, ended: Ended) -> _Step:
    """Counts a failure against its node, unless it has happened on another node too.

    A node on which three different variants fail in a row is left out, and those that failed for good
    there are tried once more elsewhere. A failure that happens again elsewhere is the variant's own,
    and clears the node that it was held against.
    """
    if ended.outcome not in _BLAMES_THE_NODE or not ended.node:
        return state, ()
    key = ended.attempt.job.key
    suspicions = {
        node: tuple(end for end in ends if end.attempt.job.key != key) for node, ends in state.suspicions.items()
    }
    if not _confirmed(state, ended) and not ended.attempt.failed_on:
        suspicions[ended.node] = (*suspicions.get(ended.node, ()), ended)
    state, commands = _readmit(replace(state, suspicions={node: ends for node, ends in suspicions.items() if ends}))
    held = state.suspicions.get(ended.node, ())
    out = ended.node in state.left_out
    if not out and (len(held) < SUSPICIOUS_FAILURES or not state.elsewhere):
        return state, commands
    state, more = _leave_out(state, ended.node)
    return state, (*commands, *more)


def _leave_out(state: State, node: str) -> _Step:
    """Gives those that failed for good on a node another chance elsewhere."""
    again = [
        replace(end.attempt, number=end.attempt.number + 1, deaths=0, failed_on=frozenset({node}))
        for end in _in_doubt(state, node)
    ]
    commands = (LeaveOut(nodes=state.left_out | {node}),) if node not in state.left_out else ()
    doubts = tuple(end for end in state.doubts if end.node != node)
    return replace(_queue(state, again), doubts=doubts, left_out=state.left_out | {node}), commands


def _readmit(state: State) -> _Step:
    """Uses nodes again that nothing is held against any more."""
    left_out = state.left_out & state.suspicions.keys()
    if left_out == state.left_out:
        return state, ()
    return replace(state, left_out=left_out), (LeaveOut(nodes=left_out),)


def _settle(state: State) -> _Step:
    """At the end, failures on nodes where nothing ever succeeded are tried elsewhere, one node at a time."""
    if state.running or state.demand or state.stopping:
        return state, ()
    counts = Counter(end.node for end in state.doubts if end.node not in state.proven)
    if counts and state.elsewhere:
        return _leave_out(state, counts.most_common(1)[0][0])
    return _conclude(state, state.doubts)


def _conclude(state: State, ends: Sequence[Ended]) -> _Step:
    """Failures that stand after all."""
    records = tuple(RecordFailure(ended=end, final=True) for end in ends)
    doubts = tuple(end for end in state.doubts if end not in ends)
    return replace(state, failed=state.failed + len(records), doubts=doubts), records


# --- batches that fit


def _remember_batch(state: State, ended: Ended) -> State:
    """Variants of one architecture and image size take the batch that fitted, not the first one."""
    if ended.outcome is not Outcome.OUT_OF_MEMORY or ended.attempt.job.stage is not Stage.EVALUATE:
        return state
    footprint = _footprint(ended.attempt.job)
    fits = max(ended.attempt.batch_size // 2, SMALLEST_BATCH)
    limit = min(fits, state.batch_limits.get(footprint, fits))
    return replace(state, batch_limits={**state.batch_limits, footprint: limit})


def _within_limit(state: State, attempt: Attempt) -> Attempt:
    limit = state.batch_limits.get(_footprint(attempt.job), attempt.batch_size)
    return replace(attempt, batch_size=min(attempt.batch_size, limit))


def _footprint(job: Job) -> tuple[str, int]:
    return job.variant.architecture, job.variant.preprocessing.size
