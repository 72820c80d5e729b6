"""Where a sweep stands: what is done, failed and pending, read from its store alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from overlap.errors import ArgumentError
from overlap.preflight import read_sweep_file
from overlap.store import Failure, LockFile, Store, open_objects

PATIENCE_S = 60.0  # with a bucket: somebody waits for the answer


class JobState(StrEnum):
    """What became of a variant on a dataset."""

    DONE = "done"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One variant on one dataset; `failure` says why it failed."""

    variant: str
    dataset: str
    state: JobState
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A sweep's jobs in the order of its variants."""

    name: str
    store: str
    variants: int
    jobs: tuple[JobStatus, ...]

    def count(self, state: JobState) -> int:
        """How many jobs are in a state."""
        return sum(job.state is state for job in self.jobs)

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs are in each state, by its word."""
        return {state.value: self.count(state) for state in JobState}

    @property
    def failures(self) -> list[Failure]:
        """Why jobs failed, each reason once."""
        return list(dict.fromkeys(job.failure for job in self.jobs if job.failure))


def open_store(target: str) -> Store:
    """The store that an address names, or that a sweep file at this path is launched into.

    Raises:
        ArgumentError: there is nothing at this address.
        SweepFileError: it is a file, but no sweep file.
    """
    path = Path(target)
    if path.is_file():
        return Store(open_objects(read_sweep_file(path).store, patience_s=PATIENCE_S))
    if "://" not in target and not path.exists():
        raise ArgumentError(f"'{target}' is neither a sweep file nor a store: it does not exist")
    return Store(open_objects(target, patience_s=PATIENCE_S))


def status(store: Store) -> Status:
    """Where the sweep of a store stands.

    Raises:
        ArgumentError: no sweep was launched into it.
    """
    lock = store.require_lock()
    final = {failure.key: failure for failure in store.failures() if failure.final}
    weights = store.weights_names()
    jobs = []
    for dataset, keys in lock.results.items():
        results = store.result_names(dataset)
        for variant in lock.variants_on(dataset):
            key, training_key = keys[variant.name], lock.training.get(variant.name, "")
            failure = final.get(key) or (None if training_key[:16] in weights else final.get(training_key))
            done = key[:16] in results
            state = JobState.DONE if done else JobState.FAILED if failure else JobState.PENDING
            jobs.append(
                JobStatus(variant=variant.name, dataset=dataset, state=state, failure=None if done else failure)
            )
    return Status(name=lock.name, store=store.objects.url, variants=len(lock.variants), jobs=tuple(jobs))


def choose_dataset(lock: LockFile, dataset: str | None) -> str:
    """The dataset to analyze: the one asked for, or the first that the sweep evaluates on.

    Raises:
        ArgumentError: the sweep has no such dataset.
    """
    known: Mapping[str, object] = lock.results
    if dataset is None:
        return next(iter(known))
    if dataset not in known:
        raise ArgumentError(f"'{dataset}' was not evaluated; give --dataset as one of {', '.join(known)}")
    return dataset
