"""Ways to train: one class each behind `Learner`."""

from collections.abc import Callable, Mapping

from torch import nn

from overlap.frameworks.learner import Learner, TrainingData
from overlap.frameworks.simclr import SimCLR
from overlap.frameworks.supervised import Supervised
from overlap.variants import Variant

__all__ = ["FRAMEWORKS", "Learner", "TrainingData"]

FRAMEWORKS: Mapping[str, Callable[[Variant, nn.Module, TrainingData], Learner]] = {
    "supervised": Supervised,
    "simclr": SimCLR,
}
