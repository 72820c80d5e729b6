"""What the analyses read of a store: every variant's outcomes over the same examples, checked to align.

Array names: V variants, N examples, C classes.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError, CorruptFileError
from overlap.store import LockFile, Outputs, Store
from overlap.store.addresses import reading_threads
from overlap.variants import Variant

_EXAMPLE_HASHES = ("example_order_sha256", "labels_sha256")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """The variants of a sweep that have a result on a dataset, in the sweep's order, and those that have none.

    `predictions_VN` are int16 if all classes fit, else int32; -1 is an unknown prediction, which is wrong. `loss_V`
    is NaN where the loss of an example is unknown, `temperature_V` where no probability is known, `seconds_V`, which
    the evaluation took, where nobody measured; `outputs` say how much is known of each variant. Only those with
    `Outputs.LOGITS` have the file that `logits_names` names.
    """

    dataset: str
    class_names: tuple[str, ...]
    variants: tuple[Variant, ...]
    keys: tuple[str, ...]
    missing: tuple[str, ...]
    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    predictions_VN: NDArray[np.int16 | np.int32]
    loss_V: NDArray[np.float64]
    temperature_V: NDArray[np.float64]
    seconds_V: NDArray[np.float64]
    outputs: tuple[Outputs, ...]
    result_names: tuple[str, ...]
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
    planned = lock.variants_on(dataset)
    present = [variant for variant in planned if keys[variant.name][:16] in names]
    if not present:
        raise ArgumentError(f"'{store.objects.url}' has no result on '{dataset}' yet: launch the sweep first")
    files = [names[keys[variant.name][:16]] for variant in present]
    first, classes = _read_examples(store, files[0]), len(lock.datasets[dataset].class_names)
    predictions_VN = np.empty((len(files), len(first.ids_N)), np.int16 if classes <= 2**15 else np.int32)

    def read(row: int) -> _Facts:
        return _read_result(store, files[row], keys[present[row].name], first, predictions_VN[row])

    threads = reading_threads(store.objects.url, cores=len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        facts = list(pool.map(read, range(len(files))))
    return Outcomes(
        dataset=dataset,
        class_names=lock.datasets[dataset].class_names,
        variants=tuple(present),
        keys=tuple(keys[variant.name] for variant in present),
        missing=tuple(variant.name for variant in planned if keys[variant.name][:16] not in names),
        ids_N=first.ids_N,
        labels_N=first.labels_N,
        predictions_VN=predictions_VN,
        loss_V=np.array([fact.loss for fact in facts]),
        temperature_V=np.array([fact.temperature for fact in facts]),
        seconds_V=np.array([fact.seconds for fact in facts]),
        outputs=tuple(fact.outputs for fact in facts),
        result_names=tuple(files),
        logits_names=tuple(file.replace("results/", "logits/", 1) for file in files),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Examples:
    """The examples of one result, which those of all others are compared with; `file` is its name."""

    file: str
    footer: Mapping[str, str]
    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    loss: float
    temperature: float
    seconds: float
    outputs: Outputs


def _read_examples(store: Store, file: str) -> _Examples:
    stored = store.read(file, columns=["example", "label"])
    return _Examples(
        file=file,
        footer=stored.footer,
        ids_N=stored.table.column("example").to_numpy(),
        labels_N=stored.table.column("label").to_numpy(),
    )


def _read_result(
    store: Store, file: str, key: str, first: _Examples, prediction_N: NDArray[np.int16 | np.int32]
) -> _Facts:
    """Fills `prediction_N` with what a file predicts, whose examples must be those of the first one."""
    stored = store.read(file, columns=["prediction", "loss"])
    if stored.footer.get("key") != key:
        raise CorruptFileError(f"'{file}' holds the result of another variant: launch again to make it anew")
    if not _has_examples(store, file, stored.footer, first):
        raise CorruptFileError(
            f"'{file}' has other examples or labels than '{first.file}': launch again to make it anew"
        )
    prediction_N[:] = stored.table.column("prediction").to_numpy()
    return _Facts(
        loss=float(np.mean(stored.table.column("loss").to_numpy(), dtype=np.float64)),
        temperature=float(stored.footer["temperature"]),
        seconds=float(stored.footer.get("wall_s", "nan")),
        outputs=Outputs(stored.footer.get("outputs", Outputs.LOGITS)),
    )


def _has_examples(store: Store, file: str, footer: Mapping[str, str], first: _Examples) -> bool:
    """Compares hashes where both files have them; reading the columns of ten thousand files takes minutes."""
    if all(footer.get(name, "") == first.footer.get(name) for name in _EXAMPLE_HASHES):
        return True
    own = _read_examples(store, file)
    return np.array_equal(own.ids_N, first.ids_N) and np.array_equal(own.labels_N, first.labels_N)


def read_log_confidences(
    store: Store, outcomes: Outcomes, *, calibrated: bool, chosen_N: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Logarithm of the probability that each variant gives to its own prediction.

    Returns:
        (V, examples), those of `chosen_N` or all; NaN of variants of which only the predictions are known.

    Raises:
        CorruptFileError: a file is damaged.
    """
    column = "calibrated_log_partition" if calibrated else "log_partition"  # the highest logit is 0
    chosen_N = np.ones(len(outcomes.labels_N), np.bool_) if chosen_N is None else chosen_N
    confidences_VN = np.empty((len(outcomes.variants), int(np.count_nonzero(chosen_N))), np.float32)

    def read(variant: int) -> None:
        stored = store.read(outcomes.result_names[variant], columns=[column])
        confidences_VN[variant] = -stored.table.column(column).to_numpy()[chosen_N]

    threads = reading_threads(store.objects.url, cores=len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(len(outcomes.variants))))
    return confidences_VN


def only(outcomes: Outcomes, variants: Sequence[int]) -> Outcomes:
    """The outcomes of some variants, the others counted as missing."""
    left_out = tuple(name for v, name in enumerate(outcomes.names) if v not in set(variants))
    tuples = ("variants", "keys", "outputs", "result_names", "logits_names")
    chosen: dict[str, Any] = {name: tuple(getattr(outcomes, name)[v] for v in variants) for name in tuples}
    arrays = ("predictions_VN", "loss_V", "temperature_V", "seconds_V")
    chosen |= {name: getattr(outcomes, name)[list(variants)] for name in arrays}
    return replace(outcomes, **chosen, missing=(*outcomes.missing, *left_out))


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
