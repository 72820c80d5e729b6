"""The seam of a framework: a network that learns an epoch at a time and can be put away in between."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from overlap.datasets.pixels import Pixels
from overlap.preprocessing import to_images
from overlap.variants import Preprocessing

Teacher: TypeAlias = Callable[[Tensor], Tensor]
"""Images (B, channels, S, S) in [0, 1] on the device become logits (B, classes), without gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Labelled images of the size that the network takes; only what is asked for comes onto the device.

    `labels` (N,) are int64 on the device. A `teacher` is there if the framework's recipe asks for one.
    """

    pixels: Pixels
    labels: Tensor
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    device: torch.device
    teacher: Teacher | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, chosen: Tensor) -> Tensor:
        """(B, channels, S, S) float32 in [0, 1] on the device: the images of these rows, in this order."""
        return to_images(np.ascontiguousarray(self.pixels[chosen.cpu().numpy()]), self.device)


class Learner(Protocol):
    """One variant in training.

    An epoch may draw from torch's random state, which is seeded anew before each epoch, and from
    nothing else that `state` does not hold: that makes a resumed training equal an undisturbed one.
    """

    network: nn.Module
    epochs: int

    def run_epoch(self, epoch: int) -> float:
        """Trains one epoch, counted from 0, and returns its mean loss."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that a later epoch depends on, for `torch.save`."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state of an earlier learner of the same variant."""
        ...
