"""Variant, its key, and the category of a pair: what a model is, and how two of them differ."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum

from overlap.recipes import RECIPES, is_estimator
from overlap.search_space import Scalar

SCHEMA_VERSION = 1
RESULTS_VERSION = 2  # raise it when more is stored of a prediction, or when it is computed in another way
RANDOM = "random"


class Category(IntEnum):
    """The highest level at which two variants differ, in the order of Gontijo-Lopes et al. (2022).

    `UNKNOWN` is no level: too little is known of imported variants to say.
    """

    UNKNOWN = -1
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
class Geometry:
    """The part of preprocessing that gives pixels: variants that share it share their decoded images.

    The words are timm's: the shorter edge is resized to size / crop_pct, then the centre is cropped
    (`crop_mode` center; squash does not keep the aspect ratio; border adds bars, whose colour counts).
    """

    size: int
    crop_pct: float
    crop_mode: str
    interpolation: str
    border: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes a model's input: its geometry, then (x / 255 - mean) / std for each channel."""

    size: int = 32
    crop_pct: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def geometry(self) -> Geometry:
        """What decides the pixels before normalisation."""
        border = self.mean if self.crop_mode == "border" else (0.0, 0.0, 0.0)
        return Geometry(
            size=self.size,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            border=border,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights that were made elsewhere: where they are, and what their outputs mean.

    `library` is timm, open_clip, checkpoint or python, and `name` what that library calls the weights.
    `source` is the place to read them from (`hub`, `random`, a folder or bucket, a file), `revision`
    the identity of their bytes. `outputs` names the classes of the classifier in order: a label space
    such as imagenet-1k, or a dataset of the sweep; empty for a classifier that is made from text,
    or for none at all: from `prompts` (the name of a set of templates, or templates) and `texts` (one
    a class; none: the class names). `gmacs` is the cost of an image.
    """

    library: str
    name: str
    source: str
    revision: str
    outputs: str = ""
    prompts: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    gmacs: float = 0.0

    def identity(self, datasets: "Mapping[str, DatasetFacts]") -> dict[str, object]:
        """What of it decides predictions: not the place where a mirror keeps it."""
        outputs = list(datasets[self.outputs].class_names) if self.outputs in datasets else self.outputs
        return {
            "library": self.library,
            "name": self.name,
            "revision": self.revision,
            "outputs": outputs,
            "prompts": list(self.prompts),
            "texts": list(self.texts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model, fully specified. `hyperparameters` are sorted by name and complete.

    `weights` is None for what the sweep makes itself. `built_on` is the variant of the same sweep that
    this one needs: the teacher of a distillation, or the network whose embeddings an estimator gets.
    `unknown` are the fields that nobody has told us, of a variant whose predictions were imported.
    """

    name: str
    architecture: str
    framework: str
    train_on: str
    seed: int
    hyperparameters: tuple[tuple[str, Scalar], ...]
    preprocessing: Preprocessing
    weights: Weights | None = None
    built_on: "Variant | None" = None
    unknown: tuple[str, ...] = ()

    @property
    def hyperparameter_map(self) -> dict[str, Scalar]:
        """The hyperparameters as a dictionary."""
        return dict(self.hyperparameters)

    @property
    def needs_training(self) -> bool:
        """False for weights from elsewhere, and for what is fitted where it is evaluated (estimators)."""
        return self.weights is None and not is_estimator(self.architecture)

    @property
    def is_estimator(self) -> bool:
        """True for a scikit-learn classifier, on pixels or on embeddings."""
        return is_estimator(self.architecture)

    @property
    def training_data(self) -> tuple[str, ...]:
        """All that it has learnt from: of a probe, also what its network was trained on."""
        earlier = self.built_on.training_data if self.built_on and self.is_estimator else ()
        return earlier if self.train_on in earlier else (*earlier, self.train_on)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Its architecture, behind that of the network whose embeddings it gets."""
        earlier = self.built_on.architectures if self.built_on and self.is_estimator else ()
        return (*earlier, self.architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How variants are computed when they are evaluated; `embeddings` says whether theirs are kept."""

    precision: str = "float32"
    compile: bool = False
    embeddings: bool = False


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
    """The highest level at which two variants differ; `REINIT` when only the seed does.

    `UNKNOWN` when all that is known is alike down to a level at which one of them is unknown.
    """
    for kind, level_a, level_b in zip(reversed(Category), reversed(levels(a)), reversed(levels(b)), strict=False):
        if level_a is None or level_b is None:
            return Category.UNKNOWN
        if level_a != level_b:
            return kind
    return Category.REINIT


def levels(variant: Variant) -> tuple[object | None, ...]:
    """What two variants may share, in the order of `Category` from `HYPERPARAMETERS` up; None where it is unknown."""
    fields = {
        "hyperparameters": _recipe(variant),
        "architecture": variant.architectures,
        "framework": variant.framework,
        "train_on": variant.training_data,
    }
    return tuple(None if name in variant.unknown else value for name, value in fields.items())


def _recipe(variant: Variant) -> tuple[object, ...]:
    """All that is neither data, framework, architecture nor chance; pretrained weights of one kind are recipes."""
    built_on = _recipe(variant.built_on) if variant.built_on else None
    weights = variant.weights.name if variant.weights and variant.weights.source != RANDOM else None
    return variant.hyperparameters, variant.preprocessing, weights, built_on


def weights_config(variant: Variant, datasets: Mapping[str, DatasetFacts]) -> dict[str, object]:
    """Everything that decides a variant's weights: what it is, how it is trained, and on which examples.

    `datasets` are the facts of the sweep's datasets, by name.
    """
    config: dict[str, object] = {
        "schema": SCHEMA_VERSION,
        "architecture": variant.architecture,
        "hyperparameters": variant.hyperparameter_map,
        "preprocessing": asdict(variant.preprocessing),
    }
    if variant.built_on:
        config["built_on"] = weights_config(variant.built_on, datasets)
    if variant.weights:
        seed = variant.seed if variant.weights.source == RANDOM else None
        return config | {"seed": seed, "weights": variant.weights.identity(datasets)}
    training_data = datasets[variant.train_on]
    return config | {
        "framework": variant.framework,
        "recipe": 1 if variant.is_estimator else RECIPES[variant.framework].version,
        "seed": variant.seed,
        "train": training_data.splits["train"].fingerprint,
        "classes": list(training_data.class_names),
    }


def result_config(
    variant: Variant, datasets: Mapping[str, DatasetFacts], dataset: DatasetFacts, evaluation: Evaluation
) -> dict[str, object]:
    """Everything that decides a variant's stored predictions on a dataset: its weights and the examples."""
    calibration = dataset.splits.get("calibration")
    return {
        "results": RESULTS_VERSION,
        "weights": weights_config(variant, datasets),
        "test": dataset.splits["test"].fingerprint,
        "calibration": calibration.fingerprint if calibration else None,
        "classes": list(dataset.class_names),
        "precision": evaluation.precision,
        "compile": evaluation.compile,
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
