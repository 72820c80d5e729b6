"""Stored embeddings, aligned: the same examples of the same splits for all variants that have them.

Array names: M examples of all splits that can be used, D dimensions.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.errors import ArgumentError, CorruptFileError
from overlap.outcomes import Outcomes, only
from overlap.store import Store
from overlap.store.addresses import reading_threads
from overlap.store.schema import hash_ids, matrix

SPLITS = ("train", "calibration", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedded:
    """The variants that have embeddings of a dataset, the files these lie in, and the examples they are of.

    `outcomes` are of these variants only. The examples are those of the splits that every file has with labels, in
    the order of `SPLITS`; `notes` say which variants were left out, or why splits were.
    """

    outcomes: Outcomes
    files: tuple[str, ...]
    split_M: NDArray[np.str_]
    ids_M: NDArray[np.int64]
    labels_M: NDArray[np.int32]
    notes: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can be used."""
        return tuple(name for name in SPLITS if (self.split_M == name).any())


Rows = Mapping[str, tuple[NDArray[np.int64], NDArray[np.int32]]]
"""The ids and the labels of each split."""


def read_embedded(store: Store, outcomes: Outcomes) -> Embedded:
    """Which variants have embeddings, of which examples; the embeddings themselves are read by `read_vectors`.

    Raises:
        ArgumentError: none has any.
        CorruptFileError: a file is damaged, of another variant, or of other examples than the rest.
    """
    names = store.embeddings_names(outcomes.dataset)
    chosen = [v for v, key in enumerate(outcomes.keys) if key[:16] in names]
    if not chosen:
        raise ArgumentError(
            f"no variant of '{store.objects.url}' has embeddings of '{outcomes.dataset}': put "
            "'evaluation: {embeddings: true}' into the sweep file and launch again, which fills them in"
        )
    files = [names[outcomes.keys[v][:16]] for v in chosen]
    with ThreadPoolExecutor(reading_threads(store.objects.url, cores=len(os.sched_getaffinity(0)))) as pool:
        rows = list(pool.map(lambda v, file: _read_rows(store, file, outcomes, outcomes.keys[v]), chosen, files))
    shared = [split for split in SPLITS if all(split in one for one in rows)]
    _check_same(files, rows, shared)
    parts = [rows[0][split] for split in shared]
    return Embedded(
        outcomes=only(outcomes, chosen) if len(chosen) < len(outcomes.variants) else outcomes,
        files=tuple(files),
        split_M=np.repeat(shared, [len(ids) for ids, _ in parts]),
        ids_M=np.concatenate([ids for ids, _ in parts]),
        labels_M=np.concatenate([labels for _, labels in parts]),
        notes=tuple(_notes(outcomes, chosen, rows, shared)),
    )


def read_vectors(
    store: Store, embedded: Embedded, variant: int, splits: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """(M, D) embeddings of one variant, of the examples of some splits or of all that can be used, in their order.

    Raises:
        CorruptFileError: a NaN or an infinity is among them.
    """
    file = embedded.files[variant]
    table = store.read(file, columns=["split", "embedding"]).table
    split_M, values_MD = _strings(table, "split"), matrix(table, "embedding")
    wanted = embedded.splits if splits is None else splits
    vectors_MD = np.concatenate([values_MD[split_M == name] for name in wanted]).astype(np.float32, copy=False)
    if not np.isfinite(vectors_MD).all():
        raise CorruptFileError(f"'{file}' holds a NaN or an infinity; delete it and launch again", name=file)
    return vectors_MD


def _read_rows(store: Store, file: str, outcomes: Outcomes, key: str) -> Rows:
    """The labelled examples of a file. Those of earlier versions name none: their test split is the result's."""
    stored = store.read(file, columns=["split"])
    if stored.footer.get("key") != key:
        raise CorruptFileError(f"'{file}' holds the embeddings of another variant: delete it, launch again", name=file)
    if stored.footer.get("example_order_sha256") != hash_ids(outcomes.ids_N):
        raise CorruptFileError(f"'{file}' is of other examples than the results: delete it, launch again", name=file)
    if "label" not in stored.footer.get("columns", "").split(","):
        return {"test": (outcomes.ids_N, outcomes.labels_N)}
    table = store.read(file, columns=["split", "example", "label"]).table
    split_M, ids_M, labels_M = _strings(table, "split"), table.column("example"), table.column("label")
    rows = {name: split_M == name for name in SPLITS if (split_M == name).any()}
    return {name: (ids_M.to_numpy()[chosen], labels_M.to_numpy()[chosen]) for name, chosen in rows.items()}


def _strings(table: pa.Table, column: str) -> NDArray[np.str_]:
    return np.array(table.column(column).to_pylist(), np.str_)


def _check_same(files: Sequence[str], rows: Sequence[Rows], splits: Sequence[str]) -> None:
    for file, one in zip(files, rows, strict=True):
        for split in splits:
            (ids, labels), (first_ids, first_labels) = one[split], rows[0][split]
            if not (np.array_equal(ids, first_ids) and np.array_equal(labels, first_labels)):
                message = f"'{file}' has other {split} examples than '{files[0]}': delete it and launch again"
                raise CorruptFileError(message, name=file)


def _notes(outcomes: Outcomes, chosen: Sequence[int], rows: Sequence[Rows], shared: Sequence[str]) -> list[str]:
    left_out = [name for v, name in enumerate(outcomes.names) if v not in set(chosen)]
    notes = [f"without embeddings, and left out: {', '.join(left_out)}"] if left_out else []
    for split in SPLITS:
        lacking = [outcomes.names[v] for v, one in zip(chosen, rows, strict=True) if split not in one]
        if split not in shared and len(lacking) < len(chosen):
            notes.append(f"the {split} split is not used: the embeddings of {', '.join(lacking)} lack it")
    return notes
