"""SimCLR: contrastive learning without labels, then a linear probe on the frozen features.

Source: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020.
"""

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as to_unit_length

from overlap.frameworks.augmentation import random_affine, random_brightness
from overlap.frameworks.learner import Descent, TrainingData, decayed_groups
from overlap.preprocessing import normalize
from overlap.variants import Variant


class SimCLR:
    """Pulls two views of an image together and pushes other images away; the last epoch is the probe."""

    network: Any  # timm models have methods that nn.Module does not know

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.network = network
        self.data = data
        self.pretraining_epochs = int(knobs["epochs"])
        self.epochs = self.pretraining_epochs + 1
        self.descent = Descent(
            epochs=self.pretraining_epochs,
            batch_size=int(knobs["batch_size"]),
            learning_rate=float(knobs["learning_rate"]),
        )
        self.temperature = float(knobs["temperature"])
        self.augmentation = float(knobs["augmentation"])
        self.probe_regularization = float(knobs["probe_regularization"])
        features = int(self.network.get_classifier().in_features)
        self.projector = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, int(knobs["projection_features"]))
        ).to(data.images.device)
        decay = float(knobs["weight_decay"])
        groups = decayed_groups(network, decay) + decayed_groups(self.projector, decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0)

    def run_epoch(self, epoch: int) -> float:
        """Trains one contrastive epoch, or fits the probe in the last one; returns the mean loss."""
        if epoch == self.pretraining_epochs:
            return self._fit_probe()
        self.network.train()
        return self.descent.run_epoch(epoch, self.optimizer, len(self.data.labels), self._loss)

    def _loss(self, chosen: Tensor) -> Tensor:
        images = self.data.images[chosen]
        views = torch.cat([self._view(images), self._view(images)])
        return contrastive_loss(self.projector(self._features(views)), self.temperature)

    def state(self) -> dict[str, Any]:
        """Network, projector and optimizer."""
        modules = {"network": self.network.state_dict(), "projector": self.projector.state_dict()}
        return {**modules, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from `state`."""
        self.network.load_state_dict(state["network"])
        self.projector.load_state_dict(state["projector"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _view(self, images: Tensor) -> Tensor:
        view = random_brightness(random_affine(images, self.augmentation), self.augmentation)
        return normalize(view, self.data.preprocessing)

    def _features(self, inputs: Tensor) -> Tensor:
        """(N, features): what the network hands to its classifier."""
        features: Tensor = self.network.forward_head(self.network.forward_features(inputs), pre_logits=True)
        return features

    @torch.no_grad()
    def _fit_probe(self) -> float:
        """Fits a logistic regression on the frozen features and makes it the network's classifier."""
        self.network.eval()
        images = normalize(self.data.images, self.data.preprocessing)
        features = torch.cat([self._features(part) for part in torch.split(images, 256)]).double().cpu().numpy()
        labels = self.data.labels.cpu().numpy()
        scale = max(float(features.std()), 1e-12)  # one number, so that the probe's strength has a meaning
        probe = LogisticRegression(C=self.probe_regularization, max_iter=2000).fit(features / scale, labels)
        classifier = self.network.get_classifier()
        classifier.weight.zero_()
        classifier.bias.fill_(-30.0)  # a class without training images
        rows = torch.from_numpy(np.ascontiguousarray(probe.classes_)).long()
        classifier.weight[rows] = torch.from_numpy(probe.coef_ / scale).to(classifier.weight)
        classifier.bias[rows] = torch.from_numpy(probe.intercept_).to(classifier.bias)
        return float(-np.log(probe.predict_proba(features / scale).max(axis=1)).mean())


def contrastive_loss(projections: Tensor, temperature: float) -> Tensor:
    """NT-Xent: mean cross-entropy of finding, among all other views, the other view of one's own image.

    Args:
        projections: (2N, features); rows i and i + N are two views of one image.
        temperature: divides the cosine similarities.

    Source: Chen et al., ICML 2020, equation 1.
    """
    units = to_unit_length(projections, dim=1)
    similarities = units @ units.T / temperature
    similarities = similarities.masked_fill(torch.eye(len(units), dtype=torch.bool, device=units.device), -1e9)
    half = len(units) // 2
    partners = torch.arange(len(units), device=units.device).roll(half)
    return cross_entropy(similarities, partners)
