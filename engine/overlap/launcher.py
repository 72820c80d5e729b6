"""Launch: a sweep file becomes committed results, and any launch continues the one before it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.errors import CorruptFileError, StoreError, StoreFullError, StoreMismatchError
from overlap.loop import Hooks, run_attempts
from overlap.plan import Job, Plan, Stage
from overlap.preflight import check_models, plan_sweep, read_sweep_file
from overlap.schedule import Attempt
from overlap.standing import JobState, Status, status
from overlap.store import LockFile, Objects, Store, lock_of, open_objects
from overlap.store.lease import held
from overlap.store.local import LocalObjects
from overlap.store.probe import probe
from overlap.store.verify import Damage, find_damage, harmed, put_aside, remember_sound
from overlap.survey import Contents, Survey, survey
from overlap.workplace import Cache, Workplace

if TYPE_CHECKING:
    from overlap.executor import Executor
    from overlap.ray_cluster import Cluster

FIRST_BATCH_SIZE = 256  # at most; what fits is found where it runs
FIRST_CONTACT_S = 20.0  # of a bucket that may not be there, or not under this address
MAX_ROUNDS = 3  # damage found by a worker is made good in the next round
BYTES_OF_AN_EXAMPLE = 64  # of a result, beside two bytes a class of its logits


class ExecutorKind(StrEnum):
    """Where jobs run."""

    RAY = "ray"
    INPROCESS = "inprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a launch runs, beside what it runs.

    Args:
        address: an existing Ray cluster; None starts a local one and ends it.
        max_workers: how many variants may run at once; None sets no limit but the cluster's.
        allow_new_dataset: goes on although a dataset of the store's sweep has changed.
        force: goes on although another launch of this store seems to run on another machine.
        cache: where each machine keeps decoded images and downloads.
    """

    address: str | None = None
    max_workers: int | None = None
    allow_new_dataset: bool = False
    force: bool = False
    cache: Cache = field(default_factory=Cache)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a launch ended: where the sweep stands, and how many results were there before and were made now.

    `put_aside` are the damaged files that it found; `interrupted` says that it was asked to stop.
    """

    status: Status
    resumed: int
    ran: int
    put_aside: tuple[str, ...] = ()
    interrupted: bool = False


def open_plan(path: Path | str, *, store: str | None = None, cache: Cache | None = None) -> tuple[Plan, Store]:
    """Reads, checks and plans a sweep file, and opens its store; writes nothing.

    Raises:
        SweepFileError: the file or its data have problems.
        StoreMismatchError: the store belongs to something else.
    """
    plan = plan_sweep(read_sweep_file(Path(path)), cache=(cache or Cache()).here)
    opened = Store(open_objects(store or plan.sweep.store, patience_s=FIRST_CONTACT_S))
    lock = _lock_of_store(opened)
    if lock is not None and lock.name != plan.sweep.name:
        raise StoreMismatchError(
            f"store '{opened.objects.url}' was made by sweep '{lock.name}', this file is sweep "
            f"'{plan.sweep.name}'; give another store, or rename the sweep back"
        )
    return plan, opened


def _lock_of_store(store: Store) -> LockFile | None:
    """The lock file of the launch before; a damaged one counts as none, because every launch writes it anew."""
    try:
        return store.read_lock()
    except CorruptFileError:
        return None


def take_stock(plan: Plan, store: Store, *, retry_failed: bool = False, damage: Sequence[Damage] = ()) -> Survey:
    """What of a plan the store holds whole, and what is left to do."""
    damaged = frozenset(harmed(damage))
    contents = Contents(
        weights=_whole(store.weights_names(), damaged),
        results={dataset: _results(plan, store, dataset, damaged) for dataset in plan.sweep.evaluate_on},
        failures=store.failures(),
    )
    return survey(plan, contents, retry_failed=retry_failed)


def _results(plan: Plan, store: Store, dataset: str, damaged: frozenset[str]) -> frozenset[str]:
    """The results that are there, with their embeddings if the sweep keeps those."""
    results = _whole(store.result_names(dataset), damaged)
    kept = frozenset(store.embeddings_names(dataset)) if plan.sweep.evaluation.embeddings else frozenset()
    without = frozenset(job.key[:16] for job in plan.evaluation_on(dataset) if not job.evaluation.embeddings)
    return results & (kept | without)


def _whole(names: dict[str, str], damaged: frozenset[str]) -> frozenset[str]:
    return frozenset(key for key, name in names.items() if name not in damaged)


def launch(
    path: Path | str,
    *,
    store: str | None = None,
    executor: ExecutorKind = ExecutorKind.RAY,
    retry_failed: bool = False,
    options: Options | None = None,
    hooks: Hooks | None = None,
) -> Summary:
    """Runs what a sweep's store lacks: trains, evaluates, commits.

    Args:
        path: the sweep file.
        store: overrides the file's `store`.
        executor: Ray, or this process.
        retry_failed: runs the variants that failed before, too.
        options: where and how it runs.
        hooks: what to call meanwhile.

    Raises:
        SweepFileError: the file has problems; nothing was written.
        StoreMismatchError: the store belongs to something else; nothing was written.
        LaunchHeldError: another launch of this store is running.
        StoreError: the store failed or is full; the same command continues.
        ClusterError: Ray cannot give what the sweep asks for, or has died.
    """
    options, hooks = options or Options(), hooks or Hooks()
    if executor is ExecutorKind.RAY:
        from overlap.ray_cluster import remove_abandoned_folders

        remove_abandoned_folders()  # by a launch that finds nothing to do and starts no Ray, too
    plan, opened = open_plan(path, store=store, cache=options.cache)
    lock, new_lock = _lock_of_store(opened), lock_of(plan)
    if lock is not None and not options.allow_new_dataset:
        _refuse_changed_datasets(plan, lock, opened.objects.url)
    damage = find_damage(opened)
    stock = take_stock(plan, opened, retry_failed=retry_failed, damage=damage)
    if stock.complete and not damage and lock == new_lock:
        with contextlib.suppress(StoreError):  # it may be one that we can only read
            remember_sound(opened)
        return Summary(status=status(opened), resumed=len(stock.done), ran=0)
    if lock != new_lock:  # the launch that wrote it has asked already, which takes seconds
        check_models(plan, [job.variant for job in (*stock.training, *stock.evaluation)])
    with _held(opened.objects, force=options.force):
        opened = Store(open_objects(opened.objects.url))  # it answers: from now on, with patience
        aside = put_aside(opened, find_damage(opened))
        opened.write_sweep(plan.sweep.text, new_lock)
        with _executors(plan, opened.objects, executor, options, hooks) as make_executor:
            _run_rounds(plan, opened, retry_failed, make_executor, hooks)
        remember_sound(opened)
    now = status(opened)
    return Summary(
        status=now,
        resumed=len(stock.done),
        ran=now.count(JobState.DONE) - len(stock.done),
        put_aside=tuple(aside),
        interrupted=hooks.asked_to_stop(),
    )


def _refuse_changed_datasets(plan: Plan, lock: LockFile, url: str) -> None:
    """A dataset that has changed makes every result of it anew, which nobody should pay for unawares.

    Raises:
        StoreMismatchError: a dataset has other examples or classes than when the sweep was last launched.
    """
    changed = [name for name, facts in plan.datasets.items() if name in lock.datasets and lock.datasets[name] != facts]
    if changed:
        raise StoreMismatchError(
            f"dataset '{changed[0]}' has other examples, splits or classes than when this sweep was launched into "
            f"'{url}': all that depends on it would be made anew. Restore it, give another --store, or say "
            "--allow-new-dataset (the old results are kept, but hidden)"
        )


MakeExecutor = Callable[[Stage, Sequence[Job]], "Executor"]


def _run_rounds(plan: Plan, store: Store, retry_failed: bool, make_executor: MakeExecutor, hooks: Hooks) -> None:
    """Runs what is left; once more if workers found damaged files and put them aside."""
    for turn in range(MAX_ROUNDS):
        stock = take_stock(plan, store, retry_failed=retry_failed and turn == 0)
        if stock.complete or hooks.asked_to_stop():
            return
        _run_stages(plan, store, stock, make_executor, hooks)


def _run_stages(plan: Plan, store: Store, stock: Survey, make_executor: MakeExecutor, hooks: Hooks) -> None:
    """Trains what has no weights, teachers first, then evaluates every variant whose weights are there."""
    waiting = list(stock.training)
    while waiting and not hooks.asked_to_stop():
        there = store.weights_names()
        ready = [job for job in waiting if not job.weights_key or job.weights_key[:16] in there]
        if not ready:
            break  # their teachers have failed
        _run_stage(plan, store, stock, ready, make_executor, hooks)
        waiting = [job for job in waiting if job not in ready]
    weights = store.weights_names()
    ready = [job for job in stock.evaluation if not job.weights_key or job.weights_key[:16] in weights]
    if ready and not hooks.asked_to_stop():
        _run_stage(plan, store, stock, ready, make_executor, hooks)


def _run_stage(
    plan: Plan, store: Store, stock: Survey, jobs: Sequence[Job], make_executor: MakeExecutor, hooks: Hooks
) -> None:
    attempts = [
        Attempt(
            job=job,
            number=stock.attempts.get(job.key, 0) + 1,
            batch_size=stock.batch_sizes.get(job.key, FIRST_BATCH_SIZE),
        )
        for job in jobs
    ]
    executor = make_executor(jobs[0].stage, jobs)
    try:
        run_attempts(store, jobs[0].stage, attempts, executor, hooks)
    except StoreFullError as error:
        raise StoreFullError(f"{error}. {_space_needed(plan, store)}, then run the same command again") from error
    finally:
        executor.close()


def _space_needed(plan: Plan, store: Store) -> str:
    stock = take_stock(plan, store)
    left, weights = stock.evaluation, f", and space for {len(stock.training)} trained weights" if stock.training else ""
    sizes = [(plan.datasets[job.dataset].splits["test"].size, plan.datasets[job.dataset].class_names) for job in left]
    needed = sum(examples * (2 * len(classes) + BYTES_OF_AN_EXAMPLE) for examples, classes in sizes)
    return f"Free about {max(needed / 1e6, 0.1):,.1f} MB for the {len(left)} results that are left{weights}"


@contextlib.contextmanager
def _executors(
    plan: Plan, objects: Objects, kind: ExecutorKind, options: Options, hooks: Hooks
) -> Iterator[MakeExecutor]:
    """Something that makes the executor of a stage; Ray starts with the first one, and ends with the context."""
    specs = {spec.name: spec for spec in plan.sweep.datasets}
    workplace = Workplace(datasets=specs, facts=plan.datasets, cache=options.cache)
    if kind is ExecutorKind.INPROCESS:
        from overlap.inprocess_executor import InProcessExecutor

        yield lambda _stage, _jobs: InProcessExecutor(workplace, objects)
        return
    from overlap.ray_cluster import connected

    with contextlib.ExitStack() as stack:
        clusters: list[Cluster] = []

        def make(stage: Stage, jobs: Sequence[Job]) -> "Executor":
            if not clusters:
                clusters.append(stack.enter_context(connected(options.address, on_lost=hooks.on_lost)))
            from overlap.ray_executor import make_ray_executor

            needs = dict.fromkeys(job.resources for job in jobs)
            return make_ray_executor(stage, needs, workplace, objects.url, clusters[0], max_workers=options.max_workers)

        yield make


@contextlib.contextmanager
def _held(objects: Objects, *, force: bool) -> Iterator[None]:
    """Keeps a second launch of the same store away, asks whether the store can be relied on, and tidies it."""
    if isinstance(objects, LocalObjects):
        with objects.launch_lock():
            objects.remove_stale_temporaries()
            probe(objects, sizes=[64])  # of a folder only its links can be missing
            yield
        return
    with held(objects, force=force):
        probe(objects)
        yield
