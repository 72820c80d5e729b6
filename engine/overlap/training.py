"""One variant's training, an epoch at a time: deterministic, and resumable after any epoch."""

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from overlap.datasets.pixels import Pixels
from overlap.frameworks import FRAMEWORKS, Teacher, TrainingData
from overlap.frameworks.initialization import initialize
from overlap.models import build_network
from overlap.preprocessing import normalize
from overlap.variants import Preprocessing, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch left behind. `checkpoint` continues the training, `weights` end it."""

    number: int
    epochs: int
    loss: float
    checkpoint: bytes
    weights: bytes | None


def train(
    variant: Variant,
    pixels: Pixels,
    labels_N: NDArray[np.int32],
    *,
    class_names: tuple[str, ...],
    device: torch.device,
    checkpoint: bytes | None,
    teacher: Teacher | None = None,
) -> Iterator[Epoch]:
    """Trains a variant from scratch or from a checkpoint, yielding after every epoch.

    The epochs from a checkpoint on are bit for bit those of an undisturbed run on the same kind of
    device with the same number of threads: all randomness comes from (seed, epoch).

    Args:
        variant: what to train.
        pixels: (N, S, S, channels) uint8, S the variant's size; only batches of it are read.
        labels_N: the index of each image's class in `class_names`.
        class_names: every class the network can answer, seen in training or not.
        device: where to train.
        checkpoint: of an earlier epoch of this training.
        teacher: for a recipe with a teacher.

    Raises:
        ValueError: the loss is no number any more, or the architecture does not suit the framework.
    """
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    seed_everything(variant.seed, epoch=-1)
    network = build_network(variant, classes=len(class_names))
    initialize(network, str(variant.hyperparameter_map["initialization"]))
    data = TrainingData(
        pixels=pixels,
        labels=torch.from_numpy(labels_N).long().to(device),
        class_names=class_names,
        preprocessing=variant.preprocessing,
        device=device,
        teacher=teacher,
    )
    learner = FRAMEWORKS[variant.framework](variant, network.to(device), data)
    start = 0
    if checkpoint is not None:
        saved = torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)
        learner.restore(saved["learner"])
        start = int(saved["epoch"]) + 1
    for epoch in range(start, learner.epochs):
        seed_everything(variant.seed, epoch=epoch)
        loss = learner.run_epoch(epoch)
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss} after epoch {epoch + 1}: try a lower learning rate")
        yield Epoch(
            number=epoch + 1,
            epochs=learner.epochs,
            loss=loss,
            checkpoint=_to_checkpoint({"epoch": epoch, "learner": learner.state()}),
            weights=to_safetensors(learner.network) if epoch + 1 == learner.epochs else None,
        )


def make_teacher(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Teacher:
    """A network that gives its logits for any view of an image, at its own size and normalisation."""
    network = network.to(device).eval()
    size = (preprocessing.size, preprocessing.size)

    @torch.no_grad()
    def teacher(images: Tensor) -> Tensor:
        if images.shape[-2:] != size:
            images = interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        logits: Tensor = network(normalize(images, preprocessing))
        return logits

    return teacher


def seed_everything(seed: int, *, epoch: int) -> None:
    """Seeds torch and NumPy from (seed, epoch); epoch -1 is the initialisation."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    np.random.seed(int.from_bytes(digest[8:12], "little"))  # noqa: NPY002 - some architectures draw from it


def to_safetensors(network: nn.Module) -> bytes:
    """The network's weights and buffers as a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return safetensors.torch.save(tensors)


def from_safetensors(content: bytes) -> dict[str, Tensor]:
    """The state dictionary in a safetensors file."""
    return safetensors.torch.load(content)


def _to_checkpoint(state: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
