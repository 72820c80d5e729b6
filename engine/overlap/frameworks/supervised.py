"""Supervised training: cross-entropy on the labels of random views."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Phased
from overlap.variants import Variant


class Supervised(Phased):
    """Learns labels."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.data = data
        self.views = Views(knobs, data)
        self.label_smoothing = float(knobs["label_smoothing"])
        super().__init__(network, [Descent(knobs, [network], len(data), self._loss)])

    def _loss(self, chosen: Tensor) -> Tensor:
        logits = self.network(self.views(self.data.images(chosen)))
        return cross_entropy(logits, self.data.labels[chosen], label_smoothing=self.label_smoothing)
