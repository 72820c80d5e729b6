"""Random views of images: one affine map an image, flips, and brightness for learning without labels."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from overlap.frameworks.learner import TrainingData
from overlap.preprocessing import normalize
from overlap.search_space import Scalar

MAX_DEGREES = 15.0
MAX_SCALE = 0.15
MAX_SHEAR = 0.15
MAX_SHIFT = 0.1


class Views:
    """Draws views of images as the knobs `augmentation` and `flip` say."""

    def __init__(self, knobs: Mapping[str, Scalar], data: TrainingData, *, brightness: bool = False) -> None:
        self.strength = float(knobs["augmentation"])
        self.flip = float(knobs["flip"])
        self.brightness = brightness
        self.preprocessing = data.preprocessing

    def raw(self, images: Tensor) -> Tensor:
        """One view of each image, in [0, 1]."""
        views = random_flip(random_affine(images, self.strength), self.flip)
        return random_brightness(views, self.strength) if self.brightness else views

    def __call__(self, images: Tensor) -> Tensor:
        """One view of each image, normalised."""
        return normalize(self.raw(images), self.preprocessing)


def random_affine(images: Tensor, strength: float) -> Tensor:
    """Rotates, scales, shears and shifts each image (N, C, H, W) on its own.

    At strength 1: up to 15 degrees, 15 % of size, 0.15 of shear and 10 % of the side. Draws from
    torch's random state, on the CPU, so that every device sees the same views.
    """
    if strength == 0:
        return images
    count = len(images)
    draws = (2.0 * torch.rand(count, 6) - 1.0) * strength
    angle = draws[:, 0] * math.radians(MAX_DEGREES)
    scale_x, scale_y = 1.0 + draws[:, 1] * MAX_SCALE, 1.0 + draws[:, 2] * MAX_SCALE
    shear = draws[:, 3] * MAX_SHEAR
    shift = draws[:, 4:] * 2.0 * MAX_SHIFT
    cos, sin = torch.cos(angle), torch.sin(angle)
    first = torch.stack([cos * scale_x, (shear * cos - sin) * scale_y, shift[:, 0]], dim=1)
    second = torch.stack([sin * scale_x, (shear * sin + cos) * scale_y, shift[:, 1]], dim=1)
    maps = torch.stack([first, second], dim=1).to(images)
    grid = affine_grid(maps, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def random_flip(images: Tensor, probability: float) -> Tensor:
    """Mirrors each image left to right with a probability; 0 draws nothing."""
    if probability == 0:
        return images
    flipped = (torch.rand(len(images), 1, 1, 1) < probability).to(images.device)
    return torch.where(flipped, images.flip(-1), images)


def random_brightness(images: Tensor, strength: float) -> Tensor:
    """Multiplies each image by a factor in 1 ± 0.4 · strength, clipped to [0, 1]."""
    factors = 1.0 + 0.4 * strength * (2.0 * torch.rand(len(images), 1, 1, 1) - 1.0)
    return images.mul(factors.to(images)).clamp_(0.0, 1.0)
