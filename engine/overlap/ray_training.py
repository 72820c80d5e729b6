"""Training as Ray Tune trials: one variant a trial, resumed from the store, never from Tune."""

import functools
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import ray
from ray import tune
from ray.tune.experiment import Trial

from overlap import ray_nodes
from overlap.errors import ClusterError
from overlap.executor import Offer
from overlap.ray_cluster import Cluster
from overlap.ray_deaths import Post, how_it_died
from overlap.resources import Resources
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import open_objects
from overlap.supervise import end_with_parent
from overlap.watchdog import GRACE_S, Breadcrumb
from overlap.workplace import Workplace

if TYPE_CHECKING:
    from overlap.training import Epoch

# The end of one attempt by its number, an error of Tune itself, or None when the Tuner is through.
_Event: TypeAlias = "tuple[int, Ended] | BaseException | None"

POLL_S = 0.5
STOP_S = 20.0
_OUTCOME, _CAUSE, _LAST_LINES, _SECONDS, _NODE, _BREADCRUMB = (
    "outcome",
    "cause",
    "last_lines",
    "seconds",
    "node",
    "breadcrumb",
)


class TuneExecutor:
    """Runs attempts as the trials of a `Tuner`, as many at once as the cluster has room for.

    Everything started since the last Tuner ended becomes the next one. Tune retries nothing and
    restores nothing: epochs are checkpointed in the store, and the schedule decides what runs again.
    """

    def __init__(
        self, workplace: Workplace, store_url: str, cluster: Cluster, *, elastic: bool, max_workers: int | None = None
    ) -> None:
        self.workplace = workplace
        self.store_url = store_url
        self.cluster = cluster
        self.elastic = elastic
        self.max_workers = max_workers
        self.started: list[Attempt] = []
        self.running: dict[int, Attempt] = {}
        self.reporter = _Reporter([])
        self.thread = threading.Thread()
        self.left_out: frozenset[str] = frozenset()
        self.widened = False
        self.stopped = False

    def offer(self, demand: Mapping[Resources, int]) -> Offer:
        """No limit: Tune queues what does not fit, and asks the autoscaler for it."""
        elsewhere = self.elastic or len(ray_nodes.alive_nodes().keys() - self.left_out) > 1
        return Offer(slots=dict.fromkeys(demand, sys.maxsize), elsewhere=elsewhere)

    def start(self, attempt: Attempt) -> None:
        """Puts the attempt into the next Tuner."""
        self.started.append(attempt)

    def wait(self) -> list[Ended]:
        """Waits for the end of a trial; begins a Tuner if none is running.

        Raises:
            ClusterError: Tune itself failed.
            ClusterLostError: the local Ray has died.
        """
        self.cluster.require_alive()
        if self.stopped:
            return self._end_all(Outcome.STOPPED, "stopped")
        if not self.running and self.started:
            self._begin()
        try:
            event = self.reporter.events.get(timeout=POLL_S)
        except queue.Empty:
            self._end_what_is_late()
            self._widen_if_refused()
            return []
        if isinstance(event, BaseException):
            raise ClusterError(f"Ray Tune failed: {event}") from event
        if event is None:
            return self._end_all(Outcome.PROCESS_DIED, "the trial ended without a word")
        index, ended = event
        return [ended] if self.running.pop(index, None) else []

    def leave_out(self, nodes: frozenset[str]) -> None:
        """Goes on without these nodes: trials that run resume from their checkpoints."""
        self.left_out = nodes
        self._begin_again()

    def stop(self) -> None:
        """Ends all trials now: each resumes after its last epoch."""
        self.stopped = True
        self._leave_tuner()

    def close(self) -> None:
        """Ends a running Tuner, whose thread would otherwise start a Ray of its own when ours is gone."""
        self.started, self.running = [], {}
        self._leave_tuner()

    def _begin(self) -> None:
        if self.thread.ident is not None:
            self.thread.join()  # the Tuner before has told of its last trial, and is writing its state
        attempts, self.started = self.started, []
        self.running = dict(enumerate(attempts))
        self.reporter = _Reporter(attempts)
        self.thread = threading.Thread(target=self._fit, args=(self.reporter,), daemon=True, name="ray-tune")
        self.thread.start()

    def _fit(self, reporter: "_Reporter") -> None:
        try:
            self._tuner(reporter).fit()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            reporter.events.put(error)
        else:
            reporter.events.put(None)

    def _tuner(self, reporter: "_Reporter") -> tune.Tuner:
        """A Tuner with one trial an attempt, in the attempts' order."""
        attempts, widened, left_out = list(reporter.attempts), self.widened, self.left_out

        def place(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            needs = attempts[config["attempt"]].job.resources
            needs = ray_nodes.widened(needs) if widened and needs.on_demand_after_s is not None else needs
            selector = needs.selector(without_nodes=left_out)
            labels: dict[str, Any] = {"bundle_label_selector": [selector]} if selector else {}
            return tune.PlacementGroupFactory([{"CPU": needs.cpus, "GPU": needs.gpus}], **labels)

        trainable = tune.with_parameters(_trial, attempts=attempts, workplace=self.workplace, store_url=self.store_url)
        return tune.Tuner(
            tune.with_resources(trainable, place),
            param_space={"attempt": tune.grid_search(list(range(len(attempts))))},
            tune_config=tune.TuneConfig(reuse_actors=True, metric=None, max_concurrent_trials=self.max_workers),
            run_config=tune.RunConfig(
                name="training",
                storage_path=str(self.cluster.folder / "tune"),
                callbacks=[reporter],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )

    def _leave_tuner(self) -> None:
        self.reporter.stopping.set()
        if self.thread.ident is not None:
            self.thread.join(STOP_S)

    def _begin_again(self) -> None:
        """Gives what has not ended to a new Tuner."""
        self._leave_tuner()
        self.started = [*self.running.values(), *self.started]
        self.running = {}
        self.reporter = _Reporter([])

    def _end_all(self, outcome: Outcome, cause: str) -> list[Ended]:
        ends = [Ended(attempt=attempt, outcome=outcome, cause=cause) for attempt in self._unfinished()]
        self.running, self.started = {}, []
        return ends

    def _unfinished(self) -> list[Attempt]:
        return [*self.running.values(), *(self.started if self.stopped else [])]

    def _widen_if_refused(self) -> None:
        """Asks for on-demand machines when no trial could start on a spot one in time."""
        patience = [a.job.resources.on_demand_after_s for a in self.running.values()]
        allowed = [seconds for seconds in patience if seconds is not None]
        if allowed and not self.widened and self.reporter.silent_for() > min(allowed) and not self.reporter.trials:
            self.widened = True
            self._begin_again()

    def _end_what_is_late(self) -> None:
        """Ends trials that are too stuck to end themselves at their deadline."""
        for index, silent_s in self.reporter.silences().items():
            attempt = self.running.get(index)
            if attempt is not None and silent_s > attempt.job.resources.timeout_s + GRACE_S:
                self.reporter.end_late(index)


@functools.cache
def _breadcrumb() -> Breadcrumb:
    """This process's breadcrumb; with the first one, the process also learns to end with its node."""
    end_with_parent()
    return Breadcrumb(ray_nodes.breadcrumb_path())


def _trial(config: dict[str, Any], attempts: list[Attempt], workplace: Workplace, store_url: str) -> None:
    """One trial: trains its variant, reporting the loss of every epoch and at last how it ended."""
    from overlap.work import prepare_process, run_attempt  # torch: only workers wait for it

    attempt = attempts[config["attempt"]]
    node = ray.get_runtime_context().get_node_id()
    tune.report({_NODE: node, _BREADCRUMB: str(_breadcrumb().path)})
    prepare_process(attempt.job.resources)
    with _breadcrumb().watching(attempt.job.resources.timeout_s) as start_anew:

        def report(epoch: "Epoch") -> None:
            start_anew()
            tune.report({_NODE: node, "epoch": epoch.number, "loss": epoch.loss})

        ended = run_attempt(attempt, workplace, open_objects(store_url), report)
    tune.report(
        {
            _NODE: node,
            _OUTCOME: ended.outcome.value,
            _CAUSE: ended.cause,
            _LAST_LINES: list(ended.last_lines),
            _SECONDS: ended.seconds,
        }
    )


class _StoppedError(Exception):
    """The executor has left its Tuner."""


class _Reporter(tune.Callback):
    """Turns the ends of trials into events.

    Tune pickles a Tuner with its callbacks for `Tuner.restore`, which is never used here; a queue
    cannot be pickled, so a plain callback stands for this one there.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self.attempts = attempts
        self.events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.trials: dict[int, Trial] = {}
        self.posts: dict[int, Post] = {}
        self.heard: dict[int, float] = {}
        self.since: dict[int, float] = {}
        self.begun = time.monotonic()

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        return tune.Callback, ()

    def silent_for(self) -> float:
        """Seconds since anything was heard of any trial."""
        return time.monotonic() - max([self.begun, *self.heard.copy().values()])

    def silences(self) -> dict[int, float]:
        """Seconds since anything was heard of each trial that runs."""
        now = time.monotonic()
        return {index: now - heard for index, heard in self.heard.copy().items()}

    def end_late(self, index: int) -> None:
        """Kills the process of a trial and says that its time was up."""
        trial = self._forget(index)
        actor = getattr(trial.temporary_state, "ray_actor", None) if trial else None
        if actor is not None:
            ray.kill(actor)
        cause = "no end of an epoch in time, and deaf to its own deadline"
        attempt, seconds = self.attempts[index], self._lasted(index)
        self.events.put((index, Ended(attempt=attempt, outcome=Outcome.TIMED_OUT, cause=cause, seconds=seconds)))

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:  # noqa: ANN401, ARG002
        """Leaves Tune's loop when the executor is through, the only way out that Tune offers."""
        if self.stopping.is_set():
            raise _StoppedError

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **_: Any,  # noqa: ANN401
    ) -> None:
        """A trial has begun, or has ended an epoch."""
        index = int(trial.config["attempt"])
        self.trials[index], self.heard[index] = trial, time.monotonic()
        self.since.setdefault(index, self.heard[index])
        if _BREADCRUMB in result:
            self.posts[index] = Post(node=result[_NODE], breadcrumb=Path(result[_BREADCRUMB]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ANN401, ARG002
        """A trial ran to its end, whatever came of its variant."""
        index, result = int(trial.config["attempt"]), trial.last_result
        self._forget(index)
        ended = Ended(
            attempt=self.attempts[index],
            outcome=Outcome(result.get(_OUTCOME, Outcome.PROCESS_DIED)),
            cause=result.get(_CAUSE, "the trial ended without a word"),
            last_lines=tuple(result.get(_LAST_LINES, ())),
            seconds=result.get(_SECONDS, 0.0),
            node=result.get(_NODE, ""),
        )
        self.events.put((index, ended))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ANN401, ARG002
        """A trial's process died, or its code did what `run_attempt` cannot catch."""
        index = int(trial.config["attempt"])
        self._forget(index)
        error = trial.get_error() or RuntimeError("the trial's process died")
        try:
            died = self._how_it_died(index, error)
        except Exception as another:  # noqa: BLE001 - Ray is no more: that is nobody's fault, and must not end Tune
            died = Ended(attempt=self.attempts[index], outcome=Outcome.NODE_LOST, cause=str(another))
        self.events.put((index, replace(died, seconds=self._lasted(index))))

    def _how_it_died(self, index: int, error: BaseException) -> Ended:
        post = self.posts.get(index, Post(node="", breadcrumb=Path()))
        alive = not post.node or post.node in ray_nodes.alive_nodes()
        return how_it_died(error, self.attempts[index], post, node_alive=alive)

    def _lasted(self, index: int) -> float:
        now = time.monotonic()
        return now - self.since.get(index, now)

    def _forget(self, index: int) -> Trial | None:
        self.heard.pop(index, None)
        return self.trials.pop(index, None)
