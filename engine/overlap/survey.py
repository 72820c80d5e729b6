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
    final = {failure.key for failure in contents.failures if failure.final and not retry_failed}
    done, failed, evaluation = [], [], []
    for job in plan.evaluation:
        if job.key[:16] in contents.results[job.dataset]:
            done.append(job)
        elif job.key in final or (job.weights_key in final and job.weights_key[:16] not in contents.weights):
            failed.append(job)
        else:
            evaluation.append(job)
    needed = {job.weights_key for job in evaluation}
    training = [job for job in plan.training if job.key in needed and job.key[:16] not in contents.weights]
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
