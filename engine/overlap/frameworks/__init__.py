"""Ways to train: one class each behind `Learner`.

Losses are written out here and tested against their definitions: each is a few lines. lightly, which has the
contrastive ones, would bring PyTorch Lightning, Hydra, OmegaConf, torchmetrics and aiohttp for them.
"""

from collections.abc import Callable, Mapping

from torch import nn

from overlap.frameworks.clip import CLIP
from overlap.frameworks.dino import DINO
from overlap.frameworks.distillation import Distillation
from overlap.frameworks.learner import Learner, Teacher, TrainingData
from overlap.frameworks.mae import MAE
from overlap.frameworks.simclr import SimCLR
from overlap.frameworks.supervised import Supervised
from overlap.variants import Variant

__all__ = ["FRAMEWORKS", "Learner", "Teacher", "TrainingData"]

FRAMEWORKS: Mapping[str, Callable[[Variant, nn.Module, TrainingData], Learner]] = {
    "supervised": Supervised,
    "simclr": SimCLR,
    "clip": CLIP,
    "mae": MAE,
    "dino": DINO,
    "distillation": Distillation,
}
