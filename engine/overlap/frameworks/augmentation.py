"""Random views of images: one affine map an image, and brightness for contrastive learning."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

MAX_DEGREES = 15.0
MAX_SCALE = 0.15
MAX_SHEAR = 0.15
MAX_SHIFT = 0.1


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


def random_brightness(images: Tensor, strength: float) -> Tensor:
    """Multiplies each image by a factor in 1 ± 0.4 · strength, clipped to [0, 1]."""
    factors = 1.0 + 0.4 * strength * (2.0 * torch.rand(len(images), 1, 1, 1) - 1.0)
    return images.mul(factors.to(images)).clamp_(0.0, 1.0)
