"""timm's pretrained networks: from the hub, from a mirror, or with random weights."""

from pathlib import Path
from typing import Any

import timm
from torch import nn

from overlap.models.weight_files import HUB, blamed, fetch_weights
from overlap.variants import RANDOM, Variant, Weights


def pretrained_network(variant: Variant, weights: Weights, *, cache: Path) -> nn.Module:
    """The network of `architecture.tag` with the classifier of those weights, for the variant's image size.

    A mirror's file goes the way of a download: timm renames parameters of old files and resizes position
    embeddings for another image size than the weights were trained with.

    Args:
        variant: its architecture has these weights.
        weights: of timm; random ones are drawn from the variant's seed.
        cache: where a bucket's files are kept.

    Raises:
        ValueError: a mirror lacks the weights, or has others than planned.
        StoreError: the bucket cannot be read.
    """
    options = _input_options(weights.name, size=variant.preprocessing.size)
    file = None
    if weights.source == RANDOM:
        seed_initialization(variant.seed)
    elif weights.source != HUB:
        file = fetch_weights(weights, cache=cache)
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    with blamed(file, weights.name):
        network: nn.Module = timm.create_model(weights.name, pretrained=weights.source != RANDOM, **options)
    return network


def seed_initialization(seed: int) -> None:
    """Seeds torch and NumPy as the sweep's own trainings do before they draw a network."""
    from overlap.training import seed_everything  # which imports this room

    seed_everything(seed, epoch=-1)


def _input_options(name: str, *, size: int) -> dict[str, Any]:
    """What makes timm build a network for three channels and the image size, where it must know them."""
    config: Any = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    options: dict[str, Any] = {}
    if config.fixed_input_size:
        options["img_size"] = size
    if config.input_size[0] != 3:
        options["in_chans"] = 3
    return options
