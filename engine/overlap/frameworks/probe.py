"""A linear probe on frozen features, or fine-tuning: what pretraining without labels ends with."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.features import all_features, linear_classifier, set_classifier
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Fit, Phase
from overlap.search_space import Scalar

UNSEEN_BIAS = -30.0
LEAST_SCALE = 0.01  # of the largest: a feature that hardly moves is not blown up


class Probe(Fit):
    """A logistic regression on the frozen features becomes the network's classifier."""

    def __init__(self, network: nn.Module, data: TrainingData, regularization: float) -> None:
        linear_classifier(network)  # an architecture without one is told before hours of pretraining
        self.network = network
        self.data = data
        self.regularization = regularization

    def run_epoch(self, epoch: int) -> float:  # noqa: ARG002 - there is one
        """Fits the probe and returns its mean cross-entropy on the training images."""
        features = all_features(self.network, self.data)
        weight, bias = fit_probe(features, self.data.labels, len(self.data.class_names), self.regularization)
        set_classifier(self.network, weight, bias)
        with torch.no_grad():
            return cross_entropy(linear_classifier(self.network)(features), self.data.labels).item()


def fit_probe(features: Tensor, labels: Tensor, classes: int, regularization: float) -> tuple[Tensor, Tensor]:
    """Weight (classes, features) and bias (classes,) of an L2-regularised logistic regression.

    A class without examples gets a bias that no feature outweighs. Larger `regularization` is a weaker
    penalty, as scikit-learn's `C`, on features that each have mean 0 and variance 1: He et al., CVPR 2022,
    section A.1, found that features of masked models need it.
    """
    features_NF = features.double().cpu().numpy()
    mean_F, scale_F = features_NF.mean(axis=0), features_NF.std(axis=0)
    scale_F = np.maximum(scale_F, max(LEAST_SCALE * scale_F.max(), 1e-12))
    standard_NF = (features_NF - mean_F) / scale_F
    fitted = LogisticRegression(C=regularization, max_iter=2000).fit(standard_NF, labels.cpu().numpy())
    coefficients = fitted.coef_ / scale_F
    intercepts = fitted.intercept_ - coefficients @ mean_F
    if len(fitted.classes_) == 2:  # scikit-learn gives one row, the second class's log odds
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.array([-1, 1]) * intercepts / 2
    weight = torch.zeros(classes, features_NF.shape[1])
    bias = torch.full((classes,), UNSEEN_BIAS)
    rows = torch.from_numpy(np.ascontiguousarray(fitted.classes_)).long()
    weight[rows] = torch.from_numpy(coefficients).float()
    bias[rows] = torch.from_numpy(intercepts).float()
    return weight, bias


def probe_or_finetune(knobs: Mapping[str, Scalar], network: nn.Module, data: TrainingData) -> Phase:
    """The phase after pretraining: a linear probe, or all weights with labels for `finetune_epochs`."""
    probe = Probe(network, data, float(knobs["probe_regularization"]))
    epochs = int(knobs["finetune_epochs"])
    if not epochs:
        return probe
    views = Views(knobs, data)

    def loss(chosen: Tensor) -> Tensor:
        return cross_entropy(network(views(data.images(chosen))), data.labels[chosen])

    settings = {**knobs, "epochs": epochs, "learning_rate": knobs["finetune_learning_rate"]}
    return Descent(settings, [network], len(data), loss)
