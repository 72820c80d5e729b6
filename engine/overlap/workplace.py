"""What every worker of a sweep shares; light, because the driver makes it and needs no torch."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from overlap.datasets import Dataset, dataset_facts, load_dataset
from overlap.errors import DatasetError
from overlap.spec import DatasetSpec
from overlap.variants import DatasetFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every worker of a sweep shares: where its datasets are, and what they held when it was planned."""

    datasets: Mapping[str, DatasetSpec]
    facts: Mapping[str, DatasetFacts]

    def dataset(self, name: str) -> Dataset:
        """A dataset of the sweep, loaded once a process.

        Raises:
            DatasetError: here and now it is not what the sweep was planned with.
        """
        dataset = load_dataset(self.datasets[name])
        if _facts_of(self.datasets[name]) != self.facts[name]:
            message = f"dataset '{name}' is not what it was when the sweep was launched, or not the same on all nodes"
            raise DatasetError(message, key="source")
        return dataset


@functools.cache
def _facts_of(spec: DatasetSpec) -> DatasetFacts:
    return dataset_facts(load_dataset(spec))
