"""DINO: a student learns the outputs of its own running mean on other views, then a linear probe on that mean.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, softmax
from torch.nn.functional import normalize as to_unit_length

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.features import linear_classifier, pooled_features
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Phase, Phased
from overlap.frameworks.probe import probe_or_finetune
from overlap.variants import Variant

CENTRE_MOMENTUM = 0.9


class DINO(Phased):
    """The network that is kept is the teacher: it follows a student that is trained beside it."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.data = data
        self.views = Views(knobs, data, brightness=True)
        self.momentum = float(knobs["teacher_momentum"])
        self.temperature, self.teacher_temperature = float(knobs["temperature"]), float(knobs["teacher_temperature"])
        features, prototypes = linear_classifier(network).in_features, int(knobs["prototypes"])
        self.head = PrototypeHead(features, int(knobs["projection_features"]), prototypes).to(data.device)
        self.student, self.student_head = copy.deepcopy(network), copy.deepcopy(self.head)
        pretraining = Descent(knobs, [self.student, self.student_head], len(data), self._loss, self._follow)
        phases: list[Phase] = [pretraining, probe_or_finetune(knobs, network, data)]
        super().__init__(network, phases, head=self.head, student=self.student, student_head=self.student_head)

    def _loss(self, chosen: Tensor) -> Tensor:
        images = self.data.images(chosen)
        views = torch.cat([self.views(images), self.views(images)])
        taught = self._teach(views)
        learned = self.student_head(pooled_features(self.student, views))
        first, second = taught.chunk(2)
        return self_distillation_loss(learned, torch.cat([second, first]), self.temperature)

    @torch.no_grad()
    def _teach(self, views: Tensor) -> Tensor:
        """(2B, prototypes): the teacher's probabilities, centred so that no prototype takes all, and sharpened."""
        self.network.eval()
        train_batch_norms(self.network)
        outputs = self.head(pooled_features(self.network, views))
        taught = softmax((outputs - self.head.centre) / self.teacher_temperature, dim=1)
        self.head.centre.lerp_(outputs.mean(dim=0), 1.0 - CENTRE_MOMENTUM)
        return taught

    def _follow(self, progress: float) -> None:
        """The teacher's momentum rises to 1 on a cosine."""
        momentum = 1.0 - (1.0 - self.momentum) * (1.0 + math.cos(math.pi * progress)) / 2.0
        follow(self.network, self.student, momentum)
        follow(self.head, self.student_head, momentum)


class PrototypeHead(nn.Module):
    """DINO's head: a perceptron to a short unit vector, then its cosine with each prototype.

    The last layer has rows of length 1, which is weight normalisation with its gains fixed to 1. Batch
    normalisation is DINO's option for it: without, a small transformer on 500 digits learnt to answer one
    thing to all images.
    """

    centre: Tensor

    def __init__(self, features: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        hidden = 2 * features
        first = [nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.GELU()]
        second = [nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.GELU()]
        self.perceptron = nn.Sequential(*first, *second, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))
        self.register_buffer("centre", torch.zeros(prototypes))

    def forward(self, features: Tensor) -> Tensor:
        """(B, prototypes) in [-1, 1]."""
        return linear(to_unit_length(self.perceptron(features), dim=1), to_unit_length(self.prototypes, dim=1))


def self_distillation_loss(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of the student's softmax at a temperature under the probabilities it is taught.

    Source: Caron et al., ICCV 2021, equation 3; row i of both is about one image, seen in two views.
    """
    return -(taught * log_softmax(outputs / temperature, dim=1)).sum(dim=1).mean()


@torch.no_grad()
def follow(mean: nn.Module, module: nn.Module, momentum: float) -> None:
    """Moves a running mean of a module's parameters towards them by 1 - momentum."""
    for slow, fast in zip(mean.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - momentum)


def train_batch_norms(network: nn.Module) -> None:
    """Lets batch normalisation see its batch, while all that drops at random stays off."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.train()
