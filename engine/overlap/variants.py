"""Variant, its key, and the category of a pair: what a model is, and how two of them differ."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from overlap.recipes import RECIPES, is_estimator
from overlap.search_space import Scalar

SCHEMA_VERSION = 1
PRECISION = "float32"


class Category(IntEnum):
    """The highest level at which two variants differ, in the order of Gontijo-Lopes et al. (2022)."""

    REINIT = 0
    HYPERPARAMETERS = 1
    ARCHITECTURE = 2
    FRAMEWORK = 3
    DATASET = 4

    @property
    def word(self) -> str:
        """The category as tables and figures write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes a model's input: resized to size × size, then (x / 255 - mean) / std."""

    size: int = 32
    interpolation: str = "bilinear"
    mean: float = 0.5
    std: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model, fully specified. `hyperparameters` are sorted by name and complete."""

    name: str
    architecture: str
    framework: str
    train_on: str
    seed: int
    hyperparameters: tuple[tuple[str, Scalar], ...]
    preprocessing: Preprocessing

    @property
    def hyperparameter_map(self) -> dict[str, Scalar]:
        """The hyperparameters as a dictionary."""
        return dict(self.hyperparameters)

    @property
    def needs_training(self) -> bool:
        """False for what is fitted where it is evaluated (scikit-learn estimators)."""
        return not is_estimator(self.architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFacts:
    """What is known of one split without its images: how many examples, and the hash of their content."""

    size: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """What a plan needs to know of a dataset: its classes and its splits."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitFacts]


def category(a: Variant, b: Variant) -> Category:
    """The highest level at which two variants differ; `REINIT` when only the seed does."""
    if a.train_on != b.train_on:
        return Category.DATASET
    if a.framework != b.framework:
        return Category.FRAMEWORK
    if a.architecture != b.architecture:
        return Category.ARCHITECTURE
    if (a.hyperparameters, a.preprocessing) != (b.hyperparameters, b.preprocessing):
        return Category.HYPERPARAMETERS
    return Category.REINIT


def weights_config(variant: Variant, training_data: DatasetFacts) -> dict[str, object]:
    """Everything that decides a variant's weights: what it is, how it is trained, and on which examples."""
    preprocessing = variant.preprocessing
    return {
        "schema": SCHEMA_VERSION,
        "architecture": variant.architecture,
        "framework": variant.framework,
        "recipe": 1 if is_estimator(variant.architecture) else RECIPES[variant.framework].version,
        "hyperparameters": variant.hyperparameter_map,
        "seed": variant.seed,
        "preprocessing": {
            "size": preprocessing.size,
            "interpolation": preprocessing.interpolation,
            "mean": preprocessing.mean,
            "std": preprocessing.std,
        },
        "train": training_data.splits["train"].fingerprint,
        "classes": list(training_data.class_names),
    }


def result_config(variant: Variant, training_data: DatasetFacts, dataset: DatasetFacts) -> dict[str, object]:
    """Everything that decides a variant's stored predictions on a dataset: its weights and the examples."""
    calibration = dataset.splits.get("calibration")
    return {
        "weights": weights_config(variant, training_data),
        "test": dataset.splits["test"].fingerprint,
        "calibration": calibration.fingerprint if calibration else None,
        "precision": PRECISION,
    }


def canonical_json(value: object) -> str:
    """The one text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(config: str) -> str:
    """SHA-256 of a canonical configuration, as 64 hexadecimal digits."""
    return hashlib.sha256(config.encode()).hexdigest()


def slug(name: str, key: str) -> str:
    """A file name stem that is safe on any disk or bucket: 40 plain characters and 16 digits of the key."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")[:40].rstrip("-.")
    return f"{plain or 'variant'}-{key[:16]}"


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, with `~2`, `~3` … behind those that repeat an earlier one."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return unique
