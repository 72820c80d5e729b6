"""What a plan still lacks, seen from what its store holds; pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from overlap.plan import Job, Plan
from overlap.schedule import Outcome
from overlap.store.failures import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a store holds: first 16 digits of the keys of weights and results, and the failed attempts."""

    weights: Collection[str]
    results: Mapping[str, Collection[str]]  # by dataset
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Every evaluation job of a plan is done, failed or to do; `training` is what the latter wait for.

    `attempts` counts the failed attempts that the store remembers, by key; `batch_sizes` are the next
    to try for those that ran out of memory.
    """

    done: tuple[Job, ...]
    failed: tuple[Job, ...]
    training: tuple[Job, ...]
    evaluation: tuple[Job, ...]
    attempts: Mapping[str, int]
    batch_sizes: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """True when a launch has nothing left to run."""
        return not self.training and not self.evaluation


def survey(plan: Plan, contents: Contents, *, retry_failed: bool = False) -> Survey:
    """Sorts a plan's jobs by what the store holds; failed ones are to do again with `retry_failed`.

    A job has failed if it, or the training it needs, has a final failure and no result.
    """
    final = _failed_keys(plan, contents, retry_failed=retry_failed)
    done, failed, evaluation = [], [], []
    for job in plan.evaluation:
        if job.key[:16] in contents.results[job.dataset]:
            done.append(job)
        elif job.key in final or (job.weights_key in final and job.weights_key[:16] not in contents.weights):
            failed.append(job)
        else:
            evaluation.append(job)
    training = _trainings(plan, contents, {job.weights_key for job in evaluation})
    attempts: defaultdict[str, int] = defaultdict(int)
    batch_sizes: dict[str, int] = {}
    for failure in contents.failures:
        attempts[failure.key] = max(attempts[failure.key], failure.attempt)
        if failure.outcome == Outcome.OUT_OF_MEMORY:
            fits = max(failure.batch_size // 2, 1)
            batch_sizes[failure.key] = min(fits, batch_sizes.get(failure.key, fits))
    return Survey(
        done=tuple(done),
        failed=tuple(failed),
        training=tuple(training),
        evaluation=tuple(evaluation),
        attempts=dict(attempts),
        batch_sizes=batch_sizes,
    )


def _failed_keys(plan: Plan, contents: Contents, *, retry_failed: bool) -> set[str]:
    """Keys of what has failed for good, students of a teacher that has included."""
    final = {failure.key for failure in contents.failures if failure.final and not retry_failed}
    for _ in plan.training:  # a teacher may have a teacher
        students = {job.key for job in plan.training if job.weights_key in final} - final
        if not students:
            break
        final |= {key for key in students if key[:16] not in contents.weights}
    return final


def _trainings(plan: Plan, contents: Contents, needed: set[str]) -> list[Job]:
    """The trainings whose weights are needed and not there, and those of their teachers."""
    by_key = {job.key: job for job in plan.training if job.key[:16] not in contents.weights}
    wanted = set[str]()
    while more := {key for key in needed if key in by_key} - wanted:
        wanted |= more
        needed = {by_key[key].weights_key for key in more}
    return [job for key, job in by_key.items() if key in wanted]
