"""The sweep of the simulation, and what its variants compute: real files in the store, without any model."""

import contextlib
import functools
import hashlib
import json
from dataclasses import replace
from enum import StrEnum
from unittest.mock import patch

import numpy as np

from overlap.datasets import load_dataset
from overlap.preflight import plan_sweep
from overlap.schedule import Outcome
from overlap.spec import read_sweep
from overlap.store import Predictions, round_logits

CLASSES = 10
SWEEP = """\
name: simulated
store: memory
datasets:
  digits: {source: "sklearn:digits", splits: {train: 5, test: 6}}
  others: {source: "sklearn:digits", splits: {train: 5, test: 4}, seed: 7}
evaluate_on: [DATASETS]
base: {architecture: test_resnet, train_on: digits, preprocessing: {size: 8}}
vary:
  - {seed: [1, 2]}
  - {architecture: [test_vit, test_efficientnet], resources: {cpus: 2}}
  - {architecture: ["sklearn:GaussianNB", "sklearn:SVC", "sklearn:KNeighborsClassifier", "sklearn:BernoulliNB"]}
  - {architecture: "sklearn:DecisionTreeClassifier", hyperparameters: {max_depth: [2, 3, 4, 5, 6]}}
"""


class Broken(StrEnum):
    """What a job does whenever and wherever it runs."""

    RAISES = "raises"
    DIES = "dies"
    HANGS = "hangs"
    TOO_LARGE = "needs too much memory"


OUTCOME_OF = {
    Broken.RAISES: Outcome.RAISED,
    Broken.DIES: Outcome.PROCESS_DIED,
    Broken.HANGS: Outcome.TIMED_OUT,
    Broken.TOO_LARGE: Outcome.OUT_OF_MEMORY,
}


@functools.cache
def whole_plan(datasets):
    """All variants of the sweep, evaluated on the first or on both of its datasets."""
    text = SWEEP.replace("DATASETS", ", ".join(["digits", "others"][:datasets]))
    return plan_sweep(read_sweep(text, path="simulated.yaml"))


def part_of(plan, names):
    """The same sweep with fewer variants."""
    return replace(
        plan,
        variants=tuple(variant for variant in plan.variants if variant.name in names),
        training=tuple(job for job in plan.training if job.variant.name in names),
        evaluation=tuple(job for job in plan.evaluation if job.variant.name in names),
    )


@functools.cache
def weights_of(key):
    """What training gives: a safetensors file that depends on the job's key alone."""
    tensor = hashlib.sha256(key.encode()).digest()
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(tensor)], "data_offsets": [0, len(tensor)]}}).encode()
    return len(header).to_bytes(8, "little") + header + tensor


@functools.cache
def predictions_of(key, dataset, attempt=0):
    """What evaluating gives; with the number of an `attempt` it depends on that, as kernels on a GPU may."""
    spec = next(spec for spec in whole_plan(2).sweep.datasets if spec.name == dataset)
    split = load_dataset(spec).splits["test"]
    rng = np.random.default_rng([int(key[:8], 16), attempt])
    logits_NC = round_logits(rng.normal(0, 3, (len(split.ids_N), CLASSES)).astype(np.float32))
    return Predictions(ids_N=split.ids_N, labels_N=split.labels_N, logits_NC=logits_NC, temperature=1.0 + attempt)


def train(attempt, _workplace, store, _on_epoch):
    """Stands in for `overlap.work._train`."""
    job = attempt.job
    if store.has_weights(job):
        return
    store.read_checkpoint(job)
    store.write_checkpoint(job, job.key.encode())
    store.commit_weights(job, weights_of(job.key))


def evaluate(attempt, exact, store):
    """Stands in for `overlap.work._evaluate`; its workplace says whether all attempts give the same bits."""
    job = attempt.job
    if store.has_result(job):
        return
    if job.weights_key:
        tensor = weights_of(job.weights_key)[-32:]
        assert store.read_weights(job).endswith(tensor), f"{job.slug} was given the weights of another variant"
    predictions = predictions_of(job.key, job.dataset, 0 if exact else attempt.number)
    store.commit(job, predictions, {"attempt_id": f"{attempt.number}"})


@contextlib.contextmanager
def simulated_variants():
    """Lets the real `run_attempt` run, and only the variants' own code be simulated."""
    with patch("overlap.work._train", train), patch("overlap.work._evaluate", evaluate):
        yield
