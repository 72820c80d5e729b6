"""A sweep and the facts of its datasets become ordered jobs, each with its key; pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations
from types import MappingProxyType

from overlap.recipes import is_estimator
from overlap.resources import Resources
from overlap.spec import Sweep
from overlap.variants import (
    Category,
    DatasetFacts,
    Variant,
    canonical_json,
    category,
    key_of,
    result_config,
    slug,
    weights_config,
)

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
    decide where it runs, never what comes out.
    """

    stage: Stage
    variant: Variant
    dataset: str
    key: str
    config: str
    weights_key: str
    cost: float
    resources: Resources = field(default_factory=Resources)

    @property
    def slug(self) -> str:
        """The stem of every file that this job makes."""
        return slug(self.variant.name, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a sweep will do: its variants in file order and the jobs that make their results."""

    sweep: Sweep
    variants: tuple[Variant, ...]
    datasets: Mapping[str, DatasetFacts]
    training: tuple[Job, ...]
    evaluation: tuple[Job, ...]

    def evaluation_on(self, dataset: str) -> tuple[Job, ...]:
        """The evaluation jobs of one dataset, in the order of the variants."""
        return tuple(job for job in self.evaluation if job.dataset == dataset)


def make_plan(
    sweep: Sweep,
    variants: Sequence[Variant],
    datasets: Mapping[str, DatasetFacts],
    resources: Mapping[str, Resources] = MappingProxyType({}),
) -> Plan:
    """Jobs in the order of the variants; what runs first is the schedule's business.

    `resources` are those of a variant, by name, where they are not the sweep's own.
    """
    training = {
        variant.name: _training_job(variant, datasets[variant.train_on])
        for variant in variants
        if variant.needs_training
    }
    evaluation = [
        _evaluation_job(variant, datasets, dataset, training.get(variant.name))
        for dataset in sweep.evaluate_on
        for variant in variants
    ]

    def equipped(job: Job) -> Job:
        return replace(job, resources=resources.get(job.variant.name, sweep.resources))

    return Plan(
        sweep=sweep,
        variants=tuple(variants),
        datasets=datasets,
        training=tuple(equipped(job) for job in training.values()),
        evaluation=tuple(equipped(job) for job in evaluation),
    )


def pair_categories(variants: Sequence[Variant]) -> dict[Category, int]:
    """How many pairs of variants there are in each category, the empty ones included."""
    counts = Counter(category(a, b) for a, b in combinations(variants, 2))
    return {kind: counts[kind] for kind in Category}


def _training_job(variant: Variant, facts: DatasetFacts) -> Job:
    config = canonical_json(weights_config(variant, facts))
    epochs = variant.hyperparameter_map.get("epochs", 1)
    return Job(
        stage=Stage.TRAIN,
        variant=variant,
        dataset=variant.train_on,
        key=key_of(config),
        config=config,
        weights_key="",
        cost=3.0 * float(epochs) * facts.splits["train"].size,  # forward and backward
    )


def _evaluation_job(variant: Variant, datasets: Mapping[str, DatasetFacts], dataset: str, training: Job | None) -> Job:
    facts, train_facts = datasets[dataset], datasets[variant.train_on]
    config = canonical_json(result_config(variant, train_facts, facts))
    examples = sum(split.size for name, split in facts.splits.items() if name in ("test", "calibration"))
    fitting = train_facts.splits["train"].size * ESTIMATED_EPOCHS_OF_AN_ESTIMATOR
    return Job(
        stage=Stage.EVALUATE,
        variant=variant,
        dataset=dataset,
        key=key_of(config),
        config=config,
        weights_key=training.key if training else "",
        cost=float(examples + (fitting if is_estimator(variant.architecture) else 0)),
    )
