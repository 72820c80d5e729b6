"""Knowledge distillation: learns another variant's probabilities beside the labels.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015. Teacher and student see
the same random view, as Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
CVPR 2022, found to matter.
"""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Phased
from overlap.preprocessing import normalize
from overlap.variants import Variant


class Distillation(Phased):
    """Learns from a teacher, which is another trained variant."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        if data.teacher is None:
            raise ValueError(f"'{variant.name}' is trained by distillation and needs a teacher, got none")
        knobs = variant.hyperparameter_map
        self.data = data
        self.teacher = data.teacher
        self.views = Views(knobs, data)
        self.temperature = float(knobs["distillation_temperature"])
        self.weight = float(knobs["distillation_weight"])
        super().__init__(network, [Descent(knobs, [network], len(data), self._loss)])

    def _loss(self, chosen: Tensor) -> Tensor:
        views = self.views.raw(self.data.images(chosen))
        taught = self.teacher(views)
        logits = self.network(normalize(views, self.data.preprocessing))
        soft = distillation_loss(logits, taught, self.temperature)
        return self.weight * soft + (1.0 - self.weight) * cross_entropy(logits, self.data.labels[chosen])


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Mean over rows of T² · KL(teacher ‖ student), both softmaxes at temperature T.

    The factor T² keeps the gradient's size when T changes (Hinton et al., section 2).
    """
    student = log_softmax(logits / temperature, dim=1)
    teacher = log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)
