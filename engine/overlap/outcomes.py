"""What the analyses read of a store: every variant's outcomes over the same examples, checked to align.

Array names: V variants, N examples, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError, CorruptFileError
from overlap.store import LockFile, Store
from overlap.variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """The variants of a sweep that have a result on a dataset, in the sweep's order, and those that have none."""

    dataset: str
    class_names: tuple[str, ...]
    variants: tuple[Variant, ...]
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    predictions_VN: NDArray[np.int32]
    loss_V: NDArray[np.float64]
    temperature_V: NDArray[np.float64]
    logits_names: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The variants' names."""
        return tuple(variant.name for variant in self.variants)

    @property
    def correct_VN(self) -> NDArray[np.bool_]:  # noqa: N802 - carries its dimensions
        """Which examples each variant gets right."""
        return np.equal(self.predictions_VN, self.labels_N)


def read_outcomes(store: Store, lock: LockFile, dataset: str) -> Outcomes:
    """Reads every result of a dataset.

    Raises:
        ArgumentError: there is no result yet.
        CorruptFileError: a file is damaged, under a wrong name, or over other examples than the rest.
    """
    keys, names = lock.results[dataset], store.result_names(dataset)
    present = [variant for variant in lock.variants if keys[variant.name][:16] in names]
    if not present:
        raise ArgumentError(f"'{store.objects.url}' has no result on '{dataset}' yet: launch the sweep first")
    results = [_read_result(store, names[keys[v.name][:16]], keys[v.name]) for v in present]
    first = results[0]
    for variant, result in zip(present, results, strict=True):
        if not (np.array_equal(result.ids_N, first.ids_N) and np.array_equal(result.labels_N, first.labels_N)):
            raise CorruptFileError(
                f"'{names[keys[variant.name][:16]]}' has other examples or labels than "
                f"'{names[keys[present[0].name][:16]]}': launch again to make it anew"
            )
    return Outcomes(
        dataset=dataset,
        class_names=lock.datasets[dataset].class_names,
        variants=tuple(present),
        keys=tuple(keys[variant.name] for variant in present),
        missing=tuple(variant.name for variant in lock.variants if variant not in present),
        ids_N=first.ids_N,
        labels_N=first.labels_N,
        predictions_VN=np.stack([result.predictions_N for result in results]),
        loss_V=np.array([result.loss for result in results]),
        temperature_V=np.array([result.temperature for result in results]),
        logits_names=tuple(names[keys[v.name][:16]].replace("results/", "logits/", 1) for v in present),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Result:
    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    predictions_N: NDArray[np.int32]
    loss: float
    temperature: float


def _read_result(store: Store, name: str, key: str) -> _Result:
    stored = store.read(name, columns=["example", "label", "prediction", "loss"])
    if stored.footer.get("key") != key:
        raise CorruptFileError(f"'{name}' holds the result of another variant: launch again to make it anew")
    return _Result(
        ids_N=stored.table.column("example").to_numpy(),
        labels_N=stored.table.column("label").to_numpy(),
        predictions_N=stored.table.column("prediction").to_numpy(),
        loss=float(np.mean(stored.table.column("loss").to_numpy(), dtype=np.float64)),
        temperature=float(stored.footer["temperature"]),
    )


def indices_of(outcomes: Outcomes, names: Sequence[str]) -> list[int]:
    """Positions of variants by name.

    Raises:
        ArgumentError: one is unknown, or has no result.
    """
    positions = {name: index for index, name in enumerate(outcomes.names)}
    for name in names:
        if name not in positions:
            reason = "has no result" if name in outcomes.missing else "is no variant of this sweep"
            raise ArgumentError(f"'{name}' {reason}; `overlap sweep status` lists them")
    return [positions[name] for name in names]
