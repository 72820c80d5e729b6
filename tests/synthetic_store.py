"""Stores with results that nobody computed: seeded logits of families of variants, committed as a sweep does."""

from dataclasses import dataclass, replace

import numpy as np

from overlap.plan import Job, Stage
from overlap.store import LockFile, PartialPredictions, Predictions, Store, open_objects, round_logits
from overlap.variants import SCHEMA_VERSION, DatasetFacts, Preprocessing, SplitFacts, Variant, canonical_json, key_of


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How many variants, examples and classes, and from which seed."""

    variants: int
    examples: int
    classes: int
    seed: int = 0


def variant(v):
    """The v-th variant: five of a recipe, four recipes of an architecture, and so on up to two training sets."""
    return Variant(
        name=f"variant-{v:05d}",
        architecture=f"arch{v // 4 % 5}",
        framework=("supervised", "clip")[v // 20 % 2],
        train_on=("imagenet-1k", "laion2b")[v // 40 % 2],
        seed=v,
        hyperparameters=(("learning_rate", 0.1 * (1 + v // 2 % 2)),),
        preprocessing=Preprocessing(),
    )


def family_logits(shape, v, rng_shared):
    """(N, C) float32 logits of one variant: what all share, what its family shares, and its own noise."""
    labels_N, shared_NC, families_FNC = rng_shared
    rng = np.random.default_rng([shape.seed, 2, v])
    logits_NC = shared_NC + 0.8 * families_FNC[v % len(families_FNC)]
    logits_NC += rng.normal(scale=0.8, size=logits_NC.shape)
    logits_NC[np.arange(shape.examples), labels_N] += 2.5 + rng.uniform(-0.5, 1.5)
    return (1.7 * logits_NC).astype(np.float32)


def shared_part(shape, families=4):
    """Labels, and the logits that all variants and all of a family have in common."""
    rng = np.random.default_rng([shape.seed, 1])
    size = (shape.examples, shape.classes)
    labels_N = rng.integers(0, shape.classes, shape.examples).astype(np.int32)
    return labels_N, rng.normal(size=size), rng.normal(size=(families, *size))


def job_of(one, logits_key="x"):
    """The evaluation of a variant on `photos`."""
    config = canonical_json({"variant": one.name, "content": logits_key})
    return Job(
        stage=Stage.EVALUATE,
        variant=one,
        dataset="photos",
        key=key_of(config),
        config=config,
        weights_key="",
        cost=1.0,
    )


def lock_for(jobs, classes, examples):
    """The lock file of a store that holds these results."""
    facts = DatasetFacts(
        name="photos",
        class_names=tuple(f"class {c}" for c in range(classes)),
        splits={"test": SplitFacts(size=examples, fingerprint="0" * 64)},
    )
    return LockFile(
        schema_version=SCHEMA_VERSION,
        name="synthetic",
        datasets={"photos": facts},
        variants=tuple(job.variant for job in jobs),
        training={},
        results={"photos": {job.variant.name: job.key for job in jobs}},
    )


def fill(store, logits_VNC, labels_N, *, variants=None, temperatures=None, versions=None, ids_N=None, footers=None):
    """Commits results with these logits; gives the jobs. Another version of a variant has another key."""
    variants = variants or [variant(v) for v in range(len(logits_VNC))]
    ids_N = np.arange(len(labels_N)) if ids_N is None else ids_N
    jobs = []
    for v, (one, logits_NC) in enumerate(zip(variants, logits_VNC, strict=True)):
        job = job_of(one, versions[v] if versions else "x")
        predictions = Predictions(
            ids_N=ids_N,
            labels_N=labels_N,
            logits_NC=round_logits(logits_NC),
            temperature=float(temperatures[v]) if temperatures is not None else 1.0,
        )
        store.commit(job, predictions, footers[v] if footers else {})
        jobs.append(job)
    store.write_lock(lock_for(jobs, logits_VNC[0].shape[1], len(labels_N)))
    return jobs


def synthetic_store(folder, shape):
    """A store at a folder, full."""
    store = Store(open_objects(str(folder)))
    shared = shared_part(shape)
    fill(store, [family_logits(shape, v, shared) for v in range(shape.variants)], shared[0])
    return store


def partial(labels_N, prediction_N, top_classes_NK, top_probabilities_NK):
    """What is known of a variant whose logits nobody has."""
    return PartialPredictions(
        ids_N=np.arange(len(labels_N)),
        labels_N=labels_N,
        prediction_N=prediction_N.astype(np.int32),
        top_classes_NK=top_classes_NK.astype(np.int32),
        top_probabilities_NK=top_probabilities_NK.astype(np.float32),
    )


def renamed(one, name):
    """The same variant under another name."""
    return replace(one, name=name)
