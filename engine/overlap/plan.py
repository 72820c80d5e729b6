"""A sweep and the facts of its datasets become ordered jobs, each with its key; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations

from overlap.expand import Origin
from overlap.resources import Resources
from overlap.spec import Sweep
from overlap.variants import (
    Category,
    DatasetFacts,
    Evaluation,
    Geometry,
    Variant,
    canonical_json,
    category,
    key_of,
    result_config,
    slug,
    weights_config,
)
from overlap.yaml_lines import Path

ESTIMATED_EPOCHS_OF_AN_ESTIMATOR = 5


class Stage(StrEnum):
    """What a job does with its variant."""

    TRAIN = "train"
    EVALUATE = "evaluate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One variant × one dataset: train it on that dataset, or evaluate it there.

    `config` is the canonical JSON whose SHA-256 is `key`; `weights_key` is the key of the weights that
    an evaluation reads, empty for what is fitted on the spot. `cost` is in image passes. `resources`
    decide where it runs, never what comes out. `weights_key` of a training is that of its teacher's.
    """

    stage: Stage
    variant: Variant
    dataset: str
    key: str
    config: str
    weights_key: str
    cost: float
    resources: Resources = field(default_factory=Resources)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @property
    def slug(self) -> str:
        """The stem of every file that this job makes."""
        return slug(self.variant.name, self.key)

    @property
    def length(self) -> float:
        """How long it takes beside other jobs: its image passes, each as long as its network is large, if known."""
        weights = self.variant.weights or (self.variant.built_on and self.variant.built_on.weights)
        return self.cost * (weights.gmacs if weights and weights.gmacs else 1.0)


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Jobs as they are best begun: the longest first, but those that share decoded images side by side.

    A machine whose cache holds only some of a sweep's image sizes then decodes each size once.
    """
    lengths: defaultdict[tuple[str, Geometry], float] = defaultdict(float)
    every = list(jobs)
    for job in every:
        lengths[job.dataset, job.variant.preprocessing.geometry] += job.length
    groups = {group: place for place, group in enumerate(sorted(lengths, key=lambda group: -lengths[group]))}
    return sorted(every, key=lambda job: (groups[job.dataset, job.variant.preprocessing.geometry], -job.length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a sweep will do: its variants in file order and the jobs that make their results.

    `places` are where the file asks for each variant, by name; `notes` is what a user should know of the data.
    """

    sweep: Sweep
    variants: tuple[Variant, ...]
    datasets: Mapping[str, DatasetFacts]
    training: tuple[Job, ...]
    evaluation: tuple[Job, ...]
    places: Mapping[str, Path]
    notes: tuple[str, ...] = ()

    def evaluation_on(self, dataset: str) -> tuple[Job, ...]:
        """The evaluation jobs of one dataset, in the order of the variants."""
        return tuple(job for job in self.evaluation if job.dataset == dataset)


def make_plan(
    sweep: Sweep, origins: Sequence[Origin], datasets: Mapping[str, DatasetFacts], *, notes: Iterable[str] = ()
) -> Plan:
    """Jobs in the order of the variants; what runs first is the schedule's business."""
    resources = {origin.variant.name: origin.resources for origin in origins}
    variants = tuple(origin.variant for origin in origins)
    training = [_training_job(variant, datasets) for variant in variants if variant.needs_training]
    evaluation = [_evaluation_job(sweep, variant, datasets, name) for name in sweep.evaluate_on for variant in variants]

    def equipped(jobs: Iterable[Job]) -> tuple[Job, ...]:
        return tuple(replace(job, resources=resources[job.variant.name]) for job in jobs)

    return Plan(
        sweep=sweep,
        variants=variants,
        datasets=datasets,
        training=equipped(training),
        evaluation=equipped(evaluation),
        places={origin.variant.name: origin.path for origin in origins},
        notes=tuple(notes),
    )


def pair_categories(variants: Sequence[Variant]) -> dict[Category, int]:
    """How many pairs of variants there are in each category, the empty ones included."""
    counts = Counter(category(a, b) for a, b in combinations(variants, 2))
    return {kind: counts[kind] for kind in Category if kind is not Category.UNKNOWN}


def _training_job(variant: Variant, datasets: Mapping[str, DatasetFacts]) -> Job:
    config = canonical_json(weights_config(variant, datasets))
    epochs = variant.hyperparameter_map.get("epochs", 1)
    return Job(
        stage=Stage.TRAIN,
        variant=variant,
        dataset=variant.train_on,
        key=key_of(config),
        config=config,
        weights_key=_weights_key(variant.built_on, datasets),
        cost=3.0 * float(epochs) * datasets[variant.train_on].splits["train"].size,  # forward and backward
    )


def _weights_key(variant: Variant | None, datasets: Mapping[str, DatasetFacts]) -> str:
    """The key of the weights that the sweep trains for a variant; empty if it needs none."""
    if variant is None or not variant.needs_training:
        return ""
    return key_of(canonical_json(weights_config(variant, datasets)))


def _evaluation_job(sweep: Sweep, variant: Variant, datasets: Mapping[str, DatasetFacts], dataset: str) -> Job:
    facts = datasets[dataset]
    config = canonical_json(result_config(variant, datasets, facts, sweep.evaluation))
    of_network = not variant.is_estimator or variant.built_on is not None  # pixels are no embeddings
    embeddings = sweep.evaluation.embeddings and of_network
    read = ("test", "calibration", "train") if embeddings else ("test", "calibration")
    cost = float(sum(split.size for name, split in facts.splits.items() if name in read))
    if variant.is_estimator:
        epochs = 1 if variant.built_on else ESTIMATED_EPOCHS_OF_AN_ESTIMATOR
        cost += datasets[variant.train_on].splits["train"].size * epochs
    return Job(
        stage=Stage.EVALUATE,
        variant=variant,
        dataset=dataset,
        key=key_of(config),
        config=config,
        weights_key=_weights_key(variant.built_on if variant.is_estimator else variant, datasets),
        cost=cost,
        evaluation=replace(sweep.evaluation, embeddings=embeddings),
    )
