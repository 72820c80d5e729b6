"""Labelled images: sources, seeded splits and fingerprints of content."""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DatasetError
from overlap.spec import DatasetSpec
from overlap.variants import DatasetFacts, SplitFacts
from overlap_analysis.splits import hash_order

__all__ = ["SOURCES", "Dataset", "Images", "Split", "dataset_facts", "load_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What a source gives: N labelled images of one size.

    `pixels_NHWC` is uint8 with 1 or 3 channels, `labels_N` int32 in [0, classes), `ids_N` int64 and
    unique; an example keeps its id whatever is added to its source.
    """

    pixels_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int32]
    ids_N: NDArray[np.int64]
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The examples of one split, in the order in which every table holds them (by id)."""

    pixels_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int32]
    ids_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A source cut into disjoint splits."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]


# A source is imported when it is first used: "module:function", called with the DatasetSpec.
SOURCES: Mapping[str, str] = {
    "sklearn:digits": "overlap.datasets.sources:sklearn_digits",
    "rendered:digits": "overlap.datasets.sources:rendered_digits_source",
}
_FOLDER = "overlap.datasets.folder:image_folder"


@lru_cache(maxsize=8)
def load_dataset(spec: DatasetSpec) -> Dataset:
    """The dataset a spec describes; loaded once a process.

    Raises:
        DatasetError: the source is unknown or unreadable, or a split asks for more than there is.
    """
    module, _, function = SOURCES.get(spec.source, _FOLDER).partition(":")
    load = cast("Callable[[DatasetSpec], Images]", getattr(importlib.import_module(module), function))
    images = load(spec)
    return Dataset(name=spec.name, class_names=images.class_names, splits=_split(spec, images))


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """What a plan needs to know of a dataset, the fingerprints of its splits included."""
    splits = {name: _split_facts(split) for name, split in dataset.splits.items()}
    return DatasetFacts(name=dataset.name, class_names=dataset.class_names, splits=splits)


def _split(spec: DatasetSpec, images: Images) -> dict[str, Split]:
    """Cuts the examples, in the seeded order of their ids' hashes, into the sizes the spec asks for."""
    available, asked = len(images.ids_N), sum(size or 0 for _, size in spec.splits)
    takes_rest = any(size is None for _, size in spec.splits)
    if asked + takes_rest > available:
        rest = " and a rest of at least 1" if takes_rest else ""
        raise DatasetError(
            f"the splits ask for {asked:,} examples{rest}, but '{spec.source}' has {available:,}",
            key="splits",
        )
    order_N = hash_order(images.ids_N, seed=spec.seed)
    splits, start = {}, 0
    for name, size in spec.splits:
        stop = start + (available - asked if size is None else size)
        chosen = np.sort(order_N[start:stop])
        splits[name] = Split(
            pixels_NHWC=images.pixels_NHWC[chosen],
            labels_N=images.labels_N[chosen],
            ids_N=images.ids_N[chosen],
        )
        start = stop
    return splits


def _split_facts(split: Split) -> SplitFacts:
    digest = hashlib.sha256(repr(split.pixels_NHWC.shape).encode())
    for array in (split.pixels_NHWC, split.labels_N, split.ids_N):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return SplitFacts(size=len(split.ids_N), fingerprint=digest.hexdigest())
