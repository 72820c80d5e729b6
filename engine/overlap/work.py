"""What a worker does for one attempt: train or evaluate, commit to the store, say how it ended."""

import functools
import os
import platform
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch

from overlap import models
from overlap.datasets import Dataset, Split
from overlap.datasets.pixels import Pixels
from overlap.errors import CorruptFileError, StoreError, StoreFullError
from overlap.evaluate import (
    Predict,
    embedding_features,
    estimator_predictor,
    evaluate,
    network_predictor,
    pixel_features,
)
from overlap.inference import Device
from overlap.plan import Job, Stage
from overlap.process_state import process_state_restored
from overlap.resources import Resources
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import Objects, Store
from overlap.variants import Variant
from overlap.workplace import Workplace, known_classes

if TYPE_CHECKING:
    from overlap.training import Epoch

LAST_LINES = 12
LONGEST_LINE = 500


def prepare_process(resources: Resources) -> None:
    """Makes this process use the share of the machine it was given, and no more."""
    torch.set_num_threads(resources.cpus)
    if not resources.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves every GPU visible to whoever asked for none


def _device(attempt: Attempt) -> Device:
    """The device an attempt is computed on here."""
    resources = attempt.job.resources
    kind = "cuda" if resources.gpus and torch.cuda.is_available() else "cpu"
    share = min(resources.gpus, 1.0) or 1.0
    return Device(torch=torch.device(kind), threads=resources.cpus, batch_size=attempt.batch_size, gpu_share=share)


def run_attempt(
    attempt: Attempt,
    workplace: Workplace,
    objects: Objects,
    on_epoch: Callable[["Epoch"], None] = lambda _: None,
    *,
    interruptible: bool = False,
) -> Ended:
    """Runs one attempt to its end; whatever the variant's own code does wrong becomes an outcome."""
    started = time.monotonic()
    store = Store(objects)

    def ended(outcome: Outcome, error: BaseException | None = None) -> Ended:
        return Ended(
            attempt=attempt,
            outcome=outcome,
            cause=_one_line(error) if error else "",
            last_lines=_last_lines(error) if error else (),
            seconds=time.monotonic() - started,
            spoiled=isinstance(error, torch.AcceleratorError),
        )

    try:
        with process_state_restored():
            if attempt.job.stage is Stage.TRAIN:
                _train(attempt, workplace, store, on_epoch)
            else:
                _evaluate(attempt, workplace, store)
    except StoreFullError as error:
        return ended(Outcome.DISK_FULL, error)
    except CorruptFileError as error:
        return ended(*_put_aside(store, error))
    except StoreError as error:
        return ended(Outcome.STORE_FAILED, error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        torch.cuda.empty_cache()
        return ended(Outcome.OUT_OF_MEMORY, error)
    except BaseException as error:  # the boundary around a variant's own code
        if interruptible and isinstance(error, KeyboardInterrupt):
            raise  # Ctrl-C: this is the process that a user started
        return ended(Outcome.RAISED, error)
    return ended(Outcome.DONE)


def _put_aside(store: Store, error: CorruptFileError) -> tuple[Outcome, StoreError]:
    """Takes a damaged input out of the way, if nobody else has; the next round makes it anew."""
    try:
        store.put_aside(error.name)
    except StoreFullError as another:
        return Outcome.DISK_FULL, another
    except StoreError as another:
        return Outcome.STORE_FAILED, another
    return Outcome.INPUT_DAMAGED, error


def _train(attempt: Attempt, workplace: Workplace, store: Store, on_epoch: Callable[["Epoch"], None]) -> None:
    job = attempt.job
    if store.has_weights(job):
        return
    from overlap.training import make_teacher, train  # the frameworks: who only evaluates does not wait for them

    dataset, variant = workplace.dataset(job.dataset), job.variant
    split, device = dataset.splits["train"], _device(attempt).torch
    teacher = None
    if variant.built_on:
        network = _classifier(variant.built_on, job, workplace, store, dataset, device)
        teacher = make_teacher(network, variant.built_on.preprocessing, device)
    epochs = train(
        variant,
        workplace.pixels(split, variant.preprocessing.geometry),
        split.labels_N,
        class_names=dataset.class_names,
        device=device,
        checkpoint=store.read_checkpoint(job),
        teacher=teacher,
    )
    for epoch in epochs:
        if epoch.weights is None:
            store.write_checkpoint(job, epoch.checkpoint)
        else:
            store.commit_weights(job, epoch.weights)
        on_epoch(epoch)


def _evaluate(attempt: Attempt, workplace: Workplace, store: Store) -> None:
    job = attempt.job
    if store.has_result(job) and (not job.evaluation.embeddings or store.has_embeddings(job)):
        return
    started, started_at = time.monotonic(), datetime.now(UTC)
    dataset = workplace.dataset(job.dataset)
    device = _device(attempt)
    predictions = evaluate(_predictor(job, workplace, store, dataset, device), dataset)
    footer = {
        **_versions(),
        "attempt_id": uuid.uuid4().hex,
        "attempt": str(attempt.number),
        "batch_size": str(predictions.batch_size),
        "device": str(device.torch),
        "threads": str(device.threads),
        "host": platform.node(),
        "started": started_at.isoformat(),
        "wall_s": f"{time.monotonic() - started:.3f}",
    }
    store.commit(job, predictions, footer)


def _predictor(job: Job, workplace: Workplace, store: Store, dataset: Dataset, device: Device) -> Predict:
    """What gives a variant's outputs: a network, or an estimator on pixels or on a network's embeddings."""
    variant = job.variant

    def open_pixels(split: Split) -> Pixels:
        return workplace.pixels(split, variant.preprocessing.geometry)

    if not variant.is_estimator:
        classifier = _classifier(variant, job, workplace, store, dataset, device.torch)
        return network_predictor(variant, classifier, open_pixels, device, job.evaluation)
    features = pixel_features(open_pixels)
    if variant.built_on:
        weights = store.read_weights(job) if job.weights_key else None
        classes = len(workplace.facts[variant.built_on.train_on].class_names) if weights else 0
        embedder = models.build_embedder(variant.built_on, weights=weights, classes=classes, cache=workplace.cache.here)
        features = embedding_features(variant.built_on, embedder, open_pixels, device, job.evaluation)
    return estimator_predictor(
        variant,
        workplace.dataset(variant.train_on),
        features,
        classes=dataset.class_names,
        threads=device.threads,
        evaluation=job.evaluation,
    )


def _classifier(
    variant: Variant, job: Job, workplace: Workplace, store: Store, dataset: Dataset, device: torch.device
) -> "models.Classifier":
    """A variant's network over the classes of a dataset; `job` says which weights of the store it needs."""
    return models.build_classifier(
        variant,
        class_names=dataset.class_names,
        outputs=known_classes(variant, workplace.facts),
        weights=store.read_weights(job) if job.weights_key else None,
        cache=workplace.cache.here,
        device=device,
    )


@functools.cache
def _versions() -> Mapping[str, str]:
    names = {
        "overlap": "overlap",
        "torch": "torch",
        "timm": "timm",
        "open_clip": "open_clip_torch",
        "sklearn": "scikit-learn",
        "numpy": "numpy",
    }
    return {f"{name}_version": version(package) for name, package in names.items()}


def _one_line(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 - also a variant's own code
        text = "<no text>"
    kind, first = type(error).__name__, text.partition("\n")[0]
    return plain_line(f"{kind}: {first}" if first else kind)


def _last_lines(error: BaseException) -> tuple[str, ...]:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return tuple(plain_line(line) for line in lines[-LAST_LINES:])


def plain_line(line: str) -> str:
    r"""A line that every terminal and file takes: what cannot be printed is escaped, what is long is cut.

    >>> plain_line("no text: \udcff")
    'no text: \\udcff'
    """
    cut = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ... ({len(line):,} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
