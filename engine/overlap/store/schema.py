"""Predictions become checksummed Parquet bytes and come back: schema, footer, payload hash."""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from overlap.errors import CorruptFileError, StoreMismatchError
from overlap.store.rows import Outputs, PartialPredictions, Predictions, ResultRows, partial_rows, result_rows
from overlap.store.seals import seal_parquet
from overlap.variants import SCHEMA_VERSION, canonical_json, key_of

ROW_GROUP = 10_000
_PREFIX = b"overlap."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A table as it was read, with its footer (keys without the `overlap.` prefix)."""

    table: pa.Table
    footer: Mapping[str, str]


def encode_logits(predictions: Predictions, footer: Mapping[str, str]) -> bytes:
    """The `logits` file: one FixedSizeList<float16>[C] a row."""
    columns = {"logits": _fixed_size_list(predictions.logits_NC)}
    return _encode(pa.table(columns), {**footer, "temperature": repr(predictions.temperature)})


def encode_embeddings(predictions: Predictions, footer: Mapping[str, str]) -> bytes:
    """The `embeddings` file: `split`, `example`, `label`, `embedding`: one FixedSizeList<float32>[D] a row.

    The splits come one after another, each in its dataset's order. Files of earlier versions have neither `example`
    nor `label`, and no `train` split.
    """
    parts = predictions.embeddings
    columns = {
        "split": pa.array([name for name, part in parts.items() for _ in part.ids_N]),
        "example": pa.array(np.concatenate([part.ids_N for part in parts.values()])),
        "label": pa.array(np.concatenate([part.labels_N for part in parts.values()])),
        "embedding": _fixed_size_list(np.concatenate([part.values_ND for part in parts.values()])),
    }
    return _encode(pa.table(columns), footer)


def encode_result(predictions: Predictions, footer: Mapping[str, str]) -> bytes:
    """The `results` file: everything the hard-label analyses need, a hundredth of the logits."""
    rows = result_rows(predictions.logits_NC, predictions.labels_N, predictions.temperature)
    columns = _result_columns(predictions.ids_N, predictions.labels_N, rows)
    return _encode(pa.table(columns), {**footer, "temperature": repr(predictions.temperature)})


def encode_partial_result(partial: PartialPredictions, classes: int, footer: Mapping[str, str]) -> bytes:
    """The `results` file where not all outputs are known: null for what is not, no top lists without probabilities."""
    columns = _result_columns(partial.ids_N, partial.labels_N, partial_rows(partial, classes))
    temperature = 1.0 if partial.outputs is Outputs.TOP else math.nan
    return _encode(pa.table(columns), {**footer, "temperature": repr(temperature)})


def encode_examples(names: Sequence[object], labels_N: NDArray[np.int32], footer: Mapping[str, str]) -> bytes:
    """The `examples` file: what each imported example is called by those who gave it, and its label, in order."""
    return _encode(pa.table({"name": pa.array(names), "label": pa.array(labels_N)}), footer)


def _result_columns(ids_N: NDArray[np.int64], labels_N: NDArray[np.int32], rows: ResultRows) -> dict[str, pa.Array]:
    """NaN, which only partial results have, becomes null."""
    columns = {
        "example": pa.array(ids_N),
        "label": pa.array(labels_N),
        "prediction": pa.array(rows.prediction_N),
        "correct": pa.array(rows.correct_N),
        "label_probability": pa.array(rows.label_probability_N, from_pandas=True),
        "confidence": pa.array(rows.confidence_N, from_pandas=True),
        "loss": pa.array(rows.loss_N, from_pandas=True),
        "log_partition": pa.array(rows.log_partition_N, from_pandas=True),
        "calibrated_log_partition": pa.array(rows.calibrated_log_partition_N, from_pandas=True),
        "label_logit": pa.array(rows.label_logit_N),
    }
    if rows.top_classes_NK.shape[1]:
        columns["top_classes"] = _fixed_size_list(rows.top_classes_NK)
        columns["top_logits"] = _fixed_size_list(rows.top_logits_NK)
    return columns


def read_table(
    file: BinaryIO, name: str, *, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Stored:
    """Reads a stored file, or some of its columns and row groups, checking every page it touches.

    Raises:
        CorruptFileError: it is no whole Parquet file of ours, or a checksum of a page or of the footer is wrong.
        StoreMismatchError: it was written by a newer version of `overlap`.
    """
    try:
        # One thread: pyarrow's own, still holding a Python file when the interpreter ends, abort the process.
        with pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            chosen = range(parquet.num_row_groups) if groups is None else groups
            table = parquet.read_row_groups(list(chosen), columns=list(columns) if columns else None, use_threads=False)
        own = {key: value for key, value in (schema.metadata or {}).items() if key.startswith(_PREFIX)}
        footer = {key.removeprefix(_PREFIX).decode(): value.decode() for key, value in own.items()}
        check_schema_version(footer.get("schema_version", ""), name)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorruptFileError(f"'{name}' is damaged ({reason}); launch again to make it anew", name=name) from error
    if footer.pop("footer_sha256", "") != _footer_hash(footer):
        raise CorruptFileError(f"'{name}' is damaged (its footer has changed); launch again to make it anew", name=name)
    if missing := sorted(set(columns or ()) - set(schema.names)):
        raise CorruptFileError(
            f"'{name}' has no {missing[0]}: an earlier version made it; launch again to make it anew", name=name
        )
    if footer.get("columns", _names(schema)) != _names(schema):
        raise CorruptFileError(f"'{name}' is damaged (a column has another name); launch again", name=name)
    return Stored(table=table, footer=footer)


def check_schema_version(version: str, name: str) -> None:
    """Refuses what a newer `overlap` wrote, because its columns may mean something else.

    Raises:
        StoreMismatchError: the version is newer than ours.
    """
    if int(version) > SCHEMA_VERSION:
        raise StoreMismatchError(
            f"'{name}' has store schema {version}, this overlap reads up to {SCHEMA_VERSION}: upgrade overlap"
        )


def stored_problems(stored: Stored, key16: str, *, whole: bool = True) -> list[str]:
    """What is wrong with a file that could be read: its key, its config or, if it was read whole, its payload."""
    footer, problems = stored.footer, []
    if not footer.get("key", "").startswith(key16):
        problems.append(f"the name says key {key16}, the footer {footer.get('key', 'nothing')[:16]}")
    if key_of(footer.get("config_json", "")) != footer.get("key"):
        problems.append("the key is not the hash of the configuration in the footer")
    if whole and payload_hash(stored.table) != footer.get("payload_sha256"):
        problems.append("the columns are not those that were hashed when they were written")
    return problems


def matrix(table: pa.Table, column: str) -> NDArray[np.generic]:
    """(N, K) array of a FixedSizeList column."""
    chunk = table.column(column).combine_chunks()
    flat = chunk.flatten().to_numpy(zero_copy_only=False)
    return cast("NDArray[np.generic]", flat.reshape(len(chunk), chunk.type.list_size))


def payload_hash(table: pa.Table) -> str:
    """SHA-256 of the names, types and values of all columns, whatever the file's layout."""
    digest = hashlib.sha256()
    for field in table.schema:
        column = table.column(field.name).combine_chunks()
        is_list = pa.types.is_fixed_size_list(field.type)  # Parquet renames a list's items: hash their type alone
        values = column.flatten() if is_list else column
        digest.update(f"{field.name}:{values.type}:{len(values)}/{len(table)};".encode())
        digest.update(_content(values))
    return digest.hexdigest()


def _content(values: pa.Array) -> bytes:
    if pa.types.is_string(values.type):
        return canonical_json(values.to_pylist()).encode()
    content: bytes = values.to_numpy(zero_copy_only=False).tobytes()
    return content


def hash_ids(ids_N: NDArray[np.int64]) -> str:
    """SHA-256 of the example ids in row order."""
    return hashlib.sha256(np.ascontiguousarray(ids_N, "<i8").tobytes()).hexdigest()


def hash_labels(labels_N: NDArray[np.int32]) -> str:
    """SHA-256 of the labels in row order."""
    return hashlib.sha256(np.ascontiguousarray(labels_N, "<i4").tobytes()).hexdigest()


def _encode(table: pa.Table, footer: Mapping[str, str]) -> bytes:
    own = {"schema_version": str(SCHEMA_VERSION), **footer, "columns": _names(table.schema)}
    own["payload_sha256"] = payload_hash(table)
    own["footer_sha256"] = _footer_hash(own)
    metadata = {_PREFIX + key.encode(): value.encode() for key, value in own.items()}
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_page_checksum=True,
        row_group_size=ROW_GROUP,
    )
    return seal_parquet(sink.getvalue())


def _names(schema: pa.Schema) -> str:
    """The names of the columns: Parquet's page checksums do not cover them either."""
    return ",".join(schema.names)


def _footer_hash(footer: Mapping[str, str]) -> str:
    """SHA-256 of the footer's own entries: Parquet's page checksums do not cover it."""
    return key_of(canonical_json(dict(footer)))


def _fixed_size_list(values_NK: NDArray[np.generic]) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values_NK).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values_NK.shape[1])
