"""Launch: a sweep file becomes committed results, and any launch continues the one before it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.errors import StoreError, StoreMismatchError
from overlap.plan import Job, Plan, Stage
from overlap.preflight import check_architectures, plan_sweep, read_sweep_file
from overlap.schedule import Abort, Attempt, Command, Ended, Free, RecordFailure, Start, State, begin, step
from overlap.standing import JobState, Status, status
from overlap.store import Failure, Objects, Store, lock_of, open_objects
from overlap.store.local import LocalObjects
from overlap.survey import Contents, Survey, survey

if TYPE_CHECKING:
    from overlap.executor import Executor

FIRST_BATCH_SIZE = 256


class ExecutorKind(StrEnum):
    """Where jobs run."""

    RAY = "ray"
    INPROCESS = "inprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage is, after each event; `last` is the attempt that just ended."""

    stage: Stage
    done: int
    failed: int
    running: int
    waiting: int
    last: Ended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a launch ended: where the sweep stands, and how many results were there before and were made now."""

    status: Status
    resumed: int
    ran: int


Watch = Callable[[Progress], None]


def open_plan(path: Path, *, store: str | None = None) -> tuple[Plan, Store]:
    """Reads, checks and plans a sweep file, and opens its store; writes nothing.

    Raises:
        SweepFileError: the file or its data have problems.
        StoreMismatchError: the store belongs to something else.
    """
    plan = plan_sweep(read_sweep_file(path))
    opened = Store(open_objects(store or plan.sweep.store))
    lock = opened.read_lock()
    if lock is not None and lock.name != plan.sweep.name:
        raise StoreMismatchError(
            f"store '{opened.objects.url}' was made by sweep '{lock.name}', this file is sweep "
            f"'{plan.sweep.name}'; give another store, or rename the sweep back"
        )
    return plan, opened


def take_stock(plan: Plan, store: Store, *, retry_failed: bool = False) -> Survey:
    """What of a plan the store holds, and what is left to do."""
    contents = Contents(
        weights=store.weights_names().keys(),
        results={dataset: store.result_names(dataset).keys() for dataset in plan.sweep.evaluate_on},
        failures=store.failures(),
    )
    return survey(plan, contents, retry_failed=retry_failed)


def launch(
    path: Path,
    *,
    store: str | None = None,
    executor: ExecutorKind = ExecutorKind.RAY,
    address: str | None = None,
    retry_failed: bool = False,
    watch: Watch = lambda _: None,
) -> Summary:
    """Runs what a sweep's store lacks: trains, evaluates, commits.

    Args:
        path: the sweep file.
        store: overrides the file's `store`.
        executor: Ray, or this process.
        address: an existing Ray cluster; None starts a local one and ends it.
        retry_failed: runs the variants that failed before, too.
        watch: called after every event.

    Raises:
        SweepFileError: the file has problems; nothing was written.
        StoreMismatchError: the store belongs to something else; nothing was written.
        LaunchHeldError: another launch of this store is running.
        StoreError: the store failed; the same command continues.
        ClusterError: Ray cannot give what the sweep asks for.
    """
    plan, opened = open_plan(path, store=store)
    stock = take_stock(plan, opened, retry_failed=retry_failed)
    if stock.complete and opened.read_lock() == lock_of(plan):
        return Summary(status=status(opened), resumed=len(stock.done), ran=0)
    check_architectures(plan, [job.variant for job in (*stock.training, *stock.evaluation)])
    with _held(opened.objects):
        opened.write_sweep(plan.sweep.text, lock_of(plan))
        if not stock.complete:
            with _executors(plan, opened.objects, executor, address) as make_executor:
                _run_stages(opened, stock, make_executor, watch)
    now = status(opened)
    return Summary(status=now, resumed=len(stock.done), ran=now.count(JobState.DONE) - len(stock.done))


MakeExecutor = Callable[[Stage], "Executor"]


def _run_stages(store: Store, stock: Survey, make_executor: MakeExecutor, watch: Watch) -> None:
    """Trains what has no weights, then evaluates every variant whose weights are there."""
    if stock.training:
        _run_stage(store, Stage.TRAIN, stock.training, stock, make_executor, watch)
    weights = store.weights_names()
    ready = [job for job in stock.evaluation if not job.weights_key or job.weights_key[:16] in weights]
    if ready:
        _run_stage(store, Stage.EVALUATE, ready, stock, make_executor, watch)


def _run_stage(
    store: Store, stage: Stage, jobs: Sequence[Job], stock: Survey, make_executor: MakeExecutor, watch: Watch
) -> None:
    attempts = [
        Attempt(job=job, number=stock.attempts.get(job.key, 0) + 1, batch_size=FIRST_BATCH_SIZE) for job in jobs
    ]
    executor = make_executor(stage)
    try:
        run_attempts(store, stage, attempts, executor, watch)
    finally:
        executor.close()


def run_attempts(store: Store, stage: Stage, attempts: Sequence[Attempt], executor: "Executor", watch: Watch) -> State:
    """The loop of a launch: what is free starts, what ended is judged, until nothing is left.

    Raises:
        StoreError: the store failed a worker.
    """
    state = begin(attempts)
    while not state.finished:
        state, commands = step(state, Free(slots=executor.free()))
        _obey(commands, store, executor)
        watch(_progress(stage, state, None))
        for ended in executor.wait():
            state, commands = step(state, ended)
            _obey(commands, store, executor)
            watch(_progress(stage, state, ended))
    return state


def _obey(commands: Sequence[Command], store: Store, executor: "Executor") -> None:
    for command in commands:
        match command:
            case Start():
                executor.start(command.attempt)
            case RecordFailure():
                store.write_failure(command.ended.attempt.job, _failure(command))
            case Abort():
                raise StoreError(command.cause)


def _failure(command: RecordFailure) -> Failure:
    ended = command.ended
    job = ended.attempt.job
    return Failure(
        variant=job.variant.name,
        stage=job.stage.value,
        dataset=job.dataset,
        key=job.key,
        attempt=ended.attempt.number,
        outcome=ended.outcome.value,
        cause=ended.cause,
        last_lines=ended.last_lines,
        final=command.final,
        seconds=round(ended.seconds, 3),
    )


def _progress(stage: Stage, state: State, last: Ended | None) -> Progress:
    return Progress(
        stage=stage,
        done=state.done,
        failed=state.failed,
        running=len(state.running),
        waiting=len(state.waiting),
        last=last,
    )


@contextlib.contextmanager
def _executors(plan: Plan, objects: Objects, kind: ExecutorKind, address: str | None) -> Iterator[MakeExecutor]:
    """Something that makes the executor of a stage; Ray is up for as long as the context is open."""
    from overlap.work import Workplace

    workplace = Workplace(
        datasets={spec.name: spec for spec in plan.sweep.datasets}, cpus=plan.sweep.cpus, gpus=plan.sweep.gpus
    )
    if kind is ExecutorKind.INPROCESS:
        from overlap.executor import InProcessExecutor

        yield lambda _stage: InProcessExecutor(workplace, objects)
        return
    from overlap.ray_cluster import connected

    with connected(address) as cluster:
        from overlap.ray_executor import make_ray_executor

        yield lambda stage: make_ray_executor(stage, workplace, objects.url, cluster)


@contextlib.contextmanager
def _held(objects: Objects) -> Iterator[None]:
    """Keeps a second launch of the same folder away and clears what killed writers left."""
    if not isinstance(objects, LocalObjects):
        yield
        return
    with objects.launch_lock():
        objects.remove_stale_temporaries()
        yield
