"""Images become a model's input, the same way in training and in evaluation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from overlap.variants import Preprocessing


def resize(pixels_NHWC: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """(N, channels, size, size) float32 in [0, 1]; enlarging interpolates, shrinking also antialiases."""
    images = torch.from_numpy(np.ascontiguousarray(pixels_NHWC)).permute(0, 3, 1, 2).float().div_(255.0)
    size = (preprocessing.size, preprocessing.size)
    if images.shape[-2:] == size:
        return images.contiguous()
    if preprocessing.interpolation == "nearest":
        return interpolate(images, size, mode="nearest-exact")
    resized = interpolate(images, size, mode=preprocessing.interpolation, align_corners=False, antialias=True)
    return resized.clamp_(0.0, 1.0)  # bicubic overshoots


def normalize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(N, 3, size, size) normalised; a single channel is repeated."""
    return images.sub(preprocessing.mean).div_(preprocessing.std).expand(-1, 3, -1, -1)
