"""Supervised training: cross-entropy on labels, AdamW, cosine schedule."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from overlap.frameworks.augmentation import random_affine
from overlap.frameworks.learner import Descent, TrainingData, decayed_groups
from overlap.preprocessing import normalize
from overlap.variants import Variant


class Supervised:
    """Learns labels from random affine views of the images."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.network = network
        self.data = data
        self.epochs = int(knobs["epochs"])
        self.descent = Descent(
            epochs=self.epochs, batch_size=int(knobs["batch_size"]), learning_rate=float(knobs["learning_rate"])
        )
        self.label_smoothing = float(knobs["label_smoothing"])
        self.augmentation = float(knobs["augmentation"])
        self.optimizer = torch.optim.AdamW(decayed_groups(network, float(knobs["weight_decay"])), lr=0.0)

    def run_epoch(self, epoch: int) -> float:
        """Trains one epoch and returns its mean loss."""
        self.network.train()
        return self.descent.run_epoch(epoch, self.optimizer, len(self.data.labels), self._loss)

    def _loss(self, chosen: Tensor) -> Tensor:
        views = normalize(random_affine(self.data.images[chosen], self.augmentation), self.data.preprocessing)
        labels = self.data.labels[chosen]
        return cross_entropy(self.network(views), labels, label_smoothing=self.label_smoothing)

    def state(self) -> dict[str, Any]:
        """Network and optimizer."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
