"""The loop of a launch: what is free starts, what ended is judged, until nothing is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overlap.errors import StoreError, StoreFullError
from overlap.plan import Stage
from overlap.schedule import (
    Abort,
    Attempt,
    Command,
    Ended,
    Free,
    LeaveOut,
    Outcome,
    RecordFailure,
    Start,
    State,
    Stop,
    begin,
    step,
)
from overlap.store import Failure, Store

if TYPE_CHECKING:
    from overlap.executor import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage is, after each event; `last` is the attempt that just ended."""

    stage: Stage
    done: int
    failed: int
    running: int
    waiting: int
    stopping: bool = False
    left_out: int = 0
    last: Ended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a launch calls: after every event, to learn whether to stop, and when its Ray has died.

    `on_lost` is called when the launch has not ended some seconds after its local Ray did: it may end
    the process, because Ray's own calls may never come back.
    """

    watch: Callable[[Progress], None] = lambda _: None
    asked_to_stop: Callable[[], bool] = lambda: False
    on_lost: Callable[[], None] = lambda: None


def run_attempts(store: Store, stage: Stage, attempts: Sequence[Attempt], executor: "Executor", hooks: Hooks) -> State:
    """Runs attempts until every one has ended, or, once asked to stop, until those that run have.

    Raises:
        StoreFullError: the store has no space left.
        StoreError: the store failed several attempts in a row.
    """
    state = begin(attempts)
    while not state.finished:
        if hooks.asked_to_stop() and not state.stopping:
            state, _ = step(state, Stop())
            executor.stop()
        offer = executor.offer(state.demand)
        before = state
        state, commands = step(state, Free(slots=offer.slots, elsewhere=offer.elsewhere))
        _obey(commands, store, executor)
        if commands or state.stopping != before.stopping:
            hooks.watch(_progress(stage, state, None))
        for ended in executor.wait():
            state, commands = step(state, ended)
            _obey(commands, store, executor)
            hooks.watch(_progress(stage, state, ended))
    return state


def _obey(commands: Sequence[Command], store: Store, executor: "Executor") -> None:
    for command in commands:
        match command:
            case Start():
                executor.start(command.attempt)
            case RecordFailure():
                store.write_failure(command.ended.attempt.job, _failure(command))
            case LeaveOut():
                executor.leave_out(command.nodes)
            case Abort():
                full = command.ended.outcome is Outcome.DISK_FULL
                raise (StoreFullError if full else StoreError)(command.ended.cause.partition(": ")[2])


def _failure(command: RecordFailure) -> Failure:
    ended = command.ended
    job = ended.attempt.job
    return Failure(
        variant=job.variant.name,
        stage=job.stage.value,
        dataset=job.dataset,
        key=job.key,
        attempt=ended.attempt.number,
        batch_size=ended.attempt.batch_size,
        outcome=ended.outcome.value,
        cause=ended.cause,
        last_lines=ended.last_lines,
        node=ended.node,
        final=command.final,
        seconds=round(ended.seconds, 3),
    )


def _progress(stage: Stage, state: State, last: Ended | None) -> Progress:
    return Progress(
        stage=stage,
        done=state.done,
        failed=state.failed,
        running=len(state.running),
        waiting=sum(len(queue) for queue in state.waiting.values()),
        stopping=state.stopping,
        left_out=len(state.left_out),
        last=last,
    )
