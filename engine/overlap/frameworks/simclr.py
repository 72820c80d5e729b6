"""SimCLR: contrastive learning without labels, then a linear probe on the frozen features.

Source: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as to_unit_length

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.features import linear_classifier, pooled_features
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Phase, Phased
from overlap.frameworks.probe import probe_or_finetune
from overlap.variants import Variant


class SimCLR(Phased):
    """Pulls two views of an image together and pushes other images away."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.data = data
        self.views = Views(knobs, data, brightness=True)
        self.temperature = float(knobs["temperature"])
        features = linear_classifier(network).in_features
        self.projector = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(), nn.Linear(features, int(knobs["projection_features"]))
        ).to(data.device)
        pretraining = Descent(knobs, [network, self.projector], len(data), self._loss)
        phases: list[Phase] = [pretraining, probe_or_finetune(knobs, network, data)]
        super().__init__(network, phases, projector=self.projector)

    def _loss(self, chosen: Tensor) -> Tensor:
        images = self.data.images(chosen)
        views = torch.cat([self.views(images), self.views(images)])
        return contrastive_loss(self.projector(pooled_features(self.network, views)), self.temperature)


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
