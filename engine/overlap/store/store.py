"""Store: where each thing lies, and the order in which a result is committed."""

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from overlap.errors import ArgumentError, CorruptFileError
from overlap.plan import Job
from overlap.store.analysis_files import read_frame, read_keys, write_frames
from overlap.store.failures import Failure, decode_failure, encode_failure
from overlap.store.lockfile import LockFile, decode_lock, encode_lock, lock_version
from overlap.store.objects import MissingObjectError, Objects
from overlap.store.rows import Outputs, PartialPredictions, Predictions
from overlap.store.schema import (
    Stored,
    check_schema_version,
    encode_embeddings,
    encode_examples,
    encode_logits,
    encode_partial_result,
    encode_result,
    hash_ids,
    hash_labels,
    matrix,
    read_table,
)
from overlap.store.seals import seal_checkpoint, seal_weights, unseal_checkpoint, weights_problem
from overlap.variants import slug

if TYPE_CHECKING:
    import polars as pl

QUARANTINE = "quarantine"
SWEEP = "sweep.yaml"
LOCK = "sweep.lock.json"


class Store:
    """Everything a sweep made. The truth is which result files exist; nothing is remembered elsewhere."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    # --- the sweep

    def write_sweep(self, text: str, lock: LockFile) -> None:
        """Keeps the sweep file as launched and its expansion."""
        self.write_lock(lock)
        self.objects.replace(SWEEP, text.encode())

    def write_lock(self, lock: LockFile) -> None:
        """Keeps what the store is to hold."""
        self.objects.replace(LOCK, encode_lock(lock))

    def read_lock(self) -> LockFile | None:
        """The expansion of the sweep that made this store; None for an empty store.

        Raises:
            StoreMismatchError: a newer version of `overlap` wrote it.
            CorruptFileError: it cannot be read.
        """
        try:
            content = self.read_bytes(LOCK)
        except MissingObjectError:
            return None
        name = f"{self.objects.url}/{LOCK}"
        try:
            check_schema_version(lock_version(content), name)
            return decode_lock(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptFileError(f"'{name}' is damaged ({error}); launch the sweep again to write it anew") from error

    def require_lock(self) -> LockFile:
        """The expansion of the sweep that made this store.

        Raises:
            ArgumentError: there is none.
        """
        lock = self.read_lock()
        if lock is None:
            raise ArgumentError(f"'{self.objects.url}' is no store: it has no {LOCK}; launch a sweep into it first")
        return lock

    # --- results

    def result_names(self, dataset: str) -> dict[str, str]:
        """First 16 digits of the key -> name of the result file, for every committed result."""
        return self._by_key(f"results/v1/{dataset}")

    def has_result(self, job: Job) -> bool:
        """True if this very job's result is there: another attempt at it has won."""
        return self._exists(f"results/v1/{job.dataset}/{job.slug}.parquet")

    def embeddings_names(self, dataset: str) -> dict[str, str]:
        """First 16 digits of the key -> name of the embeddings file."""
        return self._by_key(f"embeddings/v1/{dataset}")

    def has_embeddings(self, job: Job) -> bool:
        """True if this very job's embeddings are there."""
        return self._exists(f"embeddings/v1/{job.dataset}/{job.slug}.parquet")

    def commit(self, job: Job, predictions: Predictions, footer: Mapping[str, str]) -> bool:
        """Publishes a job's embeddings and logits, then its result; True if this attempt's result is the one kept.

        If another attempt has published its logits, the result is computed from those, so that the
        two files of a variant always agree, whoever wins.
        """
        footer = _footer(job, predictions, Outputs.LOGITS, footer)
        path = f"v1/{job.dataset}/{job.slug}.parquet"
        if predictions.embeddings:
            self.objects.create(f"embeddings/{path}", encode_embeddings(predictions, footer))
        if not self.objects.create(f"logits/{path}", encode_logits(predictions, footer)):
            predictions = self._with_stored_logits(predictions, f"logits/{path}")
        return self.objects.create(f"results/{path}", encode_result(predictions, footer))

    def commit_partial(self, job: Job, partial: PartialPredictions, classes: int, footer: Mapping[str, str]) -> bool:
        """Publishes a result whose logits nobody knows; True if this attempt's is the one kept."""
        footer = _footer(job, partial, partial.outputs, footer)
        content = encode_partial_result(partial, classes, footer)
        return self.objects.create(f"results/v1/{job.dataset}/{job.slug}.parquet", content)

    def _with_stored_logits(self, predictions: Predictions, name: str) -> Predictions:
        stored = self.read(name)
        logits_NC = matrix(stored.table, "logits").astype(np.float16, copy=False)
        if logits_NC.shape != predictions.logits_NC.shape:
            message = f"'{name}' holds {logits_NC.shape} logits, expected {predictions.logits_NC.shape}"
            raise CorruptFileError(message, name=name)
        return replace(predictions, logits_NC=logits_NC, temperature=float(stored.footer["temperature"]))

    def read(self, name: str, *, columns: list[str] | None = None, groups: list[int] | None = None) -> Stored:
        """Reads a result or logits file, or a part of it, with its checksums checked."""
        with self.objects.open(name) as file:
            return read_table(file, name, columns=columns, groups=groups)

    # --- imported examples

    def write_examples(self, dataset: str, names: Sequence[object], labels_N: NDArray[np.int32]) -> None:
        """Keeps what the examples of an imported dataset are called, in order, and their labels."""
        self.objects.replace(_examples(dataset), encode_examples(names, labels_N, {"dataset": dataset}))

    def read_examples(self, dataset: str) -> tuple[list[object], NDArray[np.int32]]:
        """What the examples of an imported dataset are called, numbers or strings, and their labels.

        Raises:
            MissingObjectError: none of its results was imported.
            CorruptFileError: the file is damaged.
        """
        table = self.read(_examples(dataset)).table
        return table.column("name").to_pylist(), table.column("label").to_numpy()

    # --- weights and checkpoints

    def weights_names(self) -> dict[str, str]:
        """First 16 digits of the key -> name of the weights file, for every finished training."""
        return self._by_key("weights")

    def has_weights(self, job: Job) -> bool:
        """True if a training job's weights are there."""
        return self._exists(f"weights/{job.slug}.safetensors")

    def commit_weights(self, job: Job, content: bytes) -> None:
        """Publishes a variant's trained weights and forgets its checkpoint."""
        self.objects.create(f"weights/{job.slug}.safetensors", seal_weights(content, job.key))
        self.objects.delete(f"checkpoints/{job.slug}.pt")

    def read_weights(self, job: Job) -> bytes:
        """The weights that an evaluation job reads, as safetensors.

        Raises:
            CorruptFileError: they are not what was written, or not there any more.
        """
        name = f"weights/{slug(job.variant.name, job.weights_key)}.safetensors"
        try:
            content = self.read_bytes(name)
        except MissingObjectError:  # trained under another name, by the same key
            name = self.weights_names().get(job.weights_key[:16], name)
            content = self._read_weights(name)
        if problem := weights_problem(content, job.weights_key):
            raise CorruptFileError(f"'{name}' is damaged ({problem}); launch again to train it anew", name=name)
        return content

    def _read_weights(self, name: str) -> bytes:
        try:
            return self.read_bytes(name)
        except MissingObjectError:
            message = f"'{self.objects.url}/{name}' is gone; launch again to train it anew"
            raise CorruptFileError(message, name=name) from None

    def write_checkpoint(self, job: Job, content: bytes) -> None:
        """Keeps the last epoch of an unfinished training."""
        self.objects.replace(f"checkpoints/{job.slug}.pt", seal_checkpoint(content))

    def read_checkpoint(self, job: Job) -> bytes | None:
        """The last epoch of an unfinished training; None if there is none, or not as it was written."""
        try:
            return unseal_checkpoint(self.read_bytes(f"checkpoints/{job.slug}.pt"))
        except MissingObjectError:
            return None

    # --- failures

    def write_failure(self, job: Job, failure: Failure) -> None:
        """Keeps why an attempt failed."""
        self.objects.replace(f"failures/{job.slug}.{failure.attempt}.json", encode_failure(failure))

    def failures(self) -> list[Failure]:
        """Every failed attempt, in the order of the files' names; damaged records count as none."""
        records = (self._read_failure(name) for name in self.objects.names("failures"))
        return [record for record in records if record is not None]

    def _read_failure(self, name: str) -> Failure | None:
        try:
            return decode_failure(self.read_bytes(name))
        except (ValueError, TypeError, KeyError, MissingObjectError):
            return None  # its variant is run again

    # --- analyses

    def write_analysis(self, dataset: str, table: str, frame: "pl.DataFrame") -> str:
        """Publishes an analysis table and returns its name."""
        return self.write_analysis_parts(dataset, table, [frame])

    def write_analysis_parts(
        self,
        dataset: str,
        table: str,
        frames: Iterable["pl.DataFrame"],
        keys: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Publishes an analysis table whose rows come in parts, at least one, and returns its name.

        `keys` are those of the variants that it speaks of, by name, for `analysis_keys` to tell. Only one part is
        held in memory; the others wait in a temporary file.
        """
        name = f"analysis/{dataset}/{table}.parquet"
        with tempfile.TemporaryFile() as file:
            write_frames(file, frames, keys)
            file.seek(0)
            self.objects.replace(name, file.read())
        return name

    def read_analysis(self, dataset: str, table: str, *, columns: Sequence[str] | None = None) -> "pl.DataFrame | None":
        """An analysis table, or some of its columns; None if it has not been made, or by another version."""
        try:
            with self.objects.open(f"analysis/{dataset}/{table}.parquet") as file:
                return read_frame(file, columns)
        except MissingObjectError:
            return None

    def analysis_keys(self, dataset: str, table: str) -> dict[str, str]:
        """Name -> key of the variants that an analysis table speaks of, in their order; empty if there is none."""
        try:
            with self.objects.open(f"analysis/{dataset}/{table}.parquet") as file:
                return read_keys(file)
        except MissingObjectError:
            return {}

    def drop_analysis(self, dataset: str, table: str) -> None:
        """Removes an analysis table that would speak of another analysis than those beside it."""
        self.objects.delete(f"analysis/{dataset}/{table}.parquet")

    # --- any object

    def put_aside(self, name: str) -> bool:
        """Moves an object into the quarantine; False if it was gone already."""
        try:
            content = self.read_bytes(name)
        except MissingObjectError:
            return False
        copies = itertools.count(1)
        while not self.objects.create(f"{QUARANTINE}/{name}" + f".{next(copies)}", content):
            pass
        self.objects.delete(name)
        return True

    def _exists(self, name: str) -> bool:
        try:
            self.objects.open(name).close()
        except MissingObjectError:
            return False
        return True

    def read_bytes(self, name: str) -> bytes:
        """The content of any object.

        Raises:
            MissingObjectError: there is no such object.
        """
        with self.objects.open(name) as file:
            return file.read()

    def _by_key(self, prefix: str) -> dict[str, str]:
        return {key_in_name(name): name for name in self.objects.names(prefix)}


def _footer(
    job: Job, predictions: Predictions | PartialPredictions, outputs: Outputs, footer: Mapping[str, str]
) -> dict[str, str]:
    return {
        **footer,
        "key": job.key,
        "config_json": job.config,
        "variant": job.variant.name,
        "dataset": job.dataset,
        "outputs": outputs.value,
        "examples": str(len(predictions.ids_N)),
        "example_order_sha256": hash_ids(predictions.ids_N),
        "labels_sha256": hash_labels(predictions.labels_N),
    }


def _examples(dataset: str) -> str:
    return f"examples/v1/{dataset}.parquet"


def key_in_name(name: str) -> str:
    """The 16 digits of the key in a stored file's name: `…/test_resnet-seed0-0123456789abcdef.parquet`."""
    return Path(name).stem[-16:]
