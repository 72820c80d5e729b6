"""Epochs of gradient steps: batches, optimizer and learning rate."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import Tensor, nn

from overlap.search_space import Scalar


class Descent:
    """A phase of shuffled passes over the examples, the learning rate on one warm-up and cosine.

    Args:
        knobs: how: optimizer, learning_rate, weight_decay, momentum, batch_size and epochs.
        modules: what is trained.
        examples: how many there are.
        loss: maps the indices of a batch to their mean loss.
        after_step: called after each step with the share of the phase that is done, in (0, 1].
    """

    def __init__(
        self,
        knobs: Mapping[str, Scalar],
        modules: Sequence[nn.Module],
        examples: int,
        loss: Callable[[Tensor], Tensor],
        after_step: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.epochs = int(knobs["epochs"])
        self.batch_size = int(knobs["batch_size"])
        self.learning_rate = float(knobs["learning_rate"])
        self.modules = modules
        self.examples = examples
        self.loss = loss
        self.after_step = after_step
        self.optimizer = make_optimizer(knobs, modules)

    def run_epoch(self, epoch: int) -> float:
        """One pass; returns its mean loss."""
        for module in self.modules:
            module.train()
        total, seen = 0.0, 0
        for chosen in batches(self.examples, self.batch_size):
            progress = (epoch + seen / self.examples) / self.epochs
            set_learning_rate(self.optimizer, cosine_learning_rate(self.learning_rate, progress))
            loss = self.loss(chosen)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.item() * len(chosen)
            seen += len(chosen)
            self.after_step((epoch + seen / self.examples) / self.epochs)
        return total / self.examples

    def state(self) -> dict[str, Any]:
        """The optimizer's."""
        return self.optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        self.optimizer.load_state_dict(state)


def make_optimizer(knobs: Mapping[str, Scalar], modules: Sequence[nn.Module]) -> torch.optim.Optimizer:
    """The optimizer that timm calls so; `sgd` is Nesterov's, and momentum is for those that have one."""
    groups = [group for module in modules for group in decayed_groups(module, float(knobs["weight_decay"]))]
    return create_optimizer_v2(
        groups, opt=str(knobs["optimizer"]), lr=float(knobs["learning_rate"]), momentum=float(knobs["momentum"])
    )


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
    """Parameter groups of a module: biases and norms (at most one-dimensional parameters) are not decayed."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
