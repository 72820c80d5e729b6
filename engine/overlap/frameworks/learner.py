"""The seam of a framework: a network that learns an epoch at a time and can be put away in between."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from overlap.variants import Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Resized training images (N, channels, size, size) in [0, 1] and labels (N,) on one device."""

    images: Tensor
    labels: Tensor
    classes: int
    preprocessing: Preprocessing


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How gradient epochs go: how many, in batches of how many images, from which peak learning rate."""

    epochs: int
    batch_size: int
    learning_rate: float

    def run_epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer, examples: int, loss_of: Callable[[Tensor], Tensor]
    ) -> float:
        """One shuffled pass, the learning rate on its cosine; `loss_of` maps a batch's indices to its mean loss."""
        total, seen = 0.0, 0
        for chosen in batches(examples, self.batch_size):
            progress = (epoch + seen / examples) / self.epochs
            set_learning_rate(optimizer, cosine_learning_rate(self.learning_rate, progress))
            loss = loss_of(chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(chosen)
            seen += len(chosen)
        return total / examples


def batches(examples: int, batch_size: int) -> Iterator[Tensor]:
    """Shuffled index batches of one epoch; a last batch of one example joins the one before it."""
    order = torch.randperm(examples)
    starts = list(range(0, examples, batch_size))
    if len(starts) > 1 and examples - starts[-1] == 1:
        starts.pop()  # batch normalisation cannot work on one example
    for start, stop in zip(starts, [*starts[1:], examples], strict=True):
        yield order[start:stop]


def cosine_learning_rate(peak: float, progress: float, *, warmup: float = 0.05) -> float:
    """Learning rate at a progress in [0, 1]: linear over `warmup`, then half a cosine down to 0."""
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def decayed_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: biases and norms (one-dimensional parameters) are not decayed."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
