"""Datasets that timm's own factory opens: folders and tars, torchvision's, Hugging Face's."""

import hashlib
import operator
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, cast
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa
import timm
from numpy.typing import NDArray
from timm.data.dataset import ImageDataset
from timm.data.dataset_factory import create_dataset

from overlap.datasets import Examples
from overlap.datasets.encoded import EncodedPictures
from overlap.datasets.index import sha256_threads
from overlap.datasets.sealed_tables import held, read_sealed, write_sealed
from overlap.datasets.shards import are_numbers, number_labels
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec, did_you_mean

if TYPE_CHECKING:
    from PIL import Image

PREFIX = "timm:"
_ARGUMENTS = ("root", "split", "class_map", "input_key", "target_key")
_IN_ORDER_ONLY: Mapping[str, str] = {
    "tfds": "export it to Parquet or tar files, and use parquet:… or webdataset:…",
    "wds": "use webdataset:PATTERN.tar",
    "hfids": "use timm:hfds/…, or parquet:… on its files",
}
_SCHEMA = pa.schema([("label", pa.string()), ("digest", pa.binary(32))])


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Pictures that a reader of timm's gives as encoded files; it keeps files open and knows no threads.

    The dataset itself is not asked: it would give the next picture in the place of one that it cannot read.
    """

    dataset: Any
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, position: int) -> bytes:
        with self.lock, self.dataset.reader[position][0] as file:
            return bytes(file.read())

    def where(self, position: int) -> str:
        return str(self.dataset.filename(position, absolute=True) or f"picture {position}")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Pictures that come decoded, as torchvision's datasets give them."""

    dataset: Any
    digests_N: NDArray[np.uint8]
    channels: int = 3
    memory: bool = False

    def __len__(self) -> int:
        return len(self.digests_N)

    def open(self, position: int) -> "Image.Image":
        picture: Image.Image = self.dataset[position][0]
        if _pixel_digest(picture) != self.digests_N[position].tobytes():
            raise DatasetError(f"picture {position} has changed since the sweep was launched", key="source")
        return picture.convert("RGB")


def timm_dataset(spec: DatasetSpec, cache: Path | None) -> Examples:
    """What `timm.data.create_dataset` opens for `timm:NAME?root=…&split=…`; ids are its positions.

    Datasets that can only be read from their beginning (`tfds/`, `wds/`, `hfids/`) are refused.

    Raises:
        DatasetError: timm cannot open it, or it is of such a kind.
    """
    dataset = _open(spec)
    encoded = isinstance(dataset, ImageDataset)
    known = _label_and_digest(_Encoded(dataset)) if encoded else _decoded_label_and_digest(dataset)
    labels, digests_N = _read_all(dataset, known, spec, cache)
    names = _class_names(dataset)
    labels_N, names = number_labels(labels, names, spec, numbers=are_numbers(labels))
    return Examples(
        pictures=EncodedPictures(_Encoded(dataset), digests_N) if encoded else _Decoded(dataset, digests_N),
        labels_N=labels_N,
        ids_N=np.arange(len(labels_N), dtype=np.int64),
        digests_N=digests_N,
        class_names=names,
    )


def _open(spec: DatasetSpec) -> Any:  # noqa: ANN401 - ImageDataset, or any of torchvision's
    name, _, query = spec.source.removeprefix(PREFIX).partition("?")
    arguments: dict[str, Any] = dict(parse_qsl(query))
    for key in arguments:
        if key not in _ARGUMENTS:
            hint = did_you_mean(key, _ARGUMENTS) or f"; known are {', '.join(_ARGUMENTS)}"
            raise DatasetError(f"'{key}' is no argument of timm: sources{hint}", key="source")
    kind = name.partition("/")[0].lower()
    if kind in _IN_ORDER_ONLY:
        message = f"'{PREFIX}{kind}/…' can only be read from its beginning: {_IN_ORDER_ONLY[kind]}"
        raise DatasetError(message, key="source")
    try:
        return create_dataset(name, **arguments, download=False)
    except Exception as error:  # whatever is behind timm raises whatever it likes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DatasetError(f"timm cannot open '{spec.source}': {reason}", key="source") from error


def _class_names(dataset: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Names in the order of the labels, if the dataset tells."""
    for owner in (getattr(dataset, "reader", None), dataset):
        for attribute in ("class_to_idx", "class_name_to_idx"):
            found = getattr(owner, attribute, None)
            if found:
                by_label = {int(label): str(name) for name, label in found.items()}
                if sorted(by_label) == list(range(len(by_label))):
                    return tuple(by_label[i] for i in range(len(by_label)))
    return ()


def _read_all(
    dataset: Any,  # noqa: ANN401
    read: Callable[[int], tuple[str, bytes]],
    spec: DatasetSpec,
    cache: Path | None,
) -> tuple[list[str], NDArray[np.uint8]]:
    """Labels as text and digests of all pictures, remembered while the files they come from look the same."""
    stamp = _stamp(dataset, spec)
    place = cache / "index" / f"timm-{stamp}.sealed" if cache and stamp else None
    table = read_sealed(place, _SCHEMA) if place else _SCHEMA.empty_table()
    if len(table) != len(dataset) or not place:
        try:
            with ThreadPoolExecutor(sha256_threads()) as pool:
                rows = list(pool.map(read, range(len(dataset))))
        except (OSError, TypeError) as error:
            raise DatasetError(f"'{spec.source}' cannot be read: {error}", key="source") from error
        table = pa.table({"label": [row[0] for row in rows], "digest": [row[1] for row in rows]}, schema=_SCHEMA)
        if place:
            with held(place):
                write_sealed(place, table)
    digests_N = np.frombuffer(b"".join(table["digest"].to_pylist()), np.uint8).reshape(-1, 32)
    return table["label"].to_pylist(), digests_N


def _label_and_digest(pictures: _Encoded) -> Callable[[int], tuple[str, bytes]]:
    def read(position: int) -> tuple[str, bytes]:
        with pictures.lock:
            file, label = pictures.dataset.reader[position]
            with file:
                content = file.read()
        return _text(label), hashlib.sha256(content).digest()

    return read


def _decoded_label_and_digest(dataset: Any) -> Callable[[int], tuple[str, bytes]]:  # noqa: ANN401
    def read(position: int) -> tuple[str, bytes]:
        picture, label = dataset[position]
        return _text(label), _pixel_digest(picture)

    return read


def _text(label: object) -> str:
    """A label as text: a word, or a whole number of any type."""
    return label if isinstance(label, str) else str(operator.index(cast("SupportsIndex", label)))


def _pixel_digest(picture: "Image.Image") -> bytes:
    return hashlib.sha256(f"{picture.mode} {picture.size} ".encode() + picture.tobytes()).digest()


def _stamp(dataset: Any, spec: DatasetSpec) -> str:  # noqa: ANN401
    """Changes when the files below `root` or Hugging Face's fingerprint do; empty where there are neither."""
    arguments = dict(parse_qsl(spec.source.partition("?")[2]))
    fingerprint = getattr(getattr(getattr(dataset, "reader", None), "dataset", None), "_fingerprint", "")
    root = arguments.get("root", "")
    if not (fingerprint or root):
        return ""
    digest = hashlib.sha256(f"{timm.__version__}\n{spec.source}\n{len(dataset)}\n{fingerprint}".encode())
    for path in sorted(Path(root).rglob("*")) if root else ():
        found = path.lstat()
        if path.is_file():
            digest.update(f"\n{path}\0{found.st_size}\0{found.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
