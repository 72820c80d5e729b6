"""Masked image modelling: predicts hidden patches without labels, then a linear probe on the features.

Sources: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022 (most patches hidden, targets
normalised patch by patch); Xie et al., "SimMIM", CVPR 2022 (a learned value in the pixels' place and one linear
layer as decoder, which lets every architecture take part: convolutions cannot leave patches out).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from overlap.frameworks.augmentation import Views
from overlap.frameworks.descent import Descent
from overlap.frameworks.learner import TrainingData
from overlap.frameworks.phases import Phase, Phased
from overlap.frameworks.probe import probe_or_finetune
from overlap.variants import Variant

CHANNELS = 3
MAX_COARSE = 16


class MAE(Phased):
    """Learns to see what is hidden."""

    def __init__(self, variant: Variant, network: nn.Module, data: TrainingData) -> None:
        knobs = variant.hyperparameter_map
        self.data = data
        self.views = Views(knobs, data)
        side = variant.preprocessing.size
        self.patch = max(1, round(side * float(knobs["mask_patch"])))
        self.ratio = float(knobs["mask_ratio"])
        self.decoder = PixelDecoder(network, variant, data.device).to(data.device)
        pretraining = Descent(knobs, [network, self.decoder], len(data), self._loss)
        phases: list[Phase] = [pretraining, probe_or_finetune(knobs, network, data)]
        super().__init__(network, phases, decoder=self.decoder)

    def _loss(self, chosen: Tensor) -> Tensor:
        images = self.views(self.data.images(chosen))
        hidden = random_patches(len(images), images.shape[-1], self.patch, self.ratio).to(images.device)
        predicted = self.decoder(self.network, torch.where(hidden, self.decoder.mask_value, images))
        return masked_loss(predicted, normalized_patches(images, self.patch), hidden)


class PixelDecoder(nn.Module):
    """One linear layer from the network's map of features to pixels, and one from its pooled features.

    The pooled features, which the probe reads, add a coarse image: else those that the map does not pass
    through (a class token, a head's hidden layer) would learn nothing.
    """

    def __init__(self, network: nn.Module, variant: Variant, device: torch.device) -> None:
        super().__init__()
        self.side = variant.preprocessing.size
        network.eval()  # a look at the shapes must leave no trace in batch statistics
        with torch.no_grad():
            grid, pooled = features_twice(network, torch.zeros(1, CHANNELS, self.side, self.side, device=device))
        self.cell = math.ceil(self.side / grid.shape[-1])
        self.mask_value = nn.Parameter(torch.zeros(1, CHANNELS, 1, 1))
        self.from_grid = nn.Linear(grid.shape[1], CHANNELS * self.cell**2)
        self.coarse = min(self.side, MAX_COARSE)
        self.from_pooled = nn.Linear(pooled.shape[1], CHANNELS * self.coarse**2)

    def forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """(B, 3, side, side): the pixels that the network's features of `inputs` say."""
        grid, pooled = features_twice(network, inputs)
        fine = pixel_shuffle(self.from_grid(grid.movedim(1, -1)).movedim(-1, 1), self.cell)
        coarse = self.from_pooled(pooled).reshape(-1, CHANNELS, self.coarse, self.coarse)
        return self._enlarged(fine) + self._enlarged(coarse)

    def _enlarged(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-1] == self.side:
            return pixels
        return interpolate(pixels, (self.side, self.side), mode="bilinear", align_corners=False)


def features_twice(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """A network's features as a square map (B, features, h, h), and pooled (B, features).

    Raises:
        ValueError: they are no such map.
    """
    timm_network: Any = network
    raw = timm_network.forward_features(inputs)
    grid = raw
    if isinstance(raw, Tensor) and raw.ndim == 3:  # a transformer's tokens, the class token and its like first
        patches = raw[:, getattr(network, "num_prefix_tokens", 0) :]
        side = math.isqrt(patches.shape[1])
        if side * side == patches.shape[1]:
            grid = patches.transpose(1, 2).reshape(len(raw), -1, side, side)
    elif isinstance(raw, Tensor) and raw.ndim == 4 and getattr(network, "output_fmt", "NCHW") == "NHWC":
        grid = raw.movedim(-1, 1)
    if not isinstance(grid, Tensor) or grid.ndim != 4 or grid.shape[2] != grid.shape[3]:
        name = type(network).__name__
        raise ValueError(f"mae needs an architecture with one square map of features; {name} has none")
    return grid, timm_network.forward_head(raw, pre_logits=True)


def random_patches(count: int, side: int, patch: int, ratio: float) -> Tensor:
    """(count, 1, side, side) bool: the pixels of so large a share of an image's patches, at least one."""
    cells = math.ceil(side / patch)
    chosen = torch.rand(count, cells * cells).argsort(dim=1) < max(1, round(ratio * cells * cells))
    return cells_to_pixels(chosen.reshape(count, 1, cells, cells), patch, side)


def cells_to_pixels(values: Tensor, patch: int, side: int) -> Tensor:
    """(B, C, side, side): each pixel has the value of its patch; the last patches may be cut."""
    return values.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)[..., :side, :side]


def normalized_patches(images: Tensor, patch: int) -> Tensor:
    """Images (B, C, S, S), each patch's channels shifted and scaled to mean 0 and variance 1."""
    side = images.shape[-1]
    centred = images - cells_to_pixels(avg_pool2d(images, patch, ceil_mode=True), patch, side)
    variances = cells_to_pixels(avg_pool2d(centred.square(), patch, ceil_mode=True), patch, side)
    return centred / (variances + 1e-6).sqrt()


def masked_loss(predicted: Tensor, targets: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared difference over the hidden pixels (B, 1, S, S) of images (B, C, S, S).

    Source: He et al., CVPR 2022, section 3.
    """
    squares = (predicted - targets).square().mean(dim=1, keepdim=True)
    return (squares * hidden).sum() / hidden.sum()
