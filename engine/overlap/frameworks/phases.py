"""A learner that goes through phases, such as pretraining and then a probe."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn


class Phase(Protocol):
    """Some epochs of one kind."""

    epochs: int

    def run_epoch(self, epoch: int) -> float:
        """Trains one epoch, counted from the phase's start, and returns its mean loss."""
        ...

    def state(self) -> dict[str, Any]:
        """What the phase's later epochs depend on beside the learner's modules."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        ...


class Fit:
    """A phase of one epoch that keeps nothing: a classifier is computed from what the network has learnt."""

    epochs = 1

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from nothing."""


class Phased:
    """A `Learner` whose state is its network, its other modules, and what its phases keep."""

    def __init__(self, network: nn.Module, phases: Sequence[Phase], **modules: nn.Module) -> None:
        self.network = network
        self.phases = phases
        self.modules: Mapping[str, nn.Module] = {"network": network, **modules}
        self.epochs = sum(phase.epochs for phase in phases)

    def run_epoch(self, epoch: int) -> float:
        """Trains one epoch of the phase it lies in and returns its mean loss."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase.run_epoch(epoch)
            epoch -= phase.epochs
        raise IndexError(f"expected an epoch below {self.epochs}, got {self.epochs + epoch}")

    def state(self) -> dict[str, Any]:
        """Each module by its name, and a list of the phases' states."""
        modules = {name: module.state_dict() for name, module in self.modules.items()}
        return {**modules, "phases": [phase.state() for phase in self.phases]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        for phase, saved in zip(self.phases, state["phases"], strict=True):
            phase.restore(saved)
