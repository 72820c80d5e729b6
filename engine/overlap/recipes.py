"""What each way of training may be told, with its defaults: plain data, so that a plan needs no torch."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from overlap.search_space import Scalar

ESTIMATOR_PREFIX = "sklearn:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A hyperparameter: its default and the closed range of values that make sense."""

    default: float
    low: float
    high: float

    def problem(self, value: Scalar) -> str:
        """What is wrong with a value for this knob; empty if nothing is."""
        whole = isinstance(self.default, int)
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool | str) or not math.isfinite(value) or (whole and value != int(value)):
            return f"expected {kind}, got {value!r}"
        if not self.low <= value <= self.high:
            return f"expected {kind} from {self.low:g} to {self.high:g}, got {value:g}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceKnob:
    """A hyperparameter that is one of some words."""

    default: str
    choices: tuple[str, ...]

    def problem(self, value: Scalar) -> str:
        """What is wrong with a value for this knob; empty if nothing is."""
        if value in self.choices:
            return ""
        near = difflib.get_close_matches(str(value), self.choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"expected one of {', '.join(self.choices)}, got {value!r}{hint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to train. `version` grows when the same settings would give other weights.

    With `teacher`, it learns from another trained variant, which must be there first.
    """

    version: int
    knobs: Mapping[str, Knob | ChoiceKnob]
    teacher: bool = False


_NETWORK: Mapping[str, Knob | ChoiceKnob] = {
    "dropout": Knob(default=0.0, low=0.0, high=0.95),
    "drop_path": Knob(default=0.0, low=0.0, high=0.95),
    "initialization": ChoiceKnob(
        default="default",
        choices=("default", "kaiming_normal", "xavier_uniform", "orthogonal", "truncated_normal"),
    ),
}

# A learning rate is its optimizer's: 2e-3 suits adamw, 0.1 sgd.
_DESCENT: Mapping[str, Knob | ChoiceKnob] = {
    "epochs": Knob(default=20, low=1, high=100_000),
    "batch_size": Knob(default=50, low=2, high=1_000_000),
    "optimizer": ChoiceKnob(
        default="adamw",
        choices=("adamw", "sgd", "lamb", "rmsprop", "adam", "nadamw", "radam", "lion", "lars", "adabelief"),
    ),
    "learning_rate": Knob(default=2e-3, low=1e-9, high=100.0),
    "weight_decay": Knob(default=0.05, low=0.0, high=100.0),
    "momentum": Knob(default=0.9, low=0.0, high=0.9999),
}


def _views(augmentation: float) -> Mapping[str, Knob | ChoiceKnob]:
    return {
        "augmentation": Knob(default=augmentation, low=0.0, high=3.0),
        "flip": Knob(default=0.0, low=0.0, high=1.0),
    }


_PROBE: Mapping[str, Knob | ChoiceKnob] = {
    "probe_regularization": Knob(default=10.0, low=1e-9, high=1e9),
    "finetune_epochs": Knob(default=0, low=0, high=100_000),
    "finetune_learning_rate": Knob(default=2e-3, low=1e-9, high=100.0),
}

RECIPES: Mapping[str, Recipe] = {
    "supervised": Recipe(
        version=2,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(0.5),
            "label_smoothing": Knob(default=0.0, low=0.0, high=0.95),
        },
    ),
    "simclr": Recipe(
        version=2,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(1.0),
            **_PROBE,
            "temperature": Knob(default=0.2, low=0.001, high=10.0),
            "projection_features": Knob(default=64, low=2, high=65_536),
        },
    ),
    "clip": Recipe(
        version=1,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(0.5),
            "temperature": Knob(default=0.07, low=0.01, high=10.0),
            "projection_features": Knob(default=64, low=2, high=65_536),
            "text_width": Knob(default=64, low=4, high=65_536),
            "text_layers": Knob(default=1, low=1, high=100),
        },
    ),
    "mae": Recipe(
        version=1,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(0.5),
            **_PROBE,
            "mask_patch": Knob(default=0.125, low=0.001, high=0.5),
            "mask_ratio": Knob(default=0.6, low=0.01, high=0.99),
        },
    ),
    "dino": Recipe(
        version=1,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(1.0),
            **_PROBE,
            "temperature": Knob(default=0.1, low=0.001, high=10.0),
            "teacher_temperature": Knob(default=0.04, low=0.001, high=10.0),
            "teacher_momentum": Knob(default=0.97, low=0.0, high=1.0),
            "prototypes": Knob(default=256, low=2, high=1_000_000),
            "projection_features": Knob(default=64, low=2, high=65_536),
        },
    ),
    "distillation": Recipe(
        version=1,
        teacher=True,
        knobs={
            **_NETWORK,
            **_DESCENT,
            **_views(0.5),
            "distillation_temperature": Knob(default=4.0, low=0.01, high=100.0),
            "distillation_weight": Knob(default=0.9, low=0.0, high=1.0),
        },
    ),
}


def is_estimator(architecture: str) -> bool:
    """True for a scikit-learn classifier, which is fitted where it is evaluated and keeps no weights."""
    return architecture.startswith(ESTIMATOR_PREFIX)
