"""A variant becomes a network over the classes of a dataset, or one that gives embeddings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from overlap.datasets.label_spaces import output_columns
from overlap.models.checkpoints import Tensors, bare_name, load_tensors, read_checkpoint
from overlap.models.networks import build_network
from overlap.models.timm_weights import pretrained_network
from overlap.models.user_code import call_user_code
from overlap.variants import Variant

CPU = torch.device("cpu")


class Classifier(nn.Module):
    """A network over the classes of one dataset.

    Args:
        network: gives (B, outputs) logits of normalised (B, 3, S, S) images; for embeddings also timm's
            `forward_features` and `forward_head`.
        class_names: the dataset's C classes, in its order.
        outputs: names of the network's outputs, in their order.
    """

    columns: Tensor | None

    def __init__(self, network: nn.Module, *, class_names: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.outputs = len(outputs)
        columns = None if class_names == outputs else torch.from_numpy(output_columns(class_names, outputs))
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C) logits.

        Raises:
            ValueError: the network has another number of outputs than there are names for them.
        """
        return self._over_classes(self.network(images))

    def with_embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) what the network hands to its classifier, and the logits that `forward` gives, bit for bit.

        Raises:
            ValueError: the network keeps no step apart before its classifier.
        """
        features, head = _two_steps(self.network, images)
        logits = self._over_classes(head(features))
        return _as_vectors(head(features, pre_logits=True)), logits

    def _over_classes(self, logits: Tensor) -> Tensor:
        if logits.ndim != 2 or logits.shape[1] != self.outputs:
            raise _wrong_outputs("the network", f"{tuple(logits.shape)}", self.outputs)
        return logits if self.columns is None else logits.index_select(1, self.columns)


class Embedder(nn.Module):
    """What a network hands to its classifier, whether it has one or not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) embeddings of normalised images.

        Raises:
            ValueError: the network keeps no step apart before its classifier.
        """
        features, head = _two_steps(self.network, images)
        return _as_vectors(head(features, pre_logits=True))


def build_classifier(
    variant: Variant,
    *,
    class_names: tuple[str, ...],
    outputs: tuple[str, ...],
    weights: bytes | None,
    cache: Path,
    device: torch.device = CPU,
) -> Classifier:
    """The variant as a network over a dataset's classes, in evaluation mode, on the CPU.

    Args:
        variant: any but an estimator.
        class_names: the dataset's classes, in its order.
        outputs: names of the network's outputs, in their order; a zero-shot classifier makes its own.
        weights: the safetensors file of what this sweep has trained, None for weights from elsewhere.
        cache: a folder of this node for a bucket's files and for the embeddings of texts.
        device: where texts are embedded, the one slow step.

    Raises:
        ValueError: the weights are not there, not those of the plan, or do not fit.
        DatasetError: a class is none of the outputs.
    """
    found = variant.weights
    if found and found.library == "open_clip":
        from overlap.models.zero_shot import zero_shot_network  # open_clip: only who has such a variant waits for it

        outputs = class_names
        network: nn.Module = zero_shot_network(variant, found, class_names, cache=cache, device=device)
    else:
        network = _build(variant, outputs=len(outputs), weights=weights, cache=cache)
    return Classifier(network, class_names=class_names, outputs=outputs).eval()


def build_embedder(variant: Variant, *, weights: bytes | None, cache: Path, classes: int = 0) -> Embedder:
    """The variant as a network that gives embeddings, in evaluation mode, on the CPU.

    It may have no classifier. An embedding of an open_clip model is the image tower's output before it is
    normalised. `classes` is how many outputs the network has, 0 where its weights shall tell; the other
    arguments and the exceptions are those of `build_classifier`.
    """
    if variant.weights and variant.weights.library == "open_clip":
        from overlap.models.zero_shot import image_tower

        return Embedder(image_tower(variant, variant.weights, cache=cache)).eval()
    return Embedder(_build(variant, outputs=classes or None, weights=weights, cache=cache)).eval()


def _build(variant: Variant, *, outputs: int | None, weights: bytes | None, cache: Path) -> nn.Module:
    """The variant's network; `outputs` is None where only the weights can tell how many it has."""
    found = variant.weights
    if found is None:
        if weights is None:
            raise ValueError(f"'{variant.name}' is trained by its sweep: its weights are needed")
        return _from_tensors(
            variant, safetensors.torch.load(weights), outputs, shown=f"the weights of '{variant.name}'"
        )
    match found.library:
        case "timm":
            network = pretrained_network(variant, found, cache=cache)
            if outputs is not None and network.num_classes != outputs:
                raise _wrong_outputs(f"'{found.name}'", network.num_classes, outputs)
            return network
        case "checkpoint":
            tensors = read_checkpoint(Path(found.name), revision=found.revision)
            return _from_tensors(variant, tensors, outputs, shown=f"checkpoint '{found.name}'")
        case "python":
            return call_user_code(found.name, revision=found.revision)
    raise ValueError(f"'{variant.name}': weights of '{found.library}' are unknown")


def _from_tensors(variant: Variant, tensors: Tensors, outputs: int | None, *, shown: str) -> nn.Module:
    classes = _count_outputs(variant.architecture, tensors) if outputs is None else outputs
    network = build_network(variant, classes=classes)
    load_tensors(network, tensors, shown=shown, fitting=f"{variant.architecture} with {classes} outputs")
    return network


def _count_outputs(architecture: str, tensors: Tensors) -> int:
    """How many outputs the network has that these tensors come from; 0 if it has no classifier."""
    config = timm.models.get_pretrained_cfg(architecture)
    names = config.classifier if config else None
    weights = [f"{name}.weight" for name in ([names] if isinstance(names, str) else names or [])]
    return next((len(tensor) for name, tensor in tensors.items() if bare_name(name) in weights), 0)


def _wrong_outputs(shown: str, got: object, expected: int) -> ValueError:
    return ValueError(
        f"{shown} has {got} outputs, expected {expected}: "
        "say which classes they are (outputs: a dataset or a label space with as many classes)"
    )


def _two_steps(network: nn.Module, images: Tensor) -> tuple[Any, Callable[..., Tensor]]:
    """What a network makes of images before its head, computed once, and the head."""
    steps = cast("Any", network)
    if not (hasattr(network, "forward_features") and hasattr(network, "forward_head")):
        raise ValueError(
            f"a {type(network).__name__} gives no embeddings: expected timm's methods "
            "forward_features(images) and forward_head(features, pre_logits=False)"
        )
    return steps.forward_features(images), steps.forward_head


def _as_vectors(embeddings: Tensor) -> Tensor:
    return embeddings.flatten(1)
