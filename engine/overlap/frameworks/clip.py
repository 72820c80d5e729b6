"""CLIP: images and captions of their classes share one space; captions become the classifier.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
A batch holds many images of one class, and each matches all captions of that class: the targets are spread
over them, as Yang et al., "Unified Contrastive Learning in Image-Text-Label Space", CVPR 2022, have it
(open_clip's loss would call all but one of them wrong).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as to_unit_length

from overlap.frameworks.augmentation import Views
from overlap.frameworks.captions import caption_tokens
from overlap.frameworks.descent import Descent
from overlap.frameworks.features import all_features, linear_classifier, pooled_features, set_classifier
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Fit, Phase, Phased
from overlap.frameworks.text_tower import TextTower
from overlap.variants import Variant

MAX_SCALE = 100.0


class CLIP(Phased):
    """Learns which caption belongs to an image; the last epoch makes the zero-shot classifier."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.data = data
        self.views = Views(knobs, data)
        self.tokens_CTL = torch.from_numpy(caption_tokens(data.class_names)).to(data.device)
        width, layers, shared = (int(knobs[k]) for k in ("text_width", "text_layers", "projection_features"))
        vocabulary, length = int(self.tokens_CTL.max()) + 1, self.tokens_CTL.shape[-1]
        tower = TextTower(vocabulary, length, width=width, layers=layers, features=shared)
        features = linear_classifier(network).in_features
        self.pair = ImageText(nn.Linear(features, shared, bias=False), tower, float(knobs["temperature"]))
        self.pair.to(data.device)
        phases: list[Phase] = [
            Descent(knobs, [network, self.pair], len(data), self._loss),
            ZeroShot(network, self.pair, data, self.tokens_CTL),
        ]
        super().__init__(network, phases, pair=self.pair)

    def _loss(self, chosen: Tensor) -> Tensor:
        labels = self.data.labels[chosen]
        templates = torch.randint(self.tokens_CTL.shape[1], (len(chosen),)).to(labels.device)
        texts = self.pair.texts(self.tokens_CTL[labels, templates])
        images = self.pair.images(pooled_features(self.network, self.views(self.data.images(chosen))))
        return image_text_loss(images, texts, labels, self.pair.scale())


class ZeroShot(Fit):
    """The classes' mean captions become the network's classifier.

    Its arg-max is CLIP's exactly. CLIP divides an image's logits by the length of its projection, which no
    linear layer can: here they are divided by the mean length over the training images, which changes how
    sure the network is of an image (its temperature), never of what.
    """

    def __init__(self, network: nn.Module, pair: "ImageText", data: TrainingData, tokens_CTL: Tensor) -> None:
        self.network = network
        self.pair = pair
        self.data = data
        self.tokens_CTL = tokens_CTL

    @torch.no_grad()
    def run_epoch(self, epoch: int) -> float:  # noqa: ARG002 - there is one
        """Sets the classifier and returns its mean cross-entropy on the training images."""
        self.pair.eval()
        features = all_features(self.network, self.data)
        classes = torch.stack([self.pair.texts(tokens).mean(dim=0) for tokens in self.tokens_CTL])
        length = self.pair.projection(features).norm(dim=1).mean()
        weight = self.pair.scale() / length * to_unit_length(classes, dim=1) @ self.pair.projection.weight
        set_classifier(self.network, weight, weight.new_zeros(len(weight)))
        return cross_entropy(linear_classifier(self.network)(features), self.data.labels).item()


class ImageText(nn.Module):
    """What joins image features and captions: both towers' ends and the learned scale of similarities."""

    def __init__(self, projection: nn.Linear, tower: TextTower, temperature: float) -> None:
        super().__init__()
        self.projection = projection
        self.tower = tower
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def images(self, features: Tensor) -> Tensor:
        """(B, shared) of length 1."""
        return to_unit_length(self.projection(features), dim=1)

    def texts(self, tokens_BL: Tensor) -> Tensor:
        """(B, shared) of length 1."""
        return to_unit_length(self.tower(tokens_BL), dim=1)

    def scale(self) -> Tensor:
        """What similarities are multiplied by, at most 100, as in CLIP."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)


def image_text_loss(images: Tensor, texts: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Mean cross-entropy, over both directions, of finding the texts of an image's class among a batch's.

    Args:
        images: (B, shared) of length 1; row i belongs to `labels[i]`.
        texts: (B, shared) of length 1; the same.
        labels: (B,); all pairs of one label match, with equal shares. All different: CLIP's loss.
        scale: multiplies the similarities.

    Source: Yang et al., CVPR 2022, section 3.
    """
    similarities = scale * images @ texts.T
    matches = (labels[:, None] == labels[None, :]).to(similarities)
    targets = matches / matches.sum(dim=1, keepdim=True)
    return (cross_entropy(similarities, targets) + cross_entropy(similarities.T, targets)) / 2
