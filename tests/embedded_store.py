"""Stores with embeddings that nobody computed: classes that some dimensions tell apart, and others do not."""

from dataclasses import replace

import numpy as np

from overlap.outcomes import read_outcomes
from overlap.store import EmbeddedSplit, Predictions, Store, round_logits
from overlap.store.memory import MemoryObjects
from overlap.tasks import LocalTasks
from overlap.variants import DatasetFacts, SplitFacts
from synthetic_store import job_of, lock_for, variant

CLASSES = 3
SIZES = {"train": 90, "calibration": 60, "test": 120}
TASKS = LocalTasks(1)
PARTS = {name: slice(sum(list(SIZES.values())[:i]), sum(list(SIZES.values())[: i + 1])) for i, name in enumerate(SIZES)}


def labels_of_all(seed=0):
    return np.random.default_rng([seed, 1]).integers(0, CLASSES, sum(SIZES.values())).astype(np.int32)


def vectors(v, labels, *, dimensions=6, noise=0.8):
    """(M, D) of variant v: a third of the dimensions know the class, some classes better than others."""
    rng = np.random.default_rng([2, v])
    values = noise * rng.normal(size=(len(labels), dimensions))
    known = max(1, dimensions // 3)
    values[:, :known] += 1.5 * (labels[:, None] == (np.arange(known) + v) % CLASSES)
    return values.astype(np.float32)


def commit(store, v, values, *, splits=tuple(SIZES), ids=None, dataset="photos"):
    """The result and the embeddings of a variant."""
    labels = labels_of_all()
    ids = np.arange(len(labels), dtype=np.int64) * 2 if ids is None else ids
    logits = np.random.default_rng([3, v]).normal(size=(SIZES["test"], CLASSES))
    logits[np.arange(SIZES["test"]), labels[PARTS["test"]]] += 2
    job = replace(job_of(variant(v)), dataset=dataset)
    predictions = Predictions(
        ids_N=ids[PARTS["test"]],
        labels_N=labels[PARTS["test"]],
        logits_NC=round_logits(logits.astype(np.float32)),
        temperature=1.0,
        embeddings={
            name: EmbeddedSplit(ids_N=ids[PARTS[name]], labels_N=labels[PARTS[name]], values_ND=values[PARTS[name]])
            for name in splits
            if values is not None
        },
    )
    store.commit(job, predictions, {})
    return job


def embedded_store(values, *, splits=tuple(SIZES), datasets=("photos",)):
    """A store in memory that holds these (M, D) embeddings, variant by variant; None for a variant without any."""
    store = Store(MemoryObjects())
    lock = None
    for dataset in datasets:
        jobs = [commit(store, v, one, splits=splits, dataset=dataset) for v, one in enumerate(values)]
        lock = lock or lock_for(jobs, CLASSES, SIZES["test"])
        names = tuple(f"class {c}" for c in range(CLASSES))
        facts = DatasetFacts(
            name=dataset, class_names=names, splits={"test": SplitFacts(size=SIZES["test"], fingerprint="0" * 64)}
        )
        results = {job.variant.name: job.key for job in jobs}
        lock = replace(lock, datasets={**lock.datasets, dataset: facts}, results={**lock.results, dataset: results})
    store.write_lock(lock)
    return store


def outcomes_of(store, dataset="photos"):
    return read_outcomes(store, store.require_lock(), dataset)


def objects_of(store):
    return lambda: store.objects
