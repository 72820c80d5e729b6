"""`sweep.lock.json`: a sweep as it was expanded, so that a store explains itself without its sweep file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from overlap.plan import Plan
from overlap.store.rows import Outputs
from overlap.variants import SCHEMA_VERSION, DatasetFacts, Preprocessing, SplitFacts, Variant, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """The variants of a sweep in order, and the keys under which the store holds their results.

    `results` maps dataset -> variant name -> key, `training` variant name -> key of its weights.
    `outputs` maps dataset -> variant name -> how much is known of it, one of `Outputs`, where predictions were
    imported; it is empty for a sweep, which knows every logit.
    """

    schema_version: int
    name: str
    datasets: Mapping[str, DatasetFacts]
    variants: tuple[Variant, ...]
    training: Mapping[str, str]
    results: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def variants_on(self, dataset: str) -> tuple[Variant, ...]:
        """The variants that are evaluated on a dataset, in order; of a sweep all of them."""
        return tuple(variant for variant in self.variants if variant.name in self.results[dataset])

    @property
    def keys_without_logits(self) -> frozenset[str]:
        """First 16 digits of the keys of imported results whose logits nobody knows."""
        partial = (
            self.results[dataset][name]
            for dataset, outputs in self.outputs.items()
            for name, known in outputs.items()
            if known != Outputs.LOGITS
        )
        return frozenset(key[:16] for key in partial)


def lock_of(plan: Plan) -> LockFile:
    """The lock file of a plan."""
    return LockFile(
        schema_version=SCHEMA_VERSION,
        name=plan.sweep.name,
        datasets=plan.datasets,
        variants=plan.variants,
        training={job.variant.name: job.key for job in plan.training},
        results={
            dataset: {job.variant.name: job.key for job in plan.evaluation_on(dataset)}
            for dataset in plan.sweep.evaluate_on
        },
    )


def encode_lock(lock: LockFile) -> bytes:
    """The lock file as readable JSON."""
    return (json.dumps(asdict(lock), indent=1, ensure_ascii=False) + "\n").encode()


def lock_version(content: bytes) -> str:
    """The schema version of an encoded lock file, whatever else it holds.

    Raises:
        ValueError: it is no JSON object.
    """
    raw = json.loads(content)
    if not isinstance(raw, dict):
        raise ValueError(f"expected a JSON object, got {type(raw).__name__}")
    return str(raw.get("schema_version", 0))


def decode_lock(content: bytes) -> LockFile:
    """The lock file in its JSON; whatever is wrong with it raises `KeyError`, `TypeError` or `ValueError`."""
    raw = json.loads(content)
    return LockFile(
        schema_version=raw["schema_version"],
        name=raw["name"],
        datasets={name: _dataset(facts) for name, facts in raw["datasets"].items()},
        variants=tuple(_variant(variant) for variant in raw["variants"]),
        training=raw["training"],
        results=raw["results"],
        outputs=raw.get("outputs", {}),
    )


def _dataset(raw: Mapping[str, object]) -> DatasetFacts:
    splits = {name: SplitFacts(**split) for name, split in raw["splits"].items()}  # type: ignore[attr-defined]
    return DatasetFacts(name=str(raw["name"]), class_names=tuple(raw["class_names"]), splits=splits)  # type: ignore[arg-type]


def _variant(raw: Mapping[str, object]) -> Variant:
    fields: dict[str, Any] = dict(raw)
    fields["hyperparameters"] = tuple((name, value) for name, value in fields["hyperparameters"])
    preprocessing = {name: _tupled(value) for name, value in fields["preprocessing"].items()}
    fields["preprocessing"] = Preprocessing(**preprocessing)
    fields["unknown"] = tuple(fields.get("unknown", ()))
    if fields["weights"]:
        fields["weights"] = Weights(**{name: _tupled(value) for name, value in fields["weights"].items()})
    if fields["built_on"]:
        fields["built_on"] = _variant(fields["built_on"])
    return Variant(**fields)


def _tupled(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return tuple(value) if isinstance(value, list) else value
