"""Training as Ray Tune trials: one variant a trial, resumed from the store, never from Tune."""

import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ray import tune
from ray.tune.experiment import Trial

from overlap.errors import ClusterError
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import open_objects
from overlap.training import Epoch
from overlap.work import Workplace, prepare_process, run_attempt

# The end of one attempt by its number, an error of Tune itself, or None when the Tuner is through.
_Event: TypeAlias = "tuple[int, Ended] | BaseException | None"

POLL_S = 0.5
STOP_S = 20.0
_OUTCOME, _CAUSE, _LAST_LINES, _SECONDS = "outcome", "cause", "last_lines", "seconds"


class TuneExecutor:
    """Runs attempts as the trials of a `Tuner`, as many at once as the cluster has room for.

    Everything started since the last Tuner ended becomes the next one. Tune retries nothing and
    restores nothing: epochs are checkpointed in the store, and the schedule decides what runs again.
    """

    def __init__(self, workplace: Workplace, store_url: str, folder: Path) -> None:
        self.workplace = workplace
        self.store_url = store_url
        self.folder = folder
        self.started: list[Attempt] = []
        self.running: dict[int, Attempt] = {}
        self.events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self.thread = threading.Thread()
        self.stopping = threading.Event()

    def free(self) -> int:
        """No limit: Tune queues what does not fit."""
        return sys.maxsize

    def start(self, attempt: Attempt) -> None:
        """Puts the attempt into the next Tuner."""
        self.started.append(attempt)

    def wait(self) -> list[Ended]:
        """Blocks until a trial ends; begins a Tuner if none is running.

        Raises:
            ClusterError: Tune itself failed.
        """
        if not self.running:
            self._begin()
        event = self._next_event()
        if isinstance(event, BaseException):
            raise ClusterError(f"Ray Tune failed: {event}") from event
        if event is not None:
            index, ended = event
            return [ended] if self.running.pop(index, None) else []
        lost = [_died(attempt, "the trial ended without a word") for attempt in self.running.values()]
        self.running = {}
        return lost

    def close(self) -> None:
        """Ends a running Tuner, whose thread would otherwise start a Ray of its own when ours is gone."""
        self.started, self.running = [], {}
        self.stopping.set()
        if self.thread.ident is not None:
            self.thread.join(STOP_S)

    def _next_event(self) -> _Event:
        while True:
            try:
                # A plain get sleeps through Ctrl-C when another of Ray's threads catches the signal.
                return self.events.get(timeout=POLL_S)
            except queue.Empty:
                continue

    def _begin(self) -> None:
        if self.thread.ident is not None:
            self.thread.join()  # the Tuner before has told of its last trial, and is writing its state
        attempts, self.started = self.started, []
        self.running = dict(enumerate(attempts))
        self.events = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._fit, args=(attempts, self.events), daemon=True, name="ray-tune")
        self.thread.start()

    def _fit(self, attempts: Sequence[Attempt], events: queue.SimpleQueue[_Event]) -> None:
        reporter = _Reporter(attempts, events, self.stopping)
        try:
            make_tuner(attempts, self.workplace, self.store_url, self.folder, reporter).fit()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            events.put(error)
        else:
            events.put(None)


def make_tuner(
    attempts: Sequence[Attempt], workplace: Workplace, store_url: str, folder: Path, reporter: tune.Callback
) -> tune.Tuner:
    """A Tuner with one trial an attempt, in the attempts' order."""
    trainable = tune.with_parameters(_trial, attempts=list(attempts), workplace=workplace, store_url=store_url)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": workplace.cpus, "gpu": workplace.gpus}),
        param_space={"attempt": tune.grid_search(list(range(len(attempts))))},
        tune_config=tune.TuneConfig(reuse_actors=True, metric=None),
        run_config=tune.RunConfig(
            name="training",
            storage_path=str(folder / "tune"),
            callbacks=[reporter],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


def _trial(config: dict[str, Any], attempts: list[Attempt], workplace: Workplace, store_url: str) -> None:
    """One trial: trains its variant, reporting the loss of every epoch and at last how it ended."""

    def report(epoch: Epoch) -> None:
        tune.report({"epoch": epoch.number, "loss": epoch.loss})

    prepare_process(workplace)
    ended = run_attempt(attempts[config["attempt"]], workplace, open_objects(store_url), report)
    tune.report(
        {
            _OUTCOME: ended.outcome.value,
            _CAUSE: ended.cause,
            _LAST_LINES: list(ended.last_lines),
            _SECONDS: ended.seconds,
        }
    )


class _StoppedError(Exception):
    """The executor was closed while its Tuner ran."""


class _Reporter(tune.Callback):
    """Turns the ends of trials into events.

    Tune pickles a Tuner with its callbacks for `Tuner.restore`, which is never used here; a queue
    cannot be pickled, so a plain callback stands for this one there.
    """

    def __init__(
        self, attempts: Sequence[Attempt], events: queue.SimpleQueue[_Event], stopping: threading.Event
    ) -> None:
        self.attempts = attempts
        self.events = events
        self.stopping = stopping

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:  # noqa: ANN401, ARG002
        """Leaves Tune's loop when the executor is closed, the only way out that Tune offers."""
        if self.stopping.is_set():
            raise _StoppedError

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ANN401, ARG002
        """A trial ran to its end, whatever came of its variant."""
        index = int(trial.config["attempt"])
        attempt, result = self.attempts[index], trial.last_result
        if _OUTCOME not in result:
            self.events.put((index, _died(attempt, "the trial ended without a word")))
            return
        ended = Ended(
            attempt=attempt,
            outcome=Outcome(result[_OUTCOME]),
            cause=result[_CAUSE],
            last_lines=tuple(result[_LAST_LINES]),
            seconds=result[_SECONDS],
        )
        self.events.put((index, ended))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ANN401, ARG002
        """A trial's process died, or its code did what `run_attempt` cannot catch."""
        index = int(trial.config["attempt"])
        error = trial.get_error()
        lines = str(error).strip().splitlines() if error else []
        self.events.put((index, _died(self.attempts[index], lines[0] if lines else "the trial's process died")))


def _died(attempt: Attempt, cause: str) -> Ended:
    return Ended(attempt=attempt, outcome=Outcome.PROCESS_DIED, cause=cause)
