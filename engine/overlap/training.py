"""One variant's training, an epoch at a time: deterministic, and resumable after any epoch."""

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from overlap.datasets import Split
from overlap.frameworks import FRAMEWORKS, TrainingData
from overlap.models import build_network
from overlap.preprocessing import resize
from overlap.variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch left behind. `checkpoint` continues the training, `weights` end it."""

    number: int
    epochs: int
    loss: float
    checkpoint: bytes
    weights: bytes | None


def train(
    variant: Variant, split: Split, *, classes: int, device: torch.device, checkpoint: bytes | None
) -> Iterator[Epoch]:
    """Trains a variant from scratch or from a checkpoint, yielding after every epoch.

    The epochs from a checkpoint on are bit for bit those of an undisturbed run on the same kind of
    device with the same number of threads: all randomness comes from (seed, epoch).

    Raises:
        ValueError: the loss is no number any more.
    """
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    seed_everything(variant.seed, epoch=-1)
    network = build_network(variant, classes=classes).to(device)
    data = TrainingData(
        images=resize(split.pixels_NHWC, variant.preprocessing).to(device),
        labels=torch.from_numpy(split.labels_N).long().to(device),
        classes=classes,
        preprocessing=variant.preprocessing,
    )
    learner = FRAMEWORKS[variant.framework](variant, network, data)
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
            weights=to_safetensors(network) if epoch + 1 == learner.epochs else None,
        )


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
