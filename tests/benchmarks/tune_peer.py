"""The peer: trivial Ray Tune trials on actors that are reused, and a restore that has nothing left to run."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.stamps import Processor
from benchmarks.table import Row

TRIALS, RESUME = "Ray Tune, reused actors", "Ray Tune: restore and fit"
NAME = "peer"


def measure_trials(folder: Path, trials: int) -> Row:
    """The peer: trials that return at once, on actors that are reused, and Tune as it is by default otherwise."""
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner

    from overlap.ray_cluster import connected

    class Stamps(Callback):
        def __init__(self) -> None:
            self.started_s = self.ended_s = 0.0
            self.resident_bytes: list[int] = []
            self.processor = Processor(trials)

        def on_trial_start(self, *_arguments: object, **_known: object) -> None:
            self.started_s = self.started_s or time.perf_counter()

        def on_trial_complete(self, *_arguments: object, **_known: object) -> None:
            self.ended_s = time.perf_counter()
            self.resident_bytes.append(psutil.Process().memory_info().rss)
            self.processor.end()

    stamps = Stamps()
    results = folder / "results"
    results.mkdir(parents=True)
    with connected(None):
        os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)  # ours; Tune's default is to write logs
        tuner = Tuner(
            _tune_trial(),
            param_space={"seed": tune.grid_search(list(range(trials))), "folder": str(results)},
            tune_config=TuneConfig(reuse_actors=True),
            run_config=RunConfig(storage_path=str(folder), name=NAME, verbose=0, callbacks=[stamps]),
        )
        tuner.fit()
    ms = 1e3 * (stamps.ended_s - stamps.started_s) / trials
    files = sum(path.is_file() for path in (folder / NAME).rglob("*"))
    growth = 100 * (stamps.resident_bytes[-1] / stamps.resident_bytes[0] - 1)
    details = (
        f"CPU of all {stamps.processor.ms:.1f}; driver's memory {growth:+.1f} % over {trials} trials; "
        f"a trial returns a seed and a score, and writes them as JSON, not synced; Tune writes {files} files"
    )
    return Row(what=TRIALS, n=trials, value=ms, unit="ms/variant", details=details)


def _tune_trial() -> Callable[[dict], dict]:
    def trial(config: dict) -> dict:  # local, so that workers need not import this file
        score = {"seed": config["seed"], "score": config["seed"] % 10 / 10}
        Path(config["folder"], f"{config['seed']}.json").write_text(json.dumps(score))
        return score

    return trial


def restore_trials(path: str) -> None:
    from ray.tune import Tuner

    from overlap.ray_cluster import connected

    with connected(None):
        finished = Tuner.restore(path, trainable=_tune_trial(), resume_unfinished=True).fit()
        assert not finished.errors
