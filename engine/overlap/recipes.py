"""What each way of training may be told, with its defaults: plain data, so that a plan needs no torch."""

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
class Recipe:
    """One way to train. `version` grows when the same settings would give other weights."""

    version: int
    knobs: Mapping[str, Knob]


_OPTIMIZER: Mapping[str, Knob] = {
    "epochs": Knob(default=20, low=1, high=100_000),
    "batch_size": Knob(default=50, low=2, high=1_000_000),
    "learning_rate": Knob(default=2e-3, low=1e-9, high=100.0),
    "weight_decay": Knob(default=0.05, low=0.0, high=100.0),
    "dropout": Knob(default=0.0, low=0.0, high=0.95),
    "drop_path": Knob(default=0.0, low=0.0, high=0.95),
}

RECIPES: Mapping[str, Recipe] = {
    "supervised": Recipe(
        version=1,
        knobs={
            **_OPTIMIZER,
            "label_smoothing": Knob(default=0.0, low=0.0, high=0.95),
            "augmentation": Knob(default=0.5, low=0.0, high=3.0),
        },
    ),
    "simclr": Recipe(
        version=1,
        knobs={
            **_OPTIMIZER,
            "augmentation": Knob(default=1.0, low=0.0, high=3.0),
            "temperature": Knob(default=0.2, low=0.001, high=10.0),
            "projection_features": Knob(default=64, low=2, high=65_536),
            "probe_regularization": Knob(default=1.0, low=1e-9, high=1e9),
        },
    ),
}


def is_estimator(architecture: str) -> bool:
    """True for a scikit-learn classifier, which is fitted where it is evaluated and keeps no weights."""
    return architecture.startswith(ESTIMATOR_PREFIX)
