"""timm architectures, built without weights for the size and classes at hand."""

from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn

from overlap.variants import Variant


def network_names() -> list[str]:
    """Every architecture that timm can build."""
    return list(timm.list_models())


def build_network(variant: Variant, *, classes: int) -> nn.Module:
    """The variant's architecture with fresh weights, drawn from torch's current random state.

    Architectures with a fixed input (most transformers) are built for the variant's image size.

    Raises:
        ValueError: `drop_path` is set and the architecture has none.
    """
    knobs = variant.hyperparameter_map
    options: dict[str, Any] = {"drop_rate": float(knobs.get("dropout", 0.0))}
    if knobs.get("drop_path"):
        if not takes_drop_path(variant.architecture):
            raise ValueError(f"'{variant.architecture}' has no drop path: leave drop_path out, or set it to 0")
        options["drop_path_rate"] = float(knobs["drop_path"])
    return _create(variant.architecture, size=variant.preprocessing.size, options={"num_classes": classes, **options})


@lru_cache(maxsize=1024)
def takes_drop_path(architecture: str) -> bool:
    """Whether paths of an architecture can be dropped at random (Huang et al., ECCV 2016)."""
    try:
        with torch.device("meta"):  # its shape only: no memory, no random numbers
            _create(architecture, size=None, options={"num_classes": 2, "drop_path_rate": 0.5})
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        return False
    return True


def _create(architecture: str, *, size: int | None, options: dict[str, Any]) -> nn.Module:
    config = timm.models.get_pretrained_cfg(architecture, allow_unregistered=False)
    if size and config and config.fixed_input_size:
        options = {**options, "img_size": size}
    network: nn.Module = timm.create_model(architecture, pretrained=False, **options)
    return network
