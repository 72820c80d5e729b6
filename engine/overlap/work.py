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

from overlap.errors import CorruptFileError, StoreError, StoreFullError
from overlap.evaluate import Device, estimator_predictor, evaluate, network_predictor
from overlap.plan import Stage
from overlap.process_state import process_state_restored
from overlap.resources import Resources
from overlap.schedule import Attempt, Ended, Outcome
from overlap.store import Objects, Store
from overlap.workplace import Workplace

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
    return Device(torch=torch.device(kind), threads=resources.cpus, batch_size=attempt.batch_size)


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
    from overlap.training import train  # the frameworks: who only evaluates does not wait for them

    dataset = workplace.dataset(job.dataset)
    epochs = train(
        job.variant,
        dataset.splits["train"],
        classes=len(dataset.class_names),
        device=_device(attempt).torch,
        checkpoint=store.read_checkpoint(job),
    )
    for epoch in epochs:
        if epoch.weights is None:
            store.write_checkpoint(job, epoch.checkpoint)
        else:
            store.commit_weights(job, epoch.weights)
        on_epoch(epoch)


def _evaluate(attempt: Attempt, workplace: Workplace, store: Store) -> None:
    job = attempt.job
    if store.has_result(job):
        return
    started, started_at = time.monotonic(), datetime.now(UTC)
    dataset = workplace.dataset(job.dataset)
    device = _device(attempt)
    classes = len(dataset.class_names)
    if job.weights_key:
        weights = store.read_weights(job)
        predict = network_predictor(job.variant, weights, classes=classes, device=device)
    else:
        train_split = workplace.dataset(job.variant.train_on).splits["train"]
        predict = estimator_predictor(job.variant, train_split, classes=classes, device=device)
    predictions = evaluate(predict, dataset)
    footer = {
        **_versions(),
        "attempt_id": uuid.uuid4().hex,
        "attempt": str(attempt.number),
        "batch_size": str(attempt.batch_size),
        "device": str(device.torch),
        "threads": str(device.threads),
        "host": platform.node(),
        "started": started_at.isoformat(),
        "wall_s": f"{time.monotonic() - started:.3f}",
    }
    store.commit(job, predictions, footer)


@functools.cache
def _versions() -> Mapping[str, str]:
    names = {
        "overlap": "overlap",
        "torch": "torch",
        "timm": "timm",
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
