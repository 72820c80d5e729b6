"""Evaluation on a pool of Ray actors, each pinned to its share of CPUs and GPUs."""

import time
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from overlap.errors import ClusterError
from overlap.executor import Executor
from overlap.plan import Stage
from overlap.ray_cluster import Cluster
from overlap.ray_training import TuneExecutor
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import open_objects
from overlap.work import Workplace, prepare_process, run_attempt

POLL_S = 0.5


def make_ray_executor(stage: Stage, workplace: Workplace, store_url: str, cluster: Cluster) -> Executor:
    """The executor of a stage: Ray Tune trains, a pool of actors evaluates.

    Raises:
        ClusterError: the cluster has not the CPUs or GPUs that one variant asks for.
    """
    slots = _slots(workplace, cluster)
    if stage is Stage.TRAIN:
        return TuneExecutor(workplace, store_url, cluster.folder)
    return ActorPool(workplace, store_url, slots)


def _slots(workplace: Workplace, cluster: Cluster) -> int:
    """How many variants fit on the cluster at once."""
    by_cpus = int(cluster.cpus // workplace.cpus)
    by_gpus = int(cluster.gpus / workplace.gpus + 1e-9) if workplace.gpus else by_cpus
    if not by_cpus or not by_gpus:
        raise ClusterError(
            f"a variant asks for {workplace.cpus} CPUs and {workplace.gpus:g} GPUs, the cluster has "
            f"{cluster.cpus:g} and {cluster.gpus:g}: lower 'resources' in the sweep file, or add nodes"
        )
    return min(by_cpus, by_gpus)


class Worker:
    """The actor: one process, kept between variants, one attempt at a time."""

    def __init__(self, workplace: Workplace, store_url: str) -> None:
        self.workplace = workplace
        self.objects = open_objects(store_url)
        prepare_process(workplace)

    def run(self, attempt: Attempt) -> Ended:
        """Runs one attempt to its end."""
        return run_attempt(attempt, self.workplace, self.objects)


class ActorPool:
    """Actors that pull attempts one at a time; one that died is replaced by the next start."""

    def __init__(self, workplace: Workplace, store_url: str, slots: int) -> None:
        self.workplace = workplace
        self.store_url = store_url
        self.slots = slots
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Attempt, float]] = {}

    def free(self) -> int:
        """Slots without an attempt."""
        return self.slots - len(self.busy)

    def start(self, attempt: Attempt) -> None:
        """Gives the attempt to an idle actor, or to a new one."""
        actor = self.idle.pop() if self.idle else self._new_actor()
        self.busy[actor.run.remote(attempt)] = (actor, attempt, time.monotonic())

    def wait(self) -> list[Ended]:
        """Blocks until attempts end."""
        ready: list[Any] = []
        while not ready:
            ready, _ = ray.wait(list(self.busy), timeout=POLL_S)
        return [self._end(reference) for reference in ready]

    def close(self) -> None:
        """Ends every actor."""
        for actor in [*self.idle, *(actor for actor, *_ in self.busy.values())]:
            ray.kill(actor)
        self.idle, self.busy = [], {}

    def _new_actor(self) -> Any:  # noqa: ANN401 - Ray's handles are untyped
        remote = ray.remote(Worker).options(
            num_cpus=self.workplace.cpus, num_gpus=self.workplace.gpus, max_restarts=0, max_task_retries=0
        )
        return remote.remote(self.workplace, self.store_url)

    def _end(self, reference: Any) -> Ended:  # noqa: ANN401
        actor, attempt, started = self.busy.pop(reference)
        try:
            ended: Ended = ray.get(reference)
        except RayTaskError:
            raise  # run_attempt lets no error of a variant out: this is a bug of ours
        except RayError as error:
            ray.kill(actor)
            seconds = time.monotonic() - started
            return Ended(attempt=attempt, outcome=_outcome(error), cause=_cause(error), seconds=seconds)
        self.idle.append(actor)
        return ended


def _outcome(error: RayError) -> Outcome:
    """What a Ray error says about the attempt that got it.

    Raises:
        ClusterError: workers cannot start; another one would end the same way.
    """
    if getattr(error, "actor_init_failed", False):
        raise ClusterError(f"workers cannot start: {_cause(error)}") from error
    if isinstance(error, OutOfMemoryError):
        return Outcome.OUT_OF_MEMORY
    if isinstance(error, ActorUnavailableError | NodeDiedError) or getattr(error, "preempted", False):
        return Outcome.NODE_LOST
    if isinstance(error, RayActorError):
        return Outcome.PROCESS_DIED
    return Outcome.NODE_LOST


def _cause(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
