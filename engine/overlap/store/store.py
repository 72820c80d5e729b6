"""Store: where each thing lies, and the order in which a result is committed."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from overlap.errors import ArgumentError, CorruptFileError, StoreError, StoreMismatchError
from overlap.plan import Job
from overlap.store.failures import Failure, decode_failure, encode_failure
from overlap.store.local import LOCK_NAME, LocalObjects
from overlap.store.lockfile import LockFile, decode_lock, encode_lock, lock_version
from overlap.store.objects import MissingObjectError, Objects
from overlap.store.rows import Predictions
from overlap.store.schema import (
    Stored,
    check_schema_version,
    encode_logits,
    encode_result,
    hash_ids,
    matrix,
    read_table,
)

SWEEP = "sweep.yaml"
LOCK = "sweep.lock.json"


def open_objects(url: str) -> Objects:
    """The place a store's address names.

    Raises:
        StoreMismatchError: the path is a file, or a folder with other things in it.
        StoreError: object stores are not supported yet.
    """
    if "://" in url:
        raise StoreError(f"'{url}': only folders can be stores so far; give a path")
    root = Path(url)
    if root.exists() and not root.is_dir():
        raise StoreMismatchError(f"store '{url}' is a file; expected a folder, or a path that does not exist yet")
    known = {LOCK, LOCK_NAME, SWEEP}
    if root.is_dir() and any(root.iterdir()) and not any((root / name).exists() for name in known):
        raise StoreMismatchError(f"store '{url}' holds files of something else; give an empty or new folder")
    return LocalObjects(root.absolute())


class Store:
    """Everything a sweep made. The truth is which result files exist; nothing is remembered elsewhere."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    # --- the sweep

    def write_sweep(self, text: str, lock: LockFile) -> None:
        """Keeps the sweep file as launched and its expansion."""
        self.objects.replace(LOCK, encode_lock(lock))
        self.objects.replace(SWEEP, text.encode())

    def read_lock(self) -> LockFile | None:
        """The expansion of the sweep that made this store; None for an empty store.

        Raises:
            StoreMismatchError: a newer version of `overlap` wrote it.
            CorruptFileError: it cannot be read.
        """
        try:
            content = self._read(LOCK)
        except MissingObjectError:
            return None
        name = f"{self.objects.url}/{LOCK}"
        try:
            check_schema_version(lock_version(content), name)
            return decode_lock(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptFileError(f"'{name}' is damaged ({error}); delete it and launch the sweep again") from error

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

    def commit(self, job: Job, predictions: Predictions, footer: Mapping[str, str]) -> bool:
        """Publishes a job's logits, then its result; True if this attempt's result is the one kept.

        If another attempt has published its logits, the result is computed from those, so that the
        two files of a variant always agree, whoever wins.
        """
        footer = {
            **footer,
            "key": job.key,
            "config_json": job.config,
            "variant": job.variant.name,
            "dataset": job.dataset,
            "examples": str(len(predictions.ids_N)),
            "example_order_sha256": hash_ids(predictions.ids_N),
        }
        path = f"v1/{job.dataset}/{job.slug}.parquet"
        if not self.objects.create(f"logits/{path}", encode_logits(predictions, footer)):
            predictions = self._with_stored_logits(predictions, f"logits/{path}")
        return self.objects.create(f"results/{path}", encode_result(predictions, footer))

    def _with_stored_logits(self, predictions: Predictions, name: str) -> Predictions:
        stored = self.read(name)
        logits_NC = matrix(stored.table, "logits").astype(np.float16, copy=False)
        if logits_NC.shape != predictions.logits_NC.shape:
            raise CorruptFileError(f"'{name}' holds {logits_NC.shape} logits, expected {predictions.logits_NC.shape}")
        return replace(predictions, logits_NC=logits_NC, temperature=float(stored.footer["temperature"]))

    def read(self, name: str, *, columns: list[str] | None = None, groups: list[int] | None = None) -> Stored:
        """Reads a result or logits file, or a part of it, with its checksums checked."""
        with self.objects.open(name) as file:
            return read_table(file, name, columns=columns, groups=groups)

    # --- weights and checkpoints

    def weights_names(self) -> dict[str, str]:
        """First 16 digits of the key -> name of the weights file, for every finished training."""
        return self._by_key("weights")

    def commit_weights(self, job: Job, content: bytes) -> None:
        """Publishes a variant's trained weights and forgets its checkpoint."""
        self.objects.create(f"weights/{job.slug}.safetensors", content)
        self.objects.delete(f"checkpoints/{job.slug}.pt")

    def read_weights(self, key: str) -> bytes:
        """The weights with this key.

        Raises:
            StoreError: there are none; the training they come from has not finished.
        """
        name = self.weights_names().get(key[:16])
        if name is None:
            raise StoreError(f"no weights with key {key[:16]} in '{self.objects.url}/weights'")
        return self._read(name)

    def write_checkpoint(self, job: Job, content: bytes) -> None:
        """Keeps the last epoch of an unfinished training."""
        self.objects.replace(f"checkpoints/{job.slug}.pt", content)

    def read_checkpoint(self, job: Job) -> bytes | None:
        """The last epoch of an unfinished training, or None."""
        try:
            return self._read(f"checkpoints/{job.slug}.pt")
        except MissingObjectError:
            return None

    # --- failures

    def write_failure(self, job: Job, failure: Failure) -> None:
        """Keeps why an attempt failed."""
        self.objects.replace(f"failures/{job.slug}.{failure.attempt}.json", encode_failure(failure))

    def failures(self) -> list[Failure]:
        """Every failed attempt, in the order of the files' names."""
        return [self._read_failure(name) for name in self.objects.names("failures")]

    def _read_failure(self, name: str) -> Failure:
        try:
            return decode_failure(self._read(name))
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptFileError(f"'{name}' is no failure record ({error}); delete it") from error

    # --- analyses

    def write_analysis(self, dataset: str, table: str, frame: pl.DataFrame) -> str:
        """Publishes an analysis table and returns its name."""
        sink = io.BytesIO()
        frame.write_parquet(sink, compression="zstd", compression_level=1)
        name = f"analysis/{dataset}/{table}.parquet"
        self.objects.replace(name, sink.getvalue())
        return name

    def read_analysis(self, dataset: str, table: str) -> pl.DataFrame | None:
        """An analysis table, or None if it has not been made."""
        try:
            return pl.read_parquet(io.BytesIO(self._read(f"analysis/{dataset}/{table}.parquet")))
        except MissingObjectError:
            return None

    def _read(self, name: str) -> bytes:
        with self.objects.open(name) as file:
            return file.read()

    def _by_key(self, prefix: str) -> dict[str, str]:
        return {key_in_name(name): name for name in self.objects.names(prefix)}


def key_in_name(name: str) -> str:
    """The 16 digits of the key in a stored file's name: `…/test_resnet-seed0-0123456789abcdef.parquet`."""
    return Path(name).stem[-16:]
