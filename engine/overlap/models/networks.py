"""timm architectures, built without weights for the size and classes at hand."""

from typing import Any

import timm
from torch import nn

from overlap.variants import Variant


def network_names() -> list[str]:
    """Every architecture that timm can build."""
    return list(timm.list_models())


def build_network(variant: Variant, *, classes: int) -> nn.Module:
    """The variant's architecture with fresh weights, drawn from torch's current random state.

    Architectures with a fixed input (most transformers) are built for the variant's image size.
    """
    knobs = variant.hyperparameter_map
    config = timm.models.get_pretrained_cfg(variant.architecture, allow_unregistered=False)
    options: dict[str, Any] = {"drop_rate": float(knobs.get("dropout", 0.0))}
    if config and config.fixed_input_size:
        options["img_size"] = variant.preprocessing.size
    if knobs.get("drop_path"):
        options["drop_path_rate"] = float(knobs["drop_path"])  # not every architecture takes it
    network: nn.Module = timm.create_model(variant.architecture, pretrained=False, num_classes=classes, **options)
    return network
