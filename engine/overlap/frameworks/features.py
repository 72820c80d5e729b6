"""What a timm network computes before its classifier."""

from typing import Any

import torch
from torch import Tensor, nn

from overlap.frameworks.learner import TrainingData
from overlap.preprocessing import normalize

BATCH = 256


def pooled_features(network: nn.Module, inputs: Tensor) -> Tensor:
    """(N, features): what the network hands to its classifier."""
    timm_network: Any = network  # timm models have methods that nn.Module does not know
    features: Tensor = timm_network.forward_head(timm_network.forward_features(inputs), pre_logits=True)
    return features


def linear_classifier(network: nn.Module) -> nn.Linear:
    """The layer that makes logits of `pooled_features`.

    Raises:
        ValueError: the architecture has not one linear layer for that.
    """
    get_classifier = getattr(network, "get_classifier", None)
    classifier = get_classifier() if get_classifier else None
    if not isinstance(classifier, nn.Linear) or classifier.bias is None:
        raise ValueError(
            f"this framework needs an architecture that ends in one linear classifier with a bias; "
            f"{type(network).__name__} ends in {classifier}: train it supervised"
        )
    return classifier


@torch.no_grad()
def all_features(network: nn.Module, data: TrainingData) -> Tensor:
    """(N, features) of all training images as they are; leaves the network in evaluation mode."""
    network.eval()
    parts = torch.split(torch.arange(len(data)), BATCH)
    return torch.cat([pooled_features(network, normalize(data.images(part), data.preprocessing)) for part in parts])


@torch.no_grad()
def set_classifier(network: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Puts a linear head in the place of the network's classifier."""
    classifier = linear_classifier(network)
    classifier.weight.copy_(weight)
    classifier.bias.copy_(bias)
