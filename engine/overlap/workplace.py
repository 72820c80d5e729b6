"""What every worker of a sweep shares; light, because the driver makes it and needs no torch."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.datasets import Dataset, Split, dataset_facts, load_dataset
from overlap.datasets.label_spaces import label_space
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec
from overlap.variants import DatasetFacts, Geometry, Variant

if TYPE_CHECKING:
    from overlap.datasets.pixels import Pixels

GB = 1e9
MOST_THREADS = 8  # that decode in one process: more wait for Python's lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """The folder of each machine where decoded images and downloads are kept, and its limit; None: half the disk."""

    folder: Path = Path("~/.cache/overlap")
    limit_gb: float | None = None

    @property
    def here(self) -> Path:
        """The folder on this machine."""
        return self.folder.expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every worker of a sweep shares: where its datasets are, what they held when it was planned, its cache."""

    datasets: Mapping[str, DatasetSpec]
    facts: Mapping[str, DatasetFacts]
    cache: Cache = field(default_factory=Cache)

    def dataset(self, name: str) -> Dataset:
        """A dataset of the sweep, loaded once a process.

        Raises:
            DatasetError: here and now it is not what the sweep was planned with.
        """
        dataset = load_dataset(self.datasets[name], self.cache.here)
        if _facts_of(self.datasets[name], self.cache.here) != self.facts[name]:
            message = f"dataset '{name}' is not what it was when the sweep was launched, or not the same on all nodes"
            raise DatasetError(message, key="source")
        return dataset

    def pixels(self, split: Split, geometry: Geometry) -> "Pixels":
        """The images of a split at one geometry, decoded once a machine."""
        from overlap.datasets.pixels import open_pixels  # the driver looks at no pixels

        limit = None if self.cache.limit_gb is None else int(self.cache.limit_gb * GB)
        threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)  # not the variant's own: it waits for pixels
        return open_pixels(split, geometry, cache=self.cache.here / "pixels", limit_bytes=limit, threads=threads)


@functools.cache
def _facts_of(spec: DatasetSpec, cache: Path) -> DatasetFacts:
    return dataset_facts(load_dataset(spec, cache))


def known_classes(variant: Variant, facts: Mapping[str, DatasetFacts]) -> tuple[str, ...]:
    """The classes of a variant's outputs, in order; none if it has no classifier of its own."""
    if variant.weights is None:
        return facts[variant.train_on].class_names
    outputs = variant.weights.outputs
    if not outputs:
        return ()  # made from text, or none at all
    return facts[outputs].class_names if outputs in facts else label_space(outputs)
