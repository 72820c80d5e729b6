"""Labelled images: sources, seeded splits and fingerprints of content."""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlencode

import numpy as np
from numpy.typing import NDArray

from overlap.datasets.pictures import Pictures
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec
from overlap.variants import DatasetFacts, SplitFacts
from overlap_analysis.splits import hash_order

__all__ = [
    "SOURCES",
    "Dataset",
    "Examples",
    "Pictures",
    "Split",
    "absolute_source",
    "dataset_facts",
    "known_sources",
    "load_dataset",
    "load_examples",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What a source gives: N labelled pictures.

    `labels_N` is int32 in [0, classes), `ids_N` int64 and unique, `digests_N` (N, 32) uint8, the
    SHA-256 of each picture as it is stored (an encoded file's bytes, an array's pixels).
    """

    pictures: Pictures
    labels_N: NDArray[np.int32]
    ids_N: NDArray[np.int64]
    digests_N: NDArray[np.uint8]
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The examples of one split, in the order in which every table holds them (by id).

    `positions_N` are their places in `pictures`, which all splits of a dataset share.
    """

    pictures: Pictures
    positions_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    ids_N: NDArray[np.int64]
    digests_N: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A source cut into disjoint splits."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]


# A source is imported when it is first used: "module:function", called with the spec and the cache folder.
SOURCES: Mapping[str, str] = {
    "sklearn:digits": "overlap.datasets.sources:sklearn_digits",
    "rendered:digits": "overlap.datasets.sources:rendered_digits_source",
    "sklearn:olivetti_faces": "overlap.datasets.sources:sklearn_olivetti_faces",
}
_SCHEMES: Mapping[str, str] = {
    "parquet": "overlap.datasets.parquet:parquet",
    "webdataset": "overlap.datasets.webdataset:webdataset",
    "timm": "overlap.datasets.timm_factory:timm_dataset",
}
_FOLDER = "overlap.datasets.folder:image_folder"


def known_sources() -> tuple[str, ...]:
    """What a source may be beside a folder."""
    return (*SOURCES, *(f"{scheme}:…" for scheme in _SCHEMES))


def absolute_source(source: str) -> str:
    """The same source with its paths made absolute, so that it means the same in every process.

    >>> absolute_source("sklearn:digits"), absolute_source("parquet:/data/*.parquet")
    ('sklearn:digits', 'parquet:/data/*.parquet')
    """
    scheme, colon, rest = source.partition(":")
    if source in SOURCES:
        return source
    if colon and scheme == "timm":
        name, _, query = rest.partition("?")
        arguments = {key: str(Path(value).absolute()) if key == "root" else value for key, value in parse_qsl(query)}
        return f"{scheme}:{name}" + (f"?{urlencode(arguments, safe='/')}" if arguments else "")
    return f"{scheme}:{Path(rest).absolute()}" if colon and scheme in _SCHEMES else str(Path(source).absolute())


@lru_cache(maxsize=8)
def load_dataset(spec: DatasetSpec, cache: Path | None = None) -> Dataset:
    """The dataset a spec describes, without the examples it skips; loaded once a process.

    Args:
        spec: where it comes from and how it is split.
        cache: the node's cache folder, where what was read is remembered; None remembers nothing.

    Raises:
        DatasetError: the source is unknown or unreadable, or a split asks for more than there is.
    """
    examples = load_examples(spec, cache)
    return Dataset(name=spec.name, class_names=examples.class_names, splits=_split(spec, examples))


def load_examples(spec: DatasetSpec, cache: Path | None = None) -> Examples:
    """Everything that a dataset's source gives, whatever its splits and what it skips; loaded once a process.

    Raises:
        DatasetError: the source is unknown or unreadable, or is no labelled dataset.
    """
    return _load_source(replace(spec, name="", splits=(), skip=(), on_bad_image=""), cache)


@lru_cache(maxsize=8)
def _load_source(spec: DatasetSpec, cache: Path | None) -> Examples:
    scheme, colon, _ = spec.source.partition(":")
    home = SOURCES.get(spec.source) or (_SCHEMES.get(scheme) if colon else None) or _FOLDER
    if spec.labels == "real" and home != _FOLDER:
        raise DatasetError("labels: real needs a folder of ImageNet's validation images", key="labels")
    module, _, function = home.partition(":")
    load = cast("Callable[[DatasetSpec, Path | None], Examples]", getattr(importlib.import_module(module), function))
    examples = load(spec, cache)
    if len(examples.class_names) < 2:
        raise DatasetError(f"expected at least two classes in '{spec.source}', got one", key="source")
    return examples


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """What a plan needs to know of a dataset, the fingerprints of its splits included."""
    splits = {name: _split_facts(split) for name, split in dataset.splits.items()}
    return DatasetFacts(name=dataset.name, class_names=dataset.class_names, splits=splits)


def _split(spec: DatasetSpec, examples: Examples) -> dict[str, Split]:
    """Cuts the examples, in the seeded order of their ids' hashes, into the sizes the spec asks for."""
    kept_N = np.flatnonzero(~np.isin(examples.ids_N, spec.skip))
    available, asked = len(kept_N), sum(size or 0 for _, size in spec.splits)
    takes_rest = any(size is None for _, size in spec.splits)
    if asked + takes_rest > available:
        rest = " and a rest of at least 1" if takes_rest else ""
        bad = f" without the {len(spec.skip):,} bad ones" if spec.skip else ""
        raise DatasetError(
            f"the splits ask for {asked:,} examples{rest}, but '{spec.source}' has {available:,}{bad}",
            key="splits",
        )
    order_N = kept_N[hash_order(examples.ids_N[kept_N], seed=spec.seed)]
    splits, start = {}, 0
    for name, size in spec.splits:
        stop = start + (available - asked if size is None else size)
        chosen = order_N[start:stop]
        chosen = chosen[np.argsort(examples.ids_N[chosen])]
        splits[name] = Split(
            pictures=examples.pictures,
            positions_N=chosen.astype(np.int64),
            labels_N=examples.labels_N[chosen],
            ids_N=examples.ids_N[chosen],
            digests_N=examples.digests_N[chosen],
        )
        start = stop
    return splits


def _split_facts(split: Split) -> SplitFacts:
    digest = hashlib.sha256(str(len(split.ids_N)).encode())
    for array in (split.digests_N, split.labels_N, split.ids_N):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return SplitFacts(size=len(split.ids_N), fingerprint=digest.hexdigest())
