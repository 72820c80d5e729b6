"""Parquet files with encoded images, as Hugging Face's `datasets` writes them."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from overlap.datasets import Examples
from overlap.datasets.encoded import EncodedPictures
from overlap.datasets.index import FileRows, index_files
from overlap.datasets.shards import find_shards, number_labels
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec

PREFIX = "parquet:"
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """Which columns of a file matter: the image's bytes, by their dotted path, and the label."""

    image: str
    label: str
    numbers: bool
    names: tuple[str, ...]

    def to_json(self) -> str:
        fields = {"image": self.image, "label": self.label, "numbers": self.numbers, "names": self.names}
        return json.dumps(fields, ensure_ascii=False)


@dataclass(slots=True)
class _RowGroups:
    """The row groups read last, as many as fit into `_KEPT_BYTES`, but one at least."""

    kept: "OrderedDict[tuple[str, int], pa.Array]" = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def images(self, path: str, group: int, column: str) -> pa.Array:
        """The encoded images of a row group; several threads may ask, one of them reads."""
        with self.lock:
            key = (path, group)
            if key not in self.kept:
                self.kept[key] = _images(pq.ParquetFile(path), group, column)
                while len(self.kept) > 1 and sum(images.nbytes for images in self.kept.values()) > _KEPT_BYTES:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(key)
            return self.kept[key]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Pictures that are rows of Parquet files; a place is a row group and a row of it."""

    paths: Sequence[str]
    columns: Sequence[str]
    files_N: NDArray[np.int64]
    places_N2: NDArray[np.int64]
    groups: _RowGroups = field(default_factory=_RowGroups)

    def read(self, position: int) -> bytes:
        file = int(self.files_N[position])
        group, row = self.places_N2[position].tolist()
        try:
            value = self.groups.images(self.paths[file], group, self.columns[file])[row].as_py()
        except (pa.ArrowException, LookupError) as error:
            raise OSError(f"'{self.where(position)}' cannot be read: {error}") from error
        return value or b""

    def where(self, position: int) -> str:
        file = int(self.files_N[position])
        return f"{self.paths[file]} row {position - int(np.searchsorted(self.files_N, file))}"


def parquet(spec: DatasetSpec, cache: Path | None) -> Examples:
    """The rows of the files at `parquet:PATH_OR_GLOB`, files sorted; ids are positions.

    Images are bytes, or Hugging Face's struct of bytes and path, in a column `image` (or `img`). Labels are words, or
    numbers in a column `label` (or `labels`, `fine_label`), whose names are Hugging Face's `ClassLabel`, if it wrote
    the file, else as `classes` says, else the numbers themselves.

    Raises:
        DatasetError: a file is missing, is no Parquet or lacks a column, a label is missing or out of range.
    """
    paths = find_shards(spec.source.removeprefix(PREFIX), ".parquet")
    index = index_files(paths, _read_parquet, cache=cache, source=spec.source)
    headers = [json.loads(header) for header in index.headers]
    for path, header in zip(paths, headers, strict=True):
        if (header["names"], header["numbers"]) != (headers[0]["names"], headers[0]["numbers"]):
            raise DatasetError(f"'{path}' has other classes than '{paths[0]}'", key="source")
    labels_N, names = number_labels(index.labels, headers[0]["names"], spec, numbers=headers[0]["numbers"])
    rows = _Rows(paths, [header["image"] for header in headers], index.files_N, index.places_N2)
    return Examples(
        pictures=EncodedPictures(rows, index.digests_N),
        labels_N=labels_N,
        ids_N=np.arange(len(labels_N), dtype=np.int64),
        digests_N=index.digests_N,
        class_names=names,
    )


def _read_parquet(path: str) -> FileRows:
    labels: list[str] = []
    places: list[int] = []
    digests = bytearray()
    try:
        file = pq.ParquetFile(path)
        header = _header(path, file.schema_arrow)
        for group in range(file.num_row_groups):
            column = file.read_row_group(group, columns=[header.label])[header.label]
            if column.null_count:
                row = len(labels) + column.is_null().index(True).as_py()
                raise DatasetError(f"row {row} of '{path}' has no label", key="source")
            images = _images(file, group, header.image)
            labels += column.cast(pa.string()).to_pylist()
            for row, image in enumerate(images):
                places += [group, row]
                digests += hashlib.sha256(image.as_buffer() if image.is_valid else b"").digest()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"'{path}' cannot be read as Parquet: {error}", key="source") from error
    members = [""] * len(labels)
    return FileRows(labels=labels, members=members, places=places, digests=bytes(digests), header=header.to_json())


def _images(file: pq.ParquetFile, group: int, column: str) -> pa.Array:
    """The encoded images of a row group, null where there is none."""
    name, dot, child = column.partition(".")
    found = file.read_row_group(group, columns=[column])[name]
    return (pc.struct_field(found, child) if dot else found).combine_chunks()


def _header(path: str, schema: pa.Schema) -> _Header:
    columns = {field.name: field.type for field in schema}
    image = next((name for name in _IMAGE_COLUMNS if name in columns), None)
    label = next((name for name in _LABEL_COLUMNS if name in columns), None)
    if image is None or label is None:
        got = ", ".join(columns)
        raise DatasetError(f"expected columns image and label in '{path}', got {got}", key="source")
    kind = columns[image]
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise DatasetError(
            f"expected encoded images as bytes in column '{image}' of '{path}', got {kind}; "
            "with Hugging Face, save them with Dataset.to_parquet",
            key="source",
        )
    dictionary = columns[label]
    values = dictionary.value_type if pa.types.is_dictionary(dictionary) else dictionary
    numbers = pa.types.is_integer(values)
    if not (numbers or pa.types.is_string(values) or pa.types.is_large_string(values)):
        raise DatasetError(
            f"expected whole numbers or words in column '{label}' of '{path}', got {values}", key="source"
        )
    names = _class_names(schema.metadata or {}, label) if numbers else ()
    return _Header(image=image if inner is kind else f"{image}.bytes", label=label, numbers=numbers, names=names)


def _class_names(metadata: Mapping[bytes, bytes], label: str) -> tuple[str, ...]:
    """The names of Hugging Face's `ClassLabel`, which its files carry in their schema."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][label]
        names = feature.get("names", ())
        return tuple(names[str(i)] for i in range(len(names))) if isinstance(names, dict) else tuple(names)
    except (KeyError, ValueError, TypeError, AttributeError):
        return ()
